"""The command line: what it writes, and what it says where it cannot."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from skphonon import (
    Measurement,
    PathGrid,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    save_model,
)
from skphonon.cli import main
from skphonon.cli.crystal_lines import (
    crystal_of,
    goes_by_evidence,
    shells_of_network,
)
from skphonon.cli.inverting import script_for
from skphonon.cli.request import Request
from skphonon.cli.script import run as run_script
from skphonon.io import read, write_arrays
from skphonon.learning import powder_network


@pytest.fixture(scope="module")
def truth():
    return 1.04 * load_aluminium_model().reference


@pytest.fixture(scope="module")
def files(tmp_path_factory, truth):
    """A simulated measurement, a calculation that is 4 % off, and a structure."""
    folder = tmp_path_factory.mktemp("files")
    model = load_aluminium_model()
    grid = SpectrumGrid(
        np.arange(8.0, 46, 1.5), np.arange(1.5, 7, 0.4), incident_energy=60.0
    )
    simulator = PowderSimulator(
        model, grid, energy_resolution=3.0, temperature=80.0, scattering="coherent"
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
        energy_resolution=3.0,
    )
    write_arrays(folder / "measured.h5", measured)
    write_arrays(folder / "cold.h5", measured.replace(temperature=None))
    model.to_phonopy().save(
        folder / "phonopy_params.yaml", settings={"force_constants": True}
    )
    (folder / "POSCAR").write_text(
        "Al\n4.04\n0 0.5 0.5\n0.5 0 0.5\n0.5 0.5 0\nAl\n1\ndirect\n0 0 0\n"
    )
    path = PathGrid(np.arange(8.0, 20.0), np.linspace([1, 0, 0], [1, 1, 0], 5))
    volume = Measurement(np.ones((1, 60)), path, temperature=80.0)
    write_arrays(folder / "path.h5", volume)
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
    log = (output / "log.txt").read_text()
    assert "s: mesh of the Brillouin zone" in log
    assert "s: LeastSquaresInverter: 1 of 1 searches converged" in log
    assert "searches converged" not in err
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


def test_a_spectrum_chooses_the_number_of_shells(files, run, tmp_path, truth):
    pytest.importorskip("ase")
    output = tmp_path / "shells"
    status, _, err = inverted(files, run, output, structure="POSCAR")
    assert status == 0, err
    own = pd.read_csv(output / "constants.csv", index_col="name")
    own = own[own["kind"] == "constant"]
    assert "with_springs(model" in (output / "invert.py").read_text()
    # aluminium as it was simulated has two shells: what is more is nothing
    assert (np.abs(own["value"][:5] - truth) < 5 * own["std"][:5] + 0.02).all()
    assert (np.abs(own["value"][5:]) < 0.03).all()
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "log_evidence" in page
    assert re.search(r"Taken: \d shells", page)


def asked_for(files, structure, **settings):
    return Request(files / "measured.h5", files / structure, **settings)


def test_shells_are_added_where_nobody_gave_their_number(files):
    pytest.importorskip("ase")
    measured = read(files / "measured.h5")
    for structure in ("phonopy_params.yaml", "POSCAR"):
        asked = asked_for(files, structure)
        crystal = crystal_of(asked, measured)
        assert goes_by_evidence(asked, crystal)
        assert not goes_by_evidence(asked._replace(n_shells=3), crystal)
        drawn = asked._replace(method="posterior")  # takes long with many constants
        assert goes_by_evidence(drawn, crystal) == (structure == "POSCAR")
        script = script_for(asked)
        assert "likely =" in script
        assert '"q_resolution": (' in script
        assert "likely =" not in script_for(drawn)
        assert '"q_resolution": (' not in script_for(drawn)
        least = {"POSCAR": 1}.get(structure, 2)
        assert f"for n_shells in range({least}, {least + 9}):" in script
        assert "model.extended(3)" in script_for(asked._replace(n_shells=3))


def test_a_calculation_may_have_fewer_shells_than_it_came_with(files):
    asked = asked_for(files, "phonopy_params.yaml", n_shells=1)
    crystal = crystal_of(asked, read(files / "measured.h5"))
    assert crystal.model.farthest_shell == 1
    assert "n_shells=1)" in crystal.lines[0]
    with pytest.raises(ValueError, match=r"--shells must be at least 2, .* got 1"):
        crystal_of(Request(Path("aluminium"), None, n_shells=1), None)


def test_springs_have_as_many_shells_as_keep_the_crystal_stable(files, monkeypatch):
    pytest.importorskip("ase")

    def unstable(model, highest):
        if model.n_shells < 2:
            raise ValueError("No springs keep the crystal stable.")

    monkeypatch.setattr("skphonon.cli.crystal_lines.with_springs", unstable)
    measured = read(files / "measured.h5")
    asked = asked_for(files, "POSCAR", n_shells=3)
    assert crystal_of(asked, measured).model.farthest_shell == 2
    with pytest.raises(ValueError, match=r"--shells must be at least 2, got 1"):
        crystal_of(asked._replace(n_shells=1), measured)


def test_a_network_tells_the_number_of_shells(files):
    class Network:
        n_features_in_ = 4

        def __init__(self, n_constants):
            self.n_constants = n_constants

        def predict(self, X):
            return np.ones((len(X), self.n_constants))

    measured = read(files / "measured.h5")
    for structure in ("phonopy_params.yaml", "POSCAR"):
        asked = asked_for(files, structure)
        for n_constants, n_shells in ((3, 1), (5, 2), (9, 3)):
            found = shells_of_network(asked, measured, Network(n_constants))
            assert found == n_shells
        with pytest.raises(ValueError, match="gives 4 constants, the crystal has"):
            shells_of_network(asked, measured, Network(4))


def test_a_force_field_gives_the_start(files, run, tmp_path, truth):
    pytest.importorskip("ase")
    output = tmp_path / "emt"
    status, _, err = inverted(
        files, run, output, "--force-field", "emt", "--shells", "2", structure="POSCAR"
    )
    assert status == 0, err
    assert "force field emt" in (output / "report.html").read_text(encoding="utf-8")
    own = pd.read_csv(output / "constants.csv", index_col="name").iloc[:5]
    assert (np.abs(own["value"] - truth) < 5 * own["std"] + 0.02).all()


@pytest.mark.slow
def test_methods_are_compared_in_one_report(files, run, tmp_path, truth):
    output = tmp_path / "all"
    status, out, err = inverted(
        files, run, output, "--method", "compare", "--spectra", "400"
    )
    assert status == 0, err
    assert str(output / "report.html") in out
    table = pd.read_csv(output / "compared.csv", index_col="name")
    methods = [
        "least squares", "posterior", "network", "fine-tuned network", "Nelder-Mead"
    ]  # fmt: skip
    assert [name for name in table if not name.endswith(" std")] == methods
    for name in methods[:2]:
        assert (np.abs(table[name] - truth) < 4 * table[f"{name} std"]).all()
    draws = pd.read_csv(output / "constants.csv", index_col="name")
    assert (draws["low95"] < draws["low"]).all()
    assert (draws["high"] < draws["high95"]).all()
    # few spectra train a network badly: only its scale is looked at here
    assert (np.abs(table["network"] - truth) < 0.3).all()
    assert table["network std"].gt(0).all()
    assert table["Nelder-Mead std"].isna().all()
    page = (output / "report.html").read_text(encoding="utf-8")
    for name in [*methods, "Methods", "combined error bars"]:
        assert name in page
    # its network is there to be used again
    status, _, err = inverted(
        files, run, tmp_path / "again", "--method", "network", "--network",
        output / "network.skops",
    )  # fmt: skip
    assert status == 0, err
    again = pd.read_csv(tmp_path / "again" / "constants.csv", index_col="name")
    own = again[again["kind"] == "constant"]
    assert_allclose(own["value"], table["network"], rtol=1e-5)
    assert_allclose(own["std"], table["network std"], rtol=1e-5)


def test_the_example_needs_no_file(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SKPHONON_DATA", str(tmp_path))  # where the data are not
    output = tmp_path / "aluminium"
    status, _, err = run("invert", "aluminium", "--output", output)
    assert status == 0, err
    assert "SYNTHETIC" in err
    assert "SYNTHETIC" in (output / "report.html").read_text(encoding="utf-8")
    status, _, err = run("invert", "aluminium", "--row", "9", "--output", "out")
    assert status == 1
    assert "7 spectra, from 0 to 6, got --row 9" in err


def test_spectra_are_simulated_and_networks_trained_on_them(files, run, tmp_path):
    crystal = files / "phonopy_params.yaml"
    spectra, network = tmp_path / "spectra", tmp_path / "network.skops"
    simulate = (
        "simulate", "--structure", crystal, "--like", files / "measured.h5",
        "--number", "200", "--temperatures", "50", "100", "--output", spectra,
    )  # fmt: skip
    status, out, err = run(*simulate)
    assert status == 0, err
    assert str(spectra) in out
    assert run(*simulate)[0] == 0  # goes on with what is there
    status, out, err = run(
        "train", spectra, "--epochs", "3", "--components", "8", "--output", network
    )
    assert status == 0, err
    assert "R2" in err
    tuned = tmp_path / "tuned.skops"
    status, _, err = run(
        "fine-tune", network, files / "measured.h5", "--spectra", spectra,
        "--output", tuned,
    )  # fmt: skip
    assert status == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {
        "spectra", "spectra.py", "network.skops", "network.skops.py", "tuned.skops",
        "tuned.skops.py",
    }  # fmt: skip
    status, _, err = inverted(
        files, run, tmp_path / "out", "--method", "network", "--network", tuned
    )
    assert status == 0, err
    status, _, err = run("train", spectra, "--output", network)
    assert status == 1
    assert "is there already" in err


def test_a_measurement_is_planned(files, run, tmp_path):
    crystal, output = files / "phonopy_params.yaml", tmp_path / "planned.h5"
    common = "simulate", "--structure", crystal, "--output", output
    status, _, err = run(*common, "--ei", "60")
    assert status == 1
    assert "give --temperature, --resolution as well" in err
    status, _, err = run(
        *common, "--ei", "60", "--temperature", "300", "--resolution", "2",
        "--picture", tmp_path / "planned.png",
    )  # fmt: skip
    assert status == 0, err
    planned = read(output)
    assert (planned.temperature, planned.incident_energy) == (300.0, 60.0)
    model = load_aluminium_model()
    assert planned.quantity == "sqe"
    simulator = PowderSimulator.from_measurement(model, planned, tolerance=1e-3)
    same = simulator.simulate([model.reference])
    assert_allclose(planned.data, same, rtol=1e-2, atol=1e-4 * np.nanmax(same))
    assert (tmp_path / "planned.png").exists()


def test_a_network_of_other_pixels_is_refused(files, run, tmp_path):
    network = powder_network(SpectrumGrid([10.0, 20.0], [1.0, 2.0, 3.0]))
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 6)), rng.normal(size=(400, 2))
    for step in network[1:]:
        step.trainer.set_params(max_epochs=1)
    network[1].set_params(n_components=2)
    network[0].set_params(background=0)
    save_model(network.fit(X, y), tmp_path / "network.skops")
    status, _, err = inverted(
        files, run, tmp_path / "out", "--method", "network", "--network",
        tmp_path / "network.skops",
    )  # fmt: skip
    assert status == 1
    assert "trained for other pixels" in err


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
        (
            ["invert", "measured.h5", "--structure", "POSCAR", "--temperature", "-5"],
            "--temperature must be 0 or above and finite, got -5",
        ),
        (
            ["invert", "measured.h5", "--structure", "POSCAR", "--resolution", "nan"],
            "--resolution must be above 0 and finite, got nan",
        ),
        (
            ["invert", "measured.h5", "--structure", "POSCAR", "--shells", "0"],
            "--shells must be from 1 to 30, got 0",
        ),
        (
            ["invert", "measured.h5", "--structure", "POSCAR", "--spectra", "9"],
            "100 spectra and more, got --spectra 9",
        ),
        (["invert", "measured.h5", "--structure", "."], "got a folder"),
        (["invert", "aluminium", "--ei", "60"], "leave out --structure and --ei"),
        (["invert", "aluminium", "--temperature", "51"], "measured at 50, 150, 280"),
        (["invert", "path.h5", "--structure", "POSCAR"], "no powder spectrum by |Q|"),
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "one.txt"], "must end in .h5"),
        (["--output", "one.h5", "--picture", "one.h5"], "is there already"),
        (["--output", "one.h5", "--picture", "one.bogus"], "must end in one of"),
        (["--output", "one.h5", "--picture", "no/one.png"], "no folder no"),
        (["--output", "set", "--number", "2", "--picture", "a.png"], "of one spectrum"),
        (["--output", "set", "--number", "0"], "must be positive, got 0"),
        (
            ["--output", "set", "--number", "2", "--temperatures", "-5", "5"],
            "two numbers from 0 on",
        ),
        (["--output", "one.h5", "--temperatures", "5", "9"], "is for many spectra"),
    ],
)
def test_what_cannot_be_simulated_leaves_nothing(
    files, run, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(
        "simulate", "--structure", files / "phonopy_params.yaml", "--like",
        files / "measured.h5", *arguments,
    )  # fmt: skip
    assert status == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_have_any_name(files, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = tmp_path / 'evil"""\nopen("PWNED", "w").write("x")\n""".h5'
    evil.write_bytes((files / "measured.h5").read_bytes())
    status, _, err = run(
        "invert", evil, "--structure", files / "phonopy_params.yaml", "--output", "out",
        "--shells", "2",
    )  # fmt: skip
    assert status == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {evil.name, "out"}


def test_a_signal_to_end_is_as_ctrl_c(files, run, tmp_path, monkeypatch):
    def end(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("skphonon.report.Report.save", end)
    status, _, err = inverted(files, run, tmp_path / "out", "--shells", "2")
    assert status == 130
    assert "nothing half-written is left" in err
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_expected_is_a_sentence_as_well(run, monkeypatch):
    def fail(*_):
        raise RuntimeError("of a library")

    monkeypatch.setattr("skphonon.cli.looking.look_at", fail)
    status, _, err = run("look", "file")
    assert status == 1
    assert "RuntimeError: of a library" in err
    assert "Traceback" not in err


def test_nothing_is_overwritten(files, run, tmp_path):
    (tmp_path / "out").mkdir()
    status, _, err = inverted(files, run, tmp_path / "out", "--shells", "2")
    assert status == 1
    assert "must not exist" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_came_meanwhile_is_left_alone(files, run, tmp_path, monkeypatch):
    from skphonon.report import Report

    save = Report.save

    def slow(report, path):
        (tmp_path / "out").mkdir()
        save(report, path)

    monkeypatch.setattr("skphonon.report.Report.save", slow)
    status, out, _ = inverted(files, run, tmp_path / "out", "--shells", "2")
    assert status == 0
    assert str(tmp_path / "out-2" / "report.html") in out
    assert list((tmp_path / "out").iterdir()) == []


def test_a_fit_that_phonopy_cannot_store_is_not_lost(files, run, tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("The constants cannot be stored on the supercell.")

    monkeypatch.setattr("skphonon.ForceConstantModel.to_phonopy", refuse)
    status, _, err = inverted(files, run, tmp_path / "out", "--shells", "2")
    assert status == 0
    assert "no phonopy_params.yaml. The constants cannot be stored" in err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"constants.csv", "report.html"} < names
    assert "phonopy_params.yaml" not in names


def test_what_a_script_says_is_told_as_it_comes(tmp_path):
    told = []
    script = """
import logging
import warnings

print("one")
warnings.warn("two", UserWarning)
warnings.warn("two", UserWarning)
logging.getLogger("skphonon.inner").info("not told")
print("three", end="")
"""
    log = run_script(script, tmp_path, told.append)
    assert told == ["one", "UserWarning: two", "three"]
    assert log.splitlines()[1:3] == told[:2]
    assert log.splitlines()[3].endswith("s: not told")
    assert log.endswith("three\n")
    told.clear()
    with pytest.raises(ValueError, match="failed"):
        run_script(script + "\nraise ValueError('failed')", tmp_path, told.append)
    assert told == ["one", "UserWarning: two", "three"]


def test_the_log_is_shown_when_it_is_asked_for(files, tmp_path):
    called = [sys.executable, "-c", "from skphonon.cli import main; main()"]
    done = subprocess.run(
        [*called, "--verbose", "look", files / "measured.h5"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "measured.h5: " in done.stderr


def test_ctrl_c_leaves_nothing(files, run, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("skphonon.report.Report.save", interrupt)
    status, _, err = inverted(files, run, tmp_path / "out", "--shells", "2")
    assert status == 130
    assert "nothing half-written is left" in err
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_shown_when_it_is_asked_for(run):
    with pytest.raises(OSError, match="nowhere"):
        run("--debug", "look", "nowhere.nxspe")


def test_usage_and_version(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("skphonon 0.2")
    status, _, err = run("invert")
    assert status == 2
    assert "Missing argument" in err
    status, _, err = run("invert", "file.nxspe")
    assert status == 1
    assert "give --structure" in err
    for command in ("invert", "look", "simulate", "train", "fine-tune"):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert re.search("[Ee]xample: skphonon", " ".join(out.split()))
