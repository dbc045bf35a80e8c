"""Histograms of Mantid: axes, directions, normalisation, and files that are none."""

import h5py
import numpy as np
import pytest
from measured_files import ENERGY, HKL, case, write_mdhisto
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import CrystalGrid, SpectrumGrid
from skphonon.instrument import MeasurementWarning
from skphonon.io import read_mdhisto

H, K, L, E = (
    np.linspace(0, 2, 5),
    np.linspace(-1, 1, 4),
    np.array([-0.25, 0.25]),
    np.linspace(5, 25, 6),
)
TRICLINIC = np.array([[4.0, 0.0, 0.0], [-0.2, 5.0, 0.0], [0.5, 0.2, 6.0]])


def centres(edges):
    return (edges[1:] + edges[:-1]) / 2


def number(h, k, l, energy):  # noqa: E741
    """A value that tells the place."""
    return 1000 + h + 10 * k + 100 * l - energy


SIGNAL = number(*np.meshgrid(*map(centres, (H, K, L, E)), indexing="ij"))


def orientation(lattice, turn=None):
    """Return UB of a crystal: Q / 2 pi in a frame with z along the beam, y upwards."""
    turn = np.eye(3) if turn is None else turn
    return turn @ np.linalg.inv(lattice)


def rotation():
    """A rotation that no axis shares."""
    matrix, _ = np.linalg.qr(np.random.RandomState(0).normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def expected(grid):
    energy = np.asarray(grid.energy)[:, None]
    return number(*grid.wavevectors.T, energy).reshape(1, -1)


@pytest.fixture
def volume(tmp_path):
    def write(axes=(*HKL, ENERGY), edges=(H, K, L, E), signal=SIGNAL, **settings):
        return write_mdhisto(tmp_path / "a.nxs", axes, edges, signal, **settings)

    return write


def test_volume_with_a_plane_in_hkl(volume):
    logs = {"Ei": [60.2], "SampleTemp": [299.0, 301.0], "T_other": 5.0}
    path = volume(logs=logs, variance=4 * SIGNAL)
    measured = read_mdhisto(str(path))
    grid = measured.grid
    assert isinstance(grid, CrystalGrid)
    assert grid.volume_shape == (5, 4, 3, 1)
    assert_allclose(grid.wavevectors[:, 0].reshape(4, 3)[:, 0], centres(H))
    assert_allclose(measured.data, expected(grid))
    assert_allclose(measured.error, 2 * np.sqrt(expected(grid)))
    assert grid.mask.all()
    assert list(measured.details["edges"]) == ["energy", "h", "k", "l"]
    assert_array_equal(measured.details["edges"]["l"], L)
    assert measured.incident_energy == grid.incident_energy == 60.2
    assert measured.temperature == 300
    assert read_mdhisto(path, temperature_log="T_other").temperature == 5
    assert read_mdhisto(path, temperature_log="none").temperature is None
    assert grid.lattice is None


@pytest.mark.parametrize("order", [(3, 0, 1, 2), (0, 3, 1, 2), (1, 3, 2, 0)])
def test_any_order_of_dimensions(volume, order):
    edges, axes = (H, K, L, E), (*HKL, ENERGY)
    path = volume(
        [axes[i] for i in order], [edges[i] for i in order], SIGNAL.transpose(order)
    )
    measured = read_mdhisto(path)
    assert_allclose(measured.data, expected(measured.grid))


def test_the_attribute_axes_decides_on_the_order(volume):
    path = volume()
    with h5py.File(path, "a") as file:
        data = file["MDHistoWorkspace/data"]
        for name in ("signal", "errors_squared", "num_events", "mask"):
            turned = data[name][()].T
            del data[name]
            data[name] = turned
        data["signal"].attrs["axes"] = "D0:D1:D2:D3"
    measured = read_mdhisto(path)
    assert_allclose(measured.data, expected(measured.grid))


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["[H,H,0]", "[H,-H,0]", "[0,0,L]"], [[1, 1, 0], [1, -1, 0], [0, 0, 1]]),
        (
            ["[0.5K,K,0]", "[-H,.5H,0]", "[0,0,2L]"],
            [[0.5, 1, 0], [-1, 0.5, 0], [0, 0, 2]],
        ),
        (["['zeta', 0, 0]", "[0,'eta',0]", "[0,0,-'xi']"], np.diag([1, 1, -1])),
        (["K", "L", "H"], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        (["[00L]", "[HH0]", "[-HH0]"], [[0, 0, 1], [1, 1, 0], [-1, 1, 0]]),
        (
            ["[0.5H-.5H0]", "[H H 0]", "(0 0 -2L)"],
            [[0.5, -0.5, 0], [1, 1, 0], [0, 0, -2]],
        ),
    ],
)
def test_directions_by_name(volume, names, rows):
    axes = [(name, "in 1.25 A^-1", "HKL") for name in names]
    measured = read_mdhisto(volume([*axes, ENERGY]))
    assert_array_equal(measured.grid.projection, rows)
    first = np.array([axis[0] for axis in map(centres, (H, K, L))])
    assert_allclose(measured.grid.wavevectors[0], first @ np.array(rows))


def test_directions_by_w_matrix(volume):
    """It has the digits that names lack, and yields to names of other axes."""
    rows = np.array([[1, 1, 0], [1 / 3, -1 / 3, 0], [0, 0, 1]])
    logs = {"W_MATRIX": rows.T.ravel()}
    for names, found in (
        (["[H,H,0]", "[0.333H,-0.333H,0]", "[0,0,L]"], rows),
        (["[0,0,L]", "[H,H,0]", "[0.333H,-0.333H,0]"], rows[[2, 0, 1]]),
        (["first", "second", "third"], rows),
        (["[H,0,0]", "[0,K,0]", "[0,0,L]"], np.eye(3)),
    ):
        axes = [(name, "r.l.u.", "HKL") for name in names]
        measured = read_mdhisto(volume([*axes, ENERGY], logs=logs))
        assert_array_equal(measured.grid.projection, found)


def test_directions_of_bin_md():
    """BinMD leaves W_MATRIX at unity: names win."""
    measured = read_mdhisto(case("binmd_w_identity.nxs"))
    assert_array_equal(measured.grid.projection, [[0, 0, 1], [1, 1, 0], [-1, 1, 0]])
    assert measured.details["projection"] == "names"


def test_what_told_the_directions(volume):
    logs = {"W_MATRIX": np.eye(3).ravel()}
    assert read_mdhisto(volume(logs=logs)).details["projection"] == "W_MATRIX"
    assert read_mdhisto(volume()).details["projection"] == "names"


def test_a_w_matrix_that_names_contradict_tells_nothing(volume):
    axes = [(name, "r.l.u.", "HKL") for name in ("[H,H,0]", "second", "[0,0,L]")]
    path = volume([*axes, ENERGY], logs={"W_MATRIX": np.eye(3).ravel()})
    with pytest.raises(ValueError, match=r"W_MATRIX that agrees .* got 'second'"):
        read_mdhisto(path)


def test_lattice_and_orientation(volume):
    """u lies along the beam, z, and v in the plane of z and x, towards x."""
    ub = orientation(TRICLINIC, rotation())
    grid = read_mdhisto(volume(ub=ub)).grid
    assert_allclose(grid.lattice, TRICLINIC, atol=1e-12)
    for wavevector, axis in ((grid.u, [0, 0, 1]), (grid.v, [1, 0, 0])):
        direction = ub @ wavevector
        assert_allclose(direction / np.linalg.norm(direction), axis, atol=1e-12)


def test_sample_frame_is_turned_to_hkl(volume):
    ub = orientation(TRICLINIC, rotation())
    axes = [(f"Q_sample_{x}", "Angstrom^-1", "QSample") for x in "xyz"]
    grid = read_mdhisto(volume([*axes, ENERGY], ub=ub)).grid
    places = np.meshgrid(*map(centres, (H, K, L)), indexing="ij")
    q = np.stack(places, axis=-1).reshape(-1, 3)
    assert_allclose(2 * np.pi * grid.wavevectors @ ub.T, q, atol=1e-12)
    swapped = read_mdhisto(volume([*axes[1::-1], axes[2], ENERGY], ub=ub)).grid
    assert_allclose(2 * np.pi * swapped.wavevectors @ ub.T, q[:, [1, 0, 2]], atol=1e-12)


def test_the_opposite_sign_of_q_is_turned(volume):
    measured = read_mdhisto(volume(convention="Crystallography"))
    assert_allclose(measured.details["edges"]["h"], -H[::-1])
    energy = np.asarray(measured.grid.energy)[:, None]
    values = number(*-measured.grid.wavevectors.T, energy)
    assert_allclose(measured.data, values.reshape(1, -1))


def test_frame_from_the_coordinate_system(volume):
    path = volume([("[H,0,0]", "rlu", None), *HKL[1:], ENERGY])
    with h5py.File(path, "a") as file:
        file["MDHistoWorkspace/coordinate_system"] = np.uint32(3)
    assert_allclose(read_mdhisto(path).data, expected(read_mdhisto(path).grid))


# Powders, and what an intensity is

Q = np.linspace(0.5, 4.5, 9)
Q_AXIS = ("|Q|", "MomentumTransfer", "General Frame")


def test_powder(tmp_path):
    signal = centres(Q)[:, None] + 10 * centres(E)
    axes = [Q_AXIS, ("DeltaE", "DeltaE", "General Frame")]
    path = write_mdhisto(tmp_path / "a.nxs", axes, [Q, E], signal, logs={"Ei": 40.0})
    measured = read_mdhisto(path)
    assert isinstance(measured.grid, SpectrumGrid)
    assert measured.grid.shape == (5, 8)
    assert_allclose(measured.grid.to_image(measured.data)[0], signal.T)
    assert_allclose(measured.grid.q, centres(Q))
    assert measured.grid.incident_energy == 40


def test_energies_above_the_incident_one_are_left_out(tmp_path):
    signal = centres(Q)[:, None] + 10 * centres(E)
    path = tmp_path / "a.nxs"
    write_mdhisto(path, [Q_AXIS, ENERGY], [Q, E], signal, logs={"Ei": 16.0})
    with pytest.warns(MeasurementWarning, match="in 2 bins of energy"):
        measured = read_mdhisto(path)
    assert_array_equal(measured.details["edges"]["energy"], E[:4])
    assert_allclose(measured.grid.to_image(measured.data)[0], signal.T[:3])
    assert (
        measured.error.shape == measured.details["events"].shape == measured.data.shape
    )


@pytest.fixture
def counted(tmp_path):
    """Four bins of |Q| by one of energy: a count, none, masked, never reached."""

    def write(normalization):
        return write_mdhisto(
            tmp_path / "a.nxs",
            [Q_AXIS, ENERGY],
            [[1.0, 2.0, 3.0, 4.0, 6.0], [10.0, 14.0]],
            np.array([[12.0], [0.0], [12.0], [np.nan]]),
            variance=np.array([[9.0], [0.0], [9.0], [np.nan]]),
            events=np.array([[3.0], [0.0], [3.0], [0.0]]),
            mask=np.array([[0], [0], [1], [0]]),
            normalization=normalization,
        )

    return write


NAN = np.nan


@pytest.mark.parametrize(
    ("own", "name", "data", "error"),
    [
        (None, "signal", [12, 0, NAN, NAN], 3),
        (0, "signal", [12, 0, NAN, NAN], 3),
        (1, "volume", [3, NAN, NAN, NAN], 0.75),
        (2, "events", [4, NAN, NAN, NAN], 1),
    ],
)
def test_normalization(counted, own, name, data, error):
    for measured in (
        read_mdhisto(counted(own)),
        read_mdhisto(counted(0), normalization=name),
    ):
        assert measured.details["normalization"] == name
        assert_allclose(measured.data, [data])
        # no count has no error
        assert_allclose(measured.error, [[error, NAN, NAN, NAN]])
        assert_array_equal(measured.grid.mask, np.isfinite([data]))
        events = np.where(np.isfinite(data), [3.0, 0.0, 3.0, 0.0], NAN)
        assert_array_equal(measured.details["events"], [events])


def test_unknown_normalization(counted):
    with pytest.raises(
        ValueError, match="one of file, signal, volume, events, got 'x'"
    ):
        read_mdhisto(counted(0), normalization="x")
    with pytest.raises(
        ValueError, match=r"must be 0, 1 or 2, got 7\. Pass normalization"
    ):
        read_mdhisto(counted(7))


def test_events_divided_by_themselves_are_no_intensities():
    with pytest.raises(
        ValueError, match=r"signal must hold intensities, got events: .* 1 every"
    ):
        read_mdhisto(case("ev.nxs"))
    counts = read_mdhisto(case("ev.nxs"), normalization="signal")
    assert np.ptp(counts.data) > 1
    assert_array_equal(counts.data, counts.details["events"])


# Temperature


@pytest.fixture
def with_logs(tmp_path):
    def write(*logs):
        """Write runs with values of the log and, optionally, times and units."""
        path, signal = tmp_path / "a.nxs", np.arange(12.0).reshape(3, 4)
        edges = [np.arange(1.0, 5), np.arange(2.0, 7)]
        write_mdhisto(path, [Q_AXIS, ENERGY], edges, signal)
        with h5py.File(path, "a") as file:
            for number, (values, times, units) in enumerate(logs):
                log = f"MDHistoWorkspace/experiment{number}/logs/SampleTemp"
                file[f"{log}/value"] = np.asarray(values, dtype=float)
                if times is not None:
                    file[f"{log}/time"] = np.asarray(times, dtype=float)
                if units:
                    file[f"{log}/value"].attrs["units"] = units
        return path

    return write


@pytest.mark.parametrize(
    ("logs", "temperature", "limits"),
    [
        ([([5.0, np.nan, 5.0], None, "")], 5, (5, 5)),
        ([([np.nan], None, "K")], None, None),
        ([([20.0, 20.5], None, "Celsius")], 293.4, (293.15, 293.65)),
        ([([300.0, 150, 6, 5], [0, 2, 4, 5], "K")], 150, None),
        # five seconds of cooling, and then two hours
        ([([300.0, 150, 5.01, 5], [0, 2, 5, 3605], "K")], 5.01, (5, 300)),
        # times that are none count alike
        ([([7.0, 5, 5], [3, 2, 1], "K")], 5, None),
        # a second run, as long
        ([([5.0], None, ""), ([7.0], None, "")], 6, (5, 7)),
    ],
)
@pytest.mark.filterwarnings("ignore:The temperature moved")
def test_temperature_is_the_median_over_time(with_logs, logs, temperature, limits):
    measured = read_mdhisto(with_logs(*logs))
    assert measured.temperature == pytest.approx(temperature, abs=1e-9)
    if limits is not None:
        assert_allclose(measured.details["temperature_range"], limits)
    elif temperature is None:
        assert "temperature_range" not in measured.details


def test_the_last_temperature_holds_to_the_end_of_the_run(with_logs):
    path = with_logs(([300.0, 5.0], [0, 60], "K"))
    with h5py.File(path, "a") as file:
        file["MDHistoWorkspace/experiment0/logs/duration/value"] = [3600.0]
    assert read_mdhisto(path).temperature == 5


@pytest.mark.parametrize(
    ("values", "moves"),
    [
        ([300.0, 301.9], False),
        ([300.0, 302.1], True),  # 2 K
        ([5.0, 5.2], False),
        ([5.0, 5.3], True),  # 5 %
        ([300.0] + 99 * [5.0], False),  # 1 % of the time
        (10 * [300.0] + 90 * [5.0], True),
    ],
)
def test_a_temperature_that_moved_is_said(with_logs, values, moves):
    path = with_logs((values, None, "K"))
    if not moves:  # warnings are errors
        assert read_mdhisto(path).temperature == np.median(values)
        return
    with pytest.warns(MeasurementWarning, match="The temperature moved") as caught:
        read_mdhisto(path)
    assert caught[0].filename == __file__


def test_logs_of_real_runs():
    """A log that starts at 0 and cools down (mean 27.4); one value that is NaN."""
    with pytest.warns(MeasurementWarning, match=r"median in time, 4\.75 K, is used"):
        measured = read_mdhisto(case("temp.nxs"))
    assert measured.temperature == 4.75
    assert_array_equal(measured.details["temperature_range"], [0, 300])
    assert read_mdhisto(case("tempnan.nxs")).temperature == 5


def test_a_temperature_in_other_units_is_refused(with_logs):
    with pytest.raises(ValueError, match=r"SampleTemp/value must .* got units 'F'"):
        read_mdhisto(with_logs(([41.0], None, "F")))


# Malformed files


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": 1}, "MDHistoWorkspace must have SaveMDVersion 2, got 1"),
        ({"edges": (H, K, L, E[:-1])}, r"a.nxs: /MD.*/data/D3 must have shape \(6\)"),
        ({"edges": (H[::-1], K, L, E)}, "data/D0 must hold increasing borders"),
        (
            {"axes": [*HKL, ("DeltaE", "THz", "")]},
            "D3 must be .* mev.* got units 'THz'",
        ),
        ({"axes": [*HKL, ("Temp", "K", "")]}, "'Temp' in the frame ''"),
        ({"axes": [*HKL, HKL[0]]}, "must have an energy transfer and either"),
        ({"axes": [Q_AXIS, *HKL]}, r"got \|Q\|, \[H,0,0\]"),
        (
            {"axes": [("[H,0,0]", "Angstrom^-1", "HKL"), *HKL[1:], ENERGY]},
            r"units r\.l\.u\., .*got units 'Angstrom\^-1'",
        ),
        (
            {"axes": [("[H,0.5,0]", "rlu", "HKL"), *HKL[1:], ENERGY]},
            r"D0 must tell its direction .*got '\[H,0.5,0\]'",
        ),
        (
            {"axes": [(f"Q_sample_{x}", "A^-1", "QSample") for x in "xyz"] + [ENERGY]},
            "orientation_matrix must be there .* Run SetUB",
        ),
        (
            {
                "axes": [(f"Q{x}", "A^-1", "QSample") for x in "xyx"] + [ENERGY],
                "ub": np.eye(3),
            },
            "axes along x, y and z .*got Qx, Qy, Qx",
        ),
        ({"ub": np.zeros((3, 3))}, "must be three independent vectors"),
        ({"ub": np.zeros(9)}, r"orientation_matrix must have shape \(3, 3\), got"),
        ({"logs": {"W_MATRIX": np.ones(4)}}, r"W_MATRIX/value must have shape \(9\)"),
    ],
)
def test_malformed_files_are_named(volume, settings, message):
    with pytest.raises(ValueError, match=message):
        read_mdhisto(volume(**settings))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "with an entry MDHistoWorkspace, got an HDF5 file .* with nothing in it"),
        ("/data", "/MDHistoWorkspace/data must be a group, found none"),
        ("/data/signal", "/data/signal must be a dataset, found none.* holds D0, D1"),
        ("/data/errors_squared", "/data/errors_squared must be a dataset"),
        ("/data/num_events", "/data/num_events must be a dataset"),
        ("/data/D2", "/data/D2 must be a dataset"),
    ],
)
def test_what_is_missing_is_named(volume, name, message):
    path = volume()
    with h5py.File(path, "a") as file:
        del file["MDHistoWorkspace" + name]
    with pytest.raises(ValueError, match=message):
        read_mdhisto(path)


def test_events_must_be_binned_first(tmp_path):
    with h5py.File(tmp_path / "events.nxs", "w") as file:
        file.create_group("MDEventWorkspace")
    with pytest.raises(ValueError, match="Bin the events first, with MDNorm or BinMD"):
        read_mdhisto(tmp_path / "events.nxs")
