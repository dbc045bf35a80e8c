"""NXSPE files and their reduction: known functions come back, and nothing is lost."""

import h5py
import numpy as np
import pytest
from measured_files import case, detectors, momentum, write_nxspe
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import RegularGridInterpolator

from skphonon import (
    CrystalGrid,
    Measurement,
    PowderSimulator,
    SpectrumGrid,
    load_aluminium_model,
    nmse,
)
from skphonon.instrument import MeasurementWarning
from skphonon.io import read_nxspe, reduce_crystal, reduce_powder

EI = 60.0
EDGES = np.linspace(-10, 50, 61)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
BANK = detectors()
Q = np.linalg.norm(momentum(BANK, CENTRES, EI), axis=-1)
GRID = SpectrumGrid(np.arange(-8, 48, 2.0), np.arange(0.5, 10, 0.25))


def peak(q, energy):
    """A function of |Q| and E that is smooth on the scale of the bins."""
    ridge = 20 + 10 * np.sin(q)
    return 1 + 5 * q * np.exp(-(((energy - ridge) / 8) ** 2))


@pytest.fixture
def path(tmp_path):
    data = peak(Q, CENTRES)
    return write_nxspe(tmp_path / "a.nxspe", BANK, EDGES, data, 0.1 * data, EI, psi=12)


def test_what_is_read_is_what_was_written(path):
    measured = read_nxspe(str(path))
    assert_array_equal(measured.data, peak(Q, CENTRES))
    assert_array_equal(measured.error, 0.1 * peak(Q, CENTRES))
    assert_array_equal(measured.energy_edges, EDGES)
    for name, values in BANK.items():
        assert_array_equal(getattr(measured, name), values)
    assert measured.incident_energy == EI
    assert measured.psi == 12
    assert measured.ki_over_kf_scaling is True


@pytest.mark.parametrize("mark", [np.nan, -1e30])
def test_masked_detectors_are_nan(path, mark):
    with h5py.File(path, "a") as file:
        file["run/data/data"][3] = mark
        file["run/data/error"][3] = 0
        file["run/data/polar"][5] = np.nan
    measured = read_nxspe(path)
    for rows in (measured.data, measured.error):
        assert_array_equal(np.flatnonzero(np.isnan(rows).all(axis=1)), [3, 5])
        assert np.isnan(rows).sum() == 2 * len(CENTRES)


def test_psi_in_radian_and_unknown(path):
    with h5py.File(path, "a") as file:
        file["run/NXSPE_info/psi"][...] = np.pi / 2
        file["run/NXSPE_info/psi"].attrs["units"] = "radians"
    assert read_nxspe(path).psi == pytest.approx(90)
    with h5py.File(path, "a") as file:
        del file["run/NXSPE_info/psi"]
    assert read_nxspe(path).psi is None


def test_powder_gives_the_function_back(path):
    reduced = reduce_powder(read_nxspe(path), GRID)
    energy, q = GRID.axes()
    image = reduced.grid.to_image(reduced.data)[0]
    # bins that the detectors cover from corner to corner
    step = np.array([-1.0, 1.0])
    corners = [
        SpectrumGrid(energy + de, q + dq, incident_energy=EI, two_theta=(5, 95)).mask
        for de in step
        for dq in 0.125 * step
    ]
    inner = np.all(corners, axis=0)
    assert inner.sum() > 450
    inside = np.linspace(-0.4, 0.4, 5)
    mean = np.mean(
        [
            peak(q + 0.25 * dq, energy[:, None] + 2 * de)
            for de in inside
            for dq in inside
        ],
        axis=0,
    )
    # the file holds values at centres, not means over detectors: that is the rest
    off = image[inner] / mean[inner] - 1
    assert abs(off).max() < 0.06
    assert np.sqrt((off**2).mean()) < 0.01


def test_powder_window_is_that_of_the_detectors(path):
    reduced = reduce_powder(read_nxspe(path), GRID)
    window = SpectrumGrid(*GRID.axes(), incident_energy=EI, two_theta=(5.0, 95.0)).mask
    # bins on the border are reached in part
    assert (reduced.grid.mask | ~window).all()
    assert (reduced.grid.mask & ~window).mean() < 0.1
    assert_array_equal(np.isfinite(reduced.data[0]), reduced.grid.mask.ravel())
    assert reduced.grid.incident_energy == EI


def test_nothing_is_lost_on_a_grid_that_covers_all(path):
    """The weighted sum over bins is that over detectors and energies."""
    measured = read_nxspe(path)
    wide = SpectrumGrid(np.arange(-11, 53, 1.7), np.arange(0.05, 12, 0.31))
    reduced = reduce_powder(measured, wide)
    # parts of rings: sin(polar) times the width would be more than these by 6e-5, and
    # add up to 136.147 instead of 136.138 sr meV
    ends = BANK["polar"] + np.outer([-0.5, 0.5], BANK["polar_width"])
    near, far = np.cos(np.deg2rad(ends))
    solid_angle = (near - far) * np.deg2rad(BANK["azimuthal_width"])
    bins = np.diff(EDGES)
    expected = np.einsum("d,e,de", solid_angle, bins, measured.data)
    assert np.nansum(reduced.details["weights"]) == pytest.approx(
        solid_angle.sum() * bins.sum()
    )
    assert np.nansum(reduced.details["weights"] * reduced.data) == pytest.approx(
        expected
    )
    # 40 by 120 degrees of the sphere
    cap = np.diff(np.cos(np.deg2rad([95.0, 5.0])))[0] * np.deg2rad(120)
    assert solid_angle.sum() == pytest.approx(cap, rel=1e-9)


def test_borders_that_differ_by_rounding_reach_no_further_bin(path):
    measured = read_nxspe(path)
    measured = measured.replace(energy_edges=measured.energy_edges * (1 + 1e-15))
    grid = SpectrumGrid(np.arange(40.5, 60), np.arange(0.5, 10, 0.25))
    reduced = reduce_powder(measured, grid)
    seen = reduced.grid.mask.any(axis=1)
    assert_array_equal(seen, np.asarray(grid.energy) < 50)
    assert (
        np.nanmin(
            np.nansum(reduced.grid.to_image(reduced.details["weights"])[0], 1)[seen]
        )
        > 0.1
    )


def test_errors_shrink_with_the_root_of_what_is_averaged(tmp_path):
    bank = detectors(1, 50)
    ones = np.ones((50, 60))
    path = write_nxspe(tmp_path / "a.nxspe", bank, EDGES, ones, 0.5 * ones, EI)
    # one bin of |Q| around what the single ring sees at these energies, each split
    # from nothing: 50 numbers of error 0.5 on average
    grid = SpectrumGrid(CENTRES[20:30], [1.0, 9.0])
    reduced = reduce_powder(read_nxspe(path), grid, weights="uniform")
    assert_allclose(reduced.grid.to_image(reduced.error)[0, :, 1], 0.5 / np.sqrt(50))


def test_scatter_is_what_the_errors_say(tmp_path):
    rng = np.random.RandomState(0)
    counts = rng.poisson(20, Q.shape)
    path = write_nxspe(tmp_path / "a.nxspe", BANK, EDGES, counts, np.sqrt(counts), EI)
    reduced = reduce_powder(read_nxspe(path), GRID)
    pulls = (reduced.data - 20) / reduced.error
    # 700 bins: the standard deviation of their pulls is known to 3 %
    assert np.nanstd(pulls) == pytest.approx(1, abs=0.1)


def test_ki_over_kf_is_applied_once(tmp_path):
    flat = np.ones(Q.shape)
    kf_over_ki = np.sqrt((EI - CENTRES) / EI) * flat
    reduced = [
        reduce_powder(
            read_nxspe(
                write_nxspe(tmp_path / name, BANK, EDGES, data, data, EI, 0, done)
            ),
            GRID,
        )
        for name, data, done in (("a", flat, 1), ("b", kf_over_ki, 0))
    ]
    assert_allclose(reduced[0].data, reduced[1].data)
    assert_allclose(reduced[0].error, reduced[1].error)
    seen = reduced[0].grid.mask.ravel()
    assert_allclose(reduced[0].data[0, seen], 1)


def test_masked_detectors_do_not_count(path):
    whole = read_nxspe(path)
    masked = np.arange(len(whole.data)) % 3 == 0
    part = whole.replace(data=np.where(masked[:, None], np.nan, whole.data))
    half = {
        name: np.delete(getattr(whole, name), np.s_[::3], axis=0)
        for name in ("data", "error", *BANK)
    }
    half = whole.replace(**half)
    assert_allclose(reduce_powder(part, GRID).data, reduce_powder(half, GRID).data)
    two = reduce_powder([whole, part], GRID)
    one = reduce_powder(whole, GRID)
    assert np.nansum(two.details["weights"]) > 1.6 * np.nansum(one.details["weights"])


def test_a_detector_without_width_goes_to_one_bin(path):
    measured = read_nxspe(path)
    measured = measured.replace(polar_width=np.zeros_like(measured.polar))
    reduced = reduce_powder(measured, GRID, weights="uniform")
    inside = (Q[:, 20] >= 0.375) & (Q[:, 20] < 9.875)
    image = reduced.grid.to_image(reduced.details["weights"])[0]
    row = np.searchsorted(GRID.edges()[0], CENTRES[20]) - 1
    assert np.nansum(image[row]) == pytest.approx(2 * inside.sum(), rel=0.05)
    with pytest.raises(ValueError, match=r"got 0 as polar_width throughout. Pass"):
        reduce_powder(measured, GRID)


def test_a_detector_without_width_counts_as_others(path):
    measured = read_nxspe(path)
    for name in ("azimuthal_width", "polar_width"):
        for odd in (0.0, -4.0, np.nan):
            widths = getattr(measured, name).copy()
            widths[::2] = odd
            with pytest.warns(
                MeasurementWarning, match=r"without a width \(600 of them\) count"
            ) as caught:
                reduced = reduce_powder(measured.replace(**{name: widths}), GRID)
            assert caught[0].filename == __file__
            if name == "azimuthal_width":
                whole = reduce_powder(measured, GRID)
                assert_allclose(reduced.data, whole.data)
                assert_allclose(reduced.details["weights"], whole.details["weights"])
            else:  # what spans no angle lies in one bin of |Q|
                assert np.isfinite(reduced.data).sum() > 600
    # nothing to say of a detector that is masked
    data = measured.data.copy()
    data[::2] = np.nan
    reduce_powder(measured.replace(data=data, polar_width=widths), GRID)


def test_no_detector_spans_more_than_a_turn(path):
    measured = read_nxspe(path)
    widths = {}
    for odd in (360.0, 11406.0):
        widths[odd] = measured.azimuthal_width.copy()
        widths[odd][7] = odd
    right = reduce_powder(measured.replace(azimuthal_width=widths[360.0]), GRID)
    with pytest.warns(
        MeasurementWarning, match=r"wider than 360 degrees \(1 of them\)"
    ):
        found = reduce_powder(measured.replace(azimuthal_width=widths[11406.0]), GRID)
    assert_allclose(found.data, right.data)
    reduce_powder(measured.replace(azimuthal_width=widths[11406.0]), GRID,
                  weights="uniform")  # fmt: skip


def test_a_negative_scattering_angle_is_one_on_the_other_side(path):
    measured = read_nxspe(path)
    polar, azimuthal = measured.polar.copy(), measured.azimuthal.copy()
    polar[::3], azimuthal[::3] = -polar[::3], azimuthal[::3] + 180
    other = measured.replace(polar=polar, azimuthal=azimuthal)
    assert_allclose(reduce_powder(other, GRID).data, reduce_powder(measured, GRID).data)
    grid = CrystalGrid([0.0, 10.0], *(np.linspace(-4, 4, 9),) * 3, lattice=CUBIC)
    one, two = (reduce_crystal(run, grid).data for run in (measured, other))
    assert np.nanmax(abs(one - two)) < 0.05 * np.nanmax(one)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zero_width.nxspe", r"without a width \(60 of them\)"),
        ("wide1.nxspe", r"wider than 360 degrees \(1 of them\)"),
        ("def_group.nxspe", None),
    ],
)
def test_all_detectors_of_a_file_count(name, message):
    grid = SpectrumGrid(np.linspace(2, 40, 20), np.linspace(0.5, 6, 20))
    measured = read_nxspe(case(name))
    if message is None:
        reduced = reduce_powder(measured, grid)
    else:
        with pytest.warns(MeasurementWarning, match=message):
            reduced = reduce_powder(measured, grid)
    # pixels that a detector reaches at any of its energies
    assert np.isfinite(reduced.data).sum() == 343


def test_what_is_known_of_the_runs_is_kept(path):
    run = read_nxspe(path)
    assert (run.quantity, run.source) == ("sqe", str(path))
    warm = run.replace(temperature=300.0, energy_resolution=1.2, units="1/meV")
    reduced = reduce_powder([warm, warm], GRID)
    assert isinstance(reduced, Measurement)
    assert (reduced.quantity, reduced.incident_energy) == ("sqe", EI)
    told = reduced.temperature, reduced.energy_resolution, reduced.units
    assert told == (300.0, 1.2, "1/meV")
    assert reduced.source == f"{path} and 1 more"
    assert reduce_powder([warm, run], GRID).temperature is None


def test_what_cannot_be_reduced_is_named(path):
    with pytest.raises(TypeError, match=r"DetectorMeasurement, .* got Measurement"):
        reduce_powder(reduce_powder(read_nxspe(path), GRID), GRID)
    measured = read_nxspe(path)
    with pytest.raises(ValueError, match="weights must be one of solid_angle, c"):
        reduce_powder(measured, GRID, weights="counts")
    with pytest.raises(ValueError, match="one incident energy, got 60 and 50 meV"):
        reduce_powder([measured, measured.replace(incident_energy=50.0)], GRID)
    with pytest.raises(ValueError, match="must fall on the grid, got none"):
        reduce_powder(measured, SpectrumGrid([100.0, 101.0], [1.0, 2.0]))
    measured = measured.replace(ki_over_kf_scaling=None)
    with pytest.raises(ValueError, match="multiplied by ki/kf, and the file does not"):
        reduce_powder(measured, GRID)


@pytest.mark.parametrize("reduce", [reduce_powder, reduce_crystal])
def test_exchanged_arguments_are_named(path, reduce):
    run, wanted = read_nxspe(path), "grid must be a (Spectrum|Crystal)Grid of the bins"
    with pytest.raises(TypeError, match=rf"{wanted}.* got DetectorMeasurement as grid"):
        reduce(GRID, run)
    with pytest.raises(TypeError, match=rf"{wanted}.* got tuple as grid"):
        reduce(run, (GRID.energy, GRID.q))
    with pytest.raises(TypeError, match=r"DetectorMeasurement, .* got NoneType"):
        reduce_powder(None, GRID)


def test_reduced_counts_are_what_a_simulator_gives(tmp_path):
    """Aluminium simulated, counted in detectors and reduced is aluminium simulated."""
    model = load_aluminium_model()
    truth, other = model.reference, model.reference * [1.05, 1, 1, 1, 1]
    settings = {"energy_resolution": 2.0, "q_resolution": 0.1, "tolerance": 1e-3}
    fine = SpectrumGrid(np.arange(5, 51, 1.0), np.arange(0.1, 10, 0.15))
    sqe = PowderSimulator(model, fine, **settings).simulate([truth])
    sqe = RegularGridInterpolator(
        fine.axes(), fine.to_image(sqe)[0], bounds_error=False, method="cubic"
    )
    bank, edges = detectors(100, 3, (3, 120)), np.arange(8, 46, 0.5)
    energy = (edges[1:] + edges[:-1]) / 2
    q = np.linalg.norm(momentum(bank, energy, EI), axis=-1)
    mean = sqe(np.stack(np.broadcast_arrays(energy, q), axis=-1))
    unit = np.nanmean(mean) / 100
    counts = np.random.RandomState(0).poisson(
        np.clip(np.nan_to_num(mean), 0, None) / unit
    )
    data = np.where(np.isfinite(mean), counts * unit, np.nan)
    path = write_nxspe(tmp_path / "a.nxspe", bank, edges, data, data, EI)
    grid = SpectrumGrid(np.arange(10, 44, 1.0), np.arange(1, 8, 0.2))
    reduced = reduce_powder(read_nxspe(path), grid)
    simulator = PowderSimulator(model, reduced.grid, **settings)
    right, wrong = (
        nmse(reduced.data, simulator.simulate([p]), scale="fitted")[0]
        for p in (truth, other)
    )
    # 1.7e-3 without the noise of counts: bins have a width, and there was interpolation
    assert right < 4e-3
    assert wrong > 5 * right


# Single crystals

CUBIC = 5.0 * np.eye(3)
ENDS = {"h": (-2, 2), "k": (-2, 2), "l": (-4, 4)}
TRICLINIC = np.array([[4.0, 0.3, 0.1], [-0.2, 5.0, 0.4], [0.5, 0.2, 6.0]])


def one_detector(polar, azimuthal):
    bank = {"polar": polar, "azimuthal": azimuthal}
    bank |= {"polar_width": 1.0, "azimuthal_width": 1.0}
    return {name: np.array([value], dtype=float) for name, value in bank.items()}


@pytest.mark.parametrize(
    ("azimuthal", "psi", "hkl"),
    [
        # elastic scattering by 40 degrees to the side of +x: Q points to the other
        # side, 70 degrees off the beam. Turned so far, u lies along it.
        (0, -70, [1, 0, 0]),
        (180, 70, [1, 0, 0]),
        (0, 110, [-1, 0, 0]),
        (180, -20, [0, 1, 0]),
        # upwards: Q points down
        (90, 0, [np.cos(np.deg2rad(70)), 0, -np.sin(np.deg2rad(70))]),
    ],
)
def test_where_a_detector_looks(tmp_path, azimuthal, psi, hkl):
    """|Q| = 2 k sin(20 degrees), in reciprocal lattice units of a cubic crystal."""
    k = np.sqrt(EI / 2.0721247)
    size = 2 * k * np.sin(np.deg2rad(20)) * 5.0 / (2 * np.pi)
    one, bank = np.ones((1, 1)), one_detector(40, azimuthal)
    edges = np.array([-1e-3, 1e-3])
    path = write_nxspe(tmp_path / "a.nxspe", bank, edges, one, one, EI, psi)
    axis = np.linspace(-4, 4, 801)
    for column, (place, name) in enumerate(
        zip(np.multiply(size, hkl), "hkl", strict=True)
    ):
        axes = {other: np.array([-9.0, 0.0, 9.0]) for other in "hkl"} | {name: axis}
        grid = CrystalGrid(energy=[-1.0, 0.0, 1.0], lattice=CUBIC, **axes)
        reduced = reduce_crystal(read_nxspe(path), grid)
        found = grid.wavevectors[reduced.grid.mask[1]]
        assert len(found) == 1
        assert found[0, column] == pytest.approx(place, abs=0.006)
        assert_array_equal(reduced.grid.psi, [psi])


@pytest.fixture
def turned(tmp_path):
    """Runs of a triclinic crystal with S(Q, E) linear in h, k, l and E."""
    grid = CrystalGrid(
        energy=np.arange(-5, 30, 5.0),
        **{name: np.linspace(*ends, 9) for name, ends in ENDS.items()},
        projection=[[1, 1, 0], [1, -1, 0], [0, 0, 1]],
        lattice=TRICLINIC,
        u=(1, 0, 0.2),
        v=(0.3, 1, 0),
    )
    reciprocal = 2 * np.pi * np.linalg.inv(TRICLINIC).T
    u, v = np.array(grid.u) @ reciprocal, np.array(grid.v) @ reciprocal
    up = np.cross(u, v) / np.linalg.norm(np.cross(u, v))
    beam = u / np.linalg.norm(u)
    # axes x, y, z of the spectrometer, in the crystal at psi = 0
    axes = np.array([np.cross(up, beam), up, beam])
    lab = momentum(BANK, CENTRES, EI)
    paths = []
    for psi in (-30, 0, 45):
        c, s = np.cos(np.deg2rad(psi)), np.sin(np.deg2rad(psi))
        about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        hkl = lab @ about_y @ axes @ np.linalg.inv(reciprocal)
        data = linear(hkl, CENTRES)
        path = tmp_path / f"{psi}.nxspe"
        paths.append(write_nxspe(path, BANK, EDGES, data, np.ones_like(data), EI, psi))
    return grid, paths


def linear(hkl, energy):
    return 100 + hkl @ [3.0, 5.0, 7.0] + 0.5 * energy


def test_crystal_gives_the_function_back(turned):
    grid, paths = turned
    reduced = reduce_crystal((read_nxspe(path) for path in paths), grid)
    seen = reduced.grid.to_image(reduced.data)[0]
    expected = linear(grid.wavevectors, np.asarray(grid.energy)[:, None])
    # what a voxel's corners differ from its centre by
    corner = 0.25 * (3 + 5) + 0.25 * abs(3 - 5) + 0.5 * 7 + 2.5 * 0.5
    assert np.nanmax(abs(seen - expected)) < corner
    assert abs(np.nanmean(seen - expected)) < 0.05 * corner
    assert_array_equal(reduced.grid.psi, [-30, 0, 45])
    assert reduced.grid.incident_energy == EI
    assert_array_equal(np.isfinite(seen), reduced.grid.mask)


def test_crystal_coverage_is_that_of_the_grid(turned):
    """No detector sees what none can see by the geometry of the grid."""
    grid, paths = turned
    grid = grid.replace(
        energy=np.arange(-5, 30, 2.0),
        **{name: np.linspace(*ends, 17) for name, ends in ENDS.items()},
    )
    seen = reduce_crystal(map(read_nxspe, paths), grid).grid.mask
    grid = grid.replace(incident_energy=EI, two_theta=(5.0, 95.0))
    wrong = [
        (seen & ~grid.coverage(psi).any(axis=0)).sum() / seen.sum()
        for psi in ([-30, 0, 45], [30, 0, -45], [60, 90, 135])
    ]
    # the grid judges by the centres of voxels; turned the other way half are wrong
    assert wrong[0] < 0.005
    assert min(wrong[1:]) > 0.4


def test_crystal_keeps_all_weight(turned):
    grid, paths = turned
    wide = grid.replace(
        energy=np.arange(-12, 53, 5.0),
        h=[-20.0, 20.0],
        k=[-20.0, 20.0],
        l=[-30.0, 30.0],
    )
    runs = [read_nxspe(path) for path in paths]
    reduced = reduce_crystal(runs, wide, weights="uniform")
    width = np.diff(EDGES)
    assert np.nansum(reduced.details["weights"]) == pytest.approx(
        3 * len(Q) * width.sum()
    )
    total = sum((run.data * width).sum() for run in runs)
    assert np.nansum(reduced.details["weights"] * reduced.data) == pytest.approx(total)
    variance = np.nansum((reduced.details["weights"] * reduced.error) ** 2)
    # pieces of split energy bins: their weights enter squared
    pieces = np.diff(np.union1d(EDGES, wide.volume_edges()[0])[1:-1])
    assert variance == pytest.approx(3 * len(Q) * (pieces**2).sum())


def test_crystals_that_cannot_be_reduced(turned):
    grid, paths = turned
    run = read_nxspe(paths[0])
    with pytest.raises(ValueError, match="must have a lattice to turn Q into"):
        reduce_crystal(run, grid.replace(lattice=None))
    with pytest.raises(ValueError, match=r"how the crystal was turned.* run.replace"):
        reduce_crystal(run.replace(psi=None), grid)
    with pytest.raises(ValueError, match="Some run must be given"):
        reduce_crystal([], grid)


# Malformed files


def remove(name):
    return lambda file: file.__delitem__(name)


def replace(name, value, units=None):
    def change(file):
        del file[name]
        file[name] = value
        if units:
            file[name].attrs["units"] = units

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("run/definition"), "definition 'NXSPE', got an HDF5 file .* with run"),
        (replace("run/definition", "NXarpes"), "definition 'NXSPE'"),
        (
            remove("run/data"),
            "a.nxspe: /run/data must be a group, found none. .* holds",
        ),
        (remove("run/NXSPE_info"), "/run/NXSPE_info must be a group, found none"),
        (remove("run/data/polar"), "/run/data/polar must be a dataset, found none"),
        (replace("run/data/polar", [1.0]), r"polar must have shape \(1200\), got \(1,"),
        (replace("run/data/polar", "abc"), "polar must hold numbers, got type object"),
        (replace("run/data/data", [1.0]), r"data must have shape \(any, any\), got"),
        (replace("run/data/energy", CENTRES), r"shape \(61\), got \(60,\)"),
        (replace("run/data/energy", EDGES, "THz"), "units mev, got units 'THz'"),
        (replace("run/data/energy", EDGES[::-1]), "increasing borders of bins"),
        (replace("run/NXSPE_info/fixed_energy", [9, 8]), "got 2: .*indirect geometry"),
        (replace("run/NXSPE_info/fixed_energy", np.nan), "one positive energy"),
        (replace("run/NXSPE_info/psi", [1.0, 2.0]), r"one number, got shape \(2,\)"),
    ],
)
def test_malformed_files_are_named(path, change, message):
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=message):
        read_nxspe(path)


def test_files_that_are_none(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere must be a file, found none"):
        read_nxspe(tmp_path / "nowhere")
    text = tmp_path / "text.nxspe"
    text.write_text("no HDF5")
    with pytest.raises(ValueError, match=r"text\.nxspe must .* begins 'no HDF5'"):
        read_nxspe(text)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=r"a.nxspe cannot be read \(.*truncated.* again"):
        read_nxspe(path)
