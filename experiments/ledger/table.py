"""z and verdict of every row, and the ledger as a table for the terminal, as Markdown and as CSV.

    z = (ours − exact)/s.e.,   |z| ≤ isf(5·10⁻⁴/N, L − 1) for all N rows that have a z: one ledger in a thousand fails
    agree      ours is the exact value up to that, and what is published of it holds (> and < by more than chance)
    refuted    ours is the exact value, and what is published of it does not hold
    disagree   ours is not the exact value; or none is known, and what is published does not hold of ours
    not run    there is no finished run with the experiment's own settings

What is computed and not drawn has no z, and agrees to a thousandth. A published value is met within the digits that
were published.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from scipy import stats

from experiments.ledger.claims import Claim
from experiments.ledger.estimates import Estimate

VERDICTS = ("agree", "disagree", "refuted", "not run")
COMPUTED = 1e-3  # relative difference of what is computed, partly in single precision
FIELDS = ("source", "claim", "published", "exact", "ours", "se", "z", "bound", "verdict", "seconds", "file", "note")
COLUMNS = ("#", "source", "claim", "published", "exact", "ours ± s.e.", "z", "verdict", "s", "file")


class Row(NamedTuple):
    """A claim with what a run says of it; None: not run."""

    claim: Claim
    estimate: Estimate | None
    seconds: float = math.nan

    @property
    def z(self) -> float:
        e = self.estimate
        return math.nan if e is None or not e.se > 0 else (e.ours - e.exact) / e.se


def bounds(rows: Iterable[Row]) -> tuple[int, dict[int, float]]:
    """N, and the largest |z| that chance explains, by the number of lineages."""
    rows = [row for row in rows if row.estimate is not None]
    number = sum(math.isfinite(row.z) for row in rows)
    sizes = {row.estimate.lineages for row in rows if row.estimate and row.estimate.se > 0}
    return number, {size: float(stats.t.isf(5e-4 / max(number, 1), size - 1)) for size in sizes}


def verdict(row: Row, limits: dict[int, float]) -> str:
    c, e = row.claim, row.estimate
    if e is None:
        return "not run"
    chance, known = limits[e.lineages] * e.se if e.se > 0 else 0.0, math.isfinite(e.exact)
    if known and not abs(e.ours - e.exact) <= (chance or COMPUTED * abs(e.exact)):
        return "disagree"
    met = math.isnan(c.tested) or abs(e.ours - c.tested) <= c.within + chance
    if met and c.above < e.ours - chance and e.ours + chance < c.below:
        return "agree"
    return "refuted" if known else "disagree"


def explained(row: Row) -> bool:
    """Whether a row that disagrees does so with a published value alone, and says why."""
    return bool(row.claim.note) and row.estimate is not None and not math.isfinite(row.estimate.exact)


def published(claim: Claim) -> str:
    """The published value as text."""
    sides = [f"{sign} {x:.4g}" for x, sign in ((claim.above, ">"), (claim.below, "<")) if math.isfinite(x)]
    tested = f"{claim.tested:g}" if math.isfinite(claim.tested) else ""
    return ", ".join(filter(None, (claim.published or tested, *sides)))


def cells(number: int, row: Row, limits: dict[int, float]) -> list[str]:
    """The row as text, in the order of COLUMNS."""
    c, e = row.claim, row.estimate
    numbers = ["", "", ""]
    if e is not None:
        score = f"{row.z:+.2f}" if math.isfinite(row.z) else "–"
        numbers = [rounded(e.exact, e.se) if math.isfinite(e.exact) else "–", ours(e), score]
    seconds = f"{row.seconds:.0f}" if math.isfinite(row.seconds) else ""
    file = f"{c.experiment}.py"
    return [str(number), c.source, c.claim, published(c), *numbers, verdict(row, limits), seconds, file]


def ours(e: Estimate) -> str:
    return f"{rounded(e.ours, e.se)} ± {rounded(e.se, e.se)}" if e.se > 0 else f"{e.ours:.5g}"


def rounded(value: float, se: float) -> str:
    """To two figures of the standard error; five figures where there is none."""
    if not se > 0:
        return f"{value:.5g}"
    places = max(0, 1 - math.floor(math.log10(se)))
    if places <= 6:
        return f"{value:.{places}f}"
    return f"{value:.{max(0, math.floor(math.log10(abs(value) / se)) + 1) if value else 0}e}"


def counts(rows: Sequence[Row], limits: dict[int, float]) -> str:
    """The last line."""
    found = Counter(verdict(row, limits) for row in rows)
    return f"{len(rows)} rows: " + ", ".join(f"{found[name]} {name}" for name in VERDICTS)


def remarks(rows: Sequence[Row]) -> list[str]:
    """What is said below the table: the bound, and why rows are refuted or disagree."""
    number, limits = bounds(rows)
    lines, notes = [], {}
    if number:
        ends = " to ".join(dict.fromkeys(f"{x:.2f}" for x in (min(limits.values()), max(limits.values()))))
        worst = max(abs(row.z) for row in rows if math.isfinite(row.z))
        bound = f"bound isf(5e-4/{number}, L − 1) = {ends} by the number of lineages L"
        lines = [f"{number} rows have a z: worst |z| {worst:.2f}; {bound}"]
    for i, row in enumerate(rows, 1):
        if verdict(row, limits) in ("disagree", "refuted"):
            notes.setdefault(row.claim.note or "no explanation", []).append(str(i))
    return lines + [f"{', '.join(numbers)}: {note}" for note, numbers in notes.items()]


def terminal(rows: Sequence[Row], width: int):
    """For a terminal; below 130 characters published value and file go to the claim."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    limits, wide = bounds(rows)[1], width >= 130
    names = [name for name in COLUMNS if name != "source" and (wide or name not in ("published", "s", "file"))]
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        folds = name in ("claim", "published")
        justify = "left" if folds or name in ("verdict", "file") else "right"
        table.add_column(name, justify=justify, no_wrap=not folds, max_width=20 if name == "published" else None)
    for i, row in enumerate(rows, 1):
        line: dict[str, str] = dict(zip(COLUMNS, cells(i, row, limits), strict=True))
        if i == 1 or row.claim.source != rows[i - 2].claim.source:
            table.add_section()
            table.add_row("", Text(line["source"], style="bold"))
        if not wide:
            line["claim"] += f" [{', '.join(filter(None, (line['published'], line['file'])))}]"
        table.add_row(*(Text(line[name]) for name in names))
    return table


def markdown(rows: Sequence[Row]) -> str:
    limits, lines = bounds(rows)[1], []
    for line in (COLUMNS, ["---"] * len(COLUMNS), *(cells(i, row, limits) for i, row in enumerate(rows, 1))):
        lines.append("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |")
    return "\n".join(lines)


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """All numbers unrounded; an empty field where there is none."""
    limits = bounds(rows)[1]
    plain = lambda x: x if math.isfinite(x) else ""
    with file.open("w", newline="", encoding="utf-8") as out:
        write = csv.writer(out).writerow
        write(FIELDS)
        for row in rows:
            e = row.estimate or Estimate(math.nan)
            numbers = [plain(x) for x in (e.exact, e.ours, e.se, row.z, limits.get(e.lineages, math.nan))]
            where = plain(row.seconds), f"experiments/{row.claim.experiment}.py", row.claim.note
            write([row.claim.source, row.claim.claim, published(row.claim), *numbers, verdict(row, limits), *where])
