"""Preprocessing of spectra: pixels that were not measured go, scales become one.

Measured intensities come in arbitrary units and simulated ones in others, so every
spectrum is put on a scale of its own before it is compared or learnt from. The
default is that of Su & Li [1]_: (x - mean) / (max - min) over the measured pixels.
Measurements lie on a smooth background, which can be projected out of both before.
NaN means "not measured" throughout; this is the only step that accepts it.

References
----------
.. [1] Y. Su and C. Li, "Uncovering obscured phonon dynamics from powder inelastic
   neutron scattering using machine learning", :doi:`10.48550/arXiv.2404.13507`.
"""

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import (
    HasMethods,
    Interval,
    StrOptions,
    at_least,
    fit_context,
    validate_spectra,
)
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import ExtrapolationWarning, warn_user
from skphonon.instrument.background import terms_on_axes
from skphonon.instrument.noise import noise_of_differences

__all__ = ["MaskedSpectrumPreprocessor", "normalize_spectra"]

_CONTRASTS = ("mean-range", "standard")
NORMALIZATIONS = (*_CONTRASTS, "mean")
_FLOATS = [np.float64, np.float32]
_NOTHING = 20.0  # roundings that are left of a spectrum when all was background
_QUIET = 1e-3  # noise in units of the contrast below which it does not matter
_WEIGHT = 0.3  # length of the column of a condition, beside that of a spectrum
_BEYOND = 0.05  # of the range of a condition, outside of which a warning comes
_BEYOND_ONE = 0.01  # of the value of a condition that was the same in training
_MISCOUNTED = 5  # conditions at most, beyond which a grid is another one
_NOISIER = 1.3, 0.02  # times the largest level of training, and more by at least this


def normalize_spectra(
    X: ArrayLike, normalization: str | None = "mean-range"
) -> NDArray[np.floating]:
    """Put each spectrum on a scale of its own.

    Every statistic is taken over the pixels of one spectrum that are not NaN, so
    spectra do not influence one another and NaN stays where it is.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_pixels)
        Spectra, one a row, in any unit; NaN marks pixels that were not measured.
    normalization : {"mean-range", "standard", "mean"} or None, \
            default="mean-range"
        Scale of the intensities x of a spectrum:

        - "mean-range": (x - mean) / (max - min), as in the reference below. Blind to
          scale and offset; one noisy brightest pixel changes it.
        - "standard": (x - mean) / standard deviation. Blind to scale and offset,
          steadier than the range under noise.
        - "mean": x / mean. Blind to scale only, for spectra whose zero is known;
          the mean must be positive.
        - None: x unchanged, for spectra in absolute units.

    Returns
    -------
    ndarray of shape (n_samples, n_pixels)
        Normalised spectra without unit, float32 for float32 input and float64
        otherwise.

    Raises
    ------
    ValueError
        If a value is infinite, a spectrum has no measured pixel, or it cannot be
        normalised: constant, or, for "mean", without a positive mean.

    References
    ----------
    .. [1] Y. Su and C. Li, :doi:`10.48550/arXiv.2404.13507`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.preprocessing import normalize_spectra
    >>> normalize_spectra([[0.0, 1.0, 5.0, np.nan], [30.0, 10.0, 20.0, 20.0]])
    array([[-0.4, -0.2,  0.6,  nan],
           [ 0.5, -0.5,  0. ,  0. ]])
    """
    if normalization is not None and normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)} or None, got "
            f"{normalization!r}."
        )
    X = check_array(X, dtype=_FLOATS, ensure_all_finite="allow-nan")
    _refuse_unmeasured(X)
    return normalize(X, normalization)


def normalize(X, normalization="mean-range", *, constant_to_zero=False):
    """Normalise validated spectra; constant ones become zero or are refused."""
    center, scale = _center_and_scale(X, normalization)
    unscalable = scale[:, 0] <= 0
    if not constant_to_zero:
        need = "have a positive mean" if normalization == "mean" else "not be constant"
        _refuse(
            unscalable,
            f"A spectrum must {need} over its measured pixels to be normalised by "
            f"normalization={normalization!r}",
            "Remove these spectra, or use normalization=None.",
        )
    scale[unscalable] = np.inf
    normalized = X - center
    normalized /= scale
    return normalized


def _center_and_scale(X, normalization):
    """Return columns to subtract and to divide by, in the dtype of X.

    A spectrum that cannot be normalised gets a scale that is not positive.
    """
    measured = ~np.isnan(X)

    def mean(values):
        return values.mean(axis=1, where=measured, dtype=float, keepdims=True)

    zero, one = np.zeros((len(X), 1)), np.ones((len(X), 1))
    if normalization is None:
        center, scale = zero, one
    elif normalization == "mean":
        center, scale = zero, mean(X)
    else:
        center = mean(X)
        highest = np.fmax.reduce(X, axis=1, keepdims=True)
        scale = highest - np.fmin.reduce(X, axis=1, keepdims=True)
        if normalization == "standard":
            # The range alone is exactly zero for a constant spectrum.
            scale = np.where(scale > 0, np.sqrt(mean((X - center) ** 2)), 0)
    return center.astype(X.dtype), scale.astype(X.dtype)


class MaskedSpectrumPreprocessor(SelectorMixin, VersionedEstimator):
    r"""Drop the pixels that were not measured and normalise each spectrum.

    `fit` learns which pixels the instrument sees from the NaN in the training
    spectra. `transform` keeps those pixels and normalises every spectrum by its own
    statistics over them, so that spectra in arbitrary units become comparable and
    nothing after this step meets a NaN. Training and measured spectra must share a
    grid; measured spectra may have more valid pixels than the mask, which are
    dropped.

    With `background` what a smooth polynomial of energy and \|Q\| can describe is
    projected out of every spectrum before it is normalised, from simulated and measured
    ones alike. What a measurement has of a background of this degree then changes
    nothing that follows, and training spectra need none. ``normalization="standard"``
    goes best with it: the range depends on one noisy pixel.

    What is known of a measurement beside its pixels, such as the temperature, may come
    in further columns of X (`n_conditions`). They leave standardised, weighted so that
    a network sees them: one model then serves measurements at several temperatures.
    The level of noise of each spectrum can become one more column (`noise`), so that a
    network trained on several levels knows how far to trust the pixels.

    A spectrum with NaN inside the mask, or without contrast, is refused, unless the
    training spectra had the same flaw. Then a missing pixel is filled with its mean
    over the training spectra and a constant spectrum becomes zero, with a warning.
    Clean the training spectra rather than rely on that: filling supposes that they
    share a scale. Conditions and levels of noise beyond those of training pass with an
    :class:`~skphonon.learning.ExtrapolationWarning`.

    Parameters
    ----------
    normalization : {"mean-range", "standard", "mean", None}, default="mean-range"
        Scale of each spectrum, as for :func:`normalize_spectra`.
    min_valid_fraction : float, default=0.8
        A pixel belongs to the mask where at least this fraction of the training
        spectra measured it. With 1.0, a pixel missing in any of them is dropped.
    background : int or pair of int, default=None
        Degree of the polynomials that are projected out: of both axes together, or one
        of each. None projects nothing out. Needs `grid`.
    grid : SpectrumGrid, default=None
        Grid of the spectra, for `background` and `noise`: anything whose ``axes()`` are
        those of an image.
    n_conditions : int, default=0
        Number of columns at the end of X that are no pixels but conditions.
    noise : bool, default=False
        Whether to append the logarithm of the standard deviation of white noise,
        estimated by second differences of neighbouring pixels, which is close where
        pixels are finer than the resolution. Needs `grid`.

    Attributes
    ----------
    mask_ : ndarray of shape (n_pixels,), bool
        True for the pixels that are kept.
    fill_values_ : ndarray of shape (n_kept,)
        Values that replace NaN in each kept pixel, in the unit of the training
        spectra; NaN for pixels that must be measured.
    constant_seen_ : bool
        Whether a training spectrum was constant over the mask.
    background_ : ndarray of shape (n_terms, n_kept)
        Orthonormal shapes that are projected out.
    column_mean_, column_scale_ : ndarray of shape (n_columns,)
        Of conditions, and of the logarithm of the noise: x becomes (x - mean) / scale.
        The scale of what was the same in all training spectra is infinite.
    column_range_ : ndarray of shape (2, n_columns)
        Least and largest values of the same in the training spectra.
    n_features_in_ : int
        Number of pixels of a spectrum, n_energy * n_q, and of conditions.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the pixels, where the training spectra had names.

    See Also
    --------
    normalize_spectra : The normalisation alone.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.preprocessing import MaskedSpectrumPreprocessor
    >>> X = [[0.0, np.nan, 1.0, 5.0], [30.0, np.nan, 10.0, 20.0]]
    >>> preprocessor = MaskedSpectrumPreprocessor().fit(X)
    >>> preprocessor.transform(X)
    array([[-0.4, -0.2,  0.6],
           [ 0.5, -0.5,  0. ]])
    >>> preprocessor.inverse_transform([[-0.4, -0.2, 0.6]])
    array([[-0.4,  nan, -0.2,  0.6]])

    A background of any size makes no difference:

    >>> from skphonon import SpectrumGrid
    >>> grid = SpectrumGrid(np.arange(10, 20.0), np.arange(1, 9.0))
    >>> energy, q = np.meshgrid(*grid.axes(), indexing="ij")
    >>> line = np.exp(-((energy - 14 - q / 8) ** 2)).reshape(1, -1)
    >>> preprocessor = MaskedSpectrumPreprocessor(
    ...     "standard", background=2, grid=grid
    ... ).fit(line)
    >>> slope = 3 + 0.5 * energy.reshape(1, -1)
    >>> bool(np.allclose(preprocessor.transform(line + slope),
    ...                  preprocessor.transform(line)))
    True
    """

    _parameter_constraints = {
        "normalization": [StrOptions(set(NORMALIZATIONS)), None],
        "min_valid_fraction": [Interval(Real, 0, 1, closed="right")],
        "background": [at_least(0), "array-like", None],
        "grid": [HasMethods(["axes"]), None],
        "n_conditions": [at_least(0)],
        "noise": ["boolean"],
    }

    def __init__(
        self,
        normalization="mean-range",
        *,
        min_valid_fraction=0.8,
        background=None,
        grid=None,
        n_conditions=0,
        noise=False,
    ):
        self.normalization = normalization
        self.min_valid_fraction = min_valid_fraction
        self.background = background
        self.grid = grid
        self.n_conditions = n_conditions
        self.noise = noise

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn which pixels are measured.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels + `n_conditions`) or \
                (n_samples, n_energy, n_q)
            Training spectra, and their conditions; NaN marks pixels that were not
            measured.
        y : None
            Ignored, present for the convention.

        Returns
        -------
        self : MaskedSpectrumPreprocessor
            The fitted preprocessor.

        Raises
        ------
        ValueError
            If a value is infinite, a spectrum has no measured pixel, no pixel is
            measured in `min_valid_fraction` of the spectra, a condition is NaN,
            `grid` is wanting or of other spectra, or its pixels are too few for
            `background` or `noise`.
        """
        X, conditions = self._validate(X, reset=True)
        n_measured = (~np.isnan(X)).sum(axis=0)
        self.mask_ = n_measured >= self.min_valid_fraction * len(X)
        if not self.mask_.any():
            raise ValueError(
                f"No pixel is measured in at least min_valid_fraction="
                f"{self.min_valid_fraction:g} of the {len(X)} spectra; the best has "
                f"{n_measured.max() / len(X):.2g}. Lower min_valid_fraction, or put "
                "the spectra on one grid."
            )
        ragged = self.mask_ & (n_measured < len(X))
        fill_values = np.full(self.mask_.size, np.nan, dtype=X.dtype)
        fill_values[ragged] = np.nanmean(X[:, ragged], axis=0)
        self.fill_values_ = fill_values[self.mask_]
        self.constant_seen_ = bool(_is_constant(X[:, self.mask_]).any())
        self._warn_of_hidden()
        self.background_ = self._background_terms()
        if self.noise:
            self._check_neighbours()
        if self.noise or self.n_conditions:
            self._fit_columns(X, conditions)
        else:
            self.column_mean_ = self.column_scale_ = np.zeros(0)
            self.column_range_ = np.zeros((2, 0))
        return self

    def transform(self, X):
        """Keep the measured pixels and normalise each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels + `n_conditions`) or \
                (n_samples, n_energy, n_q)
            Spectra on the grid of the training spectra, and their conditions.

        Returns
        -------
        ndarray of shape (n_samples, n_kept + n_columns)
            Finite, normalised spectra without unit, then conditions and noise; float32
            for float32 input.

        Raises
        ------
        ValueError
            If a spectrum is constant, has another number of pixels, an infinite
            value, or NaN in a pixel that every training spectrum measured.
        """
        check_is_fitted(self)
        X, conditions = self._validate(X, reset=False)
        X = X[:, self.mask_]
        missing = np.isnan(X)
        if missing.any():
            X = self._fill(X, missing)
            _warn(
                missing.any(axis=1),
                f"lack {missing.sum()} pixels of the mask in all, as some training "
                "spectra did, which are filled with their mean over the training "
                "spectra. Set min_valid_fraction=1.0 to drop such pixels.",
            )
        constant_to_zero = self.constant_seen_ and self.normalization in _CONTRASTS
        if constant_to_zero:
            _warn(
                _is_constant(X),
                "are constant, as some training spectra were, and become zero. Remove "
                "constant spectra from the training set to make this an error.",
            )
        found = self._normalized(X, constant_to_zero)
        if not len(self.column_mean_):
            return found
        columns = self._columns(found, conditions)
        self._warn_of_range(columns)
        columns = (columns - self.column_mean_) / self.column_scale_
        return np.hstack([found, columns.astype(found.dtype)])

    def inverse_transform(self, X):
        """Put kept pixels back in their places, NaN elsewhere.

        The scale, offset and background that were removed are lost: the result is
        a normalised spectrum. With ``normalization=None`` it is the spectrum, without
        its background. Conditions are left out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_kept + n_columns)
            Normalised spectra over the kept pixels, as from `transform`.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            The same values as full rows; NaN where not measured.

        Raises
        ------
        ValueError
            If X does not have one column for each kept pixel, and each condition.
        """
        check_is_fitted(self)
        X = check_array(X, dtype=_FLOATS, ensure_all_finite="allow-nan")
        n_kept, n_columns = self.mask_.sum(), len(self.column_mean_)
        if X.shape[1] != n_kept + n_columns:
            beside = f" and {n_columns} more" if n_columns else ""
            raise ValueError(
                f"X must have one column for each of the {n_kept} pixels that "
                f"transform keeps{beside}, got shape {X.shape}."
            )
        rows = np.full((len(X), self.mask_.size), np.nan, dtype=X.dtype)
        rows[:, self.mask_] = X[:, :n_kept]
        return rows

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of pixels and conditions; None: those seen in `fit`, or x0, x1, ...

        Returns
        -------
        ndarray of str
            Names of kept pixels and conditions, then "noise".
        """
        names = super().get_feature_names_out(input_features)
        return np.append(names, "noise").astype(object) if self.noise else names

    def _normalized(self, X, constant_to_zero):
        """Return spectra without background, on their own scales."""
        if not len(self.background_):
            return normalize(X, self.normalization, constant_to_zero=constant_to_zero)
        terms = self.background_.astype(X.dtype)
        # the mean is taken away first: a large one costs digits
        centred = X - X.mean(axis=1, dtype=float, keepdims=True).astype(X.dtype)
        left = centred - (centred @ terms.T) @ terms
        rounding = max(np.finfo(X.dtype).eps, 1e-13)
        flat = np.abs(left).max(axis=1) <= _NOTHING * rounding * np.abs(X).max(axis=1)
        left[flat] = 0.0
        if not constant_to_zero and self.normalization is not None:
            _refuse(
                flat,
                f"A spectrum must have more than a background of degree "
                f"{self.background} over its measured pixels",
                "Lower background, or remove these spectra.",
            )
        return normalize(left, self.normalization, constant_to_zero=constant_to_zero)

    def _background_terms(self):
        """Return orthonormal polynomials over the kept pixels."""
        if self.background is None:
            return np.zeros((0, int(self.mask_.sum())))
        if self.normalization == "mean":
            raise ValueError(
                "normalization='mean' needs spectra whose zero is known, got "
                f"background={self.background!r}, which takes the mean away. Use "
                "normalization='standard'."
            )
        terms = background_terms(self._axes("background"), self.background)
        return np.linalg.qr(over_pixels(terms, self.mask_, self.background).T)[0].T

    def _axes(self, name):
        """Return the axes of the grid, which must be that of the spectra."""
        if self.grid is None:
            raise ValueError(f"{name} needs the grid of the spectra, got grid=None.")
        axes = self.grid.axes()
        n_pixels = int(np.prod([len(axis) for axis in axes]))
        if n_pixels != self.mask_.size:
            fitting = self.n_conditions + self.mask_.size - n_pixels
            near = 0 <= fitting <= self.n_conditions + _MISCOUNTED
            advice = (
                f" Set n_conditions={fitting} if the grid is right." if near else ""
            )
            raise ValueError(
                f"grid must be that of the spectra, with {self.mask_.size} pixels "
                f"before the conditions (n_conditions={self.n_conditions}), got one of "
                f"{n_pixels}.{advice}"
            )
        return axes

    def _refuse_without_conditions(self, n_columns):
        if n_columns == self.n_features_in_ - self.n_conditions:
            raise ValueError(
                f"X must have n_conditions={self.n_conditions} columns after its "
                f"{n_columns} pixels, got none. Append what is known, as "
                "np.column_stack([X, temperature])."
            )

    def _warn_of_hidden(self):
        """Warn of numbers in pixels that the mask of the grid hides."""
        seen = getattr(self.grid, "mask", None)
        if seen is None or np.size(seen) != self.mask_.size:
            return
        hidden = self.mask_ & ~np.ravel(seen)
        if hidden.any():
            warn_user(
                f"The training spectra have numbers in {hidden.sum()} of "
                f"{(~np.ravel(seen)).sum()} pixels that the mask of the grid hides "
                f"(first: pixel {np.argmax(hidden)}). Where they stand for what was "
                "not measured, put NaN in their place.",
                UserWarning,
            )

    def _check_neighbours(self):
        """Refuse pixels of which no three in a row tell a level of noise."""
        shape, places = self._image()
        if np.isnan(noise_of_differences(np.zeros(len(places)), (shape, places), 2)):
            raise ValueError(
                "noise=True needs three neighbouring pixels along an axis of the grid, "
                f"got {len(places)} pixels of a grid of {' by '.join(map(str, shape))}."
                " Use noise=False, or a finer grid."
            )

    def _image(self):
        """Return the shape of the grid and the places of kept pixels in it."""
        return [len(axis) for axis in self._axes("noise")], np.flatnonzero(self.mask_)

    def _fit_columns(self, X, conditions):
        """Learn the scale of conditions and noise, beside that of the spectra."""
        X = X[:, self.mask_]
        X = np.where(np.isnan(X), self.fill_values_.astype(X.dtype), X)
        found = self._normalized(X, constant_to_zero=True)
        length = np.sqrt(np.square(found).sum(axis=1, dtype=float).mean())
        columns = self._columns(found, conditions)
        self.column_mean_ = columns.mean(axis=0)
        self.column_range_ = np.stack([columns.min(axis=0), columns.max(axis=0)])
        spread = columns.std(axis=0)
        same = spread <= 1e-9 * np.maximum(np.abs(self.column_mean_), 1e-9)
        unit = _WEIGHT * (length if length > 0 else 1.0)
        self.column_scale_ = np.where(same, np.inf, spread) / unit

    def _columns(self, normalized, conditions):
        """Return conditions and the logarithm of noise, (n_samples, n_columns)."""
        if not self.noise:
            return conditions
        image = self._image()
        spread = np.std(normalized, axis=1, dtype=float)
        found = [noise_of_differences(row, image, 2) for row in normalized]
        level = found / np.where(spread > 0, spread, 1.0)
        return np.column_stack([conditions, np.log(np.maximum(level, _QUIET))])

    def _warn_of_range(self, columns):
        """Warn of conditions and levels of noise beyond those of training."""
        low, high = self.column_range_
        same = np.isinf(self.column_scale_)
        slack = np.where(same, _BEYOND_ONE * np.abs(high), _BEYOND * (high - low))
        least, most = low - slack, high + slack
        if self.noise:
            # less noise than in training is no harm
            least[-1], most[-1] = -np.inf, _clearly_noisier(high[-1])
        beyond = (columns < least) | (columns > most)
        if not beyond.any():
            return
        told = [
            self._told_of(number, columns[beyond[:, number], number])
            for number in np.flatnonzero(beyond.any(axis=0))
        ]
        warn_user(
            f"{beyond.any(axis=1).sum()} of {len(columns)} spectra (first: sample "
            f"{np.argmax(beyond.any(axis=1))}) lie outside what training had: "
            f"{', '.join(told)}. Do not trust what is predicted from them: check the "
            "order and units of conditions, or train on a wider range.",
            ExtrapolationWarning,
        )

    def _told_of(self, number, values):
        """Return the name of a column, its range in training and what came."""
        low, high = self.column_range_[:, number]
        if number == self.n_conditions:
            return (
                f"the noise is {np.exp(values.max()):.2g} of the standard deviation of "
                f"a spectrum, trained up to {np.exp(high):.2g}"
            )
        column = self.mask_.size + number
        name = f"column {column} of X"
        if hasattr(self, "feature_names_in_"):
            name = f"{self.feature_names_in_[column]!r}"
        extreme = values[np.abs(values - (low + high) / 2).argmax()]
        return f"{name} is {extreme:g}, trained from {low:g} to {high:g}"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _get_support_mask(self):
        check_is_fitted(self)
        return np.append(self.mask_, np.ones(self.n_conditions, dtype=bool))

    def _fill(self, X, missing):
        X = np.where(missing, self.fill_values_.astype(X.dtype), X)
        n_lost = np.isnan(X).sum(axis=1)
        _refuse(
            n_lost > 0,
            f"A spectrum must be measured in all {X.shape[1]} pixels of the mask",
            "Fit on spectra cropped to the pixels measured here, or remove these "
            "spectra.",
            n_missing=n_lost,
        )
        return X

    def _validate(self, X, *, reset):
        """Return spectra and conditions."""
        if getattr(X, "ndim", 2) == 3:
            X = X.reshape(len(X), -1)
        if not reset and self.n_conditions and np.ndim(X) == 2:
            self._refuse_without_conditions(np.shape(X)[1])
        X = validate_spectra(
            self, X, reset=reset, dtype=_FLOATS, ensure_all_finite="allow-nan"
        )
        n_pixels = X.shape[1] - self.n_conditions
        if n_pixels < 1:
            raise ValueError(
                f"X must have pixels before its {self.n_conditions} conditions "
                f"(n_conditions), got {X.shape[1]} feature(s)."
            )
        X, conditions = X[:, :n_pixels], X[:, n_pixels:].astype(float)
        _refuse(
            np.isnan(conditions).any(axis=1),
            f"The last {self.n_conditions} columns (n_conditions) must be known",
            "Give what was measured, or remove these spectra.",
        )
        _refuse_unmeasured(X)
        return X, conditions


def _clearly_noisier(level):
    """Return the logarithm of a level of noise that is clearly above another one.

    Levels are in units of the deviation of signal and noise together, below 1, so that
    those beside the signal alone are compared.
    """
    share = min(np.exp(level), 0.999)
    times, more = _NOISIER
    beside = share / np.sqrt(1 - share**2)
    beside = max(times * beside, beside + more)
    return max(np.log(beside / np.hypot(1, beside)), level)


def background_terms(axes, background):
    """Return the terms (n_terms, n_pixels) of a background of one or more degrees."""
    degrees = np.atleast_1d(np.asarray(background, dtype=object))
    if not all(isinstance(each, Integral) and int(each) >= 0 for each in degrees):
        raise ValueError(
            "background must be a degree of at least 0, or one for each axis, got "
            f"{background!r}."
        )
    return terms_on_axes(axes, background)


def over_pixels(terms, kept, background, beside=0):
    """Return background terms over kept pixels, which must outnumber all unknowns.

    `beside` counts those that are fitted along, such as a scale.
    """
    n_kept = int(np.sum(kept))
    if len(terms) + beside >= n_kept:
        more = f" and {beside} more unknown" if beside else ""
        raise ValueError(
            f"background={background!r} has {len(terms)} terms{more}, which must be "
            f"fewer than the {n_kept} pixels that are kept. Lower background."
        )
    return terms[:, kept]


def _is_constant(X):
    return np.fmax.reduce(X, axis=1) == np.fmin.reduce(X, axis=1)


def _refuse_unmeasured(X):
    _refuse(
        np.isnan(X).all(axis=1),
        "A spectrum must have at least one measured pixel",
        "Remove these spectra, or check the mask they were read with.",
    )


def _refuse(bad, requirement, remedy, n_missing=None):
    """Raise a ValueError that names the first bad sample, if there is any."""
    if not bad.any():
        return
    first = np.argmax(bad)
    missing = "" if n_missing is None else f" with {n_missing[first]} NaN"
    raise ValueError(
        f"{requirement}, got {bad.sum()} of {len(bad)} that break this (first: sample "
        f"{first}{missing}). {remedy}"
    )


def _warn(affected, consequence):
    """Warn the caller of transform about the samples that are affected."""
    if affected.any():
        warn_user(
            f"{affected.sum()} of {len(affected)} spectra (first: sample "
            f"{np.argmax(affected)}) {consequence}",
            UserWarning,
        )
