"""The samplers at 10⁷ draws over the whole plane of n and p, in both precisions. Just under 2 minutes on 2 cores."""

from itertools import product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import _quantile, binomial, multinomial

LEVEL = 5e-4
SIZES = (1, 2, 5, 16, 31, 32, 33, 48, 80, 200, 1000, 10**4, 10**6, 2**24)
SHARES = (0.03, 0.1, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.55, 0.7, 0.9, 0.99)
MEANS = (1e-3, 0.1, 1.0, 3.0, 6.0, 7.9, 7.999, 8.001, 8.1, 9.0, 10.0, 12.0, 16.0, 30.0, 100.0, 1000.0)
CELLS = [
    *product(SIZES, SHARES),
    *((n, mean / n) for n, mean in product((100, 2000, 10**5, 10**7, 2**24), MEANS) if mean <= n / 2),
]


@jax.jit
def _million(key, n, p):
    return binomial(key, jnp.broadcast_to(n, (1_000_000,)), p)


def p_value(key, n, p, millions):
    """Chi-square of the draws' histogram, in cells that expect at least ten."""
    p = float(jnp.asarray(p, float))
    sd = np.sqrt(n * p * (1 - p))
    low, high = max(0, int(n * p - 9 * sd) - 20), min(n, int(n * p + 9 * sd) + 20)
    seen = np.zeros(high - low + 1, np.int64)
    for i in range(millions):
        draws = np.asarray(_million(jr.fold_in(key, i), jnp.asarray(n), jnp.asarray(p)))
        assert draws.min() >= low and draws.max() <= high
        seen += np.bincount(draws - low, minlength=len(seen))
    due = 1e6 * millions * stats.binom.pmf(np.arange(low, high + 1), n, p)
    group = np.floor(np.cumsum(due) / max(10.0, due.sum() / 3000)).astype(int)
    seen, due = (np.bincount(group, weights=x) for x in (seen, due))
    keep = due > 0
    seen, due = seen[keep], due[keep]
    if due[-1] < 10 and len(due) > 1:
        seen, due = np.append(seen[:-2], seen[-2:].sum()), np.append(due[:-2], due[-2:].sum())
    return stats.chi2.sf(((seen - due) ** 2 / due).sum(), len(due) - 1) if len(due) > 1 else 1.0


def test_binomial_law_over_the_plane(precision):
    millions, key = (10 if precision == "float32" else 1), jr.key(1)
    found = [p_value(jr.fold_in(key, i), n, p, millions) for i, (n, p) in enumerate(CELLS)]
    assert min(found) > LEVEL / len(found)
    assert stats.kstest([x for x in found if x < 1], "uniform").pvalue > LEVEL


def test_series_is_indistinguishable_from_the_law_on_a_dense_grid():
    offset = jax.jit(_quantile.binomial_offset)
    for mean, p in product(8 * 1.07 ** np.arange(60), (1e-8, 0.01, *np.arange(0.03, 0.501, 0.0235))):
        n = max(round(mean / p), 32)
        mean, sd = n * p, np.sqrt(n * p * (1 - p))
        k = np.arange(max(1, int(mean - 6 * sd)), min(n, int(mean + 6 * sd)) + 1)
        below, above = stats.binom.cdf(k - 1, n, p), stats.binom.sf(k - 1, n, p)
        z = np.where(k <= mean, stats.norm.ppf(below), stats.norm.isf(above))
        with jax.enable_x64(True):
            x = np.asarray(offset(np.resize(z, 512), np.full(512, sd**2), np.full(512, 1 - 2 * p)))[: len(k)]
        pmf = stats.binom.pmf(np.append(k[0] - 1, k), n, p)
        error = (mean + x - (k - 0.5)) * np.sqrt(pmf[1:] * pmf[:-1])
        assert 1e7 * (np.diff(error, prepend=0, append=0) ** 2 / pmf).sum() < 0.5


@pytest.mark.parametrize(("v", "n", "rows"), [(2, 9, 10**6), (65, 40, 10**5), (1000, 10**5, 4000), (5000, 10**6, 600)])
def test_multinomial_margins(v, n, rows):
    """Every token's counts pooled over rows, and their second moments about n p."""
    p = np.random.default_rng(v).permutation(1 / np.arange(1, v + 1)).astype(np.float32)
    share = p.astype(float) / p.astype(float).sum()
    drawn = np.asarray(jax.vmap(lambda key: multinomial(key, n, jnp.asarray(p)))(jr.split(jr.key(2), rows)))
    assert (drawn.sum(1) == n).all()
    assert stats.chisquare(drawn.sum(0, dtype=np.int64), rows * n * share).pvalue > LEVEL
    # Pearson's statistic of one row has mean v − 1 and variance 2(v−1) + (Σ 1/p − v² − 2v + 2) / n.
    pearson = ((drawn - n * share) ** 2 / (n * share)).sum(1)
    variance = 2 * (v - 1) + ((1 / share).sum() - v**2 - 2 * v + 2) / n
    assert abs(pearson.mean() - (v - 1)) < 4 * np.sqrt(variance / rows)


def test_draws_do_not_depend_on_the_batch():
    p = 1 / jnp.arange(1.0, 258.0)
    keys, n = jr.split(jr.key(3), 512), jnp.asarray(np.geomspace(1, 2**31 - 1, 512).astype(np.int32))
    draw = jax.jit(jax.vmap(lambda key, n: multinomial(key, n, p)))
    whole = np.asarray(draw(keys, n))
    for width in (1, 3, 16, 200):
        parts = [np.asarray(draw(keys[i : i + width], n[i : i + width])) for i in range(0, 400 // width * width, width)]
        assert (np.concatenate(parts) == whole[: 400 // width * width]).all()
