"""Moments: a sample of points as its size, its mean and its scatter about that mean, drawn exactly at any n.

    w = n,   m = Σ x / n,   S = Σ (x − m)(x − m)ᵀ = K Kᵀ          K lower triangular

    n draws from N(μ, L Lᵀ):   m = μ + L z / √n,   K = L A,   A_ii² ~ χ²(n − 1 − i),   A_ij ~ N(0, 1)       i > j
    sum:                       S = S₁ + S₂ + (w₁ w₂ / w) δ δᵀ,   δ = m₂ − m₁

Bartlett, Proc. R. Soc. Edinburgh 53 (1933) 260, here also for n ≤ d, where column j ≥ n − 1 of A is 0; Chan, Golub and
LeVeque, Amer. Statist. 37 (1983) 242. Kept as its root K: Σ x² − n m² has cancelled and S itself has lost its small
directions when a lineage that collapses is still far from the end of its floats.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, ArrayLike, Float, Num, PRNGKeyArray, Real

from jaxcollapse._data import EMPTY, AbstractData
from jaxcollapse._schedule import largest_size
from jaxcollapse.sampling import chi_square
from jaxcollapse.sampling._gamma import normal


class Moments(AbstractData):
    """A sample of points in d dimensions: weight, mean `d` and centred scatter `d d`.

    Moments(weight, mean, scatter), or a lower triangular `root` of the scatter in its place; a number stands for d = 1.
    The weight is a whole number as drawn (int32; int64 under x64); `a * moments` casts it to a float, and from then on
    the pool is a float pool. Weight 0 is no data, and adds nothing. Draws with n < 0 are marked by weight −1 and NaN,
    in every sum too, and so is a negative multiple.
    Errors: `ValueError` for shapes that do not fit, a negative weight, a scatter that is not symmetric and
    semidefinite (a root is taken as it is); a traced scatter loses its negative directions.
    """

    weight: Num[Array, ""]
    mean: Float[Array, " d"]
    root: Float[Array, "d d"]

    def __init__(
        self,
        weight: Num[ArrayLike, ""],
        mean: Num[ArrayLike, "*d"],
        scatter: Num[ArrayLike, "*dd"] | None = None,
        *,
        root: Num[ArrayLike, "*dd"] | None = None,
    ):
        whole = jnp.issubdtype(jnp.result_type(weight), jnp.integer)
        self.weight = jnp.asarray(weight, int if whole else float)
        self.mean = jnp.atleast_1d(jnp.asarray(mean, float))
        given, shape = scatter if root is None else root, 2 * self.mean.shape
        if given is None or jnp.ndim(mean) > 1 or jnp.atleast_2d(jnp.asarray(given)).shape != shape:
            got = f"shape {None if given is None else jnp.shape(given)} for a mean of shape {jnp.shape(mean)}"
            raise ValueError(f"scatter: got {got}, expected (d, d) for (d,)")
        if scatter is not None and not isinstance(weight, Tracer) and not np.asarray(weight) >= 0:
            raise ValueError(f"weight: got {weight}, expected a number of draws, at least 0; try 0 for no data")
        if scatter is not None and not isinstance(scatter, Tracer):
            _check_scatter(np.asarray(scatter, np.float64).reshape(shape))
        given = jnp.asarray(given, float).reshape(shape)
        self.root = given if scatter is None else _root(given)

    @property
    def scatter(self) -> Float[Array, "d d"]:
        return jnp.matmul(self.root, self.root.T, precision="highest")

    @property
    def total(self) -> Num[Array, ""]:
        return self.weight

    def __add__(self, other: "Moments") -> "Moments":
        a, b = self.weight, other.weight
        if a.dtype != b.dtype:
            a, b = a.astype(float), b.astype(float)
        marked = (a < 0) | (b < 0) | jnp.isnan(a + b)
        w1, w2 = a.astype(float), b.astype(float)
        total = jnp.where(w1 + w2 > EMPTY, w1 + w2, 1.0)
        start = jnp.where(w1 > EMPTY, self.mean, other.mean)  # so that no data change no digit, here and in `first`
        delta = other.mean - start
        step = jnp.sqrt(w1 / total) * jnp.sqrt(w2) * delta
        first = w2 <= EMPTY
        one, two = jnp.where(first, self.root, other.root), jnp.where(first, other.root, self.root)
        root = _root_of_sum(one, two, step[:, None])
        nan = jnp.where(marked, jnp.nan, 0.0)
        weight = jnp.where(marked, -jnp.ones_like(a), a + b)
        return Moments(weight, start + delta * (w2 / total) + nan, root=root + nan)

    def __rmul__(self, a: Real[Array, ""] | float) -> "Moments":
        a = jnp.asarray(a, float)
        marked = ~(a >= 0) | (self.weight < 0)
        root = jnp.sqrt(jnp.where(marked, jnp.nan, a)) * self.root
        return Moments(jnp.where(marked, -1.0, a * self.weight.astype(float)), self.mean, root=root)

    def resample(self, n: Real[Array, ""], *, key: PRNGKeyArray) -> "Moments":
        """min(n, w) draws without replacement from a whole pool; n with replacement from a float pool.

        Which points the pool holds is not known, but what is drawn has the mean, the covariance of its mean and the
        mean scatter that n draws from any pool with these moments have, so E μ and E Σ of a regime that subsamples are
        exact. Its law is that of a Gaussian pool: without replacement the law given the pool's moments, which for
        independent draws from one Gaussian (the real set of `Anchor`) is exact, since no parameter enters it. A pool of
        several generations has fourth moments of its own, which are not kept.
        None from an empty pool; an n below 0 or NaN is marked.
        """
        n, size = jnp.asarray(n), self.weight
        if jnp.issubdtype(size.dtype, jnp.floating):
            some, factor = size > EMPTY, self.root / jnp.sqrt(jnp.where(size > EMPTY, size, 1.0))
            drawn = draw(self.mean, factor, jnp.where(some | ~(n >= 0), n, jnp.zeros_like(n)), key=key)
            return _mark(drawn, size < 0)
        n = jnp.where(n >= 0, n, -jnp.ones_like(n)).astype(size.dtype)
        return _mark(_without_replacement(self, jnp.minimum(n, size), key), (n < 0) | (size < 0))


def draw(mean: Float[Array, " d"], factor: Float[Array, "d d"], n: Real[Array, ""], *, key: PRNGKeyArray) -> Moments:
    """The moments of n draws from N(mean, factor factorᵀ): exact, at a cost that does not depend on n.

    0 ≤ n < 2³¹ (2⁵³ under x64), traced or not; another n is marked. float32 holds n to 24 digits, x64 to 53.
    """
    fits = n < largest_size() if jnp.issubdtype(n.dtype, jnp.floating) else True
    whole = jnp.where((n >= 0) & fits, n, -jnp.ones_like(n)).astype(int)
    k_mean, k_scatter = jr.split(key)
    size, marked = jnp.maximum(whole, 1).astype(float), whole < 0
    z = normal(k_mean, mean.shape) / jnp.sqrt(size)
    some = jnp.where(whole > 0, 1.0, 0.0)  # no data: zeros
    root = _product(factor, bartlett(k_scatter, len(mean), size - 1))
    return _mark(Moments(whole, some * (mean + _product(factor, z)), root=root), marked)


def bartlett(key: PRNGKeyArray, d: int, degrees: Float[Array, ""]) -> Float[Array, "d d"]:
    """Lower triangular A with A Aᵀ ~ Wishart_d(I, degrees), for whole degrees ≥ 0; of that rank where it is below d."""
    if d == 1:
        return jnp.sqrt(chi_square(key, degrees)).reshape(1, 1)
    k_diagonal, k_below = jr.split(key)
    left = degrees - jnp.arange(d).astype(float)
    diagonal = jnp.sqrt(chi_square(k_diagonal, jnp.maximum(left, 0.0)))
    return jnp.where(left > 0, _strictly_lower(k_below, d), 0.0) + jnp.diag(diagonal)


def _strictly_lower(key: PRNGKeyArray, d: int) -> Float[Array, "d d"]:
    """Normal variates below the diagonal, from as many: a rectangle and its image turned by 180° make the triangle."""
    half = (d + 1) // 2
    rectangle = normal(key, (half, 2 * half - 1))
    square = jnp.pad(jnp.concatenate([rectangle[::-1, ::-1], rectangle]), ((0, 0), (0, 1)))
    return jnp.tril(square[:d, :d], -1)


def _without_replacement(pool: Moments, n, key) -> Moments:
    """n of the pool's w draws, 0 ≤ n ≤ w: with W₁, W₂ ~ Wishart of n − 1 and w − n − 1 degrees and z ~ N(0, I),

    and T Tᵀ = W₁ + W₂ + z zᵀ:   S' = (K T⁻¹) W₁ (K T⁻¹)ᵀ,   m' = m + √((w − n) / (w n)) K T⁻¹ z
    """
    d = len(pool.mean)
    size, whole = jnp.maximum(n, 1).astype(float), jnp.maximum(pool.weight, 1).astype(float)
    rest = (pool.weight - n).astype(float)
    k_drawn, k_rest, k_mean = jr.split(key, 3)
    inner, outer = bartlett(k_drawn, d, size - 1), bartlett(k_rest, d, jnp.maximum(rest - 1, 0.0))
    z = normal(k_mean, (d,))[:, None]
    z = jnp.where((jnp.arange(d) < pool.weight - 1)[:, None], z, 0.0)  # no more directions than the pool has
    all_ = _root_of_sum(inner, outer, z)
    root, shift = (_product(pool.root, _solve(all_, x)) for x in (inner, z))
    mean = pool.mean + jnp.sqrt(rest / whole / size) * shift[:, 0]
    every, some = rest <= 0, n > 0
    mean, root = jnp.where(every, pool.mean, mean), jnp.where(every, pool.root, root)
    return Moments(n, jnp.where(some, mean, 0.0), root=jnp.where(some, root, 0.0))


def _solve(triangle: Float[Array, "d d"], x: Float[Array, "d k"]) -> Float[Array, "d k"]:
    """triangle⁻¹ x, 0 along directions that the triangle does not have."""
    if triangle.size == 1:
        return x / jnp.asarray(jnp.where(triangle > 0, triangle, jnp.inf))[0, 0]
    missing = jnp.diagonal(triangle) <= 0
    known = jnp.where(missing[:, None], 0.0, x)
    solved = solve_triangular(triangle + jnp.diag(jnp.where(missing, 1.0, 0.0)), known, lower=True)
    return jnp.where(missing[:, None], 0.0, solved)


def _check_scatter(scatter: np.ndarray) -> None:
    """`ValueError` unless a concrete matrix is a scatter, up to the rounding of float32."""
    most = max(abs(scatter).max(), np.finfo(float).tiny)
    if not np.isfinite(most):
        raise ValueError("scatter: got a number that is not finite, expected finite ones")
    asymmetry, least = abs(scatter - scatter.T).max(), np.linalg.eigvalsh(scatter / most)[0] * most
    if asymmetry > 1e-5 * most or least < -1e-5 * len(scatter) * most:
        got = f"an asymmetry of {asymmetry:g}" if asymmetry > 1e-5 * most else f"an eigenvalue of {least:g}"
        raise ValueError(f"scatter: got {got}, expected a symmetric, semidefinite matrix; try x.T @ x")


def _root(scatter: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """A lower triangular root of a scatter, which few draws leave singular: from its symmetric root."""
    if scatter.size == 1:
        return jnp.sqrt(scatter)
    values, vectors = jnp.linalg.eigh(scatter)
    symmetric = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]
    return _lower(symmetric.T)


def _lower(rows: Float[Array, "m d"]) -> Float[Array, "d d"]:
    """The lower triangular K with K Kᵀ = rowsᵀ rows."""
    upper = jnp.linalg.qr(rows, mode="r")
    return (upper * jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None]).T


def _root_of_sum(a: Float[Array, "d d"], b: Float[Array, "d d"], c: Float[Array, "d 1"]) -> Float[Array, "d d"]:
    """The lower triangular root of a aᵀ + b bᵀ + c cᵀ; `a` to the last digit where the others are 0."""
    if a.size == 1:
        most = jnp.maximum(jnp.maximum(abs(a), abs(b)), abs(c))
        scale = jnp.where(most > 0, most, 1.0)
        return most * jnp.sqrt((a / scale) ** 2 + (b / scale) ** 2 + (c / scale) ** 2)
    return _lower(jnp.concatenate([a.T, b.T, c.T]))


def _product(a: Float[Array, "d d"], b: Float[Array, "d *k"]) -> Float[Array, "d *k"]:
    return a[0, 0] * b if a.size == 1 else jnp.matmul(a, b, precision="highest")


def _mark(x: Moments, marked) -> Moments:
    nan = jnp.where(marked, jnp.nan, 0.0)
    return Moments(jnp.where(marked, -jnp.ones_like(x.weight), x.weight), x.mean + nan, root=x.root + nan)
