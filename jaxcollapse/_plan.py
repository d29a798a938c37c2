"""A sweep that has been checked and not begun: which points, in which order, with which keys.

    points = {0 … R−1} × x_1 × … × x_k,   the first repeat of the whole grid before the second
           or {0 … R−1} × a list of points
    words  = the 32-bit halves of each coordinate as float64, low half first, in the order of the axes' names; none of
             them where all points share their random numbers
"""

import functools
import inspect
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray, Shaped, UInt32

from jaxcollapse import _store
from jaxcollapse._store import REPEAT, Columns

Experiment = Callable[..., Mapping[str, Any]]

# The keywords of `sweep`, and the names that its table uses.
RESERVED = (
    *("key", "points", "store", "repeats", "chunk", "memory", "common_random_numbers", "force_new", "shard"),
    *("executor", *_store.BOOKKEEPING),
)


class Plan(NamedTuple):
    """What a sweep will do; `columns` are the coordinates of every point, and its repeat."""

    experiment: Experiment
    key: PRNGKeyArray
    axes: dict[str, Shaped[np.ndarray, " k"]]
    columns: Columns
    repeats: int
    chunk: int | None
    memory: int | None
    common_random_numbers: bool
    store: Path | None
    shard: tuple[int, int]
    settings: dict[str, Any]

    @property
    def points(self) -> int:
        """How often the experiment is evaluated."""
        return len(self.columns[REPEAT])


def plan(
    experiment,
    axes: Mapping[str, Any],
    *,
    key,
    points=None,
    store=None,
    repeats=1,
    chunk=None,
    memory=None,
    common_random_numbers=False,
    force_new=False,
    shard=(0, 1),
) -> Plan:
    """Every check that needs no computing; `ValueError` says what is wrong."""
    repeats = _count("repeats", repeats)
    if points is not None:
        found, columns = _listed(points, axes, repeats)
    else:
        found = {name: axis(name, values) for name, values in axes.items()}
        if not found:
            raise ValueError("axes: got none, expected at least one; try sweep(experiment, key=key, alpha=[0.1, 0.2])")
        grid = np.meshgrid(np.arange(repeats), *found.values(), indexing="ij")
        columns = dict(zip((REPEAT, *found), map(np.ravel, grid), strict=True))
    settings = _settings(experiment, list(found))
    return Plan(
        experiment,
        _typed(key),
        found,
        columns,
        repeats,
        None if chunk is None else _count("chunk", chunk),
        None if memory is None else _bytes(memory),
        _flag("common_random_numbers", common_random_numbers),
        _place(store, _flag("force_new", force_new)),
        _shard(shard, store),
        settings,
    )


def axis(name: str, values: Any) -> Shaped[np.ndarray, " k"]:
    """One axis as float64, int64 or bool: distinct numbers, infinity among them if need be."""
    _check_name(name)
    array = _column(name, values)
    values, counts = np.unique(array.astype(float), return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{name}: got {values[counts > 1][0]} twice, expected distinct values; try numpy.unique")
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


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise ValueError(f"{name}: got an axis of this name, which is reserved; try another, not {', '.join(RESERVED)}")


def _check_width(name: str, array: Shaped[np.ndarray, " k"]) -> None:
    """Values are handed over in the default types, which hold less unless x64 is on."""
    if array.dtype.kind == "b":
        return
    limits = jnp.finfo(jnp.result_type(float)) if array.dtype.kind == "f" else jnp.iinfo(jnp.result_type(int))
    finite = array[np.isfinite(array)]
    if ((finite < float(limits.min)) | (finite > float(limits.max))).any():
        raise ValueError(f"{name}: got values beyond {limits.max}; try floats, or jax.enable_x64(True)")


def _column(name: str, values: Any) -> Shaped[np.ndarray, " k"]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        shape = f"shape {array.shape}" if array.ndim else f"the scalar {values!r}"
        raise ValueError(f"{name}: got {shape}, expected a list of values; try {name}=[...], or functools.partial")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: got values of type {array.dtype}, expected numbers; try one sweep for each")
    if np.isnan(array.astype(float)).any():
        raise ValueError(f"{name}: got NaN at position {int(np.argmax(np.isnan(array)))}, expected numbers")
    array = array.astype({"b": bool, "f": np.float64}.get(array.dtype.kind, np.int64))
    _check_width(name, array)
    return array


def _listed(points: Any, axes: Mapping[str, Any], repeats: int) -> tuple[dict[str, np.ndarray], Columns]:
    """The distinct coordinates of a list of points, and its columns, repeat by repeat."""
    if axes:
        raise ValueError(f"points: got a list of points and the axis {next(iter(axes))}, expected one of them")
    if not isinstance(points, Mapping) or not points:
        raise ValueError(f"points: got {points!r}, expected a dict of coordinates; try jc.sobol(64, decay=(0, 2), ...)")
    for name in points:
        _check_name(name)
    columns = {name: _column(name, values) for name, values in points.items()}
    if len({len(column) for column in columns.values()}) > 1:
        sizes = {name: len(column) for name, column in columns.items()}
        raise ValueError(f"points: got {sizes} coordinates, expected as many of each")
    rows = np.stack([column.astype(float) for column in columns.values()], axis=1)
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"points: got {tuple(distinct[counts > 1][0].tolist())} twice, expected distinct points")
    size = len(rows)
    repeated = {name: np.tile(column, repeats) for name, column in columns.items()}
    return {name: np.unique(c) for name, c in columns.items()}, {REPEAT: np.repeat(np.arange(repeats), size)} | repeated


def _place(store: Any, force_new: bool) -> Path | None:
    """Where to write: the folder itself, or the first of NAME-2, NAME-3, … that is free."""
    if store is None:
        return None
    path, number = Path(store), 2
    while force_new and path.exists():
        path, number = Path(f"{Path(store)}-{number}"), number + 1
    _store.check(path)
    return path


def _shard(shard: Any, store: Any) -> tuple[int, int]:
    try:
        part, parts = map(operator.index, shard)
    except (TypeError, ValueError):
        part, parts = -1, 0
    if not 0 <= part < parts:
        raise ValueError(f"shard: got {shard}, expected (i, N) with 0 <= i < N; try shard=(0, 4)")
    if parts > 1 and store is None:
        raise ValueError("shard: got no store to share, expected one; try store=NAME")
    return part, parts


def _bytes(memory: Any) -> int:
    """A number of bytes, or a text such as 4GB or 512 MiB."""
    units = {"": 1, "B": 1} | {f"{u}B": 1000**i for i, u in enumerate("KMGT", 1)}
    units |= {f"{u}IB": 1024**i for i, u in enumerate("KMGT", 1)}
    match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", str(memory))
    try:
        found = int(float(match[1]) * units[match[2].upper()]) if match else 0
    except (KeyError, ValueError):
        found = 0
    if found < 1:
        raise ValueError(f"memory: got {memory!r}, expected a number of bytes; try memory='2GB'")
    return found


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
