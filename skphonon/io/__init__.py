"""Files in and out: measured spectra, detectors and arrays."""

from skphonon.io.arrays import read_arrays, write_arrays
from skphonon.io.mantid import read_mdhisto
from skphonon.io.nxspe import read_nxspe
from skphonon.io.rebinning import reduce_crystal, reduce_powder

__all__ = [
    "read_arrays",
    "read_mdhisto",
    "read_nxspe",
    "reduce_crystal",
    "reduce_powder",
    "write_arrays",
]
