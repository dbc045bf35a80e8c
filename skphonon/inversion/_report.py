"""Results of an inversion, one row or entry a spectrum."""

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult
from sklearn.utils import Bunch

from skphonon.inversion._errors import directions_of

__all__ = ["no_fit", "summary"]


def no_fit(x, n_pixels, weights_shape, message):
    """Return NaN for all that is not known where there is no fit."""
    return OptimizeResult(
        x=x,
        covariance=np.full((x.size, x.size), np.nan),
        weights=np.full(weights_shape, np.nan),
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


def summary(results, names, nuisances, parts, n_contributions, spread):
    """Return the Bunch of `LeastSquaresInverter.invert`."""
    n = len(names)
    covariance = np.stack([r.covariance[:n, :n] for r in results])
    return Bunch(
        parameters=np.array([r.x[:n] for r in results]),
        std=np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)),
        covariance=covariance,
        nuisance=_nuisance_table(results, n, nuisances, parts, n_contributions),
        residual=np.stack([r.row for r in results]),
        at_bound=_at_bound_table(results, names, nuisances, parts, n_contributions),
        reduced_chi2=np.array([r.reduced_chi2 for r in results]),
        n_effective=np.array([r.n_effective for r in results]),
        mesh_bias=np.stack([r.mesh_bias[:n] for r in results]),
        identifiable=[directions_of(c, names, spread) for c in covariance],
        loss=np.array([r.loss for r in results]),
        n_iter=np.array([r.nit for r in results]),
        n_evaluations=np.array([r.nfev for r in results]),
        converged=np.array([r.success for r in results]),
    )


def _at_bound_table(results, names, nuisances, parts, n_contributions):
    """Return where what was searched for, and weights of contributions, ended."""
    columns = [*names, *nuisances]
    rows = [r.at_bound for r in results]
    table = pd.DataFrame(np.array(rows), columns=columns)
    for i, part in enumerate(parts):
        for j in range(n_contributions):
            nothing = np.array([r.weights[i, 1 + j] == 0 for r in results])
            table[part.label(f"contribution {j + 1}")] = -nothing.astype(int)
    return table


def _nuisance_table(results, n, nuisances, parts, n_contributions):
    """Return values of nuisances, contributions and backgrounds by name."""
    weights = np.stack([r.weights for r in results])
    linear = ["scale", *(f"contribution {i + 1}" for i in range(n_contributions))]
    linear += [f"background {i}" for i in range(weights.shape[2] - len(linear))]
    columns: dict = {
        name: [r.x[n + i] for r in results] for i, name in enumerate(nuisances)
    }
    for i, part in enumerate(parts):
        for j, name in enumerate(linear):
            columns[part.label(name)] = weights[:, i, j]
    for i, name in enumerate(nuisances):
        variance = [r.covariance[n + i, n + i] for r in results]
        columns[f"{name} std"] = np.sqrt(variance)
    return pd.DataFrame(columns)
