"""Kinematics against elastic scattering, occupation against its identities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon.physics.constants import (
    BOLTZMANN,
    EV_PER_A2_PER_NEWTON_PER_METRE,
    HBAR2_PER_AMU,
    MEV_PER_THZ,
    NEUTRON_HBAR2_OVER_2M,
)
from skphonon.physics.scattering import (
    bose_occupation,
    chi_from_sqe,
    final_energy,
    kinematic_mask,
    momentum_transfer,
    sqe_from_chi,
)

ENERGIES = np.array([-30.0, -5.0, -0.1, 0.1, 5.0, 30.0])


def test_constants_are_those_of_the_textbooks():
    # Squires, table of neutron relations: E = 2.072 k^2, 1 THz = 4.136 meV
    assert_allclose(NEUTRON_HBAR2_OVER_2M, 2.0721, rtol=2e-5)
    assert_allclose(MEV_PER_THZ, 4.1357, rtol=2e-5)
    assert_allclose(BOLTZMANN, 0.08617, rtol=5e-5)
    assert_allclose(EV_PER_A2_PER_NEWTON_PER_METRE, 0.0624151, rtol=1e-6)
    # hbar^2 / m of the neutron (1.008665 amu) and of one amu agree
    assert_allclose(HBAR2_PER_AMU / 1.00866492, 2 * NEUTRON_HBAR2_OVER_2M, rtol=1e-7)


def test_elastic_momentum_transfer_is_twice_k_sine():
    angles = np.array([5.0, 60.0, 120.0, 180.0])
    wavevector = np.sqrt(50.0 / NEUTRON_HBAR2_OVER_2M)
    expected = 2 * wavevector * np.sin(np.deg2rad(angles) / 2)
    assert_allclose(momentum_transfer(0.0, 50.0, angles), expected, rtol=1e-12)


def test_forward_and_backward_scattering_bound_the_momentum():
    k_in, k_out = np.sqrt(np.array([50.0, 20.0]) / NEUTRON_HBAR2_OVER_2M)
    assert_allclose(momentum_transfer(30.0, 50.0, 0.0), k_in - k_out)
    assert_allclose(momentum_transfer(30.0, 50.0, 180.0), k_in + k_out)


def test_kinematic_mask_closes_at_the_incident_energy():
    q = np.arange(0.05, 10, 0.1)
    mask = kinematic_mask([0.0, 25.0, 50.0], q, 50.0, (0.0, 180.0))
    assert mask.sum(axis=1).tolist() == sorted(mask.sum(axis=1), reverse=True)
    # at E = Ei the neutron stops: a single |Q| = k_i
    assert mask[2].sum() <= 1


@pytest.mark.parametrize("temperature", [0.0, 4.0, 300.0])
def test_occupation_of_negative_energy(temperature):
    n = bose_occupation(ENERGIES, temperature)
    # adding one loses what is below 1e-16
    assert_allclose(bose_occupation(-ENERGIES, temperature), -(n + 1), atol=1e-15)


def test_occupation_limits():
    assert_allclose(bose_occupation(1.0, 1e5), BOLTZMANN * 1e5, rtol=1e-4)
    assert bose_occupation(10.0, 0.0) == 0.0
    assert bose_occupation(10.0, 0.01) == 0.0  # no overflow warning
    # ln 2: exactly one phonon
    assert_allclose(bose_occupation(BOLTZMANN * 100 * np.log(2), 100.0), 1.0)


@pytest.mark.parametrize("temperature", [10.0, 300.0])
def test_detailed_balance_of_an_odd_susceptibility(temperature):
    sqe = sqe_from_chi(ENERGIES**3, ENERGIES, temperature)
    assert (sqe > 0).all()
    ratio = np.exp(-ENERGIES[3:] / (BOLTZMANN * temperature))
    assert_allclose(sqe[:3][::-1], ratio * sqe[3:], rtol=1e-10)


@pytest.mark.parametrize("temperature", [10.0, 300.0])
def test_chi_and_sqe_are_inverse(temperature):
    chi = np.sin(ENERGIES)
    back = chi_from_sqe(sqe_from_chi(chi, ENERGIES, temperature), ENERGIES, temperature)
    assert_allclose(back, chi, rtol=1e-12)


def test_zero_temperature_and_zero_energy_are_branches():
    assert_allclose(sqe_from_chi([-2.0, 2.0], [-1.0, 1.0], 0.0), [0.0, 2 / np.pi])
    assert_allclose(chi_from_sqe([0.0, 1.0], [-1.0, 1.0], 0.0), [np.nan, np.pi])
    assert np.isnan(sqe_from_chi(0.0, 0.0, 300.0))
    assert chi_from_sqe(1.0, 0.0, 300.0) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: final_energy([10.0, 60.0], 50.0), "maximum of 60 meV. Crop"),
        (lambda: momentum_transfer(0.0, -1.0, 10.0), "must be positive"),
        (lambda: kinematic_mask([1.0], [1.0], 50.0, (90.0, 10.0)), "two increasing"),
        (lambda: bose_occupation(1.0, -5.0), "at least 0 K, got -5"),
        (lambda: chi_from_sqe(1.0, 1.0, np.nan), "at least 0 K, got nan"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
