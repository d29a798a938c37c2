"""Several stores of one sweep as one labelled dataset: the union of their points."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxcollapse._dataset import dataset, read
from jaxcollapse._status import opened
from jaxcollapse._store import DONE, EXTENDED, POINTS, REPEAT, VALID, Columns, Table, Variable, begin, differing, dims

Rows = list[np.ndarray]  # which rows of each table are taken


def concat(stores: Iterable[str | os.PathLike]) -> xr.Dataset:
    """What several stores hold of one sweep, as one labelled dataset in memory.

        points = points of the first ∪ points of the second ∪ …

    The stores must hold the same experiment, with the same settings, axes, key and versions of JAX. A point, that is
    all its coordinates and its repeat, which occurs in several is taken once, from the first store where it is done;
    draws depend on nothing else, so that it is the same in all. Where the union forms the product of its axes it is
    pivoted to dimensions, each axis ascending; else it stays a list along `point`. What no store has done is NaN (whole
    numbers and flags become floats then) and has `done` false, as with `open`. Attributes are those that all share;
    `stores` names the folders.

    Errors: `ValueError` where there is no store, where one is none or damaged, and where two differ: the message says
    in what.
    """
    if isinstance(stores, str | os.PathLike):
        raise ValueError(f"stores: got the single path {stores}, expected a list; try concat([{str(stores)!r}, ...])")
    paths = [Path(store) for store in stores]
    if not paths:
        raise ValueError("stores: got none, expected at least one; try concat(['runs/a', 'runs/b'])")
    tables = [opened(path) for path in paths]
    for path, table in zip(paths[1:], tables[1:], strict=True):
        _check_same(paths[0], tables[0], path, table)
    attrs = _shared([{**table.attrs, **(list(table.runs().values()) or [{}])[-1]} for table in tables])
    return dataset(_merged(tables, attrs | {EXTENDED: True, "stores": list(map(str, paths))}))


def _check_same(path: Path, table: Table, other: Path, another: Table) -> None:
    """Raises `ValueError` where two stores hold different sweeps."""
    if not (names := differing(table.attrs, another.attrs)):
        return
    name = names[0]
    raise ValueError(
        f"stores: got {path} and {other}, which differ in {', '.join(names)} ({table.attrs.get(name)} and "
        f"{another.attrs.get(name)}), expected stores of one sweep; try xarray.concat, which does not ask"
    )


def _merged(tables: list[Table], attrs: dict[str, Any]) -> Table:
    """One table in memory of the union of these."""
    taken = _taken(tables)
    every = [table.columns() for table in tables]
    columns: Columns = {name: _join([c[name] for c in every], taken) for name in (*tables[0].attrs["axes"], REPEAT)}
    with begin(None, columns, variables(tables[0]), len(columns[REPEAT]), attrs) as (merged, _):
        labelled = max(tables, key=lambda table: bool(table.column(DONE).any()))
        for name in (*tables[0].attrs["variables"], VALID, DONE):
            listed = merged.is_listed(name)
            values = _join([read(t, name) for t in tables], taken) if listed else read(labelled, name)
            merged.arrays[name][:] = values
    return merged


def _taken(tables: list[Table]) -> Rows:
    """The rows to take of each table: every point once, from the first table where it is done, if there is one."""
    found: dict[tuple, tuple[bool, int, int]] = {}
    for number, table in enumerate(tables):
        columns, done = table.columns(), read(table, DONE)
        places = zip(*(columns[name].tolist() for name in (*tables[0].attrs["axes"], REPEAT)), strict=True)
        for row, place in enumerate(places):
            if place not in found or (done[row] and not found[place][0]):
                found[place] = bool(done[row]), number, row
    return [np.array([row for _, n, row in found.values() if n == number], int) for number in range(len(tables))]


def _join(parts: list[np.ndarray], taken: Rows) -> np.ndarray:
    return np.concatenate([part[rows] for part, rows in zip(parts, taken, strict=True)])


def variables(table: Table) -> dict[str, Variable]:
    """What the experiment returns for one point, as the table has it."""
    found = {}
    for name in table.attrs["variables"]:
        array, first = table.arrays[name], int(table.is_listed(name))
        found[name] = Variable(dims(array)[first:], array.shape[first:], array.dtype, dict(array.attrs))
    return found


def _shared(attrs: list[dict[str, Any]]) -> dict[str, Any]:
    """The attributes that are the same in all."""
    first, *others = attrs
    left_out = (POINTS, EXTENDED)
    return {n: v for n, v in first.items() if n not in left_out and all(n in o and o[n] == v for o in others)}
