"""The tables of Su and Li's study, from the rows that ``su_li_study.py`` kept.

They are those of ``docs/su_li_study.rst``, whose folder ``su_li_study`` holds copies:
means over seeds, with the lowest and the highest in brackets where there are several.
"""

import numpy as np
import pandas as pd

from skphonon import load_aluminium_model

__all__ = ["write_tables"]

RECIPES = ("published", "default", "varied")
MODELS = ("FCVAE", "CNNVAE", "FCAE", "CNNAE")
STAGES = ("simulated", "fine-tuned", "extended")
OTHERS = {
    "ridge": "Ridge on pixels",
    "pixels": "Network on pixels",
    "noise-free": "VAE and kernel ridge for exact spectra",
    "nelder-mead-normalized": "Nelder-Mead, normalized",
    "nelder-mead-fitted": "Nelder-Mead, fitted",
}
#: Table 1 of the paper: mean NMSE over seven temperatures.
PUBLISHED = pd.DataFrame(
    {
        "simulated": [0.201, 0.212, 0.236, 0.277],
        "fine-tuned": [0.200, 0.205, 0.249, 0.274],
        "extended": [0.202, 0.211, 0.256, 0.296],
    },
    index=MODELS,
)
PUBLISHED_NELDER_MEAD = 0.190


def write_tables(folder, runs, constants, data):
    """Write one CSV a table, of what is done."""
    runs, constants = named(runs), named(constants)
    names = data.simulator.parameter_names
    tables = {
        "nmse-fitted": measured_errors(runs, "fitted"),
        "nmse-normalized": measured_errors(runs, "normalized", paper=True),
        "dimensions": dimensions(runs),
        "recovery-clean": recovery(runs, "clean", names),
        "recovery-varied": recovery(runs, "varied", names),
        "cost": cost(runs),
        "rank-correlation": rank_correlation(constants, names),
        "cold": coldest(constants, names),
    }
    (folder / "tables").mkdir(exist_ok=True)
    for name, table in tables.items():
        table = table.replace({"Recipe": {"none": ""}})
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
        print(f"\n{name}\n{table.to_string(index=False)}")


def named(table):
    """Return the table in the order of the page, methods by their names there."""
    table = table.copy()
    kind = table["model"].str.replace(r"-(default|varied)$", "", regex=True)
    optimised = kind.str.startswith("nelder-mead")
    recipes = [*RECIPES, "none"]
    order = [*MODELS, *OTHERS]
    table["recipe"] = table["recipe"].where(~optimised, "none")
    table["rank"] = table["recipe"].map(recipes.index) * len(order) + kind.map(
        order.index
    )
    table["model"] = kind.replace(OTHERS)
    table["stage"] = table.get("stage", pd.Series(index=table.index)).fillna(STAGES[0])
    table["n_components"] = table["n_components"].fillna(30)
    table["seed"] = table["seed"].fillna(0)
    return table.sort_values(["rank", "seed"], kind="stable")


def cell(values, digits=3, spread=True):
    """Return a mean, with its range if there are several values."""
    values = np.asarray(values, dtype=float)
    if not len(values) or np.isnan(values).all():
        return ""
    mean, lowest, highest = (
        f"{v:.{digits}f}" for v in (values.mean(), values.min(), values.max())
    )
    if not spread or lowest == highest:
        return mean
    return f"{mean} ({lowest} to {highest})"


def score(values, kind):
    """Return an R2; how far below -1 it is says nothing."""
    if np.mean(values) < -1:
        return "< -1"
    return cell(values, 4 if kind == "clean" else 3, spread=False)


def of_30(table):
    """Return methods one after the other, at 30 latent dimensions."""
    table = table[table["n_components"] == 30]
    return table.groupby(["recipe", "model"], sort=False)


def measured_errors(runs, scale, paper=False):
    """Table 1: mean NMSE of measured spectra by model and stage."""
    rows = []
    for (recipe, model), group in of_30(runs):
        row = {"Recipe": recipe, "Method": model}
        for stage in STAGES:
            chosen = group[group["stage"] == stage]
            row[stage] = cell(chosen[f"{scale} mean"])
        if paper and model in MODELS:
            row |= {f"paper, {s}": f"{PUBLISHED.loc[model, s]:.3f}" for s in STAGES}
        elif paper and model.startswith("Nelder"):
            row[f"paper, {STAGES[0]}"] = f"{PUBLISHED_NELDER_MEAD:.3f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def dimensions(runs):
    """What fewer latent dimensions cost, before fine-tuning."""
    chosen = runs[(runs["recipe"] == "default") & (runs["stage"] == STAGES[0])]
    chosen = chosen[(chosen["seed"] == 0) & chosen["model"].isin(MODELS)]
    columns = {"NMSE fitted": "fitted mean"}
    columns |= {f"R² {n}": f"R2 clean {n}" for n in ("1XX", "1ZZ", "1XY", "2XX")}
    rows = []
    for model, group in chosen.groupby("model", sort=False):
        group = group.set_index("n_components").sort_index(ascending=False)
        if len(group) == 1:
            continue
        for label, column in columns.items():
            cells = {f"{n:.0f}": f"{v:.3f}" for n, v in group[column].items()}
            rows.append({"Model": model, "Figure": label, **cells})
    return pd.DataFrame(rows)


def recovery(runs, kind, names):
    """R2 of the constants of held-out simulations, before fine-tuning."""
    rows = []
    for (recipe, model), group in of_30(runs[runs["stage"] == STAGES[0]]):
        if recipe != "none":
            scores = {n: score(group[f"R2 {kind} {n}"], kind) for n in names}
            rows.append({"Recipe": recipe, "Method": model, **scores})
    return pd.DataFrame(rows)


def cost(runs):
    """What a network describes, with how many dimensions, and its time."""
    rows = []
    for (recipe, model), group in of_30(runs[runs["stage"] == STAGES[0]]):
        if model in MODELS:
            rows.append(
                {
                    "Recipe": recipe,
                    "Model": model,
                    "Epochs": cell(group["epochs"], 0),
                    "Training, s": cell(group["seconds"], 0),
                    "Reconstruction NMSE, simulated": cell(
                        group["reconstruction clean"], 4
                    ),
                    "measured": cell(group["reconstruction measured"]),
                    "Active dimensions": cell(group["active dimensions"], 0),
                }
            )
    return pd.DataFrame(rows)


def rank_correlation(constants, names):
    """Spearman's correlation of each constant with temperature."""
    rows = []
    stages = [s for s in STAGES if s != "extended"]
    for (recipe, model), group in of_30(constants):
        for stage in stages:
            chosen = group[group["stage"] == stage]
            row = {"Recipe": recipe, "Method": model, "Stage": stage}
            for name in names:
                one = chosen[chosen["constant"] == name]
                ranks = one.groupby("seed")[["temperature", "value"]].rank()
                ranks = ranks.groupby(one["seed"])
                row[name] = cell([r.corr().iloc[0, 1] for _, r in ranks], 1)
            if len(chosen):
                rows.append(row)
    return pd.DataFrame(rows)


def coldest(constants, names):
    """Constants at the lowest temperature, beside those of single crystals."""
    at = constants["temperature"].min()
    rows = []
    for (recipe, model), group in of_30(constants[constants["temperature"] == at]):
        for stage in ("simulated", "fine-tuned"):
            chosen = group[group["stage"] == stage]
            if not len(chosen):
                continue
            row = {"Recipe": recipe, "Method": model, "Stage": stage}
            for name in names:
                one = chosen[chosen["constant"] == name]
                error = one["std"].mean()
                row[name] = f"{one['value'].mean():.3f}"
                if error == error:
                    row[name] += f" ± {error:.3f}"
            rows.append(row)
    sources = {
        "Cowley, crystal at 80 K": "cowley-1974",
        "Gilat and Nicklow, crystal at 300 K": "gilat-nicklow-1966",
        "DFT, centre of the training set": "dft",
    }
    for label, source in sources.items():
        values = load_aluminium_model(source).reference
        cells = {n: f"{v:.3f}" for n, v in zip(names, values, strict=True)}
        rows.append({"Recipe": "", "Method": label, "Stage": "", **cells})
    return pd.DataFrame(rows)
