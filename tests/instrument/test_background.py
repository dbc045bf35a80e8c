"""Terms of backgrounds: their span, order and conditioning."""

import numpy as np
import pytest
from numpy.polynomial.legendre import leggrid2d, legval2d
from numpy.testing import assert_allclose
from scipy.stats import binom
from sklearn.preprocessing import PolynomialFeatures

from skphonon import SpectrumGrid
from skphonon.instrument.background import (
    centred,
    nonnegative_terms,
    polynomial,
    term_orders,
    terms_at,
    terms_on_axes,
)

ENERGY, Q = np.linspace(10.25, 44.75, 70), np.linspace(0.05, 10.05, 101)


@pytest.mark.parametrize("n_axes", [1, 2, 4])
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_order_of_terms_is_that_of_scikit_learn(degree, n_axes):
    features = PolynomialFeatures(degree).fit(np.zeros((1, n_axes)))
    assert term_orders(degree, n_axes) == [tuple(row) for row in features.powers_]


def test_degrees_of_each_axis():
    assert term_orders((1, 2), 2) == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    with pytest.raises(ValueError, match="one degree for each of 2 axes, got 3"):
        term_orders((1, 2, 3), 2)


@pytest.mark.parametrize("degree", [0, 3, (1, 2)])
def test_terms_on_a_grid_are_products_of_legendre_polynomials(degree):
    terms = terms_on_axes([ENERGY, Q], degree)
    scaled = [2 * (axis - axis[0]) / np.ptp(axis) - 1 for axis in (ENERGY, Q)]
    for orders, term in zip(term_orders(degree, 2), terms, strict=True):
        weights = np.zeros(np.array(orders) + 1)
        weights[orders] = 1.0
        assert_allclose(term, leggrid2d(*scaled, weights).ravel(), atol=1e-13)


def test_terms_at_pixels_are_those_of_the_grid():
    places = np.stack(np.meshgrid(ENERGY, Q, indexing="ij"), axis=-1).reshape(-1, 2)
    assert_allclose(terms_at(places, 3), terms_on_axes([ENERGY, Q], 3), atol=1e-13)
    some = places[:7]
    spans = [(10.25, 44.75), (0.05, 10.05)]
    found = terms_at(some, (1, 1), spans)
    scaled = [centred(c, s) for c, s in zip(some.T, spans, strict=True)]
    assert_allclose(found[-1], legval2d(*scaled, [[0, 0], [0, 1]]))


def test_spaces_are_those_of_monomials():
    rng = np.random.default_rng(0)
    places = rng.uniform(-3, 40, (60, 3))
    wanted = PolynomialFeatures(3).fit_transform(places)
    terms = terms_at(places, 3).T
    weights, *_ = np.linalg.lstsq(terms, wanted)
    assert_allclose(terms @ weights, wanted, rtol=1e-9, atol=1e-9 * wanted.max())


def test_better_conditioned_than_chebyshev_where_neutrons_arrive():
    grid = SpectrumGrid(ENERGY, Q, incident_energy=50.0, two_theta=(3.0, 130.0))
    seen = grid.mask.ravel()
    legendre = terms_on_axes(grid.axes(), 3)[:, seen]
    values = [np.polynomial.chebyshev.chebvander(centred(a), 3).T for a in grid.axes()]
    chebyshev = np.stack(
        [np.outer(values[0][k], values[1][n]).ravel() for k, n in term_orders(3, 2)]
    )[:, seen]

    def condition(terms):
        return np.linalg.cond(terms / np.linalg.norm(terms, axis=1, keepdims=True))

    assert condition(legendre) < 0.7 * condition(chebyshev)


def test_axes_of_one_value_have_a_constant_alone():
    assert_allclose(centred([3.0]), 0.0)
    assert_allclose(
        terms_on_axes([np.array([3.0]), np.arange(2.0)], (0, 1)), [[1, 1], [-1, 1]]
    )


def test_nonnegative_terms_are_binomial_probabilities():
    values = np.linspace(-1, 31, 17)
    terms = nonnegative_terms(values, 4, (0.0, 30.0))
    share = np.clip(values / 30, 0, 1)
    assert_allclose(terms, binom.pmf(np.arange(5)[:, None], 4, share), atol=1e-14)
    assert (terms >= 0).all()


def test_prescribed_background():
    assert polynomial(None, ENERGY, ENERGY) is None
    found = polynomial([[1.0, 0.0, 0.5], [2.0, 0.0, 0.0]], *np.array([[3.0], [4.0]]))
    assert_allclose(found, 1 + 0.5 * 16 + 2 * 3)
    with pytest.raises(ValueError, match="finite array of shape"):
        polynomial([1.0, 2.0], ENERGY, ENERGY)
