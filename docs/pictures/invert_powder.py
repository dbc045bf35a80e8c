"""Measured aluminium, cold and hot, and what the temperature changed."""

from skphonon.datasets import load_aluminium_spectra
from skphonon.inspection import SpectrumMapDisplay

cold, hot = load_aluminium_spectra([50, 640])
change = cold.replace(data=hot.data - cold.data)
titles = ["50 K", "640 K", "640 K less 50 K"]
SpectrumMapDisplay.from_measurements(
    [cold, hot, change], titles, differences=[2]
).plot()
