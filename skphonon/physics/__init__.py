"""Laws of nature: scattering, lattice dynamics and spin waves.

Pure functions and models; no instrument in sight.
"""

from skphonon._moved import missing
from skphonon.physics.force_constants import ForceConstantModel
from skphonon.physics.phonopy_io import write_phonopy_files
from skphonon.physics.priors import ForceConstantPrior
from skphonon.physics.reduction import Reduction
from skphonon.physics.shell_priors import ShellPrior
from skphonon.physics.spin_waves import SpinWaveModel
from skphonon.physics.springs import with_springs
from skphonon.physics.stability import UnstableCrystalWarning
from skphonon.physics.zone import ZoneMesh

__all__ = [
    "ForceConstantModel",
    "ForceConstantPrior",
    "Reduction",
    "ShellPrior",
    "SpinWaveModel",
    "UnstableCrystalWarning",
    "ZoneMesh",
    "with_springs",
    "write_phonopy_files",
]

__getattr__ = missing(__name__)
