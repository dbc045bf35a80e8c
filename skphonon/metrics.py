"""Scores of spectra over the pixels that both have, and scorers made of them.

The normalised mean square error of a simulated spectrum b against a measured one a,
over the pixels where neither is NaN, is

    NMSE = mean((a - b)^2) / mean(a^2)

after the normalisation of :func:`skphonon.preprocessing.normalize_spectra`,
(x - mean) / (max - min), of both over these pixels. Zero is a perfect match; a
constant spectrum scores 1.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._validation import (
    HasMethods,
    StrOptions,
    check_parameters,
)
from skphonon._versioned import VersionedEstimator
from skphonon.fitting import Projection
from skphonon.instrument.augmentation import nuisances_among
from skphonon.preprocessing import (
    background_terms,
    normalize,
    normalize_spectra,
    over_pixels,
)

__all__ = ["ResimulationScorer", "nmse"]

Array = NDArray[np.float64]

SCALES = ("normalized", "fitted")


def nmse(
    measured: ArrayLike,
    simulated: ArrayLike,
    *,
    scale: str = "normalized",
    background: Any = None,
    grid: Any = None,
) -> NDArray[np.float64]:
    r"""Compute the normalised mean square error of simulated spectra.

    With a and b the measured and simulated spectrum, each normalised to
    (x - mean) / (max - min) over the pixels where neither is NaN, it is
    mean((a - b)^2) / mean(a^2). With ``scale="fitted"`` it is
    mean((a - k b - c)^2) / mean(a^2) for the k >= 0 and c that minimise it, which
    is 1 - r^2 for a correlation r >= 0 and 1 for a negative one: intensities are
    never turned upside down.

    Both are blind to the scale and offset of either spectrum. One noisy brightest
    pixel changes max - min and with it the "normalized" figure, hardly the "fitted"
    one: prefer "fitted" to judge measured spectra and "normalized" to compare with
    figures computed that way.

    Parameters
    ----------
    measured : array-like of shape (n_samples, n_pixels) or (n_pixels,)
        Measured spectra in any unit; NaN marks pixels that were not measured.
    simulated : array-like of shape (n_samples, n_pixels) or (n_pixels,)
        Simulated spectra in any unit, NaN where they are undefined. A single row
        on either side is compared with every row of the other.
    scale : {"normalized", "fitted"}, default="normalized"
        Origin of the scale and offset of the simulated spectrum: its own normalisation,
        or a fit to the measured spectrum.
    background : int or pair of int, default=None
        Degree of a polynomial of energy and \|Q\| that is fitted along with the
        scale, of both together or of each; None: an offset alone. Needs
        ``scale="fitted"`` and `grid`. This is the misfit of
        :class:`~skphonon.inversion.LeastSquaresInverter` with such a background.
    grid : SpectrumGrid, default=None
        Grid of the spectra, for `background`.

    Returns
    -------
    ndarray of shape (n_samples,)
        One figure a spectrum, without unit. A constant simulated spectrum has 1.

    Raises
    ------
    ValueError
        If the shapes do not match, a value is infinite, two spectra share no
        pixel, a measured spectrum is constant over the shared pixels, or a background
        has as many terms as they are.

    Examples
    --------
    >>> from skphonon.metrics import nmse
    >>> measured, simulated = [0.0, 1.0, 2.0, 1.0, 5.0], [0.0, 1.0, 3.0, 1.0, 3.0]
    >>> nmse(measured, simulated).round(3)
    array([0.414])
    >>> nmse(measured, simulated, scale="fitted").round(3)
    array([0.306])
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}.")
    a, b = _rows(measured, "measured"), _rows(simulated, "simulated")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"measured and simulated must have the same pixels, got "
            f"{a.shape[1]} and {b.shape[1]}. Simulate on the grid of "
            "the measurement, and compare before pixels are dropped."
        )
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(
            "measured and simulated must have as many rows, or one of them a single "
            f"row, got {len(a)} and {len(b)}."
        )
    shown, made = comparable(a, b, scale)
    if background is None:
        return np.nansum((shown - made) ** 2, axis=1) / np.nansum(shown * shown, axis=1)
    if scale != "fitted":
        raise ValueError(
            f"A background needs scale='fitted', got scale={scale!r}: it is fitted "
            "along with the scale."
        )
    if grid is None:
        raise ValueError("A background needs the grid of the spectra, got grid=None.")
    terms = background_terms(grid.axes(), background)
    if terms.shape[1] != a.shape[1]:
        raise ValueError(
            f"grid must be that of the spectra, with {a.shape[1]} pixels, got one of "
            f"{terms.shape[1]}."
        )
    left = []
    for row, other in zip(shown, made, strict=True):
        seen = np.isfinite(row)
        smooth = over_pixels(terms, seen, background, beside=1)
        left.append(_left(row[seen], other[seen], smooth))
    return np.array(left)


def _left(shown: Array, made: Array, terms: Array) -> float:
    """Return the NMSE of a spectrum beside smooth terms and one of a fitted scale."""
    a, b = Projection(terms.T).rest(np.stack([shown, made], axis=1)).T
    power = b @ b
    factor = max(float(a @ b / power), 0.0) if power > 0 else 0.0
    return float(np.square(a - factor * b).sum() / np.square(shown).sum())


def comparable(
    measured: Array, simulated: Array, scale: str = "normalized"
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return spectra normalised over the pixels that they share, NaN elsewhere.

    With "fitted" the simulated ones have the scale that comes closest, not negative; a
    constant simulated spectrum is zero.
    """
    shared = shared_pixels(measured, simulated)
    a = normalize_spectra(np.where(shared, measured, np.nan))
    b = normalize(np.where(shared, simulated, np.nan), constant_to_zero=True)
    if scale == "fitted":
        overlap, power = np.nansum(a * b, axis=1), np.nansum(b * b, axis=1)
        factor = np.divide(overlap, power, out=np.zeros(len(power)), where=power > 0)
        b = b * np.maximum(factor, 0)[:, None]
    return a, b


def shared_pixels(measured: Array, simulated: Array) -> NDArray[np.bool_]:
    """Return the pixels in which neither of two sets of spectra is NaN, some a row."""
    shared = ~(np.isnan(measured) | np.isnan(simulated))
    if not shared.any(axis=1).all():
        raise ValueError(
            "Measured and simulated spectra must share at least one measured pixel, "
            f"got none in sample {np.argmin(shared.any(axis=1))}. Check the mask and "
            "the grid of both."
        )
    return shared


def _rows(spectra: ArrayLike, name: str) -> Array:
    """Return spectra as float64 rows, NaN allowed and infinity not."""
    rows = np.atleast_2d(np.asarray(spectra, dtype=float))
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(
            f"{name} must be a non-empty array of shape (n_samples, n_pixels), got "
            f"shape {np.shape(spectra)}."
        )
    infinite = np.isinf(rows)
    if infinite.any():
        raise ValueError(
            f"{name} must be finite or NaN, got {infinite.sum()} infinite values "
            f"(first: sample {np.argmax(infinite.any(axis=1))})."
        )
    return rows


class ResimulationScorer(VersionedEstimator):
    """Score predicted parameters by simulating the spectra they imply.

    The score is the negative mean of :func:`nmse` between the spectra and those
    simulated from the parameters that an estimator predicts for them. It needs no
    labels, so it scores measured spectra, too: ``scorer(estimator, X)``, and in
    `GridSearchCV` and wherever scikit-learn takes a callable `scoring`, as rows that
    are only tested on. y is ignored where given. One simulation a spectrum is its cost.

    Parameters
    ----------
    simulator : object with a `simulate` method
        Turns parameters (n_samples, n_parameters) into spectra (n_samples,
        n_pixels) on the grid of the spectra to score.
    scale : {"normalized", "fitted"}, default="fitted"
        Scale of the simulated spectra, as for :func:`nmse`.
    background : int or pair of int, default=None
        Degree of a background that is fitted along, as for :func:`nmse`, on the grid of
        the simulator.
    nuisance : bool, default=False
        Whether the estimator predicts nuisances too (``return_nuisance=True``), with
        which its constants are then simulated, as they were meant. What no simulation
        takes, such as noise, ripples, holders and backgrounds, is left out.
    conditions : sequence of str, default=()
        Nuisances of the simulator that the last columns of X hold, such as
        ``("temperature",)``: see ``n_conditions`` of
        :class:`~skphonon.preprocessing.MaskedSpectrumPreprocessor`. Where the estimator
        predicts one of them as well, what is known is used.

    See Also
    --------
    nmse : One figure a spectrum.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skphonon.metrics import ResimulationScorer
    >>> class Line:
    ...     def simulate(self, parameters):
    ...         return parameters @ np.array([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]])
    >>> y = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 5.0], [1.0, 1.0]])
    >>> X = Line().simulate(y)
    >>> scorer = ResimulationScorer(Line())
    >>> bool(scorer(LinearRegression().fit(X, y), X) > -1e-12)
    True
    """

    _parameter_constraints = {
        "simulator": [HasMethods(["simulate"])],
        "scale": [StrOptions(set(SCALES))],
        "nuisance": ["boolean"],
    }

    def __init__(
        self,
        simulator,
        *,
        scale="fitted",
        background=None,
        nuisance=False,
        conditions=(),
    ):
        self.simulator = simulator
        self.scale = scale
        self.background = background
        self.nuisance = nuisance
        self.conditions = conditions

    def __call__(self, estimator, X, y=None):
        """Return the score of `estimator` on the spectra X; higher is better.

        Parameters
        ----------
        estimator : estimator with a `predict` method
            Fitted; predicts the parameters of the simulator from spectra.
        X : array-like of shape (n_samples, n_pixels)
            Spectra on the grid of the simulator, NaN where not measured.
        y : None
            Ignored, present for the convention.

        Returns
        -------
        float
            Negative mean NMSE, at most 0.
        """
        return -float(self.misfits(estimator, X).mean())

    def misfits(self, estimator, X):
        """Return the NMSE of each spectrum.

        Parameters
        ----------
        estimator : estimator with a `predict` method
            Fitted.
        X : array-like of shape (n_samples, n_pixels)
            Spectra.

        Returns
        -------
        ndarray of shape (n_samples,)
            Without unit.
        """
        return nmse(
            self._split(X)[0],
            self.resimulate(estimator, X),
            scale=self.scale,
            background=self.background,
            grid=getattr(self.simulator, "grid", None),
        )

    def resimulate(self, estimator, X):
        """Return the spectra that predictions imply.

        Parameters
        ----------
        estimator : estimator with a `predict` method
            Fitted.
        X : array-like of shape (n_samples, n_pixels)
            Spectra.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            In the unit of the simulator.
        """
        nuisance = self._split(X)[1]
        if self.nuisance:
            predicted, table = estimator.predict(X, return_nuisance=True)
            nuisance = self._simulated(table) | nuisance
        else:
            predicted = estimator.predict(X)
        parameters = np.asarray(predicted, dtype=float)
        options = {"nuisance": nuisance} if nuisance else {}
        return self.simulator.simulate(
            parameters.reshape(len(parameters), -1), **options
        )

    def _simulated(self, table):
        """Return the predicted nuisances that the simulator takes, by name."""
        names = [name for name in table if not _is_std(name, table)]
        offered = getattr(self.simulator, "nuisance_names", ())
        wanted = nuisances_among({name: table[name].to_numpy() for name in names})
        for name in wanted:
            if name not in offered:
                raise ValueError(
                    "Predicted nuisances must be some that the simulator offers "
                    f"({', '.join(offered) or 'none'}), or of noise, ripples, holders "
                    f"and backgrounds, got {name!r}. Name them so in fit, or use "
                    "nuisance=False."
                )
        return wanted

    def _split(self, X):
        """Return spectra, and by name the conditions in their last columns."""
        check_parameters(self)
        if isinstance(self.conditions, str):
            raise ValueError(
                "conditions must be a sequence of names, got a str. Use "
                f"conditions=({self.conditions!r},)."
            )
        X, names = np.asarray(X, dtype=float), list(self.conditions)
        n_pixels = X.shape[1] - len(names)
        grid: Any = getattr(self.simulator, "grid", None)
        if hasattr(grid, "axes"):
            expected = math.prod(len(axis) for axis in grid.axes())
            if n_pixels != expected:
                raise ValueError(
                    f"X must have the {expected} pixels of the simulator's grid and a "
                    f"column for each of conditions={tuple(names)}, got "
                    f"{X.shape[1]} columns. Name in conditions, such as "
                    "('temperature',), what further columns hold."
                )
        return X[:, :n_pixels], dict(zip(names, X[:, n_pixels:].T, strict=True))


def _is_std(name, table):
    """Tell whether a column is the standard deviation of another one."""
    return name.endswith(" std") and name.removesuffix(" std") in table
