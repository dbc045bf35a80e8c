"""Crystals and magnets as notebooks show them."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from skphonon._html import drawn, facts_html

__all__ = ["html_of_crystal", "html_of_magnet"]

_SHOWN = 12  # constants
_POINTS = 40  # of a line of the thumbnail
_CORNERS = np.array([[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5], [0, 0, 0]])


def html_of_crystal(model: Any) -> str:
    """Return symbols, lattice, shells and constants of a crystal, and its energies."""
    atoms = {symbol: model.symbols.count(symbol) for symbol in model.symbols}
    facts = {
        "atoms in the cell": ", ".join(f"{n} {symbol}" for symbol, n in atoms.items()),
        "lattice": _lattice(model.lattice),
        "shells": model.n_shells if model.n_shells is not None else "by the supercell",
        "constants": len(model.parameter_names),
        **_constants(model),
    }
    if model.reference is None or not np.isfinite(model.reference).all():
        return facts_html(type(model).__name__, facts)
    pairs = itertools.pairwise(_CORNERS)
    path = np.vstack([np.linspace(*pair, _POINTS) for pair in pairs])

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        ax.plot(model.frequencies(model.reference, path)[0], "C0", linewidth=0.8)
        labels = ["0", "b1/2", "(b1+b2)/2", "(b1+b2+b3)/2", "0"]
        places = np.arange(len(_CORNERS)) * _POINTS
        ax.set_xticks(places, labels, fontsize=6)
        ax.set(ylabel="energy (meV)", xlim=(0, len(path)))

    return facts_html(type(model).__name__, facts, drawn(draw, "phonon energies"))


def html_of_magnet(model: Any) -> str:
    """Return lattice, spins and exchange constants of a magnet."""
    facts = {
        "lattice": _lattice(model.lattice),
        "spins": ", ".join(f"{spin:+.3g}" for spin in model.spins),
        "constants": len(model.parameter_names),
        **_constants(model),
    }
    return facts_html(type(model).__name__, facts)


def _lattice(lattice: Any) -> str:
    lengths = np.linalg.norm(lattice, axis=1)
    a, b, c = lattice / lengths[:, None]
    angles = np.degrees(np.arccos(np.clip([b @ c, a @ c, a @ b], -1, 1)))
    edges = ", ".join(f"{length:.4g}" for length in lengths)
    return f"{edges} Angstrom; {', '.join(f'{angle:.4g}' for angle in angles)} degree"


def _constants(model: Any) -> Mapping[str, str]:
    names, reference = model.parameter_names, model.reference
    if reference is None:
        return {"reference": "none"}
    shown = dict(zip(names[:_SHOWN], reference[:_SHOWN], strict=True))
    more = len(names) - _SHOWN
    return {
        **{name: f"{value:.4g}" for name, value in shown.items()},
        **({"...": f"{more} more"} if more > 0 else {}),
    }
