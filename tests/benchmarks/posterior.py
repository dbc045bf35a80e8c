"""Posteriors: efficiency, time, calibration and modes.

Run with ``python tests/benchmarks/posterior.py [part ...] [-n spectra]``; needs
SKPHONON_DATA for `measured`.

simulated
    Aluminium on the grid of ARCS (5 constants, 5 nuisances, background of degree 3) at
    5 % noise that is known: efficiency, seconds, mesh error, coverage of 68 and 95 %
    intervals.
calibration
    The same on a grid of 32 x 24 pixels with a mesh of its own: coverage, p-values of
    ranks of each constant, joint coverage (TARP), over n spectra from the whole prior,
    how many have a better optimum at the truth (missed modes), and whether p-values
    of predictive checks are even.
local
    One spectrum of it: ranks of truths from its posterior, over n spectra that it
    predicts (posterior SBC).
measured
    The four measured spectra: efficiency, beta, means beside least squares, and the
    scatter of constants about straight lines over temperature, chi^2 per degree of
    freedom; predictive checks.
mari
    Aluminium measured on MARI at 5 K: the same of one spectrum.
silicon
    Silicon of six shells with a ShellPrior: a few simulated spectra (5 % noise that is
    known) of draws from it, and the spectrum of MARI with a can: efficiency, seconds.
counts
    Few counts a pixel of a peak, and of aluminium on the grid of `calibration`, each by
    Poisson's likelihood and by a normal one with roots of counts as errors: coverage,
    means beside the truth in standard deviations, efficiency, seconds.
ranks
    Calibration of silicon of six shells with a ShellPrior, on 32 x 24 pixels and a mesh
    of its own.
shells
    Evidence of two and of three shells of aluminium, spectrum measured at 280 K.
starts
    The spectra of `simulated` from one start that is off by 3 %, as a network's is.
oracle
    One spectrum by emcee and by dynesty (where they are installed): means, standard
    deviations, evidence.
"""

import argparse
import os
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.stats import kstest, norm
from sklearn.base import clone

import skphonon
from skphonon import (
    LeastSquaresInverter,
    PosteriorInverter,
    PowderSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    load_aluminium_model,
)
from skphonon.inspection import (
    RankDisplay,
    local_calibration,
    rank_statistics,
    tarp_coverage,
)
from skphonon.inversion import compare_posteriors
from skphonon.physics import ShellPrior
from skphonon.simulation import Scattering

PARTS = (
    "simulated",
    "calibration",
    "local",
    "measured",
    "mari",
    "silicon",
    "ranks",
    "shells",
    "starts",
    "counts",
    "oracle",
)
NUISANCE = {
    "energy_resolution": (0.9, 3.0),
    "energy_resolution_slope": (-0.2, 1.5),
    "q_resolution": (0.01, 0.2),
    "lattice_scale": (0.97, 1.03),
    "mean_square_displacement": (-0.004, 0.02),
}


def bounds_of(model):
    half = 0.5 * np.abs(model.reference)
    half[4] = 0.4 * model.reference[3]
    return np.array([model.reference - half, model.reference + half])


def inverter_of(simulator, nuisance, background, **options):
    """Return a posterior inverter of aluminium."""
    least = LeastSquaresInverter(
        simulator,
        nuisance=nuisance,
        background=background,
        bounds=bounds_of(simulator.model),
    )
    return PosteriorInverter(least, **options)


def draws_of_prior(simulator, nuisance, number, seed):
    """Return constants of stable crystals, and nuisances by name."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(*bounds_of(simulator.model), (4 * number + 40, 5))
    rows = rows[simulator.model.is_stable(rows)][:number]
    return rows, {
        name: rng.uniform(low + 0.1 * (high - low), high - 0.1 * (high - low), number)
        for name, (low, high) in nuisance.items()
    }


def noisy(X, level, seed):
    """Return spectra with white noise, and its size."""
    sigma = level * np.nanstd(X, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    return X + sigma * rng.normal(size=X.shape), sigma * np.ones_like(X)


def told(name, values):
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    print(f"  {name}: median {middle:.3g}, tenth percentile {low:.3g}, 90th {high:.3g}")


def coverage(posteriors, truth):
    """Print how often central intervals hold the truth."""
    inside = []
    for posterior, row in zip(posteriors, truth, strict=True):
        table = posterior.summary().iloc[: len(row)]
        inside.append(
            [
                (table["low"] < row) & (row < table["high"]),
                (table["low95"] < row) & (row < table["high95"]),
            ]
        )
    share = np.mean(inside, axis=(0, 2))
    print(f"  inside 68 % {share[0]:.3f}, 95 % {share[1]:.3f}")


def arcs(number):
    """Return an inverter, spectra on the grid of ARCS, errors and constants."""
    measured = fetch_aluminium_arcs().measurement
    simulator = PowderSimulator.from_measurement(
        load_aluminium_model(),
        measured[0],
        scattering="coherent",
        tolerance=1e-3,
    )
    truth, beside = draws_of_prior(simulator, NUISANCE, number, 1)
    X = np.where(np.isnan(measured.data[:1]), np.nan, 1.0) * PowderSimulator(
        simulator.model,
        simulator.grid,
        temperature=simulator.temperature,
        energy_resolution=simulator.energy_resolution,
        q_resolution=simulator.q_resolution,
        scattering="coherent",
        tolerance=1e-4,
    ).simulate(truth, nuisance=beside, nuisance_ranges=NUISANCE)
    X, errors = noisy(X, 0.05, 2)
    return inverter_of(simulator, NUISANCE, 3), X, errors, truth


def show_simulated(number):
    inverter, X, errors, truth = arcs(number)
    inverter.fit(X)
    posteriors, seconds = [], []
    for row, error in zip(X, errors, strict=True):
        began = perf_counter()
        inverter.predict(row[None], errors=error[None])
        seconds.append(perf_counter() - began)
        posteriors.append(inverter.posteriors_[0])
    told("efficiency", [each.efficiency for each in posteriors])
    told("seconds", seconds)
    told("mesh error", [each.mesh_error for each in posteriors])
    told("shape", [each.shape for each in posteriors])
    coverage(posteriors, truth)


def small():
    """Return a simulator whose spectra take a millisecond, and nuisances."""
    grid = SpectrumGrid(np.arange(10, 42, 1.0), np.arange(2, 8, 0.25))
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.5, q_resolution=0.1, mesh=6
    )
    return simulator, {"energy_resolution": (1.0, 2.2), "lattice_scale": (0.98, 1.02)}


def show_calibration(number):
    simulator, nuisance = small()
    truth, beside = draws_of_prior(simulator, nuisance, number, 3)
    X = simulator.simulate(truth, nuisance=beside, nuisance_ranges=nuisance)
    X, errors = noisy(X, 0.05, 4)
    # nuisances of the truth are drawn from what is the prior here
    prior = {
        name: (low + 0.1 * (high - low), high - 0.1 * (high - low))
        for name, (low, high) in nuisance.items()
    }
    inverter = inverter_of(simulator, prior, 1, n_draws=600).fit(X)
    began = perf_counter()
    inverter.predict(X, errors=errors)
    posteriors = inverter.posteriors_
    print(f"  {number} spectra in {perf_counter() - began:.0f} s")
    kept = [i for i, each in enumerate(posteriors) if each.n_draws]
    print(f"  {number - len(kept)} without a posterior")
    posteriors, truth = [posteriors[i] for i in kept], truth[kept]
    X, errors, number = X[kept], errors[kept], len(kept)
    told("efficiency", [each.efficiency for each in posteriors])
    coverage(posteriors, truth)
    ranks = rank_statistics(posteriors, truth)
    print(f"  mean rank {ranks.mean(axis=0).round(3)}")
    display = RankDisplay.from_draws(posteriors, truth)
    print(display.table.round(4).to_string())
    for references in ("random", "ellipsoid"):
        joint = tarp_coverage(posteriors, truth, references=references)
        print(f"  TARP, {references}: p = {joint.p_value:.3f}")
    found = np.array([each.fit.figures["loss"] for each in posteriors])
    at_truth = inverter_of(simulator, prior, 1, n_draws=2, n_starts=1).fit(X)
    at_truth.predict(X, errors=errors, starts=truth)
    planted = np.array([each.fit.figures["loss"] for each in at_truth.posteriors_])
    unit = np.nansum((X - np.nanmean(X, axis=1, keepdims=True)) ** 2, axis=1)
    worse = (found - planted) * unit / errors[:, 0] ** 2
    print(f"  missed modes: {(worse > 9).sum()} of {number}")
    began = perf_counter()
    checks = [each.predictive_check()["p_value"] for each in posteriors]
    seconds = (perf_counter() - began) / number
    for name in checks[0].index:
        p_values = [each[name] for each in checks]
        print(f"  check, {name}: p = {kstest(p_values, 'uniform').pvalue:.3f}")
    failed = sum(
        any(finding.about == "prediction" for finding in each.verdict_)
        for each in posteriors
    )
    print(f"  checks failed: {failed} of {number}, {seconds:.2f} s each")


def show_local(number):
    simulator, nuisance = small()
    X = simulator.simulate([simulator.reference])
    X, errors = noisy(X, 0.05, 5)
    inverter = inverter_of(simulator, nuisance, 1, n_draws=600, n_starts=2).fit(X)
    inverter.predict(X, errors=errors)
    began = perf_counter()
    found = local_calibration(inverter, n_spectra=number)
    print(f"  {number} spectra in {perf_counter() - began:.0f} s")
    print(RankDisplay(data=found.ranks).table.round(4).to_string())
    for references in ("random", "ellipsoid"):
        joint = tarp_coverage(found.posteriors, found.truth, references=references)
        print(f"  TARP, {references}: p = {joint.p_value:.3f}")


class Peak:
    """A normal peak on 120 pixels, by place and width."""

    parameter_names, reference = ["place", "width"], np.array([0.0, 1.0])
    axis = np.linspace(-5, 5, 120)

    def simulate(self, parameters):
        place, width = np.transpose(parameters)[..., None]
        return 3 * norm.pdf(self.axis, place, width)

    def jacobian(self, parameters, return_spectra=False):
        place, width = np.transpose(parameters)[..., None]
        z, shown = (self.axis - place) / width, self.simulate(parameters)
        found = np.stack([shown * z / width, shown * (z**2 - 1) / width], axis=2)
        return (found, shown) if return_spectra else found


def show_counts(number):
    rng = np.random.default_rng(5)
    low, high = [-2.0, 0.5], [2.0, 2.0]
    truth = rng.uniform(low, high, (number, 2))
    for scale, background in ((4, 1), (8, 2), (4, 0)):
        print(f"  peak, {scale} times, on {background}")
        mean = scale * Peak().simulate(truth) + background
        least = LeastSquaresInverter(Peak(), bounds=(low, high))
        beside_roots(least, rng.poisson(mean).astype(float), truth)
    simulator, _ = small()
    truth, _ = draws_of_prior(simulator, {}, max(number // 4, 2), 3)
    X = simulator.simulate(truth)
    for level in (0.3, 3.0):
        print(f"  aluminium, {1.5 * level:g} a pixel, a third of it background")
        mean = level * (X / np.nanmean(X, axis=1, keepdims=True) + 0.5)
        counts = rng.poisson(np.nan_to_num(mean)) + 0 * X
        least = LeastSquaresInverter(simulator, bounds=bounds_of(simulator.model))
        beside_roots(least, counts, truth)


def beside_roots(least, counts, truth):
    """Print what both likelihoods of counts find."""
    print(f"  {np.nanmean(counts):.2f} counts a pixel")
    for kind in ("poisson", "noise"):
        own = clone(least).set_params(noise=kind)
        inverter = PosteriorInverter(own, n_draws=600).fit(counts)
        roots = None if kind == "poisson" else np.sqrt(np.maximum(counts, 1))
        began = perf_counter()
        inverter.predict(counts, errors=roots)
        seconds = (perf_counter() - began) / len(counts)
        found = inverter.posteriors_
        kept = [i for i, each in enumerate(found) if each.n_draws]
        found, at = [found[i] for i in kept], truth[kept]
        print(f"  {kind}: {len(kept)} spectra, {seconds:.2f} s each")
        coverage(found, at)
        z = [(each.mean - x) / each.std for each, x in zip(found, at, strict=True)]
        print(f"  z {np.mean(z, axis=0).round(2)}, std {np.std(z, axis=0).round(2)}")
        told("efficiency", [each.efficiency for each in found])


def show_measured(_):
    measured = fetch_aluminium_arcs().measurement
    model, found = load_aluminium_model(), []
    for row, kelvin in zip(measured.data, measured.temperature, strict=True):
        simulator = PowderSimulator.from_measurement(
            model, measured[0], scattering="coherent", tolerance=1e-3
        ).set_params(temperature=float(kelvin))
        began = perf_counter()
        inverter = inverter_of(simulator, NUISANCE, 3).fit(row[None])
        inverter.predict(row[None])
        (posterior,) = inverter.posteriors_
        found.append(posterior)
        pairs = zip(posterior.mean, posterior.std, strict=True)
        print(
            f"  {kelvin:.0f} K: "
            + " ".join(f"{v:+.4f}({s:.4f})" for v, s in pairs)
            + f", efficiency {posterior.efficiency:.2f}, beta {posterior.beta:.2f}, "
            f"shape {posterior.shape:.2f}, mesh {posterior.mesh_error:.2f}, "
            f"{len(posterior.modes)} mode(s), {perf_counter() - began:.0f} s",
            flush=True,
        )
        began = perf_counter()
        alike = posterior.predictive_check().loc["correlation of neighbours"]
        print(
            f"    neighbours correlate by {alike['measured']:.2f}, of replicates "
            f"{alike['low']:.2f} to {alike['high']:.2f}, {perf_counter() - began:.0f} s"
        )
    for power, name in ((1.0, "adjusted"), (None, "residual as white noise")):
        chi2 = 0.0
        for i in range(5):
            values = np.array([each.mean[i] for each in found])
            std = np.array([each.std[i] for each in found])
            if power is None:
                std = std * np.sqrt([each.beta for each in found])
            fit = np.polyfit(measured.temperature, values, 1, w=1 / std)
            off = (values - np.polyval(fit, measured.temperature)) / std
            chi2 += (off**2).sum()
        n_free = 5 * (len(found) - 2)
        print(f"  scatter about straight lines, {name}: {chi2 / n_free:.2f}")


def show_mari(_):
    run = skphonon.read(
        Path(os.environ["SKPHONON_DATA"]) / "mari" / "aluminium_Ei60.nxspe"
    )
    found = skphonon.calibrate(run, resolution="direct_geometry")
    grid = SpectrumGrid(np.arange(8, 50, 0.75), np.arange(1.5, 8.5, 0.15))
    measured = skphonon.reduce_powder(found.measurement, grid).replace(temperature=5.0)
    simulator = PowderSimulator.from_measurement(
        load_aluminium_model(), measured, q_resolution=0.06, tolerance=1e-3
    )
    nuisance = {
        "energy_resolution": (0.6, 1.8),
        "energy_resolution_slope": (-0.8, 0.8),
        "lattice_scale": (0.98, 1.02),
    }
    inverter = inverter_of(simulator, nuisance, 3).fit(measured.data)
    began = perf_counter()
    inverter.predict(measured.data)
    (posterior,) = inverter.posteriors_
    print(posterior.summary().iloc[:5].round(4).to_string())
    print(
        f"  efficiency {posterior.efficiency:.2f}, beta {posterior.beta:.2f}, mesh "
        f"{posterior.mesh_error:.2f}, {perf_counter() - began:.0f} s"
    )


def show_silicon(number):
    from coverage import calculation, measurement

    measured, model = measurement(), calculation().extended(6)
    simulator = PowderSimulator.from_measurement(
        model,
        measured,
        scattering=Scattering(incoherent=True),
        q_resolution=0.06,
        tolerance=3e-3,
    )
    prior = ShellPrior(model, energies=0.05)
    nuisance = {"energy_resolution": (0.6, 1.8), "lattice_scale": (0.99, 1.01)}

    def inverter(**options):
        return PosteriorInverter(
            LeastSquaresInverter(
                simulator, nuisance=nuisance, background=3, prior=prior, **options
            )
        )

    truth = prior.sample(number, random_state=0)
    fine = PowderSimulator.from_measurement(
        model,
        measured,
        scattering=Scattering(incoherent=True),
        q_resolution=0.06,
        tolerance=2e-4,
    )
    X, errors = noisy(fine.simulate(truth), 0.05, 2)
    simulated, seconds = inverter().fit(X), []
    posteriors = []
    for row, error in zip(X, errors, strict=True):
        began = perf_counter()
        simulated.predict(row[None], errors=error[None])
        posteriors += simulated.posteriors_
        seconds.append(perf_counter() - began)
        print(f"  {posteriors[-1]}, mesh {posteriors[-1].mesh_error:.2f}", flush=True)
    print(f"  {truth.shape[1]} constants")
    told("efficiency", [each.efficiency for each in posteriors])
    told("seconds", seconds)
    coverage(posteriors, truth)
    began = perf_counter()
    of_mari = inverter(contributions={"can": "aluminium"}).fit(measured.data)
    of_mari.predict(measured.data)
    (posterior,) = of_mari.posteriors_
    print(
        f"  MARI: {posterior}, efficiency {posterior.efficiency:.2f}, beta "
        f"{posterior.beta:.2f}, shape {posterior.shape:.2f}, mesh "
        f"{posterior.mesh_error:.2f}, {perf_counter() - began:.0f} s"
    )


def show_ranks(number):
    from coverage import calculation

    model = calculation().extended(6)
    grid = SpectrumGrid(np.arange(6, 70, 2.0), np.arange(2, 8, 0.25))
    simulator = PowderSimulator(
        model, grid, energy_resolution=2.0, q_resolution=0.1, mesh=5
    )
    prior = ShellPrior(model, energies=0.05)
    nuisance = {"energy_resolution": (1.6, 2.4), "lattice_scale": (0.99, 1.01)}
    rng = np.random.default_rng(0)
    truth = prior.sample(2 * number, random_state=0)
    truth = truth[model.is_stable(truth)][:number]
    number = len(truth)
    beside = {name: rng.uniform(*span, number) for name, span in nuisance.items()}
    X = simulator.simulate(truth, nuisance=beside, nuisance_ranges=nuisance)
    X, errors = noisy(X, 0.05, 2)
    least = LeastSquaresInverter(
        simulator, nuisance=nuisance, background=1, prior=prior
    )
    inverter = PosteriorInverter(least, n_draws=600).fit(X)
    began = perf_counter()
    inverter.predict(X, errors=errors)
    print(f"  {truth.shape[1]} constants, {number} in {perf_counter() - began:.0f} s")
    some = [each.n_draws > 0 for each in inverter.posteriors_]
    print(f"  {number - sum(some)} without a posterior")
    found = [each for each in inverter.posteriors_ if each.n_draws]
    truth = truth[some]
    told("efficiency", [each.efficiency for each in found])
    coverage(found, truth)
    table = RankDisplay.from_draws(found, truth).table
    print(table.round(4).to_string())
    for references in ("random", "ellipsoid"):
        joint = tarp_coverage(found, truth, references=references)
        print(f"  TARP, {references}: p = {joint.p_value:.3f}")


def show_shells(_):
    measured, tables = fetch_aluminium_arcs().measurement, {}
    for n_shells in (2, 3):
        model = load_aluminium_model().extended(n_shells)
        simulator = PowderSimulator.from_measurement(
            model, measured[0], scattering="coherent", tolerance=1e-3
        ).set_params(temperature=float(measured.temperature[1]))
        half = np.maximum(0.5 * np.abs(model.reference), 0.06)
        least = LeastSquaresInverter(
            simulator,
            nuisance=NUISANCE,
            background=3,
            bounds=(model.reference - half, model.reference + half),
        )
        tables[f"{n_shells} shells"] = PosteriorInverter(least).fit(measured.data[1:2])
    began = perf_counter()
    print(compare_posteriors(tables, measured.data[1]).round(2).to_string())
    print(f"  {perf_counter() - began:.0f} s")


def show_starts(number):
    """The simulated spectra from one start each, as good as a network's."""
    inverter, X, errors, truth = arcs(number)
    inverter.set_params(n_starts=1).fit(X)
    off = 0.03 * np.random.default_rng(0).normal(size=truth.shape)
    seconds, bands, least, efficiency = [], [], [], []
    points = np.linspace(0, 0.5, 50)[:, None] * [1, 1, 0]
    for row, error, start in zip(X, errors, truth * (1 + off), strict=True):
        began = perf_counter()
        inverter.predict(row[None], errors=error[None], starts=start[None])
        seconds.append(perf_counter() - began)
        inverter.posteriors_[0].energies(points)
        bands.append(perf_counter() - began)
        efficiency.append(inverter.posteriors_[0].efficiency)
        began = perf_counter()
        inverter.inverter_.predict(row[None], errors=error[None])
        least.append(perf_counter() - began)
    told("efficiency", efficiency)
    told("seconds", seconds)
    told("seconds, with bands", bands)
    told("seconds of least squares from its own start", least)


def show_oracle(_):
    try:
        import emcee
    except ImportError:
        print("  emcee is not installed")
        return
    simulator, nuisance = small()
    truth, beside = draws_of_prior(simulator, nuisance, 1, 7)
    X = simulator.simulate(truth, nuisance=beside, nuisance_ranges=nuisance)
    X, errors = noisy(X, 0.05, 8)
    inverter = inverter_of(simulator, nuisance, 1, n_draws=8000).fit(X)
    inverter.predict(X, errors=errors)
    (posterior,) = inverter.posteriors_
    low, high = np.array([*bounds_of(simulator.model).T, *nuisance.values()]).T
    seen = np.isfinite(X[0])
    from skphonon.inversion._model import background_terms, parts_of

    terms = background_terms(1, parts_of(simulator, X.shape[1])[0])[:, seen]
    ranges = dict(nuisance)

    def log_density(rows):
        inside = ((rows > low) & (rows < high)).all(axis=1)
        found = np.full(len(rows), -np.inf)
        inside[inside] = simulator.model.is_stable(rows[inside, :5])
        if not inside.any():
            return found
        some = rows[inside]
        spectra = simulator.simulate(
            some[:, :5],
            nuisance=dict(zip(nuisance, some[:, 5:].T, strict=True)),
            nuisance_ranges=ranges,
        )[:, seen]
        # all amplitudes flat: least squares, and the volume of the scale
        basis, _ = np.linalg.qr(terms.T)
        target = X[0, seen] - basis @ (basis.T @ X[0, seen])
        size = np.linalg.norm(spectra, axis=1, keepdims=True)
        shown = spectra / size
        shown = shown - (shown @ basis) @ basis.T
        length = np.linalg.norm(shown, axis=1)
        along = shown @ target / length
        square = target @ target - along**2
        sigma = errors[0, 0]
        found[inside] = -square / 2 / sigma**2 - np.log(length)
        return found

    values = posterior.draws.to_numpy()
    start = values[posterior._chosen(40, 0)]
    sampler = emcee.EnsembleSampler(40, len(low), log_density, vectorize=True)
    sampler.run_mcmc(start, 3000)
    chain = sampler.get_chain(discard=500, flat=True)
    mean = posterior.weights @ values
    std = np.sqrt(posterior.weights @ (values - mean) ** 2)
    print(f"  means apart, in std: {((mean - chain.mean(0)) / std).round(3)}")
    print(f"  std over that of emcee: {(std / chain.std(axis=0)).round(3)}")
    time = sampler.get_autocorr_time(quiet=True).max()
    print(f"  emcee: {len(chain) / time:.0f} independent draws")
    show_nested(X[0, seen], errors[0, 0], terms, simulator, (low, high), posterior)


def show_nested(spectrum, sigma, terms, simulator, bounds, posterior):
    """Print the evidence by nested sampling (dynesty)."""
    try:
        import dynesty
    except ImportError:
        print("  dynesty is not installed")
        return
    low, high = bounds
    names = posterior.nuisance_names
    ranges = dict(zip(names, np.transpose(bounds)[5:].tolist(), strict=True))
    target, n = spectrum / sigma, len(spectrum)
    contrast = np.linalg.norm(target - target.mean())
    seen = np.isfinite(simulator.simulate([simulator.reference])[0])

    def log_likelihood(row):
        if not simulator.model.is_stable(row[None, :5])[0]:
            return -1e300
        values = {name: row[None, 5 + i] for i, name in enumerate(names)}
        shown = simulator.simulate(
            row[None, :5], nuisance=values, nuisance_ranges=ranges
        )
        columns = np.vstack([shown[0, seen], terms]).T / sigma
        best, *_ = np.linalg.lstsq(columns, target, rcond=None)
        widths = contrast / np.linalg.norm(columns, axis=0) * [1, *[2] * len(terms)]
        # amplitudes integrated out, each over the width of its flat prior
        k = len(best)
        found = -np.square(target - columns @ best).sum() / 2
        found += k / 2 * np.log(2 * np.pi) - np.log(widths).sum()
        found -= np.linalg.slogdet(columns.T @ columns)[1] / 2
        return found - n * np.log(sigma * np.sqrt(2 * np.pi))

    sampler = dynesty.NestedSampler(
        log_likelihood,
        lambda cube: low + cube * (high - low),
        len(low),
        nlive=500,
        rstate=np.random.default_rng(0),
    )
    sampler.run_nested(print_progress=False)
    rows = np.random.default_rng(1).uniform(low, high, (20000, len(low)))
    share = np.log(simulator.model.is_stable(rows[:, :5]).mean())
    found, error = sampler.results.logz[-1] - share, sampler.results.logzerr[-1]
    print(
        f"  ln evidence {posterior.log_evidence:.2f}"
        f"({posterior.log_evidence_std:.2f}), by dynesty {found:.2f}({error:.2f})"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", default=PARTS)
    parser.add_argument("-n", type=int, default=100)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    for part in asked.parts:
        print(part, flush=True)
        globals()[f"show_{part}"](asked.n)


if __name__ == "__main__":
    main()
