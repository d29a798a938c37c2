"""Records at chosen generations t_1 < … < t_R, without those in between.

    for i = 1..R:   for t = t_{i−1} + 1 .. t_i:   a generation;   then its record, row i     (from t = 0, to t = T)

How often the inner loop turns is a value, not a shape, so that there is one program for all rows. It is the same for
all lineages, so that under `vmap` the branch stays a branch, and what is not recorded is not computed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from jaxcollapse._schedule import brief

# Takes the carry and t; returns the next carry, and a function that makes its record.
Generation = Callable[[PyTree, Int[Array, ""]], tuple[PyTree, Callable[[], PyTree]]]


def rows(record_at: Sequence[Any] | np.ndarray | None, generations: int) -> Int[Array, "R 3"] | None:
    """Of each recorded generation: where its loop starts, the generation itself, and where its loop has ended.

    Errors: `ValueError` unless these are whole numbers, ascending, in 1..T.
    """
    if record_at is None:
        return None
    at = np.asarray(record_at)
    if at.ndim != 1 or at.size == 0 or at.dtype.kind not in "iu":
        raise ValueError(
            f"record_at: got {brief(record_at)}, expected a sequence of whole numbers, the generations to record; "
            "try numpy.unique(numpy.geomspace(1, 300, 32).astype(int))"
        )
    at = at.astype(np.int64)
    if (outside := at[(at < 1) | (at > generations)]).size:
        raise ValueError(f"record_at: got {outside[0]}, expected generations in 1..{generations}; try [{generations}]")
    if (back := np.flatnonzero(np.diff(at) <= 0)).size:
        what = f"{at[back[0] + 1]} after {at[back[0]]}"
        raise ValueError(f"record_at: got {what}, expected distinct, ascending generations; try numpy.unique")
    starts, stops = np.concatenate([[0], at[:-1] + 1]), np.append(at[:-1], generations) + 1
    return jnp.asarray(np.stack([starts, at, stops], axis=1), int)


def recorded(generation: Generation) -> Callable[[PyTree, Int[Array, ""]], tuple[PyTree, PyTree]]:
    """A generation and its record at once."""

    def advance(carry, t):
        carry, record = generation(carry, t)
        return carry, record()

    return advance


def scan(generation: Generation, first: PyTree, rows: Int[Array, "R 3"]) -> tuple[PyTree, PyTree]:
    """The last carry, and the records of all rows along a leading axis R."""
    shapes = jax.eval_shape(lambda: recorded(generation)(first, rows[0, 0])[1])
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def row(carry, bounds):
        start, at, stop = bounds

        def advance(t, state):
            carry, record = generation(state[0], t)
            return carry, jax.lax.cond(t == at, record, lambda: state[1])

        return jax.lax.fori_loop(start, stop, advance, (carry, blank))

    return jax.lax.scan(row, first, rows)
