"""One crystal as four instruments and samples would show it."""

from pictures.synthetic import aluminium_map

from skphonon import make_powder_spectra
from skphonon.inspection import SpectrumMapDisplay

measured, simulator = aluminium_map()
ways = {
    "as it is": {},
    "energy_resolution: 3 meV": {"augmentation": {"energy_resolution": (3.0, 3.01)}},
    "background: 1": {"augmentation": {"background": (1.0, 1.01)}},
    "lattice_scale: 1.05": {"augmentation": {"lattice_scale": (1.05, 1.051)}},
    "ripples: 0.5": {"augmentation": {"ripples": (0.5, 0.51)}},
    "noise: 0.3": {"noise": 0.3},
}
rows = [
    make_powder_spectra(
        simulator, parameters=[simulator.reference], random_state=3, **settings
    )[0]
    for settings in ways.values()
]
shown = [measured.replace(data=row, error=None) for row in rows]
SpectrumMapDisplay.from_measurements(shown, list(ways)).plot()
