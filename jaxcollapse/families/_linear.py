"""The moments of regression's rows (x, y), and how they are drawn, thinned and solved.

    G = Σ x xᵀ,  c = Σ x y,  Σ y²,  n rows:    RᵀR = [[G, c], [cᵀ, Σ y²]] for the R of a QR decomposition of the rows

Source: Bartlett's decomposition of the Wishart law, Proc. R. Soc. Edinburgh 53 (1933) 260.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray, Real

from jaxcollapse._data import EMPTY, AbstractData
from jaxcollapse.sampling import chi_square
from jaxcollapse.sampling._gamma import normal


class LinearMoments(AbstractData):
    """What regression needs of its rows (x, y): how many, Σ x xᵀ, Σ x y, Σ y². All are floats, sums and multiples too.

    A difference of two samples is one of these too, though no sample has it: the solver gives NaN where it is singular.

    Not centred: a residual sum of squares is a difference, whose rounding is 10⁻⁶ of Σ y² in float32 (10⁻¹⁵ under
    x64); noise below some 10⁻³ of ‖w‖ cannot be read off it in float32. Least squares itself does not need it.
    """

    weight: Float[Array, ""]
    gram: Float[Array, "d d"]
    cross: Float[Array, " d"]
    square: Float[Array, ""]
    given: bool = eqx.field(default=False, static=True)

    @property
    def total(self) -> Float[Array, ""]:
        return self.weight

    def __add__(self, other: "LinearMoments") -> "LinearMoments":
        return LinearMoments(
            self.weight + other.weight,
            self.gram + other.gram,
            self.cross + other.cross,
            self.square + other.square,
            self.given,
        )

    def __rmul__(self, a: Real[Array, ""] | float) -> "LinearMoments":
        a = jnp.asarray(a, float)
        return LinearMoments(a * self.weight, a * self.gram, a * self.cross, a * self.square, self.given)

    def resample(self, n: Real[Array, ""], *, key: PRNGKeyArray) -> "LinearMoments":
        """min(n, total) rows without replacement: S' = L B Lᵀ, S = L Lᵀ the moments, B ~ Beta_{d+1}(n/2, (N − n)/2).

        Exact for one batch of the Gaussian design, whose rows are uniform given their moments, and so for a retained
        real set (`Anchor(fraction=)`). A pool of batches with several parents is treated as one such batch: its labels
        are forgotten, not their spread; moments keep their means exactly, ‖ŵ − w*‖² its mean within 1 % at d/n ≤ 1/6
        (measured).
        None from an empty pool; NaN where 0 < n < N ≤ d, where n < 0, and for a leaky pool's fractions of rows n < d.
        Errors: `ValueError` for a given design, whose rows are not exchangeable.
        """
        if self.given:
            raise ValueError(
                "resample: got rows of a given design, expected the Gaussian design, whose rows are exchangeable; try "
                "LinearModel(weights, noise) without design"
            )
        p, all_rows = self.cross.size + 1, self.weight
        n = jnp.minimum(jnp.asarray(n, float), all_rows)
        kept, left = jax.vmap(trapezoid, (0, None, 0))(jnp.stack([n, all_rows - n]), p, jr.split(key))
        both = jnp.linalg.cholesky(gram_of(kept) + gram_of(left))
        rows = jnp.matmul(self._root(), solve_triangular(both, kept.T, lower=True), precision="highest")
        moments = jnp.matmul(rows, rows.T, precision="highest")
        drawn = LinearMoments(n, moments[:-1, :-1], moments[:-1, -1], moments[-1, -1])
        share = jnp.where((n == 0) | (n >= all_rows), n / jnp.maximum(all_rows, EMPTY), jnp.nan)
        inside = (n > 0) & (n < all_rows) & (all_rows >= p)
        return either(inside, drawn, share * self)

    def _root(self) -> Float[Array, "p p"]:
        """Lower triangular L of the moments of (x, y), L Lᵀ = [[G, c], [cᵀ, Σ y²]]."""
        root = jnp.linalg.cholesky(self.gram)
        last = solve_triangular(root, self.cross, lower=True)
        rest = jnp.sqrt(jnp.maximum(self.square - jnp.dot(last, last, precision="highest"), 0.0))
        return jnp.block([[root, jnp.zeros((last.size, 1))], [last[None], rest[None, None]]])


def solve(data: LinearMoments, penalty: Real[Array, ""] | float) -> Float[Array, " d"]:
    """(G/n + λ I)⁻¹ c/n."""
    n, d = jnp.maximum(data.weight, EMPTY), data.cross.size
    factor = cho_factor(data.gram / n + jnp.asarray(penalty, float) * jnp.eye(d), lower=True)
    return cho_solve(factor, data.cross / n)


def residual(data: LinearMoments, weights: Float[Array, " d"]) -> Float[Array, ""]:
    """RSS = Σ (y − x·w)² ≥ 0."""
    back = jnp.matmul(data.gram, weights, precision="highest") - 2 * data.cross
    return jnp.maximum(data.square + jnp.dot(weights, back, precision="highest"), 0.0)


def trapezoid(n: Float[Array, ""], p: int, key: PRNGKeyArray) -> Float[Array, "p p"]:
    """R of the QR decomposition of n rows of N(0, I_p), Bartlett's: R_ii = χ_{n−i}, N(0, 1) to the right, 0 below.

    Exact for every whole n ≥ 0: with n < p rows, those of R from n on are 0 and RᵀR is singular.
    """
    k_diagonal, k_rest = jr.split(key)
    index = jnp.arange(p)
    diagonal = jnp.sqrt(chi_square(k_diagonal, jnp.maximum(n - index.astype(float), 0.0)))
    rows = jnp.triu(normal(k_rest, (p, p)), 1) + jnp.diag(diagonal)
    return jnp.where((index.astype(float) < n)[:, None], rows, 0.0)


def gram_of(rows: Float[Array, "i d"]) -> Float[Array, "d d"]:
    return jnp.matmul(rows.T, rows, precision="highest")


def either(condition, yes: LinearMoments, no: LinearMoments) -> LinearMoments:
    pick = lambda name: jnp.where(condition, getattr(yes, name), getattr(no, name))
    return LinearMoments(pick("weight"), pick("gram"), pick("cross"), pick("square"), yes.given)
