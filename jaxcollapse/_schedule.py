"""Schedules: the mixture weight α_t and the sample size n_t as functions of the generation t.

    Constant      α_t = value
    PowerLaw      α_t = min(cap, scale · max(t, 1)^exponent)
    Exponential   α_t = scale · rate^t
    Piecewise     one schedule after another

A schedule is any callable `t -> value` that JAX can trace; those of optax work when their parameters are concrete.
The ones here also take traced parameters, so that a sweep over them compiles once. α_t and n_t belong to the
generation that they train: n(0) is the size of the first, all-real generation, and α(0) is never used (α_0 := 1).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num, Shaped

Schedule = Callable[[Array], ArrayLike]


class Constant(eqx.Module):
    """value at every generation."""

    value: Num[ArrayLike, ""]

    def __call__(self, t: Shaped[ArrayLike, "*t"]) -> Num[Array, "*t"]:
        return jnp.broadcast_to(_number(self.value), jnp.shape(t))


class PowerLaw(eqx.Module):
    """scale · max(t, 1)^exponent, at most cap.

    `PowerLaw(0.5, exponent=-a)` is a decaying mixture weight, `PowerLaw(20.0, exponent=b)` a growing sample size.
    A scale above 1 makes a mixture weight only with `cap=1`, α_t = min(1, a₀ t^−a): nothing is clipped unasked.
    """

    scale: Num[ArrayLike, ""]
    exponent: Num[ArrayLike, ""] = eqx.field(kw_only=True)
    cap: Num[ArrayLike, ""] | None = eqx.field(default=None, kw_only=True)

    def __call__(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        value = _real(self.scale) * jnp.maximum(_real(t), 1.0) ** _real(self.exponent)
        return value if self.cap is None else jnp.minimum(value, _real(self.cap))


class Exponential(eqx.Module):
    """scale · rate^t: decays for rate < 1, grows for rate > 1."""

    scale: Num[ArrayLike, ""]
    rate: Num[ArrayLike, ""] = eqx.field(kw_only=True)

    def __call__(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        return _real(self.scale) * _real(self.rate) ** _real(t)


class Piecewise(eqx.Module):
    """pieces[i](t) for boundaries[i−1] ≤ t < boundaries[i]; t is not restarted at a boundary.

    One more piece than boundaries, which increase.
    """

    boundaries: tuple[Num[ArrayLike, ""], ...]
    pieces: tuple[Schedule, ...]

    def __check_init__(self):
        if len(self.pieces) != len(self.boundaries) + 1:
            raise ValueError(
                f"pieces: got {len(self.pieces)} for {len(self.boundaries)} boundaries, expected one more piece than "
                "boundaries; try Piecewise((10,), (Constant(1.0), Constant(0.1)))"
            )
        if not all(callable(piece) for piece in self.pieces):
            raise ValueError(f"pieces: got {brief(self.pieces)}, expected callables t -> value; try jc.Constant(...)")
        if not any(isinstance(b, Tracer) for b in self.boundaries) and np.any(np.diff(np.array(self.boundaries)) <= 0):
            raise ValueError(f"boundaries: got {brief(self.boundaries)}, expected increasing generations; try (10, 20)")

    def __call__(self, t: Shaped[ArrayLike, "*t"]) -> Num[Array, "*t"]:
        values = [_real(piece(jnp.asarray(t))) for piece in self.pieces]
        reached = [_real(t) >= _real(boundary) for boundary in self.boundaries]
        return jnp.select(reached[::-1], values[:0:-1], values[0])


def mixture_weight(alpha: Schedule, t: Int[ArrayLike, "*t"]) -> tuple[Float[Array, "*t"], Bool[Array, "*t"]]:
    """α_t and whether it is one: a number in [0, 1]. Generation 0 is all real, α_0 = 1."""
    value = jnp.where(jnp.asarray(t) == 0, 1.0, _real(alpha(jnp.asarray(t))))
    return value, (value >= 0) & (value <= 1)


def sample_size(n: Schedule, t: Int[ArrayLike, "*t"]) -> tuple[Num[Array, "*t"], Bool[Array, "*t"]]:
    """n_t = max(1, round(n(t))) and whether it is one. The only place where n is rounded.

    A sample size is finite, positive and below 2³¹ (2⁵³ under x64), and starts at n(0) ≥ 1; one that decays stays
    at one draw. Whole-number schedules stay whole, others are rounded as floats: the caller casts what is valid.
    """
    value = _number(n(jnp.asarray(t)))
    start = jnp.asarray(t) == 0
    valid = (value > 0) & ((value >= 1) | ~start)
    if jnp.issubdtype(value.dtype, jnp.floating):
        valid &= value < largest_size()
        value = jnp.rint(value)
    elif jnp.iinfo(value.dtype).max >= largest_size():
        valid &= value < int(largest_size())
    return jnp.maximum(value, jnp.ones_like(value)), valid


def brief(value) -> str:
    """What a message says that it got: the value itself where it is short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__} of shape {np.shape(value)}"


def largest_size() -> float:
    """Sample sizes stay below this: 2³¹ in 32-bit mode, 2⁵³ under `jax.enable_x64`."""
    return 2.0**53 if jnp.result_type(float) == np.float64 else 2.0**31


def evaluate(alpha: Schedule, n: Schedule, generations: int) -> tuple[Float[Array, " times"], Float[Array, " times"]]:
    """(α_t, n_t) for t = 0..generations, rounded and with α_0 = 1, as the loop uses them.

    Concrete schedules are checked (`ValueError`); where a traced schedule is out of range both arrays hold NaN at
    that generation.
    """
    check(alpha, n, generations)
    times = jnp.arange(generations + 1)
    alpha_t, alpha_valid = _at_each(mixture_weight, alpha, times)
    n_t, n_valid = _at_each(sample_size, n, times)
    valid = alpha_valid & n_valid
    return jnp.where(valid, alpha_t, jnp.nan), jnp.where(valid, _real(n_t), jnp.nan)


def check(alpha: Schedule, n: Schedule, generations: int) -> None:
    """Raises `ValueError` where a concrete schedule leaves its range at some generation 0..T; traced ones pass."""
    if isinstance(generations, bool) or not isinstance(generations, int | np.integer) or generations < 1:
        raise ValueError(f"generations: got {generations!r}, expected a whole number of at least 1; try 300")
    with jax.ensure_compile_time_eval():  # concrete misuse is found inside a jitted function too
        check_at(alpha, n, np.arange(generations + 1))


def is_traced(schedule: Schedule) -> bool:
    """Whether some parameter of it is known only when the program runs."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(schedule))


def check_at(alpha: Schedule, n: Schedule, times: Int[Array | np.ndarray, " times"]) -> None:
    """`check` at these generations."""
    for name, schedule, rule, expected in (
        ("alpha", alpha, mixture_weight, "a mixture weight in [0, 1]"),
        ("n", n, sample_size, f"a finite sample size from 1 to {largest_size() - 1:.0f}"),
    ):
        if not callable(schedule):
            raise ValueError(f"{name}: got {brief(schedule)}, expected a callable t -> value; try jc.Constant(...)")
        if is_traced(schedule):
            continue
        try:
            _, inside = _at_each(rule, schedule, times)
        except jax.errors.TracerBoolConversionError:
            raise ValueError(
                f"{name}: got a function that branches on t in Python, expected one that JAX can trace; try jnp.where "
                "or jc.Piecewise"
            ) from None
        except jax.errors.TracerArrayConversionError:
            raise ValueError(
                f"{name}: got a function that hands t to NumPy, expected one that JAX can trace; try jnp.log and the "
                "like, and jnp.asarray for values that it looks up"
            ) from None
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError):
            raise ValueError(
                f"{name}: got a function that makes a Python number of t, expected one that JAX can trace; try jnp.log "
                "instead of math.log, and so on"
            ) from None
        if isinstance(inside, Tracer) or bool(inside.all()):
            continue
        t = times[int(np.argmin(np.asarray(inside)))]
        got = np.asarray(_number(schedule(jnp.asarray(t))))
        shown = min(f"{got}", str(got[()]), key=len)  # 0.1, not the double nearest to its float32
        advice = _advice(name, schedule, got)
        raise ValueError(f"{name}: got {shown} at generation {t}, expected {expected}; try {advice}")


def _at_each(
    rule: Callable[..., tuple[Num[Array, " times"], Bool[Array, " times"]]],
    schedule: Schedule,
    times: Int[Array | np.ndarray, " times"],
) -> tuple[Num[Array, " times"], Bool[Array, " times"]]:
    """rule(schedule, t) for every t; a schedule of ours takes them all at once, where an eager vmap needs 10 ms."""
    if isinstance(schedule, Constant | PowerLaw | Exponential):
        return rule(schedule, times)
    return jax.vmap(lambda t: rule(schedule, t))(times)


def _advice(name: str, schedule: Schedule, got: np.ndarray) -> str:
    if not np.isfinite(got):
        return "finite parameters, or a slower growth"
    if name == "alpha" and got > 1:
        capped = "PowerLaw(..., cap=1) for a scale above 1"
        return capped if isinstance(schedule, PowerLaw) else "jnp.minimum(..., 1), or whether it was meant for n"
    if name == "alpha":
        return "a weight of at least 0"
    return "a larger scale" if got < 1 else "a slower growth, or jax.enable_x64(True) for up to 2^53 draws"


def _number(x: Shaped[ArrayLike, "*t"]) -> Shaped[Array, "*t"]:
    if not isinstance(x, jax.Array) and np.asarray(x).dtype.kind in "iu":
        # Whole numbers that do not fit the default width become floats, which the range check then names.
        width = jnp.iinfo(jnp.result_type(int))
        return jnp.asarray(x, int if width.min <= np.min(x) and np.max(x) <= width.max else float)
    return jnp.asarray(x)


def _real(x: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
    return jnp.asarray(x, float)
