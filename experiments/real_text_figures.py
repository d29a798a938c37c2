"""The figure of real_text.py: perplexity, missing mass, diversity over time; contexts, pairs and blocks at the end."""

import matplotlib.pyplot as plt
import numpy as np

from jaxcollapse.plot import COLOURS

LOOKS = (("o", "-"), ("s", "--"), ("^", ":"))  # of the workflows
OVER_TIME = {
    "smoothed": ("perplexity of the smoothed table", "(a) Perplexity on real text (lines join points)"),
    "missing": ("missing mass", "(b) Early: the tail (lines: exact; preserved: branching)"),
    "diversity": (r"diversity, $\sum_c \pi_c H_c \,/\, \sum_c \pi_c H^*_c$", "(c) Late: the variance (lines: exact)"),
}


def panels(run, found, workflows):
    """Both corpora over time, and the first of them at the last generation."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 9.2), layout="constrained")
    t, cell, last = run.generation.values, next(iter(found.values())), int(run.generation[-1])
    for ax, name in zip(axes[0], OVER_TIME, strict=True):
        _over_time(ax, found, t, name, workflows)
    _contexts(axes[1, 0], cell, last, workflows)
    _survival(axes[1, 1], cell, last, workflows)
    _blocks(axes[1, 2], run.sel(corpus=next(iter(found))), cell["title"], workflows)
    words = f"{cell['exact']['visits'].sum():,.0f}"
    high, low, fresh = np.exp(cell["mean"]["smoothed"][:, -1])
    missing = ", ".join(f"{100 * x:.0f} %" for x in cell["mean"]["missing"][:, -1])
    figure.suptitle(
        f"{cell['title']} written by tables of word pairs, {words} words a generation: after "
        f"{last} generations perplexity {high:.0f} without real text,\n{low:.0f} with a tenth of the originals kept, "
        f"{fresh:.0f} with a tenth fresh; of real text {missing} can no longer be written "
        f"({run.sizes['lineage']} lineages, bars 1.96 s.e.)"
    )
    return figure


def _over_time(ax, found, t, name, workflows):
    show = np.exp if name == "smoothed" else lambda x: x
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
            ax.errorbar(t, show(mean[w]), bars, **style, label=f"{cell['title']}, {workflows[w]}")
        if name == "smoothed":
            level = np.exp(cell["exact"]["written"][0, 0])
            ax.axhline(level, color="0.4", linewidth=0.9)
            ax.text(0.01, level, f"p*, {cell['title']}", va="bottom", fontsize=7.5, transform=ax.get_yaxis_transform())
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ax.set_xticks(t, [str(x) for x in t])
    ax.minorticks_off()
    ax.set(xlabel="generation t", ylabel=OVER_TIME[name][0])
    ax.set_title(OVER_TIME[name][1], fontsize=11)
    ax.legend(fontsize=7.5)


def _contexts(ax, cell, last, workflows):
    order = np.argsort(cell["exact"]["visits"])
    for w, (marker, line) in enumerate(LOOKS):
        mean, se = cell["mean"]["contexts"][w], cell["se"]["contexts"][w]
        visits, law = cell["exact"]["visits"], cell["exact"]["contexts"][w, -1]
        style = {"fmt": marker, "markersize": 2.5, "linewidth": 0.5, "color": COLOURS[w], "alpha": 0.55}
        ax.errorbar(visits, mean, 1.96 * se, **style)
        ax.plot(visits[order], law[order], color="black", linestyle=line, linewidth=1.4)
        ax.plot([], [], marker=marker, color=COLOURS[w], linestyle="", label=workflows[w])
    for (_, line), workflow in zip(LOOKS, workflows, strict=True):
        ax.plot([], [], color="black", linestyle=line, label=f"exact, {workflow}")
    ax.set(xscale="log", yscale="log", ylim=(None, 1.6), xlabel=r"words seen of a context, $n \pi_c$")
    ax.set_ylabel(r"risk of the context, $r_{c,T}$")
    ax.set_title(f"(d) Rare contexts collapse first: generation {last}, {cell['title']}", fontsize=11)
    ax.legend(fontsize=8, loc="lower left")


def _survival(ax, cell, last, workflows):
    there = cell["exact"]["pairs in octave"] > 0
    x = np.flatnonzero(there)
    for w, (marker, line) in enumerate(LOOKS):
        mean, se = (cell[kind]["octaves"][w, -1][there] for kind in ("mean", "se"))
        ax.plot(x, cell["exact"]["octaves"][w, -1][there], color="black", linestyle=line, linewidth=1.2)
        ax.errorbar(x, mean, 1.96 * se, fmt=marker, color=COLOURS[w], markersize=6, label=workflows[w])
    ax.plot([], [], color="black", label="exact (preserved: branching)")
    names = ["< ⅛", "⅛", "¼", "½", *(str(2**k) for k in range(there.size - 5)), f"≥ {2 ** (there.size - 5)}"]
    ax.set_xticks(x, [names[i] for i in x])
    ax.set(xlabel="expected count of a pair in n real words (from … up to twice that)", ylabel="share of pairs alive")
    ax.set_title(f"(e) Which pairs are left: generation {last}, {cell['title']}", fontsize=11)
    ax.legend(fontsize=8)


def _blocks(ax, here, title, workflows):
    """Histograms over all lineages, in bins of a sixth of a factor e; bars of the last one from lineage to lineage."""
    t, blocks = here.generation.values, here.blocks.transpose("workflow", "generation", "lineage", "block").values
    edges = np.arange(blocks.min() - 1 / 6, blocks.max() + 1 / 6, 1 / 6)
    share = lambda values: np.histogram(values, edges)[0] / values.size
    ax.stairs(share(here.original.values), np.exp(edges), color="0.8", fill=True, label="real text")
    shown = [i for i in range(len(t)) if t[i] in (0, 5, 20)][: len(t) - 1]
    looks = zip(shown, ("black", COLOURS[4], COLOURS[3]), (":", (0, (7, 2)), "-."), strict=False)
    curves = [(blocks[0, i], f"{workflows[0]}, t = {t[i]}", colour, line, 1.3) for i, colour, line in looks]
    curves += [(blocks[0, -1], f"{workflows[0]}, t = {t[-1]}", COLOURS[0], "-", 2.4)]
    curves += [(blocks[1, -1], f"{workflows[1]}, t = {t[-1]}", COLOURS[1], (0, (1, 0.8)), 2.4)]
    for values, label, colour, line, width in curves:
        ax.stairs(share(values), np.exp(edges), color=colour, linestyle=line, linewidth=width, label=label)
    each = np.array([share(lineage) for lineage in blocks[0, -1]])
    bars = 1.96 * each.std(0, ddof=1) / np.sqrt(len(each))
    centres, mean = np.exp((edges[1:] + edges[:-1]) / 2), each.mean(0)
    ax.errorbar(centres[mean > 0], mean[mean > 0], bars[mean > 0], fmt="none", color=COLOURS[0], linewidth=1)
    size = here.original.size
    ax.set(xscale="log", yscale="log", xlabel="perplexity of a block under p*", ylabel=f"share of {size} blocks")
    ax.set_ylim(0.5 / size, 2)
    ax.set_title(f"(f) What the tables write: both tails grow, {title}", fontsize=11)
    ax.legend(fontsize=7.5, loc="upper left")
