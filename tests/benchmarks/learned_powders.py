"""The network on measured powder spectra, beside least squares.

Run with ``python tests/benchmarks/learned_powders.py [part ...]``; needs SKPHONON_DATA.
Training with its simulations takes about four minutes on two quiet cores, once for
`measured`, `simulated`, `tuned` and `foreign` together. Without parts named all run but
`kinds`.

measured
    Spectra of aluminium (ARCS): constants with errors, the misfit of each prediction,
    simulated at the true temperature with the nuisances predicted along (scale and a
    background of degree 3 fitted), least squares with the same nuisances, slopes of 1XY
    over temperature, and p-values of the novelty test.
simulated
    1,000 new spectra: how often 68 and 95 % bars hold, also level by level of noise,
    R^2 of the constants with all that was drawn, and at 5 % noise without ripples,
    beside ridge regression on clean spectra.
ingredients
    The same figures with one ingredient left out at a time (a training each).
tuned
    Fine-tuned on three measured spectra, tested on the fourth; and on simulated ones
    with a misfit planted that no training spectrum has.
foreign
    How often the novelty test at 1 % calls spectra foreign: new ones, other materials,
    another incident energy, noise alone.
mari
    Aluminium on MARI at 5 K, a network trained for it: energies at X and L.
kinds
    The pipeline with each of four extractors, dense or convolutional, deterministic or
    variational, from 5,000 training spectra: misfit of the measured spectra, time, R^2
    of the constants, and of ridge regression on codes, pixels and principal components,
    with all that was drawn and at 2 % noise without ripples.
"""

import argparse
import os
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skphonon
from skphonon import (
    AEFeatureExtractor,
    ForceConstantRegressor,
    LeastSquaresInverter,
    MaskedSpectrumPreprocessor,
    PowderSimulator,
    SpectrumGrid,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    make_powder_spectra,
)
from skphonon.instrument.holders import holder_model
from skphonon.learning import Convolutional, Trainer, fine_tune
from skphonon.metrics import ResimulationScorer
from skphonon.simulation import Scattering

PARTS = ("measured", "simulated", "ingredients", "tuned", "foreign", "mari")
#: What differs between measurements, beside noise; a background is projected out.
AUGMENTATION = {
    "temperature": (40.0, 680.0),
    "energy_resolution": (0.9, 2.5),
    "energy_resolution_slope": (-0.2, 1.4),
    "q_resolution": (0.03, 0.12),
    "lattice_scale": (0.98, 1.01),
    "mean_square_displacement": (-0.002, 0.008),
    "ripples": (0.0, 0.3),
}
NOISE = (0.02, 0.4)
#: The same without ripples.
QUIET = {name: pair for name, pair in AUGMENTATION.items() if name != "ripples"}
NUISANCES = [name for name in AUGMENTATION if name not in ("temperature", "ripples")]
N_TRAIN, N_TEST = 10_000, 1_000
N_KINDS = 5_000
#: Whether they are convolutional, and variational.
KINDS = {
    "FC-AE": (False, False),
    "FC-VAE": (False, True),
    "CNN-AE": (True, False),
    "CNN-VAE": (True, True),
}
DEGREE = 3
KEYWORD = "forceconstantregressor__nuisance"


def stable_sets(model, n_samples, seed):
    """Draw constants of stable crystals about the reference.

    Within half their size, and 2YY, far smaller than 2XX, within 0.4 of that.
    """
    rng = np.random.default_rng(seed)
    half = 0.5 * np.abs(model.reference)
    half[4] = 0.4 * model.reference[3]
    rows = model.reference + half * rng.uniform(-1, 1, (2 * n_samples, half.size))
    return rows[model.is_stable(rows)][:n_samples]


def spectra(simulator, n_samples, seed, augmentation=AUGMENTATION, noise=NOISE):
    """Return spectra with their temperatures, constants and what was drawn."""
    X, y, drawn = make_powder_spectra(
        simulator,
        parameters=stable_sets(simulator.model, n_samples, seed),
        noise=noise,
        augmentation=augmentation,
        return_augmentation=True,
        random_state=seed,
        n_jobs=-1,
    )
    return np.column_stack([X, drawn["temperature"]]).astype(np.float32), y, drawn


def pipeline(
    grid, *, components=False, background=DEGREE, temperature=True, noise=True
):
    """Return the pipeline, or one of its relatives."""
    extractor = VAEFeatureExtractor(
        n_components=50,
        kl_weight=1e-5,
        noise=0.1,
        output="distribution",
        trainer=Trainer(max_epochs=40),
        warn_below=None,
        random_state=0,
    )
    return make_pipeline(
        MaskedSpectrumPreprocessor(
            "standard",
            background=background,
            grid=grid,
            n_conditions=int(temperature),
            noise=noise,
        ),
        PCA(64, random_state=0) if components else extractor,
        ForceConstantRegressor(
            latent="codes" if components else "distribution",
            loss="likelihood",
            noise=0.3,
            trainer=Trainer(max_epochs=40),
            random_state=0,
        ),
    )


def trained(simulator, data, **options):
    """Return a fitted pipeline, and print how long it took."""
    began = perf_counter()
    X, y, drawn = data
    temperature = options.get("temperature", True)
    inverter = pipeline(simulator.grid, **options)
    inverter.fit(X if temperature else X[:, :-1], y, **{KEYWORD: drawn[NUISANCES]})
    print(f"  trained in {perf_counter() - began:.0f} s", flush=True)
    return inverter


def slope(temperature, values, std):
    """Return the slope of a straight line per 100 K, and its error."""
    weight = 1 / np.square(std)
    off = temperature - np.average(temperature, weights=weight)
    size = (weight * off**2).sum()
    return 100 * (weight * off * values).sum() / size, 100 / np.sqrt(size)


def on_measured(inverter, simulator, measured, temperature=True):
    """Return misfits, constants and errors of measured spectra."""
    kelvin = measured.temperature
    X = np.column_stack([measured.data, kelvin]).astype(np.float32)
    if temperature:
        scorer = ResimulationScorer(
            simulator, background=DEGREE, nuisance=True, conditions=("temperature",)
        )
        misfits = scorer.misfits(inverter, X)
    else:
        X = X[:, :-1]
        misfits = [
            ResimulationScorer(
                clone(simulator).set_params(temperature=float(each)),
                background=DEGREE,
                nuisance=True,
            ).misfits(inverter, row[None])[0]
            for row, each in zip(X, kelvin, strict=True)
        ]
    return np.array(misfits), *inverter.predict(X, return_std=True)


def p_values(inverter, X):
    """Return p-values of the novelty test."""
    return inverter[1].score_samples(inverter[0].transform(X))


def least_squares(simulator, measured):
    """Return misfits, constants and errors of least squares, each temperature alone."""
    found = []
    for row, kelvin in zip(measured.data, measured.temperature, strict=True):
        at = clone(simulator).set_params(temperature=float(kelvin))
        inverter = LeastSquaresInverter(
            at,
            nuisance={
                "energy_resolution": (0.9, 3.0),
                "energy_resolution_slope": (-0.2, 1.5),
                "q_resolution": (0.01, 0.2),
                "lattice_scale": (0.97, 1.03),
                "mean_square_displacement": (-0.004, 0.02),
            },
            background=DEGREE,
        ).fit(row[None])
        values, std = inverter.predict(row[None], return_std=True)
        found.append((inverter.fits_[0].figures["loss"], values[0], std[0]))
    return [np.array(each) for each in zip(*found, strict=True)]


def table(name, temperature, misfits, values, std):
    """Print misfits and constants."""
    told = " ".join(f"{each:.3f}" for each in misfits)
    print(f"  {name}: NMSE {told}, mean {np.mean(misfits):.4f}")
    for kelvin, row, error in zip(temperature, values, std, strict=True):
        pairs = zip(row, error, strict=True)
        print(f"    {kelvin:.0f} K " + " ".join(f"{v:+.3f}({s:.3f})" for v, s in pairs))
    print(
        "    1XY by 100 K: {:+.4f}({:.4f})".format(
            *slope(temperature, values[:, 2], std[:, 2])
        ),
        flush=True,
    )


def show_measured(inverter, simulator, measured):
    """Print what network and least squares say of the measured spectra."""
    kelvin = measured.temperature
    of_network = on_measured(inverter, simulator, measured)
    of_fits = least_squares(simulator, measured)
    table("network", kelvin, *of_network)
    table("least squares", kelvin, *of_fits)
    off = (of_network[1] - of_fits[1]) / np.hypot(of_network[2], of_fits[2])
    print(f"  largest difference in combined deviations: {np.abs(off).max():.2f}")
    X = np.column_stack([measured.data, kelvin]).astype(np.float32)
    print(f"  p-values: {np.round(p_values(inverter, X), 4)}", flush=True)


def show_simulated(inverter, simulator):
    """Print coverage and R^2 of new spectra."""
    X, y, _ = spectra(simulator, N_TEST, 1)
    values, std = inverter.predict(X, return_std=True)
    z = np.abs(values - y) / std
    inside = [(z < width).mean(axis=0).round(3) for width in (1.0, 1.96)]
    print(f"  within 68 % bars {inside[0]}, 95 % {inside[1]}")
    print(f"  R^2 {r2_score(y, values, multioutput='raw_values').round(3)}")
    for noise in (0.02, 0.1, 0.4):
        X, y, _ = spectra(simulator, N_TEST, 11, noise=noise)
        values, std = inverter.predict(X, return_std=True)
        inside = (np.abs(values - y) < std).mean(axis=0)
        print(f"  within 68 % bars at a noise of {noise}: {inside.round(3)}")
    X, y, _ = spectra(simulator, N_TEST, 2, QUIET, noise=0.05)
    at_noise = r2_score(y, inverter.predict(X), multioutput="raw_values")
    print(f"  R^2 at 5 % noise, no ripples {at_noise.round(3)}")
    clean, y_clean, _ = spectra(simulator, 4 * N_TEST, 3, QUIET, noise=0.0)
    ridge = make_pipeline(clone(inverter[0]), Ridge(1.0))
    ridge.fit(clean[:-N_TEST], y_clean[:-N_TEST])
    found = ridge.predict(clean[-N_TEST:])
    score = r2_score(y_clean[-N_TEST:], found, multioutput="raw_values")
    print(f"  R^2 of ridge on clean spectra {score.round(3)}", flush=True)


def show_ingredients(simulator, data, measured):
    """Print the misfit with one ingredient left out at a time."""
    kelvin = measured.temperature
    _, y, _ = data
    bare = {"temperature": AUGMENTATION["temperature"]}
    cases = {
        "all": (data, {}),
        "principal components": (data, {"components": True}),
        "no projection": (data, {"background": None}),
        "no temperature": (data, {"temperature": False}),
        "no level of noise": (data, {"noise": False}),
        "no ripples": (
            lambda: spectra(
                simulator,
                len(y),
                0,
                QUIET,
            ),
            {},
        ),
        "no noise, no ripples": (
            lambda: spectra(
                simulator,
                len(y),
                0,
                QUIET,
                noise=0.0,
            ),
            {},
        ),
        "nuisances held": (lambda: spectra(simulator, len(y), 0, bare), {}),
    }
    for name, (given, options) in cases.items():
        given = given() if callable(given) else given
        if name == "nuisances held":
            inverter = pipeline(simulator.grid).fit(given[0], given[1])
            at = ResimulationScorer(
                simulator, background=DEGREE, conditions=("temperature",)
            )
            X = np.column_stack([measured.data, kelvin]).astype(np.float32)
            found = at.misfits(inverter, X), *inverter.predict(X, return_std=True)
        else:
            inverter = trained(simulator, given, **options)
            found = on_measured(
                inverter, simulator, measured, options.get("temperature", True)
            )
        print(
            f"  {name}: NMSE {np.mean(found[0]):.4f}, 1XY "
            f"{found[1][:, 2].round(3)}, by 100 K "
            "{:+.4f}({:.4f})".format(*slope(kelvin, found[1][:, 2], found[2][:, 2])),
            flush=True,
        )


def show_tuned(inverter, simulator, data, measured):
    """Print misfits of a held-back spectrum, before and after fine-tuning."""
    X, y, drawn = data
    kelvin = measured.temperature
    rows = np.column_stack([measured.data, kelvin]).astype(np.float32)
    before = on_measured(inverter, simulator, measured)[0]
    after = []
    for number in range(len(rows)):
        others = np.delete(rows, number, axis=0)
        tuned = fine_tune(inverter, others, X, y, **{KEYWORD: drawn[NUISANCES]})
        after.append(on_measured(tuned, simulator, measured[number])[0][0])
    print(
        f"  measured, held back: before {before.round(4)}, after {np.round(after, 4)}"
    )
    new, true, _ = spectra(simulator, 60, 9)
    planted = new.copy()
    grid = simulator.grid
    energy = np.meshgrid(*grid.axes(), indexing="ij")[0].ravel()
    wave = np.cos(2 * np.pi * energy / 12.0)  # no polynomial, in no training spectrum
    planted[:, :-1] += 0.25 * np.nanstd(new[:, :-1], axis=1, keepdims=True) * wave
    tuned = fine_tune(inverter, planted[:40], X, y, **{KEYWORD: drawn[NUISANCES]})
    for name, each in (("before", inverter), ("after", tuned)):
        error = np.abs(each.predict(planted[40:]) - true[40:]).mean(axis=0)
        clean = np.abs(each.predict(new[40:]) - true[40:]).mean(axis=0)
        print(
            f"  planted, {name}: mean error {error.round(4)}, without the misfit "
            f"{clean.round(4)}",
            flush=True,
        )


def show_foreign(inverter, simulator):
    """Print how often spectra are called foreign."""
    new = spectra(simulator, 500, 5)[0]
    rng = np.random.default_rng(0)

    def of(model):
        """Return spectra of another material."""
        other = clone(simulator).set_params(model=model)
        X, _, drawn = make_powder_spectra(
            other,
            parameters=np.tile(model.reference, (100, 1)),
            noise=(0.02, 0.2),
            augmentation=QUIET,
            return_augmentation=True,
            random_state=0,
        )
        return np.column_stack([X, drawn["temperature"]]).astype(np.float32)

    shifted = {**AUGMENTATION, "energy_scale": (1.3, 1.3), "q_scale": (1.15, 1.15)}
    noise = new[:100].copy()
    noise[:, :-1] = np.where(np.isnan(noise[:, :-1]), np.nan, 1) * rng.normal(
        size=noise[:, :-1].shape
    )
    for name, X in (
        ("new spectra", new),
        ("copper", of(holder_model("copper"))),
        ("energies 30 % off", spectra(simulator, 100, 6, shifted, (0.02, 0.2))[0]),
        ("noise", noise),
    ):
        p = p_values(inverter, X)
        print(f"  {name}: {np.mean(p < 0.01):.3f} called foreign", flush=True)


def show_mari():
    """Print energies of aluminium on MARI by a network trained for it."""
    run = skphonon.read(Path(os.environ["SKPHONON_DATA"]) / "mari/aluminium_Ei60.nxspe")
    cubic = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    found = skphonon.calibrate(run, (4.032 * np.eye(3), cubic, "Al"))
    grid = SpectrumGrid(np.arange(8, 45, 0.5), np.arange(1.5, 8.5, 0.1))
    measured = skphonon.reduce_powder(found.measurement, grid).replace(temperature=5.0)
    simulator = PowderSimulator.from_measurement(
        load_aluminium_model(),
        measured,
        scattering=Scattering(incoherent=True, n_phonons=2),
        energy_resolution=1.5,
        tolerance=1e-3,
    )
    ranges = {**AUGMENTATION, "temperature": (4.0, 6.0), "lattice_scale": (0.99, 1.01)}
    ranges |= {"holder of aluminium": (0.0, 0.2)}
    data = spectra(simulator, N_TRAIN, 0, ranges)
    # an elastic tail is no polynomial: the window begins above it
    inverter = trained(simulator, data)
    misfits, values, std = on_measured(inverter, simulator, measured)
    model = simulator.model
    points = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]
    rng = np.random.default_rng(0)
    draws = values + std * rng.normal(size=(400, values.shape[1]))
    energies = np.sort(model.frequencies(np.vstack([values, draws]), points), axis=2)
    middle, spread = energies[0], energies[1:].std(axis=0)
    told = [
        f"{middle[i, j]:.1f}({spread[i, j]:.1f})"
        for i, j in ((0, 0), (0, 2), (1, 0), (1, 2))
    ]
    X = np.column_stack([measured.data, measured.temperature]).astype(np.float32)
    print(
        f"  X {told[0]} {told[1]} (24.0 40.1), L {told[2]} {told[3]} (17.3 40.1), NMSE "
        f"{misfits[0]:.3f}, p {p_values(inverter, X)[0]:.3f}"
    )


def of_kind(grid, convolutional, variational):
    """Return the pipeline with an extractor of a kind."""
    preprocessor, extractor, regressor = pipeline(grid).named_steps.values()
    shared = {"noise": 0.1, "warn_below": None, "random_state": 0}
    shared["trainer"] = Trainer(max_epochs=40)
    if convolutional:  # smaller than by default: four times faster
        shared["network"] = Convolutional(grid, filters=(8, 16, 32), hidden_size=100)
        shared["trainer"] = Trainer(max_epochs=40, lr=2e-3)
    if variational:
        extractor.set_params(**shared)
    else:
        extractor = AEFeatureExtractor(50, **shared)
        regressor.set_params(latent="codes")
    return make_pipeline(preprocessor, extractor, regressor)


def ridge_scores(train, y_train, test, y_test):
    """Return R^2 of ridge regression, its penalty chosen for each constant."""
    ridge = make_pipeline(
        StandardScaler(), RidgeCV(np.logspace(-2, 4, 7), alpha_per_target=True)
    )
    found = ridge.fit(train, y_train).predict(test)
    return r2_score(y_test, found, multioutput="raw_values").round(3)


def show_kinds(simulator, measured):
    """Print what each kind of extractor brings, and what its codes still tell."""
    X, y, drawn = spectra(simulator, N_KINDS, 0)
    new, true, _ = spectra(simulator, N_TEST, 1)
    quiet, y_quiet, _ = spectra(simulator, 4 * N_TEST, 3, QUIET, noise=NOISE[0])

    def ridges(transform):
        """Print scores on all that was drawn, and at low noise without ripples."""
        train, test, low = (transform(each) for each in (X, new, quiet))
        found = [
            ridge_scores(train, y, test, true),
            ridge_scores(
                low[:-N_TEST], y_quiet[:-N_TEST], low[-N_TEST:], y_quiet[-N_TEST:]
            ),
        ]
        print(f"    ridge {found[0]}, at 2 % noise, no ripples {found[1]}", flush=True)

    prepared = pipeline(simulator.grid)[0].fit(X)
    print("  pixels")
    ridges(prepared.transform)
    for n_components in (50, 200):
        print(f"  {n_components} principal components")
        components = PCA(n_components, random_state=0)
        ridges(make_pipeline(prepared, components).fit(X).transform)
    for name, kind in KINDS.items():
        began = perf_counter()
        inverter = of_kind(simulator.grid, *kind)
        inverter.fit(X, y, **{KEYWORD: drawn[NUISANCES]})
        seconds = perf_counter() - began
        misfit = on_measured(inverter, simulator, measured)[0]
        scores = r2_score(true, inverter.predict(new), multioutput="raw_values")
        print(
            f"  {name}: NMSE {np.mean(misfit):.4f} ({np.round(misfit, 3)}), trained in "
            f"{seconds:.0f} s, R^2 {scores.round(3)}"
        )
        inverter[1].set_params(output="mean")
        ridges(inverter[:-1].transform)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", help="default: all but kinds")
    parts = parser.parse_args().parts or PARTS
    warnings.simplefilter("ignore")
    measured = fetch_aluminium_arcs().measurement
    simulator = PowderSimulator.from_measurement(
        load_aluminium_model(),
        measured[0],
        scattering="coherent",
        tolerance=1e-3,
    )
    if set(parts) - {"mari", "kinds"}:
        began = perf_counter()
        data = spectra(simulator, N_TRAIN, 0)
        print(f"{len(data[1])} spectra in {perf_counter() - began:.0f} s", flush=True)
    if set(parts) - {"mari", "kinds", "ingredients"}:
        inverter = trained(simulator, data)
    if "measured" in parts:
        print("measured")
        show_measured(inverter, simulator, measured)
    if "simulated" in parts:
        print("simulated")
        show_simulated(inverter, simulator)
    if "tuned" in parts:
        print("tuned")
        show_tuned(inverter, simulator, data, measured)
    if "foreign" in parts:
        print("foreign")
        show_foreign(inverter, simulator)
    if "ingredients" in parts:
        print("ingredients")
        show_ingredients(simulator, data, measured)
    if "mari" in parts:
        print("mari")
        show_mari()
    if "kinds" in parts:
        print("kinds")
        show_kinds(simulator, measured)


if __name__ == "__main__":
    main()
