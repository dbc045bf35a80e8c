"""Measured aluminium, cold and hot, and what the temperature changed."""

from skphonon import fetch_aluminium_arcs
from skphonon.inspection import SpectrumMapDisplay

measured = fetch_aluminium_arcs().measurement
cold, *_, hot = measured
change = cold.replace(data=hot.data - cold.data)
titles = ["50 K", "640 K", "640 K less 50 K"]
SpectrumMapDisplay.from_measurements(
    [cold, hot, change], titles, differences=[2]
).plot()
