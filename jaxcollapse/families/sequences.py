"""Laws of sequences: ℓ tokens 0 … v − 1, drawn from a real text or written by a Markov chain.

    Text     x = (w_s, …, w_{s+ℓ−1}),  s uniform on the starts in the training part of a text w
    Markov   p(x) = π(x_1) Π_{i=2}^{ℓ} P(x_i | x_{i−1})

A Markov law knows its entropy and the law of every next token, so what a learner of sequences makes of it can be
compared with the truth, where a text only gives a held-out part. Draws are floats that hold whole token ids, as `Atoms`
takes them; a sequence of NaN is a draw from a model that has diverged.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray, UInt

from jaxcollapse import metrics
from jaxcollapse._atoms import AbstractPointModel
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import AbstractTable, Categorical, as_array
from jaxcollapse.sampling import multinomial

LARGEST = 2**24  # token ids below it are whole numbers in float32
HELD = 256  # sequences of a test set
TEST_KEY = 0x7E57


class AbstractSequences(AbstractPointModel):
    """A law of sequences of `length` tokens, each 0 … `vocab` − 1.

    test   `k ℓ`, sequences of the truth that nobody is trained on
    """

    vocab: eqx.AbstractVar[int]
    length: eqx.AbstractVar[int]
    test: eqx.AbstractVar[Int[Array, "k ℓ"]]

    @abc.abstractmethod
    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m ℓ"]:
        """That many independent sequences, whole token ids held as floats."""


class Text(AbstractSequences):
    """Windows of a real text, as the truth p*.

    ids          the text, one token after another: `bytes`, or whole numbers from 0, such as the ids that a byte-pair
                 tokeniser makes of it
    length       ℓ ≥ 2, tokens in a sequence
    vocab        v, default: the largest id + 1; at most 2²⁴
    test_share   the last part of the text that is held out, in (0, 1)

    n counts sequences: a draw is a window, and n of them are n ℓ tokens. It starts anywhere in the training part,
    uniformly, and ends in it; `ids` holds this part, in the smallest type.
    `test` are up to 256 windows of the held-out part, evenly spaced, none of which shares a token with another.
    Independent draws overlap: n ℓ far above the text's length shows a learner the same windows again.
    Errors: `ValueError` for ids that are not whole numbers of 0 … vocab − 1, for a part shorter than a sequence.
    """

    ids: UInt[Array, " n"]
    test: Int[Array, "k ℓ"]
    length: int = eqx.field(static=True)
    vocab: int = eqx.field(static=True)

    def __init__(self, ids: Any, length: int, vocab: int | None = None, test_share: float = 0.1):
        _check_whole("length", length, 2, 32)
        text = np.frombuffer(ids, np.uint8) if isinstance(ids, bytes) else np.asarray(ids)
        self.vocab = _vocab(text, vocab)
        if not 0 < test_share < 1:
            raise ValueError(f"test_share: got {brief(test_share)}, expected a share above 0 and below 1; try 0.1")
        split = text.size - round(text.size * test_share)
        for name, size in (("training", split), ("held-out", text.size - split)):
            if size < length:
                got = f"{text.size} tokens, {size} of them in the {name} part"
                raise ValueError(f"ids: got {got}, expected at least one sequence of {length}; try a smaller length")
        self.ids = jnp.asarray(text[:split].astype(np.min_scalar_type(self.vocab - 1)))
        self.test = jnp.asarray(_windows(text[split:], length), int)
        self.length = int(length)

    @property
    def starts(self) -> int:
        """Number of places where a draw may start."""
        return self.ids.shape[-1] - self.length + 1

    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m ℓ"]:
        """Windows with independent, uniformly random starts."""
        start = jr.randint(key, (number,), 0, self.starts)
        return self.ids[start[:, None] + jnp.arange(self.length)[None]].astype(float)

    def log_prob(self, x: Num[Array, "*m ℓ"]) -> Float[Array, "*m"]:
        """ln of the share of the training part's windows that are x: −inf for what the text does not say.

        Every x is compared with the whole text, n ℓ comparisons. NaN for a sequence with a NaN.
        """
        rows = of_length(x, self.length).reshape(-1, self.length)

        def share(row):
            from_ = lambda i: jax.lax.dynamic_slice_in_dim(self.ids, i, self.starts).astype(float)
            same = jax.lax.fori_loop(
                0, self.length, lambda i, found: found & (from_(i) == row[i]), jnp.ones(self.starts, bool)
            )
            return jnp.where(jnp.isnan(row).any(), jnp.nan, same.sum().astype(float) / self.starts)

        return jnp.log(jax.lax.map(share, rows)).reshape(x.shape[:-1])

    def summary(self, target: AbstractSequences) -> dict[str, Array]:
        """entropy of the law of single tokens (nats), total_variation between it and that of the target's test set."""
        if self.vocab != target.vocab:
            raise ValueError(f"target: got {target.vocab} tokens for a text of {self.vocab}, expected as many")
        own, due = (_frequencies(x, self.vocab) for x in (self.ids, target.test))
        return {"entropy": metrics.entropy(own), "total_variation": metrics.total_variation(own, due)}


class Markov(AbstractSequences):
    """Sequences that a Markov chain writes, as the truth p* or as a model, with everything about them known.

    table    a `Categorical` (any `AbstractTable`) `v v`, row: a token, column: the next one, whose `contexts` π are the
             law of the first token; or an array `v v`, whose stationary law π = π P is computed
    length   ℓ ≥ 2, tokens in a sequence

    n counts sequences, of ℓ tokens each. `probs` `v v` and `contexts` `v` are the chain's; `test` are 256 sequences
    drawn with a key of their own, the same for equal chains. `Markov(jc.corpora.letters(order=2), 32)` writes the
    letters of Shakespeare by their pairs.
    Errors: `ValueError` for a table that is not square, for an array whose chain has several stationary laws.
    """

    probs: Float[Array, "v v"]
    contexts: Float[Array, " v"]
    test: Int[Array, "k ℓ"]
    length: int = eqx.field(static=True)

    def __init__(self, table: AbstractTable | Num[ArrayLike, "..."], length: int):
        _check_whole("length", length, 2, 32)
        table = as_array(table)
        probs = table.probs if isinstance(table, AbstractTable) else table
        if jnp.ndim(probs) != 2 or jnp.shape(probs)[0] != jnp.shape(probs)[1]:
            got = f"a table of shape {jnp.shape(probs)}"
            raise ValueError(f"table: got {got}, expected (v, v), a next token for each token; try order=2")
        if not isinstance(table, AbstractTable):
            table = Categorical(probs, _stationary(probs))
        if table.contexts is None:
            raise ValueError("table: got one without contexts, expected the law of the first token; try jc.Categorical")
        self.probs, self.contexts, self.length = table.probs, table.contexts, int(length)
        self.test = _write(self.probs, self.contexts, HELD, self.length, jr.key(TEST_KEY))[0]

    @property
    def vocab(self) -> int:
        return self.probs.shape[-1]

    @property
    def entropy(self) -> Float[Array, ""]:
        """−Σ_x p(x) ln p(x) of a whole sequence in nats, exact: the least cross-entropy that a model of it can have."""
        each = metrics.entropy(self.probs)
        return metrics.entropy(self.contexts) + jnp.sum(_laws(self, self.length - 1) * each[None])

    @property
    def entropy_rate(self) -> Float[Array, ""]:
        """H(x_ℓ | x_{ℓ−1}) in nats a token, exact: Σ_c π_c H(P(· | c)), the chain's entropy rate, for stationary π."""
        return jnp.sum(_laws(self, self.length - 1)[-1] * metrics.entropy(self.probs))

    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m ℓ"]:
        """Independent sequences; exact, and never a step of probability 0."""
        tokens, lawful = _write(self.probs, self.contexts, number, self.length, key)
        return jnp.where(lawful[:, None], tokens.astype(float), jnp.nan)

    def next_log_probs(self, x: Num[Array, "*m ℓ"]) -> Float[Array, "*m ℓ v"]:
        """ln p(· | x_1 … x_{i−1}) in nats at every place i; the token at i itself is not looked at."""
        tokens, lawful = _tokens(of_length(x, self.length), self.vocab)
        first = jnp.broadcast_to(jnp.log(self.contexts), (*x.shape[:-1], 1, self.vocab))
        given = jnp.where(lawful[..., :-1, None], jnp.log(self.probs)[tokens[..., :-1]], jnp.nan)
        return jnp.concatenate([first, given], -2)

    def log_prob(self, x: Num[Array, "*m ℓ"]) -> Float[Array, "*m"]:
        """ln p(x) in nats; −inf for a step that the chain does not take, NaN for a sequence with what is no token."""
        tokens, lawful = _tokens(of_length(x, self.length), self.vocab)
        steps = jnp.log(self.probs[tokens[..., :-1], tokens[..., 1:]]).sum(-1)
        return jnp.where(lawful.all(-1), jnp.log(self.contexts[tokens[..., 0]]) + steps, jnp.nan)

    def summary(self, target: AbstractSequences) -> dict[str, Array]:
        """cross_entropy (nats a token) and perplexity (tokens) on the target's test set; +inf once a step is lost."""
        cross_entropy = -self.log_prob(target.test).mean() / self.length
        return {"cross_entropy": cross_entropy, "perplexity": jnp.exp(cross_entropy)}


@eqx.filter_jit
def _write(
    probs: Float[Array, "v v"], contexts: Float[Array, " v"], number: int, length: int, key: PRNGKeyArray
):
    """Sequences `m ℓ` of the chain, and which of them, `m`, met no row that is no law."""
    one = np.ones(number, int)  # known while tracing: half of the sampler need not be compiled

    def token(carry, i):
        rows, lawful = carry
        drawn = multinomial(jr.fold_in(key, i), one, rows)
        at = jnp.argmax(drawn, -1)
        lawful = lawful & (drawn[:, 0] >= 0)
        return (probs[at], lawful), at

    start = jnp.broadcast_to(contexts, (number, contexts.size))
    (_, lawful), tokens = jax.lax.scan(token, (start, jnp.ones(number, bool)), jnp.arange(length))
    return tokens.T.astype(int), lawful


def _stationary(table: Num[ArrayLike, "v v"]) -> Float[Array, " v"]:
    """π with π P = π and Σ π = 1."""
    if isinstance(table, Tracer):
        raise ValueError("table: got a traced array, expected known numbers; try jc.Categorical(table, π)")
    Categorical(table)  # a row that is no law is named
    p = np.asarray(table, np.float64)
    balance = (p / p.sum(-1, keepdims=True)).T - np.eye(len(p))
    if np.linalg.matrix_rank(balance, tol=1e-6) < len(p) - 1:
        expected = "one class of tokens that the chain ends in"
        raise ValueError(f"table: got several stationary laws, expected {expected}; try jc.Categorical(table, π)")
    both = np.concatenate([balance, np.ones((1, len(p)))])
    law = np.linalg.lstsq(both, np.eye(len(p) + 1)[-1], rcond=None)[0].clip(0)
    return jnp.asarray(law / law.sum(), float)


@eqx.filter_jit
def _laws(chain: Markov, length: int) -> Float[Array, "i v"]:
    """The law of the token at each of the first places."""
    step = lambda law, _: (jnp.matmul(law, chain.probs, precision="highest"), law)
    return jax.lax.scan(step, chain.contexts, length=length)[1]


def of_length(x: Num[Array, "*m ℓ"], length: int) -> Float[Array, "*m ℓ"]:
    if not x.ndim or x.shape[-1] != length:
        raise ValueError(f"x: got shape {x.shape}, expected sequences of {length} tokens on the last axis")
    return x.astype(float)


def _tokens(x: Float[Array, "*m ℓ"], vocab: int):
    """Token ids `*m ℓ` that may be used as places, and where they are what x says."""
    lawful = (x >= 0) & (x < vocab) & (x == jnp.floor(x))
    return jnp.where(lawful, x, 0.0).astype(int), lawful


def _frequencies(ids: Any, vocab: int) -> Float[Array, " v"]:
    return jnp.bincount(ids.ravel().astype(int), length=vocab).astype(float) / ids.size


def _windows(text: np.ndarray, length: int) -> np.ndarray:
    """Up to `HELD` windows `k ℓ`, evenly spaced, without a token in common."""
    k = min(HELD, text.size // length)
    starts = np.arange(k) * (text.size - length) // max(k - 1, 1)
    return text[starts[:, None] + np.arange(length)]


def _vocab(text: np.ndarray, vocab: int | None) -> int:
    """The number of token ids; `ValueError` where the text does not fit it."""
    if text.ndim != 1 or not np.issubdtype(text.dtype, np.integer) or not text.size:
        got = f"{text.dtype} of shape {text.shape}"
        raise ValueError(f"ids: got {got}, expected a text as whole numbers of shape (n,); try text.encode()")
    if vocab is not None:
        _check_whole("vocab", vocab, 1, 256)
    least, largest = int(text.min()), int(text.max())
    vocab = largest + 1 if vocab is None else int(vocab)
    if least < 0 or largest >= vocab or vocab > LARGEST:
        expected = f"0 … vocab − 1 with a vocab of at most {LARGEST}"
        raise ValueError(f"vocab: got {vocab} for ids from {least} to {largest}, expected {expected}; try None")
    return vocab


def _check_whole(name: str, value: Any, least: int, example: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: got {brief(value)}, expected a whole number of at least {least}; try {example}")
