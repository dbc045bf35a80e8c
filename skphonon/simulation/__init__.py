"""What an instrument would record: physics, grid and resolution together."""

from skphonon.simulation.grid import PathGrid, SpectrumGrid
from skphonon.simulation.joint import JointSimulator
from skphonon.simulation.powder import PowderSimulator
from skphonon.simulation.resolution import (
    PolynomialResolution,
    TabulatedResolution,
    instrument_resolution,
)
from skphonon.simulation.spin_wave import SpinWaveSimulator

__all__ = [
    "JointSimulator",
    "PathGrid",
    "PolynomialResolution",
    "PowderSimulator",
    "SpectrumGrid",
    "SpinWaveSimulator",
    "TabulatedResolution",
    "instrument_resolution",
]
