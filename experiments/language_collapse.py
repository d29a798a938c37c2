"""A language model trained on its own text: what a tenth of the originals, or of fresh text, keeps of Shakespeare.

    base          a transformer of letters, trained once, on the King James Bible
    generation 0  the base, fine-tuned on n windows of the originals, n ℓ letters of Shakespeare's tragedies
    generation t  the base, fine-tuned on n windows which generation t − 1 wrote, but for a share of
                  nothing (0 % real), windows of the originals (10 % originals), or windows of the next n ℓ letters of
                  the tragedies, which no generation has read (10 % fresh); `split="fixed"`: the share is met exactly

Published, Shumailov et al., Nature 631:755 (2024): OPT-125m, fine-tuned on wikitext2 from the same base in every
generation, five beams, 64 tokens a block. Perplexity 115 before and 34 after fine-tuning on real text; with 0 % real
text (5 epochs) 20 to 28 points are lost in generations 0 to 9, with 10 % of the original points, drawn anew in each
generation (10 epochs), little; a repetition penalty of 2.0 doubles the perplexity. So the originals are one text here
that every lineage shares, and the tenth is drawn anew from it. Otherwise than there a block begins with 8 letters that
the model samples, not with a block of real text, and letters of a model a thousand times smaller are no words of GPT.

Rare: let c = −ln p_0(x) be the cost under generation 0 of what is written, and c_(j) the j-th largest of the costs of
m sequences of generation 0 itself, j = round(0.01 (m + 1)). Then P(c > c_(j)) ≤ j/(m + 1) for one more of them,
whatever their law, with equality where no costs tie; 1 % for m = 99, 199, … Of the m themselves (j − 1)/m are beyond
their own level, by construction: nothing is measured at t = 0.

    jaxcollapse run experiments/language_collapse.py
    jaxcollapse run experiments/language_collapse.py --set "decodings='temperature 0.8, top p 0.9'"
"""

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

AXES = {"share": np.array([0.1])}  # of real text, in the second and third workflow
WORKFLOWS = ("0 % real", "10 % originals", "10 % fresh")
DECODINGS = {
    "sampling": jc.Decoding(),
    "temperature 0.8": jc.Decoding(jc.Temperature(0.8)),
    "top p 0.9": jc.Decoding(jc.TopP(0.9)),
    "five beams": jc.Decoding(beams=5),
    "five beams with penalty 2": jc.Decoding(beams=5, repetition=2.0),
}
NATURE = "Nature 631:755, words of OPT-125m: 0 % real, 34 to between 54 and 62 (times 1.6 to 1.8); 10 %: little more"
RARE = 0.01
GRAM, PHRASE = 4, 8  # letters, of a distinct gram and of a repeated phrase


def experiment(
    share, *, key, decodings="sampling, five beams, five beams with penalty 2", generations=9, lineages=8, n=256,
    length=48, written=199, layers=2, width=32, steps=64, batch_size=16, rate=1e-3, base_steps=800, start="base",
):  # fmt: skip
    """What is measured of generations 0 to T of every lineage, for each decoding and workflow.

    The last `written` of the n windows are read, which no real one may be among: else what is read of them is NaN.
    """
    if not 1 / RARE - 1 <= written < n:
        raise ValueError(f"written: got {written}, expected at least {1 / RARE - 1:.0f} and fewer than n = {n}")
    text = jc.Text(jc.corpora.text("shakespeare", "letter"), length, vocab=27)
    if (most := text.ids.size // (n * length) - 2) < generations:
        fresh = f"{n} × {length} fresh letters each of {text.ids.size:,}"
        raise ValueError(f"generations: got {generations}, expected at most {most}, with {fresh}; try a smaller n")
    other = jc.Text(jc.corpora.text("king_james", "letter"), length, vocab=27)
    k_base, k_run = jr.split(key)
    learner = jc.Transformer(layers, width, capacity=n, steps=steps, batch_size=batch_size, rate=rate)
    base = pretrained(learner, other, base_steps, k_base)
    if start == "base":
        learner = eqx.tree_at(lambda x: x.start, learner, base, is_leaf=lambda x: isinstance(x, str))
    real, fresh, keys = jnp.asarray([0.0, 1.0, 1.0]) * share, jnp.asarray([0, 0, 1]), jr.split(k_run, lineages)

    def cells(decoding):
        def cell(real, fresh, key):
            source = lambda t: stretch(text, fresh * t * n * length, n * length)
            alpha, size = jc.Constant(real), jc.Constant(float(n))
            loop = jc.Loop(text, learner, jc.Replace(), alpha, size, decoding, "fixed", source)
            return recorded(loop, generations, written, key)

        return jax.vmap(jax.vmap(cell, (None, None, 0)), (0, 0, None))(real, fresh, keys)

    found = [cells(DECODINGS[name]) for name in decodings.split(", ")]
    axes = ("decoding", "workflow", "lineage", "generation", "sequence")
    out = {name: (axes[: x.ndim + 1], jnp.stack([each[name] for each in found])) for name, x in found[0].items()}
    for name in ("costs", "distinct", "repeated"):
        out[name] = out[name][0], jnp.where(share * n + 1 <= n - written, out[name][1], jnp.nan)
    as_written = {f"real_{name}": x for name, x in repetition(text.draw(written, key=k_base)).items()}
    return out | as_written | {"base": base.summary(text)["cross_entropy"]}


def stretch(text, start, size):
    """The law of the windows of one stretch of a text."""
    return eqx.tree_at(lambda x: x.ids, text, jax.lax.dynamic_slice_in_dim(text.ids, start, size))


def pretrained(learner, text, steps, key):
    """The base: a model of the learner's shape, trained from scratch on windows of a text."""
    k_draw, k_start, k_fit = jr.split(key, 3)
    size = 16_384
    teacher = jc.Transformer(learner.layers, learner.width, capacity=size, steps=steps, batch_size=32)
    data = teacher.observe(text, jnp.asarray(size), key=k_draw)
    return teacher.fit(data, teacher.init(text, key=k_start), key=k_fit)


def recorded(loop, generations, written, key):
    """One lineage: what is measured of its generations 0 to T; what each of them writes is read in the next step."""
    blank, static = eqx.partition(loop.blank(key=jr.fold_in(key, 0)), eqx.is_array)

    def generation(carry, t):
        lineage, first = carry
        lineage, batch = loop.step(eqx.combine(lineage, static), key=jr.fold_in(key, t))
        model, fixed = eqx.partition(lineage.model, eqx.is_array)
        first = jax.tree.map(lambda new, old: jnp.where(t == 0, new, old), model, first)
        x = batch.pooled.points[-written:]  # real windows come first
        costs = -eqx.combine(first, fixed).log_prob(x) / loop.target.length
        found = {"cross_entropy": lineage.model.summary(loop.target)["cross_entropy"]}
        return (eqx.filter(lineage, eqx.is_array), first), (found, repetition(x) | {"costs": costs})

    _, (models, texts) = jax.lax.scan(generation, (blank, blank.model), jnp.arange(generations + 2))
    return jax.tree.map(lambda x: x[:-1], models) | jax.tree.map(lambda x: x[1:], texts)


def repetition(x):
    """Distinct 4-grams of all sequences together, and the share of 8-letter phrases that repeat within a sequence."""
    return {"distinct": jc.text_metrics.distinct(x, GRAM), "repeated": jc.text_metrics.repeated(x, PHRASE).mean()}


def beyond(written):
    """j, so that c_(j) is the level of what is rare."""
    return round(RARE * (written + 1))


def level(written):
    """How much of generation 0's own is beyond c_(j), at most: j/(m + 1)."""
    return f"{100 * beyond(written) / (written + 1):.3g}%"


def analyse(run) -> dict[str, Any]:
    """Means and standard errors over lineages, axes decoding × workflow × generation, of the first share of the run."""
    here, settings = run.isel(share=0), json.loads(run.attrs["settings"])
    axes = ("decoding", "workflow", "lineage", "generation")
    costs = here.costs.transpose(*axes, "sequence").values.astype(float)
    own = np.sort(costs[..., :1, :], -1)
    limit = own[..., -beyond(own.shape[-1]), None]
    quantities = {name: here[name].transpose(*axes).values.astype(float) for name in ("distinct", "repeated")}
    quantities |= {
        "perplexity": np.exp(here.cross_entropy.transpose(*axes).values.astype(float)),
        "rare": np.where(np.isnan(costs), np.nan, costs > limit).mean(-1),
        "cost": costs.mean(-1),
    }
    quantities["factor"] = quantities["perplexity"] / quantities["perplexity"][..., :1]
    lineages = costs.shape[2]
    return {
        "mean": {name: x.mean(2) for name, x in quantities.items()},
        "se": {name: x.std(2, ddof=1) / np.sqrt(lineages) for name, x in quantities.items()},
        "each": quantities, "costs": costs, "limit": limit[..., 0, 0].mean(-1), "settings": settings,
        "decodings": settings["decodings"].split(", "), "base": float(np.exp(here.base)),
        "real": {name: float(here[f"real_{name}"]) for name in ("distinct", "repeated")},
        "diverged": int((~np.isfinite(quantities["perplexity"])).any(-1).sum()), "lineages": lineages,
    }  # fmt: skip


QUANTITIES = {
    "perplexity": ("perplexity on real text", "{:.2f}"),
    "rare": ("rare under generation 0", "{:.1%}"),
    "distinct": (f"distinct {GRAM}-grams", "{:.3f}"),
    "repeated": (f"repeated phrases of {PHRASE}", "{:.1%}"),
}


def summary(run):
    """Each quantity over the generations, and beside it what Nature found."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    kept = [t for t in (0, 1, 2, 5, 9) if t < found["settings"]["generations"]] + [found["settings"]["generations"]]
    title = f"Letters of Shakespeare, mean of {found['lineages']} lineages (± s.e. of the last)"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for name in ("", "", *(f"t = {t}" for t in kept)):
        table.add_column(name, justify="right" if name else "left")
    for name, (label, form) in QUANTITIES.items():
        table.add_row(f"[bold]{label}", end_section=False)
        for d, decoding in enumerate(found["decodings"]):
            for w, workflow in enumerate(WORKFLOWS):
                mean, se = found["mean"][name][d, w], found["se"][name][d, w, -1]
                known = np.isfinite(mean) & ((name != "rare") | (np.arange(mean.size) > 0))
                numbers = [form.format(mean[t]) if known[t] else "–" for t in kept]
                numbers[-1] += " ± " + form.format(se) if known[-1] else ""
                table.add_row(decoding if w == 0 else "", workflow, *numbers, end_section=w == len(WORKFLOWS) - 1)
    return Group(table, *_words(found))


def _words(found):
    set_, real = found["settings"], found["real"]
    tokens = set_["steps"] * set_["batch_size"] * set_["length"]
    epochs = tokens / (set_["n"] * set_["length"])
    yield f"base, not fine-tuned: perplexity {found['base']:.2f}; diverged: {found['diverged']} lineages"
    yield f"real text: distinct {real['distinct']:.3f}, repeated {real['repeated']:.1%}"
    yield f"rare: {level(set_['written'])} of generation 0, less where costs tie; its own m set the level: – at t = 0"
    yield f"{tokens:,} training letters a model and generation, {epochs:.1f} epochs of {set_['n']} windows"
    for d, decoding in enumerate(found["decodings"]):
        factors = zip(WORKFLOWS, found["mean"]["factor"][d, :, -1], found["se"]["factor"][d, :, -1], strict=True)
        text = ", ".join(f"{workflow} {mean:.3f} ± {se:.3f}" for workflow, mean, se in factors)
        yield f"perplexity of the last generation over the first, {decoding}: {text}"
    yield NATURE


def figure(run):
    """Perplexity over the generations, and histograms of what they write, as in Nature's figure."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    rows = len(found["decodings"])
    figure, axes = plt.subplots(rows, 3, figsize=(14, 4.2 * rows), layout="constrained", squeeze=False)
    for d, decoding in enumerate(found["decodings"]):
        _perplexity(axes[d, 0], found, d, decoding)
        for ax, w in zip(axes[d, 1:], (0, 1), strict=True):
            _histograms(ax, found, d, w, f"{decoding}, {WORKFLOWS[w]}")
    if axes[0, 1].get_legend_handles_labels()[0]:
        axes[0, 1].legend(fontsize=8)
    figure.suptitle(_finding(found), fontsize=12)
    return figure


def _finding(found):
    """The title, as measured."""
    t = found["settings"]["generations"]
    change = lambda d: " / ".join(f"×{x:.2f}" for x in found["mean"]["factor"][d, :, -1])
    each = [f"{decoding}: {change(d)}" for d, decoding in enumerate(found["decodings"])]
    lines = ["; ".join(each[i : i + 3]) for i in range(0, len(each), 3)]
    return "\n".join([f"Perplexity on real text, generation {t} over 0, with {' / '.join(WORKFLOWS)}", *lines])


def _perplexity(ax, found, d, decoding):
    looks = zip(WORKFLOWS, "os^", ("-", "--", ":"), jc.plot.COLOURS, strict=False)
    for w, (workflow, marker, line, colour) in enumerate(looks):
        mean, se = found["mean"]["perplexity"][d, w], found["se"]["perplexity"][d, w]
        style = {"marker": marker, "linestyle": line, "color": colour, "capsize": 2}
        ax.errorbar(np.arange(mean.size), mean, 1.96 * se, label=workflow, **style)
    ax.axhline(found["base"], color="0.4", linewidth=0.9)
    ax.text(0.02, found["base"], "base", va="bottom", fontsize=8, transform=ax.get_yaxis_transform())
    ax.set(xlabel="generation t", ylabel="perplexity on real text (letters)")
    ax.set_xticks(np.arange(found["settings"]["generations"] + 1))
    ax.set_title(f"{decoding}: mean of {found['lineages']} lineages, bars 1.96 s.e.", fontsize=10)
    ax.legend(fontsize=8)


def _histograms(ax, found, d, w, title):
    costs = found["costs"][d, w]
    ax.set_title(title, fontsize=10)
    ax.set(xlabel="perplexity of a written sequence under generation 0", ylabel="share of sequences")
    known = found["costs"][d][np.isfinite(found["costs"][d])]
    if not np.isfinite(costs).any():
        ax.text(0.5, 0.5, "not read", ha="center", transform=ax.transAxes)
        return
    edges = np.linspace(known.min(), known.max(), 45)
    shown = [t for t in (0, 1, 5, 9) if t < costs.shape[1]]
    looks = zip(shown, ("black", *jc.plot.COLOURS), ("-", "--", "-.", ":"), strict=False)
    for t, colour, line in looks:
        values = costs[:, t].ravel()
        share = np.histogram(values, edges)[0] / values.size
        ax.stairs(share, np.exp(edges), color=colour, linestyle=line, linewidth=1.6, label=f"generation {t}")
    limit = np.exp(found["limit"][d, w])
    ax.axvline(limit, color="0.5", linewidth=0.9, label=f"at most {level(costs.shape[-1])} of generation 0 beyond")
    ax.set_xscale("log")
    ticks = [x for x in (1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100) if edges[0] < np.log(x) < edges[-1]]
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.minorticks_off()
