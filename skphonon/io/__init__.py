"""Files in and out: measured spectra, detectors and arrays."""

from skphonon.io.arrays import read_arrays, write_arrays
from skphonon.io.dave import read_dave
from skphonon.io.frames import from_pandas, to_pandas
from skphonon.io.horace import read_horace
from skphonon.io.labelled_arrays import from_scipp, to_scipp
from skphonon.io.mantid import read_mdhisto
from skphonon.io.nxspe import read_nxspe
from skphonon.io.processed import read_processed
from skphonon.io.reading import read
from skphonon.io.rebinning import reduce_angles, reduce_crystal, reduce_powder
from skphonon.io.spe import read_spe
from skphonon.io.text import read_text
from skphonon.io.triple_axis import read_triple_axis

__all__ = [
    "from_pandas",
    "from_scipp",
    "read",
    "read_arrays",
    "read_dave",
    "read_horace",
    "read_mdhisto",
    "read_nxspe",
    "read_processed",
    "read_spe",
    "read_text",
    "read_triple_axis",
    "reduce_angles",
    "reduce_crystal",
    "reduce_powder",
    "to_pandas",
    "to_scipp",
    "write_arrays",
]
