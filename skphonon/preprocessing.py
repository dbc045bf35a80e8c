"""Preprocessing of spectra: pixels that were not measured go, scales become one.

Measured intensities come in arbitrary units and simulated ones in others, so every
spectrum is put on a scale of its own before it is compared or learnt from. The
default is that of Su & Li [1]_: (x - mean) / (max - min) over the measured pixels.
NaN means "not measured" throughout; this is the only step that accepts it.

References
----------
.. [1] Y. Su and C. Li, "Uncovering obscured phonon dynamics from powder inelastic
   neutron scattering using machine learning", :doi:`10.48550/arXiv.2404.13507`.
"""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import Interval, StrOptions, fit_context, validate_spectra
from skphonon._versioned import VersionedEstimator
from skphonon._warnings import warn_user

__all__ = ["MaskedSpectrumPreprocessor", "normalize_spectra"]

_CONTRASTS = ("mean-range", "standard")
NORMALIZATIONS = (*_CONTRASTS, "mean")
_FLOATS = [np.float64, np.float32]


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
    """Drop the pixels that were not measured and normalise each spectrum.

    `fit` learns which pixels the instrument sees from the NaN in the training
    spectra. `transform` keeps those pixels and normalises every spectrum by its own
    statistics over them, so that spectra in arbitrary units become comparable and
    nothing after this step meets a NaN. Training and measured spectra must share a
    grid; measured spectra may have more valid pixels than the mask, which are
    dropped.

    A spectrum with NaN inside the mask, or without contrast, is refused, unless the
    training spectra had the same flaw. Then a missing pixel is filled with its mean
    over the training spectra and a constant spectrum becomes zero, with a warning.
    Clean the training spectra rather than rely on that: filling supposes that they
    share a scale.

    Parameters
    ----------
    normalization : {"mean-range", "standard", "mean"} or None, \
            default="mean-range"
        Scale of each spectrum, as for :func:`normalize_spectra`.
    min_valid_fraction : float, default=0.8
        A pixel belongs to the mask where at least this fraction of the training
        spectra measured it. With 1.0, a pixel missing in any of them is dropped.

    Attributes
    ----------
    mask_ : ndarray of shape (n_pixels,), bool
        True for the pixels that are kept.
    fill_values_ : ndarray of shape (n_kept,)
        Values that replace NaN in each kept pixel, in the unit of the training
        spectra; NaN for pixels that must be measured.
    constant_seen_ : bool
        Whether a training spectrum was constant over the mask.
    n_features_in_ : int
        Number of pixels of a spectrum, n_energy * n_q.
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
    """

    _parameter_constraints = {
        "normalization": [StrOptions(set(NORMALIZATIONS)), None],
        "min_valid_fraction": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(self, normalization="mean-range", *, min_valid_fraction=0.8):
        self.normalization = normalization
        self.min_valid_fraction = min_valid_fraction

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn which pixels are measured.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, n_energy, n_q)
            Training spectra; NaN marks pixels that were not measured.
        y : None
            Ignored, present for the convention.

        Returns
        -------
        self : MaskedSpectrumPreprocessor
            The fitted preprocessor.

        Raises
        ------
        ValueError
            If a value is infinite, a spectrum has no measured pixel, or no pixel
            is measured in `min_valid_fraction` of the spectra.
        """
        X = self._validate(X, reset=True)
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
        return self

    def transform(self, X):
        """Keep the measured pixels and normalise each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels) or (n_samples, n_energy, n_q)
            Spectra on the grid of the training spectra.

        Returns
        -------
        ndarray of shape (n_samples, n_kept)
            Finite, normalised spectra without unit; float32 for float32 input.

        Raises
        ------
        ValueError
            If a spectrum is constant, has another number of pixels, an infinite
            value, or NaN in a pixel that every training spectrum measured.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)[:, self.mask_]
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
        return normalize(X, self.normalization, constant_to_zero=constant_to_zero)

    def inverse_transform(self, X):
        """Put kept pixels back in their places, NaN elsewhere.

        The scale and offset that the normalisation removed are lost: the result is
        a normalised spectrum. With ``normalization=None`` it is the spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_kept)
            Normalised spectra over the kept pixels.

        Returns
        -------
        ndarray of shape (n_samples, n_pixels)
            The same values as full rows; NaN where not measured.

        Raises
        ------
        ValueError
            If X does not have one column for each kept pixel.
        """
        check_is_fitted(self)
        X = check_array(X, dtype=_FLOATS, ensure_all_finite="allow-nan")
        n_kept = self.mask_.sum()
        if X.shape[1] != n_kept:
            raise ValueError(
                f"X must have one column for each of the {n_kept} pixels that "
                f"transform keeps, got shape {X.shape}."
            )
        rows = np.full((len(X), self.mask_.size), np.nan, dtype=X.dtype)
        rows[:, self.mask_] = X
        return rows

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _get_support_mask(self):
        check_is_fitted(self)
        return self.mask_

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
        if getattr(X, "ndim", 2) == 3:
            X = X.reshape(len(X), -1)
        X = validate_spectra(
            self, X, reset=reset, dtype=_FLOATS, ensure_all_finite="allow-nan"
        )
        _refuse_unmeasured(X)
        return X


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
