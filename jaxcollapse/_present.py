"""What the command line says of a run: before it, after it, and in a figure."""

import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import xarray as xr

    from jaxcollapse._experiment import Experiment
    from jaxcollapse._plan import Plan


def grid(plan: "Plan") -> str:
    """The axes and how they are cut."""
    axes = {name: len(values) for name, values in plan.axes.items()}
    axes |= {"repeat": plan.repeats} if plan.repeats > 1 else {}
    product = " × ".join(f"{size} {name}" for name, size in axes.items())
    return f"{plan.points} points = {product}, in {plan.blocks} chunks of {plan.chunk}"


def planned(plan: "Plan") -> dict[str, Any]:
    """What a dry run reports. It traces the experiment, which finds most mistakes in it."""
    from jaxcollapse._sweep import trace

    _, variables = trace(plan, plan.columns())
    size = sum(v.dtype.itemsize * math.prod(v.shape) for v in variables.values())
    return {
        "points": plan.points,
        "chunks": plan.blocks,
        "chunk": plan.chunk,
        "axes": {name: values.tolist() for name, values in plan.axes.items()},
        "repeats": plan.repeats,
        "settings": json.loads(json.dumps(plan.settings, default=repr)),
        "variables": {
            n: {**dict(zip(v.dims, v.shape, strict=True)), "dtype": str(v.dtype)} for n, v in variables.items()
        },
        "bytes": plan.points * size,
        "store": str(plan.store),
    }


def finished(table: "xr.Dataset", store: Path) -> dict[str, Any]:
    """What a run reports."""
    return {
        "points": table.valid.size,
        "invalid": int((~table.valid).sum()),
        "variables": {str(name): {**v.sizes, "dtype": str(v.dtype)} for name, v in table.data_vars.items()},
        "seconds": {step: table.attrs[f"{step}_seconds"] for step in ("trace", "compile", "run")},
        "store": str(store),
    }


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


def draw(experiment: "Experiment", table: "xr.Dataset", path: Path) -> bool:
    """Saves the experiment's figure; False, and one line that says what to install, where matplotlib is missing."""
    if experiment.figure is None:
        return False
    try:
        experiment.figure(table).savefig(path, dpi=150)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        typer.echo("figure: not drawn, matplotlib is missing; try pip install 'jaxcollapse[plot]'", err=True)
        return False
    return True
