"""A sweep that has been checked and not begun: which points, in which order, with which keys.

    points = {1 … R} × x_1 × … × x_k,   the first repeat of the whole grid before the second
    words  = the 32-bit halves of each coordinate as float64, low half first, in the order of the axes' names; none of
             them where all points share their random numbers
"""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, Shaped, UInt32

from jaxcollapse import _execute, _store

Experiment = Callable[..., Mapping[str, Any]]
Columns = dict[str, Shaped[np.ndarray, " P"]]

RESERVED = ("key", "store", "repeats", "chunk", "common_random_numbers", "shard", "executor", *_store.BOOKKEEPING)


class Plan(NamedTuple):
    """What a sweep will do."""

    experiment: Experiment
    key: PRNGKeyArray
    axes: dict[str, Shaped[np.ndarray, " k"]]
    repeats: int
    chunk: int
    common_random_numbers: bool
    store: Path | None
    settings: dict[str, Any]

    @property
    def points(self) -> int:
        """How often the experiment is evaluated."""
        return self.repeats * _product(self.axes)

    @property
    def blocks(self) -> int:
        """How often the executable is called."""
        return -(-self.points // self.chunk)

    def columns(self) -> Columns:
        """Every coordinate of every point, and its repeat."""
        repeats = np.arange(self.repeats)
        grid = np.meshgrid(repeats, *self.axes.values(), indexing="ij")
        return dict(zip((_store.REPEAT, *self.axes), map(np.ravel, grid), strict=True))


def plan(
    experiment, axes: Mapping[str, Any], *, key, store=None, repeats=1, chunk=None, common_random_numbers=False
) -> Plan:
    """Every check that needs no computing; `ValueError` says what is wrong."""
    checked = {name: axis(name, values) for name, values in axes.items()}
    if not checked:
        raise ValueError("axes: got none, expected at least one; try sweep(experiment, key=key, alpha=[0.1, 0.2])")
    settings = _settings(experiment, list(checked))
    repeats, common = _count("repeats", repeats), _flag("common_random_numbers", common_random_numbers)
    points = repeats * _product(checked)
    width = min(_width(points) if chunk is None else _count("chunk", chunk), points)
    if store is not None:
        _store.check(store)
    path = None if store is None else Path(store)
    return Plan(experiment, _typed(key), checked, repeats, width, common, path, settings)


def axis(name: str, values: Any) -> Shaped[np.ndarray, " k"]:
    """One axis as float64, int64 or bool: distinct numbers, infinity among them if need be."""
    if name in RESERVED:
        raise ValueError(f"{name}: got an axis of this name, which is reserved; try another, not {', '.join(RESERVED)}")
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        shape = f"shape {array.shape}" if array.ndim else f"the scalar {values!r}"
        raise ValueError(f"{name}: got {shape}, expected a list of values; try {name}=[...], or functools.partial")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: got values of type {array.dtype}, expected numbers; try one sweep for each")
    if np.isnan(array.astype(float)).any():
        raise ValueError(f"{name}: got NaN at position {int(np.argmax(np.isnan(array)))}, expected numbers")
    array = array.astype({"b": bool, "f": np.float64}.get(array.dtype.kind, np.int64))
    values, counts = np.unique(array.astype(float), return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{name}: got {values[counts > 1][0]} twice, expected distinct values; try numpy.unique")
    _check_width(name, array)
    return array


def words(axes: Mapping[str, Shaped[np.ndarray, " P"]], common: bool = False) -> UInt32[np.ndarray, "P w"]:
    """The bits of each point's coordinates, as they enter its key: none, with common random numbers.

    Rounding to float32 does not merge two points.
    """
    # −0 and 0 are one coordinate, and so is 2 whatever its type.
    coordinates = np.stack([axes[name].astype("<f8") + 0.0 for name in sorted(axes)], axis=-1)
    bits = coordinates.view("<u4").astype(np.uint32)
    return bits[:, :0] if common else bits


def point_key(key: PRNGKeyArray, words: UInt32[jax.Array, " w"], repeat: Shaped[jax.Array, ""]) -> PRNGKeyArray:
    """fold_in over the words of the coordinates, then over the repeat."""
    return functools.reduce(jr.fold_in, [*words, repeat], key)


def _settings(experiment, axes: list[str]) -> dict[str, Any]:
    """The experiment's other keywords and their values; `ValueError` where its arguments and the axes do not match."""
    if not callable(experiment):
        raise ValueError(f"experiment: got {experiment!r}, expected a function (axis, ..., *, key) -> dict")
    parameters = inspect.signature(experiment).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    others = {name: p.default for name, p in named.items() if name not in ("key", *axes)}
    if "key" not in named and not takes_any:
        raise ValueError("experiment: got a function without `key`, expected (axis, ..., *, key) -> dict")
    if unknown := [] if takes_any else [name for name in axes if name not in named]:
        known = ", ".join(name for name in named if name != "key") or "none"
        raise ValueError(f"{unknown[0]}: got an axis that the experiment does not take, expected among: {known}")
    if missing := [name for name, default in others.items() if default is inspect.Parameter.empty]:
        raise ValueError(f"{missing[0]}: got no axis for this argument of the experiment; try {missing[0]}=[...]")
    return others


def _check_width(name: str, array: Shaped[np.ndarray, " k"]) -> None:
    """Values are handed over in the default types, which hold less unless x64 is on."""
    if array.dtype.kind == "b":
        return
    limits = jnp.finfo(jnp.result_type(float)) if array.dtype.kind == "f" else jnp.iinfo(jnp.result_type(int))
    finite = array[np.isfinite(array)]
    if ((finite < float(limits.min)) | (finite > float(limits.max))).any():
        raise ValueError(f"{name}: got values beyond {limits.max}; try floats, or jax.enable_x64(True)")


def _width(points: int) -> int:
    """Blocks as wide as 64 points (256 on an accelerator), yet about four a thread, so that none waits long."""
    workers = _execute.threads()
    widest = 64 if jax.default_backend() == "cpu" else 256
    turns = max(4, -(-points // (widest * workers)))
    width = -(-points // (turns * workers))
    # Whole vectors of eight: XLA:CPU rounds exp and log of what is left over in another way.
    return width if width < 8 else -(-width // 8) * 8


def _typed(key: Any) -> PRNGKeyArray:
    try:
        typed = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jr.wrap_key_data(key)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"key: got {key!r}, expected a random key; try jax.random.key(0)") from None
    if typed.shape != ():
        raise ValueError(f"key: got keys of shape {typed.shape}, expected one; try repeats={typed.size}")
    return typed


def _count(name: str, value: Any) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise ValueError(f"{name}: got {value!r}, expected a whole number of at least 1")
    return count


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}: got {value!r}, expected True or False; try {name}=True")
    return bool(value)


def _product(axes: Mapping[str, Shaped[np.ndarray, " k"]]) -> int:
    return int(np.prod([len(values) for values in axes.values()]))
