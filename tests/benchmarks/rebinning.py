"""Time of rebinning a million detector bins, and what methods make of a real run.

Run by hand: ``python tests/benchmarks/rebinning.py [file.nxspe]``.
"""

import sys
import time
import tracemalloc
from functools import partial

import numpy as np

from skphonon import CrystalGrid, SpectrumGrid, nmse, read_nxspe
from skphonon.instrument import DetectorMeasurement
from skphonon.io.rebinning import reduce_angles, reduce_crystal, reduce_powder

METHODS = {
    "exact": {},
    "centres": {"overlap": "centres"},
    "exact, counting": {"weights": "counting"},
    "exact, with covariance": {"covariance": True},
}


def million(n_detectors=5000, n_energy=200, incident_energy=60.0):
    """Return a run of a million detector bins, of 0.5 degrees and 0.32 meV."""
    rng = np.random.RandomState(0)
    counts = rng.poisson(20, (n_detectors, n_energy)).astype(float)
    return DetectorMeasurement(
        counts,
        error=np.sqrt(counts),
        incident_energy=incident_energy,
        energy_edges=np.linspace(-10, 54, n_energy + 1),
        polar=rng.uniform(3, 120, n_detectors),
        azimuthal=rng.uniform(-180, 180, n_detectors),
        polar_width=np.full(n_detectors, 0.5),
        azimuthal_width=np.full(n_detectors, 2.0),
        psi=0.0,
        ki_over_kf_scaling=True,
    )


def timed(name, reduce):
    """Print processor time and, of a second call, the peak of memory."""
    start = time.process_time()
    found = reduce()
    took = time.process_time() - start
    tracemalloc.start()
    reduce()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    print(f"{name:45s} {took:6.2f} s   {peak:6.0f} MB")
    return found


def times(run):
    """Print the times of all methods."""
    for de, dq in ((1.0, 0.05), (0.23, 0.0213)):
        grid = SpectrumGrid(np.arange(-8, 50, de), np.arange(0.2, 9.5, dq))
        for method, settings in METHODS.items():
            timed(
                f"{method}, {grid.shape} pixels",
                partial(reduce_powder, run, grid, **settings),
            )
    timed("angles", lambda: reduce_angles(run))
    timed("angles, with covariance", lambda: reduce_angles(run, covariance=True))
    grid = CrystalGrid(
        np.arange(-8, 50, 1.0),
        np.linspace(-4, 4, 81),
        np.linspace(-4, 4, 81),
        np.linspace(-4, 4, 9),
        lattice=5 * np.eye(3),
    )
    timed("crystal, 58 x 59049 voxels", lambda: reduce_crystal(run, grid))
    timed(
        "crystal, with covariance", lambda: reduce_crystal(run, grid, covariance=True)
    )


def differences(path):
    """Print how methods differ on a measured powder, in units of the errors too."""
    run = read_nxspe(path)
    for de, dq in ((1.0, 0.1), (2.0, 0.2), (0.8, 0.05)):
        grid = SpectrumGrid(np.arange(10, 72, de), np.arange(2.0, 9.8, dq))
        print(f"{grid.shape} pixels of {de:g} meV and {dq:g} 1/A")
        found = {
            method: timed(method, partial(reduce_powder, run, grid, **settings))
            for method, settings in METHODS.items()
        }
        exact = found["exact"]
        for method, other in found.items():
            pulls = (other.data - exact.data) / exact.error
            off = nmse(exact.data, other.data)[0]
            print(
                f"  {method:25s} NMSE from exact {off:.2e}, rms "
                f"{np.sqrt(np.nanmean(pulls**2)):.3f} errors, "
                f"{np.isfinite(other.data).mean():.1%} of the pixels"
            )
        covariance = found["exact, with covariance"].details["covariance"].tocoo()
        std = np.sqrt(covariance.diagonal())
        ends = std[covariance.row] * std[covariance.col]
        off = (covariance.row != covariance.col) & (ends > 0)
        correlation = covariance.data[off] / ends[off]
        seen = (std > 0).sum()
        print(
            f"  correlations: {off.sum() / seen:.1f} of a pixel, largest "
            f"{correlation.max():.2f}, sum of squares "
            f"{np.square(correlation).sum() / seen:.2f}"
        )


if __name__ == "__main__":
    times(million())
    for path in sys.argv[1:]:
        differences(path)
