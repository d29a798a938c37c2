"""Variational autoencoders: points in d dimensions from k normal latent variables and a trained decoder.

    p(z) = N(0, I_k),     p(x | z) = N(f(z), v I_d),     q(z | x) = N(μ(x), diag σ²(x))

    ELBO(x) = −(d/2) ln 2πv − E_q ‖x − f(z)‖²/2v − ½ Σ_j (μ_j² + σ_j² − 1 − ln σ_j²)  ≤  ln p(x)
    z = μ(x) + σ(x) ε,  ε ~ N(0, I_k)        the gradient of the expectation passes through z

Sources: Kingma and Welling, arXiv 1312.6114; the bound of S samples, Burda, Grosse and Salakhutdinov, arXiv 1509.00519.

f and (μ, ln σ²) have one hidden layer each. Where they are linear (`hidden=0`) this is probabilistic PCA (Tipping and
Bishop, J. R. Stat. Soc. B 61:611, 1999): with data of covariance eigenvalues λ_1 ≥ λ_2 ≥ …, the best model has variance
max(λ_j, v) along its k directions and v along the others, and the bound is tight. What varies by less than v is not
learned. A draw is f(z) + √v ε, with the decoder's noise: every generation adds v again to what it has learned, and a
lineage that hands on f(z) alone loses v of every latent direction a generation.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num, PRNGKeyArray

from jaxcollapse import _atoms
from jaxcollapse._atoms import AbstractPointModel, Atoms
from jaxcollapse._data import EMPTY
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._schedule import brief
from jaxcollapse.families import _gradient
from jaxcollapse.families.sequences import AbstractSequences

SAMPLES = 64  # of z in `log_prob`
DRAWS = 512  # from model and target in `summary`
FLOOR = 1e-6  # a learned v stays above it, so that a point repeated for ever has a finite density


class VariationalModel(AbstractPointModel):
    """A decoder of normal latent variables, and the encoder that was trained with it.

    decoder   f: `k` -> `d`;     encoder   `d` -> (μ, ln σ²), `2k`;     variance   v of the decoder's noise

    v = 0 is allowed where a model is only drawn from: its draws are f(z).
    """

    decoder: eqx.nn.MLP
    encoder: eqx.nn.MLP
    variance: Float[Array, ""]

    @property
    def latent(self) -> int:
        """k."""
        return int(self.decoder.in_size)

    def decode(self, z: Float[Array, "*m k"]) -> Float[Array, "*m d"]:
        """f(z), the mean of p(x | z)."""
        return _apply(self.decoder, z)

    def posterior(self, x: Float[Array, "*m d"]) -> tuple[Float[Array, "*m k"], Float[Array, "*m k"]]:
        """μ(x) and σ²(x) of q(z | x)."""
        mean, log_variance = jnp.split(_apply(self.encoder, x), 2, axis=-1)
        return mean, jnp.exp(log_variance)

    def elbo(self, x: Float[Array, "*m d"], *, key: PRNGKeyArray) -> Float[Array, "*m"]:
        """The evidence lower bound in nats of each point, its expectation estimated from one z."""
        mean, variance = self.posterior(x)
        z = mean + jnp.sqrt(variance) * jr.normal(key, mean.shape, mean.dtype)
        divergence = 0.5 * jnp.sum(mean**2 + variance - 1 - jnp.log(variance), -1)
        return self._log_normal(x - self.decode(z)) - divergence

    def log_prob(self, x: Float[Array, "*m d"]) -> Float[Array, "*m"]:
        """ln (1/S) Σ_s p(x, z_s)/q(z_s | x) in nats with S = 64 samples from a fixed key: a lower bound of ln p(x).

        The bound holds for its mean over keys; it rises with S to ln p(x). All points share the S values of ε, so that
        it is a function of x; a mean over points has their common error.
        """
        return self._weighted_bound(x, jr.normal(jr.key(0), (SAMPLES, self.latent), self.variance.dtype))

    def _weighted_bound(self, x: Float[Array, "*m d"], noise: Float[Array, "s k"]) -> Float[Array, "*m"]:
        mean, variance = self.posterior(x)
        noise = jnp.broadcast_to(noise, (*mean.shape[:-1], *noise.shape))
        z = mean[..., None, :] + jnp.sqrt(variance)[..., None, :] * noise
        ratio = 0.5 * jnp.sum(noise**2 - z**2 + jnp.log(variance)[..., None, :], -1)  # ln p(z) − ln q(z | x)
        each = self._log_normal(x[..., None, :] - self.decode(z)) + ratio
        return jax.scipy.special.logsumexp(each, axis=-1) - jnp.log(noise.shape[-2])

    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m d"]:
        """That many independent points f(z) + √v ε."""
        k_latent, k_noise = jr.split(key)
        means = self.decode(jr.normal(k_latent, (number, self.latent), self.variance.dtype))
        return means + jnp.sqrt(self.variance) * jr.normal(k_noise, means.shape, means.dtype)

    def summary(self, target: AbstractPointModel) -> dict[str, Array]:
        """From 512 draws of the model and 512 of the target, with a fixed key.

        variance              of the draws, tr Σ/tr Σ*, the decoder's noise included
        decoded_variance      of f(z) alone, tr Σ/tr Σ*
        latent_variance       of the aggregate posterior E_x q(z | x), mean over latents, x of the model's own draws:
                              about 1, the prior's, at a good fit, whatever was lost
        latent_variance_real  the same for x of the target
        latent_signal         of the latter, the share that is variance of μ(x): 0 where the posterior is the prior
        elbo                  mean over the target's draws, nats
        """
        k_own, k_true, k_bound = jr.split(jr.key(0), 3)
        own, real = self.draw(DRAWS, key=k_own), target.draw(DRAWS, key=k_true)
        quiet = eqx.tree_at(lambda m: m.variance, self, jnp.zeros_like(self.variance))
        means = quiet.draw(DRAWS, key=k_own)  # of the same z
        scale = jnp.sum(jnp.var(real, 0))
        scale = jnp.where(scale > 0, scale, 1.0)
        (_, ours), (signal, theirs) = self._aggregate(own), self._aggregate(real)
        return {
            "variance": jnp.sum(jnp.var(own, 0)) / scale,
            "decoded_variance": jnp.sum(jnp.var(means, 0)) / scale,
            "latent_variance": jnp.mean(ours),
            "latent_variance_real": jnp.mean(theirs),
            "latent_signal": jnp.mean(signal / theirs),
            "elbo": jnp.mean(self.elbo(real, key=k_bound)),
        }

    def _aggregate(self, x: Float[Array, "m d"]) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        """Var μ(x), and Var μ(x) + E σ²(x)."""
        mean, variance = self.posterior(x)
        signal = jnp.var(mean, 0)
        return signal, signal + jnp.mean(variance, 0)

    def _log_normal(self, off: Float[Array, "*m d"]) -> Float[Array, "*m"]:
        return -0.5 * (jnp.sum(off**2, -1) / self.variance + off.shape[-1] * jnp.log(2 * jnp.pi * self.variance))


class Autoencoder(AbstractLearner):
    """Fits a variational autoencoder to points, of about unit scale, by ascent on the evidence lower bound.

    latent      k ≥ 1
    hidden      units of the hidden layer (GELU) of decoder and encoder; 0: both are linear, probabilistic PCA
    variance    v > 0 of the decoder's noise, in squared units of the points, which may be swept; or "learned": with the
                weights, from the data's mean variance ("scratch") or from where it was; never below 10⁻⁶
    capacity    slots m of a sample; n ≤ m draws are exact, more are represented by m atoms
    optimiser   rate -> an optax optimiser, such as `optax.adam`
    rate        its learning rate; may be swept
    steps       updates of a fit
    batch_size  atoms (drawn by weight, with replacement) that each step sees; None: all of them, weighted
    start       where a fit starts: "scratch" (new random weights), "previous" (the generation before), or a
                `VariationalModel`, a fixed pretrained base, which also is what there is before generation 0

    Without data nothing changes. A fit that diverges is NaN, and so are the records of that lineage from then on, until
    a fit that does not start from "previous" sees real data alone, as at α = 1; no other lineage notices.

    Errors: `ValueError` for sizes, a variance, an optimiser, a start or a target that do not fit, before anything is
    trained. Traced rates and variances that are not positive give NaN.
    """

    latent: int = eqx.field(default=2, static=True)
    hidden: int = eqx.field(default=64, static=True)
    variance: Num[ArrayLike, ""] | str = 0.1
    capacity: int = eqx.field(default=512, static=True)
    optimiser: Any = optax.adam
    rate: Num[ArrayLike, ""] = 0.002
    steps: int = eqx.field(default=1000, static=True)
    batch_size: int | None = eqx.field(default=64, static=True)
    start: str | VariationalModel = "scratch"

    def __check_init__(self):
        _gradient.check(self.optimiser, self.rate, self.steps, self.batch_size)
        _atoms.check_capacity(self.capacity)
        for name, value, least in (("latent", self.latent, 1), ("hidden", self.hidden, 0)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                expected = f"a whole number of at least {least}"
                raise ValueError(f"{name}: got {brief(value)}, expected {expected}; try {max(least, 2)}")
        if not (isinstance(self.variance, str) and self.variance == "learned"):
            expected = "one positive number or 'learned'; try 0.1"
            _gradient.check_number("variance", self.variance, lambda x: x > 0, expected)
        _gradient.check_start(self.start, VariationalModel)

    def init(self, target: Any, *, key: PRNGKeyArray) -> VariationalModel:
        """The base, or random weights; before any data a learned v is 1."""
        if not isinstance(target, AbstractPointModel):
            example = "jc.GaussianMixture([1.0], mean[None], cov[None]), a normal law"
            raise ValueError(f"target: got {brief(target)}, expected a law of points; try {example}")
        if isinstance(target, AbstractSequences):
            got = f"{type(target).__name__}, whose points are token ids"
            raise ValueError(f"target: got {got}, expected a law of points in space; try jc.Transformer()")
        scratch = self._scratch(jax.eval_shape(lambda: target.draw(1, key=key)).shape[1], key)
        if not isinstance(self.start, VariationalModel):
            return scratch
        if (got := _shapes(self.start)) != (due := _shapes(scratch)):
            raise ValueError(f"start: got weights of shapes {got}, expected {due}; try a model of the same learner")
        return self.start

    def observe(self, model: AbstractPointModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> Atoms:
        return _atoms.observe(model, n, self.capacity, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return _atoms.pool(target, source, alpha, n, split, self.capacity, key=key)

    def fit(self, data: Atoms, model: VariationalModel, *, key: PRNGKeyArray) -> VariationalModel:
        """The model after `steps` updates; the previous one without data, NaN where data are marked or not finite."""
        k_start, k_steps = jr.split(key)
        total = data.total
        shares = data.weights / jnp.where(total > EMPTY, total, 1.0)
        seen = jnp.where((shares > 0)[:, None], data.points, 0.0)  # in empty slots an outlier might overflow
        begin, static = eqx.partition(self._begin(model, seen, shares, k_start), eqx.is_array)
        free = jnp.log(jnp.maximum(begin.variance - FLOOR, FLOOR))

        def built(parameters):
            nets, free = parameters
            return eqx.combine(self._with_variance(nets, free), static)

        def loss(parameters, key):
            k_batch, k_noise = jr.split(key)
            points, weights = self._batch(seen, shares, k_batch)
            return -jnp.sum(weights * built(parameters).elbo(points, key=k_noise))

        rate = jnp.asarray(self.rate, float)
        found, _ = _gradient.descend(loss, (begin, free), self.optimiser, rate, self.steps, key=k_steps)
        fitted = built(found)
        lawful = ~jnp.isnan(total) & (rate > 0) & (self._stated() > 0)
        trained = lawful & jnp.isfinite(seen).all() & _finite(fitted) & (fitted.variance > 0)
        idle = lawful & (total <= EMPTY)
        lost = jnp.where(trained, 0.0, jnp.nan)
        keep = lambda new, old: jnp.where(idle, old, new + lost)
        fitted, static = eqx.partition(fitted, eqx.is_array)
        return eqx.combine(jax.tree.map(keep, fitted, eqx.filter(model, eqx.is_array)), static)

    def _stated(self) -> Float[Array, ""]:
        return jnp.ones(()) if isinstance(self.variance, str) else jnp.asarray(self.variance, float)

    def _with_variance(self, nets: VariationalModel, free: Float[Array, ""]) -> VariationalModel:
        """v = 10⁻⁶ + e^free where it is learned, else the number that is stated."""
        variance = FLOOR + jnp.exp(free) if isinstance(self.variance, str) else self._stated()
        return eqx.tree_at(lambda m: m.variance, nets, variance)

    def _batch(
        self, points: Float[Array, "m d"], shares: Float[Array, " m"], key: PRNGKeyArray
    ) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
        if self.batch_size is None:
            return points, shares
        which = jr.choice(key, shares.size, (self.batch_size,), p=shares)
        return points[which], jnp.full(self.batch_size, 1 / self.batch_size)

    def _begin(
        self, model: VariationalModel, points: Float[Array, "m d"], shares: Float[Array, " m"], key: PRNGKeyArray
    ) -> VariationalModel:
        if isinstance(self.start, VariationalModel):
            return self.start
        if self.start == "previous":
            return model
        mean = shares @ points
        spread = jnp.mean(shares @ (points - mean[None]) ** 2)
        return eqx.tree_at(lambda m: m.variance, self._scratch(points.shape[1], key), spread)

    def _scratch(self, dimensions: int, key: PRNGKeyArray) -> VariationalModel:
        k_decoder, k_encoder = jr.split(key)
        width, depth = max(self.hidden, 1), min(self.hidden, 1)
        decoder = eqx.nn.MLP(self.latent, dimensions, width, depth, jax.nn.gelu, key=k_decoder)
        encoder = eqx.nn.MLP(dimensions, 2 * self.latent, width, depth, jax.nn.gelu, key=k_encoder)
        return VariationalModel(decoder, encoder, self._stated())


def _apply(net: eqx.nn.MLP, x: Float[Array, "*m i"]) -> Float[Array, "*m o"]:
    flat = jax.vmap(net)(x.reshape(-1, x.shape[-1]))
    return flat.reshape(*x.shape[:-1], flat.shape[-1])


def _finite(model: VariationalModel) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(eqx.filter(model, eqx.is_array))]).all()


def _shapes(model: VariationalModel) -> list[tuple[int, ...]]:
    return [jnp.shape(x) for x in jax.tree.leaves(eqx.filter(model, eqx.is_array))]
