"""Mistakes with axes, units and shapes: refused where certain, told where likely."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    LeastSquaresInverter,
    Measurement,
    PathGrid,
    PowderSimulator,
    SingleCrystalSimulator,
    SpectrumGrid,
    fetch_aluminium_arcs,
    read_nxspe,
    reduce_powder,
)
from skphonon.instrument import MeasurementWarning
from skphonon.inversion import MisfitWarning
from skphonon.simulation import Scattering
from skphonon.simulation._plausible import warn_of_window

ENERGY, Q = np.arange(10.0, 45, 1.0), np.arange(0.5, 10, 0.2)
THZ, INVERSE_CM = 4.135668, 0.1239842


def measured(model, energy=ENERGY, q=Q, incident_energy=None, noise=0.2, **settings):
    """A simulated measurement of 300 K, and its simulator."""
    grid = SpectrumGrid(energy, q, incident_energy=incident_energy)
    simulator = PowderSimulator(model, grid, energy_resolution=1.5, tolerance=1e-3)
    row = simulator.simulate([model.reference])[0]
    rng = np.random.default_rng(0)
    row += noise * np.nanstd(row) * rng.standard_normal(row.shape)
    return Measurement(
        row, grid, quantity="chi", temperature=300.0, energy_resolution=1.5, **settings
    )


# Axes, where they are given.
def test_axes_are_checked_where_they_are_given():
    with pytest.raises(ValueError, match="energy must be strictly increasing"):
        SpectrumGrid(ENERGY[::-1], Q)
    with pytest.raises(ValueError, match="q must not be negative"):
        SpectrumGrid(ENERGY, Q - 1)
    with pytest.raises(ValueError, match="energy must be strictly increasing"):
        PathGrid([3.0, 2.0], [[0, 0, 1]])
    with pytest.raises(ValueError, match="h must be strictly increasing"):
        CrystalGrid(ENERGY, [1.0, 0.0], [0.0, 1.0], 0.0)


def test_exchanged_axes_with_an_incident_energy_are_refused():
    with pytest.raises(ValueError, match=r"exchanged: SpectrumGrid\(energy, q\)"):
        SpectrumGrid(Q, ENERGY, incident_energy=50.0)


def test_exchanged_axes_without_one_are_told():
    with pytest.warns(MeasurementWarning, match="axes look exchanged"):
        SpectrumGrid(Q, ENERGY)


def test_a_window_that_no_neutron_reaches_is_refused():
    with pytest.raises(ValueError, match="none within the kinematic window"):
        SpectrumGrid(ENERGY, Q + 12, incident_energy=50.0)


def test_transposed_images_are_told_apart_by_their_shape():
    grid = SpectrumGrid(ENERGY, Q)
    with pytest.raises(ValueError, match=r"look transposed: .*swapaxes\(-1, -2\)"):
        grid.to_rows(np.ones(grid.shape[::-1]))


# Square images can be transposed unseen.
def test_transposed_square_images_are_told_by_the_kinematic_limit(aluminium):
    energy, q = np.arange(10.0, 46, 1.0), np.linspace(0.3, 9, 36)
    right = measured(aluminium, energy, q, incident_energy=50.0)
    image = right.grid.to_image(right.data)[0]
    with pytest.warns(MeasurementWarning, match="look transposed"):
        Measurement(image.T.reshape(1, -1), right.grid)


def test_transposed_square_images_are_told_by_their_energies(aluminium):
    energy, q = np.arange(10.0, 46, 1.0), np.linspace(2, 9, 36)
    right = measured(aluminium, energy, q)
    PowderSimulator.from_measurement(aluminium, right)  # without a word
    image = right.grid.to_image(right.data)[0]
    wrong = right.replace(data=image.T.reshape(1, -1))
    with pytest.warns(MeasurementWarning, match="images look transposed"):
        PowderSimulator.from_measurement(aluminium, wrong)


# Units of energy, and incident energies.
@pytest.mark.parametrize(("unit", "factor"), [("THz", THZ), ("1/cm", INVERSE_CM)])
def test_energies_in_other_units_are_told(aluminium, unit, factor):
    right = measured(aluminium)
    wrong = right.replace(grid=SpectrumGrid(ENERGY / factor, Q))
    with pytest.warns(MeasurementWarning, match=f"energies look like {unit}"):
        PowderSimulator.from_measurement(aluminium, wrong)


@pytest.mark.filterwarnings("ignore:.* lacks the spectra measured at")
def test_energies_of_real_measurements(data_folder, aluminium):
    """ARCS and MARI: no word on the right axis, one on any other."""
    every = fetch_aluminium_arcs().measurement
    silicon = ForceConstantModel.from_phonopy(
        data_folder / "phonopy" / "phonopy_params_Si.yaml"
    )
    grid = SpectrumGrid(np.arange(10, 72, 0.5), np.arange(2, 9.8, 0.1))
    run = read_nxspe(data_folder / "mari" / "silicon_Ei80_300K.nxspe")
    of_silicon = reduce_powder(run, grid).replace(
        temperature=300.0, energy_resolution=1.5
    )
    pairs = [(aluminium, each) for each in every] + [(silicon, of_silicon)]
    for model, each in pairs:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            PowderSimulator.from_measurement(model, each)
        for unit, factor in (("THz", THZ), ("1/cm", INVERSE_CM)):
            wrong = each.replace(
                grid=SpectrumGrid(
                    np.asarray(each.grid.energy) / factor,
                    each.grid.q,
                    mask=each.grid.mask,
                ),
                incident_energy=None,
            )
            with pytest.warns(MeasurementWarning, match=f"energies look like {unit}"):
                PowderSimulator.from_measurement(model, wrong)


@pytest.mark.parametrize("high", [20.0, 35.0, 60.0])
def test_parts_of_a_band_are_no_other_unit(aluminium, high):
    energy = np.arange(5.0, high, 0.5)
    each = measured(aluminium, energy)
    PowderSimulator.from_measurement(aluminium, each)  # warnings are errors


def test_a_window_without_phonons_is_told(aluminium):
    """As with an incident energy that is too high by far, and energies from it."""
    grid = SpectrumGrid(np.linspace(100, 450, 30), Q + 5, incident_energy=500.0)
    simulator = PowderSimulator(aluminium, grid, energy_resolution=1.5)
    with pytest.warns(MeasurementWarning, match="Less than 1% of the phonons"):
        simulator.simulate([aluminium.reference])
    crystal = SingleCrystalSimulator(
        aluminium,
        PathGrid(np.linspace(100, 450, 30), [[1, 1, 0.5]]),
        energy_resolution=1.5,
    )
    with pytest.warns(MeasurementWarning, match="they reach 39.84"):
        crystal.simulate([aluminium.reference])


def test_sound_near_the_elastic_line_is_no_empty_window(aluminium):
    grid = SpectrumGrid(np.arange(0.5, 4, 0.5), np.arange(0.2, 2, 0.1))
    simulator = PowderSimulator(aluminium, grid, energy_resolution=0.2, mesh=6)
    simulator.simulate([aluminium.reference])


# What a measurement knows.
def test_a_simulator_takes_what_the_measurement_knows(aluminium):
    each = measured(aluminium).replace(quantity="sqe")
    simulator = PowderSimulator.from_measurement(aluminium, each, q_resolution=0.07)
    assert simulator.quantity == "sqe"
    assert simulator.temperature == 300.0
    assert simulator.energy_resolution == 1.5
    assert simulator.q_resolution == 0.07
    assert simulator.grid is each.grid
    other = PowderSimulator.from_measurement(aluminium, each, temperature=10.0)
    assert other.temperature == 10.0
    assert clone(simulator).quantity == "sqe"


def test_what_a_measurement_lacks_is_asked_for(aluminium):
    each = measured(aluminium, source="mine.nxs").replace(
        temperature=None, energy_resolution=None
    )
    message = (
        r"PowderSimulator.from_measurement must know temperature and energy_resolution"
        r".*\(mine.nxs\).*temperature=\.\.\., energy_resolution=\.\.\."
    )
    with pytest.raises(ValueError, match=message):
        PowderSimulator.from_measurement(aluminium, each)


def test_a_resolution_has_no_default(aluminium):
    with pytest.raises(TypeError, match="energy_resolution"):
        PowderSimulator(aluminium, SpectrumGrid(ENERGY, Q))
    with pytest.raises(TypeError, match="energy_resolution"):
        SingleCrystalSimulator(aluminium, PathGrid(ENERGY, [[1, 0, 0.2]]))


def test_several_temperatures_want_one_to_be_chosen(aluminium):
    each = measured(aluminium)
    several = each.replace(data=np.tile(each.data, (2, 1)), temperature=[50.0, 300.0])
    with pytest.raises(ValueError, match="A simulator has one temperature"):
        PowderSimulator.from_measurement(aluminium, several)
    simulators = [PowderSimulator.from_measurement(aluminium, m) for m in several]
    assert [s.temperature for s in simulators] == [50.0, 300.0]


def test_the_first_fit_of_measured_data_is_right(aluminium):
    """S(Q, E) with its own resolution, taken for chi'' with another, fits wrongly."""
    grid = SpectrumGrid(ENERGY, Q, incident_energy=60.0)
    truth = aluminium.reference * [1.05, 0.9, 1.0, 1.1, 1.0]
    instrument = PowderSimulator(
        aluminium,
        grid,
        temperature=300.0,
        energy_resolution=2.4,
        quantity="sqe",
        scattering=Scattering(n_phonons="auto"),
    )
    row = instrument.simulate([truth])
    sigma = 0.03 * np.nanstd(row)
    noise = np.random.default_rng(1).normal(0, sigma, row.shape)
    each = Measurement(
        row + noise,
        grid,
        error=np.full(row.shape, sigma),
        quantity="sqe",
        temperature=300.0,
        energy_resolution=2.4,
    )

    def fitted(simulator):
        inverter = LeastSquaresInverter(simulator).fit(each.data)
        return inverter.predict(each.data, errors=each.error, return_std=True)

    found, std = fitted(PowderSimulator.from_measurement(aluminium, each))
    assert np.all(np.abs(found - truth) < 4 * std)
    with pytest.warns(MisfitWarning):
        wrong, _ = fitted(PowderSimulator(aluminium, grid, energy_resolution=1.54))
    assert abs(wrong[0, 0] - truth[0]) > 10 * std[0, 0]


def test_a_crystal_is_simulated_as_measured(aluminium):
    lattice = aluminium.lattice
    grid = PathGrid(ENERGY, [[1, 0, 0.2], [1, 1, 0.5]], lattice=lattice)
    each = Measurement(
        np.ones(grid.n_pixels), grid, quantity="sqe", temperature=5.0
    ).replace(energy_resolution=0.8)
    simulator = SingleCrystalSimulator.from_measurement(aluminium, each)
    assert (simulator.temperature, simulator.energy_resolution) == (5.0, 0.8)


@pytest.mark.filterwarnings("ignore::skphonon.physics.UnstableCrystalWarning")
def test_an_unstable_crystal_has_no_window(aluminium):
    """Modes without a real energy do not tell where to look."""
    model = aluminium.replace(reference=-aluminium.reference)
    simulator = PowderSimulator(
        model, SpectrumGrid(ENERGY, Q), energy_resolution=1.5, mesh=6
    )
    assert not np.nansum(simulator.simulate([model.reference]))


@pytest.mark.parametrize(
    ("low", "high", "settings"),
    [
        (
            43.0,
            100.0,
            {"temperature": 800.0, "quantity": "sqe"},
        ),
        (
            92.0,
            180.0,
            {"scattering": Scattering(n_phonons=2, incoherent=True)},
        ),
    ],
)
def test_weak_parts_of_a_soft_crystal_are_no_empty_window(
    data_folder, low, high, settings
):
    """Its soft modes have nearly all of the intensity, a few per cent of the modes."""
    model = ForceConstantModel.from_phonopy(
        data_folder / "phonopy" / "CaHgO2-mp-7041.yaml"
    )
    grid = SpectrumGrid(np.arange(low, high, 4.0), np.arange(2, 5, 0.5))
    simulator = PowderSimulator(model, grid, energy_resolution=2.0, **settings)
    warn_of_window(simulator)  # warnings are errors


@pytest.mark.parametrize("tail", ["elastic line", "background"])
@pytest.mark.parametrize(("low", "high"), [(-10.0, 45.0), (3.0, 45.0), (-45.0, -3.0)])
def test_elastic_lines_and_backgrounds_are_no_other_unit(aluminium, low, high, tail):
    right = measured(aluminium, np.linspace(low, high, 40), noise=0.05)
    energy = right.grid.axes()[0][:, None]
    image = right.grid.to_image(right.data)[0]
    size = 30 * np.abs(image).max()
    if tail == "elastic line":
        image = image + size * np.exp(-0.5 * (energy / 1.5) ** 2)
    else:
        image = image + size * np.exp(-np.abs(energy) / 8)
    given = right.replace(data=image.ravel())
    if tail == "elastic line" and low < 0 < high:
        with pytest.warns(MeasurementWarning) as told:
            PowderSimulator.from_measurement(aluminium, given)
        (warning,) = told
        assert "hold the elastic line" in str(warning.message)
    else:
        PowderSimulator.from_measurement(aluminium, given)


def test_narrow_windows_are_no_other_unit(data_folder):
    """Where nothing of a profile is in another unit, none can be like it."""
    silicon = ForceConstantModel.from_phonopy(
        data_folder / "phonopy" / "phonopy_params_Si.yaml", n_shells=4
    )
    grid = SpectrumGrid(np.linspace(31.5, 37.8, 60), np.arange(1, 8, 0.4))
    simulator = PowderSimulator(
        silicon, grid, energy_resolution=0.5, quantity="sqe", mesh=6
    )
    row = simulator.simulate([silicon.reference])
    each = Measurement(
        row, grid, quantity="sqe", temperature=300.0, energy_resolution=0.5
    )
    PowderSimulator.from_measurement(silicon, each)  # warnings are errors


def test_a_grid_of_the_other_kind_is_named(aluminium):
    powder = PowderSimulator(
        aluminium, PathGrid(ENERGY, [[1, 0, 0.2]]), energy_resolution=1.5
    )
    with pytest.raises(ValueError, match="SpectrumGrid or AngleGrid, got a PathGrid"):
        powder.simulate([aluminium.reference])
    crystal = SingleCrystalSimulator(
        aluminium, SpectrumGrid(ENERGY, Q), energy_resolution=1.5
    )
    with pytest.raises(ValueError, match="PathGrid, got a SpectrumGrid"):
        crystal.simulate([aluminium.reference])


def test_an_elastic_line_in_the_window_is_told(aluminium):
    one = measured(aluminium, energy=np.arange(-10.0, 45, 1.0))
    PowderSimulator.from_measurement(aluminium, one)  # nothing to say of phonons alone
    image = one.grid.to_image(one.data)[0]
    line = 30 * np.nanmax(image) * np.exp(-0.5 * (one.grid.energy / 1.5) ** 2)
    spoiled = one.replace(data=one.grid.to_rows(image + line[:, None]))
    with pytest.warns(
        MeasurementWarning, match=r"hold the elastic line.* below about 6"
    ):
        PowderSimulator.from_measurement(aluminium, spoiled)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1e3, "energies look like ueV"),
        (1e-3, "energies look like eV"),
        (-1.0, "positive where neutrons lose energy"),
    ],
)
def test_energies_in_other_units_or_of_the_other_sign_are_told(
    aluminium, factor, message
):
    one = measured(aluminium)
    energy = np.sort(factor * one.grid.energy)
    grid = SpectrumGrid(energy, one.grid.q)
    with pytest.warns(MeasurementWarning, match=message):
        PowderSimulator.from_measurement(
            aluminium,
            one.replace(grid=grid, quantity="sqe", temperature=5.0),
            energy_resolution=abs(factor) * 1.5,
        )


def test_a_window_that_is_too_narrow_for_phonons_is_told(aluminium):
    grid = SpectrumGrid(np.linspace(0.01, 0.044, 30), Q)
    simulator = PowderSimulator(aluminium, grid, energy_resolution=0.001)
    with pytest.warns(MeasurementWarning, match=r"0\.035 meV wide.*not eV"):
        warn_of_window(simulator)
