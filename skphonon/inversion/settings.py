"""Settings of a fit that travel together: two small estimators with names."""

from skphonon._validation import HasMethods, StrOptions, at_least, positive
from skphonon._versioned import VersionedEstimator
from skphonon.fitting import LOSSES

__all__ = ["Noise", "Search"]

ERRORS = "residual", "systematic", "noise", "poisson"


class Search(VersionedEstimator):
    """Where a fit is searched for, and how long.

    :class:`LeastSquaresInverter` takes one as `search`. In grid searches and
    `set_params` of the inverter the values go by names such as ``search__n_starts``.

    Parameters
    ----------
    n_starts : int, default=1
        Searches for each spectrum, of which the best is kept: from the best candidates
        or, where a regressor proposes, from there and at random about it.
    n_candidates : int, default=32
        Sets of parameters about the start, one step of `steps_` away and with its
        nuisances, or else drawn from the `prior`, that are simulated first, in one call
        for all spectra: a search begins at the one that comes closest to its spectrum.
        1 begins at the start, as do searches from what a regressor proposes.
    initial : array-like of shape (n_parameters,), regressor or None, default=None
        Where the search starts. A fitted regressor is asked for one start a
        spectrum; wrap it in :class:`sklearn.frozen.FrozenEstimator`, so that `clone`
        leaves it fitted. None means the mean of y or, without y, the `reference` of
        the simulator.
    max_evaluations : int, default=100
        Simulations (with derivatives) after which a search is given up.
    tolerance : float, default=1e-5
        A search has converged when the loss, or all parameters, change by less than
        this fraction.

    Examples
    --------
    >>> from skphonon.inversion import LeastSquaresInverter, Search
    >>> inverter = LeastSquaresInverter(search=Search(n_starts=3))
    >>> inverter.set_params(search__tolerance=1e-6)
    LeastSquaresInverter(search=Search(n_starts=3, tolerance=1e-06))
    """

    _parameter_constraints = {
        "n_starts": [at_least(1)],
        "n_candidates": [at_least(1)],
        "initial": ["array-like", HasMethods(["predict"]), None],
        "max_evaluations": [at_least(1)],
        "tolerance": [positive()],
    }

    def __init__(
        self,
        *,
        n_starts=1,
        n_candidates=32,
        initial=None,
        max_evaluations=100,
        tolerance=1e-5,
    ):
        self.n_starts = n_starts
        self.n_candidates = n_candidates
        self.initial = initial
        self.max_evaluations = max_evaluations
        self.tolerance = tolerance


class Noise(VersionedEstimator):
    """What a fit takes the residuals of a spectrum to be.

    :class:`LeastSquaresInverter` takes one as `noise`, or the name of `errors` alone.
    In grid searches and `set_params` of the inverter the values go by names such as
    ``noise__loss``.

    Parameters
    ----------
    errors : {"residual", "systematic", "noise", "poisson"}, default="residual"
        Where the error bars come from: from the residuals as they are, correlated
        between pixels where the model is wrong; from these and, "systematic", from how
        far other choices of the analysis would move the parameters (see the notes of
        :class:`LeastSquaresInverter`); or from noise alone, as if the model were right.
        "poisson" is for counts, from which nothing was subtracted or divided out: the
        variance of a pixel is what the fit expects there (2 % of the mean count at
        least), in rounds until neither changes, so that the fit is the likeliest one
        for Poisson's distribution.
    loss : {"linear", "huber", "soft_l1", "cauchy"}, default="linear"
        All but "linear" give less weight to residuals above `loss_width`.
    loss_width : float, default=3.0
        In standard deviations of the residuals.

    Examples
    --------
    >>> from skphonon.inversion import LeastSquaresInverter, Noise
    >>> LeastSquaresInverter(noise="poisson").set_params(noise__loss="huber")
    LeastSquaresInverter(noise=Noise(errors='poisson', loss='huber'))
    """

    _parameter_constraints = {
        "errors": [StrOptions(set(ERRORS))],
        "loss": [StrOptions(set(LOSSES))],
        "loss_width": [positive()],
    }

    def __init__(self, errors="residual", *, loss="linear", loss_width=3.0):
        self.errors = errors
        self.loss = loss
        self.loss_width = loss_width


def as_search(search):
    """Return the search that is meant, of None the usual one."""
    return Search() if search is None else search


def as_noise(noise):
    """Return the noise that is meant: a name is that of its errors."""
    return Noise(noise) if isinstance(noise, str) else noise


MOVED = {
    name: f"give {part.lower()}={part}({name}=...), or {part.lower()}__{name} to "
    "set_params"
    for part, names in (
        ("Search", Search._parameter_constraints),
        ("Noise", Noise._parameter_constraints),
    )
    for name in names
}
MOVED["errors"] = (
    "give noise=..., which takes the same names, or noise__errors to set_params"
)


def settings_of(state):
    """Take what 0.2.0.dev0 had as parameters out of a saved state; return settings."""
    search, noise = (
        part(**{name: state.pop(name) for name in part._parameter_constraints})
        for part in (Search, Noise)
    )
    return {
        "search": None if repr(search) == repr(Search()) else search,
        "noise": noise.errors if repr(noise) == repr(Noise(noise.errors)) else noise,
    }
