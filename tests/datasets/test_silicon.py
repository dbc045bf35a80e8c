"""Silicon of MARI: download from a local server, local folders, what is in it.

The file served is a small stand-in with a hash of its own; the published file is read
where SKPHONON_DATA has it. What every download shares is tested with aluminium.
"""

import hashlib

import numpy as np
import pytest
from local_server import running_repository
from numpy.testing import assert_allclose

import skphonon
from skphonon.datasets import _silicon, fetch_silicon_mari, make_silicon_spectrum
from skphonon.physics.constants import MEV_PER_THZ

NAME = "silicon_Ei80_300K.nxspe"
REMOTE = f"powder_datafiles/{NAME}"
STAND_IN = b"stands in for an NXSPE file"


@pytest.fixture
def published(monkeypatch):
    """A stand-in that passes for the published file, with no folder given for it."""
    monkeypatch.delenv("SKPHONON_DATA", raising=False)
    remote = _silicon._PUBLISHED.files[NAME]
    sha256 = hashlib.sha256(STAND_IN).hexdigest()
    files = {NAME: remote._replace(sha256=sha256)}
    published = _silicon._PUBLISHED._replace(files=files)
    monkeypatch.setattr(_silicon, "_PUBLISHED", published)
    return published


@pytest.fixture
def repository(published, monkeypatch):
    """Local server with the file, in the place of the public repository."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_repository() as server:
        server.bodies[REMOTE] = STAND_IN
        at_server = published._replace(base_url=server.url)
        monkeypatch.setattr(_silicon, "_PUBLISHED", at_server)
        yield server


def test_download_is_kept(repository, tmp_path):
    silicon = fetch_silicon_mari(tmp_path)
    kept = tmp_path / "mari" / NAME
    assert silicon.filename == str(kept)
    assert kept.read_bytes() == STAND_IN
    again = fetch_silicon_mari(str(tmp_path), download_if_missing=False)
    assert again.filename == silicon.filename
    assert repository.requested == [REMOTE]


def test_missing_on_the_server(repository, tmp_path):
    del repository.bodies[REMOTE]
    with pytest.raises(OSError, match=r"300K\.nxspe to .*404.*copy the file"):
        fetch_silicon_mari(tmp_path)


def test_corrupted_download_leaves_no_file(repository, tmp_path):
    repository.bodies[REMOTE] = STAND_IN[::-1]
    with pytest.raises(ValueError, match=r"300K\.nxspe must be the published file"):
        fetch_silicon_mari(tmp_path)
    assert not list(tmp_path.rglob("*.nxspe"))


def test_missing_in_a_folder(repository, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"must hold {NAME}.*Pass download"):
        fetch_silicon_mari(tmp_path, download_if_missing=False)
    assert repository.requested == []


@pytest.mark.parametrize("place", [NAME, f"mari/{NAME}", REMOTE])
def test_places_in_the_folder_of_the_environment(
    repository, tmp_path, monkeypatch, place
):
    monkeypatch.setenv("SKPHONON_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="unset SKPHONON_DATA"):
        fetch_silicon_mari()
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(STAND_IN)
    assert fetch_silicon_mari().filename == str(tmp_path / place)
    assert repository.requested == []


def test_local_file_with_a_wrong_hash(published, tmp_path):
    (tmp_path / NAME).write_bytes(STAND_IN + b"\n")
    with pytest.raises(ValueError, match=f"{NAME} must have sha256") as caught:
        fetch_silicon_mari(tmp_path)
    assert published.files[NAME].sha256 in str(caught.value)


def test_published_file(data_folder):
    silicon = fetch_silicon_mari(data_folder, download_if_missing=False)
    run = skphonon.read(silicon.filename)
    assert_allclose(run.incident_energy, 79.4, atol=0.1)
    assert run.data.shape[0] == len(run.polar)
    assert run.polar.max() > 120.9
    assert np.isfinite(run.data).any()
    assert silicon.temperature == 300.0
    assert silicon.lattice_constant == 5.431
    assert "CC-BY-SA-4.0" in silicon.DESCR


def test_a_synthetic_spectrum_is_of_published_phonons_in_a_can():
    made = make_silicon_spectrum()
    assert made.source.startswith("SYNTHETIC")
    assert_allclose(made.data, make_silicon_spectrum(random_state=0).data)
    other = make_silicon_spectrum(random_state=1).data
    # noise of 0.2 on a contrast of one, in each of the two
    assert_allclose(np.nanstd(made.data - other), 0.2 * np.sqrt(2), rtol=0.05)
    model = skphonon.ForceConstantModel(
        5.431 / 2 * (np.ones((3, 3)) - np.eye(3)),
        ["Si", "Si"],
        np.array(_silicon._FITTED),
        positions=np.array([[0, 0, 0], [0.25, 0.25, 0.25]]),
        n_shells=5,
    )
    # Nilsson and Nelin, https://doi.org/10.1103/PhysRevB.6.3777, in THz
    energies = model.frequencies(
        [model.reference], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]]
    )[0]
    found = [energies[0, 5], *energies[1, ::2], *energies[2, [0, 2, 3, 4]]]
    published = np.array([15.53, 4.49, 12.32, 13.90, 3.43, 11.35, 12.60, 14.68])
    assert_allclose(found, published * MEV_PER_THZ, atol=0.1)
    # least squares of the two parts find the stated contrasts, but for noise
    can = skphonon.load_aluminium_model("gilat-nicklow-1966")
    parts = [
        skphonon.PowderSimulator.from_measurement(each, made).simulate([each.reference])
        for each in (model, can)
    ]
    seen = made.grid.mask.ravel()
    terms = np.array([part[0, seen] / np.nanstd(part) for part in parts]).T
    contrasts, *_ = np.linalg.lstsq(terms, made.data[0, seen], rcond=None)
    assert_allclose(contrasts, [1.0, 0.5], atol=0.02)
