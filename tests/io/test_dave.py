"""DAVE's groups: helium as its phonons and rotons are known, and all kinds of axes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from spe_files import write_grp

from skphonon.instrument import AngleGrid, MeasurementWarning
from skphonon.io.dave import read_dave

ENERGY, Q = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([0.5, 1.0, 1.5])


@pytest.fixture
def numbers():
    rng = np.random.RandomState(0)
    return rng.uniform(1, 2, (3, 4)), rng.uniform(0.1, 0.2, (3, 4))


def test_rotons_of_helium(data_folder):
    """The real file is a simulated spectrum of superfluid helium.

    Its dispersion is known: the roton minimum lies at 0.742 meV and 1.92 1/Angstrom,
    the maximum before it at 1.19 meV and 1.1 1/Angstrom. Bins are 0.01 meV wide and the
    spectrometer's resolution is narrower than the shift that a coarse |Q| makes.
    """
    measured = read_dave(data_folder / "formats/DaveAscii.grp", quantity="sqe")
    assert measured.grid.shape == (60, 28)
    assert measured.quantity == "sqe"
    assert_allclose(measured.grid.energy[[0, -1]], [0.655, 1.245])  # stored in ueV
    image = np.nan_to_num(measured.grid.to_image(measured.data)[0])
    energy = measured.grid.energy @ image / image.sum(axis=0)
    q = measured.grid.q
    roton = (q > 1.8) & (q < 1.95)
    assert_allclose(energy[roton].min(), 0.742, atol=0.03)
    assert_allclose(q[roton][energy[roton].argmin()], 1.92, atol=0.06)
    assert_allclose(energy[q < 1.5].max(), 1.19, atol=0.03)
    assert_allclose(q[q < 1.5][energy[q < 1.5].argmax()], 1.1, atol=0.1)
    assert measured.details["labels"][0] == "energy transfer uev"
    assert "mcstas_he4" in measured.details["comments"][0]


def test_energies_by_momentum(tmp_path, numbers):
    data, errors = (each.copy() for each in numbers)
    data[0, 0] = errors[0, 0] = errors[1, 1] = 0.0
    data[2, 2] = np.nan
    path = write_grp(tmp_path / "a.grp", data, errors, ENERGY, Q, comments=["C by me"])
    measured = read_dave(path, temperature=5.0)
    image = measured.grid.to_image(measured.data)[0]
    error = measured.grid.to_image(measured.error)[0]
    expected = data.T.copy()
    expected[0, 0] = np.nan
    assert_allclose(image, expected)
    assert np.argwhere(np.isnan(error)).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert_allclose(measured.grid.mask, np.isfinite(image))
    assert_allclose(measured.grid.q, Q)
    assert (measured.temperature, measured.quantity) == (5.0, None)
    assert measured.details["comments"] == ["C by me"]


@pytest.mark.parametrize(
    ("label", "factor"),
    [
        ("Energy transfer (meV)", 1.0),
        ("energy transfer (ueV)", 1e-3),
        ("energy transfer (µeV)", 1e-3),
        ("Energy transfer (microeV)", 1e-3),
        ("Energy transfer (1/cm)", 0.123984),
        ("Energy transfer [THz]", 4.13567),
    ],
)
def test_units_of_energy(tmp_path, numbers, label, factor):
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, energy_label=label)
    assert_allclose(read_dave(path).grid.energy, factor * ENERGY, rtol=1e-5)
    # the user knows better
    assert_allclose(read_dave(path, energy_unit="ueV").grid.energy, 1e-3 * ENERGY)


@pytest.mark.parametrize(
    ("label", "factor"),
    [
        ("Q transfer (1/Angstroms)", 1.0),
        ("q (Angstrom^-1)", 1.0),
        ("Momentum transfer (A^-1)", 1.0),
        ("Q (1/nm)", 0.1),
        ("Q", 1.0),
    ],
)
def test_units_of_momentum(tmp_path, numbers, label, factor):
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, group_label=label)
    assert_allclose(read_dave(path).grid.q, factor * Q)


@pytest.mark.parametrize(
    "label",
    ["Scattering angle (degrees)", "2-theta (deg)", "Detector angle", "two theta (°)"],
)
def test_groups_of_angle(tmp_path, numbers, label):
    angles = [30.0, 60.0, 90.0]
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, angles, group_label=label)
    with pytest.raises(
        ValueError, match=r"scattering angles, .*incident_energy=\.\.\."
    ):
        read_dave(path)
    with pytest.warns(MeasurementWarning, match=r"1 bin of .*_energy=1.5 meV"):
        measured = read_dave(path, incident_energy=1.5)
    assert isinstance(measured.grid, AngleGrid)
    assert_allclose(measured.grid.two_theta, angles)
    assert_allclose(measured.grid.energy, ENERGY[:3])  # below the incident energy
    assert_allclose(measured.grid.to_image(measured.data)[0], numbers[0].T[:3])


@pytest.mark.parametrize("empty", [0.0, np.nan, -1e30])
def test_nothing_above_the_incident_energy_is_left_out_in_silence(
    tmp_path, numbers, empty
):
    data, errors = (each.copy() for each in numbers)
    data[:, 3] = empty
    path = write_grp(tmp_path / "a.grp", data, errors, ENERGY, Q)
    assert_allclose(read_dave(path, incident_energy=2.0).grid.energy, ENERGY[:3])


def test_axes_that_fall(tmp_path, numbers):
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q)
    turned = [each[::-1, ::-1] for each in numbers]
    other = write_grp(tmp_path / "b.grp", *turned, ENERGY[::-1], Q[::-1])
    assert_allclose(read_dave(path).data, read_dave(other).data)
    assert_allclose(read_dave(path).error, read_dave(other).error)


def test_groups_that_are_not_named(tmp_path, numbers):
    for label in ("Group", "Detector (number)", "Spectrum ()"):
        path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, group_label=label)
        with pytest.raises(ValueError, match=r"Pass axis='q' \(in 1/Angstrom\) or"):
            read_dave(path)
        assert_allclose(read_dave(path, axis="q").grid.q, Q)
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, group_label="(1/nm)")
    assert_allclose(read_dave(path).grid.q, 0.1 * Q)


@pytest.mark.parametrize(
    "label",
    ["Q^2", "|Q|^2 (1/Angstrom^2)", "Q**2 (1/Angstroms)", "Q2", "Q² (A^-2)",
     "Momentum transfer squared (1/Angstrom)", "Q squared"],
)  # fmt: skip
def test_squares_of_momentum_are_no_momenta(tmp_path, numbers, label):
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, group_label=label)
    with pytest.raises(ValueError, match="must be of Q, got those of its square, '"):
        read_dave(path)
    assert_allclose(read_dave(path, axis="q").grid.q, Q)


def test_what_is_not_told_is_asked_for(tmp_path, numbers):
    for label in ("energy transfer", "energy transfer (furlong)"):
        path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, energy_label=label)
        with pytest.raises(ValueError, match=r"Pass energy_unit=\.\.\., such as 'meV'"):
            read_dave(path)
        assert_allclose(read_dave(path, energy_unit="meV").grid.energy, ENERGY)
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, energy_label="time (ns)")
    with pytest.raises(ValueError, match="must have energies first, got 'time'"):
        read_dave(path)
    with pytest.raises(ValueError, match="axis must be one of q, two_theta, got 'E'"):
        read_dave(path, axis="E")
    with pytest.raises(ValueError, match="energy_unit must be one of meV"):
        read_dave(path, energy_unit="K")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("values\n4\n", "values\n999999999\n", "must announce what the file holds"),
        ("values\n4\n", "values\n0\n", "must be a positive number"),
        ("values\n4\n", "values\nfour\n", "must be that number, got 'four'"),
        ("values\n4\n", "values\n3\n", "must come after energies: 3 numbers, got"),
        ("values\n3\n", "values\n2\n", "must come after values of gr"),
        ("# Group 2", "# Something", "must be the heading of group 2"),
        ("Values:\n0.5", "Values:\nhalf", "must hold numbers, got 'half'"),
        ("Values:\n0.5", "Values:\n1.0", "q must be strictly increasing"),
        ("Values:\n0.5", "Values:\nnan", "a.grp: q must be finite"),
        ("transfer (meV) Values:", "transfer (meV)", "heading that ends with 'Values"),
    ],
)
def test_what_must_hold(tmp_path, numbers, old, new, message):
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_dave(path)


def test_what_is_cut_off_or_goes_on(tmp_path, numbers):
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q)
    text = path.read_text()
    for part in (0.3, 0.6, 0.95):
        path.write_text(text[: int(part * len(text))])
        with pytest.raises(ValueError, match=r"a\.grp, line"):
            read_dave(path)
    for more in ("1.0 2.0\n", "# Group\n" * 200):
        path.write_text(text + more)
        with pytest.raises(ValueError, match=r"must (come after|be a comment)"):
            read_dave(path)
    zeros = np.zeros((3, 4))
    path = write_grp(tmp_path / "a.grp", zeros, zeros, ENERGY, Q)
    with pytest.raises(ValueError, match="must hold intensities, got none"):
        read_dave(path)
    with pytest.raises(ValueError, match="positive number in meV"):
        read_dave(path, incident_energy=-2.0)


@pytest.mark.parametrize("label", [" " * 16000 + "x", "( " * 8000 + "x"])
def test_headings_that_a_pattern_would_not_come_to_the_end_of(tmp_path, numbers, label):
    path = write_grp(tmp_path / "a.grp", *numbers, ENERGY, Q, energy_label=label)
    with pytest.raises(ValueError, match="heading that ends with 'Values:'"):
        read_dave(path)
