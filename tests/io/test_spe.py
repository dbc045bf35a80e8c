"""SPE files: what columns of ten characters hold, and where detectors stand."""

import h5py
import numpy as np
import pytest
from measured_files import detectors, write_nxspe
from numpy.testing import assert_allclose
from spe_files import write_par, write_phx, write_spe

from skphonon import SpectrumGrid, read_nxspe, reduce_powder
from skphonon.instrument import AngleGrid, DetectorMeasurement, MeasurementWarning
from skphonon.io.spe import read_spe

EDGES = np.arange(-10.0, 45.0, 5)
N_ENERGY = len(EDGES) - 1
N_DETECTORS = 6
KI_KF = {"incident_energy": 50.0, "ki_over_kf_scaling": True}


@pytest.fixture
def numbers():
    rng = np.random.RandomState(0)
    shape = N_DETECTORS, N_ENERGY
    # four digits: what an SPE file keeps
    data, errors = np.round(rng.normal(0, 3, shape), 2), rng.uniform(0.1, 0.9, shape)
    return data, np.round(errors, 3)


@pytest.fixture
def table(tmp_path):
    polar, azimuthal = np.arange(20.0, 80, 10), np.arange(-50.0, 70, 20)
    width, height = np.full(6, 1.5), np.full(6, 3.0)
    return write_phx(tmp_path / "a.phx", polar, azimuthal, width, height)


def test_numbers_that_touch(data_folder):
    """The first numbers of a real file, read by eye."""
    path = data_folder / "formats/Example.spe"
    measured = read_spe(path, grid="two_theta", **KI_KF)
    assert isinstance(measured.grid, AngleGrid)
    assert measured.grid.shape == (195, 32)
    assert_allclose(measured.details["edges"]["energy"], -20 + 0.2 * np.arange(196))
    assert_allclose(measured.grid.two_theta, np.arange(1.0, 33))
    assert measured.quantity == "sqe"
    # one column of the text against numpy's reader of fixed columns
    heads = path.read_text().split("### S(Phi,w)")[1:]
    block = np.genfromtxt(
        heads[5].split("### Errors")[0].splitlines()[1:], delimiter=[10] * 8
    ).ravel()
    block = block[np.isfinite(block)]
    image = measured.grid.to_image(measured.data)[0]
    assert_allclose(image[:, 5], block)
    assert np.isnan(image[:, 4]).all()  # -1.000E+30 throughout


def test_what_a_count_cannot_tell(data_folder):
    path = data_folder / "formats/Example.spe"
    with pytest.raises(ValueError, match=r"holds a count from 0.5 to 32.5. Pass dete"):
        read_spe(path, incident_energy=50.0)
    path = data_folder / "formats/spe_with_NANs.spe"
    for grid in ("q", "two_theta"):  # whatever is said, it has no borders of bins
        with pytest.raises(ValueError, match=r"got 57\.3 throughout: it does not tell"):
            read_spe(path, grid=grid, incident_energy=50.0)
    with pytest.raises(ValueError, match=r"the \.phx or \.par file of .*read_spe\.$"):
        read_spe(path)
    with pytest.raises(ValueError, match=r"5 spectra of .* holds 57.3 throughout. Pas"):
        read_spe(path, incident_energy=200.0)
    with pytest.raises(ValueError, match=r"table of the 5 spectra of .*, got 10 in"):
        read_spe(path, data_folder / "formats/det_1.phx", incident_energy=200.0)


def test_nan_of_a_real_file(data_folder, tmp_path):
    path = data_folder / "formats/spe_with_NANs.spe"
    table = write_phx(tmp_path / "a.phx", np.arange(5) + 10.0, *np.ones((3, 5)))
    measured = read_spe(path, table, incident_energy=200.0)
    assert measured.data.shape == (5, 30)
    assert np.isnan(measured.data[0, :2]).all()
    assert_allclose(measured.data[0, 2:6], [0.6811, 0.7094, 0.6542, 0.0])
    assert_allclose(measured.error[0, 2:6], [0.6811, 0.6954, 0.668, 0.0])


def test_real_tables_of_detectors(data_folder, tmp_path):
    """Both tables with spectra made for them."""
    for name, n_detectors in (("det_1.phx", 10), ("96dets.par", 96)):
        ones = np.ones((n_detectors, N_ENERGY))
        path = write_spe(tmp_path / "a.spe", ones, ones, EDGES)
        measured = read_spe(path, data_folder / "formats" / name, **KI_KF)
        assert len(measured.polar) == n_detectors
        if n_detectors == 10:
            assert measured.polar[1] == 11.4297
            assert measured.azimuthal[1] == -179.9031
            assert measured.polar_width[0] == 16.9003
        else:  # 25 mm and 0.2 m at 2.512 m
            assert_allclose(measured.polar_width, np.rad2deg(0.025 / 2.512), rtol=1e-4)
            across = measured.azimuthal_width * np.sin(np.deg2rad(measured.polar))
            assert_allclose(across[0], np.rad2deg(0.2 / 2.512), rtol=1e-3)


def test_rebinned_as_the_same_run_in_an_nxspe_file(tmp_path):
    bank = detectors(12, 3)
    n_detectors = len(bank["polar"])
    rng = np.random.RandomState(2)
    data = np.round(rng.uniform(0, 9, (n_detectors, N_ENERGY)), 3)
    bank = {name: np.round(each, 4) for name, each in bank.items()}
    height = bank["azimuthal_width"] * np.sin(np.deg2rad(bank["polar"]))
    names = ("polar", "azimuthal", "polar_width")
    table = write_phx(tmp_path / "a.phx", *(bank[name] for name in names), height)
    path = write_spe(tmp_path / "a.spe", data, 0.1 * data, EDGES)
    nxspe = write_nxspe(tmp_path / "a.nxspe", bank, EDGES, data, 0.1 * data, 50.0)
    grid = SpectrumGrid(np.arange(0.0, 40, 5), np.arange(1.0, 4, 0.5))
    first = reduce_powder(read_spe(path, table, **KI_KF), grid)
    second = reduce_powder(read_nxspe(nxspe), grid)
    assert_allclose(first.data, second.data, rtol=1e-3)
    assert_allclose(first.error, second.error, rtol=1e-3)


def test_both_tables_say_the_same(tmp_path, numbers):
    path = write_spe(tmp_path / "a.spe", *numbers, EDGES)
    polar, azimuthal = np.arange(20.0, 80, 10), np.arange(-50.0, 70, 20)
    width, height = np.full(6, 0.05), np.full(6, 0.3)
    distance = np.full(6, 4.0)
    spans = [2 * np.rad2deg(np.arctan(size / 8)) for size in (width, height)]
    phx = write_phx(tmp_path / "a.phx", polar, azimuthal, *spans)
    for numbered in (False, True):
        par = write_par(
            tmp_path / "a.par", distance, polar, -azimuthal, width, height,
            numbered=numbered,
        )  # fmt: skip
        first, second = (read_spe(path, each, **KI_KF) for each in (phx, par))
        for name in ("polar", "azimuthal", "polar_width", "azimuthal_width"):
            assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-4)


def test_negative_angles_are_on_the_other_side(tmp_path, numbers):
    """The same direction, by its Cartesian components."""
    path = write_spe(tmp_path / "a.spe", *numbers, EDGES)
    polar, azimuthal = np.array([-30.0, -10, -5, 5, 10, 30]), np.full(6, 20.0)
    table = write_phx(tmp_path / "a.phx", polar, azimuthal, *np.ones((2, 6)))
    measured = read_spe(path, table, **KI_KF)
    assert (measured.polar > 0).all()
    for get in (np.cos, np.sin):
        wanted = np.sin(np.deg2rad(polar)) * get(np.deg2rad(azimuthal))
        found = np.sin(np.deg2rad(measured.polar)) * get(np.deg2rad(measured.azimuthal))
        assert_allclose(found, wanted, atol=1e-12)
    assert_allclose(measured.azimuthal, [-160.0] * 3 + [20.0] * 3)


@pytest.mark.parametrize("spaced", [False, True])
def test_masks_and_numbers_of_old_programs(tmp_path, numbers, table, spaced):
    data, errors = (each.astype(object) for each in numbers)
    width = "{:>10} "[: 6 if not spaced else 7]
    data[0, 0], errors[0, 0] = width.format("-1.000E+30"), 0.0
    data[1, 1], data[2, 2] = width.format("1.#QNAN"), width.format("**********")
    data[3, 3] = width.format("1.500D+01")
    data[4] = width.format("nan")
    path = write_spe(tmp_path / "a.spe", data, errors, EDGES, spaced=spaced)
    measured = read_spe(path, table, temperature=5.0, psi=12.0, **KI_KF)
    assert isinstance(measured, DetectorMeasurement)
    masked = np.zeros(data.shape, dtype=bool)
    masked[[0, 1, 2], [0, 1, 2]] = masked[4] = True
    assert_allclose(np.isnan(measured.data), masked)
    assert_allclose(np.isnan(measured.error), masked)
    assert measured.data[3, 3] == 15.0
    good = ~masked
    good[3, 3] = False
    assert_allclose(measured.data[good], numbers[0][good])
    assert (measured.temperature, measured.psi) == (5.0, 12.0)
    assert measured.ki_over_kf_scaling


def test_left_aligned_numbers_that_touch(tmp_path, numbers, table):
    """As "%-10.4g" writes them: an exponent touches the next number."""
    data = numbers[0].astype(object)
    data[0, :3] = ["-1.234e-05", "10        ", "-1.234e-05"]
    data[0, 3:] = ["0.1217    "] * (N_ENERGY - 3)
    path = write_spe(tmp_path / "a.spe", data, numbers[1], EDGES)
    measured = read_spe(path, table, **KI_KF)
    assert_allclose(measured.data[0, :4], [-1.234e-5, 10.0, -1.234e-5, 0.1217])


def test_bins_of_momentum(tmp_path):
    q = np.arange(1.0, 4.01, 0.5)
    data = np.ones((6, N_ENERGY))
    data[0, 0] = 0.0
    errors = 0.1 * data
    path = write_spe(tmp_path / "a.spe", data, errors, EDGES, q, heading="Q")
    measured = read_spe(path)
    assert_allclose(measured.grid.q, (q[1:] + q[:-1]) / 2)
    assert measured.grid.to_image(measured.grid.mask.reshape(1, -1))[0].sum() == 59
    assert measured.quantity is None
    assert measured.details["grid"] == "q"
    assert np.isnan(measured.data[0, 0])
    # the same under the other heading, if that is told
    path = write_spe(tmp_path / "b.spe", data, errors, EDGES, q)
    assert_allclose(read_spe(path, grid="q").data, measured.data)
    with pytest.raises(ValueError, match=r"1 to 4, which may be angles or \|Q\|. Pass"):
        read_spe(path, incident_energy=50.0)


def test_angles_that_no_momentum_can_be(tmp_path):
    angles = np.linspace(5.0, 95, 7)
    ones = np.ones((6, N_ENERGY))
    path = write_spe(tmp_path / "a.spe", ones, ones, EDGES, angles)
    with pytest.warns(MeasurementWarning, match=r"2 bins of .*=30 meV, .* left out"):
        measured = read_spe(path, incident_energy=30.0, ki_over_kf_scaling=False)
    assert_allclose(measured.grid.two_theta, (angles[1:] + angles[:-1]) / 2)
    assert measured.details["grid"] == "two_theta"
    energy = measured.grid.energy  # only those below the incident energy
    assert_allclose(energy, np.arange(-7.5, 30, 5))
    factor = np.sqrt(30.0 / (30.0 - energy))  # ki / kf
    assert_allclose(measured.grid.to_image(measured.data)[0, :, 0], factor)
    assert measured.quantity == "sqe"
    with pytest.raises(ValueError, match="incident_energy would tell to be angles"):
        read_spe(path)


def test_what_is_not_told_is_asked_for(tmp_path, numbers, table):
    path = write_spe(tmp_path / "a.spe", *numbers, EDGES)
    with pytest.raises(ValueError, match=r"Pass incident_energy=\.\.\., in meV"):
        read_spe(path, table)
    measured = read_spe(path, table, incident_energy=50.0)
    assert measured.quantity is None
    grid = SpectrumGrid(np.arange(0.0, 40, 5), np.arange(1.0, 4, 0.5))
    with pytest.raises(ValueError, match="ki_over_kf_scaling=True"):
        reduce_powder(measured, grid)
    with pytest.raises(ValueError, match="grid must be one of two_theta, q, got 'phi'"):
        read_spe(path, grid="phi")
    with pytest.raises(ValueError, match="incident_energy must be a positive number"):
        read_spe(path, grid="two_theta", incident_energy=-50.0)


def _edited(tmp_path, path, old, new, count=1):
    edited = tmp_path / "edited.spe"
    assert old in path.read_text()
    edited.write_text(path.read_text().replace(old, new, count))
    return edited


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("       6      10", "       6", r"line 1 must hold the numbers of spectra"),
        ("       6      10", "       0      10", "must announce spectra"),
        ("       6      10", "99999999      10", "must announce what the file holds"),
        (
            "       6      10",
            "       7      10",
            "line 4 must go on with the Phi G",
        ),
        (
            "       6      10",
            "       6       9",
            "must end the Energy Grid: 10 num",
        ),
        ("-1.000E+01-5.000E+00", "-5.000E+00-5.000E+00", "increasing borders of bins"),
        ("-1.000E+01-5.000E+00", "     wrong-5.000E+00", "must hold numbers, got 'wro"),
        ("### Errors", "### Other", "must be the heading of errors of spectrum 1"),
        (
            "### Errors",
            "### Errors\n" + 16000 * "1" + "x",
            "must hold numbers, got '11",
        ),
        ("### Energy Grid", "### Energy Grid " + 99999 * "x", "at most 16384 charact"),
    ],
)
def test_what_must_hold(tmp_path, numbers, table, old, new, message):
    path = write_spe(tmp_path / "a.spe", *numbers, EDGES)
    with pytest.raises(ValueError, match=message):
        read_spe(_edited(tmp_path, path, old, new), table, **KI_KF)


def test_a_file_that_is_cut_off(tmp_path, numbers, table):
    path = write_spe(tmp_path / "a.spe", *numbers, EDGES)
    text = path.read_text()
    path.write_text(text + "### S(Phi,w)\n")
    with pytest.raises(ValueError, match="must be the end, after 6 spectra"):
        read_spe(path, table, **KI_KF)
    for part in (0.2, 0.5, 0.9, 0.99):
        path.write_text(text[: int(part * len(text))])
        with pytest.raises(ValueError, match=r"a\.spe"):
            read_spe(path, table, **KI_KF)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("6\n" + "10 0 20.00 0 1 1 1\n" * 5, "line 7 must hold 7 numbers .* got ''"),
        (
            "6\n" + "10 0 20.00 0 1.0 1.0 1\n" * 4 + "1 2\n" * 2,
            "line 6 must hold 7 numbers",
        ),
        ("6\n" + "10 0 200 0 1 1 1\n" * 6, "scattering angles within -180 to 180"),
        ("6\n" + "10 0 20 0 -1 1 1\n" * 6, "sizes that are not negative"),
        ("6\n" + "0 20 0 1 1\n" * 6, "positive distances"),
        ("999999\n" + "2 20 0 1 1\n" * 6, "must announce what the file holds"),
        ("### Phi Grid\n1 2\n", r"must be a table of detectors .* got an SPE file"),
    ],
)
def test_tables_that_are_none(tmp_path, numbers, content, message):
    path = write_spe(tmp_path / "a.spe", *numbers, EDGES)
    table = tmp_path / "a.phx"
    table.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_spe(path, table, **KI_KF)


def test_other_files(tmp_path, table):
    with pytest.raises(ValueError, match=r"must be an SPE file in text, got a table"):
        read_spe(table)
    with pytest.raises(OSError, match="must be a file, found none"):
        read_spe(tmp_path / "nothing.spe")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = 1.0
    with pytest.raises(ValueError, match="got an HDF5 file of another layout"):
        read_spe(tmp_path / "a.h5")
