"""Cuts of Horace: real ones against each other and their pixels, and written ones."""

import struct

import numpy as np
import pytest
from horace_files import (
    CUBIC,
    HEXAGONAL,
    TRICLINIC,
    busing_levy,
    coordinates,
    random_pixels,
    run,
    write_horace,
)
from measured_files import momentum
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import CrystalGrid, SpectrumGrid
from skphonon.instrument.measurement import MeasurementWarning
from skphonon.io import _horace_blocks
from skphonon.io._horace_bytes import Cursor, open_bytes
from skphonon.io.horace import read_horace

SAMPLE = "formats/faccess_sqw_v4_sample.sqw"
ENERGY = np.arange(5.0, 46.0, 10.0)
STEPS = {  # lattice, u, v, w, kind, oblique -> steps in r.l.u. by hand
    "cubic 110": (
        CUBIC, [1, 1, 0], [0, 0, 1], None, "ppr", False,
        [[1, 1, 0], [0, 0, 1], [1, -1, 0]],
    ),
    "scaled": (
        CUBIC, [2, 2, 0], [-3, 3, 0], [0, 0, 0.5], "rrp", False,
        [[1, 1, 0], [-1, 1, 0], [0, 0, 0.5]],
    ),
    "per angstrom": (
        CUBIC, [1, 0, 0], [0, 1, 0], [0, 0, 1], "aaa", False,
        4 / (2 * np.pi) * np.eye(3),
    ),
    "hexagonal": (  # b* is 60 degrees from a*
        HEXAGONAL, [1, 0, 0], [0, 1, 0], None, "ppr", False,
        [[1, 0, 0], [-0.5, 1, 0], [0, 0, 1]],
    ),
    "oblique": (
        HEXAGONAL, [1, 0, 0], [0, 1, 0], [0, 0, 1], "rrr", True, np.eye(3),
    ),
    "triclinic": (
        TRICLINIC, [1, 0, 0], [0, 1, 1], [0, 0, 1], "ppp", True,
        [[1, 0, 0], [0, 1, 1], [0, 0, 1]],
    ),
}  # fmt: skip
BOX = [np.arange(-1.5, 1.6, 0.75), np.arange(-1.5, 1.6, 0.5), [-1.0, 1.0], ENERGY]
FAST = [run(efix=1000.0)]  # neutrons that reach all of the cube that pixels are in


def box(*edges):
    return [np.array(each, dtype=float) for each in edges]


def place_in_grid(grid, edges, hkl, energy):
    """Return the column and row of each pixel in an image, by the grid alone."""
    along = hkl @ np.linalg.inv(grid.directions())
    numbers = [
        np.searchsorted(edges[name], values, side="right") - 1
        for name, values in zip("hkl", along.T, strict=True)
    ]
    column = np.ravel_multi_index(numbers, grid.volume_shape[1:])
    return np.searchsorted(edges["energy"], energy, side="right") - 1, column


def check_against_pixels(measured):
    """Bin the pixels of a measurement by its grid, and compare what they sum to."""
    grid, details = measured.grid, measured.details
    pixels = details["pixels"]
    hkl = np.column_stack([pixels[f"u{n}"] for n in (1, 2, 3)]).astype(float)
    row, column = place_in_grid(
        grid, details["edges"], hkl @ details["pixels_to_hkl"], pixels["energy"]
    )
    place, size = row * grid.shape[1] + column, grid.n_pixels
    counts = np.bincount(place, minlength=size)
    signal, variance = (
        np.bincount(place, pixels[name].astype(float), minlength=size)
        for name in ("signal", "variance")
    )
    seen = counts > 0
    assert_array_equal(grid.mask.ravel(), seen)
    assert_array_equal(details["events"][0][seen], counts[seen])
    assert_allclose(measured.data[0][seen], signal[seen] / counts[seen], rtol=1e-6)
    assert_allclose(
        measured.error[0][seen], np.sqrt(variance[seen]) / counts[seen], rtol=1e-6
    )
    assert np.isnan(measured.data[0][~seen]).all()
    assert np.isnan(measured.error[0][~seen]).all()


# Real files


def test_real_cuts_of_two_versions_agree(data_folder):
    old = read_horace(data_folder / "formats" / "dnd_2d.sqw")
    new = read_horace(data_folder / "formats" / "faccess_dnd_v4_sample.sqw")
    assert (old.details["version"], new.details["version"]) == (2.0, 4.0)
    for measured in (old, new):
        grid = measured.grid
        assert grid.volume_shape == (1, 16, 11, 1)
        assert_allclose(
            grid.directions(), [[1, 1, 0], [0, 0, 1], [1, -1, 0]], atol=1e-6
        )
        assert_allclose(grid.lattice, 4.2275 * np.eye(3), atol=1e-6)
        assert_allclose(grid.h[[0, -1]], [-0.70, -0.40], atol=1e-6)
        assert_allclose(measured.details["edges"]["l"], [-0.05, 0.05], atol=1e-6)
        assert_allclose(measured.details["edges"]["energy"], [-0.25, 0.25])
        assert measured.incident_energy is measured.temperature is None
        assert measured.quantity == "sqe"
    # the same cut of RbMnF3, which was saved by two versions of Horace
    assert_array_equal(old.data, new.data)
    assert_array_equal(old.details["events"], new.details["events"])
    assert_allclose(old.error, new.error, rtol=1e-6)


def test_real_pixels_sum_to_the_image(data_folder):
    measured = read_horace(data_folder / SAMPLE, pixels=True)
    assert measured.grid.volume_shape == (1, 1, 21, 1)
    assert_allclose(measured.grid.directions(), [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
    assert measured.incident_energy == 787.0
    assert_allclose(measured.details["edges"]["energy"], [150.0, 160.0])
    check_against_pixels(measured)
    plain = read_horace(data_folder / SAMPLE)
    assert "pixels" not in plain.details
    assert len(plain.details["runs"]) == 109


def test_real_pixels_lie_where_detectors_and_psi_say(data_folder):
    # Q = k_i - k_f of the detectors, in a crystal that psi turned anticlockwise
    measured = read_horace(data_folder / SAMPLE, pixels=True)
    pixels, runs = measured.details["pixels"], measured.details["runs"]
    content = open_bytes(data_folder / SAMPLE)
    cursor = Cursor(content, "sample")
    cursor.skip(26)
    bank = _horace_blocks._object(cursor, _horace_blocks._table(cursor), ("", "detpar"))
    psi = {each["run_id"]: each["psi"] for each in runs}
    known = np.isin(pixels["irun"], list(psi))
    pixels = pixels[known][::40]
    detector = pixels["idet"].astype(int) - 1
    angles = {"polar": bank["phi"][detector], "azimuthal": bank["azim"][detector]}
    q = np.stack(
        [
            momentum({k: v[[n]] for k, v in angles.items()}, energy[None], 787.0)[0, 0]
            for n, energy in enumerate(pixels["energy"].astype(float))
        ]
    )
    hkl = np.column_stack([pixels[f"u{n}"] for n in (1, 2, 3)]).astype(float)
    hkl = hkl @ measured.details["pixels_to_hkl"]
    crystal = measured.grid.in_instrument(hkl)
    turn = np.deg2rad([psi[number] for number in pixels["irun"].astype(int)])
    beam = np.cos(turn) * crystal[:, 0] - np.sin(turn) * crystal[:, 1]
    across = np.sin(turn) * crystal[:, 0] + np.cos(turn) * crystal[:, 1]
    assert len(q) > 50
    assert np.ptp(turn) > np.deg2rad(60)
    # z is along the beam and y upwards there; the rest are digits of hbar^2 / 2 m
    expected = np.column_stack([q[:, 2], q[:, 0], q[:, 1]])
    found = np.column_stack([beam, across, crystal[:, 2]])
    assert_allclose(found, expected, atol=2e-3)
    assert_array_equal(measured.grid.psi, [each["psi"] for each in runs])


# Written files: axes


@pytest.mark.parametrize("version", [4.0, 2.0, 3.1])
@pytest.mark.parametrize("name", STEPS)
def test_any_projection_and_lattice(tmp_path, name, version):
    lattice, u, v, w, kind, oblique, steps = STEPS[name]
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(2000), box(*BOX), steps, lattice=lattice,
        u=u, v=v, w=w, kind=kind, oblique=oblique, version=version,
    )  # fmt: skip
    measured = read_horace(path, pixels=True)
    assert measured.grid.volume_shape == (4, 4, 6, 1)
    assert_allclose(measured.grid.directions(), steps, atol=1e-6)
    a, b, c = measured.grid.lattice
    assert_allclose(np.linalg.norm([a, b, c], axis=1), lattice[0], rtol=1e-6)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert_allclose(cosine, np.cos(np.deg2rad(lattice[1][2])), atol=1e-6)
    assert_allclose(
        measured.details["pixels_to_hkl"],
        np.linalg.inv(busing_levy(lattice)).T,
        atol=1e-6,
    )
    check_against_pixels(measured)


def test_directions_from_a_matrix(tmp_path):
    steps = [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), box(*BOX), steps, projection="ubmat_proj"
    )
    measured = read_horace(path, pixels=True)
    assert_allclose(measured.grid.directions(), steps, atol=1e-12)
    check_against_pixels(measured)


@pytest.mark.parametrize("version", [4.0, 2.0])
def test_the_origin_is_moved_into_the_axes(tmp_path, version):
    origin = [0.5, -0.25, 0.125, 10.0]
    edges = box([-1, 0, 1], [-1, 0, 0.5, 1], [-0.5, 0.5], [-5, 5, 15, 25, 35])
    if version == 4.0:  # which has bins of one width
        edges[1] = np.array([-1.0, 0.0, 1.0])
    steps = [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), edges, steps, origin=origin,
        u=[1, 1, 0], v=[-1, 1, 0], kind="rrr", version=version,
    )  # fmt: skip
    measured = read_horace(path, pixels=True)
    assert_allclose(measured.details["edges"]["energy"], edges[3] + 10)
    # (1/2, -1/4, 1/8) is 1/8 and -3/8 along the axes in the plane
    assert_allclose(measured.details["edges"]["h"], edges[0] + 0.125)
    assert_allclose(measured.details["edges"]["k"], edges[1] - 0.375)
    assert_allclose(measured.details["edges"]["l"], edges[2] + 0.125)
    assert_array_equal(measured.details["origin"], origin)
    check_against_pixels(measured)


@pytest.mark.parametrize("version", [4.0, 2.0])
@pytest.mark.parametrize(
    "edges",
    [
        [np.arange(-1, 1.5, 0.5)] * 3 + [ENERGY],
        [np.arange(-1, 1.5, 0.5)] * 2 + [[-0.5, 0.5], ENERGY],
        [np.arange(-1, 1.5, 0.5), [-1.0, 1.0], [-1.0, 1.0], ENERGY],
        [[-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], ENERGY],
        [[-1.0, 1.0], np.arange(-1, 1.5, 0.5), np.arange(-1, 1.5, 0.25), [5.0, 45.0]],
    ],
)
def test_any_number_of_dimensions(tmp_path, edges, version):
    edges = box(*edges)
    path = write_horace(tmp_path / "a.sqw", random_pixels(1000), edges, version=version)
    measured = read_horace(path, pixels=True)
    shape = [len(each) - 1 for each in edges]
    assert measured.grid.volume_shape == (shape[3], *shape[:3])
    check_against_pixels(measured)
    image = write_horace(
        tmp_path / "b.d2d", random_pixels(1000), edges, version=version, keep=False
    )
    assert_array_equal(read_horace(image).data, measured.data)
    assert read_horace(image).grid.psi is None
    with pytest.raises(ValueError, match=r"b\.d2d must hold pixels.*\.sqw"):
        read_horace(image, pixels=True)


@pytest.mark.parametrize("kind", ["add", "arr"])
def test_a_powder_cut_in_spheres(tmp_path, kind):
    pixels, q = random_pixels(3000), np.arange(0.0, 5.1, 0.5)
    half = 180.0 if kind == "add" else np.pi
    edges = box(q, [0.0, 180.0], [-180.0, 180.0], ENERGY)
    limits = np.array([[q[0], q[-1]], [0, half], [-half, half], [5.0, 45.0]]).T
    path = write_horace(
        tmp_path / "a.sqw", pixels, edges, projection="sphere_proj", kind=kind,
        axes={"img_range": limits}, runs=FAST,
    )  # fmt: skip
    measured = read_horace(path, pixels=True)
    assert isinstance(measured.grid, SpectrumGrid)
    assert measured.grid.shape == (4, 10)
    assert_allclose(measured.grid.q, q[1:] - 0.25)
    places = coordinates(pixels, None, sphere=True)
    counts, *_ = np.histogram2d(places[:, 3], places[:, 0], [ENERGY, q])
    assert_array_equal(np.nan_to_num(measured.details["events"]), [counts.ravel()])


@pytest.mark.parametrize("version", [2.0, 4.0])
def test_a_powder_cut_of_older_programs_is_known_by_its_label(tmp_path, version):
    q, labels = np.arange(0.0, 5.1, 0.5), ["|Q|", "", "", "En"]
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(3000),
        box(q, [0.0, 180.0], [-180.0, 180.0], ENERGY),
        powder=True, version=version, labels=labels, axes={"label": labels}, runs=FAST,
    )  # fmt: skip
    assert_allclose(read_horace(path).grid.q, q[1:] - 0.25)


def test_a_part_of_a_sphere_is_warned_of(tmp_path):
    edges = box(np.arange(0.0, 5.1, 0.5), [0.0, 90.0], [-180.0, 180.0], ENERGY)
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(3000), edges, projection="sphere_proj",
        runs=FAST,
    )  # fmt: skip
    with pytest.warns(MeasurementWarning, match="a part of the directions of Q"):
        read_horace(path)


# Written files: runs


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("degrees", [False, True])
def test_runs_and_orientation(tmp_path, degrees, nested):
    runs = [
        run(psi=psi, dpsi=0.5, efix=60.0 + psi / 100, run_id=number + 7.0, v=[0, 0, 1])
        for number, psi in enumerate([-10.0, 0.0, 10.0])
    ]
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), box(*BOX), runs=runs, degrees=degrees,
        nested=nested, title="germanium", instrument="MERLIN", sample="Ge",
    )  # fmt: skip
    measured = read_horace(path)
    assert_allclose(measured.grid.psi, [-9.5, 0.5, 10.5])  # with the correction
    assert_array_equal(measured.grid.v, [0, 0, 1])
    assert_allclose(measured.incident_energy, 60.0)
    details = measured.details
    assert [each["run_id"] for each in details["runs"]] == [7, 8, 9]
    assert_allclose([each["psi"] for each in details["runs"]], [-10, 0, 10], atol=1e-12)
    assert_array_equal(details["runs"][1]["en"], np.arange(0.0, 56.0, 5.0))
    facts = [details[key] for key in ("title", "instrument", "sample", "projection")]
    assert facts == ["germanium", "MERLIN", "Ge", "line_proj"]


def test_runs_of_old_files(tmp_path):
    runs = [run(psi=psi, filename=f"{psi}.spe") for psi in (0.0, 30.0)]
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), box(*BOX), runs=runs, version=2.0,
        title="germanium",
    )  # fmt: skip
    measured = read_horace(path)
    assert_allclose(measured.grid.psi, [0, 30], atol=1e-5)
    assert measured.incident_energy == 60.0
    assert measured.details["title"] == "germanium"
    listed = measured.details["runs"]
    assert [(each["run_id"], each["filename"]) for each in listed] == [
        (1, "0.0.spe"), (2, "30.0.spe"),
    ]  # fmt: skip
    assert_allclose(listed[1]["en"], np.arange(0.0, 56.0, 5.0))


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"efix": 90.0}, False),  # several incident energies
        ({"emode": 2.0}, False),  # a final energy
        ({"efix": np.array([3.0, 3.1])}, False),  # one for each detector
        ({"gs": 2.0}, True),
        ({"u": [0, 1.0, 0], "v": [0, 0, 1.0]}, True),
        ({"u": []}, True),
    ],
)
def test_what_runs_do_not_share_is_not_told(tmp_path, changes, known):
    runs = [run(), run(**changes)]
    path = write_horace(tmp_path / "a.sqw", random_pixels(), box(*BOX), runs=runs)
    measured = read_horace(path)
    assert (measured.incident_energy == 60.0) is known
    assert (measured.grid.psi is None) is known
    assert len(measured.details["runs"]) == 2


def test_energies_above_the_incident_one_are_left_out(tmp_path):
    edges = box(*BOX[:3], np.arange(5.0, 86.0, 10.0))
    path = write_horace(tmp_path / "a.sqw", random_pixels(), edges, runs=[run()])
    assert read_horace(path).grid.energy[-1] == 60.0
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), edges, runs=[run(efix=2.0)]
    )
    with pytest.raises(ValueError, match="below the incident energy, 2 meV"):
        read_horace(path)


# What must be refused, and warned of


def test_pixels_that_contradict_the_image_are_warned_of(tmp_path):
    def scale(blocks, column=7):
        listed = np.frombuffer(blocks["pix", "data_wrap"][12:], "<f4").copy()
        listed[column::9] *= 2
        blocks["pix", "data_wrap"] = blocks["pix", "data_wrap"][:12] + listed.tobytes()

    def root(blocks):
        data = blocks["data", "nd_data"]
        size = (len(data) - 16) // 24
        roots = np.sqrt(np.frombuffer(data, "<f8", size, 16 + 8 * size))
        first, last = data[: 16 + 8 * size], data[16 + 16 * size :]
        blocks["data", "nd_data"] = first + roots.tobytes() + last

    def lose(blocks):
        listed = blocks["pix", "data_wrap"][12:-36]
        head = struct.pack("<IQ", 9, len(listed) // 36)
        blocks["pix", "data_wrap"] = head + listed

    for change, message in (
        (scale, "Intensities of bins of .* are not what its pixels add up to"),
        (lambda blocks: scale(blocks, 8), "Variances of bins of .* Check what was"),
        (root, "Variances of bins of .* standard deviations there"),
        (lose, "lists .* of them"),
    ):
        path = write_horace(
            tmp_path / "a.sqw", random_pixels(), box(*BOX), change=change
        )
        with pytest.warns(MeasurementWarning, match=message):
            read_horace(path)


def test_axes_that_contradict_their_projection_are_warned_of(tmp_path):
    path = write_horace(tmp_path / "a.sqw", random_pixels(), box(*BOX), kind="aaa")
    with pytest.warns(MeasurementWarning, match=r"Axis 1 .*1\.571.* should be 1\."):
        measured = read_horace(path)
    assert_allclose(measured.grid.directions(), np.eye(3), atol=1e-12)
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), box(*BOX), w=[0, 0, -1], kind="rrr"
    )
    with pytest.warns(MeasurementWarning, match="taken along u x v"):
        read_horace(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": 3.3}, "must be of version 4, or 2 to 3.1, .* got 3.3"),
        ({"version": 1.0}, "must be of version 4, or 2 to 3.1, .* got 1. Load it"),
        ({"projection": "cylinder_proj"}, "straight axes .* got 'cylinder_proj'"),
        ({"u": [1, 0, 0], "v": [1, 0, 0]}, "independent vectors"),
        ({"lattice": ([4, 4, 4], [90, 90, 200])}, "must hold a lattice, got lengths"),
        ({"axes": {"img_range": np.ones(8)}}, "finite borders along axis 1, got 1 to"),
        (
            {"axes": {"img_range": np.array([[-np.inf] * 4, [np.inf] * 4])}},
            "finite limits of all axes",
        ),
        ({"axes": {"nbins_all_dims": np.array([4, 6, 1, 5])}}, "one number for each"),
        ({"axes": {"nbins_all_dims": np.array([4, 6, 1e300, 4])}}, "numbers of bins"),
        ({"axes": {"nbins_all_dims": None}}, "4 numbers as nbins_all_dims, got 0"),
    ],
)
def test_what_cannot_be_read(tmp_path, settings, message):
    lattice = settings.pop("lattice", None)

    def change(blocks):
        if lattice:
            blocks["data", "metadata"]["proj"]["angdeg"] = np.array(lattice[1])

    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), box(*BOX), change=change, **settings
    )
    with pytest.raises(ValueError, match=rf"a\.sqw .*{message}"):
        read_horace(path)


@pytest.mark.parametrize("version", [4.0, 2.0])
def test_one_number_and_no_number(tmp_path, version):
    one = box([-1, 1], [-1, 1], [-1, 1], [5, 45])
    path = write_horace(tmp_path / "a.sqw", random_pixels(), one, version=version)
    with pytest.raises(
        ValueError, match=r"a single number\. Cut it again along energy"
    ):
        read_horace(path)
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(reach=0.1), box([8, 9, 10], *BOX[1:]),
        version=version,
    )  # fmt: skip
    with pytest.raises(ValueError, match="at least one bin with pixels, got none"):
        read_horace(path)


def test_bins_of_angles(tmp_path):
    edges = box([0.0, 2.0, 4.0], [0.0, 90.0, 180.0], [-180.0, 180.0], ENERGY)
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), edges, projection="sphere_proj"
    )
    with pytest.raises(ValueError, match=r"\|Q\| and energy as its axes"):
        read_horace(path)
    path = write_horace(
        tmp_path / "a.sqw", random_pixels(), edges, projection="sphere_proj",
        origin=[1.0, 0.0, 0.0, 0.0],
    )  # fmt: skip
    with pytest.raises(ValueError, match="about Q = 0"):
        read_horace(path)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "a.sqw"
    path.write_text("1 2 3\n4 5 6\n")
    with pytest.raises(ValueError, match=r"a\.sqw must be a file of Horace .* table"):
        read_horace(path)
    with pytest.raises(FileNotFoundError):
        read_horace(tmp_path / "none.sqw")


def test_bins_without_counts_or_numbers_are_not_measured(tmp_path):
    def spoil(blocks):
        data = bytearray(blocks["data", "nd_data"])
        size = (len(data) - 16) // 24
        mean, variance = (
            np.frombuffer(data, "<f8", size, 16 + 8 * size * n) for n in (0, 1)
        )
        mean.flags.writeable  # noqa: B018
        mean[:3], variance[3:5] = [np.nan, np.inf, -np.inf], [0.0, -1.0]
        blocks["data", "nd_data"] = bytes(data)

    path = write_horace(
        tmp_path / "a.sqw", random_pixels(3000), box(*BOX), change=spoil, keep=False
    )
    measured = read_horace(path)
    data, error = (
        np.moveaxis(measured.grid.to_volumes(each)[0], 0, 3).ravel(order="F")
        for each in (measured.data, measured.error)
    )
    assert np.isnan(data[:3]).all()
    assert np.isfinite(data[3:5]).all()
    assert np.isnan(error[:5]).all()
    assert isinstance(measured.grid, CrystalGrid)
