"""`sobol` fills a box evenly, and a larger design holds the smaller one."""

import warnings

import jax.random as jr
import numpy as np
import pytest

from jaxcollapse._design import sobol
from jaxcollapse._sweep import sweep


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("small, large", [(1, 2), (10, 11), (60, 200), (64, 1024)])
def test_the_first_points_of_a_larger_design_are_those_of_a_smaller_one(seed, small, large):
    few, many = (sobol(count, seed=seed, log=["n"], decay=(0, 2), n=(10, 1e6)) for count in (small, large))
    for name in few:
        assert len(few[name]) == small and np.array_equal(few[name], many[name][:small])


def test_each_coordinate_has_one_point_in_each_of_as_many_equal_parts():
    found = sobol(128, decay=(0, 2), n=(10, 1e6), log="n")
    unit = {"decay": found["decay"] / 2, "n": np.log(found["n"] / 10) / np.log(1e5)}
    for values in unit.values():
        assert np.array_equal(np.sort(np.floor(values * 128)), np.arange(128))


def test_a_smooth_mean_is_closer_than_by_random_points():
    """∫∫ xy = 1/4; a random design of 1024 points errs by about 0.007."""
    error = [abs(np.mean(p["x"] * p["y"]) - 0.25) for p in (sobol(1024, seed=s, x=(0, 1), y=(0, 1)) for s in range(8))]
    assert max(error) < 0.001


def test_seeds_differ_and_one_seed_is_always_the_same():
    a, b, c = (sobol(8, seed=seed, x=(0, 1))["x"] for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not (a == c).any()


def test_points_stay_within_a_narrow_range():
    low = 1.0
    high = low + 4e-16
    x = sobol(64, x=(low, high))["x"]
    assert (x >= low).all() and (x < high).all()


def test_a_sweep_takes_the_design():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = sobol(5, a=(0, 1), b=(1, 2))
    table = sweep(lambda a, b, *, key: {"total": a + b}, key=jr.key(0), points=points)
    assert np.allclose(table.total, points["a"] + points["b"])


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"count": 0, "x": (0, 1)}, "count: got 0, expected a whole number"),
        ({"count": True, "x": (0, 1)}, "count: got True"),
        ({"count": 4, "seed": -1, "x": (0, 1)}, "seed: got -1"),
        ({"count": 4}, "ranges: got none"),
        ({"count": 4, "x": (1, 1)}, r"x: got \(1, 1\), expected finite low < high"),
        ({"count": 4, "x": (0, np.inf)}, "x: got"),
        ({"count": 4, "x": (np.nan, 1)}, "x: got"),
        ({"count": 4, "x": (0, 1, 2)}, "x: got .*expected a range"),
        ({"count": 4, "x": 3}, "x: got 3, expected a range"),
        ({"count": 4, "x": (0, 1), "log": ["x"]}, "x: got .* in log, expected low > 0"),
        ({"count": 4, "x": (0, 1), "log": ["n"]}, "log: got 'n', expected names among the ranges: x"),
    ],
)
def test_bad_input_is_named(asked, message):
    with pytest.raises(ValueError, match=message):
        sobol(**asked)
