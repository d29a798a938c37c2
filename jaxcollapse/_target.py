"""Synthetic targets p*: laws of v tokens with a known shape, and a table of counts read as one.

    zipf        p_i ∝ i^−s,  i = 1..v
    uniform     p_i = 1/v
    dirichlet   p ~ Dirichlet(a_1, …, a_v)
    from_counts p(v | c) = N_cv / N_c,  π_c = N_c / N

Weights that are known now are normalised in float64 on the host and rounded once; under a trace (a sweep over the
exponent, a target drawn per point) the same formula runs in the default float.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike, Num, PRNGKeyArray

from jaxcollapse.families.tabular import Categorical


def zipf(vocab: int, exponent: Num[ArrayLike, ""] = 1.0) -> Categorical:
    """p_i ∝ i^−exponent for the ranks i = 1..vocab, most probable token first.

    exponent 0 is the uniform law, exponent → ∞ a point mass on token 0; words have about 1. It may be traced.
    Errors: `ValueError` for a vocab below 1, a negative or infinite exponent.
    """
    _check_vocab(vocab)
    _check_weights("exponent", exponent)
    if isinstance(exponent, Tracer):
        return Categorical(jax.nn.softmax(-jnp.asarray(exponent, float) * jnp.log(jnp.arange(1.0, vocab + 1.0))))
    weights = np.arange(1.0, vocab + 1.0) ** -np.asarray(exponent, float)
    return Categorical(jnp.asarray(weights / weights.sum(), float))


def uniform(vocab: int) -> Categorical:
    """p_i = 1/vocab for i = 1..vocab. Error: `ValueError` for a vocab below 1."""
    _check_vocab(vocab)
    return Categorical(jnp.full(vocab, 1.0 / vocab, float))


def dirichlet(concentration: Num[ArrayLike, "*c"], vocab: int | None = None, *, key: PRNGKeyArray) -> Categorical:
    """One law drawn from Dirichlet(concentration): a number for all of `vocab` tokens, or an array `v` or `c v`.

    A `c v` array draws one row per context, all contexts equally frequent. Concentration 1 is uniform on the simplex,
    → ∞ its mean, → 0 a point mass (tokens below the float's smallest number then have probability 0).
    Errors: `ValueError` for a concentration that is not positive and finite, or a vocab that does not fit it.
    """
    if jnp.ndim(concentration) == 0 or vocab is not None:
        _check_vocab(vocab)
    _check_weights("concentration", concentration, positive=True)
    a = jnp.asarray(concentration, float)
    if a.ndim == 0:
        a = jnp.full(vocab, a)
    if a.ndim > 2 or a.size == 0 or vocab not in (None, a.shape[-1]):
        raise ValueError(
            f"concentration: got shape {a.shape} with vocab={vocab}, expected a number, or an array (v,) or (c, v) "
            "whose last axis is the vocabulary; try leaving vocab out"
        )
    return Categorical(jr.dirichlet(key, a))


def from_counts(counts: Num[ArrayLike, "*c v"] | Num[ArrayLike, " v"]) -> Categorical:
    """The law that a table of counts (or of non-negative weights) is proportional to.

    A vector `v` gives a unigram. A table `c v`, one row per context, gives p(v | c) = N_cv / N_c, and its row totals
    give the contexts' law π_c = N_c / N. Token ids are the positions in the table.
    Errors: `ValueError` for a negative, NaN or infinite count, no count at all, or a context that was never seen.
    """
    table = np.asarray(counts, np.float64)
    if table.ndim not in (1, 2) or table.size == 0:
        raise ValueError(f"counts: got shape {table.shape}, expected counts of shape (v,) or (c, v)")
    _check_weights("counts", table)
    rows = table.sum(-1, keepdims=True)
    if not (rows > 0).all():
        where = "" if table.ndim == 1 else f" in row {int(np.argmin(rows > 0))}"
        raise ValueError(f"counts: got no count{where}, expected at least one in every context; try leaving it out")
    contexts = None if table.ndim == 1 else jnp.asarray(rows[:, 0] / rows.sum(), float)
    return Categorical(jnp.asarray(table / rows, float), contexts)


def _check_vocab(vocab: int | None) -> None:
    if isinstance(vocab, bool) or not isinstance(vocab, int | np.integer) or vocab < 1:
        raise ValueError(f"vocab: got {vocab!r}, expected a whole number of tokens, at least 1; try vocab=1000")


def _check_weights(name: str, values: Num[ArrayLike, "..."], positive: bool = False) -> None:
    if isinstance(values, Tracer):
        return
    array = np.asarray(values, np.float64)
    bad = ~np.isfinite(array) | (array < 0) | (positive & (array == 0))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f" at {at}" if at else ""
        expected = "above 0" if positive else "of at least 0"
        raise ValueError(f"{name}: got {array[at]}{place}, expected finite numbers {expected}")
