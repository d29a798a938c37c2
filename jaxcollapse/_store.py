"""One sweep, one Zarr v3 group: a list of points along one append-only dimension `point`.

    point | x_1 … x_k, repeat | done, valid | the experiment's own variables (point, …)

One block = one chunk in every variable, so that no two writers ever share a chunk; data are written first, then the
block's `done` flags, so that a killed run leaves blocks that are whole or absent. A sweep without a path is the same
group in memory. `open` pivots the list to the axes x_1 … x_k where the points form their product.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

POINT, REPEAT, DONE, VALID = "point", "repeat", "done", "valid"
BOOKKEEPING = (POINT, REPEAT, DONE, VALID)


class Variable(NamedTuple):
    """What the experiment returns under one name, for one point."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]


def is_label(name: str, variable: Variable) -> bool:
    """Whether the variable labels its own only dimension, as ("generation", times) under the name generation."""
    return variable.dims == (name,)


class Table:
    """The group being written."""

    def __init__(
        self,
        path: str | os.PathLike | None,
        *,
        columns: Mapping[str, np.ndarray],
        variables: Mapping[str, Variable],
        block: int,
        attrs: Mapping[str, Any],
    ):
        self._store = MemoryStore() if path is None else Path(path)
        noted = {**attrs, "variables": list(variables)}
        self._group = zarr.create_group(store=self._store, zarr_format=3, attributes=noted)
        self._block = block
        self._names = {name for name, variable in variables.items() if is_label(name, variable)}
        self._labels: dict[str, np.ndarray] = {}
        points = len(next(iter(columns.values())))
        for name, column in columns.items():
            self._create(name, Variable((POINT,), (points,), column.dtype, {}))[:] = column
        arrays = {
            name: variable
            if name in self._names
            else variable._replace(dims=(POINT, *variable.dims), shape=(points, *variable.shape))
            for name, variable in variables.items()
        }
        # The flags come last: where they are, everything is.
        arrays |= dict.fromkeys((VALID, DONE), Variable((POINT,), (points,), np.dtype(bool), {}))
        self._arrays = {name: self._create(name, variable) for name, variable in arrays.items()}

    def write(self, start: int, values: Mapping[str, np.ndarray], valid: np.ndarray) -> None:
        """Writes the block that begins at point `start`: its data, then its flags."""
        rows = slice(start, start + len(valid))
        for name, value in values.items():
            if name in self._names:
                self._label(name, value)
            else:
                self._arrays[name][rows] = value
        self._arrays[VALID][rows] = valid
        self._arrays[DONE][rows] = np.ones(len(valid), bool)

    def _label(self, name: str, value: np.ndarray) -> None:
        """Writes labels once; those of every point are the same."""
        if name not in self._labels:
            self._arrays[name][:] = self._labels[name] = value[0]
        if not np.array_equal(value, np.broadcast_to(self._labels[name], value.shape)):
            raise ValueError(f"{name}: got labels that differ between points; try a variable of another name")

    def note(self, **attrs: Any) -> None:
        """Adds attributes, such as the seconds that the run took."""
        self._group.attrs.update(attrs)

    def dataset(self) -> xr.Dataset:
        """What has been written so far, pivoted to its axes."""
        return _dataset(self._store)

    def _create(self, name: str, variable: Variable) -> zarr.Array:
        listed = variable.dims[:1] == (POINT,)
        chunks = (min(self._block, variable.shape[0]), *variable.shape[1:]) if listed else variable.shape
        return self._group.create_array(
            name,
            shape=variable.shape,
            dtype=variable.dtype,
            chunks=tuple(max(size, 1) for size in chunks),
            dimension_names=variable.dims,
            fill_value=np.nan if variable.dtype.kind in "fc" else 0,
            attributes=variable.attrs,
            # The default codec does not notice a flipped bit; this one does, and level 0 costs next to nothing.
            compressors=ZstdCodec(level=0, checksum=True),
        )


def open(path: str | os.PathLike) -> xr.Dataset:
    """The sweep stored at `path` as one labelled dataset in memory, finished or not.

    Points that form the product of their axes are pivoted to dimensions; others stay a list along `point`. What has
    not been computed yet is NaN (whole numbers and flags become floats then) and has `done` false.

    Errors: `ValueError` where `path` holds no sweep.
    """
    if not (Path(path) / "zarr.json").is_file():
        raise ValueError(f"store: got {path}, expected a folder written by sweep(store=...); try another path")
    return _dataset(Path(path))


def check(path: str | os.PathLike) -> None:
    """Raises `ValueError` unless a new sweep can be begun at `path`: absent or empty, in a folder to write in."""
    path = Path(path).absolute()
    try:
        if path.is_dir() and any(path.iterdir()):
            raise ValueError(f"store: got {path}, which exists already; try store=NAME, or delete it")
        parent = next(folder for folder in (path, *path.parents) if folder.exists())
        if not parent.is_dir():
            raise ValueError(f"store: got {path}, but {parent} is a file, expected a folder; try another path")
        # Tried, as permissions do not tell of read-only file systems.
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError as error:
        raise ValueError(f"store: got {path}, which cannot be written ({error}); try another path") from error


def claim(path: str | os.PathLike) -> None:
    """Makes the folder and writes to it once, before anything is computed: `ValueError` where that fails."""
    check(path)
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(f"store: got {path}, which cannot be written ({error}); try another path") from error


def _dataset(store: Path | MemoryStore) -> xr.Dataset:
    # Not decoded: a variable whose unit is the second is a number, not a time difference.
    try:
        stored = xr.open_zarr(store, consolidated=False, chunks=None, zarr_format=3, decode_cf=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"store: got {store}, which cannot be read as a sweep ({error})") from error
    stored = stored.load()
    if "axes" not in stored.attrs or DONE not in stored:
        raise ValueError(f"store: got {store}, which holds no sweep, expected one written by sweep(store=...)")
    axes = [*stored.attrs["axes"], REPEAT]
    listed = stored.set_coords([*axes, DONE, VALID])
    return _pivot(listed if bool(listed[DONE].all()) else _blank(listed), axes)


def _blank(listed: xr.Dataset) -> xr.Dataset:
    """NaN for what has not been computed; floats hold NaN already, as the fill value of their chunks."""
    whole = [name for name, variable in listed.data_vars.items() if variable.dtype.kind not in "fc"]
    return listed.assign({name: listed[name].astype(float).where(listed[DONE]) for name in whole})


def _pivot(listed: xr.Dataset, axes: list[str]) -> xr.Dataset:
    """The list of points as a grid over its axes, or as it is where some place is empty or taken twice."""
    factors = {name: _factor(listed[name].values) for name in axes}
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


def _factor(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in the order of their first appearance, and which of them stands in each row."""
    values, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    appearance = np.argsort(first)
    return values[appearance], np.argsort(appearance)[inverse]
