"""Arrays under names in a zip, and archives that are made to do harm."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import Measurement, PathGrid
from skphonon.instrument import AngleGrid, MeasurementWarning
from skphonon.io import read_arrays

ENERGY, Q = np.array([1.0, 5.0, 10.0]), np.array([0.5, 1.0])
IMAGE = np.array([[1.0, 2], [3, 4], [5, np.nan]])
SOUND = {"energy": ENERGY, "q": Q, "intensity": IMAGE}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_all_that_can_be_there(path, save):
    save(path, **SOUND, error=IMAGE / 10, incident_energy=20, temperature=[300.0],
         quantity="sqe", units="barn/sr/meV", energy_resolution=0.5)  # fmt: skip
    found = read_arrays(path)
    expected = Measurement.from_arrays(
        Q, ENERGY, IMAGE, IMAGE / 10, incident_energy=20.0, temperature=300.0,
        quantity="sqe", units="barn/sr/meV", energy_resolution=0.5, source=str(path),
    )  # fmt: skip
    assert found == expected


def test_other_names_orders_and_types(path):
    many = np.stack([IMAGE, 2 * IMAGE]).astype("f4")
    np.savez(path, E=ENERGY.astype(int), hkl=[[0, 0, 1], [1, 0, 0]],
             SQE=np.asfortranarray(many), temperature=[5, 300],
             source=np.bytes_("a µ".encode()))  # fmt: skip
    found = read_arrays(path)
    assert isinstance(found.grid, PathGrid)
    assert_array_equal(found.grid.to_image(found.data), many)
    assert_array_equal(found.temperature, [5, 300])
    assert found.source == "a µ"


@pytest.mark.parametrize("name", ["err", "sigma", "dy", "std"])
def test_names_of_text_tables_are_known(path, name):
    np.savez(path, **{"|Q|": Q, "E (meV)": ENERGY, "S(Q,E)": IMAGE, name: IMAGE / 10},
             T=300.0, E_i=20.0, energy_unit="meV", q_unit="1/Angstrom")  # fmt: skip
    found = read_arrays(path)
    expected = Measurement.from_arrays(
        Q, ENERGY, IMAGE, IMAGE / 10, temperature=300.0, incident_energy=20.0,
        source=str(path),
    )  # fmt: skip
    assert found == expected


def test_arrays_that_are_not_used_are_named(path):
    np.savez(path, **SOUND, monitor=np.zeros(3), y=IMAGE)
    with pytest.warns(MeasurementWarning, match="got monitor, y, which are not used"):
        found = read_arrays(path)
    assert_array_equal(found.grid.to_image(found.data)[0], IMAGE)


def test_angles(path):
    np.savez(path, energy=ENERGY, two_theta=[90.0, 30.0], data=IMAGE, ei=20.0)
    found = read_arrays(path)
    assert isinstance(found.grid, AngleGrid)
    assert_array_equal(found.grid.to_image(found.data)[0], IMAGE[:, ::-1])
    assert found.incident_energy == found.grid.incident_energy == 20
    np.savez(path, energy=ENERGY, two_theta=[30.0, 90.0], data=IMAGE)
    with pytest.raises(ValueError, match="incident_energy must be given with two_th"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"q": None},
            "must hold one of q, .*, and two_theta, .* got energy, int",
        ),
        ({"two_theta": Q}, "must hold one of q"),
        ({"intensity": None}, "must hold intensity or data or signal or sqe, got en"),
        ({"data": IMAGE}, "must hold one array of intensity, got intensity and data"),
        ({"q": np.array(["a", "b"])}, "q must hold numbers, got type <U1"),
        ({"q": np.array([object()])}, r"q must be an array of numbers or texts of"),
        ({"quantity": 3}, "quantity must be a text, got type int64"),
        ({"quantity": "s"}, "a.npz: quantity must be one of sqe, chi or None"),
        ({"q": [0.5, 0.5]}, "a.npz: q must not repeat a value"),
        ({"incident_energy": [1.0, 2.0]}, r"must be one number, got shape \(2,\)"),
        ({"temperature": [1.0, 2.0]}, "a.npz: temperature must be a number or one for"),
        ({"energy_unit": "THz"}, "energy must be in meV, got energy_unit 'THz'. Conve"),
        ({"energy_units": "1/cm"}, "energy must be in meV, got energy_units '1/cm'"),
        ({"q_unit": "1/nm"}, "q must be in 1/Angstrom, got q_unit '1/nm'"),
        ({"energy": None, "E_THz": ENERGY}, "must be in meV, got the name 'E_THz'"),
        ({"T": 3, "temp": 3}, "must hold one array of temperature, got T and temp"),
        ({"err": IMAGE, "sigma": IMAGE}, "one array of error, got err and sigma. Save"),
        ({"energy": np.array([(1, 2)], "i4,f4")}, "energy must be an array of numbers"),
    ],
)
def test_what_does_not_fit_is_named(path, change, message):
    arrays = {
        name: value for name, value in (SOUND | change).items() if value is not None
    }
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        read_arrays(path)


def npy(array):
    image = io.BytesIO()
    np.save(image, array)
    return image.getvalue()


def archive(path, *, compression=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def test_a_bomb_is_not_unpacked(path):
    """Half a gigabyte of zeros, in half a megabyte."""
    header = npy(np.zeros((1 << 13, 1 << 13)))[:128]
    archive(path, energy=npy(ENERGY), q=npy(Q))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        with file.open("intensity.npy", "w", force_zip64=True) as member:
            member.write(header)
            for _ in range(1 << 9):
                member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(OSError, match=r"must hold 536871040 bytes, in a file of"):
        read_arrays(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 23


@pytest.mark.parametrize("shape", ["(99999999999,)", "(-3,)", "(3.5,)", "3", "()"])
def test_headers_must_tell_the_truth(path, shape):
    content = npy(ENERGY).replace(b"(3,),", f"{shape},".encode())
    archive(path, energy=content, q=npy(Q), intensity=npy(IMAGE))
    with pytest.raises(ValueError, match=r"energy must (hold numbers|be an array)"):
        read_arrays(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", ">i2", "|u1", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_headers_of_numpy(path, version, kind, order):
    expected = np.asarray([[0, 1], [1, 0], [1, 1]], dtype=kind, order=order)
    image = io.BytesIO()
    np.lib.format.write_array(image, expected, version)
    archive(path, energy=npy(ENERGY), q=npy(Q), intensity=image.getvalue())
    found = read_arrays(path)
    assert_array_equal(found.grid.to_image(found.data)[0], expected)


def test_damage_is_an_oserror(path):
    archive(path, energy=npy(ENERGY), q=npy(Q), intensity=npy(IMAGE))
    content = bytearray(path.read_bytes())
    content[content.index(b"intensity.npy") + 60] ^= 255
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"a\.npz cannot be read"):
        read_arrays(path)
    path.write_bytes(content[:-30])
    with pytest.raises(OSError, match=r"a\.npz cannot be read"):
        read_arrays(path)


def test_other_compression_and_too_many_members(path):
    members = {"energy": npy(ENERGY), "q": npy(Q), "intensity": npy(IMAGE)}
    archive(path, compression=zipfile.ZIP_LZMA, **members)
    with pytest.raises(ValueError, match="must be stored or deflated, got compression"):
        read_arrays(path)
    archive(path, **members, **{f"a{n}": b"" for n in range(1000)})
    with pytest.raises(ValueError, match="at most 1000 arrays, got 1003"):
        read_arrays(path)


def test_what_is_read_agrees_with_numpy(path):
    image = np.random.default_rng(0).uniform(size=(3, 2))
    np.savez_compressed(path, energy=ENERGY, q=Q, intensity=image)
    assert_allclose(read_arrays(path).data, np.load(path)["intensity"].reshape(1, -1))
