"""How often a verdict finds what is wrong with a fit, and how often what is not.

Run with ``OMP_NUM_THREADS=1 python tests/benchmarks/verdicts.py [crystal ...] [-n N]
[--estimated]``; a few seconds of processor time a spectrum. Needs SKPHONON_DATA.

Spectra of silicon (six shells about a calculation) and aluminium (four shells) are
drawn from the prior of the fit, on the grid and with the noise of MARI's silicon, in a
can that the fit names, with widths, displacements and lattice that it fits along. Then
one thing is wrong with the fit:

right
    Nothing: what is told is a false alarm.
material
    The spectrum is of another element: germanium for silicon, silicon for aluminium.
ei
    The incident energy is 5 % wrong: energies by that, |Q| by half of it.
can
    The fit does not name the can.
shells
    The fit has fewer shells: three of silicon, one of aluminium.

Prints the share of spectra of which the verdict tells anything, of what kind the first
finding is, and its most frequent causes. Noise is told to the fit, or, --estimated,
not.
"""

import argparse
import warnings
from collections import Counter
from time import process_time

import numpy as np
from coverage import calculation, folder, measurement
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    LeastSquaresInverter,
    PowderSimulator,
    load_aluminium_model,
)
from skphonon.instrument.holders import holder_model
from skphonon.inversion import Search
from skphonon.physics import ShellPrior
from skphonon.simulation import Scattering

CRYSTALS = ("silicon", "aluminium")
CASES = ("right", "material", "ei", "can", "shells")
WRONG = 1.05  # incident energy


def crystal(name):
    """Return the model, one of fewer shells, another material, and the can's metal."""
    if name == "silicon":
        phonopy = folder() / "phonopy"
        other = ForceConstantModel.from_phonopy(
            phonopy / "Ge-phonopy.yaml",
            force_constants=phonopy / "Ge-force_constants.hdf5",
        )
        few = ForceConstantModel.from_phonopy(
            phonopy / "phonopy_params_Si.yaml", n_shells=3
        ).replace(lattice=calculation().lattice)
        return calculation().extended(6), few, other, "aluminium"
    model = load_aluminium_model()
    few = model.replace(n_shells=1, reference=model.reference[:3])
    return model.extended(4), few, calculation(), "copper"


def spectrum(case, simulator, parameters, other, can, noise, rng):
    """Return one spectrum, as measured."""
    settings = {"nuisance": {}}
    if case == "material":
        simulator = clone(simulator).set_params(model=other)
        parameters = other.reference
    if case == "ei":
        settings["nuisance"] = {
            "energy_scale": np.array([WRONG]),
            "q_scale": np.array([np.sqrt(WRONG)]),
        }
    row = simulator.simulate([parameters], **settings)[0]
    scale = np.nanstd(row) / np.nanstd(can)
    share = rng.uniform(0.2, 0.5)
    grid = simulator.grid
    energy, q = np.meshgrid(*grid.axes(), indexing="ij")
    smooth = 0.1 * np.exp(-energy / 30) + 0.05 * (q / 8) ** 2
    row = row + share * scale * can
    row = row + np.nanmean(row) * rng.uniform(0.3, 1.0) * smooth.ravel()
    return row + noise * np.nanstd(row) * rng.normal(size=row.size)


def fitted(case, model, measured, metal, row, error):
    """Return the fit of a spectrum, of which one thing is wrong."""
    simulator = PowderSimulator.from_measurement(
        model,
        measured,
        scattering=Scattering(n_phonons=3, incoherent=True),
        tolerance=1e-3,
        q_resolution=0.05,
    )
    inverter = LeastSquaresInverter(
        simulator,
        nuisance={
            "energy_resolution": (0.5, 2.5),
            "mean_square_displacement": (-0.004, 0.02),
            "lattice_scale": (0.99, 1.01),
        },
        background=3,
        prior=ShellPrior(model, energies=0.05),
        contributions={} if case == "can" else {"can": metal},
        search=Search(n_candidates=16, tolerance=1e-4),
        random_state=0,
    )
    inverter.fit(row[None]).predict(row[None], errors=error)
    return inverter.fits_[0]


def study(name, n_spectra, told_noise=True, seed=0):
    """Print what is told of each case of a crystal."""
    rng = np.random.default_rng(seed)
    measured = measurement()
    model, few, other, metal = crystal(name)
    truth = PowderSimulator.from_measurement(
        model,
        measured,
        scattering=Scattering(n_phonons=3, incoherent=True),
        tolerance=1e-3,
        q_resolution=0.05,
    )
    of_can = clone(truth).set_params(model=holder_model(metal))
    can = of_can.simulate(of_can.model.reference)[0]
    noise = measured.error[0] / np.nanstd(measured.data)
    prior = ShellPrior(model, energies=0.05)
    for case in CASES:
        told, first, causes, began = 0, Counter(), Counter(), process_time()
        sets = prior.sample(n_spectra, random_state=seed)
        for parameters in sets:
            row = spectrum(case, truth, parameters, other, can, noise, rng)
            error = noise * np.nanstd(row)
            fit = fitted(
                case,
                few if case == "shells" else model,
                measured,
                metal,
                row,
                error[None] if told_noise else None,
            )
            found = fit.verdict_
            told += not found.sound
            if not found.sound:
                first[found[0].about] += 1
                causes[found[0].cause] += 1
        kinds = ", ".join(f"{kind} {n}" for kind, n in first.most_common())
        print(
            f"{name}, {case}: told of {told} of {len(sets)} ({kinds or 'nothing'}), "
            f"{(process_time() - began) / len(sets):.1f} s a spectrum",
            flush=True,
        )
        for cause, n in causes.most_common(3):
            print(f"    {n} x {cause}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("crystals", nargs="*", default=CRYSTALS)
    parser.add_argument("-n", type=int, default=40)
    parser.add_argument("--estimated", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in given.crystals:
        study(name, given.n, not given.estimated, given.seed)


if __name__ == "__main__":
    main()
