"""Statistics over lineages, merged batch by batch: an ensemble of a million is summarised without being held.

    statistics of lineages 0 … L−1  =  those of lineages 0 … B−1,  merged with those of B … 2B−1,  and so on

How they merge is in `_statistics`.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from jaxcollapse import _loop, _recording
from jaxcollapse._loop import Loop, Record
from jaxcollapse._statistics import Statistics, begun, checked


def init(values: PyTree, edges: PyTree = None) -> PyTree:
    """The `Statistics` of no lineages yet, for each array of a pytree of one lineage's values (or of their shapes).

    `edges` of the histograms: None for none, ascending numbers (`numpy.linspace`, or `numpy.geomspace` for a
    logarithmic scale) for all arrays, or a pytree of such that begins like `values`, as {"risk": edges, "alive": None}.
    Errors: `ValueError` for edges that do not increase, and for values that are no real numbers.
    """
    edges = checked(edges)
    try:
        edges = jax.tree.broadcast(edges, values, is_leaf=lambda x: x is None)
    except ValueError as error:
        raise ValueError(
            f"edges: got {jax.tree.structure(edges)}, expected numbers, or what begins like the record, "
            f"{jax.tree.structure(values)}; try numpy.linspace(0, 1, 101)"
        ) from error
    return jax.tree.map(begun, values, edges)


def update(statistics: PyTree, values: PyTree, where: Bool[Array, " L"] | None = None) -> PyTree:
    """Each of the `Statistics` with the values of more lineages, along their leading axis."""
    return jax.tree.map(lambda s, x: s.update(x, where), statistics, values, is_leaf=_is_statistics)


def merge(first: PyTree, second: PyTree) -> PyTree:
    """The `Statistics` of the lineages of both, as of two processes with different keys."""
    return jax.tree.map(lambda a, b: a.merge(b), first, second, is_leaf=_is_statistics)


def ensemble(
    loop: Loop,
    generations: int,
    *,
    lineages: int,
    batch: int,
    key: PRNGKeyArray,
    record: Record | None = None,
    record_at: Any = None,
    edges: PyTree = None,
) -> PyTree:
    """`Statistics` over lineages of each number that `jc.ensemble` would record, `batch` lineages at a time.

    The lineages are those of `jc.ensemble`, for every batch: lineage l has the key fold_in(key, l). Their draws
    are the same, and their statistics merge as `_statistics` says; XLA may round a recorded float otherwise in its last
    digit for another batch, which moves an extreme by that digit, or a value across an edge that it lies on.
    Shapes are those of the records without their axis L: T (or R, with `record_at`) leads. `edges` are those of `init`.

    Memory grows with batch × generations recorded × what is recorded, not with lineages. The last batch may be
    partial, and then costs as much as a whole one.
    Works under jit and vmap, and so in `jc.sweep`. It runs on one device; in a sweep, all of them share the points.

    Errors: those of `jc.ensemble` and of `init`. Under a trace, lineages whose schedule leaves its range are counted in
    `missing`, whole numbers too.
    """
    _loop.check_count("lineages", lineages)
    _loop.check_count("batch", batch)
    _loop.check(loop, generations, key)
    rows = _recording.rows(record_at, int(generations))
    size, edges = (int(lineages), min(int(batch), int(lineages))), checked(edges)
    return _ensemble(_loop.arrays(loop), int(generations), size, key, record, rows, edges)


@eqx.filter_jit
def _ensemble(
    loop: Loop,
    generations: int,
    size: tuple[int, int],
    key: PRNGKeyArray,
    record: Record | None,
    rows: Int[Array, "R 3"] | None,
    edges: PyTree,
) -> PyTree:
    lineages, batch = size

    def values(numbers):
        return _loop.side_by_side(loop, _loop.lineage_keys(key, numbers), generations, record, rows)[1]

    def next_batch(statistics, numbers):
        return update(statistics, values(numbers), numbers < lineages), None

    numbers = jnp.arange(-(-lineages // batch) * batch).reshape(-1, batch)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), jax.eval_shape(values, numbers[0]))
    none = init(shapes, edges)
    found, _ = jax.lax.scan(next_batch, none, numbers)
    # Else the −1 of whole numbers would be taken for values.
    missing = jax.tree.map(lambda s: _all_missing(s, lineages), none, is_leaf=_is_statistics)
    valid = _loop.in_range(loop, generations)
    return jax.tree.map(lambda x, y: jnp.where(valid, x, y), found, missing)


def _is_statistics(x: Any) -> bool:
    return isinstance(x, Statistics)


def _all_missing(statistics: Statistics, lineages: int) -> Statistics:
    return dataclasses.replace(statistics, missing=jnp.full_like(statistics.missing, lineages))
