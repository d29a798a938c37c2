"""A sweep as one labelled dataset: the list of points as a grid over x_1 … x_k where they form its product."""

import functools
import json
import operator
import os
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Int, Shaped
from zarr.errors import BaseZarrError
from zarr.storage import MemoryStore

from jaxcollapse._store import DONE, EXTENDED, POINT, POINTS, REPEAT, RUN, VALID, Table, dims, is_store


def open(path: str | os.PathLike) -> xr.Dataset:
    """The sweep stored at `path` as one labelled dataset in memory, finished or not.

    Points that form the product of their axes are pivoted to dimensions, each axis as it was given, or ascending once
    it has been extended; other points stay a list along `point`. What has not been computed yet is NaN (whole numbers
    and flags become floats then) and has `done` false.

    Errors: `ValueError` where `path` holds no sweep, or one that is damaged: the message says where.
    """
    path = Path(path)
    if not is_store(path):
        raise ValueError(f"store: got {path}, expected a folder written by sweep(store=...); try another path")
    try:
        table = Table(path, mode="r")
    except (KeyError, AssertionError, ValueError, BaseZarrError) as error:
        message = f"store: got {path}, which cannot be read as a sweep, expected one written by sweep(store=...)"
        raise ValueError(message) from error
    return dataset(table)


def dataset(table: Table, rows: Int[np.ndarray, " r"] | None = None) -> xr.Dataset:
    """What has been written of these rows, or of all, pivoted to its axes; its attributes are those of the last run."""
    ascending = rows is None and bool(table.attrs.get(EXTENDED))
    rows = np.arange(table.points) if rows is None else rows
    last = list(table.runs().values())[-1:]
    attrs = functools.reduce(operator.or_, last, table.attrs)
    attrs = {name: value for name, value in attrs.items() if name not in (POINTS, EXTENDED)}
    attrs = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in attrs.items()}
    axes = [*table.attrs["axes"], REPEAT]
    listed = xr.Dataset(attrs=attrs)
    read(table, DONE)  # first: it tells which chunks of the others there must be
    for name, array in table.arrays.items():
        if name == RUN:
            continue
        values = read(table, name)
        listed[name] = (dims(array), values[rows] if table.is_listed(name) else values, array.attrs)
    listed = listed.set_coords([*axes, DONE, VALID])
    return _pivot(listed if bool(listed[DONE].all()) else _blank(listed), axes, ascending)


def read(table: Table, name: str, block: int | None = None) -> Shaped[np.ndarray, "..."]:
    """A variable, or one block of it; `ValueError` where it is damaged."""
    rows = slice(0, table.points) if block is None else table.rows(block)
    try:
        _check_chunks(table, name, rows)
        return np.asarray(table.arrays[name][rows] if table.is_listed(name) else table.arrays[name][:])
    except Exception as error:  # what a codec raises is its own business
        raise ValueError(
            f"store: got {table.store}, whose {name} is damaged ({error}); try jaxcollapse status --verify"
        ) from error
def _check_chunks(table: Table, name: str, rows: slice) -> None:
    """Raises `FileNotFoundError` where what was written has no chunk, which Zarr would read as blank."""
    array = table.arrays[name]
    if isinstance(table.store, MemoryStore) or name == DONE or not array.size:
        return
    if name in (*table.attrs["axes"], REPEAT):
        chunks = np.arange(-(-table.points // array.chunks[0]))
    else:
        done = np.flatnonzero(table.column(DONE)[rows]) + rows.start
        chunks = np.unique(done // table.block) if table.is_listed(name) else np.arange(min(done.size, 1))
    for chunk in chunks.tolist():
        file = "/".join([name, "c", str(chunk), *["0"] * (array.ndim - 1)])
        if not (table.store / file).is_file():
            raise FileNotFoundError(f"{file} is gone")


def _blank(listed: xr.Dataset) -> xr.Dataset:
    """NaN for what has not been computed, or has to be again."""
    points = {name: v for name, v in listed.data_vars.items() if POINT in v.dims}
    floats = {name: v if v.dtype.kind in "fc" else v.astype(float) for name, v in points.items()}
    return listed.assign({name: v.where(listed[DONE]) for name, v in floats.items()})


def _pivot(listed: xr.Dataset, axes: list[str], ascending: bool) -> xr.Dataset:
    """The list of points as a grid over its axes, or as it is where some place is empty or taken twice."""
    factors = {name: _factor(listed[name].values, ascending) for name in axes}
    shape = tuple(len(labels) for labels, _ in factors.values())
    places = np.ravel_multi_index([codes for _, codes in factors.values()], shape)
    order = np.argsort(places)
    if not np.array_equal(places[order], np.arange(np.prod(shape))):
        return listed
    kept = axes[: len(axes) - (shape[-1] == 1)]  # a single repeat is no dimension
    shape = shape[: len(kept)]

    def fold(variable: xr.DataArray) -> tuple:
        if variable.dims[:1] != (POINT,):
            return variable.dims, variable.values, variable.attrs
        grid = variable.values[order].reshape(shape + variable.shape[1:])
        return (*kept, *variable.dims[1:]), grid, variable.attrs

    labels = {name: (name, factors[name][0], listed[name].attrs) for name in kept}
    others = {str(name): fold(coordinate) for name, coordinate in listed.coords.items() if name not in axes}
    data = {name: fold(listed[name]) for name in listed.attrs["variables"] if name in listed.data_vars}
    return xr.Dataset(data, coords={**labels, **others}, attrs=listed.attrs)


def _factor(column: np.ndarray, ascending: bool) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, ascending or in the order of their appearance, and which of them stands in each row."""
    values, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    if ascending:
        return values, inverse
    appearance = np.argsort(first)
    return values[appearance], np.argsort(appearance)[inverse]
