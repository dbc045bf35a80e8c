"""Powder spectra against Euphonic, sum rules and the published simulation."""

import pickle

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skphonon import (
    PowderSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    load_aluminium_model,
    nmse,
)
from skphonon.instrument import PolynomialResolution
from skphonon.instrument.resolution import bin_kernel
from skphonon.physics import UnstableCrystalWarning, ZoneMesh
from skphonon.physics.constants import HBAR2_PER_AMU
from skphonon.physics.scattering import chi_from_sqe
from skphonon.physics.scattering_lengths import scattering_lengths
from skphonon.physics.stability import searching
from skphonon.simulation import Scattering
from skphonon.simulation._calls import n_threads


@pytest.fixture(scope="module")
def model():
    return load_aluminium_model()


@pytest.fixture(scope="module")
def grid():
    return SpectrumGrid(
        np.arange(10, 45, 2.5), np.arange(0.5, 9, 0.5), incident_energy=50.0
    )


def test_contract(model, grid):
    simulator = PowderSimulator(model, grid, energy_resolution=1.54)
    spectra = simulator.simulate([simulator.reference, 1.1 * simulator.reference])
    assert spectra.shape == (2, grid.n_pixels)
    assert_array_equal(np.isnan(spectra[1]), ~grid.mask.ravel())
    visible = spectra[:, grid.mask.ravel()]
    assert (visible > -1e-5 * visible.max()).all()  # of splines
    assert simulator.parameter_names == model.parameter_names
    assert simulator.simulate(simulator.reference).shape == (1, grid.n_pixels)


def test_batches_do_not_change_a_spectrum(model, grid):
    simulator = PowderSimulator(model, grid, energy_resolution=1.54)
    rows = simulator.reference * np.linspace(0.8, 1.2, 40)[:, None]
    together = simulator.simulate(rows)
    assert_allclose(together[[0, 33]], simulator.simulate(rows[[0, 33]]), rtol=1e-10)


@pytest.mark.parametrize("q_resolution", [0.0, 0.1])
def test_first_moment_is_the_recoil_energy(model, q_resolution):
    """f-sum rule: the integral of E chi''/pi dE is hbar^2 Q^2 / 2m, without DW."""
    grid = SpectrumGrid(np.arange(-60, 60.1, 0.5), np.arange(2.0, 5.0, 0.25))
    simulator = PowderSimulator(
        model,
        grid,
        energy_resolution=1.54,
        mean_square_displacement=0.0,
        q_resolution=q_resolution,
        mesh=24,  # bins with sharp borders
    )
    chi = grid.to_image(simulator.simulate(simulator.reference))[0]
    energy, q = grid.axes()
    moment = (energy @ chi) * 0.5 / np.pi / 2  # both signs of energy contribute
    mean_square_q = q**2 + 0.25**2 / 12 + q_resolution**2
    expected = HBAR2_PER_AMU * mean_square_q / (2 * model.atomic_masses[0])
    # 1 %: modes of lowest energy are resolved at |Q| near the zone centres only
    assert_allclose(moment, expected, rtol=1e-2)
    assert_allclose(chi[::-1], -chi, atol=1e-12)


@pytest.mark.filterwarnings("ignore:More than one OpenMP library")
def test_powder_average_agrees_with_euphonic(model, tmp_path):
    """Absolute one-phonon intensity of 10,000 directions, Debye-Waller included."""
    euphonic = pytest.importorskip("euphonic")
    from euphonic import ureg
    from euphonic.powder import sample_sphere_structure_factor

    temperature, moduli = 300.0, np.array([2.3, 4.1, 6.0])
    model.to_phonopy().save(
        tmp_path / "phonopy.yaml", settings={"force_constants": True}
    )
    crystal = euphonic.ForceConstants.from_phonopy(path=tmp_path)
    fixed = 0.0104  # Angstrom^2, about that of aluminium
    debye_waller = euphonic.DebyeWaller(
        crystal.crystal,
        fixed / 2 * np.eye(3)[None] * ureg("angstrom^2"),
        temperature * ureg("K"),
    )
    length = 3.449  # fm; any value: the comparison divides by its square
    edges = np.arange(0.0, 60.0, 0.05)
    spectra = [
        sample_sphere_structure_factor(
            crystal,
            modulus * ureg("1/angstrom"),
            dw=debye_waller,
            temperature=temperature * ureg("K"),
            npts=10_000,
            energy_bins=edges * ureg("meV"),
            scattering_lengths={"Al": length * ureg("fm")},
        )
        for modulus in moduli
    ]
    density = [s.y_data.to("fm^2/meV").magnitude / length**2 for s in spectra]
    energy = np.arange(10, 45, 1.0)
    grid_edges = np.append(energy, 45.0) - 0.5
    lines = (edges[1:] + edges[:-1]) / 2
    chi_lines = chi_from_sqe(density, lines, temperature)
    expected = bin_kernel(grid_edges, lines, 1.5) @ chi_lines.T * 0.05

    for column, modulus in enumerate(moduli):
        thin = SpectrumGrid(energy, modulus + np.array([-0.02, 0.02]))
        simulator = PowderSimulator(
            model,
            thin,
            temperature=temperature,
            energy_resolution=1.5,
            q_resolution=0.0,
            mean_square_displacement=fixed,
            mesh=64,  # a thin shell needs many points
        )
        chi = thin.to_image(simulator.simulate(simulator.reference))[0]
        mine = chi.mean(axis=1)
        difference = mine - expected[:, column]
        # what is left is the sampling of their directions
        assert (difference**2).mean() < 1e-4 * (expected[:, column] ** 2).mean()
        assert_allclose(mine.sum(), expected[:, column].sum(), rtol=2e-3)


@pytest.mark.filterwarnings("ignore::skphonon.datasets.IncompleteDatasetWarning")
def test_published_simulation_is_reproduced(data_folder, model):
    published = fetch_aluminium_arcs()
    # 50 K and a background in Q^2: what the published simulation shows
    simulator = PowderSimulator(
        model,
        published.grid,
        energy_resolution=1.54,
        temperature=50.0,
        background=[[0.0, 0.0, 0.002]],
        tolerance=1e-5,
    )
    simulated = simulator.simulate(published.simulated_target)
    assert nmse(published.simulated[None], simulated)[0] < 4.4e-4  # measured: 4.2e-4


def test_the_mesh_is_converged(model):
    """A much finer mesh changes a spectrum by the error that is estimated."""
    grid = SpectrumGrid(
        np.arange(10.25, 45, 0.5), np.arange(0.05, 10.1, 0.1), incident_energy=50.0
    )
    coarse = PowderSimulator(model, grid, energy_resolution=1.54, temperature=50.0)
    assert coarse.mesh_error <= coarse.tolerance
    fine = clone(coarse).set_params(mesh=ZoneMesh(30, n_polar=24))
    rng = np.random.default_rng(0)
    rows = coarse.reference * rng.uniform(0.7, 1.3, (8, 5))  # none is very soft
    rows = np.vstack([coarse.reference, rows])
    assert model.is_stable(rows).all()
    visible = grid.mask.ravel()
    exact, found = (s.simulate(rows)[:, visible] for s in (fine, coarse))
    error = ((found - exact) ** 2).mean(axis=1) / exact.var(axis=1)
    assert error.max() < coarse.tolerance
    assert_allclose(coarse.mesh_errors(rows), error, rtol=0.5)


@pytest.mark.parametrize("shifted", [True, False])
def test_every_mesh_converges_to_the_same(model, grid, shifted):
    spectra = [
        PowderSimulator(
            model, grid, energy_resolution=1.54, mesh=ZoneMesh(n, shifted=shifted)
        ).simulate(model.reference)
        for n in (8, 12, 16)
    ]
    finest = PowderSimulator(
        model, grid, energy_resolution=1.54, mesh=ZoneMesh((29, 29, 29))
    ).simulate(model.reference)
    errors = [nmse(finest, each)[0] for each in spectra]
    # exponentially in the number of points, as for any smooth periodic function
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 5
    assert errors[2] < 5e-5


def test_threads_and_memory_change_nothing(model, grid):
    simulator = PowderSimulator(model, grid, energy_resolution=1.54, mesh=6)
    rows = simulator.reference * np.linspace(0.8, 1.2, 70)[:, None]
    expected = simulator.simulate(rows)
    for context in (parallel_config(n_jobs=2), config_context(working_memory=1)):
        with context:
            assert_allclose(simulator.simulate(rows), expected, rtol=1e-10)


def test_threads_are_those_of_the_context_and_one_within_others():
    assert n_threads() == 1
    with parallel_config(n_jobs=2):
        assert n_threads() == 2
        for kind in ("threads", "processes"):
            parallel = Parallel(n_jobs=2, prefer=kind)
            assert parallel(delayed(n_threads)() for _ in "ab") == [1, 1]


def test_working_memory_bounds_the_mesh(model, grid):
    simulator = PowderSimulator(model, grid, energy_resolution=1.54, tolerance=1e-4)
    assert simulator.refined() is not None
    usual = np.prod(simulator.zone_mesh.size)
    with config_context(working_memory=1), searching():
        assert np.prod(simulator.zone_mesh.size) < usual
        assert simulator.refined() is None
    assert np.prod(simulator.zone_mesh.size) == usual


def test_scaling_all_constants_scales_energies(model):
    energy = np.arange(10, 40, 1.0)
    q = np.arange(1, 6, 0.5)
    plain = PowderSimulator(
        model,
        SpectrumGrid(energy, q),
        energy_resolution=1.54,
        mean_square_displacement=0.004,
        mesh=6,
    )
    doubled = PowderSimulator(
        model,
        SpectrumGrid(2 * energy, q),
        energy_resolution=2 * plain.energy_resolution,
        mean_square_displacement=0.004,
        mesh=6,
    )
    # chi'' has 1/E for a phonon and 1/E for the density: a quarter
    assert_allclose(
        4 * doubled.simulate(4 * doubled.reference),
        plain.simulate(plain.reference),
        rtol=1e-9,
    )


def test_unstable_parameters_give_finite_spectra(model, grid):
    simulator = PowderSimulator(model, grid, energy_resolution=1.54)
    unstable = simulator.reference * [0.5, 1.5, 1.4, 0.5, 0.5]
    hopeless = -simulator.reference
    assert not model.is_stable([unstable, hopeless]).any()
    with pytest.warns(UnstableCrystalWarning, match=r"2 of 2 .* q = \(.*i meV"):
        spectra = simulator.simulate([unstable, hopeless])[:, grid.mask.ravel()]
    assert np.isfinite(spectra).all()
    assert (spectra[1] == 0).all()


@pytest.mark.filterwarnings("ignore::skphonon.physics.UnstableCrystalWarning")
def test_soft_crystals_scatter_no_more_than_their_phonons(model, grid):
    """However close to instability, the Debye-Waller factor damps."""
    rng = np.random.default_rng(0)
    rows = model.reference * rng.uniform(0.5, 1.5, (400, 5))
    assert 20 < (~model.is_stable(rows)).sum() < 100
    simulator = PowderSimulator(model, grid, energy_resolution=1.54, mesh=6)
    undamped = clone(simulator).set_params(mean_square_displacement=0.0)
    visible = grid.mask.ravel()
    damped, most = (s.simulate(rows)[:, visible] for s in (simulator, undamped))
    assert (damped <= most + 1e-6 * most.max()).all()


def test_debye_waller_factor_damps_large_q(model, grid):
    cold, hot = (
        grid.to_image(
            PowderSimulator(
                model, grid, energy_resolution=1.54, temperature=t, mesh=6
            ).simulate([model.reference])
        )[0]
        for t in (0.0, 600.0)
    )  # fmt: skip
    ratio = (hot / cold)[0]  # NaN where not visible
    assert (np.diff(ratio[np.isfinite(ratio)]) < 0).all()
    fixed = PowderSimulator(
        model,
        grid,
        energy_resolution=1.54,
        mean_square_displacement=0.0,
        mesh=6,
    )
    undamped = fixed.simulate([model.reference])[0, grid.mask.ravel()]
    assert (undamped >= cold.ravel()[grid.mask.ravel()] - 1e-6 * undamped.max()).all()


def test_background_is_relative_to_the_spectrum(model, grid):
    plain = PowderSimulator(model, grid, energy_resolution=1.54).simulate(
        [model.reference]
    )
    simulator = PowderSimulator(
        model, grid, energy_resolution=1.54, background=[[0.5, 0.0], [0.0, 0.01]]
    )
    added = simulator.simulate([model.reference]) - plain
    energy, q = grid.axes()
    expected = np.nanmean(plain) * (0.5 + 0.01 * np.outer(energy, q).ravel())
    visible = grid.mask.ravel()
    assert_allclose(added[0, visible], expected[visible], rtol=1e-9)


def test_changed_settings_are_seen(model, grid):
    simulator = clone(PowderSimulator(model, grid, energy_resolution=1.54))
    before = simulator.simulate([model.reference])
    simulator.set_params(energy_resolution=3.0)
    broader = simulator.simulate([model.reference])
    assert np.nanstd(broader) < np.nanstd(before)
    few = grid.replace(energy=grid.energy[:5])
    simulator.set_params(grid=few, model=model.replace(mass=54.0))
    assert simulator.simulate([model.reference]).shape == (1, 5 * grid.shape[1])


def test_pickles_are_small_and_simulate_the_same(model, grid):
    simulator = PowderSimulator(model, grid, energy_resolution=1.54)
    spectra = simulator.simulate([model.reference])
    file = pickle.dumps(simulator)
    assert len(file) < 10_000  # no basis matrices
    assert_array_equal(pickle.loads(file).simulate([model.reference]), spectra)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, r"'temperature' .* in the range \[0.*Got -1.0"),
        ({"energy_resolution": -0.5}, "'energy_resolution'"),
        ({"q_resolution": "wide"}, "'q_resolution'"),
        ({"mean_square_displacement": -1e-3}, "'mean_square_displacement'"),
        ({"tolerance": 0.0}, "'tolerance'"),
        ({"quantity": "s"}, "'quantity'"),
        ({"units": "barn"}, "'units'"),
        ({"scattering": Scattering(n_phonons=0)}, "'n_phonons'"),
        ({"scattering": Scattering(n_phonons="all")}, "'n_phonons'"),
        ({"scattering": "all"}, "'scattering'"),
        ({"mesh": 1}, "'mesh'"),
        ({"mesh": (4, 4)}, r"three of them; got \(4, 4\)"),
        ({"energy_resolution": lambda energy: -energy}, "widths of at least 0 meV"),
        ({"background": [0.0, 1.0]}, r"background must be .* Q\^2 is \[\[0, 0, c\]\]"),
    ],
)
def test_bad_settings_are_named(model, grid, settings, message):
    with pytest.raises(ValueError, match=message):
        PowderSimulator(
            model, grid, **{"energy_resolution": 1.54, **settings}
        ).simulate([model.reference])


def test_an_element_without_scattering_length_is_named(model, grid):
    unknown = model.replace(symbol="Po", mass=209.0)
    simulator = PowderSimulator(unknown, grid, energy_resolution=1.54, mesh=6)
    assert np.isfinite(np.nanmax(simulator.simulate(model.reference)))  # cancels out
    simulator.set_params(units="barn/meV/sr")
    with pytest.raises(ValueError, match="Po"):
        simulator.simulate(model.reference)
    simulator.set_params(scattering__scattering_lengths={"Po": (3.0, 0.1)})
    assert np.isfinite(np.nanmax(simulator.simulate(model.reference)))


def test_gradients_that_do_not_exist_are_named(model, grid):
    simulator = PowderSimulator(model, grid, mesh=6, energy_resolution=0.0)
    with pytest.raises(ValueError, match=r"nuisance must name .* 'colour'"):
        simulator.jacobian(model.reference, nuisance=["colour"])
    with pytest.raises(ValueError, match=r"with energy_resolution at energy_resol.*=0"):
        simulator.jacobian(model.reference, nuisance="energy_resolution")


def test_a_tolerance_out_of_reach_is_said(model):
    grid = SpectrumGrid(np.arange(10, 45, 2.5), np.arange(5, 9, 0.05))
    simulator = PowderSimulator(
        model,
        grid,
        energy_resolution=0.1,
        q_resolution=0.01,
        tolerance=1e-8,
    )
    told = r"finest mesh within working_memory=4 MiB, \(.* the error is"
    with (
        config_context(working_memory=4),
        pytest.warns(ConvergenceWarning, match=told),
    ):
        simulator.simulate(model.reference)


def test_tensors_go_backwards_without_a_jacobian(model, grid, monkeypatch):
    simulator = PowderSimulator(model, grid, energy_resolution=1.54, mesh=4)
    slopes = np.random.default_rng(0).normal(size=(1, grid.n_pixels))
    expected = simulator.gradient(model.reference, slopes)
    monkeypatch.setattr(PowderSimulator, "jacobian", None)
    rows = torch.tensor(model.reference[None], requires_grad=True)
    visible = torch.as_tensor(grid.mask.ravel())
    spectra = simulator.simulate_tensor(rows)[:, visible]
    (spectra * torch.as_tensor(slopes)[:, visible]).sum().backward()
    assert_allclose(rows.grad.numpy(), expected, rtol=1e-12)


def test_a_tolerance_is_kept(model, grid):
    for tolerance in (1e-2, 1e-3):
        simulator = PowderSimulator(
            model, grid, energy_resolution=1.54, tolerance=tolerance
        )
        assert simulator.mesh_error < tolerance


def test_a_constant_function_is_the_constant(model, grid):
    plain = PowderSimulator(model, grid, mesh=6, energy_resolution=1.2)
    function = clone(plain).set_params(energy_resolution=PolynomialResolution([1.2]))
    assert_allclose(
        function.simulate(model.reference), plain.simulate(model.reference), rtol=1e-12
    )
    wider = clone(plain).set_params(energy_resolution=PolynomialResolution([1.0, 0.1]))
    assert np.nanstd(wider.simulate(model.reference)) < np.nanstd(
        plain.simulate(model.reference)
    )
    by_width = plain.jacobian(model.reference, nuisance="energy_resolution")[..., -1]
    anonymous = clone(plain).set_params(energy_resolution=lambda e: 1.2 + 0 * e)
    assert_array_equal(
        anonymous.simulate(model.reference), function.simulate(model.reference)
    )
    factor = function.jacobian(model.reference, nuisance="energy_resolution")[..., -1]
    assert_allclose(factor, 1.2 * by_width, rtol=1e-9, atol=1e-15)


def test_units_of_a_single_element_differ_by_its_cross_section(model, grid):
    plain = PowderSimulator(model, grid, energy_resolution=1.54, mesh=6)
    absolute = clone(plain).set_params(units="barn/meV/sr")
    length = scattering_lengths(["Al"]).coherent_length[0]
    assert_allclose(
        absolute.simulate(model.reference),
        plain.simulate(model.reference) * length**2 / 100,
        rtol=1e-12,
    )


def test_zero_momentum_and_zero_temperature(model):
    grid = SpectrumGrid(np.arange(-30.0, 45, 2.5), np.arange(0, 2, 0.25))
    simulator = PowderSimulator(
        model,
        grid,
        energy_resolution=1.54,
        temperature=0.0,
        quantity="sqe",
        mesh=6,
    )
    image = grid.to_image(simulator.simulate(model.reference))[0]
    assert np.isfinite(image).all()
    assert abs(image[grid.energy < -8]).max() < 1e-6 * image.max()


def test_a_reference_of_another_model_is_named(model, grid):
    wrong = model.replace(reference=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"of 1XX, 1ZZ.*got shape \(2,\)"):
        PowderSimulator(wrong, grid, energy_resolution=1.54).reference  # noqa: B018


def test_wrong_number_of_parameters(model, grid):
    with pytest.raises(ValueError, match=r"\(n_samples, 5\).*got shape \(1, 3\)"):
        PowderSimulator(model, grid, energy_resolution=1.54).simulate([[1.0, 2.0, 3.0]])


def test_a_single_pixel_is_converged(model):
    """Its variance is nothing: errors are those of its intensity."""
    energy, q = np.arange(2, 40, 4.0), np.arange(1, 8, 0.5)
    mask = np.zeros((len(energy), len(q)), dtype=bool)
    mask[2, 6] = True
    grid = SpectrumGrid(energy, q, mask=mask)
    simulator = PowderSimulator(model, grid, energy_resolution=0.8)
    found = np.nanmax(simulator.simulate(model.reference))
    exact = np.nanmax(clone(simulator).set_params(mesh=40).simulate(model.reference))
    assert found == pytest.approx(exact, rel=0.02)
    assert 0 < simulator.mesh_error < simulator.tolerance


def test_a_mesh_that_has_nothing_in_the_window_is_not_taken(model):
    grid = SpectrumGrid(np.linspace(2, 6, 5), np.linspace(0.1, 0.25, 4))
    simulator = PowderSimulator(
        model, grid, energy_resolution=1.0, q_resolution=0.03, tolerance=0.05
    )
    found = simulator.simulate(model.reference)
    assert min(simulator.zone_mesh.size) > 20
    exact = clone(simulator).set_params(mesh=90).simulate(model.reference)
    assert nmse(exact, found)[0] < 0.05
    empty = clone(simulator).set_params(mesh=2).simulate(model.reference)
    assert not np.nansum(empty)


def test_orders_without_end_are_said(model):
    grid = SpectrumGrid(np.arange(5, 300, 5.0), np.arange(22, 25, 0.5))
    simulator = PowderSimulator(
        model,
        grid,
        energy_resolution=2.0,
        temperature=4000.0,
        scattering=Scattering(n_phonons="auto"),
        mesh=6,
        quantity="sqe",
    )
    with pytest.warns(UserWarning, match="More than 60 phonons at once"):
        simulator.simulate(model.reference)


def test_many_phonons_at_once_do_not_overflow(model, grid):
    few, many, auto = (
        PowderSimulator(
            model,
            grid,
            energy_resolution=1.54,
            mesh=6,
            scattering=Scattering(n_phonons=n),
            temperature=900.0,
        ).simulate(model.reference)
        for n in (10, 40, "auto")
    )
    assert_allclose(many, few, rtol=1e-3)
    assert np.nansum(auto) == pytest.approx(np.nansum(many), rel=1e-3)


def test_an_order_that_is_not_enough_is_said(model):
    grid = SpectrumGrid(np.arange(10, 60, 2.0), np.arange(9, 10.5, 0.25))
    simulator = PowderSimulator(
        model,
        grid,
        energy_resolution=1.54,
        temperature=900.0,
        scattering=Scattering(n_phonons=4),
        mesh=6,
    )
    with pytest.warns(UserWarning, match=r"n_phonons=4 leaves out \d+% .* \"auto\""):
        simulator.simulate(model.reference)
