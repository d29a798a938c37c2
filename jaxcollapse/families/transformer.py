"""A causal transformer on sequences of tokens, with or without experts: all of it.

    p(x) = Π_i p(x_i | x_<i),     logits = norm(h) Eᵀ,     h⁰_i = E[x_{i−1}] + P_i     (x_{−1}: a start token)
    in each layer       h ← h + Attend(norm(h)),    h ← h + F(norm(h))
    dense               F(h) = W₂ gelu(W₁ h)
    experts (top 1)     F(h) = g_e F_e(h),   e = argmax g,   g = softmax(W_r h);   a token beyond an expert's capacity
                        in training passes by the layer, F = 0

    loss = −(1/ℓ) Σ_i ln p(x_i | x_<i)  +  balance · E Σ_e f_e ḡ_e        E experts, f_e their share of tokens, ḡ mean g

    distilled           a synthetic sequence counts −(1/ℓ) Σ_i Σ_v p_{t−1}(v | x_<i) ln p(v | x_<i) in the first term

Cost does not depend on n: `steps` batches of `batch_size` sequences are drawn from the sample.
Sources: Vaswani et al., arXiv 1706.03762; experts: Fedus et al., Switch Transformer, arXiv 2101.03961; distillation:
Hinton et al., arXiv 1503.02531.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num, PRNGKeyArray, PyTree

from jaxcollapse import _atoms
from jaxcollapse._atoms import AbstractPointModel, Atoms
from jaxcollapse._data import EMPTY
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.families import _gradient
from jaxcollapse.families._decoding import Decoding, decode
from jaxcollapse.families._normals import choose
from jaxcollapse.families.sequences import AbstractSequences, of_length

TOGETHER = 64  # sequences that are drawn or evaluated at once, which bounds memory
USUAL = {"layers": 2, "width": 64, "heads": 4, "hidden": 256, "experts": 4, "batch_size": 16}


class Layer(eqx.Module):
    """Attention and feed-forward weights; in `Weights` all layers are stacked along a first axis."""

    attention_norm: Float[Array, "*l d"]
    queries_keys_values: Float[Array, "*l d q"]
    out: Float[Array, "*l d d"]
    feed_norm: Float[Array, "*l d"]
    router: Float[Array, "*l d e"] | None
    up: Float[Array, "*l e d f"]
    down: Float[Array, "*l e f d"]


class Weights(eqx.Module):
    """What is trained. `embed` has a row for each token and, last, one for the start."""

    embed: Float[Array, "w d"]
    position: Float[Array, "i d"]
    layers: Layer
    norm: Float[Array, " d"]
    heads: int = eqx.field(static=True)


class TransformerModel(AbstractPointModel):
    """A law of sequences, `length` tokens of 0 … `vocab` − 1.

    weights    what was trained
    decoding   how sequences are drawn; `log_prob` is that of the plain law
    """

    weights: Weights
    decoding: Decoding = eqx.field(default_factory=Decoding)

    @property
    def vocab(self) -> int:
        return self.weights.embed.shape[0] - 1

    @property
    def length(self) -> int:
        return self.weights.position.shape[0]

    def next_log_probs(self, x: Num[Array, "m i"]) -> Float[Array, "m i v"]:
        """ln p(· | x_<i) in nats at every position of m sequences."""
        return jax.nn.log_softmax(self.logits(self.representations(x)), axis=-1)

    def representations(self, x: Num[Array, "m i"]) -> Float[Array, "m i d"]:
        """What the last layer holds where token i is about to be written: norm(h), a function of x_<i alone.

        Of beginnings of sequences too. What is no token is no error: it reads as the nearest one.
        """
        if x.shape[1] > self.length:
            raise ValueError(f"x: got shape {x.shape}, expected at most {self.length} tokens on the last axis")
        return _forward(self.weights, _inputs(x, self.vocab))[0]

    def log_prob(self, x: Num[Array, "*m i"]) -> Float[Array, "*m"]:
        """ln p(x) in nats of whole sequences; NaN for one that holds what is no token."""

        def one(row):
            tokens, lawful = read(row, self.vocab)
            chosen = jnp.take_along_axis(self.next_log_probs(tokens[None])[0], tokens[:, None], -1)
            return jnp.where(lawful, chosen.sum(), jnp.nan)

        rows = of_length(x, self.length).reshape(-1, self.length)
        return jax.lax.map(one, rows, batch_size=TOGETHER).reshape(x.shape[:-1])

    def logits(self, h: Float[Array, "*m d"]) -> Float[Array, "*m v"]:
        """ln p(· | x_<i) of what the last layer holds, up to a number that is the same for all tokens."""
        return h @ self.weights.embed[:-1].T

    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m i"]:
        """That many sequences, as the decoding says; NaN where the model has diverged or the decoding is no law."""
        return self.write(self.logits, self.decoding, number, key=key)

    def write(
        self, law: Callable[[Float[Array, "m d"]], Float[Array, "m v"]], decoding: Decoding, number: int, *, key
    ) -> Float[Array, "m i"]:
        """`draw` by another law: the logits of the next token as a function of what the last layer holds."""
        together, weights = min(number, TOGETHER), self.weights
        depth, width = weights.layers.out.shape[:2]
        rows = (depth, together, weights.heads, self.length, width // weights.heads)
        nothing = jnp.zeros(rows, weights.embed.dtype)

        def step(token, t, cache):
            h, cache, _ = _forward(weights, token[:, None], cache, t)
            return law(h[:, 0]), cache

        def part(key):
            return decode(step, (nothing, nothing), decoding, (together, self.length, self.vocab), key)

        drawn: Array = jax.lax.map(part, jr.split(key, -(-number // together))).reshape(-1, self.length)[:number]
        trial = decoding.scores(jnp.zeros((1, self.vocab)), jnp.ones((1, self.vocab), bool))
        return jnp.where(self._finite() & ~jnp.isnan(trial).any(), drawn.astype(float), jnp.nan)

    def expert_load(self, x: Num[Array, "m i"]) -> Float[Array, "l e"]:
        """Share of tokens that each layer's router sends to each expert: 1 for a dense layer, NaN for what diverged."""
        one = lambda row: _forward(self.weights, _inputs(row[None], self.vocab))[2][0]
        found: Array = jax.lax.map(one, of_length(x, self.length), batch_size=TOGETHER)
        return jnp.where(self._finite(), found.mean(0), jnp.nan)

    def _finite(self) -> Bool[Array, ""]:
        return jnp.isfinite(sum(x.sum() for x in jax.tree.leaves(self.weights)))

    def summary(self, target: AbstractSequences) -> dict[str, Array]:
        """cross_entropy on the target's test sequences, nats a token; with experts, the load of the busiest one."""
        if target.vocab != self.vocab:
            raise ValueError(f"target: got {target.vocab} tokens for a model of {self.vocab}, expected as many")
        found = {"cross_entropy": -self.log_prob(target.test).mean() / self.length}
        if self.weights.layers.router is None:
            return found
        return found | {"busiest": self.expert_load(target.test).max()}


class Transformer(AbstractLearner):
    """Trains a transformer by gradient descent on sequences.

    layers, width, heads   the width is divided among the heads
    hidden            of the feed-forward net, or of each expert; None: 4 × width
    experts           None: dense; else at least 2, one a token
    expert_capacity   c > 0: an expert takes c × tokens / experts of a training batch, rounded up
    balance           weight of the load-balance loss; may be swept
    capacity          slots m of a sample; n counts sequences, not tokens: n ≤ m draws are exact, more are represented
                      by m sequences. Each generation writes m sequences, however small n is
    optimiser, rate   as in `Softmax`; the rate may be swept
    steps             updates of a fit; few of them are an early stop
    batch_size        sequences of each step, with replacement from the data
    start             "scratch" (new random weights each time), "previous" (the generation before), or a
                      `TransformerModel`, a fixed pretrained base, which also is what there is before generation 0
    distil            whether the previous generation's synthetic sequences are learned by its own next-token
                      probabilities (its plain law's, however it decodes) instead of the tokens that it drew. Such
                      tokens carry a half in the data, 3.5 for 3; read as whole numbers they are what was drawn. An
                      older sequence that a regime keeps is labelled anew, by the present teacher

    Without data nothing changes. A fit that diverges is NaN, and so are the records of that lineage, until a generation
    from scratch sees real data alone; no other lineage notices. Errors: `ValueError` for sizes, an optimiser, a start
    or a target that do not fit, before anything is trained. Traced rates that are not positive, and traced balances
    below 0, give NaN.
    """

    layers: int = eqx.field(default=2, static=True)
    width: int = eqx.field(default=64, static=True)
    heads: int = eqx.field(default=4, static=True)
    hidden: int | None = eqx.field(default=None, static=True)
    experts: int | None = eqx.field(default=None, static=True)
    expert_capacity: float = eqx.field(default=1.25, static=True)
    balance: Num[ArrayLike, ""] = 0.01
    capacity: int = eqx.field(default=1024, static=True)
    optimiser: Any = optax.adam
    rate: Num[ArrayLike, ""] = 3e-3
    steps: int = eqx.field(default=300, static=True)
    batch_size: int = eqx.field(default=16, static=True)
    start: str | TransformerModel = "scratch"
    distil: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        for name, usual in USUAL.items():
            value, least = getattr(self, name), 2 if name == "experts" else 1
            if value is None and name in ("hidden", "experts"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                expected = f"a whole number of at least {least}; try {usual}"
                raise ValueError(f"{name}: got {brief(value)}, expected {expected}")
        _gradient.check(self.optimiser, self.rate, self.steps, self.batch_size)
        _atoms.check_capacity(self.capacity)
        if self.width % self.heads:
            raise ValueError(f"heads: got {self.heads} for a width of {self.width}, expected a divisor; try heads=1")
        expected = "a finite number above 0; try 1.25"
        _gradient.check_number("expert_capacity", self.expert_capacity, lambda x: x > 0, expected)
        _gradient.check_number("balance", self.balance, lambda x: x >= 0, "one number of at least 0; try 0.01")
        _gradient.check_start(self.start, TransformerModel)
        if not isinstance(self.distil, bool):
            raise ValueError(f"distil: got {brief(self.distil)}, expected True or False; try False")

    def init(self, target: AbstractModel, *, key: PRNGKeyArray) -> TransformerModel:
        """The base, or random weights."""
        if not isinstance(target, AbstractSequences):
            raise ValueError(f"target: got {brief(target)}, expected sequences; try jc.Text(ids, 64) or jc.Markov")
        scratch = self._scratch(target.vocab, target.length, key)
        if not isinstance(self.start, TransformerModel):
            return TransformerModel(scratch)
        got, due = (f"{_shapes(one)}, {one.heads} heads" for one in (self.start.weights, scratch))
        if got != due:
            expected = f"weights of shapes {due}; try a base of the same learner, vocabulary and length"
            raise ValueError(f"start: got weights of shapes {got}, expected {expected}")
        return TransformerModel(self.start.weights)

    def observe(self, model: AbstractPointModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> Atoms:
        return _atoms.observe(model, n, self.capacity, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        parts = _atoms.pool(target, source, alpha, n, split, self.capacity, key=key)
        if not self.distil:
            return parts
        points = parts[0].points + jnp.where(parts[2].drawn > 0, 0.5, 0.0)[:, None]
        return tuple(eqx.tree_at(lambda part: part.points, part, points) for part in parts)

    def fit(self, data: Atoms, model: TransformerModel, *, key: PRNGKeyArray) -> TransformerModel:
        """The model after `steps` updates; as it is without data, NaN where data are marked."""
        k_start, k_steps = jr.split(key)
        total, rate, balance = data.total, jnp.asarray(self.rate, float), jnp.asarray(self.balance, float)
        shares: Array = data.weights / jnp.where(total > EMPTY, total, 1.0)
        seen: Array = jnp.where((shares > 0)[:, None], data.points, 0.0)
        lawful = jnp.isfinite(total) & jnp.isfinite(seen).all() & (rate > 0) & (balance >= 0)
        told = jnp.where(lawful, seen, 0.0)

        def loss(weights, key):
            x = told[choose(key, shares, self.batch_size)]
            return self._loss(weights, x.astype(int), self._labels(x, model), balance)

        begin = self._begin(model, k_start)
        found, _ = _gradient.descend(loss, begin, self.optimiser, rate, self.steps, key=k_steps)
        empty = jnp.isfinite(total) & (total <= EMPTY)

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(empty, old, jnp.where(lawful, new, jnp.nan))

        return TransformerModel(jax.tree.map(keep, found, model.weights))

    def _labels(self, x: Float[Array, "b i"], teacher: TransformerModel) -> Float[Array, "b i v"]:
        """What each next token should be: the one that was drawn, or what the teacher says of it."""
        drawn = jax.nn.one_hot(x.astype(int), teacher.vocab, dtype=x.dtype)
        if not self.distil:
            return drawn
        return jnp.where((x > jnp.floor(x))[..., None], jnp.exp(teacher.next_log_probs(x)), drawn)

    def _loss(self, weights: Weights, x: Int[Array, "b i"], labels: Float[Array, "b i v"], balance: Float[Array, ""]):
        vocab = weights.embed.shape[0] - 1
        slots = self.experts and min(x.size, math.ceil(self.expert_capacity * x.size / self.experts))
        h, _, (load, gates) = _forward(weights, _inputs(x, vocab), slots=slots)
        fit = optax.softmax_cross_entropy(TransformerModel(weights).logits(h), labels).mean()
        return fit if self.experts is None else fit + balance * self.experts * jnp.sum(load * gates, -1).mean()

    def _begin(self, model: TransformerModel, key: PRNGKeyArray) -> Weights:
        if isinstance(self.start, TransformerModel):
            return self.start.weights
        return model.weights if self.start == "previous" else self._scratch(model.vocab, model.length, key)

    def _scratch(self, vocab: int, length: int, key: PRNGKeyArray) -> Weights:
        """Normal weights of variance 1/inputs, smaller by √(2 × layers) where they add to h; nearly a uniform law."""
        d, e, depth = self.width, self.experts or 1, self.layers
        f = 4 * d if self.hidden is None else self.hidden
        small, residual = 1 / math.sqrt(d), 1 / math.sqrt(2 * depth)
        wanted = {
            "queries_keys_values": ((depth, d, 3 * d), small),
            "out": ((depth, d, d), small * residual),
            "router": ((depth, d, e), small),
            "up": ((depth, e, d, f), small),
            "down": ((depth, e, f, d), residual / math.sqrt(f)),
            "embed": ((vocab + 1, d), 0.02),
            "position": ((length, d), 0.02),
        }
        sizes = [math.prod(shape) for shape, _ in wanted.values()]
        noise = iter(jnp.split(jr.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1]))  # one sampler to compile
        drawn = {name: scale * next(noise).reshape(shape) for name, (shape, scale) in wanted.items()}
        embed, position, router = (drawn.pop(name) for name in ("embed", "position", "router"))
        one = jnp.ones((depth, d))
        layers = Layer(attention_norm=one, feed_norm=one, router=None if self.experts is None else router, **drawn)
        return Weights(embed, position, layers, jnp.ones(d), self.heads)


def read(x: Num[Array, "*m i"], vocab: int) -> tuple[Int[Array, "*m i"], Bool[Array, "*m"]]:
    """Token ids, and which sequences hold nothing else. Those that a teacher labels carry a half."""
    whole = jnp.floor(x)
    lawful = (whole >= 0) & (whole < vocab) & ((x == whole) | (x == whole + 0.5))
    return jnp.where(lawful, whole, 0).astype(int), lawful.all(-1)


def _inputs(x: Num[Array, "m i"], start: int) -> Int[Array, "m i"]:
    """What is read at each position: the token before, the start token first."""
    tokens = jnp.clip(x.astype(int)[:, :-1], 0, start - 1)
    return jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=start)


def _forward(
    weights: Weights,
    inputs: Int[Array, "m i"],
    cache: tuple[Float[Array, "l m h j c"], Float[Array, "l m h j c"]] | None = None,
    start: Int[Array, ""] | int = 0,
    slots: int | None = None,
) -> tuple[Float[Array, "m i d"], PyTree, tuple[Float[Array, "l e"], Float[Array, "l e"]]]:
    """norm(h) at positions start … start + i, the keys and values so far, and the layers' loads f and mean gates ḡ.

    Without a cache the inputs are the whole sequence; with one, positions before `start` are read from it.
    """
    place = jax.lax.dynamic_slice_in_dim(weights.position, start, inputs.shape[1])
    h = weights.embed[inputs] + place[None]

    def layer(h, one):
        layer, past = one
        change, past = _attend(layer, _norm(h, layer.attention_norm), past, start, weights.heads)
        h = h + change
        change, routed = _feed(layer, _norm(h, layer.feed_norm), slots)
        return h + change, (past, routed)

    # Unrolled: a scan over a few layers takes a third longer, and no less time to compile.
    h, (cache, routed) = jax.lax.scan(layer, h, (weights.layers, cache), unroll=True)
    return _norm(h, weights.norm), cache, routed


def _norm(h: Float[Array, "m i d"], scale: Float[Array, " d"]) -> Float[Array, "m i d"]:
    """Root-mean-square norm."""
    return h * jax.lax.rsqrt(jnp.mean(h**2, -1, keepdims=True) + 1e-6) * scale[None, None]


def _attend(layer: Layer, h: Float[Array, "m i d"], past: PyTree, start: Int[Array, ""] | int, heads: int):
    """Each position attends to itself and what came before."""
    apart = lambda x: x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)
    queries, *fresh = (apart(x) for x in jnp.split(h @ layer.queries_keys_values, 3, axis=-1))
    if past is not None:
        fresh = [jax.lax.dynamic_update_slice_in_dim(old, new, start, 2) for old, new in zip(past, fresh, strict=True)]
    keys, values = fresh
    scores = jnp.einsum("mhic,mhjc->mhij", queries, keys) * math.sqrt(heads / h.shape[-1])
    visible = jnp.arange(keys.shape[2])[None, :] <= start + jnp.arange(h.shape[1])[:, None]
    share = jax.nn.softmax(jnp.where(visible[None, None], scores, -jnp.inf), axis=-1)
    mixed = jnp.einsum("mhij,mhjc->mihc", share, values).reshape(h.shape)
    return mixed @ layer.out, (keys, values) if past is not None else None


def _feed(layer: Layer, h: Float[Array, "m i d"], slots: int | None):
    """F(h), and what the router did: shares of tokens `e` and mean gates `e`."""
    x = h.reshape(-1, h.shape[-1])
    if layer.router is None:
        return (jax.nn.gelu(h @ layer.up[0]) @ layer.down[0]), (jnp.ones(1), jnp.ones(1))
    gates = jax.nn.softmax(x @ layer.router, axis=-1)
    chosen = jnp.argmax(gates, -1)
    sent = jax.nn.one_hot(chosen, gates.shape[-1], dtype=gates.dtype)
    y = _all_experts(layer, x, chosen) if slots is None else _experts(layer, x, chosen, sent, slots)
    return (gates.max(-1, keepdims=True) * y).reshape(h.shape), (sent.mean(0), gates.mean(0))


def _all_experts(layer: Layer, x: Float[Array, "n d"], chosen: Int[Array, " n"]) -> Float[Array, "n d"]:
    """Every expert on every token, and the chosen one's answer: no token is dropped."""
    y = jnp.einsum("nef,efd->ned", jax.nn.gelu(jnp.einsum("nd,edf->nef", x, layer.up)), layer.down)
    return jnp.take_along_axis(y, chosen[:, None, None], 1)[:, 0]


def _experts(layer: Layer, x, chosen, sent: Float[Array, "n e"], slots: int) -> Float[Array, "n d"]:
    """Each expert on the first tokens that were sent to it, as many as it has slots; 0 for the others."""
    experts, place = sent.shape[1], jnp.sum((jnp.cumsum(sent, 0) - 1) * sent, -1).astype(int)
    slot = jnp.where(place < slots, chosen * slots + place, experts * slots)
    held = jnp.zeros((experts * slots, x.shape[1]), x.dtype).at[slot].set(x, mode="drop")
    inner = jax.nn.gelu(jnp.einsum("esd,edf->esf", held.reshape(experts, slots, -1), layer.up))
    y = jnp.einsum("esf,efd->esd", inner, layer.down).reshape(experts * slots, -1)
    return y.at[slot].get(mode="fill", fill_value=0.0)


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [jnp.shape(x) for x in jax.tree.leaves(tree)]
