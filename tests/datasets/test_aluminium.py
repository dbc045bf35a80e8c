"""The aluminium data: download from a local server, local folders, published constants.

The files served are small stand-ins with hashes of their own; the published files are
read where SKPHONON_DATA has them.
"""

import hashlib
import io
import pickle
import typing

import numpy as np
import pytest
from local_server import Repository, running_repository
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import PowderSimulator
from skphonon.datasets import (
    IncompleteDatasetWarning,
    SyntheticDataWarning,
    _aluminium,
    bvk_from_label,
    fetch_aluminium_arcs,
    load_aluminium_model,
    load_aluminium_spectra,
)
from skphonon.physics.constants import EV_PER_A2_PER_NEWTON_PER_METRE
from skphonon.physics.scattering import kinematic_mask

FOLDER = "aluminium-arcs-50meV"
TEMPERATURES = [50, 150, 280, 350, 450, 540, 640]
SPECTRA = [f"exp_chi_{t}K_mean.pt" for t in TEMPERATURES]
LABEL_REFERENCE = [4.6330, 0.29784, 0.014999, 0.25064, 0.64366]
LABELS = np.outer([1.0, 0.5, 1.5], LABEL_REFERENCE)


def torch_bytes(item):
    import torch

    buffer = io.BytesIO()
    torch.save(item, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def stand_ins():
    """Files like the published ones: every image holds its own number."""
    import torch

    axes = np.linspace(10.25, 44.75, 70), np.linspace(0.05, 10.05, 101)
    window = kinematic_mask(*axes, 50.0, (1.0, 136.0))

    def image(value):
        pixels = torch.full((1, 70, 101), float(value), dtype=torch.float64)
        pixels[:, ~torch.from_numpy(window)] = np.nan
        return torch_bytes(pixels)

    lines = [f"{n} {list(map(float, row))}" for n, row in enumerate(LABELS, start=1)]
    return {
        "simulated_1.pt": image(1),
        "x_record": "\n".join(lines).encode(),
        **{name: image(t) for name, t in zip(SPECTRA, TEMPERATURES, strict=True)},
    }


@pytest.fixture
def expect(monkeypatch):
    """Make the given contents the right ones for a file."""

    def set_hash(name, content):
        remote = _aluminium._FILES[name]
        sha256 = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(_aluminium._FILES, name, remote._replace(sha256=sha256))

    return set_hash


@pytest.fixture
def contents(stand_ins, expect, monkeypatch):
    """Stand-ins that pass for the published files, with no folder given for these."""
    monkeypatch.delenv("SKPHONON_DATA", raising=False)
    for name, content in stand_ins.items():
        expect(name, content)
    return stand_ins


@pytest.fixture
def repository(contents, monkeypatch):
    """Local server with every file, in the place of the public repository."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_repository() as server:
        for name, content in contents.items():
            server.bodies[_aluminium._FILES[name].path] = content
        use_url(server.url, monkeypatch)
        yield server


def use_url(url, monkeypatch):
    published = _aluminium._PUBLISHED._replace(base_url=url)
    monkeypatch.setattr(_aluminium, "_PUBLISHED", published)


def write(folder, contents, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name in contents if names is None else names:
        (folder / name).write_bytes(contents[name])


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# Download


def test_download_gives_every_file_and_is_cached(repository, contents, tmp_path):
    measured = fetch_aluminium_arcs(tmp_path)
    assert files_in(tmp_path / FOLDER) == sorted(contents)
    assert measured.data.shape == (7, 7070)
    assert measured.data.dtype == np.float64
    assert_array_equal(measured.temperature, TEMPERATURES)
    assert_array_equal(np.nanmax(measured.data, axis=1), TEMPERATURES)
    assert measured.missing_temperature.size == 0
    assert len(repository.requested) == 9

    again = fetch_aluminium_arcs(str(tmp_path), download_if_missing=False)
    assert len(repository.requested) == 9
    assert_array_equal(again.data, measured.data)


def test_only_what_is_missing_is_downloaded(repository, contents, tmp_path):
    write(tmp_path / FOLDER, contents, [n for n in contents if n != SPECTRA[3]])
    fetch_aluminium_arcs(tmp_path)
    assert repository.requested == [_aluminium._FILES[SPECTRA[3]].path]


def test_default_folder_is_the_users_cache(repository, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    fetch_aluminium_arcs()
    assert len(files_in(tmp_path / "skphonon" / FOLDER)) == 9


def test_missing_on_the_server(repository, tmp_path):
    path = _aluminium._FILES[SPECTRA[0]].path
    del repository.bodies[path]
    with pytest.raises(OSError, match=rf"{path} to .*404.*copy the file") as caught:
        fetch_aluminium_arcs(tmp_path)
    assert repository.url in str(caught.value)
    # What came before stays, so that a second try does not start from nothing.
    assert files_in(tmp_path) == ["simulated_1.pt", "x_record"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-1] + bytes([body[-1] ^ 1]),
        lambda body: body[: len(body) // 2],
        lambda body: b"",
        lambda body: b"<html>Please log in</html>",
    ],
    ids=["one bit", "short", "empty", "another file"],
)
def test_corrupted_download(repository, tmp_path, damage):
    remote = _aluminium._FILES["x_record"]
    repository.bodies[remote.path] = damage(repository.bodies[remote.path])
    with pytest.raises(ValueError, match=f"{remote.path} must be.*{remote.sha256}"):
        fetch_aluminium_arcs(tmp_path)
    assert files_in(tmp_path) == ["simulated_1.pt"]


def test_connection_lost_half_way(repository, tmp_path):
    path = _aluminium._FILES["x_record"].path
    repository.announced[path] = len(repository.bodies[path]) + 1000
    with pytest.raises(OSError, match=rf"Could not download .*{path}"):
        fetch_aluminium_arcs(tmp_path)
    assert files_in(tmp_path) == ["simulated_1.pt"]


def test_no_server(repository, tmp_path, monkeypatch):
    with Repository() as closed:
        pass
    use_url(closed.url, monkeypatch)
    with pytest.raises(OSError, match="Check the connection"):
        fetch_aluminium_arcs(tmp_path)
    assert files_in(tmp_path) == []


class InterruptedResponse:
    headers: typing.ClassVar = {}

    def raise_for_status(self):
        """Come with status 200."""

    def iter_content(self, chunk_size):
        yield b"the first bytes"
        raise KeyboardInterrupt


def test_interrupted_download_leaves_no_file(contents, tmp_path, monkeypatch):
    monkeypatch.setattr("requests.get", lambda *args, **kwargs: InterruptedResponse())
    with pytest.raises(KeyboardInterrupt):
        fetch_aluminium_arcs(tmp_path)
    assert files_in(tmp_path) == []


def test_a_failed_download_can_be_repeated(repository, tmp_path):
    remote = _aluminium._FILES["x_record"]
    good = repository.bodies[remote.path]
    repository.bodies[remote.path] = good[:10]
    with pytest.raises(ValueError, match="Try again"):
        fetch_aluminium_arcs(tmp_path)
    repository.bodies[remote.path] = good
    assert fetch_aluminium_arcs(tmp_path).data.shape == (7, 7070)


# Local folders


def test_forbidden_download_names_what_is_missing(repository, tmp_path):
    with pytest.raises(FileNotFoundError, match="simulated_1") as caught:
        fetch_aluminium_arcs(tmp_path, download_if_missing=False)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "download_if_missing=True" in message
    assert all(name in message for name in ["x_record", *SPECTRA])
    assert repository.requested == []


@pytest.mark.parametrize("name", ["simulated_1.pt", "x_record"])
def test_essential_file_missing(contents, tmp_path, name):
    write(tmp_path, contents, [n for n in contents if n != name])
    with pytest.raises(FileNotFoundError, match=rf"Not found: {name}\. Pass"):
        fetch_aluminium_arcs(tmp_path, download_if_missing=False)


def test_some_temperatures_from_the_environment(
    repository, contents, tmp_path, monkeypatch
):
    names = ["simulated_1.pt", "x_record", SPECTRA[6], SPECTRA[2]]
    write(tmp_path / FOLDER, contents, names)
    monkeypatch.setenv("SKPHONON_DATA", str(tmp_path))
    with pytest.warns(IncompleteDatasetWarning, match="2 of 7 temperatures") as caught:
        measured = fetch_aluminium_arcs()
    assert caught[0].filename == __file__
    assert "50, 150, 350, 450, 540 K" in str(caught[0].message)
    assert_array_equal(measured.temperature, [280, 640])
    assert_array_equal(np.nanmax(measured.data, axis=1), [280, 640])
    assert_array_equal(measured.missing_temperature, [50, 150, 350, 450, 540])
    assert repository.requested == []


def test_nothing_in_the_folder_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SKPHONON_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="unset SKPHONON_DATA"):
        fetch_aluminium_arcs()


def test_data_home_wins_over_the_environment(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("SKPHONON_DATA", str(tmp_path / "nowhere"))
    fetch_aluminium_arcs(tmp_path / "home")
    assert len(files_in(tmp_path / "home")) == 9


def test_empty_environment_variable_is_none(repository, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    monkeypatch.setenv("SKPHONON_DATA", "")
    assert fetch_aluminium_arcs().data.shape == (7, 7070)


def test_folder_may_be_flat_or_a_clone_of_the_repository(contents, tmp_path):
    write(tmp_path / "flat", contents)
    for name, content in contents.items():
        path = tmp_path / "clone" / _aluminium._FILES[name].path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    flat, clone = (
        fetch_aluminium_arcs(tmp_path / kind, download_if_missing=False)
        for kind in ["flat", "clone"]
    )
    assert_array_equal(flat.data, clone.data)
    assert_array_equal(flat.training_targets, clone.training_targets)


@pytest.mark.parametrize("name", ["simulated_1.pt", "x_record", SPECTRA[5]])
def test_local_file_with_a_wrong_hash(repository, contents, tmp_path, name):
    write(tmp_path, contents)
    damaged = contents[name][:-1]
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(ValueError, match="Delete it") as caught:
        fetch_aluminium_arcs(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert hashlib.sha256(contents[name]).hexdigest() in message
    assert hashlib.sha256(damaged).hexdigest() in message
    # A file of the user's is never replaced behind their back.
    assert (tmp_path / name).read_bytes() == damaged
    assert repository.requested == []


class Payload:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_reading_runs_no_code(contents, expect, tmp_path):
    touched = tmp_path / "touched"
    hostile = torch_bytes(Payload(touched))
    write(tmp_path, {**contents, SPECTRA[0]: hostile})
    expect(SPECTRA[0], hostile)
    with pytest.raises(pickle.UnpicklingError):
        fetch_aluminium_arcs(tmp_path)
    assert not touched.exists()


# What a Bunch holds


def test_bunch_of_stand_ins(contents, tmp_path):
    write(tmp_path, contents)
    measured = fetch_aluminium_arcs(tmp_path)
    assert measured.parameter_names == load_aluminium_model().parameter_names
    assert_allclose(measured.training_targets, bvk_from_label(LABELS), rtol=1e-14)
    assert_array_equal(measured.simulated_target, measured.training_targets[0])
    assert_array_equal(measured.grid.mask.ravel(), np.isfinite(measured.simulated))
    assert "10.5281/zenodo.10373288" in measured.DESCR
    kept = measured.measurement
    assert kept.grid is measured.grid
    assert (kept.quantity, kept.energy_resolution) == ("chi", 1.54)
    assert (kept.incident_energy, len(kept)) == (50.0, 7)
    assert_array_equal(kept.data, measured.data)
    assert_array_equal(kept.temperature, TEMPERATURES)
    assert "2404.13507" in kept.source
    X, y = fetch_aluminium_arcs(tmp_path, return_X_y=True)
    assert_array_equal(X, measured.data)
    assert_array_equal(y, measured.temperature)


@pytest.mark.filterwarnings("ignore::skphonon.datasets.IncompleteDatasetWarning")
def test_published_files(aluminium_folder):
    measured = fetch_aluminium_arcs(aluminium_folder, download_if_missing=False)
    grid, spectra = measured.grid, np.vstack([measured.data, measured.simulated])
    assert set(measured.temperature) | set(measured.missing_temperature) == set(
        TEMPERATURES
    )
    assert grid.shape == (70, 101)
    assert_allclose(np.diff(grid.energy), 0.5, rtol=1e-12)
    assert_allclose(np.diff(grid.q), 0.1, rtol=1e-12)
    # One window for all, at the pixels that the grid says.
    assert grid.mask.sum() == 4144
    for spectrum in spectra:
        assert_array_equal(np.isfinite(spectrum), grid.mask.ravel())
    # Published as (x - mean) / (max - min): both are recovered to rounding,
    assert_allclose(np.nanmean(spectra, axis=1), 0, atol=1e-12)
    # but for the range of the simulated one, published as 1 - 1.3e-5.
    span = np.ptp(spectra[:, grid.mask.ravel()], axis=1)
    assert_allclose(span[:-1], 1, rtol=1e-12)
    assert_allclose(span[-1], 1, rtol=2e-5)
    # The mask is the kinematic window, to about one pixel at its border.
    window = type(grid)(
        grid.energy, grid.q, incident_energy=50.0, two_theta=grid.two_theta
    )
    assert (window.mask != grid.mask).sum() < 70


@pytest.mark.filterwarnings("ignore::skphonon.datasets.IncompleteDatasetWarning")
def test_published_labels(aluminium_folder):
    measured = fetch_aluminium_arcs(aluminium_folder, download_if_missing=False)
    targets, reference = measured.training_targets, load_aluminium_model().reference
    assert targets.shape == (10_000, 5)
    # Drawn uniformly from 0.5 to 1.5 times the reference; 1XX is derived instead.
    ratio = targets[:, 1:] / reference[1:]
    assert ratio.min() > 0.4999
    assert ratio.max() < 1.5001
    assert_allclose(ratio.mean(axis=0), 1, atol=0.012)  # 4 sigma of 10,000 draws
    onsite = targets @ [8, 4, 0, 2, 4]
    assert 0.4999 < onsite.min() / 4.6330 < onsite.max() / 4.6330 < 1.5001
    first = [4.247354810829155, 0.1941327109414956, 0.007977095722603]
    first += [0.34142172495149536, 0.3937617997085103]
    assert_allclose(measured.simulated_target, bvk_from_label(first), rtol=1e-14)


# Labels and published models


def test_label_of_the_reference():
    # To the digits of the label, five.
    expected = [0.66347, -0.25064, 0.64366, 0.14892, 0.0074995]
    assert_allclose(bvk_from_label(LABEL_REFERENCE), expected, rtol=1e-5)


def test_label_round_trip():
    labels = np.random.default_rng(0).uniform(0.1, 5, (20, 5))
    xx1, zz1, xy1, xx2, yy2 = bvk_from_label(labels).T
    onsite = 8 * xx1 + 4 * zz1 + 2 * xx2 + 4 * yy2
    again = np.column_stack([onsite, 2 * xx2, 2 * yy2, -zz1, xy1])
    assert_allclose(again, labels, rtol=1e-13)


def test_label_holds_the_onsite_term():
    """The acoustic sum rule: all bonds together pull back with phi0, isotropically."""
    model = load_aluminium_model()
    pull = np.einsum("p,pbij->ij", model.reference, model.bond_tensors)
    assert_allclose(pull, LABEL_REFERENCE[0] * np.eye(3), atol=1e-12)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (0,), ()])
def test_label_of_wrong_length(shape):
    with pytest.raises(ValueError, match=r"shape \(5,\) or \(n_samples, 5\)"):
        bvk_from_label(np.zeros(shape))


@pytest.mark.parametrize(
    ("source", "newton_per_metre"),
    [
        ("cowley-1974", [10.4578, -2.6322, 10.3657, 2.4314, -0.1351]),
        ("gilat-nicklow-1966", [9.808, -1.616, 11.424, 2.494, -0.515]),
    ],
)
def test_published_fits(source, newton_per_metre):
    model = load_aluminium_model(source)
    # 1 N/m = 1e-20 / 1.602176634e-19 eV/Angstrom^2, exactly.
    assert_allclose(EV_PER_A2_PER_NEWTON_PER_METRE, 0.0624150907446, rtol=1e-11)
    assert_allclose(model.reference / 0.0624150907446, newton_per_metre, rtol=1e-11)
    assert model.parameter_names == ["1XX", "1ZZ", "1XY", "2XX", "2YY"]


def test_gilat_nicklow_is_axially_symmetric():
    """Their model: forces along and across the bond, so 1XX = 1ZZ + 1XY."""
    xx1, zz1, xy1, *_ = load_aluminium_model("gilat-nicklow-1966").reference
    assert_allclose(xx1, zz1 + xy1, rtol=1e-12)


@pytest.mark.parametrize(
    ("source", "lattice_constant"),
    [("dft", 4.04), ("cowley-1974", 4.033), ("gilat-nicklow-1966", 4.0496)],
)
def test_lattice_is_primitive_fcc(source, lattice_constant):
    model = load_aluminium_model(source)
    lattice = np.asarray(model.lattice)
    assert_allclose(abs(np.linalg.det(lattice)), lattice_constant**3 / 4, rtol=1e-12)
    assert_allclose(np.linalg.norm(lattice, axis=1), lattice_constant / np.sqrt(2))


def test_unknown_source():
    with pytest.raises(ValueError, match=r"source must be one of .*'dft'.*got 'cowley"):
        load_aluminium_model("cowley")


# Spectra for demonstrations, measured or synthetic


def test_measured_spectra_are_loaded_where_they_can_be_had(contents, tmp_path):
    write(tmp_path, contents, ["simulated_1.pt", "x_record", SPECTRA[0], SPECTRA[6]])
    options = {"data_home": tmp_path, "download_if_missing": False}
    pair = load_aluminium_spectra([640, 50], **options)
    assert_array_equal(pair.temperature, [640, 50])
    assert_array_equal(np.nanmax(pair.data, axis=1), [640, 50])
    one = load_aluminium_spectra(640, **options)
    assert (one.temperature, len(one)) == (640.0, 1)
    assert_array_equal(one.data[0], pair.data[0])
    assert "2404.13507" in one.source
    with pytest.warns(IncompleteDatasetWarning, match="2 of 7"):
        assert len(load_aluminium_spectra(**options)) == 2


def test_one_temperature_missing_makes_all_synthetic(contents, tmp_path):
    write(tmp_path, contents, ["simulated_1.pt", "x_record", SPECTRA[0]])
    with pytest.warns(SyntheticDataWarning, match="Spectra at 640 K are missing"):
        pair = load_aluminium_spectra(
            [50, 640], data_home=tmp_path, download_if_missing=False
        )
    assert pair.source.startswith("SYNTHETIC")


def test_synthetic_spectra_say_so_and_resemble_the_measured_ones(tmp_path):
    with pytest.warns(SyntheticDataWarning, match="SYNTHETIC.*must hold") as caught:
        made = load_aluminium_spectra(data_home=tmp_path, download_if_missing=False)
    assert caught[0].filename == __file__
    assert made.source.startswith("SYNTHETIC")
    assert_array_equal(made.temperature, TEMPERATURES)
    assert made.grid.shape == (70, 101)
    with pytest.warns(SyntheticDataWarning):
        one = load_aluminium_spectra(350, data_home=tmp_path, download_if_missing=False)
    assert_array_equal(one.data[0], made.data[3])  # whatever else is asked for
    # Those of the stated constants, 7.5 % softer at 350 K, but for the stated noise
    model = load_aluminium_model()
    simulator = PowderSimulator.from_measurement(model, one)
    clean = simulator.simulate([0.925 * model.reference])[0]
    noise = np.nanstd(one.data[0] - clean) / np.nanstd(clean)
    assert_allclose(noise, 0.23, rtol=0.03)  # 3 sigma of 4,000 pixels


def test_spectra_of_an_unknown_temperature():
    with pytest.raises(ValueError, match=r"among \[50, .*, 640\] K, got 300"):
        load_aluminium_spectra(300)


def test_a_damaged_file_is_not_replaced_by_synthetic_spectra(contents, tmp_path):
    write(tmp_path, {**contents, SPECTRA[0]: b"damaged"})
    with pytest.raises(ValueError, match="sha256"):
        load_aluminium_spectra(50, data_home=tmp_path)
