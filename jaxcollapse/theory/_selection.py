"""Where curated loops settle as n → ∞: temperature and reward, deterministic maps of laws.

    temperature   P → α p* + (1 − α) P^{1/T}/Z
    reward        P → α p* + (1 − α) P e^r/E_P e^r

Temperature, uniform p* of K tokens: the uniform law is stable iff T > 1 − α; a dominated law (one token with mass x,
the others with (1 − x)/(K − 1)) is a fixed point at exactly one temperature,

    T(x) = ln[(K − 1) x/(1 − x)] / ln[(K − 1) q/(1 − q)],   q = (x − α/K)/(1 − α)

so that T(x) is the whole branch; it folds back at T_fold = max T ≥ 1 − α, above it for K > 2 (bistable in between).
The degeneration is that of Marchi et al., arXiv 2404.02325, and Ferbach et al., arXiv 2407.09499; T(x) derived here.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Num

from jaxcollapse.theory._range import ranged


def temperature_threshold(alpha: Num[ArrayLike, "*P"]) -> Float[Array, "*P"]:
    """1 − α, the temperature below which the uniform law is unstable, for uniform p* and any number of tokens."""
    return 1 - ranged("alpha", alpha, lambda a: (a >= 0) & (a <= 1), "mixture weights in [0, 1]", "0.1")


def temperature_limit(
    probs: Float[ArrayLike, " v"],
    alpha: Num[ArrayLike, ""],
    temperature: Num[ArrayLike, ""],
    start: Float[ArrayLike, " v"] | None = None,
    generations: int | Int[Array, ""] = 10_000,
) -> Float[Array, " v"]:
    """The law that `Temperature(T)` leads to from `start` (p* by default) as n → ∞, after that many generations.

    Convergence is geometric, at rate (1 − α)/T near a uniform p*, and slow at the threshold and the fold. A fixed point
    reached by symmetry alone is not left: start a little off it.
    Errors: `ValueError` for α outside [0, 1] or T ≤ 0.
    """
    alpha = ranged("alpha", alpha, lambda a: (a >= 0) & (a <= 1), "a mixture weight in [0, 1]", "0.1")
    power = 1 / ranged("temperature", temperature, lambda t: t > 0, "a temperature above 0", "0.9")
    p_star = jnp.asarray(probs, float)

    def step(_, p):
        sharp = (p / p.max()) ** power
        return alpha * p_star + (1 - alpha) * sharp / sharp.sum()

    return jax.lax.fori_loop(0, generations, step, p_star if start is None else jnp.asarray(start, float))


def temperature_branch(
    mass: Float[ArrayLike, "*P"], alpha: Num[ArrayLike, "*#P"], vocab: Num[ArrayLike, "*#P"]
) -> Float[Array, "*P"]:
    """T(x), the one temperature at which a dominant mass x is a fixed point, for uniform p* of `vocab` tokens.

    1/vocab < x < 1 − α(1 − 1/vocab), where T → 0; x → 1/vocab: 1 − α. NaN outside. Stable where T falls with x.
    """
    x, alpha, others = jnp.asarray(mass, float), jnp.asarray(alpha, float), jnp.asarray(vocab, float) - 1
    q = (x - alpha / (others + 1)) / (1 - alpha)
    inside = (x > 1 / (others + 1)) & (q < 1)
    odds = lambda p: jnp.log(others * p / (1 - p))
    return jnp.where(inside, odds(x) / odds(q), jnp.nan)


def temperature_fold(alpha: Num[ArrayLike, ""], vocab: Num[ArrayLike, ""]) -> tuple[Array, Array]:
    """(T, x) of the fold: the highest temperature at which a dominated law exists, and its dominant mass.

    Two tokens: (1 − α, 1/2), a continuous transition; more: T > 1 − α and a jump. By bisection on dT/dx; use x64.
    """
    alpha = ranged("alpha", alpha, lambda a: (a > 0) & (a < 1), "a mixture weight in (0, 1)", "0.1")
    vocab = jnp.asarray(vocab, float)
    slope = jax.grad(temperature_branch)
    low, high = 1 / vocab, 1 - alpha * (1 - 1 / vocab)
    least = low + 1e-3 * (high - low)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        rising = slope(middle, alpha, vocab) > 0
        return jnp.where(rising, middle, low), jnp.where(rising, high, middle)

    bracket = jax.lax.fori_loop(0, 60, halve, (least, high - 1e-3 * (high - low)))
    pitchfork = slope(least, alpha, vocab) <= 0
    found = temperature_branch(bracket[0], alpha, vocab)
    return jnp.asarray(jnp.where(pitchfork, 1 - alpha, found)), jnp.asarray(jnp.where(pitchfork, low, bracket[0]))


def tilt_limit(
    probs: Float[ArrayLike, " v"], alpha: Num[ArrayLike, ""], reward: Num[ArrayLike, " v"]
) -> Float[Array, " v"]:
    """The law that `Tilt(reward)` leads to as n → ∞: α p*/(1 − (1 − α) e^r/Z), Z = E e^r under it.

    Every start with full support is led there. α → 1: p*; α → 0: the best-rewarded tokens alone, where without real
    data P_t ∝ P_0 e^{t r}. Z by bisection. Errors: `ValueError` for α outside (0, 1].
    """
    alpha = ranged("alpha", alpha, lambda a: (a > 0) & (a <= 1), "a mixture weight in (0, 1]", "0.1")
    p, r = jnp.asarray(probs, float), jnp.asarray(reward, float)
    gain = jnp.exp(r - jnp.max(jnp.where(p > 0, r, -jnp.inf)))
    # Z = (1 − α) e^{r_max}/(1 − u): u rises from 0, where the best token takes all, to α, where Z = e^{r_max}.
    law = lambda u: alpha * p / (1 - (1 - u) * jnp.where(p > 0, gain, 0.0))

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        heavy = law(middle).sum() > 1
        return jnp.where(heavy, middle, low), jnp.where(heavy, high, middle)

    found = law(jax.lax.fori_loop(0, 100, halve, (jnp.zeros_like(alpha), alpha))[1])
    return found / found.sum()
