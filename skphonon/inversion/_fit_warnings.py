"""All that a fit has to warn of, once its results are there."""

import numpy as np

from skphonon._warnings import warn_user
from skphonon.inversion._goodness import (
    IdentifiabilityWarning,
    are_misfits,
    warn_of_bounds,
    warn_of_meshes,
    warn_of_misfits,
)
from skphonon.inversion._stages import SMALL_BIAS

__all__ = ["not_fitted_along", "warn_of_fits"]

_BOUND = (
    "Error bars are one-sided there, and all others take the bound for true. Widen it "
    "unless it is a limit of nature or of a calibration; if it is one, quote a limit "
    "and not a value."
)
_EMULATED = "The emulator knows nothing beyond: train it on a wider range of y."
_MEANING = {
    "residual": "error bars tell how far residuals as they are move the parameters, "
    "not how far a wrong model does.",
    "systematic": "error bars tell how far residuals as they are, and other choices of "
    "the analysis, move the parameters, not how far a wrong model does.",
    "noise": "error bars, which take the model to be right, are too small.",
}
_SHOWN = 4  # nuisances that a warning names


def warn_of_fits(
    result, names, bounds, alike, *, noise_known, errors, emulates, unused
):
    """Warn of what ended at a bound, and of what the model does not describe.

    `alike` are limits of the distinctness of each contribution.
    """
    others = result.at_bound.shape[1] - bounds.shape[1]
    bounds = np.hstack([bounds, np.outer([0.0, np.inf], np.ones(others))])
    warn_of_bounds(result.at_bound, bounds, _EMULATED if emulates else _BOUND)
    misfits = result.converged & are_misfits(
        result.reduced_chi2, result.n_effective, result.loss, noise_known
    )
    warn_of_misfits(
        result.reduced_chi2,
        misfits,
        noise_known,
        _MEANING.get(errors, _MEANING["noise"]),
        unused,
    )
    warn_of_meshes(result.mesh_bias, names, SMALL_BIAS)
    warn_of_likeness(result.distinctness, alike)


def not_fitted_along(simulator, nuisance, background, scale):
    """Return the arguments that would fit more along, with what they can take."""
    known = getattr(simulator, "nuisance_names", ())
    left = [name for name in known if name not in nuisance]
    left = list(dict.fromkeys(name.partition(" (")[0] for name in left))
    found = []
    if left:
        some = ", ".join(left[:_SHOWN]) + ", ..." * (len(left) > _SHOWN)
        found.append(f"nuisance ({some})")
    if background is None or np.array_equal(background, 0):
        higher = "a higher degree of " if background is not None else ""
        and_scale = scale == "normalized"
        found.append(f"{higher}background" + and_scale * " and scale='fitted'")
    return found


def warn_of_likeness(distinctness, limits):
    """Warn of contributions that the sample can imitate, all in one warning."""
    alike = distinctness < limits
    if not alike.to_numpy().any():
        return
    names = [name for name in distinctness if alike[name].any()]
    one = len(names) == 1
    told = " and ".join(
        f"{distinctness[name][alike[name]].min():.1%} of {name!r}" for name in names
    )
    n_rows, where = alike.any(axis=1).sum(), ""
    if len(alike) > 1:
        where = f" in {n_rows} of {len(alike)} spectra"
    warn_user(
        f"The contribution{'' if one else 's'} {', '.join(map(repr, names))} cannot be "
        f"told from the sample{where}: a change of scale, parameters, nuisances and "
        f"background imitates all but {told}. Weights, and parameters as far as they "
        "depend on them, are decided by noise and by small faults of the model. "
        "Subtract what has a known weight, measure in another can, or leave it out.",
        IdentifiabilityWarning,
    )
