"""A few draws one by one: the law of the whole vector, rare tokens, and the dither that keeps their rate."""

from itertools import product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import _multinomial, _places, _words, multinomial

LEVEL = 5e-4


_by_chain = jax.jit(_multinomial._by_chain)
WAYS = {"one by one": jax.jit(_places.deal), "by chain": _by_chain}


@pytest.mark.parametrize("way", WAYS)
def test_both_ways_follow_the_law_of_the_whole_vector(way, precision):
    p, n, rows = np.array([0.5, 0.125, 0.0, 0.375]), 4, 1_000_000
    drawn = WAYS[way](_words.cipher(jr.key(0)), jnp.full(rows, n), jnp.broadcast_to(jnp.asarray(p, float), (rows, 4)))
    vectors = [x for x in product(range(n + 1), repeat=4) if sum(x) == n and x[2] == 0]
    code = np.asarray(drawn) @ (n + 1) ** np.arange(4)
    seen = np.array([(code == np.dot(x, (n + 1) ** np.arange(4))).sum() for x in vectors])
    assert seen.sum() == rows
    assert stats.chisquare(seen, rows * stats.multinomial.pmf(vectors, n, p)).pvalue > LEVEL


@pytest.mark.parametrize(("v", "n"), [(2, 128), (64, 20), (65, 33), (300, 100), (5000, 10)])
def test_every_token_has_its_rate_and_its_variance(v, n):
    rows, p = 10_000_000 // (v + n), np.random.default_rng(v).permutation(1 / np.arange(1, v + 1)).astype(np.float32)
    drawn = np.asarray(jax.vmap(lambda key: multinomial(key, n, jnp.asarray(p)))(jr.split(jr.key(1), rows)))
    share = p.astype(float) / p.astype(float).sum()
    assert (drawn.sum(1) == n).all() and drawn.min() >= 0
    assert stats.chisquare(drawn.sum(0, dtype=np.int64), rows * n * share).pvalue > LEVEL
    pearson = ((drawn - n * share) ** 2 / (n * share)).sum(1)
    variance = 2 * (v - 1) + ((1 / share).sum() - v**2 - 2 * v + 2) / n
    assert abs(pearson.mean() - (v - 1)) < 4 * np.sqrt(variance / rows)


def test_rare_tokens_keep_their_rate_in_a_few_draws():
    """Weights from 10⁻⁶ to 10⁻⁹, before, between and after the common ones; 10⁸ trials in all."""
    rare = 10.0 ** -np.arange(6, 10)
    p = np.concatenate([rare, [0.5], rare, np.full(20, 0.015), rare, [0.2], rare]).astype(np.float32)
    draw = jax.jit(lambda key: multinomial(key, jnp.full(10**5, 128), jnp.asarray(p)).sum(0))
    drawn = sum(np.asarray(draw(jr.key(seed))).astype(np.int64) for seed in range(8))
    due = 8 * 128e5 * p.astype(float) / p.astype(float).sum()
    few = p < 1e-5
    below, above = stats.poisson.cdf(drawn[few], due[few]), stats.poisson.sf(drawn[few] - 1, due[few])
    assert min(below.min(), above.min()) > LEVEL / (2 * few.sum())


@pytest.mark.parametrize("rate", [1e-8, 3e-10, 1e-11, 1e-13])
def test_the_dither_keeps_the_mean_number_of_places_and_spreads_it(rate):
    v, keys = 1000, 20_000
    weight = jnp.asarray(np.append(np.full(v, rate), 1 - v * rate), float)
    owned = jax.vmap(lambda key: _places._owned(_words.cipher(key), weight))(jr.split(jr.key(2), keys))
    owned = np.asarray(owned)[:, :-1]
    places = float(weight[0]) / float(weight.sum()) * 2**30
    part = places % 1
    more = owned.sum(0) - keys * np.floor(places)
    tails = stats.binom.cdf(more, keys, part), stats.binom.sf(more - 1, keys, part)
    assert min(tails[0].min(), tails[1].min()) > LEVEL / (2 * v)
    together = owned.sum(1)
    assert abs(together.mean() - v * places) < 4 * together.std() / np.sqrt(keys) + 1e-6 * v * places
    assert together.var() < 0.05 * v * part * (1 - part) + 0.3  # independent dithers would reach v part (1 − part)


def test_zero_weights_and_zero_draws(precision):
    p = np.zeros((4, 90), np.float32)
    p[0, 89], p[1, 0], p[2, [3, 80]], p[3] = 1.0, 1e-37, 1e30, 1.0
    n = jnp.asarray([128, 128, 128, 0])
    drawn = np.asarray(multinomial(jr.key(4), n, jnp.asarray(p, float)))
    assert drawn.sum(1).tolist() == [128, 128, 128, 0] and drawn.min() == 0
    assert drawn[0, 89] == 128 and drawn[1, 0] == 128 and drawn[2, 3] + drawn[2, 80] == 128


def test_a_lane_is_dealt_by_its_own_number_whatever_its_batch_holds():
    p, keys = 1 / jnp.arange(1.0, 301.0), jr.split(jr.key(5), 6)
    draw = jax.jit(jax.vmap(lambda key, n: multinomial(key, n, p)))
    mixed = draw(keys, jnp.asarray([5, 10**6, 128, 129, 0, 40]))
    for lane, n in ((0, 5), (2, 128), (4, 0), (5, 40)):
        assert (mixed[lane] == draw(keys[lane : lane + 1], jnp.asarray([n]))[0]).all()
        assert (mixed[lane] == WAYS["one by one"](_words.cipher(keys[lane]), jnp.asarray(n), p)).all()
    for lane, n in ((1, 10**6), (3, 129)):
        assert (mixed[lane] == _by_chain(_words.cipher(keys[lane]), jnp.asarray(n), p)).all()
