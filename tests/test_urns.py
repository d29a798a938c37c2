"""Samples without replacement: what holds in every draw, the fixed work part by part, and bad input."""

import re
from itertools import combinations

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import _hypergeometric, _words, hypergeometric
from tests.test_hypergeometric import LEVEL, whole_law_p_value

_rows = jax.jit(lambda key, counts, number: hypergeometric(key, counts, number))


def test_counts_add_up_and_no_category_gives_more_than_it_has(precision):
    rng = np.random.default_rng(7)
    for v in (1, 65, 3000) if precision == "float32" else (65,):
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
