r"""
Silicon from a powder spectrum, a Raman line and three moduli
=============================================================

Measured spectra hold more than the sample: a can, a cryostat, a background. A fit that
does not know of it bends the force constants until they imitate the can. This example
takes silicon as it was measured on MARI, from the file to phonons with error bars. No
calculation is used. What is known beforehand is one Raman line and three elastic
constants. Energies that triple-axis spectrometers measured at X and L are only used to
check the result. The guide is :doc:`/from_file_to_phonons`.
"""

# %%
# The file, calibrated
# --------------------
# The elastic line tells zero, scattering angles and resolution; its reflections show
# aluminium beside silicon. One bank of detectors counts too little, which ``calibrate``
# warns of, and is left out. The energies begin above the elastic line.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import skphonon
from skphonon import ForceConstantModel, LeastSquaresInverter, PowderSimulator
from skphonon.datasets import fetch_silicon_mari
from skphonon.inspection import PhononBandsDisplay, draw_parameters
from skphonon.instrument import MeasurementWarning
from skphonon.inversion import (
    BoundWarning,
    ElasticConstants,
    MisfitWarning,
    PhononEnergies,
    Search,
    fit_observables,
)
from skphonon.physics import ShellPrior
from skphonon.physics.constants import MEV_PER_THZ
from skphonon.simulation import Scattering

EDGE = 5.431  # Angstrom, at 300 K
GRID = skphonon.SpectrumGrid(np.arange(10, 72, 1.5), np.arange(2, 9.8, 0.15))
SETTINGS = dict(
    scattering=Scattering(n_phonons=3, incoherent=True),
    q_resolution=0.04,
    tolerance=1e-3,
)
PRIMITIVE = EDGE / 2 * (np.ones((3, 3)) - np.eye(3))
springs = ForceConstantModel(
    PRIMITIVE,
    ["Si", "Si"],
    np.array([3.5, 2.5]),  # eV/Angstrom^2, about those of any tetrahedral crystal
    positions=np.array([[0, 0, 0], [0.25, 0.25, 0.25]]),
    n_shells=1,
)

# Nilsson and Nelin, https://doi.org/10.1103/PhysRevB.6.3777, in THz
POINTS = {"Gamma": [0, 0, 0], "X": [0.5, 0.5, 0], "L": [0.5, 0.5, 0.5]}
LITERATURE = pd.DataFrame(
    [
        ("Gamma", 5, 15.53),
        ("X", 0, 4.49),
        ("X", 2, 12.32),
        ("X", 4, 13.90),
        ("L", 0, 3.43),
        ("L", 2, 11.35),
        ("L", 3, 12.60),
        ("L", 4, 14.68),
    ],
    columns=["point", "mode", "energy"],
)
LITERATURE["energy"] *= MEV_PER_THZ


def facts(crystal):
    """Return Raman line and elastic constants, with errors."""
    return [
        PhononEnergies.at_zone_centre(crystal, 64.2, 0.2),
        ElasticConstants(
            crystal, {"C11": (165.7, 2.0), "C12": (63.9, 2.0), "C44": (79.6, 2.0)}
        ),
    ]


def read_silicon():
    """Read the run, calibrate it and put it on energies and |Q|."""
    silicon = fetch_silicon_mari()
    run = skphonon.read(silicon.filename)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasurementWarning)  # of the bank
        found = skphonon.calibrate(run, springs, resolution=silicon.resolution)
    print(found)
    run = found.measurement
    bank = run.polar[:, None] > 120.5
    run = run.replace(data=np.where(bank, np.nan, run.data))
    spectrum = skphonon.reduce_powder(run, GRID)
    return spectrum.replace(temperature=silicon.temperature), found.nuisance()


def make_up_spectrum():
    """Simulate a crystal with the published energies in a can, with noise."""
    table = PhononEnergies(
        springs.extended(8),
        np.array([POINTS[point] for point in LITERATURE["point"]]),
        LITERATURE["energy"].to_numpy(),
        0.15,
        modes=LITERATURE["mode"].to_list(),
        least_strength=None,
    )
    prior = ShellPrior(table.model)
    known = [table, *facts(table.model)[1:]]
    truth = fit_observables(table.model, known, prior=prior, robust=False).fitted_model
    grid = GRID.replace(incident_energy=79.4, two_theta=(3.0, 120.0))
    settings = dict(SETTINGS, quantity="sqe", energy_resolution=1.4, temperature=300.0)
    can = skphonon.load_aluminium_model("gilat-nicklow-1966")
    rows = [
        PowderSimulator(each, grid, **settings).simulate([each.reference])
        for each in (truth, can)
    ]
    data = rows[0] / np.nanstd(rows[0]) + 0.5 * rows[1] / np.nanstd(rows[1])
    data = data + 0.2 * np.random.default_rng(0).standard_normal(data.shape)
    made = skphonon.Measurement(
        data, grid, quantity="sqe", temperature=300.0, energy_resolution=1.4
    )
    return made, {"lattice_scale": (0.998, 1.002)}


try:
    measured, ranges = read_silicon()
    print("Spectrum measured on silicon")
except OSError as error:
    measured, ranges = make_up_spectrum()
    print(f"SYNTHETIC spectrum with noise, not a measured one ({error})")

# %%
# What is known beforehand
# ------------------------
# Springs between nearest neighbours are far from silicon. Seven more shells begin at
# zero. :class:`~skphonon.physics.ShellPrior` says how large their constants may be: the
# farther the neighbours, the smaller. The Raman line (64.2 meV) and the elastic
# constants are fitted first, without any spectrum.

model = springs.extended(8)
begin = fit_observables(model, facts(model), prior=ShellPrior(model), robust=False)
model = begin.fitted_model


def compare(energies):
    """Return energies of `fit.energies` beside those of the literature."""
    rows = [6 * list(POINTS).index(p) + m for p, m, _ in LITERATURE.to_numpy()]
    table = LITERATURE.copy()
    table["fitted"] = energies["energy"].to_numpy()[rows]
    table["std"] = energies["std"].to_numpy()[rows]
    table["in bars"] = (table["fitted"] - table["energy"]) / table["std"]
    return table


def rms(fitted):
    """Return the root mean square deviation from the literature in meV."""
    return np.sqrt(np.mean((fitted - LITERATURE["energy"].to_numpy()) ** 2))


# %%
# Wrong first: no can
# -------------------
# The verdict names the can. In the measured spectrum a polynomial took half of the
# intensity. Its energies are about as near to the literature as those below only
# because Raman line and moduli hold them: in the guide nothing does, and they are not.

simulator = PowderSimulator.from_measurement(model, measured, **SETTINGS)
inverter = LeastSquaresInverter(
    simulator,
    nuisance={
        **ranges,
        "energy_resolution": (0.5, 3.0),
        "mean_square_displacement": (-0.004, 0.03),
    },
    background=3,
    prior=[ShellPrior(model), *facts(model)],
    search=Search(tolerance=1e-4),
)
warnings.simplefilter("ignore", MisfitWarning)  # the verdict says the same
warnings.simplefilter("ignore", BoundWarning)
inverter.fit(measured.data).predict(measured.data)
(wrong,) = inverter.fits_
print(wrong.verdict_)
points = list(POINTS.values())
off = rms(compare(wrong.energies(points))["fitted"])
print(f"rms deviation of the eight energies: {off:.2f} meV")

# %%
# The can by its name
# -------------------
# Its spectrum is simulated with constants of its own, and its weight fitted along. In
# the measured spectrum residuals are still 1.2 times noise, with no single cause.

inverter.set_params(contributions={"can": "aluminium"})
inverter.fit(measured.data).predict(measured.data)
(fit,) = inverter.fits_
print(inverter.shares_.round(2).to_string(index=False))
print(fit.verdict_)
fit.plot()

# %%
# Phonons, beside those of a single crystal
# -----------------------------------------
# Bands are of 68 %; dots were measured by triple-axis spectrometers. The spectrum moves
# the lowest energy at X by 8 meV to where it belongs. The lowest one at L is 1.3 meV
# too low, three error bars: it lies at the lower end of the window, where the
# background is least certain, and no error bar holds that.

start = model.frequencies([model.reference], points)[0]
before = [start[list(POINTS).index(p), m] for p, m, _ in LITERATURE.to_numpy()]
table = compare(fit.energies(points))
table.insert(3, "before", before)
print(table.round(2).to_string(index=False))
print(f"rms: {rms(np.array(before)):.2f} before, {rms(table['fitted']):.2f} meV fitted")
dots = LITERATURE[["energy"]].copy()
dots[["q1", "q2", "q3"]] = [POINTS[point] for point in LITERATURE["point"]]
PhononBandsDisplay.from_draws(
    {"powder spectrum": fit, "Raman line and moduli": draw_parameters(model)},
    measured=dots,
).plot()
plt.show()
