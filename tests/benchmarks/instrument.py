"""What the instrument and hot phonons do to spectra, measured.

Run by hand: ``python tests/benchmarks/instrument.py``, half a minute. Prints

- the error of constants, and of phonon energies, fitted to aluminium with wide phonons,
  with and without their widths among the nuisances;
- the error of bins of angles against a fine map of constant |Q|, averaged over pixels;
- how alike the changes of a spectrum with nuisances are;
- seconds a spectrum, and a Jacobian with all nuisances.
"""

from time import perf_counter

import numpy as np
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import least_squares

from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
from skphonon.instrument import AngleGrid
from skphonon.physics.scattering import momentum_transfer

WIDTHS = {"line_width": (0.0, 3.0), "line_width_slope": (-0.1, 0.2)}
RANGES = {"energy_resolution": (1.0, 3.0), **WIDTHS}
MODEL = load_aluminium_model()
POINTS = [[0.5, 0.5, 0], [0.5, 0.5, 0.5], [0.5, 0.25, 0.75], [0.25, 0.25, 0]]


def fits():
    """Fit wide phonons with sharp and with wide ones."""
    grid = SpectrumGrid(
        np.arange(8.25, 45, 0.5),
        np.arange(1.05, 9, 0.1),
        incident_energy=50.0,
        two_theta=(3, 136),
    )
    simulator = PowderSimulator(
        MODEL, grid, energy_resolution=1.5, mesh=14, temperature=640.0
    )
    reference, visible = simulator.reference, grid.mask.ravel()
    hot = {"line_width": 0.3, "line_width_slope": 0.03}
    measured = simulator.simulate(reference, nuisance=hot)[0, visible]
    for names in (["energy_resolution"], [*RANGES]):
        ranges = {name: RANGES[name] for name in names}

        def of(x, names=names, ranges=ranges):
            jacobian, spectra = simulator.jacobian(
                x[None, :5],
                nuisance=dict(zip(names, x[5:], strict=True)),
                nuisance_ranges=ranges,
                return_spectra=True,
            )
            return spectra[0, visible] - measured, jacobian[0, visible]

        start = np.r_[1.02 * reference, [1.5, 0.5, 0.0][: len(names)]]
        low, high = np.array([*ranges.values()]).T
        found = least_squares(
            lambda x, of=of: of(x)[0],
            start,
            lambda x, of=of: of(x)[1],
            bounds=(np.r_[reference - 10, low], np.r_[reference + 10, high]),
            x_scale=np.abs(start) + 0.05,
        )
        off = MODEL.frequencies(found.x[:5], POINTS) - MODEL.frequencies(
            reference, POINTS
        )
        print(
            f"fitted {', '.join(names)}: {found.x[5:].round(3)}; constants off by "
            f"{np.abs(found.x[:5] - reference).max():.4f} eV/A^2, energies by "
            f"{np.abs(off).max():.3f} meV, "
            f"NMSE {(found.fun**2).mean() / measured.var():.1e}"
        )


def bins_of_angles():
    """Compare bins of angles with a fine map averaged over them."""
    for sigma, of_q, incident in (
        (1.5, 0.09, 50.0),
        (0.6, 0.03, 50.0),
        (0.6, 0.03, 120.0),
    ):
        top = momentum_transfer(2.0, incident, 136.0) + 0.5
        fine = SpectrumGrid(np.arange(2, 46, 0.1), np.arange(0.02, top, 0.02))
        settings = {"energy_resolution": sigma, "q_resolution": of_q, "mesh": 20}
        image = PowderSimulator(MODEL, fine, **settings).simulate(MODEL.reference)
        spline = RectBivariateSpline(*fine.axes(), fine.to_image(image)[0])
        for width, angle in ((0.5, 1.0), (1.0, 2.0), (1.0, 5.0), (2.0, 3.0)):
            energy, two_theta = np.arange(5, 42, width), np.arange(5, 130, angle)
            grid = AngleGrid(energy, two_theta, incident_energy=incident)
            within = (np.arange(9) + 0.5) / 9 - 0.5
            energies = (energy[:, None] + width * within)[:, None, :, None]
            angles = (two_theta[:, None] + angle * within)[None, :, None, :]
            moduli = momentum_transfer(energies, incident, angles)
            energies = np.broadcast_to(energies, moduli.shape)
            expected = spline.ev(energies, moduli).mean(axis=(2, 3))
            found = PowderSimulator(MODEL, grid, **settings).simulate(MODEL.reference)
            error = ((grid.to_image(found)[0] - expected) ** 2).mean() / expected.var()
            print(
                f"Ei {incident:g} meV, resolution {sigma:g} meV, bins of {width:g} meV "
                f"and {angle:g} degrees: NMSE {error:.1e}"
            )


def alike_and_time():
    """Print correlations of derivatives, and times."""
    energy = np.arange(8, 45, 0.5)
    window = {"incident_energy": 50.0}
    for grid, settings in (
        (SpectrumGrid(energy, np.arange(1, 9, 0.1), **window), {}),
        (SpectrumGrid(energy, np.arange(1, 9, 0.1), **window), {"q_resolution": of_q}),
        (AngleGrid(energy, np.arange(5, 135, 1.5), **window), {}),
    ):
        simulator = PowderSimulator(
            MODEL, grid, energy_resolution=1.5, mesh=12, **settings
        )
        names, rows = simulator.nuisance_names, np.tile(simulator.reference, (32, 1))
        wide = {"line_width": np.linspace(0.1, 1, 32)}
        calls = (
            lambda simulator=simulator, rows=rows: simulator.simulate(rows),
            lambda simulator=simulator, rows=rows, wide=wide: simulator.simulate(
                rows, nuisance=wide
            ),
            lambda simulator=simulator, rows=rows, names=names: simulator.jacobian(
                rows, nuisance=names
            ),
        )
        spent = []
        for call in calls:
            call()
            start = perf_counter()
            call()
            spent.append((perf_counter() - start) / len(rows) * 1e3)
        print(
            f"{type(grid).__name__}, {'function' if settings else 'number'}: "
            f"{spent[0]:.1f} ms a spectrum, {spent[1]:.1f} with a width of its own, "
            f"{spent[2]:.1f} with all derivatives"
        )
    some = ["incident_energy", "two_theta_offset", "lattice_scale", "q_scale"]
    jacobian = simulator.jacobian(simulator.reference[None], nuisance=some)[0]
    print(f"Correlations of {', '.join(some)}:")
    print(np.corrcoef(jacobian[:, -len(some) :].T).round(2))


def of_q(q, energy):
    """Return a resolution in |Q| that grows with it."""
    return 0.05 + 0.01 * q + 0 * energy


if __name__ == "__main__":
    fits()
    bins_of_angles()
    alike_and_time()
