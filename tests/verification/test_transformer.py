"""What a trained transformer knows of a Markov chain, against the chain's exact law; loops of transformers."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.families.test_transformer import (
    ALL,
    SMALL,
    TARGET,
    VOCAB,
    assert_drawn,
    assert_lawful,
    assert_searched,
    model,
)
from tests.helpers import t_bound

LETTERS = jc.Markov(jc.corpora.letters(order=2), 16)
GENERATIONS, LINEAGES = 3, 400


def divergence(model):
    """KL(p* ‖ p), nats a token, on the test contexts."""
    true, found = (m.next_log_probs(LETTERS.test) for m in (LETTERS, model))
    return jnp.where(jnp.isfinite(true), jnp.exp(true) * (true - found), 0.0).sum(-1).mean()


@pytest.mark.parametrize("experts", [None, 4])
def test_with_data_and_steps_the_cross_entropy_comes_to_that_of_the_chain(experts):
    """KL falls with n and with steps, to under 0.05 nats a token, a fiftieth of the chain's entropy."""
    make = functools.partial(jc.Transformer, width=32, hidden=64, experts=experts, capacity=4096)
    data = jax.jit(lambda n: make().observe(LETTERS, n, key=jr.key(1)))

    @functools.partial(jax.jit, static_argnums=0)
    def trained(steps, data):
        learner = make(steps=steps)
        model = learner.fit(data, learner.init(LETTERS, key=jr.key(0)), key=jr.key(2))
        return divergence(model), model.summary(LETTERS)["cross_entropy"]

    (few, _), (many, cross_entropy) = (trained(1000, data(jnp.asarray(n))) for n in (64, 4096))
    early, _ = trained(100, data(jnp.asarray(4096)))
    assert few > 3 * many and early > 2 * many and 0 < many < 0.05
    # The cross-entropy on the test set is that of the chain and KL, but for the noise of 256 sequences.
    own = -np.asarray(LETTERS.log_prob(LETTERS.test)) / LETTERS.length
    due = float(LETTERS.entropy) / LETTERS.length + float(many)
    assert abs(float(cross_entropy) - due) < 4 * own.std(ddof=1) / len(own) ** 0.5


@functools.cache
def compiled():
    """Probabilities of the next token `L T k` of scratch-trained models, at (α, n, key)."""
    learner = jc.Transformer(1, 8, 2, hidden=8, capacity=40, steps=10, batch_size=8)
    record = lambda lineage, batch: jnp.exp(lineage.model.next_log_probs(TARGET.test[::9])).ravel()

    def states(alpha, n, key):
        loop = jc.Loop(TARGET, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jc.ensemble(loop, GENERATIONS, lineages=LINEAGES, key=key, record=record)[1]

    return jax.jit(states)


def test_with_real_data_alone_generations_are_independent_and_alike():
    states = np.asarray(compiled()(jnp.asarray(1.0), jnp.asarray(40.0), jr.key(40)), float)
    centred = (states - states.mean(0)) / states.std(0, ddof=1)
    for what, found in (("follows", centred[:, :-1] * centred[:, 1:]), ("changes", np.diff(states, axis=1))):
        z = found.mean(0) / (found.std(0, ddof=1) / LINEAGES**0.5)
        assert abs(z).max() <= t_bound(z.size, LINEAGES), f"a generation {what} with the one before"


def test_the_smallest_sample_gives_finite_numbers_that_differ():
    states = np.asarray(compiled()(jnp.asarray(0.3), jnp.asarray(1.0), jr.key(1)))
    assert np.isfinite(states).all() and states.std(0).min() > 0


def test_the_law_of_experts_too_adds_up_looks_back_alone_and_is_what_the_cache_says():
    assert_lawful(model(3))


def test_plain_draws_follow_the_plain_law():
    assert_drawn(jc.Decoding(), 1, 1, 1)


def test_a_narrow_beam_search_is_the_textbooks():
    assert len(list(assert_searched(beams=2))) == 3


def test_the_balance_loss_moves_the_router_and_so_does_the_fit_alone():
    learner, weights = jc.Transformer(**SMALL, experts=3), model(3).weights

    @jax.jit
    @jax.vmap
    def pull(balance):
        labels = jax.nn.one_hot(jnp.asarray(ALL), VOCAB, dtype=float)
        return jax.grad(lambda w: learner._loss(w, jnp.asarray(ALL), labels, balance))(weights).layers.router

    alone, balanced = np.asarray(pull(jnp.array([0.0, 1.0])))
    assert abs(alone).max() > 1e-4 and abs(balanced - alone).max() > 1e-3


def test_a_loop_that_is_decoded_by_beams_repeats_itself():
    """Distinct sequences of what a generation is trained on: the searched ones differ by their prompts alone."""
    learner = jc.Transformer(1, 8, 2, hidden=8, capacity=64, steps=10, batch_size=8)

    def distinct(decoding):
        loop = jc.Loop(TARGET, learner, jc.Replace(), jc.Constant(0.0), jc.Constant(64), decoding)
        _, points = jc.simulate(loop, 2, key=jr.key(3), record=lambda lineage, batch: batch.data.points)
        return len(np.unique(np.asarray(points[-1]), axis=0))

    assert distinct(jc.Decoding(beams=3, prompt=1)) <= 3 < distinct(jc.Decoding())


def test_distilled_generations_stay_nearer_to_the_truth_than_sampled_ones():
    """α = 0, from scratch, lineage by lineage with the same keys: what a label says of a whole law is not drawn."""
    with jax.ensure_compile_time_eval():
        p_star = jc.Markov(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]]), 6)
    true = p_star.next_log_probs(p_star.test)

    def last(distil):
        learner = jc.Transformer(1, 16, 2, capacity=32, steps=150, batch_size=16, rate=0.01, distil=distil)
        loop = jc.Loop(p_star, learner, jc.Replace(), jc.Constant(0.0), jc.Constant(32.0))

        def kl(lineage, batch):
            found = lineage.model.next_log_probs(p_star.test)
            return jax.scipy.special.rel_entr(jnp.exp(true), jnp.exp(found)).sum(-1).mean()

        return np.asarray(jc.ensemble(loop, 6, lineages=16, key=jr.key(11), record=kl)[1][:, -1], float)

    sampled, distilled = last(False), last(True)
    gap = sampled - distilled
    assert gap.mean() > 4 * gap.std(ddof=1) / 16**0.5
    assert distilled.mean() < sampled.mean() / 2
