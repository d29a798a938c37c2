"""Metrics of generated text: perplexity, repetition, the tail of ranks, and the load of experts.

    perplexity   exp(−(1/ℓ) Σ_i ln p_i)
    distinct     different n-grams / n-grams of many sequences;     repeated   1 − distinct, of each sequence
    evenness     −Σ_e f_e ln f_e / ln E, of the shares f_e of tokens that E experts take

Pure functions of arrays; whole numbers are token ids, held as integers or floats. Most are statistics of a sample, and
each says which way a finite sample moves it. NaN in gives NaN out.
Sources: distinct-n: Li et al., arXiv 1510.03055; repeated n-grams: Welleck et al., arXiv 1908.04319.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr
from jaxtyping import Array, ArrayLike, Float, Int, Num


def perplexity(log_probs: Float[ArrayLike, "*b i"]) -> Float[Array, "*b"]:
    """exp(−mean of ln p) over the last axis, in tokens: from 1, nothing surprises, to +inf, a token that cannot occur.

    log_probs   ln p of every token that was predicted, in nats; uniform predictions of v tokens give v

    From a model of sequences and drawn ones, which are floats that hold token ids:

        x = other.draw(64, key=key)
        log_probs = jnp.take_along_axis(model.next_log_probs(x), x.astype(int)[..., None], -1)[..., 0]

    One value a sequence; for that of a whole text give all of its tokens on one axis, since the mean of the sequences'
    values is larger (Jensen). Values of different tokenisers do not compare. The value of n tokens is too high by about
    a share var(ln p) / (2 n), on average.
    """
    return jnp.exp(-jnp.mean(jnp.asarray(log_probs, float), -1))


# ── what a text repeats ──


def distinct(sequences: Num[ArrayLike, "*b m i"], n: int) -> Float[Array, "*b"]:
    """distinct-n: the number of different n-grams in m sequences over that of all their n-grams, in (0, 1].

    1: no n-gram occurs twice; 1 / (m (ℓ − n + 1)): one sequence of one token, over and over. It falls as the sample
    grows, for any law: compare samples of equal m and ℓ alone. Error: `ValueError` for an n above ℓ or below 1.
    """
    grams = _grams(jnp.asarray(sequences), n)
    return _share(grams.reshape(*grams.shape[:-3], -1, n))


def repeated(sequences: Num[ArrayLike, "*b i"], n: int) -> Float[Array, "*b"]:
    """Share of a sequence's n-grams that stood in it before (seq-rep-n), in [0, 1): 0 where nothing repeats.

    One value a sequence; longer sequences repeat more, for any law. Errors as for `distinct`.
    """
    return 1 - _share(_grams(jnp.asarray(sequences), n))


def _grams(sequences: Num[Array, "*b i"], n: int) -> Num[Array, "*b j n"]:
    length = sequences.shape[-1]
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= length:
        raise ValueError(f"n: got {n!r} for sequences of {length} tokens, expected a whole number of 1 to {length}")
    return jnp.stack([sequences[..., i : length - n + 1 + i] for i in range(n)], -1)


def _share(grams: Num[Array, "*b j n"]) -> Float[Array, "*b"]:
    """Different rows over rows: sorted by all n tokens, equal rows are neighbours."""
    n = grams.shape[-1]
    rows = jnp.stack(jax.lax.sort(tuple(jnp.moveaxis(grams, -1, 0)), dimension=-1, num_keys=n), -1)
    new = jnp.any(rows[..., 1:, :] != rows[..., :-1, :], -1).sum(-1) + 1
    return new.astype(float) / grams.shape[-2] + 0.0 * grams.astype(float).sum((-2, -1))


# ── ranks ──


def rank_tail(counts: Num[ArrayLike, "*b v"], rank: int) -> Float[Array, "*b"]:
    """Share of the tokens of a text, or of a law's mass, that is not among its own `rank` most frequent types.

    0 once no more types are left than that. Of a sample too low: it ranks by its own counts and misses rare types.
    `metrics.tail_mass` ranks by the target's. Error: `ValueError` for a rank below 0.
    """
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or rank < 0:
        raise ValueError(f"rank: got {rank!r}, expected a whole number of at least 0; try 100")
    falling = -jnp.sort(-jnp.asarray(counts, float), axis=-1)
    return falling[..., rank:].sum(-1) / falling.sum(-1)


def rank_slope(counts: Num[ArrayLike, "*b v"], first: int = 1, last: int | None = None) -> Float[Array, "*b"]:
    """Zipf's exponent: minus the slope of ln frequency on ln rank, by least squares over the ranks first … last.

    counts   of a text, or a law; `zipf(v, s)` has s. Steeper means a lighter tail; +inf or NaN where a rank is empty

    Of a sample: ranks that were seen a few times lie in steps and too low at the end; choose `last` where counts are
    still about 10. Error: `ValueError` for fewer than two ranks.
    """
    counts = jnp.asarray(counts, float)
    last = counts.shape[-1] if last is None else last
    if not 1 <= first < last <= counts.shape[-1]:
        got, expected = f"ranks {first} to {last} of {counts.shape[-1]}", "two or more of them"
        raise ValueError(f"last: got {got}, expected {expected}")
    x = jnp.log(jnp.arange(first, last + 1, dtype=counts.dtype))
    x = x - x.mean()
    y = jnp.log(-jnp.sort(-counts, axis=-1)[..., first - 1 : last])
    return -jnp.vecdot(y, jnp.broadcast_to(x, y.shape)) / jnp.sum(x**2)


# ── experts ──


def load(chosen: Int[ArrayLike, "*b i"], experts: int) -> Float[Array, "*b e"]:
    """Share of the tokens that are sent to each expert, from the expert that each token is sent to.

    NaN where one of them is none of 0 … e − 1.
    """
    sent = jax.nn.one_hot(jnp.asarray(chosen), experts, dtype=float)
    return jnp.where((sent.sum(-1) == 1).all(-1)[..., None], sent.mean(-2), jnp.nan)


def busiest(load: Float[ArrayLike, "*b e"]) -> Float[Array, "*b"]:
    """Largest share of one expert: from 1/e, balanced, to 1, collapsed. Of a sample too high, of order 1/√tokens."""
    return jnp.max(jnp.asarray(load, float), -1)


def evenness(load: Float[ArrayLike, "*b e"]) -> Float[Array, "*b"]:
    """Entropy of the load over ln e (Pielou): from 1, balanced, to 0, one expert does it all.

    Of N tokens too low by about (e − 1) / (2 N ln e). For a single expert it is NaN.
    """
    load = jnp.asarray(load, float)
    return jnp.sum(entr(load), -1) / (math.log(load.shape[-1]) or math.nan)
