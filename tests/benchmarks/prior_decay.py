"""How fast force constants fall with distance, and what ShellPrior makes of it.

Run with ``python tests/benchmarks/prior_decay.py`` and SKPHONON_DATA set (seconds). The
crystals are 36 elements of Born-von Karman tables, fitted to measured dispersions, and
phonopy calculations. Distances and sizes are in units of those of the strongest shell;
the size of a shell is the root mean square of its tensor over three directions.

The first table is of sizes by distance. The second takes shells up to 1.2 times the
distance of the strongest as known. It counts which share of the constants beyond them
(elements of tensors) lies within one and two standard deviations of `ShellPrior`, by
`decay` and `independent`. Each crystal has the same weight. A normal distribution has
0.68 and 0.95. The likelihood is the mean logarithm of the density of a constant. The
last tables are of kinds of crystals and single ones, with the default values.
"""

import inspect
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from skphonon import ForceConstantModel
from skphonon.physics import ShellPrior

DATA = Path(os.environ.get("SKPHONON_DATA", "."))
FILES = {
    "Si": ("phonopy_params_Si.yaml", None),
    "Ge": ("Ge-phonopy.yaml", "Ge-force_constants.hdf5"),
    "NaCl": ("phonopy_params_NaCl-1.00.yaml.xz", None),
    "CaHgO2": ("CaHgO2-mp-7041.yaml", None),
    "quartz": ("quartz.yaml", "quartz-force_constants.hdf5"),
    "La2Zr2O7": ("La2Zr2O7.yaml", "La2Zr2O7-force_constants.hdf5"),
}
CUTOFF = 6.1  # Angstrom, of crystals of many atoms
BINS = [1.001, 1.2, 1.5, 1.8, 2.2, 2.6, 3.0, 4.0, 6.0]
DECAYS = [2.0, 2.5, 3.0, 3.5, 4.0]
NEAR = 1.2  # no model leaves out shells as near as the strongest
WIDTHS = [0.2, 0.25, 0.3, 0.35, 0.4, 0.5]


def main():
    """Print the tables."""
    crystals = {**tables(), **calculations()}
    print(sizes(crystals).to_string(float_format="%.3f"), "\n")
    rows = [
        {"decay": decay, "independent": width, **calibration(crystals, decay, width)}
        for decay in DECAYS
        for width in WIDTHS
    ]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"), "\n")
    arguments = inspect.signature(ShellPrior).parameters
    decay, width = (arguments[n].default for n in ("decay", "independent"))
    alone = {
        name: calibration({name: shells}, decay, width)
        for name, shells in crystals.items()
    }
    alone = pd.DataFrame(alone).T
    kinds = [n.split()[0] if n[:7] != "phonopy" else n for n in alone.index]
    print(f"decay={decay}, independent={width}")
    print(alone.groupby(kinds).mean().to_string(float_format="%.3f"), "\n")
    print(alone.to_string(float_format="%.3f"))


def tables():
    """Return the shells of each table: distance, elements and their covariance."""
    folder = DATA / "born-von-karman"
    constants = pd.read_csv(folder / "constants.csv", dtype={"shell": str})
    cells = pd.read_csv(folder / "tables.csv").set_index("table")
    found = {}
    for table, rows in constants.groupby("table"):
        own = cells.loc[table]
        hexagonal = len(rows["shell"].iloc[0]) == 1
        kind = "hcp" if hexagonal else own["lattice"].replace("hcp", "fcc")
        shells = []
        for label, values in rows.groupby("shell", sort=False):
            bond = bond_of(label, own["a_A"], own["c_A"], kind)
            elements = dict(
                zip(values["component"], values["value_N_per_m"], strict=True)
            )
            shells.append(shell_of(bond, elements, cubic=kind in ("fcc", "bcc")))
        found[f"{kind} {table}"] = shells
    return found


def bond_of(label, a, c, kind):
    """Return the vector of a shell, as its table numbers it."""
    if kind == "hcp":
        root = 3**0.5
        between = {"1": 1 / root, "3": 2 / root, "5": (7 / 3) ** 0.5}
        inside = {"2": (0, a, 0), "4": (0, 0, c), "6": (0, root * a, 0)}
        beyond = {"7": (a, 0, c), "8": (2 * a, 0, 0)}
        if label in between:
            return np.array([between[label] * a, 0, c / 2])
        return np.array({**inside, **beyond}[label], dtype=float)
    ratio = c / a if kind == "fct" else 1.0
    return np.array([int(digit) for digit in label]) * [1, 1, ratio]


def shell_of(bond, elements, cubic):
    """Return distance, independent elements of the tensor, and how often each occurs.

    Radial and tangential springs count as elements.
    """
    distance = np.linalg.norm(bond)
    if "f_r" in elements:
        values = [elements["f_r"], elements.get("f_t", 0.0)]
        return distance, np.array(values), np.diag([1.0, 2.0])
    if "C_Bx" in elements:
        elements = of_modified_springs(bond / distance, elements)
    lengths, occurs = np.abs(bond), []
    for name in elements:
        i, j = ("xyz".index(axis) for axis in name)
        if not cubic:
            occurs.append(1 if i == j else 2)
        elif i == j:
            occurs.append((lengths == lengths[i]).sum())
        else:
            wanted = sorted(lengths[[i, j]])
            occurs.append(
                sum(
                    sorted(lengths[[k, m]]) == wanted
                    for k in range(3)
                    for m in range(3)
                    if k != m
                )
            )
    return distance, np.array([*elements.values()]), np.diag(np.array(occurs, float))


def of_modified_springs(direction, elements):
    """Return elements of the modified axially symmetric model, K and C_B."""
    x, y, z = direction
    flat, upright = elements["C_Bx"], elements.get("C_Bz")
    spring = elements.get("K", 0.0)
    if upright is None:  # along z, where only the sum is known
        return {"xx": flat, "zz": elements["K + C_Bz"]}
    found = {
        "xx": spring * x * x + flat,
        "yy": spring * y * y + flat,
        "zz": spring * z * z + upright,
    }
    return found if abs(x * z) < 1e-9 else {**found, "xz": spring * x * z}


def calculations():
    """Return the shells of the calculations."""
    found = {}
    for name, (file, constants) in FILES.items():
        folder = DATA / "phonopy"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = ForceConstantModel.from_phonopy(
                folder / file,
                force_constants=constants and folder / constants,
                cutoff=CUTOFF if name in ("quartz", "La2Zr2O7") else None,
            )
        crystal, start = model._crystal, 0
        elements, shells = crystal.rule @ model.reference, []
        for shell in crystal.shells:
            stop, flat = start + len(shell.elements), shell.tensors[:, 0].reshape(-1, 9)
            distance = np.linalg.norm(shell.bonds[0])
            shells.append((distance, elements[start:stop], flat @ flat.T))
            start = stop
        found[f"phonopy {name}"] = shells
    return found


def relative(shells):
    """Return distances and sizes in units of those of the strongest shell, and more."""
    size = [np.sqrt(values @ products @ values / 3) for _, values, products in shells]
    strongest = int(np.argmax(size))
    scale, unit = size[strongest], shells[strongest][0]
    return [
        (distance / unit, own / scale, values / scale, products)
        for own, (distance, values, products) in zip(size, shells, strict=True)
        if distance > unit * BINS[0]
    ]


def sizes(crystals):
    """Return root mean squares of sizes in bins of distance, by kind of crystal."""
    rows = [
        (name.split()[0] if name[:7] != "phonopy" else name, distance, size**2)
        for name, shells in crystals.items()
        for distance, size, *_ in relative(shells)
    ]
    rows = pd.DataFrame(rows, columns=["kind", "distance", "square"])
    rows["distance"] = pd.cut(rows["distance"], BINS)
    found = rows.groupby(["kind", "distance"], observed=True)["square"].mean() ** 0.5
    return found.unstack("distance")


def calibration(crystals, decay, width):
    """Return shares of constants within one and two deviations, and the likelihood."""
    figures = []
    for shells in crystals.values():
        scores, densities = [], []
        for distance, _, values, products in relative(shells):
            if distance < NEAR:
                continue
            variance = 3 / len(values) * (width * distance**-decay) ** 2
            spread = np.sqrt(variance * np.linalg.inv(products).diagonal())
            scores.append(values / spread)
            densities.append(-np.log(spread) - (values / spread) ** 2 / 2)
        score = np.abs(np.concatenate(scores))
        density = np.concatenate(densities).mean() - np.log(2 * np.pi) / 2
        figures.append([(score < 1).mean(), (score < 2).mean(), density, len(score)])
    means = np.mean(figures, axis=0)
    names = ["within 1", "within 2", "likelihood", "constants"]
    return dict(zip(names, means, strict=True))


if __name__ == "__main__":
    main()
