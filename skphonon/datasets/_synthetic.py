"""Labelled spectra from a simulator, for estimators to learn from."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from skphonon._moved import renamed
from skphonon._validation import parameter_rows
from skphonon.instrument.augmentation import (
    HOLDERS,
    augment,
    draw_values,
    nuisances_among,
    settle_ranges,
)
from skphonon.physics.priors import parameter_scales
from skphonon.physics.stability import searching
from skphonon.simulation.beside_sample import OF_THE_INSTRUMENT, of_holder

__all__ = ["make_powder_spectra"]

_CHUNK = 64  # spectra a task simulates; fixed, so that n_jobs changes no result


@renamed(variation="augmentation", return_variation="return_augmentation")
def make_powder_spectra(
    simulator,
    n_samples=None,
    *,
    parameters=None,
    spread=0.5,
    noise=0.0,
    augmentation=None,
    return_augmentation=False,
    random_state=None,
    n_jobs=None,
    verbose=0,
):
    r"""Simulate spectra for many sets of force constants.

    The sets are drawn uniformly around the simulator's reference, each parameter on its
    own, unless they are given. Sets that describe an unstable crystal are kept, as the
    published training set keeps them (a ninth of its labels are): their unstable modes
    scatter nothing. Where that is not wanted, draw parameters, keep those of which
    :meth:`ForceConstantModel.is_stable` holds and pass them.

    With `augmentation` and `noise` the spectra also differ as measurements do. Each is
    simulated with settings of the instrument of its own; then come background, counting
    noise, white noise and scale, in this order.

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
        reference value; for a value that is zero beside the others of its shell, to
        theirs (:func:`~skphonon.physics.priors.parameter_scales`).
    noise : float or pair of float, default=0.0
        Standard deviation of white noise added to visible pixels, relative to the
        standard deviation of each simulated spectrum over them; a pair (low, high)
        draws one for each spectrum, uniformly. Noise of the published measurements
        amounts to about 0.23.
    augmentation : dict, default=None
        From names to ranges (low, high), in which a value is drawn for each spectrum,
        or to a number, which holds for all. Uniformly drawn are

        - the `nuisance_names` of the simulator, with the meaning they have there
          (see the notes on :class:`~skphonon.simulation.PowderSimulator`);
        - ``"background"``: root mean square over visible pixels of a smooth background,
          relative to the standard deviation of the simulated spectrum. Its shape is
          :math:`\sum_{k+l \le 3} c_{kl} P_k(\epsilon) P_l(\kappa)`, with Legendre
          polynomials of E and :math:`|Q|` mapped on -1 to 1, and :math:`c_{kl}` normal
          with a standard deviation in proportion to :math:`1/(1+k+l)`. It is of either
          sign, as the remains of a subtraction are;
        - ``"holder of aluminium"``, ``"holder of copper"``: mean intensity of a sample
          holder, relative to that of the sample, with the same resolution,
          calibration and temperature;

        uniformly in their logarithms,

        - ``"counts"``: neutrons in a visible pixel of mean intensity. Pixels become
          Poisson counts with a mean in proportion to the size of what is shown
          (:math:`\chi''` or S, with background), put back to its scale and sign;
        - ``"scale"``: factor of all intensities;

        and, by the cube of a uniform number, so that most are weak,

        - ``"ripples"``: root mean square, relative to the standard deviation of the
          simulated spectrum, of errors that are alike over a few pixels, as what no
          simulation describes leaves them: white noise smoothed along each axis by a
          Gaussian of 1 to 6 pixels, drawn evenly in the logarithm.
    return_augmentation : bool, default=False
        Whether to return the values drawn.
    random_state : int, RandomState instance or None, default=None
        Seed of parameters, noise and augmentation. The same seed gives the same spectra
        whatever `n_jobs`.
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
    drawn : DataFrame of shape (n_samples, n_drawn)
        Values drawn for each spectrum: ``noise``, what `augmentation` names, and of a
        background the coefficients ``background_kl``, in units of the standard
        deviation of the simulated spectrum. Only if `return_augmentation`.

    Raises
    ------
    ValueError
        If neither or contradictory numbers of samples are given, spread or noise is
        negative, or `augmentation` names what the simulator does not offer or a range
        that is none.

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
    >>> simulator = PowderSimulator(
    ...     load_aluminium_model(), grid, energy_resolution=1.54
    ... )
    >>> X, y = make_powder_spectra(simulator, 3, random_state=0)
    >>> X.shape, y.shape
    ((3, 49), (3, 5))

    As an experiment might show them:

    >>> X, y, drawn = make_powder_spectra(
    ...     simulator, 3, noise=(0, 0.2), random_state=0, return_augmentation=True,
    ...     augmentation={"energy_resolution": (1.2, 1.9), "counts": (50, 500)},
    ... )
    >>> list(drawn)
    ['noise', 'counts', 'energy_resolution']
    """
    ranges = settle_ranges(simulator, noise, augmentation)
    y, seed = draw_parameters(simulator, n_samples, parameters, spread, random_state)
    with Parallel(n_jobs=n_jobs, return_as="generator") as parallel:
        chunks = simulate_chunks(simulator, y, ranges, seed, parallel)
        X = collect(chunks, len(y), verbose)
    if not return_augmentation:
        return X, y
    import pandas as pd  # workers, which start often, do not need it

    drawn = draw_values(simulator, ranges, seed, range(len(y)))
    return X, y, pd.DataFrame(drawn)


def collect(chunks, n_samples, verbose, dtype=float):
    """Return the spectra of all chunks in one array, with a progress bar."""
    X, done = None, 0
    with tqdm(total=n_samples, desc="Simulating", disable=not verbose) as progress:
        for spectra in chunks:
            if X is None:
                X = np.empty((n_samples, spectra.shape[1]), dtype=dtype)
            X[done : done + len(spectra)] = spectra
            done += len(spectra)
            progress.update(len(spectra))
    return X


def draw_parameters(simulator, n_samples, parameters, spread, random_state):
    """Return checked or drawn parameter sets, and the seed of all other draws."""
    rng = check_random_state(random_state)
    y = _parameter_sets(simulator, n_samples, parameters, spread, rng)
    return y, int(rng.randint(2**31))


def simulate_chunks(
    simulator, y, ranges, seed, parallel, *, rows=None, size=_CHUNK, record=augment
):
    """Yield the spectra of some rows of `y`, `size` at a time and in order.

    `parallel` is a joblib.Parallel that returns a generator, `rows` a range (None: all
    rows), and `record` makes measured spectra of simulated ones, as `augment` does.
    Values drawn for a spectrum depend on `seed` and the number of its row alone.
    """
    rows = range(len(y)) if rows is None else rows
    return parallel(
        delayed(_simulate)(
            simulator,
            y[start : min(start + size, rows.stop)],
            ranges,
            seed,
            start,
            record,
        )
        for start in range(rows.start, rows.stop, size)
    )


def _parameter_sets(simulator, n_samples, parameters, spread, rng):
    names = simulator.parameter_names
    is_number = isinstance(n_samples, int | np.integer)
    if n_samples is not None and not (is_number and n_samples > 0):
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
    half_width = relative * parameter_scales(reference, names)
    return reference + half_width * rng.uniform(-1, 1, (n_samples, len(names)))


def _simulate(simulator, y, ranges, seed, first, record):
    rows = range(first, first + len(y))
    drawn = draw_values(simulator, ranges, seed, rows)
    options = _options(nuisances_among(drawn), ranges)
    with searching():
        spectra = simulator.simulate(y, **options)
    for name in HOLDERS:
        if name in drawn:
            spectra = spectra + _of_holder(name, simulator, spectra, drawn, ranges)
    return record(simulator, spectra, drawn, seed, rows)


def _options(nuisance, ranges):
    """Return the options of a simulation with nuisances, which not all know."""
    if not nuisance:
        return {}
    within = {name: ranges[name] for name in nuisance}
    return {"nuisance": nuisance, "nuisance_ranges": within}


def _of_holder(name, simulator, spectra, drawn, ranges):
    """Return what a holder adds, recorded by the same instrument."""
    holder = of_holder(HOLDERS[name], simulator)
    shared = (*OF_THE_INSTRUMENT, "temperature")
    options = _options({key: drawn[key] for key in shared if key in drawn}, ranges)
    n_rows = len(spectra) if options else 1
    beside = holder.simulate(np.tile(holder.reference, (n_rows, 1)), **options)
    means = np.nanmean(spectra, axis=1) / np.nanmean(beside, axis=1)
    return beside * (drawn[name] * means)[:, None]
