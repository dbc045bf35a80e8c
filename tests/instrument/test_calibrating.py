"""Calibration by the elastic line: known faults found again, and real spectrometers."""

import re
import warnings
from functools import cache

import numpy as np
import pytest
from calibration_files import NICKEL, bcc_lines, counted, fcc_lines
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import ForceConstantModel, Measurement, SpectrumGrid, reduce_powder
from skphonon.instrument import AngleGrid, DetectorMeasurement, MeasurementWarning
from skphonon.instrument._crystals import cell_lengths
from skphonon.instrument.calibrating import calibrate
from skphonon.instrument.resolution import PolynomialResolution
from skphonon.io import reduce_angles
from skphonon.io.arrays import read_arrays, write_arrays

PRIMITIVE = 1.76 * (np.ones((3, 3)) - np.eye(3))
ONLY = {"resolution": "constant", "banks": 4}  # few, as they take most of the time
FCC = (np.ones((3, 3)) - np.eye(3)) / 2
SILICON = (5.431 * FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], "Si")
ALUMINIUM = (4.03 * FCC, [[0, 0, 0]], "Al")


def found_in(measured, crystal=NICKEL, **settings):
    return calibrate(measured, crystal, **{**ONLY, **settings})


@cache
def sound():
    """Return the calibration of a sound measurement, which several tests look at."""
    return found_in(counted())


class OnMari:
    """Runs of silicon and aluminium, and what is made of them, each only once."""

    def __init__(self, folder):
        from skphonon import read

        self.runs = {
            "silicon": read(folder / "silicon_Ei80_300K.nxspe"),
            "aluminium": read(folder / "aluminium_Ei60.nxspe"),
        }
        self.crystals = {"silicon": SILICON, "aluminium": ALUMINIUM}
        self.calibrated, self.binned = cache(self._calibrated), cache(self._binned)

    def _calibrated(self, name, with_crystal=True):
        """Return a calibration; its warnings are among its attributes."""
        crystal = self.crystals[name] if with_crystal else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return found_in(self.runs[name], crystal)

    def _binned(self, name, first, step):
        grid = SpectrumGrid(np.arange(-20, 25, 0.5), np.arange(first, 12, step))
        return reduce_powder(self.runs[name], grid)


@pytest.fixture(scope="module")
def mari(data_folder):
    return OnMari(data_folder / "mari")


def deviations(errors, values, truth):
    """Return the mean and spread of errors in units of what they should be."""
    pulls = (np.array(values) - truth) / np.array(errors)
    return abs(pulls.mean()) * np.sqrt(len(pulls)), pulls.std()


def test_energy_zero_and_width_with_their_errors():
    fits = [
        found_in(counted(zero=0.35, counts=8, seed=n), None, banks=1, holders=())
        for n in range(8)
    ]
    for name, truth in (("energy_zero", 0.35), ("energy_width", 1.2)):
        values = [getattr(fit, name) for fit in fits]
        errors = [getattr(fit, f"{name}_std") for fit in fits]
        bias, spread = deviations(errors, values, truth)
        # of 8 draws the spread is known to 27 %
        assert bias < 3.5
        assert 0.3 < spread < 1.8
    for fit in fits[:3]:
        assert_allclose(fit.measurement.energy_edges[0], -20 - fit.energy_zero)
        assert_allclose(fit.elastic_maximum, 0.35, atol=0.3)


def test_an_elastic_line_far_from_zero_is_doubted():
    with pytest.warns(MeasurementWarning, match=r"at 6.01 meV, 5 of .* and 10 %"):
        found = found_in(counted(zero=6.0), None)
    assert_allclose(found.energy_zero, 6, atol=0.05)
    measured = counted(zero=0.3)
    energy = (measured.energy_edges[1:] + measured.energy_edges[:-1]) / 2
    other = 2e4 * np.exp(-(((energy - 4) / 1.2) ** 2) / 2)
    two = measured.replace(
        data=measured.data + other, error=np.sqrt(measured.data + other + 1)
    )
    with pytest.warns(MeasurementWarning, match="not another one that is higher"):
        found_in(two, None)


@pytest.mark.parametrize(
    ("true_energy", "offset", "applied"),
    [
        (60.0, 0.0, ()),
        (60 / 1.0045**2, 0.0, ("incident_energy",)),
        (60.0, 0.2, ("two_theta",)),
        (60 / 1.004**2, -0.15, ("incident_energy", "two_theta")),
    ],
)
def test_incident_energy_and_angles_come_apart(true_energy, offset, applied):
    measured = counted(true_energy=true_energy, offset=offset)
    found = found_in(measured)
    assert {*found.applied} - {"energy_zero"} == {*applied}
    assert_allclose(found.measurement.incident_energy, true_energy, rtol=2e-4)
    assert_allclose(measured.polar - found.measurement.polar, offset, atol=0.01)
    sample = found.reflections.query("phase == 'sample'")
    assert len(sample) == 10
    assert abs(sample["deviation_calibrated"]).max() < 2e-4
    # what is calibrated needs no calibration
    again = found_in(found.measurement)
    assert again.applied == () or again.applied == ("energy_zero",)
    assert_allclose(again.q_scale, 1, atol=1e-4)


def test_the_error_of_the_scale():
    fits = [
        found_in(counted(true_energy=60 / 1.0045**2, counts=3, seed=n), banks=1)
        for n in range(6)
    ]
    scales, errors = (
        [getattr(fit, name) for fit in fits] for name in ("q_scale", "q_scale_std")
    )
    bias, spread = deviations(errors, scales, 1.0045)
    assert bias < 3.5
    assert 0.2 < spread < 1.9  # known to 32 %
    energies = [fit.incident_energy for fit in fits]
    assert_allclose(energies, 60 / 1.0045**2, rtol=2e-3)


def test_what_may_be_corrected_is_chosen():
    measured = counted(true_energy=60 / 1.004**2, offset=-0.15)
    for wanted, applied in (
        ("scale", {"incident_energy"}),
        ("offset", {"two_theta"}),
        ("none", set()),
    ):
        found = found_in(measured, correct_q=wanted)
        assert {*found.applied} - {"energy_zero"} == applied
    assert_allclose(found.measurement.incident_energy, 60)
    assert_array_equal(found.measurement.polar, measured.polar)
    # what is left uncorrected is in the lattice that a fit may take
    assert found.lattice_scale < 0.999


def test_the_lattice_of_a_fit_means_the_factor_of_moduli():
    """A crystal given 0.5 % too large wants a lattice 0.5 % smaller."""
    lattice, positions, symbols = NICKEL
    wrong = (1.005 * lattice, positions, symbols)
    found = found_in(counted(), wrong, correct_q="none")
    assert_allclose(found.lattice_scale, 1 / 1.005, atol=2e-4)
    low, high = found.nuisance(2)["lattice_scale"]
    assert low < 1 / 1.005 < high
    assert high - low < 0.002
    with pytest.raises(ValueError, match="must come from Bragg lines of the sample"):
        found_in(counted(), None).nuisance()


@pytest.mark.parametrize(
    ("can", "name", "a"),
    [
        (fcc_lines, "aluminium", 4.05),
        (fcc_lines, "aluminium", 4.033),
        (fcc_lines, "copper", 3.612),
        (fcc_lines, "austenitic steel (fcc iron)", 3.58),
        (bcc_lines, "ferritic steel (bcc iron)", 2.866),
        (bcc_lines, "vanadium", 3.027),
    ],
)
def test_the_can_is_named(can, name, a):
    palladium = (3.89 * np.eye(3), NICKEL[1], ["Pd"] * 4)
    measured = counted(
        lines=fcc_lines(3.89, 10), can=can(a, 10.0), true_energy=60 / 1.004**2
    )
    found = found_in(measured, palladium)
    assert list(found.holders["name"]) == [name]
    row = found.holders.iloc[0]
    assert_allclose(row["lattice_parameter"], a, rtol=1e-3)
    assert_allclose(found.q_scale, 1.004, atol=5e-4)
    assert f"{name}, a = " in str(found)


def test_nothing_is_named_where_there_is_no_can():
    found = sound()
    assert len(found.holders) == 0
    assert set(found.reflections["phase"]) == {"sample"}
    assert list(found.reflections["hkl"][:4]) == ["111", "200", "220", "311"]


def test_without_a_crystal_lines_are_not_told_apart():
    found = found_in(counted(true_energy=60 / 1.01**2), None)
    assert set(found.reflections["phase"]) == {"unknown"}
    assert np.isnan([found.q_scale, found.incident_energy, found.lattice_scale]).all()
    assert found.measurement.incident_energy == 60
    assert "not told apart: 3.12, 3.61" in str(found)


def test_dead_and_noisy_detectors():
    measured = counted(dead=(20, 100, 101), noisy=(50, 210))
    with pytest.warns(MeasurementWarning, match="3 of 420 .* as dead: 20, 100, 101. "):
        found = found_in(measured)
    table = found.detectors
    assert list(table.query("kind == 'dead'")["detector"]) == [20, 100, 101]
    assert list(table.query("kind == 'noisy'")["detector"]) == [50, 210]
    dead = np.isnan(found.measurement.data).all(axis=1)
    assert list(np.flatnonzero(dead)) == [20, 100, 101]
    assert np.isnan(found.measurement.error[dead]).all()
    assert "Dead detectors: 20, 100, 101 (3)" in str(found)
    with pytest.warns(MeasurementWarning, match="3 of 420 detectors"):
        both = found_in(measured, mask_noisy=True)
    assert np.isnan(both.measurement.data[[50, 210]]).all()
    assert {"dead", "noisy"} <= {*both.applied}


@pytest.mark.parametrize("seed", range(5))
def test_sound_detectors_are_left_alone(seed):
    assert len(found_in(counted(counts=8, seed=seed), None).detectors) == 0


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("expected", [3, 10, 40])
def test_rows_of_few_counts_are_not_dead(expected, errors):
    """Of Poisson counts some rows have none by chance."""
    energy, angles = np.arange(-10, 30, 0.5), np.arange(5.0, 130.0, 0.15)
    shape = np.exp(-((energy / 1.2) ** 2) / 2) + 0.002
    counts = np.random.default_rng(0).poisson(
        expected * (shape / shape.sum())[:, None] * np.ones(len(angles))
    )
    counts[:, 400] = 0
    grid = AngleGrid(energy, angles, incident_energy=60.0)
    sigma = np.where(counts > 0, np.sqrt(counts), np.nan)
    measured = Measurement(
        grid.to_rows(0.3 * counts),
        grid,
        error=grid.to_rows(0.3 * sigma) if errors else None,
        quantity="sqe",
    )
    if expected < 40:
        assert len(found_in(measured, None).detectors) == 0
    else:
        with pytest.warns(MeasurementWarning, match="1 of 834 .* dead: 400"):
            assert list(found_in(measured, None).detectors["detector"]) == [400]


def in_banks(factors, growth=0.0, **settings):
    """Detectors in banks of 15 degrees with gaps of 2, each times its factor."""
    measured = counted(**settings)
    banks = ((measured.polar - 8) / 15).astype(int)
    kept = (measured.polar - 8) % 15 < 13
    factor = np.take(factors, banks) * (measured.polar / 60) ** growth
    factor = np.where(kept, factor, np.nan)[:, None]
    return measured.replace(data=factor * measured.data, error=factor * measured.error)


@pytest.mark.parametrize("counts", [400, 40])
@pytest.mark.parametrize(
    ("factors", "banks"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 1, 0.65], [(128.0, 133.7, 0.65)]),
        ([1, 1, 1, 1, 1.6, 1, 1, 1, 1], [(68.0, 80.9, 1.6)]),
        ([1, 1, 1, 1, 1, 1, 0.5, 0.5, 1], [(98.0, 125.9, 0.5)]),
    ],
)
def test_banks_that_are_a_constant_factor_off(factors, banks, counts):
    measured = in_banks(factors, counts=counts)
    with pytest.warns(MeasurementWarning, match="no sample does. Nothing") as caught:
        found = found_in(measured)
    table = found.bank_faults
    assert_allclose(table[["low", "high"]], [b[:2] for b in banks], atol=0.2)
    assert_allclose(table["ratio"], [b[2] for b in banks], rtol=0.15)
    assert (abs(table["ratio"] - banks[0][2]) < 3 * table["ratio_std"]).all()
    assert f"from {table['low'][0]:.1f} to {table['high'][0]:.1f} deg" in str(found)
    assert not {"dead", "noisy"} & {*found.applied}
    assert_array_equal(found.measurement.data, measured.data)
    # what is advised, as it is written there
    advised = str(caught[0].message)
    names = {"np": np, "measured": measured}
    names["angle"] = eval(advised.split("angle = ")[1].split(" and bank")[0], names)
    bank = eval(advised.split("bank = ")[1].split(", or divide")[0], names)
    measured_rows = np.isfinite(measured.data).any(axis=1)
    assert (bank & measured_rows).sum() == table["n_rows"].sum()
    masked = measured.replace(data=np.where(bank[:, None], np.nan, measured.data))
    assert len(found_in(masked).bank_faults) == 0


@pytest.mark.parametrize("growth", [0.0, -1.0, 2.0])
@pytest.mark.parametrize("counts", [400, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_sound_banks_are_left_alone(growth, counts, seed):
    measured = in_banks(np.ones(9), growth, counts=counts, seed=seed)
    assert len(found_in(measured, None).bank_faults) == 0
    measured = measured.replace(error=None)
    assert len(found_in(measured, None).bank_faults) == 0


def test_the_last_bank_of_silicon_on_mari(mari):
    found = mari.calibrated("silicon", with_crystal=False)
    told = "\n".join(found.warnings)
    assert re.search(r"from 120.9 to 134.1 degrees, 0.63", told)
    assert list(found.bank_faults["n_rows"]) == [32]
    aluminium = mari.calibrated("aluminium")
    assert len(aluminium.bank_faults) == 0
    assert "Bank of" not in str(aluminium)


def test_spurious_lines():
    measured = counted()
    data = measured.data.copy()
    data[:, 100] += 30  # at 30.25 meV
    data[:, -3:] += 100
    found = found_in(measured.replace(data=data, error=np.sqrt(data + 1)))
    assert_allclose(found.streaks["energy"], [30.25, 46.75], atol=0.3)
    assert len(sound().streaks) == 0


def test_banks():
    measured = counted(zero=0.2)
    data = measured.data.copy()
    half = measured.polar > 70
    data[half] = np.roll(data[half], 2, axis=1)  # by 1 meV
    given = np.where(half, 7, np.where(measured.polar < 20, -1, 3))
    moved = measured.replace(data=data, error=np.sqrt(np.maximum(data, 1)))
    found = found_in(moved, None, banks=given)
    assert_allclose(found.elastic["zero"], [0.2, 1.2], atol=0.02)
    assert_allclose(found.energy_width, 1.2, rtol=0.02)  # not widened by the two
    assert found.energy_zero_std > 0.2  # but the zero is not known
    assert list(found.elastic["n_rows"]) == [(given == 3).sum(), half.sum()]
    assert len(found_in(moved, None, banks=5).elastic) == 5
    for wrong in (
        *(0, np.zeros(3, int), np.zeros(len(given))),
        *("x", None, np.nan, 2.5, True, {"a": 1}),
    ):
        with pytest.raises(ValueError, match="banks must be"):
            found_in(moved, banks=wrong)


def test_bins_of_moduli():
    grid = SpectrumGrid(np.arange(-15, 40, 0.5), np.arange(1.0, 9.6, 0.02))
    measured = reduce_powder(counted(zero=0.3, true_energy=60 / 1.005**2), grid)
    found = found_in(measured, correct_q="scale")
    calibrated = found.measurement
    assert {*found.applied} == {"energy_zero", "q_scale"}
    # elastic neutrons taken for inelastic ones are put at dQ/Q = -E / 4 Ei
    assert_allclose(found.q_scale, 1.005 * (1 - 0.3 / 240), atol=2e-4)
    applied = found.q_fits.set_index("fit").loc["applied", "scale"]
    assert_allclose(applied, found.q_scale, atol=1e-4)
    assert_allclose(calibrated.grid.q, grid.q / applied)
    # on bins of moduli no incident energy stands before it
    assert "\n  a lattice parameter times 0.996" in str(found)
    assert_allclose(calibrated.grid.energy, grid.energy - found.energy_zero)
    assert_allclose(found.energy_zero, 0.3, atol=0.02)
    assert_allclose(found.energy_width, 1.2, rtol=0.05)
    assert_array_equal(calibrated.grid.mask, measured.grid.mask)
    assert_array_equal(calibrated.data, measured.data)
    assert np.isnan(found.incident_energy)
    assert len(found.detectors) == 0


def test_bins_of_angles():
    run = counted(true_energy=60 / 1.0045**2, dead=(30,))
    centres = (run.energy_edges[1:] + run.energy_edges[:-1]) / 2
    grid = AngleGrid(centres, run.polar, incident_energy=60)
    measured = Measurement(
        grid.to_rows(run.data.T), grid, error=grid.to_rows(run.error.T)
    )
    with pytest.warns(MeasurementWarning, match="1 of 420 detectors"):
        found, by_detector = found_in(measured), found_in(run)
    assert_allclose(found.q_scale, by_detector.q_scale, atol=1e-5)
    assert_allclose(found.measurement.grid.incident_energy, 60 / 1.0045**2, rtol=2e-4)
    assert found.measurement.incident_energy == found.measurement.grid.incident_energy
    assert not found.measurement.grid.mask[:, 30].any()
    assert np.isnan(
        found.measurement.grid.to_image(found.measurement.data[0])[:, 30]
    ).all()


@pytest.mark.parametrize("across", ["q", "two_theta"])
def test_borders_of_bins_move_as_their_centres(across):
    run = counted(zero=0.3, true_energy=60 / 1.004**2, offset=-0.15)
    energy, q = np.arange(-15, 40, 0.5), np.arange(1.0, 9.6, 0.02)
    image, error, columns = run.data.T, run.error.T, np.append(run.polar, 134.0) - 0.15
    energy_edges = run.energy_edges
    if across == "q":
        rebinned = reduce_powder(run, SpectrumGrid(energy, q))
        image = rebinned.grid.to_image(rebinned.data)[0]
        error = rebinned.grid.to_image(rebinned.error)[0]
        columns = np.append(q, q[-1] + 0.02) - 0.01
        energy_edges = np.append(energy, energy[-1] + 0.5) - 0.25
    measured = Measurement.from_arrays(
        energy=energy_edges,
        intensity=image,
        error=error,
        incident_energy=60.0,
        **{"q": None, across: columns},
    )
    before = measured.details["edges"]
    found = found_in(measured)
    after = found.measurement.details["edges"]
    assert "energy_zero" in found.applied
    assert len(found.applied) > 1
    assert_allclose(after["energy"], before["energy"] - found.energy_zero, rtol=1e-12)
    for name in ("energy", across):
        middle = (after[name][1:] + after[name][:-1]) / 2
        assert_allclose(middle, getattr(found.measurement.grid, name), atol=1e-9)
        assert_array_equal(measured.details["edges"][name], before[name])
    assert abs(after[across] - before[across]).max() > 0.005


def test_without_errors():
    measured = counted(zero=0.35, true_energy=60 / 1.0045**2).replace(error=None)
    found = found_in(measured)
    assert_allclose(found.energy_zero, 0.35, atol=0.02)
    assert_allclose(found.q_scale, 1.0045, atol=1e-4)
    assert found.measurement.error is None


def test_lines_that_noise_hides_ask_for_errors():
    measured = counted(lines=([], []), counts=3)
    with pytest.warns(MeasurementWarning, match="Less than two") as caught:
        found_in(measured)
    assert "Pass errors" not in str(caught[0].message)
    with pytest.warns(MeasurementWarning, match="Pass errors as well"):
        found_in(measured.replace(error=None))


def test_two_lines_are_too_few_to_tell():
    q, n = fcc_lines(3.52, 10.0)
    measured = counted(lines=(q[:2], n[:2]))
    with pytest.warns(MeasurementWarning, match="^2 Bragg lines are too few to tell"):
        found_in(measured)


def test_a_doubtful_factor_names_the_offset_beside_it():
    measured = counted(true_energy=60 / 1.008**2, offset=-0.3)
    with pytest.warns(MeasurementWarning, match=r"wrong by \+0.8 % beside") as caught:
        found = found_in(measured)
    text = str(caught[0].message)
    assert "beside an offset of -0.3 degrees of scattering angle, more than" in text
    assert f"lattice parameters of the crystal were {3.52 / 1.008:.4f}"[:-1] in text
    assert {"incident_energy", "two_theta"} <= {*found.applied}


def test_crystals_in_any_form():
    from phonopy.structure.atoms import PhonopyAtoms

    measured = counted()
    model = ForceConstantModel(PRIMITIVE, "Ni", [2.3, -0.1, 1.2, 0.1, 0.1])
    atoms = PhonopyAtoms(["Ni"] * 4, cell=NICKEL[0], scaled_positions=NICKEL[1])
    scales = [
        found_in(measured, crystal).q_scale
        for crystal in (NICKEL, model, atoms, (PRIMITIVE, [[0, 0, 0]], "Ni"))
    ]
    assert_allclose(scales, scales[0], rtol=1e-9)
    with pytest.raises(TypeError, match=r"crystal must be .*, got float"):
        found_in(measured, 3.52)


def test_resolution_against_energy():
    measured = counted()
    with pytest.warns(MeasurementWarning, match="resolution is taken as constant"):
        constant = calibrate(measured)
    assert constant.measurement.energy_resolution == constant.energy_width
    named = calibrate(measured, resolution="direct_geometry").measurement
    widths = named.energy_resolution([0.0, 30.0, 45.0])
    ratio = (1 + 2 * np.array([1, 0.5, 0.25]) ** 1.5) / 3
    assert_allclose(widths, constant.energy_width * ratio, rtol=1e-3)
    curve = PolynomialResolution([2.0, -0.02])
    for found in (
        calibrate(measured, resolution=curve),
        calibrate(measured.replace(energy_resolution=curve)),
    ):
        widths = found.measurement.energy_resolution([0.0, 25.0])
        assert_allclose(widths, constant.energy_width * np.array([1, 0.75]))
    with pytest.raises(ValueError, match="must be positive at the elastic line"):
        calibrate(measured, resolution=lambda e: 0 * e)


def test_resolution_of_the_instrument():
    pytest.importorskip("resins")
    settings = {"instrument": "MARI", "chopper_frequency": 200, "chopper_package": "G"}
    found = calibrate(counted(), resolution=settings)
    widths = found.measurement.energy_resolution([0.0, 45.0])
    assert_allclose(widths[0], found.energy_width)
    assert 0.3 < widths[1] / widths[0] < 0.6


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (
            counted(edges=np.arange(5, 48, 0.5)),
            r"reach over .* got 5 to 47.5 meV. Read",
        ),
        (
            counted(counts=0.001),
            r"elastic line must stand out .* subtracted .* reduce_p",
        ),
        (
            counted(counts=0.02),
            r"must have 5: are counts too few",
        ),
        (
            (run := counted()).replace(data=-run.data - 1),
            r"as no mean intensity there is positive: the largest is -1.68. Was",
        ),
        (counted(edges=np.arange(-1, 48, 0.5)), "end too soon below zero: -1 to 47.5"),
        (counted().replace(quantity="chi"), "chi'' vanishes at zero energy"),
    ],
)
def test_without_an_elastic_line(measured, message):
    with pytest.raises(ValueError, match=message):
        found_in(measured)


def test_other_mistakes():
    measured = counted()
    with pytest.raises(ValueError, match="correct_q must be one of auto, scale"):
        calibrate(measured, correct_q="yes")
    for wrong in (["scale"], None, {}):
        with pytest.raises(ValueError, match="correct_q must be one of auto, scale"):
            calibrate(measured, correct_q=wrong)
    with pytest.raises(ValueError, match="resolution must be one of constant"):
        calibrate(measured, resolution="narrow")
    grid = SpectrumGrid(np.arange(-5, 9, 0.5), np.arange(1.0, 3, 0.1))
    several = Measurement(np.ones((2, grid.n_pixels)), grid)
    with pytest.raises(ValueError, match=r"one spectrum at a time, got 2. Pass meas"):
        calibrate(several)
    with pytest.warns(MeasurementWarning, match=r"wrong by \+2.0 %, .* lattice para"):
        found_in(measured, (1.02 * NICKEL[0], *NICKEL[1:]))
    salt = (4.9 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], ["Cs", "Cl"])
    with pytest.warns(MeasurementWarning):
        found_in(measured, salt)


def test_tables_are_complete_where_nothing_is_found():
    """One hydrogen-like sample: an elastic line without any Bragg line."""
    found = calibrate(counted(lines=([], [])), **ONLY)
    assert len(found.reflections) == len(found.holders) == len(found.streaks) == 0
    assert "0 found" in str(found)
    with pytest.warns(MeasurementWarning, match="Less than two Bragg lines"):
        found_in(counted(lines=([], [])))


def test_resolution_as_a_number_or_of_settings():
    measured = counted()
    assert calibrate(measured, resolution=0.5).measurement.energy_resolution == 0.5
    for wrong in (0, -1.0, np.inf, True, [0.5]):
        with pytest.raises(ValueError, match="positive number of meV, a name"):
            calibrate(measured, resolution=wrong)
    for wrong in (
        {},
        {"instrument": "MARI"},
        {"instrument": "MARI", "frequency": 200},
        {"instrument": 3, "chopper_frequency": 200},
    ):
        with pytest.raises(ValueError, match='have "instrument", a name, and "chopper'):
            calibrate(measured, resolution=wrong)


def test_names_of_instruments_in_any_case():
    pytest.importorskip("resins")
    upper, lower = (
        calibrate(
            counted(), resolution={"instrument": name, "chopper_frequency": 200}
        ).measurement.energy_resolution([0.0, 30.0])
        for name in ("MARI", "mari")
    )
    assert_array_equal(upper, lower)


def test_no_measurement(tmp_path):
    measured = counted()
    for wrong, message in (
        (tmp_path, r"needs a measurement, .* got PosixPath. Pass skphonon.read"),
        ("file.nxspe", r"got str. Pass skphonon.read\(path\), and the crystal second"),
        ([measured], "got list. Pass its items one at a time"),
        (ForceConstantModel(PRIMITIVE, "Ni", [2.3, -0.1]), "got ForceConstantModel"),
    ):
        with pytest.raises(TypeError, match=message):
            calibrate(wrong, measured)


@cache
def binned(step, true_energy=60 / 1.004**2):
    grid = SpectrumGrid(np.arange(-15, 40, 0.5), np.arange(1.0, 9.6, step))
    return reduce_powder(counted(true_energy=true_energy), grid)


@pytest.mark.parametrize("step", [0.15, 0.3])
def test_coarse_bins_tell_nothing_of_moduli(step):
    measured = binned(step)
    with pytest.warns(MeasurementWarning, match="bins narrower than the lines"):
        found = found_in(measured)
    assert not {"q_scale", "q_offset"} & {*found.applied}
    assert_array_equal(found.measurement.grid.q, measured.grid.q)
    if np.isfinite(found.q_scale):
        assert abs(found.q_scale - 1.004) < 3 * found.q_scale_std
        low, high = found.nuisance()["lattice_scale"]
        assert low < 1 / 1.004 < high


def test_narrow_bins_tell_of_moduli():
    assert "q_scale" in found_in(binned(0.02)).applied


def test_few_lines_tell_nothing_of_moduli():
    measured = counted(lines=[x[:4] for x in fcc_lines(3.52, 10.0)])
    with pytest.warns(MeasurementWarning, match="There must be five"):
        found = found_in(measured, (1.003 * NICKEL[0], *NICKEL[1:]))
    assert not {"incident_energy", "two_theta"} & {*found.applied}


@pytest.mark.parametrize("factor", [0.78, 0.86, 0.9, 1.1, 1.15, 1.27])
def test_a_crystal_that_is_not_the_sample_corrects_nothing(factor):
    measured = counted()
    with pytest.warns(MeasurementWarning, match="Bragg lines.*incident_energy"):
        found = found_in(measured, (factor * NICKEL[0], *NICKEL[1:]))
    assert {*found.applied} <= {"energy_zero"}
    assert_array_equal(found.measurement.polar, measured.polar)
    assert found.measurement.incident_energy == measured.incident_energy
    with pytest.raises(ValueError, match=r"got none\. .*incident_energy"):
        found.nuisance()


def test_a_computed_lattice_is_doubted():
    measured = counted()
    wrong = (1.0065 * NICKEL[0], *NICKEL[1:])
    with pytest.warns(MeasurementWarning) as caught:
        found = found_in(measured, wrong)
    text = str(caught[0].message)
    assert "measured at the temperature of the sample" in text
    assert 'correct_q="none"' in text
    assert "3.520" in text
    assert "or a lattice parameter times 0.9935" in str(found)
    assert_allclose(found.lattice_parameters, [3.52 * 1.0065])


@pytest.mark.parametrize(
    ("lattice", "lengths"),
    [
        (3 * np.eye(3), [3]),
        (PRIMITIVE, [3.52]),
        (1.5 * (np.ones((3, 3)) - 2 * np.eye(3)), [3]),
        (np.diag([3.0, 3, 5]), [3, 3, 5]),
    ],
)
def test_lattice_parameters(lattice, lengths):
    assert_allclose(cell_lengths(lattice), lengths)


@pytest.mark.filterwarnings("ignore::skphonon.instrument.MeasurementWarning")
def test_the_report_tells_one_story():
    """What lines want is the same, whatever may be corrected."""
    wrong = counted(true_energy=60 / 1.004**2, offset=-0.15)
    for correct_q in ("auto", "none", "scale", "offset"):
        found = found_in(wrong, correct_q=correct_q)
        text, fits = str(found), found.q_fits.set_index("fit")
        assert_allclose(found.incident_energy, 60 / 1.004**2, rtol=1e-4)
        assert "incident energy that these lines want: 59.52" in text
        assert "lattice parameter times 0.9960" in text
        assert "with that offset" in text
        assert_allclose(fits.loc["best", "scale"], 1.004, atol=1e-4)
        assert_allclose(fits.loc["best", "offset"], -0.15, atol=0.01)
        reason = "" if correct_q == "auto" else f'correct_q="{correct_q}"'
        assert found.q_reason.startswith(reason)
        assert bool(found.q_reason) == (correct_q != "auto")
        assert found.q_reason in text
    right = sound()
    assert right.q_reason == (
        "a factor alone or an offset alone does not differ from nothing by 4 standard "
        "errors"
    )
    assert "is left as it is: a factor alone or" in str(right)
    # of what does not differ, the factor that is shown
    assert_allclose(right.incident_energy, 60 / right.q_scale**2)
    only = found_in(counted(offset=0.2))
    assert "two_theta" in only.applied
    assert only.incident_energy == 60
    assert "these lines want" not in str(only)


def test_indirect_geometry_has_advice_of_its_own():
    energy, q = np.arange(-0.5, 0.6, 0.01), np.arange(0.5, 1.8, 0.1)
    line = np.exp(-((energy / 0.02) ** 2) / 2)[:, None] * np.ones(len(q))
    grid = SpectrumGrid(energy, q)
    measured = Measurement(
        grid.to_rows(line), grid, quantity="sqe", details={"final_energy": 1.84}
    )
    with pytest.warns(MeasurementWarning, match="taken as constant") as caught:
        calibrate(measured)
    assert "direct" not in str(caught[0].message).replace("indirect", "")
    with pytest.raises(ValueError, match="or a number of meV for indirect geometry"):
        calibrate(measured, resolution="direct_geometry")


def test_the_measurement_records_its_calibration(tmp_path):
    found = found_in(counted(zero=0.3, true_energy=60 / 1.004**2))
    record = found.measurement.details["calibration"]
    assert record["applied"] == ", ".join(found.applied)
    assert record["energy_zero"] == found.energy_zero
    assert record["q_scale_std"] == found.q_scale_std
    again = found_in(found.measurement)
    assert {*again.applied} <= {"energy_zero"}
    kept = again.measurement.details["calibration"]
    assert kept["applied"] == record["applied"]
    assert_allclose(kept["energy_zero"], record["energy_zero"], atol=0.01)
    # numbers and a text, which files keep
    grid = SpectrumGrid(np.arange(-15, 40, 0.5), np.arange(1.0, 9.6, 0.02))
    spectrum = found_in(reduce_powder(counted(zero=0.3), grid), None).measurement
    write_arrays(tmp_path / "spectrum.h5", spectrum)
    read = read_arrays(tmp_path / "spectrum.h5").details["calibration"]
    assert dict(read) == dict(spectrum.details["calibration"])


@pytest.mark.parametrize("layout", ["detectors", "angles", "moduli"])
def test_records_of_two_calibrations_compose(layout):
    """What was applied in all takes the first axes to the last."""
    measured = counted(zero=0.3, true_energy=60 / 1.004**2, offset=-0.15)
    if layout == "angles":
        measured = reduce_angles(measured)
    elif layout == "moduli":
        grid = SpectrumGrid(np.arange(-15, 40, 0.5), np.arange(1.0, 9.6, 0.02))
        measured = reduce_powder(measured, grid)
    first = found_in(measured, correct_q="scale").measurement
    # errors of the first, which leaves an offset, would forbid the second
    half = {**first.details["calibration"], "q_scale_std": 1e-5}
    first = first.replace(details={**first.details, "calibration": half})
    second = found_in(first).measurement
    record = second.details["calibration"]
    names = {*record["applied"].split(", ")}
    if layout == "moduli":
        assert names == {"energy_zero", "q_scale", "q_offset"}
        assert_allclose(
            second.grid.q,
            (measured.grid.q - record["q_offset"]) / record["q_scale"],
            atol=1e-9,
        )
        moved = measured.grid.energy - second.grid.energy
    else:
        assert names == {"energy_zero", "incident_energy", "two_theta"}
        energy = measured.incident_energy / record["q_scale"] ** 2
        assert_allclose(second.incident_energy, energy, rtol=1e-9)
        assert_allclose(record["q_scale"], 1.004, atol=2e-4)
        assert_allclose(record["q_offset"], -0.15, atol=0.02)
        old, new = (
            x.polar if layout == "detectors" else x.grid.two_theta
            for x in (measured, second)
        )
        assert_allclose(old - new, record["q_offset"], atol=1e-9)
        moved = record["energy_zero"]
    assert_allclose(moved, record["energy_zero"], atol=1e-9)


def test_what_was_calibrated_is_not_corrected_by_less_than_its_errors():
    measured = counted(true_energy=60 / 1.004**2)
    known = {"q_scale_std": 0.003, "applied": "nothing"}
    found = found_in(measured.replace(details={"calibration": known}))
    assert "incident_energy" not in found.applied
    assert "was calibrated before" in found.q_reason
    assert "is left as it is: it was calibrated before" in str(found)
    known["q_scale_std"] = 0.001
    found = found_in(measured.replace(details={"calibration": known}))
    assert "incident_energy" in found.applied


def test_micro_electronvolts_keep_their_digits():
    energy, q = np.arange(-0.02, 0.06, 0.0005), np.arange(0.3, 1.8, 0.05)
    line = np.exp(-(((energy - 0.0013) / 0.002) ** 2) / 2)[:, None] * np.ones(len(q))
    grid = SpectrumGrid(energy, q, incident_energy=2.08)
    measured = Measurement(
        grid.to_rows(line),
        grid,
        error=grid.to_rows(np.full(line.shape, 0.01)),
        quantity="sqe",
    )
    text = str(found_in(measured, None, banks=2))
    assert "highest at 0.0013" in text
    assert "centres 0.0013" in text
    assert "standard deviations 0.00199" in text


def test_notebooks_show_the_report():
    found = found_in(counted(), None)
    assert found._repr_html_().startswith("<pre>Elastic line (meV)")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skphonon.instrument.MeasurementWarning")
@pytest.mark.parametrize("sample", ["silicon", "aluminium"])
def test_one_zero_for_detectors_angles_and_bins(mari, sample):
    """And what is calibrated needs no calibration, however it is binned."""
    measured, crystal = mari.runs[sample], mari.crystals[sample]

    def layouts(run):
        yield run
        yield reduce_angles(run)
        grid = SpectrumGrid(np.arange(-20, 25, 0.5), np.arange(0.5, 10, 0.02))
        yield reduce_powder(run, grid)

    _, *others = layouts(measured)
    fits = [mari.calibrated(sample), *(found_in(each, crystal) for each in others)]
    zeros = [fit.energy_zero for fit in fits]
    assert np.ptp(zeros) < 0.5 * min(fit.energy_zero_std for fit in fits)
    # the same is decided, of any number of banks
    of_banks = [found_in(measured, crystal, banks=n) for n in (12, 40)]
    assert len({"energy_zero" in fit.applied for fit in fits + of_banks}) == 1
    assert {fit.energy_zero for fit in of_banks} == {zeros[0]}
    for again in layouts(fits[0].measurement):
        fit = found_in(again, crystal)
        assert fit.applied == ()
        assert (
            abs(
                fit.energy_zero
                - zeros[0]
                + sum(zeros[:1] if "energy_zero" in fits[0].applied else [0.0])
            )
            < 0.6 * fit.energy_zero_std
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skphonon.instrument.MeasurementWarning")
def test_factors_of_silicon_on_any_bins(mari):
    """Errors hold what bins change, and no correction moves lines away."""
    fits = [
        found_in(mari.binned("silicon", first, step), SILICON)
        for step, first in ((0.015, 0.5), (0.02, 0.51), (0.025, 0.5), (0.03, 0.51))
    ]
    scales = np.array([(fit.q_scale, fit.q_scale_std) for fit in fits])
    assert np.ptp(scales[:, 0]) < 2 * scales[:, 1].mean()
    for fit in fits:
        used = fit.reflections.query("used")
        medians = [abs(used[x]).median() for x in ("deviation", "deviation_calibrated")]
        assert medians[1] < 1.4 * medians[0]


@pytest.mark.filterwarnings("ignore::skphonon.instrument.MeasurementWarning")
def test_no_correction_moves_lines_away(mari, monkeypatch):
    """With a lower threshold the whole pattern would correct |Q| against lines."""
    from skphonon.instrument import _corrections

    monkeypatch.setattr(_corrections, "CLEAR", 3.0)
    found = found_in(mari.binned("silicon", 0.51, 0.02), SILICON)
    assert "further from their places" in found.q_reason
    assert not {"q_scale", "q_offset"} & {*found.applied}
    text = str(found)
    assert "whole pattern: a factor 1.002" in text
    assert "|Q| is left as it is: lines would be further" in text
    assert "\n  or a lattice" not in text


def test_silicon_on_mari(mari):
    found = mari.calibrated("silicon")
    assert all(text.startswith("Banks of detectors count") for text in found.warnings)
    assert isinstance(found.measurement, DetectorMeasurement)
    assert_allclose(found.elastic_maximum, -0.2, atol=0.1)
    used = found.reflections.query("used")
    assert len(used) >= 15
    assert abs(used["deviation_calibrated"]).max() < 0.003
    assert abs(used["deviation"]).median() < 0.003
    aluminium = found.reflections.query("phase == 'aluminium'").set_index("hkl")
    assert_allclose(aluminium["q"][["111", "200"]], [2.68, 3.08], atol=0.02)
    row = found.holders.iloc[0]
    assert abs(row["lattice_parameter"] - 4.05) < 2 * row["lattice_parameter_std"]
    assert found.streaks["energy"].max() > 75


@pytest.mark.parametrize(
    ("incident", "a"), [(None, 3.0), (100.0, 5.431), (60.0, 5.431), (71.5, 5.431)]
)
@pytest.mark.filterwarnings("ignore:Energy transfers must be below")
@pytest.mark.filterwarnings("ignore:Banks of detectors count")
def test_silicon_taken_for_another_crystal(mari, incident, a):
    measured = mari.runs["silicon"]
    if incident:
        measured = measured.replace(incident_energy=incident)
    with pytest.warns(MeasurementWarning, match=r"of 26 Bragg lines.*incident_energy"):
        found = found_in(measured, (a * FCC, *SILICON[1:]))
    assert found.applied == ("energy_zero",)
    assert set(found.reflections["phase"]) == {"unknown"}  # nor holders by chance
    assert_array_equal(found.measurement.polar, measured.polar)
    with pytest.raises(ValueError, match="which may be chance"):
        found.nuisance()


def test_aluminium_on_mari_on_coarse_bins(mari):
    measured = mari.runs["aluminium"]
    grid = SpectrumGrid(np.arange(-20, 45, 1.0), np.arange(1, 9, 0.2))
    with pytest.warns(MeasurementWarning, match="bins narrower than the lines"):
        found = found_in(reduce_powder(measured, grid), ALUMINIUM)
    assert "q_scale" not in found.applied
    assert abs(found.q_scale - 1.0012) < 2 * found.q_scale_std


def test_aluminium_on_mari(mari):
    found = mari.calibrated("aluminium")
    assert found.warnings == ()
    assert_allclose(found.elastic_maximum, -0.15, atol=0.1)
    first = found.reflections.query("phase == 'sample'")[:10]
    assert (abs(first["deviation"]) < 0.004).sum() >= 8
    assert abs(found.reflections.query("used")["deviation_calibrated"]).max() < 0.004
    assert len(found.holders) == 0


def test_silicon_is_not_taken_for_a_holder(mari):
    found = mari.calibrated("silicon", with_crystal=False)
    assert list(found.holders["name"]) == ["aluminium"]


def test_two_samples_tell_the_same_of_mari(mari):
    """Silicon and aluminium, at two incident energies: the same angles are wrong."""
    fits = mari.calibrated("silicon"), mari.calibrated("aluminium")
    offsets = [fit.q_offset for fit in fits]
    spread = np.hypot(*[fit.q_offset_std for fit in fits])
    assert abs(offsets[0] - offsets[1]) < 3 * spread


@pytest.fixture(scope="module")
def with_a_can():
    """Return a measurement with a can and a dead detector, and its calibration."""
    measured = counted(zero=0.3, can=fcc_lines(4.05, 10.0), dead=(20,))
    with pytest.warns(MeasurementWarning, match="dead: 20"):
        return measured, found_in(measured)


@pytest.mark.parametrize("unit", [1e-200, 1e-6, 1e200])
def test_the_unit_of_intensities_does_not_matter(with_a_can, unit):
    measured, found = with_a_can
    scaled = measured.replace(data=unit * measured.data, error=unit * measured.error)
    with pytest.warns(MeasurementWarning, match="dead: 20"):
        other = found_in(scaled)
    assert_allclose(other.energy_zero, found.energy_zero)
    assert_allclose(other.q_scale, found.q_scale, rtol=1e-7)
    assert list(other.reflections["phase"]) == list(found.reflections["phase"])
    for name, column in (
        ("elastic", "area"),
        ("pattern", "intensity"),
        ("reflections", "area"),
        ("elastic_line", "fit"),
    ):
        numbers = getattr(other, name)[column] / unit
        assert_allclose(numbers, getattr(found, name)[column], rtol=1e-4)


def test_a_simulator_means_the_same_by_the_scale_of_the_lattice(aluminium):
    """Features of a lattice 2 % larger lie at |Q| that are 2 % smaller."""
    from skphonon import PowderSimulator

    q = np.arange(2.0, 6.0, 0.04)
    grid = SpectrumGrid([8.0, 10.0], q)
    simulator = PowderSimulator(
        aluminium, grid, energy_resolution=1.5, q_resolution=0.05, tolerance=1e-3
    )
    images = grid.to_image(
        simulator.simulate(
            [simulator.reference] * 2, nuisance={"lattice_scale": [1.0, 1.02]}
        )
    )
    at, larger = images[:, 0]
    fits = [np.corrcoef(np.interp(f * q, q, at), larger)[0, 1] for f in (0.98, 1, 1.02)]
    assert np.argmax(fits) == 2
