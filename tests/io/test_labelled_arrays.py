"""Labelled arrays of scipp: there and back, and those that other programs make."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_frames import WITH_CRYSTAL, measured

from skphonon.instrument import MeasurementWarning
from skphonon.io.labelled_arrays import from_scipp, to_scipp

ENERGY, Q = np.arange(1.0, 5), np.arange(0.5, 2, 0.5)
IMAGE = np.arange(12.0).reshape(4, 3)


@pytest.fixture
def sc():
    return pytest.importorskip("scipp")


def array(
    sc, *, energy=ENERGY, q=Q, names=("energy_transfer", "Q"), units=("meV", "1/Å")
):
    values = IMAGE.reshape(4, 3)
    return sc.DataArray(
        sc.array(dims=names, values=values, variances=values**2, unit="counts"),
        coords={
            name: sc.array(dims=[name], values=axis, unit=unit)
            for name, axis, unit in zip(names, (energy, q), units, strict=True)
        },
    )


@pytest.mark.parametrize("name", WITH_CRYSTAL)
@pytest.mark.parametrize("n_spectra", [1, 3])
def test_there_and_back(sc, name, n_spectra):
    original = measured(WITH_CRYSTAL[name], n_spectra)
    there = to_scipp(original)
    assert there.unit == sc.Unit("1/meV")
    assert there.masks["not_measured"].values.sum() == 1
    found = from_scipp(there)
    assert_allclose(found.error, original.error)
    assert found.replace(error=original.error) == original


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("names", "units", "factors"),
    [
        (("energy_transfer", "Q"), ("meV", "1/angstrom"), (1, 1)),
        (("DeltaE", "|Q|"), ("ueV", "1/nm"), (1e-3, 0.1)),
        (("E", "q"), ("J", "1/m"), (6.241509074e21, 1e-10)),
        (("omega", "momentum_transfer"), ("THz", "1/angstrom"), (4.135667697, 1)),
        (("energy", "modQ"), ("1/cm", "1/angstrom"), (0.1239841984, 1)),
    ],
)
def test_names_and_units(sc, turned, names, units, factors):
    given = array(sc, names=names, units=units, energy=ENERGY / factors[0],
                  q=Q / factors[1])  # fmt: skip
    given.coords["Ei"] = sc.scalar(0.05, unit="eV")
    given.coords["temperature"] = sc.scalar(300000.0, unit="mK")
    given.coords["title"] = sc.scalar("a title")
    found = from_scipp(given.transpose() if turned else given)
    assert_allclose(found.grid.energy, ENERGY, rtol=1e-8)
    assert_allclose(found.grid.q, Q)
    assert_allclose(found.data, [IMAGE.ravel()])
    assert np.isnan(found.error[0, 0])  # nothing was counted there
    assert_allclose(found.error[0, 1:], IMAGE.ravel()[1:])
    assert_allclose([found.incident_energy, found.temperature], [50, 300])
    assert found.units == "counts"


def test_borders_masks_and_a_dimension_of_one(sc):
    given = array(sc, energy=np.arange(0.5, 5))
    given.masks["a"] = sc.array(dims=["Q"], values=[True, False, False])
    given.masks["b"] = given.data > sc.scalar(9.5, unit="counts")
    found = from_scipp(sc.concat([given], "run"), units="arbitrary")
    assert_array_equal(found.grid.energy, ENERGY)
    assert_array_equal(found.details["edges"]["energy"], np.arange(0.5, 5))
    image = found.grid.to_image(found.data)[0]
    assert_array_equal(np.isnan(image), [[1, 0, 0]] * 3 + [[1, 1, 1]])
    assert found.units == "arbitrary"
    line = from_scipp(given["energy_transfer", 1:2])
    assert line.grid.shape == (1, 3)


def test_angles_in_radian_and_units_without_a_name(sc):
    given = array(sc, names=("energy_transfer", "two_theta"), units=("meV", "rad"))
    given.unit = sc.Unit("m")
    found = from_scipp(given, incident_energy=20.0)
    assert_allclose(found.grid.two_theta, np.degrees(Q))
    assert found.units == "m"
    given.unit = None
    assert from_scipp(given, incident_energy=20.0).units is None


def test_units_that_scipp_does_not_know(sc):
    original = measured(WITH_CRYSTAL["powder"]).replace(
        units="counts per 100 monitor counts"
    )
    assert to_scipp(original).unit == sc.units.one


def test_the_facts_stay_and_are_no_obstacle(sc):
    original = measured(WITH_CRYSTAL["powder"]).replace(energy_resolution=0.5)
    found = from_scipp(to_scipp(original))
    facts = "quantity", "source", "energy_resolution", "temperature"
    assert all(getattr(found, name) == getattr(original, name) for name in facts)
    assert from_scipp(to_scipp(original), source="b").source == "b"
    other = to_scipp(original.replace(source="b.nxs"))
    assert from_scipp(to_scipp(original) + other).source is None


def test_a_function_cannot_be_kept(sc):
    original = measured(WITH_CRYSTAL["powder"]).replace(energy_resolution=np.abs)
    with pytest.warns(MeasurementWarning, match="cannot keep energy_resolution, which"):
        there = to_scipp(original)
    assert from_scipp(there).energy_resolution is None


def test_what_is_refused(sc):
    given = array(sc)
    with pytest.raises(TypeError, match="must be a DataArray of scipp, got Variable"):
        from_scipp(given.data)
    with pytest.raises(ValueError, match="coordinate of energy transfer, got dim"):
        from_scipp(given.rename(energy_transfer="x"))
    with pytest.raises(ValueError, match="coordinate of Q, two_theta or h, k and l"):
        from_scipp(given.rename(Q="x"))
    with pytest.raises(ValueError, match="transfer must be in meV, THz or 1/cm"):
        from_scipp(array(sc, units=("K", "1/angstrom")))
    with pytest.raises(ValueError, match="coordinate of q must be in 1/angstrom"):
        from_scipp(array(sc, units=("meV", "m")))
    stack = sc.concat([sc.concat([given] * 2, "a")] * 2, "b")
    with pytest.raises(ValueError, match="at most one dimension beside energy_"):
        from_scipp(stack)
    events = sc.DataArray(
        sc.ones(dims=["row"], shape=[5]),
        coords={"Q": sc.arange("row", 5.0, unit="1/angstrom")},
    )
    with pytest.raises(ValueError, match=r"must be a histogram, got events .*hist\(\)"):
        from_scipp(events.bin(Q=3))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: to_scipp(measured(WITH_CRYSTAL["powder"])), "to_scipp"),
        (lambda: from_scipp(None), "from_scipp"),
    ],
)
def test_the_extra_is_named(monkeypatch, call, name):
    monkeypatch.setitem(sys.modules, "scipp", None)
    with pytest.raises(ImportError, match=rf"{name} needs scipp: .*skphonon\[scipp\]"):
        call()


def test_wavevectors_have_no_unit(sc):
    array = sc.DataArray(
        sc.array(dims=["energy", "point"], values=np.ones((2, 2))),
        coords={
            "energy": sc.array(dims=["energy"], values=[1.0, 2.0], unit="meV"),
            **{
                name: sc.array(dims=["point"], values=[0.0, 1.0], unit="1/angstrom")
                for name in "hkl"
            },
        },
    )
    with pytest.raises(ValueError, match=r"h must be in r\.l\.u\., which have no unit"):
        from_scipp(array)


def test_the_cell_of_wavevectors(sc, tmp_path):
    """In any unit of length, also from a file of scipp; points moved are on no grid."""
    there = to_scipp(measured(WITH_CRYSTAL["crystal"]))
    there.save_hdf5(tmp_path / "a.h5")
    assert from_scipp(sc.io.load_hdf5(tmp_path / "a.h5")) == from_scipp(there)
    moved = there.copy()
    moved.coords["h"] = moved.coords["h"] + sc.scalar(0.01)
    found = from_scipp(moved)
    assert type(found.grid).__name__ == "PathGrid"
    assert_array_equal(found.grid.lattice, 5.658 * np.eye(3))
    path = to_scipp(measured(WITH_CRYSTAL["path of a cell"]))
    cell = path.coords["lattice"]
    path.coords["lattice"] = sc.spatial.linear_transform(
        value=cell.value / 10, unit="nm"
    )
    assert_allclose(from_scipp(path).grid.lattice, 5.4 * np.eye(3))
    path.coords["lattice"] = sc.spatial.linear_transform(value=cell.value, unit="s")
    with pytest.raises(ValueError, match="lattice must be in angstrom"):
        from_scipp(path)
    path.coords["lattice"] = sc.scalar(5.4)
    with pytest.raises(ValueError, match="lattice must hold three vectors"):
        from_scipp(path)
    there.coords["crystal_grid"] = sc.scalar("{")
    with pytest.raises(ValueError, match="crystal_grid must be that of to_scipp"):
        from_scipp(there)


@pytest.mark.parametrize("units", ["mb/sr/meV", "arbitrary", "per flower", None])
def test_units_are_kept_in_their_own_words(sc, units):
    original = measured(WITH_CRYSTAL["powder"]).replace(units=units)
    there = to_scipp(original)
    assert from_scipp(there).units == units
    assert from_scipp(there, units="counts").units == "counts"
    assert from_scipp(there * sc.scalar(1.0, unit="K")).units != units  # they changed


def test_nothing_measured_is_lost(sc):
    powder = WITH_CRYSTAL["powder"]
    grid = powder.replace(mask=None, two_theta=(3, 130))
    original = measured(powder).replace(grid=grid, data=np.arange(1.0, 7))
    assert not grid.mask.all()
    found = from_scipp(to_scipp(original))
    assert_array_equal(found.data, original.data)
    assert found.grid.two_theta == (3, 130)
    there = to_scipp(original)
    there.coords["two_theta_limits"] = sc.scalar("{")
    with pytest.raises(ValueError, match="two_theta_limits must be that of to_scipp"):
        from_scipp(there)
    hidden = from_scipp(to_scipp(original.replace(grid=powder)))
    assert_array_equal(hidden.grid.mask, powder.mask)


def test_borders_are_told_by_their_coordinate(sc):
    """Where the shape alone would fit in two ways."""
    energy, q = np.arange(1.0, 5), np.arange(0.5, 2.1, 0.5)
    given = sc.DataArray(
        sc.array(dims=["energy_transfer", "Q"], values=IMAGE),
        coords={
            "energy_transfer": sc.array(dims=["energy_transfer"], values=energy,
                                        unit="meV"),
            "Q": sc.array(dims=["Q"], values=q, unit="1/angstrom"),
        },
    )  # fmt: skip
    for each in (given, given.transpose(), sc.concat([given, given], "run")):
        found = from_scipp(each)
        assert_allclose(found.grid.q, (q[1:] + q[:-1]) / 2)
        assert_array_equal(found.grid.energy, energy)
        assert_array_equal(found.data[0], IMAGE.ravel())


def test_odd_masks_and_no_spectrum(sc):
    given = array(sc, energy=np.arange(0.5, 5))
    given.masks["a"] = sc.array(dims=["energy_transfer"], values=np.zeros(5, bool))
    with pytest.raises(ValueError, match="The mask a must be True or False for each"):
        from_scipp(given)
    given.masks["a"] = sc.array(dims=["energy_transfer"], values=np.arange(4))
    with pytest.raises(ValueError, match="The mask a must be True or False for each"):
        from_scipp(given)
    with pytest.raises(ValueError, match="must hold a spectrum, got none"):
        to_scipp(measured(WITH_CRYSTAL["powder"], 3)[0:0])
