"""Simulated maps of magnons: contract, balance, derivatives and a measured magnet."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone

from skphonon import (
    CrystalGrid,
    JointSimulator,
    LeastSquaresInverter,
    PathGrid,
    SpinWaveModel,
    SpinWaveSimulator,
)
from skphonon.datasets import load_la2nio4_model
from skphonon.physics.constants import BOLTZMANN

PATH = np.concatenate(
    [
        np.linspace([0.75, 0.25, 0], [0.5, 0.5, 0], 7),
        np.linspace([0.5, 0.4, 0], [0.5, 0, 0], 6),
    ]
)
ENERGY = np.arange(2.5, 140.0, 5.0)
POINT = np.array([[28.0, 3.0]])


def simulator(model=None, energy=ENERGY, path=PATH, mask=None, **options):
    model = load_la2nio4_model() if model is None else model
    grid = PathGrid(energy, path, mask=mask)
    return SpinWaveSimulator(model, grid, **{"energy_resolution": 4.0, **options})


def folded():
    """Return the same magnet in a cell of four spins, two modes of each energy."""
    return load_la2nio4_model().replace(
        spins=[1, -1, 1, -1],
        positions=[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]],
        magnetic_cell=np.diag([2, 2, 1]),
    )


def honeycomb():
    """Ferromagnet of two spins, whose modes cross at (1/3, 1/3)."""
    return SpinWaveModel(
        5.0 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 2]]),
        [1, 1],
        {"J1": 5 / 3**0.5, "J2": 5.0},
        [-8.0, 1.0, 0.5],
        positions=[[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]],
        anisotropies={"D": [0, 1]},
    )


def test_row_is_a_sum_of_gaussians():
    made = simulator(temperature=0.0, energy=ENERGY)
    energies, intensities = made.model.modes(POINT, PATH)
    edges = made.grid.edges()
    shares = np.diff(norm.cdf(edges, energies[0][..., None], 4.0), axis=-1) / 5.0
    image = np.einsum("qje,qj->eq", shares, intensities[0])
    assert_allclose(made.simulate(POINT)[0], image.ravel(), rtol=1e-9, atol=1e-12)


def test_all_intensity_of_a_column_is_that_of_its_modes():
    wide = np.arange(-40.0, 200.0, 2.0)
    made = simulator(energy=wide)
    image = made.grid.to_image(made.simulate(POINT)[0])
    _, intensities = made.model.modes(POINT, PATH)
    assert_allclose(2.0 * image.sum(axis=0), intensities[0].sum(axis=1), rtol=1e-9)


def test_a_width_may_depend_on_the_energy_and_loses_nothing():
    made = simulator(
        energy=np.arange(-40.0, 200.0, 2.0),
        energy_resolution=lambda energy: 5.0 - 0.015 * energy,
    )
    image = made.grid.to_image(made.simulate(POINT)[0])
    _, intensities = made.model.modes(POINT, PATH)
    assert_allclose(2.0 * image.sum(axis=0), intensities[0].sum(axis=1), rtol=1e-9)


def test_detailed_balance():
    # lines much sharper than bins that mirror each other about zero
    energy = np.arange(-130.0, 131.0, 4.0)
    made = simulator(
        energy=energy, temperature=250.0, energy_resolution=1e-4, path=PATH[1:5]
    )
    image = made.grid.to_image(made.simulate(POINT)[0])
    energies, _ = made.model.modes(POINT, PATH[1:5])
    for column, (line, *_) in enumerate(energies[0]):
        gain, loss = (image[np.abs(energy - e).argmin(), column] for e in (-line, line))
        assert_allclose(gain / loss, np.exp(-line / (BOLTZMANN * 250.0)), rtol=1e-6)
    chi = clone(made).set_params(quantity="chi")
    image = chi.grid.to_image(chi.simulate(POINT)[0])
    assert_allclose(image, -image[::-1], atol=1e-12)
    cold = clone(chi).set_params(temperature=2.0)
    assert_allclose(cold.simulate(POINT), chi.simulate(POINT))


def test_cells_and_temperature_zero_agree():
    assert_allclose(
        simulator(folded()).simulate(POINT), simulator().simulate(POINT), atol=1e-14
    )
    # 0.1 K leaves no magnon above 1 meV
    assert_allclose(
        simulator(temperature=0.1).simulate(POINT), simulator().simulate(POINT)
    )


CROSSING = np.array([[1 / 3, 1 / 3, 0], [0.3, 0.35, 0], [0, 0, 0], [0.5, 0, 0]])


@pytest.mark.parametrize("quantity", ["sqe", "chi"])
@pytest.mark.parametrize(
    ("model", "path", "temperature"),
    [
        (load_la2nio4_model(), PATH, 0.0),
        (folded(), PATH, 300.0),
        (honeycomb(), CROSSING, 150.0),
    ],
)
def test_jacobian_is_that_of_finite_differences(model, path, temperature, quantity):
    made = simulator(
        model,
        path=path,
        energy=np.arange(-20.0, 140.0, 5.0),
        temperature=temperature,
        quantity=quantity,
    )
    point = made.reference
    nuisance = {"energy_resolution": 3.5, "renormalization": 1.05}
    jacobian, spectra = made.jacobian(
        [point], nuisance=nuisance, return_spectra=True
    )  # fmt: skip
    assert_allclose(spectra, made.simulate([point], nuisance=nuisance), rtol=1e-10)
    step = 1e-4
    for column in range(len(point)):
        up, down = (
            made.simulate([point + sign * step * np.eye(len(point))[column]],
                          nuisance=nuisance)
            for sign in (1, -1)
        )  # fmt: skip
        slope = (up - down) / (2 * step)
        # differences of the second order, relative to the largest slope
        assert_allclose(
            jacobian[..., column], slope, atol=1e-6 * np.abs(slope).max()
        )  # fmt: skip
    for column, name in enumerate(nuisance, start=len(point)):
        up, down = (
            made.simulate([point], nuisance=nuisance | {name: nuisance[name] + shift})
            for shift in (step / 10, -step / 10)
        )
        slope = (up - down) / (step / 5)
        assert_allclose(jacobian[..., column], slope, atol=1e-6 * np.abs(slope).max())


def test_torch_has_the_same_gradient():
    mask = np.arange(ENERGY.size * len(PATH)).reshape(-1, len(PATH)) % 7 > 0
    made = simulator(mask=mask)
    visible = torch.as_tensor(made.grid.mask.ravel())
    parameters = torch.tensor(POINT, requires_grad=True)
    made.simulate_tensor(parameters)[:, visible].square().sum().backward()
    jacobian, spectra = made.jacobian(POINT, return_spectra=True)
    expected = 2 * np.nansum(spectra[..., None] * jacobian, axis=1)
    assert_allclose(parameters.grad, expected)


def test_samples_do_not_see_one_another():
    rng = np.random.default_rng(0)
    rows = rng.uniform([20, -5], [40, 5], (70, 2))
    widths = rng.uniform(2, 6, 70)
    together = simulator().simulate(rows, nuisance={"energy_resolution": widths})
    for i in (0, 33, 69):
        alone = simulator(energy_resolution=widths[i]).simulate(rows[i : i + 1])
        assert_allclose(together[i], alone[0], rtol=1e-9, atol=1e-14)


def test_renormalisation_is_the_models_or_a_nuisance():
    model = load_la2nio4_model()
    asked = simulator().simulate(POINT, nuisance={"renormalization": 1.2})
    model = model.replace(renormalization=1.2)
    assert_allclose(simulator(model).simulate(POINT), asked)
    # without anisotropy energies alone scale, as they do with all exchange
    assert_allclose(simulator().simulate(POINT * 1.2 / 1.083), asked, atol=1e-14)


def test_a_volume_is_a_list_of_wavevectors():
    volume = CrystalGrid(ENERGY, [0.25, 0.5], [0.0, 0.25, 0.5], 0.0)
    made = simulator(path=volume.wavevectors)
    assert_array_equal(
        SpinWaveSimulator(made.model, volume, energy_resolution=4.0).simulate(POINT),
        made.simulate(POINT),
    )


def test_unmeasured_pixels_are_nan():
    mask = np.ones((ENERGY.size, len(PATH)), dtype=bool)
    mask[3:5, 2] = False
    made = simulator(mask=mask)
    jacobian, spectra = made.jacobian(POINT, return_spectra=True)
    assert_array_equal(np.isnan(spectra[0]), ~mask.ravel())
    assert_array_equal(np.isnan(jacobian[0]), ~mask.ravel()[:, None] * [True, True])


def test_unstable_order_scatters_nothing_and_is_told():
    made = simulator()
    rows = np.array([[29.0, 1.67], [29.0, 20.0], [-5.0, 0.0]])
    assert made.is_stable(rows).tolist() == [True, False, False]
    jacobian, spectra = made.jacobian(rows, return_spectra=True)
    assert np.isfinite(jacobian).all()
    assert np.isfinite(spectra).all()
    assert_allclose(spectra[2], 0)
    assert_allclose(jacobian[2], 0)


def test_resolution_in_q_is_an_average_over_wavevectors():
    """Against 4,000 draws of wavevectors about each, in all three directions.

    Below 10 meV the path meets a Goldstone mode, the intensity of which diverges.
    """
    energy = ENERGY[2:]
    settings = {"energy": energy, "energy_resolution": 3.0}
    sharp = simulator(**settings)
    found = simulator(q_resolution=0.03, **settings).simulate(POINT)
    to_rlu = np.asarray(sharp.model.lattice) / (2 * np.pi)
    draws = 0.03 * np.random.default_rng(0).normal(size=(4000, 3)) @ to_rlu.T
    around = (PATH[:, None] + draws).reshape(-1, 3)
    cloud = simulator(path=around, **settings).simulate(POINT)
    cloud = cloud.reshape(len(energy), len(PATH), -1)
    error = 4 * cloud.std(axis=-1) / np.sqrt(4000)
    expected = cloud.mean(axis=-1)
    # the tails beyond 2.4 standard deviations are the other part of the difference
    away = np.abs(found.reshape(expected.shape) - expected)
    assert (away < error + 0.01 * expected.max()).all()
    narrow = sharp.simulate(POINT).reshape(expected.shape)
    assert np.abs(narrow - expected).max() > 0.2 * expected.max()


def test_derivatives_with_a_resolution_in_q():
    made = simulator(q_resolution=0.02, energy=ENERGY[2:])
    nuisance = {
        "energy_resolution": [3.0, 5.0],
        "q_resolution": [0.03, 0.02],
        "renormalization": [1.0, 1.1],
    }
    rows = np.array([[28.0, 3.0], [30.0, 1.0]])
    changes = made.jacobian(rows, nuisance=nuisance)
    assert changes.shape == (2, made.grid.n_pixels, 5)
    for column, step in enumerate([1e-4, 1e-4, 1e-4, 1e-4, 1e-5]):
        ends = []
        for sign in (1, -1):
            moved = rows.copy()
            values = {name: np.array(given) for name, given in nuisance.items()}
            if column < 2:
                moved[:, column] += sign * step
            else:
                name = list(nuisance)[column - 2]
                values[name] = values[name] + sign * step
            ends.append(made.simulate(moved, nuisance=values))
        expected = (ends[0] - ends[1]) / (2 * step)
        size = np.abs(expected).max()
        assert_allclose(changes[..., column], expected, atol=1e-4 * size)
    # spectra are even in the width
    change = simulator().jacobian(POINT, nuisance="q_resolution")
    assert (change[..., -1] == 0).all()


def test_contract_survives_clones_and_pickles():
    made = simulator()
    assert made.parameter_names == ["J", "J'"]
    assert_allclose(made.reference, [29.0, 1.67])
    names = ["energy_resolution", "renormalization", "q_resolution"]
    assert made.nuisance_names == names
    assert_allclose(made.nuisance_reference, [4.0, 1.083, 0.0])
    expected = made.simulate(POINT)
    for copy in (clone(made), pickle.loads(pickle.dumps(made))):
        assert_allclose(copy.simulate(POINT), expected)
    changed = clone(made).set_params(
        model=made.model.replace(ions=None),
        grid=made.grid.replace(energy=ENERGY + 1),
    )
    assert changed.simulate(POINT).shape == expected.shape
    assert not np.allclose(changed.simulate(POINT), expected)


def test_two_paths_are_inverted_together():
    joint = JointSimulator(
        {"first": simulator(path=PATH[:7]), "second": simulator(path=PATH[7:])}
    )
    X = joint.simulate([[31.0, 2.5]])
    X += np.nanmax(X) * 1e-3 * np.random.default_rng(0).normal(size=X.shape)
    inverter = LeastSquaresInverter(joint, random_state=0).fit(X)
    values, std = inverter.predict(X, return_std=True)
    assert (np.abs(values - [31.0, 2.5]) < 4 * std).all()
    assert (std < 0.1).all()


def test_error_bars_cover_the_truth():
    made = simulator()
    clean = made.simulate(np.tile(POINT, (40, 1)))
    X = clean + 0.02 * clean.std() * np.random.default_rng(1).normal(size=clean.shape)
    inverter = LeastSquaresInverter(
        made,
        nuisance={"energy_resolution": (1.0, 10.0)},
        noise="noise",
        random_state=0,
    ).fit(X)
    values, std = inverter.predict(X, return_std=True)
    z = (values - POINT) / std
    # the standard deviation of 40 draws is known to 11 %, of 80 to 8 %
    assert_allclose(z.std(), 1.0, atol=0.25)
    assert np.abs(z.mean(axis=0)).max() < 0.5
    assert_allclose(inverter.nuisance_["energy_resolution"], 4.0, rtol=0.05)


def test_measured_la2nio4_has_the_published_constants(data_folder):
    folder = data_folder / "la2nio4"
    path = np.loadtxt(folder / "Qlist_path2_woBG.csv", delimiter=",").T
    energy = np.loadtxt(folder / "Elist_path2_woBG.csv")
    image = np.loadtxt(folder / "Sqw_path2.csv", delimiter=",")
    made = simulator(energy=energy, path=path, mask=image != 0, temperature=10.0)
    X = made.grid.to_rows(image)
    inverter = LeastSquaresInverter(
        made,
        nuisance={"energy_resolution": (0.5, 15.0)},
        background=(6, 0),
        random_state=0,
    ).fit(X)
    # as certain as the logarithm of 1 + S is everywhere
    (values,) = inverter.predict(X, errors=1 + np.abs(X))
    assert_allclose(values, [29.00, 1.67], atol=0.8)
    assert abs(values[1] - 1.67) < 0.35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nuisance": {"lattice_scale": 1.0}}, "energy_resolution, renormalization"),
        ({"nuisance": {"renormalization": 0.0}}, "between 0 and inf"),
        ({"nuisance": {"energy_resolution": [1.0, 2.0]}}, "one for each of 1 samples"),
        ({"nuisance": {"energy_resolution": 9.0},
          "nuisance_ranges": {"energy_resolution": (1.0, 5.0)}}, "must lie in its"),
    ],
)  # fmt: skip
def test_bad_nuisances_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulator().simulate(POINT, **arguments)


def test_no_width_has_no_derivative():
    sharp = simulator(energy_resolution=0.0)
    assert np.isfinite(sharp.simulate(POINT)).all()
    with pytest.raises(ValueError, match="no derivative with energy_resolution"):
        sharp.jacobian(POINT, nuisance=["energy_resolution"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"energy_resolution": -1.0}, "energy_resolution"),
        ({"quantity": "S"}, "quantity"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        simulator(**options).simulate(POINT)
