"""Lines that read a spectrum, calibrate it and bring it to a grid."""

from typing import Any

import numpy as np

from skphonon.cli.request import Request, check_row
from skphonon.cli.script import Script
from skphonon.physics.scattering import momentum_transfer

__all__ = ["add_spectrum", "edge_of", "measured_of"]

_MARGINS = 0.12, 0.9  # of the incident energy: what is fitted of it
_STEPS = 60  # bins of energy
_Q_STEP = 0.1  # 1/Angstrom
_Q_FIRST = 1.0  # 1/Angstrom: below it are elastic tails and holders
_EDGE = 0.97  # share of the intensity above the background that lies below the edge


def measured_of(asked: Request) -> tuple[Any, list[str]]:
    """Return the measurement of a file, and the lines that read it.

    An example, which is loaded when the script runs, is None.
    """
    if asked.is_example:
        kelvin = asked.example_temperature
        return None, [f"spectra = measured = load_aluminium_spectra({kelvin})"]
    from skphonon.io import read

    assert asked.measured is not None  # as checked
    path = str(asked.measured.resolve())
    lines = [f"measured = skphonon.read({path!r})"]
    found: Any = read(path)
    if isinstance(found, list):
        check_row(asked.row, len(found))
        found, lines = found[asked.row], [*lines, f"measured = measured[{asked.row}]"]
    changes = {
        "temperature": asked.temperature,
        "incident_energy": asked.incident_energy,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        told = ", ".join(f"{name}={value!r}" for name, value in changes.items())
        found = found.replace(**changes)
        lines.append(f"measured = measured.replace({told})")
    if not hasattr(found, "polar") and not hasattr(found.grid, "q"):
        raise ValueError(
            f"{asked.name} holds no powder spectrum by |Q|, but a "
            f"{type(found.grid).__name__}. Other measurements are fitted in Python: "
            "see the pages on single crystals, spin waves and angle grids."
        )
    if found.temperature is None:
        raise ValueError(
            f"{asked.name} does not tell the temperature of the sample. Give it: "
            "--temperature, in K."
        )
    return found, lines


def add_spectrum(script: Script, asked: Request, found: Any, lines: list[str]) -> None:
    """Add lines that end with `measured`, `spectra` and `beside`.

    The first is one spectrum on a grid, the second all that the file holds, the third
    what stood in the beam beside the sample.
    """
    if found is None:
        script.need("from skphonon.datasets import load_aluminium_spectra")
        script.add("the spectrum", *lines, "print(measured.source)", "beside = {}")
    elif hasattr(found, "polar"):
        script.add("the spectrum", *lines, *_by_detector(script, asked, found))
    else:
        check_row(asked.row, len(np.atleast_2d(found.data)))
        lines = [*lines, "spectra = measured"]
        if len(np.atleast_2d(found.data)) > 1:
            lines.append(f"measured = spectra[{asked.row}]")
        script.add("the spectrum", *lines, "beside = {}")
    _add_errors(script, found is not None and found.error is not None)


def _add_errors(script: Script, known: bool) -> None:
    """Add lines that end with `errors`, of pixels."""
    if not known:
        script.add("no errors of pixels: their noise is estimated", "errors = None")
        return
    script.need("from skphonon.instrument import local_errors")
    script.add(
        "errors of counts follow the counts, and would draw a fit below them",
        "errors = local_errors(measured)",
    )


def _by_detector(script: Script, asked: Request, found: Any) -> list[str]:
    """Return lines that calibrate detectors and rebin them."""
    script.need(
        "import numpy as np", "from skphonon.instrument.holders import MODELLED"
    )
    # the lattice of a calculation is not the measured one
    crystal = "None" if asked.is_calculated else "model"
    kelvins = float(np.ravel(found.temperature)[0])
    width = repr(asked.resolution or "direct_geometry")
    lines = [
        "calibration = skphonon.calibrate(",
        f"    measured, crystal={crystal}, resolution={width}",
        ")",
        "# what else stood in the beam, by its Bragg lines",
        'names = calibration.holders["name"]',
        "beside = {name: name for name in names if name in MODELLED}",
    ]
    if asked.network is None:
        energies, wavevectors = _bins(found)
        lines += [
            "grid = skphonon.SpectrumGrid(",
            "    np.arange({:.4g}, {:.4g}, {:.3g}),".format(*energies),
            "    np.arange({:.4g}, {:.4g}, {:.3g}),".format(*wavevectors),
            ")",
        ]
    else:
        lines.append("grid = network[0].grid")
    return [
        *lines,
        "run = calibration.measurement",
        "angle = np.abs(measured.polar)[:, None]  # as the table of faults has them",
        "for low, high in calibration.bank_faults[['low', 'high']].to_numpy():",
        "    print(f'Left out: detectors from {low:.1f} to {high:.1f} degrees')",
        "    fault = (angle >= low) & (angle <= high)",
        "    run = run.replace(data=np.where(fault, np.nan, run.data))",
        "measured = skphonon.reduce_powder(run, grid)",
        f"spectra = measured = measured.replace(temperature={kelvins!r})",
    ]


def _bins(found: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return first, last and step of energies and of wavevectors."""
    incident = float(found.incident_energy)
    low, high = (share * incident for share in _MARGINS)
    angle = min(float(np.nanmax(np.abs(found.polar))), 180.0)
    reach = float(momentum_transfer(low, incident, angle))
    return (low, high, (high - low) / _STEPS), (_Q_FIRST, reach, _Q_STEP)


def edge_of(asked: Request, found: Any) -> float:
    """Return where the phonons of a spectrum end, in meV."""
    if hasattr(found, "polar"):
        energies = (found.energy_edges[1:] + found.energy_edges[:-1]) / 2
        means = np.nanmean(
            np.where(np.isfinite(found.data), found.data, np.nan), axis=0
        )
        low, high = (share * float(found.incident_energy) for share in _MARGINS)
    else:
        image = found.grid.to_image(np.atleast_2d(found.data))[
            min(asked.row, len(np.atleast_2d(found.data)) - 1)
        ]
        energies = np.asarray(found.grid.energy)
        means, low, high = np.nanmean(image, axis=1), energies.min(), energies.max()
    kept = (energies >= low) & (energies <= high) & np.isfinite(means)
    energies, means = np.asarray(energies)[kept], means[kept]
    above = np.maximum(means - np.quantile(means, 0.1), 0.0)
    share = np.cumsum(above) / above.sum()
    return float(energies[np.searchsorted(share, _EDGE)])
