"""What does a loop of models lose once data sets outgrow the stock of human text, and what would hold it?

    demand n_t = n_0 √k · 2.40^t from 10¹³ tokens in 2024, one generation a year (an assumption)      `jc.DataWall`
    stock  S_t = 300 · 10¹² (1 + h)^t tokens, 90 % 100–1000 · 10¹², h = 0–10 % a year
    α_t = min(1 − w, S_t/n_t), w the part of the web that is synthetic (an assumption)

Two readings. (A) The stock is kept and grows; batches are read from it and filled up with the last model's text: no
collapse, r ≤ 1/S + (1 − 1/S)/(2S + 1). (B) A counterfactual: old text is discarded, and as much is written anew each
year; α_t ~ ((1 + h)/2.40)^t, and the loop freezes. 1/r is the number of real tokens that would do as well. Simulated
with 20 draws in 2024 (n r is free of scale); the world's numbers are exact recursions at its own sizes, with published
intervals propagated as lognormals (Villalobos et al., arXiv 2211.04325v2). The risk of 10¹³ tokens as one number says
little, so the contexts that are lost are counted by frequency too: Σ exp(−p F_t).

    jaxcollapse run experiments/data_exhaustion.py
"""

import functools
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import special, stats

import jaxcollapse as jc

T = 1e12  # tokens
DEMAND, YEAR = 10 * T, 2024
PUBLISHED = {"stock": (300, 100, 1000), "log10 growth": (0.38, 0.27, 0.48), "stock growth": (0, 0.10)}  # 90 %, h: range
YEARS = {1: "2028 (80 %: 2026–2032)", 5: "2027", 10: "–", 100: "by 2025"}  # exhaustion, by over-training
ZIPF = 1 / (1 - 0.3658)  # a missing mass that falls like the loss of Chinchilla's refit, F^−0.3658
DRAWS, LONG = 4000, 30  # of the published intervals; generations of the phases drawn
FIELDS = ("stock", "stock_growth", "growth", "overtraining", "repetition", "synthetic_share", "inflow", "since")
SCENARIOS = {
    "300 T, h = 0": (300 * T, 0.0, 2.4, 1, 1, 0.0, 0.0, 0),
    "300 T, h = 5 %": (300 * T, 0.05, 2.4, 1, 1, 0.0, 0.0, 0),
    "300 T, h = 10 %": (300 * T, 0.10, 2.4, 1, 1, 0.0, 0.0, 0),
    "half the web synthetic": (300 * T, 0.05, 2.4, 1, 1, 0.5, 0.0, 0),
    "over-trained × 100": (300 * T, 0.05, 2.4, 100, 1, 0.0, 0.0, 0),
    "whole web, 3100 T": (3100 * T, 0.05, 2.4, 1, 1, 0.0, 0.0, 0),
    "+ 100 T a year from 2026": (300 * T, 0.05, 2.4, 1, 1, 0.0, 100 * T, 2),
    "100 T, read up to 4 times": (100 * T, 0.05, 2.4, 1, 4, 0.0, 0.0, 0),
    "new text alone, h = 5 %": (300 * T * 0.05 / 1.05, 0.05, 2.4, 1, 1, 0.0, 0.0, 0),
    "text × 2.40 too, α = ¼": (DEMAND / 4, 1.4, 2.4, 1, 1, 0.0, 0.0, 0),
    "n and text fixed, α = ¼": (DEMAND / 4, 0.0, 1.0, 1, 1, 0.0, 0.0, 0),
    "n fixed, text dies out": (DEMAND / 4, -0.2, 1.0, 1, 1, 0.0, 0.0, 0),
}
NAMES = list(SCENARIOS)
READINGS = {
    name: ("kept", "discarded")[: 1 if i == 7 else 2] if i < 8 else ("discarded",) for i, name in enumerate(NAMES)
}
PHASES = (NAMES[1], *NAMES[9:])
AXES = {"scenario": np.arange(len(SCENARIOS))}


def wall(scenario, unit=1.0):
    """The `DataWall` of a scenario, by its number (which may be traced) or name."""
    number = NAMES.index(scenario) if isinstance(scenario, str) else jnp.asarray(scenario).astype(int)
    column = lambda i: jnp.asarray([row[i] for row in SCENARIOS.values()], float)[number]
    *fields, inflow, since = (column(i) for i in range(len(FIELDS)))
    names = dict(zip(FIELDS[:-2], fields, strict=True))
    return jc.DataWall(**names, demand=DEMAND, inflows=((since, inflow),), unit=unit)


def experiment(scenario, *, key, generations=16, lineages=1000, vocab=100, n0=20):
    """Relative risk, and how many tokens are alive, of every lineage in both readings, t = 1..T; n_0 tokens in 2024."""
    p_star, here = jc.zipf(vocab), wall(scenario, DEMAND / n0)
    scale = jc.metrics.diversity(p_star.probs)

    def record(lineage, batch):
        p = lineage.model.probs
        return jc.metrics.squared_error(p, p_star.probs) / scale, jc.metrics.surviving(p).astype(float)

    found = {}
    loops = {
        "kept": jc.Loop(p_star, jc.Tabular(), here.keep(p_star), here.alpha_kept, here.n, split="round"),
        "discarded": jc.Loop(p_star, jc.Tabular(), jc.Replace(), here.alpha_discarded, here.n),
    }
    for (reading, loop), own in zip(loops.items(), jr.split(key), strict=True):
        _, (risk, alive) = jc.ensemble(loop, generations, lineages=lineages, key=own, record=record)
        words = {"long_name": f"text {reading}", "units": "1"}
        found[f"risk_{reading}"] = (("lineage", "generation"), risk, words)
        found[f"alive_{reading}"] = (("lineage", "generation"), alive, words)
    return found | {"generation": ("generation", np.arange(1, generations + 1), {"long_name": "generation t"})}


def analyse(run):
    """For each scenario and reading: simulated means and s.e. beside the exact recursion, t = 1..T."""
    numbers, cells = run.scenario.values, {}
    exact = theory(tuple(map(int, numbers)), run.attrs["settings"])
    for i, number in enumerate(numbers):
        for reading in READINGS[NAMES[int(number)]]:
            known = {name: value[i] for name, value in exact[reading].items()}
            for name in ("risk", "alive"):
                sample = run[f"{name}_{reading}"].sel(scenario=number).transpose("lineage", ...).values.astype(float)
                known[name] = sample.mean(0)
                known[f"{name} se"] = sample.std(0, ddof=1) / np.sqrt(len(sample))
            cells[NAMES[int(number)], reading] = known
    return {"cells": cells, "settings": json.loads(run.attrs["settings"]), "lineages": run.sizes["lineage"]}


@functools.cache
def theory(numbers, settings):
    """Of every scenario and reading, in double precision: r_t, tokens alive and α at t = 1..T, and the phase of (B)."""
    set_ = json.loads(settings)
    time, unit = set_["generations"], DEMAND / set_["n0"]
    probs = jc.zipf(set_["vocab"]).probs.astype(float)

    def one(number):
        here = wall(number, unit)
        start = jnp.clip(jnp.floor(here.exhaustion()) + 1, 1, 60)
        later = (start, start + 40, start + 41)
        tail = *(here.alpha_discarded(t) for t in later), here.n(start), here.growth
        fresh = here.alpha_discarded, here.n
        readings = {
            "kept": (here.risk_kept(time), here.draws_kept(time), here.alpha_kept),
            "discarded": (jc.theory.risk(*fresh, time), jc.theory.effective_draws(*fresh, time), fresh[0]),
        }
        return tail, jc.theory.risk(*fresh, LONG), {
            name: {
                "exact": risk[1:],
                "alive exact": jc.theory.distinct(probs, draws)[1:],
                "alpha": alpha(jnp.arange(1, time + 1)),
            }
            for name, (risk, draws, alpha) in readings.items()
        }  # fmt: skip

    with jax.enable_x64(True):
        tails, long, found = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jnp.asarray(numbers)))
        found["discarded"] |= {"long": long, "phase": np.array([phase(*tail) for tail in zip(*tails, strict=True)])}
    return found | {"kept": found["kept"] | {"phase": np.full(len(numbers), "frozen")}}


def phase(alpha, late, later, n, growth):
    """The asymptotic phase in reading (B), from the first generation that is short of text."""
    weight = jc.Exponential(float(alpha), rate=round(float(later / late), 9))
    return jc.theory.phase(weight, jc.Exponential(max(float(n), 2.0), rate=float(growth)), rounded=False).name


def scores(found):
    """z of every risk, in cells of enough diversity."""
    cells, lineages = found["cells"].values(), found["lineages"]
    z = [((c["risk"] - c["exact"]) / c["risk se"])[lineages * (1 - c["exact"]) >= 20] for c in cells]
    return np.concatenate(z)


@functools.cache
def propagated(generations=16, draws=DRAWS, seed=0):
    """5, 10, 50, 90, 95 % quantiles over the published intervals: years of exhaustion, α_t by web share, 1/r_t."""
    rng, z = np.random.default_rng(seed), 2 * stats.norm.ppf(0.95)
    (median, low, high), (rate, slow, fast), span = PUBLISHED.values()
    stock = median * T * np.exp(np.log(high / low) / z * rng.standard_normal(draws))
    growth = 10 ** (rate + (fast - slow) / z * rng.standard_normal(draws))
    h = rng.uniform(span[0], span[1], draws)
    t = jnp.arange(generations + 1)

    def one(stock, growth, h, k=1.0, w=0.0):
        here = jc.DataWall(stock, h, DEMAND, growth, overtraining=k, synthetic_share=w)
        levels = {"kept": 1 / here.risk_kept(generations), "discarded": 1 / here.risk_discarded(generations)}
        levels |= {"demand": here.n(t), "real only": jnp.minimum(here.n(t), here.kept(t))}
        return {"year": YEAR + here.exhaustion(), "alpha": here.alpha_kept(t)} | levels

    with jax.enable_x64(True):
        many = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None, None)))
        quantiles = lambda **by: {
            name: np.quantile(x, (0.05, 0.1, 0.5, 0.9, 0.95), axis=0)
            for name, x in many(stock, growth, h, by.get("k", 1.0), by.get("w", 0.0)).items()
        }
        return {("k", k): quantiles(k=float(k)) for k in YEARS} | {("w", w): quantiles(w=w) for w in (0.0, 0.25, 0.5)}


def needed(floor, stock=300 * T, generations=16):
    """Fresh tokens a year from 2025 on that hold 1/r = floor in 2040: (A), (B) alone, and (B) if n_t stops growing.

    NaN where none are needed. On the line n_t ∝ t^b, b ≤ 1, the plateau of (B) is 1/(1 + 2m).
    """
    walls = {
        "kept": lambda m: jc.DataWall(stock, inflows=((1, m),)).risk_kept(generations),
        "discarded": lambda m: jc.DataWall(stock=m, stock_growth=0.0).risk_discarded(generations),
    }

    def solve(risk, floor):
        least, most = jnp.asarray(1e6), jnp.asarray(1e17)

        def halve(_, ends):
            middle = jnp.sqrt(ends[0] * ends[1])
            enough = 1 / risk(middle)[-1] >= floor
            return jnp.where(enough, ends[0], middle), jnp.where(enough, middle, ends[1])

        found = jax.lax.fori_loop(0, 60, halve, (least, most))[1]
        return jnp.where(1 / risk(least)[-1] >= floor, jnp.nan, found)

    with jax.enable_x64(True):
        floor = jnp.asarray(floor, float)
        found = {name: np.asarray(jax.vmap(lambda x, r=r: solve(r, x))(floor)) for name, r in walls.items()}
    return found | {"plateau": (np.asarray(floor) - 1) / 2}


def lost(generations=16):
    """F in 2040 by scenario: exp(−p F) is the chance that a context of probability p is lost."""
    with jax.enable_x64(True):
        main, new = wall("300 T, h = 5 %"), wall("new text alone, h = 5 %")
        none = jc.DataWall(stock=1.0, stock_growth=0.0)
        found = {
            "real text alone, S": main.kept(generations),
            "(A) kept": main.draws_kept(generations)[-1],
            "(B) 300 T written a year": main.draws_discarded(generations)[-1],
            "(B) new text alone": new.draws_discarded(generations)[-1],
            "(B) none written": none.draws_discarded(generations)[-1],
        }
        return {name: float(x) for name, x in found.items()}


def by_decade(draws, decades=range(-17, -11)):
    """(contexts there are, contexts lost) with 10^d ≤ p < 10^(d+1), of p_i = i^−β/ζ(β)."""
    rank = lambda p: (special.zeta(ZIPF) * p) ** (-1 / ZIPF)
    edges = [np.logspace(d, d + 1, 2001) for d in decades]
    there = [-np.diff(rank(p)) for p in edges]
    gone = [(number * np.exp(-np.sqrt(p[1:] * p[:-1]) * draws)).sum() for number, p in zip(there, edges, strict=True)]
    return np.array([x.sum() for x in there]), np.array(gone)


def summary(run):
    """When α leaves 1, the phase of each scenario with its risk, what inflow holds a floor, which contexts are lost."""
    from rich.console import Group

    found = analyse(run)
    z = abs(scores(found))
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    alive = [c["alive"] / c["alive exact"] - 1 for (name, _), c in found["cells"].items() if name in NAMES[:8]]
    worst = np.abs(np.concatenate(alive)).max()
    lines = (
        f"all risks against their exact recursions: worst |z| {z.max():.2f} of {z.size} (bound {bound:.2f})",
        f"tokens alive against Σ (1 − exp(−p F_t)), right for rare ones: worst relative difference {worst:.1%}",
    )
    return Group(_years_table(), _scenario_table(found), *lines, _constants_table(), _inflow_table(), _lost_table())


def _table(title, *columns):
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, box=SIMPLE, padding=0, min_width=78)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _years_table():
    title = "Year in which α_t leaves 1, over the published intervals"
    table = _table(title, "over-training", "published", "median", "80 %", "90 %")
    for k, published in YEARS.items():
        low, early, median, late, high = propagated()["k", k]["year"]
        table.add_row(f"× {k}", published, f"{median:.1f}", f"{early:.1f}–{late:.1f}", f"{low:.1f}–{high:.1f}")
    return table


def _scenario_table(found):
    time, n0 = found["settings"]["generations"], found["settings"]["n0"]
    title = f"Risk n_0 r after {time} generations, n_0 = {n0}; (A) text kept, (B) discarded"
    table = _table(title, "scenario", "", "t → ∞", "α_T", "exact", "ours ± s.e.", "z")
    for (name, reading), c in found["cells"].items():
        exact, mean, se = (n0 * c[x][-1] for x in ("exact", "risk", "risk se"))
        numbers = (f"{c['alpha'][-1]:.2g}", f"{exact:.4g}", f"{mean:.4g} ± {se:.1g}", f"{(mean - exact) / se:+.1f}")
        table.add_row(name, "A" if reading == "kept" else "B", str(c["phase"]), *numbers)
    return table


def _constants_table():
    """The frozen levels from the wall on, and the floor of (A)."""
    title = "From the wall on, all real at t = 0, n_0 = S = 10¹²; (A) is at most 1.5"
    table = _table(title, "h", "ρ", "(B) n_0 r_∞", "(A) S r_∞")
    with jax.enable_x64(True):
        for h in (0.0, 0.05, 0.10):
            here = jc.DataWall(T, h, T, 2.4)
            numbers = (float(T * risk(60)[-1]) for risk in (here.risk_discarded, here.risk_kept))
            table.add_row(f"{h:.0%}", f"{(1 + h) / 2.4:.3f}", *(f"{x:.4f}" for x in numbers))
    return table


def _inflow_table():
    floors = np.array([100, 300, 500, 1000, 3000]) * T
    found = needed(floors)
    title = "Fresh tokens a year, from 2025 on, that hold 1/r in 2040 (10¹² tokens)"
    table = _table(title, "1/r", "(A) kept, on 300 T", "(B) n × 2.40 a year", "(B) n at most linear")
    for i, floor in enumerate(floors):
        cells = (found[name][i] / T for name in ("kept", "discarded", "plateau"))
        table.add_row(f"{floor / T:g}", *("none" if np.isnan(x) else f"{x:.3g}" for x in cells))
    return table


def _lost_table():
    decades = range(-17, -11)
    title = f"Contexts of Zipf's law, β = {ZIPF:.3f}, lost in 2040, by their frequency p in 10^d … 10^(d+1)"
    table = _table(title, "scenario", "F / 10¹²", *(f"10^{d}" for d in decades))
    table.add_row("(there are)", "", *(f"{x:.0e}" for x in by_decade(1.0, decades)[0]), end_section=True)
    for name, draws in lost().items():
        there, gone = by_decade(draws, decades)
        table.add_row(name, f"{draws / T:.3g}", *(f"{x:.1%}" for x in gone / there))
    return table


def figure(run):
    """What is real, what it is worth, both readings simulated, phases of (B), the inflow needed, what is lost."""
    import matplotlib.pyplot as plt

    found = analyse(run)
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
    many = propagated()
    years = YEAR + np.arange(many["w", 0.0]["alpha"].shape[1])
    for w, colour, line in zip((0.0, 0.25, 0.5), jc.plot.COLOURS, ("-", "--", ":"), strict=False):
        low, _, median, _, high = many["w", w]["alpha"]
        ax.plot(years[1:], median[1:], color=colour, ls=line, lw=1.8, label=f"web share w = {w:g}")
        if w in (0.0, 0.5):
            ax.fill_between(years[1:], low[1:], high[1:], color=colour, alpha=0.18, lw=0)
    for (k, published), y in zip(YEARS.items(), (6e-3, 3.2e-3, 1.7e-3, 9e-4), strict=True):
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
    many = propagated()["w", 0.0]
    years = YEAR + np.arange(many["alpha"].shape[1])
    styles = {"demand": ("n, all tokens read", "0.45", "-."), "real only": ("real text alone", jc.plot.COLOURS[2], ":")}
    styles |= {"kept": ("(A) text kept", jc.plot.COLOURS[0], "-")}
    styles |= {"discarded": ("(B) discarded, 300 T written a year", jc.plot.COLOURS[1], "--")}
    for name, (label, colour, line) in styles.items():
        low, _, median, _, high = many[name]
        ax.plot(years, median, color=colour, ls=line, lw=2, label=label)
        if name in ("kept", "discarded"):
            ax.fill_between(years, low, high, color=colour, alpha=0.18, lw=0)
            ax.plot(years, np.stack([low, high], 1), color=colour, ls=line, lw=0.7)
    with jax.enable_x64(True):
        new = 1 / np.asarray(wall("new text alone, h = 5 %").risk_discarded(years.size - 1))
    ax.plot(years, new, color=jc.plot.COLOURS[3], ls=(0, (3, 1, 1, 1)), lw=2, label="(B) discarded, new text alone")
    ax.set(yscale="log", ylim=(2e11, 2e16), xlabel="year (generation)", ylabel="real tokens that would do as well, 1/r")
    ax.set_title("(b) Models stop improving; real text alone (dotted) would not", fontsize=11)
    ax.legend(fontsize=8, loc="lower right")


def _simulated(ax, found):
    n0, time = found["settings"]["n0"], np.arange(1, found["settings"]["generations"] + 1)
    shown = [name for name in (NAMES[1], NAMES[3], NAMES[6]) if (name, "kept") in found["cells"]]
    for name, colour, marker in zip(shown, jc.plot.COLOURS, "os^", strict=False):
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
    ax.set_title(f"(c) Exact (lines); {found['lineages']} lineages ± 2 s.e. (points)", fontsize=11)
    ax.legend(fontsize=8)


def _phases(ax, found):
    shown = [name for name in PHASES if (name, "discarded") in found["cells"]]
    for name, colour, marker in zip(shown, jc.plot.COLOURS, "sDo^", strict=False):
        c = found["cells"][name, "discarded"]
        ax.plot(c["long"], color=colour, lw=1.4)
        style = {"fmt": marker, "ms": 4, "lw": 1, "label": f"{c['phase']}: {name}"}
        ax.errorbar(np.arange(1, c["risk"].size + 1), c["risk"], 2 * c["risk se"], color=colour, **style)
    ax.set(yscale="log", ylim=(1e-6, 4), xlabel="generation $t$", ylabel=r"risk $r_t$, reading (B)")
    ax.set_title("(d) Phases of (B): frozen, as long as data sets outgrow text", fontsize=11)
    ax.legend(fontsize=8, loc="center right", bbox_to_anchor=(1, 0.59))


def _inflow(ax, found):
    floors = np.geomspace(50, 5000, 41) * T
    solved = needed(floors)
    labels = {
        "kept": ("(A) text kept, on top of 300 T, h = 5 %", "-"),
        "discarded": ("(B) discarded, data sets × 2.40 a year", "--"),
        "plateau": ("(B) discarded, data sets grow at most linearly: (1/r − 1)/2", ":"),
    }
    for (name, (label, line)), colour in zip(labels.items(), jc.plot.COLOURS, strict=False):
        ax.plot(floors / T, solved[name] / T, color=colour, ls=line, lw=2, label=label)
    few, many = (np.nan_to_num(needed(floors, x * T)["kept"], nan=1e9) / T for x in PUBLISHED["stock"][:0:-1])
    ax.fill_between(floors / T, few, many, color=jc.plot.COLOURS[0], alpha=0.18, lw=0, label="(A) for 1000 to 100 T")
    ax.set(xscale="log", yscale="log", ylim=(1, 9e3), xlabel=r"floor to hold in 2040, $1/r$ ($10^{12}$ tokens)")
    ax.set(ylabel=r"fresh human text from 2025 on ($10^{12}$ tokens a year)")
    ax.set_title("(e) The inflow that holds a floor: less if text is kept", fontsize=11)
    ax.legend(fontsize=8, loc="upper left")


def _losses(ax, found):
    p = np.logspace(-17, -11, 400)
    lines = ("-", "--", "-.", ":", (0, (3, 1, 1, 1)))
    for (name, draws), colour, line in zip(lost().items(), ("black", *jc.plot.COLOURS), lines, strict=False):
        ax.plot(p, np.exp(-p * draws), color=colour, ls=line, lw=3 if colour == "black" else 1.8, label=name)
    low, high = (lost()["(A) kept"] * x / PUBLISHED["stock"][0] for x in PUBLISHED["stock"][1:])
    ax.fill_between(p, np.exp(-p * high), np.exp(-p * low), color=jc.plot.COLOURS[0], alpha=0.18, lw=0)
    ax.axvline(1 / (300 * T), color="0.6", lw=1)
    ax.annotate("1/S, 2024", (1 / (300 * T), 0.97), xytext=(4, 0), textcoords="offset points", fontsize=8)
    ax.set(xscale="log", xlabel="probability $p$ of a context", ylabel="P(lost by 2040) $= e^{-pF}$")
    ax.set_title("(f) Text that is kept loses no context that it holds", fontsize=11)
    ax.legend(fontsize=8)
