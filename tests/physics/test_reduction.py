"""Reduced models, against the full models that they stand for."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skphonon import (
    CrystalGrid,
    ForceConstantModel,
    LeastSquaresInverter,
    PowderSimulator,
    SingleCrystalSimulator,
    SpectrumGrid,
    load_aluminium_model,
    load_model,
    make_powder_spectra,
    save_model,
)
from skphonon.physics import ForceConstantPrior, Reduction, ZoneMesh
from skphonon.physics import _directions as directions
from skphonon.physics.zone import resolving_points
from skphonon.simulation import Scattering

TRICLINIC = np.array([[3.0, 0.1, 0.2], [0.3, 3.2, 0.1], [0.5, 0.2, 3.7]])
POINTS = np.random.default_rng(5).uniform(-0.5, 0.5, (6, 3))


@pytest.fixture(scope="module")
def aluminium():
    return load_aluminium_model()


def low_symmetry(n_shells=14):
    """Three atoms without symmetry: elements follow from others by the sum rule."""
    model = ForceConstantModel(
        TRICLINIC,
        ["Na", "Cl", "Na"],
        None,
        positions=[[0, 0, 0], [0.41, 0.53, 0.47], [0.7, 0.2, 0.9]],
        n_shells=n_shells,
    )
    rng = np.random.default_rng(1)
    return model.replace(reference=rng.normal(size=len(model.parameter_names)))


def rock_salt(salt, n_shells=4):
    model = salt.replace(n_shells=n_shells)
    return model.replace(reference=model.parameters(salt.to_phonopy()))


@pytest.fixture(params=["Al", "NaCl", "no symmetry"], scope="module")
def model(request):
    if request.param == "NaCl":
        return rock_salt(request.getfixturevalue("salt"))
    return load_aluminium_model() if request.param == "Al" else low_symmetry()


def all_kinds(model):
    """Reduce a model in every way."""
    n, rng = len(model.parameter_names), np.random.default_rng(2)
    samples = model.reference * (1 + 0.2 * rng.normal(size=(2 * n, n)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The reduced model does not reproduce")
        return {
            "springs": model.reduced("springs"),
            "one spring": model.reduced("springs", n_shells=1),
            "free": model.reduced({"group": [model.parameter_names[0], 2]}),
            "rest": model.reduced({"first": [1]}, others="rest"),
            "directions": model.reduced(samples=samples, n_components=3),
            "map": model.reduced(map=rng.normal(size=(n, 2)), names=["a", "b"]),
        }


def axial(bonds, longitudinal, transverse):
    units = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
    along = np.einsum("bi,bj->bij", units, units)
    return longitudinal * along + transverse * (np.eye(3) - along)


def test_springs_of_aluminium_are_the_tensors_written_out(aluminium):
    first, second = (1.3, -0.1), (0.15, 0.01)
    constants = [sum(first) / 2, first[1], (first[0] - first[1]) / 2, *second]
    springs = aluminium.replace(reference=constants).reduced("springs")
    assert springs.parameter_names == ["1L", "1T", "2L", "2T"]
    assert_allclose(springs.reference, [*first, *second], atol=1e-12)
    assert_allclose(springs.expand(springs.reference), constants, atol=1e-12)


def test_springs_of_every_bond_are_axially_symmetric(model):
    with pytest.warns(UserWarning, match="does not reproduce the reference"):
        springs = model.reduced("springs")
    values = np.random.default_rng(3).normal(size=len(springs.parameter_names))
    tensors, start = -springs.tensor(values)[0, model.n_atoms :], 0
    names = iter(springs.parameter_names)
    for shell, pair in zip(model._crystal.shells, values.reshape(-1, 2), strict=True):
        assert next(names).startswith(f"{shell.number}L")
        assert next(names).startswith(f"{shell.number}T")
        stop = start + len(shell.bonds)
        assert_allclose(tensors[start:stop], axial(shell.bonds, *pair), atol=1e-10)
        start = stop


def test_springs_are_named_by_their_atoms(salt):
    with pytest.warns(UserWarning, match="does not reproduce"):
        names = rock_salt(salt, 2).reduced("springs").parameter_names
    assert names == ["1L Na-Cl", "1T Na-Cl", "2L Na-Na", "2T Na-Na"]


def test_shells_without_springs_scale_together(salt):
    model = rock_salt(salt)
    reduced = model.reduced("springs", n_shells=1)
    assert reduced.parameter_names == ["1L Na-Cl", "1T Na-Cl", "rest"]
    assert_allclose(reduced.expand(reduced.reference), model.reference, atol=1e-9)
    farther = np.array([not name.startswith("1") for name in model.parameter_names])
    full = reduced.expand([1.0, 2.0, 0.7])
    assert_allclose(full[farther], 0.7 * model.reference[farther])
    assert_allclose(full[~farther], [1.0, 2.0])  # along x
    assert_allclose(reduced.reference[2], 1.0)


def test_a_group_scales_and_others_are_free_or_scale(aluminium):
    reference = aluminium.reference
    free = aluminium.reduced({"bend": ["1ZZ", "2YY"]})
    assert free.parameter_names == ["bend", "1XX", "1XY", "2XX"]
    assert_allclose(free.reference, [1.0, *reference[[0, 2, 3]]])
    assert_allclose(
        free.expand([[2.0, 0.1, 0.2, 0.3]]),
        [[0.1, 2 * reference[1], 0.2, 0.3, 2 * reference[4]]],
    )
    rest = aluminium.reduced({"first": [1], "one": "2XX"}, others="rest")
    assert rest.parameter_names == ["first", "one", "rest"]
    factors = [2.0, 2.0, 2.0, 3.0, 4.0]
    assert_allclose(rest.expand([2.0, 3.0, 4.0]), factors * reference)
    everything = aluminium.reduced({"all": [1, 2]}, others="rest")
    assert everything.parameter_names == ["all"]
    assert_allclose(everything.frequencies([4.0], POINTS) / 2, _at_reference(aluminium))


def _at_reference(model):
    return model.frequencies(model.reference, POINTS)


def test_everything_linear_is_that_of_the_full_model(model):
    vectors = POINTS @ model.reciprocal_lattice()
    for kind, reduced in all_kinds(model).items():
        change = reduced.reduction.matrix.toarray()
        rows = reduced.reference * [[1.0], [1.1]]
        full = reduced.expand(rows)
        assert_allclose(full, rows @ change.T, atol=1e-12, err_msg=kind)
        given = model.tensor(full)
        assert_allclose(reduced.tensor(rows), given, atol=1e-10, err_msg=kind)
        on_site = given[:, : model.n_atoms]
        assert_allclose(on_site, on_site.swapaxes(2, 3), atol=1e-9, err_msg=kind)
        assert_allclose(
            reduced.frequencies(rows, POINTS),
            model.frequencies(full, POINTS),
            atol=1e-5,  # of sound, which cancels
            err_msg=kind,
        )
        assert_allclose(
            reduced.bond_tensors,
            np.tensordot(change.T, model.bond_tensors, axes=1),
            atol=1e-10,
            err_msg=kind,
        )
        assert_allclose(
            reduced.dynamical_matrix_basis(vectors),
            np.tensordot(change.T, model.dynamical_matrix_basis(vectors), axes=1),
            atol=1e-8,
            err_msg=kind,
        )
        assert np.array_equal(reduced.bonds, model.bonds)
        mesh, other = (
            resolving_points(each, ZoneMesh(3)).wavevectors for each in (reduced, model)
        )
        assert np.array_equal(mesh, other)
        assert np.array_equal(reduced.is_stable(rows), model.is_stable(full))


def test_gradients_go_back_to_the_parameters(model):
    """<G, tensor(p)> is <parameter_gradient(G), p>: the two maps are transposed."""
    rng = np.random.default_rng(9)
    slopes = rng.normal(size=(2, *model.tensor(model.reference).shape[1:]))
    for kind, made in {"full": model, **all_kinds(model)}.items():
        gradient = made.parameter_gradient(slopes)
        rows = rng.normal(size=(3, len(made.parameter_names)))
        products = np.tensordot(slopes, made.tensor(rows), axes=((1, 2, 3),) * 2)
        atol = 1e-12 * np.abs(products).max()
        assert_allclose(gradient @ rows.T, products, atol=atol, err_msg=kind)
    with pytest.raises(ValueError, match=r"shape of tensor.*3, 3\); got \(2, 1, 3, 3"):
        model.parameter_gradient(slopes[:, :1])


def test_constants_go_to_phonopy_and_back(model):
    for kind, reduced in all_kinds(model).items():
        rows = reduced.reference * [[1.0], [1.05]]
        for row, crystal in zip(rows, reduced.to_phonopy(rows), strict=True):
            found, residual = reduced.parameters(crystal, return_residual=True)
            assert_allclose(found, row, atol=1e-7, err_msg=kind)
            assert residual < 1e-8
            full = reduced.full_model
            assert_allclose(full.parameters(crystal), reduced.expand(row), atol=1e-7)
        assert_allclose(reduced.parameters(reduced.tensor(rows)), rows, atol=1e-8)


def test_the_full_model_holds_what_the_reference_stands_for(model):
    for reduced in all_kinds(model).values():
        full = reduced.full_model
        assert full.parameter_names == model.parameter_names
        assert_allclose(full.reference, reduced.expand(reduced.reference))
        assert full.full_model is full
        assert_allclose(full.expand(full.reference), full.reference)
    assert model.expand([model.reference]).shape == (1, len(model.parameter_names))


def test_the_reference_is_the_closest_over_all_bonds(model):
    """What is left of the tensors of all bonds is orthogonal to every parameter."""
    for kind, reduced in all_kinds(model).items():
        left = (
            model.tensor(model.reference)[0] - reduced.tensor(reduced.reference)[0]
        )[model.n_atoms :]
        products = np.tensordot(reduced.bond_tensors, left, axes=3)
        sizes = np.linalg.norm(reduced.bond_tensors.reshape(len(products), -1), axis=1)
        assert_allclose(products / sizes, 0, atol=1e-9, err_msg=kind)


def test_the_warning_says_how_far_the_reference_is(aluminium):
    with pytest.warns(UserWarning, match=r"differ by 7\.2 % \(root mean") as told:
        springs = aluminium.reduced("springs")
    assert len(told) == 1
    assert told[0].filename == __file__
    given = aluminium.tensor(aluminium.reference)
    found, residual = springs.parameters(given, return_residual=True)
    assert_allclose(found[0], springs.reference)
    assert_allclose(residual, 0.072, atol=5e-4)


def test_a_model_without_reference_has_springs_without(aluminium):
    bare = aluminium.replace(reference=None)
    springs = bare.reduced("springs")
    assert springs.reference is None
    assert springs.full_model.reference is None
    assert_allclose(springs.expand([1.0, 0, 0, 0]), [0.5, 0, 0.5, 0, 0])


def covariance_of(model, seed=4):
    rng = np.random.default_rng(seed)
    n = len(model.parameter_names)
    root = rng.normal(size=(n, n)) * np.abs(model.reference) * 0.1
    return root.T @ root


def test_all_principal_directions_are_the_covariance(aluminium):
    """All directions and the factor lie as the constants do, in units of one."""
    covariance = covariance_of(aluminium)
    model = aluminium.reduced(covariance=covariance)
    assert model.parameter_names == ["origin", "PC1", "PC2", "PC3", "PC4"]
    assert_allclose(model.reference, [1, 0, 0, 0, 0], atol=1e-9)
    change, own = model.reduction.matrix.toarray(), model.reduction.covariance
    assert_allclose(own[1:, 1:], np.eye(4))
    assert_allclose(change @ own @ change.T, covariance, atol=1e-12)
    assert_allclose(change[:, 0], aluminium.reference)
    assert_allclose(aluminium.reference @ change[:, 1:], 0, atol=1e-12)
    shares = model.reduction.explained_variance_ratio
    assert_allclose(shares.sum(), 1)
    assert (np.diff(shares[1:]) < 0).all()
    white = np.linalg.solve(change, np.linalg.cholesky(covariance))  # whitened draws
    assert_allclose((white @ white.T)[1:, 1:], np.eye(4), atol=1e-9)


def test_few_directions_are_the_first_of_all(aluminium):
    covariance = covariance_of(aluminium)
    every = aluminium.reduced(covariance=covariance).reduction
    for n_components in (1, 2, 4):
        few = aluminium.reduced(covariance=covariance, n_components=n_components)
        kept = slice(1 + n_components)
        assert_allclose(few.reduction.matrix.toarray(), every.matrix.toarray()[:, kept])
        assert_allclose(few.reduction.covariance, every.covariance[kept, kept])
    shares = np.cumsum(every.explained_variance_ratio)
    wanted = (shares[1] + shares[2]) / 2
    some = aluminium.reduced(covariance=covariance, n_components=wanted)
    assert some.parameter_names == ["origin", "PC1", "PC2"]


def test_directions_of_samples_are_those_of_their_covariance(aluminium):
    rng = np.random.default_rng(6)
    samples = aluminium.reference * (1 + 0.1 * rng.normal(size=(40, 5)))
    found = aluminium.reduced(samples=samples).reduction
    expected = aluminium.reduced(
        covariance=np.cov(samples.T), origin=samples.mean(axis=0)
    ).reduction
    assert_allclose(found.matrix.toarray(), expected.matrix.toarray(), atol=1e-10)
    assert_allclose(found.covariance, expected.covariance, atol=1e-8)
    assert_allclose(found.explained_variance_ratio, expected.explained_variance_ratio)
    with pytest.warns(UserWarning, match="does not reproduce"):
        two = aluminium.reduced(samples=samples[:3])  # three points span a plane
    assert two.parameter_names == ["origin", "PC1", "PC2"]


def test_an_iteration_finds_the_same_directions(monkeypatch):
    model = low_symmetry()
    covariance = covariance_of(model)
    expected = model.reduced(covariance=covariance, n_components=3).reduction
    monkeypatch.setattr(directions, "_MANY", 10)
    found = model.reduced(covariance=covariance, n_components=3).reduction
    assert_allclose(found.matrix.toarray(), expected.matrix.toarray(), atol=1e-8)


def test_a_prior_of_force_fields_gives_directions(aluminium):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        [0.9 * aluminium.reference, 1.1 * aluminium.reference],
        columns=aluminium.parameter_names,
    ).assign(calculator=["a", "b"], strain=0.0, temperature=0.0, scale=1.0)
    prior = ForceConstantPrior(aluminium, table)
    model = aluminium.reduced(covariance=prior.covariance_, origin=prior.mean_)
    drawn = prior.sample(200, random_state=0)
    rows = model.parameters(aluminium.tensor(drawn))
    assert_allclose(model.expand(rows), drawn, atol=1e-10)
    assert_allclose(rows[:, 1:].std(axis=0), 1, rtol=0.2)  # 4 of 1/sqrt(2 * 200)
    assert_allclose(
        model.reduced({"all": ["origin"]}).reference, np.eye(5)[0], atol=1e-9
    )


def test_reduced_models_are_reduced_again(aluminium):
    with pytest.warns(UserWarning, match="does not reproduce"):
        springs = aluminium.reduced("springs")
    model = springs.reduced({"near": [1], "far": ["2L", "2T"]})
    assert model.parameter_names == ["near", "far"]
    assert_allclose(model.reference, 1)
    assert_allclose(
        model.expand([2.0, 3.0]), springs.expand([2, 2, 3, 3] * springs.reference)
    )
    assert model.full_model.parameter_names == aluminium.parameter_names


def _cubic(model):
    return 2 * np.abs(model.cell.cell).max() * np.eye(3)


def powder(model):
    grid = SpectrumGrid(
        np.arange(8.0, 44, 3.0), np.arange(1.0, 5, 0.5), incident_energy=60.0
    )
    return PowderSimulator(
        model,
        grid,
        temperature=300.0,
        energy_resolution=3.0,
        mesh=4,
        scattering=Scattering(incoherent=True, n_phonons=2),
    )


def single_crystal(model):
    grid = CrystalGrid(
        np.arange(8.0, 44, 3.0),
        np.linspace(1, 3, 5),
        np.linspace(-1, 1, 3),
        np.linspace(-0.5, 0.5, 2),
        lattice=_cubic(model),
    )
    return SingleCrystalSimulator(
        model, grid, temperature=300.0, energy_resolution=3.0, mesh=4
    )


@pytest.fixture(params=["Al", "NaCl"], scope="module")
def crystal(request):
    if request.param == "NaCl":
        return rock_salt(request.getfixturevalue("salt"))
    return load_aluminium_model()


@pytest.mark.parametrize("simulator", [powder, single_crystal])
def test_columns_of_a_jacobian_are_combinations_of_the_full_ones(simulator, crystal):
    full, kinds = simulator(crystal), all_kinds(crystal)
    for kind in ("springs", "rest", "directions"):
        reduced = simulator(kinds[kind])
        rows = np.atleast_2d(reduced.reference)
        constants = reduced.model.expand(rows)
        columns = full.jacobian(constants) @ reduced.model.reduction.matrix.toarray()
        size = np.nanmax(np.abs(columns))
        assert_allclose(reduced.jacobian(rows), columns, atol=1e-8 * size, err_msg=kind)
        spectra = full.simulate(constants)
        assert_allclose(reduced.simulate(rows), spectra, rtol=1e-8, err_msg=kind)


def test_gradients_are_combinations_of_the_full_ones(crystal):
    full, rng = powder(crystal), np.random.default_rng(8)
    slopes = rng.normal(size=(2, full.grid.n_pixels))
    kinds = all_kinds(crystal)
    for kind in ("springs", "free", "rest", "directions"):
        model = kinds[kind]
        rows = model.reference * [[1.0], [1.05]]
        expected = full.gradient(model.expand(rows), slopes)
        expected = expected @ model.reduction.matrix.toarray()
        found = powder(model).gradient(rows, slopes)
        size = np.abs(expected).max()
        assert_allclose(found, expected, atol=1e-8 * size, err_msg=kind)


def test_a_spectrum_gives_the_parameters_of_a_reduced_model(aluminium):
    covariance = covariance_of(aluminium)
    model = aluminium.reduced(covariance=covariance, n_components=2)
    simulator = powder(model)
    X, y = make_powder_spectra(simulator, 3, random_state=0)
    assert (np.abs(y[:, 1:]).max(axis=0) > 0.05).all()  # of half a deviation
    prior = model.reference, model.reduction.covariance
    inverter = LeastSquaresInverter(simulator, prior=prior, scale="absolute").fit(X)
    assert_allclose(inverter.predict(X), y, atol=2e-3)


def test_copies_are_the_same_model(model, tmp_path):
    for kind, reduced in all_kinds(model).items():
        save_model(reduced, tmp_path / kind)
        for copy in (
            clone(reduced),
            pickle.loads(pickle.dumps(reduced)),
            load_model(tmp_path / kind),
        ):
            assert copy.parameter_names == reduced.parameter_names
            energies = copy.frequencies(copy.reference, POINTS)
            assert np.array_equal(energies, _at_reference(reduced))
        assert clone(reduced)._crystal is reduced._crystal  # built once


def test_a_reduced_model_takes_isotopes_but_no_other_shells(aluminium):
    model = aluminium.reduced({"first": [1]})
    lighter = model.replace(mass=aluminium.atomic_masses[0] / 4)
    assert_allclose(_at_reference(lighter), 2 * _at_reference(model))
    with pytest.raises(ValueError, match="reduction is of 5 constants, but the crysta"):
        _ = model.replace(n_shells=3).parameter_names


WRONG = {
    "no way": ({}, "One way to reduce.*got none"),
    "two ways": (
        {"by": "springs", "samples": np.ones((3, 5))},
        "One way.*got by and samples",
    ),
    "unknown way": ({"by": "strings"}, "by must be 'springs' or a dict.*'strings'"),
    "way in the place of groups": ({"by": "map"}, "dict of groups, got 'map'"),
    "no dict": ({"by": ["1XX"]}, "by must be 'springs' or a dict"),
    "option of another": (
        {"by": "springs", "n_components": 3},
        "n_components goes with covariance or samples, got it with springs",
    ),
    "too many shells": ({"by": "springs", "n_shells": 3}, "n_shells.*from 1 to 2.* 3"),
    "unknown name": ({"by": {"a": ["1XX", "1ZX"]}}, "a must hold names.*unknown: 1ZX"),
    "unknown shell": ({"by": {"a": [3]}}, r"shells \(1 to 2\), got unknown: 3"),
    "empty group": ({"by": {"a": []}}, "it is empty"),
    "in two groups": (
        {"by": {"a": ["1XX"], "b": [1]}},
        "must be in one group, but 1XX is in a and b",
    ),
    "taken name": ({"by": {"1XX": ["1ZZ"]}}, "names must differ.*1XX"),
    "others": ({"by": {"a": [1]}, "others": "fixed"}, "'free' or 'rest', got 'fixed'"),
    "no names": ({"map": np.eye(5)}, "map needs names"),
    "names alone": ({"by": "springs", "names": ["a"]}, "names goes with map"),
    "wrong shape": ({"map": np.eye(4), "names": list("abcd")}, r"map.*got shape \(4"),
    "not finite": (
        {"map": np.full((5, 2), np.nan), "names": ["a", "b"]},
        "must be finite",
    ),
    "same names": ({"map": np.eye(5), "names": list("abcda")}, "names must differ.*a"),
    "no word": ({"map": np.eye(5), "names": range(5)}, "names must be words"),
    "zero column": (
        {"map": np.diag([1.0, 1, 1, 1, 0]), "names": list("abcde")},
        "change some constant, but e changes none",
    ),
    "singular": (
        {"map": np.outer(np.arange(5.0), [1, 2]), "names": ["a", "b"]},
        "not be singular, but a combination of a, b changes no constant: 2 parameters",
    ),
    "too wide": (
        {"map": np.ones((5, 6)) + np.eye(5, 6), "names": list("abcdef")},
        "6 parameters change 5 combinations",
    ),
    "origin": (
        {"map": np.eye(5)[:, :2], "names": ["a", "b"], "origin": np.zeros(5)},
        "origin must be one set of constants, not all zero",
    ),
    "origin in the map": (
        {"map": np.eye(5), "names": list("abcde"), "origin": np.ones(5)},
        "singular.*6 parameters change 5",
    ),
    "covariance of others": ({"covariance": np.eye(4)}, r"\(5, 5\).*got shape \(4, 4"),
    "asymmetric": ({"covariance": np.tri(5)}, "but it is not symmetric"),
    "negative": (
        {"covariance": np.diag([1.0, 1, 1, 1, -0.1])},
        "but it has a negative eigenvalue",
    ),
    "no variance": ({"covariance": np.zeros((5, 5))}, "their covariance is zero"),
    "many directions": (
        {"covariance": np.eye(5), "n_components": 5},
        "n_components must be from 1 to 4.*got 5",
    ),
    "share": ({"covariance": np.eye(5), "n_components": 1.5}, "between 0 and 1.*1.5"),
    "one sample": ({"samples": np.ones((1, 5))}, "two sets of constants at least"),
    "samples of others": ({"samples": np.ones((9, 4))}, r"shape \(n_samples, 5\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(aluminium, case):
    options, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        aluminium.reduced(**options)


def test_what_scales_needs_values(aluminium):
    bare = aluminium.replace(reference=None)
    for options in ({"by": {"a": [1]}}, {"by": "springs", "n_shells": 1}):
        with pytest.raises(ValueError, match="must have reference values"):
            bare.reduced(**options)
    zeros = aluminium.replace(reference=[1.0, 0, 1, 0, 0])
    with pytest.raises(ValueError, match="but far changes none"):
        zeros.reduced({"far": [2]})
    with pytest.raises(ValueError, match="but rest changes none"):
        zeros.reduced({"near": ["1XX", "1XY"]}, others="rest")


def test_springs_are_of_the_crystal(aluminium):
    with pytest.raises(ValueError, match="Start from its full_model"):
        aluminium.reduced({"a": [1]}).reduced("springs")


def test_long_lists_are_cut_in_messages():
    model = low_symmetry()
    with pytest.raises(ValueError, match=r"\.\.\. \(\d+ in all\)\) or numbers"):
        model.reduced({"a": ["9XX"]})


FILES = {
    "CaHgO2": (["CaHgO2-mp-7041.yaml"], 276),
    "quartz": (["quartz.yaml", "quartz-force_constants.hdf5"], 6639),
}


@pytest.mark.parametrize("name", FILES)
def test_large_crystals_are_reduced(data_folder, name):
    paths = [data_folder / "phonopy" / file for file in FILES[name][0]]
    whole = ForceConstantModel.from_phonopy(
        paths[0], force_constants=paths[1] if len(paths) > 1 else None
    )
    n_constants = len(whole.parameter_names)
    assert n_constants == FILES[name][1]
    rng = np.random.default_rng(7)
    samples = whole.reference * (1 + 0.1 * rng.normal(size=(12, n_constants)))
    with pytest.warns(UserWarning, match="does not reproduce"):
        springs = whole.reduced("springs", n_shells=5)
    models = [
        whole.reduced({"near": range(1, 4)}, others="rest"),
        whole.reduced(samples=samples, n_components=6, origin=whole.reference),
        springs,
    ]
    for model in models:
        assert len(model.parameter_names) < 12
        constants = model.expand(model.reference)
        assert_allclose(
            _at_reference(model), whole.frequencies(constants, POINTS), atol=1e-6
        )
    for model in models[:2]:
        assert_allclose(_at_reference(model), _at_reference(whole), atol=1e-6)


def test_the_map_is_what_its_entries_say():
    entries = [[0, 1, 2.0], [3, 0, -1.0]]
    matrix = Reduction(["a", "b"], 4, np.array(entries)).matrix.toarray()
    assert_allclose(matrix, [[0, 2], [0, 0], [0, 0], [-1, 0]])
