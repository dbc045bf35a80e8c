"""Augmentation of training spectra: drawn within ranges, told, reproducible."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator

from skphonon import PowderSimulator, SpectrumGrid, load_aluminium_model
from skphonon.datasets import (
    make_crystal_spectra,
    make_powder_spectra,
    open_powder_spectra,
    write_powder_spectra,
)

EVERYTHING = {
    "energy_resolution": (1.2, 1.9),
    "energy_resolution_slope": (-0.2, 0.2),
    "energy_offset": (-0.3, 0.3),
    "q_resolution": (0.06, 0.12),
    "lattice_scale": (0.998, 1.02),
    "energy_scale": (0.99, 1.01),
    "q_scale": (0.98, 1.02),
    "temperature": (250.0, 350.0),
    "mean_square_displacement": (0.0, 0.012),
    "background": (0.0, 0.4),
    "counts": (20, 2000),
    "scale": (0.5, 2.0),
}
COEFFICIENTS = [f"background_{k}{n}" for k in range(4) for n in range(4 - k)]


class FlatSimulator(BaseEstimator):
    """Spectra of one height with steps of another: knows no nuisance."""

    parameter_names = ("height", "step")
    reference = np.array([4.0, 2.0])

    def __init__(self, grid=None):
        self.grid = grid

    def simulate(self, parameters):
        height, step = np.asarray(parameters).T[:, :, None, None]
        energy = self.grid.axes()[0][:, None]
        images = height + step * np.sign(energy) + 0 * self.grid.axes()[1]
        return np.where(self.grid.mask, images, np.nan).reshape(len(images), -1)


@pytest.fixture(scope="module")
def flat():
    mask = np.ones((40, 30), dtype=bool)
    mask[:10, :5] = False
    return FlatSimulator(
        SpectrumGrid(np.arange(-19.5, 20), np.linspace(0.0, 6.0, 30), mask=mask)
    )


@pytest.fixture(scope="module")
def simulator():
    grid = SpectrumGrid(
        np.arange(10, 45, 5.0), np.arange(1, 9, 1.0), incident_energy=50.0
    )
    return PowderSimulator(load_aluminium_model(), grid, energy_resolution=1.54, mesh=6)


def same_sets(simulator, n_samples):
    return np.tile(simulator.reference, (n_samples, 1))


def make(simulator, n_samples=130, **arguments):
    return make_powder_spectra(
        simulator,
        n_samples,
        **{"random_state": 0, "return_augmentation": True, **arguments},
    )


def test_jobs_shards_and_neighbours_change_nothing(simulator, tmp_path):
    arguments = {"noise": (0.0, 0.3), "augmentation": EVERYTHING}
    X, y, drawn = make(simulator, **arguments)
    for a, b in zip((X, y, drawn), make(simulator, n_jobs=2, **arguments), strict=True):
        assert_array_equal(a, b)
    stored = {"random_state": 0, "shard_size": 64, "dtype": "float64", **arguments}
    store = write_powder_spectra(tmp_path, simulator, 130, **stored)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "shard-00001.h5").unlink()
    write_powder_spectra(tmp_path, simulator, 130, **stored)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert_array_equal(store.load()[0], X)
    pd.testing.assert_frame_equal(
        open_powder_spectra(tmp_path).load_augmentation(), drawn
    )
    few, _, told = make(simulator, 5, parameters=y, **arguments)
    # given parameters take no random numbers, so that the seed of the rest is another
    assert told.shape == (5, drawn.shape[1])
    again, _, _ = make(simulator, 3, parameters=y, **arguments)
    assert_allclose(again, few[:3], rtol=1e-8)


@pytest.mark.filterwarnings("ignore::skphonon.physics.UnstableCrystalWarning")
def test_values_are_what_the_spectra_show(simulator):
    """All but random noise can be done again from the table."""
    names = [name for name in simulator.nuisance_names if name in EVERYTHING]
    augmentation = {name: EVERYTHING[name] for name in [*names, "background", "scale"]}
    X, y, drawn = make(simulator, 20, augmentation=augmentation)
    spectra = simulator.simulate(
        y,
        nuisance={name: drawn[name].to_numpy() for name in names},
        nuisance_ranges={name: EVERYTHING[name] for name in names},
    )
    energy, q = (
        2 * (axis - axis[0]) / (axis[-1] - axis[0]) - 1
        for axis in simulator.grid.axes()
    )
    coefficients = np.zeros((20, 4, 4))
    for name in COEFFICIENTS:
        coefficients[:, int(name[-2]), int(name[-1])] = drawn[name]
    backgrounds = [
        np.polynomial.legendre.leggrid2d(energy, q, c).ravel() for c in coefficients
    ]
    deviation = np.nanstd(spectra, axis=1, keepdims=True)
    expected = (spectra + deviation * backgrounds) * drawn[["scale"]].to_numpy()
    assert_allclose(X, expected, rtol=1e-9)


@pytest.mark.parametrize("name", [*EVERYTHING, "noise"])
def test_values_fill_their_ranges(flat, simulator, name):
    augmentation = {} if name == "noise" else {name: EVERYTHING[name]}
    noise = (0.1, 0.3) if name == "noise" else 0.0
    source = simulator if name in simulator.nuisance_names else flat
    _, _, drawn = make(source, 400, noise=noise, augmentation=augmentation)
    low, high = augmentation.get(name, noise)
    values = drawn[name].to_numpy()
    if name in ("counts", "scale"):
        low, high, values = np.log(low), np.log(high), np.log(values)
    shares = np.sort((values - low) / (high - low))
    # Kolmogorov and Smirnov: 400 even numbers stray further in one case of 10^4
    even = (np.arange(400) + 0.5) / 400
    assert abs(shares - even).max() < 2.2 / np.sqrt(400)
    assert len(np.unique(values)) == 400


def test_a_further_range_changes_no_other_value(simulator):
    augmentation = {"q_resolution": (0.06, 0.12), "background": (0, 0.4)}
    few = make(simulator, 5, augmentation=augmentation)[2]
    many = make(simulator, 5, augmentation=EVERYTHING, noise=(0.0, 0.1))[2]
    pd.testing.assert_frame_equal(many[["q_resolution", *COEFFICIENTS]],
                                  few[["q_resolution", *COEFFICIENTS]])  # fmt: skip


def test_the_order_of_names_does_not_matter(simulator):
    first = make(simulator, 5, augmentation=EVERYTHING)
    second = make(simulator, 5, augmentation=dict(reversed(EVERYTHING.items())))
    for a, b in zip(first, second, strict=True):
        assert_array_equal(a, b)
    assert list(first[2]) == list(second[2])


def test_a_number_is_the_value_of_all(simulator):
    rows = same_sets(simulator, 3)
    settings = {"q_resolution": 0.11, "lattice_scale": 1.01}
    X, _, drawn = make(
        simulator, 3, parameters=rows, augmentation=settings | {"scale": 3.0}
    )
    assert_allclose(X, 3 * simulator.simulate(rows, nuisance=settings), rtol=1e-12)
    assert (drawn["scale"] == 3.0).all()
    assert (drawn["q_resolution"] == 0.11).all()


def test_white_noise_is_the_same_with_and_without_augmentation(flat):
    rows = same_sets(flat, 4)
    plain, _ = make_powder_spectra(flat, parameters=rows)
    noisy, _ = make_powder_spectra(flat, parameters=rows, noise=0.1, random_state=0)
    halved, _, _ = make(
        flat, 4, parameters=rows, noise=(0.1, 0.1), augmentation={"scale": 0.5}
    )
    assert_allclose(2 * halved, noisy, rtol=1e-12)
    assert np.nanstd(noisy - plain) == pytest.approx(0.1 * np.nanstd(plain), rel=0.05)


def test_background_is_smooth_and_of_the_size_told(flat):
    rows = same_sets(flat, 200)
    plain, _ = make_powder_spectra(flat, parameters=rows)
    X, _, drawn = make(
        flat, 200, parameters=rows, augmentation={"background": (0, 0.4)}
    )
    added = (X - plain)[:, flat.grid.mask.ravel()] / np.nanstd(plain[0])
    sizes = np.sqrt((added**2).mean(axis=1))
    assert_allclose(sizes, drawn["background"], rtol=1e-9)
    # of either sign, and never twice the same
    assert abs(added.mean()) < 0.05
    assert np.linalg.matrix_rank(added) == 10
    spread = drawn[COEFFICIENTS].std()
    assert spread["background_00"] > 2 * spread["background_30"]


def test_counts_scatter_as_neutrons_do(flat):
    """Variance is the mean in counts; what is shown keeps its scale."""
    rows = same_sets(flat, 300)
    X, _, _ = make(flat, 300, parameters=rows, augmentation={"counts": 50.0})
    plain = flat.simulate(rows[:1])[0]
    visible = np.isfinite(plain)
    unit = plain[visible].mean() / 50
    counts = X[:, visible] / unit
    assert_allclose(counts, np.rint(counts), atol=1e-9)
    for level in (2.0, 6.0):  # height -+ step
        some = counts[:, plain[visible] == level]
        # 10^5 counts: relative errors of the mean 1e-3, of the variance 5e-3
        assert some.mean() == pytest.approx(level / unit, rel=5e-3)
        assert some.var() == pytest.approx(level / unit, rel=3e-2)


def test_counts_of_what_is_negative_and_of_nothing(flat):
    negative, _, _ = make(
        flat, 3, parameters=[[0.0, 2.0]] * 3, augmentation={"counts": 1e6}
    )
    plain = flat.simulate([[0.0, 2.0]])
    assert_allclose(negative, np.repeat(plain, 3, axis=0), rtol=1e-2)
    nothing, _, _ = make(
        flat, 2, parameters=[[0.0, 0.0]] * 2, augmentation={"counts": 9}
    )
    assert (np.nan_to_num(nothing) == 0).all()


def test_pixels_outside_the_window_stay_unseen(simulator):
    X, _, _ = make(simulator, 5, noise=0.1, augmentation=EVERYTHING)
    assert_array_equal(np.isnan(X), ~np.tile(simulator.grid.mask.ravel(), (5, 1)))


def test_spectra_without_augmentation_are_as_they_were(simulator):
    """The same numbers, bit by bit, as from the formula that noise had alone."""
    X, y, drawn = make(simulator, 3, noise=0.2)
    expected = simulator.simulate(y)
    seed = np.random.RandomState(0)
    seed.uniform(-1, 1, (3, 5))
    entropy = int(seed.randint(2**31))
    for number, spectrum in enumerate(expected):
        seeds = np.random.SeedSequence(entropy, spawn_key=(number,))
        rng = np.random.RandomState(np.random.MT19937(seeds))
        visible = ~np.isnan(spectrum)
        white = rng.standard_normal(visible.sum())
        spectrum[visible] += 0.2 * spectrum[visible].std() * white
    assert_array_equal(X, expected)
    assert list(drawn) == ["noise"]
    assert_array_equal(make(simulator, 3, noise=0.0)[0], simulator.simulate(y))


# Stores


def test_a_store_is_continued_with_the_same_augmentation_alone(simulator, tmp_path):
    asked = {"noise": (0.0, 0.1), "augmentation": {"q_resolution": (0.06, 0.12)}}
    write_powder_spectra(tmp_path, simulator, 4, random_state=0, **asked)
    for other in (
        {"augmentation": {"q_resolution": (0.06, 0.13)}},
        {"augmentation": {}},
        {"augmentation": asked["augmentation"] | {"scale": (1.0, 2.0)}},
        {"noise": (0.0, 0.2)},
        {"noise": 0.1},
    ):
        with pytest.raises(ValueError, match=r"other settings: (augmentation|noise)"):
            write_powder_spectra(tmp_path, simulator, 4, **{**asked, **other})
    assert write_powder_spectra(tmp_path, simulator, 4, **asked).n_samples == 4


def test_a_range_of_noise_is_told_by_its_store(flat, tmp_path):
    store = write_powder_spectra(tmp_path, flat, 5, noise=(0, 0.2), random_state=0)
    drawn = make(flat, 5, noise=(0, 0.2))[2]
    pd.testing.assert_frame_equal(store.load_augmentation(), drawn)


def test_a_store_without_augmentation_says_so(flat, tmp_path):
    store = write_powder_spectra(tmp_path, flat, 5, noise=0.1, random_state=0)
    with pytest.raises(ValueError, match=r"Nothing was drawn .*noise=\(low, high\)"):
        store.load_augmentation()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augmentation": {"colour": 1}}, r"scale, .* simulator offers; got 'colour'"),
        ({"augmentation": {"q_resolution": 1}}, "offers; got 'q_resolution'"),
        ({"augmentation": {"scale": (0, 1)}}, "scale must be positive"),
        ({"augmentation": {"counts": 0}}, "counts must be positive"),
        ({"augmentation": {"background": (-1, 1)}}, "background must not be negative"),
        ({"augmentation": {"scale": (2, 1)}}, r"pair \(low, high\), .* got \(2, 1\)"),
        (
            {"augmentation": {"scale": (1, 2, 3)}},
            r"pair \(low, high\), got \(1, 2, 3\)",
        ),
        ({"augmentation": {"scale": np.inf}}, "a number or a pair .*got inf"),
        ({"noise": (0.2, 0.1)}, r"noise must be a pair \(low, high\)"),
        ({"noise": (-0.2, 0.1)}, "noise must not be negative"),
    ],
)
def test_bad_requests_are_named(flat, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_powder_spectra(flat, 3, **arguments)


def test_augmentation_is_a_dict(flat):
    with pytest.raises(TypeError, match=r"must be a dict, got \['scale'\]"):
        make_powder_spectra(flat, 3, augmentation=["scale"])


def test_ranges_that_the_simulator_refuses(simulator):
    with pytest.raises(ValueError, match="'lattice_scale' must be between 0 and inf"):
        make_powder_spectra(simulator, 3, augmentation={"lattice_scale": (-1, 1)})


def test_the_old_name_tells_the_new(simulator, tmp_path):
    for call in (
        lambda: make_powder_spectra(simulator, 3, variation={}),
        lambda: make_powder_spectra(simulator, 3, return_variation=True),
        lambda: make_crystal_spectra(simulator, 3, variation={}),
        lambda: write_powder_spectra(tmp_path, simulator, 3, variation={}),
    ):
        with pytest.raises(
            TypeError, match=r"spectra takes (return_)?augmentation, wh"
        ):
            call()


def test_a_holder_scatters_beside_the_sample():
    from skphonon.simulation.beside_sample import of_holder

    grid = SpectrumGrid(np.arange(10, 40, 3.0), np.arange(2, 7, 0.5))
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.5, mesh=4, temperature=300.0
    )
    augmentation = {"energy_resolution": (1.0, 3.0), "temperature": (50.0, 400.0)}
    options = {"random_state": 0, "return_augmentation": True}
    X, y, drawn = make_powder_spectra(
        simulator, 3, augmentation=augmentation, **options
    )
    augmentation |= {"holder of copper": (0.2, 0.8)}
    beside, same, also = make_powder_spectra(
        simulator, 3, augmentation=augmentation, **options
    )
    assert_array_equal(y, same)
    assert_array_equal(also[list(drawn)], drawn)
    holder = of_holder("copper", simulator)
    share = also["holder of copper"].to_numpy()
    assert ((share > 0.2) & (share < 0.8)).all()
    for row, kelvin, width in zip(
        range(3), also["temperature"], also["energy_resolution"], strict=True
    ):
        can = holder.simulate(
            [holder.reference],
            nuisance={"temperature": [kelvin], "energy_resolution": [width]},
        )[0]
        can *= share[row] * np.nanmean(X[row]) / np.nanmean(can)
        assert_allclose(beside[row], X[row] + can, rtol=2e-3, atol=2e-3 * np.nanmax(X))


def test_ripples_are_alike_over_some_pixels_and_change_nothing_else():
    grid = SpectrumGrid(np.arange(10, 40, 0.5), np.arange(2, 7, 0.1))
    simulator = PowderSimulator(
        load_aluminium_model(), grid, energy_resolution=1.5, mesh=4
    )
    augmentation = {"energy_resolution": (1.0, 3.0), "background": (0.1, 0.3)}
    X, _ = make_powder_spectra(simulator, 60, augmentation=augmentation, random_state=0)
    rippled, _, drawn = make_powder_spectra(
        simulator,
        60,
        augmentation=augmentation | {"ripples": (0.1, 0.2)},
        random_state=0,
        return_augmentation=True,
    )
    clean, _ = make_powder_spectra(
        simulator, 60, augmentation={"energy_resolution": (1.0, 3.0)}, random_state=0
    )
    added = (rippled - X) / np.nanstd(clean, axis=1, keepdims=True)
    size = np.sqrt(np.nanmean(added**2, axis=1))
    assert_allclose(size, drawn["ripples"], rtol=1e-6)
    # the cube of a uniform number: half of all are below an eighth of the range
    assert 0.35 < np.mean(drawn["ripples"] < 0.1125) < 0.65
    image = added.reshape(60, *grid.shape)
    for axis in (1, 2):
        near = np.diff(image, axis=axis)
        correlation = 1 - np.mean(near**2, axis=(1, 2)) / 2 / size**2
        # exp(-1 / (4 s^2)) of neighbours, s from 1 to 6 pixels
        assert 0.70 < correlation.min() < 0.85
        assert 0.985 < correlation.max() < 0.997
