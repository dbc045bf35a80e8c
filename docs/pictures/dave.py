"""Spectra of groups, as a .grp file has them."""

import matplotlib.pyplot as plt
from pictures.synthetic import aluminium_map

measured, _ = aluminium_map()
image = measured.grid.to_image(measured.data)[0]
figure, ax = plt.subplots()
for place in (12, 26, 40, 54):
    ax.plot(
        measured.grid.energy, image[:, place], ".-",
        label=f"{measured.grid.q[place]:.1f} 1/Å",
    )  # fmt: skip
ax.set(xlabel="energy transfer (meV)", ylabel="S (1/meV)")
ax.legend(title="group of |Q|")
