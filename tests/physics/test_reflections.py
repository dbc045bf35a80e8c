"""Reflections of powders: against counting by hand, and laws of structure factors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon.physics.reflections import powder_reflections
from skphonon.physics.scattering_lengths import scattering_lengths

FACE = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
PRIMITIVE = (np.ones((3, 3)) - np.eye(3)) / 2


def test_silicon_as_in_textbooks():
    found = powder_reflections(
        5.431 * PRIMITIVE, [[0, 0, 0], [0.25, 0.25, 0.25]], ["Si"] * 2, 6.1
    )
    assert found.labels() == ["111", "220", "311", "400", "331", "422", "511"]
    # 511 and 333 are of one length
    assert list(found.multiplicity) == [8, 12, 24, 6, 24, 24, 24 + 8]
    known = 2 * np.pi / 5.431 * np.sqrt([3, 8, 11, 16, 19, 24, 27])
    assert_allclose(found.q, known, rtol=1e-12)
    b = scattering_lengths(["Si"]).coherent_length[0]
    # of 2 atoms, all in phase for even sums, at right angles for odd ones
    factor = np.array([2, 4, 2, 4, 2, 4, 2]) * b**2 / 4
    assert_allclose(found.intensity, found.multiplicity * factor / known**2)


def test_the_choice_of_the_cell_does_not_matter():
    primitive = powder_reflections(4.05 * PRIMITIVE, [[0, 0, 0]], ["Al"], 9.0)
    cubic = powder_reflections(4.05 * np.eye(3), FACE, ["Al"] * 4, 9.0)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    double = 4.05 * np.diag([1, 1, 2]) @ turned
    positions = np.concatenate([FACE, FACE + np.array([0, 0, 1])]) / [1, 1, 2]
    larger = powder_reflections(double, positions, ["Al"] * 8, 9.0)
    for other in (primitive, larger):
        assert other.labels() == cubic.labels()
        assert_allclose(other.q, cubic.q)
        assert_array_equal(other.multiplicity, cubic.multiplicity)
        assert_allclose(other.intensity, cubic.intensity)


def test_rock_salt_weakens_odd_reflections():
    positions = np.concatenate([FACE, FACE + np.array([0.5, 0, 0])])
    salt = powder_reflections(5.64 * np.eye(3), positions, ["Na"] * 4 + ["Cl"] * 4, 3)
    na, cl = scattering_lengths(["Na", "Cl"]).coherent_length
    assert salt.labels() == ["111", "200", "220"][: len(salt.q)]
    strength = salt.intensity * salt.q**2 / salt.multiplicity
    assert_allclose(strength[1] / strength[0], ((na + cl) / (na - cl)) ** 2)


def test_hexagonal_zinc_of_any_axes():
    a, c = 2.665, 4.947
    lattice = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    found = powder_reflections(lattice, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
                               ["Zn"] * 2, 3.2)  # fmt: skip
    assert found.labels()[:3] == ["002", "100", "101"]
    assert list(found.multiplicity[:3]) == [2, 6, 12]
    known = [2 * np.pi * 2 / c, 4 * np.pi / np.sqrt(3) / a]
    assert_allclose(found.q[:2], known)


def test_own_scattering_lengths_and_isotopes():
    null = powder_reflections(3.0 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]],
                              ["Ni", "62Ni"], 4.0)  # fmt: skip
    assert null.labels()[0] in {"100", "110"}
    own = powder_reflections(
        3.0 * np.eye(3), [[0, 0, 0]], ["Gd"], 4.0, values={"Gd": (6.5, 0.0)}
    )
    assert_allclose(own.intensity * own.q**2 / own.multiplicity, 6.5**2)
    with pytest.raises(ValueError, match="resonance"):
        powder_reflections(3.0 * np.eye(3), [[0, 0, 0]], ["Gd"], 4.0)


@pytest.mark.parametrize(
    ("lattice", "positions", "q_max", "message"),
    [
        (np.eye(2), [[0, 0, 0]], 5, "three independent vectors"),
        (np.ones((3, 3)), [[0, 0, 0]], 5, "three independent vectors"),
        (4 * np.eye(3), [[0, 0]], 5, r"positions must be finite and of shape"),
        (4 * np.eye(3), [[0, 0, np.nan]], 5, r"positions must be finite"),
        (4 * np.eye(3), [[0, 0, 0]], 0, "q_max must be positive"),
        (40 * np.eye(3), [[0, 0, 0]], 100, "less than 2000000 reflections, got 100"),
    ],
)
def test_mistakes(lattice, positions, q_max, message):
    with pytest.raises(ValueError, match=message):
        powder_reflections(lattice, positions, ["Al"], q_max)


def test_nothing_below_a_small_q():
    found = powder_reflections(4 * np.eye(3), [[0, 0, 0]], ["Al"], 0.5)
    assert (len(found.q), found.labels()) == (0, [])
