"""Priors of universal force fields beside first-principles constants they never saw.

Run with ``python tests/benchmarks/force_field_priors.py [Ge] [Si] [NaCl] [supercells]``
(minutes each; all of them if none is named). Needs the extra ``mlff`` and SKPHONON_DATA
with phonopy's examples.

For each crystal: what dropping shells costs; each checkpoint that SevenNet ships,
beside the truth in the same shells, as it is and with its softening learned from the
optical energy at the zone centre alone; and where the true constants lie in the
distribution.
The prior goes to --folder, corrected (``priors_<crystal>.joblib``) and as it was
(``priors_<crystal>_raw.joblib``). The reference of its model is its mean: nothing in it
but the softening knows the truth. The dispersion error is the root mean square over all
modes of the standard path, in meV and in % of the highest true energy there.
``supercells`` compares forces on supercells of germanium of 16 to 128 atoms.
"""

import argparse
import os
import warnings
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
from scipy.stats import chi2

from skphonon import ForceConstantModel
from skphonon.datasets import sample_force_constants
from skphonon.inspection import high_symmetry_path

CHECKPOINTS = [
    "7net-0_22May2024",
    "7net-0",
    "7net-mf-0:PBE",
    "7net-mf-0:R2SCAN",
    "7net-l3i5",
]
FILES = {
    "Ge": ("Ge-phonopy.yaml", "Ge-force_constants.hdf5"),
    "Si": ("phonopy_params_Si.yaml", None),
    "NaCl": ("phonopy_params_NaCl-1.00.yaml.xz", None),
}
#: Shells to keep (None: all that the supercell of the truth holds), strains and
#: displaced supercells; rock salt has 64 atoms in its supercell, the others 16.
SETTINGS = {
    "Ge": (None, (-0.02, -0.01, 0.0, 0.01, 0.02), 4),
    "Si": (None, (-0.02, -0.01, 0.0, 0.01, 0.02), 4),
    "NaCl": (6, (-0.02, 0.0, 0.02), 2),
}
TEMPERATURES = (0.0, 300.0)
POINTS = 51  # of a segment of the path
PARTS = [*FILES, "supercells"]


def main():
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, default=Path("force_field_priors"))
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    warnings.filterwarnings("ignore", message="No tensor product accelerator")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts or PARTS:
        if part == "supercells":
            compare_supercells(arguments.folder)
        else:
            study(part, arguments.folder)


def study(name, folder):
    """Make the prior of a crystal and compare it with the truth."""
    n_shells, strains, n_displacements = SETTINGS[name]
    full, truth = read(name), read(name, n_shells)
    path = points(full)
    energies = full.frequencies(full.reference[None], path)[0]
    print(
        f"\n{name}: {len(full.parameter_names)} constants in the data, energies up to"
    )
    print(f"{energies.max():.2f} meV on the path. Dispersion error of fewer shells:")
    for n in range(1, len(set(lengths(full))) + 1):
        print_truncated(name, n, energies, path)
    start = perf_counter()
    raw = sample_force_constants(
        CHECKPOINTS,
        truth,
        strains=strains,
        temperatures=TEMPERATURES,
        n_displacements=n_displacements,
        cache=folder / "cache",
        random_state=0,
        verbose=1,
    )
    print(f"{len(raw.table)} states in {perf_counter() - start:.0f} s (0: cached)")
    centre = truth.frequencies(truth.reference[None], [[0, 0, 0]])[0]
    centre[:, :3] = np.nan
    prior = raw.rescaled(raw.learn_softening([[0, 0, 0]], centre))
    print_checkpoints(raw, prior, truth, path)
    for which, one in (("as given", raw), ("softening learned", prior)):
        print(f"\nDistribution, {which}:")
        print_place(one, truth, path)
        one.model = one.model.replace(reference=one.mean_)
    joblib.dump(raw, folder / f"priors_{name}_raw.joblib")
    joblib.dump(prior, folder / f"priors_{name}.joblib")


def compare_supercells(folder):
    """Compare constants from the forces on supercells of different size."""
    model = read("Ge")
    path, found = points(model), {}
    print("\nGe, 7net-0, 0 K, no strain: dispersion beside that of 128 atoms")
    for multiple in (4, 3, 2):
        prior = sample_force_constants(
            "7net-0",
            model,
            supercell=3 * [multiple],
            strains=[0.0],
            cache=folder / "cache",
            random_state=0,
        )
        found[multiple] = model.frequencies(prior.constants_, path)[0]
        print(f"{2 * multiple**3:4d} atoms: {difference(found[multiple], found[4])}")


def read(name, n_shells=None):
    """Read the first-principles constants of a crystal."""
    folder = Path(os.environ["SKPHONON_DATA"]) / "phonopy"
    file, constants = FILES[name]
    return ForceConstantModel.from_phonopy(
        folder / file,
        n_shells=n_shells,
        force_constants=None if constants is None else folder / constants,
    )


def points(model):
    """Return points along the standard path, (n_points, 3), none at the zone centre."""
    share = (np.arange(POINTS)[:, None] + 0.5) / POINTS
    return np.concatenate(
        [
            start + share * (end - start)
            for line in high_symmetry_path(model)
            for (_, start), (_, end) in pairwise(line)
        ]
    )


def lengths(model):
    return np.linalg.norm(model.bonds, axis=1).round(4)


def difference(energies, truth):
    """Return the root mean square difference of energies as text."""
    error = np.sqrt(((energies - truth) ** 2).mean())
    return f"{error:6.2f} meV, {100 * error / truth.max():5.1f} %"


def print_truncated(name, n_shells, energies, path):
    try:
        model = read(name, n_shells)
    except ValueError:  # beyond the supercell, which holds parts of farther shells
        return
    found = model.frequencies(model.reference[None], path)[0]
    print(
        f"  {n_shells:2d} shells, {lengths(model)[-1]:.2f} Angstrom, "
        f"{len(model.parameter_names):2d} constants: {difference(found, energies)}"
    )


def print_checkpoints(raw, prior, truth, path):
    """Print the dispersion error of every unstrained state, as it is and corrected."""
    energies = truth.frequencies(truth.reference[None], path)[0]
    print(f"\n{'':18s}{'T / K':>6s}{'lattice':>9s}{'softening':>10s}", end="")
    print(f"{'as given':>19s}{'softening learned':>19s}")
    for number, row in raw.table.query("strain == 0").iterrows():
        scale = prior.table["scale"][number]
        print(f"{row['calculator']:18s}{row['temperature']:6.0f}", end="")
        print(f"{row['lattice_scale']:9.4f}{1 / scale:10.3f}", end="")
        for one in (raw, prior):
            found = truth.frequencies(one.constants_[number][None], path)[0]
            print(difference(found, energies).rjust(19), end="")
        print()


def print_place(prior, truth, path):
    """Print where the truth lies in a distribution."""
    deviation = np.sqrt(np.diag(prior.covariance_))
    off = truth.reference - prior.mean_
    print(f"{'':14s}{'truth':>9s}{'mean':>9s}{'std':>9s}{'off/std':>9s}")
    for name, *values in zip(
        prior.parameter_names,
        truth.reference,
        prior.mean_,
        deviation,
        off / deviation,
        strict=True,
    ):
        print(f"{name:14s}" + "".join(f"{value:9.4f}" for value in values))
    distance = off @ np.linalg.solve(prior.covariance_, off)
    farther = chi2.sf(distance, len(off))
    stable = truth.is_stable(prior.sample(1000, stable=False, random_state=0)).mean()
    draws = truth.frequencies(prior.sample(200, random_state=0), path)
    energies = truth.frequencies(truth.reference[None], path)[0]
    errors = np.sqrt(((draws - energies) ** 2).mean(axis=(1, 2))) / energies.max()
    print(
        f"Share of the distribution farther out than the truth: {100 * farther:.1f} % "
        f"(Mahalanobis distance {np.sqrt(distance):.2f}, {len(off)} constants).\n"
        f"Draws: {100 * stable:.0f} % stable; dispersion error of 200 stable ones "
        f"{100 * errors.min():.1f} to {100 * errors.max():.1f} %, median "
        f"{100 * np.median(errors):.1f} %."
    )


if __name__ == "__main__":
    main()
