"""Common random numbers: every point of a sweep gets the same uniforms, so that differences along its grid are sharper.

    Var(f(x) − f(x + δ)) with common numbers / with independent ones = 1 − ρ where both variances agree
"""

import functools

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse._plan import plan
from jaxcollapse._sweep import sweep
from tests.helpers import assert_mean, t_bound

KEY = jr.key(31)
TARGET = jc.zipf(50)
STEP, SIZES = 0.05, (20, 200, 1000)  # one by one; by chains, which couple neighbours more closely
ALPHAS = {"alpha": (0.3, 0.3 + STEP), "n": SIZES}


def raw(a, b, *, key):
    return {"x": jr.uniform(key), "bits": ("one", jr.bits(key, (3,)))}


def loop(alpha, n):
    return jc.Loop(TARGET, jc.Tabular(), jc.Replace(), jc.Constant(alpha), jc.Constant(n))


def risk(alpha, n, *, key, lineages=400, generations=10):
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, TARGET.probs)
    _, r = jc.ensemble(loop(alpha, n), generations, lineages=lineages, key=key, record=record)
    return {"risk": ("lineage", r[:, -1])}


def exact_risk(alpha, n, generations=10):
    curve = lambda a, m: jc.theory.risk(jc.Constant(a), jc.Constant(m), generations)
    relative = jnp.vectorize(curve, signature="(),()->(t)")(jnp.asarray(alpha, float), jnp.asarray(n, float))
    return np.asarray(jc.metrics.diversity(TARGET.probs) * relative[..., -1], float)


@pytest.fixture(scope="module")
def tables():
    """Risks `alpha n lineage` with common and with independent numbers."""
    draw = lambda common: sweep(risk, key=KEY, common_random_numbers=common, **ALPHAS).risk.values
    return {common: draw(common) for common in (True, False)}


def log_variance(x):
    """ln of the variance over the last axis, and its standard error by the delta method, whatever the law."""
    squares = (x - x.mean(-1, keepdims=True)) ** 2
    return np.log(squares.mean(-1)), squares.std(-1, ddof=1) / squares.mean(-1) / np.sqrt(x.shape[-1])


def test_every_point_has_the_same_numbers_and_every_repeat_its_own():
    axes = {"a": [0.0, 0.25, 0.5], "b": [1, 2]}
    common = sweep(raw, key=KEY, repeats=4, common_random_numbers=True, **axes).x
    assert (common == common.isel(a=0, b=0)).all() and len(np.unique(common)) == 4
    assert len(np.unique(sweep(raw, key=KEY, repeats=4, **axes).x)) == 3 * 2 * 4


def test_the_key_is_folded_over_the_repeat_alone():
    table = sweep(raw, key=KEY, repeats=3, common_random_numbers=True, a=[0.3], b=[1.0])
    assert [float(x) for x in table.x.squeeze()] == [float(jr.uniform(jr.fold_in(KEY, r))) for r in range(3)]


def test_common_numbers_are_bitwise_equal_for_every_chunk_and_grid():
    axes = {"a": np.linspace(0, 1, 5), "b": [1, 2, 3]}
    shared = functools.partial(sweep, raw, key=KEY, repeats=2, common_random_numbers=True)
    whole = shared(**axes)
    for chunk in (1, 4, 7, 30):
        table = shared(chunk=chunk, **axes)
        assert np.array_equal(table.x, whole.x) and np.array_equal(table.bits, whole.bits), chunk
    other = shared(a=[7.0], b=[3, 9])
    assert np.array_equal(other.bits[0, 0], whole.bits[0, 0])


def test_differences_between_neighbours_have_a_small_part_of_the_variance(tables):
    """Ratios of variances over 400 lineages; their upper limits, s.e. by the delta method, stay below the bounds."""
    logs, errors = zip(*(log_variance(np.diff(tables[c].astype(float), axis=0)[0]) for c in (True, False)), strict=True)
    upper = np.exp(logs[0] - logs[1] + t_bound(len(SIZES), 400) * np.hypot(*errors))
    assert (upper < np.array([1 / 4, 1 / 8, 1 / 16])).all(), upper


def test_the_mean_of_each_point_is_as_exact_as_with_independent_numbers(tables):
    assert_mean(tables[True], exact_risk(*np.meshgrid(ALPHAS["alpha"], SIZES, indexing="ij")), axis=-1)


def test_what_was_asked_for_is_recorded(tmp_path):
    for common in (True, False):
        store = tmp_path / str(common)
        table = sweep(raw, key=KEY, store=store, common_random_numbers=common, a=[0.0], b=[1])
        assert table.attrs["common_random_numbers"] == jc.open(store).attrs["common_random_numbers"] == int(common)
    assert sweep(raw, key=KEY, a=[0.0], b=[1]).attrs["common_random_numbers"] == 0


@pytest.mark.parametrize("value", [3, 1, 0, None, "yes", [True]])
def test_anything_but_a_boolean_is_refused(value):
    with pytest.raises(ValueError, match=r"common_random_numbers: got .*, expected True or False; try common_"):
        plan(raw, {"a": [0.0], "b": [1]}, key=KEY, common_random_numbers=value)


def test_no_axis_has_its_name():
    with pytest.raises(ValueError, match="common_random_numbers: got an axis of this name, which is reserved"):
        plan(raw, {"a": [0.0], "b": [1], "common_random_numbers": [0, 1]}, key=KEY)
