"""Simulators as notebooks show them."""

from html import escape
from typing import Any

import numpy as np

from skphonon._html import drawn, facts_html
from skphonon._validation import is_number
from skphonon.instrument import Measurement
from skphonon.instrument.maps import SpectrumMapDisplay

__all__ = ["html_of_simulator"]

_SETTINGS = {  # with their units, in the order in which they are told
    "quantity": "",
    "temperature": "K",
    "energy_resolution": "meV",
    "q_resolution": "1/Angstrom",
    "scattering": "",
    "tolerance": "",
    "mesh": "",
}
_LARGEST = 20_000  # pixels of which there is a picture
_ROUGH = 100.0  # times the tolerance is good enough for one


def html_of_simulator(simulator: Any) -> str:
    """Return model, pixels, resolution, and the spectrum of the reference."""
    model, grid = simulator.model, simulator.grid
    if not hasattr(model, "parameter_names") or not hasattr(grid, "shape"):
        return f"<pre>{escape(repr(simulator))}</pre>"
    facts = {
        "model": f"{type(model).__name__}, {len(model.parameter_names)} constants",
        "pixels": f"{' x '.join(map(str, grid.shape))} ({type(grid).__name__})",
    }
    for name, unit in _SETTINGS.items():
        value = getattr(simulator, name, None)
        if value is not None:
            facts[name.replace("_", " ")] = _told(value, unit, grid)
    return facts_html(type(simulator).__name__, facts, _thumbnail(simulator))


def _told(value: Any, unit: str, grid: Any) -> str:
    if callable(value):  # a width that depends on the energy
        try:
            widths = np.asarray(value(np.asarray(grid.energy, dtype=float)), float)
        except Exception:  # of a function that anyone may have written
            return "a function"
        ends = f"{widths.flat[0]:.3g} to {widths.flat[-1]:.3g} {unit}"
        return f"{ends}, from the lowest energy to the highest"
    return f"{value:.4g} {unit}" if unit and is_number(value) else str(value)


def _thumbnail(simulator: Any) -> str:
    grid = simulator.grid
    known = simulator.reference is not None
    if not known or min(grid.shape) < 2 or np.prod(grid.shape) > _LARGEST:
        return ""
    if not simulator._of_a_powder and hasattr(grid, "volume_shape"):
        return ""  # of a volume, which takes long

    def draw(figure: Any) -> None:
        loosened = getattr(simulator, "loosened", None)
        rough = (loosened(_ROUGH) if loosened else None) or simulator
        rows = rough.simulate([simulator.reference])
        display = SpectrumMapDisplay.from_measurements(
            Measurement(rows, grid), ["the reference"]
        )
        display.plot([figure.subplots()])

    return drawn(draw, "spectrum of the reference")
