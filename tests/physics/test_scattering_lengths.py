"""Scattering lengths against published values and against Euphonic's own tables."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon.physics.scattering_lengths import scattering_lengths

COMMON = ["Al", "C", "Cl", "Cu", "Fe", "Ge", "H", "Mg", "Na", "Ni", "O", "Pb", "Si"]


def test_published_values():
    # V. F. Sears, Neutron News 3, 26 (1992), doi:10.1080/10448639208218770: lengths,
    # coherent and incoherent cross-sections. Newer measurements moved the length of
    # H by 0.05 %, and a cross-section is rounded to three or four digits.
    symbols = ["Al", "H", "Ni", "Na", "Si"]
    found = scattering_lengths(symbols)
    lengths = [3.449, -3.739, 10.3, 3.63, 4.1491]
    coherent, incoherent = [1.495, 1.757, 13.3, 1.66, 2.163], [0.008, 80.26, 5.2, 1.62]
    assert_allclose(found.coherent_length, lengths, rtol=1e-3)
    assert_allclose(found.coherent_cross_section, coherent, rtol=3e-3)
    assert_allclose(found.incoherent_cross_section[:-1], incoherent, rtol=0.03)


def test_vanadium_scatters_incoherently():
    vanadium = scattering_lengths(["V"])
    assert vanadium.coherent_length < 0
    assert vanadium.coherent_cross_section < 0.01 * vanadium.incoherent_cross_section


@pytest.mark.filterwarnings("ignore:get_reference_data:DeprecationWarning")
def test_agrees_with_the_tables_of_euphonic():
    util = pytest.importorskip("euphonic.util")
    found = scattering_lengths(COMMON)
    sears = util.get_reference_data("Sears1992", "coherent_scattering_length")
    blue_book = util.get_reference_data("BlueBook", "incoherent_cross_section")
    lengths = [sears[symbol].to("fm").magnitude for symbol in COMMON]
    incoherent = [blue_book[symbol].to("barn").magnitude for symbol in COMMON]
    # measurements between 1992 and today; O: "below 0.0008" there, 0 here
    assert_allclose(found.coherent_length, lengths, rtol=1e-3)
    assert_allclose(found.incoherent_cross_section, incoherent, atol=1e-3)


def test_isotopes():
    found = scattering_lengths(["D", "H-2", "Ni-58", "Ni-62"])
    assert found.coherent_length[0] == found.coherent_length[1]
    assert_allclose(found.coherent_length[[0, 2, 3]], [6.67, 14.4, -8.7], rtol=2e-3)
    # nuclei without spin scatter coherently only
    assert_array_equal(found.incoherent_cross_section[2:], 0.0)


@pytest.mark.parametrize(
    ("spellings", "length", "incoherent"),
    [  # V. F. Sears, Neutron News 3, 26 (1992): fm and barn
        (["D", "2H", "H-2"], 6.671, 2.05),
        (["T", "3H", "H-3"], 4.792, 0.14),
        (["7Li", "Li-7"], -2.22, 0.78),
        (["11B", "B-11"], 6.65, 0.21),
        (["13C", "C-13"], 6.19, 0.034),
        (["62Ni", "Ni-62"], -8.7, 0.0),
    ],
)
def test_isotopes_have_one_value_in_all_spellings(spellings, length, incoherent):
    found = scattering_lengths(spellings)
    assert np.ptp(found.coherent_length) == np.ptp(found.incoherent_cross_section) == 0
    # measurements since: 6 % in 13C, 3 % in 7Li
    assert_allclose(found.coherent_length[0], length, rtol=0.06)
    assert_allclose(found.incoherent_cross_section[0], incoherent, atol=0.02)
    for name in spellings:
        own = scattering_lengths(["Na", *spellings], values={name: (1.5, 0.5)})
        assert_array_equal(own.coherent_length[1:], 1.5)
        assert_array_equal(own.incoherent_cross_section[1:], 0.5)


def test_an_isotope_is_not_its_element():
    with pytest.raises(ValueError, match=r"that the crystal has, D; got one for H"):
        scattering_lengths(["D"], values={"H": 1.0})
    with pytest.raises(ValueError, match="in two spellings among D, 2H"):
        scattering_lengths(["D"], values={"D": 1.0, "2H": 1.0})


def test_natural_nickel_is_the_mixture_of_its_isotopes():
    shares = [0.68077, 0.26223, 0.0114, 0.03635, 0.00926]
    isotopes = scattering_lengths(["Ni-58", "Ni-60", "Ni-61", "Ni-62", "Ni-64"])
    mixture = scattering_lengths(["Ni"])
    assert_allclose(
        isotopes.coherent_length @ shares, mixture.coherent_length, rtol=0.01
    )
    # incoherent because isotopes differ: 4 pi (mean of b^2 - square of the mean)
    total = isotopes.coherent_cross_section + isotopes.incoherent_cross_section
    expected = total @ shares - mixture.coherent_cross_section
    assert_allclose(mixture.incoherent_cross_section, expected, rtol=0.03)


def test_own_values_replace_the_table():
    values = {"Ni": (0.0, 4.9), "Cl": 10.0, "mix": (1.5, 0.0)}
    found = scattering_lengths(["Na", "Cl", "Ni", "mix", "Ni"], values=values)
    assert_allclose(found.coherent_length, [3.63, 10.0, 0.0, 1.5, 0.0])
    assert_allclose(found.incoherent_cross_section, [1.62, 5.3, 4.9, 0.0, 4.9])
    # a length of one's own makes the resonance no matter
    gadolinium = scattering_lengths(["Gd"], values={"Gd": 6.5})
    assert_allclose(gadolinium, [[6.5], [151.0]])


def test_no_atoms():
    assert np.shape(scattering_lengths([])) == (2, 0)


@pytest.mark.parametrize(
    "symbol", ["Po", "Xx", "n", "", "Na1", "58ni", "Ni-", "Ni-5", "5Ni", "D-2", "2D"]
)
def test_no_data(symbol):
    with pytest.raises(ValueError, match=f"no scattering length for '{symbol}'"):
        scattering_lengths(["Na", symbol])


@pytest.mark.parametrize("symbol", ["Gd", "Sm", "Cd-113"])
def test_resonances_are_refused(symbol):
    with pytest.raises(ValueError, match=f"scattering length of {symbol} depend"):
        scattering_lengths([symbol])


@pytest.mark.parametrize(
    "value", [np.nan, (1.0, -1.0), (1.0, np.inf), (1.0, 2.0, 3.0), [[1.0, 2.0]]]
)
def test_bad_own_values(value):
    with pytest.raises(ValueError, match="must be a real coherent length"):
        scattering_lengths(["Na"], values={"Na": value})


def test_a_value_for_nothing():
    with pytest.raises(
        ValueError, match=r"that the crystal has, Na, Cl; got one for Ni"
    ):
        scattering_lengths(["Na", "Cl"], values={"Ni": 14.4, "Na": 3.0})


def test_a_length_alone_needs_the_cross_section_of_the_table():
    with pytest.raises(ValueError, match=r"no scattering length for 'Po'.*values="):
        scattering_lengths(["Po"], values={"Po": 5.0})


@pytest.mark.parametrize("value", ["x", 3.0 + 1.0j, [1.0, 2.0, 3.0]])
def test_what_is_no_length_is_named(value):
    with pytest.raises(ValueError, match="must be a real coherent length in fm"):
        scattering_lengths(["Al"], values={"Al": value})
