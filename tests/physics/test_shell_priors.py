"""Widths about one model: by distance, of tensors and in energies."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    LeastSquaresInverter,
    PowderSimulator,
    SpectrumGrid,
)
from skphonon.inversion import Search
from skphonon.physics import ShellPrior
from skphonon.physics.priors import mean_and_covariance

QPOINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 3))


@pytest.fixture(scope="module")
def four_shells(aluminium):
    return aluminium.extended(4)


def deviations_of_tensors(prior, **options):
    """Changes of the tensor of the first bond of each shell in many draws."""
    options = {"stable": False, "random_state": 0, **options}
    model = prior.model
    drawn = prior.sample(20_000, **options) - prior.mean_
    starts = np.cumsum([0, *(len(s.bonds) for s in model._crystal.shells[:-1])])
    return np.einsum("np,psij->snij", drawn, model.bond_tensors[:, starts])


def sizes(tensors):
    """Root mean square over draws and three directions."""
    return np.sqrt((tensors**2).sum(axis=(2, 3)).mean(axis=1) / 3)


@pytest.mark.parametrize("crystal", ["four_shells", "silicon", "salt", "zincblende"])
def test_tensors_of_shells_deviate_as_stated(crystal, request):
    model = request.getfixturevalue(crystal)
    prior = ShellPrior(model, common=0.0, independent=0.2, decay=3.0)
    own = np.linalg.norm(model.tensor(model.reference)[0], axis=(1, 2))[model.n_atoms :]
    starts = np.cumsum([0, *(len(s.bonds) for s in model._crystal.shells[:-1])])
    own, distances = own[starts] / 3**0.5, np.linalg.norm(model.bonds[starts], axis=1)
    strongest = own.argmax()
    law = own[strongest] * np.minimum((distances[strongest] / distances) ** 3, 1.0)
    assert_allclose(
        sizes(deviations_of_tensors(prior)), 0.2 * np.maximum(own, law), rtol=0.03
    )


def test_widths_of_shells_of_zeros_fall_with_distance(aluminium):
    model = aluminium.extended(8)
    prior = ShellPrior(model, common=0.3, decay=2.5)
    found = sizes(deviations_of_tensors(prior))[2:]
    distances = np.sqrt([6, 8, 10, 12, 14, 16]) / 2**0.5
    first = np.linalg.norm(model.tensor(model.reference)[0, 1]) / 3**0.5
    assert_allclose(found, 0.25 * first * distances**-2.5, rtol=0.03)


def test_widths_of_published_constants_beyond_two_shells(data_folder, aluminium):
    """Aluminium at 80 K (Cowley 1974), eight shells."""
    table = pd.read_csv(data_folder / "born-von-karman" / "constants.csv")
    rows = table[table["table"] == "al_80"].iloc[5:]
    prior = ShellPrior(aluminium.extended(8))
    names = ["110", "200", "211", "220", "310", "222", "321", "400"]
    std = dict(
        zip(
            prior.parameter_names,
            np.sqrt(prior.covariance_.diagonal()),
            strict=True,
        )
    )
    numbers = [names.index(shell) + 1 for shell in rows["shell"].astype(str)]
    labels = [
        f"{n}{c.upper()}" for n, c in zip(numbers, rows["component"], strict=True)
    ]
    widths = np.array([std["3XY" if name == "3XZ" else name] for name in labels])
    scores = np.abs(rows["value_N_per_m"].to_numpy()) * 0.0624151 / widths
    assert 0.6 < (scores < 1).mean() < 0.95
    assert (scores < 2).mean() > 0.9


@pytest.mark.parametrize("noncentral", [1.0, 0.3])
@pytest.mark.parametrize("energies", [None, 0.05])
def test_axes_of_the_crystal_do_not_matter(four_shells, noncentral, energies):
    turn = Rotation.from_euler("xyz", [20, 50, 70], degrees=True).as_matrix()
    model = four_shells
    turned = ForceConstantModel(model.lattice @ turn.T, "Al", None, n_shells=4)
    distances = np.linalg.norm(turned.bonds[:, None] - model.bonds @ turn.T, axis=2)
    tensors = turn @ model.tensor(model.reference)[0] @ turn.T
    order = np.append(0, 1 + distances.argmin(axis=1))
    turned = turned.replace(reference=turned.parameters(tensors[order]))
    assert turned.parameter_names != model.parameter_names
    options = {"noncentral": noncentral, "energies": energies}
    assert_allclose(
        ShellPrior(turned, **options).energy_deviations(QPOINTS),
        ShellPrior(model, **options).energy_deviations(QPOINTS),
        rtol=1e-6,
    )


@pytest.mark.parametrize("energies", [None, 0.05])
def test_the_order_of_atoms_does_not_matter(zincblende, energies):
    other = ForceConstantModel(
        zincblende.lattice,
        zincblende.symbols[::-1],
        None,
        positions=zincblende.positions[::-1],
        n_shells=3,
    )
    pairs = zincblende.tensor(zincblende.reference)[0]
    ends = np.column_stack([other.bond_atoms, other.bonds])
    given = np.column_stack([1 - zincblende.bond_atoms, zincblende.bonds])
    order = np.linalg.norm(ends[:, None] - given, axis=2).argmin(axis=1)
    pairs = np.concatenate([pairs[1::-1], pairs[2:][order]])
    other = other.replace(reference=other.parameters(pairs))
    assert other.parameter_names != zincblende.parameter_names
    assert_allclose(
        ShellPrior(other, energies=energies).energy_deviations(QPOINTS),
        ShellPrior(zincblende, energies=energies).energy_deviations(QPOINTS),
        rtol=1e-6,
    )


@pytest.mark.parametrize("crystal", ["four_shells", "silicon"])
def test_tensors_become_springs_where_noncentral_vanishes(crystal, request):
    model = request.getfixturevalue(crystal)
    wide = ShellPrior(model, common=0.0)
    springs = wide.replace(noncentral=1e-4)
    for shell, free, held in zip(
        model._crystal.shells,
        deviations_of_tensors(wide),
        deviations_of_tensors(springs),
        strict=True,
    ):
        along = shell.bonds[0] / np.linalg.norm(shell.bonds[0])
        unit = np.outer(along, along)
        longitudinal = np.einsum("nij,ij->n", held, unit)
        transverse = (np.trace(held, axis1=1, axis2=2) - longitudinal) / 2
        axial = np.multiply.outer(longitudinal - transverse, unit)
        axial += np.multiply.outer(transverse, np.eye(3))
        assert np.abs(held - axial).max() < 1e-3 * np.abs(held).max()
        # springs themselves stay as free as they were
        assert_allclose(
            longitudinal.std(), np.einsum("nij,ij->n", free, unit).std(), rtol=0.03
        )


@pytest.mark.parametrize("common", [0.0, 0.2])
@pytest.mark.parametrize("share", [0.03, 0.06])
@pytest.mark.parametrize("crystal", ["four_shells", "silicon", "salt"])
def test_energies_of_draws_scatter_by_the_stated_share(crystal, share, common, request):
    model = request.getfixturevalue(crystal)
    prior = ShellPrior(model, energies=share, common=common)
    drawn = prior.sample(400, stable=False, random_state=1)
    known = model.frequencies(model.reference, QPOINTS)
    relative = model.frequencies(drawn, QPOINTS) / known - 1
    # the polar term of rock salt does not scale with the constants
    assert_allclose(
        np.sqrt((relative**2).mean()), np.hypot(share, common / 2), rtol=0.15
    )
    assert model.is_stable(drawn).mean() > 0.9


def test_energies_leave_what_is_narrower_as_it_is(four_shells):
    narrow = ShellPrior(four_shells, independent=0.01)
    assert_allclose(narrow.replace(energies=0.3).covariance_, narrow.covariance_)


def test_energies_narrow_no_direction_to_nothing(silicon):
    model = silicon.extended(6)
    wide, held = ShellPrior(model), ShellPrior(model, energies=0.05)
    difference = wide.covariance_ - held.covariance_
    assert np.linalg.eigvalsh(difference).min() > -1e-9
    assert np.linalg.eigvalsh(held.covariance_).min() > 0


def test_energy_deviations_are_those_of_draws(silicon):
    prior = ShellPrior(silicon, independent=0.005, common=0.02)
    energies = silicon.frequencies(prior.sample(4000, random_state=0), QPOINTS)
    deviations = prior.energy_deviations(QPOINTS)
    assert deviations.shape == energies.shape[1:]
    assert_allclose(energies.std(axis=0), deviations, rtol=0.1)


def test_acoustic_modes_of_the_zone_centre_have_no_deviation(silicon):
    found = ShellPrior(silicon).energy_deviations([[0.0, 0.0, 0.0]])[0]
    assert_allclose(found[:3], 0.0, atol=1e-5)
    assert (found[3:] > 1.0).all()


def test_modes_of_one_energy_share_their_deviation(silicon):
    found = ShellPrior(silicon).energy_deviations([[0.5, 0.5, 0.0], [0, 0, 0]])
    assert_allclose(found[0, 0], found[0, 1], rtol=1e-6)
    assert_allclose(found[1, 3:], found[1, 3], rtol=1e-6)


def test_springs_have_a_prior_too(silicon):
    springs = silicon.extended(5).full_model
    with pytest.warns(UserWarning, match="does not reproduce"):
        springs = springs.reduced("springs")
    prior = ShellPrior(springs, common=0.0)
    found = sizes(deviations_of_tensors(prior))
    first = np.linalg.norm(springs.tensor(springs.reference)[0, 2]) / 3**0.5
    assert_allclose(found[0], 0.25 * first, rtol=0.03)
    mean_and_covariance(prior, springs.parameter_names)


def test_crystals_whose_sum_rule_gives_up_elements(data_folder):
    folder = data_folder / "phonopy"
    model = ForceConstantModel.from_phonopy(
        folder / "quartz.yaml",
        force_constants=folder / "quartz-force_constants.hdf5",
        n_shells=9,
    ).extended(12)
    for energies in (None, 0.05):
        prior = ShellPrior(model, energies=energies, mesh=2)
        mean_and_covariance(prior, model.parameter_names)


def test_it_does_not_change_and_survives_clone_and_pickle(four_shells):
    prior = ShellPrior(four_shells, energies=0.05)
    assert clone(prior) is prior
    again = pickle.loads(pickle.dumps(prior))
    assert again == prior
    assert_allclose(again.covariance_, prior.covariance_)
    with pytest.raises(AttributeError, match="does not change"):
        prior.common = 0.3
    with pytest.raises(ValueError, match="read-only"):
        prior.covariance_[0, 0] = 1.0
    assert prior.replace(common=0.3) != prior


def test_draws_can_be_repeated_and_widened(four_shells):
    prior = ShellPrior(four_shells, energies=0.05)
    few = prior.sample(3, random_state=0)
    assert_allclose(prior.sample(5, random_state=0)[:3], few)
    assert_allclose(
        prior.sample(3, widen=2.0, stable=False, random_state=0) - prior.mean_,
        2 * (prior.sample(3, stable=False, random_state=0) - prior.mean_),
    )
    assert four_shells.is_stable(few).all()


def test_the_inverter_takes_it(four_shells):
    grid = SpectrumGrid(
        np.arange(3.0, 45, 3.0), np.arange(1.5, 6, 0.5), incident_energy=80.0
    )
    simulator = PowderSimulator(
        four_shells, grid, energy_resolution=2.5, q_resolution=0.1, mesh=4
    )
    prior = ShellPrior(four_shells, energies=0.05)
    truth = prior.sample(1, random_state=3)
    spectrum = simulator.simulate(truth)
    inverter = LeastSquaresInverter(
        simulator, prior=prior, search=Search(n_candidates=1)
    )
    found, std = inverter.fit(spectrum).predict(spectrum, return_std=True)
    energies = four_shells.frequencies(np.concatenate([truth, found]), QPOINTS)
    assert np.abs(energies[1] - energies[0]).max() < 0.5
    assert (std[0] < 1.01 * np.sqrt(prior.covariance_.diagonal())).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"independent": 0.0}, "independent must be > 0, a finite number; got 0.0"),
        ({"independent": np.nan}, "independent must be > 0"),
        ({"common": -0.1}, "common must be >= 0, a finite number; got -0.1"),
        ({"common": "a"}, "common must be >= 0, a finite number; got 'a'"),
        ({"independent": None}, "independent must be > 0, a finite number; got None"),
        ({"noncentral": "a"}, "noncentral must be above 0 and at most 1, got 'a'"),
        ({"energies": "a"}, "energies must be a positive share"),
        ({"decay": -1.0}, "decay must be >= 0"),
        ({"noncentral": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"noncentral": 1.5}, "above 0 and at most 1, got 1.5"),
        ({"energies": 0.0}, "energies must be a positive share"),
        ({"mesh": 1}, "mesh must be"),
    ],
)
def test_what_is_not_a_width_says_so(aluminium, options, message):
    with pytest.raises(ValueError, match=message):
        ShellPrior(aluminium, **options)


def test_energies_of_an_unstable_reference_are_refused(aluminium):
    unstable = aluminium.replace(reference=-np.asarray(aluminium.reference))
    message = r"must be stable at its reference, .* got a mode of .*i meV"
    with pytest.raises(ValueError, match=message):
        ShellPrior(unstable, energies=0.05).covariance_  # noqa: B018
    with pytest.raises(ValueError, match=message):
        ShellPrior(unstable).energy_deviations([[0.5, 0.5, 0.0]])


def test_energy_deviations_of_one_point_and_of_none(aluminium):
    prior = ShellPrior(aluminium)
    one = prior.energy_deviations([0.5, 0.5, 0.0])
    assert_allclose(one, prior.energy_deviations([[0.5, 0.5, 0.0]]))
    with pytest.raises(ValueError, match=r"must have shape \(n_q, 3\)"):
        prior.energy_deviations(np.zeros((0, 3)))


def test_a_model_without_reference_has_no_mean(aluminium):
    with pytest.raises(TypeError, match="model must be a ForceConstantModel"):
        ShellPrior(None)
    for reference in (None, np.zeros(5)):
        with pytest.raises(ValueError, match="must have a reference that is not zero"):
            ShellPrior(aluminium.replace(reference=reference))
