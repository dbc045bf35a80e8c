"""Simulated triple-axis tables of copper: constants, wrong labels, no spectrum.

    python tests/benchmarks/triple_axis_tables.py [n_tables]

Six shells of Svensson, Brockhouse and Rowe (doi:10.1103/PhysRev.155.619), which
SKPHONON_DATA holds under born-von-karman. Each table has 80 energies with an error of
1 %: with labels, three of them off by one; without labels; without labels and three
energies of nothing. The search begins 25 % off, each constant by a further 20 %.
"""

import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from skphonon import ForceConstantModel
from skphonon.inversion import PhononEnergies, fit_observables

SHELLS = ["110", "200", "211", "220", "310", "222"]
N_VALUES, N_WRONG, ERROR = 80, 3, 0.01
CUBE = 3.61 * np.eye(3)


def copper():
    data = Path(os.environ["SKPHONON_DATA"]) / "born-von-karman" / "constants.csv"
    table = pd.read_csv(data, dtype={"shell": str}).query("table == 'cu_296'")
    elements = table["component"].str.upper().replace("XZ", "XY")  # equal in cubes
    shells = [str(SHELLS.index(shell) + 1) for shell in table["shell"]]
    constants = dict(zip(shells + elements, table["value_N_per_m"], strict=True))
    lattice = 3.61 / 2 * (np.ones((3, 3)) - np.eye(3))
    return ForceConstantModel.from_table(lattice, "Cu", constants, unit="N/m")


def wavevectors(rng):
    """Return half of the wavevectors along symmetry directions, half anywhere."""
    brillouin = rng.integers(0, 3, (N_VALUES, 3))
    centres = brillouin * 2 + (rng.random((N_VALUES, 1)) < 0.5)  # all even or all odd
    axes = np.array([[1, 0, 0], [0.75, 0.75, 0], [0.5, 0.5, 0.5]])  # to the boundary
    along = rng.uniform(0.2, 1, (N_VALUES, 1)) * axes[rng.integers(0, 3, N_VALUES)]
    anywhere = rng.uniform(-1, 1, (N_VALUES, 3))
    within = np.where(np.arange(N_VALUES)[:, None] < N_VALUES // 2, along, anywhere)
    return (centres + within).round(3)


def table_of(model, rng, labelled):
    """Return wavevectors, energies, errors, modes, and rows that are wrong."""
    hkl = wavevectors(rng)
    every = PhononEnergies(model, hkl, np.ones(len(hkl)), 1.0, lattice=CUBE)
    branches = every.branches(model.reference)
    energies, strengths = branches.found.energies, branches.strengths
    seen = np.where(
        strengths > 0.1 * strengths.max(axis=1, keepdims=True), strengths, 0
    )
    modes = np.array([rng.choice(3, p=share / share.sum()) for share in seen])
    rows = np.arange(len(hkl))
    exact = energies[rows, modes]
    std = ERROR * exact
    measured = exact + std * rng.standard_normal(len(hkl))
    wrong = np.zeros(0, dtype=int)
    if labelled == "labels":
        other = np.where(modes == 2, 1, modes + 1)
        apart = np.abs(energies[rows, other] - exact) > 6 * std
        wrong = rng.choice(np.flatnonzero(apart), N_WRONG, replace=False)
        modes[wrong] = other[wrong]
    elif labelled == "spurious":
        drawn = rng.uniform(0.15, 1.0, (200, len(hkl))) * energies.max()
        away = np.abs(drawn[..., None] - energies).min(axis=2) / (ERROR * drawn)
        some = rng.choice(len(hkl), N_WRONG, replace=False)
        for row in some:
            far = np.flatnonzero(away[:, row] > 6)
            if len(far):
                measured[row] = drawn[far[0], row]
                std[row] = ERROR * measured[row]
                wrong = np.append(wrong, row)
    return hkl, measured, std, modes, wrong


def study(model, kind, n_tables):
    pulls, chi2, seconds, counts = [], [], [], Counter()
    for seed in range(n_tables):
        rng = np.random.default_rng(seed)
        hkl, energies, std, modes, wrong = table_of(model, rng, kind)
        start = (
            0.75
            * model.reference
            * (1 + 0.2 * rng.standard_normal(len(model.reference)))
        )
        begun = time.perf_counter()
        given = modes if kind == "labels" else None
        table = PhononEnergies(model, hkl, energies, std, modes=given, lattice=CUBE)
        fit = fit_observables(model, table, initial=start)
        named = set(fit.outliers["row"])
        seconds.append(time.perf_counter() - begun)
        pulls.append((fit.parameters - model.reference) / fit.std)
        chi2.append(fit.reduced_chi2)
        counts["wrong"] += len(wrong)
        counts["named"] += len(named & set(wrong))
        counts["tables with false names"] += bool(named - set(wrong))
        right = table.assigned_modes(model.reference)
        counts["other branch"] += int((fit.table()["branch"] != right).sum())
    pulls = np.array(pulls)
    print(
        f"{kind:>9}: within one std {(np.abs(pulls) < 1).mean():.3f}, "
        f"within three {(np.abs(pulls) < 3).mean():.4f} "
        f"(worst {np.abs(pulls).max():.2f}), rms pull {(pulls**2).mean() ** 0.5:.3f}, "
        f"chi2/n {np.mean(chi2):.3f} (largest {np.max(chi2):.2f}), {dict(counts)}, "
        f"{np.mean(seconds):.2f} s a fit (longest {np.max(seconds):.2f})"
    )
    return pulls


if __name__ == "__main__":
    crystal = copper()
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for each in ("labels", "none", "spurious"):
        study(crystal, each, number)
