"""Error bars of phonon energies where the model is wrong in known ways.

Run with ``OMP_NUM_THREADS=1 python tests/benchmarks/coverage.py [case ...] [-n N]``;
about ten seconds of processor time a spectrum. Needs SKPHONON_DATA.

A spectrum of silicon as MARI measured it, with constants of eight shells that give the
energies and elastic constants of the literature, drawn anew for each spectrum, noise as
measured, and a fit of six shells about a calculation, as a user would do it. Cases:

can
    The truth has an aluminium can, an energy resolution 15 % wider than the fit begins
    with, |Q| off by 0.015 1/Angstrom, and a background that is no polynomial.
texture
    Beside a can, intensities of banks of scattering angle differ by up to 10 %.
energies
    Beside a can, energies are shown 0.15 meV too high and 0.4 % too large.
multiple
    No can, multiple scattering of a fifth of the intensity that the fit does not name.

Prints, for ``noise="residual"`` and ``"systematic"``, which share of true energies (at
the zone centre, X and L) lies within the 68 % bars, the root mean square of deviations
in bars, and the median bar.
"""

import argparse
import os
import warnings
from pathlib import Path
from time import process_time

import numpy as np
from sklearn.base import clone

import skphonon
from skphonon import ForceConstantModel, LeastSquaresInverter, PowderSimulator
from skphonon.instrument.holders import holder_model
from skphonon.inversion import (
    ElasticConstants,
    PhononEnergies,
    Search,
    fit_observables,
)
from skphonon.physics import ShellPrior
from skphonon.simulation import (
    MultipleScattering,
    Scattering,
)

CASES = ("can", "texture", "energies", "multiple")
POINTS = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]]  # zone centre, X, L
CHOSEN = ((0, 5), (1, 0), (1, 2), (1, 4), (2, 0), (2, 2), (2, 3), (2, 4))
THZ = 4.135667696
#: Nilsson and Nelin, Phys. Rev. B 6, 3777 (1972); THz, as in `CHOSEN`.
LITERATURE = THZ * np.array([15.53, 4.49, 12.32, 13.90, 3.43, 11.35, 12.60, 14.68])
STIFFNESS = {"C11": (165.7, 1.0), "C12": (63.9, 1.0), "C44": (79.6, 1.0)}  # GPa
LATTICE = 5.431  # Angstrom


def folder():
    """Return the folder of data."""
    return Path(os.environ["SKPHONON_DATA"])


def calculation():
    """Return the calculation of silicon on the measured lattice."""
    model = ForceConstantModel.from_phonopy(
        folder() / "phonopy" / "phonopy_params_Si.yaml"
    )
    a = np.linalg.norm(model.lattice[0]) * np.sqrt(2)
    return model.replace(lattice=model.lattice * LATTICE / a)


def energies_of(model, parameters):
    """Return the eight energies of sets of parameters."""
    found = np.sort(model.frequencies(np.atleast_2d(parameters), POINTS), axis=2)
    return np.stack([found[:, i, j] for i, j in CHOSEN], axis=1)


def literature():
    """Return a model of eight shells with the published energies and moduli."""
    model = calculation().extended(8)
    points, modes = np.transpose(CHOSEN)
    table = PhononEnergies(
        model,
        np.array(POINTS)[points],
        LITERATURE,
        np.full(8, 0.15),
        modes=modes,
        least_strength=None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = fit_observables(
            model,
            [table, ElasticConstants(model, STIFFNESS)],
            prior=ShellPrior(model),
            robust=False,
        )
    return model.replace(reference=fit.parameters)


def measurement(step=1.5, width=0.2):
    """Return MARI's silicon, calibrated."""
    cubic = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    diamond = np.concatenate([cubic, cubic + 0.25])
    run = skphonon.read(folder() / "mari" / "silicon_Ei80_300K.nxspe")
    found = skphonon.calibrate(
        run,
        (LATTICE * np.eye(3), diamond, "Si"),
        resolution={
            "instrument": "MARI",
            "chopper_frequency": 200,
            "chopper_package": "G",
        },
    )
    grid = skphonon.SpectrumGrid(np.arange(10, 72, step), np.arange(2, 9.8, width))
    return skphonon.reduce_powder(found.measurement, grid).replace(temperature=300.0)


class Wider:
    """A resolution times a factor."""

    def __init__(self, resolution, factor):
        self.resolution, self.factor = resolution, factor

    def __call__(self, energy):
        """Return standard deviations in meV."""
        return self.factor * self.resolution(energy)


def spectra(case, measured, n_spectra, rng):
    """Return spectra, and the true energies of each."""
    truth = literature()
    settings = dict(
        scattering=Scattering(n_phonons=3, incoherent=True),
        tolerance=1e-3,
        q_resolution=0.06,
    )
    factor = 1.15 if case == "can" else 1.0
    simulator = PowderSimulator.from_measurement(
        truth,
        measured,
        energy_resolution=Wider(measured.energy_resolution, factor),
        **settings,
    )
    can = clone(simulator).set_params(model=holder_model("aluminium"))
    widths = 0.2 * np.sqrt(np.diag(ShellPrior(truth, common=0.0).covariance_))
    sets = []
    while len(sets) < n_spectra:
        row = truth.reference * (1 + 0.05 * rng.normal())
        row = row + widths * rng.normal(size=row.size)
        if truth.is_stable([row])[0]:
            sets.append(row)
    moved = {
        "can": {"q_offset": 0.015},
        "texture": {},
        "energies": {"energy_offset": 0.15, "energy_scale": 1.004},
        "multiple": {},
    }[case]
    clean = simulator.simulate(
        sets, nuisance={name: np.full(n_spectra, each) for name, each in moved.items()}
    )
    grid = measured.grid
    energy, q = np.meshgrid(*grid.axes(), indexing="ij")
    of_can = can.simulate(can.reference)[0]
    noise = measured.error[0] / np.nanstd(measured.data)
    rows = []
    for row in clean:
        mean = np.nanmean(row)
        if case == "multiple":
            row = row + 0.2 * MultipleScattering().of_sample(row[None], grid)[0]
        else:
            row = row + 0.33 * (1 + 0.3 * rng.normal()) * of_can
        shape = 0.1 * np.exp(-energy / 15) + 0.05 * (q / 8) ** 2
        row = row + mean * rng.uniform(0.5, 1.5) * shape.ravel()
        if case == "texture":
            steps = np.linspace(q.min(), q.max(), 9)
            gains = rng.uniform(0.9, 1.1, size=10)
            row = row * gains[np.digitize(q.ravel(), steps)]
        rows.append(row + noise * np.nanstd(row) * rng.normal(size=row.size))
    return np.array(rows), energies_of(truth, sets)


def deviations(case, n_spectra, seed=0):
    """Return deviations of energies from the truth, and bars, by kind of errors."""
    measured = measurement()
    X, true = spectra(case, measured, n_spectra, np.random.default_rng(seed))
    model = calculation().extended(6)
    simulator = PowderSimulator.from_measurement(
        model,
        measured,
        scattering=Scattering(n_phonons=3, incoherent=True),
        tolerance=1e-3,
        q_resolution=0.05,
    )
    off, bars = [], {"residual": [], "systematic": []}
    inverter = LeastSquaresInverter(
        simulator,
        nuisance={
            "energy_resolution": (0.5, 2.5),
            "mean_square_displacement": (-0.004, 0.02),
            "lattice_scale": (0.997, 1.003),
        },
        background=3,
        prior=ShellPrior(model, energies=0.05),
        contributions={} if case == "multiple" else {"can": "aluminium"},
        search=Search(n_candidates=32, tolerance=1e-4),
        noise="systematic",
        random_state=0,
    )
    for row, known in zip(X, true, strict=True):
        began = process_time()
        inverter.fit(row[None]).predict(row[None])
        (fit,) = inverter.fits_
        off.append(energies_of(model, fit.parameters)[0] - known)
        for name, covariance in (
            ("residual", fit.covariance - fit.of_choices),
            ("systematic", fit.covariance),
        ):
            fit.covariance = covariance
            table = fit.energies(POINTS)["std"].to_numpy().reshape(3, -1)
            bars[name].append([table[i, j] for i, j in CHOSEN])
        pairs = zip(off[-1], bars["systematic"][-1], strict=True)
        told = " ".join(f"{d:+.2f}({b:.2f})" for d, b in pairs)
        square = fit.figures["reduced_chi2"]
        print(
            f"  {process_time() - began:.0f} s, chi^2 {square:.2f}: {told}", flush=True
        )
    return np.array(off), {name: np.array(each) for name, each in bars.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for case in given.cases:
        off, bars = deviations(case, given.n, given.seed)
        for name, each in bars.items():
            z = off / each
            print(
                f"{case}, {name}: {np.mean(np.abs(z) < 1):.2f} within a bar, "
                f"rms {np.sqrt(np.mean(z**2)):.2f}, median bar {np.median(each):.2f} "
                f"meV, rms deviation {np.sqrt(np.mean(off**2)):.2f}, beyond 3 bars "
                f"{np.mean(np.abs(z) > 3):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
