"""Training sets: reproducible, bounded, honest about what they are asked for."""

import sys

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
from skphonon.datasets import make_powder_spectra, write_powder_spectra


@pytest.fixture(scope="module")
def simulator():
    grid = SpectrumGrid(
        np.arange(10, 45, 5.0), np.arange(1, 9, 1.0), incident_energy=50.0
    )
    return PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.54, mesh=6)


def test_same_seed_same_spectra_whatever_the_number_of_jobs(simulator):
    first = make_powder_spectra(simulator, 130, noise=0.1, random_state=0)
    second = make_powder_spectra(simulator, 130, noise=0.1, random_state=0, n_jobs=2)
    other = make_powder_spectra(simulator, 130, noise=0.1, random_state=1)
    for a, b, c in zip(first, second, other, strict=True):
        assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_a_dask_cluster_gives_the_same_spectra(simulator, tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = make_powder_spectra(simulator, 200, noise=0.1, random_state=0)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        with joblib.parallel_config(backend="dask"):
            X, y = make_powder_spectra(simulator, 200, noise=0.1, random_state=0)
            store = write_powder_spectra(
                tmp_path,
                simulator,
                200,
                noise=0.1,
                random_state=0,
                shard_size=64,
                dtype="float64",
            )
        used = client.run(lambda: "skphonon.simulation.powder" in sys.modules)
    for spectra, parameters in ((X, y), store.load()):
        assert_array_equal(spectra, expected[0])
        assert_array_equal(parameters, expected[1])
    assert list(used.values()) == [True, True]


def test_noise_depends_on_seed_and_row_alone(simulator):
    rows = np.tile(simulator.reference, (70, 1))
    X, _ = make_powder_spectra(simulator, parameters=rows, noise=0.1, random_state=0)
    part, _ = make_powder_spectra(
        simulator, 3, parameters=rows, noise=0.1, random_state=0
    )
    assert_allclose(part, X[:3], rtol=1e-10)
    visible = X[:, np.isfinite(X[0])]
    assert len(np.unique(visible[:, 0])) == len(rows)
    # White: what neighbouring rows share is what 70 x 43 independent numbers do.
    residual = visible - visible.mean(axis=0)
    correlation = np.corrcoef(residual[1:].ravel(), residual[:-1].ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(residual.size)


def test_parameters_spread_uniformly_around_the_reference(simulator):
    _, y = make_powder_spectra(simulator, 500, spread=0.2, random_state=0)
    ratio = y / simulator.reference
    assert ratio.min() >= 0.8
    assert ratio.max() <= 1.2
    assert_allclose(ratio.mean(axis=0), 1.0, atol=0.02)
    assert_allclose(ratio.std(axis=0), 0.4 / np.sqrt(12), rtol=0.1)


def test_spread_by_parameter(simulator):
    _, y = make_powder_spectra(simulator, 20, spread=[0.5, 0, 0, 0, 0], random_state=0)
    assert_array_equal(np.ptp(y, axis=0) > 0, [True, False, False, False, False])


def test_given_parameters_are_simulated(simulator):
    rows = simulator.reference * np.array([[0.9], [1.0], [1.1]])
    X, y = make_powder_spectra(simulator, 2, parameters=rows)
    assert_array_equal(y, rows[:2])
    assert_allclose(X, simulator.simulate(rows[:2]), rtol=1e-10)


def test_noise_has_the_size_asked_for(simulator):
    rows = np.tile(simulator.reference, (200, 1))
    clean, _ = make_powder_spectra(simulator, parameters=rows)
    noisy, _ = make_powder_spectra(
        simulator, parameters=rows, noise=0.23, random_state=0
    )
    assert_array_equal(np.isnan(noisy), np.isnan(clean))
    ratio = np.nanstd(noisy - clean) / np.nanstd(clean[0])
    assert ratio == pytest.approx(0.23, rel=0.02)


def test_progress_is_shown_when_asked_for(simulator, capsys):
    make_powder_spectra(simulator, 3, random_state=0, verbose=1)
    assert "3/3" in capsys.readouterr().err
    make_powder_spectra(simulator, 3, random_state=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give n_samples"),
        ({"n_samples": 0}, "positive integer, got 0"),
        ({"n_samples": 2.5}, "positive integer, got 2.5"),
        ({"n_samples": 3, "spread": -0.1}, "not negative; got -0.1"),
        ({"n_samples": 3, "spread": [0.1, 0.2]}, "one for each of 5 parameters"),
        ({"n_samples": 3, "noise": -1.0}, "noise must not be negative"),
        ({"n_samples": 3, "parameters": [[1.0] * 5]}, "must not exceed the 1"),
        ({"parameters": [[1.0] * 4]}, r"\(n_samples, 5\)"),
    ],
)
def test_bad_requests_are_named(simulator, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_powder_spectra(simulator, **arguments)
