"""Magnetic form factors: printed tables, limits, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon.physics.form_factors import magnetic_form_factor

# A, a, B, b, C, c, D of <j0>, International Tables C, table 4.4.5.1
PRINTED = {
    "Sc2+": (0.5048, 31.403, 0.5186, 10.990, -0.0241, 1.183, 0.0000),
    "Ti3+": (0.3571, 22.841, 0.6688, 8.931, -0.0354, 0.483, 0.0099),
    "V4+": (0.3106, 16.816, 0.7198, 7.049, -0.0521, 0.302, 0.0221),
}


@pytest.mark.parametrize("ion", PRINTED)
def test_spin_form_factor_is_the_printed_expansion(ion):
    q = np.linspace(0.0, 20.0, 9)
    square = (q / (4 * np.pi)) ** 2  # sin(theta)^2 / lambda^2
    *pairs, constant = PRINTED[ion]
    expected = constant + sum(
        a * np.exp(-b * square) for a, b in zip(pairs[::2], pairs[1::2], strict=True)
    )
    # exponents are printed to 0.001
    assert_allclose(magnetic_form_factor(ion, q), expected, atol=1e-4)


@pytest.mark.parametrize("ion", ["Ni2+", "Mn2+", "Gd3+", "Fe"])
def test_moment_at_rest_is_whole(ion):
    whole = magnetic_form_factor(ion, 0.0, orbital_fraction=0.3)
    assert_allclose(whole, 1.0, atol=2e-3)  # <j0> is tabulated to four digits


def test_orbital_moment_reaches_further():
    # <j2> is zero at Q = 0 and positive beyond: the orbit lies closer to the nucleus
    q = np.linspace(1.0, 6.0, 6)
    spin = magnetic_form_factor("Co2+", q)
    both = magnetic_form_factor("Co2+", q, orbital_fraction=0.2)
    twice = magnetic_form_factor("Co2+", q, orbital_fraction=0.4)
    assert (both > spin).all()
    assert_allclose(twice - both, both - spin)


@pytest.mark.parametrize(
    ("ion", "options", "message"),
    [
        ("ni2+", {}, "written as symbol and charge"),
        ("Ni9+", {}, "of Ni the tables hold the charges 0, 1, 2, 3, 4"),
        ("Al3+", {}, "the charges none"),
        ("Xx2+", {}, "no magnetic form factor"),
        ("Ce3+", {}, "do not hold <j0>"),
        ("Pr3+", {"orbital_fraction": 1.0}, "do not hold <j2>"),
    ],
)
def test_what_the_tables_lack_is_named(ion, options, message):
    with pytest.raises(ValueError, match=message):
        magnetic_form_factor(ion, 1.0, **options)
