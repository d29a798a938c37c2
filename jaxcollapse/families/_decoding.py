"""Decoding: how a model of next tokens writes sequences.

    p   = softmax(z)
    p_v ← p_v^ρ                 for tokens v that the sequence holds already (repetition penalty ρ)
    p   ← c(p/Σp)               c: any curation of tables, such as `Temperature`, `TopP`
    x_i ~ p/Σp                  or, with b > 1 beams, the most probable of the b sequences kept, by Σ_i ln p_{x_i}

Beam search is deterministic: all that differs between two sequences is their first `prompt` tokens, which are drawn.
Without a curation it does not renormalise what the penalty leaves, as the beam search of Hugging Face's transformers,
the library of OPT, does not; of samples that library penalises logits by their sign, which depends on their zero.
Sources: repetition penalty: Keskar et al., arXiv 1909.05858; five beams and ρ = 2: Shumailov et al., Nature 631:755.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num, PRNGKeyArray, PyTree

from jaxcollapse._schedule import brief
from jaxcollapse.families._gradient import check_number
from jaxcollapse.families.tabular import Categorical

Step = Callable[[Int[Array, " m"], Int[Array, ""], PyTree], tuple[Float[Array, "m v"], PyTree]]


class Decoding(eqx.Module):
    """A curation of sequence models, for `Loop(curate=)`: the same law, decoded in another way.

    curate       table -> table, of each next-token law: `jc.Temperature(0.8)`, `jc.TopP(0.9)`, `jc.Chain(...)`
    repetition   ρ > 0, penalty of tokens that the sequence holds already; 1: none; may be swept
    beams        b ≥ 1 sequences that are kept in a beam search; 1: sampling
    prompt       tokens that are sampled before a beam search begins, at least 1
    """

    curate: Any = None
    repetition: Num[ArrayLike, ""] = 1.0
    beams: int = eqx.field(default=1, static=True)
    prompt: int = eqx.field(default=8, static=True)

    def __check_init__(self):
        if self.curate is not None and not callable(self.curate):
            raise ValueError(f"curate: got {brief(self.curate)}, expected a curation; try jc.TopP(0.9)")
        expected = "one number above 0; try 2.0, or 1.0 for none"
        check_number("repetition", self.repetition, lambda x: x > 0, expected)
        for name in ("beams", "prompt"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name}: got {brief(value)}, expected a whole number of at least 1")

    def __call__(self, model: Any) -> Any:
        if not isinstance(getattr(model, "decoding", None), Decoding):
            raise ValueError(f"curate: got a {type(model).__name__}, expected a model of sequences; try jc.Transformer")
        if self.beams > 1 and self.prompt >= model.length:
            expected = f"fewer than the {model.length} of a sequence"
            raise ValueError(f"prompt: got {self.prompt} tokens, expected {expected}; try 1")
        return eqx.tree_at(lambda m: m.decoding, model, self, is_leaf=lambda x: x is None)

    def scores(self, logits: Float[Array, "m v"], held: Bool[Array, "m v"]) -> Float[Array, "m v"]:
        """ln p of the next token, −∞ where nothing is left of it."""
        rho = jnp.asarray(self.repetition, logits.dtype)
        rho = jnp.where(rho > 0, rho, jnp.nan)
        found = jax.nn.log_softmax(logits, axis=-1)
        found = jnp.where(held, rho * found, found)
        if self.curate is not None:
            found = jnp.log(self.curate(Categorical(jax.nn.softmax(found, axis=-1))).probs)
        return found + 0.0 * rho  # NaN where ρ is, which compiled for a CPU may be lost in an exp


def decode(
    step: Step, cache: PyTree, decoding: Decoding, shape: tuple[int, int, int], key: PRNGKeyArray
) -> Int[Array, "m i"]:
    """Sequences of a model: shape is (m, their length, vocabulary).

    step: (tokens `m`, position, cache) -> (logits `m v`, cache); the first token is `vocab`, the start. The second axis
    of each array of the cache is m.
    """
    number, length, vocab = shape
    drawn = length if decoding.beams == 1 else min(decoding.prompt, length)

    def sample(carry, t):
        token, cache, held = carry
        logits, cache = step(token, t, cache)
        token = jr.categorical(jr.fold_in(key, t), decoding.scores(logits, held), axis=-1)
        return (token, cache, held | jax.nn.one_hot(token, vocab, dtype=bool)), token

    begin = jnp.full(number, vocab), cache, jnp.zeros((number, vocab), bool)
    carry, tokens = jax.lax.scan(sample, begin, jnp.arange(drawn))
    return tokens.T if drawn == length else _search(step, carry, decoding, tokens.T, length)


def _search(step: Step, carry, decoding: Decoding, prompts: Int[Array, "m p"], length: int) -> Int[Array, "m i"]:
    """The most probable continuation that a beam search finds for each prompt."""
    (number, begun), width = prompts.shape, decoding.beams
    token, cache, held = carry
    vocab = held.shape[1]
    copies = lambda x, axis: jnp.repeat(x, width, axis)
    written = jnp.zeros((number * width, length), prompts.dtype).at[:, :begun].set(copies(prompts, 0))
    score = jnp.where(jnp.arange(number * width) % width == 0, 0.0, -jnp.inf)  # the copies are no choices yet

    def grow(carry, t):
        token, cache, held, written, score = carry
        logits, cache = step(token, t, cache)
        total = score[:, None] + decoding.scores(logits, held)
        score, best = jax.lax.top_k(total.reshape(number, width * vocab), width)
        best = best.astype(prompts.dtype)
        token, parent = (best % vocab).ravel(), (best // vocab + width * jnp.arange(number)[:, None]).ravel()
        cache = jax.tree.map(lambda x: x[:, parent], cache)
        held = held[parent] | jax.nn.one_hot(token, vocab, dtype=bool)
        return (token, cache, held, written[parent].at[:, t].set(token), score.ravel()), None

    cache = jax.tree.map(lambda x: copies(x, 1), cache)
    begin = copies(token, 0), cache, copies(held, 0), written, score
    (*_, written, score), _ = jax.lax.scan(grow, begin, jnp.arange(begun, length))
    return written.reshape(number, width, length)[:, 0]
