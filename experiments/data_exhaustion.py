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
import importlib
import json
import sys
from pathlib import Path

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
    title = f"Contexts of Zipf's law, β = {ZIPF:.3f}, lost in 2040, by their frequency p, 10^d to 10^(d+1)"
    table = _table(title, "scenario", "F / 10¹²", *(f"10^{d}" for d in decades))
    table.add_row("(there are)", "", *(f"{x:.0e}" for x in by_decade(1.0, decades)[0]), end_section=True)
    for name, draws in lost().items():
        there, gone = by_decade(draws, decades)
        table.add_row(name, f"{draws / T:.3g}", *(f"{x:.1%}" for x in gone / there))
    return table


def figure(run):
    """What is real, what it is worth, both readings simulated, phases of (B), the inflow needed, what is lost."""
    if (folder := str(Path(__file__).parent)) not in sys.path:
        sys.path.append(folder)
    many, floors = propagated(), np.geomspace(50, 5000, 41) * T
    with jax.enable_x64(True):
        new = 1 / np.asarray(wall("new text alone, h = 5 %").risk_discarded(many["w", 0.0]["alpha"].shape[1] - 1))
    _, low, high = PUBLISHED["stock"]
    inflow = needed(floors) | {"floor": floors, "stocks": [needed(floors, x * T)["kept"] for x in (high, low)]}
    found = analyse(run) | {"propagated": many, "new text": new, "inflow": inflow, "lost": lost(), "years": YEARS}
    return importlib.import_module("data_exhaustion_figures").panels(found)
