"""What helps against contaminated data, by what it needs to know: six strategies side by side.

    α_t = a₀ t^−a,   n_t = n₀ t^b,   R_t ~ t^−e

    A  agnostic, latest batch        needs nothing   e = b − a                 iff b > a, a < 1
    B  agnostic, pooled              nothing         e = (1 + b) min(1, 2a₀)   iff a = 0
    C  debiased, latest batch        α_t             e = b − 2a                iff b > 2a
    D  debiased, by precision        α_t             e = 1 + b − 2a            iff 2a ≤ 1 + b      level 1/Σ n_s α_s²
    E  real only, latest batch       labels          e = b − a                 iff b > a           level 1/(n_t α_t)
    F  real only, pooled             labels          e = 1 + b − a             iff a ≤ 1 + b       level 1/Σ n_s α_s

C and D are estimates computed beside the chain A, which generates: signed sums, unbiased, that cannot be sampled from;
what is released is their projection onto the simplex. All six against exact recursions at this horizon; exponents
derived here (D's while its chain is diverse). Question: arXiv 2602.10531; Kanabar and Gastpar, arXiv 2501.19273.

    jaxcollapse run experiments/strategies.py
"""

import json

import jax
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"decay": np.array([0.25, 0.5]), "growth": np.array([0.0, 0.5, 1.0])}
NAMES = {
    "A": "agnostic, latest batch",
    "B": "agnostic, pooled",
    "C": "debiased, latest batch",
    "D": "debiased, by precision",
    "E": "real only, latest batch",
    "F": "real only, pooled",
}
RECORDED = 12


def experiment(decay, growth, *, key, generations=1000, lineages=400, vocab=10, a0=0.5, n0=20.0):
    """Relative risks of the six strategies at log-spaced generations, and of what C and D release."""
    p_star = jc.zipf(vocab)
    alpha, n = schedules(decay, growth, a0, n0)
    kept, scale = times(generations), jc.metrics.diversity(p_star.probs)
    risk = lambda p: jc.metrics.squared_error(p, p_star.probs) / scale
    beside = jc.Debiased(jc.Debiased(jc.Replace(), decay=0.0), decay=1.0)

    def estimates(lineage, batch):
        pooled, latest = lineage.memory, lineage.memory.inner
        released = {"C_released": risk(latest.released), "D_released": risk(pooled.released)}
        negative = {"C_negative": (latest.probs < 0).any(), "D_negative": (pooled.probs < 0).any()}
        return {"A": risk(lineage.model.probs), "C": risk(latest.probs), "D": risk(pooled.probs)} | released | negative

    def run(regime, record):
        loop = jc.Loop(p_star, jc.Tabular(), regime, alpha, n)
        return jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=kept)[1]

    found = run(beside, estimates)
    others = {"B": jc.Accumulate(), "E": jc.RealOnly(jc.Replace()), "F": jc.RealOnly(jc.Accumulate())}
    for name, regime in others.items():
        found[name] = run(regime, lambda lineage, batch: risk(lineage.model.probs))
    found = {name: (("lineage", "generation"), value.astype(float)) for name, value in found.items()}
    return found | {"generation": ("generation", kept, {"long_name": "generation t"})}


def schedules(decay, growth, a0, n0):
    return jc.PowerLaw(a0, exponent=-decay, cap=1), jc.PowerLaw(n0, exponent=growth)


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, RECORDED)).astype(int))


def exact(decay, growth, set_):
    """Relative risk of each strategy, t = 0..T."""
    with jax.enable_x64(True):
        arguments = (*schedules(decay, growth, set_["a0"], set_["n0"]), set_["generations"])
        found = {
            "A": jc.theory.risk(*arguments),
            "B": jc.theory.accumulate(*arguments),
            "C": jc.theory.debiased(*arguments, 0.0),
            "D": jc.theory.debiased(*arguments, 1.0),
            "E": jc.theory.real_only(*arguments),
            "F": jc.theory.real_only_pooled(*arguments),
        }
        return {name: np.asarray(value) for name, value in found.items()}


def exponent(name, a, b, a0):
    """e of R_t ~ t^−e as t → ∞, NaN where the strategy does not recover."""
    formula, recovers = {
        "A": (b - a if a < 1 else min(2 * a0, b - 1), (b > a and a < 1) or (a == 1 and b > 1)),
        "B": ((1 + b) * min(1, 2 * a0), a == 0),
        "C": (b - 2 * a, b > 2 * a),
        "D": (1 + b - 2 * a, 2 * a <= 1 + b),
        "E": (b - a, b > a),
        "F": (1 + b - a, a <= 1 + b),
    }[name]
    return formula if recovers else np.nan


def analyse(run):
    """For every cell and strategy: R_T and the local slope of R_t over the last factor of time, exact and ours."""
    set_ = json.loads(run.attrs["settings"])
    t, cells = run.generation.values, {}
    start = int(abs(np.log(t / (t[-1] / 5))).argmin())
    ratio = np.log(t[-1] / t[start])
    for a in run.decay.values:
        for b in run.growth.values:
            here, theory = run.sel(decay=a, growth=b), exact(a, b, set_)
            for name in NAMES:
                x, e = here[name].transpose("lineage", "generation").values.astype(float), theory[name]
                mean, se = x.mean(0), x.std(0, ddof=1) / np.sqrt(len(x))
                shift = (x[:, -1] / mean[-1] - x[:, start] / mean[start]) / ratio
                cells[a, b, name] = {
                    "times": t, "mean": mean, "se": se, "exact": e, "z": (mean - e[t]) / se,
                    "slope": np.log(mean[start] / mean[-1]) / ratio,
                    "slope se": shift.std(ddof=1) / np.sqrt(len(x)),
                    "exact slope": np.log(e[t[start]] / e[-1]) / ratio,
                    "exponent": exponent(name, a, b, set_["a0"]),
                }  # fmt: skip
    return {"cells": cells, "settings": set_, "window": (t[start], t[-1]), "lineages": run.sizes["lineage"]}


def summary(run):
    """Table 4.5 with numbers, and what C and D are and are not."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    low, high = found["window"]
    table = Table(title=f"Risk at T = {high}, and −d ln R/d ln t over t = {low}..{high}", box=SIMPLE, padding=0)
    headers = ("a, b", "", "R_T exact", "ours ± s.e.", "z", "slope", "ours ± s.e.", "z", "e")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for (a, b, name), c in found["cells"].items():
        level = (f"{c['exact'][-1]:.3g}", f"{c['mean'][-1]:.3g} ± {c['se'][-1]:.1g}", f"{c['z'][-1]:+.1f}")
        z = (c["slope"] - c["exact slope"]) / c["slope se"]
        slope = (f"{c['exact slope']:.3f}", f"{c['slope']:.3f} ± {c['slope se']:.3f}", f"{z:+.1f}")
        limit = "none" if np.isnan(c["exponent"]) else f"{c['exponent']:.3g}" if c["exponent"] else "0 (ln)"
        first = f"{a:g}, {b:g}" if name == "A" else ""
        table.add_row(first, name, *level, *slope, limit, end_section=name == "F")
    z = np.abs([c["z"] for c in found["cells"].values()])
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    slopes = np.abs([(c["slope"] - c["exact slope"]) / c["slope se"] for c in found["cells"].values()])
    slope_bound = stats.t.isf(5e-4 / slopes.size, found["lineages"] - 1)
    agreement = (
        f"all risks against their exact recursions: worst |z| {z.max():.2f} of {z.size} (bound {bound:.2f}); "
        f"slopes: {slopes.max():.2f} of {slopes.size} (bound {slope_bound:.2f})"
    )
    names = "; ".join(f"{name} {NAMES[name]}" for name in NAMES)
    key = f"{names}; slope: exact; e: exponent of R_t ~ t^−e for t → ∞, none where there is no recovery"
    return Group(table, key, agreement, _what_they_are(run))


def _what_they_are(run):
    """C and D are unbiased and signed; what is released is a law, nearer to p*, and never fed back."""
    from rich.box import SIMPLE
    from rich.table import Table

    title = "C and D are signed estimates beside A, which generates;\nreleased is their projection onto the simplex"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for name in ("a, b", *(f"{x} {what}" for x in "CD" for what in ("< 0 in", "risk", "released"))):
        table.add_column(name, justify="right")
    last = run.isel(generation=-1)
    for a in run.decay.values:
        for b in run.growth.values:
            mean = {name: float(value.mean()) for name, value in last.sel(decay=a, growth=b).data_vars.items()}
            numbers = [(f"{mean[x + '_negative']:.0%}", f"{mean[x]:.3g}", f"{mean[x + '_released']:.3g}") for x in "CD"]
            table.add_row(f"{a:g}, {b:g}", *numbers[0], *numbers[1])
    return table


def figure(run):
    """Risk against time in each cell: lines exact, points simulated."""
    import matplotlib.pyplot as plt

    found, set_ = analyse(run), json.loads(run.attrs["settings"])
    decays, growths = run.decay.values, run.growth.values
    size = (max(10, 4.2 * len(growths) + 1), 3.6 * len(decays) + 1.4)
    figure, axes = plt.subplots(
        len(decays), len(growths), figsize=size, layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for (a, b, name), c in found["cells"].items():
        ax = axes[list(decays).index(a), list(growths).index(b)]
        i = "ABCDEF".index(name)
        colour, line = jc.plot.COLOURS[i], "--" if name in "CD" else ":" if name in "EF" else "-"
        t = np.arange(1, c["exact"].size)
        ax.plot(t, c["exact"][1:], color=colour, linestyle=line)
        points = {"fmt": "os^vDP"[i], "markersize": 4, "color": colour}
        ax.errorbar(c["times"], c["mean"], yerr=2 * c["se"], label=f"{name}  {NAMES[name]}", **points)
        ax.set_title(f"a = {a:g}, b = {b:g}", fontsize=11)
        ax.set(xscale="log", yscale="log")
    for ax in axes[-1]:
        ax.set_xlabel("generation t")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"risk $R_t / (1 - \|p^*\|^2)$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        "Pooled and labelled real data (F) recover fastest; one debiased batch (C) is worse than knowing nothing (A)\n"
        rf"$\alpha_t = {set_['a0']:g}\, t^{{-a}}$, $n_t = {set_['n0']:g}\, t^b$, K = {set_['vocab']}, "
        f"{found['lineages']} lineages; points: simulated ± 2 s.e.\n"
        "lines: exact (solid: agnostic; dashed: knows α; dotted: knows labels)",
        fontsize=12,
    )
    return figure
