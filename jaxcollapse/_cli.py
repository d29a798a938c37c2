"""The command line: run · status · plot · phase · report · export · theory · doctor.

JAX is imported after the arguments are understood, so that help and mistakes answer at once. Results go to standard
output, all else to standard error. Exit codes: 0, 2 usage, 1 a run that failed, 130 interrupted. A `ValueError` of the
form "name: got …" is one line: a mistake in what was asked for until the experiment is traced, a failure after.
"""

import functools
import json
import logging
import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxcollapse import __version__
from jaxcollapse._errors import blame, errors

if TYPE_CHECKING:
    import xarray as xr

    from jaxcollapse._executors import Choice
    from jaxcollapse._experiment import Experiment
    from jaxcollapse._plan import Plan
    from jaxcollapse._store import Table

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, and nothing else.")]


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"jaxcollapse {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def cli(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """Recursive training on contaminated data, simulated exactly, with the theory beside it."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("jaxcollapse").setLevel(logging.INFO)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Python file with AXES and experiment(axis, ..., *, key).")],
    store: Annotated[Path | None, typer.Option(help="Folder for the results; runs/NAME-OF-FILE if not given.")] = None,
    axis: Annotated[list[str] | None, typer.Option(help="NAME=START:STOP:NUM, or with :log, or NAME=v1,v2,…")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE for a keyword.")] = None,
    chunk: Annotated[int | None, typer.Option(help="Points computed side by side, at least 1.")] = None,
    memory: Annotated[str | None, typer.Option(help="What the process may take, such as 2GB.")] = None,
    repeats: Annotated[int, typer.Option(help="Independent repetitions of every point, at least 1.")] = 1,
    seed: Annotated[int, typer.Option(help="From 0 to 4294967295.")] = 0,
    common_random_numbers: Annotated[
        bool, typer.Option("--common-random-numbers", help="The same random numbers at every point.")
    ] = False,
    force_new: Annotated[
        bool, typer.Option("--force-new", help="Begin a new store beside the one there is: STORE-2, STORE-3, …")
    ] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Part I = 0 … N-1 of N, on a shared store.")] = "0/1",
    processes: Annotated[int | None, typer.Option(help="Worker processes on this machine.")] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Scheduler of a Dask cluster.")] = None,
    slurm: Annotated[
        str | None, typer.Option(metavar="OPTIONS", help='Such as "partition=cpu,time=60,jobs=8", by submitit.')
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compile it, say what would run, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Maps an experiment over its grid, prints its summary and draws its figure.

    A run that was killed, or asked for more points, goes on where STORE ends: what is there is kept.

    FILE is a Python file that may define:

    AXES, a dict of a list of numbers for each name (or see --axis);

    experiment(axis, ..., *, key) -> dict of arrays, required; its other keywords are for --set;

    summary(run) -> text, or what rich can print, from the labelled dataset of the run;

    figure(run) -> a matplotlib figure;

    report(run) -> the dataset that `jaxcollapse report` shows, such as the run with exact values beside it.
    """
    from jaxcollapse import _executors, _present

    store = store or Path("runs") / file.stem
    with errors(file), blame(file):
        asked = {"store": store, "chunk": chunk, "memory": memory, "repeats": repeats, "force_new": force_new}
        asked |= {"common_random_numbers": common_random_numbers, "shard": _executors.part(shard)}
        experiment, plan = _prepare(file, axis or [], settings or [], seed, **asked)
        typer.echo(f"{file}: {_present.grid(plan)} -> {plan.store}", err=True)
        if dry_run:
            report = _present.planned(plan) | {"seed": seed}
            typer.echo(json.dumps(report) if as_json else "\n".join(f"{name}: {v}" for name, v in report.items()))
            return
        choice = _executors.choose(processes=processes, dask=dask, slurm=slurm)
    table = _carry_out(plan, file, choice)
    report = _present.finished(plan, table) | {"seed": seed, "summary": None, "figure": None}
    if unfinished := _present.unfinished(table):
        typer.echo(f"{plan.store}: {unfinished}; run again, or wait for the other parts", err=True)
    failed = not bool((table.valid | ~table.done).any())
    if not unfinished and not failed:
        failed = _conclude(experiment, table, report, as_json)
    if as_json:
        typer.echo(json.dumps(report))
    else:
        typer.echo(f"figure: {report['figure']}\n" * bool(report["figure"]) + f"data: {plan.store}")
    raise typer.Exit(int(failed))


def _conclude(experiment: "Experiment", table: "xr.Dataset", report: dict[str, Any], as_json: bool) -> bool:
    """Adds summary and figure to the report, each whatever becomes of the other; whether one of them failed."""
    from jaxcollapse import _present, _progress

    terminal = sys.stderr.isatty()

    def summary() -> None:
        with _progress.step("summary", terminal=terminal):
            text = _present.summary(experiment, table)
        report["summary"] = _present.as_text(text) if as_json else _present.show(text)

    def figure() -> None:
        image = Path(f"{report['store']}.png")
        with _progress.step("figure", terminal=terminal):
            drawn = _present.draw(experiment, table, image)
        report["figure"] = str(image) if drawn else None

    codes = []
    for step in (summary, figure):
        try:
            with errors(experiment.path, lambda: f"The results are kept in {report['store']}."):
                step()
        except typer.Exit as stop:
            codes.append(stop.exit_code)
    if 130 in codes:
        raise typer.Exit(130)
    return bool(codes)


@app.command()
def plot(
    store: Annotated[Path, typer.Argument(help="Folder that a run has written, finished or not.")],
    output: Annotated[Path | None, typer.Option(help="Image file; STORE.png if not given.")] = None,
    file: Annotated[Path | None, typer.Option(help="Experiment file; the one that was run if not given.")] = None,
) -> None:
    """Redraws the figure of a run, and prints its map here.

    Where the experiment's file is gone, or the run was Python's, it is a plain map of two axes.
    """
    from jaxcollapse import _dataset, _experiment, _present, _progress, _terminal

    with errors(file or store), blame(store):
        if not (store / "zarr.json").is_file():
            advice = f"try jaxcollapse run FILE --store {'NAME' if store.exists() else store}"
            raise ValueError(f"store: got {_experiment.what_is(store)}, expected a folder written by a run; {advice}")
        table = _dataset.open(store)
        if message := _present.unfinished(table):
            typer.echo(f"{store}: {message}", err=True)
        source, experiment = file or Path(table.attrs.get("file", "")), None
        if file or source.is_file():
            with blame(source):
                experiment = _experiment.load(source)
        elif source.name:
            typer.echo(f"{source} is gone: a plain map; try --file with its new place for its own figure", err=True)
    image = output or Path(f"{store}.png")
    with errors(source if experiment else store):
        with _progress.step("figure", terminal=sys.stderr.isatty()):
            drawn = _present.draw(experiment, table, image)
        _terminal.preview(table)
        if not drawn:
            raise typer.Exit(1)
    typer.echo(f"figure: {image}")


@app.command()
def phase(
    store: Annotated[Path, typer.Argument(help="Folder that a run has written, finished or not.")],
    metric: Annotated[str | None, typer.Option(help="What was measured; risk, or the first, if not given.")] = None,
    level: Annotated[float, typer.Option(help="Where the boundary lies, between 0 and 1.")] = 0.5,
    as_json: Json = False,
) -> None:
    """Prints the map of a run here, and the points of its boundary with their intervals.

    The quantity is a mean over lineages at the last generation. It needs neither the experiment's file nor matplotlib.
    """
    from jaxcollapse import _present, _status, _terminal
    from jaxcollapse._dataset import dataset

    with errors(store), blame(store):
        if not 0 < level < 1:
            raise ValueError(f"--level: got {level:g}, expected a number between 0 and 1; try --level 0.5")
        table = dataset(_status.opened(store))
        found, chosen = _terminal.measured(table, metric)
    if message := _present.unfinished(table):
        typer.echo(f"{store}: {message}", err=True)
    with errors(store):
        if as_json:
            points = _terminal.boundary(found, chosen, level)
            typer.echo(json.dumps({"store": str(store), "metric": chosen.name, "level": level, "boundary": points}))
        else:
            _terminal.show(found, chosen, level)


@app.command()
def report(
    store: Annotated[Path, typer.Argument(help="Folder that a run has written, finished or not.")],
    output: Annotated[Path | None, typer.Option(help="HTML file; STORE.html if not given.")] = None,
    file: Annotated[Path | None, typer.Option(help="Experiment file; the one that was run if not given.")] = None,
    level: Annotated[float, typer.Option(help="Where the boundary of a relative risk lies, between 0 and 1.")] = 0.5,
) -> None:
    """Writes one page to explore and to share: the map, each cell's history against theory, the boundary, provenance.

    It opens in a browser without a network and asks for nothing.
    """
    with errors(file or store), blame(store):
        from jaxcollapse import report

        page = report.write(store, output or Path(f"{store}.html"), file=file, level=level)
    typer.echo(f"report: {page}")


@app.command()
def status(
    store: Annotated[Path, typer.Argument(help="Folder that a run has written, or is writing.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it, and name what is damaged.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Verify, and compute again what is damaged.")] = False,
    as_json: Json = False,
) -> None:
    """Says what a store holds, by which runs, and whether one is writing to it now.

    With --verify the exit code is 1 where a chunk is damaged: lost, cut short, or with a bit flipped.

    With --repair what is damaged is computed again by the experiment's file, if that computes what it did, and the
    store holds what it held, bit for bit.
    """
    from jaxcollapse import _status

    with errors(store), blame(store):
        table = _status.opened(store)
    with errors(store):
        found, left = _verify(table, store, repair, quiet=as_json) if verify or repair else ([], [])
        report = _status.status(table, known=left) | {"damage": found, "repaired": bool(found) and not left}
        typer.echo(json.dumps(report) if as_json else _status.lines(report))
    raise typer.Exit(int(bool(left)))


def _verify(table: "Table", store: Path, repair: bool, quiet: bool) -> tuple[list[dict[str, Any]], ...]:
    """What is damaged, and what of it is left."""
    from jaxcollapse import _progress, _repair

    follow = functools.partial(_progress.track, name="verify", terminal=sys.stderr.isatty())
    found = _repair.damaged(table, follow)
    for damage in found if not quiet else []:
        typer.echo(f"damaged: {damage}")
    left = found
    if found and repair:
        steps = _repair.repair(store, found, command=_command())
        for _ in _progress.follow(steps, terminal=sys.stderr.isatty()):
            pass
        left = _repair.damaged(table, follow)
        typer.echo(f"{store}: repaired {len(found) - len(left)} of {len(found)} chunks", err=True)
    return [damage.plain() for damage in found], [damage.plain() for damage in left]


@app.command()
def export(
    store: Annotated[Path, typer.Argument(help="Folder that a run has written, finished or not.")],
    output: Annotated[Path, typer.Argument(help="NAME.nc, NAME.csv or NAME.parquet.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUTPUT.")] = False,
) -> None:
    """Writes a run as one file: netCDF, or a long table as CSV or Parquet, one row an element.

    Whole numbers and flags of an unfinished run become floats, and NaN where `done` is false.
    """
    from jaxcollapse import _export, _progress, _status

    with errors(store), blame(store):
        _export.check(output, force)
        _status.opened(store)
    with errors(store), _progress.step("export", terminal=sys.stderr.isatty()):
        _export.export(store, output, force=force)
    typer.echo(f"data: {output}")


@app.command()
def theory(
    a: Annotated[float, typer.Option(help="Decay of the mixture weight.")],
    b: Annotated[float, typer.Option(help="Growth of the sample size.")],
    a0: Annotated[float, typer.Option(help="Scale of the mixture weight.")] = 0.5,
    n0: Annotated[float, typer.Option(help="Scale of the sample size.")] = 20.0,
    generations: Annotated[int, typer.Option(help="Horizon of the exact risk, at least 1.")] = 300,
    as_json: Json = False,
) -> None:
    """What becomes of α_t = min(1, a₀ t^−a) and n_t = round(n₀ t^b): regime, limit and rate as t → ∞, and the exact
    relative risk r at a finite horizon, where the asymptotic law may not have set in yet.
    """
    from jaxcollapse import _present

    with errors(Path("theory")), blame(Path("theory")):
        _present.check_theory(a, b, a0, n0, generations)
        import jax

        from jaxcollapse import theory
        from jaxcollapse._schedule import PowerLaw

        alpha, n = PowerLaw(a0, exponent=-a, cap=1), PowerLaw(n0, exponent=b)
        with jax.enable_x64(True):
            phase = theory.phase(alpha, n)
            exact = float(theory.risk(alpha, n, generations)[-1])
            rest = float(theory.diversity(alpha, n, generations)[-1])
    report = _present.horizon(phase, generations, exact, rest)
    typer.echo(json.dumps(report) if as_json else _present.theory_lines(report))


@app.command()
def doctor() -> None:
    """Checks versions, devices, a known miscompilation, and a small run against its exact risk."""
    from jaxcollapse import _doctor

    failed = False
    with errors(Path("doctor")):
        for name, good, text in _doctor.checks():
            typer.echo(f"{'' if good is None else 'ok' if good else 'FAIL':<4}  {name:<14}{text}")
            failed |= good is False
    raise typer.Exit(int(failed))


def _prepare(
    file: Path, axes: list[str], settings: list[str], seed: int, **asked: Any
) -> tuple["Experiment", "Plan"]:
    from jaxcollapse import _experiment

    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed: got {seed}, expected a whole number from 0 to {2**32 - 1}; try --seed 0")
    for name in ("chunk", "repeats"):
        if asked[name] is not None and asked[name] < 1:
            raise ValueError(f"--{name}: got {asked[name]}, expected a whole number of at least 1; try --{name} 1")
    replaced, bound = _experiment.parse_axes(axes), _experiment.parse_settings(settings)
    experiment = _experiment.customise(_experiment.load(file), replaced, bound)
    import jax

    from jaxcollapse._plan import plan

    return experiment, plan(experiment.function, experiment.axes, key=jax.random.key(seed), **asked)


def _command() -> str:
    return shlex.join(["jaxcollapse", *sys.argv[1:]])


def _carry_out(plan: "Plan", file: Path, choice: "Choice") -> "xr.Dataset":
    from jaxcollapse import _experiment, _present, _progress, _sweep

    about: dict[str, Any] = {
        "file": str(file.absolute()),
        "command": _command(),
        **_experiment.revision(file),
    }
    with errors(file), ExitStack() as stack:
        with blame(file):
            executor, tasks = stack.enter_context(choice)
        stages = _sweep.stages(plan, executor, tasks, **about)
        steps = _progress.follow(stages, terminal=sys.stderr.isatty())
        with blame(file):
            next(steps)
            stage = next(steps)  # traces the experiment, then begins or finds the store
        with errors(file, lambda: f"{stage.done} of {stage.total} chunks are kept in {plan.store}."):
            for stage in steps:  # noqa: B007
                pass
    assert stage.table is not None
    for message in (_sweep.invalid(stage.table), _present.correlated(plan)):
        if message:
            typer.echo(f"{file}: {message}", err=True)
    return stage.table
