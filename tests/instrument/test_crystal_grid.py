"""Voxels of single-crystal spectra: order, sizes, and what an instrument sees."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skphonon import CrystalGrid
from skphonon.instrument.grid import pixel_coordinates
from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M
from skphonon.physics.scattering import kinematic_mask

A = 5.658  # Angstrom
ENERGY = np.arange(-8.0, 33.0, 4.0)
PLANE = np.linspace(-3.0, 3.0, 25)
DIAGONAL = np.array([[1, 1, 0], [1, -1, 0], [0, 0, 1.0]])


def instrument(**options):
    settings = {
        "energy": ENERGY,
        "h": PLANE,
        "k": PLANE,
        "l": 0.0,
        "lattice": A * np.eye(3),
        "psi": [0.0, 30.0],
        "incident_energy": 40.0,
        **options,
    }
    return CrystalGrid(**settings)


def test_order_of_voxels():
    grid = CrystalGrid(ENERGY, [0, 1], [0, 0.5, 1], [2.0], projection=DIAGONAL)
    assert grid.volume_shape == (11, 2, 3, 1)
    assert grid.shape == (11, 6)
    assert grid.n_pixels == 66
    expected = [[k, -k, 2] for k in (0, 0.5, 1)] + [
        [1 + k, 1 - k, 2] for k in (0, 0.5, 1)
    ]
    assert_allclose(grid.wavevectors, expected)
    coordinates = pixel_coordinates(grid)
    assert_allclose(coordinates[:6, :3], expected)
    assert_array_equal(coordinates[[0, 5, 6], 3], [-8.0, -8.0, -4.0])
    X = np.arange(132.0).reshape(2, 66)
    assert_array_equal(grid.to_volumes(X)[1, 2, 1, 2, 0], X[1, 2 * 6 + 5])
    assert_array_equal(grid.to_rows(grid.to_image(X)), X)


def test_one_number_is_as_wide_as_the_narrowest_bin():
    grid = CrystalGrid(
        ENERGY, np.linspace(0, 1, 5), 0.5, 0.0, projection=DIAGONAL, lattice=np.eye(3)
    )
    energy, h, k, m = grid.volume_edges()
    assert_allclose(energy, grid.edges())
    assert_allclose(h, np.linspace(-0.125, 1.125, 6))
    assert_allclose(k, [0.375, 0.625])  # a vector of equal length
    assert_allclose(m, np.array([-1, 1]) * 0.125 * 2**0.5)


def test_clone_and_pickle_know_no_more_than_the_constructor():
    grid = instrument()
    for other in (clone(grid), pickle.loads(pickle.dumps(grid))):
        assert_array_equal(other.mask, grid.mask)
    assert len(pickle.dumps(grid)) < 2000
    assert grid.settings()["mask"] is None


def histogram(grid, psi, n_neutrons=400_000):
    """Neutrons of a detector bank that fall into each voxel, by their trajectories."""
    rng = np.random.default_rng(0)
    edges = grid.volume_edges()
    energy = rng.uniform(edges[0][0], edges[0][-1], n_neutrons)
    up = np.sin(np.deg2rad(grid.elevation))
    up = rng.uniform(*up, n_neutrons)
    angle = rng.uniform(-np.pi, np.pi, n_neutrons)
    level = np.sqrt(1 - up**2)
    towards = np.stack([level * np.cos(angle), level * np.sin(angle), up], axis=1)
    two_theta = np.degrees(np.arccos(towards[:, 0]))
    hit = (two_theta > grid.two_theta[0]) & (two_theta < grid.two_theta[1])
    final = np.sqrt((grid.incident_energy - energy) / NEUTRON_HBAR2_OVER_2M)
    q = -final[:, None] * towards
    q[:, 0] += np.sqrt(grid.incident_energy / NEUTRON_HBAR2_OVER_2M)
    turn = np.deg2rad(psi)  # the crystal turns with psi, so Q in it turns back
    q = np.stack(
        [
            np.cos(turn) * q[:, 0] + np.sin(turn) * q[:, 1],
            np.cos(turn) * q[:, 1] - np.sin(turn) * q[:, 0],
            q[:, 2],
        ],
        axis=1,
    )
    u, v = np.array(grid.u, dtype=float), np.array(grid.v, dtype=float)
    third = np.cross(u, v)
    frame = np.array([u, np.cross(third, u), third])
    frame /= np.linalg.norm(frame, axis=1, keepdims=True)
    places = q @ frame * A / (2 * np.pi) @ np.linalg.inv(grid.directions())
    counts, _ = np.histogramdd(np.column_stack([energy, places])[hit], bins=edges)
    return counts.reshape(grid.shape)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"two_theta": (5.0, 120.0), "elevation": (-10.0, 20.0), "psi": [25.0]},
        {
            "two_theta": (5.0, 120.0),
            "u": (1, 1, 0),
            "v": (0, 0, 1),
            "projection": DIAGONAL,
            "h": np.linspace(-2, 3, 13),
            "k": np.linspace(-0.4, 0.4, 3),
            "l": np.linspace(-3, 3, 13),
            "elevation": (-15.0, 8.0),
        },
    ],
)
def test_coverage_is_where_trajectories_go(options):
    grid = instrument(**options)
    covered = grid.coverage()
    assert_array_equal(grid.mask, covered.any(axis=0))
    for psi, seen in zip(grid.psi, covered, strict=True):
        counts = histogram(grid, psi)
        # few neutrons go where, to first order in coarse voxels, nothing is seen
        assert counts[~seen].sum() < 0.02 * counts.sum()
        # and what is seen but not hit are corners of voxels
        assert (seen & (counts == 0)).sum() < 0.25 * seen.sum()
        assert counts.sum() > 1000


def test_one_orientation_stays_within_the_kinematic_limits():
    fine = np.linspace(-4, 4, 81)
    grid = instrument(h=fine, k=fine, two_theta=(10.0, 100.0), psi=12.0)
    moduli = np.linalg.norm(grid.wavevectors, axis=1) * 2 * np.pi / A
    allowed = kinematic_mask(ENERGY, moduli, 40.0, (10.0, 100.0))
    seen = grid.coverage()[0]
    # a voxel of 0.11 1/A, and bins of 4 meV, may reach over the limits
    assert (seen & ~allowed).sum() < 0.15 * seen.sum()
    # a whole turn sees all of a plane that the limits allow, and no more
    around = grid.replace(psi=np.arange(0.0, 360.0, 2.0), elevation=(-90, 90))
    missing = allowed & ~around.mask
    assert missing.sum() < 1e-3 * allowed.sum()


def test_turning_u_and_v_turns_psi():
    # (h, k) to (-k, h): u along b and v along -a is psi less a quarter
    first = instrument(psi=[20.0]).coverage()
    second = instrument(psi=[110.0], u=(0, 1, 0), v=(-1, 0, 0)).coverage()
    assert_array_equal(first, second)
    assert 0 < first.sum() < first.size


def test_elastic_bragg_condition():
    # (2 0 0) is seen where |k_i - R Q| = k_i: at psi = 90 +- (90 - theta)
    fine = np.linspace(1.99, 2.01, 3)
    grid = instrument(
        energy=[-0.05, 0.0, 0.05], h=fine, k=np.linspace(-0.01, 0.01, 3), u=(1, 0, 0)
    )
    k_i = np.sqrt(40.0 / NEUTRON_HBAR2_OVER_2M)
    theta = np.degrees(np.arcsin(2 * np.pi / A / k_i))
    for psi, sign in ((-(90 - theta), 1), (90 - theta, -1)):
        seen = grid.coverage([psi, psi + 3.0])[:, 1, 4]
        assert_array_equal(seen, [True, False])
        # Q on the one side throws the neutron to the other
        angle = grid.horizontal_angles(psi)[0, 4]
        assert_allclose(angle, sign * 2 * theta, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"incident_energy": None}, "needs psi, incident_energy and lattice"),
        ({"psi": None}, "needs psi, incident_energy and lattice"),
        ({"lattice": None}, "needs psi, incident_energy and lattice"),
        ({"lattice": np.ones((3, 3))}, "lattice must hold three independent"),
        ({"lattice": np.zeros((3, 3))}, "lattice must hold three independent"),
        ({"projection": np.eye(2)}, "projection must hold three independent"),
        ({"psi": [np.nan]}, "psi must be finite"),
        ({"v": (2, 0, 0)}, "u and v must be two directions"),
        ({"u": (1, 0)}, "h, k, l"),
        ({"u": (0, 0, 0)}, "u and v must be two directions"),
        ({"two_theta": (3,)}, "two_theta must be two angles in degrees"),
        ({"two_theta": 3.0}, "two_theta must be two angles in degrees"),
        ({"elevation": (5,)}, "elevation must be two angles in degrees"),
        ({"two_theta": (100, 90)}, "two_theta must hold two increasing"),
        ({"elevation": (-100, 90)}, "elevation must hold two increasing"),
        ({"incident_energy": 20.0}, "below incident_energy=20"),
        ({"h": [0.0, 0.0]}, "h must be strictly increasing"),
        ({"h": 0.0, "k": 0.0}, "One of h, k and l"),
        ({"mask": np.ones((2, 2))}, "mask must have the shape"),
    ],
)
def test_bad_grids_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        _ = instrument(**options).mask
