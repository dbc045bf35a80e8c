"""Derivatives of powder spectra against differences, of degenerate modes as well."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from skphonon import PowderSimulator, SpectrumGrid
from skphonon.simulation import Scattering

pytestmark = pytest.mark.filterwarnings("ignore:More than one OpenMP library")

SMALL = SpectrumGrid(np.arange(9.0, 70.0, 4.0), np.array([2.0, 3.0, 4.5]))
BOTH = SpectrumGrid(np.arange(-46.0, 47.0, 4.0), np.array([2.0, 3.0]))
SETTINGS = [
    {"quantity": "chi"},
    {
        "quantity": "sqe",
        "scattering": Scattering(incoherent=True, n_phonons=3),
        "background": [[0.1]],
    },
]


def small_simulator(model, **settings):
    grid = BOTH if "scattering" in settings else SMALL
    settings = {"energy_resolution": 1.54, **settings}
    return PowderSimulator(model, grid, q_resolution=0.1, mesh=4, **settings)


def isotropic_parameters(model):
    """Springs that pull the same in all directions: every mode is degenerate."""
    first = model.bond_atoms[:, 0]
    pulls = np.exp(-np.linalg.norm(model.bonds, axis=1))
    on_site = np.bincount(first, pulls)
    values = np.concatenate([on_site, -pulls])
    return model.parameters(values[:, None, None] * np.eye(3) * 10)


def parameter_sets(model):
    noise = np.random.default_rng(8).uniform(0.95, 1.05, len(model.reference))
    rows = np.stack([noise * model.reference, isotropic_parameters(model)])
    assert model.is_stable(rows).all()
    return rows


@pytest.mark.parametrize("settings", SETTINGS, ids=["chi", "all"])
@pytest.mark.parametrize("name", ["aluminium", "silicon", "salt", "zincblende"])
def test_jacobian_agrees_with_differences(name, settings, request):
    crystal = request.getfixturevalue(name)
    simulator = small_simulator(crystal, **settings)
    rows = parameter_sets(crystal)
    jacobian, spectra = simulator.jacobian(rows, return_spectra=True)
    assert_allclose(spectra, simulator.simulate(rows), atol=1e-7 * spectra.max())
    step = 1e-4 * np.abs(rows).max()
    for number in {0, 1, jacobian.shape[2] // 2, jacobian.shape[2] - 1}:
        change = np.zeros(rows.shape[1])
        change[number] = step
        slope = simulator.simulate(rows + change) - simulator.simulate(rows - change)
        slope /= 2 * step
        assert_allclose(jacobian[..., number], slope, atol=1e-4 * np.abs(slope).max())
    assert_allclose(simulator.jacobian(rows[1:]), jacobian[1:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS, ids=["chi", "all"])
@pytest.mark.parametrize("name", ["aluminium", "silicon", "salt", "zincblende"])
def test_nuisance_derivatives_agree_with_differences(name, settings, request):
    crystal = request.getfixturevalue(name)
    simulator = small_simulator(crystal, **settings)
    names = ["energy_resolution", "lattice_scale", "mean_square_displacement"]
    found = simulator.jacobian(crystal.reference, nuisance=names)[0, :, -3:]

    def slope(changed, step):
        above, below = (
            changed(s * step).simulate(crystal.reference)[0] for s in (1, -1)
        )
        return (above - below) / (2 * step)

    def wider(step):
        return clone(simulator).set_params(energy_resolution=1.54 + step)

    expected = slope(wider, 0.05)
    # the energy axis moves with the resolution: its splines err by 1e-4 of S
    assert_allclose(found[:, 0], expected, atol=2e-2 * np.abs(expected).max())
    ranges = {"lattice_scale": (0.9999, 1.0001)}
    found = simulator.jacobian(
        crystal.reference, nuisance=names, nuisance_ranges=ranges
    )[0, :, -2]
    below, above = (
        simulator.simulate(
            crystal.reference,
            nuisance={"lattice_scale": scale},
            nuisance_ranges=ranges,
        )[0]
        for scale in ranges["lattice_scale"]
    )
    expected = (above - below) / 2e-4
    assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

    fixed = clone(simulator).set_params(mean_square_displacement=0.01)
    found = fixed.jacobian(crystal.reference, nuisance=names[2])[0, :, -1]
    above, below = (
        clone(fixed)
        .set_params(mean_square_displacement=u)
        .simulate(crystal.reference)[0]
        for u in (0.0101, 0.0099)
    )
    expected = (above - below) / 2e-4
    assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        # smooth in Q: what is left is the curvature over the step
        (
            {
                "scattering": Scattering(
                    incoherent=True, scattering_lengths={"Al": (0.0, 1.0)}
                )
            },
            1e-3,
        ),
        ({"mesh": 12}, 0.02),  # and that of single points of the mesh
    ],
    ids=["incoherent", "coherent"],
)
def test_derivative_with_the_q_resolution(aluminium, settings, tolerance):
    grid = SpectrumGrid(np.arange(9.0, 45, 3.0), np.arange(2.0, 4.1, 0.5))
    settings = {"energy_resolution": 1.54, "mesh": 12} | settings
    simulator = PowderSimulator(aluminium, grid, q_resolution=0.2, **settings)
    row = aluminium.reference
    found = simulator.jacobian(row, nuisance="q_resolution")[0, :, -1]
    above, below = (
        clone(simulator).set_params(q_resolution=width).simulate(row)[0]
        for width in (0.24, 0.16)
    )
    expected = (above - below) / 0.08
    assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", ["aluminium", "silicon"])
def test_gradients_flow_through_torch(name, request):
    crystal = request.getfixturevalue(name)
    grid = SpectrumGrid(np.array([10.0, 14.0, 18.0]), np.array([2.0, 3.0]))
    simulator = PowderSimulator(crystal, grid, energy_resolution=1.54, mesh=4)
    rows = torch.as_tensor(parameter_sets(crystal), dtype=torch.float64)
    # steps of 1e-4 eV/A^2: curvature leaves 1e-4 of the largest derivative
    assert torch.autograd.gradcheck(
        simulator.simulate_tensor, rows.requires_grad_(), eps=1e-4, atol=1e-3, rtol=1e-3
    )
