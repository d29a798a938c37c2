"""A nearest-neighbour language model: a transformer that consults a datastore of real text when it speaks.

    p(v | x_<i) = λ p_kNN(v | x_<i) + (1 − λ) p_LM(v | x_<i)
    p_kNN ∝ Σ_j exp(−‖h − h_j‖²/(τ d)) 1{v_j = v},   over the k nearest to h = h(x_<i) among stored pairs (h_j, v_j)

A pair is what the transformer holds where a real token v_j is about to be written, and that token. The real sequences
stay; each generation encodes them anew, with its own weights, after its fit. The mixture is what is released and what
writes the next generation's synthetic data; the transformer alone is trained. For tables, where a neighbour is an equal
context, this is `Retrieval`, and λ a real share at inference: `theory.retrieval`.

Source: Khandelwal et al., kNN-LM, arXiv 1911.00172 (λ = 0.25, k = 1024); the loop around it is ours.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

from jaxcollapse._atoms import AbstractPointModel, Atoms
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._schedule import brief
from jaxcollapse.families._decoding import Decoding
from jaxcollapse.families._gradient import check_number
from jaxcollapse.families.sequences import AbstractSequences, of_length
from jaxcollapse.families.tabular import as_array
from jaxcollapse.families.transformer import Transformer, TransformerModel, read


class NeighbourModel(AbstractPointModel):
    """A law of sequences, λ p_kNN + (1 − λ) p_LM at every token.

    inner        p_LM, the transformer
    datastore    `s i`, the real sequences; `keys` `n d`, what `inner` holds before each of their n = s i tokens
    weight, temperature   λ and τ;  `neighbours` k
    decoding     how sequences are drawn; `log_prob` is that of the plain law
    """

    inner: TransformerModel
    datastore: Int[Array, "s i"]
    keys: Float[Array, "n d"]
    weight: Float[Array, ""]
    temperature: Float[Array, ""]
    neighbours: int = eqx.field(static=True)
    decoding: Decoding = eqx.field(default_factory=Decoding)

    @property
    def vocab(self) -> int:
        return self.inner.vocab

    @property
    def length(self) -> int:
        return self.inner.length

    def next_log_probs(self, x: Num[Array, "m i"]) -> Float[Array, "m i v"]:
        """ln p(· | x_<i) in nats at every position of m sequences."""
        mixed = lambda h: jax.nn.log_softmax(self._logits(h), axis=-1)
        return jax.lax.map(mixed, self.inner.representations(x))

    def log_prob(self, x: Num[Array, "*m i"]) -> Float[Array, "*m"]:
        """ln p(x) in nats of whole sequences; NaN for one that holds what is no token."""
        rows = of_length(x, self.length).reshape(-1, self.length)
        tokens, lawful = read(rows, self.vocab)
        chosen = jnp.take_along_axis(self.next_log_probs(tokens), tokens[..., None], -1).sum((-2, -1))
        return jnp.where(lawful, chosen, jnp.nan).reshape(x.shape[:-1])

    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m i"]:
        """That many sequences, as the decoding says; NaN where the model has diverged or the decoding is no law."""
        drawn = self.inner.write(self._logits, self.decoding, number, key=key)
        return jnp.where(jnp.isfinite(self.weight) & jnp.isfinite(self.temperature), drawn, jnp.nan)

    def neighbour_probs(self, h: Float[Array, "q d"]) -> Float[Array, "q v"]:
        """p_kNN where the transformer holds h, by an exact search."""
        products = jnp.matmul(h, self.keys.T, precision="highest")
        nearness = (2 * products - jnp.sum(self.keys**2, -1)[None]) / (self.temperature * h.shape[-1])
        nearest, which = jax.lax.top_k(nearness, self.neighbours)  # ‖h‖² is the same for all
        tokens = self.datastore.reshape(-1)[which]
        nothing = jnp.zeros((h.shape[0], self.vocab), h.dtype)
        return nothing.at[jnp.arange(h.shape[0])[:, None], tokens].add(jax.nn.softmax(nearest, axis=-1))

    def summary(self, target: AbstractSequences) -> dict[str, Array]:
        """cross_entropy of the mixture on the target's test sequences, nats a token; parametric, the transformer's."""
        found = self.inner.summary(target)
        mixed = -self.log_prob(target.test).mean() / self.length
        return found | {"cross_entropy": mixed, "parametric": found["cross_entropy"]}

    def _logits(self, h: Float[Array, "q d"]) -> Float[Array, "q v"]:
        """Logits of the mixture, with the scale of the transformer's own: for λ = 0 they are these, bit for bit."""
        logits = self.inner.logits(h)
        whole = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        stored = jnp.log(self.weight * self.neighbour_probs(h))
        mixed = jnp.logaddexp(stored, jnp.log1p(-self.weight) + logits - whole) + whole
        return jnp.where(self.weight == 0, logits, mixed)


class Neighbours(AbstractLearner):
    """Trains `inner` as ever, and interpolates what it says with the nearest of stored real tokens.

    inner        the transformer
    weight       λ in [0, 1]; 0 is `inner` itself, 1 the datastore alone; may be swept
    neighbours   k, the stored pairs that have a say
    temperature  τ > 0, of squared distances a dimension; → 0: the nearest pair alone; may be swept
    sequences    s real sequences that each lineage draws before generation 0, beside its n_0, and keeps for ever
    datastore    `s i` token ids in their place, the same for all lineages

    The search is exact, one matrix product with all s × length pairs for each token that is written or judged.
    Without data nothing changes. Errors: `ValueError` for a λ outside [0, 1], a τ that is not positive, more neighbours
    than pairs, or a datastore that is no set of sequences of the target's length and vocabulary; a traced λ or τ out of
    range gives NaN.
    """

    inner: Transformer
    weight: Num[ArrayLike, ""] = 0.25
    neighbours: int = eqx.field(default=64, static=True)
    temperature: Num[ArrayLike, ""] = 1.0
    sequences: int = eqx.field(default=64, static=True)
    datastore: Num[ArrayLike, "s i"] | None = eqx.field(default=None, converter=as_array)

    def __check_init__(self):
        if not isinstance(self.inner, Transformer):
            expected = "a jc.Transformer; try Neighbours(Transformer())"
            raise ValueError(f"inner: got {brief(self.inner)}, expected {expected}")
        if self.inner.distil:  # its teacher would not be the mixture that writes
            raise ValueError("inner: got one that distils, expected one that learns from samples; try distil=False")
        for name, valid, expected in (
            ("weight", lambda x: 0 <= x <= 1, "one number in [0, 1]; try 0.25"),
            ("temperature", lambda x: x > 0, "one finite number above 0; try 1.0"),
        ):
            check_number(name, getattr(self, name), valid, expected)
        for name in ("neighbours", "sequences"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name}: got {brief(value)}, expected a whole number of at least 1; try 16")

    def init(self, target: AbstractSequences, *, key: PRNGKeyArray) -> NeighbourModel:
        inner = self.inner.init(target, key=key)
        store = self._stored(target, jr.fold_in(key, 1))
        if self.neighbours > store.size:
            got = f"{self.neighbours} for a datastore of {store.size} tokens"
            raise ValueError(f"neighbours: got {got}, expected no more than that; try neighbours={store.size}")
        return self._speaking(inner, store)

    def observe(self, model: AbstractPointModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> Atoms:
        return self.inner.observe(model, n, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return self.inner.pool(target, source, alpha, n, split, key=key)

    def fit(self, data: Atoms, model: NeighbourModel, *, key: PRNGKeyArray) -> NeighbourModel:
        """The transformer after its fit, and the datastore as it now sees it."""
        return self._speaking(self.inner.fit(data, model.inner, key=key), model.datastore)

    def _speaking(self, inner: TransformerModel, store: Int[Array, "s i"]) -> NeighbourModel:
        held = inner.representations(store)
        weight, temperature = jnp.asarray(self.weight, float), jnp.asarray(self.temperature, float)
        weight = jnp.where((weight >= 0) & (weight <= 1), weight, jnp.nan)
        temperature = jnp.where(temperature > 0, temperature, jnp.nan)
        keys = held.reshape(-1, held.shape[-1])
        return NeighbourModel(inner, store, keys, weight, temperature, self.neighbours)

    def _stored(self, target: AbstractSequences, key: PRNGKeyArray) -> Int[Array, "s i"]:
        if self.datastore is None:
            return target.draw(self.sequences, key=key).astype(int)
        shape, length = np.shape(self.datastore), target.length
        if len(shape) != 2 or shape[1] != length:
            got, expected = f"shape {shape}", f"(sequences, {length}), whole sequences of the target"
            raise ValueError(f"datastore: got {got}, expected {expected}; try None")
        if not isinstance(self.datastore, Tracer) and not np.isin(self.datastore, np.arange(target.vocab)).all():
            expected = f"token ids from 0 to {target.vocab - 1}; try None"
            raise ValueError(f"datastore: got {brief(self.datastore)}, expected {expected}")
        return jnp.asarray(self.datastore).astype(int)
