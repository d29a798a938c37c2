"""Where a long command is: a bar on a terminal, elsewhere a log line a minute."""

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxcollapse._sweep import Stage

log = logging.getLogger("jaxcollapse")
EVERY = 60.0  # seconds between two lines of the log


def follow(stages: Iterator["Stage"], *, terminal: bool) -> Iterator["Stage"]:
    """Passes the stages on and shows them on standard error."""
    return _bar(stages) if terminal else _lines(stages)


def _bar(stages: Iterator["Stage"]) -> Iterator["Stage"]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("check", total=None)
        for stage in stages:
            counting = stage.name == "run"
            progress.update(
                task, description=_text(stage), completed=stage.done, total=stage.total if counting else None
            )
            yield stage


def _lines(stages: Iterator["Stage"]) -> Iterator["Stage"]:
    name, said = "", 0.0
    for stage in stages:
        if stage.name != name or time.monotonic() - said >= EVERY:
            name, said = stage.name, time.monotonic()
            log.info(_text(stage))
        yield stage


def _text(stage: "Stage") -> str:
    return f"run chunk {stage.done}/{stage.total}" if stage.name == "run" else stage.name
