"""Exact risk where more than the last batch is remembered, for each regime of the loop.

Pooled (`Accumulate`): N_t = ρ N_{t−1} + n_t, w_t = n_t/N_t, and P̂_t = (1 − w_t) P̂_{t−1} + w_t E_t with E_t the batch:

    r_t = [(1 − w)² + 2 w (1 − w) σ + w² φ] r_{t−1} + w²/n,   σ = E s/n, φ = E s(s−1)/n², s of n draws synthetic
    random split: σ = 1 − α, and r_t = (1 − wα)² r_{t−1} + (w²/n)(1 − (1 − α)² r_{t−1})

a Pólya urn with immigration; ρ = 0 is `recursion`. Subsampled: the pool has its own risk, the model's is that of n_t
draws from it. Retained (`Anchor`): a real set of n_0 draws is kept, r_t = 1/n_0 + (1 − 1/n_0)·(the drift around it).

The π²/6 of accumulation is in Gerstgrasser et al., arXiv 2404.01413, and Dey and Donoho, arXiv 2410.22812; subsampling
in Kazdan et al., arXiv 2410.16713; the resampled 10 % in Shumailov et al., Nature 631:755. Recursions derived here.
"""

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Constant, Schedule, evaluate
from jaxcollapse.theory._risk import affine_scan, checked, recursion, risk, split_moments

Fraction = Num[ArrayLike, ""]


def accumulate(
    alpha: Schedule, n: Schedule, generations: int, decay: Fraction | None = None, split: str = "random"
) -> Float[Array, " times"]:
    """r_t of `Accumulate(decay)` for t = 0..T, relative to 1 − ‖p*‖²; `decay` = ρ, None keeps everything (ρ = 1).

    ρ = 1 never collapses, whatever the schedules; α = 0 and constant n end at `accumulation_limit(n)`. Constant α > 0
    recovers as N^−min(1, 2α). ρ = 0: `risk`. ρ < 1 and constant n: in the long run a memory of 1/(1 − ρ) batches.
    Errors: `ValueError` for schedules out of range or ρ outside [0, 1]; under a trace NaN from there on.
    """
    return pooled_recursion(*evaluate(alpha, n, generations), decay, split)


def pooled_recursion(
    alpha_t: Num[ArrayLike, "times *P"],
    n_t: Num[ArrayLike, "times *P"],
    decay: Fraction | None = None,
    split: str = "random",
) -> Float[Array, "times *P"]:
    """r_t of arrays α_t and n_t along the first axis; α_0 counts as 1, nothing is rounded. See `accumulate`."""
    n_t, weight, moments = _pool(alpha_t, n_t, decay, split)
    keep = (1 - weight) ** 2 + 2 * weight * (1 - weight) * moments.share + weight**2 * moments.pairs
    return affine_scan(keep, weight**2 / n_t)


def accumulation_limit(n: Num[ArrayLike, "*P"]) -> Float[Array, "*P"]:
    """r_∞ = 1 − sin(π/√n)/(π/√n) of full accumulation of n draws a generation without fresh data; n r_∞ → π²/6."""
    _, n = checked(jnp.zeros(()), n)
    x2 = jnp.pi**2 / n
    series = x2 / 6 * (1 - x2 / 20 * (1 - x2 / 42 * (1 - x2 / 72 * (1 - x2 / 110))))
    return jnp.where(x2 < 0.25, series, 1 - jnp.sinc(jnp.sqrt(1 / n)))


def subsample(
    alpha: Schedule, n: Schedule, generations: int, decay: Fraction | None = None, split: str = "random"
) -> Float[Array, " times"]:
    """r_t of `Subsample(Accumulate(decay))`: the model of n_t draws from the pool of all batches, t = 0..T.

    Without replacement from the whole pool (`decay` None), with replacement from a leaky one. α = 0, constant n → ∞:
    n r_∞ → π²/2 − 2, above the π²/6 of accumulation, still no collapse. Generation 0 is fitted to D_0 itself.
    Errors as `accumulate`.
    """
    alpha_t, n_t = evaluate(alpha, n, generations)
    n_t, weight, moments = _pool(alpha_t, n_t, decay, split)
    total = n_t / weight
    drawn = 1 / n_t if decay is not None else (total - n_t) / (n_t * jnp.maximum(total - 1, 1.0))
    return _subsampled(weight, moments.share, weight**2 * moments.pairs, weight**2 / n_t, drawn.at[0].set(0.0))


@jax.jit
def _subsampled(weight, share, pairs, noise, drawn):
    def step(risks, now):
        pool, model = risks
        weight, share, pairs, noise, drawn = now
        pool = ((1 - weight) ** 2 + 2 * weight * (1 - weight) * share) * pool + pairs * model + noise
        model = pool + (1 - pool) * drawn
        return (pool, model), model

    zero = jnp.zeros((), weight.dtype)
    return jax.lax.scan(step, (zero, zero), (weight, share, pairs, noise, drawn))[1]


def retained(
    alpha: Schedule, n: Schedule, generations: int, fraction: Fraction | None = None, split: str = "fixed"
) -> Float[Array, " times"]:
    """r_t of `Anchor(fraction)` for t = 0..T: a real set of n_0 draws is kept, and each batch adds its synthetic draws.

    m = n_0, or round(fraction n_0) of them drawn anew without replacement; s = n_t − k synthetic draws, all n_t at
    α = 0. Constant s, m = n_0: ρ_∞ = 1/(1 + 2m + m²/s), so r_∞ ≤ 1/m + (1 − 1/m)/(2m + 1) ≈ 1.5/m however much
    synthetic data is added. α = fraction and n_t = n_0 is the Nature experiment's resampled share.
    Errors: `ValueError` for schedules or fraction out of range, and for split "random" (s must be known; at α = 0 the
    splits agree).
    """
    if split == "random":
        raise ValueError("split: got 'random', expected 'fixed' or 'round'; try 'fixed', the same at alpha = 0")
    _check_fraction("fraction", fraction)
    alpha_t, n_t = evaluate(alpha, n, generations)
    n_0 = n_t[0]
    m = n_0 if fraction is None else jnp.rint(jnp.asarray(fraction, float) * n_0)
    split_moments(alpha_t, n_t, split)  # refuses an unknown split
    real = alpha_t * n_t
    low = jnp.floor(real) if split == "fixed" else jnp.rint(real)
    upper = jnp.maximum(real - low, 0.0) if split == "fixed" else jnp.zeros_like(real)
    noise, keep = _anchored(n_0, m, n_t - low)
    noise_up, keep_up = _anchored(n_0, m, jnp.maximum(n_t - low - 1, 0.0))
    noise, keep = (1 - upper) * noise + upper * noise_up, (1 - upper) * keep + upper * keep_up
    drift = affine_scan(keep, noise.at[0].set(0.0))
    return 1 / n_0 + (1 - 1 / n_0) * drift


def _anchored(n_0: Float[Array, ""], m: Float[Array, ""], s: Float[Array, " times"]) -> tuple[Array, Array]:
    """What m retained and s synthetic draws add to and keep of the drift; without any data the model stays."""
    total = jnp.maximum(m + s, 1.0)
    noise = (m / total) ** 2 * (1 - m / n_0) / jnp.maximum(m * (1 - 1 / n_0), 0.5) + s / total**2
    return noise, jnp.where(m + s > 0, (s / total) * ((s - 1) / total), 1.0)


def retained_mixture(
    size: Num[ArrayLike, ""], alpha: Schedule, n: Schedule, generations: int, split: str = "random"
) -> Float[Array, " times"]:
    """r_t where the real draws come from a retained set of `size` = m draws: 1/m + (1 − 1/m) r_t of `risk`.

    That is `Loop(target=from_counts(D_0))` seen from p*; the phases are those around the set's own law, the limit never
    below 1/m. Errors as `risk`.
    """
    _, size = checked(jnp.zeros(()), size)
    return 1 / size + (1 - 1 / size) * risk(alpha, n, generations, split)


def fresh_inflow(
    size: Num[ArrayLike, ""], n: Schedule, generations: int, split: str = "random"
) -> Float[Array, " times"]:
    """r_t for m = `size` fresh real draws a generation, α_t = m/n_t, t = 0..T.

    n_t → ∞ at most linearly: r → 1/(1 + 2m), half the error of one real batch; faster growth freezes.
    Errors: `ValueError` for a schedule out of range or m above some n_t.
    """
    _, n_t = evaluate(Constant(0.0), n, generations)
    alpha_t = (jnp.asarray(size, float) / n_t).at[0].set(1.0)
    if not isinstance(alpha_t, Tracer) and not bool(jnp.all((alpha_t >= 0) & (alpha_t <= 1))):
        raise ValueError(f"size: got {size}, expected from 0 to the smallest sample size {float(n_t.min()):.6g}; try 1")
    return recursion(alpha_t, n_t, split)


def _pool(alpha_t, n_t, decay, split):
    """n_t, the batch's weight n_t/N_t in the pool, and the moments of its synthetic part."""
    _check_fraction("decay", decay)
    alpha_t, n_t = checked(jnp.asarray(alpha_t, float).at[0].set(1.0), n_t)
    memory = jnp.broadcast_to(jnp.asarray(1.0 if decay is None else decay, float), n_t.shape)
    return n_t, n_t / affine_scan(memory, n_t), split_moments(alpha_t, n_t, split)


def _check_fraction(name: str, value: Fraction | None) -> None:
    if value is not None and not isinstance(value, Tracer) and not 0 <= float(jnp.asarray(value)) <= 1:
        raise ValueError(f"{name}: got {value}, expected a number in [0, 1]; try 0.9")
