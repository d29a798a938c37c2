"""The transformer: its law by enumeration, its cache, its decodings, its experts, and fits that fail."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import special, stats

import jaxcollapse as jc
from jaxcollapse.families import transformer

VOCAB, LENGTH = 3, 4
ALL = np.stack(np.meshgrid(*[np.arange(VOCAB)] * LENGTH, indexing="ij"), -1).reshape(-1, LENGTH)
SMALL = {"layers": 2, "width": 8, "heads": 2, "hidden": 8}


class Uniform(jc.AbstractSequences):
    """Independent tokens, all alike."""

    test: jax.Array
    vocab: int = eqx.field(static=True, default=VOCAB)
    length: int = eqx.field(static=True, default=LENGTH)

    def draw(self, number, *, key):
        return jr.randint(key, (number, LENGTH), 0, VOCAB).astype(float)

    def log_prob(self, x):
        return jnp.full(x.shape[:-1], -LENGTH * jnp.log(VOCAB))

    def summary(self, target):
        return {}


TARGET = Uniform(jnp.asarray(ALL))


@functools.cache
def model(experts=None):
    """Normal weights, under which every sequence has a probability of its own."""
    learner = jc.Transformer(**SMALL, experts=experts)
    shapes = jax.eval_shape(lambda: learner.init(TARGET, key=jr.key(0)).weights)
    normal = np.random.default_rng(1).normal
    return jc.TransformerModel(jax.tree.map(lambda s: jnp.asarray(0.7 * normal(size=s.shape), s.dtype), shapes))


@eqx.filter_jit
def law(model):
    """Of all sequences: logits, ln p(· | x_<i), the same token by token from the cache, and ln p."""
    weights = model.weights
    cache = (jnp.zeros((2, len(ALL), 2, LENGTH, 4)),) * 2
    inputs = np.pad(ALL[:, :-1], ((0, 0), (1, 0)), constant_values=VOCAB)

    def step(cache, t):
        h, cache, _ = transformer._forward(weights, jnp.asarray(inputs)[:, t][:, None], cache, t)
        return cache, jax.nn.log_softmax(model.logits(h[:, 0]), -1)

    x = jnp.asarray(ALL, float)
    logits = model.logits(model.representations(x))
    whole = model.log_prob(jnp.concatenate([x, x.at[5, 2].set(jnp.nan)]).reshape(2, *x.shape))
    _, steps = jax.lax.scan(step, cache, jnp.arange(LENGTH))
    return logits, jax.nn.log_softmax(logits, -1), steps.swapaxes(0, 1), *whole


def test_the_law_adds_up_looks_back_alone_and_is_what_the_cache_says():
    assert_lawful(model())


def assert_lawful(model):
    """By enumeration of all sequences."""
    _, following, steps, whole, marked = law(model)
    np.testing.assert_allclose(steps, following, atol=1e-5)
    np.testing.assert_allclose(whole, np.take_along_axis(following, ALL[..., None], -1).sum((1, 2)), atol=1e-5)
    assert np.exp(whole).sum() == pytest.approx(1, abs=1e-5)
    for i in range(LENGTH):
        alike = np.asarray(following[:, i]).reshape(VOCAB**i, -1, VOCAB)  # one row: one past
        assert np.ptp(alike, axis=1).max() < 1e-5
        assert i == 0 or np.ptp(alike, axis=0).min(-1).max() > 0.1
    assert np.flatnonzero(np.isnan(marked)).tolist() == [5]


def decoded(logits, temperature, top, rho):
    """ln p of all sequences under a penalty ρ, then a temperature, then a nucleus; written down anew."""
    total = np.zeros(len(ALL))
    for s, x in enumerate(ALL):
        for i, token in enumerate(x):
            z = np.asarray(logits[s, i], float)
            held = np.isin(np.arange(VOCAB), x[:i])
            p = special.softmax(z) ** np.where(held, rho, 1)
            p = (p / p.sum()) ** (1 / temperature)
            p /= p.sum()
            order = np.argsort(-p)
            p[order[1:][np.cumsum(p[order])[:-1] >= top]] = 0
            with np.errstate(divide="ignore"):
                total[s] += np.log(p[token] / p.sum())
    return total


@eqx.filter_jit
def drawn(model, decoding, number, key):
    return decoding(model).draw(number, key=key)


NUMBER = 20_000
CHANGED = jc.Decoding(jc.Chain(jc.Temperature(1.5), jc.TopP(0.9)), repetition=jnp.asarray(2.0))


def assert_drawn(decoding, *numbers):
    """Chi-square over all sequences; those that the decoding leaves out are never drawn."""
    draws = np.asarray(drawn(model(), decoding, NUMBER, jr.key(0)))
    found = np.bincount((draws @ VOCAB ** np.arange(LENGTH)[::-1]).astype(int), minlength=len(ALL))
    due = NUMBER * np.exp(decoded(law(model())[0], *numbers))
    assert (found[due == 0] == 0).all() and due.sum() == pytest.approx(NUMBER)
    many = due >= 5
    pooled = [np.append(x[many], x[~many].sum()) for x in (found, due)]
    pooled = [x[pooled[1] > 0] for x in pooled]
    assert stats.chisquare(*pooled).pvalue > 1e-3 and len(pooled[0]) > 20
    return due


def test_draws_follow_the_law_that_the_decoding_says():
    due = assert_drawn(CHANGED, 1.5, 0.9, 2)
    assert (due == 0).sum() > 10


def test_a_diverged_model_and_a_decoding_that_is_no_law_draw_nan():
    lost = eqx.tree_at(lambda m: m.weights.norm, model(), model().weights.norm * jnp.nan)
    wrong = eqx.tree_at(lambda d: d.repetition, CHANGED, jnp.asarray(-1.0))
    hot = jax.tree.map(lambda _: jnp.asarray(-1.0), jc.Decoding(jc.Temperature(jnp.asarray(1.0))))
    for one, decoding in ((lost, CHANGED), (model(), wrong), (model(), hot)):
        assert np.isnan(drawn(one, decoding, NUMBER, jr.key(0))).all()


def searched(following, first, beams, rho):
    """The best sequence that a beam search finds after its first token; ρ ln p of tokens that it holds already."""
    kept = [((first,), 0.0)]
    for i in range(1, LENGTH):
        row = lambda past: next(s for s, x in enumerate(ALL) if tuple(x[: len(past)]) == past)
        weight = lambda x, v: rho if v in x else 1.0
        grown = [((*x, v), p + weight(x, v) * following[row(x), i, v]) for x, p in kept for v in range(VOCAB)]
        kept = sorted(grown, key=lambda one: -one[1])[:beams]
    return kept[0][0]


def assert_searched(beams, rho=1.0, x64=False):
    """Every draw is what the search finds after its first token."""
    _, following, _, whole, _ = law(model())
    with jax.enable_x64(x64):
        draws = np.asarray(drawn(model(), jc.Decoding(beams=beams, prompt=1, repetition=rho), 64, jr.key(2)), int)
    assert len(np.unique(draws[:, 0])) == VOCAB
    for first in range(VOCAB):
        found = np.unique(draws[draws[:, 0] == first], axis=0)
        assert found.tolist() == [list(searched(following, first, beams, rho))]
        yield found[0].tolist(), ALL[np.where(ALL[:, 0] == first, whole, -np.inf).argmax()].tolist()


def test_a_beam_search_with_beams_for_all_finds_the_most_probable():
    assert all(found == best for found, best in assert_searched(beams=VOCAB ** (LENGTH - 2)))


@pytest.mark.parametrize("x64", [False, True])
def test_a_beam_search_under_a_penalty_repeats_less(x64):
    found, plain = ([tokens for tokens, _ in assert_searched(2, rho, x64)] for rho in (3.0, 1.0))
    repeats = lambda rows: sum(len(row) - len(set(row)) for row in rows)
    assert repeats(found) < repeats(plain)


def test_what_is_no_sequence_of_tokens_has_no_probability():
    x = np.array([[0, 1, 2, 0], [-1, 1, 2, 0], [0, VOCAB, 1, 1], [0, 1.7, 1, 1], [0, 1.5, 1, 1]])[:, :LENGTH]
    found = np.asarray(eqx.filter_jit(model().log_prob)(jnp.asarray(x, float)))
    assert np.isnan(found).tolist() == [False, True, True, True, False]
    with pytest.raises(ValueError, match=rf"x: got shape .* expected sequences of {LENGTH} tokens"):
        model().log_prob(jnp.zeros((2, LENGTH + 1)))
    with pytest.raises(ValueError, match=rf"x: got shape .* expected at most {LENGTH} tokens"):
        model().representations(jnp.zeros((2, LENGTH + 1)))
    with pytest.raises(ValueError, match=f"target: got 2 tokens for a model of {VOCAB}"):
        model().summary(jc.Markov(jc.Categorical(np.full((2, 2), 0.5)), LENGTH))


def test_a_diverged_router_has_no_load():
    lost = eqx.tree_at(lambda m: m.weights.norm, model(3), model(3).weights.norm * jnp.nan)
    load = eqx.filter_jit(lambda one: one.expert_load(jnp.asarray(ALL, float)))
    assert np.isnan(load(lost)).all() and np.allclose(load(model(3)).sum(-1), 1)


def test_full_experts_let_tokens_pass_and_others_say_what_evaluation_says():
    layer = jax.tree.map(lambda w: w[0], model(3).weights.layers)
    h = jr.normal(jr.key(0), (5, 4, 8))
    one, ample, full = jax.jit(lambda *x: [transformer._feed(*x, slots) for slots in (None, 20, 2)])(layer, h)
    np.testing.assert_allclose(ample[0], one[0], atol=1e-5)
    chosen = np.asarray(h.reshape(20, 8) @ layer.router).argmax(-1)
    held = np.concatenate([np.flatnonzero(chosen == e)[:2] for e in range(3)])
    due = np.where(np.isin(np.arange(20), held)[:, None], np.asarray(one[0]).reshape(20, 8), 0)
    np.testing.assert_allclose(np.asarray(full[0]).reshape(20, 8), due, atol=1e-5)
    assert len(held) < 20
    np.testing.assert_allclose(one[1][0], np.bincount(chosen, minlength=3) / 20, atol=1e-6)


def balance_loss(scale):
    """The loss with a balance of 1 less that with 0, the router's weights scaled."""
    learner, weights = jc.Transformer(**SMALL, experts=3), model(3).weights
    routed = eqx.tree_at(lambda w: w.layers.router, weights, scale * weights.layers.router)
    labels = jax.nn.one_hot(jnp.asarray(ALL), VOCAB, dtype=float)
    with_it, without = (learner._loss(routed, jnp.asarray(ALL), labels, weight) for weight in jnp.array([1.0, 0.0]))
    return with_it - without


def test_the_balance_loss_is_one_for_a_uniform_router_and_more_for_a_collapsed_one():
    uniform, sharp = jax.jit(jax.vmap(balance_loss))(jnp.array([0.0, 1.0]))
    assert float(uniform) == pytest.approx(1, abs=1e-5) and float(sharp) > 1.02


def test_no_data_change_nothing_and_a_fit_that_diverges_spoils_no_other():
    learner = jc.Transformer(
        1, 4, 1, hidden=4, capacity=8, steps=4, batch_size=2, start="previous", optimiser=optax.sgd
    )

    @jax.jit
    @jax.vmap
    def fitted(rate, n):
        now = eqx.tree_at(lambda one: one.rate, learner, rate)
        before = now.init(TARGET, key=jr.key(0))
        after = now.fit(now.observe(TARGET, n, key=jr.key(1)), before, key=jr.key(2))
        return [jnp.concatenate([x.ravel() for x in jax.tree.leaves(m.weights)]) for m in (before, after)]

    rates, sizes = jnp.array([1e-12, 0.1, 1e30, 0.1, -1.0, 0.1]), jnp.array([5, 5, 5, 0, 5, -1])
    before, after = (np.asarray(x) for x in fitted(rates, sizes))
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    assert np.isfinite(after[1]).all() and abs(after[1] - before[1]).max() > 1e-3
    assert (after[3] == before[3]).all()
    assert np.isnan(after[[2, 4, 5]]).any(1).all() and np.isnan(after[[4, 5]]).all()


def test_a_fit_starts_where_it_is_told():
    base, other = model(), jc.TransformerModel(jax.tree.map(jnp.zeros_like, model().weights))
    begun = lambda start: jc.Transformer(**SMALL, start=start)._begin(other, jr.key(0))
    assert begun(base) is base.weights and begun("previous") is other.weights
    assert 0.01 < float(jax.jit(lambda: begun("scratch").embed.std())()) < 0.03
    assert jc.Transformer(**SMALL, start=base).init(TARGET, key=jr.key(0)).weights is base.weights


BAD = {
    "layers": {"layers": 0},
    "width": {"width": 0},
    "heads": {"width": 6, "heads": 4},
    "hidden": {"hidden": True},
    "experts": {"experts": 1},
    "expert_capacity": {"experts": 2, "expert_capacity": 0.0},
    "balance": {"balance": -1.0},
    "capacity": {"capacity": 0},
    "optimiser": {"optimiser": optax.adam(0.1)},
    "rate": {"rate": 0.0},
    "steps": {"steps": 0},
    "batch_size": {"batch_size": 0},
    "start": {"start": "beginning"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_learner_that_cannot_be_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"^{name}: got .*"):
        jc.Transformer(**BAD[name])


def test_targets_bases_and_decodings_that_do_not_fit_are_refused():
    shape = lambda make: eqx.filter_eval_shape(make)
    with pytest.raises(ValueError, match=r"^target: got .*, expected sequences"):
        jc.Transformer().init(jc.zipf(3), key=jr.key(0))
    with pytest.raises(ValueError, match=r"^start: got weights of shapes .*same learner, vocabulary and length"):
        shape(lambda: jc.Transformer(**SMALL | {"width": 4}, start=model()).init(TARGET, key=jr.key(0)))
    with pytest.raises(ValueError, match=r"^start: got weights of shapes .*, 2 heads, expected .*, 4 heads"):
        shape(lambda: jc.Transformer(**SMALL | {"heads": 4}, start=model()).init(TARGET, key=jr.key(0)))
    with pytest.raises(ValueError, match=r"^curate: got a model TransformerModel, .*; try jc\.Decoding\(jc\.TopP"):
        jc.TopP(0.9)(model())
    with pytest.raises(ValueError, match=r"^curate: got a Categorical, expected a model of sequences"):
        jc.Decoding()(jc.zipf(3))
    with pytest.raises(ValueError, match=r"^prompt: got 8 tokens, expected fewer than the 4 of a sequence"):
        jc.Loop(TARGET, jc.Transformer(), jc.Replace(), jc.Constant(0.1), jc.Constant(5), jc.Decoding(beams=2))
    for name, value in {"curate": 0.9, "repetition": 0.0, "beams": 0, "prompt": 0}.items():
        with pytest.raises(ValueError, match=f"^{name}: got "):
            jc.Decoding(**{name: value})


def test_a_distilled_generation_is_its_teacher_where_a_sampled_one_is_not():
    """α = 0, trained on: the teacher's own probabilities have no gradient; real sequences are learned as ever."""
    teacher = model()

    @eqx.filter_jit
    def step(distil, alpha):
        sizes = SMALL | {"capacity": 16, "steps": 5, "rate": 0.1}
        learner = jc.Transformer(**sizes, optimiser=optax.sgd, start="previous", distil=distil)
        parts = learner.pool(TARGET, teacher, alpha, jnp.asarray(12), "random", key=jr.key(2))
        fitted = learner.fit(parts[0], teacher, key=jr.key(3))
        change = jax.tree.map(lambda new, old: abs(new - old).max(), fitted.weights, teacher.weights)
        return parts, fitted.weights, jnp.stack(jax.tree.leaves(change)).max()

    (pooled, real, synthetic), _, moved = step(True, jnp.asarray(0.0))
    (sampled, *_), _, usual = step(False, jnp.asarray(0.0))
    assert np.array_equal(np.floor(pooled.points), sampled.points), "the same draws, read as whole numbers"
    assert np.all(pooled.points[:12] % 1 == 0.5) and real.total == 0 and synthetic.total == 12
    assert moved < 1e-5 < 1e-2 < usual

    (pooled, *_), real_alone, _ = step(True, jnp.asarray(1.0))
    _, usual, _ = step(False, jnp.asarray(1.0))
    assert np.array_equal(pooled.points, np.floor(pooled.points))
    same = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-5, atol=1e-6), real_alone, usual)
    assert jax.tree.all(same)


def test_labels_are_the_tokens_of_real_sequences_and_the_teachers_law_of_synthetic_ones():
    x = jnp.asarray([[0.0, 2.0, 1.0, 1.0], [0.5, 2.5, 1.5, 1.5]])
    drawn, told = jc.Transformer(**SMALL, distil=True)._labels(x, model())
    assert np.array_equal(drawn, np.eye(VOCAB)[[0, 2, 1, 1]])
    assert np.allclose(told, jnp.exp(model().next_log_probs(jnp.floor(x)))[1], rtol=1e-5)
