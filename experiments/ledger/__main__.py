"""The reproduction ledger as a command: reads the stores of the experiments and writes one table.

    python -m experiments.ledger                                  what is in runs/NAME, where jaxcollapse run puts it
    python -m experiments.ledger --run all                        runs what is missing first (about an hour)
    python -m experiments.ledger --run golden_ratio,network --markdown ledger.md --csv ledger.csv

The last line counts the rows. Exit status: 0 all rows are run, and none disagrees without an explanation; 1 one does;
2 usage; 3 rows are not run.
"""

import argparse
import datetime
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

import jaxcollapse as jc
from experiments.ledger import table
from experiments.ledger.claims import CLAIMS, Claim
from experiments.ledger.estimates import Estimate, Run
from experiments.ledger.table import Row

FOLDER = Path(__file__).parent.parent
FREE = {"lineages"}  # settings of which no claim speaks


class Store(NamedTuple):
    """What there is of an experiment: its run, or in words why there is none."""

    name: str
    path: Path
    run: Run | None
    reason: str = ""


def main(arguments: Sequence[str] | None = None, claims: Sequence[Claim] = CLAIMS) -> int:
    options = _parser().parse_args(arguments)
    names = list(dict.fromkeys(claim.experiment for claim in claims))
    for name in asked(options.run, names):
        run_missing(name, options.store_dir)
    stores = {name: read(name, options.store_dir) for name in names}
    rows = [judged(claim, stores[claim.experiment]) for claim in claims]
    show(rows, stores.values())
    if options.csv:
        table.write_csv(rows, options.csv)
    if options.markdown:
        options.markdown.write_text(document(rows, stores.values()), encoding="utf-8")
    limits = table.bounds(rows)[1]
    print(table.counts(rows, limits))
    found = [table.verdict(row, limits) for row in rows]
    if any(name == "disagree" and not table.explained(row) for name, row in zip(found, rows, strict=True)):
        return 1
    return 3 if "not run" in found else 0


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m experiments.ledger", description=about)
    parser.add_argument("--store-dir", type=Path, default=Path("runs"), help="folder of the stores; runs if not given")
    parser.add_argument("--run", metavar="NAMES|all", default="", help="first run these, if there is no finished run")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="all numbers, unrounded")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table, its remarks and the stores")
    return parser


def asked(text: str, names: Sequence[str]) -> list[str]:
    """The experiments that `--run` names; a usage error for one that no row speaks of."""
    wanted = list(names) if text == "all" else [name for name in text.split(",") if name]
    for name in wanted:
        if name not in names:
            expected = ", ".join(sorted(names))
            _parser().error(f"--run: got {name}, expected all or names among {expected}; try --run {names[0]}")
    return wanted


def run_missing(name: str, folder: Path) -> None:
    """`jaxcollapse run` of an experiment that has no finished run; what an interrupted one has kept stays."""
    if read(name, folder).run is None:
        file, store = FOLDER / f"{name}.py", folder / name
        command = [sys.executable, "-m", "jaxcollapse", "run", str(file), "--store", str(store)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def read(name: str, folder: Path) -> Store:
    """The store of an experiment, refused where it is unfinished or is not the run that the claims speak of."""
    path = folder / name
    if not path.exists():
        return Store(name, path, None, "there is no store")
    here, data = importlib.import_module(f"experiments.{name}"), jc.open(path)
    reason = unlike(here, data)
    return Store(name, path, None if reason else Run(here, data), reason)


def unlike(here, data: xr.Dataset) -> str:
    """What is wrong with a run for the ledger, in words; nothing: empty."""
    if not bool(data.done.all()):
        return f"unfinished, {int(data.done.sum())} of {data.done.size} points"
    if "repeat" in data.dims or "point" in data.dims:
        return "repeated points, or points that form no grid"
    for name, values in here.AXES.items():
        if data[name].shape != np.shape(values) or not np.allclose(data[name], np.asarray(values, float)):
            return f"run with other values of {name}"
    settings = json.loads(data.attrs["settings"])
    for name, parameter in inspect.signature(here.experiment).parameters.items():
        if name in settings and name not in FREE and settings[name] != _stored(parameter.default):
            return f"run with {name}={settings[name]}, not {parameter.default}"
    return ""


def _stored(value):
    """A default as a store holds it: a tuple is a list there."""
    return list(value) if isinstance(value, tuple) else value


def judged(claim: Claim, store: Store) -> Row:
    """The claim with what its run says, in double precision."""
    if store.run is None:
        return Row(claim, None)
    with jax.enable_x64(True):
        found = claim.measure(store.run)
    estimate = Estimate(float(found.ours), float(found.se), float(found.exact), int(found.lineages))
    return Row(claim, estimate, seconds(store.run.data))


def seconds(data: xr.Dataset) -> float:
    """What the last run of a store took to trace, compile and run; NaN where it does not say."""
    return sum(data.attrs.get(f"{step}_seconds", float("nan")) for step in ("trace", "compile", "run"))


def provenance(store: Store, aged: bool = True) -> list[str]:
    """Name, when it was written (and how old that is), by which version, on what, how long; or why it is not read."""
    if store.run is None:
        return [store.name, f"not run: {store.reason}", *[""] * 4]
    about = store.run.data.attrs
    written = datetime.datetime.fromisoformat(about["created"])
    days = (datetime.datetime.now(datetime.UTC) - written).total_seconds() / 86400
    age = (f", {days:.1f} days ago" if days >= 1 else f", {24 * days:.1f} hours ago") * aged
    version = f"{about['jaxcollapse']}, jax {about['jax']}"
    device = f"{about['threads']} threads, {about['device']}" if about["device"] == "cpu" else str(about["device"])
    revision = about.get("revision", "")[:10] + "-dirty" * about.get("revision", "").endswith("-dirty")
    when, took = f"{written:%Y-%m-%d %H:%M}{age}", f"{seconds(store.run.data):.0f} s"
    return [store.name, when, version, revision, device, took]


STORES = ("store", "written (UTC)", "jaxcollapse", "revision", "on", "run time")


def show(rows: Sequence[Row], stores) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table.terminal(rows, console.width))
    listed = Table(*STORES, box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    stores = list(stores)
    for store in stores:
        listed.add_row(*provenance(store))
    console.print(listed)
    console.print(f"stores in {stores[0].path.parent.absolute()}", soft_wrap=True)
    for line in table.remarks(rows):
        console.print(line, highlight=False)


def document(rows: Sequence[Row], stores) -> str:
    """The ledger as a page."""
    listed = [STORES, ["---"] * len(STORES), *(provenance(store, aged=False) for store in stores)]
    limits = table.bounds(rows)[1]
    body = (table.__doc__ or "").partition("\n\n")[2].strip("\n")
    return "\n".join([
        "# Reproduction ledger", "",
        "What is published, what theory computes exactly, and what a run of this package shows.", "",
        f"**{table.counts(rows, limits)}.** Made by `python -m experiments.ledger --markdown experiments/LEDGER.md`; "
        "`--run all` runs what is missing.", "",
        table.markdown(rows), "", "```", body, "```", "",
        *(f"- {line}" for line in table.remarks(rows)), "",
        "Published values with an arrow are limits, which a finite run is not expected to meet: z compares with the "
        "exact value at the very n and t of the run. s: seconds in which a whole experiment, of which several rows "
        "speak, was traced, compiled and run, on a machine with other work.", "",
        "## Stores", "", *("| " + " | ".join(line) + " |" for line in listed), "",
    ])  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
