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

Exact: the risk r_{c,t} of each context (`theory.context_risk`, `theory.anchored_risk`); E of what one written word
costs under p* is H(p*) for ever, since E p_t = p*, and its variance Σ π_c² r_c Var_c; and which pairs are lost
(`theory.context_absence`; preserved, by branching: `theory.anchored_factor`).

    jaxcollapse run experiments/real_text.py
"""

import functools
import importlib
import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

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
    "pairs": "pairs alive",
    "written": "nats a written word costs under p*",
}
PERPLEXITIES = {"smoothed": "smoothed", "mixture": "0.1 p* + 0.9 p"}


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


@functools.cache
def exact(corpus, settings):
    """Theory of all that has one, axes workflow, generation, …; `lost` has every pair, and branching for preserved."""
    set_ = json.loads(settings)
    n, kept, (q, pi) = set_["n"], times(set_["generations"]), law(corpus, set_["vocab"])
    rows, gone = by_workflow(n, pi, q, kept)
    h_star = 1 - (q**2).sum(1)
    risk, cost = rows @ (pi * h_star / (pi @ h_star)), -np.log(np.where(q > 0, q, 1))
    spread = (q * cost**2).sum(-1) - (q * cost).sum(-1) ** 2
    class_ = np.eye(OCTAVES)[octave(n, q, pi)] * (q > 0)[..., None]
    each = class_.sum((0, 1))
    return {
        "contexts": rows,
        "risk": risk,
        "diversity": 1 - risk,
        "missing": (gone * pi[:, None] * q).sum((2, 3)),
        "pairs": 1 - gone[..., q > 0].mean(-1),
        "written": np.full((len(WORKFLOWS), len(kept)), pi @ (q * cost).sum(-1)),
        "spread": np.sqrt(rows @ (pi**2 * spread)),
        "octaves": np.einsum("wtcv,cvo->wto", 1 - gone, class_) / np.maximum(each, 1),
        "pairs in octave": each,
        "words": 1 - gone.prod(2),
        "frequency": pi @ q,
        "visits": n * pi,
        "base": float(-(pi @ q) @ np.log(pi)),
    }


def by_workflow(n, pi, q, kept):
    """r_{c,t} and P(pair is lost) of the three workflows at the generations kept: `workflow t c`, `workflow t c v`."""
    last, size = int(kept[-1]), jc.Constant(n)
    with jax.enable_x64(True):
        rows, gone = (
            [np.asarray(f(jc.Constant(alpha))) for alpha in (0.0, SHARE)]
            for f in (
                lambda alpha: jc.theory.context_risk(alpha, size, pi, last),
                lambda alpha: jc.theory.context_absence(alpha, size, pi, q, last),
            )
        )
        rows.insert(1, jc.theory.anchored_risk(SHARE, n, pi, last))
        factor = np.asarray(jc.theory.anchored_factor(SHARE, last))
    gone.insert(1, np.exp(-n * np.multiply.outer(factor, pi[:, None] * q)))
    return np.stack([x[kept] for x in rows]), np.stack([x[kept] for x in gone])


# ── what the run shows beside it ──


def analyse(run):
    """For each corpus `exact`, and mean, s.e. and z of all that is `MEASURED`, axes workflow and generation."""
    found, lineages = {}, run.sizes["lineage"]
    for corpus in run.corpus.values.tolist():
        here, theory = run.sel(corpus=corpus), exact(corpus, run.attrs["settings"])
        cell = {"title": TITLES[corpus], "exact": theory, "mean": {}, "se": {}, "z": {}}
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
    kept = run.generation.values
    lines: list = [_levels(found, set_), _perplexities(found, kept), _spreads(found, kept)]
    levels = (
        (cell["title"], *np.exp([cell["exact"]["written"][0, 0], cell["exact"]["base"]])) for cell in found.values()
    )
    lines += [f"{title}: perplexity of p* {floor:.1f}; base, single words: {base:.1f}" for title, floor, base in levels]
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
    title = (
        f"Generation {set_['generations']}, n = {set_['n']:,}, {set_['vocab']} words known, {set_['lineages']} lineages"
    )
    table = _table(title, "", "quantity", "exact", "ours ± s.e.", "z", "t = 0")
    for cell in found.values():
        table.add_row(cell["title"])
        for w, workflow in enumerate(WORKFLOWS):
            for name in ("risk", "diversity", "missing", "pairs"):
                mean, se, theory, z = (cell[kind][name][w] for kind in ("mean", "se", "exact", "z"))
                first, about = workflow if name == "risk" else "", MEASURED[name].split(",")[0]
                score = f"{z[-1]:+.1f}" if np.isfinite(z[-1]) else "branching"
                row = (f"{theory[-1]:.4f}", f"{mean[-1]:.4f} ± {se[-1]:.4f}", score, f"{theory[0]:.4f}")
                table.add_row(first, about, *row, end_section=name == "pairs")
    return table


def _perplexities(found, kept):
    table = _table("Perplexity on real text; smoothed: (n π_c p + 50 π)/(n π_c + 50)", "t", *(str(t) for t in kept))
    for cell in found.values():
        table.add_row(cell["title"])
        for name, label in PERPLEXITIES.items():
            for w, workflow in enumerate(WORKFLOWS):
                numbers, end = np.exp(cell["mean"][name][w]), w == len(WORKFLOWS) - 1
                table.add_row(f"{label}, {workflow}", *(f"{x:.1f}" for x in numbers), end_section=end)
    return table


def _spreads(found, kept):
    table = _table("Late: spread over lineages of what a written word costs, nats", "t", *(str(t) for t in kept))
    for cell in found.values():
        for w, workflow in enumerate(WORKFLOWS):
            for label, kind in (("exact", cell["exact"]), ("ours", cell)):
                end = label == "ours" and w == len(WORKFLOWS) - 1
                numbers = (f"{x:.3f}" for x in kind["spread"][w])
                table.add_row(f"{cell['title']}, {workflow}, {label}", *numbers, end_section=end)
    return table


def _words(corpus, cell, set_):
    """Words from the rarest up, by the survival of each in any context."""
    names = jc.corpora.load(CORPORA[corpus], set_["vocab"], order=2).tokens
    columns = [
        f"{workflow}\n{law} ours" for workflow, law in zip(WORKFLOWS, ("exact", "branching", "exact"), strict=True)
    ]
    table = _table(f"{TITLES[corpus]}: P(alive in some context), t = {set_['generations']}", "word", "in n", *columns)
    order = np.argsort(cell["exact"]["frequency"])
    for i in np.unique(np.concatenate([np.arange(8), np.geomspace(8, len(order) - 1, 6).astype(int)])):
        v = order[i]
        law, ours = cell["exact"]["words"][:, -1, v], cell["words"][:, -1, v]
        row = [f"{expected:.3f} {found:.3f}" for expected, found in zip(law, ours, strict=True)]
        table.add_row(names[v], f"{set_['n'] * cell['exact']['frequency'][v]:.1f}", *row)
    return table


def figure(run):
    """Perplexity, missing mass and diversity over time; contexts, blocks and pairs at the last generation."""
    if (folder := str(Path(__file__).parent)) not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("real_text_figures").panels(run, analyse(run), WORKFLOWS)
