"""A powder map of aluminium, small."""

import matplotlib.pyplot as plt
from pictures.synthetic import aluminium_map

measured, _ = aluminium_map()
image = measured.grid.to_image(measured.data)[0]
figure, ax = plt.subplots(figsize=(3, 2))
ax.set_facecolor("0.9")
ax.pcolormesh(measured.grid.q, measured.grid.energy, image, vmax=0.012)
ax.set(xlabel="|Q| (1/Å)", ylabel="E (meV)")
