"""The pictures of Su and Li's study, from the models that ``su_li_study.py`` kept.

Figs. 2 to 4 and S2 to S5 of the paper, one file each, with the numbers behind each
picture in a CSV of the same name.
"""

import warnings

import joblib
import matplotlib as mpl
import matplotlib.pyplot as plt

from skphonon.inspection import (
    LatentCodesDisplay,
    LatentCorrelationDisplay,
    LatentSensitivityDisplay,
    LatentTraversalDisplay,
    SpectrumProfilesDisplay,
    TemperatureTrendsDisplay,
    active_dimensions,
)

__all__ = ["draw_figures"]

MODELS = ("FCVAE", "CNNVAE", "FCAE", "CNNAE")


def draw_figures(folder, runs, constants, data):
    """Draw what the models at hand allow; the rest is left out and said."""
    mpl.use("Agg")
    (folder / "figures").mkdir(exist_ok=True)
    trends(folder, constants, data)
    for recipe in runs["recipe"].unique():
        for model in MODELS:
            path = folder / "models" / f"{recipe}-{model}-30-0-simulated.joblib"
            if path.exists():
                latent_space(folder, f"{recipe}-{model}", joblib.load(path), data)
            else:
                print(f"no {path.name}: its pictures are left out")


def trends(folder, constants, data):
    """Fig. 3: NMSE and every constant against temperature."""
    chosen = constants[
        constants["n_components"].isna() & constants["model"].str.startswith("nelder")
        | (constants["n_components"] == 30) & (constants["seed"] == 0)
    ]
    columns = ["recipe", "model", "stage"]
    named = chosen[columns].fillna("").agg(" ".join, axis=1)
    for recipe in chosen["recipe"].unique():
        series = {}
        for name, rows in chosen.groupby(named, sort=False):
            optimised = rows["model"].iloc[0].startswith("nelder")
            if rows["recipe"].iloc[0] != recipe and not optimised:
                continue
            wide = rows.pivot(index="temperature", columns="constant", values="value")
            spread = rows.pivot(index="temperature", columns="constant", values="std")
            order = data.simulator.parameter_names
            temperatures = data.measured.temperature
            values = wide.loc[temperatures, order].to_numpy()
            label = rows["model"].iloc[0] if optimised else name.split(" ", 1)[1]
            if not label.endswith("extended"):
                series[label] = values, spread.loc[temperatures, order].to_numpy()
        display = TemperatureTrendsDisplay.from_predictions(
            series,
            data.measured.data,
            temperature=data.measured.temperature,
            simulator=data.simulator,
        )
        keep(folder, f"trends-{recipe}", display, display.data)
        display.fits.to_csv(folder / "figures" / f"fits-{recipe}.csv", index=False)


def latent_space(folder, name, pipeline, data):
    """Figs. 2, 4 and S2 to S5 of one model."""
    measured, simulator = data.measured, data.simulator
    X = data.test("clean")[0]
    few = X[:100]  # enough for a mean, and convolutions are slow
    kelvin = [f"{t:.0f} K" for t in measured.temperature]
    profiles = SpectrumProfilesDisplay.from_estimator(
        pipeline, measured.data, temperature=measured.temperature, simulator=simulator
    )
    keep(folder, f"profiles-{name}", profiles, profiles.data)
    profiles.peaks.to_csv(folder / "figures" / f"peaks-{name}.csv", index=False)
    order = {}
    if name.endswith("VAE"):
        order = {"dimensions": active_dimensions(pipeline, X).order}
    codes = LatentCodesDisplay.from_estimator(pipeline, X, measured.data)
    keep(folder, f"codes-{name}", codes, codes.data, labels=kelvin, **order)
    # deterministic codes have no scale of their own: move them by half their spread
    relative = not name.endswith("VAE")
    for kind, display in (
        (
            "sensitivity",
            LatentSensitivityDisplay.from_estimator(pipeline, few, relative=relative),
        ),
        ("correlation", LatentCorrelationDisplay.from_estimator(pipeline, X)),
        (
            "traversal",
            LatentTraversalDisplay.from_estimator(
                pipeline, X[:1], grid=measured.grid, changes=(0.5,)
            ),
        ),
    ):
        keep(folder, f"{kind}-{name}", display, display.data, **order)


def keep(folder, name, display, data, **options):
    """Draw a display; write the picture and the numbers behind it."""
    with warnings.catch_warnings():
        # two dozen labels are more than a layout can always place
        warnings.simplefilter("ignore", UserWarning)
        display.plot(**options)
        path = folder / "figures" / name
        display.figure_.savefig(path.with_suffix(".png"), dpi=150, bbox_inches="tight")
    data.to_csv(path.with_suffix(".csv"))
    plt.close(display.figure_)
