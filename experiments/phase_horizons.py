"""How a finite run approaches the asymptotic phase map: boundary, scaling and exponents against t.

    b_T(a) = a − ln(2 n₀ a₀)/ln T,  a < 1                    the boundary r_T = ½ to leading order
    r_T = 1/(1 + 2x),  x = (n_T − 1) α_T (2 − α_T)/2         where memory is short
    s_r = d ln r/d ln t,  s_g = d ln(1 − r)/d ln t           local exponents, → −rate of `theory.phase`

α_t = min(1, a₀ t^−a), n_t = n₀ t^b. Up to `generations` simulated; beyond, the exact recursion (n_t rounded for the
boundary; unrounded with a₀ = ½, n₀ = 4 up to 3·10⁵ for the exponents, the critical lines a = 1, b = 1 and a = b
included). For a > 1 the boundary goes to the frozen run that ends at r_∞ = ½. Laws: derived for this project.

    jaxcollapse run experiments/phase_horizons.py
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

import jaxcollapse as jc

AXES = {"growth": np.linspace(0, 2, 17), "decay": np.linspace(0, 2, 9)}
HORIZONS, LONG = (100, 1000, 10_000, 100_000), 300_000
# At T = 3·10⁵, by an independent recursion in NumPy: (a, b) -> d ln r/d ln t or d ln(1 − r)/d ln t over the last
# decade, or r itself.
INDEPENDENT = {
    "r": {(0.25, 0.5): -0.250, (0.25, 0.75): -0.503, (0.5, 1): -0.501, (0.5, 1.5): -1.002, (1, 1.5): -0.496},
    "1 - r": {
        (0.5, 0): -0.495, (0.75, 0): -0.750, (1, 0): -1.000, (1.5, 0): -1.500, (1, 0.5): -0.496, (1.5, 0.25): -1.247,
        (2, 1): -0.250,
    },
    "level": {(0.75, 0.75): 0.2000, (1, 1): 0.2000, (0.5, 0.5): 0.2001, (0.25, 0.25): 0.2035},
}  # fmt: skip
MONTE_CARLO = {
    (0, 0): 0.06557, (0.5, 0): 0.47690, (1.5, 0): 0.99594, (0.5, 0.5): 0.04844, (1, 0.5): 0.39576,
    (0.25, 0.75): 0.00308, (0.5, 1): 0.0030075, (1, 1): 0.04789, (1, 1.5): 0.0056140, (1.5, 1.5): 0.05136,
}  # fmt: skip


def experiment(decay, growth, *, key, generations=300, lineages=160, vocab=50, a0=0.5, n0=20.0):
    """Relative risk r and diversity H / H* of every lineage at log-spaced generations."""
    p_star, kept = jc.zipf(vocab), times(generations)
    loop = jc.Loop(p_star, jc.Tabular(), jc.Replace(), *schedules(decay, growth, a0, n0))
    scale = jc.metrics.diversity(p_star.probs)

    def record(lineage, batch):
        p = lineage.model.probs
        return jc.metrics.squared_error(p, p_star.probs) / scale, jc.metrics.diversity(p) / scale

    _, (risk, diversity) = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=kept)
    return {
        "generation": ("generation", kept, {"long_name": "generation t"}),
        "risk": (("lineage", "generation"), risk, {"long_name": "relative risk r", "units": "1"}),
        "diversity": (("lineage", "generation"), diversity, {"long_name": "diversity H / H*", "units": "1"}),
    }


def schedules(decay, growth, a0=0.5, n0=20.0):
    return jc.PowerLaw(a0, exponent=-decay, cap=1), jc.PowerLaw(n0, exponent=growth)


def times(generations):
    return np.unique(np.append(np.rint(np.geomspace(1, generations, 25)), min(100, generations))).astype(int)


def boundaries(decays, generations, a0, n0):
    """b_T(a) of the rounded recursion; NaN where r_T = ½ is not crossed in 0 ≤ b ≤ 2."""

    def root(decay):
        return jc.theory.boundary(lambda growth: schedules(decay, growth, a0, n0), generations)

    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(root))(jnp.asarray(decays, float)))


def limits(decays, a0, n0, halvings=14):
    """Where the boundary goes as T → ∞: b = a for a ≤ 1; beyond, the frozen run with r_∞ = ½."""
    out = []
    for a in decays:
        low, high = 1.0, 2.0
        for _ in range(halvings if a > 1 else 0):
            middle = (low + high) / 2
            above = jc.theory.phase(*schedules(float(a), middle, a0, n0)).limit > 0.5
            low, high = (middle, high) if above else (low, middle)
        out.append((low + high) / 2 if a > 1 else a)
    return np.array(out)


@functools.cache
def long_runs(decays, growths, generations=LONG, a0=0.5, n0=4.0):
    """r, 1 − r and t at a tenth of the time and at its end, decay × growth × 2, n_t unrounded."""
    with jax.enable_x64(True):
        t, b = jnp.maximum(jnp.arange(generations + 1.0), 1.0), jnp.asarray(growths, float)
        at, out = np.array([generations // 10, generations]), []
        for a in decays:
            schedule = jnp.minimum(1.0, a0 * t ** -float(a))[:, None], n0 * t[:, None] ** b
            schedule = jnp.broadcast_to(schedule[0], schedule[1].shape), schedule[1]
            risk, diversity = jc.theory.recursion(*schedule), jc.theory.diversity_recursion(*schedule)
            out.append(np.stack([risk[at].T, diversity[at].T], -1))
        return np.array(out), at


def asymptotic(found, i, j):
    """(name, quantity at the two times, its law there) of a long run."""
    (values, at), a, b = found["long"], found["a"][i], found["b long"][j]
    phase = jc.theory.phase(*schedules(float(a), float(b), 0.5, 4.0), rounded=False)
    risk, diversity = values[i, j].T
    known = {"r": risk, "1 - r": diversity}
    quantity = known[phase.quantity] if phase.quantity in known else abs(risk - phase.limit)
    law = at**-phase.rate * (np.log(at) if "ln" in phase.law else 1.0)
    return phase, quantity, law if phase.law.startswith("prefactor * t^-rate") else np.full(2, np.nan)


def analyse(run):
    """Exact curves, boundaries at all horizons, exponents simulated, exact and asymptotic."""
    found = json.loads(run.attrs["settings"])
    order = ("decay", "growth", "lineage", "generation")
    risk, diversity = (run[name].transpose(*order).values.astype(float) for name in ("risk", "diversity"))
    a, b, t = run.decay.values, run.growth.values, run.generation.values
    found |= {"a": a, "b": b, "times": t, "lineages": run.sizes["lineage"], "risk": risk}
    fine = np.linspace(0, 2, 33)
    with jax.enable_x64(True):
        found |= _exact(a, b, found)
    window = found["generations"] / 10, found["generations"]
    found["slopes"] = jc.phase.exponent(risk, t, window, diversity=diversity)
    found["exact slopes"] = jc.phase.exponent(found["r"], t, window, diversity=found["g"], noise_free=True)
    found["simulated"] = {
        horizon: jc.phase.boundary(risk[..., list(t).index(horizon)], b, axis=1)
        for horizon in sorted({min(100, found["generations"]), found["generations"]})
    }
    found["fine"], shared = fine, (found["a0"], found["n0"])
    longest = HORIZONS if found["generations"] >= 300 else HORIZONS[:2]
    found["boundaries"] = {horizon: boundaries(fine, horizon, *shared) for horizon in longest}
    found["boundary here"] = boundaries(fine, found["generations"], *shared)
    found["limit"] = limits(fine, *shared)
    found["b long"] = np.linspace(0, 2, 9)
    generations = LONG if found["generations"] >= 300 else LONG // 100
    found["long"] = long_runs(tuple(a.tolist()), tuple(found["b long"].tolist()), generations)
    return found


def _exact(a, b, found):
    def cell(decay, growth):
        arguments = (*schedules(decay, growth, found["a0"], found["n0"]), found["generations"])
        alpha_t, n_t = jc.evaluate(*arguments)
        x, share = jc.theory.scaling_variable(alpha_t[-1], n_t[-1]), alpha_t[-1] * n_t[-1]
        return jc.theory.risk(*arguments), jc.theory.diversity(*arguments), x, share

    grid = jnp.meshgrid(jnp.asarray(a, float), jnp.asarray(b, float), indexing="ij")
    r, g, x, share = (np.asarray(y) for y in jax.jit(jax.vmap(jax.vmap(cell)))(*grid))
    return {"r": r[..., found["times"]], "g": g[..., found["times"]], "x": x, "n alpha": share}


def local_exponents(found):
    """Of every cell that has an interval: a, b, phase, our slope, its s.e., the recursion's, and that of t → ∞."""
    rows = []
    quantile = 1.96 if found["lineages"] > 1000 else float(_t_quantile(found["lineages"]))
    for i, j in np.ndindex(found["a"].size, found["b"].size):
        a, b = float(found["a"][i]), float(found["b"][j])
        phase = jc.theory.phase(*schedules(a, b, found["a0"], found["n0"]))
        collapses = phase.name == "collapse"
        if collapses and found["slopes"].scarce[i, j]:
            continue
        ours, exact = (x.diversity if collapses else x.risk for x in (found["slopes"], found["exact slopes"]))
        se = (ours.high[i, j] - ours.low[i, j]) / 2 / quantile
        moving = phase.name in ("recovery", "collapse") and "rate^t" not in phase.law
        limit = -phase.rate if moving else 0.0
        if se > 0:
            rows.append((a, b, phase.name, ours.value[i, j], se, exact.value[i, j], limit))
    return rows


def _t_quantile(lineages):
    from scipy import stats

    return stats.t.isf(0.025, lineages - 1)


def summary(run):
    """Check points, boundaries, exponents and scaling, each beside its exact value."""
    from rich.console import Group

    found = analyse(run)
    return Group(_check_points(found), _horizon_table(found), _exponent_table(found), *_lines(found))


def _check_points(found):
    from rich.box import SIMPLE
    from rich.table import Table

    shown = Table(title=f"r_T at T = {found['generations']}: check points", box=SIMPLE, padding=0)
    for name in ("a, b", "exact r_300, independent", "exact r_T, here", "ours ± s.e.", "z"):
        shown.add_column(name, justify="right")
    for (a, b), value in MONTE_CARLO.items():
        i, j = int(abs(found["a"] - a).argmin()), int(abs(found["b"] - b).argmin())
        if not np.allclose((found["a"][i], found["b"][j]), (a, b)):
            continue
        x, exact = found["risk"][i, j, :, -1], found["r"][i, j, -1]
        se = x.std(ddof=1) / np.sqrt(x.size)
        shown.add_row(
            f"{a:g}, {b:g}",
            f"{value:.5g}",
            f"{exact:.5g}",
            f"{x.mean():.5g} ± {se:.1g}",
            f"{(x.mean() - exact) / se:+.2f}",
        )
    return shown


def _horizon_table(found):
    from rich.box import SIMPLE
    from rich.table import Table

    slope = np.log(2 * found["n0"] * found["a0"])
    shown = Table(
        title=f"The boundary b_T(a), and (a − b_T) ln T, for a < 1 near ln(2 n₀ a₀) = {slope:.4f}",
        box=SIMPLE,
        padding=0,
    )
    shown.add_column("a", justify="right")
    for horizon in found["boundaries"]:
        shown.add_column(f"T = {horizon}", justify="right")
    shown.add_column("T → ∞", justify="right")
    for a in (0.75, 0.875, 1.0, 1.25, 1.5, 2.0):
        i = int(abs(found["fine"] - a).argmin())
        row = [f"{b[i]:.4f} ({(a - b[i]) * np.log(horizon):.3f})" for horizon, b in found["boundaries"].items()]
        shown.add_row(f"{a:g}", *row, f"{found['limit'][i]:.4f}")
    return shown


def _exponent_table(found):
    from rich.box import SIMPLE
    from rich.table import Table

    at, shown = found["long"][1], Table(title="Exponents of the recursion, n_t unrounded", box=SIMPLE, padding=0)
    for name in (
        "phase",
        "cells",
        "quantity",
        "largest |slope − law's slope|",
        "at a, b",
        "value / law at T, 5 to 95 %",
    ):
        shown.add_column(name, justify="right")
    gathered = {}
    for i, j in np.ndindex(found["a"].size, found["b long"].size):
        phase, quantity, law = asymptotic(found, i, j)
        if np.isfinite(law).all() and (quantity > 1e-12).all():
            off = np.log(quantity[1] / quantity[0] * law[0] / law[1]) / np.log(at[1] / at[0])
            entry = (abs(off), found["a"][i], found["b long"][j], quantity[1] / law[1] / phase.prefactor)
            critical = "critical" if 1 in entry[1:3] or entry[1] == entry[2] else ""
            gathered.setdefault((f"{phase.name} {phase.subphase} {critical}".strip(), phase.quantity), []).append(entry)
    for (name, quantity), entries in gathered.items():
        worst = max(entries)
        ratio = np.nanquantile([e[3] for e in entries if np.isfinite(e[3])] or [np.nan], (0.05, 0.95))
        shown.add_row(
            name,
            str(len(entries)),
            quantity,
            f"{worst[0]:.4f}",
            f"{worst[1]:g}, {worst[2]:g}",
            f"{ratio[0]:.3f} to {ratio[1]:.3f}",
        )
    shown.title = f"{shown.title}, over t = {at[0]} to {at[1]}"
    return shown


def independent_gaps(found):
    """Largest |ours − independent| of the slopes and of the levels at T = 3·10⁵."""
    (values, at), gaps = found["long"], {"slopes": [], "levels": []}
    for kind, table in INDEPENDENT.items():
        for (a, b), value in table.items():
            i, j = int(abs(found["a"] - a).argmin()), int(abs(found["b long"] - b).argmin())
            pair = values[i, j, :, int(kind == "1 - r")]
            ours = pair[1] if kind == "level" else np.log(pair[1] / pair[0]) / np.log(at[1] / at[0])
            gaps["levels" if kind == "level" else "slopes"].append(abs(ours - value))
    return {name: max(gap) for name, gap in gaps.items()}


def _lines(found):
    rows = local_exponents(found)
    z = np.array([(ours - exact) / se for *_, ours, se, exact, _ in rows])
    gap = np.array([exact - limit for *_, exact, limit in rows])
    residual = _scaling_residuals(found)
    lines = [
        f"local exponents over the last decade of {found['generations']} generations, simulated against exact: "
        f"{(abs(z) <= 2).sum()} of {z.size} within 2 s.e., worst |z| {abs(z).max():.2f}; the exact slope is "
        f"{np.median(abs(gap)):.3f} (median) and up to {abs(gap).max():.2f} away from that of T → ∞",
        "scaling, a < 1: median |logit r_T − logit 1/(1 + 2x)| of the recursion "
        f"{residual['x']:.3f} with x = (n − 1) α (2 − α)/2, {residual['n alpha']:.3f} with x = n α",
    ]
    if found["long"][1][1] == LONG and found["a"].size == 9:
        gaps = independent_gaps(found)
        lines.append(
            f"against the independent table at T = 3·10⁵: largest gap {gaps['slopes']:.4f} of slopes (given to 0.001), "
            f"{gaps['levels']:.5f} of levels"
        )
    return lines


def _scaling_residuals(found):
    logit = lambda p: np.log(p / (1 - p))
    short = found["a"] < 1
    r = found["r"][short][..., -1]
    return {name: np.median(abs(logit(r) - logit(1 / (1 + 2 * found[name][short])))) for name in ("x", "n alpha")}


def figure(run):
    """The boundary at all horizons, its approach, the one curve of scaling, and exponents."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    figure, axes = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
    _draw_boundaries(axes[0, 0], found)
    _draw_approach(axes[0, 1], found)
    mean, se = found["risk"][..., -1].mean(-1), found["risk"][..., -1].std(-1, ddof=1) / np.sqrt(found["lineages"])
    short = found["a"] <= 1
    hue = np.broadcast_to(found["a"][:, None], mean.shape)[short]
    jc.plot.collapse_curve(found["x"][short], mean[short], se[short], hue=hue, ax=axes[1, 0])
    axes[1, 0].set_title(
        f"Runs with a < 1 fall on one curve, a = 1 lags behind (simulated, T = {found['generations']})", fontsize=11
    )
    _draw_exponents(axes[1, 1], found)
    figure.suptitle(
        rf"A finite run sees a smeared map: the boundary moves as 1/ln T.   $\alpha_t = {found['a0']:g}\,t^{{-a}}$, "
        rf"$n_t = {found['n0']:g}\,t^b$, {found['lineages']} lineages a cell"
    )
    return figure


def _draw_boundaries(ax, found):
    greys = np.linspace(0.72, 0.0, len(found["boundaries"]))
    for grey, style, (horizon, b) in zip(greys, ("-", "--", "-.", ":"), found["boundaries"].items(), strict=False):
        power = f"$T = 10^{{{np.log10(horizon):.0f}}}$, exact"
        ax.plot(found["fine"], b, color=str(grey), linestyle=style, lw=2, label=power)
    exact = f"$T = {found['generations']}$, exact"
    ax.plot(found["fine"], found["boundary here"], color=jc.plot.COLOURS[0], lw=1, label=exact)
    ax.plot(found["fine"], found["limit"], color=jc.plot.COLOURS[1], lw=2.2, label=r"$T \to \infty$")
    for marker, (horizon, edge) in zip("os", found["simulated"].items(), strict=False):
        spread = np.clip([edge.root - edge.low, edge.high - edge.root], 0, 2)
        style = {"fmt": marker, "ms": 5, "mfc": "white", "color": jc.plot.COLOURS[0], "capsize": 2, "lw": 1.2}
        ax.errorbar(
            found["a"],
            edge.root,
            np.where(np.isfinite(spread), spread, 0),
            label=f"$T = {horizon}$, simulated, 95 %",
            **style,
        )
    ax.set(xlim=(0, 2), ylim=(0, 2), xlabel="decay $a$", ylabel="growth $b$")
    ax.text(0.3, 1.6, "risk below ½", fontsize=11)
    ax.text(1.45, 0.15, "risk above ½", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0.0, 0.78))
    ax.set_title("The boundary $r_T = ½$ at growing horizons", fontsize=11)


def _draw_approach(ax, found):
    for k, a in enumerate((0.75, 0.875, 1.0)):
        i = int(abs(found["fine"] - a).argmin())
        x = [1 / np.log(horizon) for horizon in found["boundaries"]]
        y = [a - b[i] for b in found["boundaries"].values()]
        ax.plot(x, y, "os^"[k], color=jc.plot.COLOURS[k], ms=6, label=f"$a = {a:g}$, exact")
        for horizon, edge in found["simulated"].items():
            at = np.flatnonzero(np.isclose(found["a"], a))
            if at.size and np.isfinite(edge.root[at[0]]):
                root, low, high = (v[at[0]] for v in (edge.root, edge.low, edge.high))
                bars = [[high - root], [root - low]] if np.isfinite([low, high]).all() else None
                ax.errorbar(
                    1 / np.log(horizon), a - root, bars, fmt="os^"[k], mfc="white", color=jc.plot.COLOURS[k], capsize=3
                )
    x = np.array([0.0, 1.15 / np.log(min(found["boundaries"]))])
    ax.plot(x, np.log(2 * found["n0"] * found["a0"]) * x, color="black", lw=1.2, label=r"$\ln(2 n_0 a_0) / \ln T$")
    ax.errorbar([], [], [], fmt="o", mfc="white", color="0.4", capsize=3, label="simulated, 95 %")
    ax.set(
        xlim=(0, None), ylim=(0, None), xlabel=r"$1 / \ln T$", ylabel="distance from the asymptotic boundary, $a - b_T$"
    )
    ax.set_title(r"It moves as $1/\ln T$: $T = 10^5$ is still far from $\infty$", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="upper left")


def _draw_exponents(ax, found):
    colours = dict(zip(("recovery", "plateau", "frozen", "collapse"), jc.plot.COLOURS, strict=False))
    for name, marker in zip(colours, "osD^", strict=True):
        rows = [row for row in local_exponents(found) if row[2] == name]
        if not rows:
            continue
        _, _, _, ours, se, exact, limit = (np.array(v) for v in zip(*rows, strict=True))
        what = r"$d \ln (1 - r) / d \ln t$" if name == "collapse" else r"$d \ln r / d \ln t$"
        style = {"fmt": marker, "ms": 4, "color": colours[name], "lw": 0.9}
        ax.errorbar(exact, ours, 1.96 * se, label=f"{name}: {what}", **style)
        ax.plot(exact, limit, marker, ms=4, mfc="none", mec=colours[name], alpha=0.45)
    ends = ax.get_xlim()
    ax.plot(ends, ends, color="black", lw=1)
    ax.plot([], [], "o", mfc="none", mec="0.4", label=r"open: law of $T \to \infty$")
    ax.set(xlabel="slope of the exact recursion", ylabel="slope simulated, ± 1.96 s.e.")
    ax.set_title(f"Local exponents over t = {found['generations'] // 10} to {found['generations']}", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="upper left")
