"""Measured quantities with errors, and fits of force constants to them.

Each is a differentiable function of the constants of a model: see :class:`Observable`
for what a new one must offer.
"""

from skphonon.inversion._bulk_observables import (
    ElasticConstants,
    HeatCapacity,
    MeanSquareDisplacement,
    SoundVelocities,
)
from skphonon.inversion._observable import Observable
from skphonon.inversion._observable_fit import ObservablesFit, fit_observables
from skphonon.inversion._phonon_energies import PhononEnergies

__all__ = [
    "ElasticConstants",
    "HeatCapacity",
    "MeanSquareDisplacement",
    "Observable",
    "ObservablesFit",
    "PhononEnergies",
    "SoundVelocities",
    "fit_observables",
]
