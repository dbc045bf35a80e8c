"""Statistics of a latent space: information, effect and correlation of its dimensions.

An extractor is any step with `n_components_`, `transform` (codes, or their means and
then more columns) and `inverse_transform`; a pipeline is opened at its last such step.
"""

from itertools import product

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, gen_batches
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import steps_of

__all__ = [
    "active_dimensions",
    "latent_correlation",
    "latent_sensitivity",
    "latent_traversal",
]

_AT_ONCE = 500  # decoded spectra in memory, a few times


def active_dimensions(estimator, X, *, threshold=0.01):
    """Count the latent dimensions that a variational extractor uses.

    The Kullback-Leibler divergence of the distribution of a code from the prior, the
    standard normal distribution, is the information on a spectrum in this dimension. A
    dimension that training has given up has the prior for every spectrum, and a
    divergence of zero.

    Parameters
    ----------
    estimator : VAEFeatureExtractor or Pipeline
        Fitted extractor with a `kl_divergence` method, or a pipeline that holds one.
    X : array-like of shape (n_samples, n_features)
        Spectra: raw ones for a pipeline, preprocessed ones for an extractor.
    threshold : float, default=0.01
        A dimension is active where its mean divergence is above this, in nats.

    Returns
    -------
    Bunch
        With the attributes

        - kl : ndarray of shape (n_components,). Divergence of each dimension in nats,
          mean over spectra.
        - mask : ndarray of bool of shape (n_components,). Where `kl` is above
          `threshold`.
        - count : int. Number of active dimensions.
        - order : ndarray of int of shape (n_components,). Dimensions by falling `kl`.

    Raises
    ------
    TypeError
        If the extractor is deterministic, or there is none.
    ValueError
        If `threshold` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import active_dimensions
    >>> class Variational(PCA):
    ...     def kl_divergence(self, X):  # of codes with a standard deviation of 0.1
    ...         return (0.01 + self.transform(X) ** 2 - 1 - np.log(0.01)) / 2
    >>> X = np.outer([-1.0, 0.0, 1.0], [3.0, 4.0])
    >>> active = active_dimensions(Variational(2).fit(X), X, threshold=2.0)
    >>> active.count, active.order
    (1, array([0, 1]))
    """
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0 nats, got {threshold}.")
    _, extractor, rows = open_latent_space(estimator, X)
    if not hasattr(extractor, "kl_divergence"):
        raise TypeError(
            "active_dimensions needs a variational extractor, one with a "
            f"kl_divergence method, got {_name(extractor)}. The codes of a "
            "deterministic one have no distribution to compare with a prior; use "
            "latent_sensitivity."
        )
    kl = np.asarray(extractor.kl_divergence(rows), dtype=float).mean(axis=0)
    active = kl > threshold
    return Bunch(
        kl=kl,
        mask=active,
        count=int(active.sum()),
        order=np.argsort(-kl, kind="stable"),
    )


def latent_sensitivity(estimator, X, *, change=0.5, relative=False):
    """Measure the change of the decoded spectrum with each latent dimension.

    With x decoded from the mean code of a spectrum and x' from that code with one
    dimension moved, the sensitivity of this dimension is ``mean((x' - x)**2) /
    mean(x**2)`` over the features that the extractor sees, averaged over ``+change``,
    ``-change`` and the spectra. It grows as the square of a small change.

    Codes have a scale of their own: that of the prior where the weight of the
    divergence in training was large, any scale where it was small or there is none.
    ``relative=True`` counts in the spread of each dimension instead, so that
    extractors compare and a dimension that is never used does not weigh.

    Parameters
    ----------
    estimator : extractor or Pipeline
        Fitted extractor, or a pipeline that holds one.
    X : array-like of shape (n_samples, n_features)
        Spectra: raw ones for a pipeline, preprocessed ones for an extractor. A few
        hundred do; each is decoded twice for every dimension.
    change : float, default=0.5
        Distance in code space. 0.5 as in [1]_.
    relative : bool, default=False
        Whether `change` is in standard deviations of the mean code of each dimension
        over X, and not in units of the code.

    Returns
    -------
    Series of shape (n_components,)
        Sensitivity, without unit; the index is the dimension, from 0.

    Raises
    ------
    TypeError
        If there is no extractor.
    ValueError
        If a decoded spectrum is zero throughout.

    References
    ----------
    .. [1] Y. Su and C. Li, :doi:`10.48550/arXiv.2404.13507`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import latent_sensitivity
    >>> X = np.array([[3.0, 1.0], [-3.0, 1.0]])
    >>> latent_sensitivity(PCA(1).fit(X), X)  # 0.5**2 / (3**2 + 1)
    dimension
    0    0.025
    Name: sensitivity, dtype: float64
    """
    _, extractor, rows = open_latent_space(estimator, X)
    codes = mean_codes(extractor, rows)
    total = np.zeros(codes.shape[1])
    decode, steps = extractor.inverse_transform, _steps(codes, relative)
    for dimension, _, here, there in _moves(decode, codes, (-change, change), steps):
        power = np.square(here).mean(axis=1)
        if not power.all():
            raise ValueError(
                "A decoded spectrum must not be zero throughout, got "
                f"{np.sum(power == 0)} of {len(power)} that are: a relative change is "
                "not defined. Is the extractor trained?"
            )
        total[dimension] += (np.square(there - here).mean(axis=1) / power).sum()
    return pd.Series(total / (2 * len(codes)), _dimensions(total), name="sensitivity")


def latent_correlation(estimator, X):
    """Correlate the latent dimensions with one another.

    Parameters
    ----------
    estimator : extractor or Pipeline
        Fitted extractor, or a pipeline that holds one.
    X : array-like of shape (n_samples, n_features)
        Spectra: raw ones for a pipeline, preprocessed ones for an extractor. At least
        two.

    Returns
    -------
    DataFrame of shape (n_components, n_components)
        Pearson correlation of the mean codes over spectra, rows and columns by
        dimension, from 0. NaN where a dimension has the same code for every spectrum:
        it has no correlation, not one of zero. A dimension that is not active nearly
        does, and correlates with others by chance; see :func:`active_dimensions`.

    Raises
    ------
    TypeError
        If there is no extractor.
    ValueError
        If there is only one spectrum.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import latent_correlation
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> latent_correlation(PCA(2).fit(X), X).round(6).abs()
    dimension    0    1
    dimension
    0          1.0  0.0
    1          0.0  1.0
    """
    _, extractor, rows = open_latent_space(estimator, X)
    codes = mean_codes(extractor, rows)
    if len(codes) < 2:
        raise ValueError("A correlation needs at least two spectra, got one.")
    return pd.DataFrame(codes, columns=_dimensions(codes.T)).corr()


def latent_traversal(estimator, X, *, changes=(-0.5, 0.5), relative=False):
    """Compute the change of the decoded spectrum with each latent dimension.

    Parameters
    ----------
    estimator : extractor or Pipeline
        Fitted extractor, or a pipeline that holds one.
    X : array-like of shape (n_samples, n_features)
        Spectra to start from: raw ones for a pipeline, preprocessed ones for an
        extractor. One is enough; over several the change is averaged.
    changes : array-like of shape (n_changes,), default=(-0.5, 0.5)
        How far each dimension of the mean code is moved; repeated values count once.
    relative : bool, default=False
        Whether `changes` are in standard deviations of the mean code of each dimension
        over X, and not in units of the code.

    Returns
    -------
    DataFrame of shape (n_components * n_changes, n_pixels)
        Decoded spectrum with one dimension moved minus decoded spectrum, in the unit
        of preprocessed spectra. The index has the levels `dimension`, from 0, and
        `change`. From a pipeline the rows are full spectra, NaN where nothing was
        measured; from an extractor they have its features.

    Raises
    ------
    TypeError
        If there is no extractor.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skphonon.inspection import latent_traversal
    >>> X = np.array([[3.0, 1.0], [-3.0, 1.0]])
    >>> moved = latent_traversal(PCA(1).fit(X), X, changes=[2.0])
    >>> moved.loc[(0, 2.0)].abs().tolist()
    [2.0, 0.0]
    """
    before, extractor, rows = open_latent_space(estimator, X)

    def decode(codes):
        decoded = extractor.inverse_transform(codes)
        return decoded if before is None else before.inverse_transform(decoded)

    codes = mean_codes(extractor, rows)
    total: dict[tuple[int, float], np.ndarray] = {}
    changes = np.unique(np.asarray(changes, dtype=float))
    steps = _steps(codes, relative)
    for dimension, change, here, there in _moves(decode, codes, changes, steps):
        moved = (there - here).sum(axis=0)
        total[dimension, change] = total.get((dimension, change), 0) + moved
    index = pd.MultiIndex.from_tuples(total, names=["dimension", "change"])
    return pd.DataFrame(np.array([*total.values()]) / len(codes), index)


def open_latent_space(estimator, X):
    """Return the steps before the extractor (or None), it, and X as it sees it."""
    check_is_fitted(estimator)
    steps = steps_of(estimator)
    places = [place for place, step in enumerate(steps) if _is_extractor(step)]
    if not places:
        of_a_search = hasattr(estimator, "best_estimator_")
        raise TypeError(
            "estimator must be an extractor, with n_components_ and inverse_transform, "
            f"or a Pipeline with such a step; got {_name(estimator)} without one. "
            + of_a_search * "Pass the best_estimator_ of the search."
            + (not of_a_search) * "Pass the pipeline that holds the extractor."
        )
    place = places[-1]
    if place == 0:
        return None, steps[0], X
    before = Pipeline([(f"{n}", step) for n, step in enumerate(steps[:place])])
    return before, steps[place], before.transform(X)


def mean_codes(extractor, rows):
    """Return the mean code of each spectrum, float64."""
    codes = np.asarray(extractor.transform(rows), dtype=float)
    return codes[:, : extractor.n_components_]  # standard deviations may follow


def _is_extractor(step):
    return hasattr(step, "n_components_") and hasattr(step, "inverse_transform")


def _steps(codes, relative):
    """Return how far a change of 1 goes in each dimension."""
    return codes.std(axis=0) if relative else np.ones(codes.shape[1])


def _moves(decode, codes, changes, steps):
    """Decode batches of codes as they are, and with each dimension moved.

    Yields the dimension, the change, and the decoded spectra without and with it.
    """
    for batch in gen_batches(len(codes), _AT_ONCE):
        here = np.asarray(decode(codes[batch]), dtype=float)
        for dimension, change in product(range(codes.shape[1]), changes):
            moved = codes[batch].copy()
            moved[:, dimension] += change * steps[dimension]
            yield dimension, change, here, np.asarray(decode(moved), dtype=float)


def _dimensions(values):
    return pd.RangeIndex(len(values), name="dimension")


def _name(estimator):
    return type(getattr(estimator, "estimator", estimator)).__name__
