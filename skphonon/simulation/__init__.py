"""What an instrument would record: physics, grid and resolution together."""

from skphonon.simulation.grid import SpectrumGrid
from skphonon.simulation.joint import JointSimulator
from skphonon.simulation.powder import PowderSimulator
from skphonon.simulation.resolution import (
    PolynomialResolution,
    TabulatedResolution,
    instrument_resolution,
)

__all__ = [
    "JointSimulator",
    "PolynomialResolution",
    "PowderSimulator",
    "SpectrumGrid",
    "TabulatedResolution",
    "instrument_resolution",
]
