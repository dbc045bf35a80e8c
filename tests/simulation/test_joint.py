"""Several measurements of one sample, against single fits and closed forms."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone

from skphonon import (
    JointSimulator,
    LeastSquaresInverter,
    NelderMeadInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)


class Peak(BaseEstimator):
    """A Gaussian peak on a slope; `width` and `shift` are nuisances."""

    parameter_names, reference = ("position", "height"), np.array([14.0, 2.0])
    nuisance_names, nuisance_reference = ("width", "shift"), np.array([3.0, 0.0])

    def __init__(self, n_pixels=30):
        self.n_pixels = n_pixels

    def simulate(self, parameters, *, nuisance=None, nuisance_ranges=None):
        position, height = np.transpose(parameters)[..., None]
        given = {"width": 3.0, "shift": 0.0, **(nuisance or {})}
        width, shift = (
            np.broadcast_to(given[name], len(parameters))[:, None]
            for name in self.nuisance_names
        )
        x = (np.arange(self.n_pixels) - position - shift) / width
        return height * np.exp(-(x**2)) + np.arange(self.n_pixels) / 50

    def jacobian(
        self, parameters, *, nuisance=None, nuisance_ranges=None, return_spectra=False
    ):
        rows, names = np.asarray(parameters, dtype=float), list(nuisance or {})
        columns = []
        for i in range(2 + len(names)):
            ends = []
            for step in (1e-6, -1e-6):
                moved, values = rows.copy(), dict(nuisance or {})
                if i < 2:
                    moved[:, i] += step
                else:
                    values[names[i - 2]] = np.asarray(values[names[i - 2]]) + step
                ends.append(self.simulate(moved, nuisance=values))
            columns.append((ends[0] - ends[1]) / 2e-6)
        derivatives = np.stack(columns, axis=2)
        spectra = self.simulate(rows, nuisance=nuisance)
        return (derivatives, spectra) if return_spectra else derivatives


class Line(BaseEstimator):
    """Linear in its parameters, so that fits have a closed form."""

    parameter_names, reference = ("a", "b"), np.array([1.0, 1.0])

    def __init__(self, n_pixels=20):
        self.n_pixels = n_pixels

    @property
    def design(self):
        x = np.linspace(0, 1, self.n_pixels)
        return np.stack([x, np.sin(5 * x)])

    def simulate(self, parameters):
        return np.asarray(parameters) @ self.design

    def jacobian(self, parameters, return_spectra=False):
        slopes = np.tile(self.design.T, (len(parameters), 1, 1))
        return (slopes, self.simulate(parameters)) if return_spectra else slopes


@pytest.fixture
def joint():
    return JointSimulator(
        {"cold": Peak(), "warm": Peak(40), "hot": Peak()},
        at=[10.0, 110.0, 210.0],
        degree={"position": 2},
        shared_nuisances=["shift"],
    )


def test_a_row_is_the_spectra_of_all_side_by_side(joint):
    names = ["position at 10", "position at 110", "position at 210", "height"]
    assert joint.parameter_names == names
    assert_array_equal(joint.reference, [14, 14, 14, 2])
    expected = ["shift", "width (cold)", "width (warm)", "width (hot)"]
    assert joint.nuisance_names == expected
    assert_array_equal(joint.nuisance_reference, [0, 3, 3, 3])
    row = joint.simulate(
        [[12.0, 15.0, 11.0, 1.5]], nuisance={"width (hot)": 4.0, "shift": 0.5}
    )
    shift = {"shift": 0.5}
    cold = Peak().simulate([[12.0, 1.5]], nuisance=shift)
    warm = Peak(40).simulate([[15.0, 1.5]], nuisance=shift)
    hot = Peak().simulate([[11.0, 1.5]], nuisance={"width": 4.0, **shift})
    assert_allclose(row, np.hstack([cold, warm, hot]), rtol=1e-13)
    joined = joint.join({"hot": hot[0], "cold": cold, "warm": warm})
    assert_allclose(joined, row, rtol=1e-13)
    assert [part[0] for part in joint.parts.values()] == [
        slice(0, 30),
        slice(30, 70),
        slice(70, 100),
    ]


def test_parameters_between_the_places_are_on_the_polynomial(joint):
    def position(t):
        return 12 + 0.03 * t - 1e-4 * t**2

    places = np.array([10.0, 110.0, 210.0])
    values = joint.parameters_at([[*position(places), 2.0]], 70.0)
    assert_allclose(values, [[position(70.0), 2.0]])
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    covariance = root @ root.T
    draws = rng.multivariate_normal(np.zeros(4), covariance, size=100_000)
    _, carried = joint.parameters_at(np.zeros((1, 4)), 70.0, [covariance])
    counted = np.cov(joint.parameters_at(draws, 70.0), rowvar=False)
    assert_allclose(carried[0], counted, rtol=0.03, atol=0.03)  # 100,000 draws


def test_derivatives_are_those_of_differences(joint):
    rng = np.random.default_rng(1)
    rows = joint.reference * rng.uniform(0.9, 1.1, size=(2, 4))
    nuisance = {"width (warm)": np.array([2.5, 3.5]), "shift": np.array([0.2, 0.1])}
    derivatives, spectra = joint.jacobian(rows, nuisance=nuisance, return_spectra=True)
    assert_allclose(spectra, joint.simulate(rows, nuisance=nuisance))
    for column in range(6):
        step, ends = 1e-5, []
        for sign in (1, -1):
            moved, values = rows.copy(), dict(nuisance)
            if column < 4:
                moved[:, column] += sign * step
            else:
                name = list(nuisance)[column - 4]
                values[name] = values[name] + sign * step
            ends.append(joint.simulate(moved, nuisance=values))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert_allclose(derivatives[..., column], expected, atol=1e-7)


def test_of_known_errors_the_fit_is_the_weighted_mean():
    """The closed form of two linear measurements, and that of a slope."""
    rng = np.random.default_rng(2)
    one, two = Line(20), Line(50)
    X = {"one": one.simulate([[1.2, 0.8]]), "two": two.simulate([[1.2, 0.8]])}
    sigma = {"one": 0.1, "two": 0.4}
    X = {name: x + sigma[name] * rng.normal(size=x.shape) for name, x in X.items()}
    joint = JointSimulator({"one": one, "two": two})
    row = joint.join(X)
    errors = joint.join({name: np.full_like(x, sigma[name]) for name, x in X.items()})
    inverter = LeastSquaresInverter(
        joint, scale="absolute", background=None, noise="noise"
    ).fit(row)
    found, std = inverter.predict(row, return_std=True, errors=errors)
    designs = {"one": one.design, "two": two.design}
    information = sum(d @ d.T / sigma[n] ** 2 for n, d in designs.items())
    pull = sum(d @ X[n][0] / sigma[n] ** 2 for n, d in designs.items())
    assert_allclose(found[0], np.linalg.solve(information, pull), rtol=1e-6)
    expected = np.sqrt(np.diag(np.linalg.inv(information)))
    assert_allclose(std[0], expected, rtol=1e-6)


def test_noise_of_each_measurement_is_found():
    """Without errors the weights are those of the noise that the residuals show."""
    rng = np.random.default_rng(3)
    joint = JointSimulator({"clean": Line(200), "noisy": Line(200)})
    truth = np.tile([1.2, 0.8], (100, 1))
    X = joint.simulate(truth)
    X += np.repeat([0.05, 0.5], 200) * rng.normal(size=X.shape)
    inverter = LeastSquaresInverter(
        joint, scale="absolute", background=None, noise="noise"
    ).fit(X)
    found, std = inverter.predict(X, return_std=True)
    clean = LeastSquaresInverter(
        Line(200), scale="absolute", background=None, noise="noise"
    ).fit(X[:, :200])
    _, of_clean = clean.predict(X[:, :200], return_std=True)
    # the noisy one adds a hundredth of the information, and takes half the parameters
    assert_allclose(std.mean(axis=0), of_clean.mean(axis=0) / np.sqrt(1.01), rtol=4e-3)
    within = (np.abs(found - truth) < std).mean(axis=0)
    assert_allclose(within, 0.683, atol=0.14)  # three deviations of a count of 100
    assert_allclose(inverter.reduced_chi2_.mean(), 1.0, atol=0.1)


@pytest.mark.parametrize("errors", ["noise", "residual"])
def test_a_smooth_change_is_recovered_with_its_error(joint, errors):
    rng = np.random.default_rng(4)
    truth = np.tile([13.0, 14.5, 14.0, 1.8], (50, 1))
    widths = {"width (cold)": 2.5, "width (warm)": 3.0, "width (hot)": 3.6}
    X = joint.simulate(truth, nuisance=widths)
    X = np.repeat([5.0, 1.0, 20.0], [30, 40, 30]) * (X + np.linspace(0, 1, 100))
    noise = np.repeat([0.25, 0.05, 1.0], [30, 40, 30])
    X += noise * rng.normal(size=X.shape)
    inverter = LeastSquaresInverter(
        joint, nuisance={"width": (1.0, 6.0)}, background=1, noise=errors
    ).fit(X)
    found, std = inverter.predict(X, return_std=True)
    assert inverter.converged_.all()
    away = np.abs(found - truth)[:, :3] / std[:, :3]
    # three deviations of a count of 150
    assert_allclose((away < 1).mean(), 0.683, atol=0.115)
    assert_allclose((away < 1.96).mean(), 0.95, atol=0.055)
    table = inverter.nuisance_
    assert_allclose(table[list(widths)].mean(), list(widths.values()), rtol=0.01)
    expected = [f"scale ({name})" for name in joint.simulators]
    # the height is shared: a scale makes up for it, the ratios are seen
    ratio = (table[expected[2]] / table[expected[1]]).mean()
    assert_allclose(ratio, 20, rtol=0.05)
    assert "background 1 (warm)" in table
    assert table["width (hot) std"].min() > 0


def test_what_was_not_measured_changes_nothing(joint):
    X = joint.simulate([[13.0, 14.5, 14.0, 1.8]])
    X += 0.02 * np.random.default_rng(5).normal(size=X.shape)
    parts = {name: X[:, pixels] for name, (pixels, _) in joint.parts.items()}
    shared = clone(joint).set_params(degree=0, at=None)
    only = shared.join({"warm": parts["warm"]})
    assert np.isnan(only[:, :30]).all()
    inverter = LeastSquaresInverter(shared).fit(only)
    single = LeastSquaresInverter(Peak(40)).fit(parts["warm"])
    expected, expected_std = single.predict(parts["warm"], return_std=True)
    found, std = inverter.predict(only, return_std=True)
    assert_allclose(found, expected, rtol=1e-4)
    assert_allclose(std, expected_std, rtol=1e-2)
    assert np.isnan(inverter.nuisance_["scale (cold)"]).all()


def test_simplex_clone_and_pickle(joint):
    truth = [[13.0, 14.5, 14.0, 1.8]]
    X = joint.simulate(truth)
    copy = pickle.loads(pickle.dumps(clone(joint)))
    found = NelderMeadInverter(copy, max_evaluations=2000, tolerance=1e-6)
    assert_allclose(found.fit(X).predict(X)[:, :3], [truth[0][:3]], rtol=1e-2)


def test_powders_of_two_incident_energies():
    """One sample, two grids, one lattice: what the simulators say themselves."""
    model = load_aluminium_model()
    simulators = {
        f"{energy:g} meV": PowderSimulator(
            model,
            SpectrumGrid(
                np.arange(0.2, 0.9, 0.1) * energy,
                np.arange(1.0, top, 0.5),
                incident_energy=energy,
            ),
            energy_resolution=1.54,
            temperature=300.0,
            mesh=6,
        )
        for energy, top in ((40.0, 6.0), (60.0, 8.0))
    }
    joint = JointSimulator(simulators, shared_nuisances=["lattice_scale"])
    lattice = {"lattice_scale": 1.002}
    nuisance = {**lattice, "q_resolution (60 meV)": 0.1}
    rows = [joint.reference]
    changes, spectra = joint.jacobian(rows, nuisance=nuisance, return_spectra=True)
    assert changes.shape == (1, 7 * 10 + 7 * 14, 7)
    slow = simulators["40 meV"].jacobian(rows, nuisance=lattice)
    fast, expected = simulators["60 meV"].jacobian(
        rows, nuisance={**lattice, "q_resolution": 0.1}, return_spectra=True
    )
    assert_array_equal(spectra[:, 70:], expected)
    assert_array_equal(changes[:, :70, :6], slow)
    assert_array_equal(changes[:, 70:], fast)
    assert not changes[:, :70, 6][np.isfinite(spectra[:, :70])].any()
    soft = joint.reference * [-1, 1, 1, 1, 1]
    assert_array_equal(joint.is_stable([joint.reference, soft]), [True, False])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simulators": {}}, "at least one simulator, got none"),
        ({"simulators": {"a": Peak(), "b": Line()}}, "'b' has a, b"),
        ({"degree": 1}, "degree must be 0 to 0, one less"),
        ({"degree": 3, "at": [1, 2]}, "degree must be 0 to 1.*got 3 of 'position'"),
        ({"degree": {"colour": 1}, "at": [1, 2]}, "got 1 of 'colour'"),
        ({"at": [1, 2, 3]}, "one finite number for each of the 2 simulators"),
        ({"shared_nuisances": ["colour"]}, "shared_nuisances must be.*got colour"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_together_are_refused(settings, message):
    settings = {"simulators": {"cold": Peak(), "hot": Peak()}, **settings}
    joint = JointSimulator(**settings)
    with pytest.raises(ValueError, match=message):
        joint.simulate([[14.0, 2.0]], nuisance={"shift (cold)": 1.0})


def test_rows_that_do_not_fit_are_refused(joint):
    with pytest.raises(ValueError, match="named as the measurements, cold, warm, hot"):
        joint.join({"tepid": np.ones(30)})
    with pytest.raises(ValueError, match=r"of 'warm' must have shape \(1, 40\)"):
        joint.join({"warm": np.ones(30)})
    with pytest.raises(ValueError, match="nuisance must name some of shift, width"):
        joint.simulate([joint.reference], nuisance={"width": 3.0})
    with pytest.raises(ValueError, match="several spectra a row"):
        LeastSquaresInverter(joint, scale="normalized").fit(np.ones((1, 100)))
