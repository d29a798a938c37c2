"""Samples without replacement against their law, as they are compiled for users."""

from itertools import product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import hypergeometric

LEVEL = 5e-4  # of a test, shared among its comparisons

_rows = jax.jit(lambda key, counts, number: hypergeometric(key, counts, number))


def draws_of(key, counts, n, rows, chunk=100_000):
    """Rows of independent draws."""
    number, urn = jnp.full(min(chunk, rows), n), jnp.asarray(counts)
    return np.concatenate([np.asarray(_rows(jr.fold_in(key, i), urn, number)) for i in range(-(-rows // chunk))])


def margin(total, count, n):
    """Support and probabilities of one category, within 9 sd of its mean, from their ratios: exact for huge urns."""
    mean = n * count / total
    sd = np.sqrt(mean * (1 - count / total) * (total - n) / max(total - 1, 1))
    low = max(0, n - (total - count), int(mean - 9 * sd - 30))
    high = min(count, n, int(mean + 9 * sd + 30))
    k = np.arange(low, high)
    steps = np.log(count - k) + np.log(n - k) - np.log(k + 1) - np.log(total - count - n + k + 1.0)
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(logs - logs.max())
    return np.arange(low, high + 1), weights / weights.sum()


def p_values(draws, support, pmf):
    """Chi-square over at most 300 cells that expect at least 20, and the two tails near 10⁻⁴ apart."""
    assert draws.min() >= support[0] and draws.max() <= support[-1]
    rows, seen = len(draws), np.bincount(draws - support[0], minlength=len(support))
    due, below, above = rows * pmf, pmf.cumsum(), pmf[::-1].cumsum()[::-1]
    down, up = below <= max(1e-4, below[0]), above <= max(1e-4, above[-1])
    tails = [stats.binomtest(int(seen[t].sum()), rows, min(pmf[t].sum(), 1.0)).pvalue for t in (down, up)]
    group = np.floor((due.cumsum() - due / 2) / max(20.0, rows / 300)).astype(int)
    seen, due = (np.bincount(group, weights=x) for x in (seen, due))
    seen, due = seen[due > 0], due[due > 0]
    if len(due) > 1 and due[-1] < 20:
        seen, due = np.append(seen[:-2], seen[-2:].sum()), np.append(due[:-2], due[-2:].sum())
    return [stats.chi2.sf(((seen - due) ** 2 / due).sum(), len(due) - 1) if len(due) > 1 else 1.0, *tails]


def whole_law_p_value(drawn, counts, n):
    """Chi-square over all vectors."""
    vectors = [x for x in product(*(range(c + 1) for c in counts)) if sum(x) == n]
    base = np.concatenate([[1], np.cumprod(np.asarray(counts[:-1]) + 1)])
    code = drawn @ base
    seen = np.array([(code == np.dot(x, base)).sum() for x in vectors])
    assert seen.sum() == len(drawn)
    if len(vectors) == 1:
        return 1.0
    return stats.chisquare(seen, len(drawn) * stats.multivariate_hypergeom.pmf(vectors, counts, n)).pvalue


def test_the_reference_law_is_that_of_scipy():
    for case in ((10, 4, 7), (10**5, 300, 5 * 10**4), (10**5, 3, 10**5 - 1), (9000, 8999, 17)):
        support, pmf = margin(*case)
        np.testing.assert_allclose(pmf, stats.hypergeom.pmf(support, case[0], case[1], case[2]), rtol=1e-9, atol=1e-30)


# Of one length, with categories that are empty, and so compiled once.
SMALL = (((3, 0, 2, 4, 0, 0), 4), ((1, 1, 1, 1, 1, 1), 3), ((0, 6, 0, 0, 0, 2), 7), ((2, 5, 0, 0, 1, 0), 1))


@pytest.mark.parametrize(("counts", "n"), SMALL)
def test_small_urns_follow_their_law_as_whole_vectors(counts, n, precision):
    drawn = draws_of(jr.key(13), np.array(counts), n, 300_000)
    assert whole_law_p_value(drawn, counts, n) > LEVEL / (2 * len(SMALL))


def test_margins_of_a_large_urn(precision):
    counts, n = np.array([5000, 20, 900, 80_000, 1]), 30_000
    drawn = draws_of(jr.key(14), counts, n, 100_000)
    assert (drawn.sum(1) == n).all() and (drawn <= counts).all() and (drawn >= 0).all()
    found = [p_values(drawn[:, i], *margin(counts.sum(), count, n)) for i, count in enumerate(counts)]
    assert np.min(found) > LEVEL / np.size(found)


@pytest.mark.parametrize("v", [300, 5000])
def test_lost_and_single_categories_have_their_rates(v):
    """Of categories of every size, and in both plans: how many are not drawn at all, or once."""
    counts, rows = 1 + 20 * v // np.arange(1, v + 1), 2_000_000 // v
    total, n = counts.sum(), counts.sum() // 3
    drawn = draws_of(jr.key(15), counts, n, rows, chunk=10_000_000 // v // 10)
    sizes, times = np.unique(counts, return_counts=True)
    for k in (0, 1):
        found = (drawn == k).sum(1)
        due = (times * stats.hypergeom.pmf(k, total, sizes, n)).sum()
        assert abs(found.mean() - due) <= 4 * found.std() / np.sqrt(len(found))
    pooled, due = drawn.sum(0, dtype=np.int64), len(drawn) * n * counts / total
    variance = due * (1 - counts / total) * (total - n) / (total - 1)
    assert np.abs((pooled - due) / np.sqrt(variance)).max() < stats.norm.isf(LEVEL / v)


def test_pairs_of_counts_have_their_covariance():
    counts, n, rows = np.random.default_rng(1).integers(0, 300, 70), 4000, 20_000
    total, share = counts.sum(), counts / counts.sum()
    drawn = draws_of(jr.key(5), counts, n, rows, chunk=rows)
    contrasts = np.random.default_rng(2).standard_normal((70, 40))
    squared = ((drawn - n * share) @ contrasts) ** 2
    due = n * (total - n) / (total - 1) * (share @ contrasts**2 - (share @ contrasts) ** 2)
    t = (squared.mean(0) - due) / (squared.std(0) / np.sqrt(rows))
    assert np.abs(t).max() <= stats.t.isf(LEVEL / 40, rows - 1)


def test_urns_beyond_32_bits_under_x64():
    counts, n = np.array([2**52, 2**52 - 5, 0, 5]), 2**52 + 1
    with jax.enable_x64(True):
        drawn = draws_of(jr.key(2), counts, n, 20_000)
    assert drawn.dtype == np.int64 and (drawn.sum(1) == n).all() and (drawn <= counts).all() and (drawn >= 0).all()
    z = (drawn[:, 0] - n * 0.5) / np.sqrt(n * 0.25 * 0.5)
    assert abs(z.mean()) < 4 / np.sqrt(len(z)) and abs(z.var() - 1) < 4 * np.sqrt(2 / len(z))
    assert min(p_values(drawn[:, 3], np.arange(6), stats.binom.pmf(np.arange(6), 5, 0.5))) > LEVEL / 3
