"""Softmax models: their fit against SciPy, the exact recursion where they converge, and what an early stop leaves."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import optimize, special, stats

import jaxcollapse as jc
from jaxcollapse.families import _gradient, softmax
from tests.helpers import assert_mean, t_bound

TABLE = np.array([[5, 3, 2], [1, 1, 8], [4, 4, 2], [10, 1, 1]])
TARGET = jc.Categorical(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2], [0.8, 0.1, 0.1]]))
FEATURES = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, -1.0]])


def fitted(learner, counts=TABLE, target=TARGET):
    model = learner.init(target, key=jr.key(0))
    return learner.fit(jc.Counts(jnp.asarray(counts)), model, key=jr.key(1))


def minimum(features, counts, l2=0.0):
    """Probabilities at the minimum of the loss, by SciPy."""
    share, shape = counts / counts.sum(), (features.shape[1], counts.shape[1])

    def loss(w):
        logits = features @ w.reshape(shape)
        return -np.sum(share * special.log_softmax(logits, axis=-1)) + l2 / 2 * np.sum(w**2)

    found = optimize.minimize(loss, np.zeros(np.prod(shape)), method="BFGS", options={"gtol": 1e-9})
    return special.softmax(features @ found.x.reshape(shape), axis=-1)


def test_a_full_table_of_counts_is_learned_exactly(precision):
    np.testing.assert_allclose(fitted(jc.Softmax(steps=500)).probs, TABLE / TABLE.sum(1, keepdims=True), atol=2e-4)


@pytest.mark.parametrize(("features", "l2"), [(None, 0.05), (FEATURES, 0.0), (FEATURES, 0.02)])
def test_fits_with_features_and_penalty_are_the_minimum(features, l2):
    learner = jc.Softmax(features=features, l2=l2, steps=1500, rate=0.05)
    due = minimum(np.eye(4) if features is None else features, TABLE, l2)
    np.testing.assert_allclose(fitted(learner).probs, due, atol=3e-4)


@pytest.mark.parametrize(("features", "l2"), [(None, 0.05), (FEATURES, 0.0)])
def test_l_bfgs_is_at_the_minimum_in_a_few_steps(features, l2):
    """Its line search evaluates the loss itself, with the data that the step sees."""
    due = minimum(np.eye(4) if features is None else features, TABLE, l2)
    for x64, steps, far in ((False, 15, 3e-4), (True, 40, 1e-7)):
        with jax.enable_x64(x64):
            learner = jc.Softmax(features=features, l2=l2, optimiser=optax.lbfgs, rate=1.0, steps=steps)
            np.testing.assert_allclose(fitted(learner).probs, due, atol=far)


def test_two_tokens_and_features_are_logistic_regression():
    """Against the score equations: Σ_c Φ_c (N_c p_c − N_c1) = 0."""
    counts = np.array([[9, 3], [5, 5], [2, 9], [12, 1]])
    target = jc.Categorical(np.full((4, 2), 0.5))
    probs = np.asarray(fitted(jc.Softmax(features=FEATURES, steps=1500, rate=0.05), counts, target).probs, float)
    assert abs(FEATURES.T @ (counts.sum(1) * probs[:, 1] - counts[:, 1])).max() < 0.02


def test_a_rank_that_suffices_holds_the_table_and_a_small_one_does_not():
    due = TABLE / TABLE.sum(1, keepdims=True)
    error = lambda rank: float(abs(fitted(jc.Softmax(rank=rank, steps=1500, rate=0.05)).probs - due).max())
    assert error(3) < 5e-3 and error(1) > 0.05


def test_a_lost_token_keeps_what_an_early_stop_leaves_it():
    counts = np.array([[7, 3, 0]] * 4)
    left = [float(fitted(jc.Softmax(steps=steps), counts).probs[0, 2]) for steps in (10, 100, 1000)]
    assert left[0] > 0.05 and left[0] > left[1] > left[2] > 0 and left[2] < 1e-3


def test_a_fit_starts_where_it_is_told():
    base = fitted(jc.Softmax(steps=300))
    one = functools.partial(jc.Softmax, steps=1, rate=1e-9)
    for start, due in (("scratch", np.full((4, 3), 1 / 3)), (base, base.probs)):
        np.testing.assert_allclose(fitted(one(start=start)).probs, due, atol=1e-6)
    previous = one(start="previous").fit(jc.Counts(jnp.asarray(TABLE)), base, key=jr.key(1))
    np.testing.assert_allclose(previous.probs, base.probs, atol=1e-6)
    assert (jc.Softmax(start=base).init(TARGET, key=jr.key(0)).probs == base.probs).all()


def test_batches_see_the_data_without_bias():
    """One step of plain descent: its mean over keys is the step on all of the data."""
    learner = functools.partial(jc.Softmax, optimiser=optax.sgd, rate=1.0, steps=1)
    data, keys = jc.Counts(jnp.asarray(TABLE)), jr.split(jr.key(2), 4000)
    step = lambda key: learner(batch_size=3).fit(data, model, key=key).weights[0]
    model = learner().init(TARGET, key=jr.key(0))
    found, due = np.asarray(jax.vmap(step)(keys), float), learner().fit(data, model, key=jr.key(0)).weights[0]
    t = (found.mean(0) - np.asarray(due)) / (found.std(0, ddof=1) / 4000**0.5)
    assert abs(t).max() <= t_bound(12, 4000) and found.std(0).min() > 0


def test_converged_lineages_follow_the_exact_risk():
    """n α min p* = 19: hardly a token is lost, and a softmax of full rank is a table. 400 lineages, s.e. 3 %."""
    target, alpha, n, generations = jc.Categorical(np.array([0.4, 0.3, 0.3])), jc.Constant(0.4), jc.Constant(160), 4
    loop = jc.Loop(target, jc.Softmax(steps=120, start="previous"), jc.Replace(), alpha, n)
    _, records = jc.ensemble(loop, generations, lineages=400, key=jr.key(3))
    risk = np.asarray(records["squared_error"], float)
    due = jc.metrics.diversity(target.probs) * jc.theory.risk(alpha, n, generations)[1:]
    t = (risk.mean(0) - np.asarray(due)) / (risk.std(0, ddof=1) / 400**0.5)
    assert abs(t).max() <= t_bound(generations, 400)


def test_an_early_stop_removes_the_collapse_of_tables():
    """α = 0, two tokens, 10 draws: the counts are a Markov chain whose rows are Binomial(10, f(N/10)), f the fit."""
    n, p, steps, generations = 10, 0.7, 4, 40
    share, logit = np.arange(n + 1) / n, np.zeros(n + 1)
    for _ in range(steps):
        logit = logit + 2 * (share - special.expit(logit))  # W_1 − W_0, at rate 1
    f = special.expit(logit)
    law, rows = stats.binom.pmf(range(n + 1), n, p), stats.binom.pmf(range(n + 1), n, f[:, None])
    due = np.array([(law := law @ rows) @ (2 * f * (1 - f)) for _ in range(generations)])
    learner = jc.Softmax(optimiser=optax.sgd, rate=1.0, steps=steps)
    loop = jc.Loop(jc.Categorical(np.array([1 - p, p])), learner, jc.Replace(), jc.Constant(0.0), jc.Constant(n))
    found = jc.ensemble(loop, generations, lineages=1000, key=jr.key(4))[1]["diversity"]
    assert_mean(found, due)
    table = 2 * p * (1 - p) * (1 - 1 / n) ** (generations + 1)  # exact, on its way to 0
    assert abs(due[-1] - due[-10]) < 1e-4 and due[-1] > 50 * table


def test_a_rate_is_swept_in_one_program():
    traces = []

    @jax.jit
    def spread(rate):
        traces.append(rate)
        return fitted(jc.Softmax(rate=rate, steps=20)).probs.std()

    assert float(spread(0.01)) < float(spread(0.1)) and len(traces) == 1


def test_a_lineage_that_diverges_is_nan_and_spoils_no_other():
    def run(rate):
        learner = jc.Softmax(optimiser=optax.sgd, rate=rate, steps=20)
        loop = jc.Loop(TARGET, learner, jc.Replace(), jc.Constant(0.1), jc.Constant(9))
        return jc.simulate(loop, 3, key=jr.key(0))[1]["diversity"]

    found = jax.vmap(run)(jnp.asarray([0.1, jnp.inf, -1.0]))
    assert np.isfinite(found[0]).all() and np.isnan(found[1:]).all()


def test_marked_counts_give_nan():
    learner = jc.Softmax(steps=2)
    model = learner.init(TARGET, key=jr.key(0))
    after = learner.fit(jc.Counts(-jnp.ones((4, 3), int)), model, key=jr.key(1))
    assert all(np.isnan(x).all() for x in jax.tree.leaves(eqx.filter((after.probs, after.weights), eqx.is_array)))


def test_marked_counts_give_nan_as_users_compile_it(optimised):
    fit = jax.jit(lambda counts: fitted(jc.Softmax(steps=2), counts))
    after = fit(-jnp.ones((4, 3), int))
    assert np.isnan(after.probs).all() and np.isnan(after.weights[0]).all() and (after.contexts == 0.25).all()
    assert np.isfinite(fit(jnp.asarray(TABLE)).probs).all()


BAD = (
    ({"optimiser": optax.adam(0.1)}, r"optimiser: got one with its rate; try optimiser=optax\.adam, rate=0\.1, which"),
    ({"optimiser": np.sin}, "optimiser: got .*expected a function rate"),
    ({"optimiser": "adam"}, "optimiser: got 'adam', expected a function rate"),
    ({"rate": 0.0}, "rate: got 0.0, expected one positive number"),
    ({"steps": 0}, "steps: got 0, expected a whole number of at least 1"),
    ({"batch_size": 0}, "batch_size: got 0, expected a whole number"),
    ({"l2": -1.0}, "l2: got -1.0, expected one number of at least 0"),
    ({"rank": 0}, "rank: got 0, expected a whole number"),
    ({"rank": 2, "features": FEATURES}, "rank: got a rank and given features"),
    ({"features": FEATURES[0]}, r"features: got shape \(2,\), expected \(contexts, k\)"),
    ({"features": np.array([[1.0, 0.0], [np.nan, 1.0]])}, r"features: got nan at \(1, 0\), expected finite numbers"),
    ({"start": "base"}, "start: got 'base', expected 'scratch', 'previous' or a LogLinear; try 'scratch'"),
)


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_settings_that_cannot_train_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        jc.Softmax(**settings)


NUMBERS = (0.1, 1, np.float32(0.1), np.int8(1), np.array(0.1), jnp.float32(0.1), jnp.bfloat16(0.1))
NO_NUMBERS = (None, "0.1", True, np.bool_(True), 1j, np.nan, np.inf, [0.1], np.ones(1), np.array("0.1"), jr.key(0))


def test_numbers_are_told_from_what_only_looks_like_one():
    """Traced ones pass; concrete ones can be read while others are traced."""
    check = lambda value: _gradient.check_number("l2", value, lambda x: x > 0, "one number; try 0.1")
    jax.jit(lambda traced: [check(value) for value in (*NUMBERS, traced)] and traced)(-1.0)
    for value in (*NO_NUMBERS, -1.0):
        with pytest.raises(ValueError, match=r"^l2: got (.|\n)*, expected one number; try 0\.1$"):
            check(value)


def test_rates_and_starts_that_users_try_are_answered():
    hint = r"rate: got a schedule.*try optimiser=lambda rate: optax\.adam"
    schedule = optax.cosine_decay_schedule(0.1, 100)
    for rate, message in ((schedule, hint), (None, "rate: got None"), ("0.1", "rate: got '0.1'")):
        with pytest.raises(ValueError, match=message):
            _gradient.check(optax.adam, rate, 10, None)
    for start in (np.zeros(3), None, jc.zipf(3)):
        with pytest.raises(ValueError, match=r"start: got .*expected 'scratch', 'previous' or a LogLinear"):
            _gradient.check_start(start, softmax.LogLinear)


def test_what_does_not_fit_the_target_is_refused():
    for learner, target, message in (
        (jc.Softmax(), jc.Text(bytes(range(20)) * 9, 8), r"target: got Text, expected a table .*; try jc\.Categorical"),
        (jc.Softmax(rank=2), jc.zipf(4), "rank: got one for a target without contexts"),
        (jc.Softmax(features=FEATURES[:3]), TARGET, r"features: got 3 rows for a target of shape \(4, 3\)"),
        (jc.Softmax(start=fitted(jc.Softmax(steps=1)), rank=2), TARGET, "start: got weights of shapes"),
    ):
        with pytest.raises(ValueError, match=message):
            learner.init(target, key=jr.key(0))
