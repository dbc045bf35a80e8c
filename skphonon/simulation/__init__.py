"""Simulated spectra: physics, grid and resolution together."""

from skphonon._moved import missing
from skphonon.simulation.beside_sample import ElasticTail, MultipleScattering
from skphonon.simulation.joint import JointSimulator
from skphonon.simulation.powder import PowderSimulator
from skphonon.simulation.scattering import Scattering
from skphonon.simulation.single_crystal import SingleCrystalSimulator
from skphonon.simulation.spin_wave import SpinWaveSimulator

__all__ = [
    "ElasticTail",
    "JointSimulator",
    "MultipleScattering",
    "PowderSimulator",
    "Scattering",
    "SingleCrystalSimulator",
    "SpinWaveSimulator",
]

__getattr__ = missing(__name__)
