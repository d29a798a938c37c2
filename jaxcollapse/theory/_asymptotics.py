"""Schedules as t → ∞, and the constants of the asymptotic laws that depend on the whole history.

    α_t = min(cap, scale · t^−power · rate^t),   n_t = max(1, round(scale · t^power · rate^t))
    ln x_T = ln Σ_s add_s Π_{u=s+1..T} φ_u,      x = r with add = 1/n, or x = 1 − r with add = (1 − 1/n) α(2 − α)

The sum is exact for t ≤ 10⁵; beyond, φ = exp(−∫(1/n + 2α) dt) over cells that grow by 1 %, with their integrals in
closed form, up to t = 10³⁰⁰ and one last cell to ∞ where those converge. On the host, in float64.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike
from scipy.special import logsumexp

from jaxcollapse._schedule import Constant, Exponential, PowerLaw, Schedule

EXACT = 100_000  # generations summed one by one
CELLS = np.exp(np.arange(np.log(EXACT + 0.5), np.log(1e300), 0.01))


class Form(NamedTuple):
    """scale · t^power · rate^t, limited by cap; `settled` if it is constant from the start."""

    scale: float
    power: float = 0.0
    rate: float = 1.0
    cap: float = np.inf
    settled: bool = True

    def __call__(self, t):
        return np.minimum(self.scale * np.maximum(t, 1.0) ** self.power * self.rate**t, self.cap)

    def integral(self, start, stop, sign):
        """∫ form^sign dt between two times (arrays), for sign = ±1 and one of power and rate."""
        scale, power, log_rate = self.scale**sign, sign * self.power, sign * np.log(self.rate)
        if log_rate:
            return scale * (np.exp(log_rate * stop) - np.exp(log_rate * start)) / log_rate
        if power == -1:
            return scale * np.log(stop / start)
        return scale * (stop ** (power + 1) - start ** (power + 1)) / (power + 1)


def form(name: str, schedule: Schedule) -> Form:
    """A schedule whose t → ∞ is known; `ValueError` for the others."""
    if isinstance(schedule, Constant):
        return Form(_number(schedule.value))
    if isinstance(schedule, PowerLaw):
        cap = np.inf if schedule.cap is None else _number(schedule.cap)
        return _settle(Form(_number(schedule.scale), power=_number(schedule.exponent), cap=cap))
    if isinstance(schedule, Exponential):
        return _settle(Form(_number(schedule.scale), rate=_number(schedule.rate)))
    raise ValueError(
        f"{name}: got {schedule!r}, expected Constant, PowerLaw or Exponential, whose t → ∞ is known; "
        "try theory.risk for any other schedule at finite t"
    )


def _settle(law: Form) -> Form:
    """A zero, flat or capped growing law is a constant in the long run."""
    if law.scale == 0 or (law.power == 0 and law.rate == 1):
        return Form(min(law.scale, law.cap))
    if law.power > 0 and np.isfinite(law.cap):
        return Form(law.cap, settled=False)
    return law


def _number(x: ArrayLike) -> float:
    return float(np.asarray(x))


def log_limit(alpha: Form, n: Form, rounded: bool, diversity: bool, steps: int | None = None) -> tuple[float, float]:
    """(ln x_T, T) for x = r, or x = 1 − r; T = `steps`, or as large as it gets (∞ if both integrals converge)."""
    t = np.arange((EXACT if steps is None else steps) + 1.0)
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        size = np.maximum(np.rint(n(t)) if rounded else n(t), 1.0)
        weight = np.where(t == 0, 1.0, alpha(t))
        keep = np.log1p(-1 / size) + 2 * np.log1p(-weight)
        add = np.log1p(-1 / size) + np.log(weight * (2 - weight)) if diversity else -np.log(size)
        end = float(t[-1])
        if steps is None:
            end, later_keep, later_add = _cells(alpha, n, diversity)
            keep, add = np.append(keep, later_keep), np.append(add, later_add)
        after = np.append(np.cumsum(keep[:0:-1])[::-1], 0.0)
        return _number(logsumexp(np.where(np.isnan(add), -np.inf, add) + after)), end


def _cells(alpha: Form, n: Form, diversity: bool):
    summable = (alpha.power < -1 or alpha.rate < 1 or alpha.scale == 0) and (n.power > 1 or n.rate > 1)
    edges = np.append(CELLS, np.inf) if summable else CELLS
    inverse = n.integral(edges[:-1], edges[1:], -1)
    double = 2 * alpha.integral(edges[:-1], edges[1:], 1) if alpha.scale else np.zeros_like(inverse)
    total = inverse + double
    share = (double if diversity else inverse) / np.where(total > 0, total, 1.0)
    return float(edges[-1]), -total, np.log(share) + np.log(-np.expm1(-total))
