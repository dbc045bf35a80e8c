"""Scores of spectra over the pixels that both have, and scorers made of them.

The normalised mean square error of a simulated spectrum b against a measured one a,
over the pixels where neither is NaN, is

    NMSE = mean((a - b)^2) / mean(a^2)

after the normalisation of :func:`skphonon.preprocessing.normalize_spectra`,
(x - mean) / (max - min), of both over these pixels. Zero is a perfect match; a
constant spectrum scores 1.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skphonon._versioned import VersionedEstimator
from skphonon.preprocessing import normalize, normalize_spectra

__all__ = ["ResimulationScorer", "nmse"]

Array = NDArray[np.float64]

SCALES = ("normalized", "fitted")


def nmse(
    measured: ArrayLike, simulated: ArrayLike, *, scale: str = "normalized"
) -> NDArray[np.float64]:
    """Compute the normalised mean square error of simulated spectra.

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

    Returns
    -------
    ndarray of shape (n_samples,)
        One figure a spectrum, without unit. A constant simulated spectrum has 1.

    Raises
    ------
    ValueError
        If the shapes do not match, a value is infinite, two spectra share no
        pixel, or a measured spectrum is constant over the shared pixels.

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
    return np.nansum((shown - made) ** 2, axis=1) / np.nansum(shown * shown, axis=1)


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
    labels, so measured spectra can be scored in `cross_val_score`,
    `GridSearchCV` and wherever scikit-learn takes a callable `scoring`; y is
    ignored where given. One simulation a spectrum is its cost.

    Parameters
    ----------
    simulator : object with a `simulate` method
        Turns parameters (n_samples, n_parameters) into spectra (n_samples,
        n_pixels) on the grid of the spectra to score.
    scale : {"normalized", "fitted"}, default="fitted"
        Scale of the simulated spectra, as for :func:`nmse`.

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

    def __init__(self, simulator, *, scale="fitted"):
        self.simulator = simulator
        self.scale = scale

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
        parameters = np.asarray(estimator.predict(X), dtype=float)
        simulated = self.simulator.simulate(parameters.reshape(len(parameters), -1))
        return -float(nmse(X, simulated, scale=self.scale).mean())
