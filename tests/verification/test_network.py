"""Second moments of networks: against the scalar recursion, a limit solved apart, the exact law, and the loop."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import theory
from tests.helpers import assert_mean

CHAIN = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.1, 0.9]])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def test_one_node_or_nodes_alone_are_the_scalar_recursion(x64):
    alpha, n = jc.PowerLaw(0.6, exponent=-0.4), jc.PowerLaw(20.0, exponent=0.5)
    r = theory.risk(alpha, n, 30)
    np.testing.assert_allclose(theory.network(alpha, n, np.eye(1), 30)[:, 0, 0], r, rtol=1e-12)
    alone = np.asarray(theory.network(alpha, n, np.eye(3), 30))
    np.testing.assert_allclose(alone, np.asarray(r)[:, None, None] * np.eye(3), rtol=1e-12)


def test_a_complete_web_is_one_lineage_of_all_its_draws(x64):
    s = np.asarray(theory.network(jc.Constant(0.1), jc.Constant(30), np.full((4, 4), 0.25), 50))
    np.testing.assert_allclose(s.mean((1, 2)), theory.risk(jc.Constant(0.1), jc.Constant(120), 50), rtol=1e-12)


def test_the_limit_is_where_the_recursion_stays(x64):
    alpha, n = np.array([0.1, 0.0, 0.3]), np.array([30.0, 50.0, 20.0])
    late = theory.network_recursion(np.tile(alpha, (600, 1)), np.tile(n, (600, 1)), CHAIN)[-1]
    np.testing.assert_allclose(theory.network_limit(alpha, n, CHAIN), late, rtol=1e-10)


def test_moments_are_those_of_the_exact_law_of_two_small_nodes(x64):
    """All pairs of counts of two nodes with 3 and 2 draws, two tokens, by their transition probabilities."""
    n, alpha, p, weights = (3, 2), (0.2, 0.5), 0.3, np.array([[0.7, 0.3], [0.4, 0.6]])
    states = list(itertools.product(range(n[0] + 1), range(n[1] + 1)))
    binom = lambda k, n, p: [1, n, n * (n - 1) // 2, n * (n - 1) * (n - 2) // 6][k] * p**k * (1 - p) ** (n - k)
    law = np.array([np.prod([binom(k, m, p) for k, m in zip(state, n, strict=True)]) for state in states])
    shares = np.array(states) / np.array(n)
    source = np.array(alpha) * p + (1 - np.array(alpha)) * (shares @ weights.T)
    step = np.array(
        [[np.prod([binom(k, m, q) for k, m, q in zip(to, n, row, strict=True)]) for to in states] for row in source]
    )
    times = 6
    exact = theory.network_recursion(np.tile(alpha, (times, 1)), np.tile(n, (times, 1)).astype(float), weights)
    for t in range(times):
        moments = (law[:, None, None] * (shares - p)[:, :, None] * (shares - p)[:, None, :]).sum(0)
        np.testing.assert_allclose(moments / (p * (1 - p)), exact[t], rtol=1e-12, atol=1e-15)
        law = law @ step


def test_the_loop_has_these_moments():
    """Three unequal nodes, n = 12 draws each; real shares of their own by contamination with the truth."""
    own = np.array([0.05, 0.0, 0.4])
    truth = jc.Categorical(np.tile(np.asarray(jc.zipf(4).probs), (3, 1)))
    curate = jc.Chain(jc.Mixing(CHAIN), jc.Contaminate(truth, own))
    loop = jc.Loop(truth, jc.Nodes(), jc.Replace(), jc.Constant(0.0), jc.Constant(12), curate)
    record = lambda lineage, batch: (lineage.model.probs, batch.data.counts.sum(-1))
    _, (p, drawn) = jc.ensemble(loop, 8, lineages=4000, key=jr.key(0), record=record)
    error = np.asarray(p, np.float64) - np.asarray(truth.probs, np.float64)
    products = np.einsum("ltiv,ltjv->ltij", error, error) / float(jc.metrics.diversity(truth.probs[0]))
    with jax.enable_x64(True):
        exact = np.asarray(theory.network_recursion(np.tile(own, (9, 1)), np.full((9, 3), 12.0), CHAIN))
    assert_mean(products, exact[1:])
    assert (np.asarray(drawn) == 12).all()


def test_nodes_need_a_table():
    loop = jc.Loop(jc.zipf(4), jc.Nodes(), jc.Replace(), jc.Constant(0.1), jc.Constant(12))
    with pytest.raises(ValueError, match=r"probs: got shape \(4,\), expected \(c, v\), one row a node"):
        loop.init(key=jr.key(0))


@pytest.mark.parametrize("split", ["fixed", "round"])
def test_splits_give_every_node_its_share_of_real_draws(split):
    truth, other = jc.Categorical(np.eye(2)), jc.Categorical(np.eye(2)[::-1])
    both = jc.Nodes().pool(truth, other, jnp.asarray(0.25), jnp.asarray(8), split, key=jr.key(0))
    np.testing.assert_array_equal(both[0].counts, [[2, 6], [6, 2]])
    np.testing.assert_array_equal(both[1].counts, [[2, 0], [0, 2]])


@pytest.mark.parametrize(
    ("mixing", "message"),
    [
        (np.ones((2, 3)), r"mixing: got shape \(2, 3\), expected a square matrix"),
        (np.full((2, 2), 0.6), "mixing: got rows that add up to"),
        (np.array([[1.5, -0.5], [0.0, 1.0]]), "mixing: got rows"),
    ],
)
def test_what_is_no_mixing_matrix_is_refused(mixing, message):
    with pytest.raises(ValueError, match=message):
        theory.network(jc.Constant(0.1), jc.Constant(10), mixing, 3)
