"""The picture of the README: a measured map beside its fit, and the dispersion.

Run with ``python tests/benchmarks/readme_picture.py``; writes
docs/images/aluminium.png.
Needs the published data (downloaded, or SKPHONON_DATA).
"""

import warnings
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from skphonon import (
    LeastSquaresInverter,
    PowderSimulator,
    fetch_aluminium_arcs,
    load_aluminium_model,
)
from skphonon.inspection import PhononBandsDisplay

PATH = Path(__file__).parents[2] / "docs" / "images" / "aluminium.png"


def main():
    measured = fetch_aluminium_arcs().measurement[0]
    simulator = PowderSimulator.from_measurement(load_aluminium_model(), measured)
    nuisance = {
        "energy_resolution": (0.9, 3.0),
        "energy_resolution_slope": (-0.2, 1.5),
        "lattice_scale": (0.97, 1.03),
    }
    inverter = LeastSquaresInverter(simulator, nuisance=nuisance, background=3)
    inverter.fit(measured.data).predict(measured.data)
    (fit,) = inverter.fits_
    figure, axes = plt.subplots(
        1, 4, figsize=(13, 3.1), layout="constrained", width_ratios=(1, 1, 1, 1.4)
    )
    fit.plot(axes[:3])
    PhononBandsDisplay.from_draws(fit).plot(axes[3])
    axes[3].set_title("dispersion, 68 % intervals")
    figure.savefig(PATH, dpi=90)
    print(f"{PATH}: {PATH.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
