"""An experiment file: `AXES` and `experiment`, and where it sums up or draws, `summary(run)` and `figure(run)`.

    --axis NAME=START:STOP:NUM           evenly spaced, both ends included
    --axis NAME=START:STOP:NUM:log       evenly spaced in the logarithm
    --axis NAME=v1,v2,…                  a list
    --set NAME=VALUE                     a keyword of the experiment, as a Python literal

Every complaint is one line, `file: key: message`. JAX is not imported here, but the file's own imports are run.
"""

import ast
import functools
import importlib.util
import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

AXIS_FORMS = "NAME=START:STOP:NUM, NAME=START:STOP:NUM:log or NAME=v1,v2,…"


class UsageError(ValueError):
    """What the user asked for cannot be done; nothing has been computed."""


class Experiment(NamedTuple):
    """What a file defines."""

    path: Path
    axes: Mapping[str, Any]
    function: Callable[..., Any]
    summary: Callable[..., Any] | None
    figure: Callable[..., Any] | None


def load(path: Path) -> Experiment:
    """Runs the file and takes what it defines; `UsageError` where that is no experiment."""
    found = module(path)
    function, axes = getattr(found, "experiment", None), getattr(found, "AXES", {})
    if not callable(function):
        raise UsageError(f"{path}: experiment: not defined, expected a function (axis, ..., *, key) -> dict")
    if not isinstance(axes, Mapping):
        raise UsageError(f"{path}: AXES: got {type(axes).__name__}, expected a dict of a list of values for each name")
    return Experiment(path, axes, function, getattr(found, "summary", None), getattr(found, "figure", None))


def customise(experiment: Experiment, axes: Mapping[str, Any], settings: Mapping[str, Any]) -> Experiment:
    """The experiment with some axes replaced or added, and keywords bound that are no axes."""
    experiment = experiment._replace(axes={**experiment.axes, **axes})
    parameters = inspect.signature(experiment.function).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [name for name in parameters if name not in ("key", *experiment.axes)]
    for name, value in settings.items():
        if name in experiment.axes:
            raise UsageError(f"{experiment.path}: {name}: got --set for an axis; try --axis {name}={value}")
        if name not in known and not free:
            names = ", ".join(known) or "none"
            raise UsageError(f"{experiment.path}: {name}: got --set for an unknown keyword, expected among: {names}")
    return experiment._replace(function=functools.partial(experiment.function, **settings))


def parse_axes(specs: Sequence[str]) -> dict[str, np.ndarray]:
    """What `--axis` says; `ValueError` where that cannot be understood."""
    return _unique("--axis", [_axis(spec) for spec in specs])


def parse_settings(specs: Sequence[str]) -> dict[str, Any]:
    """What `--set` says; `ValueError` where that cannot be understood."""
    return _unique("--set", [_setting(spec) for spec in specs])


def revision(file: Path) -> dict[str, str]:
    """The commit that the file belongs to, if there is one."""
    command = ["git", "-C", str(file.absolute().parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"revision": described.stdout.strip()}


def what_is(path: Path) -> str:
    """A path in words, where it is not what was expected."""
    return f"{path}, which is " + ("a directory" if path.is_dir() else "a file" if path.exists() else "not there")


def _unique(option: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{option} {twice[0]}: got it {len(twice)} times, expected once")
    return dict(pairs)


def _axis(spec: str) -> tuple[str, np.ndarray]:
    name, given, text = spec.partition("=")
    if not name.isidentifier() or not given or not text.strip():
        raise _wrong(spec, "no name" if not name.isidentifier() else "no values", "a name, = and values")
    if ":" not in text:
        return name, np.array([_number(spec, word) for word in text.split(",")])
    start, stop, count, *scale = (*text.split(":"), "")[: max(text.count(":") + 1, 3)]
    if scale not in ([], ["log"]):
        raise _wrong(spec, f"{':'.join(scale)!r} after NUM", "log or nothing")
    if not count.isdecimal() or int(count) < 1:
        raise _wrong(spec, f"{count!r} for NUM" if count else "no NUM", "a whole number of at least 1")
    ends = [float(_number(spec, end)) for end in (start, stop)]
    for end in ends:
        if not np.isfinite(end):
            raise _wrong(spec, f"the end {end:g}", "two finite ends")
        if scale and end <= 0:
            raise _wrong(spec, f"the end {end:g}", "two positive ends for log")
    return name, (np.geomspace if scale else np.linspace)(ends[0], ends[1], int(count))


def _number(spec: str, word: str) -> float | int | bool:
    try:
        value = ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, MemoryError):
        value = {"inf": math.inf, "-inf": -math.inf}.get(word.strip())
    if not isinstance(value, float | int):
        raise _wrong(spec, f"{word!r} for a number", "numbers")
    return value


def _wrong(spec: str, got: str, expected: str) -> ValueError:
    return ValueError(f"--axis: got {spec} with {got}, expected {expected}; try {AXIS_FORMS}")


def _setting(spec: str) -> tuple[str, Any]:
    name, _, text = spec.partition("=")
    try:
        if name.isidentifier():
            return name, ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError):
        pass
    raise ValueError(
        f"--set: got {spec}, expected NAME=VALUE with a number, True, None or a quoted text; try --set \"x='y'\""
    )


def module(path: Path) -> ModuleType:
    """Runs the file; `UsageError` where there is none, or it is no Python."""
    if not path.is_file():
        expected = "a Python file that defines `experiment` and `AXES`"
        raise UsageError(f"{path}: file: got {what_is(path)}, expected {expected}; try experiments/phase_boundary.py")
    name = f"_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: file: got {path.name}, expected a Python file; try a name that ends in .py")
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    # Last, so that a file's neighbours can be imported but hide nothing.
    sys.path.append(str(path.parent.absolute()))
    try:
        spec.loader.exec_module(made)
    except SyntaxError as error:
        raise UsageError(f"{error.filename or path}: line {error.lineno}: {error.msg}") from None
    return made
