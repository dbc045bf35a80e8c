"""Knowledge of force constants before a spectrum is measured.

A prior is a normal distribution: a mean and a covariance, in eV/Angstrom^2 and its
square (:func:`mean_and_covariance` says in which forms it may be given).
:class:`ForceConstantPrior` makes one of several calculations,
:class:`~skphonon.physics.ShellPrior` one of a single model, a reduction to principal
directions has one of its parameters. Where nothing of that kind is known,
:func:`parameter_scales` tells how large each constant is by its reference value. That
is the scale of a single constant; the independent part of a `ForceConstantPrior` is in
units of the largest constant of a shell, since calculations that agree on a small
constant need not be right to a share of it.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from sklearn.utils import check_random_state

from skphonon._validation import check_columns
from skphonon._versioned import VersionedEstimator

__all__ = [
    "ForceConstantPrior",
    "draw",
    "has_moments",
    "mean_and_covariance",
    "parameter_scales",
    "shell_numbers",
]

if TYPE_CHECKING:
    from pandas import DataFrame

Array = NDArray[np.float64]

_ZERO = 0.02  # of the largest constant of a shell: what is as good as zero beside it
_ROUNDING = 1e-8  # of the largest value of all: nothing but rounding
_EMPTY = 0.05  # of the largest constant of all: the scale of a shell of zeros
_UNKNOWN = 0.2  # and that of a zero which belongs to no shell
_SHELL = re.compile(r"\d+")
_DIRECTION = re.compile(r"PC\d+")
_BLOCK = 1024  # sets drawn at once
_RAREST = 1e-3  # share of stable crystals below which drawing gives up
_WIDEST = np.log(10.0)  # of the factor that learn_softening looks for
_SYMMETRIC = 1e-6  # of both standard deviations, by which a covariance is symmetric
_SMALLEST = 1e-3  # of the largest size: the least size of a shell


def has_moments(prior: Any) -> bool:
    """Tell whether an object has `mean_` and `covariance_`, without asking for them.

    Asking would hide why a mean cannot be had.
    """
    return hasattr(type(prior), "mean_") or "mean_" in getattr(prior, "__dict__", {})


def mean_and_covariance(prior: Any, names: Sequence[str]) -> tuple[Array, Array]:
    """Return mean and covariance of a prior of named parameters, checked.

    It is an object that has them, as `mean_` and `covariance_`, or a pair: means, and
    standard deviations or a covariance.
    """
    pair = (prior.mean_, prior.covariance_) if has_moments(prior) else prior
    for part in pair:
        check_columns(part, names)
    mean, spread = (np.asarray(part, dtype=float) for part in pair)
    n = len(names)
    if mean.shape != (n,) or spread.shape not in ((n,), (n, n)):
        raise ValueError(
            f"prior must be means of shape ({n},) and standard deviations of that "
            f"shape or a covariance of shape ({n}, {n}); got shapes {mean.shape} "
            f"and {spread.shape}."
        )
    if not (np.isfinite(mean).all() and np.isfinite(spread).all()):
        raise ValueError(
            "prior must have finite means and deviations, got some that are not: "
            f"{mean!r} and {spread!r}. Of what is not known give a wide one."
        )
    covariance = np.diag(spread**2) if spread.ndim == 1 else spread
    sizes = np.sqrt(np.abs(np.diag(covariance)))
    differ = np.abs(covariance - covariance.T) > _SYMMETRIC * np.outer(sizes, sizes)
    if differ.any():
        raise ValueError(
            "prior must have a covariance that is symmetric, got one of which "
            f"{np.count_nonzero(differ)} elements differ from those across the "
            "diagonal."
        )
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "prior must have positive standard deviations, or a covariance that is "
            f"positive definite; got {spread!r}."
        ) from error
    return mean, covariance


def shell_numbers(names: Sequence[str]) -> NDArray[np.int_]:
    """Return the numbers that names of parameters begin with, 0 without one."""
    matches = [_SHELL.match(name) for name in names]
    return np.array([int(match.group()) if match else 0 for match in matches], int)


def parameter_scales(values: ArrayLike, names: Sequence[str]) -> Array:
    """Return how large parameters are, for steps of a search and widths of a draw.

    That is the size of a value, unless it is zero beside the other constants of its
    shell, as a calculation or rounding may leave it: it takes their root mean square
    then, since nothing says that the true one is zero too. Constants of a shell have
    names that begin with its number, ``2XX`` and ``2XZ``. Principal directions, ``PC1``
    and so on, are in units of their standard deviations: they have the scale 1.

    Parameters
    ----------
    values : array-like of shape (n_parameters,)
        Reference values.
    names : sequence of str
        Names of the parameters.

    Returns
    -------
    ndarray of shape (n_parameters,)
        In the unit of the values, positive. A shell of zeros has a twentieth of the
        largest value of all, a zero that belongs to no shell a fifth.

    Examples
    --------
    >>> from skphonon.physics.priors import parameter_scales
    >>> names = ["1XX", "1XY", "2XX", "2ZZ", "2XZ"]
    >>> parameter_scales([3.4, 2.2, 0.3, -0.4, -2.7e-17], names).round(2)
    array([3.4 , 2.2 , 0.3 , 0.4 , 0.35])
    """
    sizes = np.abs(np.asarray(values, dtype=float))
    shells = shell_numbers(names)
    largest = sizes.max(initial=0.0) or 1.0
    sizes[sizes < _ROUNDING * largest] = 0.0
    scales = np.where(sizes > 0, sizes, _UNKNOWN * largest)
    for shell in set(shells.tolist()) - {0}:
        own = shells == shell
        zero = sizes[own] <= _ZERO * sizes[own].max()
        others = sizes[own][~zero]
        typical = np.sqrt(np.mean(others**2)) if others.size else _EMPTY * largest
        scales[own] = np.where(zero, typical, sizes[own])
    directions = [bool(_DIRECTION.fullmatch(name)) for name in names]
    scales[np.array(directions, dtype=bool)] = 1.0
    return scales


def draw(
    prior: Any,
    model: Any,
    n_samples: int,
    widen: float,
    stable: bool,
    random_state: Any,
) -> Array:
    """Draw parameter sets of a model from a prior with mean_ and covariance_."""
    if not widen >= 0:
        raise ValueError(f"widen must not be negative, got {widen}.")
    rng = check_random_state(random_state)
    variances, axes = np.linalg.eigh(prior.covariance_)
    root = widen * axes * np.sqrt(np.maximum(variances, 0))
    mean, sets, n_kept, n_drawn = prior.mean_, [], 0, 0
    while n_kept < n_samples:
        normal = rng.standard_normal((_BLOCK, len(mean)))
        drawn = mean + normal @ root.T
        if stable:
            drawn = drawn[model.is_stable(drawn)]
        sets.append(drawn)
        n_kept, n_drawn = n_kept + len(drawn), n_drawn + _BLOCK
        if n_kept < _RAREST * n_drawn:
            raise ValueError(
                f"Hardly any draw is a stable crystal: {n_kept} of {n_drawn}. "
                "Widen less, take a narrower prior, or set stable=False."
            )
    return np.concatenate([np.empty((0, len(mean))), *sets])[:n_samples]


class ForceConstantPrior(VersionedEstimator):
    r"""Draw force constants from the spread of several calculations.

    The distribution is normal. Its mean is that of the calculations, its covariance

    .. math:: C = C_0 + c^2\, \bar p\, \bar p^T + w^2 \,\mathrm{diag}(s^2)

    holds how they differ (:math:`C_0`, their sample covariance), a factor common to all
    constants, since universal force fields are too soft or too stiff as a whole, and
    an independent part, without which no truth outside the span of a few calculations
    could be drawn. The size s of a constant is the root mean square over calculations
    of the largest constant of its shell, but at least a thousandth of the largest size.
    It is a `prior` of :class:`LeastSquaresInverter`.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.
    table : DataFrame
        One calculation a row: columns ``calculator``, ``strain``, ``temperature``,
        ``scale`` (factor in the constants), and one for each parameter in eV/Angstrom^2
        under its name; others may be there.
    common : float, default=0.1
        Standard deviation c of the common factor.
    independent : float, default=0.2
        Standard deviation w of the independent part of each constant, in units of s.

    Attributes
    ----------
    parameter_names : list of str
        Names of the parameters, in order.
    constants_ : ndarray of shape (n_calculations, n_parameters)
        Constants of the table in eV/Angstrom^2.
    mean_ : ndarray of shape (n_parameters,)
        Mean of the distribution in eV/Angstrom^2.
    covariance_ : ndarray of shape (n_parameters, n_parameters)
        Its covariance in eV^2/Angstrom^4.

    See Also
    --------
    sample_force_constants : Makes one with the calculators of ASE.

    Examples
    --------
    >>> import pandas as pd
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.physics import ForceConstantPrior
    >>> model = load_aluminium_model()
    >>> table = pd.DataFrame(
    ...     [0.9 * model.reference, 1.1 * model.reference],
    ...     columns=model.parameter_names,
    ... ).assign(calculator=["a", "b"], strain=0.0, temperature=0.0, scale=1.0)
    >>> prior = ForceConstantPrior(model, table)
    >>> prior.sample(1000, random_state=0).shape
    (1000, 5)
    """

    def __init__(
        self,
        model: Any,
        table: "DataFrame",
        *,
        common: float = 0.1,
        independent: float = 0.2,
    ) -> None:
        self.model = model
        self.table = table
        self.common = common
        self.independent = independent

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in order."""
        return self.model.parameter_names

    @property
    def constants_(self) -> Array:
        """Constants of the table, shape (n_calculations, n_parameters)."""
        if not hasattr(self.table, "columns"):
            raise ValueError(
                "table must be a DataFrame with a column for every parameter, such as "
                f"sample_force_constants returns, got {type(self.table).__name__}."
            )
        missing = [n for n in self.parameter_names if n not in self.table.columns]
        if missing:
            raise ValueError(
                "table must have a column for every parameter of the model; missing: "
                f"{', '.join(missing)}. Give the model that the table was made with."
            )
        constants = self.table[self.parameter_names].to_numpy(dtype=float)
        if not len(constants) or not np.isfinite(constants).all():
            raise ValueError(
                f"table must hold finite constants in at least one row, got "
                f"{len(constants)} rows. Leave calculations that failed out."
            )
        return constants

    @property
    def mean_(self) -> Array:
        """Mean of the distribution, shape (n_parameters,)."""
        return self.constants_.mean(axis=0)

    @property
    def covariance_(self) -> Array:
        """Covariance of the distribution, shape (n_parameters, n_parameters)."""
        if not (self.common >= 0 and self.independent >= 0):
            raise ValueError(
                f"common and independent must not be negative, got {self.common} and "
                f"{self.independent}."
            )
        constants = self.constants_
        mean = constants.mean(axis=0)
        rows = (constants - mean) / np.sqrt(max(len(constants) - 1, 1))
        spread = rows.T @ rows + self.common**2 * np.outer(mean, mean)
        return spread + np.diag((self.independent * self._sizes()) ** 2)

    def sample(
        self,
        n_samples: int,
        *,
        widen: float = 1.0,
        stable: bool = True,
        random_state: Any = None,
    ) -> Array:
        """Draw parameter sets.

        Parameters
        ----------
        n_samples : int
            Number of sets.
        widen : float, default=1.0
            Factor of all standard deviations. A training set should reach beyond what
            is expected.
        stable : bool, default=True
            Whether to keep only sets that describe a stable crystal.
        random_state : int, RandomState instance or None, default=None
            Seed; the first sets of a larger sample are those of a smaller one.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            In eV/Angstrom^2.

        Raises
        ------
        ValueError
            If hardly any set is stable, or `widen` is negative.
        """
        return draw(self, self.model, n_samples, widen, stable, random_state)

    def learn_softening(
        self, qpoints: ArrayLike, energies: ArrayLike
    ) -> dict[str, float]:
        """Return how soft each calculator is, from phonon energies that are known.

        One measured energy is enough, such as that of the optical phonon at the zone
        centre. What is compared is the row of a calculator with least strain, and of
        these the coldest.

        Parameters
        ----------
        qpoints : array-like of shape (n_points, 3)
            Wavevectors in units of the reciprocal lattice.
        energies : array-like of shape (n_points, n_modes)
            Known energies in meV, ascending; NaN where a mode is not known.

        Returns
        -------
        dict
            From calculators to the softening: the factor by which the constants that
            it gave are too small, in least squares of the energies; above 1 where it
            is too stiff.

        Raises
        ------
        ValueError
            If shapes do not fit, no energy is given, or a factor lies beyond ten.
        """
        known = np.asarray(energies, dtype=float)
        shape = (len(np.atleast_2d(qpoints)), 3 * self.model.n_atoms)
        if known.shape != shape or not (given := np.isfinite(known)).any():
            raise ValueError(
                f"energies must have shape {shape}, one value at least not NaN; got "
                f"shape {known.shape}."
            )
        learnt = {}
        for name, rows in self.table.groupby("calculator", sort=False):
            order = np.lexsort([rows["temperature"], rows["strain"].abs()])
            row = rows.iloc[order[0]]
            raw = row[self.parameter_names].to_numpy(float) / row["scale"]

            def misfit(logarithm: float, raw: Array = raw) -> float:
                found = self.model.frequencies([raw * np.exp(logarithm)], qpoints)[0]
                return ((found - known)[given] ** 2).sum()

            best = minimize_scalar(misfit, bounds=(-_WIDEST, _WIDEST), method="bounded")
            if abs(best.x) > 0.99 * _WIDEST:
                raise ValueError(
                    f"The constants of {name} differ from those that the energies tell "
                    "of by more than a factor of ten. Check unit (meV) and qpoints."
                )
            learnt[name] = float(np.exp(-best.x))
        return learnt

    def rescaled(self, softening: float | dict[str, float]) -> "ForceConstantPrior":
        """Return a prior with constants corrected for the softness of the calculators.

        Parameters
        ----------
        softening : float or dict
            Factor by which the constants that calculators gave are too small, of all
            or by name of the calculator; the constants are divided by it.

        Returns
        -------
        ForceConstantPrior
            With other constants and ``scale`` in its table; an earlier correction is
            replaced.

        Raises
        ------
        ValueError
            If a softening is not positive or belongs to no calculator.
        """
        names = self.table["calculator"]
        if isinstance(softening, dict):
            factors = softening
        else:
            factors = dict.fromkeys(names, softening)
        unknown = [name for name in factors if name not in set(names)]
        if unknown or not all(value > 0 for value in factors.values()):
            raise ValueError(
                "softening must be positive and name calculators of the table "
                f"({', '.join(dict.fromkeys(names))}), got {softening}."
            )
        scale = 1 / names.map(factors).fillna(1.0).astype(float)
        table = self.table.copy()
        ratio = (scale / table["scale"]).to_numpy()[:, None]
        table[self.parameter_names] = self.constants_ * ratio
        table["scale"] = scale
        return ForceConstantPrior(
            self.model, table, common=self.common, independent=self.independent
        )

    def _sizes(self) -> Array:
        """Return the size of the shell of each constant."""
        shells = shell_numbers(self.parameter_names)
        own = np.sqrt((self.constants_**2).mean(axis=0))
        alike = (shells[:, None] == shells) & (shells > 0)
        sizes = np.where(alike, own, 0.0).max(axis=1, initial=0.0)
        sizes = np.where(shells > 0, sizes, own)  # of no shell: of its own size
        return np.maximum(sizes, _SMALLEST * sizes.max())
