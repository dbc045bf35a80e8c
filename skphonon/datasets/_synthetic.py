"""Labelled spectra from a simulator: what a regressor learns from."""

from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils import check_random_state
from tqdm import tqdm

from skphonon._validation import parameter_rows

__all__ = ["make_powder_spectra"]

_CHUNK = 64  # spectra a task simulates; fixed, so that n_jobs changes no result


def make_powder_spectra(
    simulator,
    n_samples=None,
    *,
    parameters=None,
    spread=0.5,
    noise=0.0,
    random_state=None,
    n_jobs=None,
    verbose=0,
):
    """Simulate spectra for many sets of force constants.

    The sets are drawn uniformly around the simulator's reference, each parameter on its
    own, unless they are given. Sets that describe an unstable crystal are kept, as the
    published training set keeps them (a ninth of its labels are): their unstable modes
    scatter nothing. Where that is not wanted, draw parameters, keep those of which
    :meth:`ForceConstantModel.is_stable` holds and pass them.

    Parameters
    ----------
    simulator : object
        Anything with ``simulate``, ``reference`` and ``parameter_names``.
    n_samples : int, default=None
        Number of spectra; None where `parameters` are given, of which it takes the
        first `n_samples` otherwise.
    parameters : array-like of shape (n_samples, n_parameters), default=None
        Parameter sets to simulate, in the simulator's order; None draws them.
    spread : float or array-like of shape (n_parameters,), default=0.5
        Half-width of the distribution drawn from, relative to the size of each
        reference value.
    noise : float, default=0.0
        Standard deviation of white noise added to visible pixels, relative to the
        standard deviation of each spectrum over them. Noise of the published
        measurements amounts to about 0.23.
    random_state : int, RandomState instance or None, default=None
        Seed of parameters and noise. The same seed gives the same spectra whatever
        `n_jobs`.
    n_jobs : int, default=None
        Processes to simulate in, as in joblib; None is one unless a
        ``joblib.parallel_config`` says otherwise. Inside
        ``joblib.parallel_config(backend="dask")`` the workers of a cluster simulate.
    verbose : int, default=0
        Positive shows a progress bar.

    Returns
    -------
    X : ndarray of shape (n_samples, n_pixels)
        One spectrum a row, NaN where the instrument cannot see.
    y : ndarray of shape (n_samples, n_parameters)
        The parameters, in the simulator's order.

    Raises
    ------
    ValueError
        If neither or contradictory numbers of samples are given, or spread or noise
        is negative.

    See Also
    --------
    write_powder_spectra : The same spectra in files, for more than memory holds.

    Examples
    --------
    >>> import numpy as np
    >>> from skphonon import (
    ...     PowderSimulator, SpectrumGrid, load_aluminium_model, make_powder_spectra
    ... )
    >>> grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 8, 1.0))
    >>> simulator = PowderSimulator(load_aluminium_model(), grid)
    >>> X, y = make_powder_spectra(simulator, 3, random_state=0)
    >>> X.shape, y.shape
    ((3, 49), (3, 5))
    """
    y, noise_seed = draw_parameters(
        simulator, n_samples, parameters, spread, noise, random_state
    )
    X, done = None, 0
    with (
        Parallel(n_jobs=n_jobs, return_as="generator") as parallel,
        tqdm(total=len(y), desc="Simulating", disable=not verbose) as progress,
    ):
        for spectra in simulate_chunks(simulator, y, noise, noise_seed, parallel):
            if X is None:
                X = np.empty((len(y), spectra.shape[1]))
            X[done : done + len(spectra)] = spectra
            done += len(spectra)
            progress.update(len(spectra))
    return X, y


def draw_parameters(simulator, n_samples, parameters, spread, noise, random_state):
    """Check what is asked for; return the parameter sets and the seed of the noise.

    Raises
    ------
    ValueError
        If neither or contradictory numbers of samples are given, or spread or noise
        is negative.
    """
    if not noise >= 0:
        raise ValueError(f"noise must not be negative, got {noise!r}.")
    rng = check_random_state(random_state)
    y = _parameter_sets(simulator, n_samples, parameters, spread, rng)
    return y, int(rng.randint(2**31))


def simulate_chunks(simulator, y, noise, noise_seed, parallel, rows=None):
    """Yield the spectra of some rows of `y`, a few at a time and in order.

    `parallel` is a joblib.Parallel that returns a generator, `rows` a range (None: all
    rows). The noise of a spectrum depends on `noise_seed` and the number of its row,
    not on what else is simulated.
    """
    rows = range(len(y)) if rows is None else rows
    return parallel(
        delayed(_simulate)(
            simulator,
            y[start : min(start + _CHUNK, rows.stop)],
            noise,
            noise_seed,
            start,
        )
        for start in range(rows.start, rows.stop, _CHUNK)
    )


def _parameter_sets(simulator, n_samples, parameters, spread, rng):
    names = simulator.parameter_names
    if n_samples is not None and not (
        isinstance(n_samples, Integral) and n_samples > 0
    ):
        raise ValueError(f"n_samples must be a positive integer, got {n_samples!r}.")
    if parameters is not None:
        rows = parameter_rows(parameters, names)
        if n_samples is not None and n_samples > len(rows):
            raise ValueError(
                f"n_samples must not exceed the {len(rows)} parameter sets given, got "
                f"{n_samples}."
            )
        return rows[:n_samples].copy()
    if n_samples is None:
        raise ValueError("Give n_samples (how many sets to draw) or parameters.")
    reference = np.asarray(simulator.reference, dtype=float)
    relative = np.asarray(spread, dtype=float)
    if relative.shape not in ((), reference.shape) or not (relative >= 0).all():
        raise ValueError(
            f"spread must be a number or one for each of {len(names)} parameters, not "
            f"negative; got {spread!r}."
        )
    half_width = relative * np.abs(reference)
    return reference + half_width * rng.uniform(-1, 1, (n_samples, len(names)))


def _simulate(simulator, rows, noise, noise_seed, first):
    spectra = simulator.simulate(rows)
    if noise == 0:
        return spectra
    noisy = spectra.copy()
    for number, spectrum in enumerate(noisy, start=first):
        # numpy keeps the stream of a RandomState the same in all its versions
        seeds = np.random.SeedSequence(noise_seed, spawn_key=(number,))
        rng = np.random.RandomState(np.random.MT19937(seeds))
        visible = ~np.isnan(spectrum)
        values = spectrum[visible]
        white = rng.standard_normal(values.size)
        spectrum[visible] += noise * values.std() * white
    return noisy
