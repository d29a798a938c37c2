"""What a store holds: which sweep, how much of it, by which runs, and whether one is writing to it now."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from zarr.errors import BaseZarrError

from jaxcollapse import _lock
from jaxcollapse._dataset import read
from jaxcollapse._experiment import what_is
from jaxcollapse._store import DONE, REPEAT, VALID, Table, is_store

NAMED = 3  # points that hold NaN are named up to here
UNITS = ("B", "kB", "MB", "GB", "TB")
STEPS = ("trace", "compile", "run")


def opened(path: Path) -> Table:
    """The table at `path`, to read; `ValueError` where there is none, or its description is damaged."""
    if not is_store(path):
        advice = f"try jaxcollapse run FILE --store {'NAME' if path.exists() else path}"
        raise ValueError(f"store: got {what_is(path)}, expected a folder written by a run; {advice}")
    try:
        table = Table(path, mode="r")
        table.runs()
    except (KeyError, AssertionError, ValueError, BaseZarrError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"store: got {path}, which cannot be read as a sweep ({reason}); try another path") from error
    return table


def status(table: Table, known: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """All that a store says of itself, as plain values.

    Errors: `ValueError` where its flags or coordinates are damaged, unless that is `known` by now: then what they say
    is left out.
    """
    path = Path(str(table.store))
    files = [file for file in path.rglob("*") if file.is_file()]
    unread = {damage["variable"] for damage in known} & {DONE, VALID, REPEAT, *table.attrs["axes"]}
    return (
        {"store": str(path), "experiment": table.attrs["experiment"], "settings": json.loads(table.attrs["settings"])}
        | ({} if unread else _points(table))
        | {"bytes": sum(file.stat().st_size for file in files), "files": len(files), "runs": _runs(table)}
    )


def _points(table: Table) -> dict[str, Any]:
    """Which points there are, and what is known of them."""
    columns = {name: read(table, name) for name in (*table.attrs["axes"], REPEAT)}
    done = read(table, DONE)
    return {
        "axes": {name: _axis(columns[name]) for name in table.attrs["axes"]},
        "repeats": len(np.unique(columns[REPEAT])),
        "points": table.points,
        "done": int(done.sum()),
        "blocks": _blocks(done, table.block),
        "invalid": _invalid(columns, np.flatnonzero(done & ~read(table, VALID))),
    }


def lines(report: dict[str, Any]) -> str:
    """The same for people."""
    settings = ", ".join(f"{name}={value!r}" for name, value in report["settings"].items())
    named = [("settings", settings), *(_point_lines(report) if "points" in report else [])]
    named += [("size", f"{size(report['bytes'])} in {report['files']} files")]
    named += [(f"run {run['id']}", _run_line(run)) for run in report["runs"]]
    body = "".join(f"\n  {name:<14}{text}" for name, text in named if text)
    return f"{report['store']}: {report['experiment']}{body}"


def _point_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    axes = [f"{name} {a['size']} from {a['from']:g} to {a['to']:g}" for name, a in report["axes"].items()]
    axes += [f"{report['repeats']} repeats"] * (report["repeats"] > 1)
    blocks, invalid = report["blocks"], report["invalid"]
    named = [("axes", ", ".join(axes))]
    named += [("points", f"{report['done']} of {report['points']} done, {blocks['done']} of {blocks['all']} blocks")]
    if invalid["points"]:
        first = ", ".join(f"({', '.join(f'{n}={v:g}' for n, v in point.items())})" for point in invalid["first"])
        named += [("NaN", f"{invalid['points']} points, the first at {first}")]
    return named


def size(count: int | float) -> str:
    """A number of bytes with its unit."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {UNITS[unit]}"


def running(path: Path) -> set[str]:
    """The runs that are writing to a store now; none where locks cannot be tried."""
    try:
        with _lock.whole(path):
            return _lock.held(path)
    except OSError:
        return set()


def _axis(column: np.ndarray) -> dict[str, Any]:
    values = np.unique(column)
    return {"size": len(values), "from": values[0].item(), "to": values[-1].item()}


def _blocks(done: np.ndarray, block: int) -> dict[str, int]:
    whole = [done[start : start + block].all() for start in range(0, len(done), block)]
    return {"done": int(sum(whole)), "all": len(whole), "size": block}


def _invalid(columns: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, Any]:
    named = [name for name in columns if name != REPEAT or columns[name].any()]
    return {"points": len(rows), "first": [{n: columns[n][row].item() for n in named} for row in rows[:NAMED]]}


def _runs(table: Table) -> list[dict[str, Any]]:
    now, noted = running(Path(str(table.store))), {f"{run:08x}": about for run, about in table.runs().items()}
    kept = ("created", "host", "command", "revision", "file", "jaxcollapse", "repaired")
    return [
        {"id": run, "running": run in now}
        | {name: noted.get(run, {}).get(name) for name in kept}
        | {"seconds": {step: noted.get(run, {}).get(f"{step}_seconds") for step in STEPS}}
        for run in [*noted, *sorted(now - noted.keys())]
    ]


def _run_line(run: dict[str, Any]) -> str:
    seconds = run["seconds"]
    spent = ", ".join(f"{step} {seconds[step]:g} s" for step in STEPS if seconds[step] is not None)
    ended = "running now" if run["running"] else spent or "ended before it was done"
    where = f"{(run['created'] or '')[:19].replace('T', ' ')} on {run['host'] or 'unknown host'}, {ended}"
    revision = f", revision {run['revision']}" if run["revision"] else ""
    return f"{where}: {run['command'] or 'from Python'}{revision}"
