"""What is left of the measured spectra when more and more is fitted along.

Run with ``python tests/benchmarks/residuals.py [freedom] [joint] [published]`` (minutes
each; all of them if none is named). Needs the published data (downloaded, or
SKPHONON_DATA).

freedom
    NMSE and constants by temperature: five constants alone, nuisances, backgrounds,
    an offset of the energy, multiphonon scattering, third neighbours.
joint
    All temperatures at once, constants shared or polynomials in temperature.
published
    Constants and dispersion beside the fits to single crystals of Cowley (80 K) and of
    Gilat and Nicklow (300 K), both cut off after the second neighbours.
"""

import argparse
import warnings
from time import perf_counter

import numpy as np
import pandas as pd

from skphonon import (
    ForceConstantModel,
    JointSimulator,
    LeastSquaresInverter,
    PowderSimulator,
    fetch_aluminium_arcs,
    load_aluminium_model,
)
from skphonon.datasets import IncompleteDatasetWarning
from skphonon.inspection import PhononBandsDisplay, draw_parameters
from skphonon.simulation import Scattering

#: What is fitted along, and between which values.
NUISANCE = {
    "energy_resolution": (0.8, 4.0),
    "energy_resolution_slope": (-1.0, 1.9),
    "q_resolution": (0.03, 0.2),
    "lattice_scale": (0.96, 1.03),
    "mean_square_displacement": (-0.006, 0.06),
}
PUBLISHED = {50.0: "cowley-1974", 280.0: "gilat-nicklow-1966"}
FAR = 0.03  # eV/Angstrom^2, of constants of far neighbours, as a prior


def freedom(measured, model):
    """Print what each freedom brings."""
    offset = {**NUISANCE, "energy_offset": (-1.0, 1.0)}
    third = _with_third_neighbours(model)
    prior = (third.reference, np.where(third.reference == 0, FAR, 1.0))
    ways = {
        "constants alone": (model, {}, {}),
        "normalised, constants alone": (model, {}, {"scale": "normalized"}),
        "nuisances": (model, {}, {"nuisance": NUISANCE}),
        "cubic background": (model, {}, {"nuisance": NUISANCE, "background": 3}),
        "and energy offset": (model, {}, {"nuisance": offset, "background": 3}),
        "and four phonons": (
            model,
            {"scattering": Scattering(n_phonons=4, incoherent=True)},
            {"nuisance": NUISANCE, "background": 3},
        ),
        "background (2, 8)": (model, {}, {"nuisance": NUISANCE, "background": (2, 8)}),
        "and third neighbours": (
            third,
            {},
            {"nuisance": NUISANCE, "background": (2, 8), "prior": prior},
        ),
    }
    rows = []
    for name, (crystal, settings, options) in ways.items():
        for kelvin, spectrum in zip(measured.temperature, measured.data, strict=True):
            simulator = PowderSimulator(
                crystal,
                measured.grid,
                temperature=kelvin,
                energy_resolution=1.54,
                **settings,
            )
            inverter = LeastSquaresInverter(simulator, random_state=0, **options)
            inverter.fit(spectrum[None])
            inverter.predict(spectrum[None])  # prepares
            began = perf_counter()
            values, std = inverter.predict(spectrum[None], return_std=True)
            seconds = perf_counter() - began
            row = {"fitted along": name, "K": kelvin, "NMSE": inverter.loss_[0]}
            row |= {"chi2": inverter.reduced_chi2_[0], "seconds": seconds}
            rows.append(row | _cells(simulator.parameter_names, values[0], std[0]))
    table = pd.DataFrame(rows)
    print(table.round(4).to_string(index=False))
    order = list(ways)
    print(table.groupby("fitted along")["NMSE"].mean().loc[order].round(4).to_string())


def joint(measured, model):
    """Print fits of all temperatures at once."""
    simulators = {
        f"{kelvin:g} K": PowderSimulator(
            model, measured.grid, energy_resolution=1.54, temperature=kelvin
        )
        for kelvin in measured.temperature
    }
    rows = []
    for degree in (0, 1, 2):
        simulator = JointSimulator(simulators, at=measured.temperature, degree=degree)
        X = simulator.join(dict(zip(simulators, measured.data, strict=True)))
        inverter = LeastSquaresInverter(
            simulator, nuisance=NUISANCE, background=3, random_state=0
        ).fit(X)
        inverter.predict(X)  # prepares
        began = perf_counter()
        values = inverter.predict(X)
        seconds = perf_counter() - began
        for kelvin in (*measured.temperature, 300.0):
            here, covariance = simulator.parameters_at(
                values, kelvin, inverter.covariance_
            )
            row = {"degree": degree, "K": kelvin, "NMSE": inverter.loss_[0]}
            row["seconds"] = seconds
            std = np.sqrt(np.diag(covariance[0]))
            rows.append(row | _cells(model.parameter_names, here[0], std))
    print(pd.DataFrame(rows).round(4).to_string(index=False))


def published(measured, model):
    """Print constants and the distance of dispersions from published ones."""
    third = _with_third_neighbours(model)
    rows = []
    for kelvin, source in PUBLISHED.items():
        if kelvin not in measured.temperature:
            continue
        theirs = load_aluminium_model(source)
        spectrum = measured.data[measured.temperature == kelvin]
        for shells, crystal in (("two shells", model), ("three shells", third)):
            found, covariance = _fit(spectrum, crystal, measured.grid, kelvin)
            std = np.sqrt(np.diag(covariance))
            away = (found[:5] - theirs.reference) / std[:5]
            cells = {"K": kelvin, "constants": shells}
            rows.append(cells | _cells(model.parameter_names, found, std))
            cells["constants"] = "less published, in standard deviations"
            names = model.parameter_names
            rows.append(cells | dict(zip(names, away.round(1), strict=True)))
            bands = PhononBandsDisplay.from_draws(
                {
                    "found": draw_parameters(
                        crystal, found, covariance=covariance, random_state=0
                    ),
                    source: draw_parameters(theirs),
                }
            ).data
            ours, other = (
                bands[bands["name"] == name].reset_index() for name in ("found", source)
            )
            gap = ours["value"] - other["value"]
            print(
                f"{kelvin:g} K, {shells}: dispersion {np.sqrt(np.mean(gap**2)):.2f} "
                f"meV (root mean square) from {source}, {np.abs(gap).max():.2f} at "
                f"most, of {other['value'].max():.1f}; its standard deviation is "
                f"{ours['std'].mean():.2f} on average"
            )
        cells = {"K": kelvin, "constants": source}
        rows.append(cells | _cells(model.parameter_names, theirs.reference))
    print(pd.DataFrame(rows).to_string(index=False, na_rep=""))


def _fit(spectrum, model, grid, kelvin):
    """Return constants and their covariance, far ones with a prior."""
    reference = model.reference
    inverter = LeastSquaresInverter(
        PowderSimulator(model, grid, energy_resolution=1.54, temperature=kelvin),
        nuisance=NUISANCE,
        background=3,
        prior=(reference, np.where(reference == 0, FAR, 1.0)),
        random_state=0,
    ).fit(spectrum)
    return inverter.predict(spectrum)[0], inverter.covariance_[0]


def _with_third_neighbours(model):
    lattice = model.cell.cell
    names = ForceConstantModel(lattice, "Al", model.reference, n_shells=3)
    n_more = len(names.parameter_names) - len(model.reference)
    reference = np.append(model.reference, np.zeros(n_more))
    return ForceConstantModel(lattice, "Al", reference, n_shells=3)


def _cells(names, values, std=None):
    """Return values with error bars, by the names of the first of them."""
    bars = [""] * len(values) if std is None else [f" ± {bar:.3f}" for bar in std]
    texts = (f"{value:.3f}{bar}" for value, bar in zip(values, bars, strict=True))
    return dict(zip(names, texts, strict=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["freedom", "joint", "published"])
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDatasetWarning)
        measured = fetch_aluminium_arcs()
    model = load_aluminium_model()
    if "freedom" in arguments.parts:
        freedom(measured, model)
    if "joint" in arguments.parts:
        joint(measured, model)
    if "published" in arguments.parts:
        published(measured, model)
