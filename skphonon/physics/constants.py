"""Unit conversions, from the exact SI constants and CODATA 2018 (scipy).

The package works in meV, 1/Angstrom, Angstrom, amu, K, degrees and eV/Angstrom^2;
quantities are converted once, at the door, by the factors of this module.
"""

from scipy import constants as si

_MEV = 1e-3 * si.e
_ANGSTROM = 1e-10

#: Boltzmann constant, meV/K.
BOLTZMANN = si.k / _MEV

#: hbar^2 / 2m of the neutron, meV Angstrom^2 (2.0721).
NEUTRON_HBAR2_OVER_2M = si.hbar**2 / (2 * si.m_n) / (_MEV * _ANGSTROM**2)

#: hbar^2 / (1 amu), meV Angstrom^2 (4.1801).
HBAR2_PER_AMU = si.hbar**2 / si.atomic_mass / (_MEV * _ANGSTROM**2)

#: (hbar omega)^2 in meV^2 of an eigenvalue of 1 eV/Angstrom^2/amu.
MEV2_PER_EIGENVALUE = 1e3 * HBAR2_PER_AMU

#: Energy in meV of a frequency of 1 THz (4.1357).
MEV_PER_THZ = si.h * 1e12 / _MEV

#: Energy in meV of a wavenumber of 1/cm (0.12398).
MEV_PER_INVERSE_CM = si.h * si.c * 1e2 / _MEV

#: 1 N/m in eV/Angstrom^2 (0.062415).
EV_PER_A2_PER_NEWTON_PER_METRE = _ANGSTROM**2 / si.e
