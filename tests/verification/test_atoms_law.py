"""Atoms, mixtures and kernel densities against exact laws, at numbers of lineages that leave little room. By hand:

    pytest tests/verification/test_atoms_law.py
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import assert_mean

NORMAL = jc.GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
SKEWED = jc.GaussianMixture(np.array([0.8, 0.2]), np.array([[-1.0], [4.0]]), np.array([[[0.5]], [[2.0]]]))
PLANE = jc.GaussianMixture(np.ones(1), np.array([[1.0, -1.0]]), np.array([[[1.0, 0.4], [0.4, 2.0]]]))
MOMENTS = ("mean_error", "variance")


def rebuilt(target):
    """In the precision of the test."""
    return jc.GaussianMixture(*map(np.asarray, target.normals))


def moments(target):
    def record(lineage, batch):
        summary = lineage.model.summary(target)
        return jnp.stack([summary[name] for name in MOMENTS], -1)

    return record


def run(target, learner, regime, alpha, n, generations, lineages, key=0, **options):
    loop = jc.Loop(target, learner, regime, jc.Constant(alpha), jc.Constant(n), **options)
    return np.asarray(
        jc.ensemble(loop, generations, lineages=lineages, key=jr.key(key), record=moments(target))[1], np.float64
    )


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
@pytest.mark.parametrize("target", [NORMAL, SKEWED, PLANE], ids=["normal", "skewed", "plane"])
def test_one_component_has_the_risk_of_a_table_whatever_the_truth(target, split):
    seen = run(target, jc.Mixture(1, steps=1, capacity=16), jc.Replace(), 0.15, 16, 25, 4000, split=split)
    risk = np.asarray(jc.theory.risk(jc.Constant(0.15), jc.Constant(16), 25, split))[1:]
    assert_mean(seen, np.stack([risk, 1 - risk], -1))


def test_one_component_accumulates_as_a_table_does():
    seen = run(SKEWED, jc.Mixture(1, steps=1, capacity=16 * 13), jc.Accumulate(), 0.2, 16, 12, 4000)
    looped = jc.Loop(SKEWED, jc.Mixture(1), jc.Accumulate(), jc.Constant(0.2), jc.Constant(16))
    risk = np.asarray(jc.theory.accumulate(looped.alpha, looped.n, 12))[1:]
    assert_mean(seen, np.stack([risk, 1 - risk], -1))


@pytest.mark.parametrize("capacity", [16, 64])
def test_an_accumulated_pool_beyond_its_capacity_conserves_the_second_moment(capacity):
    """Unbiased in every linear functional: without real data E x² under p_t is that of the truth at every t."""
    seen = run(SKEWED, jc.Mixture(1, steps=1, capacity=capacity), jc.Accumulate(), 0.0, 16, 40, 4000)
    assert_mean(seen.sum(-1), np.ones(40))


def test_a_subsampled_pool_is_the_one_of_theory():
    seen = run(NORMAL, jc.Mixture(1, steps=1, capacity=16 * 13), jc.Subsample(jc.Accumulate()), 0.1, 16, 12, 4000)
    risk = np.asarray(jc.theory.subsample(jc.Constant(0.1), jc.Constant(16), 12))[1:]
    assert_mean(seen, np.stack([risk, 1 - risk], -1))


def test_a_retained_set_is_the_one_of_theory():
    size = jc.Piecewise((1,), (jc.Constant(20), jc.Constant(30)))
    loop = jc.Loop(NORMAL, jc.Mixture(1, steps=1, capacity=50), jc.Anchor(), jc.Constant(0.0), size)
    seen = jc.ensemble(loop, 40, lineages=4000, key=jr.key(2), record=moments(NORMAL))[1]
    risk = float(jc.theory.retained(jc.Constant(0.0), size, 40)[40])
    assert_mean(np.asarray(seen)[:, -1], [risk, 1 - risk])


@pytest.mark.parametrize("split", ["random", "fixed"])
@pytest.mark.parametrize("bandwidth", ["silverman", "scott", 0.4])
def test_kernel_densities_follow_the_exact_recursion_whatever_the_truth(bandwidth, split):
    seen = run(SKEWED, jc.Kernel(bandwidth, capacity=20), jc.Replace(), 0.1, 20, 20, 4000, split=split)
    sigma2 = 0.8 * 0.5 + 0.2 * 2 + 0.8 * 0.2 * 5**2
    exact = jc.theory.kernel_variance(jc.Constant(0.1), jc.Constant(20), 20, bandwidth, variance=sigma2, split=split)
    assert_mean(seen, np.stack([exact.mean, exact.within], -1)[1:] / sigma2)


def test_kernel_densities_in_the_plane_follow_it_too():
    seen = run(PLANE, jc.Kernel("silverman", capacity=20), jc.Replace(), 0.1, 20, 20, 4000)
    exact = jc.theory.kernel_variance(jc.Constant(0.1), jc.Constant(20), 20, "silverman", dimension=2)
    assert_mean(seen, np.stack([exact.mean, exact.within], -1)[1:])


def test_kernel_densities_without_real_data_grow_as_they_should(precision):
    seen = run(rebuilt(NORMAL), jc.Kernel(0.3, capacity=10), jc.Replace(), 0.0, 10, 60, 8000)
    exact = jc.theory.kernel_variance(jc.Constant(0.0), jc.Constant(10), 60, 0.3)
    assert_mean(seen.sum(-1), np.asarray(exact.total)[1:])
    assert_mean(seen[..., 1], np.asarray(exact.within)[1:])


def test_a_collapsing_mixture_ends_at_one_point_in_both_precisions(precision):
    target = rebuilt(SKEWED)
    loop = jc.Loop(target, jc.Mixture(2, capacity=4), jc.Replace(), jc.Constant(0.0), jc.Constant(4))
    record = lambda lineage, batch: lineage.model.summary(target)
    _, found = jc.ensemble(loop, 1000, lineages=200, key=jr.key(3), record=record, record_at=[100, 1000])
    assert all(np.isfinite(value).all() for value in found.values())
    assert (np.asarray(found["variance"])[:, 1] < 1e-6).mean() > 0.95
    assert_mean(jax.device_get(found["mean_error"] + found["variance"])[:, 0], 1.0)
