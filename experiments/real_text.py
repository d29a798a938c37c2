"""The loop on real text: Shakespeare's and the King James Bible's next-word tables, trained on what they write.

    p*(v | c)   the next word given the previous one, the 256 most frequent words; contexts from the text's fixed law π
    0 % real        D_t: n words of the last model                        Replace(), α = 0
    10 % preserved  D_t: 0.1 n words of D_0, drawn anew, and 0.9 n of it  Anchor(fraction=0.1), α = 0.1, split="fixed"
    10 % fresh      D_t: n words, each new real text with chance 0.1      Replace(), α = 0.1

Published, Shumailov et al., Nature 631:755 (2024): OPT-125m on wikitext2, blocks of 64 tokens, five beams. Perplexity
115 before and 34 after fine-tuning on real data; with 0 % real data (5 epochs) 20 to 28 points are lost in generations
0 to 9, with 10 % of the originals (10 epochs) little. A table of word pairs can show what finite samples do to the tail
and then to the variance, exactly, and the order of the three workflows. It cannot show those figures: it has neither
limited capacity nor epochs nor beams, the two other errors of that paper, and another text and vocabulary.

A table that has lost a pair has infinite perplexity on real text. So three finite numbers stand in its place: the share
of real text that it cannot write (missing mass); the perplexity of the mixture 0.1 p* + 0.9 p_t, which in the fresh
workflow is what the next generation is trained on; and that of the table smoothed as `Tabular(smoothing=50 π)` would,
(n π_c p_t + 50 π)/(n π_c + 50), where 50 draws' worth of single-word frequencies play the pretrained base.
Blocks of 64 words that generation t writes by its own chain are scored by p*, not by the model of generation 0, which
gives 0 to every pair that its n words lack and other generations may have; p* is what it estimates.

Exact: the risk r_{c,t} of each context (preserved: `anchored`, derived here); E of what one written word costs under p*
is H(p*) for ever, since E p_t = p*, and its variance Σ π_c² r_c Var_c; and, by duality, the survival of a pair:
the words of a context at t have A_t founders, real draws with offspring, and P(pair v is lost) = E (1 − p_v)^{A_t}
(`lost`; 0 % real and fresh). Preserved, by branching: exp(−n π_c p (1 − q_t)), q_t = (1 − u_t) Π_{k<t} (1 − 0.1 u_k).

    jaxcollapse run experiments/real_text.py
"""

import functools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from numpy.polynomial import chebyshev
from scipy import stats
from scipy.special import gammaln

import jaxcollapse as jc

CORPORA = ("shakespeare", "king_james")
TITLES = ("Shakespeare", "King James")
AXES = {"corpus": np.array([0, 1])}  # places in CORPORA
WORKFLOWS = ("0 % real", "10 % preserved", "10 % fresh")
SHARE = 0.1
BASE = 50.0  # draws that the base weighs in the smoothed perplexity
KEPT = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
OCTAVES = 12  # classes of pairs by n π_c p: below 1/8, to 1/4, …, 128 and above
MEASURED = {
    "risk": "risk, Σ π_c R_c / Σ π_c H*_c",
    "diversity": "diversity, Σ π_c H_c / Σ π_c H*_c",
    "missing": "missing mass",
    "pairs": "share of the text's pairs alive",
    "written": "nats a written word costs under p*",
}
PERPLEXITIES = {"smoothed": "smoothed table", "mixture": "mixture 0.1 p* + 0.9 p"}


def experiment(corpus, *, key, n=10_000, vocab=256, generations=50, lineages=32, blocks=16, length=64):
    """What is `MEASURED` and what 64-word blocks cost, of every lineage in each workflow, at generations `times`."""
    laws, kept = [law(i, vocab) for i in range(len(CORPORA))], times(generations)
    pick = lambda tables: jnp.asarray(np.stack(tables))[jnp.asarray(corpus).astype(int)]
    p_star = jc.Categorical(*(pick(x).astype(float) for x in zip(*laws, strict=True)))
    classes = pick([octave(n, *x) for x in laws])
    record = functools.partial(measure, p_star=p_star, classes=classes, n=n, blocks=blocks, length=length)
    keys = jr.split(key, lineages)
    run = lambda loop: jax.vmap(functools.partial(recorded, loop, kept, record))(keys)
    replaced = jax.vmap(lambda alpha: run(replace(p_star, alpha, n)))(jnp.array([0.0, SHARE]))
    anchored_run = run(preserved(p_star, n))
    found = {name: jnp.stack([x[0], anchored_run[name], x[1]]) for name, x in replaced.items()}
    real = jax.vmap(lambda key: write(p_star, p_star, blocks, length, key))(jr.split(jr.fold_in(key, 1), lineages))
    axes = ("workflow", "lineage", "generation")
    more = {"octaves": ("octave",), "blocks": ("block",), "contexts": ("context",)}
    out = {name: ((*axes, *more.get(name, ())), value) for name, value in found.items() if name != "words"}
    about = {"long_name": "share of lineages in which a word is alive"}
    return out | {
        "generation": ("generation", kept, {"long_name": "generation t"}),
        "words": (("workflow", "generation", "word"), found["words"].mean(1), about),
        "original": (("lineage", "block"), real, {"long_name": "cost of real blocks under p*", "units": "nats"}),
    }


def law(corpus, vocab):
    """p*(v | c) and π of the corpus with this number, in double precision."""
    counts = jc.corpora.load(CORPORA[corpus], vocab, order=2).counts
    return counts / counts.sum(1, keepdims=True), counts.sum(1) / counts.sum()


def octave(n, q, pi):
    """The class of each pair by its expected count in n real words."""
    return np.digitize(n * pi[:, None] * q, 2.0 ** np.arange(-3, OCTAVES - 4))


def times(generations):
    return np.array([t for t in KEPT if t < generations] + [generations])


def replace(p_star, alpha, n):
    """0 % real and 10 % fresh: one program, since α is a number."""
    return jc.Loop(p_star, jc.Tabular(), jc.Replace(), jc.Constant(alpha), jc.Constant(float(n)))


def preserved(p_star, n):
    alpha, size = jc.Constant(SHARE), jc.Constant(float(n))
    return jc.Loop(p_star, jc.Tabular(), jc.Anchor(fraction=SHARE), alpha, size, split="fixed")


def recorded(loop, kept, record, key):
    """One lineage, its generation 0 included: `record(model, key)` at the generations kept."""
    blank, static = eqx.partition(loop.blank(key=jr.fold_in(key, 0)), eqx.is_array)

    def step(t, state):
        return eqx.filter(loop.step(eqx.combine(state, static), key=jr.fold_in(key, t))[0], eqx.is_array)

    def advance(state, span):
        state = jax.lax.fori_loop(span[0], span[1], step, state)
        return state, record(eqx.combine(state, static).model, jr.fold_in(jr.fold_in(key, span[1]), 9))

    spans = np.stack([np.concatenate([[0], kept[:-1] + 1]), kept + 1], 1)
    return jax.lax.scan(advance, blank, jnp.asarray(spans))[1]


def measure(model, key, *, p_star, classes, n, blocks, length):
    """All that is recorded of one model."""
    p, q, pi = model.probs, p_star.probs, p_star.contexts
    h_star, real = jc.metrics.diversity(q), (q > 0).astype(float)
    seen = n * pi[:, None]
    smoothed = (seen * p + BASE * pi[None]) / (seen + BASE)
    alive = (p > 0).astype(float)
    by_octave = lambda x: jnp.zeros(OCTAVES).at[classes].add(real * x)
    return {
        "risk": pi @ jc.metrics.squared_error(p, q) / (pi @ h_star),
        "diversity": pi @ jc.metrics.diversity(p) / (pi @ h_star),
        "missing": pi @ jc.metrics.missing_mass(p, q),
        "pairs": (real * alive).sum() / real.sum(),
        "written": pi @ -(p * log(q)).sum(-1),
        "smoothed": pi @ jc.metrics.cross_entropy(q, smoothed),
        "mixture": pi @ jc.metrics.cross_entropy(q, SHARE * q + (1 - SHARE) * p),
        "octaves": by_octave(alive) / jnp.maximum(by_octave(jnp.ones_like(q)), 1.0),
        "words": (p > 0).any(0).astype(float),
        "contexts": jc.metrics.squared_error(p, q) / jnp.where(h_star > 0, h_star, 1.0),
        "blocks": write(model, p_star, blocks, length, key),
    }


def log(q):
    return jnp.log(jnp.asarray(jnp.where(q > 0, q, 1.0)))


def write(model, p_star, blocks, length, key):
    """Nats a word under p* of blocks that a model writes by its own chain from a context of π: a scan of inversions."""
    first, rest = jr.split(key)
    sums, score = jnp.cumsum(model.probs, -1), log(p_star.probs)

    def draw(sums, key):  # the first sum above u, whose word has positive probability
        u = jr.uniform(key, (blocks,)) * sums[..., -1]
        return jnp.minimum((sums <= u[:, None]).sum(-1), sums.shape[-1] - 1)

    def word(context, key):
        new = draw(sums[context], key)
        return new, score[context, new]

    start = draw(jnp.cumsum(model.contexts)[None], first)
    return -jax.lax.scan(word, start, jr.split(rest, length))[1].mean(0)


# ── exact theory, on the host ──


def nodes(law, low=0):
    """Counts and weights that sum a smooth function over a law: every h-th count, h ≤ 0.7 deviations, to 10⁻¹²."""
    mean, deviation = law.mean(), law.std()
    last = min(mean + 9 * deviation + 30, law.support()[1])
    step = max(1, int(0.7 * deviation)) if mean > 40 else 1  # below, the law's lower end counts
    m = np.arange(max(low, int(mean - 9 * deviation)), int(last) + 1, step)
    weight = law.pmf(m)
    return m, weight / weight.sum()


@functools.lru_cache(1)
def occupancy(n, pi):
    """P(j balls thrown into m boxes hit d of them), averaged over the m ≥ 1 words of a context: `j d`; m, weights."""
    m, weight = nodes(stats.binom(n, pi), low=1)
    d = np.arange(m.max() + 1)
    law, out = np.zeros((len(m), d.size)), np.zeros((d.size, d.size))
    law[:, 0] = 1
    for row in out:
        row[:] = weight @ law
        up = law * np.maximum(1 - d / m[:, None], 0)
        law = law - up
        law[:, 1:] += up[:, :-1]
    return out, m, weight


def lost(alpha, n, pi, p, generations):
    """P(a pair of probability p in a context of probability π is absent), t = 0..T: E (1 − p)^A, exact, `times p`.

    G_s(K): E z^A of K words of generation s; each is real with chance α, a founder, or copies one of the generation
    before, where J copies have a law of distinct parents (`occupancy`). A context that is not visited keeps its row.
    """
    chance, m, weight = occupancy(n, pi)
    none = np.exp(n * np.log1p(-pi))
    visits = (1 - none) * weight
    p = np.maximum(np.asarray(p, float), 1e-12)
    y, to = _chebyshev(-np.log1p(-np.minimum(p, min(1 - 1e-9, 600 / (n * pi)))))  # 600 copies are never lost
    z, k = np.exp(-y)[:, None], np.arange(m.max() + 1)
    copies, row, out, immigrants = np.where(k > 0, z, 1.0), z[:, 0], [], _immigrants(alpha, k.size, z)
    for t in range(generations + 1):
        now = z**k if t == 0 else immigrants(copies)
        row = now[:, m] @ visits + none * row
        copies = (1 - none) * now @ chance.T + none * copies
        out.append(to(-np.log(row)))
    return np.exp(-np.array(out))


def _chebyshev(y, number=12):
    """Nodes in (0, max y], and the map from values of a cumulant there to its values at y: it/y is smooth in √y."""
    top, x = np.sqrt(y.max()), chebyshev.chebpts1(number)
    at = (top * (x + 1) / 2) ** 2
    fit = np.linalg.inv(chebyshev.chebvander(x, number - 1))
    basis = chebyshev.chebvander(2 * np.sqrt(y) / top - 1, number - 1) @ fit
    return at, lambda values: y * (basis @ (values / at))


def _immigrants(alpha, size, z):
    """copies ↦ Σ_i Binomial(K, α)(i) z^i copies(K − i), K = 0..size − 1."""
    if alpha == 0:
        return lambda copies: copies
    most = min(size - 1, int(alpha * size + 9 * np.sqrt(alpha * size) + 20))
    i, before = np.arange(most, -1, -1), np.zeros((len(z), most))
    weight = stats.binom.pmf(i, np.arange(size)[:, None], alpha) * z[..., None] ** i

    def immigrants(copies):
        windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([before, copies], 1), most + 1, axis=1)
        return np.einsum("zki,zki->zk", weight, windows)

    return immigrants


def anchored(n, pi, generations):
    """r_t of a context whose data are a share of D_0, drawn anew, and the last model's words: 1/m_0 + (1 − 1/m_0) ρ_t.

    Of m_0 words in D_0, k are drawn, s are new; ρ is the drift around D_0's own row, 0 at t = 0:
    ρ' = E [k (m_0 − k)/(m_0 − 1) + s + s (s − 1) ρ]/(k + s)², and ρ where k + s = 0. Exact, averaged over m_0.
    """
    taken, none = int(np.rint(SHARE * n)), np.exp(n * np.log1p(-pi))
    s, of_s = nodes(stats.binom(n - taken, pi))
    m, of_m = nodes(stats.binom(n, pi), low=1)
    m, k = m[:, None], np.arange(int(SHARE * m.max() + 9 * np.sqrt(SHARE * m.max()) + 30))
    of_k = np.exp(_ways(m, k) + _ways(n - m, taken - k) - _ways(n, taken))  # hypergeometric
    size = k[:, None] + s
    square = np.maximum(size, 1) ** 2.0
    apart = of_k * k * np.maximum(m - k, 0) / np.maximum(m - 1, 1)
    add = apart @ ((1 / square) @ of_s) + of_k @ ((s / square) @ of_s)
    keep = of_k @ ((s * (s - 1) / square + (size == 0)) @ of_s)
    drift = add * (1 - keep ** np.arange(generations + 1)[:, None]) / (1 - keep)
    return (1 - none) * (1 / m[:, 0] + (1 - 1 / m[:, 0]) * drift) @ of_m + none


def _ways(n, k):
    """ln (n choose k), −∞ outside."""
    inside = (k >= 0) & (k <= n)
    k = np.where(inside, k, 0)
    return np.where(inside, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), -np.inf)


@functools.cache
def exact(corpus, settings):
    """Theory of all that has one, axes workflow, generation, …; `lost` has every pair, and branching for preserved."""
    set_ = json.loads(settings)
    n, generations, kept = set_["n"], set_["generations"], times(set_["generations"])
    q, pi = law(corpus, set_["vocab"])
    h_star = 1 - (q**2).sum(1)
    with jax.enable_x64(True):
        rows = [jc.theory.context_risk(jc.Constant(a), jc.Constant(n), pi, generations) for a in (0.0, SHARE)]
        rows = [np.asarray(r)[kept] for r in rows]
        u = np.asarray(jc.theory.branching_survival(SHARE, generations))
    rows.insert(1, np.stack([anchored(n, x, generations)[kept] for x in pi], 1))
    absent = np.concatenate([[1.0], np.cumprod(1 - SHARE * u)])[kept] * (1 - u[kept])
    pairs = [[lost(a, n, x, p, generations)[kept] for a in (0, SHARE)] for x, p in zip(pi.tolist(), q, strict=True)]
    gone = list(np.stack(pairs, 2))
    gone.insert(1, np.exp(-n * np.multiply.outer(1 - absent, pi[:, None] * q)))
    rows, gone, weight = np.stack(rows), np.stack(gone), pi * h_star / (pi @ h_star)
    cost = -np.log(np.where(q > 0, q, 1))
    spread = (q * cost**2).sum(-1) - (q * cost).sum(-1) ** 2
    class_ = np.eye(OCTAVES)[octave(n, q, pi)] * (q > 0)[..., None]
    each = class_.sum((0, 1))
    return {
        "contexts": rows,
        "risk": rows @ weight,
        "diversity": 1 - rows @ weight,
        "missing": (gone * pi[:, None] * q).sum((2, 3)),
        "pairs": 1 - gone[..., q > 0].mean(-1),
        "written": np.full((len(WORKFLOWS), len(kept)), pi @ (q * cost).sum(-1)),
        "spread": np.sqrt(rows @ (pi**2 * spread)),
        "octaves": np.einsum("wtcv,cvo->wto", 1 - gone, class_) / np.maximum(each, 1),
        "pairs in octave": each,
        "words": 1 - gone.prod(2),
        "lost": gone[:, -1],
        "frequency": pi @ q,
        "visits": n * pi,
        "base": float(-(pi @ q) @ np.log(pi)),
    }


# ── what the run shows beside it ──


def analyse(run):
    """For each corpus `exact`, and mean, s.e. and z of all that is `MEASURED`, axes workflow and generation."""
    found, lineages = {}, run.sizes["lineage"]
    for corpus in run.corpus.values.tolist():
        here, theory = run.sel(corpus=corpus), exact(corpus, run.attrs["settings"])
        cell = {"exact": theory, "mean": {}, "se": {}, "z": {}}
        for name in (*MEASURED, *PERPLEXITIES, "octaves", "contexts"):
            x = here[name].transpose("workflow", "lineage", "generation", ...).values.astype(float)
            x = x[:, :, -1] if name == "contexts" else x
            cell["mean"][name], cell["se"][name] = x.mean(1), x.std(1, ddof=1) / np.sqrt(lineages)
            if name in theory:
                expected = theory[name][:, -1] if name == "contexts" else theory[name]
                cell["z"][name] = (cell["mean"][name] - expected) / np.maximum(cell["se"][name], 1e-12)
        spared = lineages * (1 - theory["contexts"][:, -1]) >= 20
        cell["z"]["contexts"] = np.where(spared, cell["z"]["contexts"], np.nan)
        for name in ("missing", "pairs", "octaves"):
            cell["z"][name][1] = np.nan  # preserved: branching is no exact value
        often = lineages * theory["pairs in octave"] * np.minimum(theory["octaves"], 1 - theory["octaves"]) >= 20
        cell["z"]["octaves"] = np.where(often, cell["z"]["octaves"], np.nan)
        cell["words"] = here.words.transpose("workflow", "generation", "word").values.astype(float)
        spread = here.written.transpose("workflow", "generation", "lineage").values.astype(float)
        cell["spread"] = spread.std(-1, ddof=1)
        found[corpus] = cell
    return found


def word_chances(cell, lineages):
    """Two-sided chances of as many lineages with a word, 0 % real and fresh, where theory leaves both outcomes open."""
    law = np.clip(cell["exact"]["words"], 0, 1)[[0, 2]]
    alive = np.rint(cell["words"][[0, 2]] * lineages)
    below, above = stats.binom.cdf(alive, lineages, law), stats.binom.sf(alive - 1, lineages, law)
    return np.minimum(2 * np.minimum(below, above), 1)[lineages * np.minimum(law, 1 - law) >= 1]


def summary(run):
    """The last generation against theory, perplexity over time, and the words that die."""
    from rich.console import Group

    found, set_, lineages = analyse(run), json.loads(run.attrs["settings"]), run.sizes["lineage"]
    lines: list = [_levels(found, set_), _perplexities(found, run.generation.values)]
    lines += [_words(corpus, cell, set_) for corpus, cell in found.items()]
    for name in (*MEASURED, "octaves", "contexts"):
        z = np.concatenate([abs(cell["z"][name]).ravel() for cell in found.values()])
        z = z[np.isfinite(z)]
        bound = stats.t.isf(5e-4 / z.size, lineages - 1)
        label = {"octaves": "pairs alive, by expected count", "contexts": "risk of each context at T"}.get(name)
        lines.append(f"{label or MEASURED[name]}: worst |z| {z.max():.2f} of {z.size} (bound {bound:.2f})")
    chances = np.concatenate([word_chances(cell, lineages) for cell in found.values()])
    least, bound = chances.min(), 1e-3 / chances.size
    lines.append(f"words alive: least of {chances.size} binomial chances {least:.1e} (bound {bound:.1e})")
    return Group(*lines)


def _table(title, *columns):
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, box=SIMPLE, padding=0)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _levels(found, set_):
    title = f"Generation {set_['generations']}, n = {set_['n']:,} words, {set_['vocab']} words known"
    table = _table(title, "corpus, workflow", "quantity", "exact", "ours ± s.e.", "z", "generation 0")
    for corpus, cell in found.items():
        for w, workflow in enumerate(WORKFLOWS):
            for name in ("risk", "diversity", "missing", "pairs"):
                mean, se, theory, z = (cell[kind][name][w] for kind in ("mean", "se", "exact", "z"))
                first = f"{TITLES[corpus]}, {workflow}" if name == "risk" else ""
                about, score = MEASURED[name], f"{z[-1]:+.1f}" if np.isfinite(z[-1]) else "branching"
                row = (f"{theory[-1]:.4f}", f"{mean[-1]:.4f} ± {se[-1]:.4f}", score, f"{theory[0]:.4f}")
                table.add_row(first, about, *row, end_section=name == "pairs")
    return table


def _perplexities(found, kept):
    title = "Perplexity on real text; spread over lineages of what a written word costs under p*"
    table = _table(title, "corpus", "of", *(f"t = {t}" for t in kept))
    for corpus, cell in found.items():
        floor, base = np.exp(cell["exact"]["written"][0, 0]), np.exp(cell["exact"]["base"])
        table.add_row(TITLES[corpus], f"p*: {floor:.1f}; base, single words: {base:.1f}")
        for name, label in PERPLEXITIES.items():
            for w, workflow in enumerate(WORKFLOWS):
                table.add_row("", f"{label}, {workflow}", *(f"{x:.1f}" for x in np.exp(cell["mean"][name][w])))
        for w, workflow in enumerate(WORKFLOWS):
            both = zip(cell["spread"][w], cell["exact"]["spread"][w], strict=True)
            row = (f"{x:.3f} ({e:.3f})" for x, e in both)
            table.add_row("", f"spread in nats (exact), {workflow}", *row, end_section=w == len(WORKFLOWS) - 1)
    return table


def _words(corpus, cell, set_):
    """Words from the rarest up, by the survival of each in any context."""
    names, lineages = jc.corpora.load(CORPORA[corpus], set_["vocab"], order=2).tokens, set_["lineages"]
    columns = [f"{workflow}{what}" for workflow in WORKFLOWS for what in (": exact", " ours")]
    columns[2] = columns[2].replace("exact", "branching")
    when = f"generation {set_['generations']}, {lineages} lineages"
    title = f"{TITLES[corpus]}: the words that die first; P(alive in some context), {when}"
    table = _table(title, "word", "count in n", *columns)
    order = np.argsort(cell["exact"]["frequency"])
    for i in np.unique(np.concatenate([np.arange(8), np.geomspace(8, len(order) - 1, 6).astype(int)])):
        v = order[i]
        law, ours = cell["exact"]["words"][:, -1, v], cell["words"][:, -1, v]
        row = [f"{x:.3f}" for pair in zip(law, ours, strict=True) for x in pair]
        table.add_row(names[v], f"{set_['n'] * cell['exact']['frequency'][v]:.1f}", *row)
    return table


LOOKS = (("o", "-"), ("s", "--"), ("^", ":"))


def figure(run):
    """Perplexity, missing mass and diversity over time; contexts, blocks and pairs at the last generation."""
    import matplotlib.pyplot as plt

    found, set_ = analyse(run), json.loads(run.attrs["settings"])
    figure, axes = plt.subplots(2, 3, figsize=(15, 9.2), layout="constrained")
    t = run.generation.values
    _over_time(axes[0, 0], found, t, "smoothed", np.exp)
    _over_time(axes[0, 1], found, t, "missing")
    _over_time(axes[0, 2], found, t, "diversity")
    corpus = next(iter(found))
    _contexts(axes[1, 0], found[corpus], TITLES[corpus], t[-1])
    _survival(axes[1, 1], found[corpus], TITLES[corpus], t[-1])
    _blocks(axes[1, 2], run.sel(corpus=corpus), TITLES[corpus])
    high, low, fresh = np.exp(found[corpus]["mean"]["smoothed"][:, -1])
    missing = ", ".join(f"{x:.0%}" for x in found[corpus]["mean"]["missing"][:, -1])
    figure.suptitle(
        f"{TITLES[corpus]} written by tables of word pairs, n = {set_['n']:,}: after {t[-1]} generations perplexity "
        f"{high:.0f} without real text,\n{low:.0f} with a tenth of the originals kept, {fresh:.0f} with a tenth fresh; "
        f"of real text {missing} can no longer be written ({run.sizes['lineage']} lineages, bars 1.96 s.e.)"
    )
    return figure


def _over_time(ax, found, t, name, show=lambda x: x):
    from jaxcollapse.plot import COLOURS

    for corpus, cell in found.items():
        mean, se = cell["mean"][name], cell["se"][name]
        for w, (marker, line) in enumerate(LOOKS):
            face = COLOURS[w] if corpus == 0 else "white"
            bars = 1.96 * np.stack([show(mean[w]) - show(mean[w] - se[w]), show(mean[w] + se[w]) - show(mean[w])])
            style = {"fmt": marker, "color": COLOURS[w], "markerfacecolor": face, "markersize": 6}
            if name in cell["exact"]:
                ax.plot(t, cell["exact"][name][w], color=COLOURS[w], linestyle=line, linewidth=1.3)
            else:
                ax.plot(t, show(mean[w]), color=COLOURS[w], linestyle=line, linewidth=0.8)
            ax.errorbar(t, show(mean[w]), bars, **style, label=f"{TITLES[corpus]}, {WORKFLOWS[w]}")
        if name == "smoothed":
            level = np.exp(cell["exact"]["written"][0, 0])
            ax.axhline(level, color="0.4", linewidth=0.9)
            ax.text(0.01, level, f"p*, {TITLES[corpus]}", va="bottom", fontsize=7.5, transform=ax.get_yaxis_transform())
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ax.set_xticks(t, [str(x) for x in t])
    ax.minorticks_off()
    labels = {
        "smoothed": "perplexity of the smoothed table",
        "missing": "missing mass",
        "diversity": r"diversity, $\sum_c \pi_c H_c \,/\, \sum_c \pi_c H^*_c$",
    }
    titles = {
        "smoothed": "Perplexity on real text (lines join points)",
        "missing": "Early: the tail (lines: exact; preserved: branching)",
        "diversity": "Late: the variance (lines: exact)",
    }
    ax.set(xlabel="generation t", ylabel=labels[name])
    ax.set_title(titles[name], fontsize=11)
    ax.legend(fontsize=7.5)


def _contexts(ax, cell, title, last):
    from jaxcollapse.plot import COLOURS

    order = np.argsort(cell["exact"]["visits"])
    for w, (marker, line) in enumerate(LOOKS):
        mean, se = cell["mean"]["contexts"][w], cell["se"]["contexts"][w]
        visits, law = cell["exact"]["visits"], cell["exact"]["contexts"][w, -1]
        style = {"fmt": marker, "markersize": 2.5, "linewidth": 0.5, "color": COLOURS[w], "alpha": 0.55}
        ax.errorbar(visits, mean, 1.96 * se, **style)
        ax.plot(visits[order], law[order], color="black", linestyle=line, linewidth=1.4)
        ax.plot([], [], marker=marker, color=COLOURS[w], linestyle="", label=WORKFLOWS[w])
    ax.plot([], [], color="black", label="exact")
    ax.set(xscale="log", yscale="log", ylim=(None, 1.6), xlabel=r"words seen of a context, $n \pi_c$")
    ax.set_ylabel(r"risk of the context, $r_{c,T}$")
    ax.set_title(f"Rare contexts collapse first: generation {last}, {title}", fontsize=11)
    ax.legend(fontsize=8, loc="lower left")


def _survival(ax, cell, title, last):
    from jaxcollapse.plot import COLOURS

    there = cell["exact"]["pairs in octave"] > 0
    x = np.flatnonzero(there)
    for w, (marker, line) in enumerate(LOOKS):
        mean, se = (cell[kind]["octaves"][w, -1][there] for kind in ("mean", "se"))
        ax.plot(x, cell["exact"]["octaves"][w, -1][there], color="black", linestyle=line, linewidth=1.2)
        ax.errorbar(x, mean, 1.96 * se, fmt=marker, color=COLOURS[w], markersize=6, label=WORKFLOWS[w])
    ax.plot([], [], color="black", label="exact (preserved: branching)")
    names = ["< ⅛", "⅛", "¼", "½", *(str(2**k) for k in range(OCTAVES - 5)), f"≥ {2 ** (OCTAVES - 5)}"]
    ax.set_xticks(x, [names[i] for i in x])
    ax.set(xlabel="expected count of a pair in n real words (from … up to twice that)", ylabel="share of pairs alive")
    ax.set_title(f"Which pairs are left: generation {last}, {title}", fontsize=11)
    ax.legend(fontsize=8)


def _blocks(ax, here, title):
    """Histograms over all lineages, in bins of a sixth of a factor e."""
    from jaxcollapse.plot import COLOURS

    t, blocks = here.generation.values, here.blocks.transpose("workflow", "generation", "lineage", "block").values
    curves = [(here.original.values, "real text", "black", "-", 1.2)]
    shown = [i for i in range(len(t)) if t[i] in (0, 5, 20)][: len(t) - 1]
    looks = zip(shown, ("0.55", COLOURS[4], COLOURS[3]), (":", "--", "-."), strict=False)
    curves += [(blocks[0, i], f"0 % real, t = {t[i]}", colour, line, 1.5) for i, colour, line in looks]
    curves += [(blocks[0, -1], f"0 % real, t = {t[-1]}", COLOURS[0], "-", 2.4)]
    curves += [(blocks[1, -1], f"{WORKFLOWS[1]}, t = {t[-1]}", COLOURS[1], "--", 1.8)]
    edges = np.arange(blocks.min() - 1 / 6, blocks.max() + 1 / 6, 1 / 6)
    for values, label, colour, line, width in curves:
        share = np.histogram(values, edges)[0] / values.size
        ax.stairs(share, np.exp(edges), color=colour, linestyle=line, linewidth=width, label=label)
    ax.set(
        xscale="log", yscale="log", xlabel="perplexity of a block under p*", ylabel="share of blocks", ylim=(None, 2)
    )
    ax.set_title(f"What the tables write: both tails grow, {title}", fontsize=11)
    ax.legend(fontsize=7, loc="upper left")
