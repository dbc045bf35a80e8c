"""Isotopes as symbols of atoms: mass, scattering, symmetry, names and files."""

import re

import numpy as np
import phonopy
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import ForceConstantModel, PowderSimulator, SpectrumGrid
from skphonon.physics import write_phonopy_files
from skphonon.physics._atoms import isotope_of_mass
from skphonon.simulation import Scattering

FCC = 2.02 * (np.ones((3, 3)) - np.eye(3))
CUBE = 3.0 * np.eye(3)
ROCK_SALT = {"positions": [[0, 0, 0], [0.5, 0.5, 0.5]], "n_shells": 1}
QPOINTS = [[0.5, 0.5, 0.0], [0.1, 0.2, 0.3]]
GRID = SpectrumGrid(np.arange(10.0, 90, 8), np.arange(1.0, 6), incident_energy=120.0)


def palladium_hydride(symbol, **settings):
    return ForceConstantModel(FCC, ["Pd", symbol], [0.4, 0.1], **ROCK_SALT, **settings)


@pytest.mark.parametrize(
    ("symbol", "mass"),
    [  # atomic mass evaluation, amu
        ("D", 2.014102),
        ("2H", 2.014102),
        ("T", 3.016049),
        ("7Li", 7.016003),
        ("Li-7", 7.016003),
        ("11B", 11.009305),
        ("62Ni", 61.928345),
        ("Ni", 58.6934),
    ],
)
def test_masses(symbol, mass):
    model = ForceConstantModel(FCC, symbol, [1.0] * 5)
    assert_allclose(model.atomic_masses, [mass], atol=2e-6)
    assert model.symbols == [symbol]
    natural = ForceConstantModel(FCC, "Ni", [1.0] * 5)
    ratio = np.sqrt(natural.atomic_masses[0] / mass)
    assert_allclose(
        model.frequencies(model.reference, QPOINTS),
        ratio * natural.frequencies(natural.reference, QPOINTS),
        rtol=1e-6,
    )


def test_names_and_tables_have_the_isotope():
    assert palladium_hydride("D").parameter_names == ["1XX Pd-D", "1YY Pd-D"]
    table = {"1XX 7Li-F": 0.5, "1YY 7Li-F": 0.1}
    model = ForceConstantModel.from_table(
        FCC, ["7Li", "F"], table, positions=ROCK_SALT["positions"]
    )
    assert_array_equal(model.reference, [0.5, 0.1])
    assert_allclose(model.atomic_masses, [7.016003, 18.998403], atol=1e-6)


def test_symmetry_tells_isotopes_apart():
    places = [[0, 0, 0], [0.5, 0.5, 0.5]]
    both = ForceConstantModel(CUBE, ["H", "D"], None, positions=places)
    assert both.parameter_names == ["1XX H-D", "1XY H-D", "2XX H-H", "2YY H-H"]
    assert_array_equal(both.symmetry_operations()[1], [[0, 1]] * 48)
    alike = ForceConstantModel(CUBE, "D", None, positions=places)
    assert len(alike.symmetry_operations()[1]) == 96


def test_other_masses_of_one_symbol_are_refused_with_the_way_out():
    model = ForceConstantModel(
        CUBE, "H", None, positions=[[0, 0, 0], [0.5, 0.5, 0.5]], mass=[1.008, 2.014]
    )
    with pytest.raises(ValueError, match="name isotopes in symbol"):
        model.bonds  # noqa: B018


def test_spectra_are_those_of_the_masses_and_lengths_given_by_hand():
    settings = {"quantity": "sqe", "units": "barn/meV/sr"}
    settings |= {"mesh": 6, "energy_resolution": 3.0}

    def simulator(model, **lengths):
        scattering = Scattering(incoherent=True, scattering_lengths=lengths or None)
        return PowderSimulator(model, GRID, scattering=scattering, **settings)

    model = palladium_hydride("D")
    found = simulator(model).simulate([model.reference])
    by_hand = palladium_hydride("H", mass=[106.42, 2.01410177784])
    own = (6.671, 2.05)  # Sears 1992
    expected = simulator(by_hand, H=own).simulate([model.reference])
    # the table has moved by 0.06 % in the length of D since
    assert_allclose(found, expected, rtol=5e-3, atol=1e-9)
    natural = simulator(palladium_hydride("H"))
    # H scatters 80 barn incoherently, D 2
    assert np.nansum(natural.simulate([model.reference])) > 5 * np.nansum(found)
    renamed = simulator(model, **{"2H": own})
    assert_allclose(renamed.simulate([model.reference]), expected, rtol=1e-6, atol=1e-9)


def test_phonopy_gets_the_element_and_its_mass(tmp_path):
    model = palladium_hydride("D")
    assert list(model.to_phonopy().primitive.symbols) == ["Pd", "H"]
    path = write_phonopy_files(model, tmp_path)
    text = path.read_text()
    assert re.search(r"symbol: H .*\n.*\n\s+mass: 2\.014102", text)
    energies = phonopy.load(path, log_level=0)
    energies.run_qpoints(QPOINTS)
    expected = model.frequencies(model.reference, QPOINTS)[0]
    assert_allclose(4.135667 * energies.qpoints.frequencies, expected, rtol=1e-4)
    with pytest.warns(UserWarning, match=r"2.014 amu, is that of D, .*\['Pd', 'D'\]"):
        back = ForceConstantModel.from_phonopy(path)
    assert back.symbols == ["Pd", "H"]
    assert_allclose(back.frequencies(back.reference, QPOINTS)[0], expected, rtol=1e-6)
    back = back.replace(symbol=["Pd", "D"])
    assert back.parameter_names == model.parameter_names
    # constants of an isotope are those of its element
    assert_allclose(model.parameters(model.to_phonopy()), model.reference, rtol=1e-8)


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("9Al", "'9Al'; isotopes of Al are 21 to"),
        ("Ni-5", "'Ni-5'; isotopes of Ni are"),
        ("2D", "got '2D'"),
        ("Xx", "got 'Xx'"),
        ("n", "got 'n'"),
    ],
)
def test_an_unknown_isotope_is_named(symbol, said):
    with pytest.raises(ValueError, match=f"symbol must name an element .*{said}"):
        ForceConstantModel(FCC, symbol, None).bonds  # noqa: B018


def test_an_element_without_a_mass_asks_for_one():
    with pytest.raises(ValueError, match="mass must be given for Po"):
        ForceConstantModel(FCC, "Po", None).bonds  # noqa: B018
    assert ForceConstantModel(FCC, "Po", None, mass=209.0).atomic_masses == [209.0]


@pytest.mark.parametrize("symbol", ["239Pu", "210Po"])
def test_isotopes_of_elements_without_a_natural_mass(symbol):
    model = ForceConstantModel(2 * (np.ones((3, 3)) - np.eye(3)), symbol, None)
    assert_allclose(model.atomic_masses, int(symbol[:3]), atol=0.1)


def test_isotopes_of_numbered_sites():
    assert isotope_of_mass("Li1", 6.015) == isotope_of_mass("Li", 6.015) == "6Li"
