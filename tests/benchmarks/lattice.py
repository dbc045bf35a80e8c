"""Where does the lattice go? The |Q| scale that fits of inelastic powder spectra want.

Run with ``python tests/benchmarks/lattice.py [held] [fitted] [ranges]`` and
SKPHONON_DATA set; each part takes minutes.

``held``: constants of aluminium from triple-axis dispersions (eight shells, 80 K,
Cowley 1974) are held, and the best factor of the lattice parameter is found of MARI
(5 K), as measured and calibrated by its own elastic line, and of the published ARCS
spectra (50 K). Beside the spectrum, a background of degree 3 in E and 2 in |Q| is free,
and a smooth factor of the given degrees in |Q| and E, which stands for Debye-Waller
factors, absorption and normalisation.
``ranges``: the same of ARCS in ranges of |Q|, with labels of |Q| moved, and with a term
of the density of states, constant in |Q|, as multiple scattering gives.
``fitted``: least squares with free constants and lattice, of MARI aluminium and
silicon, as measured and calibrated.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.polynomial.legendre import legvander

from skphonon import (
    ForceConstantModel,
    LeastSquaresInverter,
    Measurement,
    PowderSimulator,
    SpectrumGrid,
    calibrate,
    fetch_aluminium_arcs,
    load_aluminium_model,
    read,
    reduce_powder,
)
from skphonon.instrument.background import terms_on_axes
from skphonon.physics.zone.thermodynamics import PhononProperties

DATA = Path(os.environ.get("SKPHONON_DATA", "."))
SHELLS = ["110", "200", "211", "220", "310", "222", "321", "400"]
SCALES = np.arange(0.976, 1.013, 0.006)
FCC = np.ones((3, 3)) - np.eye(3)


def aluminium(a):
    """Constants of Cowley (1974) at 80 K on a lattice of this parameter."""
    table = pd.read_csv(DATA / "born-von-karman" / "constants.csv")
    rows = table[table["table"] == "al_80"]
    constants = {
        f"{SHELLS.index(str(row.shell)) + 1}{row.component.upper()}": row.iloc[3]
        for _, row in rows.iterrows()
    }
    constants["3XY"] = constants.pop("3XZ")
    return ForceConstantModel.from_table(a / 2 * FCC, "Al", constants, unit="N/m")


def powers(axis, degree):
    return legvander(2 * (axis - axis.min()) / np.ptp(axis) - 1, degree).T


def misfits(measured, simulator, factor=(0, 0), extra=()):
    """NMSE at each lattice scale, with linear terms at their best."""
    data, grid = measured.data[0], measured.grid
    background = terms_on_axes([grid.energy, grid.q], (3, 2)).reshape(-1, data.size)
    smooth = [
        np.outer(e, q).ravel()
        for i, e in enumerate(powers(grid.energy, factor[1]))
        for j, q in enumerate(powers(grid.q, factor[0]))
        if i == 0 or j == 0
    ]
    found = []
    for scale in SCALES:
        spectrum = simulator.simulate(
            [simulator.model.reference], nuisance={"lattice_scale": [scale]}
        )[0]
        terms = np.array([*(spectrum * each for each in smooth), *background, *extra])
        seen = np.isfinite(data) & np.isfinite(spectrum)
        weights, *_ = np.linalg.lstsq(terms[:, seen].T, data[seen], rcond=None)
        rest = data[seen] - weights @ terms[:, seen]
        found.append(rest @ rest / (data[seen] @ data[seen]))
    return np.array(found)


def best_scale(measured, model, temperature, widths=(0.8, 1.0, 1.4), **options):
    """Return the best scale, its NMSE and width."""
    results = []
    for width in widths:
        simulator = PowderSimulator.from_measurement(
            model,
            measured,
            temperature=temperature,
            energy_resolution=width,
            q_resolution=0.05,
        )
        values = misfits(measured, simulator, **options)
        at = int(np.clip(values.argmin(), 1, len(values) - 2))
        square, slope, level = np.polyfit(
            SCALES[at - 1 : at + 2], values[at - 1 : at + 2], 2
        )
        lowest = -slope / 2 / square
        results.append((level + slope * lowest / 2, lowest, width))
    return min(results)


def told(name, result):
    print(
        f"{name:52s} scale {result[1]:.4f}  NMSE {result[0]:.4f}  sigma {result[2]} meV"
    )
    sys.stdout.flush()


def arcs(lowest, q_range=(0.0, 20.0), moved=0.0):
    """Return the published spectrum at 50 K above an energy, in a range of |Q|."""
    measured = fetch_aluminium_arcs().measurement[0]
    energy, q = measured.grid.energy, measured.grid.q + moved
    image = measured.grid.to_image(measured.data)[0]
    rows, columns = energy > lowest, (q > max(q_range[0], 0.01)) & (q < q_range[1])
    image = image[rows][:, columns]
    grid = SpectrumGrid(
        energy[rows], q[columns], incident_energy=50.0, mask=np.isfinite(image)
    )
    return Measurement(image.reshape(1, -1), grid, quantity="chi")


def held():
    model, grid = (
        aluminium(4.032),
        SpectrumGrid(np.arange(12, 42, 0.5), np.arange(1.5, 9, 0.06)),
    )
    run = read(DATA / "mari" / "aluminium_Ei60.nxspe")
    found = calibrate(run, model, resolution="constant")
    print(found)
    for name, each in (("as measured", run), ("calibrated", found.measurement)):
        measured = reduce_powder(each, grid)
        for factor in ((0, 0), (2, 0), (2, 1)):
            label = f"MARI aluminium 5 K {name}, factor {factor}"
            told(label, best_scale(measured, model, 5.0, factor=factor))
    for factor in ((0, 0), (2, 0), (3, 2)):
        label = f"ARCS aluminium 50 K, factor {factor}"
        told(label, best_scale(arcs(12), aluminium(4.033), 50.0, factor=factor))


def ranges():
    model = aluminium(4.033)
    for lowest in (10, 18, 24):
        told(f"ARCS E above {lowest}", best_scale(arcs(lowest), model, 50.0))
    for span in ((1.5, 3.5), (3.0, 5.0), (4.5, 6.5), (6.0, 9.0)):
        told(f"ARCS |Q| {span}", best_scale(arcs(12, span), model, 50.0))
    for moved in (-0.05, 0.05):
        told(
            f"ARCS |Q| moved by {moved}", best_scale(arcs(12, moved=moved), model, 50.0)
        )
    measured = arcs(12)
    grid = measured.grid
    density = PhononProperties(model, [model.reference]).density_of_states(
        grid.energy, width=1.0
    )[0]
    extra = [np.outer(density, grid.q**power).ravel() for power in (0, 1, 2)]
    told(
        "ARCS and the density of states", best_scale(measured, model, 50.0, extra=extra)
    )


def fitted():
    silicon = ForceConstantModel.from_phonopy(
        DATA / "phonopy" / "phonopy_params_Si.yaml"
    )
    cases = (
        ("aluminium_Ei60.nxspe", load_aluminium_model(), 5.0, 4.032 / 4.04, (10, 42)),
        ("silicon_Ei80_300K.nxspe", silicon, 300.0, None, (10, 72)),
        ("silicon_Ei80_300K.nxspe", silicon, 300.0, None, (26, 72)),
    )
    for name, model, temperature, factor, (low, high) in cases:
        if factor:
            model = model.replace(lattice=factor * np.asarray(model.lattice))
        run = read(DATA / "mari" / name)
        found = calibrate(run, model, resolution="constant")
        grid = SpectrumGrid(np.arange(low, high, 1.0), np.arange(2.0, 9.8, 0.1))
        for label, each in (("as measured", run), ("calibrated", found.measurement)):
            measured = reduce_powder(each, grid)
            simulator = PowderSimulator.from_measurement(
                model, measured, temperature=temperature, energy_resolution=1.5
            )
            inverter = LeastSquaresInverter(
                simulator,
                nuisance={"lattice_scale": (0.97, 1.03), "energy_resolution": (0.7, 4)},
                background=3,
            ).fit(measured.data)
            inverter.predict(measured.data)
            scale = float(np.ravel(inverter.nuisance_["lattice_scale"])[0])
            print(
                f"{name} from {low} meV {label}: fitted scale {scale:.4f}", flush=True
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for part in sys.argv[1:] or ["held"]:
        {"held": held, "ranges": ranges, "fitted": fitted}[part]()
