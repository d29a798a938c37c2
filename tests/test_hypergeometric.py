"""Samples without replacement against their law; the fixed work is checked part by part."""

import re
from itertools import combinations, product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import _hypergeometric, _words, hypergeometric

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


def test_counts_add_up_and_no_category_gives_more_than_it_has(precision):
    rng = np.random.default_rng(7)
    for v in (1, 65, 3000):
        scale = np.geomspace(1, (2**31 - 1) // v, 60)[:, None]
        counts = (rng.random((60, v)) * (rng.random((60, v)) < rng.random((60, 1))) * scale).astype(np.int64)
        total = counts.sum(1)
        n = np.concatenate([0 * total[:10], total[10:20], total[20:30] // 2, (rng.random(30) * total[30:]).astype(int)])
        drawn = np.asarray(hypergeometric(jr.key(8), counts, n)).astype(np.int64)
        assert (drawn.sum(1) == n).all() and (drawn >= 0).all() and (drawn <= counts).all()


def test_nothing_or_everything_is_taken_for_certain():
    counts = jnp.asarray([7, 0, 2**30, 12])
    assert (hypergeometric(jr.key(0), counts, 0) == 0).all()
    assert (hypergeometric(jr.key(0), counts, counts.sum()) == counts).all()
    assert int(hypergeometric(jr.key(0), counts, 2**29).sum()) == 2**29


def test_the_largest_urn_is_taken_exactly():
    counts = np.array([2**31 - 1 - 2**30, 2**30 - 3, 3])
    for n in (0, 3, 2**30, 2**31 - 4, 2**31 - 1):
        drawn = np.asarray(hypergeometric(jr.key(1), counts, n)).astype(np.int64)
        assert drawn.sum() == n and (drawn >= 0).all() and (drawn <= counts).all()


def test_urns_beyond_32_bits_under_x64():
    counts, n = np.array([2**52, 2**52 - 5, 0, 5]), 2**52 + 1
    with jax.enable_x64(True):
        drawn = draws_of(jr.key(2), counts, n, 20_000)
    assert drawn.dtype == np.int64 and (drawn.sum(1) == n).all() and (drawn <= counts).all() and (drawn >= 0).all()
    z = (drawn[:, 0] - n * 0.5) / np.sqrt(n * 0.25 * 0.5)
    assert abs(z.mean()) < 4 / np.sqrt(len(z)) and abs(z.var() - 1) < 4 * np.sqrt(2 / len(z))
    assert min(p_values(drawn[:, 3], np.arange(6), stats.binom.pmf(np.arange(6), 5, 0.5))) > LEVEL / 3


@pytest.mark.parametrize("number", [0, 1, 3, 5, 6])
def test_ranks_are_a_uniform_set(number, precision):
    rows, most = 60_000, 8
    wanted = jnp.broadcast_to(jnp.arange(most) < number, (rows, most))
    rank = np.asarray(_distinct(jr.key(3), jnp.full(rows, number), jnp.full(rows, 6), wanted))[:, :number]
    subsets = list(combinations(range(6), number))
    code = (1 << rank).sum(1)
    seen = np.array([(code == sum(1 << i for i in subset)).sum() for subset in subsets])
    assert seen.sum() == rows
    assert len(subsets) == 1 or stats.chisquare(seen).pvalue > LEVEL / 10


_distinct = jax.jit(_hypergeometric._distinct)


def test_ranks_are_scaled_words_to_the_last_bit(precision):
    bits = 64 if precision == "x64" else 32
    bound = np.unique(np.geomspace(1, 2**53 if bits == 64 else 2**31 - 1, 400).astype(np.int64))
    coarse, fine = jr.bits(jr.key(4), (2, len(bound)), f"uint{bits}")
    found = _words.scale(coarse, fine, jnp.asarray(bound, f"uint{bits}"))
    coarse, fine = np.asarray(coarse).tolist(), np.asarray(fine).tolist()
    for i, value in enumerate(np.asarray(found).tolist()):
        assert value == int(bound[i]) * (coarse[i] << bits | fine[i]) >> 2 * bits


@pytest.mark.parametrize(("counts", "n"), [((3, 0, 2, 4), 4), ((2, 2, 2), 5)])
def test_the_last_items_alone_follow_the_law(counts, n):
    rows = 100_000
    drawn = np.asarray(_pick(jr.key(6), jnp.broadcast_to(jnp.asarray(counts), (rows, len(counts))), jnp.full(rows, n)))
    assert whole_law_p_value(drawn, counts, n) > LEVEL / 2


_pick = jax.jit(lambda key, pool, number: _hypergeometric._pick(key, pool, number, 8))


def test_a_gap_beyond_the_ranks_gives_minus_one(monkeypatch):
    monkeypatch.setattr(_hypergeometric, "PLANS", ((0, 0, 3),))
    urn = jnp.broadcast_to(jnp.asarray([4, 5]), (5, 2))
    drawn = _hypergeometric._sample.__wrapped__(jr.key(7), urn, jnp.asarray([0, 2, 3, 4, 9]))
    assert drawn.sum(-1).tolist() == [0, 2, 3, -2, -2] and (drawn[3:] == -1).all()


@pytest.mark.parametrize("v", [3, 2500])
def test_vmapped_scanned_and_jitted_draws_equal_single_draws(v):
    keys, counts = jr.split(jr.key(10), 6), jnp.arange(1, v + 1) * (2**31 // (v * (v + 1)))
    draw = lambda key, n: hypergeometric(key, counts, n)
    n = jnp.asarray([0, 1, 10, 10**5, 10**8, int(counts.sum()) - 3])
    single = jnp.stack([draw(key, size) for key, size in zip(keys, n, strict=True)])
    scanned = jax.lax.scan(lambda _, x: (None, draw(*x)), None, (keys, n))[1]
    for other in (jax.jit(jax.vmap(draw))(keys, n), scanned):
        assert (other == single).all()


@pytest.mark.parametrize("v", [1, 5, 5000])
def test_no_loop_depends_on_the_draws(v, precision):
    program = str(jax.make_jaxpr(jax.vmap(_rows))(jr.split(jr.key(0), 2), jnp.ones((2, v), int), jnp.ones(2, int)))
    assert "scan[" in program and not re.search(r"\b(while|cond)\[", program)


def test_rows_and_arguments_broadcast():
    drawn = hypergeometric(jr.key(0), jnp.full((2, 1, 3), 5), jnp.asarray([0, 7, 15]))
    assert drawn.sum(-1).tolist() == [[0, 7, 15]] * 2
    drawn = np.asarray(hypergeometric(jr.key(0), np.array([10**6, 10**6]), np.full(100, 10**6)))
    assert len(np.unique(drawn[:, 0])) > 80


def test_keys_of_every_kind_draw():
    counts = jnp.full(5, 100)
    typed = hypergeometric(jr.key(11), counts, 100)
    assert (hypergeometric(jr.PRNGKey(11), counts, 100) == typed).all()
    for kind in ("rbg", "unsafe_rbg"):
        first, second = (hypergeometric(jr.key(seed, impl=kind), counts, 100) for seed in (11, 12))
        assert first.sum() == 100 and (first != second).any()


BAD = (
    (np.array([2, 3]), 6, "n: got 6, expected at most 5"),
    (np.array([[2, 3], [4, 5]]), np.array([5, 10]), "n: got 10, expected at most 9"),
    (np.array([2, -3]), 1, "counts: got -3"),
    (np.array([2, 2.5]), 1, "counts: got 2.5"),
    (np.array([2, 3]), 1.5, "n: got 1.5"),
    (np.array([2, 3]), -1, "n: got -1"),
    (np.array([2**30, 2**30]), 1, "counts: got a total above"),
    (np.full(4, 2**30), 1, "counts: got a total above"),
    (np.array(3), 1, r"counts: got shape \(\)"),
    (np.zeros((2, 0), int), 0, r"counts: got shape \(2, 0\)"),
    (np.ones((2, 3), int), np.array([1, 1, 1]), "n, counts.*: got shapes"),
)


@pytest.mark.parametrize(("counts", "n", "message"), BAD)
def test_bad_input_is_refused(counts, n, message):
    with pytest.raises(ValueError, match=message):
        hypergeometric(jr.key(0), counts, n)


def test_traced_bad_input_gives_minus_one_in_that_row_alone():
    counts = jnp.asarray([[2, 3], [2, 3], [2, -3], [2**30, 2**30], [2**31 - 2, 1], [2, 3]])
    drawn = _rows(jr.key(0), counts, jnp.asarray([5, 6, 1, 1, 3, -1]))
    assert (drawn == -1).all(1).tolist() == [False, True, True, True, False, True]
    assert drawn[0].tolist() == [2, 3] and drawn[4].sum() == 3
    assert (_rows(jr.key(0), jnp.full((1, 4), 2**30), jnp.asarray([1])) == -1).all()
