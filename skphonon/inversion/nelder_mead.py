"""The downhill simplex: no gradient, no training set."""

from numbers import Integral

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult, minimize
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skphonon._validation import HasMethods, StrOptions, at_least, positive
from skphonon.inversion._base import Inverter
from skphonon.inversion._goodness import warn_of_bounds
from skphonon.inversion._stages import COARSE
from skphonon.metrics import SCALES, nmse
from skphonon.physics.stability import UnstableCrystalWarning

__all__ = ["NelderMeadInverter"]

_ROUGH = 0.03  # tolerance on a coarse mesh
_AGAIN = 0.2  # edge of the simplex that goes on from there
_UNSTABLE = (
    ". Start closer with initial, or use LeastSquaresInverter, which takes bounds"
)
_BEYOND = "The emulator knows nothing beyond: train it on a wider range of parameters."


class NelderMeadInverter(Inverter):
    """Find the parameters whose simulated spectrum is closest to each spectrum.

    `predict` minimises :func:`skphonon.metrics.nmse` between each spectrum and its
    simulation by the downhill simplex of Nelder and Mead, a spectrum at a time. It
    needs no training set and no gradient, and it is the baseline that a learned
    regressor has to beat. It is slow, hundreds of simulations a spectrum, and finds
    the minimum nearest to its start: do not use it far from a good guess, or for
    more than about ten parameters.

    Far from its end a search simulates on a coarse mesh, if the simulator has
    `loosened`, as :class:`~skphonon.simulation.PowderSimulator` does; the end is that
    of the simulator as it is.

    Steps are taken in units of the first simplex, so that parameters of different
    size are treated alike.

    Parameters
    ----------
    simulator : simulator, regressor or None, default=None
        What turns parameters into spectra. An object with a `simulate` method is
        used as it is; the spectra are then full rows of its grid. A scikit-learn
        regressor is cloned and trained by `fit` as an emulator, from y to X. None
        is an emulator quadratic in the parameters.
    initial : array-like of shape (n_parameters,), regressor or None, default=None
        Where every search starts. A fitted regressor is asked for one start a
        spectrum; wrap it in :class:`sklearn.frozen.FrozenEstimator`, so that `clone`
        leaves it fitted. None means the mean of y or, without y, the `reference` of
        the simulator.
    scale : {"normalized", "fitted"}, default="normalized"
        Which :func:`skphonon.metrics.nmse` is minimised.
    simplex_size : float, default=1.0
        Edge of the first simplex along each parameter, in standard deviations of y
        or, without y, in quarters of the start.
    max_evaluations : int, default=1000
        Simulations after which the search for a spectrum is given up.
    tolerance : float, default=1e-3
        A search has converged when the simplex is smaller than this fraction of its
        first size in every direction and the NMSE at its corners differs by less.
    n_jobs : int or None, default=None
        Spectra inverted at the same time, in threads unless a
        :class:`joblib.parallel_config` asks for another backend.
    verbose : int, default=0
        Whether to show a progress bar over spectra.

    Attributes
    ----------
    simulator_ : object
        `simulator`, or the emulator that `fit` trained in its place.
    start_ : ndarray of shape (n_parameters,)
        Start of the searches, unless `initial` is a regressor.
    steps_ : ndarray of shape (n_parameters,)
        Edges of the first simplex, in the unit of the parameters.
    bounds_ : ndarray of shape (2, n_parameters)
        Lowest and highest values that a search tries: the range of y for an
        emulator, which knows nothing beyond, and infinite for a simulator.
    n_iter_, n_evaluations_ : ndarray of shape (n_samples,)
        Iterations and simulations of each search of the last `predict`.
    at_bound_ : DataFrame with n_samples rows
        -1 for parameters that ended at their lower bound in the last `predict`, 1 at
        the upper one, otherwise 0.
    loss_ : ndarray of shape (n_samples,)
        NMSE that each search of the last `predict` reached.
    converged_ : ndarray of shape (n_samples,), bool
        Whether each search of the last `predict` met `tolerance`.
    n_features_in_ : int
        Number of pixels of a spectrum.

    See Also
    --------
    skphonon.metrics.ResimulationScorer : Scores predictions without labels.

    Notes
    -----
    `predict` writes the figures of its searches down in the estimator; where several
    threads share one, read them from what `invert` returns instead.

    References
    ----------
    .. [1] J. A. Nelder and R. Mead, "A simplex method for function minimization",
       Comput. J. 7, 308 (1965), :doi:`10.1093/comjnl/7.4.308`.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon.inversion import NelderMeadInverter
    >>> class Peak:
    ...     parameter_names, reference = ["position", "width"], np.array([4.0, 1.0])
    ...     def simulate(self, parameters):
    ...         position, width = np.transpose(parameters)[..., None]
    ...         return np.exp(-(((np.arange(10.0) - position) / width) ** 2))
    >>> X = Peak().simulate([[5.0, 1.3], [3.5, 0.9]])
    >>> NelderMeadInverter(Peak()).fit(X).predict(X).round(2)
    array([[5. , 1.3],
           [3.5, 0.9]])
    """

    _parameter_constraints = {
        "simulator": [HasMethods(["simulate"]), HasMethods(["fit", "predict"]), None],
        "initial": ["array-like", HasMethods(["predict"]), None],
        "scale": [StrOptions(set(SCALES))],
        "simplex_size": [positive()],
        "max_evaluations": [at_least(1)],
        "tolerance": [positive()],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        simulator=None,
        *,
        initial=None,
        scale="normalized",
        simplex_size=1.0,
        max_evaluations=1000,
        tolerance=1e-3,
        n_jobs=None,
        verbose=0,
    ):
        self.simulator = simulator
        self.initial = initial
        self.scale = scale
        self.simplex_size = simplex_size
        self.max_evaluations = max_evaluations
        self.tolerance = tolerance
        self.n_jobs = n_jobs
        self.verbose = verbose

    def predict(self, X):
        """Find the parameters of each spectrum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra on the grid of the simulator, in any unit of intensity; NaN
            marks pixels that were not measured.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters) or (n_samples,)
            Parameters in the order of the simulator and the unit of its
            `reference`; one-dimensional where y was in `fit`.

        Raises
        ------
        ValueError
            If X has another number of pixels or infinite values, or a spectrum
            shares no pixel with its simulation.

        Warns
        -----
        ConvergenceWarning
            If searches ended at `max_evaluations`, or a spectrum is constant: its
            parameters are those of the start and its loss is NaN.
        BoundWarning
            If a parameter ended at a bound, that of an emulator: it may lie beyond.
        UnstableCrystalWarning
            If parameters describe a crystal with imaginary frequencies.
        """
        return self._keep(self.invert(X))

    def invert(self, X):
        """Find the parameters of each spectrum and tell how the search went.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, as for `predict`.

        Returns
        -------
        Bunch
            With one row or entry a spectrum: `parameters` (n_samples,
            n_parameters), `at_bound`, `loss` (NMSE), `n_iter`, `n_evaluations` and
            `converged`.

        Raises
        ------
        ValueError
            As for `predict`.

        Warns
        -----
        ConvergenceWarning, BoundWarning, UnstableCrystalWarning
            As for `predict`.
        """
        check_is_fitted(self)
        results = self._search_all(self._search, X)
        parameters = np.array([result.x for result in results])
        names = self._parameter_names(self.start_.size)
        # a simplex tells no places apart that are closer
        low, high = (
            np.abs(parameters - bound) <= self.tolerance * self.steps_
            for bound in self.bounds_
        )
        converged = np.array([result.success for result in results])
        at_bound = (high.astype(int) - low) * converged[:, None]
        at_bound = pd.DataFrame(at_bound, columns=names)
        warn_of_bounds(at_bound, self.bounds_, _BEYOND)
        self._warn_of_unstable(parameters, _UNSTABLE, UnstableCrystalWarning)
        return Bunch(
            parameters=parameters,
            at_bound=at_bound,
            loss=np.array([r.fun for r in results]),
            n_iter=np.array([r.nit for r in results]),
            n_evaluations=np.array([r.nfev for r in results]),
            converged=converged,
        )

    def _prepare(self):
        self.steps_ = self.simplex_size * self.steps_

    def _search(self, spectrum, pixels, start):
        """Minimise the NMSE of one spectrum, on a coarse mesh first if there is one."""
        if np.ptp(spectrum) == 0:
            return OptimizeResult(
                x=start, fun=np.nan, nit=0, nfev=0, success=False, message="constant"
            )
        coarse = None
        if hasattr(self.simulator_, "loosened"):
            coarse = self.simulator_.loosened(COARSE)
        if coarse is None:
            return self._simplex(spectrum, pixels, start, self.simulator_)
        tolerance = max(self.tolerance, _ROUGH)
        first = self._simplex(spectrum, pixels, start, coarse, tolerance=tolerance)
        left = max(self.max_evaluations - first.nfev, 1)
        found = self._simplex(
            spectrum, pixels, first.x, self.simulator_, _AGAIN, max_evaluations=left
        )
        found.nit, found.nfev = found.nit + first.nit, found.nfev + first.nfev
        return found

    def _simplex(
        self,
        spectrum,
        pixels,
        start,
        simulator,
        edge=1.0,
        tolerance=None,
        max_evaluations=None,
    ):
        """Minimise the NMSE by steps from the start."""
        origin = np.zeros(start.size)
        lower, upper = (self.bounds_ - start) / self.steps_

        def excess(x):
            return ((x - x.clip(lower, upper)) ** 2).sum()

        def misfit(x):
            parameters = start + self.steps_ * x.clip(lower, upper)
            simulated = simulator.simulate(parameters[None])[:, pixels]
            if not np.isfinite(simulated).all():
                return np.inf
            # A simplex clipped to the bounds would collapse: lead it back instead.
            return nmse(spectrum, simulated, scale=self.scale)[0] + excess(x)

        tolerance = tolerance or self.tolerance
        result = minimize(
            misfit,
            origin,
            method="Nelder-Mead",
            options={
                "initial_simplex": np.vstack([origin, edge * np.eye(start.size)]),
                "maxfev": max_evaluations or self.max_evaluations,
                "xatol": tolerance,
                "fatol": tolerance,
            },
        )
        result.fun -= excess(result.x)
        result.x = start + self.steps_ * result.x.clip(lower, upper)
        return result
