"""The data wall: human text that grows slowly, data sets that grow fast, and what is real in a batch from then on.

    n_t = n_0 √k g^t                                  demand; k: over-training, D/N = 20 k at the same compute 6 N D
    S_t = S (1 + h)^t + Σ_j m_j max(0, t − t_j + 1)   (A) text is kept: the stock, with inflows m_j from t_j on
    Y_t = S (1 + h)^t + Σ_j m_j [t ≥ t_j]             (B) old text is discarded: what is written in generation t
    α_t = min(1 − w, ρ S_t / n_t)  or  ρ Y_t / n_t    w: synthetic share of what is taken for human, ρ: repetition

Risk relative to 1 − ‖p*‖², with k_t = α_t n_t real and N_t = n_t − k_t synthetic draws, v_t the variance of the mean of
the real ones (1/k_t up to one pass through the text):

    r_t = (k/n)² v + 2 (k/n)(N/n) c + N/n² + N(N − 1)/n² r_{t−1},    c = 1/S_t in (A), 0 in (B)

In (A) every model has the covariance 1/S_t with the stock that its successor reads: r ≤ 1/S + (1 − 1/S)/(2S + 1) once
a stock of S is read whole, however much synthetic text is added. (B) is a counterfactual: what the world would lose if
it forgot. Stock, growth and over-training after Villalobos et al., arXiv 2211.04325v2; the recursions derived here.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Num, PRNGKeyArray, Shaped

from jaxcollapse._data import Counts
from jaxcollapse._regime import AbstractRegime
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import AbstractTable
from jaxcollapse.theory._range import ranged
from jaxcollapse.theory._risk import affine_scan

SEARCHED = (-20, 60)  # generations among which exhaustion is looked for
POSITIVE = (lambda x: (x > 0) & jnp.isfinite(x), "one finite number above 0")
RANGES = {
    "stock": (*POSITIVE, "300e12"),
    "stock_growth": (lambda x: (x > -1) & jnp.isfinite(x), "one finite number above −1", "0.05"),
    "demand": (*POSITIVE, "1e13"),
    "growth": (*POSITIVE, "2.4"),
    "overtraining": (*POSITIVE, "10"),
    "repetition": (lambda x: (x >= 1) & jnp.isfinite(x), "one finite number of at least 1", "4"),
    "synthetic_share": (lambda x: (x >= 0) & (x <= 1), "one number in [0, 1]", "0.3"),
    "unit": (*POSITIVE, "1e9"),
}


class DataWall(eqx.Module):
    """A stock of human text and the demand that outgrows it; one generation is whatever the rates are given for.

    stock, stock_growth    S tokens at t = 0 that could be used, and h: S_t = S (1 + h)^t
    demand, growth         n_0 tokens in the batch of generation 0, and g: n_t = n_0 g^t
    overtraining           k: √k times the data at the same compute
    repetition             ρ ≥ 1: how often a generation may read the same text; `stock` then counts distinct tokens
    synthetic_share        w: the part of the text taken for human that is the previous generation's output
    inflows                pairs (t_j, m_j): m_j more tokens of human text in each generation from t_j on
    unit                   tokens for one draw of the model: all sizes are divided by it

    As schedules of a `Loop` and of `theory.risk`: `n` with `alpha_discarded` and `Replace()` is reading (B), for ρ = 1;
    `n` with `alpha_kept`, `split="round"` and the regime `keep(target)` is reading (A). n_t stays below 2³¹ draws (2⁵³
    under x64): choose `unit`. Fields may be traced.
    Errors: `ValueError` for sizes, factors and units that are not positive, ρ < 1, w outside [0, 1], h ≤ −1, negative
    inflows; with such a field traced, schedules are NaN where they need it, risks, draws and exhaustion altogether.
    """

    stock: Num[ArrayLike, ""] = 300e12
    stock_growth: Num[ArrayLike, ""] = 0.05
    demand: Num[ArrayLike, ""] = 1e13
    growth: Num[ArrayLike, ""] = 2.40
    overtraining: Num[ArrayLike, ""] = 1.0
    repetition: Num[ArrayLike, ""] = 1.0
    synthetic_share: Num[ArrayLike, ""] = 0.0
    inflows: tuple[tuple[Num[ArrayLike, ""], Num[ArrayLike, ""]], ...] = ()
    unit: Num[ArrayLike, ""] = 1.0

    def __check_init__(self):
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.inflows):
            raise ValueError(f"inflows: got {brief(self.inflows)}, expected pairs (start, tokens); try ((2, 50e12),)")
        for name, (_, expected, example) in RANGES.items():
            if np.ndim(got := getattr(self, name)):
                raise ValueError(f"{name}: got {brief(got)}, expected {expected}; try {example}")
        with jax.ensure_compile_time_eval():  # concrete misuse is found inside a jitted function too
            self._mark()

    def n(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        """n_t, in units."""
        start = self._field("demand") / self._field("unit") * jnp.sqrt(self._field("overtraining"))
        return start * self._field("growth") ** _real(t)

    def kept(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        """S_t, the stock of reading (A), in units; at least n_0, for generation 0 is all real. h < 0 counts as 0."""
        return jnp.maximum(self._stock(t), self.n(0))

    def written(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        """Y_t, the human text of generation t alone, of reading (B), in units: as large as the stock, and new."""
        return self._text(t, self._field("stock_growth"), lambda since: (since > 0).astype(float))

    def alpha_kept(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        """α_t of reading (A)."""
        return self._share(self.kept(t), t)

    def alpha_discarded(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        """α_t of reading (B), the counterfactual. Without inflows equal to `alpha_kept`: the readings differ in whose
        draws they are, the same text's again or new ones."""
        return self._share(self.written(t), t)

    def exhaustion(self) -> Float[Array, ""]:
        """The time at which demand first meets ρ S_t, and α_t leaves 1 − w: real-valued, between generations too.

        Without inflows ln(ρ S/((1 − w) n_0 √k))/ln(g/(1 + h)); the first generation with a smaller α_t is the next
        whole number. ∞ if not by generation 60, −∞ if before −20.
        """
        low, high = SEARCHED
        times = jnp.arange(low, high + 1).astype(float)
        short = self._shortfall(times) > 0
        first = jnp.argmax(short)
        bracket = times[jnp.maximum(first - 1, 0)], times[first]

        def halve(_, ends):
            middle = (ends[0] + ends[1]) / 2
            over = self._shortfall(middle) > 0
            return jnp.where(over, ends[0], middle), jnp.where(over, middle, ends[1])

        root = jax.lax.fori_loop(0, 40, halve, bracket)[1]
        return jnp.where(short[0], -jnp.inf, jnp.where(jnp.any(short), jnp.asarray(root), jnp.inf)) + self._mark()

    def keep(self, target: AbstractTable) -> "Stock":
        """The regime of reading (A): what is read in place of fresh text is the stock, drawn from a discrete target."""
        return Stock(self, target)

    def risk_kept(self, generations: int) -> Float[Array, " times"]:
        """r_t of reading (A), t = 0..T, sizes rounded as the loop does; relative to 1 − ‖p*‖². α → 1: 1/n_t."""
        real, n, text = self._sizes(generations, kept=True)
        return _risk(real, n, text, 1 / text)

    def risk_discarded(self, generations: int) -> Float[Array, " times"]:
        """r_t of reading (B); for ρ = 1 `theory.risk(wall.alpha_discarded, wall.n, T, split="round")`."""
        real, n, text = self._sizes(generations, kept=False)
        return _risk(real, n, text, jnp.zeros_like(text))

    def draws_kept(self, generations: int) -> Float[Array, " times"]:
        """F_t of reading (A) in units, t = 0..T: a rare token of probability p is lost with probability exp(−p F_t).

        Once all of the stock is read F_t = S_t: what the stock holds cannot be lost. See `theory.effective_draws`.
        """
        real, n, text = self._sizes(generations, kept=True)
        missed = _missed(real, n, text)
        born = jnp.diff(text, prepend=jnp.zeros_like(text[:1]))
        never = jnp.cumprod(missed[:, ::-1], axis=1)[:, ::-1]  # of the text born at s: in no batch from s to t
        return (1 - never) @ born

    def draws_discarded(self, generations: int) -> Float[Array, " times"]:
        """F_t of reading (B) in units; for ρ = 1 `theory.effective_draws(wall.alpha_discarded, wall.n, T)`."""
        real, n, text = self._sizes(generations, kept=False)
        return (1 - _missed(real, n, text)) @ text

    def _field(self, name):
        """As a float, NaN if it is traced and out of its range."""
        return ranged(name, getattr(self, name), *RANGES[name])

    def _inflows(self):
        start = lambda t: ranged("inflows", t, jnp.isfinite, "finite times", "((2, 50e12),)")
        tokens = lambda m: ranged(
            "inflows", m, lambda m: (m >= 0) & jnp.isfinite(m), "tokens, 0 or more", "((2, 50e12),)"
        )
        return [(start(t), tokens(m)) for t, m in self.inflows]

    def _mark(self):
        """0, or NaN where some field is traced and out of its range."""
        return 0 * (sum(self._field(name) for name in RANGES) + sum(t + m for t, m in self._inflows()))

    def _stock(self, t):
        return self._text(t, jnp.maximum(self._field("stock_growth"), 0.0), lambda since: jnp.maximum(since, 0.0))

    def _text(self, t, growth, arrived):
        t = _real(t)
        added = sum((m * arrived(t - start + 1) for start, m in self._inflows()), jnp.zeros_like(t))
        return (self._field("stock") * (1 + growth) ** t + added) / self._field("unit")

    def _share(self, text, t):
        return jnp.minimum(1 - self._field("synthetic_share"), self._field("repetition") * text / self.n(t))

    def _shortfall(self, t):
        supply = self._field("repetition") * self._stock(t)
        return jnp.log(self.n(t)) + jnp.log1p(-self._field("synthetic_share")) - jnp.log(supply)

    def _sizes(self, generations, kept):
        """Real draws, all draws and human text of every generation, whole; generation 0 is real, each token once."""
        t = jnp.arange(generations + 1)
        n = jnp.maximum(jnp.rint(self.n(t) + self._mark()), 1.0)
        text = jnp.maximum(jnp.rint(self.kept(t) if kept else self.written(t)), 1.0)
        real = jnp.rint((self.alpha_kept(t) if kept else self.alpha_discarded(t)) * n).at[0].set(n[0])
        return real, n, text.at[0].max(n[0])


class Stock(AbstractRegime):
    """Reading (A) of a wall: the batch's real draws are replaced by as many from a stock that is kept and grows.

    Each pass through the stock is without replacement, S_t its size (rounded); D_0 is part of it, the rest is drawn
    from the target when it is first wanted. For counts (`Tabular()`).
    """

    wall: DataWall
    target: AbstractTable

    def init(self, data):
        return jnp.asarray(0), data

    def update(self, memory, batch, *, key: PRNGKeyArray):
        k_new, k_read = jax.random.split(key)
        t, stock = memory[0] + 1, memory[1]
        size = jnp.rint(self.wall.kept(t)).astype(stock.counts.dtype)
        stock = stock + Counts(self.target.counts(jnp.maximum(size - stock.total, 0), key=k_new))
        passes, rest = jnp.divmod(batch.real.total, jnp.maximum(stock.total, 1))
        read = Counts(passes * stock.counts + stock.resample(rest, key=k_read).counts)
        return (t, stock), batch.synthetic + read

    def largest_pool(self, n_t):
        return n_t.max()


def _risk(real, n, text, shared):
    """The recursion; squares of 10¹⁹ would overflow in float32, ratios do not."""
    alpha, synthetic = real / n, n - real
    rest, some = jnp.mod(real, text), jnp.maximum(real, 1.0)
    variance = (1 + (rest / some) * ((text - rest) / some)) / text
    noise = alpha**2 * variance + 2 * alpha * (synthetic / n) * shared + synthetic / n / n
    return affine_scan(synthetic / n * (jnp.maximum(synthetic - 1, 0.0) / n), noise.at[0].set(1 / n[0]))


def _missed(real, n, text):
    """P(a token of the text of generation s has no copies at t), `t s`, from the batch of s alone; 1 for s > t."""
    share, growth = (n - real) / n, n / jnp.roll(n, 1)

    def back(u, s):  # u at s of every t, and what becomes of it one generation earlier
        u = u.at[s].set(1.0)
        return -jnp.expm1(-share[s] * growth[s] * u), u

    times = jnp.arange(n.size)
    alive = jax.lax.scan(back, jnp.zeros_like(n), times, reverse=True)[1].T
    passes = jnp.expand_dims(real / text, 0)
    return jnp.where(passes > 1, (1 - alive) ** jnp.maximum(passes, 1.0), 1 - passes * alive)


def _real(x: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
    return jnp.asarray(x, float)
