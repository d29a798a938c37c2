"""Samples without replacement at 10⁷ draws, from urns of up to 2³¹ − 1 items, and what the rounds leave. 16 minutes."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import _hypergeometric
from tests.test_hypergeometric import draws_of, margin, p_values, whole_law_p_value

LEVEL = 5e-4
SMALL = (((3, 0, 2, 4), 4), ((1, 1, 1, 1, 1, 1), 3), ((2, 5, 1), 7), ((4, 4), 1), ((1, 9, 3), 6), ((40, 2, 0, 1), 22))


@pytest.mark.parametrize(("counts", "n"), SMALL)
def test_small_urns_as_whole_vectors(counts, n, precision):
    drawn = draws_of(jr.key(1), np.array(counts), n, 10**7 if precision == "float32" else 10**6)
    assert whole_law_p_value(drawn, counts, n) > LEVEL / (2 * len(SMALL))


TOTALS = (20, 300, 10**4, 10**6, 2**24)


@pytest.mark.parametrize("total", TOTALS)
def test_margins_at_two_million_draws(total, precision):
    counts = np.array([1, total // 20, total // 5, 0, total // 2])
    counts[3] = total - counts.sum()
    sizes, rows = (1, 3, total // 10, total // 2, total - 3), 2 * 10**6 if precision == "float32" else 2 * 10**5
    found = []
    for i, n in enumerate(sizes):
        drawn = draws_of(jr.fold_in(jr.key(2), i), counts, n, rows)
        assert (drawn.sum(1) == n).all()
        found += [p_values(drawn[:, j], *margin(total, count, n)) for j, count in enumerate(counts)]
    assert np.min(found) > LEVEL / (2 * len(TOTALS) * np.size(found))


@pytest.mark.parametrize("n", [3, 1000, 2**20, 2**30, 2**31 - 1001, 2**31 - 4])
def test_margins_of_the_largest_urn(n):
    """At 2·10⁵ draws: beyond 2²⁴ a binomial's mean is within 2·10⁻³ standard deviations, here under one s.e."""
    counts = np.array([2**30, 2**31 - 1 - 2**30 - 10**6 - 120, 10**6, 100, 20])
    drawn = draws_of(jr.key(3), counts, n, 2 * 10**5)
    assert (drawn.astype(np.int64).sum(1) == n).all() and (drawn <= counts).all()
    found = [p_values(drawn[:, j], *margin(2**31 - 1, count, n)) for j, count in enumerate(counts)]
    assert np.min(found) > LEVEL / (6 * np.size(found))


def test_the_longer_plan_gives_the_margins_of_a_wide_urn():
    v, rows = 3000, 20_000
    counts = np.random.default_rng(4).integers(0, 60, v)
    counts[::97] *= 50
    total, n = counts.sum(), int(counts.sum() * 0.4)
    drawn = draws_of(jr.key(4), counts, n, rows, chunk=2000)
    assert (drawn.sum(1) == n).all()
    pooled = [np.unique(counts, return_inverse=True)[1] == i for i in range(len(np.unique(counts)))]
    found = [p_values(drawn[:, np.flatnonzero(group)[0]], *margin(total, counts[group][0], n)) for group in pooled]
    assert np.min(found) > LEVEL / np.size(found)


def step(support, chance, top):
    """One round: |gap|' = |gap − Poisson(gap)|, the limit of Binomial(pool, gap / pool), whose tails are lighter."""
    reached, after = np.arange(top + 1), np.zeros(top + 1)
    for gap, weight in zip(support[chance > 1e-40], chance[chance > 1e-40], strict=True):
        after += weight * stats.poisson.pmf(gap - reached, gap)
        after[1:] += weight * stats.poisson.pmf(gap + reached[1:], gap)
    return reached, after


def left(total, rounds):
    """|gap| after the rounds from an urn of that many items, half of them drawn: the first leaves a normal variate."""
    sd = np.sqrt(total) / 2
    z = np.linspace(0, 9.5, 401)
    gap, chance = np.rint(z * sd), 2 * stats.norm.pdf(z) * z[1]
    chance[0] /= 2
    for _ in range(rounds - 1):
        gap, chance = step(gap, chance, int(12 * np.sqrt(gap[-1])) + 40)
    return gap, chance


def test_the_ranks_suffice_but_for_the_stated_probability():
    for (_, rounds, ranks), stated in zip(_hypergeometric.PLANS, (3e-15, 3e-14), strict=True):
        gap, chance = left(2**31 - 1, rounds)
        assert abs(chance.sum() - 1) < 1e-3
        assert stated / 3 < chance[gap > ranks].sum() < 1.05 * stated


def test_the_rounds_leave_what_the_chain_predicts():
    """Where it can be seen: after two rounds, 3 % exceed 272; after three, 10⁻² exceed 31."""
    rng, total, lineages = np.random.default_rng(0), 2**31 - 1, 10**6
    chosen = np.zeros(lineages, np.int64)
    for turn in range(3):
        gap = total // 2 - chosen
        pool = np.where(gap > 0, total - chosen, chosen)
        chosen += np.sign(gap) * rng.binomial(pool, np.abs(gap) / pool)
        if turn:
            found, (support, chance) = np.abs(total // 2 - chosen), left(total, turn + 1)
            for bound in (15, 31, 45):
                bound = bound * (1 if turn == 2 else 9)
                due = chance[support > bound].sum()
                assert abs((found > bound).mean() - due) < 4 * np.sqrt(due / lineages) + 1e-3 * due


@pytest.mark.parametrize("v", [40, 3000])
def test_draws_do_not_depend_on_the_batch(v):
    counts = jnp.asarray(np.random.default_rng(5).integers(0, 1000, (64, v)))
    keys, n = jr.split(jr.key(5), 64), counts.sum(1) // 3
    draw = jax.jit(jax.vmap(_hypergeometric.hypergeometric))
    whole = np.asarray(draw(keys, counts, n))
    for width in (1, 3, 16):
        parts = [np.asarray(draw(*(x[i : i + width] for x in (keys, counts, n)))) for i in range(0, 48, width)]
        assert (np.concatenate(parts) == whole[:48]).all()
