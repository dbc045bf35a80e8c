"""Models that lack constants, and constants or lengths of another crystal."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    JointSimulator,
    LeastSquaresInverter,
    NelderMeadInverter,
    PowderSimulator,
    SingleCrystalSimulator,
    SpectrumGrid,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.inspection import draw_parameters
from skphonon.physics import write_phonopy_files
from skphonon.simulation import Scattering

GRID = SpectrumGrid(np.arange(10.0, 45, 5), np.arange(1.0, 6), incident_energy=50.0)
SETTINGS = {"energy_resolution": 2.0, "mesh": 6}
NAMES = ["1XX", "1ZZ", "1XY", "2XX", "2YY"]
ASKED = r"must have reference values, 5 finite ones, of 1XX, .*; got {}. Set them with"


def powder(reference="published", **settings):
    model = load_aluminium_model()
    if not isinstance(reference, str):
        model = ForceConstantModel(model.lattice, "Al", reference)
    return PowderSimulator(model, GRID, **SETTINGS, **settings)


def crystal(reference):
    axis = np.linspace(-1, 1, 5)
    grid = CrystalGrid(axis, axis, [0.0], np.arange(5.0, 40, 5))
    return SingleCrystalSimulator(
        powder(reference).model, grid, temperature=10.0, energy_resolution=2.0
    )


@pytest.mark.parametrize("make", [powder, crystal])
@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (None, "None"),
        ([1.0, 2.0], r"shape \(2,\)"),
        (np.ones((2, 5)), r"shape \(2, 5\)"),
        ([1.0, 2.0, np.nan, 1.0, 1.0], "1 values that are not finite"),
    ],
)
def test_a_simulator_says_that_its_model_lacks_constants(make, reference, said):
    simulator = make(reference)
    with pytest.raises(ValueError, match=ASKED.format(said)):
        simulator.reference  # noqa: B018


def test_spectra_of_given_constants_need_a_reference_for_the_tolerance_only():
    bare, parameters = powder(None), [load_aluminium_model().reference]
    assert_allclose(bare.simulate(parameters), powder().simulate(parameters))
    with pytest.raises(ValueError, match=ASKED.format("None")):
        bare.set_params(mesh=None).simulate(parameters)


def test_so_does_what_uses_a_simulator_or_a_model(tmp_path):
    bare, spectra = powder(None), powder().simulate([powder().reference])
    asked = ASKED.format("None")
    for inverter in (
        LeastSquaresInverter(bare),
        NelderMeadInverter(bare),
        LeastSquaresInverter(JointSimulator({"one": bare, "two": bare})),
    ):
        with pytest.raises(ValueError, match=asked):
            inverter.fit(spectra)
    with pytest.raises(ValueError, match=asked):
        make_powder_spectra(bare, 2)
    with pytest.raises(ValueError, match=asked):
        bare.model.to_phonopy()
    with pytest.raises(ValueError, match=asked):
        write_phonopy_files(bare.model, tmp_path)
    with pytest.raises(ValueError, match=asked):
        draw_parameters(bare.model, std=np.ones(5))


@pytest.mark.parametrize(
    "settings", [{}, {"scattering__incoherent": True}, {"units": "1/meV"}]
)
def test_lengths_of_elements_that_the_crystal_lacks_are_refused(settings):
    own = Scattering(scattering_lengths={"Ni": 10.3})
    simulator = powder(scattering=own).set_params(**settings)
    with pytest.raises(ValueError, match=r"that the crystal has, Al; got one for Ni"):
        simulator.simulate([simulator.reference])


def test_a_length_of_the_only_element_changes_nothing_but_must_not_vanish():
    plain = powder()
    own = powder(scattering=Scattering(scattering_lengths={"Al": -5.0}))
    reference = [plain.reference]
    assert_allclose(own.simulate(reference), plain.simulate(reference), rtol=1e-12)
    dark = powder(scattering=Scattering(scattering_lengths={"Al": (0.0, 0.0)}))
    with pytest.raises(ValueError, match=r"Some atom must scatter, got .* for Al"):
        dark.simulate(reference)


def test_tables_with_names_must_have_those_of_the_model():
    simulator = powder()
    table = pd.DataFrame([simulator.reference], columns=NAMES)
    expected = simulator.simulate([simulator.reference])
    assert_allclose(simulator.simulate(table), expected)
    assert_allclose(simulator.simulate(table.loc[0]), expected)
    numbered = pd.DataFrame([simulator.reference])
    assert_allclose(simulator.simulate(numbered), expected)
    others = table[NAMES[::-1]], table.rename(columns={"1XX": "1XX Na-Cl"})
    said = "must be named 1XX, 1ZZ, 1XY, 2XX, 2YY, in this order"
    for other in others:
        with pytest.raises(ValueError, match=said):
            simulator.simulate(other)
        with pytest.raises(ValueError, match=said):
            make_powder_spectra(simulator, parameters=other)
        with pytest.raises(ValueError, match=said):
            LeastSquaresInverter(simulator).fit(expected, other)
        with pytest.raises(ValueError, match=said):
            NelderMeadInverter(simulator, initial=other.loc[0]).fit(expected)
        with pytest.raises(ValueError, match=said):
            LeastSquaresInverter(simulator, prior=(other.loc[0], np.ones(5))).fit(
                expected
            )
    LeastSquaresInverter(simulator, prior=(table.loc[0], np.ones(5))).fit(
        expected, table
    )


def test_a_reference_with_names_of_another_crystal_is_refused():
    model = load_aluminium_model()
    named = pd.Series(model.reference, index=NAMES)
    assert_allclose(powder(named).reference, model.reference)
    with pytest.raises(ValueError, match="must be named 1XX"):
        powder(named.rename({"1XX": "1XX Na-Cl"})).reference  # noqa: B018
