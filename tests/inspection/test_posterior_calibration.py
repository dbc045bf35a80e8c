"""Ranks and coverage of posteriors that are known in closed form, and of wrong ones."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, kstest, norm

from skphonon.inspection import (
    RankDisplay,
    ReliabilityDisplay,
    interval_coverage,
    rank_statistics,
    tarp_coverage,
)

N_SPECTRA, N_DRAWS = 1000, 99


def conjugate(correlation=0.0, n_spectra=N_SPECTRA, seed=0):
    """Return truths of a normal prior, and mean and covariance of their posteriors.

    The prior is N(0, 1), a datum is the truth with noise of covariance S, so that the
    posterior has the covariance (1 + S^-1)^-1 and the mean of that times S^-1 times x.
    """
    rng = np.random.default_rng(seed)
    noise = 0.25 * np.array([[1, correlation], [correlation, 1]])
    truth = rng.normal(size=(n_spectra, 2))
    x = truth + rng.multivariate_normal(np.zeros(2), noise, n_spectra)
    covariance = np.linalg.inv(np.eye(2) + np.linalg.inv(noise))
    return truth, x @ np.linalg.inv(noise) @ covariance, covariance


def draw(mean, covariance, n_draws=N_DRAWS, seed=1):
    normal = np.random.default_rng(seed).normal(size=(len(mean), n_draws, 2))
    return mean[:, None] + normal @ np.linalg.cholesky(covariance).T


def table_of(draws, truth, **options):
    return RankDisplay.from_draws(draws, truth, random_state=0, **options).table


@pytest.mark.parametrize("n_draws", [2, 7, 99])
def test_ranks_in_right_posteriors_are_even(n_draws):
    truth, mean, covariance = conjugate(0.6, n_spectra=4000)
    table = table_of(draw(mean, covariance, n_draws), truth)
    assert (table["p_value"] > 0.01).all()
    # standard deviations: one of four is beyond 3 once in a hundred times
    assert (abs(table[["shift", "overconfidence"]]) < 3).all(axis=None)
    assert (table["n_spectra"] == 4000).all()


def test_ranks_are_even_with_ties():
    rng = np.random.default_rng(0)
    values = rng.integers(3, size=(4000, 10, 1)).astype(float)
    ranks = rank_statistics(values[:, 1:], values[:, 0], random_state=0)
    assert kstest(ranks[:, 0], "uniform").pvalue > 0.01


def test_rank_counts_draws_below():
    draws = np.array([[[1.0], [2.0], [3.0], [4.0]]])
    for truth, low, high in ((0.0, 0.0, 0.2), (2.5, 0.4, 0.6), (9.0, 0.8, 1.0)):
        ranks = [
            rank_statistics(draws, [[truth]], random_state=i)[0, 0] for i in range(50)
        ]
        assert low <= min(ranks) < low + 0.02
        assert high - 0.02 < max(ranks) <= high


def test_narrow_wide_and_shifted_posteriors_are_told_apart():
    truth, mean, covariance = conjugate()
    width = np.sqrt(covariance[0, 0])
    right = table_of(draw(mean, covariance), truth)
    narrow = table_of(draw(mean, covariance / 2), truth)
    wide = table_of(draw(mean, covariance * 2), truth)
    above = table_of(draw(mean + 0.3 * width, covariance), truth)
    for wrong in (narrow, wide, above):
        assert (wrong["p_value"] < 1e-5).all()
    assert (narrow["overconfidence"] > 10).all()  # a U
    assert (wide["overconfidence"] < -10).all()  # a dome
    assert (above["shift"] < -5).all()  # a slope: truths lie below the draws
    for even in (narrow, wide):
        assert (abs(even["shift"]) < 3.5).all()
    assert (abs(above["overconfidence"]) < 3.5).all()
    assert (right["p_value"] > 0.01).all()


@pytest.mark.parametrize("references", ["random", "ellipsoid", "given"])
def test_joint_coverage_of_right_posteriors_is_in_the_bands(references):
    truth, mean, covariance = conjugate(0.8)
    if references == "given":  # what depends on the spectrum alone may be given
        references = mean + 1
    coverage = tarp_coverage(
        draw(mean, covariance), truth, references=references, random_state=0
    )
    table = coverage.table
    assert coverage.p_value > 0.01
    assert table.eval("low_all <= observed <= high_all").all()
    assert table.eval("low <= observed <= high").mean() > 0.9
    assert coverage.credibility.shape == (N_SPECTRA,)
    half = table.query("nominal == 0.5").iloc[0]
    assert half["observed"] == (coverage.credibility < 0.5).mean()
    assert_allclose(
        half[["low", "high"]].tolist(), np.array(binom.interval(0.99, 1000, 0.5)) / 1000
    )
    # Kolmogorov's limit, 1.628 / sqrt(n) for 1 % of large n
    assert half["high_all"] - 0.5 == pytest.approx(1.628 / np.sqrt(1000), rel=0.01)
    assert table["observed"].iloc[[0, -1]].tolist() == [0, 1]


def test_kolmogorov_band_holds_99_of_100_curves():
    rng = np.random.default_rng(0)
    outside = 0
    for seed in range(200):
        x = rng.normal(size=(20, 1, 1))
        truth, draws = rng.normal(x)[:, 0], rng.normal(x, size=(20, 9, 1))
        table = tarp_coverage(draws, truth, random_state=seed).table
        outside += (
            not table["observed"].between(table["low_all"], table["high_all"]).all()
        )
    assert outside <= binom.ppf(0.999, 200, 0.01)


@pytest.mark.parametrize(("factor", "sign"), [(0.5, -1), (2.0, 1)])
def test_joint_coverage_tells_narrow_from_wide_posteriors(factor, sign):
    truth, mean, covariance = conjugate()
    draws = draw(mean, covariance * factor)
    random = tarp_coverage(draws, truth, random_state=0)
    assert random.p_value < 1e-3
    ellipsoid = tarp_coverage(draws, truth, references="ellipsoid", random_state=0)
    assert ellipsoid.p_value < 1e-10
    middle = ellipsoid.table.query("0.2 < nominal < 0.8")
    assert (sign * (middle["observed"] - middle["nominal"]) > 0.03).all()


def test_coverage_of_ellipsoids_has_a_closed_form():
    """In two dimensions a radius r holds 1 - exp(-r^2 / 2)."""
    truth, mean, covariance = conjugate(0.5, n_spectra=4000)
    draws = draw(mean, covariance * 0.5, 199)
    table = tarp_coverage(
        draws, truth, references="ellipsoid", random_state=0
    ).table.query("nominal < 1")
    # c = 1 - exp(-r^2) of posteriors of half the variance; 4000 scatter by 0.8 %
    expected = 1 - np.sqrt(1 - table["nominal"])
    assert_allclose(table["observed"], expected, atol=0.025)


def test_joint_coverage_tells_wrong_correlations_and_ranks_do_not():
    truth, mean, covariance = conjugate(0.9, n_spectra=3000)
    # the posterior's own correlation has to change, its marginals to stay
    independent = np.diag(np.diag(covariance))
    draws = draw(mean, independent)
    assert (table_of(draws, truth)["p_value"] > 0.01).all()
    assert tarp_coverage(draws, truth, random_state=0).p_value < 1e-3
    few = slice(500)  # too few for random points
    ellipsoid = tarp_coverage(
        draws[few], truth[few], references="ellipsoid", random_state=0
    )
    assert ellipsoid.p_value < 1e-3
    right = draw(mean, covariance)
    for references in ("random", "ellipsoid"):
        coverage = tarp_coverage(right, truth, references=references, random_state=0)
        assert coverage.p_value > 0.01


def test_prior_in_the_place_of_posteriors_passes_as_documented():
    truth, _, _ = conjugate()
    draws = draw(np.zeros((N_SPECTRA, 2)), np.eye(2))
    assert (table_of(draws, truth)["p_value"] > 0.01).all()
    assert tarp_coverage(draws, truth, random_state=0).p_value > 0.01


def test_units_of_parameters_do_not_matter():
    truth, mean, covariance = conjugate(0.5, n_spectra=100)
    draws, units = draw(mean, covariance), np.array([1e3, 1e-5])
    for references in ("random", "ellipsoid"):
        one = tarp_coverage(draws, truth, references=references, random_state=0)
        other = tarp_coverage(
            draws * units, truth * units, references=references, random_state=0
        )
        assert_allclose(one.credibility, other.credibility, atol=1e-9)


def weighted(mean, covariance, n_draws, seed=2):
    """Return draws from a wider, shifted normal with their importance weights."""
    shift = 0.3 * np.sqrt(np.diag(covariance))
    draws = draw(mean + shift, 1.5 * covariance, n_draws, seed)
    inverse = np.linalg.inv(covariance)

    def squares(centre):
        away = draws - centre[:, None]
        return np.einsum("kni,ij,knj->kn", away, inverse, away)

    return draws, np.exp(squares(mean + shift) / 3 - squares(mean) / 2)


def test_weighted_draws_are_as_good_as_others():
    truth, mean, covariance = conjugate(0.6)
    draws, weights = weighted(mean, covariance, 300)
    assert (table_of(draws, truth, weights=weights)["p_value"] > 0.01).all()
    assert (table_of(draws, truth)["p_value"] < 1e-3).all()
    for references in ("random", "ellipsoid"):
        options = {"references": references, "random_state": 0}
        assert tarp_coverage(draws, truth, weights, **options).p_value > 0.01
        assert tarp_coverage(draws, truth, **options).p_value < 1e-2


@pytest.mark.parametrize("references", ["random", "ellipsoid"])
def test_weighted_draws_rank_as_resampled_ones(references):
    truth, mean, covariance = conjugate(0.6, n_spectra=30)
    draws, weights = weighted(mean, covariance, 4000)
    rng = np.random.default_rng(0)
    resampled = [
        rows[rng.choice(len(rows), len(rows), p=weight / weight.sum())]
        for rows, weight in zip(draws, weights, strict=True)
    ]
    # a share of 4000 scatters by 0.8 % of draws, by as much again of weights
    one = rank_statistics(draws, truth, weights, random_state=0)
    assert_allclose(one, rank_statistics(resampled, truth, random_state=0), atol=0.03)
    options = {"references": references, "random_state": 0}
    assert_allclose(
        tarp_coverage(draws, truth, weights, **options).credibility,
        tarp_coverage(resampled, truth, **options).credibility,
        atol=0.04,
    )


@pytest.mark.parametrize("references", ["random", "ellipsoid"])
def test_draws_of_no_weight_do_not_count(references):
    truth, mean, covariance = conjugate(n_spectra=20)
    draws = draw(mean, covariance)
    more = np.concatenate([draws, draws + 5], axis=1)
    weights = np.repeat([[3.0] * N_DRAWS + [0.0] * N_DRAWS], 20, axis=0)
    assert_allclose(
        rank_statistics(more, truth, weights, random_state=0),
        rank_statistics(draws, truth, random_state=0),
    )
    options = {"references": references, "random_state": 0}
    assert_allclose(
        tarp_coverage(more, truth, weights, **options).credibility,
        tarp_coverage(draws, truth, **options).credibility,
    )


def test_posteriors_bring_their_draws_and_weights():
    truth, mean, covariance = conjugate(n_spectra=20)
    draws, weights = weighted(mean, covariance, 50)
    posteriors = [
        SimpleNamespace(draws=pd.DataFrame(rows, columns=["a", "b"]), weights=weight)
        for rows, weight in zip(draws, weights, strict=True)
    ]
    assert_array_equal(
        rank_statistics(posteriors, truth, random_state=0),
        rank_statistics(draws, truth, weights, random_state=0),
    )
    assert list(RankDisplay.from_draws(posteriors, truth).data) == ["a", "b"]
    ragged = [rows[: 10 + k] for k, rows in enumerate(draws)]
    assert rank_statistics(ragged, truth).shape == (20, 2)


def test_coverage_of_intervals_has_a_closed_form():
    truth, mean, covariance = conjugate(n_spectra=4000)
    table = interval_coverage(
        draw(mean, covariance / 4, 399), truth, names=["a", "b"], random_state=0
    )
    expected = 2 * norm.cdf(norm.ppf((1 + table["nominal"]) / 2) / 2) - 1
    # of 4000 spectra, 0.8 %; ends of intervals of 399 draws scatter too
    assert_allclose(table["observed"], expected, atol=0.03)
    right = interval_coverage(draw(mean, covariance), truth, random_state=0)
    assert right.eval("low <= observed <= high").mean() > 0.9
    drawn = ReliabilityDisplay(data=table)
    assert list(drawn.data["target"].unique()) == ["a", "b"]
    one = interval_coverage(draw(mean, covariance), truth, levels=0.68)
    assert one["nominal"].tolist() == [0.68, 0.68]
    with pytest.raises(ValueError, match=r"between 0 and 1, got \[68.0\]"):
        interval_coverage(draw(mean, covariance), truth, levels=68)


TRUTH = np.arange(6.0).reshape(3, 2)
DRAWS = np.random.default_rng(0).normal(size=(3, 10, 2))


def with_value(array, place, value):
    changed = np.array(array)
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("draws", "truth", "weights", "words"),
    [
        (
            DRAWS[:2],
            TRUTH,
            None,
            "each of the 3 spectra of truth, in this order; got 2",
        ),
        (DRAWS, TRUTH[0], None, r"a row a spectrum; got \(2,\)"),
        (DRAWS, with_value(TRUTH, (1, 0), np.nan), None, "not in the spectra 1"),
        (DRAWS[..., :1], TRUTH, None, "spectrum 0 must have the 2 parameters of truth"),
        (DRAWS[:, :1], TRUTH, None, "spectrum 0 must be two or more, got 1"),
        (DRAWS[..., 0], TRUTH, None, r"\(n_draws, n_parameters\), got \(10,\)"),
        (with_value(DRAWS, (2, 4, 0), np.inf), TRUTH, None, "2 .* got 1 of 10 draws"),
        (DRAWS, TRUTH, np.zeros((3, 10)), "not all zero; got values from 0 to 0"),
        (DRAWS, TRUTH, with_value(np.ones((3, 10)), (1, 0), -1), "values from -1 to 1"),
        (DRAWS, TRUTH, with_value(np.ones((3, 10)), (1, 0), np.nan), "from nan to nan"),
        (DRAWS, TRUTH, np.ones((2, 10)), "3 rows; got 2"),
        (DRAWS, TRUTH, np.ones((3, 9)), r"shape \(10,\), one a draw; got \(9,\)"),
        ([["a", "b"]] * 3, TRUTH, None, "must be real numbers"),
        (7, TRUTH, None, "got int"),
    ],
)
def test_what_does_not_fit_is_said(draws, truth, weights, words):
    for function in (rank_statistics, tarp_coverage, interval_coverage):
        with pytest.raises(ValueError, match=words):
            function(draws, truth, weights)


def test_references_that_do_not_fit_are_refused():
    for references, words in (
        ("balls", "got 'balls'"),
        (TRUTH[:2], r"shape of truth, \(3, 2\); got shape \(2, 2\)"),
        (with_value(TRUTH, (0, 0), np.nan), "1 values that are not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            tarp_coverage(DRAWS, TRUTH, references=references)
    with pytest.raises(ValueError, match=r"columns \[1\]. Leave parameters out"):
        tarp_coverage(DRAWS, with_value(TRUTH, (..., 1), 3.0))


def test_names_that_do_not_fit_are_refused():
    for names, words in (
        (["a"], "each of 2 parameters, got"),
        ("ab", "got 'ab'"),
        (["a", "a"], "differ from one another"),
    ):
        with pytest.raises(ValueError, match=words):
            RankDisplay.from_draws(DRAWS, TRUTH, names=names)
