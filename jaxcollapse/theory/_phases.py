"""What happens as t → ∞: the phase of power-law, exponential and mixed schedules in closed form.

    α_t = a_0 t^−a,  n_t = n_0 t^b
    recovery   (a < 1, b > a) or (a = 1, b > 1)        r → 0
    plateau    a = b ≤ 1                               r → 1/(1 + 2 n_0 a_0); a = b = 0: 1/(1 + (n − 1) α(2 − α))
    frozen     a > 1, b > 1                            r → a limit in (0, 1) that depends on the whole history
    collapse   b ≤ 1, b < a                            r → 1; C1 a ≤ 1, C2 1 < a ≤ 1 + b, C3 a > 1 + b

n_t α_t decides whether, Σ α_t how fast memory is lost. All follow from r_t = (1 − φ_t) q_t + φ_t r_{t−1}: r → lim q if
Σ(1 − φ_t) = ∞, else r freezes. C1: dominant tokens change for ever (Σ α = ∞); C2: one token wins, immigrants never
cease; C3: absorbed for ever (Σ n α < ∞).
"""

from typing import NamedTuple

import numpy as np

from jaxcollapse._schedule import Schedule, check
from jaxcollapse.theory._asymptotics import EXACT, Form, form, log_limit

POWER, POWER_LOG = "prefactor * t^-rate", "prefactor * t^-rate * ln(t)"
GEOMETRIC, GEOMETRIC_T = "prefactor * rate^t", "prefactor * t * rate^t"
PATHS = {
    "": "",
    "C1": ": the dominant token keeps changing for ever",
    "C2": ": one token wins almost surely, short-lived immigrants never cease",
    "C3": ": one token wins and is absorbed for ever",
}


class Phase(NamedTuple):
    """The asymptotic phase: `quantity` follows `law`, with its `rate` and `prefactor` (NaN where not known)."""

    name: str
    subphase: str
    limit: float
    quantity: str
    law: str
    rate: float
    prefactor: float

    @property
    def text(self) -> str:
        """One line for people."""
        law = self.law.replace("rate", f"{self.rate:.6g}")
        law = law.replace("prefactor", "C" if np.isnan(self.prefactor) else f"{self.prefactor:.6g}")
        start = f"{self.name} {self.subphase}".strip()
        return f"{start}: r -> {self.limit:.6g}, {self.quantity} ~ {law}{PATHS[self.subphase]}"


def phase(alpha: Schedule, n: Schedule, *, rounded: bool = True) -> Phase:
    """The phase of a run with `Replace`, its limit, rate and prefactor as t → ∞.

    Constant, PowerLaw and Exponential with concrete parameters, in any combination; laws are to leading order. Frozen
    limits and the prefactors of laws limited by memory depend on every generation: they are computed by converging the
    recursion, with n_t rounded as the loop does unless `rounded=False`. A sample size that shrinks ends at one draw.
    Errors: `ValueError` for schedules out of range, or whose t → ∞ is not known (Piecewise, other callables).
    """
    weight, size = form("alpha", alpha), form("n", n)
    check(alpha, n, 2)
    if weight.power > 0 or weight.rate > 1:
        raise ValueError(f"alpha: got {alpha!r}, which leaves [0, 1] as it grows, expected a mixture weight; try cap=1")
    if size.power == 0 and size.rate == 1:
        size = size._replace(scale=float(np.rint(size.scale)) if rounded else size.scale)
    if size.power < 0 or size.rate < 1 or (size.power, size.rate, size.scale) == (0, 1, 1):
        return _collapse(weight, Form(1.0), "0", np.nan, 0.0)  # one draw has no diversity, from then on
    if weight.scale == 0 or weight.rate < 1:
        return _vanishing(weight, size, rounded)
    if weight.power == 0:
        return _steady(weight, size, rounded)
    return _outgrown(weight, size, rounded) if size.rate > 1 else _power_laws(weight, size, rounded)


def _steady(weight: Form, size: Form, rounded: bool) -> Phase:
    """Constant α > 0."""
    a, n = weight.scale, size.scale
    if size.power == 0 and size.rate == 1:
        limit, phi = 1 / (1 + (n - 1) * a * (2 - a)), (1 - 1 / n) * (1 - a) ** 2
        start = abs(1 / n - limit) if weight.settled and size.settled else np.nan
        return Phase("plateau", "", limit, "|r - limit|", GEOMETRIC, phi, start)
    if size.rate == 1:
        return _recovery(POWER, size.power, 1 / (n * a * (2 - a)))
    g, memory = size.rate, (1 - a) ** 2
    if _same(g * memory, 1):
        return _recovery(GEOMETRIC_T, memory, 1 / n)
    if g * memory < 1:
        return _recovery(GEOMETRIC, 1 / g, 1 / (n * (1 - memory * g)))
    return _recovery(GEOMETRIC, memory, _constant(weight, size, rounded, False, lambda t: -t * np.log(memory), EXACT))


def _power_laws(weight: Form, size: Form, rounded: bool) -> Phase:
    """α_t = a_0 t^−a, a > 0, and n_t = n_0 t^b, b ≥ 0."""
    a0, a, n0, b = weight.scale, -weight.power, size.scale, size.power
    critical, diagonal = _same(a, 1), _same(a, b)
    linear = _same(b, 1)
    if diagonal and (b < 1 or linear):
        level = 1 / (1 + 2 * n0 * a0)
        if critical:
            return Phase("plateau", "", level, "|r - limit|", POWER, min(1.0, 2 * a0 + 1 / n0), np.nan)
        approach = level**2 * a0 * (2 + n0 * a0)
        return Phase("plateau", "", level, "|r - limit|", POWER, a, approach)
    if critical and b > 1:
        return _critical_recovery(weight, size, rounded)
    if a < 1 and b > a:
        return _recovery(POWER, b - a, 1 / (2 * a0 * n0))
    if a > 1 and b > 1 and not linear:
        return _frozen(weight, size, rounded)
    if not linear:
        return _collapse(weight, size, POWER, a - b, 2 * (n0 - (b == 0)) * a0)
    if _same(a - 1, 1 / n0):
        return _collapse(weight, size, POWER_LOG, a - 1, 2 * a0)
    if a - 1 < 1 / n0:
        return _collapse(weight, size, POWER, a - 1, 2 * a0 / (1 / n0 - (a - 1)))
    return _collapse(weight, size, POWER, 1 / n0, _constant(weight, size, rounded, True, lambda t: np.log(t) / n0))


def _critical_recovery(weight: Form, size: Form, rounded: bool) -> Phase:
    """a = 1, b > 1: memory is lost as t^−2a_0, new noise is t^−(b−1)."""
    a0, n0, b = weight.scale, size.scale, size.power
    if _same(2 * a0, b - 1):
        return _recovery(POWER_LOG, 2 * a0, 1 / n0)
    if 2 * a0 > b - 1:
        return _recovery(POWER, b - 1, 1 / (n0 * (2 * a0 + 1 - b)))
    return _recovery(POWER, 2 * a0, _constant(weight, size, rounded, False, lambda t: 2 * a0 * np.log(t)))


def _outgrown(weight: Form, size: Form, rounded: bool) -> Phase:
    """α_t = a_0 t^−a, a > 0, and exponentially growing n: only memory counts."""
    a0, a = weight.scale, -weight.power
    if _same(a, 1):
        return _recovery(POWER, 2 * a0, _constant(weight, size, rounded, False, lambda t: 2 * a0 * np.log(t)))
    if a < 1:
        return _recovery(f"exp(-rate * t^{1 - a:.6g})", 2 * a0 / (1 - a), np.nan)
    return _frozen(weight, size, rounded)


def _vanishing(weight: Form, size: Form, rounded: bool) -> Phase:
    """α = 0 or exponentially decaying."""
    a0, rho, n0, b = weight.scale, weight.rate if weight.scale else 0.0, size.scale, size.power
    if size.rate > 1 or (b > 1 and not _same(b, 1)):
        return _frozen(weight, size, rounded)
    if _same(b, 1):
        return _collapse(weight, size, POWER, 1 / n0, _constant(weight, size, rounded, True, lambda t: np.log(t) / n0))
    if b > 0:
        return _collapse(weight, size, f"exp(-rate * t^{1 - b:.6g})", 1 / (n0 * (1 - b)), np.nan)
    drift = 1 - 1 / n0
    if _same(rho, drift):
        return _collapse(weight, size, GEOMETRIC_T, drift, 2 * a0 * drift)
    if rho > drift:
        return _collapse(weight, size, GEOMETRIC, rho, 2 * a0 * drift / (1 - drift / rho))
    constant = _constant(weight, size, rounded, True, lambda t: -t * np.log(drift), EXACT)
    return _collapse(weight, size, GEOMETRIC, drift, constant)


def _same(x, y) -> bool:
    """Equal but for rounding, of single precision too: exponents come from grids."""
    return bool(np.isclose(x, y, rtol=1e-6, atol=1e-9))


def _recovery(law: str, rate, prefactor) -> Phase:
    return Phase("recovery", "", 0.0, "r", law, float(rate), float(prefactor))


def _collapse(weight: Form, size: Form, law: str, rate, prefactor) -> Phase:
    a = np.inf if weight.scale == 0 or weight.rate < 1 else -weight.power
    subphase = "C1" if a <= 1 + 1e-6 else "C2" if a <= 1 + size.power + 1e-6 else "C3"
    return Phase("collapse", subphase, 1.0, "1 - r", law, float(rate), float(prefactor))


def _frozen(weight: Form, size: Form, rounded: bool) -> Phase:
    """The limit of the converged recursion; the later noise and real data are what is still to come."""
    limit = float(np.exp(log_limit(weight, size, rounded, diversity=False)[0]))
    noise, real = _tail(size, -1), _tail(weight, 1)
    sources = [(*noise, 1 - limit), (*real, -2 * limit)]
    slowest = max((rate, power) for rate, power, *_ in sources)
    rate, power = slowest
    prefactor = abs(sum(c * share for r, p, c, share in sources if _same(r, rate) and _same(p, power)))
    law, value = (GEOMETRIC, rate) if rate < 1 else (POWER, -power)
    return Phase("frozen", "", limit, "|r - limit|", law, value, prefactor)


def _tail(law: Form, sign: int) -> tuple[float, float, float]:
    """(ratio, power, prefactor) of Σ_{s>t} law(s)^sign to leading order."""
    scale, power, rate = law.scale**sign if law.scale else 0.0, sign * law.power, law.rate**sign
    if scale == 0:
        return 0.0, -np.inf, 0.0
    if rate < 1:
        return rate, 0.0, scale * rate / (1 - rate)
    return 1.0, power + 1, -scale / (power + 1)


def _constant(weight: Form, size: Form, rounded: bool, diversity: bool, log_inverse_law, steps=None) -> float:
    """lim x_t / law(t) of the converged recursion, x = r or 1 − r."""
    log_x, t = log_limit(weight, size, rounded, diversity, steps)
    return float(np.exp(log_x + log_inverse_law(t)))
