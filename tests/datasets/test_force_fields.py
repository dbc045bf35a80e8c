"""Constants from calculators against springs, phonopy's finite differences and EMT."""

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import (
    ForceConstantModel,
    LeastSquaresInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.datasets import _calculators, sample_force_constants
from skphonon.physics import ForceConstantPrior
from skphonon.physics.constants import BOLTZMANN

pytest.importorskip("ase")
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

LATTICE = 3.995  # Angstrom: aluminium of EMT, nearly
SMALL = {"n_shells": 2, "supercell": [3, 3, 3], "random_state": 0}


class CountedEMT(EMT):
    """Counts its calls and stops after some, as a user might stop it."""

    def __init__(self, n_allowed=10**6):
        super().__init__()
        self.n_calls, self.n_allowed = 0, n_allowed

    def calculate(self, *arguments):
        if self.n_calls >= self.n_allowed:
            raise KeyboardInterrupt
        self.n_calls += 1
        super().calculate(*arguments)


class Springs(Calculator):
    """Longitudinal springs k s^2/2 + g s^4/4 between nearest neighbours, no stress."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, k, g, model):
        super().__init__()
        self.k, self.g = k, g
        self.bonds = model.bonds

    def calculate(self, atoms, properties, changes):
        super().calculate(atoms, properties, changes)
        sites = atoms.positions
        steps = (sites - sites[:, None]) @ np.linalg.inv(atoms.cell[:])
        steps = (steps - np.rint(steps)) @ atoms.cell[:]
        forces, energy = np.zeros_like(sites), 0.0
        for bond in self.bonds if len(sites) > 1 else []:
            ends = np.linalg.norm(steps - bond, axis=-1).argmin(axis=1)
            along = bond / np.linalg.norm(bond)
            change = steps[np.arange(len(sites)), ends] - bond
            s = change @ along
            forces += (self.k * s + self.g * s**3)[:, None] * along
            energy += (self.k * s**2 / 2 + self.g * s**4 / 4).sum() / 2
        self.results = {"energy": energy, "forces": forces}


@pytest.fixture(scope="module")
def prior():
    """Two states of two calculators, the second twice as stiff."""
    model = load_aluminium_model()
    rows = [s * model.reference for s in (0.7, 0.75, 1.4, 1.5)]
    table = pd.DataFrame(rows, columns=model.parameter_names).assign(
        calculator=["soft", "soft", "stiff", "stiff"],
        strain=[0.0, -0.01] * 2,
        temperature=0.0,
        scale=1.0,
    )
    return ForceConstantPrior(model, table)


def test_small_displacements_give_the_constants_of_finite_differences():
    atoms = bulk("Al", a=LATTICE)
    model = ForceConstantModel.from_calculator(atoms, EMT(), supercell=[4, 4, 4])
    prior = sample_force_constants(
        EMT(), model, strains=[0.0], relax_cell=False, displacement=0.005
    )
    assert prior.parameter_names == model.parameter_names
    # quartic terms change them: by 1e-3 at most with displacements of 0.01 Angstrom
    assert_allclose(prior.constants_[0], model.reference, atol=2e-3)
    assert prior.table["lattice_scale"].tolist() == [1.0]


def test_thermal_constants_are_those_of_anharmonic_springs_in_closed_form():
    model = ForceConstantModel(bulk("Al", a=4.04).cell[:], "Al", None, n_shells=1)
    k, g, temperature, n = 1.3, 1.2, 2000.0, 27
    prior = sample_force_constants(
        {"springs": Springs(k, g, model)},
        model,
        strains=[0.0],
        temperatures=[0.0, temperature],
        supercell=[3, 3, 3],
        relax_cell=False,
        n_displacements=60,
        random_state=0,
    )
    cold, warm = prior.table["1XX"] * 2  # K = k b b^T, b along 110
    # 0.02 Angstrom are not infinitely small: <s^2> = 2 * 0.02^2 adds 0.003
    assert_allclose(cold, k + 3 * g * 2 * 0.02**2, rtol=5e-4)
    # equipartition over 6 n springs: k' <s^2> = kT (1 - 1/n) / 2, k' = k + 3 g <s^2>
    b = 3 * g * BOLTZMANN / 1000 * temperature * (1 - 1 / n) / 2
    expected = (k + np.sqrt(k**2 + 4 * b)) / 2
    assert expected > 1.15 * k
    # few draws; two rounds miss 0.3 %, quantum statistics less
    assert_allclose(warm, expected, rtol=0.02)
    assert_allclose(prior.constants_[:, 1], 0, atol=0.02)  # 1ZZ: no transverse spring


def test_each_calculator_relaxes_and_strains_the_crystal():
    prior = sample_force_constants(
        EMT(), bulk("Al", a=4.1), strains=[-0.01, 0.01], **SMALL
    )
    table = prior.table
    assert table["calculator"].tolist() == ["EMT", "EMT"]
    sizes = 4.1 * table["lattice_scale"] / (1 + table["strain"])
    assert_allclose(sizes, LATTICE, atol=2e-3)  # of EMT, by its energy minimum
    assert table["1XX"][0] > 1.1 * table["1XX"][1]  # compressed crystals are stiffer
    assert_array_equal(prior.model.reference, prior.mean_)
    again = pickle.loads(pickle.dumps(prior))
    assert_array_equal(again.sample(3, random_state=0), prior.sample(3, random_state=0))


def test_a_conventional_cell_and_phonopys_atoms_are_the_same_crystal():
    from phonopy.structure.atoms import PhonopyAtoms

    settings = {"n_shells": 2, "strains": [0.0], "random_state": 0}
    cubic = bulk("Al", a=LATTICE, cubic=True)
    cell = PhonopyAtoms(["Al"] * 4, cell=cubic.cell[:], positions=cubic.positions)
    rows = [
        sample_force_constants(EMT(), one, supercell=multiple, **settings).constants_
        for one, multiple in (
            (cubic, [2, 2, 2]),
            (cell, [2, 2, 2]),
            (bulk("Al", a=LATTICE), 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])),
        )
    ]
    assert_allclose(rows[1], rows[0], atol=1e-8)
    # the sites are in another order, the random displacements of each differ
    assert_allclose(rows[2], rows[0], atol=0.02)


def test_constants_are_those_of_the_relaxed_crystal_wherever_it_starts():
    from ase import Atoms

    # layers Cu Cu Al Al along c: their distances and c / a are free
    def layers(a, c, z):
        sites = [[0, 0, z], [0.5, 0.5, 0.25], [0, 0, 0.5 + z], [0.5, 0.5, 0.75]]
        return Atoms("Cu2Al2", cell=[a, a, c], scaled_positions=sites, pbc=True)

    settings = {
        "n_shells": 4,
        "supercell": [3, 3, 2],
        "strains": [0.01],
        "max_force": 1e-5,
        "random_state": 0,
    }
    priors = [
        sample_force_constants(EMT(), atoms, **settings)
        for atoms in (layers(2.70, 7.5, 0.01), layers(2.72, 7.6, 0.015))
    ]
    sizes = [
        prior.table["lattice_scale"][0] ** 3 * prior.model.cell.volume
        for prior in priors
    ]
    assert_allclose(sizes[1], sizes[0], rtol=1e-5)
    assert priors[0].parameter_names == priors[1].parameter_names
    # forces at rest are below 1e-5 eV/Angstrom; positions agree to some 1e-6 Angstrom
    assert_allclose(priors[1].constants_, priors[0].constants_, atol=1e-4)


def test_the_cache_is_asked_before_the_calculator(tmp_path):
    settings = {**SMALL, "strains": [0.0, 0.01], "cache": tmp_path / "new"}
    crystal = bulk("Al", a=LATTICE)
    whole = CountedEMT()
    expected = sample_force_constants(whole, crystal, **SMALL, strains=[0.0, 0.01])
    stopped = CountedEMT(n_allowed=whole.n_calls - 3)
    with pytest.raises(KeyboardInterrupt):
        sample_force_constants(stopped, crystal, **settings)
    rest = CountedEMT()
    prior = sample_force_constants(rest, crystal, **settings)
    pd.testing.assert_frame_equal(prior.table, expected.table)
    assert 0 < rest.n_calls < whole.n_calls / 2
    unused = CountedEMT(n_allowed=0)
    sample_force_constants(unused, crystal, **settings)
    with pytest.raises(KeyboardInterrupt):  # another supercell is another result
        sample_force_constants(
            unused, crystal, **{**settings, "supercell": [4, 4, 4], "strains": [0.0]}
        )
    for text in ("{", '{"label": 1}', "[]"):
        for path in (tmp_path / "new").glob("*0K*.json"):
            path.write_text(text)
        with pytest.raises(ValueError, match=r"0K-\w+.json must hold .* damaged"):
            sample_force_constants(unused, crystal, **settings)


def test_draws_of_a_state_do_not_depend_on_the_others():
    crystal = bulk("Al", a=LATTICE)
    both = sample_force_constants(EMT(), crystal, strains=[0.0, 0.01], **SMALL)
    one = sample_force_constants(EMT(), crystal, strains=[0.01], **SMALL)
    assert_array_equal(one.constants_[0], both.constants_[1])


def test_softening_is_set_or_learnt(prior, salt):
    halved = sample_force_constants(
        {"a": EMT()}, bulk("Al"), strains=[0.0], softening={"a": 0.5}, **SMALL
    )
    raw = halved.rescaled(1.0)
    assert_allclose(halved.constants_, 2 * raw.constants_, rtol=1e-12)
    assert halved.table["scale"].tolist() == [2.0]

    truth = prior.model.frequencies(prior.model.reference[None], [[0.5, 0.5, 0.0]])[0]
    highest = np.where([False, False, True], truth, np.nan)
    learnt = prior.learn_softening([[0.5, 0.5, 0.0]], highest)
    assert learnt == pytest.approx({"soft": 0.7, "stiff": 1.4}, rel=1e-4)
    corrected = prior.rescaled(learnt)
    assert_allclose(
        corrected.constants_[[0, 2]], 2 * [prior.model.reference], rtol=1e-4
    )
    # what was corrected is learnt no other way, and the correction replaced
    assert corrected.learn_softening([[0.5, 0.5, 0.0]], highest) == pytest.approx(
        learnt
    )
    assert_allclose(corrected.rescaled(1.0).constants_, prior.constants_, rtol=1e-12)

    # the dipole term of a polar crystal stays as it is
    table = pd.DataFrame([0.8 * salt.reference], columns=salt.parameter_names)
    table = table.assign(calculator="a", strain=0.0, temperature=0.0, scale=1.0)
    qpoints = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
    energies = salt.frequencies(salt.reference[None], qpoints)[0]
    polar = ForceConstantPrior(salt, table).learn_softening(qpoints, energies)
    assert polar["a"] == pytest.approx(0.8, rel=1e-4)


def test_draws_have_the_mean_and_covariance_told(prior):
    rows = prior.constants_
    mean, size = rows.mean(axis=0), np.sqrt((rows**2).mean(axis=0))
    shells = np.repeat([size[:3].max(), size[3:].max()], [3, 2])
    expected = np.cov(rows.T) + 0.01 * np.outer(mean, mean) + np.diag(0.04 * shells**2)
    assert_allclose(prior.covariance_, expected, rtol=1e-12)
    draws = prior.sample(20_000, stable=False, random_state=0)
    deviations = np.sqrt(np.diag(prior.covariance_))
    # standard errors: 1/141 of a deviation, 1/100 of a variance
    assert_allclose(draws.mean(axis=0), mean, atol=0.03 * deviations.max())
    scaled = np.cov((draws / deviations).T)
    assert_allclose(scaled, expected / np.outer(deviations, deviations), atol=0.05)
    wide = prior.sample(20_000, widen=2, stable=False, random_state=0)
    assert_allclose(wide - mean, 2 * (draws - mean), atol=1e-12)


def test_draws_are_stable_and_the_first_ones_the_same(prior):
    draws = prior.sample(1500, widen=2, random_state=1)
    assert draws.shape == (1500, 5)
    assert prior.model.is_stable(draws).all()
    assert not prior.model.is_stable(
        prior.sample(1500, widen=2, stable=False, random_state=1)
    ).all()
    assert_array_equal(prior.sample(10, widen=2, random_state=1), draws[:10])
    assert prior.sample(0).shape == (0, 5)


def test_a_prior_is_one_of_the_optimiser(prior):
    grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 8, 1.0))
    simulator = PowderSimulator(prior.model, grid, energy_resolution=1.54, mesh=6)
    truth = 1.02 * prior.model.reference
    spectra = simulator.simulate(truth[None])
    knowing = LeastSquaresInverter(simulator, prior=prior, scale="absolute")
    found = knowing.fit(spectra).predict(spectra)[0]
    assert_allclose(found, truth, rtol=0.02)
    knowing.set_params(prior=(prior.mean_, prior.covariance_))
    assert_allclose(knowing.fit(spectra).predict(spectra)[0], found)


def unstable(strain):
    return sample_force_constants(
        EMT(), bulk("Al", a=LATTICE), strains=[strain], relax_cell=False, **SMALL
    )


def test_what_does_not_work_is_said(monkeypatch, salt, prior):
    crystal = bulk("Al", a=LATTICE)
    model = load_aluminium_model()
    springs = Springs(1.0, 0.0, model)
    with pytest.raises(ValueError, match=r"Springs does not: .*relax_cell=False"):
        sample_force_constants(springs, crystal, **SMALL)
    with pytest.raises(TypeError, match="calculators of ASE or names of checkpoints"):
        sample_force_constants(object(), crystal, **SMALL)
    with pytest.raises(ValueError, match="different names, got EMT, EMT"):
        sample_force_constants([EMT(), EMT()], crystal, **SMALL)
    with pytest.raises(ValueError, match="stable crystal, but those of EMT at strain"):
        unstable(0.3)
    with pytest.raises(ValueError, match=r"changes its lengths by factors of 0\.8"):
        sample_force_constants(EMT(), bulk("Al", a=4.7), **SMALL)
    with pytest.raises(ValueError, match="belong to its supercell"):
        sample_force_constants(EMT(), salt, supercell=[2, 2, 2])
    with pytest.raises(ValueError, match="give no cutoff"):
        sample_force_constants(EMT(), model, cutoff=3.0)
    with pytest.raises(ValueError, match="needs cutoff or n_shells"):
        sample_force_constants(EMT(), crystal)
    with pytest.raises(TypeError, match="structure must be"):
        sample_force_constants(EMT(), "Al", n_shells=2)
    flat = crystal.copy()
    flat.pbc = [True, True, False]
    with pytest.raises(ValueError, match="periodic in three dimensions"):
        sample_force_constants(EMT(), flat, n_shells=2)
    for name, value in (
        ("strains", []),
        ("strains", [-0.7]),
        ("temperatures", [-1.0]),
        ("temperatures", [1.0, 1.0]),
        ("n_displacements", 0),
        ("max_force", 0.0),
        ("random_state", np.random.RandomState(0)),
    ):
        with pytest.raises(ValueError, match=f"{name} must be"):
            sample_force_constants(EMT(), crystal, **{**SMALL, name: value})
    with pytest.raises(ValueError, match="softening must be positive"):
        prior.rescaled({"soft": -1.0})
    with pytest.raises(ValueError, match="name calculators of the table"):
        prior.rescaled({"other": 1.0})
    with pytest.raises(ValueError, match="one value at least not NaN"):
        prior.learn_softening([[0, 0, 0]], [[np.nan] * 3])
    with pytest.raises(ValueError, match="factor of ten"):
        prior.learn_softening([[0.5, 0.5, 0.0]], [[1.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="Hardly any draw"):
        ForceConstantPrior(prior.model, -prior.table[prior.parameter_names][:1]).sample(
            1
        )
    with pytest.raises(ValueError, match="a column for every parameter"):
        ForceConstantPrior(salt, prior.table).sample(1)
    monkeypatch.setattr(_calculators, "_MAX_STEPS", 1)
    with pytest.raises(ValueError, match=r"does not relax with EMT: .* after 1 steps"):
        sample_force_constants(EMT(), bulk("Al", a=4.2), **SMALL)
    monkeypatch.setitem(sys.modules, "sevenn", None)
    monkeypatch.setitem(sys.modules, "sevenn.calculator", None)
    with pytest.raises(ImportError, match=r"'7net-0': pip install skphonon\[mlff\]"):
        sample_force_constants("7net-0", crystal, **SMALL)
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(ImportError, match=r"needs ASE: pip install skphonon\[ase\]"):
        sample_force_constants(EMT(), crystal, **SMALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of SevenNet and what it imports
def test_checkpoints_of_sevennet_are_known_by_name():
    pytest.importorskip("sevenn", reason="needs SevenNet: pip install skphonon[mlff]")
    prior = sample_force_constants(
        ["7net-0", "7net-mf-0:PBE"],
        bulk("Al"),
        strains=[0.0],
        n_shells=2,
        supercell=[3, 3, 3],
        random_state=0,
    )
    assert prior.table["calculator"].tolist() == ["7net-0", "7net-mf-0:PBE"]
    assert_allclose(4.05 * prior.table["lattice_scale"], 4.04, rtol=0.01)  # measured
    energies = prior.model.frequencies(prior.constants_, [[0.5, 0.5, 0.0]])
    # measured: 24 and 40 meV at the X point; the fields are up to a third too soft
    assert (energies[:, 0, 2] > 26).all()
    assert (energies[:, 0, 2] < 42).all()


def test_calculators_see_the_magnetic_moments():
    class Seen(EMT):
        moments = ()

        def calculate(self, atoms=None, *args, **kwargs):
            self.moments = atoms.get_initial_magnetic_moments()
            super().calculate(atoms, *args, **kwargs)

    atoms = bulk("Al")
    atoms.set_initial_magnetic_moments([1.5])
    calculator = Seen()
    prior = sample_force_constants(
        calculator,
        atoms,
        n_shells=2,
        supercell=[4, 4, 4],
        strains=[0.0],
        random_state=0,
    )
    assert_allclose(prior.model.magnetic_moments, [1.5])
    assert_allclose(calculator.moments, np.full(64, 1.5))
