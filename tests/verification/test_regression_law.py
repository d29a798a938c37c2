"""Linear regression at the stated numbers of repetitions. Run by hand:

    pytest tests/verification/test_regression_law.py

T18 is d = 10, T = 60, 1500 repetitions; the rest compares with a loop that draws its rows one by one.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import assert_mean

C = jc.Constant
FITS = np.array([1, 2, 5, 20])
UNIT = 10 / (60 - 10 - 1)  # σ² d / (T − d − 1), σ = 1


def squared_errors(regime, same_x, repetitions, generations=19, d=10, rows=60, split="random", alpha=0.0):
    """‖ŵ_t − w*‖² for t = 0..generations, `L t`; each lineage has its own X where it is the same each round."""
    weights = np.linspace(-1, 1, d)

    @eqx.filter_jit
    def one(key):
        k_x, k_run = jr.split(key)
        target = jc.LinearModel(weights, 1.0, jr.normal(k_x, (rows, d)) if same_x else None)
        loop = jc.Loop(target, jc.Ridge(), regime, C(alpha), C(rows), split=split)
        record = lambda lineage, batch: lineage.model.summary(target)["squared_error"]
        first = loop.init(key=jr.fold_in(k_run, 0)).model.summary(target)["squared_error"]
        return jnp.append(first, jc.simulate(loop, generations, key=k_run, record=record)[1])

    return np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(18), repetitions)), np.float64)


@pytest.mark.parametrize("same_x", [True, False])
def test_t18_replacing_adds_and_accumulating_is_bounded(same_x):
    replaced = squared_errors(jc.Replace(), same_x, 1500)
    pooled = squared_errors(jc.Accumulate(), same_x, 1500)
    np.testing.assert_allclose(replaced[:, FITS - 1].mean(0) / UNIT, FITS, rtol=0.06)
    assert_mean(replaced / UNIT, np.arange(1.0, 21))
    factor = np.asarray(jc.theory.accumulation_factor(19))
    exact = factor if same_x else np.asarray(jc.theory.regression_accumulate(C(60), 19, 10)) / UNIT
    np.testing.assert_allclose(pooled[:, FITS - 1].mean(0) / UNIT, exact[FITS - 1], rtol=0.06)
    assert_mean(pooled / UNIT, exact)
    assert (exact < np.pi**2 / 6).all()


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
def test_mixtures_with_few_real_rows_have_their_exact_errors(split):
    errors = squared_errors(jc.Replace(), False, 40_000, 6, 4, 11, split, 0.15)
    assert_mean(errors, jc.theory.regression(C(0.15), C(11), 6, 4, split))


def test_subsampling_follows_exact_row_labels_up_to_d_over_n():
    """A pool forgets which rows had which parent; the error of that is below 2 % at d/n = 1/12."""
    d, n, generations, lineages = 3, 36, 8, 12_000
    ours = squared_errors(jc.Subsample(jc.Accumulate()), False, 40_000, generations, d, n)
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((lineages, n, d)), rng.standard_normal((lineages, n))
    fitted = _least_squares(x, y)
    for t in range(1, generations + 1):
        fresh = rng.standard_normal((lineages, n, d))
        labels = np.einsum("lni,li->ln", fresh, fitted) + rng.standard_normal((lineages, n))
        x, y = np.concatenate([x, fresh], 1), np.concatenate([y, labels], 1)
        chosen = rng.permuted(np.tile(np.arange(y.shape[1]), (lineages, 1)), axis=1)[:, :n]
        fitted = _least_squares(np.take_along_axis(x, chosen[..., None], 1), np.take_along_axis(y, chosen, 1))
        b = (fitted**2).sum(-1)
        b_mean, b_se = b.mean(), b.std() / np.sqrt(lineages)
        # w* differs (0 there), the error does not: least squares is equivariant.
        a_mean, a_se = ours[:, t].mean(), ours[:, t].std() / np.sqrt(len(ours))
        assert abs(a_mean - b_mean) < 4 * np.hypot(a_se, b_se) + 0.02 * b_mean


def _least_squares(x, y):
    gram, cross = np.einsum("lni,lnj->lij", x, x), np.einsum("lni,ln->li", x, y)
    return np.linalg.solve(gram, cross[..., None])[..., 0]


def test_unbiased_noise_keeps_its_mean_and_biased_noise_shrinks_by_its_share():
    d, n, lineages = 3, 30, 20_000
    for noise, factor in (("unbiased", 1.0), ("mle", 1 - d / n)):
        loop = jc.Loop(jc.LinearModel(np.ones(d), 1.0), jc.Ridge(noise=noise), jc.Replace(), C(0.0), C(n))
        record = lambda lineage, batch: lineage.model.noise ** 2
        _, variance = jc.ensemble(loop, 6, lineages=lineages, key=jr.key(5), record=record)
        assert_mean(variance, factor ** np.arange(2.0, 8))


def test_retained_rows_are_drawn_exactly():
    """Anchor(fraction): the rows kept of D_0 have the law of rows drawn one by one."""
    d, n, lineages = 2, 16, 30_000
    loop = jc.Loop(jc.LinearModel(np.zeros(d), 1.0), jc.Ridge(), jc.Anchor(fraction=0.5), C(0.5), C(n), split="fixed")
    record = lambda lineage, batch: lineage.model.summary(loop.target)["squared_error"]
    ours = np.asarray(jc.ensemble(loop, 3, lineages=lineages, key=jr.key(6), record=record)[1])
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((lineages, n, d)), rng.standard_normal((lineages, n))
    fitted = _least_squares(x, y)
    for t in range(3):
        chosen = rng.permuted(np.tile(np.arange(n), (lineages, 1)), axis=1)[:, : n // 2]
        fresh = rng.standard_normal((lineages, n // 2, d))
        labels = np.einsum("lni,li->ln", fresh, fitted) + rng.standard_normal((lineages, n // 2))
        rows = np.concatenate([np.take_along_axis(x, chosen[..., None], 1), fresh], 1)
        fitted = _least_squares(rows, np.concatenate([np.take_along_axis(y, chosen, 1), labels], 1))
        a, b = ours[:, t], (fitted**2).sum(-1)
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / lineages)
