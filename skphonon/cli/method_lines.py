"""Lines that find constants, by one method or by all of them."""

from skphonon.cli.request import Request
from skphonon.cli.script import Script

__all__ = ["add_fit", "add_simulator", "training_lines"]

_Q_WIDTHS = 0.02, 0.15  # 1/Angstrom, standard deviation: of bins, and of many detectors
_NAMES = {
    "least squares": "fitted with all else, the posterior's start",
    "posterior": "means of draws, and their standard deviations",
    "network": "trained on simulations alone, with the prior of the fit",
    "fine-tuned network": "its extractor trained on measured spectra as well",
    "Nelder-Mead": "constants alone are fitted, all else is as the file says",
}


def add_simulator(script: Script, asked: Request) -> None:
    """Add lines that end with `simulator`, `nuisance`, `start` and `inverter_of`."""
    known = asked.resolution
    of_q = [] if asked.draws else [f'    "q_resolution": {_Q_WIDTHS},  # 1/Angstrom']
    width = "" if known is None else f", energy_resolution={known!r}"
    script.add(
        "what would have been measured",
        "def simulator_of(model, tolerance=1e-3):",
        "    return skphonon.PowderSimulator.from_measurement(",
        f"        model, measured, tolerance=tolerance{width}",
        "    )",
        "",
        "",
        "simulator = simulator_of(model)",
        "width = simulator.energy_resolution  # a function has a factor",
        "span = (0.5, 2.0) if callable(width) else (0.5 * width, 2.0 * width)",
        "nuisance = {",
        '    "energy_resolution": span,',
        *of_q,
        '    "lattice_scale": (0.98, 1.02),',
        "}",
        "start = None  # that of the crystal",
        "",
        "",
        "def inverter_of(simulator, prior, start=None):",
        "    search = None",
        "    if start is not None:",
        "        search = Search(initial=start, n_candidates=1)",
        "    return skphonon.LeastSquaresInverter(",
        "        simulator,",
        "        nuisance=nuisance,",
        "        background=3,",
        "        contributions=beside,",
        "        prior=prior,",
        "        search=search,",
        "        random_state=0,",
        "    )",
    )
    script.need("from skphonon.inversion import Search")


def add_fit(script: Script, asked: Request) -> None:
    """Add lines that end with `found`, and `answers` where several are compared."""
    lines = {
        "least-squares": _least_squares,
        "posterior": _posterior,
        "network": _network,
        "compare": _compare,
    }[asked.method]
    lines(script, asked)


def _least_squares(script: Script, asked: Request) -> None:
    script.add(
        "the fit; error bars hold what other choices of the analysis would change",
        "inverter = inverter_of(simulator, prior, start)",
        'inverter.set_params(noise="systematic")',
        "inverter.fit(measured.data)",
        "inverter.predict(measured.data, errors=errors)",
        "found = inverter.fits_[0]",
        "answers = {}",
    )


def _posterior(script: Script, asked: Request) -> None:
    script.add(
        "the posterior",
        "inverter = skphonon.PosteriorInverter(",
        "    inverter_of(simulator, prior), random_state=0",
        ")",
        "inverter.fit(measured.data)",
        "inverter.predict(measured.data, errors=errors)",
        "found = inverter.posteriors_[0]",
        "answers = {}",
    )


def training_lines(asked: Request) -> list[str]:
    """Return lines of what differs between spectra of a training set."""
    return [
        "ranges = {",
        "    **nuisance,",
        '    "mean_square_displacement": (-0.002, 0.008),  # 1/3 <u^2>, Angstrom^2',
        '    "ripples": (0.0, 0.3),  # what no simulation describes',
        '    **{f"holder of {name}": (0.0, 0.5) for name in beside},',
        "}",
        f"sets = prior.sample({asked.n_spectra}, random_state=0)",
    ]


def _network(script: Script, asked: Request) -> None:
    """Add lines that train a network, or take one, and ask it."""
    script.need("from skphonon.inversion import fit_with_constants")
    if asked.network is None:
        _add_training(script, asked)
    rows = ["rows = measured.data"]
    if asked.network is not None:
        rows += [
            "if network[0].n_conditions:",
            "    rows = np.append(rows, [[measured.temperature]], axis=1)",
        ]
    script.add(
        "its answer, with all else fitted",
        "inverter = inverter_of(simulator, prior)",
        *rows,
        "constants, std = network.predict(rows, return_std=True)",
        "names = simulator.parameter_names",
        "if constants.shape[1] != len(names):",
        "    raise ValueError(",
        "        f'The network gives {constants.shape[1]} constants, the crystal '",
        "        f'has {len(names)}: it was trained for another one.'",
        "    )",
        "found = fit_with_constants(",
        "    inverter, constants[0], measured.data, std=std[0], errors=errors",
        ")",
        "answers = {}",
    )


def _add_training(script: Script, asked: Request) -> None:
    """Add lines that end with `network`, and what it was trained on."""
    script.need(
        "import numpy as np",
        "from skphonon.datasets import make_powder_spectra",
        "from skphonon.learning import powder_network",
    )
    script.add(
        "a network, trained on simulated spectra that differ as measured ones do",
        *training_lines(asked),
        "X, y, drawn = make_powder_spectra(",
        "    simulator_of(model, tolerance=1e-2),",
        "    parameters=sets,",
        "    noise=(0.02, 0.4),",
        "    augmentation=ranges,",
        "    return_augmentation=True,",
        "    random_state=0,",
        "    n_jobs=-1,",
        "    verbose=1,",
        ")",
        "X[:, np.isnan(measured.data).any(axis=0)] = np.nan",
        "drawn = drawn[[name for name in ranges if name in simulator.nuisance_names]]",
        "network = powder_network(",
        "    measured.grid, max_epochs=30, random_state=0, verbose=1",
        ")",
        "network.fit(X, y, forceconstantregressor__nuisance=drawn)",
    )


def _compare(script: Script, asked: Request) -> None:
    """Add lines of all methods, each with its time."""
    script.need(
        "from time import perf_counter",
        "from skphonon.inspection import draw_parameters",
        "from skphonon.inversion import fit_with_constants",
        "from skphonon.learning import fine_tune",
        "from skphonon.report import Answer",
    )
    names = list(_NAMES)
    script.add(
        "least squares and the posterior",
        "started = perf_counter()",
        "inverter = inverter_of(simulator, prior).fit(measured.data)",
        "inverter.predict(measured.data, errors=errors)",
        "fit = inverter.fits_[0]",
        f"seconds = {{{names[0]!r}: perf_counter() - started}}",
        "posterior = skphonon.PosteriorInverter(inverter, random_state=0)",
        "posterior.fit(measured.data)",
        "posterior.predict(measured.data, errors=errors)",
        "found = posterior.posteriors_[0]",
        f"seconds[{names[1]!r}] = perf_counter() - started",
    )
    script.add("the clock of networks", "started = perf_counter()")
    _add_training(script, asked)
    script.add(
        "the same network, its extractor tuned on what was measured",
        f"seconds[{names[2]!r}] = perf_counter() - started",
        "tuned = fine_tune(",
        "    network, spectra.data, X, y, forceconstantregressor__nuisance=drawn",
        ")",
        f"seconds[{names[3]!r}] = perf_counter() - started",
    )
    script.add(
        "the simplex of Nelder and Mead",
        "started = perf_counter()",
        'simplex = skphonon.NelderMeadInverter(simulator, scale="fitted")',
        "optimum = simplex.fit(measured.data).predict(measured.data)[0]",
        f"seconds[{names[4]!r}] = perf_counter() - started",
    )
    script.add(
        "what each says, by one measure: all but the constants is fitted again",
        "of_network, std = network.predict(measured.data, return_std=True)",
        "of_tuned, std_of_tuned = tuned.predict(measured.data, return_std=True)",
        "n = len(simulator.parameter_names)",
        "constants = {",
        f"    {names[0]!r}: (fit.parameters, fit.std),",
        f"    {names[1]!r}: (found.mean[:n], found.covariance.diagonal()[:n] ** 0.5),",
        f"    {names[2]!r}: (of_network[0], std[0]),",
        f"    {names[3]!r}: (of_tuned[0], std_of_tuned[0]),",
        f"    {names[4]!r}: (optimum, None),",
        "}",
        "notes = {",
        *(f"    {name!r}: {note!r}," for name, note in _NAMES.items()),
        "}",
        "answers = {}",
        "for name, (values, error) in constants.items():",
        "    held = fit_with_constants(",
        "        inverter, values, measured.data, std=error, errors=errors",
        "    )",
        "    draws = draw_parameters(model, values, std=error, random_state=0)",
        "    answers[name] = Answer(draws, error, held, seconds[name], notes[name])",
        "answers['least squares'] = answers['least squares']._replace(constants=fit)",
        "answers['posterior'] = answers['posterior']._replace(constants=found)",
    )
