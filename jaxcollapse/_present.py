"""What the command line says: of a run before it, after it and in a figure, and of theory."""

import io
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

if TYPE_CHECKING:
    import xarray as xr

    from jaxcollapse._experiment import Experiment
    from jaxcollapse._plan import Plan
    from jaxcollapse.theory import Phase


def grid(plan: "Plan") -> str:
    """The axes and how the work is shared."""
    axes = {name: len(values) for name, values in plan.axes.items()}
    axes |= {"repeat": plan.repeats} if plan.repeats > 1 else {}
    product = " × ".join(f"{size} {name}" for name, size in axes.items())
    part = f", part {plan.shard[0]} of {plan.shard[1]}" if plan.shard[1] > 1 else ""
    common = ", common random numbers" * plan.common_random_numbers
    return f"{plan.points} points = {product}{common}{part}"


def correlated(plan: "Plan") -> str | None:
    """What must not be read off a map whose points share their random numbers; None for any other."""
    if not plan.common_random_numbers:
        return None
    return (
        "common random numbers: points are correlated. The s.e. of one point and a bound on the worst |z| hold; how "
        "many points or slices agree with theory is no count of independent events, and boundary intervals that end "
        "between grid points are too narrow, by at most √2"
    )


def planned(plan: "Plan") -> dict[str, Any]:
    """What a dry run reports. It traces and compiles the experiment: the memory is measured, and mistakes are found."""
    from jaxcollapse import _program, _store

    clock = [time.perf_counter()]
    program = _program.trace(plan)
    width = _program.width(plan, program)
    if plan.store is not None and _store.is_store(plan.store):
        width = _store.Table(plan.store, mode="r").block
    identity = _program.identify(plan, program)
    clock.append(time.perf_counter())
    with _store.begin(None, plan.columns, program.variables, width, identity) as (table, _):
        kernel = _program.compile(plan, program, table)
        _program.check_memory(kernel)
    clock.append(time.perf_counter())
    return _asked(plan) | {
        "chunks": -(-plan.points // width),
        "chunk": width,
        "repeats": plan.repeats,
        "variables": {
            n: {**dict(zip(v.dims, v.shape, strict=True)), "dtype": str(v.dtype)} for n, v in program.variables.items()
        },
        "seconds": dict(zip(("trace", "compile"), np.diff(clock).round(3).tolist(), strict=True)),
        "bytes": plan.points * program.bytes,
        "chunk_bytes": kernel.bytes,
        "peak_bytes": _program.peak(kernel),
    }


def finished(plan: "Plan", table: "xr.Dataset") -> dict[str, Any]:
    """What a run reports."""
    return _asked(plan) | {
        "done": int(table.done.sum()),
        "invalid": int((table.done & ~table.valid).sum()),
        "variables": {str(name): {**v.sizes, "dtype": str(v.dtype)} for name, v in table.data_vars.items()},
        "seconds": {step: table.attrs[f"{step}_seconds"] for step in ("trace", "compile", "run")},
    }


def _asked(plan: "Plan") -> dict[str, Any]:
    return {
        "points": plan.points,
        "axes": {name: values.tolist() for name, values in plan.axes.items()},
        "settings": json.loads(json.dumps(plan.settings, default=repr)),
        "store": str(plan.store),
        "common_random_numbers": plan.common_random_numbers,
    }


def unfinished(table: "xr.Dataset") -> str | None:
    """How much of a run is there; None if it is whole."""
    chunk, done = table.attrs["chunk"], int(table.done.sum())
    if done == table.done.size:
        return None
    return f"unfinished, {math.ceil(done / chunk)} of {math.ceil(table.done.size / chunk)} chunks"


def summary(experiment: "Experiment", table: "xr.Dataset") -> Any:
    """The experiment's own summary, or the names and sizes of its variables: text or something that rich can print."""
    if experiment.summary is not None:
        return experiment.summary(table)
    return "\n".join(f"{name}: {dict(variable.sizes)}" for name, variable in table.data_vars.items())


def as_text(renderable: Any) -> str:
    """As it would be printed, 100 columns wide."""
    from rich.console import Console

    if isinstance(renderable, str):
        return renderable
    console = Console(file=io.StringIO(), width=100)
    console.print(renderable)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def show(renderable: Any) -> None:
    """Prints text as it is, and anything else through rich."""
    from rich.console import Console

    if isinstance(renderable, str):
        typer.echo(renderable)
    else:
        Console().print(renderable)


def draw(experiment: "Experiment | None", table: "xr.Dataset", path: Path) -> bool:
    """Saves the experiment's figure, or a plain map; False, and one line why, where there is none or no matplotlib."""
    from jaxcollapse._picture import picture

    try:
        own = experiment.figure if experiment else None
        figure = (own or picture)(table)
        if figure is None:
            hint = f"{experiment.path if experiment else 'an experiment'} may define figure(run) -> a matplotlib figure"
            typer.echo(f"figure: not drawn; {hint}", err=True)
            return False
        _save(figure, path)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        typer.echo("figure: not drawn, matplotlib is missing; try pip install 'jaxcollapse[plot]'", err=True)
        return False
    return True


def _save(figure: Any, path: Path) -> None:
    from jaxcollapse._experiment import UsageError

    formats = figure.canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        endings = ", ".join(f".{name}" for name in formats)
        raise UsageError(f"{path}: output: got the ending {path.suffix!r}, expected one of {endings}; try .png")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{path}: output: got a path that cannot be written ({reason}); try another") from None


def check_theory(a: float, b: float, a0: float, n0: float, generations: int) -> None:
    """Finite, and 0 < n₀ t^b < 2⁵³ up to the horizon, in terms of the options."""
    for option, got, good, expected in (
        ("--a", a, a >= 0, "a finite number of at least 0; try --a 0.5"),
        ("--b", b, True, "a finite number; try --b 0.5"),
        ("--a0", a0, a0 > 0, "a finite number above 0; try --a0 0.5"),
        ("--n0", n0, 1 <= n0 < 2**53, "a number from 1 to below 2^53; try --n0 20"),
        ("--generations", generations, generations >= 1, "a whole number of at least 1; try --generations 300"),
    ):
        if not (math.isfinite(got) and good):
            raise ValueError(f"{option}: got {got:.17g}, expected {expected}")
    span = math.log(max(generations, 2))
    low, high = (-700 - math.log(n0)) / span, (53 * math.log(2) - math.log(n0)) / span
    if not low < b < high:
        where = f"where 0 < n0 t^b < 2^53 up to generation {generations}"
        raise ValueError(f"--b: got {b:.17g}, expected a number between {low:.4g} and {high:.4g}, {where}; try --b 0.5")


def horizon(phase: "Phase", generations: int, risk: float, diversity: float) -> dict[str, Any]:
    """What `theory` reports: the phase as t → ∞, and the exact r and 1 − r at the horizon beside the law's value."""
    known = {name: None if value != value else value for name, value in phase._asdict().items()}  # NaN is no JSON
    power = phase.law == "prefactor * t^-rate" and known["prefactor"] is not None
    return known | {
        "text": phase.text,
        "generations": generations,
        "risk": risk,
        "diversity": diversity,
        "law_value": phase.prefactor * generations**-phase.rate if power else None,
    }


def theory_lines(report: dict[str, Any]) -> str:
    """The same for people, in two lines."""
    exact = f"exact r = {report['risk']:.6g}, exact 1 − r = {report['diversity']:.6g}"
    law = "the law of t → ∞ may not have set in yet"
    if report["law_value"] is not None:
        law = f"the law gives {report['quantity']} = {report['law_value']:.6g}, if it has set in"
        if report["quantity"] == "|r - limit|":
            exact += f", exact |r - limit| = {abs(report['risk'] - report['limit']):.6g}"
    return f"as t → ∞:  {report['text']}\nat t = {report['generations']}:  {exact}; {law}"
