"""Phonons from measured spectra, beside what is known of them.

Run with ``OMP_NUM_THREADS=1 python tests/benchmarks/measured.py [silicon] [known]
[aluminium] [joint]``; half a minute of processor time a fit. Needs SKPHONON_DATA.

silicon
    MARI, 300 K, from the spectrum alone: a calculation of four shells (16 atoms in its
    supercell), six shells about it, and starts and priors of 0.8 and 1.2 times its
    constants. Eight energies beside those of Nilsson and Nelin.
known
    The same with the Raman energy and the elastic constants; the other seven energies.
aluminium
    MARI, 5 K, about `load_aluminium_model`; energies at X and L, and whether its can is
    told apart.
joint
    ARCS aluminium at 50, 280, 450 and 640 K, constants linear in temperature, beside
    fits of single temperatures.
"""

import argparse
import warnings
from time import process_time

import numpy as np
from coverage import (
    CHOSEN,
    LATTICE,
    LITERATURE,
    POINTS,
    STIFFNESS,
    calculation,
    folder,
)

import skphonon
from skphonon import (
    JointSimulator,
    LeastSquaresInverter,
    PowderSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    load_aluminium_model,
)
from skphonon.inversion import (
    ElasticConstants,
    PhononEnergies,
    Search,
)
from skphonon.physics import ShellPrior
from skphonon.simulation import Scattering

PARTS = ("silicon", "known", "aluminium", "joint")
RAMAN = 64.2, 0.2  # meV
DIAMOND = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def silicon(factor=1.0, n_shells=6, known=False, errors="residual"):
    """Fit silicon and return the fit, and the processor time."""
    began = process_time()
    run = skphonon.read(folder() / "mari" / "silicon_Ei80_300K.nxspe")
    cell = LATTICE * np.eye(3), np.concatenate([DIAMOND, DIAMOND + 0.25]), "Si"
    instrument = {
        "instrument": "MARI",
        "chopper_frequency": 200,
        "chopper_package": "G",
    }
    found = skphonon.calibrate(run, cell, resolution=instrument)
    run = found.measurement
    # the last bank counts 0.63 of its neighbours, as the report says
    run = run.replace(data=np.where(run.polar[:, None] > 120, np.nan, run.data))
    grid = SpectrumGrid(np.arange(10, 72, 1.0), np.arange(2, 9.8, 0.1))
    measured = skphonon.reduce_powder(run, grid).replace(temperature=300.0)
    model = calculation().extended(n_shells)
    model = model.replace(reference=factor * model.reference)
    simulator = PowderSimulator.from_measurement(
        model, measured, scattering=Scattering(incoherent=True), q_resolution=0.04
    )
    prior = [ShellPrior(model, energies=0.05 if factor == 1 else None)]
    if known:
        energy, std = RAMAN
        prior += [
            PhononEnergies.at_zone_centre(model, [energy], [std], modes=[5]),
            ElasticConstants(model, STIFFNESS),
        ]
    inverter = LeastSquaresInverter(
        simulator,
        nuisance={
            **found.nuisance(),
            "energy_resolution": (0.5, 3.0),
            "mean_square_displacement": (-0.004, 0.03),
        },
        background=3,
        contributions={"can": "aluminium"},
        prior=prior,
        noise=errors,
        search=Search(tolerance=1e-4),
    )
    inverter.fit(measured.data).predict(measured.data)
    return inverter.fits_[0], process_time() - began


def chosen(fit):
    """Return the eight energies of a fit, and their bars."""
    table = fit.energies(POINTS)
    values, bars = (
        table[name].to_numpy().reshape(len(POINTS), -1) for name in ("energy", "std")
    )
    return np.array([(values[i, j], bars[i, j]) for i, j in CHOSEN]).T


def show(name, fit, seconds, left_out=()):
    """Print energies beside the literature."""
    values, bars = chosen(fit)
    off = values - LITERATURE
    kept = [i for i in range(len(off)) if i not in left_out]
    z = np.abs(off / bars)[kept]
    print(
        f"{name}: rms {np.sqrt(np.mean(off[kept] ** 2)):.2f} meV, median bar "
        f"{np.median(bars[kept]):.2f}, {np.sum(z < 1)} of {len(kept)} within one, "
        f"largest {z.max():.1f}; NMSE {fit.figures['loss']:.4f}, {seconds:.0f} s"
    )
    print(
        "  " + " ".join(f"{e:.1f}({b:.1f})" for e, b in zip(values, bars, strict=True))
    )
    known = fit.nuisance
    told = [n for n in known.index if f"{n} std" in known.index]
    print(
        "  " + ", ".join(f"{n} {known[n]:.4g}({known[n + ' std']:.2g})" for n in told)
    )
    print("  " + str(fit.verdict_).replace("\n", "\n  "), flush=True)


def aluminium():
    """Fit aluminium at 5 K and print energies at X and L."""
    began = process_time()
    run = skphonon.read(folder() / "mari" / "aluminium_Ei60.nxspe")
    cubic = 4.032 * np.eye(3), DIAMOND, "Al"  # at 5 K
    found = skphonon.calibrate(run, cubic)
    grid = SpectrumGrid(np.arange(8, 45, 0.5), np.arange(1.5, 8.5, 0.1))
    measured = skphonon.reduce_powder(found.measurement, grid).replace(temperature=5.0)
    model = load_aluminium_model().extended(4)
    simulator = PowderSimulator.from_measurement(
        model,
        measured,
        scattering=Scattering(incoherent=True),
        energy_resolution=1.5,
        q_resolution=0.04,
    )
    for name, contributions in (("alone", {}), ("with a can", {"can": "aluminium"})):
        inverter = LeastSquaresInverter(
            simulator,
            nuisance={
                "lattice_scale": (0.99, 1.01),
                "energy_resolution": (0.8, 4.0),
                "energy_resolution_slope": (-1.0, 1.9),
                "mean_square_displacement": (-0.004, 0.03),
            },
            background=3,
            contributions=contributions,
            prior=ShellPrior(model, energies=0.05),
            search=Search(tolerance=1e-4),
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            inverter.fit(measured.data).predict(measured.data)
        (fit,) = inverter.fits_
        table = fit.energies([[0.5, 0.5, 0], [0.5, 0.5, 0.5]])
        told = [
            f"{e:.2f}({s:.2f})" for e, s in zip(table.energy, table["std"], strict=True)
        ]
        print(
            f"aluminium {name}: X {told[0]} {told[2]} (24.0 40.1), L {told[3]} "
            f"{told[5]} (17.3 40.1); NMSE {fit.figures['loss']:.4f}, "
            f"{process_time() - began:.0f} s"
        )
        for each in caught:
            print(f"  {each.category.__name__}: {str(each.message)[:110]}")


def joint():
    """Fit four temperatures together and alone."""
    temperatures = (50, 280, 450, 640)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = fetch_aluminium_arcs().measurement
    rows = [i for i, t in enumerate(measured.temperature) if t in temperatures]
    images = measured.data[rows]
    model = load_aluminium_model()
    nuisance = {
        "energy_resolution": (0.8, 3.0),
        "lattice_scale": (0.96, 1.03),
        "mean_square_displacement": (-0.004, 0.03),
    }
    simulators, alone = {}, []
    for row, kelvins in zip(rows, temperatures, strict=True):
        simulators[f"{kelvins} K"] = PowderSimulator.from_measurement(
            model, measured[row], energy_resolution=1.54
        )
    for row, simulator in enumerate(simulators.values()):
        inverter = LeastSquaresInverter(simulator, nuisance=nuisance, background=3)
        inverter.fit(images[[row]]).predict(images[[row]])
        alone.append(inverter)
    both = JointSimulator(simulators, at=temperatures, degree=1)
    began = process_time()
    inverter = LeastSquaresInverter(both, nuisance=nuisance, background=3)
    X = images.reshape(1, -1)
    inverter.fit(X).predict(X)
    left = inverter.residual_.reshape(images.shape)
    for row, single in enumerate(alone):
        spread = np.nanvar(images[row])
        print(
            f"ARCS {temperatures[row]} K: NMSE alone {single.loss_[0]:.4f}, together "
            f"{np.nanmean(left[row] ** 2) / spread:.4f}"
        )
    names, n = model.parameter_names, len(model.parameter_names)
    constants = np.array([each._last.parameters[0] for each in alone])
    bars = np.array([np.sqrt(np.diag(each.covariance_[0])) for each in alone])
    lines = np.array(
        [both.parameters_at(inverter._last.parameters, t)[0] for t in temperatures]
    )
    chi2 = np.sum(((constants - lines) / bars) ** 2)
    free = n * (len(temperatures) - 2)
    print(f"scatter about the lines: chi^2 per degree of freedom {chi2 / free:.2f}")
    values, covariance = inverter._last.parameters[0], inverter.covariance_[0]
    for i, name in enumerate(names):
        slope = (values[2 * i + 1] - values[2 * i]) / 590
        pair = covariance[2 * i : 2 * i + 2, 2 * i : 2 * i + 2]
        bar = np.sqrt(pair[0, 0] + pair[1, 1] - 2 * pair[0, 1]) / 590
        print(f"  {name}: {1e5 * slope:+.1f}({1e5 * bar:.1f}) 1e-5 eV/Angstrom^2/K")
    print(f"  {process_time() - began:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", default=PARTS)
    warnings.simplefilter("ignore")
    for part in parser.parse_args().parts:
        if part == "silicon":
            for factor in (1.0, 0.8, 1.2):
                show(f"silicon, start x {factor}", *silicon(factor))
        elif part == "known":
            show("silicon, with moduli and Raman", *silicon(known=True), left_out=(0,))
        else:
            {"aluminium": aluminium, "joint": joint}[part]()


if __name__ == "__main__":
    main()
