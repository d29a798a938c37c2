"""Grids whose cells are halved: every finer mesh holds the points of the coarser ones, bit for bit.

    x_i = x_0 + i (x_k − x_0) / k,   or in the logarithm,   i = 0 … k = (points − 1) 2^halvings
"""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, SupportsFloat

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from jaxcollapse._plan import axis

MOST = 16  # halvings of a side


class Mesh(NamedTuple):
    """The finest grid that may be reached; after `depth` halvings the mesh is every 2^(halvings − depth)-th of it.

    A point is known by its place, its number in the finest grid.
    """

    values: dict[str, Float[np.ndarray, " k"]]
    halvings: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.values.values())

    def stride(self, depth: int) -> Int[np.ndarray, " d"]:
        """The sides of a cell, in points of the finest grid; an axis that is fine enough is halved no more."""
        return np.array([2 ** max(halvings - depth, 0) for halvings in self.halvings])

    def every(self, depth: int, upto: int = 0) -> Int[np.ndarray, "q d"]:
        """The points of the mesh after so many halvings, without the last `upto` of each axis: 1 for lower corners."""
        ranges = (np.arange(0, k - upto, s) for k, s in zip(self.shape, self.stride(depth), strict=True))
        return np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, len(self.shape))

    def box(self, depth: int, finer: int = 0) -> Int[np.ndarray, "q d"]:
        """The corners of a cell, less its lower one; with `finer` = 1 those of its halves too."""
        sides = zip(self.stride(depth).tolist(), self.stride(depth + finer).tolist(), strict=True)
        return np.array(list(itertools.product(*(range(0, side + 1, step) for side, step in sides))))

    def place(self, index: Int[np.ndarray, "... d"]) -> Int[np.ndarray, "..."]:
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), self.shape))

    def coordinates(self, places: Int[np.ndarray, " P"]) -> dict[str, Float[np.ndarray, " P"]]:
        index = np.unravel_index(places, self.shape)
        return {name: values[i] for (name, values), i in zip(self.values.items(), index, strict=True)}

    def depth(self, places: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
        """With how many halvings the point comes: 0 on the coarse grid."""
        index = np.stack(np.unravel_index(places, self.shape), -1)
        meshes = range(max(self.halvings) + 1)
        return np.argmax([(index % self.stride(depth) == 0).all(-1) for depth in meshes], 0)


def sides(axes: Mapping[str, Any], resolution: Any) -> dict[str, float]:
    """The longest side that is fine enough, for every axis; `ValueError` where it is missing or not above 0."""
    if len(axes) < 2:
        raise ValueError(f"axes: got {len(axes)}, expected two or more; try refine(..., decay=[0, 1], growth=[0, 1])")
    given: dict[str, Any] = dict(resolution) if isinstance(resolution, Mapping) else dict.fromkeys(axes, resolution)
    if set(given) != set(axes):
        raise ValueError(f"resolution: got {', '.join(given)}, expected one for each of {', '.join(axes)}, or a number")
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, SupportsFloat) or not 0 < float(value) < math.inf:
            raise ValueError(f"resolution: got {value!r}, expected a length above 0; try resolution=1/64")
    return {name: float(given[name]) for name in axes}


def mesh(axes: Mapping[str, Any], sides: Mapping[str, float]) -> Mesh:
    """The finest grid over these axes whose sides are at most so long."""
    found = {name: _fine(name, axis(name, values).astype(float), sides[name]) for name, values in axes.items()}
    size = math.prod(len(values) for values, _ in found.values())
    if size >= 2**62:
        raise ValueError(f"resolution: got {dict(sides)}, a grid of {size:.1g} points; try a coarser one")
    return Mesh({name: values for name, (values, _) in found.items()}, tuple(count for _, count in found.values()))


def _fine(name: str, values: np.ndarray, side: float) -> tuple[np.ndarray, int]:
    """The axis with every interval halved until it is short enough, and how often."""
    if len(values) < 2 or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise ValueError(f"{name}: got {values}, expected two or more finite values, ascending; try numpy.sort")
    log = not _is_even(values)
    if log and not (values[0] > 0 and _is_even(np.log(values))):
        raise ValueError(
            f"{name}: got {values}, expected even spaces or a constant ratio; try numpy.linspace or numpy.geomspace"
        )
    first, last = np.log(values[[0, -1]]) if log else values[[0, -1]]
    halvings = max(0, math.ceil(math.log2((last - first) / (len(values) - 1) / side) - 1e-9))
    if halvings > MOST:
        asked = f"{side} for {name}, {halvings} halvings"
        raise ValueError(f"resolution: got {asked}, expected at most {MOST}; try a coarser one, or a finer {name}")
    fine = np.linspace(first, last, (len(values) - 1) * 2**halvings + 1)
    # One by one: a vector's exp may round its last few otherwise, and a point's key is made of its bits.
    fine = np.array([math.exp(x) for x in fine.tolist()]) if log else fine
    fine[:: 2**halvings] = values
    return fine, halvings


def _is_even(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool(np.allclose(steps, steps.mean(), rtol=1e-5, atol=0))


def interpolation(mesh: Mesh, index: Int[np.ndarray, "P d"]) -> sparse.csr_array:
    """W: the values at every point of the finest grid are W times those at these P points of it.

    A point between those of a mesh is the mean of its two, four, … neighbours there, from the coarsest to the finest.
    """
    found, before = sparse.csr_array((0, len(index))), []
    for depth in range(max(mesh.halvings) + 1):
        stride = mesh.stride(depth)
        size = (np.array(mesh.shape) - 1) // stride + 1
        here = np.flatnonzero((index % stride == 0).all(-1))
        at = np.ravel_multi_index(tuple((index[here] // stride).T), tuple(size))
        own = sparse.csr_array((np.ones(len(here)), (at, here)), (math.prod(size), len(index)))
        if depth == 0:
            found = own
        else:
            given = np.isin(np.arange(math.prod(size)), at)
            doubled = functools.reduce(sparse.kron, map(_doubling, before, size.tolist()))
            found = sparse.diags_array(1.0 - given) @ sparse.csr_array(doubled @ found) + own
        before = size.tolist()
    return sparse.csr_array(found)


def _doubling(old: int, new: int) -> sparse.csr_array:
    """From the points of one axis to those of the next mesh: themselves and, where it grows, their midpoints."""
    if old == new:
        return sparse.csr_array(sparse.eye_array(old))
    point, middle = np.arange(old), np.arange(old - 1)
    rows = np.concatenate([2 * point, 2 * middle + 1, 2 * middle + 1])
    columns = np.concatenate([point, middle, middle + 1])
    return sparse.csr_array((np.repeat([1.0, 0.5], [old, 2 * old - 2]), (rows, columns)), (new, old))
