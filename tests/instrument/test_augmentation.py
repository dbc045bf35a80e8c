"""Ranges, values drawn from them, and the pixels that patterns see together."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skphonon.instrument.augmentation import (
    Coverage,
    counted,
    nuisances_among,
    settle_range,
    settle_ranges,
    stream,
    value_at,
)


class Simulator:
    nuisance_names = ("q_scale", "temperature")


def test_ranges_come_in_the_order_of_names():
    asked = {"temperature": (5, 300), "q_scale": 1.0, "counts": (10, 100)}
    ranges = settle_ranges(Simulator(), (0, 0.1), asked)
    assert list(ranges) == ["noise", "counts", "q_scale", "temperature"]
    assert ranges["q_scale"] == (1.0, 1.0)
    assert nuisances_among(ranges) == {"q_scale": (1, 1), "temperature": (5, 300)}


def test_what_is_no_range_is_refused():
    with pytest.raises(ValueError, match="augmentation must name some of scale"):
        settle_ranges(Simulator(), 0.0, {"colour": 1})
    with pytest.raises(ValueError, match=r"argument of its own.*noise=\(0, 0\.1\) bes"):
        settle_ranges(Simulator(), 0.0, {"noise": (0, 0.1)})
    with pytest.raises(ValueError, match="low not above high; got"):
        settle_range("q_scale", (1.1, 0.9))
    with pytest.raises(TypeError, match="augmentation must be a dict"):
        settle_ranges(Simulator(), 0.0, ["scale"])
    with pytest.raises(ValueError, match=r"counts must be at most 1e\+12 neutrons"):
        settle_range("counts", (10, 1e30))
    with pytest.raises(ValueError, match="counts must be positive"):
        settle_range("counts", (0, 10))


def test_values_at_shares():
    assert value_at(0.25, (2.0, 4.0)) == 2.5
    assert_allclose(value_at(0.5, (1.0, 100.0), in_logarithm=True), 10.0)


def test_streams_depend_on_row_and_purpose_alone():
    first = stream(3, 7, (1,)).uniform(size=4)
    assert_array_equal(stream(3, 7, (1,)).uniform(size=4), first)
    for other in (stream(3, 8, (1,)), stream(3, 7, (2,)), stream(4, 7, (1,))):
        assert (other.uniform(size=4) != first).all()
    assert_array_equal(counted(np.ones(50), 9.0, 3, 7), counted(np.ones(50), 9.0, 3, 7))


@pytest.mark.parametrize("shape", [(11,), (3, 13)])
def test_patterns_see_together_what_one_of_them_sees(shape):
    rng = np.random.default_rng(0)
    patterns = rng.uniform(size=(6, *shape)) < 0.3
    coverage, chosen = Coverage.of(patterns), np.array([4, 0, 5])
    assert_array_equal(coverage.together(chosen), patterns[chosen].any(axis=0))
    alive = rng.uniform(size=(3, shape[-1])) < 0.5
    between = [slice(None), *[None] * (len(shape) - 1)]
    expected = (patterns[chosen] & alive[tuple(between)]).any(axis=0)
    assert_array_equal(coverage.together(chosen, alive), expected)
