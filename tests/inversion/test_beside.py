"""What lies beside the sample: cans, multiple scattering, tails, and their weights."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone

from skphonon import JointSimulator, Measurement, PowderSimulator, load_aluminium_model
from skphonon.instrument import SpectrumGrid
from skphonon.inversion import (
    BoundWarning,
    IdentifiabilityWarning,
    LeastSquaresInverter,
    MisfitWarning,
)
from skphonon.inversion._beside import sources_of
from skphonon.inversion._model import Model
from skphonon.simulation import (
    ElasticTail,
    MultipleScattering,
    Scattering,
)

GRID = SpectrumGrid(np.arange(4, 42, 2.0), np.arange(1, 8, 0.5), incident_energy=60.0)
MODEL = load_aluminium_model()
HARDER = MODEL.replace(reference=1.5 * np.array(MODEL.reference))
TRUTH = np.array(MODEL.reference) * [1.03, 0.9, 0.98, 1.05, 1.1]


def powder(model=MODEL, grid=GRID, **settings):
    settings = {"mesh": 6, "quantity": "sqe", "energy_resolution": 1.5} | settings
    return PowderSimulator(model, grid, **settings)


SAMPLE, CAN = powder(), powder(HARDER)


def beside(sample, can=0.4, multiple=0.2, tail=0.0):
    """Return spectra of the sample and all else, with these weights."""
    spectra = can * CAN.simulate([CAN.reference])
    spectra = spectra + multiple * MultipleScattering().of_sample(sample, GRID)
    return sample + spectra + tail * ElasticTail(1.5).on(SAMPLE)


def measured(row, grid=GRID, **settings):
    return Measurement(np.where(grid.mask.ravel(), row, np.nan), grid, **settings)


def inverter(contributions, simulator=SAMPLE, **settings):
    settings = {"search__n_candidates": 1, "noise": "noise"} | settings
    made = LeastSquaresInverter(simulator, contributions=contributions)
    return made.set_params(**settings)


class Bumps(BaseEstimator):
    """Two peaks, the heights and the place of which are parameters; no grid."""

    parameter_names, reference = ("height", "place"), np.array([0.7, 20.0])
    x = np.arange(60.0)

    def simulate(self, parameters):
        return self.jacobian(parameters, return_spectra=True)[1]

    def jacobian(self, parameters, return_spectra=False):
        height, place = np.transpose(np.asarray(parameters, dtype=float))[..., None]
        one = np.exp(-(((self.x - place) / 4) ** 2))
        two = np.exp(-(((self.x - 2 * place) / 4) ** 2))
        slope = ((self.x - place) * one + height * 2 * (self.x - 2 * place) * two) / 8
        spectra = one + height * two
        derivatives = np.stack([two, slope], axis=2)
        return (derivatives, spectra) if return_spectra else derivatives


def test_all_weights_come_back_without_noise():
    X = 7 * beside(SAMPLE.simulate([TRUTH]), 0.4, 0.2, 0.3) + 0.01
    found = inverter(
        {
            "can": CAN,
            "empty": measured(np.arange(GRID.n_pixels) % 7.0),
            "multiple scattering": MultipleScattering(),
            "elastic": ElasticTail(1.5),
        },
        search__tolerance=1e-12,
        search__n_candidates=8,
    ).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundWarning)  # nothing of the empty can
        assert_allclose(found.predict(X)[0], TRUTH, rtol=1e-6)
    row = found.nuisance_.loc[0]
    weights = row[["scale", "can", "multiple scattering", "elastic"]]
    assert_allclose(weights, [7, 2.8, 1.4, 2.1], rtol=1e-6)
    assert_allclose(row["empty"], 0, atol=1e-6)
    assert_allclose(row["background 0"], 0.01, rtol=1e-6)
    assert found.at_bound_.loc[0, "can"] == 0


def test_shares_are_those_of_the_summed_intensity():
    sample = SAMPLE.simulate([TRUTH])
    X = beside(sample, 0.4, 0.2) + 0.001
    contributions = {"can": CAN, "multiple": MultipleScattering()}
    found = inverter(contributions, search__tolerance=1e-12).fit(X)
    found.predict(X)
    shares = found.shares_.loc[0]
    seen = np.isfinite(X).sum()
    parts = [
        np.nansum(sample),
        0.4 * np.nansum(CAN.simulate([CAN.reference])),
        0.2 * np.nansum(sample),
        0.001 * seen,
    ]
    assert list(shares.index) == ["sample", "can", "multiple", "background"]
    assert_allclose(shares, parts / np.nansum(X), rtol=1e-5)
    assert_allclose(shares.sum(), 1)


@pytest.mark.parametrize("errors", ["noise", "residual"])
@pytest.mark.parametrize("given", [True, False])
def test_errors_of_weights_are_their_scatter(errors, given):
    """100 draws; a standard deviation of them is known to 7 %, three of which are."""
    rng = np.random.default_rng(0)
    can = 1 / (1 + ((Bumps.x - 33) / 6) ** 2)
    X = 5 * Bumps().simulate(np.tile([0.8, 20.5], (100, 1))) + 2 * can + 0.5
    noise = 0.1
    X += noise * rng.normal(size=X.shape)
    found = inverter({"can": can}, Bumps(), noise=errors).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MisfitWarning)  # one of 200 calls
        _, std = found.predict(X, return_std=True, errors=noise if given else None)
    table = found.nuisance_
    for name, truth in (("scale", 5.0), ("can", 2.0)):
        away = (table[name] - truth) / table[f"{name} std"]
        assert_allclose(np.sqrt(np.mean(away**2)), 1, atol=0.22)
    # of which the weights are part: without them errors of constants would be smaller
    assert np.isfinite(std).all()


def test_errors_of_weights_are_those_of_a_fit_of_everything_at_once():
    rng = np.random.default_rng(1)
    can = 1 / (1 + ((Bumps.x - 33) / 6) ** 2)
    X = 5 * Bumps().simulate([[0.8, 20.5]]) + 2 * can + 0.1 * rng.normal(size=60)
    found = inverter({"can": can}, Bumps(), search__tolerance=1e-10).fit(X)
    values, std = found.predict(X, return_std=True, errors=0.1)
    row = found.nuisance_.loc[0]
    slopes, spectrum = Bumps().jacobian(values, return_spectra=True)
    columns = [row["scale"] * slopes[0], spectrum.T, can[:, None], np.ones((60, 1))]
    design = np.hstack(columns) / 0.1
    expected = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    assert_allclose(std[0], expected[:2], rtol=1e-6)
    assert_allclose(row[["scale std", "can std"]], expected[2:4], rtol=1e-6)


def test_errors_of_weights_follow_a_prior_and_a_bound():
    """What is known of the constants makes weights surer."""
    rng = np.random.default_rng(2)
    X = 5 * Bumps().simulate([[0.7, 20.0]]) + 0.1 * rng.normal(size=60)
    bump = np.exp(-(((Bumps.x - 41) / 5) ** 2))
    plain = inverter({"bump": bump}, Bumps())
    stds = []
    for settings in (
        {},
        {"prior": (Bumps.reference, [1e-4, 1e-4])},
        {"bounds": ([0.7 - 1e-5, 19.9], [0.7 + 1e-5, 20.1])},
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BoundWarning)
            found = clone(plain).set_params(**settings).fit(X)
            found.predict(X + 2 * bump, errors=0.1)
        stds.append(found.nuisance_["bump std"][0])
    free, *known = stds
    design = np.stack([Bumps().simulate([[0.7, 20.0]])[0], bump, np.ones(60)]) / 0.1
    expected = np.sqrt(np.linalg.inv(design @ design.T)[1, 1])
    assert free > 2 * expected
    assert_allclose(known, expected, rtol=0.05)


def test_a_weight_of_nothing_has_no_error():
    X = SAMPLE.simulate([TRUTH]) - 0.1 * CAN.simulate([CAN.reference])
    found = inverter([CAN]).fit(X)
    with pytest.warns((BoundWarning, MisfitWarning)):
        found.predict(X, errors=0.01 * np.nanstd(X))
    assert found.nuisance_.loc[0, "contribution 1"] == 0
    assert np.isnan(found.nuisance_.loc[0, "contribution 1 std"])
    assert found.at_bound_.loc[0, "contribution 1"] == -1
    assert found.shares_.loc[0, "contribution 1"] == 0
    absolute = inverter((), scale="absolute").fit(X)
    absolute.predict(SAMPLE.simulate([TRUTH]))
    assert absolute.nuisance_.loc[0, "scale std"] == 0


def model_of(contributions, nuisance, simulator=SAMPLE):
    names = list(simulator.parameter_names)
    pixels = simulator.grid.n_pixels
    sources = sources_of(simulator, contributions, names, nuisance, pixels)
    return Model(sources, nuisance, 0.1 * np.ones(len(names) + len(nuisance)))


def test_derivatives_of_multiple_scattering_are_differences():
    nuisance = {"energy_resolution": (1.0, 2.0), "lattice_scale": (0.9, 1.1)}
    model = model_of({"multiple": MultipleScattering()}, nuisance)
    seen = GRID.mask.ravel()
    at = np.array([*TRUTH, 1.5, 1.01])
    _, derivatives = model.on(seen)(at)
    for i, step in enumerate(1e-5 * np.eye(len(at))):
        up, down = model.simulate(np.stack([at + step, at - step]))[:, 1, seen]
        scale = np.abs(derivatives[1, :, i]).max()
        expected = (up - down) / 2e-5
        assert_allclose(derivatives[1, :, i], expected, atol=1e-4 * scale)


def test_another_crystal_follows_the_instrument_and_not_the_sample():
    nuisance = {
        "energy_resolution": (1.0, 2.0),
        "lattice_scale": (0.9, 1.1),
        "energy_offset": (-1.0, 1.0),
    }
    model = model_of({"can": CAN}, nuisance)
    seen = GRID.mask.ravel()
    at = np.array([*TRUTH, 1.7, 1.04, 0.3])
    spectra, derivatives = model.on(seen)(at)
    conditions = {"energy_resolution": 1.7, "energy_offset": 0.3}
    ranges = {name: nuisance[name] for name in conditions}
    ranges = CAN.working_ranges(conditions, ranges)

    def direct(conditions):
        return CAN.simulate(
            [CAN.reference], nuisance=conditions, nuisance_ranges=ranges
        )[0, seen]

    assert_allclose(spectra[1], direct(conditions), rtol=1e-10)
    assert not derivatives[1][:, [*range(5), 6]].any()
    for column, name in ((5, "energy_resolution"), (7, "energy_offset")):
        ends = [
            direct(conditions | {name: value})
            for value in np.array([1e-3, -1e-3]) + conditions[name]
        ]
        slope = (ends[0] - ends[1]) / 2e-3
        scale = np.abs(slope).max()
        assert_allclose(derivatives[1][:, column], slope, atol=1e-4 * scale)


def test_a_can_is_simulated_once_for_each_condition():
    class Counting(PowderSimulator):
        n_asked = 0

        def simulate(self, *args, **options):
            type(self).n_asked += 1
            return super().simulate(*args, **options)

    can = Counting(**CAN.get_params(deep=False))
    X = beside(SAMPLE.simulate([TRUTH, 1.02 * TRUTH]), 0.4, 0.0)
    found = inverter({"can": can}, search__tolerance=1e-10).fit(X)
    assert_allclose(found.predict(X), [TRUTH, 1.02 * TRUTH], rtol=1e-4)
    assert Counting.n_asked == 1
    model = model_of({"can": can}, {"energy_resolution": (1.0, 2.0)})
    rows = np.array([[*TRUTH, 1.5], [*TRUTH * 1.1, 1.5], [*TRUTH, 1.6]])
    simulated = model.simulate(rows)[:, 1]
    assert_array_equal(simulated[0], simulated[1])
    assert not np.array_equal(simulated[0], simulated[2], equal_nan=True)
    assert Counting.n_asked == 3


def test_fits_with_a_can_find_the_resolution_of_both():
    nuisance = {"energy_resolution": 1.8}
    X = SAMPLE.simulate([TRUTH], nuisance=nuisance)
    X = X + 0.5 * CAN.simulate([CAN.reference], nuisance=nuisance)
    found = inverter(
        {"can": CAN}, nuisance={"energy_resolution": (1.0, 2.5)}, search__tolerance=1e-9
    ).fit(X)
    assert_allclose(found.predict(X)[0], TRUTH, rtol=2e-3)  # other axes of energy
    row = found.nuisance_.loc[0]
    assert_allclose(row[["energy_resolution", "can"]], [1.8, 0.5], rtol=2e-3)


def test_noise_of_a_measured_can_counts_by_its_weight():
    """Chi^2 over 60 spectra of some 50 degrees of freedom: 1 +- 0.026."""
    rng = np.random.default_rng(3)
    can = 1 / (1 + ((Bumps.x - 33) / 6) ** 2)
    grid = SpectrumGrid([1.0, 2.0], np.arange(1.0, 4.0, 0.1))

    class OnAGrid(Bumps):
        pass

    OnAGrid.grid = grid
    chi2, away = [], []
    for _ in range(60):
        X = 5 * Bumps().simulate([[0.8, 20.5]]) + 2 * can
        X = X + 0.05 * rng.normal(size=60)
        error = np.full(60, 0.05)
        empty = Measurement(can + error * rng.normal(size=60), grid, error=error)
        found = inverter({"empty": empty}, OnAGrid()).fit(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MisfitWarning)
            found.predict(X, errors=0.05)
        row = found.nuisance_.loc[0]
        chi2.append(found.reduced_chi2_[0])
        away.append(
            [
                (row["scale"] - 5) / row["scale std"],
                (row["empty"] - 2) / row["empty std"],
            ]
        )
    assert_allclose(np.mean(chi2), 1, atol=0.08)
    assert_allclose(np.sqrt(np.mean(np.square(away), axis=0)), 1, atol=0.28)
    # noise in a column alone would make its weight 3 % too small, 1.2 errors
    assert_allclose(np.mean(away, axis=0), 0, atol=0.4)
    # the same can without noise: five times the variance of the spectrum is missed
    found = inverter({"empty": empty.replace(error=None)}, OnAGrid()).fit(X)
    with pytest.warns(MisfitWarning):
        found.predict(X, errors=0.05)
    assert found.reduced_chi2_[0] > 3


def test_pixels_of_a_can_that_were_not_measured_are_not_compared():
    can = CAN.simulate([CAN.reference])[0]
    X = SAMPLE.simulate([TRUTH]) + 0.3 * can
    can[40:50] = np.nan
    X[:, 40:50] += 3.0
    found = inverter({"can": can}, search__tolerance=1e-10).fit(X)
    assert_allclose(found.predict(X)[0], TRUTH, rtol=1e-5)
    assert np.isnan(found.residual_[0, 40:50]).all()
    error = np.where(np.arange(GRID.n_pixels) < 60, np.nan, 0.01)
    found = inverter({"can": measured(np.nan_to_num(can), error=error)}).fit(X)
    found.predict(X, errors=0.1)
    assert np.isnan(found.residual_[0, :60]).all()


@pytest.mark.parametrize("as_row", [True, False])
def test_a_can_of_the_metal_of_the_sample_is_not_told_from_it(as_row):
    """Aluminium in aluminium, the constants of which are wrong by some per cent."""
    near = powder(load_aluminium_model("gilat-nicklow-1966"))
    can = near.simulate([near.reference])
    X = SAMPLE.simulate([TRUTH, SAMPLE.reference])
    X += 0.3 * can + 0.2 * MultipleScattering().of_sample(X, GRID)
    X += 0.01 * np.nanmax(X) * np.random.default_rng(0).normal(size=X.shape)
    contributions = {
        "can": can[0] if as_row else near,
        "multiple scattering": MultipleScattering(),
    }
    found = inverter(contributions).fit(X)
    message = r"The contribution 'can' cannot be told from the sample in 2 of 2 spectra"
    with pytest.warns(IdentifiabilityWarning, match=message) as log:
        told = found.invert(X)
    assert sum("be told" in str(w.message) for w in log) == 1
    assert (told.distinctness["can"] < 0.1).all()
    assert (told.distinctness["multiple scattering"] > 0.2).all()


def test_the_sample_beside_itself_has_no_weight_that_is_known():
    X = SAMPLE.simulate([TRUTH])
    found = inverter({"can": powder()}).fit(X)
    with pytest.warns(IdentifiabilityWarning, match="'can' cannot be told"):
        found.predict(X)
    assert np.isinf(found.nuisance_.loc[0, ["scale std", "can std"]]).all()


@pytest.mark.filterwarnings("error::skphonon.inversion.IdentifiabilityWarning")
def test_what_differs_is_told_from_the_sample():
    X = beside(SAMPLE.simulate([TRUTH]))
    X += 0.01 * np.nanmax(X) * np.random.default_rng(0).normal(size=X.shape)
    contributions = {
        "can": CAN,
        "more": powder(temperature=900.0, scattering=Scattering(n_phonons=4)),
    }
    found = inverter(contributions, scale="fitted").fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundWarning)
        warnings.simplefilter("ignore", MisfitWarning)
        found.predict(X)


def test_several_measurements_have_weights_of_their_own():
    joint = JointSimulator({"cold": powder(temperature=50.0), "hot": powder()})
    cans = JointSimulator(
        {"a": powder(HARDER, temperature=50.0), "b": powder(HARDER)},
    )
    multiple = [
        w * MultipleScattering().of_sample(each.simulate([TRUTH]), GRID)
        for w, each in zip((0.2, 0.5), joint.simulators.values(), strict=True)
    ]
    can = np.repeat([0.3, 0.6], GRID.n_pixels) * cans.simulate([cans.reference])
    X = joint.simulate([TRUTH]) + np.hstack(multiple) + can
    row = cans.simulate([cans.reference])[0]
    for given in (cans, row):
        found = inverter(
            {"can": given, "multiple": MultipleScattering()},
            joint,
            search__tolerance=1e-12,
        ).fit(X)
        assert_allclose(found.predict(X)[0], TRUTH, rtol=1e-6)
        labels = [
            f"{name} ({part})"
            for name in ("can", "multiple")
            for part in ("cold", "hot")
        ]
        weights = found.nuisance_.loc[0, labels]
        assert_allclose(weights, [0.3, 0.6, 0.2, 0.5], rtol=1e-6)
        assert np.isfinite(found.nuisance_.loc[0, [f"{x} std" for x in labels]]).all()
        assert found.shares_.shape == (1, 8)


def test_clones_and_pickles_fit_alike():
    X = beside(SAMPLE.simulate([TRUTH]))
    contributions = {
        "can": CAN,
        "multiple scattering": MultipleScattering(),
        "row": np.arange(GRID.n_pixels) % 7.0,
        "empty": measured(np.arange(GRID.n_pixels) % 5.0),
    }
    first = inverter(contributions).fit(X)
    again = pickle.loads(pickle.dumps(first))
    copied = clone(first).fit(X)
    assert list(copied.contributions) == list(contributions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundWarning)
        expected = first.predict(X)
        for other in (again, copied):
            assert_allclose(other.predict(X), expected, rtol=1e-8)
            assert list(other.nuisance_) == list(first.nuisance_)


OTHER = SpectrumGrid(np.arange(4, 42, 2.0), np.arange(2, 9, 0.5), incident_energy=60.0)


@pytest.mark.parametrize(
    ("contributions", "error", "message"),
    [
        ({"can": powder(HARDER, OTHER)}, ValueError, "on the grid of the simulator"),
        ({"can": powder(HARDER, quantity="chi")}, ValueError, "quantity='sqe' there"),
        ({"can": measured(np.ones(266), OTHER)}, ValueError, "'can' is on 19 x 14"),
        ({"can": np.ones(7)}, ValueError, r"266 in one row; 'can' has shape \(7,\)"),
        ({"can": np.full(266, np.nan)}, ValueError, "finite intensities"),
        ({"can": "tin"}, ValueError, "aluminium or copper, got 'tin'"),
        ({"can": None}, TypeError, "'can' is a NoneType"),
        ({"scale": CAN}, ValueError, "got 'scale'. Give another name"),
        ({"1XX": CAN}, ValueError, "got '1XX'. Give another name"),
        ({1: CAN}, ValueError, "texts for names, got 1"),
        ({"can": Bumps()}, ValueError, "266 of them; 'can' has 60"),
        (
            {"can": JointSimulator({"a": CAN, "b": CAN})},
            ValueError,
            "the measurements of the simulator, 1; 'can' has 2",
        ),
        (
            {"can": powder(MODEL.replace(reference=None))},
            ValueError,
            "must have reference",
        ),
    ],
    ids=str,
)
def test_contributions_that_do_not_fit_are_refused(contributions, error, message):
    with pytest.raises(error, match=message):
        inverter(contributions).fit(np.ones((1, GRID.n_pixels)))


def test_widths_of_two_kinds_are_refused():
    can = powder(HARDER, energy_resolution=lambda energy: 1.5 + 0 * energy)
    nuisance = {"energy_resolution": (1.0, 2.0)}
    with pytest.raises(ValueError, match="has a number, 'can' a function"):
        inverter({"can": can}, nuisance=nuisance).fit(np.ones((1, GRID.n_pixels)))


def test_multiple_scattering_needs_a_grid():
    with pytest.raises(ValueError, match="needs a simulator with a grid, got a Bumps"):
        inverter([MultipleScattering()], Bumps()).fit(np.ones((1, 60)))
