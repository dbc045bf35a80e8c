"""The command line: what it writes, and what it says where it cannot."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skphonon import Measurement, PowderSimulator, SpectrumGrid, load_aluminium_model
from skphonon.cli import main
from skphonon.io import write_arrays


@pytest.fixture(scope="module")
def truth():
    return 1.04 * load_aluminium_model().reference


@pytest.fixture(scope="module")
def files(tmp_path_factory, truth):
    """A simulated measurement, a calculation that is 4 % off, and a structure."""
    folder = tmp_path_factory.mktemp("files")
    model = load_aluminium_model()
    grid = SpectrumGrid(
        np.arange(8.0, 46, 1.0), np.arange(1.5, 7, 0.25), incident_energy=60.0
    )
    simulator = PowderSimulator(
        model, grid, energy_resolution=1.5, temperature=80.0, scattering="coherent"
    )
    X = simulator.simulate([truth])
    noise = 0.03 * np.nanstd(X)
    X = X + noise * np.random.default_rng(0).normal(size=X.shape)
    measured = Measurement(
        X,
        grid,
        error=np.full(X.shape, noise),
        quantity="chi",
        temperature=80.0,
        energy_resolution=1.5,
    )
    write_arrays(folder / "measured.h5", measured)
    write_arrays(folder / "cold.h5", measured.replace(temperature=None))
    model.to_phonopy().save(
        folder / "phonopy_params.yaml", settings={"force_constants": True}
    )
    (folder / "POSCAR").write_text(
        "Al\n4.04\n0 0.5 0.5\n0.5 0 0.5\n0.5 0.5 0\nAl\n1\ndirect\n0 0 0\n"
    )
    (folder / "text.txt").write_text("no spectrum")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command; return its status, its output and what it told."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["skphonon", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def inverted(files, run, output, *more, structure="phonopy_params.yaml"):
    return run(
        "invert", files / "measured.h5", "--structure", files / structure,
        "--output", output, *more,
    )  # fmt: skip


def test_a_file_is_looked_at(files, run, tmp_path):
    picture = tmp_path / "map.png"
    status, out, _ = run("look", files / "measured.h5", "--picture", picture)
    assert status == 0
    assert "temperature" in out
    assert "80 K" in out
    assert picture.read_bytes()[:4] == b"\x89PNG"
    status, _, err = run("look", files / "measured.h5", "--picture", picture)
    assert status == 1
    assert "is there already" in err


def test_constants_come_with_a_report_and_the_script_that_was_run(
    files, run, tmp_path, truth
):
    output = tmp_path / "deep" / "aluminium"
    status, out, err = inverted(files, run, output)
    assert status == 0, err
    assert str(output / "report.html") in out
    names = {path.name for path in output.iterdir()}
    assert names == {
        "constants.csv", "fit.npz", "invert.py", "log.txt", "phonopy_params.yaml",
        "report.html",
    }  # fmt: skip
    table = pd.read_csv(output / "constants.csv", index_col="name")
    own = table[table["kind"] == "constant"]
    assert (np.abs(own["value"] - truth) < 4 * own["std"]).all()
    import phonopy

    from skphonon import ForceConstantModel

    again = ForceConstantModel.from_phonopy(
        phonopy.load(output / "phonopy_params.yaml", log_level=0)
    )
    assert_allclose(again.reference, own["value"], atol=1e-6)
    with np.load(output / "fit.npz") as saved:
        left = saved["measured"] - saved["fitted"]
        assert_allclose(left, saved["residual"], atol=1e-12)
        assert saved["measured"].shape == (len(saved["energy"]), len(saved["q"]))
    # the script does the same again
    subprocess.run(
        [sys.executable, output / "invert.py", tmp_path / "again"],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "again" / "constants.csv").read_text() == (
        output / "constants.csv"
    ).read_text()


def test_a_structure_without_a_calculation_begins_with_springs(
    files, run, tmp_path, truth
):
    pytest.importorskip("ase")
    output = tmp_path / "springs"
    status, _, err = inverted(
        files, run, output, "--shells", "2", structure="POSCAR"
    )  # fmt: skip
    assert status == 0, err
    assert "with_springs(model" in (output / "invert.py").read_text()
    own = pd.read_csv(output / "constants.csv", index_col="name").iloc[:5]
    assert (np.abs(own["value"] - truth) < 5 * own["std"] + 0.02).all()


def test_a_posterior_has_intervals(files, run, tmp_path):
    status, _, err = inverted(files, run, tmp_path / "draws", "--method", "posterior")
    assert status == 0, err
    table = pd.read_csv(tmp_path / "draws" / "constants.csv", index_col="name")
    assert (table["low95"] < table["low"]).all()
    assert (table["high"] < table["high95"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["look", "nowhere.nxspe"], "nowhere.nxspe"),
        (["look", "text.txt"], "text.txt"),
        (["invert", "text.txt", "--structure", "POSCAR"], "text.txt"),
        (["invert", "measured.h5", "--structure", "text.txt"], "text.txt"),
        (["invert", "cold.h5", "--structure", "POSCAR"], "--temperature, in K"),
        (
            ["invert", "measured.h5", "--structure", "POSCAR", "--row", "3"],
            "1 spectra, from 0 to 0, got --row 3",
        ),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    files, run, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(files)
    if arguments[0] == "invert":
        arguments = [*arguments, "--output", tmp_path / "out"]
    before = sorted(files.iterdir())
    status, out, err = run(*arguments)
    assert status == 1
    assert "Traceback" not in err
    assert message in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []
    assert sorted(files.iterdir()) == before


def test_nothing_is_overwritten(files, run, tmp_path):
    (tmp_path / "out").mkdir()
    status, _, err = inverted(files, run, tmp_path / "out")
    assert status == 1
    assert "must not exist" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_leaves_nothing(files, run, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("skphonon.report.Report.save", interrupt)
    status, _, err = inverted(files, run, tmp_path / "out")
    assert status == 130
    assert "nothing was written" in err
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_shown_when_it_is_asked_for(run):
    with pytest.raises(OSError, match="nowhere"):
        run("--debug", "look", "nowhere.nxspe")


def test_usage_and_version(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("skphonon 0.2")
    status, _, err = run("invert", "file.nxspe")
    assert status == 2
    assert "--structure" in err
    for command in ("invert", "look"):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert "Example: skphonon" in " ".join(out.split())
