"""Arrays of real numbers, whatever they come as."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def numbers_of(values: Any, name: str) -> Array:
    """Return real numbers as float64, NaN where they are masked or missing.

    A ValueError says what else they are: texts, times, lists of unequal lengths.
    """
    if hasattr(values, "requires_grad"):  # a tensor of torch
        values = values.detach().cpu()
    values = unmasked(values)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "cMmV" or isinstance(values, Mapping):
            raise TypeError(f"{type(values).__name__} of type {array.dtype}")
        if array.dtype == object:
            from pandas import isna

            array = np.where(isna(array), np.nan, array)
        return array.astype(float, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        what = str(error).partition(". ")[0].rstrip(".")
        raise ValueError(
            f"{name} must be real numbers in lists of equal lengths or an array, got "
            f"something else ({what})."
        ) from error


def unmasked(values: Any) -> Any:
    """Return values that are NaN where they were masked, also in a list."""
    if isinstance(values, np.ma.MaskedArray):
        if values.dtype.kind in "biuf" and np.ma.is_masked(values):
            return np.ma.filled(values.astype(float), np.nan)
        return values.filled() if np.ma.is_masked(values) else values.data
    if type(values) in (list, tuple) and any(
        isinstance(each, list | tuple | np.ma.MaskedArray) for each in values
    ):
        return [unmasked(each) for each in values]
    return values


def weighted_quantiles(values: Array, weights: Array, levels: Any) -> Any:
    """Return the values (n,) up to which shares of their weights are.

    An array of them for several levels, a number for one.
    """
    found = np.quantile(values, levels, weights=weights, method="inverted_cdf")
    return found if found.ndim else float(found)
