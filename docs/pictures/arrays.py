"""An image as it should be, and transposed."""

import warnings

from pictures.synthetic import aluminium_map

from skphonon import Measurement
from skphonon.inspection import SpectrumMapDisplay

made, _ = aluminium_map()
image = made.grid.to_image(made.data)[0][:, : made.grid.shape[0]]
q, energy = made.grid.q[: len(image)], made.grid.energy
given = {"incident_energy": 60.0, "temperature": 300.0}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # this is what the picture is about
    wrong = Measurement.from_arrays(q, energy, image.T.copy(), **given)
right = Measurement.from_arrays(q, energy, image, **given)
titles = ["energies in rows", "transposed"]
SpectrumMapDisplay.from_measurements([right, wrong], titles).plot()
