"""Files as the programs at spectrometers write them, for tests of readers."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from skphonon.physics.constants import NEUTRON_HBAR2_OVER_2M


def case(name):
    """Return the path of a small input that once went wrong, and skip without it."""
    folder = os.environ.get("SKPHONON_CASES")
    if folder and (Path(folder) / name).is_file():
        return Path(folder) / name
    reason = f"needs SKPHONON_CASES, the folder of small inputs: no {name} in {folder}"
    if os.environ.get("SKPHONON_REQUIRE_DATA") == "1":
        pytest.fail(f"SKPHONON_REQUIRE_DATA=1 forbids this skip: {reason}")
    pytest.skip(reason)


def detectors(n_polar=40, n_azimuthal=30, polar=(5.0, 95.0), azimuthal=(-60.0, 60.0)):
    """Return centres and widths of a bank, by the names that NXSPE has for them."""
    low = [
        np.linspace(*span, n + 1)
        for span, n in ((polar, n_polar), (azimuthal, n_azimuthal))
    ]
    centres = [(edges[1:] + edges[:-1]) / 2 for edges in low]
    grid = [a.ravel() for a in np.meshgrid(*centres, indexing="ij")]
    ones = np.ones(grid[0].size)
    return {
        "polar": grid[0],
        "azimuthal": grid[1],
        "polar_width": np.diff(low[0])[0] * ones,
        "azimuthal_width": np.diff(low[1])[0] * ones,
    }


def momentum(bank, energy, incident_energy):
    """Return Q = ki - kf in the laboratory, shape (n_detectors, n_energy, 3).

    z is along the beam, y upwards.
    """
    polar, azimuthal = (np.deg2rad(bank[name]) for name in ("polar", "azimuthal"))
    direction = np.stack(
        [
            np.sin(polar) * np.cos(azimuthal),
            np.sin(polar) * np.sin(azimuthal),
            np.cos(polar),
        ],
        axis=-1,
    )
    ki, kf = (
        np.sqrt(np.asarray(e) / NEUTRON_HBAR2_OVER_2M)
        for e in (incident_energy, incident_energy - energy)
    )
    return ki * np.array([0.0, 0.0, 1.0]) - kf[:, None] * direction[:, None]


def write_nxspe(path, bank, edges, data, errors, incident_energy, psi=np.nan, scaled=1):
    """Write the layout of Mantid's SaveNXSPE, version 1.3."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("run")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = np.bytes_("NXSPE")
        entry["definition"].attrs["version"] = "1.3"
        info = entry.create_group("NXSPE_info")
        for name, value, units in (
            ("fixed_energy", incident_energy, "meV"),
            ("psi", psi, "degrees"),
        ):
            info[name] = np.array([value], dtype=float)
            info[name].attrs["units"] = np.bytes_(units)
        info["ki_over_kf_scaling"] = np.array([scaled], dtype=np.int32)
        group = entry.create_group("data")
        group["energy"] = edges
        group["energy"].attrs["units"] = "meV"
        group["data"] = data
        group["error"] = errors
        for name, values in bank.items():
            group[name] = values
        group["distance"] = np.full(len(data), 4.0)
    return path


HKL = [
    ("[H,0,0]", "r.l.u.", "HKL"),
    ("[0,K,0]", "r.l.u.", "HKL"),
    ("[0,0,L]", "r.l.u.", "HKL"),
]
ENERGY = ("DeltaE", "meV", "General Frame")


def write_mdhisto(path, axes, edges, signal, *, variance=None, events=None, **settings):
    """Write the layout of Mantid's SaveMD, version 2.

    `axes` holds long_name, units and frame, and `signal` its dimensions, in the order
    of D0, D1, ... Settings: mask, ub, logs, normalization, convention, version.
    """
    arrays = {
        "signal": signal,
        "errors_squared": signal if variance is None else variance,
        "num_events": np.ones_like(signal) if events is None else events,
        "mask": np.asarray(settings.get("mask", np.zeros(signal.shape)), dtype=np.int8),
    }
    with h5py.File(path, "w") as file:
        entry = file.create_group("MDHistoWorkspace")
        entry.attrs["NX_class"] = "NXentry"
        entry.attrs["SaveMDVersion"] = np.int32(settings.get("version", 2))
        entry.attrs["QConvention"] = settings.get("convention", "Inelastic")
        if settings.get("normalization") is not None:
            entry["visual_normalization"] = np.array([settings["normalization"]])
        data = entry.create_group("data")
        names = [f"D{number}" for number in range(len(axes))]
        for name, (long_name, units, frame), borders in zip(
            names, axes, edges, strict=True
        ):
            data[name] = np.asarray(borders, dtype=float)
            data[name].attrs.update({"long_name": np.bytes_(long_name), "units": units})
            if frame is not None:
                data[name].attrs["frame"] = frame
        for name, values in arrays.items():
            # the last dimension of the workspace is the first of the array
            data.create_dataset(name, data=np.transpose(values), compression="gzip")
        data["signal"].attrs.update({"signal": 1, "axes": ":".join(reversed(names))})
        experiment = entry.create_group("experiment0")
        for name, values in settings.get("logs", {}).items():
            experiment[f"logs/{name}/value"] = np.atleast_1d(values)
        if "ub" in settings:
            experiment["sample/oriented_lattice/orientation_matrix"] = settings["ub"]
    return path


def write_processed(
    path, values, errors, energy, across=None, *, groups=None, positions=None, **more
):
    """Write the layout of Mantid's SaveNexusProcessed.

    `across` is a momentum transfer, as after SofQW; without it, `positions` (distance,
    scattering angle, azimuth) and `groups` (lists of their rows) are of detectors.
    `more`: logs by name, history (list of str), parameters (str), distribution, title,
    units of axis1, across_units, append, goniometer (angle, axis and sense of each
    rotation), ub.
    """
    settings = {
        "logs": {},
        "history": [],
        "parameters": "",
        "distribution": 1,
        "title": "Al",
        "units": "DeltaE",
        "across_units": "MomentumTransfer",
        "goniometer": (),
        "ub": None,
        "append": False,
    } | more
    with h5py.File(path, "a" if settings["append"] else "w") as file:
        entry = file.create_group(f"mantid_workspace_{len(file) + 1}")
        entry["title"] = [np.bytes_(settings["title"])]
        workspace = entry.create_group("workspace")
        workspace["values"], workspace["errors"] = values, errors
        workspace["axis1"] = energy
        workspace["axis1"].attrs["units"] = np.bytes_(settings["units"])
        workspace["axis1"].attrs["distribution"] = np.bytes_(
            str(settings["distribution"])
        )
        workspace["axis2"] = np.arange(len(values)) if across is None else across
        unit = "spectraNumber" if across is None else settings["across_units"]
        workspace["axis2"].attrs["units"] = np.bytes_(unit)
        instrument = entry.create_group("instrument")
        instrument["name"] = [np.bytes_("MARI")]
        instrument["instrument_parameter_map/data"] = [
            np.bytes_(settings["parameters"] or " ")
        ]
        if positions is not None:
            groups = groups or [[row] for row in range(len(positions))]
            counts = [len(group) for group in groups]
            detector = instrument.create_group("detector")
            rows = np.concatenate(groups).astype(int)
            detector["detector_positions"] = np.asarray(positions, dtype=float)[rows]
            detector["detector_list"] = (1000 + rows).astype(np.int32)
            detector["detector_count"] = np.array(counts, dtype=np.int32)
            detector["detector_index"] = np.cumsum(counts, dtype=np.int32) - counts
        logs = entry.create_group("logs")
        for name, value in settings["logs"].items():
            if isinstance(value, dict):
                for key, series in value.items():
                    logs[f"{name}/{key}"] = series
            elif isinstance(value, str):
                logs[f"{name}/value"] = [np.bytes_(value)]
            else:
                logs[f"{name}/value"] = [value]
        logs["goniometer/num_axes"] = [len(settings["goniometer"])]
        for number, (angle, axis, sense) in enumerate(settings["goniometer"]):
            turned = logs.create_group(f"goniometer/axis{number}")
            turned["rotationaxis"] = np.asarray(axis, dtype=float)
            turned.attrs.update({"angle": angle, "angle_units": "deg", "sense": sense})
        if settings["ub"] is not None:
            entry["sample/oriented_lattice/orientation_matrix"] = settings["ub"]
        process = entry.create_group("process")
        for number, text in enumerate(settings["history"]):
            process[f"MantidAlgorithm_{number}/data"] = [np.bytes_(text)]
    return path
