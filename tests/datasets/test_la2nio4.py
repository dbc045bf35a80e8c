"""The map of La2NiO4: download from a local server, local folders, what is in it.

The files served are small stand-ins with hashes of their own; the published files are
read where SKPHONON_DATA has them. What every download shares is tested with aluminium.
"""

import hashlib

import numpy as np
import pytest
from local_server import running_repository
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import PathGrid, SpinWaveSimulator
from skphonon.datasets import (
    SyntheticDataWarning,
    _la2nio4,
    fetch_la2nio4,
    load_la2nio4_map,
    load_la2nio4_model,
)

# Two energies by three wavevectors. Without background a zero is -1 where nothing was
# counted; the last pixel was not measured.
STAND_INS = {
    "Elist_path2_woBG.csv": b"20\n30\n",
    "Qlist_path2_woBG.csv": b"0.5,0.75,1\n0.5,0.25,0\n0,0,0\n",
    "Sqw_path2.csv": b"4,6,0\n3,2,0\n",
    "Sqw_path2_woBG.csv": b"3,5,-1\n2,1,0\n",
    "Err_path2.csv": b"4,9,0.25\n9,0.5,0.25\n",
}
REMOTE = "data_experimental/{}.csv"


@pytest.fixture
def published(monkeypatch):
    """Stand-ins that pass for the published files, with no folder given for these."""
    monkeypatch.delenv("SKPHONON_DATA", raising=False)
    files = {
        name: remote._replace(sha256=hashlib.sha256(STAND_INS[name]).hexdigest())
        for name, remote in _la2nio4._PUBLISHED.files.items()
    }
    published = _la2nio4._PUBLISHED._replace(files=files)
    monkeypatch.setattr(_la2nio4, "_PUBLISHED", published)
    return published


@pytest.fixture
def repository(published, monkeypatch):
    """Local server with every file, in the place of the public repository."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_repository() as server:
        for name, content in STAND_INS.items():
            server.bodies[published.files[name].path] = content
        at_server = published._replace(base_url=server.url)
        monkeypatch.setattr(_la2nio4, "_PUBLISHED", at_server)
        yield server


def write(folder, names=STAND_INS):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(STAND_INS[name])


# Where the files come from


def test_download_gives_every_file_and_is_cached(repository, tmp_path):
    measured = fetch_la2nio4(tmp_path)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "la2nio4").iterdir()}
    assert kept == STAND_INS
    remote = ["Elist", "Qlist_path2", "Sqw_path2", "Sqw_path2_woBG", "Err_path2_woBG"]
    assert repository.requested == [REMOTE.format(name) for name in remote]
    again = fetch_la2nio4(str(tmp_path), download_if_missing=False)
    assert len(repository.requested) == 5
    assert_array_equal(again.data, measured.data)


def test_only_what_is_missing_is_downloaded(repository, tmp_path):
    write(tmp_path / "la2nio4", [n for n in STAND_INS if n != "Err_path2.csv"])
    fetch_la2nio4(tmp_path)
    assert repository.requested == [REMOTE.format("Err_path2_woBG")]


def test_missing_on_the_server(repository, tmp_path):
    del repository.bodies[REMOTE.format("Sqw_path2")]
    with pytest.raises(OSError, match=r"Sqw_path2\.csv to .*404.*copy the file"):
        fetch_la2nio4(tmp_path)


def test_corrupted_download(repository, tmp_path):
    repository.bodies[REMOTE.format("Elist")] = b"20\n31\n"
    with pytest.raises(ValueError, match=r"Elist\.csv must be the published file"):
        fetch_la2nio4(tmp_path)
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize("name", STAND_INS)
def test_partial_folder(repository, tmp_path, name):
    write(tmp_path, [other for other in STAND_INS if other != name])
    with pytest.raises(FileNotFoundError, match=rf"Not found: {name}\. Pass"):
        fetch_la2nio4(tmp_path, download_if_missing=False)
    assert repository.requested == []


def test_environment_is_read_only(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("SKPHONON_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="unset SKPHONON_DATA"):
        fetch_la2nio4()
    write(tmp_path / "la2nio4")
    assert fetch_la2nio4().data.shape == (1, 6)
    assert repository.requested == []


@pytest.mark.parametrize("name", STAND_INS)
def test_local_file_with_a_wrong_hash(published, tmp_path, name):
    write(tmp_path)
    (tmp_path / name).write_bytes(STAND_INS[name] + b"\n")
    with pytest.raises(ValueError, match=f"{name} must have sha256") as caught:
        fetch_la2nio4(tmp_path)
    assert published.files[name].sha256 in str(caught.value)


# What a Bunch holds


def test_bunch_of_stand_ins(published, tmp_path):
    write(tmp_path)
    measured = fetch_la2nio4(tmp_path)
    nan = np.nan
    assert_array_equal(measured.grid.mask, [[True, True, True], [True, True, False]])
    assert_array_equal(measured.data, [[4, 6, 0, 3, 2, nan]])
    assert_array_equal(measured.without_background, [[3, 5, -1, 2, 1, nan]])
    assert_array_equal(measured.errors, [[2, 3, nan, 3, 0.5**0.5, nan]])
    assert_array_equal(measured.counts, [[4, 4, 0, 1, 8, nan]])
    assert_array_equal(measured.grid.energy, [20, 30])
    assert_array_equal(
        measured.grid.wavevectors, [[0.5, 0.5, 0], [0.75, 0.25, 0], [1, 0, 0]]
    )
    assert_array_equal(measured.coordinates[1], [0.75, 0.25, 0, 20])
    assert_array_equal(measured.coordinates[3], [0.5, 0.5, 0, 30])
    assert measured.parameter_names == ["J", "J'"]
    assert_array_equal(measured.published_parameters, [29.00, 1.67])
    assert measured.lattice_constant == 3.89
    assert "10.1038/s41467-023-41378-4" in measured.DESCR


@pytest.fixture(scope="module")
def measured(la2nio4_folder):
    return fetch_la2nio4(la2nio4_folder, download_if_missing=False)


def test_published_axes(measured):
    assert_array_equal(measured.grid.energy, np.arange(20, 141))
    assert measured.grid.wavevectors.shape == (217, 3)
    steps = np.linalg.norm(np.diff(measured.grid.wavevectors, axis=0), axis=1)
    corners = np.flatnonzero(steps == 0) + 1
    assert_array_equal(corners, [37, 90, 127, 164])
    starts = [[0.5, 0.5, 0], [0.5, 0, 0], [0.75, 0.25, 0], [1, 0, 0]]
    assert_array_equal(measured.grid.wavevectors[corners], starts)
    assert steps[steps > 0].min() > 0.0096  # no other jump, and no other rest
    assert steps.max() < 0.0099
    assert measured.coordinates.shape == (26257, 4)


def test_published_zeros(measured):
    """Few were not measured, side by side; at high energy zeros are Poisson's."""
    assert (~measured.grid.mask).sum() == 22
    energies, columns = np.nonzero(~measured.grid.mask)
    assert energies.max() == 7
    near = measured.grid.wavevectors[columns] - [1, 0, 0]
    assert np.linalg.norm(near, axis=1).max() < 0.13
    for row in [measured.data, measured.without_background, measured.counts]:
        assert_array_equal(np.isfinite(row[0]), measured.grid.mask.ravel())
    empty = measured.counts == 0
    assert_array_equal(empty, measured.data == 0)
    assert empty.sum() == 377
    assert_array_equal(np.isfinite(measured.errors), measured.counts > 0)


def test_published_errors_are_variances(measured):
    """Single counts have an error equal to the intensity, and no pixel a larger one."""
    counts = measured.counts[measured.counts > 0]
    assert counts.min() > 0.998
    # 815 single counts, and next to none with a fraction: the levels are discrete.
    assert (np.abs(counts - 1) < 0.003).sum() == 815
    assert ((counts > 1.003) & (counts < 1.2)).sum() == 0


def test_neighbours_scatter_as_the_errors_say(measured):
    image, errors = (
        row.reshape(measured.grid.mask.shape)
        for row in [measured.data, measured.errors]
    )
    bend = image[:, 1:-1] - (image[:, :-2] + image[:, 2:]) / 2
    variance = errors**2
    expected = np.sqrt(variance[:, 1:-1] + (variance[:, :-2] + variance[:, 2:]) / 4)
    # 0.6745: median of a normal distribution. Measured: 0.97 to 1.04; with the file's
    # numbers as errors, 0.8 at low energy to 3.6 at high energy.
    scatter = np.nanmedian(np.abs(bend / expected), axis=1) / 0.6745
    by_energy = scatter[:120].reshape(8, 15).mean(axis=1)
    assert_allclose(by_energy, 1, atol=0.08)


def test_background_depends_on_energy_alone(measured):
    difference = measured.data - measured.without_background
    background = difference.reshape(measured.grid.mask.shape)
    assert np.ptp(background, axis=1)[8:].max() < 1e-12
    assert_allclose(np.nanmean(background, axis=1)[[0, -1]], [8.918, 0.131], atol=1e-3)


def test_orientation_follows_the_dispersion(measured):
    """The fitted model's spin waves lie along the ridge, in this orientation only."""
    (j, j_diagonal), z_c = measured.published_parameters, 1.083
    x, y = np.cos(2 * np.pi * measured.grid.wavevectors[:, :2].T)
    a = 4 * (j - j_diagonal * (1 - x * y))
    b = 2 * j * (x + y)
    magnon = z_c * np.sqrt(np.maximum(a**2 - b**2, 0))
    distance = (
        measured.grid.energy[:, None] - magnon
    ) / 5  # meV, about the ridge's width
    strength = (a - b) / np.maximum(magnon, 5)  # at magnons in the window, exactly
    expected = strength * np.exp(-(distance**2) / 2)

    def correlation(image):
        seen = np.isfinite(image)
        return np.corrcoef(image[seen], expected[seen])[0, 1]

    image = measured.without_background.reshape(measured.grid.mask.shape)
    wrong = [image[:, ::-1], image[::-1], image.reshape(217, 121).T]
    assert correlation(image) > 0.4
    assert max(map(correlation, wrong)) < 0.1


# A map for demonstrations, measured or synthetic


def test_the_measured_map_is_loaded_where_it_can_be_had(published, tmp_path):
    write(tmp_path)
    found = load_la2nio4_map(tmp_path)
    assert_array_equal(found.data, fetch_la2nio4(tmp_path).data)
    assert_array_equal(found.measurement.data, found.data)
    assert_array_equal(found.measurement.error, found.errors)
    assert "s41467-023-41378-4" in found.measurement.source


def test_a_synthetic_map_says_so_and_has_the_published_magnons(published, tmp_path):
    with pytest.warns(SyntheticDataWarning, match="SYNTHETIC.*must hold") as caught:
        made = load_la2nio4_map(tmp_path, download_if_missing=False)
    assert caught[0].filename == __file__
    assert made.measurement.source.startswith("SYNTHETIC")
    assert set(made) == set(fetch_la2nio4_of(tmp_path))
    model = load_la2nio4_model()
    truth = SpinWaveSimulator(
        model,
        PathGrid(made.grid.energy, made.grid.wavevectors),
        energy_resolution=3.2,
        temperature=10.0,
    ).simulate([made.published_parameters])[0]
    magnons = made.without_background[0]
    # counts of 0.1 each scatter about what is simulated: the ratio to S is the unit
    ratio = magnons.sum() / truth.sum()
    assert_allclose(ratio, 250, rtol=0.02)
    pull = (made.data[0] - 250 * truth - 0.5) / np.sqrt(0.1 * (250 * truth + 0.5))
    assert_allclose([pull.mean(), pull.std()], [0, 1], atol=0.03)


def fetch_la2nio4_of(folder):
    write(folder)
    return fetch_la2nio4(folder)
