"""What an instrument would record: physics, grid and resolution together."""

from skphonon.physics.stability import UnstableCrystalWarning
from skphonon.physics.zone import ZoneMesh
from skphonon.simulation.angle_grid import AngleGrid
from skphonon.simulation.crystal_grid import CrystalGrid
from skphonon.simulation.grid import PathGrid, SpectrumGrid
from skphonon.simulation.joint import JointSimulator
from skphonon.simulation.powder import PowderSimulator
from skphonon.simulation.resolution import (
    PolynomialResolution,
    TabulatedResolution,
    instrument_resolution,
)
from skphonon.simulation.single_crystal import SingleCrystalSimulator
from skphonon.simulation.spin_wave import SpinWaveSimulator

__all__ = [
    "AngleGrid",
    "CrystalGrid",
    "JointSimulator",
    "PathGrid",
    "PolynomialResolution",
    "PowderSimulator",
    "SingleCrystalSimulator",
    "SpectrumGrid",
    "SpinWaveSimulator",
    "TabulatedResolution",
    "UnstableCrystalWarning",
    "ZoneMesh",
    "instrument_resolution",
]
