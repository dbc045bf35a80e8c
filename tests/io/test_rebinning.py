"""Rebinning keeps what was measured: shares, sums, errors and their covariance."""

import numpy as np
import pytest
from measured_files import detectors
from numpy.testing import assert_allclose, assert_array_equal

from skphonon import CrystalGrid, PowderSimulator, SpectrumGrid, nmse
from skphonon.instrument import AngleGrid, DetectorMeasurement, MeasurementWarning
from skphonon.instrument.noise import CorrelatedNoise
from skphonon.io._overlaps import in_angles, in_moduli, pieces
from skphonon.io.rebinning import reduce_angles, reduce_crystal, reduce_powder
from skphonon.physics.scattering import momentum_transfer

EI = 60.0
# bins of several widths, as Mantid's Rebin makes them, and as the grid has them
EDGES = np.concatenate([np.arange(-10, 20, 1.5), np.arange(20, 56, 2.5)])
ENERGY = np.concatenate([np.arange(-12, 10, 2.0), np.arange(10, 58, 3.2)])
MODULI = np.append(0.05, np.geomspace(0.3, 11.0, 40))
WIDE = SpectrumGrid(ENERGY, MODULI)  # reaches beyond all detectors
SMALL = {"energy": np.arange(0.0, 30, 3.5), "q": np.arange(1.5, 7, 0.35)}


def measured(n_polar=20, n_azimuthal=2, edges=EDGES, seed=0, **settings):
    rng = np.random.RandomState(seed)
    bank = detectors(n_polar, n_azimuthal, (0.5, 150.0))
    bank["polar_width"] = bank["polar_width"] * rng.uniform(0.5, 2, len(bank["polar"]))
    bank["polar_width"] = np.minimum(
        bank["polar_width"], 2 * bank["polar"] - 1e-3
    )  # none beyond the beam
    shape = n_polar * n_azimuthal, len(edges) - 1
    values = {
        "data": rng.uniform(1, 2, shape),
        "error": rng.uniform(0.1, 0.2, shape),
        "incident_energy": EI,
        "energy_edges": edges,
        "ki_over_kf_scaling": True,
        **bank,
    }
    return DetectorMeasurement(**{**values, **settings})


# Overlaps


def summed(shares, n_detectors, n_columns):
    """Return the shares of detectors in columns, and before and beyond these."""
    table = np.zeros((n_detectors, n_columns + 2))
    for each in shares:
        np.add.at(table, (each.detector, each.column + 1), each.share)
    return table


@pytest.mark.parametrize(
    ("near", "far"),
    [(0, 3), (3, 3.01), (20, 20.7), (5, 60), (60, 140), (88, 92), (170, 180)],
)
@pytest.mark.parametrize(
    ("low", "high"), [(-60, -20), (-1, 1), (0, 30), (20, 20.5), (55, 59.9), (59, 60)]
)
def test_shares_are_exact(near, far, low, high):
    """The middles of many slices of energy, each cut exactly in its solid angle."""
    borders = np.linspace(0.4, 9, 27)
    k = np.sqrt(EI / 2.0721247)
    cosines = np.cos(np.deg2rad([near, far]))[:, None]
    span = np.sqrt(1 - np.array([high, low]) / EI)
    shares = in_moduli(*cosines, span, (borders / k) ** 2)
    found = summed(shares, 1, len(borders) - 1)[0]
    assert found.sum() == pytest.approx(1, abs=1e-14)
    assert (found >= 0).all()
    kappa = np.sqrt(span[0] ** 2 + np.diff(span**2) * (np.arange(200_000) + 0.5) / 2e5)
    limits = ((1 - (borders / k) ** 2)[:, None] / kappa + kappa) / 2
    upper, lower = cosines[:, 0]
    below = (upper - np.clip(limits, lower, upper)) / (upper - lower)
    expected = np.diff(below.mean(axis=1), prepend=0, append=1)
    # errors of the slices: they are as thin as 1e-5 of the bin
    assert_allclose(found, expected, atol=2e-6)


def test_a_line_is_the_limit_of_thin_detectors():
    borders = np.linspace(0.1, 2, 50) ** 2
    span = (0.5, 0.8)
    tables = [
        summed(
            in_moduli(*np.cos([[[0.6]], [[0.6 + width]]])[:, 0], span, borders), 1, 49
        )
        for width in (0.0, 1e-7)
    ]
    assert (tables[0] > 0).sum() > 3
    assert_allclose(*tables, atol=1e-5)


def test_shares_of_angles_are_of_solid_angle():
    near, far = np.array([0.0, 10.0, 50.0, 150]), np.array([4.0, 10.0, 75.0, 180])
    borders = np.array([1.0, 10.0, 12.0, 60.0, 170.0])
    found = summed(in_angles(near, far, borders), 4, 4)
    cosine = np.cos(np.deg2rad([0, 1, 4, 50, 60, 75, 150, 170, 180]))
    expected = np.zeros((4, 6))
    expected[0, :2] = -np.diff(cosine[:3]) / (cosine[0] - cosine[2])
    expected[1, 2] = 1  # a line at the border of two
    expected[2, 3:5] = -np.diff(cosine[3:6]) / (cosine[3] - cosine[5])
    expected[3, 4:6] = -np.diff(cosine[6:]) / (cosine[6] - cosine[8])
    assert_allclose(found, expected, atol=1e-14)


def test_pieces_fill_what_both_axes_span():
    found = pieces(EDGES, ENERGY)
    assert sum(piece.width for piece in found) == pytest.approx(
        min(EDGES[-1], ENERGY[-1]) - EDGES[0]
    )
    for piece in found:
        for edges, number in ((EDGES, piece.source), (ENERGY, piece.target)):
            assert edges[number] <= piece.low < piece.high <= edges[number + 1]


def test_a_reduced_bin_is_the_mean_of_many_draws():
    """Neutrons drawn in detector bins, and counted where they fall."""
    run = measured(6, 1, np.array([0.0, 8.0, 20.0, 28.0]), polar_width=np.full(6, 20.0))
    grid = SpectrumGrid(np.arange(-2, 34, 4.0), np.arange(0.2, 11, 0.7))
    reduced = reduce_powder(run, grid, weights="uniform")
    rng, n = np.random.RandomState(1), 400_000
    detector, energy = rng.randint(6, size=n), rng.uniform(0, 28, n)
    near, far = (
        np.cos(np.deg2rad(np.clip(run.polar[detector] + side, 0, 180)))
        for side in (-10, 10)
    )
    angle = np.rad2deg(np.arccos(rng.uniform(far, near)))
    q = momentum_transfer(energy, EI, angle)
    number = np.searchsorted(run.energy_edges, energy) - 1
    value = run.data[detector, number]
    counts, sums = (
        np.histogram2d(energy, q, grid.edges(), weights=weights)[0]
        for weights in (None, value)
    )
    many = counts > 1000
    assert many.sum() > 60
    image = grid.to_image(reduced.data)[0]
    assert_allclose(image[many], sums[many] / counts[many], atol=0.05)
    weights = np.nan_to_num(grid.to_image(reduced.details["weights"])[0])
    assert weights.sum() == pytest.approx(6 * 28)
    # six standard deviations of the counts
    assert (abs(weights / (6 * 28) - counts / n) < 6 * np.sqrt(counts + 9) / n).all()
    assert ((weights > 0) | (counts == 0)).all()


# Sums


@pytest.mark.parametrize("overlap", ["exact", "centres"])
@pytest.mark.parametrize("weights", ["solid_angle", "counting", "uniform"])
def test_sums_over_a_grid_that_covers_all_are_those_of_detectors(overlap, weights):
    run = measured()
    settings = {"overlap": overlap, "weights": weights}
    totals = []
    for reduce, grid in (
        (reduce_powder, WIDE),
        (reduce_angles, AngleGrid(ENERGY, np.linspace(0, 180, 50), incident_energy=EI)),
    ):
        reduced = reduce(run, grid, **settings)
        weight = reduced.details["weights"]
        totals.append([np.nansum(weight), np.nansum(weight * reduced.data)])
    assert_allclose(*totals, rtol=1e-12)
    widths = np.diff(EDGES)
    if weights == "uniform":
        expected = [len(run.polar) * widths.sum(), (run.data * widths).sum()]
        assert_allclose(totals[0], expected, rtol=1e-12)
    if weights == "solid_angle":
        # rings: sin(polar) times the width is more than these by 1e-4
        ends = run.polar + np.outer([-0.5, 0.5], run.polar_width)
        near, far = np.cos(np.deg2rad(ends))
        angle = (near - far) * np.deg2rad(run.azimuthal_width)
        expected = [angle.sum() * widths.sum(), angle @ run.data @ widths]
        assert_allclose(totals[0], expected, rtol=1e-12)


def test_a_detector_in_the_beam_spans_a_cap():
    """Discs about the beam of 2 degrees, two in halves and one whole, weigh alike."""
    edges = np.array([0.0, 4.0, 8.0])
    half, whole = (
        measured(
            n, 1, edges, polar=np.full(n, polar), polar_width=np.full(n, width),
            azimuthal_width=np.full(n, 360.0 / n), data=np.ones((n, 2)),
            error=np.ones((n, 2)),
        )
        for n, polar, width in ((2, 1.0, 2.0), (1, 0.0, 4.0))
    )  # fmt: skip
    grid = AngleGrid([2.0, 6.0], [5.0, 15.0], incident_energy=EI)
    sums = [
        np.nansum(reduce_angles(run, grid).details["weights"]) for run in (half, whole)
    ]
    cap = 2 * np.pi * (1 - np.cos(np.deg2rad(2.0)))
    assert_allclose(sums, cap * 8.0, rtol=1e-9)  # over 8 meV


def test_centres_go_where_they_lie():
    run = measured(3, 1, np.array([0.0, 4.0, 8.0]), polar=np.array([20.0, 60, 61]))
    reduced = reduce_powder(run, WIDE, overlap="centres", weights="uniform")
    weights = WIDE.to_image(reduced.details["weights"])[0]
    expected = np.zeros(WIDE.shape)
    energy_edges, q_edges = WIDE.edges()
    for angle in run.polar:
        for energy in (2.0, 6.0):
            row = np.searchsorted(energy_edges, energy) - 1
            column = np.searchsorted(q_edges, momentum_transfer(energy, EI, angle)) - 1
            expected[row, column] += 4
    assert_array_equal(np.nan_to_num(weights), expected)


def test_finer_detectors_and_energies_that_say_the_same_give_the_same():
    run = measured()
    # each bin of energy in three, with the number of the whole
    edges = np.interp(np.arange(3 * len(EDGES) - 2) / 3, np.arange(len(EDGES)), EDGES)
    fine = run.replace(
        data=np.repeat(run.data, 3, axis=1),
        error=np.repeat(run.error, 3, axis=1),
        energy_edges=edges,
    )
    one, two = (reduce_powder(each, WIDE) for each in (run, fine))
    weights = one.details["weights"], two.details["weights"]
    assert_allclose(*weights, rtol=2e-3, atol=2e-4)
    assert nmse(one.data, two.data)[0] < 1e-4


# Errors


def linear_map(reduce, run):
    """Return the derivatives of pixels with each number of the detectors."""
    columns = []
    for number in np.ndindex(run.data.shape):
        data = np.zeros(run.data.shape)
        data[number] = 1
        columns.append(reduce(run.replace(data=data)).data[0])
    return np.stack(columns, axis=1)


def crystal_grid(step=3.0, **settings):
    axes = (np.linspace(-4, 4, 6),) * 2 + (np.linspace(-9, 9, 3),)
    energy = np.arange(-1.0, 24, step)
    return CrystalGrid(energy, *axes, lattice=4 * np.eye(3), **settings)


@pytest.mark.parametrize(
    "reduce",
    [
        lambda run, **more: reduce_powder(run, SpectrumGrid(**SMALL), **more),
        lambda run, **more: reduce_powder(
            run, SpectrumGrid(**SMALL), overlap="centres", weights="uniform", **more
        ),
        lambda run, **more: reduce_angles(
            run,
            AngleGrid(SMALL["energy"], np.arange(6, 80, 7.0), incident_energy=EI),
            **more,
        ),
        lambda run, **more: reduce_crystal(run, crystal_grid(), **more),
    ],
    ids=["powder", "centres", "angles", "crystal"],
)
def test_covariance_is_that_of_the_detectors(reduce):
    run = measured(7, 2, np.arange(0.0, 20, 2.0), psi=20.0)
    reduced = reduce(run, covariance=True)
    seen = reduced.grid.mask.ravel()
    covariance = reduced.details["covariance"].toarray()
    derivatives = np.nan_to_num(linear_map(reduce, run))
    expected = derivatives * run.error.ravel() ** 2 @ derivatives.T
    assert_allclose(covariance, expected, atol=1e-14)
    assert_allclose(np.sqrt(covariance.diagonal()[seen]), reduced.error[0, seen])
    assert reduced == reduce(run, covariance=True)
    assert_array_equal(reduce(run).data, reduced.data)
    assert "covariance" not in reduce(run).details


def test_covariance_by_noise():
    run, grid = measured(10, 2, np.arange(0.0, 20, 2.0)), SpectrumGrid(**SMALL)
    reduced = reduce_powder(run, grid, covariance=True)
    seen = reduced.grid.mask.ravel()
    rng, n = np.random.RandomState(0), 400
    drawn = np.stack(
        [
            reduce_powder(run.replace(data=rng.normal(run.data, run.error)), grid).data[
                0, seen
            ]
            for _ in range(n)
        ]
    )
    covariance = reduced.details["covariance"][seen][:, seen].toarray()
    std = np.sqrt(covariance.diagonal())
    correlation = covariance / np.outer(std, std)
    # bins that share detector bins are as correlated as this
    assert (correlation - np.eye(len(std))).max() > 0.5
    error = 1 / np.sqrt(n)
    assert_allclose(np.corrcoef(drawn.T), correlation, atol=5 * error)
    assert_allclose(drawn.std(axis=0), std, rtol=5 * error)


def test_the_likelihood_of_correlated_noise_takes_the_covariance():
    run, grid = measured(30, 2, np.arange(0.0, 20, 1.6)), SpectrumGrid(**SMALL)
    truth = reduce_powder(run, grid, covariance=True)
    seen = truth.grid.mask.ravel()
    noise = CorrelatedNoise(truth.details["covariance"][seen][:, seen].toarray())
    rng, found = np.random.RandomState(0), []
    for _ in range(100):
        noisy = run.replace(data=rng.normal(run.data, run.error))
        found.append(reduce_powder(noisy, grid).data[0, seen] - truth.data[0, seen])
    chi2 = noise.deviance(np.array(found), np.zeros(seen.sum()))
    # chi squared of n independent pixels has the variance 2 n; the other has more
    size = seen.sum()
    assert chi2.mean() == pytest.approx(size, abs=5 * np.sqrt(2 * size / 100))
    assert chi2.var() == pytest.approx(2 * size, rel=0.6)
    plain = np.square(found / truth.error[0, seen]).sum(axis=1)
    assert plain.var() > 1.5 * chi2.var()


def test_crystals_are_correlated_where_borders_cut_bins_of_energy():
    run = measured(7, 2, np.arange(-0.5, 20, 1.0), psi=20.0)

    def off_diagonal(step):
        grid = crystal_grid(step)
        found = reduce_crystal(run, grid, covariance=True).details["covariance"]
        row, column = found.nonzero()
        apart = row != column
        n = grid.shape[1]
        return np.unique(row[apart] // n - column[apart] // n)

    assert_array_equal(off_diagonal(1.0), [])
    assert_array_equal(off_diagonal(1.5), [-1, 1])


def test_where_nothing_was_counted_errors_add_nothing():
    """Errors of empty bins are 0 in some files, NaN from other readers."""
    rng = np.random.RandomState(0)
    counts = rng.poisson(0.5, (40, len(EDGES) - 1)).astype(float)
    zero = measured(data=counts, error=np.sqrt(counts))
    nan = zero.replace(error=np.where(counts > 0, zero.error, np.nan))
    one, two = (reduce_powder(run, WIDE) for run in (zero, nan))
    assert_array_equal(one.error, two.error)
    assert np.isfinite(one.error).sum() > 0.9 * np.isfinite(one.data).sum()
    # what is not known of intensities stays so
    unknown = zero.replace(error=np.full(counts.shape, np.nan), data=counts + 1)
    assert not np.isfinite(reduce_powder(unknown, WIDE).error).any()


# Weights by counts


def counted(exposure, seed=0, rate=3.0):
    """Return a run of uniform intensity `rate` that counted in Poisson's way."""
    rng = np.random.RandomState(seed)
    run = measured()
    mean = rate * exposure * np.ones(run.data.shape)
    counts = rng.poisson(mean)
    return run.replace(data=counts / exposure, error=np.sqrt(counts) / exposure)


def test_counting_weights_add_up_counts_and_exposures():
    one_bin = SpectrumGrid([-2000.0, -20.0], [8.0, 30.0])
    exposure = np.geomspace(0.1, 10, 40)[:, None]
    run = counted(exposure)
    # one pixel for all detectors, each with the width of its energies
    widths = np.diff(EDGES)
    reduced = reduce_powder(run, one_bin, weights="counting")
    value = reduced.grid.to_image(reduced.data)[0, 1, 0]
    assert reduced.grid.mask.sum() == 1
    expected = (run.data * exposure * widths).sum() / (exposure * widths).sum()
    assert value == pytest.approx(expected, rel=1e-12)
    assert np.nansum(reduced.details["weights"]) == pytest.approx(
        exposure.sum() * widths.sum()
    )


def test_counting_weights_see_detectors_through_the_efficiency_of_energies():
    """Intensities were divided by an efficiency that depends on energy."""
    exposure = np.geomspace(1, 30, 40)[:, None]
    efficiency = np.linspace(0.4, 1.5, len(EDGES) - 1)
    run = counted(exposure * efficiency, rate=40.0)
    reduced = reduce_angles(
        run,
        AngleGrid(ENERGY, np.linspace(0, 180, 50), incident_energy=EI),
        overlap="centres",
        weights="counting",
    )
    image = np.nan_to_num(reduced.grid.to_image(reduced.details["weights"])[0])
    found = image.sum(axis=0)
    edges = reduced.grid.edges()[1]
    expected = np.histogram(run.polar, edges, weights=exposure[:, 0])[0]
    seen = expected > 0
    ratio = found[seen] / expected[seen]
    assert_allclose(ratio / ratio.mean(), 1, rtol=0.05)


def test_longer_runs_count_more():
    short, long = counted(4.0, 1), counted(64.0, 2)
    errors = {
        weights: np.nanmean(reduce_powder([short, long], WIDE, weights=weights).error)
        for weights in ("solid_angle", "counting")
    }
    alone = np.nanmean(reduce_powder(long, WIDE, weights="counting").error)
    # as if both were one run of exposure 68, and the short one spoils no more
    assert errors["counting"] == pytest.approx(alone * np.sqrt(64 / 68), rel=0.02)
    assert errors["solid_angle"] > 1.5 * errors["counting"]


def test_empty_detectors_lower_the_mean_as_they_should():
    """Few counts: weights by inverse variances of what was counted would be biased."""
    run = counted(0.02 * np.ones((40, 1)))
    empty = (run.data == 0).all(axis=1)
    assert empty.any()
    pulled = []
    for seed in range(30):
        run = counted(0.02 * np.ones((40, 1)), seed)
        reduced = reduce_powder(run, WIDE, weights="counting")
        weights = np.nan_to_num(reduced.details["weights"])
        mean = np.sum(weights * np.nan_to_num(reduced.data)) / weights.sum()
        pulled.append(mean)
    # 40 detectors, 34 bins, 0.06 counts a bin: 1.1 % after 30 runs
    assert np.mean(pulled) == pytest.approx(3.0, rel=0.04)


def test_what_weights_need_is_said():
    run = measured()
    for error in (None, np.zeros(run.data.shape)):
        with pytest.raises(ValueError, match=r"needs errors above 0 .* got none. Pass"):
            reduce_powder(run.replace(error=error), WIDE, weights="counting")
    for reduce in (reduce_powder, reduce_angles):
        with pytest.raises(ValueError, match="overlap must be one of exact, centres"):
            reduce(run, WIDE, overlap="polygon")


def test_detectors_at_no_angle_do_not_count():
    run = measured()
    polar = run.polar.copy()
    polar[5] = np.nan
    data = run.data.copy()
    data[5] = np.nan
    for overlap in ("exact", "centres"):
        one, two = (
            reduce_powder(each, WIDE, overlap=overlap, weights="uniform")
            for each in (run.replace(polar=polar), run.replace(data=data))
        )
        assert_array_equal(one.data, two.data)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_bin_may_reach_beyond_the_incident_energy(scaled):
    edges = np.array([50.0, 54, 58, 62, 66])
    with pytest.warns(MeasurementWarning, match="got 25% of the intensities above it"):
        run = measured(edges=edges, ki_over_kf_scaling=scaled)
    grid = SpectrumGrid([51.0, 53, 55, 57, 59], np.arange(0.25, 12, 0.5))
    reduced = reduce_powder(run, grid, weights="uniform")
    rows = np.nansum(grid.to_image(reduced.details["weights"])[0], axis=1)
    assert_allclose(rows, 2 * len(run.polar))
    wider = SpectrumGrid(np.arange(51.0, 60, 4), np.arange(0.5, 7, 0.5))
    assert reduce_powder(run, wider).grid.mask[-1].any()
    with pytest.raises(
        ValueError, match="below incident_energy=60 meV, got a maximum of 66"
    ):
        reduce_powder(run, SpectrumGrid([52.0, 58.0, 64.0], [1.0, 2.0]))


# Scattering angles


def test_detectors_of_one_width_keep_their_numbers():
    run = measured(20, 1, np.arange(0.0, 40, 2.0), polar_width=np.full(20, 7.475))
    reduced = reduce_angles(run)
    assert isinstance(reduced.grid, AngleGrid)
    assert_allclose(reduced.grid.energy, np.arange(1.0, 38, 2))
    assert_allclose(reduced.grid.two_theta, run.polar)
    assert_allclose(reduced.grid.to_image(reduced.data)[0].T, run.data)
    assert_allclose(reduced.grid.to_image(reduced.error)[0].T, run.error)
    assert reduced.incident_energy == EI


def test_energies_of_a_detector_are_not_mixed():
    """One energy of all detectors changes one row."""
    run = measured(edges=np.arange(0.0, 40, 2.0))
    data = run.data.copy()
    data[:, 7] += 1
    one, two = (
        each.grid.to_image(each.data)[0]
        for each in (reduce_angles(run), reduce_angles(run.replace(data=data)))
    )
    changed = np.nan_to_num(two - one)
    assert_allclose(changed[7][np.isfinite(one[7])], 1)
    assert_array_equal(np.delete(changed, 7, axis=0), 0)


def test_angles_of_several_runs_and_of_none():
    run = measured(edges=np.arange(0.0, 40, 2.0))
    assert_allclose(
        reduce_angles(each for each in [run, run]).data, reduce_angles(run).data
    )
    with pytest.raises(ValueError, match="Some run must be given, got none"):
        reduce_angles([])
    with pytest.raises(ValueError, match=r"have a polar_width .* Pass an AngleGrid"):
        reduce_angles(run.replace(polar_width=0 * run.polar))
    with pytest.raises(TypeError, match=r"DetectorMeasurement, .* got Measurement"):
        reduce_angles(reduce_angles(run))


def test_detectors_at_no_angle_widen_no_grid():
    run = measured(20, 1, np.arange(0.0, 40, 2.0), polar_width=np.full(20, 7.475))
    polar = run.polar.copy()
    polar[:3] = np.nan
    reduced = reduce_angles(run.replace(polar=polar))
    assert_allclose(reduced.grid.two_theta, run.polar[3:])
    with pytest.raises(ValueError, match=r"have a polar_width .* Pass an AngleGrid"):
        reduce_angles(run.replace(polar=np.full(20, np.nan)))


def test_simulated_angles_come_back_in_both_kinds_of_bins(aluminium):
    """What fine detectors would see is, reduced, what a simulator shows in the bins."""
    settings = {"energy_resolution": 1.5, "q_resolution": 0.08, "mesh": 14}
    settings |= {"quantity": "sqe", "temperature": 100.0}
    fine = AngleGrid(np.arange(8.25, 44, 0.5), np.arange(5.5, 130), incident_energy=EI)
    seen = PowderSimulator(aluminium, fine, **settings).simulate(aluminium.reference)
    n = len(fine.two_theta)
    run = measured().replace(
        data=fine.to_image(seen)[0].T,
        error=None,
        energy_edges=fine.edges()[0],
        polar=fine.two_theta,
        azimuthal=np.zeros(n),
        polar_width=np.ones(n),
        azimuthal_width=np.ones(n),
    )
    assert_allclose(reduce_angles(run).data, seen)
    energy = np.arange(9, 43, 1.0)
    off = []
    for reduce, grid in (
        (reduce_angles, AngleGrid(energy, np.arange(8, 126, 2.0), incident_energy=EI)),
        (reduce_powder, SpectrumGrid(energy, np.arange(1.5, 7, 0.15))),
    ):
        reduced = reduce(run, grid)
        simulator = PowderSimulator(aluminium, reduced.grid, **settings)
        expected = simulator.simulate(aluminium.reference)
        off.append(nmse(reduced.data, expected, scale="fitted")[0])
    assert off[0] < 5e-6
    assert off[1] < 1e-4


def test_the_calibration_of_runs_is_kept():
    grid = SpectrumGrid([7.5, 12.5], [2.0, 2.5, 3.0])
    told = {"energy_zero": -0.2, "applied": "energy_zero"}
    runs = [measured(details={"calibration": told}) for _ in range(2)]
    for reduce, bins in ((reduce_powder, grid), (reduce_angles, None)):
        for several in (runs[0], runs):
            assert dict(reduce(several, bins).details["calibration"]) == told
    found = reduce_powder([runs[0], measured()], grid).details
    assert "calibration" not in found
    assert dict(found["calibrations"]["1"]) == told
    assert not found["calibrations"]["2"]
    assert reduce_powder(measured(), grid).details.keys() == {"weights"}


GRID_OF_RUNS = SpectrumGrid(np.arange(6.0, 30, 4), np.arange(1.0, 6, 0.5))


def test_the_quantity_of_runs_is_kept():
    run = measured()
    chi = run.replace(quantity="chi")
    assert reduce_powder(run, GRID_OF_RUNS).quantity == "sqe"
    assert reduce_powder([chi, chi], GRID_OF_RUNS).quantity == "chi"
    for runs in ([run, chi], [chi, run.replace(quantity="sqe")]):
        with pytest.raises(ValueError, match="one quantity, got some of chi and other"):
            reduce_powder(runs, GRID_OF_RUNS)


def test_runs_without_errors_and_other_incident_energies_are_told():
    run = measured()
    with pytest.warns(MeasurementWarning, match="1 of 2 runs have no errors"):
        found = reduce_powder([run, run.replace(error=None)], GRID_OF_RUNS)
    assert np.isnan(found.error).all()
    grid = GRID_OF_RUNS.replace(incident_energy=1.5 * run.incident_energy)
    with pytest.warns(MeasurementWarning, match="The grid must have the incident en"):
        found = reduce_powder(run, grid)
    assert found.grid.incident_energy == run.incident_energy


def test_no_runs_and_no_widths_are_named():
    with pytest.raises(ValueError, match="Some run must be given"):
        reduce_powder([], GRID_OF_RUNS)
    run = measured()
    for width, told in ((np.nan, "NaN"), (0.0, "0"), (-1.0, "0, NaN or negative")):
        odd = run.replace(polar_width=np.full(len(run.polar), width))
        with pytest.raises(ValueError, match=f"got {told}.* as polar_width throughout"):
            reduce_powder(odd, GRID_OF_RUNS)
