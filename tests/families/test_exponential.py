"""Poisson, Bernoulli and exponential laws: sums as data, and the loop against the recursion of their means."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from tests.helpers import assert_mean

LAWS = {"poisson": (jc.Poisson(3.0), 0.0), "bernoulli": (jc.Bernoulli(0.2), -1.0), "exp": (jc.ExponentialLaw(2.0), 1.0)}
OURS = pytest.mark.parametrize("name", LAWS)


@pytest.fixture(scope="module")
def runs():
    """summary over 15 generations of 4000 lineages: one compile for each law, for all α and n."""

    def programme(target):
        def run(alpha, n, key):
            made = jc.Loop(target, jc.MaximumLikelihood(), jc.Replace(), jc.Constant(alpha), jc.Constant(n))
            return jc.ensemble(made, 15, lineages=4000, key=key)[1]

        return jax.jit(run)

    return {name: programme(target) for name, (target, _) in LAWS.items()}


@OURS
def test_the_mean_obeys_the_recursion_of_a_quadratic_variance(runs, name):
    target, curvature = LAWS[name]
    for alpha, n in ((0.1, 30), (1.0, 5)):
        found = runs[name](alpha, n, jr.key(0))
        exact = jc.theory.mean_parameter(jc.Constant(alpha), jc.Constant(n), 15, curvature)
        assert_mean(found["squared_error"], exact[1:])
        assert_mean(found["mean"], np.full(15, float(target.mean)))


def test_what_is_lost_stays_lost(runs):
    poisson, bernoulli = (np.asarray(runs[name](0.0, 2, jr.key(1))["mean"]) for name in ("poisson", "bernoulli"))
    assert ((poisson[:, 1:] == 0) | (poisson[:, :-1] > 0)).all()
    ends = (bernoulli[:, :-1] == 0) | (bernoulli[:, :-1] == 1)
    assert (bernoulli[:, 1:] == bernoulli[:, :-1])[ends].all() and ends.any()
    dead = 0.0  # P(a Poisson lineage of one draw is dead), by its generating function exp(· − 1)
    for _ in range(15):
        dead = np.exp(dead - 1)
    assert_mean(poisson[:, -1] == 0, np.exp(2 * 3.0 * (dead - 1)))


@OURS
def test_traced_misuse_is_nan(runs, name):
    assert all(np.isnan(x).all() for x in runs[name](-0.5, 30, jr.key(0)).values())


@OURS
def test_sums_add_scale_and_mark(name):
    target, _ = LAWS[name]
    learner, key = jc.MaximumLikelihood(), jr.key(0)
    a, b = (learner.observe(target, jnp.asarray(n), key=key) for n in (5, 9))
    assert (a + b).weight == 14 and (a + b).sum == a.sum + b.sum
    assert (0.5 * a).weight == 2.5 and float((0.5 * a).sum) == 0.5 * float(a.sum)
    np.testing.assert_allclose(learner.fit(a, target, key=key).mean, float(a.sum) / 5, rtol=1e-6)
    nothing = learner.observe(target, jnp.asarray(0), key=key)
    assert nothing.sum == 0 and learner.fit(nothing, target, key=key).mean == target.mean
    marked = learner.observe(target, jnp.asarray(-1), key=key)
    for data in (marked, marked + a, a + marked, 0.5 * marked, marked.resample(jnp.asarray(2), key=key)):
        assert data.weight < 0 and np.isnan(learner.fit(data, target, key=key).mean)


@OURS
def test_log_prob_is_that_of_scipy(name):
    laws = {"poisson": stats.poisson(3), "bernoulli": stats.bernoulli(0.2), "exp": stats.expon(0, 2)}
    exact = laws[name].logpdf if name == "exp" else laws[name].logpmf
    x = np.array([0.0, 1.0])
    np.testing.assert_allclose(LAWS[name][0].log_prob(x), exact(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Poisson(-1.0), "mean: got -1.0, expected one positive, finite number"),
        (lambda: jc.Bernoulli(1.0), r"mean: got 1.0, expected one number in \(0, 1\)"),
        (lambda: jc.ExponentialLaw(float("inf")), "mean: got inf"),
    ],
)
def test_what_is_no_mean_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
