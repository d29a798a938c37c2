"""Smoothing by any prior, posterior sampling and a pull to a base, against exact moments and the Gibbs identity."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse.families.tabular import _dirichlet
from tests.helpers import assert_mean

BASE = np.array([0.1, 0.1, 0.2, 0.6])
OTHER = np.array([0.0, 0.5, 0.5, 0.0])
#        β (a row a case),      α,   ε
CASES = [
    (np.full(4, 0.5), 0.0, 0.0),
    (np.array([0.0, 2.0, 0.0, 1.0]), 0.1, 0.0),
    (5.0 * BASE, 0.2, 0.0),
    (np.zeros(4), 0.5, 1.0),
    (np.full(4, 0.1), 0.1, 0.3),
]


@pytest.fixture(scope="module")
def runs():
    """Models of every case and of one with ε out of range, `P L T v`, from one compile."""

    def experiment(beta, alpha, epsilon):
        curate = jc.Contaminate(OTHER, epsilon)
        learner = jc.Tabular(smoothing=beta)
        loop = jc.Loop(jc.zipf(4), learner, jc.Replace(), jc.Constant(alpha), jc.Constant(20), curate)
        return jc.ensemble(loop, 6, lineages=3000, key=jr.key(0), record=lambda lineage, batch: lineage.model.probs)[1]

    cases = [*CASES, (np.zeros(4), 0.1, 1.5), (np.array([0.0, 0.0, 0.0, -1.0]), 0.1, 0.5)]
    columns = [jnp.asarray(np.array(x), float) for x in zip(*cases, strict=True)]
    return np.asarray(jax.jit(jax.vmap(experiment))(*columns), np.float64)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_means_and_risks_are_the_exact_ones(runs, case):
    beta, alpha, epsilon = CASES[case]
    p, q = runs[case], np.asarray(jc.zipf(4).probs, np.float64)
    with jax.enable_x64(True):
        setting = (jc.Constant(alpha), jc.Constant(20), q, OTHER, epsilon, 6)
        exact = jax.tree.map(np.asarray, jc.theory.contaminated(*setting, smoothing=beta))
    assert_mean(p, exact.mean[1:])
    assert_mean(((p - q) ** 2).sum(-1), exact.risk[1:])
    assert_mean(1 - (p**2).sum(-1), exact.diversity[1:])


def test_a_lineage_with_a_number_out_of_range_is_nan(runs):
    assert np.isnan(runs[-2:]).all() and np.isfinite(runs[:-2]).all()


@pytest.mark.parametrize("concentration", [1e-3, 0.05, 1.0, 300.0])
def test_dirichlet_draws_are_stable_for_tiny_and_large_concentrations(precision, concentration):
    a = np.array([2 * concentration, concentration])
    p = np.asarray(jax.jit(_dirichlet)(jr.key(2), jnp.tile(jnp.asarray(a, float), (4000, 1))), np.float64)
    assert np.isfinite(p).all() and (p >= 0).all()
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-6)
    assert_mean(p, a / a.sum())
    assert_mean((p[:, 0] - 2 / 3) ** 2, 2 / 9 / (1 + 3 * concentration))


def test_a_token_of_no_weight_is_lost_and_an_unvisited_row_stays():
    model = jc.Categorical(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
    counts = jc.Counts(jnp.array([[3, 1, 0], [0, 0, 0]]))
    p = jc.PosteriorSampling(jc.Tabular()).fit(counts, model, key=jr.key(3)).probs
    assert p[0, 2] == 0 and 0 < p[0, 0] < 1
    np.testing.assert_allclose(p[1], model.probs[1])
    marked = jc.Counts(jnp.full((2, 3), -1))
    assert np.isnan(jc.PosteriorSampling(jc.Tabular()).fit(marked, model, key=jr.key(3)).probs).all()


def test_a_prior_may_differ_by_token_and_by_context():
    counts, model = jc.Counts(jnp.array([[3, 1], [0, 2]])), jc.Categorical(np.full((2, 2), 0.5))
    fit = lambda beta: jc.Tabular(smoothing=beta).fit(counts, model, key=jr.key(0)).probs
    np.testing.assert_allclose(fit(np.array([1.0, 0.0])), [[4 / 5, 1 / 5], [1 / 3, 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(fit(np.array([[1.0, 0.0], [0.0, 0.0]])), [[4 / 5, 1 / 5], [0, 1]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"smoothing: got shape \(3,\) for a table of shape \(2, 2\)"):
        fit(np.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Tabular(smoothing=np.array([0.5, -0.5])), "smoothing: got .*expected finite pseudo-counts"),
        (lambda: jc.Tabular(smoothing=np.array([0.5, np.inf])), "smoothing: got"),
        (lambda: jc.Tabular(smoothing=np.ones((1, 1, 1))), "smoothing: got"),
    ],
)
def test_what_is_no_prior_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
