"""One sweep, one Zarr v3 group: a list of points along one append-only dimension `point`.

    point | x_1 … x_k, repeat | run, valid, done | the experiment's own variables (point, …)

One block = one chunk in every variable but the coordinates, so that no two writers ever share a chunk. Data are written
first, then the block's `done` flags, so that a killed run leaves blocks that are whole or absent; a block that is
written twice is written the same. The attribute `points` says how long the list is, whatever a killed extension has
left behind it.

`run` says which run computed a point; the group `runs/ID` holds where, when and by which command that was, and a lock
for as long as it lasts. A sweep without a path is the same group in memory. `_dataset` reads all this.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import zarr
from jaxtyping import Bool, Int, Shaped
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from jaxcollapse import _lock

POINT, REPEAT, DONE, VALID, RUN = "point", "repeat", "done", "valid", "run"
POINTS, EXTENDED = "points", "extended"  # attributes: how long the list is, and whether it was appended to
NEW = "runs/new"  # where a store is made before it is moved to its place
BOOKKEEPING = (POINT, REPEAT, DONE, VALID, RUN)
IDENTITY = ("types", "key", "key_impl", "common_random_numbers", "x64", "platform", "jax", "jaxlib", "program")

# Else a chunk of zeros would be no file, and a lost file a chunk of zeros.
WHOLE: Any = {"write_empty_chunks": True}

Columns = dict[str, Shaped[np.ndarray, " P"]]


class Variable(NamedTuple):
    """What the experiment returns under one name, for one point."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]


def is_label(name: str, variable: Variable) -> bool:
    """Whether the variable labels its own only dimension, as ("generation", times) under the name generation."""
    return variable.dims == (name,)


def dims(array: zarr.Array) -> tuple[str, ...]:
    """The names of its dimensions."""
    return tuple(map(str, array.metadata.dimension_names or ()))  # pyright: ignore[reportAttributeAccessIssue]


class Table:
    """The group, as it was when it was opened; other processes may be writing to it."""

    def __init__(self, store: Path | MemoryStore, run: int = 0, mode: Literal["r", "r+"] = "r+"):
        self.store, self.run = store, run
        self.group = zarr.open_group(store, mode=mode, zarr_format=3)
        self.attrs: dict[str, Any] = dict(self.group.attrs)
        self.points = int(self.attrs[POINTS])
        names = (*self.attrs["variables"], *self.attrs["axes"], REPEAT, RUN, VALID, DONE)
        self.arrays = {name: self._array(name) for name in names}
        self.block = int(self.arrays[DONE].chunks[0])
        self._labels: dict[str, np.ndarray] = {}

    def column(self, name: str) -> Shaped[np.ndarray, " P"]:
        """One value of every point."""
        return np.asarray(self.arrays[name][: self.points])

    def columns(self) -> Columns:
        """Every coordinate of every point, and its repeat."""
        return {name: self.column(name) for name in (*self.attrs["axes"], REPEAT)}

    def missing(self, rows: Int[np.ndarray, " r"]) -> list[int]:
        """The blocks in which some of these rows have not been done."""
        return np.unique(rows[~self.column(DONE)[rows]] // self.block).tolist()

    def has(self, block: int) -> bool:
        """Whether every row of the block has been done."""
        return bool(np.asarray(self.arrays[DONE][self.rows(block)]).all())

    def rows(self, block: int) -> slice:
        """The rows of a block."""
        return slice(block * self.block, min((block + 1) * self.block, self.points))

    def is_listed(self, name: str) -> bool:
        """Whether the variable has a value for every point."""
        return dims(self.arrays[name])[:1] == (POINT,)

    def write(self, block: int, values: Mapping[str, np.ndarray], valid: Bool[np.ndarray, " r"]) -> None:
        """Writes a block: its data, then its flags."""
        rows = self.rows(block)
        for name, value in values.items():
            if self.is_listed(name):
                self.arrays[name][rows] = value
            else:
                self._label(name, value)
        self.arrays[RUN][rows] = np.full(len(valid), self.run, np.uint32)
        self.arrays[VALID][rows] = valid
        self.arrays[DONE][rows] = np.ones(len(valid), bool)

    def forget(self, block: int) -> None:
        """Clears the flags of a block, which is then missing."""
        rows = self.rows(block)
        self.arrays[DONE][rows] = np.zeros(rows.stop - rows.start, bool)

    def note(self, **attrs: Any) -> None:
        """Adds to what is known of this run, such as the seconds that it took."""
        group = self.group if isinstance(self.store, MemoryStore) else self.group.require_group(_run_name(self.run))
        group.attrs.update(attrs)

    def runs(self) -> dict[int, dict[str, Any]]:
        """What is known of every run, the latest last."""
        if isinstance(self.store, MemoryStore):
            return {self.run: dict(self.group.attrs)}
        folders = [file.parent for file in (self.store / "runs").glob("*/zarr.json")]
        found: dict[int, dict[str, Any]] = {int(f.name, 16): dict(zarr.open_group(f, mode="r").attrs) for f in folders}
        return dict(sorted(found.items(), key=lambda item: item[1].get("created", "")))

    def _array(self, name: str) -> zarr.Array:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        return array.with_config(WHOLE)

    def _label(self, name: str, value: np.ndarray) -> None:
        """Writes labels once; those of every point are the same."""
        if name not in self._labels:
            self.arrays[name][:] = self._labels[name] = value[0]
        if not np.array_equal(value, np.broadcast_to(self._labels[name], value.shape)):
            raise ValueError(f"{name}: got labels that differ between points; try a variable of another name")


@contextlib.contextmanager
def begin(
    path: Path | None, columns: Columns, variables: Mapping[str, Variable], block: int, attrs: Mapping[str, Any]
) -> Iterator[tuple[Table, Int[np.ndarray, " P"]]]:
    """The table that holds these points, begun, gone on with or extended, and the row of every point in it.

    Where there is one already its block stays, and its `IDENTITY` must be that of `attrs`: `ValueError` names what
    differs. The run's lock is held until the context ends.
    """
    if path is None:
        store = MemoryStore()
        _create(store, columns, variables, block, attrs)
        yield Table(store), np.arange(_length(columns))
        return
    run = secrets.randbits(32)
    lock = _lock.of(path, f"{run:08x}")
    with _writable(path):
        (path / "runs").mkdir(parents=True, exist_ok=True)
        with _lock.whole(path):
            (path / _run_name(run)).mkdir()
            lock.acquire()
            table, rows = _attach(path, run, columns, variables, block, attrs)
    try:
        yield table, rows
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def check(path: str | os.PathLike) -> None:
    """Raises `ValueError` unless a sweep can be begun or gone on with at `path`, in a folder to write in."""
    path = Path(path).absolute()
    with _writable(path):
        begun = is_store(path) or (path / NEW).exists()
        if path.is_dir() and not begun and any(entry.name != "runs" for entry in path.iterdir()):
            raise ValueError(f"store: got {path}, which holds something else; try another path")
        parent = next(folder for folder in (path, *path.parents) if folder.exists())
        if not parent.is_dir():
            raise ValueError(f"store: got {path}, but {parent} is a file, expected a folder; try another path")
        # Tried, as permissions do not tell of read-only file systems.
        with tempfile.TemporaryDirectory(dir=parent):
            pass


def differing(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What makes two sweeps different ones; the settings, where the program differs by them."""
    names = [name for name in IDENTITY if stored.get(name) != asked.get(name)]
    by_settings = names == ["program"] and stored.get("settings") != asked.get("settings")
    return ["settings"] if by_settings else names


def check_identity(path: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises `ValueError` where the sweep at `path` would not give the same draws."""
    if not (names := differing(stored, asked)):
        return
    name = names[0]
    what = f"whose {name} is {stored.get(name)}, while this sweep has {asked[name]}"
    if name == "program":
        what = "whose experiment, with the same settings, computed something else than this one: its code has changed"
    raise ValueError(f"store: got {path}, {what}; try another store, or force_new=True, which begins beside it")


def is_store(path: Path) -> bool:
    """Whether a Zarr group lies there."""
    return (path / "zarr.json").is_file()


def _attach(path: Path, run: int, columns: Columns, variables, block: int, attrs) -> tuple[Table, np.ndarray]:
    if not is_store(path):
        _create(path, columns, variables, block, attrs)
    table = Table(path, run)
    check_identity(path, table.attrs, attrs)
    rows = _find(table.columns(), columns)
    alone = _lock.held(path) == {f"{run:08x}"}
    if alone:
        _sweep_orphans(path)
    if (rows >= 0).all():
        return table, rows
    if not alone:
        raise ValueError(
            f"store: got {path}, which lacks {(rows < 0).sum()} of these points while another run is writing to it; "
            "try again when that has ended"
        )
    _extend(table, {name: column[rows < 0] for name, column in columns.items()})
    table = Table(path, run)
    return table, _find(table.columns(), columns)


def _create(store: Path | MemoryStore, columns: Columns, variables, block: int, attrs: Mapping[str, Any]) -> None:
    """An empty table; on disk its zarr.json, by which it is known, comes last."""
    if isinstance(store, MemoryStore):
        _fill(store, columns, variables, block, attrs)
        return
    new = store / NEW
    shutil.rmtree(new, ignore_errors=True)
    _fill(new, columns, variables, block, attrs)
    for entry in sorted(new.iterdir(), key=lambda entry: entry.name == "zarr.json"):
        if (store / entry.name).is_dir():
            shutil.rmtree(store / entry.name)
        entry.replace(store / entry.name)
    new.rmdir()


def _fill(store: Path | MemoryStore, columns: Columns, variables: Mapping[str, Variable], block: int, attrs) -> None:
    points = _length(columns)
    noted = {**attrs, "variables": list(variables), POINTS: points}
    group = zarr.create_group(store=store, zarr_format=3, attributes=noted)
    arrays = {
        name: variable
        if is_label(name, variable)
        else variable._replace(dims=(POINT, *variable.dims), shape=(points, *variable.shape))
        for name, variable in variables.items()
    }
    arrays |= {name: Variable((POINT,), (points,), column.dtype, {}) for name, column in columns.items()}
    arrays[RUN] = Variable((POINT,), (points,), np.dtype(np.uint32), {})
    arrays |= dict.fromkeys((VALID, DONE), Variable((POINT,), (points,), np.dtype(bool), {}))
    for name, (dims, shape, dtype, about) in arrays.items():
        # Coordinates are no block's: all are written by whoever begins or extends the table.
        chunks = (2**16,) if name in columns else (block, *shape[1:]) if dims[:1] == (POINT,) else shape
        array = group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=tuple(max(size, 1) for size in chunks),
            dimension_names=dims,
            fill_value=np.nan if dtype.kind in "fc" else 0,
            attributes=about,
            # The default codec does not notice a flipped bit; this one does, and level 0 costs next to nothing.
            compressors=ZstdCodec(level=0, checksum=True),
            config=WHOLE,
        )
        if name in columns:
            array[:] = columns[name]


def _extend(table: Table, columns: Columns) -> None:
    """Appends points; the attribute `points` comes last."""
    size = table.points + _length(columns)
    for name, array in table.arrays.items():
        if table.is_listed(name):
            array.resize((size, *array.shape[1:]))
    for name, column in columns.items():
        table.arrays[name][table.points :] = column
    table.group.attrs.update({POINTS: size, EXTENDED: True})


def _find(stored: Mapping[str, np.ndarray], asked: Mapping[str, np.ndarray]) -> Int[np.ndarray, " P"]:
    """The row of every point that is asked for, −1 where it is not there."""

    def places(columns: Mapping[str, np.ndarray]):
        return zip(*(columns[name].tolist() for name in asked), strict=True)

    row = {place: row for row, place in enumerate(places(stored))}
    return np.array([row.get(place, -1) for place in places(asked)], int)


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _run_name(run: int) -> str:
    return f"runs/{run:08x}"


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"store: got {path}, which cannot be written ({error}); try another path") from error


def _sweep_orphans(path: Path) -> None:
    """Removes what killed writers left half written."""
    for orphan in path.rglob("*.partial"):
        orphan.unlink(missing_ok=True)
