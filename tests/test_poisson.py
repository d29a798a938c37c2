"""Poisson counts against their law, at 10⁷ draws and in the tails."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import binomial, poisson

LEVEL = 5e-4
MEANS = (1e-6, 0.03, 0.7, 3.0, 7.999, 8.0, 8.001, 12.5, 40.0, 1e4)


@jax.jit
def _million(key, mean):
    return poisson(key, jnp.broadcast_to(mean, (1_000_000,)))


def p_values(key, mean, millions):
    """Chi-square over cells that expect ten, and both tails near 10⁻⁵."""
    mean = float(jnp.asarray(mean, float))
    draws = np.concatenate([np.asarray(_million(jr.fold_in(key, i), jnp.asarray(mean))) for i in range(millions)])
    low, high = stats.poisson.ppf(1e-6, mean), stats.poisson.isf(1e-6, mean)
    k = np.arange(low, high + 1)
    due = len(draws) * np.concatenate([[stats.poisson.cdf(low - 1, mean)], stats.poisson.pmf(k, mean)])
    due = np.append(due, len(draws) * stats.poisson.sf(high, mean))
    seen = np.bincount(np.clip(draws - low + 1, 0, len(k) + 1).astype(int), minlength=len(k) + 2)
    group = np.minimum(np.cumsum(due), len(draws) - np.cumsum(due) + due) // 20
    group = np.cumsum(np.diff(group, prepend=group[0]) != 0)
    seen, due = (np.bincount(group, weights=x) for x in (seen, due))
    keep = due >= 5
    merged = [np.append(x[keep], x[~keep].sum()) for x in (seen, due)]
    chi = (((merged[0] - merged[1]) ** 2) / np.maximum(merged[1], 1e-9))[merged[1] >= 5]
    found = [stats.chi2.sf(chi.sum(), max(len(chi) - 1, 1))]
    up = stats.poisson.isf(1e-5, mean)
    found.append(stats.binomtest(int((draws >= up).sum()), len(draws), stats.poisson.sf(up - 1, mean)).pvalue)
    if stats.poisson.cdf(0, mean) < 1e-3:
        down = stats.poisson.ppf(1e-5, mean)
        found.append(stats.binomtest(int((draws <= down).sum()), len(draws), stats.poisson.cdf(down, mean)).pvalue)
    return found


def test_poisson_follows_its_law_at_ten_million_draws():
    found = [p for i, mean in enumerate(MEANS) for p in p_values(jr.key(i), mean, 10)]
    assert min(found) > LEVEL / len(found)


def test_poisson_follows_its_law_under_x64():
    with jax.enable_x64(True):
        found = [p for i, mean in enumerate((0.7, 8.001, 40.0)) for p in p_values(jr.key(i), mean, 2)]
    assert min(found) > LEVEL / len(found)


@pytest.mark.parametrize("mean", [1e6, 2.0**30])
def test_large_means_keep_mean_and_variance(mean):
    z = (np.asarray(_million(jr.key(0), jnp.asarray(mean))).astype(float) - mean) / np.sqrt(mean)
    assert abs(z.mean()) < 4e-3 and abs(z.var() - 1) < 4e-3 * np.sqrt(2)


def test_means_beyond_32_bits_under_x64():
    with jax.enable_x64(True):
        z = (np.asarray(_million(jr.key(0), jnp.asarray(2.0**52))).astype(float) - 2.0**52) / 2.0**26
    assert abs(z.mean()) < 4e-3 and abs(z.var() - 1) < 4e-3 * np.sqrt(2)


def test_rare_events_keep_their_rate():
    events = sum(int(_million(jr.key(i), jnp.asarray(1e-7)).sum()) for i in range(200))
    assert stats.poisson.cdf(events, 20) > LEVEL and stats.poisson.sf(events - 1, 20) > LEVEL


def test_poisson_is_the_limit_of_binomials_draw_by_draw():
    """Equal keys couple the two: they differ where a uniform falls between the distribution functions."""
    mean = jnp.full(100_000, 5.0)
    differ = np.asarray(poisson(jr.key(1), mean) != binomial(jr.key(1), 10**6, mean / 1e6)).mean()
    assert differ < 2e-5  # total variation is at most p = 5·10⁻⁶


def test_poisson_ends_and_bad_input():
    assert (poisson(jr.key(0), jnp.zeros(9)) == 0).all() and poisson(jr.key(0), 3).shape == ()
    for mean, message in ((-1.0, "got -1"), (np.nan, "got nan"), (np.inf, "got inf"), (2.0**31, "got 2147483648")):
        with pytest.raises(ValueError, match=f"mean: {message}"):
            poisson(jr.key(0), mean)
    drawn = jax.jit(poisson)(jr.key(0), jnp.asarray([-1.0, jnp.nan, jnp.inf, 2.0**31, 0.0]))
    assert drawn.tolist() == [-1, -1, -1, -1, 0]
