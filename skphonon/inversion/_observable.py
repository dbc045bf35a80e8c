"""What a measured quantity must offer, to be fitted by the constants of a model."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skphonon._validation import parameter_rows
from skphonon._versioned import Immutable, immutable, read_only

__all__ = ["Observable", "measured_values"]

Array = NDArray[np.float64]


@immutable
class Observable(Immutable):
    """Base of quantities with errors that are functions of the constants of a model.

    A subclass tells what was measured by `measured` and `errors`, names the values by
    `quantities`, and computes them with their derivatives by `calculate`.

    Parameters
    ----------
    model : ForceConstantModel
        The crystal.

    Examples
    --------
    >>> from skphonon import load_aluminium_model
    >>> from skphonon.inversion import ElasticConstants
    >>> model = load_aluminium_model()
    >>> measured = ElasticConstants(model, {"C44": (28.0, 1.0)})
    >>> residuals, jacobian = measured.residuals(model.reference)
    >>> residuals.shape, jacobian.shape
    ((1,), (1, 5))
    """

    model: Any

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters of the model, in order."""
        return self.model.parameter_names

    @property
    def n_values(self) -> int:
        """Number of measured values."""
        return len(self.measured)

    @property
    def measured(self) -> Array:
        """Measured values, shape (n_values,)."""
        raise NotImplementedError

    @property
    def errors(self) -> Array:
        """Standard deviations of the measured values, shape (n_values,)."""
        raise NotImplementedError

    @property
    def quantities(self) -> list[str]:
        """Names of the values with their units."""
        raise NotImplementedError

    def calculate(self, parameters: ArrayLike) -> tuple[Array, Array]:
        """Return the values of the model, and their derivatives.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        values : ndarray of shape (n_values,)
            In the unit of the measured ones; NaN where an unstable crystal has none.
        slopes : ndarray of shape (n_values, n_parameters)
            Their derivatives with the parameters.
        """
        raise NotImplementedError

    def residuals(self, parameters: ArrayLike) -> tuple[Array, Array]:
        """Return deviations in standard deviations, and their derivatives.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        residuals : ndarray of shape (n_values,)
            Calculated less measured values, over the standard deviations.
        jacobian : ndarray of shape (n_values, n_parameters)
            Their derivatives with the parameters.
        """
        values, slopes = self.calculate(parameters)
        return (values - self.measured) / self.errors, slopes / self.errors[:, None]

    def settled(
        self, parameters: ArrayLike, covariance: ArrayLike | None = None
    ) -> "Observable":
        """Return the observable with what it chooses by the parameters held fixed.

        Most choose nothing and return themselves. Energies without labels are assigned
        to branches.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.
        covariance : array-like of shape (n_parameters, n_parameters), default=None
            How well these are known; None: exactly.

        Returns
        -------
        Observable
            To be fitted from these parameters on.
        """
        return self

    def mistaken(
        self, parameters: ArrayLike, covariance: ArrayLike | None = None
    ) -> Array:
        """Return deviations of what the values may have been mistaken for.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.
        covariance : array-like of shape (n_parameters, n_parameters), default=None
            How well these are known; None: exactly.

        Returns
        -------
        ndarray of shape (n_values,)
            Sizes in standard deviations: for an energy with a label that of the
            nearest other branch. Infinite where there is nothing else.
        """
        return np.full(self.n_values, np.inf)

    def unit_doubt(self, parameters: ArrayLike) -> str:
        """Return a sentence on values that seem to be in another unit.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2, of a crystal that is about right.

        Returns
        -------
        str
            Empty where nothing speaks for it: where values are not all off by one
            factor, that of a unit in common use.
        """
        return ""

    def table(self, parameters: ArrayLike) -> pd.DataFrame:
        """Return measured values beside calculated ones.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)
            In eV/Angstrom^2.

        Returns
        -------
        DataFrame
            Columns quantity, measured, std, calculated, and deviation: calculated less
            measured in standard deviations.
        """
        residuals, _ = self.residuals(parameters)
        return pd.DataFrame(
            {
                "quantity": self.quantities,
                "measured": self.measured,
                "std": self.errors,
                "calculated": self.measured + residuals * self.errors,
                "deviation": residuals,
            }
        )

    def _row(self, parameters: ArrayLike) -> Array:
        rows = parameter_rows(parameters, self.parameter_names)
        if len(rows) != 1:
            raise ValueError(
                f"parameters must be one set of shape ({rows.shape[1]},), got "
                f"{len(rows)} sets. Call once for each."
            )
        return rows[0]


def measured_values(
    values: ArrayLike, std: ArrayLike, what: str, n_values: int | None = None
) -> tuple[Array, Array]:
    """Return values and standard deviations as arrays of one length, checked.

    A single standard deviation is that of all values.
    """
    found = np.atleast_1d(_numbers(values, what))
    if found.ndim != 1 or not found.size or n_values not in (None, len(found)):
        expected = "(n_values,)" if n_values is None else f"({n_values},)"
        raise ValueError(
            f"{what} must have shape {expected}, got shape {np.shape(values)}. Give "
            "one value for each."
        )
    errors = _numbers(std, "std")
    if errors.shape not in ((), (1,), found.shape):
        raise ValueError(
            f"std must be one number or have shape {found.shape}, as {what}; got "
            f"shape {errors.shape}."
        )
    errors = np.broadcast_to(errors, found.shape)
    for name, each, good in (
        (what, found, np.isfinite(found)),
        ("std", errors, np.isfinite(errors) & (errors > 0)),
    ):
        if not good.all():
            first = int(np.argmin(good))
            above = " and above zero" if name == "std" else ""
            raise ValueError(
                f"{name} must be finite{above}, got {each[first]} in row {first}. "
                "Leave the row out, or give its value and standard deviation."
            )
    return read_only(found), read_only(errors)


def _numbers(given: ArrayLike, what: str) -> Array:
    try:
        return np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} must be numbers, got something else: {error}."
        ) from error
