"""What every test shares: the data folder, and one thread a process."""

import os

# Sums are the same on any machine then; read when numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_folder():
    """Folder of real measurements and reference inputs, named by SKPHONON_DATA."""
    return _folder(os.environ.get("SKPHONON_DATA"))


@pytest.fixture(scope="session")
def aluminium_folder(data_folder):
    """Folder of the aluminium spectra, with the published set's file names."""
    return _folder(data_folder / "aluminium-arcs-50meV")


@pytest.fixture(scope="session")
def la2nio4_folder(data_folder):
    """Folder of the spin-wave map of La2NiO4."""
    return _folder(data_folder / "la2nio4")


@pytest.fixture(scope="session")
def aluminium():
    """Aluminium with force constants to second neighbours."""
    from skphonon import load_aluminium_model

    return load_aluminium_model()


@pytest.fixture(scope="session")
def germanium(data_folder):
    """Germanium of phonopy's example, with its force constants in a file."""
    from skphonon import ForceConstantModel

    return ForceConstantModel.from_phonopy(
        data_folder / "phonopy" / "Ge-phonopy.yaml",
        force_constants=data_folder / "phonopy" / "Ge-force_constants.hdf5",
    )


@pytest.fixture(scope="session")
def silicon(data_folder):
    """Silicon of phonopy's example: two atoms that inversion exchanges."""
    return _example(data_folder, "phonopy_params_Si.yaml")


@pytest.fixture(scope="session")
def salt(data_folder):
    """Rock salt of phonopy's example, with Born charges."""
    return _example(data_folder, "phonopy_params_NaCl-1.00.yaml.xz")


@pytest.fixture(scope="session")
def zincblende():
    """No centre of inversion; springs between neighbours of two kinds."""
    from skphonon import ForceConstantModel

    model = ForceConstantModel(
        2.83 * (np.ones((3, 3)) - np.eye(3)),
        ["Ga", "As"],
        None,
        positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
        n_shells=3,
    )
    table = {"1XX": 6.0, "1XY": 4.0, "1YZ": 4.0}
    springs = [
        table.get(name.split()[0], 0.3 / (2 + n))
        for n, name in enumerate(model.parameter_names)
    ]
    return model.replace(reference=springs)


def _example(folder, name):
    from skphonon import ForceConstantModel

    return ForceConstantModel.from_phonopy(folder / "phonopy" / name)


def _folder(path):
    if not path or not Path(path).is_dir():
        pytest.skip(f"needs SKPHONON_DATA, the folder of real data: no folder {path}")
    return Path(path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With SKPHONON_REQUIRE_DATA=1 a skip for want of data is a failure.

    Such skips are known by their reason, which names SKPHONON_DATA or SKPHONON_CASES.
    So is one for want of a browser.
    """
    report = yield
    required = os.environ.get("SKPHONON_REQUIRE_DATA") == "1"
    reason = str(report.longrepr)
    wanted = "SKPHONON_DATA", "SKPHONON_CASES", "needs a browser"
    for_data = any(each in reason for each in wanted)
    if required and report.skipped and for_data:
        report.outcome = "failed"
        reason = call.excinfo.value
        report.longrepr = f"SKPHONON_REQUIRE_DATA=1 forbids this skip: {reason}"
    return report
