r"""Materials of sample holders and cryostats, and Bragg lines that belong to them."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument._excess import mean_with_excess
from skphonon.instrument.bragg import BraggLine, Pattern
from skphonon.instrument.phases import expected_lines
from skphonon.physics.constants import EV_PER_A2_PER_NEWTON_PER_METRE
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.physics.reflections import Reflections, powder_reflections

__all__ = [
    "HOLDERS",
    "MODELLED",
    "FoundHolder",
    "Holder",
    "find_holders",
    "holder_model",
]

Array = NDArray[np.float64]

_MANY = 4  # lines that are no chance, though the brightest is missing

_FACE = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
_BODY = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5))


class Holder(NamedTuple):
    """A material of sample holders and cryostats, cubic.

    Parameters
    ----------
    name, symbol : str
        The material, and the element whose scattering length it has.
    positions : tuple of n_atoms tuples of float
        Of the atoms in the cubic cell.
    lattice_parameter : float
        At 300 K in Angstrom.
    allowed : tuple of float
        Lattice parameters that cold, hot and alloyed material has.
    """

    name: str
    symbol: str
    positions: tuple[tuple[float, ...], ...]
    lattice_parameter: float
    allowed: tuple[float, float]

    def reflections(self, q_max: float) -> Reflections:
        """Return the reflections at 300 K.

        Parameters
        ----------
        q_max : float
            Largest momentum transfer in 1/Angstrom.

        Returns
        -------
        Reflections
            Of the cubic cell.
        """
        return _reflections(self, q_max)


@cache
def _reflections(holder: Holder, q_max: float) -> Reflections:
    cell, symbols = holder.lattice_parameter * np.eye(3), len(holder.positions)
    return powder_reflections(cell, holder.positions, [holder.symbol] * symbols, q_max)


#: Candidates for reflections that are not of the sample.
HOLDERS = (
    Holder("aluminium", "Al", _FACE, 4.0495, (4.02, 4.13)),
    Holder("copper", "Cu", _FACE, 3.6149, (3.601, 3.66)),
    Holder("austenitic steel (fcc iron)", "Fe", _FACE, 3.590, (3.565, 3.601)),
    Holder("ferritic steel (bcc iron)", "Fe", _BODY, 2.8665, (2.855, 2.90)),
    Holder("vanadium", "V", _BODY, 3.0240, (3.01, 3.06)),
)


# Born-von Karman constants in N/m at 300 K, in the order of the parameters of a model:
# eight shells of aluminium (G. Gilat and R. M. Nicklow, Phys. Rev. 143, 487 (1966),
# doi:10.1103/PhysRev.143.487), six of copper (E. C. Svensson, B. N. Brockhouse and
# J. M. Rowe, Phys. Rev. 155, 619 (1967), doi:10.1103/PhysRev.155.619).
# fmt: off
_PHONONS = {
    "aluminium": (
        9.808, -1.616, 11.424, 2.494, -0.515, -0.439, -0.167, -0.182, -0.091, 0.027,
        0.465, -0.438, 0.518, 0.141, 0.094, 0.141, 0.076, -0.061, -0.049, -0.065,
        -0.074, 0.019, 0.009, 0.006, -0.756, -0.063,
    ),
    "copper": (
        13.102, -1.417, 14.82, 0.361, -0.238, 0.642, 0.315, 0.385, 0.19, 0.104, -0.284,
        0.396, -0.137, 0.009, -0.016, -0.055, -0.138, -0.232,
    ),
}
# fmt: on


#: Materials whose constants are known, for `holder_model`.
MODELLED = tuple(_PHONONS)


def holder_model(name: str) -> ForceConstantModel:
    """Return the crystal of a sample holder, with its published force constants.

    Parameters
    ----------
    name : {"aluminium", "copper"}
        The material. Vanadium scatters without coherence, and nobody published
        constants of steels.

    Returns
    -------
    ForceConstantModel
        At 300 K, on the primitive cell.

    Raises
    ------
    ValueError
        If the constants of the material are not known.

    Examples
    --------
    >>> from skphonon.instrument.holders import holder_model
    >>> can = holder_model("aluminium")
    >>> can.frequencies(can.reference, [[0.5, 0.5, 0.0]]).round(1)  # X point
    array([[[23.8, 23.8, 39.1]]])
    """
    known = {each.name: each for each in HOLDERS if each.name in _PHONONS}
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"The material of a holder must be {' or '.join(known)}, got {name!r}. "
            "Make a ForceConstantModel of any other one."
        )
    holder, values = known[name], np.array(_PHONONS[name])
    cell = holder.lattice_parameter / 2 * (np.ones((3, 3)) - np.eye(3))
    n_shells = 8 if name == "aluminium" else 6
    return ForceConstantModel(
        cell,
        holder.symbol,
        EV_PER_A2_PER_NEWTON_PER_METRE * values,
        n_shells=n_shells,
    )


class FoundHolder(NamedTuple):
    """A material that lines belong to which are not of the sample.

    Parameters
    ----------
    name : str
        The material.
    lattice_parameter, lattice_parameter_std : float
        In Angstrom.
    reflection : dict
        From the number of a line to Miller indices.
    missing : list of str
        Strong reflections that nothing hides and that were not found.
    """

    name: str
    lattice_parameter: float
    lattice_parameter_std: float
    reflection: dict[int, str]
    missing: list[str]


def find_holders(
    lines: Sequence[BraggLine],
    moduli: Array,
    free: NDArray[np.bool_],
    pattern: Pattern,
    holders: Sequence[Holder],
    uncertainty: float,
) -> list[FoundHolder]:
    r"""Name the materials that lines belong to which are not of the sample.

    Parameters
    ----------
    lines : sequence of BraggLine
        Lines found.
    moduli : ndarray of shape (n_lines,)
        Their momentum transfers, calibrated, in 1/Angstrom.
    free : ndarray of bool of shape (n_lines,)
        Which lines are not of the sample.
    pattern : Pattern
        Elastic intensity, which tells where lines can be seen.
    holders : sequence of Holder
        Candidates.
    uncertainty : float
        Relative uncertainty of \|Q\|, by which lattice parameters may go beyond what
        is allowed.

    Returns
    -------
    list of FoundHolder
        Those with two lines or more, and at least twice as many as are missing.
    """
    free, found = free.copy(), []
    remaining = list(holders)
    while free.any() and remaining:
        tried = [
            _try(lines, moduli, free, pattern, holder, uncertainty)
            for holder in remaining
        ]
        scores = [score for score, _ in tried]
        best = int(np.argmax(scores))
        fit = tried[best][1]
        if fit is None:
            break
        found.append(fit)
        free[list(fit.reflection)] = False
        del remaining[best]
    return found


def _try(
    lines: Sequence[BraggLine],
    moduli: Array,
    free: NDArray[np.bool_],
    pattern: Pattern,
    holder: Holder,
    uncertainty: float,
) -> tuple[float, FoundHolder | None]:
    """Return how well a material explains lines, and with which lattice parameter."""
    span = float(np.median(pattern.span))
    low, high = pattern.q[[0, -1]]
    expected = expected_lines(
        holder.reflections(float(np.ceil(1.02 * high))), lines, span
    )
    if len(expected.q) < 2:
        return -np.inf, None
    q, width = moduli[free], np.array([line.width for line in lines])
    error = np.array([line.q_std for line in lines])
    reach = np.hypot(np.minimum(2 * error[free], width[free]), 0.5 * width[free])
    ratios = _ratios(holder, uncertainty)
    best, chosen = -np.inf, None
    for ratio in ratios:
        place = expected.q / ratio
        distance = np.abs(q[:, None] - place) / reach[:, None]
        hit = distance.min(axis=0) <= 1
        missing = ~hit & (expected.intensity > 0.3) & (place > low) & (place < high)
        missing &= _visible(place, moduli, width, pattern)
        # fcc lines hold those of a bcc lattice with an edge shorter by sqrt(2), so that
        # the number of lines explained counts more than their strength
        strength = 0.5 + 0.5 * np.sqrt(expected.intensity[hit])
        closeness = (1 - 0.5 * distance.min(axis=0)[hit] ** 2) * strength
        score = float(closeness.sum() - 0.5 * missing.sum())
        enough = hit.sum() >= 2 and hit.sum() >= 2 * missing.sum()
        # weak lines alone are met by chance
        brightest = expected.intensity[hit].max(initial=0.0)
        enough &= brightest > 0.5
        absent = expected.intensity[missing].max(initial=0.0)
        enough &= hit.sum() >= _MANY or brightest > absent
        if score > best and enough:
            best, chosen = score, (place, hit, missing, distance)
    if chosen is None:
        return -np.inf, None
    place, hit, missing, distance = chosen
    numbers = np.flatnonzero(free)[distance[:, hit].argmin(axis=0)]
    known = expected.q[hit] * holder.lattice_parameter
    mean = mean_with_excess(
        known / moduli[numbers], known * error[numbers] / moduli[numbers] ** 2
    )
    labels = np.array(expected.labels)
    return best, FoundHolder(
        holder.name,
        float(mean.values[0]),
        float(np.hypot(mean.std[0], uncertainty * mean.values[0])),
        {int(i): str(x) for i, x in zip(numbers, labels[hit], strict=True)},
        list(labels[missing]),
    )


def _ratios(holder: Holder, uncertainty: float) -> Array:
    low, high = holder.allowed
    low, high = low * (1 - uncertainty), high * (1 + uncertainty)
    n = int(np.ceil((high - low) / (0.0005 * low))) + 1
    return np.linspace(low, high, n) / holder.lattice_parameter


def _visible(place: Array, moduli: Array, width: Array, pattern: Pattern) -> NDArray:
    """Tell where a line would stand out: rows are near, and no other line."""
    gap = np.abs(pattern.q[:, None] - place).min(axis=0)
    reach = np.maximum(3 * width, 3 * np.median(pattern.span))
    near = np.abs(moduli[:, None] - place) / reach[:, None]
    hidden = (near < 1).any(axis=0)
    return (gap < 1.5 * np.median(width)) & ~hidden
