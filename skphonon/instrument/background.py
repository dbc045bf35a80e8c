r"""Smooth backgrounds: products of Legendre polynomials of the coordinates of pixels.

All polynomials up to a degree span the same space whatever their basis, so the basis
only decides how well a fit is conditioned. Condition numbers of terms of unit length,
over the 4144 pixels of the published aluminium spectra that neutrons reach (degree 3,
degree 5): monomials of E and :math:`|Q|` as they are 400, 24,000; monomials on -1 to 1
7.6, 51; Chebyshev polynomials 8.4, 55; Legendre polynomials 4.9, 24. For 2000 pixels
chosen there at random the figures are 8.2, 55 (Chebyshev) and 4.7, 23 (Legendre), over
the whole rectangle 2.0, 3.0 and 1.07, 1.2. Terms orthonormalised over the pixels that
are seen have 1, but lose it once pixels are weighted by their noise (16, 23; Legendre
23, 126, both harmless), and their coefficients would mean something else on each grid.

Terms are in the order of their total degree, the first coordinate leading:
1, E, Q, E^2, EQ, Q^2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.polynomial.polynomial import polyval2d
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

__all__ = [
    "centred",
    "nonnegative_terms",
    "polynomial",
    "term_orders",
    "terms_at",
    "terms_on_axes",
]

Array = NDArray[np.float64]


def term_orders(degree: int | Sequence[int], n_axes: int) -> list[tuple[int, ...]]:
    """Return the order of each term in each coordinate.

    One degree limits the sum of a term's orders, a sequence each of them.
    """
    if isinstance(degree, Sequence | np.ndarray):
        degrees = [int(each) for each in degree]
        highest = sum(degrees)
    else:
        degrees, highest = [int(degree)] * n_axes, int(degree)
    if len(degrees) != n_axes:
        raise ValueError(
            f"A background must have one degree for each of {n_axes} axes, got "
            f"{len(degrees)}."
        )
    found = np.ndindex(*(each + 1 for each in degrees))
    kept = [orders for orders in found if sum(orders) <= highest]
    return sorted(kept, key=lambda orders: (sum(orders), [-each for each in orders]))


def terms_on_axes(axes: Sequence[Array], degree: int | Sequence[int]) -> Array:
    """Return terms of shape (n_terms, n_pixels) on the grid of some axes.

    The last axis changes fastest.
    """
    orders = term_orders(degree, len(axes))
    values = _legendre(axes, orders)
    terms = values[0][[each[0] for each in orders]]
    for number, axis in enumerate(values[1:], 1):
        chosen = axis[[each[number] for each in orders]]
        terms = (terms[:, :, None] * chosen[:, None]).reshape(len(orders), -1)
    return terms


def terms_at(
    coordinates: Array,
    degree: int | Sequence[int],
    spans: Sequence[tuple[float, float]] | None = None,
) -> Array:
    """Return terms of shape (n_terms, n_pixels) at rows of coordinates.

    Polynomials are centred on the spans (low, high) of the coordinates; None: on those
    of the rows.
    """
    orders = term_orders(degree, coordinates.shape[1])
    values = _legendre(coordinates.T, orders, spans)
    return np.stack(
        [
            np.prod([v[k] for v, k in zip(values, each, strict=True)], axis=0)
            for each in orders
        ]
    )


def _legendre(
    columns: Sequence[Array] | Array,
    orders: list[tuple[int, ...]],
    spans: Sequence[tuple[float, float]] | None = None,
) -> list[Array]:
    """Return polynomials (n_orders, n) of each coordinate."""
    found = []
    for number, column in enumerate(columns):
        x = centred(column, None if spans is None else spans[number])
        highest = max(each[number] for each in orders)
        found.append(np.asarray(legvander(x, highest).T, dtype=float))
    return found


def centred(values: ArrayLike, span: tuple[float, float] | None = None) -> Array:
    """Map values from a span, or from their own, on -1 to 1; zero where it is empty."""
    values = np.asarray(values, dtype=float)
    low, high = (values.min(), values.max()) if span is None else span
    if high == low:
        return np.zeros_like(values)
    return 2 * (values - low) / (high - low) - 1


def nonnegative_terms(values: Array, degree: int, span: tuple[float, float]) -> Array:
    """Return Bernstein polynomials of one coordinate, shape (degree + 1, n_pixels).

    None of them is negative, so that with coefficients that are not negative they are
    a background of counts. Beyond the span they keep the value of its end.
    """
    x = (centred(np.clip(values, *span), span) + 1) / 2
    k = np.arange(degree + 1)[:, None]
    return comb(degree, k) * x**k * (1 - x) ** (degree - k)


def polynomial(
    coefficients: ArrayLike | None, energy: Array, modulus: Array
) -> Array | None:
    r"""Return a given background :math:`\sum_{kl} c_{kl} E^k |Q|^l`, None without it.

    Coefficients have physical units: they are prescribed, not fitted.
    """
    if coefficients is None:
        return None
    table = np.asarray(coefficients, dtype=float)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(
            "background must be a finite array of shape (n_energy_powers, n_q_powers), "
            f"got {coefficients!r}. A constant is [[c]], a term in Q^2 is "
            "[[0, 0, c]]."
        )
    return polyval2d(energy, modulus, table)
