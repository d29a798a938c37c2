"""A sweep as one HTML page that needs nothing else: its map, the history of each cell, the boundary, where it is from.

    mean ± t s.e. over lineages,   z = (mean − exact) / s.e.,   {b : |r̂(b) − level| ≤ z s.e.(b)}   (`phase.boundary`)

plotly.js is written into the page, which opens without a network and asks for nothing: its content policy forbids that.
Histories are 16-bit numbers between the limits of each cell, linear or logarithmic, at 40 log-spaced generations at
most, so that 10,000 cells take some 4 MB beside the 5 MB of plotly.js. What it says of the cells is in `_cells`, how it
looks in the folder `_page`.
"""

import ast
import base64
import html
import json
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxcollapse import _cells, _status
from jaxcollapse._cells import Cells, Metric
from jaxcollapse._dataset import open as read
from jaxcollapse._store import DONE

MOST, LEAST = 40, 8  # generations of a history
HISTORIES = 2_700_000  # bytes of all histories, before base64 makes them 4/3
MISSING = 65535
SCRIPTS = ("data.js", "map.js", "boundary.js", "cell.js", "controls.js")


def write(
    store: str | os.PathLike, output: str | os.PathLike, *, file: str | os.PathLike | None = None, level: float = 0.5
) -> Path:
    """Writes the page of a sweep that is stored, finished or not; returns its path.

    `file` is the experiment's own, by default the one that was run, if it is still there: its first line becomes the
    title, and if it defines `report(run)`, the page shows the dataset which that makes of the run, with exact values
    or names for what the axes number, say. `level`: of the boundary, for quantities between 0 and 1.

    Errors: `ValueError` where there is no store, nothing in it, no plotly, or OUTPUT cannot be written.
    """
    table, output = _status.opened(Path(store)), Path(output)
    if not table.column(DONE).any():
        raise ValueError(f"store: got {store}, of which nothing has been computed yet, expected a run; try to go on")
    _plotly()
    run = read(store)
    source = Path(file or run.attrs.get("file", ""))
    if file is not None and not source.is_file():
        raise ValueError(f"file: got {file}, which is no file, expected the experiment's; try to leave it out")
    if source.is_file():
        from jaxcollapse._experiment import module

        run = getattr(module(source), "report", lambda run: run)(run)
    text = page(run, level=level, provenance=_status.status(table), source=source)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"output: got {output}, which cannot be written ({error}); try another path") from error
    return output


def page(
    table: xr.Dataset, *, level: float = 0.5, provenance: Mapping[str, Any] | None = None, source: Path | None = None
) -> str:
    """The page of a dataset that `sweep` or `open` returned: HTML.

    `provenance`: what `jaxcollapse status --json` says of the store; `source`: the experiment's file.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected a share between 0 and 1; try level=0.5")
    found, metrics, left = _cells.metrics(table)
    if not metrics:
        raise ValueError(f"table: got no numbers for each point ({'; '.join(left)}), expected a variable of them")
    text = source.read_text(encoding="utf-8") if source is not None and source.is_file() else ""
    title = _title(text) or f"{table.attrs.get('experiment', 'A sweep')} over {', '.join(a.name for a in found.axes)}"
    data = {"axes": [axis._asdict() for axis in found.axes], "grid": found.shape is not None, "level": level}
    data |= {"places": [_bytes(places, "<u4") for places in found.codes], "cells": found.size}
    data |= {"done": _bytes(found.done, "u1"), "valid": _bytes(found.valid, "u1"), "left": left}
    generations = _affordable(found, metrics)
    data |= {"metrics": [_metric(found, metric, level, generations) for metric in metrics]}
    parts = {
        "title": html.escape(title),
        "about": html.escape(_about(table, found, metrics)),
        "provenance": _provenance(table, provenance, text, source),
        "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        "script": "\n".join(map(_packaged, SCRIPTS)),
        "plotly": _plotly().replace("</script", "<\\/script"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _packaged("page.html"))


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ValueError("plotly: got none, expected it installed; try pip install 'jaxcollapse[report]'") from None
    return get_plotlyjs()


def _packaged(name: str) -> str:
    return resources.files("jaxcollapse").joinpath("_page", name).read_text(encoding="utf-8")


def _title(source: str) -> str:
    """The first line of the file's docstring."""
    try:
        text = ast.get_docstring(ast.parse(source)) or ""
    except SyntaxError:
        text = ""
    return text.partition("\n")[0].rstrip(".")


def _about(table: xr.Dataset, found: Cells, metrics: list[Metric]) -> str:
    """The size of the sweep in one line."""
    sizes = " × ".join(f"{len(axis.values)} {axis.name}" for axis in found.axes)
    cells = f"{found.size:,} cells = {sizes}" if found.shape else f"{found.size:,} points, no grid"
    parts = [cells, _lineages(found, metrics)]
    for many, what in ((~found.done, "not computed yet"), (found.done & ~found.valid, "hold NaN")):
        parts += [f"{many.sum():,} {what}"] * bool(many.any())
    settings = json.loads(table.attrs.get("settings", "{}"))
    parts += [", ".join(f"{name} = {value}" for name, value in settings.items() if name != "lineages" or not parts[1])]
    if table.attrs.get("common_random_numbers"):
        parts.append("common random numbers: cells are correlated, agreement in many is no count of independent checks")
    return "; ".join(filter(None, parts))


def _lineages(found: Cells, metrics: list[Metric]) -> str:
    counts = max((metric.count[found.done] for metric in metrics if metric.count.max() > 1), key=np.max, default=None)
    if counts is None:
        return ""
    return f"{counts.min()}{f' to {counts.max()}' * bool(counts.min() < counts.max())} lineages a cell"


def _metric(found: Cells, metric: Metric, level: float, most: int) -> dict[str, Any]:
    """What the page holds of one metric; `map` is the last generation."""
    last = {"mean": metric.mean[:, -1], "se": metric.se[:, -1], "t": _alike(metric.quantile(0.025))}
    last |= dict(zip(("median", "low", "high"), metric.quantiles, strict=True))
    last |= {} if metric.exact is None else {"exact": metric.exact[:, -1]}
    curves = _cells.crossings(found, metric, level)
    return {
        "name": metric.name,
        "label": metric.label,
        "units": metric.units,
        "simulated": metric.simulated,
        "known_se": metric.known_se,
        "count": _bytes(_alike(metric.count), "<u4"),
        "map": {name: _bytes(values, "<f4") for name, values in last.items()},
        "history": _history(metric, most),
        "boundary": {axis: [_bytes(ends, "<f4") for ends in curve] for axis, curve in curves.items()},
    } | _agreement(metric)


def _agreement(metric: Metric) -> dict[str, Any]:
    """The worst |z| of all cells, and what one run in a thousand would exceed by chance, were the means normal."""
    z = abs(metric.z())
    tested = np.isfinite(z)
    if not tested.any():
        return {"agreement": None}
    bound = float(metric.quantile(5e-4 / tested.sum())[tested].max())
    return {"agreement": {"worst": float(z[tested].max()), "cells": int(tested.sum()), "bound": bound}}


def _affordable(found: Cells, metrics: list[Metric]) -> int:
    """How many generations of every history the page has room for."""
    curves = sum(2 + (metric.exact is not None) for metric in metrics if metric.generations is not None)
    return min(MOST, max(LEAST, HISTORIES // (2 * found.size * max(curves, 1)) - 4))  # the limits take 8 bytes


def _history(metric: Metric, most: int) -> dict[str, Any] | None:
    """Mean, s.e. and exact value at log-spaced generations, in 16 bits."""
    if metric.generations is None or len(metric.generations) < 2:
        return None
    kept = _spaced(metric.generations, most)
    curves = {"mean": metric.mean, "se": metric.se, "exact": metric.exact}
    curves = {name: curve[:, kept] for name, curve in curves.items() if curve is not None}
    positive = all(not (curve < 0).any() for curve in curves.values())
    about = {"generations": metric.generations[kept].tolist(), "recorded": len(metric.generations), "log": positive}
    for name, curve in curves.items():
        low, high, codes = _levels(curve, positive)
        about[name] = {"low": _bytes(low, "<f4"), "high": _bytes(high, "<f4"), "codes": _bytes(codes, "<u2")}
    return about


def _spaced(generations: np.ndarray, most: int) -> np.ndarray:
    """Which ones to keep: all, or those nearest to log-spaced places, with both ends."""
    if len(generations) <= most:
        return np.arange(len(generations))
    places = np.log(generations - float(generations[0]) + max(float(generations[0]), 1.0))
    rows = np.arange(len(places))
    # Early ones are wanted more than once: more are asked for, until there are as many.
    tries = (np.linspace(places[0], places[-1], wanted) for wanted in range(most, 4 * most))
    found = [np.unique(np.rint(np.interp(wanted, places, rows)).astype(int)) for wanted in tries]
    return max((kept for kept in found if len(kept) <= most), key=len)


def _levels(curve: np.ndarray, log: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """In 16 bits: 65535 is NaN, 1 … 65534 lie evenly between a cell's limits, and 0 in the logarithm is 0 itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(curve) if log else curve
    known = np.isfinite(values)
    ends = (values.min(1, initial=np.inf, where=known), values.max(1, initial=-np.inf, where=known))
    low, high = (np.where(known.any(1), end, 0.0).astype(np.float32) for end in ends)
    span = np.where(high > low, high.astype(float) - low, 1.0)
    share = (np.where(known, values, 0.0) - low[:, None]) / span[:, None]
    codes = np.where(known, 1 + np.rint(np.clip(share, 0, 1) * (MISSING - 2)), MISSING)
    return low, high, np.where(curve == 0, 0, codes) if log else codes


def _alike(values: np.ndarray) -> np.ndarray:
    """One value where all are the same."""
    return values[:1] if (values == values[0]).all() else values


def _bytes(values: Any, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _provenance(table: xr.Dataset, known: Mapping[str, Any] | None, text: str, source: Path | None) -> str:
    """Versions, key, machine, blocks and the command of every run, and the experiment's text: HTML."""
    a = table.attrs
    told = [("experiment", a.get("experiment")), ("file", a.get("file")), ("settings", a.get("settings"))]
    told += [("key", f"{a.get('key')}, {a.get('key_impl')}"), ("program", a.get("program"))]
    told += [(name, a.get(name)) for name in ("jaxcollapse", "jax", "jaxlib", "numpy", "python", "platform")]
    told += [("x64", "on" if a.get("x64") else "off"), ("device", f"{a.get('devices')} × {a.get('device')}")]
    told += [("threads", a.get("threads")), ("points in a block", a.get("chunk"))]
    runs = [{name: a.get(name) for name in ("created", "host", "command", "revision")}]
    if known:
        blocks = known.get("blocks", {})
        told += [("store", known["store"]), ("blocks", f"{blocks.get('done')} of {blocks.get('all')} done")]
        told += [("size", _status.size(known["bytes"]))]
        runs = known["runs"]
    listed = "".join(f"<dt>{name}</dt><dd>{html.escape(str(v))}</dd>" for name, v in told if v not in (None, ""))
    page = f"<dl>{listed}</dl><h3>Runs</h3><ul>{''.join(f'<li>{_run(run)}</li>' for run in runs)}</ul>"
    if text:
        page += f"<h3>{html.escape(str(source))}, as it is now</h3><pre>{html.escape(text)}</pre>"
    return page


def _run(run: Mapping[str, Any]) -> str:
    """One run: when, where, how long and by which command."""
    seconds = {step: spent for step, spent in (run.get("seconds") or {}).items() if spent is not None}
    took = ", ".join(f"{step} {spent:g} s" for step, spent in seconds.items())
    when = str(run.get("created") or "")[:19].replace("T", " ")
    where = f"{when} UTC on {run.get('host') or 'an unknown machine'}" if when else ""
    words = [where, took, f"revision {run['revision']}" if run.get("revision") else ""]
    command = f"<br><code>{html.escape(str(run.get('command') or 'from Python'))}</code>"
    return html.escape("; ".join(filter(None, words))) + command
