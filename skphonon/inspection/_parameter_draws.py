"""Fitted constants with their uncertainty, as draws from their distribution."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skphonon._validation import parameter_rows, reference_row

__all__ = ["ParameterDraws", "as_sets", "draw_parameters"]

_DRAWN = 200  # of a posterior
_NEGATIVE = 1e-8  # of the largest variance: what rounding leaves of a singular matrix


class ParameterDraws(NamedTuple):
    """A crystal, its best constants and draws from their distribution.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : ndarray of shape (n_parameters,)
        Best constants in eV/Angstrom^2.
    draws : ndarray of shape (n_draws, n_parameters)
        One set a row; none where no uncertainty is known.

    See Also
    --------
    draw_parameters : Makes one of a covariance matrix or standard deviations.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import ParameterDraws
    >>> model = load_aluminium_model()
    >>> posterior = model.reference * [[0.99], [1.0], [1.02]]
    >>> ParameterDraws(model, model.reference, posterior).draws.shape
    (3, 5)
    """

    model: Any
    parameters: np.ndarray
    draws: np.ndarray


def draw_parameters(
    model,
    parameters=None,
    *,
    std=None,
    covariance=None,
    draws=None,
    n_draws=100,
    random_state=None,
):
    """Draw constants from the distribution that a fit gave them.

    The distribution is normal, from a covariance matrix or from standard deviations of
    independent constants, unless draws of any distribution are given. Constants of a
    fit are rarely independent: prefer its covariance, or the error bars of what depends
    on sums of constants come out too large or too small.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    parameters : array-like of shape (n_parameters,), default=None
        Best constants in eV/Angstrom^2; None takes the reference of the model.
    std : array-like of shape (n_parameters,), default=None
        Standard deviations in eV/Angstrom^2; 0 for a constant that is known.
    covariance : array-like of shape (n_parameters, n_parameters), default=None
        Covariance matrix in eV^2/Angstrom^4; it may be singular.
    draws : array-like of shape (n_draws, n_parameters), default=None
        Existing draws: from a posterior, a bootstrap, or an ensemble.
    n_draws : int, default=100
        Number of draws to make.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws; an integer makes them the same each time.

    Returns
    -------
    ParameterDraws
        Without draws if no uncertainty is given.

    Raises
    ------
    ValueError
        If more than one kind of uncertainty is given, shapes do not fit, a value is
        not finite, or the covariance is not a positive semidefinite symmetric matrix.

    Examples
    --------
    >>> from skphonon.datasets import load_aluminium_model
    >>> from skphonon.inspection import draw_parameters
    >>> model = load_aluminium_model()
    >>> fit = draw_parameters(model, std=[0.02, 0.02, 0.03, 0.01, 0.01], random_state=0)
    >>> fit.draws.shape
    (100, 5)
    """
    names = model.parameter_names
    best = parameter_rows(
        reference_row(model) if parameters is None else parameters, names
    )
    if len(best) != 1:
        raise ValueError(
            f"parameters must be one set, shape ({len(names)},), got shape "
            f"{np.shape(parameters)}. Draw for one spectrum at a time."
        )
    given = [u for u in (std, covariance, draws) if u is not None]
    if len(given) > 1:
        raise ValueError(
            f"Give one of std, covariance and draws, got {len(given)} of them."
        )
    if draws is not None:
        return ParameterDraws(model, best[0], parameter_rows(draws, names, "draws"))
    if not given:
        return ParameterDraws(model, best[0], np.empty((0, len(names))))
    root = _diagonal(std, names) if covariance is None else _root(covariance, names)
    normal = check_random_state(random_state).standard_normal((n_draws, len(names)))
    return ParameterDraws(model, best[0], best + normal @ root.T)


def as_sets(draws):
    """Return draws by name; a single one has the empty name."""
    sets = draws if isinstance(draws, dict) else {"": draws}
    sets = {name: _drawn(each) for name, each in sets.items()}
    for name, given in sets.items():
        if not isinstance(given, ParameterDraws):
            raise TypeError(
                "draws must be a ParameterDraws, as from draw_parameters(model, ...), "
                "a posterior or a fit of a simulator with one model of a crystal, or a "
                f"dict of such; got {type(given).__name__} {name}".rstrip()
                + "."
            )
    if not sets:
        raise ValueError("draws must name at least one set of constants, got none.")
    return sets


def _drawn(given):
    """Return draws of a fit or a posterior, and what are draws as they are."""
    if hasattr(given, "sample") and getattr(given, "model", None) is not None:
        return draw_parameters(given.model, given.mean, draws=given.sample(_DRAWN))
    if isinstance(given, ParameterDraws) or not hasattr(given, "fit_report"):
        return given
    if not hasattr(given, "model") or given.model is None:
        return given
    return draw_parameters(
        given.model, given.parameters, covariance=given.covariance, random_state=0
    )


def _diagonal(std, names):
    if np.shape(std) not in ((len(names),), (1, len(names))):
        raise ValueError(
            f"std must have shape ({len(names)},), one number each of "
            f"{', '.join(names)}; got shape {np.shape(std)}."
        )
    deviations = parameter_rows(std, names, "std")[0]
    if (deviations < 0).any():
        raise ValueError(f"std must not be negative, got {deviations.tolist()}.")
    return np.diag(deviations)


def _root(covariance, names):
    """Return a matrix R with R R^T = covariance."""
    matrix = np.asarray(covariance, dtype=float)
    if matrix.shape != (len(names), len(names)):
        of_spectra = matrix.ndim == 3
        raise ValueError(
            f"covariance must have shape ({len(names)}, {len(names)}), a row and a "
            f"column each of {', '.join(names)}; got shape {matrix.shape}."
            + of_spectra
            * " Give that of one spectrum, such as covariance_[0]."
        )
    if not np.isfinite(matrix).all():
        raise ValueError(
            f"covariance must be finite, got {(~np.isfinite(matrix)).sum()} of "
            f"{matrix.size} values that are not. What the data leave undetermined "
            "needs a prior or a fixed value."
        )
    variances, axes = np.linalg.eigh((matrix + matrix.T) / 2)
    tolerance = _NEGATIVE * np.abs(variances).max()
    if variances.min() < -tolerance or np.abs(matrix - matrix.T).max() > tolerance:
        raise ValueError(
            "covariance must be symmetric and positive semidefinite, got eigenvalues "
            f"from {variances.min():.3g} to {variances.max():.3g} and an asymmetry of "
            f"{np.abs(matrix - matrix.T).max():.3g} eV^2/Angstrom^4."
        )
    return axes * np.sqrt(np.maximum(variances, 0))
