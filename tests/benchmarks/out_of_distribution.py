"""How often spectra that were not trained on are told from those that were.

Run with ``python tests/benchmarks/out_of_distribution.py`` (five minutes on one
processor). Needs the published grid and spectra (downloaded, or SKPHONON_DATA) and, for
silicon and germanium, files of phonopy (SKPHONON_DATA).

Extractors learn aluminium spectra that vary as in an experiment, and spectra that do
not. Then come

- new spectra like those of training: p-values, and calls of `transform` that warn;
- foreign spectra of five kinds, by strength: how many are below the default threshold;
- measured spectra, before and after fine-tuning;
- the time of `transform` with and without the check.
"""

import argparse
import copy
import os
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from ase.build import bulk
from ase.calculators.emt import EMT
from sklearn.base import clone

from skphonon import (
    ForceConstantModel,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.learning import OutOfDistributionWarning, Trainer

#: What training spectra vary, where they do.
AUGMENTATION = {
    "energy_resolution": (1.2, 1.9),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.998, 1.02),
    "mean_square_displacement": (0.0, 0.012),
    "background": (0.0, 0.4),
}
NOISE = (0.0, 0.3)
LEVEL = 1e-3  # the default of warn_below
PUBLISHED_RESOLUTION = 1.54, 50.0  # meV, at which incident energy


def training_sets(simulator, n_train, n_new):
    """Yield name, training spectra and new ones like them."""
    n_samples = n_train + n_new
    for name, options in {
        "varied": {"noise": NOISE, "augmentation": AUGMENTATION},
        "as published": {},
    }.items():
        X, _ = make_powder_spectra(simulator, n_samples, random_state=0, **options)
        yield name, X[:n_train], X[n_train:]


def foreign(simulator, n_samples):
    """Return foreign spectra by kind and strength, noisy and varied like the rest."""
    settings = {"noise": NOISE, "random_state": 7, "n_samples": n_samples}

    def spectra(simulator, augmentation, spread=0.5):
        X, _ = make_powder_spectra(
            simulator,
            augmentation={**AUGMENTATION, **augmentation},
            spread=spread,
            **settings,
        )
        return X

    found = {}
    for name, model in crystals().items():
        other = clone(simulator).set_params(model=model)
        found["material", name] = spectra(other, {}, spread=0.1)
    for scale in (1.03, 1.05, 1.1):
        found["lattice", f"x {scale}"] = spectra(simulator, {"lattice_scale": scale})
    for factor in (1.7, 2.0, 3.0):
        stiff = simulator.model.replace(reference=factor * simulator.reference)
        other = clone(simulator).set_params(model=stiff)
        found["constants", f"x {factor}"] = spectra(other, {}, spread=0.1)
    sigma, usual = PUBLISHED_RESOLUTION
    for energy in (60.0, 80.0, 120.0, 200.0):
        width = {"energy_resolution": sigma * energy / usual}
        found["incident energy", f"{energy:.0f} meV"] = spectra(simulator, width)
    for shift in (-3.0, -1.0, 1.0, 2.0, 3.0):
        found["energy shift", f"{shift:+.0f} meV"] = spectra(
            simulator, {"energy_offset": shift}
        )
    alike, _ = make_powder_spectra(simulator, augmentation=AUGMENTATION, **settings)
    return found | disturbed(alike, simulator.grid)


def crystals():
    """Return models of other materials, by name."""
    found = {
        name: ForceConstantModel.from_calculator(bulk(name), EMT(), n_shells=2)
        for name in ("Ag", "Cu", "Ni", "Au")
    }
    folder = Path(os.environ.get("SKPHONON_DATA", ".")) / "phonopy"
    for name, file in {"Si": "phonopy_params_Si.yaml", "Ge": "Ge-phonopy.yaml"}.items():
        if (folder / file).is_file():
            found[name] = ForceConstantModel.from_phonopy(folder / file, n_shells=4)
    return found


def disturbed(alike, grid):
    """Return spectra with an empty can, and with pixels that are dead or hot."""
    rng = np.random.default_rng(0)
    energy, q = grid.axes()
    visible = np.flatnonzero(grid.mask)
    hump = np.exp(-(((energy - 22) / 11) ** 2))[:, None] * (q / q.max()) ** 2
    can = (hump + np.exp(-(energy - energy.min()) / 3)[:, None]).reshape(-1)
    can = (can - can[visible].mean()) / can[visible].std()
    deviation = np.nanstd(alike, axis=1, keepdims=True)
    found = {
        ("empty can", f"{size:g} std"): alike + size * deviation * can
        for size in (0.2, 0.5, 1.0, 2.0)
    }

    def replaced(n_pixels, value):
        X = alike.copy()
        for row in X:
            row[rng.choice(visible, n_pixels, replace=False)] = value * np.nanmax(row)
        return X

    for part in (0.003, 0.01, 0.03, 0.1):
        n_dead = round(part * len(visible))
        found["dead pixels", f"{part:.1%}"] = replaced(n_dead, 0.0)
    for width in (1, 3):
        images = alike.reshape(-1, *grid.shape).copy()
        some = images[:, :, 60 : 60 + width]
        some[~np.isnan(some)] = 0.0
        found["dead |Q|", f"{width} of {len(q)}"] = images.reshape(alike.shape)
    for n_hot in (1, 4):
        found["hot pixels", f"{n_hot}"] = replaced(n_hot, 3.0)
    return found


def false_alarms(extractor, X):
    """Return how often new spectra like those of training are called foreign."""
    p = extractor.score_samples(X)
    row = {f"p < {level:g}": np.mean(p < level) for level in (0.1, 0.01, LEVEL)}
    for size in (1, 7, 100):
        calls = [X[n : n + size] for n in range(0, len(X) - size + 1, size)]
        row[f"calls of {size}"] = np.mean([warns(extractor, call) for call in calls])
    return row


def warns(extractor, X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutOfDistributionWarning)
        extractor.transform(X)
    return bool(caught)


def seconds(extractor, X):
    """Return the shortest of three times that transform takes."""
    times = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDistributionWarning)
        for _ in range(3):
            began = perf_counter()
            extractor.transform(X)
            times.append(perf_counter() - began)
    return min(times)


def slowdown(extractor, X):
    row = {}
    for output in ("mean", "distribution"):
        one = copy.deepcopy(extractor).set_params(output=output)
        checked = seconds(one, X)
        plain = seconds(one.set_params(warn_below=None), X)
        row[output] = f"{checked / plain:.1f} ({1e6 * plain / len(X):.0f} us before)"
    return row


def main(n_train, n_new, n_foreign, epochs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs()
    simulator = PowderSimulator(
        load_aluminium_model(),
        measured.grid,
        energy_resolution=1.54,
        temperature=50.0,
        tolerance=3e-4,
    )
    strange = foreign(simulator, n_foreign)
    alarms, slower, rates, tuning, statistics = {}, {}, {}, [], {}
    for name, X, new in training_sets(simulator, n_train, n_new):
        preprocessor = MaskedSpectrumPreprocessor().fit(X)
        extractor = VAEFeatureExtractor(
            trainer=Trainer(max_epochs=epochs), random_state=0
        )
        extractor.fit(preprocessor.transform(X))
        new = preprocessor.transform(new)
        alarms[name] = false_alarms(extractor, new)
        slower[name] = slowdown(extractor, new)
        inputs = {kind: preprocessor.transform(X) for kind, X in strange.items()}
        tables = {kind: extractor.novelty(X) for kind, X in inputs.items()}
        tables["new", ""] = extractor.novelty(new)
        statistics[name] = pd.DataFrame(
            {kind: table.median() for kind, table in tables.items()}
        ).T
        rows = preprocessor.transform(measured.data)
        ways = {"": extractor}
        for more in (10, 50):
            tuned = copy.deepcopy(extractor).set_params(trainer__fine_tune_epochs=more)
            ways[f"tuned for {more}"] = tuned.partial_fit(rows)
        for way, one in ways.items():
            rates[name, way or "fitted"] = pd.Series(
                {
                    kind: np.mean(one.score_samples(X) < LEVEL)
                    for kind, X in inputs.items()
                }
                | {("new", ""): np.mean(one.score_samples(new) < LEVEL)}
            )
            table = one.novelty(rows)
            table.insert(0, "K", measured.temperature)
            table.insert(0, "p", one.score_samples(rows))
            table.insert(0, "trained on", f"{name} {way}")
            tuning.append(table)
    print(f"\nNew spectra like those of training: part below p, calls that warn\n"
          f"{pd.DataFrame(alarms).T.to_string()}")  # fmt: skip
    print(f"\nPart below {LEVEL}\n{pd.DataFrame(rates).round(2).to_string()}")
    for name, table in statistics.items():
        print(f"\nMedians, trained on {name}\n{table.to_string(float_format='%.2g')}")
    print(f"\nMeasured\n{pd.concat(tuning).to_string(float_format='%.2g')}")
    print(f"\nTime of transform, checked over plain\n{pd.DataFrame(slower).T}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-train", type=int, default=4000)
    parser.add_argument("--n-new", type=int, default=4000)
    parser.add_argument("--n-foreign", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=40)
    main(**vars(parser.parse_args()))
