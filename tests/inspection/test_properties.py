"""Draws, tables and pictures of physical properties with their uncertainty."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import ForceConstantModel, load_aluminium_model
from skphonon.inspection import (
    DensityOfStatesDisplay,
    ElasticConstantsDisplay,
    HeatCapacityDisplay,
    ParameterDraws,
    PhononBandsDisplay,
    ThermalDisplacementsDisplay,
    draw_parameters,
    high_symmetry_path,
)
from skphonon.physics import UnstableCrystalWarning
from skphonon.physics.constants import MEV_PER_THZ
from skphonon.physics.elasticity import elastic_constants
from skphonon.physics.zone.thermodynamics import PhononProperties

mpl.use("Agg")

COVARIANCE = 1e-4 * np.array(
    [
        [4.0, -3.0, 1.0, 0.0, 0.0],
        [-3.0, 5.0, 0.0, 0.5, 0.0],
        [1.0, 0.0, 2.0, 0.0, 0.3],
        [0.0, 0.5, 0.0, 1.0, -0.4],
        [0.0, 0.0, 0.3, -0.4, 1.0],
    ]
)
COLUMNS = ["value", "std", "low", "high"]


@pytest.fixture(scope="module")
def model():
    return load_aluminium_model()


@pytest.fixture(scope="module")
def fit(model):
    return draw_parameters(model, covariance=COVARIANCE, n_draws=4000, random_state=0)


@pytest.fixture(scope="module")
def few(fit):
    return fit._replace(draws=fit.draws[:30])


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


def as_propagated(data, gradient):
    """Hold the error bars of draws against the first-order formula.

    4000 draws give a standard deviation to 1.1 % and its quantiles to 1.7 %; what is
    beyond first order in changes of a few per cent is less.
    """
    expected = np.sqrt(np.einsum("vp,pr,vr->v", gradient, COVARIANCE, gradient))
    assert_allclose(data["std"], expected, rtol=0.05)
    assert_allclose((data["high"] - data["low"]) / 2, expected, rtol=0.08)


def gradient(function, at, step=1e-4):
    """Derivatives (n_values, n_parameters) by central differences."""
    steps = step * np.eye(len(at))
    ends = [np.ravel(function(at + s)) - np.ravel(function(at - s)) for s in steps]
    return np.transpose(ends) / (2 * step)


# --- draws


def test_draws_have_the_covariance_asked_for(model, fit):
    assert fit.model is model
    assert_array_equal(fit.parameters, model.reference)
    found = np.cov(fit.draws.T)
    # relative error of a variance from n draws is sqrt(2/n), 0.022; five of them
    assert_allclose(found, COVARIANCE, atol=0.11 * COVARIANCE.max())
    error = np.sqrt(np.diag(COVARIANCE) / len(fit.draws))
    assert (np.abs(fit.draws.mean(axis=0) - model.reference) < 4 * error).all()


def test_a_singular_covariance_draws_in_its_plane(model):
    direction = np.array([1.0, -1.0, 2.0, 0.0, 0.5])
    given = draw_parameters(
        model, covariance=0.01 * np.outer(direction, direction), random_state=0
    )
    shifts = given.draws - model.reference
    assert shifts.std() > 0.01
    assert np.linalg.matrix_rank(shifts, tol=1e-6) == 1


def test_standard_deviations_are_a_diagonal_covariance(model):
    std = np.array([0.1, 0.0, 0.2, 0.05, 0.1])
    options = {"n_draws": 2000, "random_state": 3}
    draws = draw_parameters(model, std=std, **options).draws
    assert_allclose(draws.std(axis=0), std, rtol=0.08, atol=1e-9)
    assert_array_equal(draws, draw_parameters(model, std=std, **options).draws)


def test_given_draws_are_kept_and_none_are_made_of_nothing(model):
    draws = model.reference + np.arange(3)[:, None]
    given = draw_parameters(model, model.reference + 1, draws=draws)
    assert_array_equal(given.draws, draws)
    assert_array_equal(given.parameters, model.reference + 1)
    assert draw_parameters(model).draws.shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": [0.1] * 4}, "one number each of 1XX"),
        ({"std": 0.1}, r"std must have shape \(5,\).*got shape \(\)"),
        ({"std": [-0.1] * 5}, "std must not be negative"),
        ({"covariance": np.eye(4)}, r"shape \(5, 5\), a.* got shape \(4, 4\)"),
        ({"covariance": np.ones((1, 5, 5))}, r"covariance_\[0\]"),
        ({"covariance": np.full((5, 5), np.inf)}, "needs a prior"),
        ({"covariance": -np.eye(5)}, "positive semidefinite"),
        ({"covariance": np.triu(np.ones((5, 5)))}, "an asymmetry of 1"),
        ({"draws": np.full((2, 5), np.nan)}, "draws must be finite"),
        ({"std": np.ones(5), "covariance": np.eye(5)}, "got 2 of them"),
        ({"parameters": np.ones((2, 5))}, "one spectrum at a time"),
    ],
)
def test_bad_uncertainty(model, options, message):
    with pytest.raises(ValueError, match=message):
        draw_parameters(model, **options)


# --- bands


def test_bands_are_those_of_phonopy_with_first_order_errors(model, fit):
    path = [[("Γ", (0, 0, 0)), ("P", (0.35, 0.2, -0.1))]]
    data = PhononBandsDisplay.from_draws(fit, path=path, n_points=4).data
    data = data[data["distance"] > 0]
    q = data[["q1", "q2", "q3"]].to_numpy()
    phonons = model.to_phonopy()
    phonons.run_qpoints(q)
    expected = MEV_PER_THZ * phonons.qpoints.frequencies
    modes = data["mode"].to_numpy()
    assert_allclose(data["value"], expected[range(len(q)), modes], rtol=1e-5)

    def energies(p):
        return model.frequencies(p, q)[0][range(len(q)), modes]

    as_propagated(data, gradient(energies, model.reference))


def test_several_crystals_share_the_path_of_the_first(few):
    sets = {"50 K": few, "Cowley": draw_parameters(load_aluminium_model("cowley-1974"))}
    display = PhononBandsDisplay.from_draws(sets, n_points=5)
    first, second = (rows for _, rows in display.data.groupby("name", sort=False))
    assert_array_equal(first["distance"], second["distance"])
    assert (first["low"] <= first["high"]).all()
    assert second[["std", "low", "high"]].isna().all(axis=None)
    cowley = sets["Cowley"].model
    at = second.query("mode == 2")
    expected = cowley.frequencies(cowley.reference, at[["q1", "q2", "q3"]])[0, :, 2]
    assert_allclose(at["value"], expected)


def test_the_picture_of_bands_is_its_data(few, model):
    # Γ to X is (0, x, x); its images, and a point of another cell; one off the path
    measured = pd.DataFrame(
        {
            "q1": [0.25, 0.25, 4.25, 0.11],
            "q2": [0.25, 0.00, 0.00, 0.27],
            "q3": [0.00, 0.25, -2.75, 0.39],
            "energy": [20.0, 21.0, 22.0, 23.0],
            "std": 0.5,
        }
    )
    with pytest.warns(UserWarning, match="1 of 4 measured points are not on the path"):
        display = PhononBandsDisplay.from_draws(few, n_points=11, measured=measured)
    to_x = display.ticks["distance"][1]
    assert_allclose(to_x, 2 * np.pi / 4.04)
    assert_allclose(display.measured["distance"], to_x / 2)
    assert display.measured["energy"].tolist() == [20.0, 21.0, 22.0]
    ax = display.plot(line_kw={"color": "red"}).ax_
    assert display.figure_ is ax.figure
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "Γ",
        "X",
        "U|K",
        "Γ",
        "L",
        "W",
        "X",
    ]
    bands = [line for line in ax.lines if line.get_color() == "red"]
    assert len(bands) == 6  # three modes on two lines
    rows = display.data.query("line == 1 and mode == 2")
    assert_allclose(bands[-1].get_xydata(), rows[["distance", "value"]])
    assert len([c for c in ax.collections if "Fill" in type(c).__name__]) == 6


def test_unstable_draws_are_drawn_below_zero(model):
    given = ParameterDraws(model, -model.reference, np.empty((0, 5)))
    display = PhononBandsDisplay.from_draws(given, n_points=3)
    assert (display.data["value"] <= 0).all()
    assert display.plot().ax_.get_ylim()[0] < -30


@pytest.mark.parametrize(
    ("measured", "came"),
    [
        ([[0, 0, 0, 1.0]], "got a list"),
        (
            pd.DataFrame({"q": [0.1], "energy": [3.0]}),
            "got q, energy without q1, q2, q3",
        ),
    ],
)
def test_measured_points_need_their_columns(few, measured, came):
    with pytest.raises(ValueError, match=f"q1, q2, q3, energy, and std if.*{came}"):
        PhononBandsDisplay.from_draws(few, measured=measured)


def test_bands_of_two_lattices_do_not_share_a_path(model):
    cubic = ForceConstantModel(3.0 * np.eye(3), "Al", n_shells=1, reference=[1.0, 0.1])
    sets = {"fcc": draw_parameters(model), "sc": draw_parameters(cubic)}
    with pytest.raises(ValueError, match=r"same lattice.*'fcc' and 'sc'"):
        PhononBandsDisplay.from_draws(sets)


def test_a_path_is_that_of_a_model(model, few):
    with pytest.raises(TypeError, match="got ParameterDraws, which has one: pass its"):
        high_symmetry_path(few)
    with pytest.raises(TypeError, match=r"got list\.$"):
        high_symmetry_path([model])


def test_polar_bands_reach_the_longitudinal_limit(salt):
    """At the zone centre the branch of a direction is what it is beside it."""
    display = PhononBandsDisplay.from_draws(draw_parameters(salt), n_points=9)
    highest = display.data.query("mode == 5 and step == 0")["value"].to_numpy()
    centre = salt.frequencies(salt.reference, [[0.0, 0.0, 0.0]])[0, 0]
    assert highest[0] > centre[5] + 5
    near = salt.frequencies(salt.reference, [[0.0, 0.01, 0.01]])[0, 0]
    assert_allclose(highest[0], near[5], rtol=1e-3)


# --- paths

ROOT3 = np.sqrt(3)
FACES = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
BODY = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
BASE = [[1, 1, 0], [-1, 1, 0], [0, 0, 2]]
HEXAGON = np.array([[1, 0, 0], [-0.5, ROOT3 / 2, 0], [0, 0, 1]])
RHOMBS = np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3 @ HEXAGON
TRIANGLE = np.array([[2, 0, 0], [0.5, 2.1, 0], [0.6, 0.7, 2.4]])
OBLIQUE = np.array([[2, 0, 0], [0, 2.3, 0], [-0.6, 0, 2.8]])
# primitive cells of the 14 Bravais lattices, two ratios of lengths where they differ
LATTICES = {
    "cubic P": (3 * np.eye(3), "Γ X M Γ R X | R M"),
    "cubic F": (2 * np.array(FACES), "Γ X U | K Γ L W X"),
    "cubic I": (1.4 * np.array(BODY), "Γ H N Γ P H | P N"),
    "tetragonal P": (np.diag([3.0, 3, 4]), "Γ X M Γ Z R A Z | X R | M A"),
    "tetragonal I, flat": (BODY * np.array([2, 2, 1.5]), "Γ X M Γ Z | Z₀ M | X P N Γ"),
    "tetragonal I, tall": (
        BODY * np.array([1.5, 1.5, 2]),
        "Γ X P N Γ M S | S₀ Γ | X R | G M",
    ),
    "orthorhombic P": (np.diag([3, 3.5, 4]), "Γ X S Y Γ Z U R T Z | X U | Y T | S R"),
    "orthorhombic C": (BASE * np.array([2, 1.5, 2.5]), None),
    "orthorhombic F": (FACES * np.array([1.5, 1.8, 2.2]), None),
    "orthorhombic I": (BODY * np.array([1.5, 1.8, 2.2]), None),
    "hexagonal": (HEXAGON * np.array([3, 3, 5]), "Γ M K Γ A L H A | L M | H K"),
    "rhombohedral, sharp": (RHOMBS * np.array([3, 3, 9]), None),
    "rhombohedral, blunt": (RHOMBS * np.array([4, 4, 3]), None),
    "monoclinic P": (OBLIQUE, "Γ Z D B Γ A E Z C₂ Y₂ Γ"),
    "monoclinic C": (np.array(BASE) / 2 @ OBLIQUE * np.array([1.0, 1, 1]), None),
    "triclinic": (TRIANGLE, "Γ X | Y Γ Z | R Γ T | U Γ V"),
}


@pytest.mark.parametrize("name", LATTICES)
def test_points_of_paths_are_special_in_any_cell(name):
    """A label names one star of wavevectors, in a turned and sheared cell too."""
    lattice, expected = LATTICES[name]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    shear = [[1, 1, 0], [0, 1, 2], [0, 0, 1]]
    model = ForceConstantModel(lattice, "Mg", None)
    path = high_symmetry_path(model)
    lines = [" ".join(label for label, _ in line) for line in path]
    assert expected is None or " | ".join(lines) == expected
    order = len(model.point_group())
    stars = {label: star(model, point) for line in path for label, point in line}
    for line in path:
        for label, point in line:
            assert_allclose(star(model, point), stars[label], atol=1e-6)
    for label, found in stars.items():  # all but the corners of shapes without names
        assert label.endswith(tuple("₀₂₄₆")) or len(found) <= max(order / 2, 1)
    for cell in (lattice @ turn, shear @ np.array(lattice) @ turn):
        other = ForceConstantModel(cell, "Mg", None)
        # compared in the axes of the first, where the cells of both are one lattice
        back = other.reciprocal_lattice() @ turn.T
        for line, theirs in zip(path, high_symmetry_path(other), strict=True):
            for (label, _), (their_label, point) in zip(line, theirs, strict=True):
                assert their_label == label
                here = point @ back @ np.linalg.inv(model.reciprocal_lattice())
                assert_allclose(star(model, here), stars[label], atol=1e-5)


def star(model, point):
    """The distinct images of a wavevector, reduced and sorted."""
    reciprocal = model.reciprocal_lattice()
    images = point @ reciprocal @ model.point_group() @ np.linalg.inv(reciprocal)
    images = (images + 1e-7) % 1.0 - 1e-7
    return np.unique(images.round(6) + 0.0, axis=0)


def test_a_face_centred_path_is_the_same_of_any_cell():
    primitive = load_aluminium_model()
    corners = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    cubic = ForceConstantModel(4.04 * np.eye(3), "Al", None, positions=corners)
    wavevectors = [
        [point @ m.reciprocal_lattice() for line in high_symmetry_path(m)
         for _, point in line]
        for m in (primitive, cubic)
    ]  # fmt: skip
    lengths = np.linalg.norm(wavevectors, axis=2) * 4.04 / (2 * np.pi)
    # Γ X U K Γ L W X, |q| in 2 pi / a
    expected = np.sqrt([0, 1, 9 / 8, 9 / 8, 0, 0.75, 1.25, 1])
    assert_allclose(lengths, [expected, expected], atol=1e-9)


def test_energies_at_named_points_of_aluminium(model):
    """The closed form of face-centred cubic crystals with two shells, at X and L."""
    energies = {
        label: model.frequencies(model.reference, [point])[0, 0]
        for line in high_symmetry_path(model)
        for label, point in line
    }
    assert_allclose(energies["K"], energies["U"], rtol=1e-9)  # a reciprocal vector away
    xx, zz, xy, second_xx, second_yy = model.reference
    at_l = 8 * xx + 4 * zz + 4 * second_xx + 8 * second_yy
    squares = {
        "Γ": [0, 0, 0],
        "X": [8 * (xx + zz), 8 * (xx + zz), 16 * xx],
        "L": [at_l - 4 * xy, at_l - 4 * xy, at_l + 8 * xy],
    }
    for label, square in squares.items():
        thz = 15.633302 * np.sqrt(np.divide(square, model.cell.masses))
        assert_allclose(energies[label], MEV_PER_THZ * thz, rtol=1e-6, atol=1e-4)


def test_paths_that_are_no_lines_are_refused(few):
    with pytest.raises(ValueError, match="two or more points"):
        PhononBandsDisplay.from_draws(few, path=[[("Γ", (0, 0, 0))]])
    with pytest.raises(ValueError, match=r"two or more points .* got \('Γ'"):
        PhononBandsDisplay.from_draws(few, path=[("Γ", (0, 0, 0)), ("X", (1, 0, 0))])
    with pytest.raises(ValueError, match="n_points must be at least 2"):
        PhononBandsDisplay.from_draws(few, n_points=1)


# --- densities of states, heat capacities, displacements, elastic constants


def test_density_of_states(model, fit):
    options = {"energy": [15.0, 20.0, 39.0], "width": 2.0}
    display = DensityOfStatesDisplay.from_draws(fit, mesh=6, **options)

    def densities(p):
        return PhononProperties(model, p, mesh=6).density_of_states(**options)

    assert_allclose(display.data["value"], densities(model.reference)[0])
    as_propagated(display.data, gradient(densities, model.reference))


def test_energies_of_a_density_hold_all_modes(few):
    unstable = few._replace(parameters=-few.parameters, draws=few.draws[:0])
    sets = {"one": few, "upside down": unstable}
    display = DensityOfStatesDisplay.from_draws(sets, width=1.0, mesh=6)
    for _, rows in display.data.groupby("name"):
        assert_allclose(rows["value"].sum() * 0.5, 3, rtol=1e-4)
    lines = display.plot().ax_.lines
    assert [line.get_label() for line in lines] == ["one", "upside down"]
    one = display.data.query("name == 'one'")
    assert_allclose(lines[0].get_xydata(), one[["energy", "value"]])


def test_heat_capacity(model, fit):
    kelvins = [50.0, 150.0]
    display = HeatCapacityDisplay.from_draws(fit, temperature=kelvins, mesh=6)

    def capacities(p):
        return PhononProperties(model, p, mesh=6).heat_capacity(kelvins)

    assert_allclose(display.data["value"], capacities(model.reference)[0])
    as_propagated(display.data, gradient(capacities, model.reference))
    (line,) = display.plot().ax_.lines
    assert_allclose(line.get_xydata(), display.data[["temperature", "value"]])


def test_thermal_displacements(model, fit):
    kelvins = [0.0, 300.0]
    display = ThermalDisplacementsDisplay.from_draws(fit, temperature=kelvins, mesh=6)

    def displacements(p):
        properties = PhononProperties(model, p, mesh=6)
        return properties.displacement_tensors(kelvins)[:, :, 0, 0, 0]

    rows = display.data.query("component == 'xx'")
    assert_allclose(rows["value"], displacements(model.reference)[0])
    as_propagated(rows, gradient(displacements, model.reference))
    mean = display.data.query("component == 'mean'")
    assert_allclose(mean[COLUMNS], rows[COLUMNS], rtol=1e-9)  # a cubic site
    (ax,) = display.plot().axes_
    assert_allclose(ax.lines[0].get_xydata(), mean[["temperature", "value"]])


def test_displacements_of_atoms_that_differ(salt, silicon):
    fits = {"salt": draw_parameters(salt)}
    display = ThermalDisplacementsDisplay.from_draws(fits, temperature=[300], mesh=4)
    assert display.data["atom"].unique().tolist() == ["Na1", "Cl2"]
    properties = PhononProperties(salt, salt.reference, mesh=4)
    tensors = properties.displacement_tensors(300)[0, 0]
    found = display.data.query("component == 'zz'")["value"]
    assert_allclose(found, tensors[:, 2, 2])
    assert len(display.plot().axes_) == 2
    with pytest.raises(ValueError, match="component must be one of mean, xx"):
        display.plot(component="x")
    both = ThermalDisplacementsDisplay.from_draws(
        draw_parameters(silicon), temperature=[300], mesh=4
    )
    assert both.data["atom"].unique().tolist() == ["Si1"]


def test_elastic_constants(model, fit):
    display = ElasticConstantsDisplay.from_draws(fit)

    def constants(p):
        return elastic_constants(model, p)[0, [0, 0, 3], [0, 1, 3]]

    assert display.data["constant"].tolist() == ["C11", "C12", "C44"]
    assert_allclose(display.data["value"], constants(model.reference))
    as_propagated(display.data, gradient(constants, model.reference))
    measured = {"C44": 31.6, "C11": 114.3}
    ax = display.plot(measured=measured).ax_
    (points,) = (c.lines[0] for c in ax.containers)
    assert_allclose(points.get_ydata(orig=False), display.data["value"])
    bars = next(c for c in ax.collections if c.get_label() == "measured")
    assert_allclose([s[0, 1] for s in bars.get_segments()], [31.6, 114.3])


def test_elastic_constants_of_a_hexagonal_crystal_warn():
    model = ForceConstantModel(
        [[3.2, 0, 0], [-1.6, 1.6 * np.sqrt(3), 0], [0, 0, 5.2]],
        "Mg",
        None,
        positions=[[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
    )
    parameters = 1 + np.random.default_rng(5).random(len(model.parameter_names))
    given = draw_parameters(model, parameters)
    with (
        pytest.warns(UnstableCrystalWarning, match="best constants describe an unst"),
        pytest.warns(UserWarning, match="change as the crystal is turned"),
    ):
        data = ElasticConstantsDisplay.from_draws(given).data
    names = ["C11", "C12", "C13", "C33", "C44", "C66"]
    assert data["constant"].tolist() == names
    value = data.set_index("constant")["value"]
    assert_allclose(value["C66"], (value["C11"] - value["C12"]) / 2)


# --- what all displays do


def test_elastic_constants_of_unstable_crystals_are_told(model, few):
    sheared = few.parameters * [1, 3, 1, 1, 1]  # C44 < 0
    given = few._replace(parameters=sheared)
    with pytest.warns(UnstableCrystalWarning, match="best constants describe an unst"):
        data = ElasticConstantsDisplay.from_draws(given).data
    assert data["value"].min() < 0
    draws = np.vstack([few.draws, [sheared]])
    with pytest.warns(UnstableCrystalWarning, match="1 of 31 draws describe"):
        ElasticConstantsDisplay.from_draws(few._replace(draws=draws))


def test_measured_elastic_constants_are_known_by_name(few):
    display = ElasticConstantsDisplay.from_draws(few)
    with pytest.raises(ValueError, match="C11, C12, C44; got C99"):
        display.plot(measured={"C11": 110.0, "C99": 3.0})


def test_unstable_draws_are_counted_and_left_out(model, few):
    draws = np.concatenate([few.draws, -few.draws[:3]])
    given = few._replace(draws=draws)
    with pytest.warns(
        UnstableCrystalWarning, match="3 of 33 draws of 'fit' describe an unstable"
    ):
        data = HeatCapacityDisplay.from_draws(
            {"fit": given}, temperature=[100.0], mesh=4
        ).data
    expected = HeatCapacityDisplay.from_draws(
        {"fit": few}, temperature=[100.0], mesh=4
    ).data
    assert_allclose(data[COLUMNS], expected[COLUMNS])


def test_unstable_best_constants_have_no_value(few):
    given = few._replace(parameters=-few.parameters)
    with pytest.warns(
        UnstableCrystalWarning, match="The best constants describe an unstable"
    ):
        data = ThermalDisplacementsDisplay.from_draws(
            given, temperature=[100.0], mesh=4
        ).data
    assert data["value"].isna().all()
    assert data["std"].notna().all()


def test_intervals_have_the_level_asked_for(fit):
    narrow, wide = (
        HeatCapacityDisplay.from_draws(
            fit, temperature=[100.0], mesh=4, level=level
        ).data.iloc[0]
        for level in (0.6827, 0.9545)
    )
    # one and two standard deviations of a nearly normal distribution
    ratio = (wide["high"] - wide["low"]) / (narrow["high"] - narrow["low"])
    assert_allclose(ratio, 2, rtol=0.06)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        HeatCapacityDisplay.from_draws(fit, temperature=[1.0], level=68)


def test_something_else_than_draws_is_refused(model):
    with pytest.raises(TypeError, match=r"got ForceConstantModel\."):
        HeatCapacityDisplay.from_draws(model, temperature=[1.0])
    with pytest.raises(TypeError, match="got ndarray fit"):
        PhononBandsDisplay.from_draws({"fit": model.reference})
    with pytest.raises(ValueError, match="at least one"):
        ElasticConstantsDisplay.from_draws({})
