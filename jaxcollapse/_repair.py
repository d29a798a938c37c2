"""Chunks that cannot be read: found, named, and computed again.

    damage = a chunk of a done block that is gone, or any chunk that does not decode to what its checksum says
    repair = the damaged chunks removed, their blocks no longer done, these blocks computed again

A block that is written twice is written the same, so that a repaired store holds what it held, bit for bit; only `run`
names the repairing run for these blocks. Coordinates are no block's, and nothing else holds them: they stay damaged.
"""

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcollapse import _experiment, _program, _remote, _sweep
from jaxcollapse._plan import Plan
from jaxcollapse._store import DONE, REPEAT, RUN, VALID, Table, check_identity

REPAIRED = "repaired"  # attribute of a run: the blocks that it was begun for


class Damage(NamedTuple):
    """One chunk that cannot be read: of a block, or where `block` is None of coordinates or labels."""

    variable: str
    block: int | None
    first: dict[str, Any]
    reason: str
    file: Path

    def __str__(self) -> str:
        where = ", ".join(f"{name}={value:g}" for name, value in self.first.items())
        block = "" if self.block is None else f", block {self.block}"
        return f"{self.variable}{block}{', which begins at ' * bool(where)}{where}: {self.reason}"

    def plain(self) -> dict[str, Any]:
        """The same as plain values."""
        return self._asdict() | {"file": str(self.file)}


def damaged(table: Table, follow: Callable[[Sequence[int]], Iterable[int]] = iter) -> list[Damage]:
    """Every chunk of the store that is damaged: coordinates, labels, then block by block. Reads all of it.

    A chunk of `done` that is gone is no damage: its block has not been done. `follow` passes the blocks on as they are
    read, and may say so.
    """
    names, blocks = [*table.attrs["variables"], RUN, VALID], range(_chunks(table, DONE))
    parts = [(name, chunk) for name in _coordinates(table) for chunk in range(_chunks(table, name))]
    found = [item for name, chunk in parts for item in _look(table, name, chunk)]
    columns = {} if found else _named(table)
    flags = {block: _look(table, DONE, block, False) for block in blocks}
    done = {block for block in blocks if not flags[block] and _is_done(table, block)}
    for name in names:
        if not table.is_listed(name):
            found += [item for i in range(_chunks(table, name)) for item in _look(table, name, i, bool(done))]
    for block in follow(blocks):
        found += flags[block]
        for name in filter(table.is_listed, names):
            found += _look(table, name, block, block in done)
    return [item._replace(first=_first(table, columns, item.block)) for item in found]


def repair(path: Path, found: list[Damage], **about: Any) -> Iterator[_sweep.Stage]:
    """Removes what is damaged and computes it again; `about` is noted of the run that does.

    Errors: `ValueError`, and nothing is touched, where coordinates are damaged or the experiment's file computes
    something else by now; `ValueError`, and the damaged blocks are no longer done, where that file is gone.
    """
    table = Table(path)
    last = _last(table)
    command = last.get("command", "the sweep again, with the same store, where it was called")
    if lost := [item.variable for item in found if item.variable in _coordinates(table)]:
        raise ValueError(
            f"{lost[0]}: got damaged coordinates, which nothing else holds; try {command}, into another store"
        )
    blocks, file = _blocks(table, found), Path(last.get("file", ""))
    with jax.enable_x64(bool(table.attrs["x64"])):
        asked = _plan(table, file) if blocks and file.is_file() else None
        for item in found:
            item.file.unlink(missing_ok=True)
        # After the files: where this is killed the blocks are done and lack a chunk, which is damage, and is found.
        for block in blocks:
            table.forget(block)
        if asked is not None:
            some = np.isin(np.arange(table.points) // table.block, blocks)
            columns = {name: column[some] for name, column in asked.columns.items()}
            noted = {"file": str(file), **_experiment.revision(file), **about, REPAIRED: blocks}
            yield from _sweep.stages(asked._replace(columns=columns), **noted)
        elif blocks:
            gone = f"got {file}, which is gone" if file.name else "got no file, as this sweep was run from Python"
            raise ValueError(f"file: {gone}; {len(blocks)} damaged blocks are no longer done; try {command}")


def _plan(table: Table, file: Path) -> Plan:
    """The store's own sweep by the experiment in this file; `ValueError` where that is another by now."""
    experiment = _bound(_experiment.load(file).function, json.loads(table.attrs["settings"]))
    path, plan = Path(str(table.store)), _remote.planned(experiment, table)
    try:
        check_identity(path, table.attrs, _program.identify(plan, _program.trace(plan)))
    except ValueError as error:
        reason = str(error).partition(";")[0].removeprefix("store: got ")
        advice = "nothing was changed; try the file and the versions as they were"
        raise ValueError(f"--repair: got {reason}; {advice}") from None
    return plan


def _bound(function: Any, settings: dict[str, Any]) -> Any:
    """The function with those of its keywords bound that were set."""
    parameters = inspect.signature(function).parameters

    def is_set(name: str, value: Any) -> bool:
        default = parameters[name].default if name in parameters else None
        if isinstance(value, str) and not isinstance(default, str | None | type):
            return False  # the text of a default that JSON cannot hold; if it was set after all, the program differs
        return json.dumps(default, default=repr) != json.dumps(value)

    return functools.partial(function, **{name: value for name, value in settings.items() if is_set(name, value)})


def _blocks(table: Table, found: list[Damage]) -> list[int]:
    """The blocks to compute again; any where labels alone are damaged, as the first block of a run writes them."""
    unknown = {item.block for item in found if item.variable == DONE}
    blocks = range(_chunks(table, DONE))
    done = [block for block in blocks if block in unknown or _is_done(table, block)]
    chosen = {item.block for item in found if item.block is not None}
    if any(item.block is None for item in found) and not chosen & set(done):
        return done[:1]
    return [block for block in done if block in chosen]


def _is_done(table: Table, block: int) -> bool:
    return bool(np.any(np.asarray(table.arrays[DONE][table.rows(block)])))


def _last(table: Table) -> dict[str, Any]:
    """What is known of the last run that was no repair."""
    return next((run for run in reversed(table.runs().values()) if REPAIRED not in run), {})


def _look(table: Table, name: str, chunk: int, needed: bool = True) -> list[Damage]:
    """What is wrong with a chunk, if anything is."""
    array = table.arrays[name]
    file = Path(str(table.store)) / name / "c" / "/".join([str(chunk), *["0"] * (array.ndim - 1)])
    block = chunk if table.is_listed(name) and name not in _coordinates(table) else None
    if not file.is_file():
        return [Damage(name, block, {}, "its chunk is gone", file)] if needed and array.size else []
    try:
        array[chunk * array.chunks[0] : (chunk + 1) * array.chunks[0]]
    except PermissionError:
        raise
    except Exception as error:  # what a codec raises is its own business
        return [Damage(name, block, {}, f"its chunk cannot be read ({' '.join(str(error).split())})", file)]
    return []


def _coordinates(table: Table) -> list[str]:
    return [*table.attrs["axes"], REPEAT]


def _chunks(table: Table, name: str) -> int:
    """How many chunks there are along the first dimension, without what a killed extension has left."""
    array = table.arrays[name]
    return -(-(table.points if table.is_listed(name) else array.shape[0]) // array.chunks[0])


def _named(table: Table) -> dict[str, np.ndarray]:
    """The coordinates that tell points apart; the repeat where there are several."""
    return {name: column for name, column in table.columns().items() if name != REPEAT or column.any()}


def _first(table: Table, columns: dict[str, np.ndarray], block: int | None) -> dict[str, Any]:
    """The coordinates of the first point of a block."""
    return {} if block is None else {name: column[block * table.block].item() for name, column in columns.items()}
