"""Results of an inversion, one row or entry a spectrum."""

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult
from sklearn.utils import Bunch

from skphonon.inversion._errors import directions_of

__all__ = ["no_fit", "summary"]


def no_fit(x, n_pixels, shape, message):
    """Return NaN for all that is not known where there is no fit.

    The shape is the number of parts, of contributions and of terms of the background.
    """
    n_parts, n_contributions, n_terms = shape
    return OptimizeResult(
        x=x,
        covariance=np.full((x.size, x.size), np.nan),
        weights=np.full((n_parts, n_contributions + n_terms), np.nan),
        weight_std=np.full((n_parts, n_contributions), np.nan),
        shares=np.full((n_parts, n_contributions + 1), np.nan),
        distinctness=np.full((n_parts, n_contributions), np.nan),
        row=np.full(n_pixels, np.nan),
        loss=np.nan,
        at_bound=np.zeros(x.size, dtype=int),
        reduced_chi2=np.nan,
        n_effective=1.0,
        mesh_bias=np.zeros(x.size),
        nit=0,
        nfev=0,
        success=False,
        message=message,
    )


def summary(results, names, nuisances, parts, contributions, spread):
    """Return the Bunch of `LeastSquaresInverter.invert`.

    Names are of parameters, of nuisances and of contributions.
    """
    n, columns = len(names), ["sample", *contributions, "background"]
    covariance = np.stack([r.covariance[:n, :n] for r in results])
    return Bunch(
        parameters=np.array([r.x[:n] for r in results]),
        std=np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)),
        covariance=covariance,
        nuisance=_nuisance_table(results, n, nuisances, parts, contributions),
        residual=np.stack([r.row for r in results]),
        shares=_table("shares", results, parts, columns),
        distinctness=_table("distinctness", results, parts, ["", *contributions]),
        at_bound=_at_bound_table(results, names, nuisances, parts, contributions),
        reduced_chi2=np.array([r.reduced_chi2 for r in results]),
        n_effective=np.array([r.n_effective for r in results]),
        mesh_bias=np.stack([r.mesh_bias[:n] for r in results]),
        identifiable=[directions_of(c, names, spread) for c in covariance],
        choices=[r.get("choices") for r in results],
        others=[np.array([x[:n] for x in r.get("others", [])]) for r in results],
        of_choices=[_first(r.get("of_choices"), n) for r in results],
        loss=np.array([r.loss for r in results]),
        n_iter=np.array([r.nit for r in results]),
        n_evaluations=np.array([r.nfev for r in results]),
        converged=np.array([r.success for r in results]),
    )


def _first(matrix, n):
    """Return the part of a covariance that is of parameters."""
    return np.zeros((n, n)) if matrix is None else matrix[:n, :n]


def _at_bound_table(results, names, nuisances, parts, contributions):
    """Return where what was searched for, and weights of contributions, ended."""
    columns = [*names, *nuisances]
    rows = [r.at_bound for r in results]
    table = pd.DataFrame(np.array(rows), columns=columns)
    for i, part in enumerate(parts):
        for j, name in enumerate(contributions, 1):
            nothing = np.array([r.weights[i, j] == 0 for r in results])
            table[part.label(name)] = -nothing.astype(int)
    return table


def _nuisance_table(results, n, nuisances, parts, contributions):
    """Return values of nuisances, contributions and backgrounds by name."""
    weights = np.stack([r.weights for r in results])
    free = ["scale", *contributions]
    linear = [
        *free,
        *(f"background {i}" for i in range(weights.shape[2] - len(free))),
    ]
    columns: dict = {
        name: [r.x[n + i] for r in results] for i, name in enumerate(nuisances)
    }
    for i, part in enumerate(parts):
        for j, name in enumerate(linear):
            columns[part.label(name)] = weights[:, i, j]
    for i, name in enumerate(nuisances):
        variance = [r.covariance[n + i, n + i] for r in results]
        columns[f"{name} std"] = np.sqrt(variance)
    for i, part in enumerate(parts):
        for j, name in enumerate(free):
            std = [r.weight_std[i, j] for r in results]
            columns[f"{part.label(name)} std"] = std
    return pd.DataFrame(columns)


def _table(key, results, parts, names):
    """Return what each part of each result has for some names, where they have one."""
    columns = {
        part.label(name): [r[key][i, j] for r in results]
        for i, part in enumerate(parts)
        for j, name in enumerate(names)
        if name
    }
    return pd.DataFrame(columns, index=range(len(results)))
