r"""Bragg lines of the sample, and the calibration that they tell.

They tell how \|Q\| was calibrated. With :math:`\tau` for the length of a
reciprocal lattice vector, k for the wavenumber of the neutrons and :math:`\theta` for
half the scattering angle, a line is seen at

.. math:: q = s\,\tau + k \cos\theta\,\delta ,

if the incident energy is wrong by the factor :math:`s^{-2}` and all scattering angles
by :math:`\delta`; spectra on \|Q\| have an offset in place of the second term.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skphonon.instrument._excess import ExcessFit, alike_fit
from skphonon.instrument.bragg import BraggLine, width_trend
from skphonon.physics.reflections import Reflections

__all__ = [
    "CLEAR",
    "TERMS",
    "Expected",
    "ModuliFit",
    "expected_lines",
    "fit_moduli",
]

Array = NDArray[np.float64]

#: What a calibration of moduli may consist of.
TERMS = ("scale", "offset")

#: Standard errors by which what is corrected of |Q| must differ from nothing.
CLEAR = 4.0

_SEVERAL = 4  # lines, for an offset
_SCALES = np.linspace(0.97, 1.03, 241)  # that are tried
_BLENDED = 1.5  # widths between reflections that are one line
_WEAK = 0.02  # of the strongest reflection: not looked for


class Expected(NamedTuple):
    """Lines that a crystal has at a resolution: reflections that overlap are one.

    Parameters
    ----------
    q, spread : ndarray of shape (n_lines,)
        Mean momentum transfer, weighted by intensity, and standard deviation about it.
    intensity : ndarray of shape (n_lines,)
        In units of the strongest line.
    labels : list of str
        Miller indices of the reflections, strongest first, joined by "+".
    """

    q: Array
    spread: Array
    intensity: Array
    labels: list[str]


class ModuliFit(NamedTuple):
    r"""Calibration of \|Q\| by the lines of the sample.

    Parameters
    ----------
    reflection : ndarray of int of shape (n_lines,)
        Number of the expected line that each line found is, -1 for none.
    used : ndarray of bool of shape (n_lines,)
        Which lines tell of the calibration: no blends of several, no outliers.
    scale, scale_std : float
        Factor of \|Q\| and its standard error, fitted alone.
    model : tuple of str
        Terms that differ from nothing: "scale", "offset", both or none.
    terms, terms_std : tuple of float
        Scale and offset of that model, with errors: 1 and 0 where not in it. The
        offset is an angle in radian where `k` was given, else in 1/Angstrom.
    excess : float
        Standard deviation in 1/Angstrom by which lines scatter about the model beyond
        their errors.
    """

    reflection: NDArray[np.intp]
    used: NDArray[np.bool_]
    scale: float
    scale_std: float
    model: tuple[str, ...]
    terms: tuple[float, float]
    terms_std: tuple[float, float]
    excess: float

    def corrected(self, q: Array, k: float | None) -> Array:
        """Return momentum transfers as they should be.

        Parameters
        ----------
        q : ndarray
            As measured, in 1/Angstrom.
        k : float or None
            Wavenumber of the neutrons, as for the fit.

        Returns
        -------
        ndarray
            In 1/Angstrom.
        """
        return (q - self.terms[1] * offset_term(q, k)) / self.terms[0]


def offset_term(q: Array, k: float | None) -> Array:
    r"""Return how \|Q\| changes with the offset: by an angle where `k` is known.

    Parameters
    ----------
    q : ndarray
        Momentum transfers in 1/Angstrom.
    k : float or None
        Wavenumber of the neutrons.

    Returns
    -------
    ndarray
        In 1/Angstrom per radian, or ones.
    """
    if k is None:
        return np.ones(np.shape(q))
    return k * np.sqrt(np.maximum(1 - (np.asarray(q) / (2 * k)) ** 2, 0.0))


def expected_lines(
    reflections: Reflections, lines: Sequence[BraggLine], span: float
) -> Expected:
    """Join reflections that the instrument does not resolve.

    Parameters
    ----------
    reflections : Reflections
        Of a crystal.
    lines : sequence of BraggLine
        Lines found, which tell the resolution.
    span : float
        Momentum transfer that a row spans, in 1/Angstrom.

    Returns
    -------
    Expected
        Without those of less than 2 % of the strongest.
    """
    q, intensity = reflections.q, reflections.intensity
    strong = intensity > _WEAK * intensity.max(initial=0.0)
    q, intensity = q[strong], intensity[strong]
    labels = [x for x, kept in zip(reflections.labels(), strong, strict=True) if kept]
    if not len(q):
        return Expected(q, q, intensity, labels)
    width = np.hypot(width_trend(lines)(q), span / np.sqrt(12))
    apart = np.diff(q) > _BLENDED * width[1:]
    groups = np.split(np.arange(len(q)), np.flatnonzero(apart) + 1)
    mean, spread, total, names = [], [], [], []
    for group in groups:
        share = intensity[group] / intensity[group].sum()
        centre = float(share @ q[group])
        mean.append(centre)
        spread.append(float(np.sqrt(share @ (q[group] - centre) ** 2)))
        total.append(float(intensity[group].sum()))
        names.append("+".join(labels[i] for i in group[np.argsort(-share)]))
    strength = np.array(total) / max(total)
    return Expected(np.array(mean), np.array(spread), strength, names)


def fit_moduli(
    lines: Sequence[BraggLine],
    expected: Expected,
    k: float | None,
    terms: Sequence[str] = TERMS,
) -> ModuliFit | None:
    r"""Tell which lines are of the sample, and how \|Q\| is calibrated.

    Parameters
    ----------
    lines : sequence of BraggLine
        Lines found.
    expected : Expected
        Lines of the sample.
    k : float or None
        Wavenumber of the neutrons in 1/Angstrom, where rows have an angle.
    terms : sequence of {"scale", "offset"}
        What the calibration may consist of.

    Returns
    -------
    ModuliFit or None
        None where less than two lines fit to the sample.
    """
    if len(lines) < 2 or len(expected.q) < 2:
        return None
    q, std, width = np.array([(x.q, x.q_std, x.width) for x in lines]).T
    area = np.array([line.area for line in lines])
    at_gap = np.array([line.at_gap for line in lines])
    scale, offset = _first_scale(q, width, area, expected), 0.0
    for _ in range(3):
        reach = np.clip(width + 2 * std, 0.0, 2 * width)
        predicted = scale * expected.q + offset * offset_term(expected.q, k)
        reflection = _assigned(q, reach, predicted)
        clear = (reflection >= 0) & ~at_gap
        clear[clear] = expected.spread[reflection[clear]] < 0.3 * width[clear]
        if clear.sum() < 2:
            return None
        x, y = expected.q[reflection[clear]], q[clear]
        design = np.stack([x, offset_term(y, k)], axis=1)
        # lines are told by all terms, whatever is corrected
        scale, offset, *_ = _terms(*_model(design, y, std[clear], TERMS)[1:])
    alone, model, fit = _model(design, y, std[clear], terms)
    scale, offset, scale_std, offset_std = _terms(model, fit)
    used = clear.copy()
    used[clear] = fit.used
    return ModuliFit(
        reflection, used, float(alone.values[0]), float(alone.std[0]), model,
        (scale, offset), (scale_std, offset_std), fit.excess,
    )  # fmt: skip


def _terms(model: tuple[str, ...], fit: ExcessFit) -> tuple[float, float, float, float]:
    """Return scale and offset, and their errors; 1 and 0 for what a model lacks."""
    found = dict(zip(model, zip(fit.values, fit.std, strict=True), strict=True))
    scale, scale_std = map(float, found.get("scale", (1.0, 0.0)))
    offset, offset_std = map(float, found.get("offset", (0.0, 0.0)))
    return scale, offset, scale_std, offset_std


def _model(
    design: Array, q: Array, std: Array, terms: Sequence[str]
) -> tuple[ExcessFit, tuple[str, ...], ExcessFit]:
    """Return the fit of the scale alone, and of those terms that are significant."""
    tau, moved = design[:, 0], design[:, 1:]
    alone = alike_fit(design[:, :1], q, std)
    single = {"scale": alone}
    if len(q) >= _SEVERAL:
        single["offset"] = alike_fit(moved, q - tau, std)
        both = alike_fit(design, q, std)
        gains = np.abs(both.values - [1.0, 0.0]) / both.std
        if set(terms) == set(TERMS) and (gains > CLEAR).all():
            return alone, TERMS, both
    by_name = {
        name: float(abs(fit.values[0] - (name == "scale")) / fit.std[0])
        for name, fit in single.items()
        if name in terms
    }
    best = max(by_name, key=by_name.__getitem__, default="")
    if best and by_name[best] > CLEAR:
        return alone, (best,), single[best]
    return alone, (), alike_fit(design[:, :0], q - tau, std)


def _first_scale(q: Array, width: Array, area: Array, expected: Expected) -> float:
    """Return the scale at which strong lines lie nearest to strong ones expected."""
    strength = np.sqrt(np.minimum(area / np.median(area), 4.0))
    wanted = np.sqrt(expected.intensity)
    scores = []
    for scale in _SCALES:
        distance = (q[:, None] - scale * expected.q) / (1.5 * width[:, None])
        near = np.exp(-(distance**2) / 2)
        score = strength @ near.max(axis=1) + wanted @ near.max(axis=0)
        scores.append(score - 20 * (scale - 1) ** 2 / 0.02**2 * 0.01 * len(q))
    return float(_SCALES[int(np.argmax(scores))])


def _assigned(q: Array, reach: Array, predicted: Array) -> NDArray[np.intp]:
    """Return for each line the nearest one expected within reach, none twice."""
    distance = np.abs(q[:, None] - predicted)
    nearest = distance.argmin(axis=1)
    found = np.where(distance.min(axis=1) <= reach, nearest, -1)
    for number in np.unique(found[found >= 0]):
        rivals = np.flatnonzero(found == number)
        best = rivals[distance[rivals, number].argmin()]
        found[rivals[rivals != best]] = -1
    return found
