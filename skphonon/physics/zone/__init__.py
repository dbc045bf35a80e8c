"""Means over the Brillouin zone: one mesh for everything that needs one.

Meshes are folded by symmetry (:mod:`~skphonon.physics.zone.mesh`), the zone centre is
integrated apart (:mod:`~skphonon.physics.zone.centre`), and meshes are refined until a
mean settles (:mod:`~skphonon.physics.zone.convergence`). Displacements of the atoms
(:mod:`~skphonon.physics.zone.displacements`), densities of states and heat capacities
(:mod:`~skphonon.physics.zone.thermodynamics`) stand on them.
"""

from skphonon._moved import missing
from skphonon.physics.zone.centre import mean_points
from skphonon.physics.zone.mesh import ZoneMesh, ZonePoints, resolving_points

__all__ = ["ZoneMesh", "ZonePoints", "mean_points", "resolving_points"]

__getattr__ = missing(__name__)
