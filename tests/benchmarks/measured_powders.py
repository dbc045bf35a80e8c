"""Fits to powders measured on MARI, and to silicon simulated with little noise.

Run with ``OMP_NUM_THREADS=1 python tests/benchmarks/measured_powders.py [aluminium]
[silicon] [noise]`` (seconds to a minute each; all of them if none is named). Needs
SKPHONON_DATA.

aluminium, silicon
    All constants, five nuisances, a cubic background, up to four phonons, and 32
    candidates: seconds of processor time of `fit` and `predict`, what is prepared
    included; evaluations, NMSE, constants and peak memory.
noise
    Twelve constants of silicon from simulations on a mesh that is far finer, with 1 %
    and 0.1 % of noise: how far they are off in error bars, at a simulator's tolerance.
"""

import argparse
import os
import resource
import warnings
from pathlib import Path
from time import process_time

import h5py
import numpy as np
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    LeastSquaresInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    read_nxspe,
    reduce_powder,
)
from skphonon.instrument import DetectorMeasurement
from skphonon.simulation import Scattering

#: What is fitted along, and between which values.
NUISANCE = {
    "energy_resolution": (0.8, 4.0),
    "energy_resolution_slope": (-1.0, 1.9),
    "q_resolution": (0.03, 0.2),
    "lattice_scale": (0.96, 1.03),
    "mean_square_displacement": (-0.003, 0.03),
}
PARTS = ("aluminium", "silicon", "noise")


def folder():
    """Return the folder of data."""
    return Path(os.environ["SKPHONON_DATA"])


def silicon():
    """Return a model and a measurement of silicon at 300 K."""
    model = ForceConstantModel.from_phonopy(
        folder() / "phonopy" / "phonopy_params_Si.yaml"
    )
    grid = SpectrumGrid(np.arange(10, 72, 0.5), np.arange(2, 9.8, 0.1))
    run = read_nxspe(folder() / "mari" / "silicon_Ei80_300K.nxspe")
    return model, reduce_powder(run, grid).replace(temperature=300.0)


def aluminium():
    """Return a model and a measurement of aluminium at 5 K."""
    grid = SpectrumGrid(np.arange(8, 45, 0.5), np.arange(1.5, 8.5, 0.1))
    return load_aluminium_model(), reduce_powder(_processed_aluminium(), grid).replace(
        temperature=5.0
    )


def _processed_aluminium():
    """Return detectors of a file of SaveNexusProcessed, groups at their mean angle."""
    with h5py.File(folder() / "mari" / "aluminium_Ei60.nxspe") as file:
        top = file["mantid_workspace_1"]
        detectors = top["instrument/detector"]
        polar = detectors["detector_positions"][:, 1]
        groups = zip(
            detectors["detector_index"][()],
            detectors["detector_count"][()],
            strict=True,
        )
        angles = np.array([polar[i : i + n].mean() for i, n in groups])
        data, errors = (top["workspace"][name][()] for name in ("values", "errors"))
        return DetectorMeasurement(
            data=np.where(errors > 0, data, np.nan),
            error=np.where(errors > 0, errors, np.nan),
            energy_edges=top["workspace/axis1"][()],
            polar=angles,
            azimuthal=np.zeros(len(angles)),
            polar_width=np.full(len(angles), 0.43),
            azimuthal_width=np.full(len(angles), 20.0),
            incident_energy=float(top["logs/Ei/value"][0]),
            ki_over_kf_scaling=True,
        )


def fit(name, **settings):
    """Fit a measurement and print how it went."""
    model, measured = {"aluminium": aluminium, "silicon": silicon}[name]()
    began = process_time()
    simulator = PowderSimulator.from_measurement(
        model,
        measured,
        energy_resolution=1.5,
        scattering=Scattering(n_phonons=4, incoherent=True),
        **settings,
    )
    inverter = LeastSquaresInverter(
        simulator, nuisance=NUISANCE, background=3, random_state=0
    )
    X = measured.data
    values, std = inverter.fit(X).predict(X, return_std=True)
    seconds = process_time() - began
    began = process_time()
    inverter.predict(X)
    again = process_time() - began
    print(
        f"{name}: {seconds:.1f} s ({again:.1f} s a second time), "
        f"{inverter.n_evaluations_[0]} evaluations, NMSE {inverter.loss_[0]:.5f}, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB"
    )
    for label, value, bar in zip(model.parameter_names, values[0], std[0], strict=True):
        print(f"  {label} {value:.4f} ± {bar:.4f}", end="")
    print()
    print(inverter.nuisance_.round(4).to_string(), flush=True)


def noise(tolerance=1e-3, n_spectra=8):
    """Print how far constants of silicon are off."""
    model, _ = silicon()
    grid = SpectrumGrid(
        np.arange(10, 72, 0.5), np.arange(1, 9.8, 0.1), incident_energy=79.4
    )
    simulator = PowderSimulator(
        model, grid, energy_resolution=1.5, q_resolution=0.08, tolerance=tolerance
    )
    mesh = 3 * np.array(simulator.zone_mesh.size)
    clean = clone(simulator).set_params(mesh=tuple(mesh.tolist()))
    clean = clean.simulate(model.reference)
    print(
        f"meshes {simulator.zone_mesh.size} and {tuple(mesh.tolist())}, "
        f"error {simulator.mesh_error:.1e}"
    )
    print("noise  chi^2/12  largest  chi^2  evaluations  s a spectrum")
    for level in (0.01, 0.001):
        sigma = level * np.nanstd(clean)
        rng = np.random.default_rng(0)
        X = clean + sigma * rng.normal(size=(n_spectra, clean.shape[1]))
        inverter = LeastSquaresInverter(simulator, noise="noise", random_state=0)
        began = process_time()
        result = inverter.fit(X).invert(X, sigma)
        seconds = (process_time() - began) / n_spectra
        away = result.parameters - model.reference
        square = [
            d @ np.linalg.solve(c, d)
            for d, c in zip(away, result.covariance, strict=True)
        ]
        print(
            f"{level:5.3f}  {np.mean(square) / len(model.reference):8.2f}  "
            f"{np.abs(away / result.std).max():7.1f}  {result.reduced_chi2.mean():.3f}"
            f"  {result.n_evaluations.mean():11.0f}  {seconds:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for part in parser.parse_args().parts or PARTS:
            noise() if part == "noise" else fit(part)
