import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skphonon.instrument import SpectrumGrid
from skphonon.learning import ExtrapolationWarning
from skphonon.preprocessing import MaskedSpectrumPreprocessor, normalize_spectra

N_ENERGY, N_Q = 4, 5
HIDDEN = [0, 7, 19]
VISIBLE = np.setdiff1d(np.arange(N_ENERGY * N_Q), HIDDEN)


@pytest.fixture
def X():
    X = np.random.default_rng(0).random((12, N_ENERGY * N_Q))
    X[:, HIDDEN] = np.nan
    return X


@pytest.mark.parametrize("normalization", ["mean-range", "standard"])
def test_scale_and_offset_do_not_matter(X, normalization):
    scales = np.geomspace(1e-6, 1e6, len(X))[:, None]
    expected = normalize_spectra(X, normalization)
    # Offsets ten times the scale cost a decimal digit or two of the sixteen.
    assert_allclose(
        normalize_spectra(scales * (X - 10), normalization), expected, atol=1e-12
    )


def test_each_normalization_is_what_it_says(X):
    ranged = normalize_spectra(X)
    assert_allclose(np.nanmean(ranged, axis=1), 0, atol=1e-15)
    assert_allclose(np.nanmax(ranged, axis=1) - np.nanmin(ranged, axis=1), 1)
    standard = normalize_spectra(X, "standard")
    assert_allclose(np.nanmean(standard, axis=1), 0, atol=1e-15)
    assert_allclose(np.nanstd(standard, axis=1), 1)
    by_mean = normalize_spectra(X, "mean")
    assert_allclose(np.nanmean(by_mean, axis=1), 1)
    assert_allclose(by_mean, normalize_spectra(7 * X, "mean"))
    assert_array_equal(normalize_spectra(X, None), X)


def test_spectra_do_not_influence_one_another(X):
    assert_array_equal(normalize_spectra(X)[3:4], normalize_spectra(X[3:4]))


def test_the_published_spectra_are_normalised_like_this(aluminium_folder):
    torch = pytest.importorskip("torch")
    image = torch.load(aluminium_folder / "exp_chi_50K_mean.pt", weights_only=True)
    row = image.numpy().reshape(1, -1)
    # Normalising once more changes nothing but the rounding of 4144 additions.
    assert_allclose(normalize_spectra(row), row, atol=1e-13)


@pytest.mark.parametrize(
    ("values", "normalization", "message"),
    [
        ([[1.0, 2.0], [3.0, 3.0]], "mean-range", r"not be constant.*1 of 2.*sample 1"),
        ([[1.0, 2.0], [3.0, np.nan]], "standard", r"not be constant.*sample 1"),
        ([[1.0, 2.0], [-3.0, 2.0]], "mean", r"positive mean.*sample 1"),
        ([[np.nan, np.nan]], None, r"at least one measured pixel.*sample 0"),
        ([[1.0, np.inf]], None, "infinity"),
        ([[1.0, 2.0]], "max", "normalization must be one of mean-range"),
    ],
)
def test_normalize_spectra_refuses(values, normalization, message):
    with pytest.raises(ValueError, match=message):
        normalize_spectra(values, normalization)


def test_masked_pixels_are_dropped_and_put_back(X):
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    assert_array_equal(np.flatnonzero(preprocessor.mask_), VISIBLE)
    Z = preprocessor.transform(X)
    assert Z.shape == (len(X), len(VISIBLE))
    # Sums run in another order once pixels are gone: the last digit may differ.
    restored = preprocessor.inverse_transform(Z)
    assert_allclose(restored, normalize_spectra(X), atol=1e-15)


def test_without_normalization_the_inverse_is_exact(X):
    preprocessor = MaskedSpectrumPreprocessor(normalization=None)
    restored = preprocessor.inverse_transform(preprocessor.fit_transform(X))
    assert_array_equal(restored, X)


def test_images_are_rows(X):
    preprocessor = MaskedSpectrumPreprocessor().fit(X.reshape(-1, N_ENERGY, N_Q))
    expected = MaskedSpectrumPreprocessor().fit_transform(X)
    assert_array_equal(preprocessor.transform(X), expected)
    images = X.reshape(-1, N_ENERGY, N_Q)
    assert_array_equal(preprocessor.transform(images), expected)


def test_pixels_beyond_the_mask_are_ignored(X):
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    more = np.where(np.isnan(X), 1e9, X)
    assert_array_equal(preprocessor.transform(more), preprocessor.transform(X))


def test_single_precision_is_kept(X):
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    Z = preprocessor.transform(X.astype(np.float32))
    assert Z.dtype == np.float32
    assert preprocessor.inverse_transform(Z).dtype == np.float32
    # Single precision holds 7 digits; values are of order one.
    assert_allclose(Z, preprocessor.transform(X), atol=1e-6)


def test_nan_inside_the_mask_names_sample_and_count(X):
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    X[4, VISIBLE[:3]] = np.nan
    with pytest.raises(
        ValueError, match=r"all 17 pixels.*1 of 12.*sample 4 with 3 NaN"
    ):
        preprocessor.transform(X)


def test_a_constant_spectrum_is_refused(X):
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    X[2, VISIBLE] = 5.0
    with pytest.raises(ValueError, match=r"not be constant.*1 of 12.*sample 2"):
        preprocessor.transform(X)


def test_a_wrong_number_of_pixels_is_refused(X):
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    with pytest.raises(ValueError, match=r"X has 18 features.*expecting 20"):
        preprocessor.transform(X[:, :18])
    with pytest.raises(ValueError, match=r"each of the 17 pixels.*\(12, 20\)"):
        preprocessor.inverse_transform(X)


def test_fit_refuses_what_teaches_no_mask(X):
    X[1] = np.nan
    with pytest.raises(ValueError, match=r"at least one measured pixel.*sample 1"):
        MaskedSpectrumPreprocessor().fit(X)
    halves = np.where(np.arange(20) < 10, [[1.0], [np.nan]], [[np.nan], [1.0]])
    with pytest.raises(ValueError, match=r"min_valid_fraction=0.8.*best has 0.5"):
        MaskedSpectrumPreprocessor().fit(halves)


def test_infinity_is_refused(X):
    X[0, 3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        MaskedSpectrumPreprocessor().fit(X)


def test_the_fraction_decides_about_ragged_pixels(X):
    X[:4, 1] = np.nan  # measured in 8 of 12
    assert not MaskedSpectrumPreprocessor().fit(X).mask_[1]
    assert MaskedSpectrumPreprocessor(min_valid_fraction=8 / 12).fit(X).mask_[1]
    X[0, 2] = np.nan  # measured in 11 of 12
    assert not MaskedSpectrumPreprocessor(min_valid_fraction=1.0).fit(X).mask_[2]


def test_gaps_known_from_training_are_filled_with_a_warning(X):
    X[5, 2] = np.nan
    preprocessor = MaskedSpectrumPreprocessor(normalization=None).fit(X)
    with pytest.warns(UserWarning, match=r"1 of 12 spectra \(first: sample 5\)"):
        Z = preprocessor.transform(X)
    column = np.flatnonzero(VISIBLE == 2)[0]
    assert_allclose(Z[5, column], np.nanmean(X[:, 2]))
    assert np.isfinite(Z).all()


def test_constants_known_from_training_become_zero_with_a_warning(X):
    X[3, VISIBLE] = 2.0
    preprocessor = MaskedSpectrumPreprocessor().fit(X)
    with pytest.warns(UserWarning, match=r"1 of 12 spectra \(first: sample 3\)"):
        Z = preprocessor.transform(X)
    assert_array_equal(Z[3], 0)
    assert_allclose(Z[4:], normalize_spectra(X[4:, VISIBLE]), atol=1e-15)


def test_names_follow_the_pixels(X):
    pd = pytest.importorskip("pandas")
    names = [f"pixel {i}" for i in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names)
    preprocessor = MaskedSpectrumPreprocessor().set_output(transform="pandas")
    Z = preprocessor.fit_transform(frame)
    assert list(Z.columns) == [names[i] for i in VISIBLE]
    anonymous = MaskedSpectrumPreprocessor().fit(X)
    assert anonymous.get_feature_names_out()[0] == "x1"


def test_works_as_the_first_step_of_a_grid_search(X):
    y = np.nanmean(X, axis=1)
    pipeline = make_pipeline(MaskedSpectrumPreprocessor(), Ridge())
    grid = {"maskedspectrumpreprocessor__normalization": ["standard", None]}
    search = GridSearchCV(clone(pipeline), grid, cv=3).fit(X, y)
    # Only the raw intensities know the mean.
    assert search.best_params_ == {"maskedspectrumpreprocessor__normalization": None}


GRID = SpectrumGrid(np.arange(10, 30.0), np.arange(1, 7, 0.5))
ENERGY, Q = (axis.ravel() for axis in np.meshgrid(*GRID.axes(), indexing="ij"))
SEEN = Q > 1 + (ENERGY - 10) / 10
BACKGROUND = {"normalization": "standard", "background": 3, "grid": GRID}


def lines(n_spectra=30, noise=0.0, seed=0):
    """Return lines that move, over the pixels that are seen."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(14, 22, (n_spectra, 1))
    X = np.exp(-((ENERGY - places - np.sin(Q)) ** 2) / 8)
    X = X + noise * rng.normal(size=X.shape)
    return np.where(SEEN, X, np.nan)


def test_a_smooth_background_changes_nothing():
    X = lines()
    preprocessor = MaskedSpectrumPreprocessor(**BACKGROUND).fit(X)
    e, q = ENERGY / 30, Q / 7
    smooth = 5 - 3 * e + 2 * q * e**2 - q**3
    with_background = preprocessor.transform(3 * X + 4 * smooth)
    assert_allclose(with_background, preprocessor.transform(X), atol=1e-11)
    with_more = preprocessor.transform(X + q**4)  # one degree more is signal
    assert np.abs(with_more - preprocessor.transform(X)).max() > 1e-3
    found = preprocessor.transform(X)
    assert_allclose(found @ preprocessor.background_.T, 0, atol=1e-10)
    assert_allclose(np.square(found).mean(axis=1), 1)
    assert preprocessor.background_.shape == (10, SEEN.sum())
    single = preprocessor.transform(np.float32(1e3 * smooth + X))
    assert single.dtype == np.float32
    assert_allclose(single, found, atol=0.01)  # four digits are left


def test_what_is_all_background_is_refused():
    preprocessor = MaskedSpectrumPreprocessor(**BACKGROUND).fit(lines())
    row = np.where(SEEN, 3 + ENERGY * Q, np.nan)
    with pytest.raises(ValueError, match="more than a background of degree 3"):
        preprocessor.transform(row[None])


def test_conditions_and_noise_become_columns():
    rng = np.random.default_rng(1)
    level = rng.uniform(0.02, 0.5, 200)
    X = lines(200) + level[:, None] * rng.normal(size=(200, ENERGY.size)) / 4
    temperature = rng.uniform(10, 600, 200)
    with_temperature = np.column_stack([X, temperature])
    preprocessor = MaskedSpectrumPreprocessor(n_conditions=1, noise=True, **BACKGROUND)
    found = preprocessor.fit_transform(with_temperature)
    n_kept = SEEN.sum()
    assert found.shape == (200, n_kept + 2)
    alone = MaskedSpectrumPreprocessor(**BACKGROUND).fit(X)
    assert_allclose(found[:, :n_kept], alone.transform(X))
    known, estimated = found[:, n_kept:].T
    assert np.corrcoef(known, temperature)[0, 1] > 1 - 1e-12
    assert np.corrcoef(estimated, np.log(level))[0, 1] > 0.95
    # the figure itself: white noise over the contrast with noise, by hand
    one = lines(1)[0, SEEN]
    spread = preprocessor.column_scale_[1] * estimated + preprocessor.column_mean_[1]
    middle = level.argmax()  # at lower levels curvature is seen beside noise
    by_hand = level[middle] / 4
    left = one - alone.background_.T @ (alone.background_ @ one)
    by_hand /= np.hypot(left.std(), by_hand)
    assert np.exp(spread[middle]) == pytest.approx(by_hand, rel=0.15)
    names = preprocessor.get_feature_names_out()
    assert list(names[-2:]) == [f"x{ENERGY.size}", "noise"]
    assert len(names) == found.shape[1]
    rows = preprocessor.inverse_transform(found)
    assert rows.shape == X.shape
    assert_array_equal(np.isfinite(rows[0]), SEEN)
    assert (
        preprocessor.set_output(transform="pandas").transform(with_temperature).shape
        == found.shape
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"background": 2}, "background needs the grid"),
        ({"noise": True}, "noise needs the grid"),
        ({"background": 2, "grid": SpectrumGrid([1.0, 2], [1.0, 2])}, "one of 4"),
        ({"background": 40, "grid": GRID}, "fewer than"),
        ({"background": 1, "grid": GRID, "normalization": "mean"}, "takes the mean"),
        ({"n_conditions": 1000}, "pixels before its 1000 conditions"),
    ],
)
def test_what_cannot_be_projected_or_known_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        MaskedSpectrumPreprocessor(**parameters).fit(lines())


def test_conditions_must_be_known():
    X = np.column_stack([lines(), np.full(30, 300.0)])
    preprocessor = MaskedSpectrumPreprocessor(n_conditions=1).fit(X)
    assert_allclose(preprocessor.transform(X)[:, -1], 0)  # the same for all
    with pytest.raises(
        ValueError, match=r"n_conditions=1 columns after its .* got none"
    ):
        preprocessor.transform(X[:, :-1])
    X[3, -1] = np.nan
    with pytest.raises(ValueError, match=r"must be known.*sample 3"):
        preprocessor.transform(X)


def test_as_many_conditions_as_the_grid_leaves():
    X = np.column_stack([lines(), np.full(30, 300.0)])
    preprocessor = MaskedSpectrumPreprocessor(n_conditions=2, **BACKGROUND)
    with pytest.raises(ValueError, match=r"n_conditions=2\).*Set n_conditions=1"):
        preprocessor.fit(X)


@pytest.fixture(scope="module")
def with_conditions():
    """Return a preprocessor of two conditions and noise, and its training rows."""
    rng = np.random.default_rng(3)
    X = lines(60, noise=0.1)
    X = np.column_stack([X, np.linspace(100, 300, 60), rng.uniform(1, 2, 60)])
    preprocessor = MaskedSpectrumPreprocessor(n_conditions=2, noise=True, **BACKGROUND)
    return preprocessor.fit(X), X


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        (-2, 309.0, None),
        (-2, 312.0, "is 312, trained from 100 to 300"),
        (-2, -173.0, f"column {ENERGY.size} of X is -173, trained from 100 to 300"),
        (-1, 2.2, f"column {ENERGY.size + 1} of X is 2.2"),
    ],
)
def test_conditions_beyond_training_are_told(with_conditions, column, value, told):
    preprocessor, X = with_conditions
    rows = X[:3].copy()
    rows[1, column] = value
    if told is None:
        preprocessor.transform(rows)
        return
    with pytest.warns(ExtrapolationWarning, match=told) as log:
        preprocessor.transform(rows)
    assert len(log) == 1
    assert "1 of 3 spectra (first: sample 1)" in str(log[0].message)


def test_more_noise_than_in_training_is_told(with_conditions):
    preprocessor, X = with_conditions
    noise = np.random.default_rng(0).normal(size=X[:2, :-2].shape)
    rows = X[:2].copy()
    rows[:, :-2] += 0.02 * noise
    preprocessor.transform(rows)
    rows[:, :-2] += 0.3 * noise
    rows[:, -2] = 1000.0
    message = r"is 1000.*noise is 0.* up to 0\."
    with pytest.warns(ExtrapolationWarning, match=message) as log:
        preprocessor.transform(rows)
    assert len(log) == 1
    quiet = MaskedSpectrumPreprocessor(noise=True, **BACKGROUND).fit(lines())
    quiet.transform(lines(5, noise=0.003))
    with pytest.warns(ExtrapolationWarning, match="noise is 0"):
        quiet.transform(lines(5, noise=0.1))


def test_a_condition_that_never_differed_changes_nothing():
    X = np.column_stack([lines(), np.full(30, 300.0)])
    preprocessor = MaskedSpectrumPreprocessor(n_conditions=1).fit(X)
    X[:, -1] = 301.0
    assert_array_equal(preprocessor.transform(X)[:, -1], 0)
    X[:, -1] = 310.0
    with pytest.warns(ExtrapolationWarning, match="is 310, trained from 300 to 300"):
        assert_array_equal(preprocessor.transform(X)[:, -1], 0)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 2)])
def test_noise_needs_neighbours(shape):
    grid = SpectrumGrid(np.arange(10.0, 10 + shape[0]), np.arange(1.0, 1 + shape[1]))
    X = np.random.default_rng(0).random((5, np.prod(shape)))
    preprocessor = MaskedSpectrumPreprocessor(None, grid=grid, noise=True)
    with pytest.raises(ValueError, match="three neighbouring pixels"):
        preprocessor.fit(X)


def test_numbers_in_hidden_pixels_are_told():
    grid = SpectrumGrid(
        np.arange(10.0, 30), np.arange(1.0, 8), incident_energy=40, two_theta=(5, 130)
    )
    hidden = ~grid.mask.ravel()
    X = np.random.default_rng(0).random((5, hidden.size))
    X[:, hidden] = 0.0
    preprocessor = MaskedSpectrumPreprocessor("standard", background=1, grid=grid)
    with pytest.warns(UserWarning, match=f"in {hidden.sum()} of .* put NaN in their"):
        preprocessor.fit(X)
    X[:, hidden] = np.nan
    X[:, 100] = np.nan  # what a measurement lacks besides
    preprocessor.fit(X)
