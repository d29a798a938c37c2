"""The tabular next-token model: a table p(v | c) of C contexts × V tokens; C = 1 is the unigram.

    Fit(N) :  p(v | c) = (N_cv + β_v) / (N_c + Σ_v β_v)     posterior mean; maximum likelihood for β = 0
              p(· | c) ~ Dirichlet(N_c + β)                 posterior sampling

A context that was not visited (N_c = 0) keeps its previous row; at generation 0 it holds one draw from p*(· | c), so
that E p_t = p* at every t. Contexts are drawn in one of two ways:

    independently   n_c ~ Multinomial(n, π), the same fixed π for the truth and the model: contexts do not couple, and
                    the exact per-context theory holds (`theory.context_risk`)
    as documents    M = n/ℓ documents of ℓ tokens start from π and run the model's own Markov chain in lockstep,
                    N_{i+1}(v) = Σ_c Multinomial(N_i(c), p(· | c))_v: the contexts couple, as in a language model
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

from jaxcollapse import metrics
from jaxcollapse._data import EMPTY, Counts
from jaxcollapse._learner import AbstractLearner, real_draws, two_draws
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.sampling import binomial, multinomial


def as_array(value):
    """Lists as arrays, whose numbers JAX would otherwise take one by one; the rest as it is."""
    return np.asarray(value) if isinstance(value, list | tuple) else value


class AbstractTable(AbstractModel):
    """A model that is a table of next-token probabilities `v`, or `c v` with the law π of its contexts."""

    probs: eqx.AbstractVar[Float[Array, "*c v"]]
    contexts: eqx.AbstractVar[Float[Array, " c"] | None]

    def log_prob(self, x: Int[Array, "..."]) -> Float[Array, "..."]:
        """log p in nats of token ids, or of (context, token) pairs on the last axis for a `c v` table."""
        rows = self.probs[x] if self.contexts is None else self.probs[x[..., 0], x[..., 1]]
        return jnp.log(rows)

    def counts(self, n: Int[Array, ""], *, key: PRNGKeyArray) -> Int[Array, "*c v"]:
        """n tokens with contexts drawn independently from π; exact, at a cost that does not depend on n."""
        if self.contexts is None:
            return multinomial(key, n, self.probs)
        k_contexts, k_tokens = jr.split(key)
        return multinomial(k_tokens, multinomial(k_contexts, n, self.contexts), self.probs)

    def summary(self, target: "AbstractTable") -> dict[str, Array]:
        """Per context: squared error and total variation against the target, diversity, tokens alive, missing mass."""
        p, q = self.probs, target.probs
        return {
            "squared_error": metrics.squared_error(p, q),
            "total_variation": metrics.total_variation(p, q),
            "diversity": metrics.diversity(p),
            "surviving": metrics.surviving(p),
            "missing_mass": metrics.missing_mass(p, q),
        }


class Categorical(AbstractTable):
    """A table of next-token probabilities.

    probs      `v`, or `c v` with one row per context; every row adds up to 1 and is normalised
    contexts   π, the law of the contexts, `c`; uniform by default; for `c v` tables only

    Errors: `ValueError` for a negative, NaN or infinite entry, a row that does not add up to 1 (10⁻³), a wrong shape.
    A traced table with such a row holds NaN there.
    """

    probs: Float[Array, "*c v"]
    contexts: Float[Array, " c"] | None

    def __init__(self, probs: Num[ArrayLike, "..."], contexts: Num[ArrayLike, "..."] | None = None):
        self.probs = _laws("probs", probs, (1, 2))
        if self.probs.ndim == 2 and contexts is None:
            contexts = jnp.full(self.probs.shape[0], 1 / self.probs.shape[0])
        if contexts is not None:
            if jnp.shape(contexts) != self.probs.shape[:-1]:
                raise ValueError(
                    f"contexts: got shape {jnp.shape(contexts)} for probs of shape {self.probs.shape}, expected one "
                    "probability for each row of a c × v table; leave contexts out for a unigram"
                )
            contexts = _laws("contexts", contexts, (1,))
        self.contexts = contexts


class Tabular(AbstractLearner):
    """Learns a table of next-token probabilities from counts.

    smoothing         β ≥ 0 added to every count of a visited context, a number, `v` or `c v`; 0 is maximum likelihood,
                      τ·base.probs a pull to a fixed pretrained base with the weight of τ draws
    document_length   None: contexts are drawn independently from π. ℓ: the model's own Markov chain, in documents of
                      ℓ tokens; the table must be square, n is rounded to whole documents (at least one), and the
                      mixture weight α is that of a document, not of a token.
    """

    smoothing: Num[ArrayLike, "*prior"] = eqx.field(default=0.0, converter=as_array)
    document_length: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        beta = self.smoothing
        if np.ndim(beta) > 2 or (not isinstance(beta, Tracer) and not _pseudo_counts(np.asarray(beta)).all()):
            expected = "finite pseudo-counts of at least 0, a number, (v,) or (c, v)"
            raise ValueError(f"smoothing: got {brief(beta)}, expected {expected}; try 0.5")
        length = self.document_length
        if length is not None and (not isinstance(length, int) or length < 1):
            raise ValueError(f"document_length: got {length}, expected a whole number of at least 1; try 64, or None")

    def init(self, target: AbstractModel, *, key: PRNGKeyArray) -> Categorical:
        """One real draw in every row: what a context holds that generation 0 does not visit."""
        if not isinstance(target, AbstractTable):
            expected = "a table of probabilities; try jc.Categorical(probs)"
            raise ValueError(f"target: got {brief(target)}, expected {expected}")
        one = np.ones(target.probs.shape[:-1], int)  # known while tracing: half of the sampler need not be compiled
        return eqx.tree_at(lambda m: m.probs, target, multinomial(key, one, target.probs).astype(float))

    def observe(self, model: AbstractTable, n: Int[Array, ""], *, key: PRNGKeyArray) -> Counts:
        """n tokens drawn from a model, in whole documents where it writes documents."""
        if self.document_length is None:
            return Counts(model.counts(n, key=key))
        return _write(model, _documents(n, self.document_length), self.document_length, key)

    def pool(
        self,
        target: Categorical,
        source: AbstractTable,
        alpha: Float[Array, ""],
        n: Int[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Counts, Counts, Counts]:
        """n draws from α·target + (1 − α)·source with their provenance.

        With a random split the mixture is itself a table: the pooled counts are drawn once and thinned,
        R_v ~ Binomial(D_v, α p*_v / mix_v), which is exact and compiled away where nobody reads it.
        """
        if self.document_length is not None:
            return _pool_documents(target, source, alpha, n, self.document_length, split, key)
        if split != "random":
            return two_draws(self, target, source, alpha, n, split, key=key)
        return thinned(lambda table, key: table.counts(n, key=key), target, source, alpha, key=key)

    def fit(self, data: Counts, model: Categorical, *, key: PRNGKeyArray) -> Categorical:
        """(N + β) / (N_c + Σβ) in visited contexts, the previous row in the others, NaN where counts are marked."""
        rows = data.counts.sum(-1, keepdims=True).astype(float)
        beta = self.prior(data.counts.shape)
        added = data.counts.shape[-1] * beta if beta.ndim == 0 else beta.sum(-1, keepdims=True)
        total = jnp.where(rows > EMPTY, rows, 1.0) + added
        fitted = jnp.where(rows > EMPTY, (data.counts.astype(float) + beta) / total, model.probs)
        return eqx.tree_at(lambda m: m.probs, model, jnp.where(rows >= 0, fitted, jnp.nan))

    def prior(self, shape: tuple[int, ...]) -> Float[Array, "*c"]:
        """β, a number or a table of this shape, NaN where a traced one is none; `ValueError` where it does not fit."""
        beta = jnp.asarray(self.smoothing, float)
        if beta.ndim and beta.shape not in (shape, shape[-1:]):
            raise ValueError(
                f"smoothing: got shape {beta.shape} for a table of shape {shape}, expected one number, or one for each "
                "token; try a number"
            )
        beta = jnp.where(_pseudo_counts(beta), beta, jnp.nan)
        return jnp.broadcast_to(beta, shape) if beta.ndim else beta


class PosteriorSampling(AbstractLearner):
    """Draws the table from its posterior, p(· | c) ~ Dirichlet(N_c + β), where `Tabular(smoothing=β)` takes the mean.

    With α = 0 a Gibbs sampler: the stationary law of a lineage is the prior Dirichlet(β) exactly, whatever n.
    β = 0 is the Bayesian bootstrap, where a lost token stays lost. Rows that were not visited stay.
    Reference: Reali and Griffiths (2010), iterated learning as a Wright–Fisher process.
    """

    inner: Tabular

    def __check_init__(self):
        if not isinstance(self.inner, Tabular):
            raise ValueError(f"inner: got {brief(self.inner)}, expected a jc.Tabular; try Tabular(smoothing=0.5)")

    def init(self, target: Categorical, *, key: PRNGKeyArray) -> Categorical:
        return self.inner.init(target, key=key)

    def observe(self, model: AbstractTable, n: Int[Array, ""], *, key: PRNGKeyArray) -> Counts:
        return self.inner.observe(model, n, key=key)

    def pool(
        self,
        target: Categorical,
        source: AbstractTable,
        alpha: Float[Array, ""],
        n: Int[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Counts, Counts, Counts]:
        return self.inner.pool(target, source, alpha, n, split, key=key)

    def fit(self, data: Counts, model: Categorical, *, key: PRNGKeyArray) -> Categorical:
        """Dirichlet(N + β) in visited contexts, the previous row in the others, NaN where counts are marked."""
        mean = self.inner.fit(data, model, key=key).probs
        visited = (data.counts.sum(-1, keepdims=True).astype(float) > EMPTY) & ~jnp.isnan(mean)
        posterior = data.counts.astype(float) + self.inner.prior(data.counts.shape)
        return eqx.tree_at(lambda m: m.probs, model, jnp.where(visited, _dirichlet(key, posterior), mean))


def _dirichlet(key: PRNGKeyArray, concentration: Float[Array, "*c v"]) -> Float[Array, "*c v"]:
    """Rows ~ Dirichlet, from log-gamma variates: for small concentrations the variates themselves would all be 0."""
    positive = concentration > 0
    log_gamma = jr.loggamma(key, jnp.where(positive, concentration, 1.0))
    return jax.nn.softmax(jnp.where(positive, log_gamma, -jnp.inf), axis=-1)


def thinned(
    draw: Callable[[Categorical, PRNGKeyArray], Int[Array, "*c v"]],
    target: Categorical,
    source: AbstractTable,
    alpha: Float[Array, ""],
    *,
    key: PRNGKeyArray,
) -> tuple[Counts, Counts, Counts]:
    """(pooled, real, synthetic) draws from the table α·target + (1 − α)·source, drawn together and then told apart."""
    k_pool, k_thin = jr.split(key)
    real_part = alpha * target.probs
    whole = source.probs.sum(-1, keepdims=True)
    # A curation may leave less than 1, or an ulp more; at α = 1, nothing.
    rest = source.probs / jnp.where((alpha == 1) & (whole == 0), 1.0, whole)
    mixture = eqx.tree_at(lambda m: m.probs, target, real_part + (1 - alpha) * rest)
    pooled = draw(mixture, k_pool)
    share = real_part / jnp.maximum(mixture.probs, jnp.finfo(mixture.probs.dtype).tiny)
    real = binomial(k_thin, pooled, share)
    return Counts(pooled), Counts(real), Counts(jnp.where(pooled < 0, pooled, pooled - real))


def _pseudo_counts(beta):
    return (beta >= 0) & (beta < np.inf)


def _documents(n: Int[Array, ""], length: int) -> Int[Array, ""]:
    """round(n / ℓ) documents, at least one for n ≥ 1; n ≤ 0 stays as it is."""
    return jnp.where(n > 0, jnp.maximum(n // length + (2 * (n % length) >= length).astype(n.dtype), 1), n)


def _pool_documents(target, source, alpha, n, length, split, key) -> tuple[Counts, Counts, Counts]:
    k_split, k_real, k_synthetic = jr.split(key, 3)
    documents = _documents(n, length)
    n_real = real_draws(split, alpha, documents, key=k_split)
    real = _write(target, n_real, length, k_real)
    synthetic = _write(source, documents - n_real, length, k_synthetic)
    return real + synthetic, real, synthetic


def _write(model: AbstractTable, documents: Int[Array, ""], length: int, key: PRNGKeyArray) -> Counts:
    """Token counts `c v` of that many documents of that length, advanced in lockstep."""
    k_start, k_tokens = jr.split(key)
    if model.contexts is None or model.probs.shape[0] != model.probs.shape[1]:
        raise ValueError(
            f"probs: got shape {model.probs.shape}, expected a square table, since in a document each token is the "
            "next one's context; try order=2, or Tabular() for independent contexts"
        )

    def token(carry, i):
        at, counts = carry
        drawn = multinomial(jr.fold_in(k_tokens, i), at, model.probs)
        return (drawn.sum(0), counts + drawn), None

    start = multinomial(k_start, documents, model.contexts)
    (_, counts), _ = jax.lax.scan(token, (start, jnp.zeros(model.probs.shape, start.dtype)), jnp.arange(length))
    return Counts(jnp.where(documents < 0, -1, counts))


def _laws(name: str, probs: Num[ArrayLike, "..."], dimensions: tuple[int, ...]) -> Float[Array, "..."]:
    """The rows, normalised; concrete ones that are no laws are refused, traced ones become NaN."""
    probs = as_array(probs)
    if jnp.ndim(probs) not in dimensions or jnp.size(probs) == 0:
        expected = "a table of shape (v,) or (c, v)" if 2 in dimensions else "one probability for each context"
        raise ValueError(f"{name}: got shape {jnp.shape(probs)}, expected {expected}")
    if isinstance(probs, Tracer):
        sums = probs.sum(-1, keepdims=True).astype(float)
        lawful = (abs(sums - 1) <= 1e-3) & (probs >= 0).all(-1, keepdims=True)
        return jnp.where(lawful, probs.astype(float) / sums, jnp.nan)
    rows = np.asarray(probs, float)
    if not np.isfinite(rows).all() or (rows < 0).any():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(rows) | (rows < 0))[0])
        raise ValueError(f"{name}: got {rows[where]} at {where}, expected probabilities of at least 0; try 0 there")
    if (abs(rows.sum(-1) - 1) > 1e-3).any():
        worst = np.ravel(rows.sum(-1))[np.argmax(abs(np.ravel(rows.sum(-1)) - 1))]
        raise ValueError(f"{name}: got a row that adds up to {worst:.6g}, expected 1; try jc.from_counts(weights)")
    sums = rows.sum(-1, keepdims=True)
    return jnp.asarray(np.where(abs(sums - 1) > 1e-12, rows / sums, rows), float)  # a law is kept to the last bit
