"""Points that fill a box evenly: a scrambled Sobol sequence.

    x = low + (high − low) u,   or low (high / low)^u,   u_1, u_2, … the sequence in [0, 1)^d

Source: Sobol (1967), scrambled after Matoušek (1998), as in scipy.stats.qmc.
"""

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import qmc

MOST = 2**30  # points of a sequence of 30 bits, all of them different in every coordinate


def sobol(
    count: int, *, seed: int = 0, log: Iterable[str] = (), **ranges
) -> dict[str, Float[np.ndarray, " P"]]:
    """The first `count` points of a scrambled Sobol sequence, as `sweep(points=...)` takes them.

        jc.sobol(64, decay=(0, 2), n=(10, 1e6), log=["n"])

    Shapes: one array ` P` a range, low ≤ x < high; those named in `log` are even in the logarithm. A mean over the
    points of a smooth function errs by about P^−3/2, against P^−1/2 for random points; P is best a power of 2. The
    points of a smaller count with the same seed, ranges in the same order, are the first of a larger one, so a store is
    extended.

    Errors: `ValueError` for a count that is no whole number from 1 to 2³⁰, a negative seed, a range that is no pair
    low < high of finite numbers, or is not above 0 and in `log`, and for a name in `log` that has no range.
    """
    count, seed = _whole("count", count, 1), _whole("seed", seed, 0)
    if not ranges:
        raise ValueError("ranges: got none, expected at least one; try sobol(64, decay=(0, 2))")
    logged = {log} if isinstance(log, str) else set(log)
    if unknown := sorted(logged - set(ranges)):
        raise ValueError(f"log: got {unknown[0]!r}, expected names among the ranges: {', '.join(ranges)}")
    limits = {name: _limits(name, pair, name in logged) for name, pair in ranges.items()}
    if len(ranges) > qmc.Sobol.MAXDIM:
        raise ValueError(f"ranges: got {len(ranges)}, expected at most {qmc.Sobol.MAXDIM}")
    sequence = qmc.Sobol(len(ranges), seed=np.random.default_rng(seed))  # pyright: ignore[reportCallIssue]
    # A whole power of 2, of which the first are taken, since fewer are warned of.
    places = sequence.random_base2(math.ceil(math.log2(count)))[:count].T
    return {name: _spread(u, *limits[name], name in logged) for name, u in zip(ranges, places, strict=True)}


def _spread(u: np.ndarray, low: float, high: float, log: bool) -> np.ndarray:
    """u in [0, 1) on the range; rounding does not take it out of there."""
    x = low * (high / low) ** u if log else low + (high - low) * u
    return np.clip(x, low, np.nextafter(high, low))


def _limits(name: str, pair: Any, log: bool) -> tuple[float, float]:
    try:
        low, high = map(float, pair)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {pair!r}, expected a range (low, high); try {name}=(0, 2)") from None
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(f"{name}: got {pair!r}, expected finite low < high; try {name}=(0, 2)")
    if log and low <= 0:
        raise ValueError(f"{name}: got {pair!r} in log, expected low > 0; try to leave it out of log")
    return low, high


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= MOST or isinstance(value, bool):
        raise ValueError(f"{name}: got {value!r}, expected a whole number of at least {least}, at most 2^30")
    return number
