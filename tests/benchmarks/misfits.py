"""How often least squares calls right models wrong, and wrong ones right.

Run with ``OMP_NUM_THREADS=1 python tests/benchmarks/misfits.py [peaks] [aluminium]``
(minutes; both if none is named).

peaks
    Two peaks on 58 or 598 pixels, by a model that is right; each spectrum is a call.
aluminium
    Powder spectra of aluminium, fitted with the width they were made with and with one
    that is wrong: chi^2, share of warnings, and how far constants are off.
"""

import argparse
import warnings

import numpy as np

from skphonon import (
    LeastSquaresInverter,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
)
from skphonon.inversion._goodness import are_misfits


class Peaks:
    """Two Gaussian peaks, with a width that is a nuisance."""

    parameter_names = ("position", "distance", "height")
    reference = np.array([18.0, 20.0, 0.8])
    nuisance_names, nuisance_reference = ("width",), np.array([4.0])

    def __init__(self, n_pixels):
        self.x = np.linspace(1, 58, n_pixels)

    def simulate(self, parameters, *, nuisance=None, nuisance_ranges=None):
        """Return spectra of shape (n_samples, n_pixels)."""
        return self.jacobian(parameters, nuisance=nuisance, return_spectra=True)[1]

    def jacobian(
        self, parameters, *, nuisance=None, nuisance_ranges=None, return_spectra=False
    ):
        """Return derivatives, and spectra if asked."""
        position, distance, height = np.transpose(parameters)[..., None]
        width = np.broadcast_to((nuisance or {}).get("width", 4.0), len(parameters))
        width = width[:, None]
        near, far = ((self.x - at) / width for at in (position, position + distance))
        one, two = np.exp(-(near**2)), np.exp(-(far**2))
        slope, other = 2 * near * one / width, height * 2 * far * two / width
        columns = [slope + other, other, two]
        if nuisance:
            columns.append(near * slope + far * other)
        derivatives, spectra = np.stack(columns, axis=2), one + height * two
        return (derivatives, spectra) if return_spectra else derivatives


def alarms(result, known):
    """Return which spectra would be warned of, each in a call of its own."""
    rows = zip(result.reduced_chi2, result.n_effective, result.loss, strict=True)
    return [are_misfits(*(np.array([v]) for v in row), known)[0] for row in rows]


def peaks(n_spectra=1500):
    """Print false alarms."""
    print("pixels  noise            alarms  chi^2")
    for n_pixels in (58, 598):
        model = Peaks(n_pixels)
        clean = model.simulate(np.tile(model.reference, (n_spectra, 1)))
        rng = np.random.default_rng(0)
        X = clean + 0.05 * rng.normal(size=clean.shape)
        cases = {
            "given": ("noise", X, np.full_like(X, 0.05)),
            "unknown": ("noise", X, None),
        }
        for mean in (0.3, 2, 40):
            expected = (clean + 0.5) * (mean / (clean + 0.5).mean())
            counts = rng.poisson(expected).astype(float)
            cases[f"counts, {mean:g}"] = ("poisson", counts, None)
        for name, (errors, rows, given) in cases.items():
            inverter = LeastSquaresInverter(
                model, background=1, nuisance={"width": (2.0, 8.0)}, noise=errors
            )
            result = inverter.fit(rows).invert(rows, given)
            share = np.mean(alarms(result, name != "unknown"))
            chi2 = result.reduced_chi2.mean()
            print(f"{n_pixels:6d}  {name:15s}  {share:.4f}  {chi2:.3f}", flush=True)


def aluminium(n_spectra=40):
    """Print what right and wrong widths do."""
    grid = SpectrumGrid(
        np.arange(10.25, 45, 0.5), np.arange(0.55, 9, 0.2), incident_energy=50.0
    )
    settings = {"temperature": 50.0, "q_resolution": 0.08}
    model = load_aluminium_model()
    maker = PowderSimulator(model, grid, energy_resolution=1.5, **settings)
    rng = np.random.default_rng(0)
    y = model.reference * rng.uniform(0.9, 1.1, size=(n_spectra, 5))
    clean = maker.simulate(y)
    noise = 0.1 * np.nanstd(clean)
    X = clean + noise * rng.normal(size=clean.shape)
    print("width  errors   given  warned  chi^2  off (median, in error bars)")
    for width in (1.5, 1.8, 2.0, 2.5):
        simulator = PowderSimulator(model, grid, energy_resolution=width, **settings)
        for errors, given in (("noise", True), ("noise", False), ("residual", False)):
            inverter = LeastSquaresInverter(simulator, noise=errors).fit(X)
            result = inverter.invert(X, np.full_like(X, noise) if given else None)
            away = np.median(np.abs(result.parameters - y) / result.std, axis=0).max()
            print(
                f"{width:5.1f}  {errors:8s} {given!s:5s}  "
                f"{np.mean(alarms(result, given)):.2f}    "
                f"{result.reduced_chi2.mean():.2f}   {away:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = {"peaks": peaks, "aluminium": aluminium}
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(parts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for part in parser.parse_args().parts or parts:
            parts[part]()
