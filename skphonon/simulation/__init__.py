"""What an instrument would record: physics, grid and resolution together."""

from skphonon.simulation.grid import SpectrumGrid
from skphonon.simulation.powder import PowderSimulator

__all__ = ["PowderSimulator", "SpectrumGrid"]
