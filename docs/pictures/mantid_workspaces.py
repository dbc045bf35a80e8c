"""One run by detector, by scattering angle and by |Q|."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import INCIDENT, aluminium_run

from skphonon import SpectrumGrid, reduce_powder
from skphonon.inspection import SpectrumMapDisplay
from skphonon.instrument import AngleGrid
from skphonon.io import reduce_angles

run = aluminium_run()
energy = np.arange(8, 46, 1.0)
angles = AngleGrid(energy, np.arange(10, 132, 2.0), incident_energy=INCIDENT)
forms = {
    "by detector": run,
    "by scattering angle": reduce_angles(run, angles),
    "by |Q|": reduce_powder(run, SpectrumGrid(energy, np.arange(1, 9, 0.1))),
}
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2))
for ax, (title, each) in zip(axes, forms.items(), strict=True):
    log = title == "by detector"
    SpectrumMapDisplay.from_measurements(each, [title]).plot(ax, log=log)
