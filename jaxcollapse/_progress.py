"""Where a long command is: a bar on a terminal, elsewhere a log line a minute."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxcollapse._sweep import Stage

log = logging.getLogger("jaxcollapse")
EVERY = 60.0  # seconds between two lines of the log
COUNTED = ("run", "verify")  # stages that know how much there is to do


def follow(stages: Iterator["Stage"], *, terminal: bool) -> Iterator["Stage"]:
    """Passes the stages on and shows them on standard error."""
    return _bar(stages) if terminal else _lines(stages)


def track(blocks: Sequence[int], name: str, *, terminal: bool) -> Iterator[int]:
    """Passes blocks on and shows how many have been looked at."""
    from jaxcollapse._sweep import Stage

    stages = (Stage(name, done, len(blocks)) for done in range(len(blocks)))
    yield from (blocks[stage.done] for stage in follow(stages, terminal=terminal))


@contextmanager
def step(name: str, *, terminal: bool) -> Iterator[None]:
    """Names a stage that has no parts while it lasts, on a terminal with the time that it has taken."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    if not terminal:
        log.info(name)
        yield
        return
    columns = TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        progress.add_task(name, total=None)
        yield


def _bar(stages: Iterator["Stage"]) -> Iterator["Stage"]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, clock = progress.add_task("check", total=None), _Clock()
        for stage in stages:
            total = stage.total if stage.name in COUNTED else None
            progress.update(task, description=clock.text(stage), completed=stage.done, total=total)
            yield stage


def _lines(stages: Iterator["Stage"]) -> Iterator["Stage"]:
    name, said, clock = "", 0.0, _Clock()
    for stage in stages:
        text = clock.text(stage)
        if stage.name != name or time.monotonic() - said >= EVERY:
            name, said = stage.name, time.monotonic()
            log.info(text)
        yield stage


class _Clock:
    """Says where a sweep is, how fast it runs and how long it will take, from the blocks that this run has done."""

    def __init__(self):
        self._start: tuple[int, float] | None = None

    def text(self, stage: "Stage") -> str:
        if stage.name not in COUNTED:
            return stage.name
        now = time.monotonic()
        first, since = self._start = self._start or (stage.done, now)
        text = f"{stage.name} chunk {stage.done}/{stage.total}"
        if stage.done == first:
            return text
        rate = (stage.done - first) / max(now - since, 1e-9)
        left = timedelta(seconds=round((stage.total - stage.done) / rate))
        speed = f"{rate:.2g}/s" if rate >= 1 else f"{60 * rate:.2g}/min"
        return f"{text}, {speed}, {left} left"
