"""One run by detector, and on a grid that leaves the elastic line out."""

import matplotlib.pyplot as plt
import numpy as np
from pictures.synthetic import aluminium_run

from skphonon import SpectrumGrid, reduce_powder
from skphonon.inspection import SpectrumMapDisplay

run = aluminium_run()
grid = SpectrumGrid(np.arange(8, 46, 1.0), np.arange(1.5, 9, 0.1))
measured = reduce_powder(run, grid)

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3))
SpectrumMapDisplay.from_measurements(run, ["in the file"]).plot(left, log=True)
SpectrumMapDisplay.from_measurements(measured, ["for a fit"]).plot(right)
