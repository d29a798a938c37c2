"""Gamma variates at 10⁷ draws, and the Gaussian loop against exact tails, W2 and regimes (T16, T17)."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma

import jaxcollapse as jc
from jaxcollapse.sampling import chi_square, gamma
from jaxcollapse.sampling._gamma import normal
from tests.helpers import assert_mean, two_sample_p

LEVEL = 5e-4
SHAPES = (0.3, 0.5, 1.0, 1.5, 3.0, 4.5, 7.999, 8.0, 8.5, 12.0, 49.5, 5000.0, 1e6)


@jax.jit
def _million(key, shape):
    return gamma(key, jnp.broadcast_to(shape, (1_000_000,)))


def p_values(u):
    """Chi-square of the probability integral in a thousand cells, and both tails at 10⁻⁵."""
    seen = np.bincount(np.minimum((u * 1000).astype(int), 999), minlength=1000)
    due = len(u) / 1000
    found = [stats.chi2.sf(((seen - due) ** 2 / due).sum(), 999)]
    for tail in ((u < 1e-5).sum(), (u > 1 - 1e-5).sum()):
        found.append(stats.binomtest(int(tail), len(u), 1e-5).pvalue)
    return found


def integral(draws, shape):
    """With rounding, by which cells of large shapes differ, spread over the last digit."""
    spacing = np.spacing(draws).astype(np.float64)
    draws = draws.astype(np.float64) + (np.random.default_rng(0).random(len(draws)) - 0.5) * spacing
    return stats.gamma.cdf(draws, float(jnp.asarray(shape, float)))


def test_gamma_follows_its_law_for_all_shapes(precision):
    millions, key, found = (10 if precision == "float32" else 1), jr.key(1), []
    for i, shape in enumerate(SHAPES):
        own = jr.fold_in(key, i)
        draws = [np.asarray(_million(jr.fold_in(own, j), jnp.asarray(shape, float))) for j in range(millions)]
        found += p_values(integral(np.concatenate(draws), shape))
    assert min(found) > LEVEL / len(found)


def test_chi_square_and_normal_follow_their_laws():
    found = p_values(stats.chi2(9).cdf(np.asarray(chi_square(jr.key(0), jnp.full(3_000_000, 9.0)), np.float64)))
    found += p_values(stats.norm.cdf(np.asarray(normal(jr.key(1), (3_000_000,)), np.float64)))
    assert min(found) > LEVEL / len(found)


def test_draws_do_not_depend_on_the_batch():
    keys, shapes = jr.split(jr.key(3), 512), jnp.geomspace(0.1, 1e6, 512)
    draw = jax.jit(jax.vmap(gamma))
    whole = np.asarray(draw(keys, shapes))
    for width in (1, 3, 16, 200):
        parts = [np.asarray(draw(keys[i : i + width], shapes[i : i + width])) for i in range(0, 200, width)]
        assert (np.concatenate(parts)[:200] == whole[:200]).all()


def final(target, n, generations, lineages, key, *, unbiased=True, alpha=0.0, at=None, regime=None):
    made = jc.Loop(
        target, jc.Gaussian(unbiased=unbiased), regime or jc.Replace(), jc.Constant(alpha), jc.Constant(n)
    )
    record = lambda lineage, batch: (lineage.model.mean, jnp.diagonal(lineage.model.factor))
    _, (mean, sigma) = jc.ensemble(made, generations, lineages=lineages, key=key, record=record, record_at=at)
    return np.asarray(mean, np.float64), np.asarray(sigma, np.float64)


def test_T16_tails_survive_as_the_exact_law_says_and_below_the_bound():
    fits = np.array([20, 50, 100, 150, 200])
    _, sigma = final(jc.Normal(0.0, 1.0), 10, 199, 200_000, jr.key(0), at=fits - 1)
    alive = sigma[:, :, 0] > 0.1
    exact = jc.theory.gaussian_survival(0.1, 10, fits, unbiased=True)
    assert_mean(alive, exact)
    np.testing.assert_allclose(alive.mean(0), [0.8475, 0.3746, 0.0816, 0.0183, 0.0040], atol=0.004)
    assert (alive.mean(0) < 10 * np.exp(-fits / 39)).all()
    assert (exact < np.asarray(jc.theory.gaussian_survival_bound(0.1, 10, 199))[fits - 1]).all()


def test_T17_distance_scale_and_drift():
    mean, sigma = final(jc.Normal(0.0, 1.0), 100, 99, 40_000, jr.key(1), at=[99])
    mean, sigma = mean[:, 0, 0], sigma[:, 0, 0]
    assert_mean(sigma, 0.77684)
    w2 = mean**2 + (sigma - 1) ** 2
    assert_mean(w2, jc.theory.gaussian_wasserstein(jc.Constant(100), 99, unbiased=True)[-1])
    assert abs(sigma.mean() / 0.77684 - 1) < 0.01 and abs(w2.mean() / 1.4463 - 1) < 0.04
    assert abs(np.median(np.log(sigma)) + 0.50675) < 0.01
    exact = jc.theory.gaussian_log_scale(jc.Constant(100), 99, unbiased=True)
    assert_mean(np.log(sigma), exact.mean[-1])


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("decay", [None, 0.7])
def test_accumulation_has_the_risk_of_the_tables(d, decay):
    regime = jc.Accumulate(decay=decay)
    mean, sigma = final(
        jc.Normal(np.zeros(d), np.eye(d)), 10, 60, 5000, jr.key(2), unbiased=False, alpha=0.05, regime=regime
    )
    r = np.asarray(jc.theory.accumulate(jc.Constant(0.05), jc.Constant(10), 60, decay))[1:]
    assert_mean((mean**2).mean(-1), r)
    assert_mean(sigma[:, :, 0] ** 2, 1 - r)  # the first pivot is the first variance


def test_accumulated_variance_is_a_product_and_does_not_collapse():
    _, sigma = final(jc.Normal(0.0, 1.0), 10, 59, 20_000, jr.key(3), unbiased=False, regime=jc.Accumulate())
    exact = np.asarray(jc.theory.gaussian_accumulation(10, 59))[1:]
    np.testing.assert_allclose(exact[-1], 0.84483, atol=1e-5)
    assert_mean(sigma[:, :, 0] ** 2, exact)


def test_a_lineage_is_followed_far_below_the_floats_of_its_variance():
    """ln σ of both axes to −57 (e^−114 for the variance) in float32, with the drift of the exact law."""
    _, sigma = final(jc.Normal(np.zeros(2), np.eye(2)), 4, 90, 400, jr.key(4), unbiased=False, at=[90])
    steps = np.array([0.5 * (digamma(nu / 2) + np.log(2) - np.log(4)) for nu in (3, 2)])
    assert_mean(np.log(sigma[:, 0]), 91 * steps)


@pytest.mark.parametrize(
    ("regime", "exact"),
    [
        (jc.Subsample(jc.Accumulate()), lambda a, n: jc.theory.subsample(a, n, 12)),
        (jc.Anchor(fraction=0.5), lambda a, n: jc.theory.retained(a, n, 12, 0.5)),
    ],
    ids=["subsample", "anchor"],
)
def test_a_memory_that_is_sampled_has_the_risk_of_the_tables(regime, exact):
    alpha, split = (0.5, "fixed") if isinstance(regime, jc.Anchor) else (0.1, "random")
    made = jc.Loop(
        jc.Normal(0.0, 1.0), jc.Gaussian(), regime, jc.Constant(alpha), jc.Constant(12), split=split
    )
    record = lambda lineage, batch: (lineage.model.mean[0] ** 2, lineage.model.cov[0, 0])
    _, (error, variance) = jc.ensemble(made, 12, lineages=4000, key=jr.key(1), record=record)
    r = np.asarray(exact(made.alpha, made.n))[1:]
    assert_mean(error, r)
    assert_mean(variance, 1 - r)


@pytest.mark.parametrize("target", [jc.Poisson(3.0), jc.Bernoulli(0.2), jc.ExponentialLaw(2.0)])
def test_a_part_of_a_sample_is_itself_a_sample(target):
    """4 of 9 draws, drawn through the sum of all nine, against 4 draws."""

    def through(key):
        whole, part = jr.split(key)
        return jc.MaximumLikelihood().observe(target, jnp.asarray(9), key=whole).resample(jnp.asarray(4), key=part).sum

    direct = lambda key: jc.MaximumLikelihood().observe(target, jnp.asarray(4), key=key).sum
    a, b = (np.asarray(jax.jit(jax.vmap(f))(jr.split(jr.key(i), 20_000))) for i, f in enumerate((through, direct)))
    p = stats.ks_2samp(a, b).pvalue if isinstance(target, jc.ExponentialLaw) else two_sample_p(a[:, None], b[:, None])
    assert p > 5e-4
