"""Points of lattices against counts of textbooks, and shortest images of phonopy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon.physics.lattice import (
    cosets,
    farthest,
    image_counts,
    nearest_image,
    points_within,
    reducing,
    separating_multiple,
    shortest,
    shortest_images,
)

CUBIC = np.eye(3)
FCC = (np.ones((3, 3)) - np.eye(3)) / 2
BCC = np.ones((3, 3)) / 2 - np.eye(3)
SKEW = np.array([[3.0, 0.1, 0.2], [2.9, 3.2, 0.1], [-5.5, 0.2, 3.7]])


# atoms of the first shells: Ashcroft and Mermin, table 20.2 and its continuation
@pytest.mark.parametrize(
    ("lattice", "counts"),
    [
        (CUBIC, [1, 6, 12, 8, 6, 24, 24, 12, 30]),
        (FCC, [1, 12, 6, 24, 12, 24, 8, 48, 6]),
        (BCC, [1, 8, 6, 12, 24, 8, 6, 24, 24]),
    ],
)
def test_shells_of_cubic_lattices(lattice, counts):
    vectors = points_within(lattice, 3.0) @ lattice
    squares = np.round((vectors**2).sum(axis=1), 9)
    assert np.unique(squares, return_counts=True)[1][: len(counts)].tolist() == counts
    assert shortest(lattice) == pytest.approx(np.sqrt(np.unique(squares)[1]))


def test_points_in_a_sphere_do_not_depend_on_the_cell():
    change = np.array([[1, 0, 0], [4, 1, 0], [-3, 2, 1]])
    for radius in (0.0, 4.0, 11.0):
        found = points_within(change @ SKEW, radius) @ change
        expected = points_within(SKEW, radius)
        assert_array_equal(found[np.lexsort(found.T[::-1])], expected)


@pytest.mark.parametrize(
    ("lattice", "radius"), [(CUBIC, 3**0.5 / 2), (FCC, 0.5), (BCC, 5**0.5 / 4)]
)
def test_no_point_is_farther_from_a_lattice_than_its_covering_radius(lattice, radius):
    points = np.random.default_rng(0).uniform(size=(3000, 3))
    distances = np.linalg.norm(nearest_image(points, lattice) @ lattice, axis=1)
    assert radius - 0.06 < distances.max() <= radius <= farthest(lattice) + 1e-12


@pytest.mark.parametrize("lattice", [CUBIC, FCC, SKEW], ids=["cubic", "fcc", "skew"])
def test_shortest_images_are_those_of_phonopy(lattice):
    from phonopy.structure.cells import get_smallest_vectors

    # with points on the faces, edges and corners of the cell of Wigner and Seitz
    sites = np.concatenate(
        [cosets(4 * np.eye(3, dtype=int)) / 4, np.random.default_rng(1).random((40, 3))]
    )
    origin = np.zeros((1, 3))
    expected, places = get_smallest_vectors(4 * lattice, sites, origin)
    of, found = shortest_images(sites @ (4 * lattice), 4 * lattice)
    counts = np.bincount(of)
    assert_array_equal(counts, places[:, 0, 0])
    assert_array_equal(image_counts(found, 4 * lattice), counts[of])
    for number, (count, start) in enumerate(places[:, 0]):
        own = expected[start : start + count] @ (4 * lattice)
        images = found[of == number]
        order, of_phonopy = (np.lexsort(each.round(6).T) for each in (images, own))
        assert_allclose(images[order], own[of_phonopy], atol=1e-9)


def test_vectors_with_shorter_images_count_none():
    cube = np.diag([4.0, 4.0, 4.0])
    vectors = [[1.0, 0, 0], [2.0, 0, 0], [2.0, 2.0, 1.0], [2.0, 2.0, 2.0], [3.0, 0, 0]]
    assert image_counts(np.array(vectors), cube).tolist() == [1, 2, 4, 8, 0]
    assert image_counts(np.zeros((0, 3)), cube).tolist() == []


def test_cosets_are_as_many_as_the_determinant_and_all_different():
    rng = np.random.default_rng(2)
    for _ in range(20):
        multiple = rng.integers(-4, 5, (3, 3))
        order = round(abs(np.linalg.det(multiple)))
        if order:
            points = cosets(multiple)
            assert len(points) == order
            within = points @ np.linalg.inv(multiple)
            assert len(np.unique((within % 1 + 1e-9) % 1 // 1e-6, axis=0)) == order


def test_reduced_cells_are_the_same_lattice_of_short_vectors():
    change = np.array([[1, 0, 0], [7, 1, 0], [-3, 5, 1]])
    reduced = reducing(change @ SKEW) @ change
    assert abs(round(np.linalg.det(reduced))) == 1
    lengths = np.linalg.norm(reduced @ SKEW, axis=1)
    assert lengths.max() < np.linalg.norm(SKEW, axis=1).max()
    assert lengths.min() == pytest.approx(shortest(SKEW))


def test_a_separating_multiple_leaves_every_bond_alone():
    bonds = points_within(FCC, 1.5) @ FCC
    supercell = np.diag([2, 1, 1])
    found = separating_multiple(supercell, FCC, bonds)
    assert (image_counts(bonds, found.T @ FCC) == 1).all()
    smaller = found - supercell
    assert shortest(smaller.T @ FCC) <= 3.0 + 1e-5
