"""What all simulators share: one way to ask for spectra and derivatives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import (
    JointSimulator,
    PowderSimulator,
    SingleCrystalSimulator,
    SpectrumGrid,
    SpinWaveSimulator,
    load_aluminium_model,
)

NAMES = ["energy_resolution", "temperature"]


@pytest.fixture(scope="module")
def powder():
    grid = SpectrumGrid(np.arange(10, 45, 5.0), np.arange(1, 6, 1.0))
    return PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=2.0, mesh=4, temperature=100.0
    )


@pytest.fixture(scope="module", params=["powder", "joint"])
def simulator(request, powder):
    if request.param == "powder":
        return powder
    hot = powder.set_params(temperature=100.0)
    return JointSimulator({"one": powder, "two": hot}, shared_nuisances=NAMES)


@pytest.mark.parametrize(
    "simulator_class",
    [JointSimulator, PowderSimulator, SingleCrystalSimulator, SpinWaveSimulator],
)
def test_each_call_is_defined_and_documented_once(simulator_class):
    calls = {"simulate", "jacobian", "gradient", "simulate_tensor"}
    assert not calls & set(vars(simulator_class))
    assert simulator_class.simulate.__doc__


def test_names_alone_are_differentiated_at_the_settings(simulator):
    rows = [simulator.reference]
    expected, spectra = simulator.jacobian(
        rows,
        nuisance={"energy_resolution": 2.0, "temperature": 100.0},
        return_spectra=True,
    )
    assert_array_equal(simulator.jacobian(rows, nuisance=NAMES), expected)
    assert_allclose(simulator.simulate(rows), spectra, rtol=1e-12)
    n_parameters = len(simulator.parameter_names)
    one = simulator.jacobian(rows, nuisance="temperature")
    assert one.shape[2] == n_parameters + 1
    assert_array_equal(one[..., -1], expected[..., -1])
    assert_array_equal(simulator.jacobian(rows), expected[..., :n_parameters])


def test_slopes_must_fit_the_spectra(powder):
    with pytest.raises(ValueError, match="slopes must have shape"):
        powder.gradient([powder.reference], np.ones((1, 3)))


def test_unknown_names_are_told(simulator):
    with pytest.raises(ValueError, match=r"must name some of .*got .*colour"):
        simulator.jacobian([simulator.reference], nuisance=["colour"])
