import numpy as np
import pytest
from numpy.testing import assert_allclose

from skphonon.inversion._choices import Linear, spread_of_choices

N = 240
X = np.linspace(-1, 1, N)
RANKS = {"energies": np.arange(N) / (N - 1)}
NOTHING = np.zeros((N, 0))
BEFORE = np.zeros(0), np.zeros((0, 1))


def fitted(data, before=None):
    """A constant times cos(x), on a background of a constant: fit, and its Linear."""
    columns, shape = np.ones((N, 1)), np.cos(2 * X)
    both = np.column_stack([shape, columns])
    if before is None:
        value = np.linalg.lstsq(both, data, rcond=None)[0][0]
        before = BEFORE
    else:
        off, rows = before(0.0)
        wide = np.block([[both], [rows, np.zeros((len(rows), 1))]])
        value = np.linalg.lstsq(wide, np.append(data, -off), rcond=None)[0][0]
        before = before(value)
    # target less what the parameter gives: slopes move it
    return value, Linear(data - value * shape, columns, shape[:, None], before)


def test_shifts_are_those_of_other_fits():
    rng = np.random.default_rng(0)
    data = 3 * np.cos(2 * X) + 1 + 0.5 * X**3 + rng.normal(size=N)
    value, linear = fitted(data)
    _, choices = spread_of_choices(linear, RANKS, (X**2)[:, None], {})
    shifts = {each.name: each.shift[0] for each in choices}
    both = np.column_stack([np.cos(2 * X), np.ones(N)])
    for name, kept in (
        ("lowest energies left out", RANKS["energies"] > 0.12),
        ("highest energies left out", RANKS["energies"] < 0.88),
    ):
        again = np.linalg.lstsq(both[kept], data[kept], rcond=None)[0][0]
        assert_allclose(shifts[name], again - value, atol=1e-9)
    more = np.linalg.lstsq(np.column_stack([both, X**2]), data, rcond=None)[0][0]
    assert_allclose(shifts["higher order of the background"], more - value, atol=1e-9)


def test_a_prior_stays_where_data_are_left_out():
    rng = np.random.default_rng(1)

    def held(value):
        return np.array([(value - 3.0) / 1e-3]), np.array([[1e3]])

    data = 3 * np.cos(2 * X) + 5 * X**2 + rng.normal(size=N)
    _, linear = fitted(data, held)
    added, choices = spread_of_choices(linear, RANKS, NOTHING, {})
    assert max(abs(each.shift[0]) for each in choices) < 1e-3
    assert added[0, 0] < 1e-6


@pytest.mark.parametrize("wrong", [0.0, 2.0])
def test_only_wrong_models_are_moved_beyond_noise(wrong):
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(200):
        data = 3 * np.cos(2 * X) + wrong * np.cos(5 * X + 1) + rng.normal(size=N)
        _, linear = fitted(data)
        added, _ = spread_of_choices(linear, RANKS, NOTHING, {})
        columns = np.column_stack([np.cos(2 * X), np.ones(N)])
        shares.append(added[0, 0] / np.linalg.inv(columns.T @ columns)[0, 0])
    if wrong:
        assert np.mean(shares) > 5
    else:
        assert np.mean(shares) < 0.2


def test_further_parameters_with_knowledge_of_them():
    rng = np.random.default_rng(3)
    data = 3 * np.cos(2 * X) + 2 * np.cos(4 * X) + rng.normal(size=N)
    value, linear = fitted(data)
    slopes = np.cos(4 * X)[:, None]
    free = {"shells": (slopes, np.zeros((1, 1)))}
    held = {"shells": (slopes, np.array([[1e12]]))}
    (choice,) = spread_of_choices(linear, {}, NOTHING, free)[1]
    both = np.column_stack([np.cos(2 * X), np.ones(N), np.cos(4 * X)])
    again = np.linalg.lstsq(both, data, rcond=None)[0][0]
    assert_allclose(choice.shift[0], again - value, atol=1e-9)
    (choice,) = spread_of_choices(linear, {}, NOTHING, held)[1]
    assert_allclose(choice.shift[0], 0.0, atol=1e-9)
