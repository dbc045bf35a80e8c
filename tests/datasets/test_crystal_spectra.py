"""Training sets of single crystals: what was seen, for how long, by what was alive."""

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skphonon import CrystalGrid, PathGrid, SingleCrystalSimulator, load_aluminium_model
from skphonon.datasets import make_crystal_spectra

AXIS = np.linspace(-3.0, 3.0, 19)
SETS = np.array([[0.66, -0.25, 0.64, 0.15, 0.007]]) * [[1.0], [1.1], [0.9], [1.2]]


@pytest.fixture(scope="module")
def simulator():
    grid = CrystalGrid(
        np.arange(6.0, 40.0, 4.0),
        AXIS,
        AXIS,
        0.0,
        lattice=4.04 * np.eye(3),
        psi=np.arange(0.0, 60.0, 10.0),
        incident_energy=60.0,
        two_theta=(3.0, 120.0),
    )
    return SingleCrystalSimulator(
        load_aluminium_model(), grid, energy_resolution=1.0, mesh=4
    )


@pytest.fixture(scope="module")
def whole(simulator):
    return simulator.simulate(SETS)


def orientations_of(simulator, row):
    """Return which orientations a row shows, given that it shows all they see."""
    covered = simulator.grid.coverage().reshape(6, -1)
    seen = np.isfinite(row)
    return np.flatnonzero((covered <= seen).all(axis=1)), seen, covered


def test_without_faults_spectra_are_those_of_the_simulator(simulator, whole):
    X, y = make_crystal_spectra(simulator, parameters=SETS)
    assert_array_equal(y, SETS)
    assert_array_equal(X, whole)
    X, y = make_crystal_spectra(simulator, 3, spread=0.1, random_state=1)
    assert_allclose(y / simulator.reference, 1.0, atol=0.1)
    assert X.dtype == np.float64


def test_each_row_has_orientations_of_its_own(simulator, whole):
    X, _ = make_crystal_spectra(
        simulator, parameters=SETS, n_orientations=2, random_state=0
    )
    chosen = []
    for row, full in zip(X, whole, strict=True):
        orientations, seen, covered = orientations_of(simulator, row)
        assert len(orientations) == 2
        assert_array_equal(seen, covered[orientations].any(axis=0))
        assert_array_equal(row[seen], full[seen])
        chosen.append(tuple(orientations))
    assert len(set(chosen)) > 1
    X, _ = make_crystal_spectra(
        simulator, 60, n_orientations=(1, 3), spread=0.0, random_state=0
    )
    numbers = [len(orientations_of(simulator, row)[0]) for row in X]
    assert sorted(set(numbers)) == [1, 2, 3]


def test_draws_depend_on_seed_and_row_alone(simulator):
    options = {
        "n_orientations": (1, 6),
        "counts": (5, 500),
        "background": (0.0, 1.0),
        "dead": 0.1,
        "augmentation": {"energy_resolution": (0.8, 1.5)},
        "random_state": 3,
    }
    X, _ = make_crystal_spectra(simulator, parameters=SETS, **options)
    again, _ = make_crystal_spectra(simulator, parameters=SETS, **options)
    assert_array_equal(X, again)
    few, _ = make_crystal_spectra(simulator, parameters=SETS[:2], **options)
    assert_allclose(X[:2], few)
    half, _ = make_crystal_spectra(
        simulator, parameters=SETS, dtype="float32", **options
    )
    assert half.dtype == np.float32
    assert_array_equal(half, X.astype("float32"))
    # one setting changes nothing of the others
    quiet, _ = make_crystal_spectra(
        simulator, parameters=SETS, **{**options, "counts": None}
    )
    assert_array_equal(np.isnan(quiet), np.isnan(X))


def test_many_volumes_are_simulated_in_parts(simulator, monkeypatch):
    options = {"counts": 20, "n_orientations": 1, "random_state": 0}
    X, _ = make_crystal_spectra(simulator, parameters=SETS, **options)
    monkeypatch.setattr("skphonon.datasets._crystal._NUMBERS", simulator.grid.n_pixels)
    with parallel_config(backend="threading"):
        in_parts, _ = make_crystal_spectra(
            simulator, parameters=SETS, n_jobs=2, **options
        )
    # counts of equal means are equal; sums in other batches differ by rounding
    assert_allclose(X, in_parts, rtol=1e-9)


def test_counts_are_poisson_of_the_mean_asked_for(simulator):
    rows = np.repeat(SETS[:1], 300, axis=0)
    X, _ = make_crystal_spectra(simulator, parameters=rows, counts=9.0, random_state=0)
    clean = simulator.simulate(SETS[:1])[0]
    seen = np.isfinite(clean)
    unit = clean[seen].mean() / 9.0
    counts = X[:, seen] / unit
    assert_allclose(counts, np.rint(counts), atol=1e-9)
    expected = clean[seen] / unit
    # 300 draws: five standard deviations
    assert_allclose(
        counts.mean(axis=0), expected, atol=5 * np.sqrt(expected.max() / 300)
    )
    assert_allclose(counts.var(axis=0).sum() / expected.sum(), 1.0, atol=0.05)


def test_background_is_linear_in_energy(simulator, whole):
    X, _ = make_crystal_spectra(
        simulator, parameters=SETS, background=0.5, random_state=0
    )
    energy = simulator.grid.energy
    for row, full in zip(X, whole, strict=True):
        added = simulator.grid.to_image(row - full)
        with np.errstate(invalid="ignore"):
            line = np.nanmean(added, axis=1)
        assert_allclose(added, np.where(np.isnan(added), np.nan, line[:, None]))
        fit = np.polynomial.Polynomial.fit(energy, line, 1)
        assert_allclose(fit(energy), line, rtol=1e-6)
        middle = fit(energy.mean()) / np.nanmean(full)
        assert_allclose(middle, 0.5, rtol=1e-6)
        assert line.min() > 0


def test_dead_detectors_are_blind_at_all_energies(simulator, whole):
    X, _ = make_crystal_spectra(
        simulator, parameters=SETS, n_orientations=1, dead=0.3, random_state=0
    )
    alive, _ = make_crystal_spectra(
        simulator, parameters=SETS, n_orientations=1, random_state=0
    )
    lost = np.isfinite(alive) & ~np.isfinite(X)
    assert not (np.isfinite(X) & ~np.isfinite(alive)).any()
    assert 0.15 < lost.sum() / np.isfinite(alive).sum() < 0.45
    for image, before in zip(
        simulator.grid.to_image(X), simulator.grid.to_image(alive), strict=True
    ):
        columns = np.isfinite(before).any(axis=0)
        whole_columns = np.isfinite(image) == np.isfinite(before)
        blind = ~np.isfinite(image).any(axis=0)
        assert (whole_columns.all(axis=0) | blind)[columns].all()


def test_grids_without_orientations(simulator):
    grid = PathGrid(simulator.grid.energy, np.linspace([1, 0, 0], [1, 1, 1], 40))
    path = clone(simulator).set_params(grid=grid)
    X, _ = make_crystal_spectra(
        path, parameters=SETS, dead=(0.2, 0.4), counts=100, random_state=0
    )
    dead = np.isnan(grid.to_image(X)).all(axis=1).mean(axis=1)
    assert ((dead > 0.05) & (dead < 0.6)).all()
    assert_array_equal(np.isnan(grid.to_image(X)).any(axis=1).mean(axis=1), dead)
    with pytest.raises(ValueError, match="n_orientations must be 1 to 1"):
        make_crystal_spectra(path, 2, n_orientations=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_orientations": 0}, "n_orientations must be 1 to 6"),
        ({"n_orientations": (2, 7)}, "n_orientations must be 1 to 6"),
        ({"n_orientations": 1.5}, "n_orientations must be 1 to 6"),
        ({"counts": 0.0}, "counts must be positive"),
        ({"background": -0.1}, "background must not be negative"),
        ({"dead": 1.0}, "dead must be a share"),
        ({"dead": (0.2, 0.1)}, "dead must be a pair"),
        ({"augmentation": {"lattice_scale": (0.9, 1.1)}}, "must name nuisances"),
        ({"n_samples": None}, "Give n_samples"),
    ],
)
def test_bad_requests_are_named(simulator, options, message):
    with pytest.raises(ValueError, match=message):
        make_crystal_spectra(simulator, **{"n_samples": 2, **options})


def test_an_orientation_that_sees_nothing_is_named(simulator):
    grid = simulator.grid.replace(
        h=[2.5, 3.0], k=[0.0, 0.5], psi=[0.0, 60.0], u=(1, 0, 0)
    )
    covered = grid.coverage().any(axis=(1, 2))
    assert covered.tolist() == [False, True]
    part = clone(simulator).set_params(grid=grid)
    with pytest.raises(ValueError, match=r"Orientations number \[0\] see no voxel"):
        make_crystal_spectra(part, 8, spread=0.1, n_orientations=1, random_state=0)
