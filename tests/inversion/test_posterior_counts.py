"""Posteriors of counts beside closed forms, quadrature and the limit of many counts."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp
from scipy.stats import gamma, norm, poisson

from skphonon import (
    LeastSquaresInverter,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.inversion import _target_counts, compare_posteriors
from skphonon.inversion._residuals import Problem
from skphonon.inversion._target import Target, log_positive
from skphonon.inversion._target_counts import CountsTarget

AXIS = np.linspace(-5, 5, 120)
BOUNDS = [-2.0, 0.5], [2.0, 2.0]


class Peak:
    """A peak of the area 36 pixels, by place and width."""

    parameter_names, reference = ["place", "width"], np.array([0.0, 1.0])

    def simulate(self, parameters):
        place, width = np.transpose(parameters)[..., None]
        return 3 * norm.pdf(AXIS, place, width)

    def jacobian(self, parameters, return_spectra=False):
        place, width = np.transpose(parameters)[..., None]
        z, shown = (AXIS - place) / width, self.simulate(parameters)
        found = np.stack([shown * z / width, shown * (z**2 - 1) / width], axis=2)
        return (found, shown) if return_spectra else found


class Level:
    """Pixels with one expectation, the parameter."""

    parameter_names, reference = ["level"], np.array([2.0])

    def simulate(self, parameters):
        return np.asarray(parameters) * np.ones(25)

    def jacobian(self, parameters, return_spectra=False):
        found = np.ones((len(parameters), 25, 1))
        return (found, self.simulate(parameters)) if return_spectra else found


def posteriors(simulator, X, errors=None, n_draws=400, kind="poisson", **options):
    """Return posteriors of spectra, their warnings being of other tests."""
    inverter = PosteriorInverter(
        LeastSquaresInverter(simulator, noise=kind, **options),
        n_draws=n_draws,
        n_starts=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.fit(X).predict(X, errors=errors)
    return inverter.posteriors_


def target_of(counts, expected, terms, n_sources=1, free_scale=True, kind=CountsTarget):
    """Return the target of one part, and the widths of amplitudes of columns."""

    class Sources:
        sources = [None] * n_sources

    weight = 1 / np.sqrt(np.maximum(expected, 0.02 * counts.mean()))
    problem = Problem(counts, None, [terms], None, weight, free_scale)
    pixels = np.ones(len(counts), dtype=bool)
    contrast = np.sqrt(problem._contrast(slice(0, len(counts))))

    def widths(columns):
        return contrast / np.linalg.norm(columns * weight, axis=1)

    return kind(problem, Sources(), pixels, None, 0), widths


def integral(counts, columns, low, high, number):
    """Return the log integral over amplitudes of columns (k, n), by trapezes."""
    axes = [np.linspace(*pair, number) for pair in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(
        -1, len(columns)
    )
    found = []
    for some in np.array_split(places, max(len(places) // 5000, 1)):
        expected = some @ columns
        allowed = (expected >= 0).all(axis=1)
        found.append(poisson.logpmf(counts, expected.clip(0)).sum(axis=1))
        found[-1][~allowed] = -np.inf
    spacing = sum(np.log(axis[1] - axis[0]) for axis in axes)
    return logsumexp(np.concatenate(found)) + spacing


def one_part(target, spectra):
    return target._of_part(0, slice(0, spectra.shape[-1]), spectra)


def test_the_level_of_counts_has_its_closed_form():
    """A flat prior of one expectation leaves a gamma distribution."""
    counts = np.random.default_rng(0).poisson(0.4, (1, 25)).astype(float)
    (posterior,) = posteriors(
        Level(),
        counts,
        scale="absolute",
        background=None,
        bounds=([1e-9], [40.0]),
        n_draws=4000,
    )
    total = counts.sum()
    exact = gamma(total + 1, scale=1 / 25)
    assert_allclose(posterior.mean[0], exact.mean(), rtol=0.02)
    assert_allclose(posterior.std[0], exact.std(), rtol=0.03)
    evidence = gammaln(total + 1) - (total + 1) * np.log(25) - np.log(40)
    evidence -= gammaln(counts + 1).sum()
    assert_allclose(posterior.log_evidence, evidence, atol=0.03)
    assert posterior.beta == 1


@pytest.mark.parametrize(
    ("level", "error"), [(0.1, 0.2), (0.3, 0.15), (1.0, 0.06), (10.0, 0.02)]
)
def test_a_scale_beside_quadrature(level, error):
    """Of 12 counts and more, with shapes that are right and wrong."""
    rng = np.random.default_rng(1)
    shapes = Peak().simulate([[0.2, 0.8], [0.6, 0.8], [0.2, 1.2]])
    shapes /= shapes.mean(axis=1, keepdims=True)
    counts = rng.poisson(level * shapes[0]).astype(float)
    target, widths = target_of(counts, level * shapes[0], np.zeros((120, 0)))
    found = one_part(target, shapes[:, None])
    highest = counts.mean() + 10 * np.sqrt(counts.mean() / 120)
    expected = [
        integral(counts, shape[None], [1e-6], [highest], 20001) for shape in shapes
    ] - np.log(widths(shapes))
    assert_allclose(found, expected, atol=error)
    # what all shapes have alike moves nothing
    assert_allclose(np.ptp(found - expected), 0, atol=0.06)


@pytest.mark.parametrize(
    ("level", "error"), [(0.1, 0.2), (0.3, 0.15), (1.0, 0.1), (10.0, 0.02)]
)
def test_a_scale_and_a_background_beside_quadrature(level, error):
    rng = np.random.default_rng(2)
    shapes = Peak().simulate([[0.2, 0.8], [0.4, 0.8], [0.2, 1.0]])
    shapes /= shapes.mean(axis=1, keepdims=True)
    mean = level * (shapes[0] + 0.5)
    counts, terms = rng.poisson(mean).astype(float), np.ones((120, 1))
    target, widths = target_of(counts, mean, terms)
    found = one_part(target, shapes[:, None])
    room = 8 * np.sqrt(level / 60)
    (width,) = 2 * widths(terms.T)
    expected = [
        integral(
            counts,
            np.stack([shape, terms[:, 0]]),
            [max(level - room, 0), max(level / 2 - room, -level / 10)],
            [level + room, level / 2 + room],
            301,
        )
        - np.log(widths(shape[None])[0] * width)
        for shape in shapes
    ]
    assert_allclose(found, expected, atol=error)


def test_a_background_of_several_terms_changes_smoothly():
    """Of few counts, beside walls of any number; and beside many more places."""
    rows, columns = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 20))
    terms = np.stack([np.ones(400), rows.ravel(), columns.ravel()], axis=1)
    shares = np.linspace(0, 1, 41)[:, None]
    first = np.exp(-((columns - rows / 2) ** 2) / 0.1).ravel()
    last = np.exp(-((columns + rows / 2 - 0.2) ** 2) / 0.2).ravel()
    shapes = (1 - shares) * first + shares * last
    shapes /= shapes.mean(axis=1, keepdims=True)
    for background in (0.0, 0.1):
        mean = 0.3 * shapes[20] + background
        counts = np.random.default_rng(1).poisson(mean).astype(float)
        target, _ = target_of(counts, mean, terms)
        found = one_part(target, shapes[:, None])
        assert np.ptp(found) > 2
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_target_counts, "_NODES", 11)
            _target_counts._nodes.cache_clear()
            finer = one_part(target, shapes[:, None])
        _target_counts._nodes.cache_clear()
        assert np.abs(np.diff(finer, 2)).max() < 0.15
        assert np.abs(np.diff(found - finer)).max() < 0.1
        assert_allclose(found, finer, atol=0.2)


def test_a_plane_below_few_counts_beside_quadrature():
    """Three amplitudes, of the background alone."""
    rows, columns = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8))
    terms = np.stack([np.ones(64), rows.ravel(), columns.ravel()], axis=1)
    counts = np.random.default_rng(3).poisson(0.3 * (1 + terms[:, 1])).astype(float)
    target, widths = target_of(
        counts, np.full(64, 0.3), terms, n_sources=1, free_scale=False
    )
    (found,) = one_part(target, np.zeros((1, 1, 64)))
    expected = integral(counts, terms.T, [0, -1, -1], [1, 1, 1], 91)
    # with columns that are orthogonal already
    expected -= np.log(2 * widths(terms.T)).sum()
    assert_allclose(found, expected, atol=0.2)


def test_the_way_from_walls_to_normal_is_smooth(monkeypatch):
    """Both integrals are right there."""
    shares = np.linspace(0, 1, 41)[:, None]
    first, last = Peak().simulate([[0.0, 1.0], [0.2, 1.1]])
    shapes = (1 - shares) * first + shares * last
    mean, terms = 20 * first + 2, np.stack([np.ones(120), AXIS / 5], axis=1)
    counts = np.random.default_rng(8).poisson(mean).astype(float)
    target, _ = target_of(counts, mean, terms)
    best = target._likeliest(0, slice(0, 120), shapes[:, None], inside=True)
    distance = _target_counts._distance(best)
    assert ((distance > 4) & (distance < 9)).all()
    found = []
    # from places alone to Laplace alone
    for far in (distance.max() + 1, distance.min() - 1, distance.min() - 3):
        monkeypatch.setattr(_target_counts, "_FAR", far)
        found.append(one_part(target, shapes[:, None]))
    assert np.abs(found[0] - found[1]).max() > 0
    assert_allclose(found[1], found[0], atol=0.05)
    assert_allclose(found[2], found[0], atol=0.05)


def test_a_background_that_no_count_supports():
    """Its integral is that of an exponential, cut at zero."""
    rng = np.random.default_rng(3)
    shapes = Peak().simulate([[0.0, 0.6], [0.1, 0.6], [0.0, 0.65]])
    counts = rng.poisson(4 * shapes[0]).astype(float)
    terms = np.ones((120, 1))
    target, widths = target_of(counts, 4 * shapes[0], terms)
    found = one_part(target, shapes[:, None])
    (width,) = 2 * widths(terms.T)
    expected = [
        integral(counts, np.stack([s, terms[:, 0]]), [2, -0.001], [6, 0.2], 301)
        - np.log(widths(s[None])[0] * width)
        for s in shapes
    ]
    assert_allclose(found, expected, atol=0.15)


def test_a_contribution_that_no_count_supports():
    """Two peaks, of which the second has none."""
    shapes = Peak().simulate([[-2.0, 0.5], [2.5, 0.5]])
    counts = np.random.default_rng(4).poisson(6 * shapes[0]).astype(float)
    counts[AXIS > 1] = 0.0
    target, widths = target_of(counts, 6 * shapes[0], np.zeros((120, 0)), n_sources=2)
    (found,) = one_part(target, shapes[None])
    expected = integral(counts, shapes, [3, 0], [9, 0.5], 301)
    expected -= np.log(widths(shapes)).sum()
    assert_allclose(found, expected, atol=0.15)


def test_a_scale_that_is_not_free_is_the_probability_itself():
    shapes = 3 * Peak().simulate([[0.0, 1.0], [0.3, 1.2]]) + 0.2
    counts = np.random.default_rng(5).poisson(shapes[0]).astype(float)
    target, _ = target_of(counts, shapes[0], np.zeros((120, 0)), free_scale=False)
    expected = poisson.logpmf(counts, shapes).sum(axis=1)
    assert_allclose(one_part(target, shapes[:, None]), expected, rtol=1e-9)


def test_many_counts_are_normal():
    rng = np.random.default_rng(6)
    shapes = Peak().simulate([[0.0, 1.0], [0.002, 1.0], [0.0, 1.003]])
    mean = 1e6 * shapes[0] + 1e5
    counts = rng.poisson(mean).astype(float)
    found = []
    for kind in (CountsTarget, Target):
        target, _ = target_of(counts, mean, np.ones((120, 1)), kind=kind)
        found.append(one_part(target, shapes[:, None]))
    unit = -np.log(2 * np.pi * mean).sum() / 2
    assert_allclose(found[0], found[1] + unit, atol=0.3)
    assert np.ptp(found[1]) > 1


def test_the_probability_of_an_orthant_far_out():
    """Beside quadrature over the first value, the second given it."""
    for share in (-0.4, 0.5):
        covariance = np.array([[1, share], [share, 1.0]])
        for mean in ([0.0, 0.0], [-3.0, 1.0], [-30.0, 5.0], [-6.0, 1.0]):
            x = np.linspace(0, 12, 100001)
            given = mean[1] + share * (x - mean[0])
            terms = norm.logpdf(x, mean[0]) + norm.logcdf(given / np.sqrt(1 - share**2))
            terms[0] -= np.log(2)
            expected = logsumexp(terms) + np.log(x[1])
            found = log_positive(np.array([mean]), covariance[None])
            assert_allclose(found, expected, atol=0.01)


@pytest.fixture(scope="module")
def counted():
    """Spectra of two counts a pixel from the prior."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(*BOUNDS, (40, 2))
    return truth, rng.poisson(4 * Peak().simulate(truth) + 1.0).astype(float)


@pytest.mark.slow
def test_intervals_hold_where_roots_of_counts_as_errors_are_biased(counted):
    truth, X = counted
    found = posteriors(Peak(), X, bounds=BOUNDS)
    tables = [each.summary() for each in found]
    for low, high, level in (("low", "high", 0.683), ("low95", "high95", 0.95)):
        held = [
            (table[low] < row).to_numpy() & (row < table[high]).to_numpy()
            for table, row in zip(tables, truth, strict=True)
        ]
        # three binomial standard deviations of 40
        room = 3 * np.sqrt(level * (1 - level) / 40)
        assert_allclose(np.mean(held, axis=0), level, atol=room)
    z = [(each.mean - row) / each.std for each, row in zip(found, truth, strict=True)]
    assert_allclose(np.mean(z, axis=0), 0, atol=3 / np.sqrt(40))
    assert np.mean([each.efficiency for each in found]) > 0.8
    roots = np.sqrt(np.maximum(X, 1))
    normal = posteriors(Peak(), X, errors=roots, bounds=BOUNDS, kind="noise")
    z = [(each.mean - row) / each.std for each, row in zip(normal, truth, strict=True)]
    # tails without counts weigh too much: peaks are too narrow
    assert np.mean(z, axis=0)[1] < -0.5


def test_predicted_spectra_are_counts(counted):
    _, X = counted
    (posterior,) = posteriors(Peak(), X[:1], bounds=BOUNDS)
    spectra = posterior.simulate(300)
    assert_array_equal(spectra, np.round(spectra))
    assert (spectra >= 0).all()
    wing = np.abs(AXIS - posterior.mean[0]) > 4
    level = posterior.fit.nuisance["background 0"]
    assert_allclose(spectra[:, wing].mean(), level, rtol=0.1)
    assert_allclose(spectra[:, wing].var(), spectra[:, wing].mean(), rtol=0.1)


def test_most_pixels_without_a_count():
    rng = np.random.default_rng(7)
    truth = rng.uniform(*BOUNDS, (1, 2))
    X = rng.poisson(0.4 * Peak().simulate(truth)).astype(float)
    assert (X == 0).mean() > 0.8
    (posterior,) = posteriors(Peak(), X, bounds=BOUNDS, background=None, n_draws=4000)
    # all by quadrature: parameters, and the scale for each of them
    places, sizes = np.linspace(-2, 2, 81), np.linspace(0.5, 2, 41)
    rows = np.stack(np.meshgrid(places, sizes, indexing="ij"), -1).reshape(-1, 2)
    shown = Peak().simulate(rows)
    sigma = posterior._drawn.sigma
    lengths = np.linalg.norm(shown / sigma, axis=1)
    sums, total = shown.sum(axis=1), X.sum()
    # the integral over the scale is a gamma function
    density = (X * np.log(shown)).sum(axis=1) - (total + 1) * np.log(sums)
    weight = np.exp(density + np.log(lengths) - (density + np.log(lengths)).max())
    weight /= weight.sum()
    expected = weight @ rows
    std = np.sqrt(weight @ np.square(rows - expected))
    assert_allclose(posterior.mean, expected, atol=0.15 * std.max())
    assert_allclose(posterior.std, std, rtol=0.1)


def test_modes_are_of_the_likelihood_of_counts(counted):
    _, X = counted
    found = posteriors(Peak(), X[:4], bounds=BOUNDS, n_draws=100)
    n_inside = 0
    for posterior, counts in zip(found, X, strict=False):

        def unlikely(p, counts=counts):
            expected = p[2] * Peak().simulate([p[:2]])[0] + p[3]
            return -poisson.logpmf(counts, expected.clip(1e-9)).sum()

        start = [*posterior.parameters, 4.0, 1.0]
        best = minimize(unlikely, start, method="Nelder-Mead", options={"maxiter": 999})
        modes = posterior.modes[["place", "width"]].to_numpy()
        if (np.abs(best.x[:2]) < 1.99).all() and best.x[1] > 0.51:
            n_inside += 1
            assert_allclose(modes[0], best.x[:2], atol=0.05 * posterior.std.min())
    assert n_inside > 1


def test_a_contribution_beside_a_sample_of_known_scale():
    """Beside quadrature over place, width and the weight of what is flat."""
    rng = np.random.default_rng(9)
    mean = 6 * Peak().simulate([[0.5, 1.0]]) + 0.1
    X = rng.poisson(mean).astype(float)

    class Higher(Peak):
        def simulate(self, parameters):
            return 6 * super().simulate(parameters)

    (posterior,) = posteriors(
        Higher(),
        X,
        n_draws=3000,
        scale="absolute",
        background=None,
        contributions={"flat": np.ones(120)},
        bounds=BOUNDS,
    )
    places, widths = np.linspace(0.1, 0.9, 41), np.linspace(0.6, 1.4, 41)
    rows = np.stack(np.meshgrid(places, widths, indexing="ij"), -1).reshape(-1, 2)
    shown, weights = Higher().simulate(rows), np.linspace(1e-6, 0.5, 101)
    density = np.zeros(len(rows))
    for weight in weights:
        density += np.exp(poisson.logpmf(X, shown + weight).sum(axis=1) + 200)
    total = density.sum()
    density /= total
    expected = density @ rows
    std = np.sqrt(density @ np.square(rows - expected))
    assert_allclose(posterior.mean, expected, atol=0.06 * std.max())
    assert_allclose(posterior.std, std, rtol=0.06)
    # and of the weight's prior, as wide as what is as large as the contrast
    sigma = posterior._drawn.sigma
    centre = np.average(X[0], weights=sigma**-2)
    wide = np.linalg.norm((X[0] - centre) / sigma) / np.linalg.norm(1 / sigma)
    cell = (places[1] - places[0]) * (widths[1] - widths[0])
    exact = np.log(total * cell / 6 * (weights[1] - weights[0]) / wide) - 200
    assert_allclose(posterior.log_evidence, exact, atol=0.1)


def test_pixels_that_were_not_measured_are_left_out(counted):
    _, X = counted
    masked = X[:1].copy()
    masked[:, ::7] = np.nan
    (posterior,) = posteriors(Peak(), masked, bounds=BOUNDS)
    assert np.isfinite(posterior.log_evidence)
    assert_array_equal(np.isnan(posterior.simulate(2)[0]), np.isnan(masked[0]))


def test_a_search_may_end_at_no_resolution_in_q():
    """The bound is zero, where spectra do not change with the width."""
    grid = SpectrumGrid(np.arange(10, 42, 2.0), np.arange(2, 8, 0.5))
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.5, mesh=6, q_resolution=0.0
    )
    changes = simulator.jacobian([simulator.reference], nuisance="q_resolution")
    assert_array_equal(changes[..., -1], 0)
    X = simulator.simulate([simulator.reference])
    X = np.random.default_rng(0).poisson(3 * X / X.mean()).astype(float)
    half = np.abs(simulator.reference) / 2 + 0.02
    bounds = simulator.reference - half, simulator.reference + half
    nuisance = {"q_resolution": (0.0, 0.2)}
    (posterior,) = posteriors(
        simulator, X, bounds=bounds, nuisance=nuisance, n_draws=20
    )
    assert np.isfinite(posterior.log_evidence)


def test_a_spectrum_without_any_count_has_no_posterior(counted):
    _, X = counted
    least = LeastSquaresInverter(Peak(), bounds=BOUNDS, noise="poisson")
    inverter = PosteriorInverter(least, n_draws=20).fit(X[:1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, std = inverter.predict(np.zeros_like(X[:1]), return_std=True)
    assert any("have no posterior" in str(each.message) for each in caught)
    assert np.isnan(std).all()


def test_a_part_without_any_count_tells_little():
    """The other half of a peak decides, almost as if nothing else had been measured."""

    class Halves(Peak):
        parts = {"left": (slice(0, 60), None), "right": (slice(60, 120), None)}

    mean = 6 * Peak().simulate([[0.0, 1.0]]) + 2
    X = np.random.default_rng(10).poisson(mean).astype(float)
    empty, unseen = X.copy(), X.copy()
    empty[:, 60:], unseen[:, 60:] = 0.0, np.nan
    found = posteriors(Halves(), np.vstack([empty, unseen]), bounds=BOUNDS)
    for posterior in found:
        assert np.isfinite(posterior.log_evidence)
    assert_allclose(found[0].mean, found[1].mean, atol=0.6 * found[1].std.max())


def test_counts_need_not_be_whole(counted):
    """Such as those of a monitor that is not quite constant."""
    _, X = counted
    whole, other = posteriors(Peak(), np.vstack([X[0], 1.01 * X[0]]), bounds=BOUNDS)
    assert_allclose(other.mean, whole.mean, atol=0.2 * whole.std.min())
    assert_allclose(other.std, whole.std, rtol=0.1)
    assert np.isfinite(other.log_evidence)
    with pytest.raises(ValueError, match="must hold counts"):
        posteriors(Peak(), X[:1] - 1, bounds=BOUNDS)


def test_evidence_of_counts_is_that_of_their_distribution():
    """Of one level with a flat prior: a gamma function, cut at the bound."""
    counts = np.random.default_rng(8).poisson(2.0, 25).astype(float)

    def inverter(high):
        return PosteriorInverter(
            LeastSquaresInverter(
                Level(),
                scale="absolute",
                background=None,
                bounds=([1e-9], [high]),
                noise="poisson",
            ),
            n_draws=2000,
        )

    models = {"wide": inverter(40.0), "narrow": inverter(4.0)}
    table = compare_posteriors(models, counts)
    assert set(table.index.get_level_values("noise")) == {"counts"}
    found = table.loc["counts", "log_evidence"]
    total = counts.sum()
    for name, high in (("wide", 40.0), ("narrow", 4.0)):
        exact = gammaln(total + 1) - (total + 1) * np.log(25) - np.log(high)
        exact += gamma(total + 1, scale=1 / 25).logcdf(high)
        exact -= gammaln(counts + 1).sum()
        assert_allclose(found[name], exact, atol=0.03)
    assert (table["beta"] == 1).all()
    other = models["wide"].inverter
    mixed = PosteriorInverter(LeastSquaresInverter(Level(), bounds=other.bounds))
    with pytest.raises(ValueError, match="of all inverters or of none; 'normal'"):
        compare_posteriors({"counts": models["wide"], "normal": mixed}, counts)
