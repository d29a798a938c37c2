"""Does logistic regression add up its errors as means and linear regressions do: t + 1, π²/6, π²/2 − 2?

    logit p(1 | c) = φ_c · β,      a softmax of two tokens with features Φ: β = w_1 − w_0,      α = 0
    n → ∞:   β̂_t = mean of the β_{s−1} + ε_s it is shown,   ε_s ~ N(0, H⁻¹/n),   H = Σ_c π_c p_c (1 − p_c) φ_c φ_cᵀ

so the inflation of E(β_t − β*)ᵀ H (β_t − β*) and of E Σ_c π_c (p_c − p*_c)² over generation 0 is that of any regular
family: t + 1 replaced, Σ_{i≤t+1} 1/i² → π²/6 accumulated, → π²/2 − 2 subsampled. Finite n biases β by order 1/n in
every generation, and probabilities saturate. A fit of K steps of rate η from the model before learns of mode j of H,
with eigenvalue h_j, the part a_j = 1 − (1 − 2η h_j)^K: replaced, it drifts by (t/n) Σ_j a_j² and not by (t/n) k.

Sources: Dey and Donoho, arXiv 2410.22812; Kazdan et al., arXiv 2410.16713; Gerstgrasser et al., arXiv 2404.01413. The
drift of few steps is derived here.

    jaxcollapse run experiments/logistic.py
"""

import itertools
import json
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from scipy import special, stats

import jaxcollapse as jc

AXES = {"n": np.array([100.0, 300.0, 1000.0, 10_000.0, 100_000.0])}
REGIMES = ("replace", "accumulate", "subsample")
LIMITS = {"replace": np.inf, "accumulate": np.pi**2 / 6, "subsample": np.pi**2 / 2 - 2}
MEASURES = ("coefficients", "probabilities")
FEW = (1, 3, 10)  # steps of a fit that is stopped early
SLOW = 0.5  # and their rate
RECORDED = 16
# The corners of a cube in four dimensions, with an intercept: Σ_c π_c φ_c φ_cᵀ = 1.
DESIGN = np.array([(1.0, *corner) for corner in itertools.product((-1.0, 1.0), repeat=4)])
BETA = np.array([0.2, 0.6, -0.5, 0.4, 0.1])


def experiment(n, *, key, generations=50, lineages=1000, steps=40, rate=2.5):
    """Inflation of every lineage, by measure and regime, in units of generation 0 as n → ∞; drift with few steps."""
    at = times(generations)
    k_memory, k_subsample, k_few = jr.split(key, 3)
    converged = jc.Softmax(features=DESIGN, optimiser=optax.sgd, rate=rate, steps=steps, start="previous")
    run = lambda regime, key: lineage_coefficients(converged, regime, n, at, lineages, key)
    # Replacement and accumulation are one program, that of a memory with decay 0 and 1.
    leaky = jax.vmap(lambda decay, key: run(jc.Accumulate(decay=decay), key))
    replaced, pooled = leaky(jnp.array([0.0, 1.0]), jr.split(k_memory))
    found = dict(zip(REGIMES, (replaced, pooled, run(jc.Subsample(jc.Accumulate()), k_subsample)), strict=True))
    attrs = {"long_name": "error over that of generation 0 as n → ∞", "units": "1"}
    out: dict[str, Any] = {"generation": ("generation", at, {"long_name": "generation t"})}
    for regime, beta in found.items():
        for measure, error in zip(MEASURES, errors(beta, n), strict=True):
            out[f"{measure}, {regime}"] = (("lineage", "generation"), error, attrs)
    early = lambda stop: jc.Softmax(features=DESIGN, optimiser=until, rate=stop, steps=max(FEW), start="previous")
    stopped = lambda stop, key: lineage_coefficients(early(stop), jc.Replace(), n, at, lineages, key)
    for few, beta in zip(FEW, jax.vmap(stopped)(jnp.array(FEW, float), jr.split(k_few, len(FEW))), strict=True):
        drift = n / BETA.size * _norm(beta - beta[:, :1], information(noiseless(few)))
        out[f"drift, {few} steps"] = (("lineage", "generation"), drift, {"long_name": "drift since generation 0"})
    return out


def lineage_coefficients(learner, regime, n, at, lineages, key):
    """β `L R k` of every lineage at the generations `at`, the first of which are 0 and 1."""
    loop = jc.Loop(target(), learner, regime, jc.Constant(0.0), jc.Constant(n))
    beta = lambda model: model.weights[0][:, 1] - model.weights[0][:, 0]
    record = lambda lineage, batch: (beta(batch.source), beta(lineage.model))  # generation t − 1, and t
    sizes = {"lineages": lineages, "key": key, "record": record, "record_at": at[1:]}
    before, now = jc.ensemble(loop, int(at[-1]), **sizes)[1]
    return jnp.concatenate([before[:, :1], now], axis=1)


def until(stop):
    """Plain descent that stands still after `stop` steps: what is swept is when training stops."""
    return optax.sgd(lambda step: jnp.where(step < stop, SLOW, 0.0))


def errors(beta, n):
    """(β − β*)ᵀ H (β − β*) and Σ_c π_c (p_c − p*_c)², each over what it is at generation 0 as n → ∞."""
    h, truth = information(BETA), special.expit(DESIGN @ BETA)
    spread = truth * (1 - truth)
    unit = np.einsum("c,ck,kl,cl->", spread**2, DESIGN, np.linalg.inv(h), DESIGN) / len(DESIGN)
    off = jax.nn.sigmoid(beta @ jnp.asarray(DESIGN.T, float)) - jnp.asarray(truth, float)[None, None]
    return n / BETA.size * _norm(beta - jnp.asarray(BETA, float)[None, None], h), n / unit * jnp.mean(off**2, -1)


def _norm(x, h):
    return jnp.einsum("lrj,jk,lrk->lr", x, jnp.asarray(h, float), x)


def target():
    one = special.expit(DESIGN @ BETA)
    return jc.Categorical(np.stack([1 - one, one], axis=1))


def information(beta):
    """H at β, `k k`: the Fisher information of one draw."""
    one = special.expit(DESIGN @ beta)
    return DESIGN.T @ (DESIGN * (one * (1 - one))[:, None]) / len(DESIGN)


def noiseless(few):
    """β after that many steps from 0 on data without noise."""
    beta, truth = np.zeros_like(BETA), special.expit(DESIGN @ BETA)
    for _ in range(few):
        beta = beta + 2 * SLOW * DESIGN.T @ (truth - special.expit(DESIGN @ beta)) / len(DESIGN)
    return beta


def drift_rate(few):
    """Σ_j a_j² / k, what a generation of so many steps adds to the drift, in units of k/n."""
    learned = 1 - (1 - 2 * SLOW * np.linalg.eigvalsh(information(noiseless(few)))) ** few
    return float((learned**2).mean())


def times(generations):
    return np.unique(np.rint(np.concatenate([[0], np.geomspace(1, generations, RECORDED)])).astype(int))


def exact(regime, generations):
    """The inflation for n → ∞ at t = 0..T."""
    if regime == "replace":
        return np.arange(1.0, generations + 2)
    if regime == "accumulate":
        return np.cumsum(1 / np.arange(1.0, generations + 2) ** 2)
    with jax.enable_x64(True):
        return 1e8 * np.asarray(jc.theory.subsample(jc.Constant(0.0), jc.Constant(1e8), generations))


def analyse(run):
    """Ratios to the mean of generation 0 with s.e. (delta method) and z, axes n × generation; drifts likewise."""
    set_ = json.loads(run.attrs["settings"])
    at, found = run.generation.values, {}
    for measure, regime in itertools.product(MEASURES, REGIMES):
        x = run[f"{measure}, {regime}"].transpose("n", "lineage", "generation").values.astype(float)
        first, due = x[..., :1].mean(1, keepdims=True), exact(regime, set_["generations"])[at]
        ratio = x.mean(1) / first[:, 0]
        rest = (x - ratio[:, None] * x[..., :1]) / first
        found[measure, regime] = _scored(ratio, rest.std(1, ddof=1) / np.sqrt(x.shape[1]), due)
        found[measure, regime]["first"] = first[:, 0, 0], x[..., 0].std(1, ddof=1) / np.sqrt(x.shape[1])
    for few in FEW:
        x = run[f"drift, {few} steps"].transpose("n", "lineage", "generation").values.astype(float)
        found["drift", few] = _scored(x.mean(1), x.std(1, ddof=1) / np.sqrt(x.shape[1]), at * drift_rate(few))
    return found, run.n.values, at, set_


def _scored(mean, se, due):
    """z at every generation but the first, which is the unit."""
    return {"mean": mean, "se": se, "exact": due, "z": (mean - due)[:, 1:] / se[:, 1:]}


def summary(run):
    """The inflation of the last generation beside its value for n → ∞, and the worst z of all generations at each n."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found, sizes, at, set_ = analyse(run)
    title = f"Error of generation {at[-1]} over that of generation 0, α = 0, {set_['lineages']} lineages"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for column in ("regime", "n", "t → ∞", "exact", "of β", "z", "of p", "z"):
        table.add_column(column, justify="left" if column == "regime" else "right", no_wrap=True)
    for regime in REGIMES:
        for i, n in enumerate(sizes):
            head = (regime, f"{n:,.0f}", f"{LIMITS[regime]:.4f}" if np.isfinite(LIMITS[regime]) else "∞")
            cells = [found[measure, regime] for measure in MEASURES]
            ours = [(f"{e['mean'][i, -1]:.2f} ± {e['se'][i, -1]:.2f}", _brief(e["z"][i, -1])) for e in cells]
            table.add_row(*head, f"{cells[0]['exact'][-1]:.4f}", *itertools.chain(*ours))
    return Group(table, *_verdicts(found, sizes, set_), *_drifts(found, sizes, at, set_))


def _brief(z):
    return f"{z:+.1f}" if abs(z) < 10 else f"{z:+.0f}"


def _verdicts(found, sizes, set_):
    """For each measure: the worst |z| over regimes and generations at every n."""
    for measure in MEASURES:
        z = np.abs(np.concatenate([found[measure, regime]["z"] for regime in REGIMES], axis=1))
        said = ", ".join(f"{worst:.1f}" for worst in z.max(1))
        bound = _bound(z.shape[1], set_["lineages"])
        yield f"{measure}: worst |z| of {z.shape[1]} at each n: {said} (bound {bound:.2f})"


def _drifts(found, sizes, at, set_):
    """One line on fits of few steps, at the largest n."""
    parts = [found["drift", few] for few in FEW]
    ours = ", ".join(
        f"{few}: {e['mean'][-1, -1] / at[-1]:.4f} ± {e['se'][-1, -1] / at[-1]:.4f} (exact {drift_rate(few):.4f})"
        for few, e in zip(FEW, parts, strict=True)
    )
    z = np.abs(np.stack([e["z"][-1] for e in parts]))
    yield f"drift by steps of rate {SLOW:g}, over a converged fit's: {ours}"
    bound = _bound(z.size, set_["lineages"])
    yield f"drift at n = {sizes[-1]:g}: worst |z| {z.max():.2f} of {z.size} (bound {bound:.2f})"


def _bound(comparisons, lineages):
    return float(stats.t.isf(5e-4 / comparisons, lineages - 1))


def figure(run):
    """Inflation over generations at the largest n; what finite n does to it; the drift of fits of few steps."""
    import matplotlib.pyplot as plt

    found, sizes, at, set_ = analyse(run)
    figure, (course, finite, drift) = plt.subplots(1, 3, figsize=(15, 5.2), layout="constrained")
    _course(course, found, sizes, at)
    _finite(finite, found, sizes, at)
    _drift(drift, found, sizes, at)
    for ax in (course, finite, drift):
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=9)
    figure.suptitle(
        "Logistic regression inflates its error as t + 1, π²/6 and π²/2 − 2 once n is large; few steps slow the drift\n"
        f"means of {set_['lineages']} lineages ± 2 s.e., α = 0; lines: exact for n → ∞",
        fontsize=12,
    )
    return figure


def _style(i):
    return {"color": jc.plot.COLOURS[i], "fmt": "osD"[i], "ms": 5, "capsize": 2, "lw": 1}


def _course(ax, found, sizes, at):
    for i, regime in enumerate(REGIMES):
        e = found["coefficients", regime]
        ax.errorbar(at + 1, e["mean"][-1], 2 * e["se"][-1], mfc="white", label=regime, zorder=3, **_style(i))
        ax.plot(np.arange(at[-1] + 1) + 1, exact(regime, int(at[-1])), color=jc.plot.COLOURS[i], lw=1.2)
        if np.isfinite(LIMITS[regime]):
            ax.axhline(LIMITS[regime], ls=":", lw=1, color=jc.plot.COLOURS[i])
            text = {"accumulate": "π²/6", "subsample": "π²/2 − 2"}[regime]
            where = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "va": "bottom"}
            ax.annotate(text, (0.02, LIMITS[regime]), xytext=(0, 2), color=jc.plot.COLOURS[i], **where)
    ax.set(xscale="log", yscale="log", xlabel="generation t + 1", ylabel="error of β over that of generation 0")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.plot([], [], color="0.4", lw=1.2, label="exact for n → ∞")
    ax.set_title(f"error of β, n = {sizes[-1]:,.0f}")


def _finite(ax, found, sizes, at):
    shift = {"coefficients": 0.94, "probabilities": 1.06}
    for i, regime in enumerate(REGIMES):
        for measure, move in shift.items():
            e, filled = found[measure, regime], measure == "probabilities"
            mean, se = e["mean"][:, -1] / e["exact"][-1], e["se"][:, -1] / e["exact"][-1]
            style = _style(i) | {"mfc": jc.plot.COLOURS[i] if filled else "white", "ls": "-" if filled else "--"}
            label = f"{regime}, error of {'p' if filled else 'β'}"
            ax.errorbar(sizes * move, mean, 2 * se, label=label, **style)
    ax.axhline(1, color="black", lw=1)
    ax.set(xscale="log", yscale="log", xlabel="draws a generation n", ylabel="inflation over its value for n → ∞")
    ax.set_xticks(sizes, [f"{n:,.0f}" for n in sizes])
    low, high = ax.get_ylim()
    ticks = [y for y in (0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 2, 3, 5, 10, 20, 100) if low < y < high]
    ax.set_yticks(ticks, [f"{y:g}" for y in ticks])
    ax.minorticks_off()
    ax.set_title(f"what finite n does, generation {at[-1]}")


def _drift(ax, found, sizes, at):
    t = np.arange(1, at[-1] + 1)
    ax.plot(t, t, color="black", lw=1.2, label="converged, exact")
    for i, few in enumerate(FEW):
        e = found["drift", few]
        label = f"{few} step{'s' * (few > 1)}"
        ax.errorbar(at[1:], e["mean"][-1, 1:], 2 * e["se"][-1, 1:], mfc="white", label=label, **_style(i))
        ax.plot(t, t * drift_rate(few), color=jc.plot.COLOURS[i], lw=1.2)
    ax.set(xscale="log", yscale="log", xlabel="generation t", ylabel="drift since generation 0, in units of k/n")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_title(f"replace, few steps of rate {SLOW:g}, n = {sizes[-1]:,.0f}")
