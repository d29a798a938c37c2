"""The figure of data_exhaustion.py: shares and worth over years, both readings, phases, inflows and lost contexts."""

import matplotlib.pyplot as plt
import numpy as np

from jaxcollapse.plot import COLOURS

T, YEAR, STOCK = 1e12, 2024, (300, 100, 1000)  # tokens; generation 0; published median and 90 % interval, 10¹² tokens
SIMULATED = ("300 T, h = 5 %", "half the web synthetic", "+ 100 T a year from 2026")
PHASES = ("300 T, h = 5 %", "text × 2.40 too, α = ¼", "n and text fixed, α = ¼", "n fixed, text dies out")


def panels(found):
    """Six panels of what `data_exhaustion.figure` found."""
    figure, axes = plt.subplots(2, 3, figsize=(16, 9.4), layout="constrained")
    for draw, ax in zip((_shares, _worth, _simulated, _phases, _inflow, _losses), axes.flat, strict=True):
        draw(ax, found)
    figure.suptitle(
        "Human text that is kept bounds the risk by 1.5/S; while data sets outgrow text the loop freezes, it does not "
        "collapse.\nOne generation a year is an assumption, and so is the synthetic share of the web; (B) is a "
        "counterfactual. Shaded: 90 % over the published intervals."
    )
    return figure


def _shares(ax, found):
    many = found["propagated"]
    years = YEAR + np.arange(many["w", 0.0]["alpha"].shape[1])
    for w, colour, line in zip((0.0, 0.25, 0.5), COLOURS, ("-", "--", ":"), strict=False):
        low, _, median, _, high = many["w", w]["alpha"]
        ax.plot(years[1:], median[1:], color=colour, ls=line, lw=1.8, label=f"web share w = {w:g}")
        if w in (0.0, 0.5):
            ax.fill_between(years[1:], low[1:], high[1:], color=colour, alpha=0.18, lw=0)
    for (k, published), y in zip(found["years"].items(), (6e-3, 3.2e-3, 1.7e-3, 9e-4), strict=True):
        low, _, median, _, high = many["k", k]["year"]
        ax.errorbar(median, y, xerr=[[median - low], [high - median]], fmt="k.", capsize=3, lw=1)
        text = f"k = {k}" + f", published {published}" * (published != "–")
        where = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        ax.annotate(text, (high, y), bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1}, **where)
    ax.plot([], [], "k.-", lw=1, label="exhaustion, over-training k")
    ax.set(yscale="log", ylim=(5e-4, 1.4), xlabel="year (generation)", ylabel=r"real share $\alpha_t$")
    ax.set_title("(a) α falls from 2028 on, from 2025 if over-trained × 100", fontsize=11)
    ax.legend(fontsize=8, loc="upper right")


def _worth(ax, found):
    many = found["propagated"]["w", 0.0]
    years = YEAR + np.arange(many["alpha"].shape[1])
    styles = {"demand": ("n, all tokens read", "0.45", "-."), "real only": ("real text alone", COLOURS[2], ":")}
    styles |= {"kept": ("(A) text kept", COLOURS[0], "-")}
    styles |= {"discarded": ("(B) discarded, 300 T written a year", COLOURS[1], "--")}
    for name, (label, colour, line) in styles.items():
        low, _, median, _, high = many[name]
        ax.plot(years, median, color=colour, ls=line, lw=2, label=label)
        if name in ("kept", "discarded"):
            ax.fill_between(years, low, high, color=colour, alpha=0.18, lw=0)
            ax.plot(years, np.stack([low, high], 1), color=colour, ls=line, lw=0.7)
    ax.plot(
        years, found["new text"], color=COLOURS[3], ls=(0, (3, 1, 1, 1)), lw=2, label="(B) discarded, new text alone"
    )
    ax.set(yscale="log", ylim=(2e11, 2e16), xlabel="year (generation)", ylabel="real tokens that would do as well, 1/r")
    ax.set_title("(b) Models stop improving; real text alone (dotted) would not", fontsize=11)
    ax.legend(fontsize=8, loc="lower right")


def _simulated(ax, found):
    n0, time = found["settings"]["n0"], np.arange(1, found["settings"]["generations"] + 1)
    shown = [name for name in SIMULATED if (name, "kept") in found["cells"]]
    for name, colour, marker in zip(shown, COLOURS, "os^", strict=False):
        for reading, line, fill in (("kept", "-", colour), ("discarded", "--", "white")):
            c = found["cells"][name, reading]
            ax.plot(time, n0 * c["exact"], color=colour, ls=line, lw=1.2)
            style = {"fmt": marker, "ms": 5, "mfc": fill, "lw": 1, "label": f"{name}, {'AB'[reading == 'discarded']}"}
            ax.errorbar(time, n0 * c["risk"], 2 * n0 * c["risk se"], color=colour, **style)
    ax.set(yscale="log", xlabel=f"generation $t$ ({n0} draws in {YEAR})", ylabel=r"risk $n_0 r_t$")
    ticks = [m * 10.0**d for d in range(-4, 1) for m in (1, 2, 5)]
    low, high = ax.get_ylim()
    ax.set_yticks([x for x in ticks if low < x < high], labels=[f"{x:g}" for x in ticks if low < x < high])
    ax.set_yticks([], minor=True)
    ax.set_title(f"(c) Both readings settle: exact (lines), {found['lineages']} lineages ± 2 s.e.", fontsize=11)
    ax.legend(fontsize=8)


def _phases(ax, found):
    shown = [name for name in PHASES if (name, "discarded") in found["cells"]]
    for name, colour, marker in zip(shown, COLOURS, "sDo^", strict=False):
        c = found["cells"][name, "discarded"]
        ax.plot(c["long"], color=colour, lw=1.4)
        style = {"fmt": marker, "ms": 4, "lw": 1, "label": f"{c['phase']}: {name}"}
        ax.errorbar(np.arange(1, c["risk"].size + 1), c["risk"], 2 * c["risk se"], color=colour, **style)
    ax.set(yscale="log", ylim=(1e-6, 4), xlabel="generation $t$", ylabel=r"risk $r_t$, reading (B)")
    ax.set_title("(d) Phases of (B): frozen, as long as data sets outgrow text", fontsize=11)
    ax.legend(fontsize=8, loc="center right", bbox_to_anchor=(1, 0.59))


def _inflow(ax, found):
    solved, floors = found["inflow"], found["inflow"]["floor"]
    labels = {
        "kept": ("(A) text kept, on top of 300 T, h = 5 %", "-"),
        "discarded": ("(B) discarded, data sets × 2.40 a year", "--"),
        "plateau": ("(B) discarded, data sets grow at most linearly: (1/r − 1)/2", ":"),
    }
    for (name, (label, line)), colour in zip(labels.items(), COLOURS, strict=False):
        ax.plot(floors / T, solved[name] / T, color=colour, ls=line, lw=2, label=label)
    few, many = (np.nan_to_num(x, nan=1e9) / T for x in solved["stocks"])
    ax.fill_between(floors / T, few, many, color=COLOURS[0], alpha=0.18, lw=0, label="(A) for 1000 to 100 T")
    ax.set(xscale="log", yscale="log", ylim=(1, 9e3), xlabel=r"floor to hold in 2040, $1/r$ ($10^{12}$ tokens)")
    ax.set(ylabel=r"fresh human text from 2025 on ($10^{12}$ tokens a year)")
    ax.set_title("(e) The inflow that holds a floor: less if text is kept", fontsize=11)
    ax.legend(fontsize=8, loc="upper left")


def _losses(ax, found):
    p = np.logspace(-17, -11, 400)
    lines = ("-", "--", "-.", ":", (0, (3, 1, 1, 1)))
    for (name, draws), colour, line in zip(found["lost"].items(), ("black", *COLOURS), lines, strict=False):
        ax.plot(p, np.exp(-p * draws), color=colour, ls=line, lw=3 if colour == "black" else 1.8, label=name)
    low, high = (found["lost"]["(A) kept"] * x / STOCK[0] for x in STOCK[1:])
    ax.fill_between(p, np.exp(-p * high), np.exp(-p * low), color=COLOURS[0], alpha=0.18, lw=0)
    ax.axvline(1 / (300 * T), color="0.6", lw=1)
    ax.annotate("1/S, 2024", (1 / (300 * T), 0.97), xytext=(4, 0), textcoords="offset points", fontsize=8)
    ax.set(xscale="log", xlabel="probability $p$ of a context", ylabel="P(lost by 2040) $= e^{-pF}$")
    ax.set_title("(f) Text that is kept loses no context that it holds", fontsize=11)
    ax.legend(fontsize=8)
