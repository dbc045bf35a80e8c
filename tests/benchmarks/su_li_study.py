"""The study of Su and Li, whole: four autoencoders, three stages, Table 1, figures.

Run with ``python tests/benchmarks/su_li_study.py --quick`` (minutes) or without
``--quick`` (hours; stop it whenever you like, the next call goes on). Everything
goes to one folder: spectra, a checkpoint of every network, one CSV of figures for
every run, and at the end ``runs.csv``, ``constants.csv``, the tables of
``su_li_tables.py`` and the pictures of ``su_li_figures.py``. Several calls that train
different networks (``--only``) may share the folder; give each ``OMP_NUM_THREADS``, and
let one without ``--only`` collect what they did. Networks train on a GPU where torch
sees one. Needs the published data (downloaded, or SKPHONON_DATA).

Recipes: "default", what the estimators do by themselves; "varied", the same trained on
spectra that differ as measured ones may; "published", :func:`su_li_2024`.
"""

import argparse
import os
import warnings
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from su_li_figures import draw_figures
from su_li_tables import write_tables

from skphonon import (
    AEFeatureExtractor,
    ForceConstantRegressor,
    MaskedSpectrumPreprocessor,
    NelderMeadInverter,
    PowderSimulator,
    VAEFeatureExtractor,
    fetch_aluminium_arcs,
    load_aluminium_model,
    nmse,
)
from skphonon.datasets import IncompleteDatasetWarning, write_powder_spectra
from skphonon.inspection import active_dimensions
from skphonon.learning import Convolutional, Dense, Trainer, fine_tune, su_li_2024
from skphonon.learning._training import choose_device

FOLDER = Path("results/su_li_study")
#: Settings of the published simulations, for measurements at every temperature.
SETTINGS = {"temperature": 50.0, "energy_resolution": 1.54}
#: What differs from one measurement to another, drawn evenly for each spectrum.
AUGMENTATION = {
    "energy_resolution": (1.2, 1.9),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.998, 1.02),
    "mean_square_displacement": (0.0, 0.012),
    "background": (0.0, 0.4),
}
NOISE = (0.0, 0.3)
DIMENSIONS = (25, 20, 15, 10, 5, 4, 3)
STAGES = ("simulated", "fine-tuned", "extended")
SLICE = 50  # epochs between checkpoints of the published recipe
CONV_EPOCHS = 6
DRAWS = 10_000  # codes for each measured spectrum; a hundred for test spectra


class Run(NamedTuple):
    """One network: a recipe, one of the four models, its code and its seed."""

    recipe: str
    model: str
    n_components: int
    seed: int

    @property
    def name(self):
        """Name of its files."""
        return f"{self.recipe}-{self.model}-{self.n_components}-{self.seed}"


class Data(NamedTuple):
    """Spectra and labels; the first part is for training, the last for tests."""

    measured: dict
    simulator: PowderSimulator
    clean: tuple
    varied: tuple
    n_train: int
    n_test: int

    def train(self, recipe):
        """Return training spectra and labels."""
        X, y = self.varied if recipe == "varied" else self.clean
        return X[: self.n_train], y[: self.n_train]

    def test(self, kind):
        """Return held-out spectra and labels, clean or varied."""
        X, y = getattr(self, kind)
        return X[-self.n_test :], y[-self.n_test :]


def load_data(folder, n_samples):
    """Simulate both training sets, or read what is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs()
    model = load_aluminium_model()
    simulator = PowderSimulator(model, measured.grid, **SETTINGS)
    labels = measured.training_targets[:n_samples]
    options = {"parameters": labels, "random_state": 0, "n_jobs": -1, "verbose": 1}
    clean = write_powder_spectra(folder / f"clean-{n_samples}", simulator, **options)
    varied = write_powder_spectra(
        folder / f"varied-{n_samples}",
        simulator,
        noise=NOISE,
        augmentation=AUGMENTATION,
        **options,
    )
    tenth = n_samples // 10
    return Data(measured, simulator, clean.load(), varied.load(), 8 * tenth, tenth)


def make_pipeline_of(run, data, arguments):
    """Return the unfitted pipeline of a run."""
    device = arguments.device
    if run.recipe == "published":
        pipeline = su_li_2024(
            run.model,
            n_components=run.n_components,
            grid=data.measured.grid,
            max_epochs=arguments.published_epochs,
            device=device,
            random_state=run.seed,
        )
        return pipeline.set_params(
            regressor__trainer__max_epochs=arguments.regressor_epochs
        )
    variational = run.model.endswith("VAE")
    options, output = {}, "distribution"
    trainer = Trainer(max_epochs=100, device=device)
    if run.model.startswith("CNN"):
        # 32 noisy copies of every spectrum would cost more than the training
        output = "posterior" if variational else "mean"
        options = {"network": Convolutional(data.measured.grid)}
        trainer.set_params(
            lr=1e-3,
            max_epochs=arguments.conv_epochs,
            fine_tune_epochs=arguments.conv_epochs,
        )
    extractor = (VAEFeatureExtractor if variational else AEFeatureExtractor)(
        run.n_components,
        output=output,
        trainer=trainer,
        random_state=run.seed,
        **options,
    )
    regressor = ForceConstantRegressor(
        latent="codes" if output == "mean" else "distribution",
        n_draws=DRAWS,
        trainer=Trainer(device=device),
        random_state=run.seed,
    )
    return Pipeline(
        [
            ("preprocessor", MaskedSpectrumPreprocessor()),
            ("extractor", extractor),
            ("regressor", regressor),
        ]
    )


def trained(run, data, arguments, folder):
    """Return the pipeline of a run with its extractor trained, and the seconds.

    The published recipe leaves a checkpoint after every SLICE epochs.
    """
    path = folder / "models" / f"{run.name}.joblib"
    pipeline = make_pipeline_of(run, data, arguments)
    preprocessor, extractor, regressor = pipeline.named_steps.values()
    epochs, seconds = 0, 0.0
    if path.exists():
        preprocessor, extractor, epochs, seconds = joblib.load(path)
    X, y = data.train(run.recipe)
    spectra = preprocessor.fit_transform(X)
    wanted = extractor.trainer.max_epochs
    published = run.recipe == "published"
    while epochs < wanted:
        started = perf_counter()
        more = min(SLICE, wanted - epochs) if published else wanted
        if epochs == 0:
            extractor.set_params(trainer__max_epochs=more).fit(spectra)
        else:
            continue_training(extractor, spectra, more)
        epochs += more
        extractor.set_params(trainer__max_epochs=wanted)
        seconds += perf_counter() - started
        save((preprocessor, extractor, epochs, seconds), path)
        loss = extractor.history_["train_loss"].iloc[-1]
        print(f"{run.name}: {epochs} epochs, {seconds:.0f} s, {loss:.2e}", flush=True)
    regressor.fit(extractor.transform(spectra), y)
    steps = zip(pipeline.named_steps, (preprocessor, extractor, regressor), strict=True)
    return Pipeline(list(steps)), seconds


def continue_training(extractor, spectra, epochs):
    """Train on at the learning rate of `fit`; fine-tuning keeps its own settings."""
    trainer = extractor.trainer
    further = clone(trainer).set_params(
        fine_tune_epochs=epochs, fine_tune_lr=extractor.trainer.lr
    )
    extractor.set_params(trainer=further).partial_fit(spectra)
    extractor.set_params(trainer=trainer)


def save(value, path):
    """Write a checkpoint that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    joblib.dump(value, part)
    os.replace(part, path)


def study(run, data, arguments, folder):
    """Train a network through its stages; keep a row and a model for each."""
    X, y = data.train(run.recipe)
    pipeline, seconds = trained(run, data, arguments, folder)
    stages = STAGES if run.n_components == 30 else STAGES[:1]
    if run.recipe == "varied" or run.model.startswith("CNN"):
        stages = STAGES[:2]  # the control is told by the others
    rows, constants = [], []
    for stage in stages:
        started = perf_counter()
        fitted = pipeline
        if stage != "simulated":
            spectra = X if stage == "extended" else data.measured.data
            fitted = fine_tune(pipeline, spectra, X, y)
            seconds = 0.0
        seconds += perf_counter() - started
        label = {**run._asdict(), "stage": stage, "seconds": seconds}
        row, found = figures(fitted, data)
        rows.append(label | row | latent_figures(fitted, data))
        constants.append(found.assign(**{k: label[k] for k in (*run._fields, "stage")}))
        save(fitted, folder / "models" / f"{run.name}-{stage}.joblib")
    write_rows(folder, run.name, rows, constants)


def figures(estimator, data):
    """Return R2 on held-out simulations, NMSE of measured spectra, and constants."""
    row, names = {}, data.simulator.parameter_names
    if not isinstance(estimator, NelderMeadInverter):
        for kind in ("clean", "varied"):
            X, y = data.test(kind)
            scores = r2_score(
                y, predict(estimator, X, 100)[0], multioutput="raw_values"
            )
            row |= {f"R2 {kind} {n}": s for n, s in zip(names, scores, strict=True)}
    measured = data.measured
    started = perf_counter()
    constants, std = predict(estimator, measured.data)
    row["seconds to predict"] = perf_counter() - started
    simulated = data.simulator.simulate(constants)
    for scale in ("normalized", "fitted"):
        errors = nmse(measured.data, simulated, scale=scale)
        kelvin = [f"{scale} {t:.0f} K" for t in measured.temperature]
        row |= {
            f"{scale} mean": errors.mean(),
            **dict(zip(kelvin, errors, strict=True)),
        }
    frame = pd.DataFrame(
        {
            "temperature": np.repeat(measured.temperature, len(names)),
            "constant": list(names) * len(constants),
            "value": constants.ravel(),
            "std": std.ravel(),
        }
    )
    return row, frame


def predict(estimator, X, n_draws=DRAWS):
    """Return constants and their standard deviations, NaN where there are none."""
    regressor = getattr(estimator, "steps", [("", estimator)])[-1][1]
    if not isinstance(regressor, ForceConstantRegressor):
        constants = estimator.predict(X)
        return constants, np.full_like(constants, np.nan)
    regressor.set_params(n_draws=n_draws)
    found = estimator.predict(X, return_std=True)
    regressor.set_params(n_draws=DRAWS)
    return found


def latent_figures(pipeline, data):
    """Return how well the extractor describes spectra, and dimensions in use."""
    preprocessor, extractor = (
        getattr(step, "estimator", step) for _, step in pipeline.steps[:2]
    )
    row = {"epochs": len(extractor.history_)}
    row["regressor epochs"] = len(pipeline[-1].history_)
    for kind, X in (("clean", data.test("clean")[0]), ("measured", data.measured.data)):
        row[f"reconstruction {kind}"] = 1 - extractor.score(preprocessor.transform(X))
    if isinstance(extractor, VAEFeatureExtractor):
        X = preprocessor.transform(data.test("clean")[0])
        row["active dimensions"] = active_dimensions(extractor, X).count
    return row


def compare(name, estimator, recipe, data, folder):
    """Keep the figures of a method without extractor."""
    if (folder / "runs" / f"{name}.csv").exists():
        return
    started = perf_counter()
    estimator.fit(*data.train(recipe))
    seconds = perf_counter() - started
    row, constants = figures(estimator, data)
    label = {"recipe": recipe, "model": name, "seconds": seconds}
    save(estimator, folder / "models" / f"{name}.joblib")
    write_rows(
        folder, name, [label | row], [constants.assign(recipe=recipe, model=name)]
    )


def write_rows(folder, name, rows, constants):
    """Keep the figures of a run; its CSV says that it is done."""
    for kind, frame in (
        ("constants", pd.concat(constants)),
        ("runs", pd.DataFrame(rows)),
    ):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        part = folder / kind / f"{name}.part"
        frame.to_csv(part, index=False)
        os.replace(part, part.with_suffix(".csv"))
    print(pd.DataFrame(rows).round(4).T.to_string(), flush=True)


def all_runs(arguments):
    """Return the networks to train, the most telling first."""
    seeds = range(arguments.seeds)
    runs = [Run("default", m, 30, s) for s in seeds for m in ("FCVAE", "FCAE")]
    runs += [Run("varied", m, 30, s) for s in seeds for m in ("FCVAE", "FCAE")]
    dimensions = DIMENSIONS[-2:] if arguments.quick else DIMENSIONS
    runs += [Run("default", m, d, 0) for d in dimensions for m in ("FCVAE", "FCAE")]
    runs += [
        Run(r, m, 30, 0) for r in ("default", "varied") for m in ("CNNVAE", "CNNAE")
    ]
    published = ["FCVAE", "FCAE"]
    if torch.device(arguments.device).type != "cpu":
        published += ["CNNVAE", "CNNAE"]
    return runs + [Run("published", m, 30, 0) for m in published]


def noise_free():
    """Return a pipeline for exact spectra: wide codes, nothing smoothed."""
    extractor = VAEFeatureExtractor(
        64,
        network=Dense(residual=True),
        compression=256,
        weighting=0.3,
        noise=0.0,
        kl_weight=1e-7,
        trainer=Trainer(lr=1e-3, max_epochs=60),
        random_state=0,
    )
    # codes are about as long as the inputs, of which 256 have a mean square of 1
    kernel = KernelRidge(kernel="rbf", gamma=0.1 / 256, alpha=1e-6)
    return make_pipeline(
        MaskedSpectrumPreprocessor(),
        extractor,
        FunctionTransformer(np.float64),  # in single precision kernels are singular
        TransformedTargetRegressor(kernel, transformer=StandardScaler()),
    )


def compare_all(data, folder):
    """Run the methods without extractor."""
    for recipe in ("default", "varied"):
        ridge = make_pipeline(
            MaskedSpectrumPreprocessor(), Ridge(1e-4 if recipe == "default" else 10.0)
        )
        compare(f"ridge-{recipe}", ridge, recipe, data, folder)
        dense = make_pipeline(
            MaskedSpectrumPreprocessor(), ForceConstantRegressor(random_state=0)
        )
        compare(f"pixels-{recipe}", dense, recipe, data, folder)
    compare("noise-free", noise_free(), "default", data, folder)
    for scale in ("normalized", "fitted"):
        inverter = NelderMeadInverter(data.simulator, scale=scale)
        compare(f"nelder-mead-{scale}", inverter, "default", data, folder)


def collect(folder, kind):
    """Join the CSVs of all runs that are done."""
    frames = [pd.read_csv(path) for path in sorted((folder / kind).glob("*.csv"))]
    table = pd.concat(frames, ignore_index=True)
    table.to_csv(folder / f"{kind}.csv", index=False)
    return table


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="reduced size, minutes")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--only", default="", help="networks with this in their name")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--published-epochs", type=int, default=2000)
    parser.add_argument("--regressor-epochs", type=int, default=2000)
    parser.add_argument("--conv-epochs", type=int, default=CONV_EPOCHS)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    arguments.device = choose_device(arguments.device)
    if arguments.quick:
        arguments.samples, arguments.seeds, arguments.conv_epochs = 1000, 1, 2
        arguments.published_epochs = arguments.regressor_epochs = 50
        arguments.folder = arguments.folder.with_name(arguments.folder.name + "_quick")
    return arguments


def main():
    """Run what is not done yet, then join the tables and draw."""
    arguments = parse()
    folder = arguments.folder
    data = load_data(folder, arguments.samples)
    for run in all_runs(arguments):
        done = (folder / "runs" / f"{run.name}.csv").exists()
        if arguments.only in run.name and not done:
            study(run, data, arguments, folder)
    if not arguments.only:
        compare_all(data, folder)
        runs, constants = collect(folder, "runs"), collect(folder, "constants")
        write_tables(folder, runs, constants, data)
        draw_figures(folder, runs, constants, data)


if __name__ == "__main__":
    main()
