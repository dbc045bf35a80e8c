"""How large constants are taken to be where nothing is known of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon import (
    ForceConstantModel,
    LeastSquaresInverter,
    PowderSimulator,
    SpectrumGrid,
    make_powder_spectra,
)
from skphonon.inversion import Search
from skphonon.physics.priors import (
    ForceConstantPrior,
    mean_and_covariance,
    parameter_scales,
    shell_numbers,
)


def test_a_value_has_its_own_size():
    names = ["1XX", "1ZZ", "1XY", "2XX", "2YY"]
    aluminium = [0.6635, -0.2506, 0.6437, 0.1489, 0.0075]
    assert_allclose(parameter_scales(aluminium, names), np.abs(aluminium))


def test_zeros_have_the_scale_of_their_shell():
    names = ["1XX A-B", "1XY A-B", "2XX A-A", "2XZ A-A", "3XX A-B", "3XY A-B"]
    scales = parameter_scales([4.0, -2.0, 0.3, 1e-17, 0.0, 0.0], names)
    assert_allclose(scales, [4.0, 2.0, 0.3, 0.3, 0.2, 0.2])
    assert_allclose(parameter_scales([10.0, 0.0], ["J", "J'"]), [10.0, 2.0])
    assert_allclose(parameter_scales([0.0, 0.0], ["1XX", "1ZZ"]), 0.05)
    # constants of several temperatures
    at = ["1XX at 50", "1XX at 640", "1ZZ"]
    assert_allclose(parameter_scales([2.0, 1.5, 0.0], at), [2.0, 1.5, 12.5**0.5 / 2])


@pytest.fixture(scope="module")
def silicon_file(data_folder):
    return data_folder / "phonopy" / "phonopy_params_Si.yaml"


@pytest.fixture(scope="module")
def simulator(silicon_file):
    model = ForceConstantModel.from_phonopy(silicon_file)
    grid = SpectrumGrid(
        np.arange(6.0, 66, 3.0), np.arange(1.2, 7, 0.4), incident_energy=90.0
    )
    return PowderSimulator(
        model, grid, energy_resolution=2.5, q_resolution=0.15, mesh=6
    )


def test_a_constant_that_rounding_left_is_drawn(simulator):
    """phonopy's own silicon has 2XZ = -1.2e-17 (or the like)."""
    names = simulator.parameter_names
    number = names.index("2XZ Si1-Si1")
    assert abs(simulator.reference[number]) < 1e-10
    _, y = make_powder_spectra(simulator, 20, spread=0.5, random_state=0)
    shell = [n for n, name in enumerate(names) if name.startswith("2")]
    typical = np.abs(simulator.reference[shell]).max()
    assert 0.1 * typical < y[:, number].std() < 0.5 * typical


def test_a_constant_that_rounding_left_is_found(simulator):
    """With 2XZ = 0.15 it came out as 0.000(14), and 2XX three deviations wrong."""
    truth = simulator.reference.copy()
    number = simulator.parameter_names.index("2XZ Si1-Si1")
    truth[number] = 0.15
    spectrum = simulator.simulate([truth])
    inverter = LeastSquaresInverter(simulator, search=Search(n_candidates=1)).fit(
        spectrum
    )
    found = inverter.predict(spectrum)[0]
    assert_allclose(found[number], 0.15, atol=1e-3)
    assert_allclose(found, truth, atol=2e-3)


def test_a_shell_that_rounding_left_is_a_shell_of_zeros():
    names = ["2XX", "2XY", "1XX"]
    assert_allclose(parameter_scales([1e-17, 1e-18, 5.0], names), [0.25, 0.25, 5.0])
    assert_allclose(parameter_scales([1e-17, 1.0], ["J", "K"]), [0.2, 1.0])


def test_principal_directions_are_in_units_of_their_deviations():
    names = ["origin", "PC1", "PC2", "PC12", "PCX"]
    scales = parameter_scales([0.9, 0.0, 2.5, 1e-16, 0.0], names)
    assert_allclose(scales, [0.9, 1, 1, 1, 0.2 * 2.5])


def test_shells_are_the_numbers_that_names_begin_with():
    names = ["1XX", "12L Na-Cl", "rest", "PC1"]
    assert shell_numbers(names).tolist() == [1, 12, 0, 0]


def test_priors_are_given_as_objects_or_pairs():
    names = ["1XX", "1XY"]
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])
    given = SimpleNamespace(mean_=np.array([1.0, 2.0]), covariance_=covariance)
    for prior in (given, ([1.0, 2.0], covariance)):
        mean, found = mean_and_covariance(prior, names)
        assert_allclose(mean, [1.0, 2.0])
        assert_allclose(found, covariance)
    assert_allclose(
        mean_and_covariance(([1, 2], [0.2, 0.3]), names)[1], np.diag([0.04, 0.09])
    )
    with pytest.raises(ValueError, match=r"means of shape \(2,\)"):
        mean_and_covariance(([1.0], [0.1]), names)
    with pytest.raises(ValueError, match="positive definite"):
        mean_and_covariance(([1.0, 2.0], [0.1, 0.0]), names)


def test_a_table_must_be_a_table(aluminium):
    prior = ForceConstantPrior(aluminium, np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"table must be a DataFrame.*got ndarray"):
        mean_and_covariance(prior, aluminium.parameter_names)
