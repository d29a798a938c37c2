"""Data form a cone: whole counts add exactly, float pools scale, and resampling keeps the law."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

import jaxcollapse as jc
from tests.helpers import assert_mean


def test_whole_counts_add_exactly_beyond_the_float_grid():
    total = jc.Counts(jnp.array([2**24, 5])) + jc.Counts(jnp.array([1, 7]))
    assert total.counts.tolist() == [2**24 + 1, 12] and total.counts.dtype == jnp.int32


def test_scaling_makes_a_float_pool():
    pool = 0.5 * jc.Counts(jnp.array([3, 4])) + jc.Counts(jnp.array([1, 0]))
    np.testing.assert_allclose(pool.counts, [2.5, 2.0])
    assert float(pool.total) == 4.5


def test_a_marked_draw_stays_marked():
    marked = jc.Counts(jnp.array([-1, -1])) + jc.Counts(jnp.array([10, 10]))
    assert marked.counts.tolist() == [-1, -1]


def test_whole_counts_are_resampled_without_replacement():
    pool = jc.Counts(jnp.array([[6, 3], [1, 0]]))
    draw = jax.vmap(lambda key: pool.resample(jnp.asarray(4), key=key).counts)(jr.split(jr.key(0), 4000))
    assert (np.asarray(draw) <= np.asarray(pool.counts)).all() and (draw.sum((1, 2)) == 4).all()
    assert_mean(draw, 4 * np.array([[0.6, 0.3], [0.1, 0.0]]))
    seen = np.bincount(np.asarray(draw)[:, 0, 0], minlength=5)
    expected = 4000 * stats.hypergeom(10, 6, 4).pmf(range(5))
    assert stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 5e-4


def test_more_than_there_is_gives_all_there_is():
    pool = jc.Counts(jnp.array([2, 1]))
    assert pool.resample(jnp.asarray(9), key=jr.key(0)).counts.tolist() == [2, 1]


def test_float_pools_are_resampled_with_replacement():
    pool = jc.Counts(jnp.array([0.5, 1.5]))
    draw = jax.vmap(lambda key: pool.resample(jnp.asarray(8), key=key).counts)(jr.split(jr.key(0), 4000))
    assert (draw.sum(1) == 8).all()
    assert_mean(draw, [2.0, 6.0])
