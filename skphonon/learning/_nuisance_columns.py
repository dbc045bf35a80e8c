"""Nuisances as further targets of a regressor: names and columns, checked."""

from collections.abc import Mapping

import numpy as np

__all__ = ["named_columns"]


def named_columns(nuisance, n_samples, X, y):
    """Return the names of nuisances and their columns, (n_samples, n_nuisances).

    Columns with an index must have that of X and y, of what has one.
    """
    if nuisance is None:
        return [], np.zeros((n_samples, 0))
    table = hasattr(nuisance, "columns")
    if not (table or isinstance(nuisance, Mapping)):
        raise ValueError(
            "nuisance must be a DataFrame or a mapping from names to numbers, got "
            f"{type(nuisance).__name__}. Use series.to_frame() of a Series, "
            "pandas.DataFrame(array, columns=names) of an array."
        )
    labels = list(nuisance.columns if table else nuisance)
    names = [str(label) for label in labels]
    _check_names(names)
    columns = np.zeros((n_samples, len(names)))
    for number, (name, label) in enumerate(zip(names, labels, strict=True)):
        column = nuisance[label]
        _check_index(name, column, X, y)
        columns[:, number] = _numbers(name, column, n_samples, table)
    return names, columns


def _check_names(names):
    """Refuse names that occur twice, also as that of a standard deviation."""
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(
            f"Names of nuisances must differ, got {min(twice)!r} more than once. "
            "Rename the columns, or leave some out."
        )
    for name in names:
        if f"{name} std" in names:
            raise ValueError(
                f"No nuisance may be called {f'{name} std'!r}, as the standard "
                f"deviation of {name!r} will be. Rename it, or leave it out."
            )


def _check_index(name, column, X, y):
    """Refuse a column whose rows are labelled otherwise than those of X or y."""
    index, of_X, of_y = map(_index_of, (column, X, y))
    if index is None:
        return
    same = of_y is None or index.equals(of_y)
    if of_X is not None and not index.equals(of_X):
        # earlier steps number rows that had no labels: only another order tells
        same = same and not index.isin(of_X).all()
    if not same:
        raise ValueError(
            "nuisance must have the index of y and X, as rows belong together by their "
            f"position, got another one for {name!r}. Use nuisance.loc[y.index] to put "
            "the rows in the order of y, or nuisance.set_axis(y.index) if they are in "
            "it."
        )


def _index_of(data):
    """Return the index of data of pandas, None of others."""
    index = getattr(data, "index", None)  # a list has a method of that name
    return index if hasattr(index, "equals") else None


def _numbers(name, column, n_samples, table):
    """Return a column as float64, of a finite number a sample."""
    given = np.asarray(column)
    try:
        if np.iscomplexobj(given):
            raise TypeError
        values = given.astype(float)
    except (TypeError, ValueError):
        raise ValueError(
            f"nuisance must hold real numbers, got {name!r} of type {given.dtype}."
        ) from None
    if values.shape != (n_samples,):
        advice = ""
        if not table and values.ndim == 1:
            advice = (
                " In cross-validation give a DataFrame, whose rows are split with "
                "those of X: pandas.DataFrame(nuisance)."
            )
        raise ValueError(
            f"nuisance must have a number for each of {n_samples} samples, got "
            f"{name!r} of shape {values.shape}.{advice}"
        )
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise ValueError(
            f"nuisance must be a finite number for each sample, got {name!r} with "
            f"{n_bad} NaN or infinite of {n_samples}. Leave out these samples, or "
            "this nuisance."
        )
    return values
