"""When does training on contaminated data improve on the real data that it started from, and compared with what?

    α_t = α₁ t^−a,   n_0 = n₀,   n_t = f n₀ t^b  (t ≥ 1)

    the first generation improves      R_1 < R_0   iff   n_1 > 1 + (n_0 − 1) / (α_1 (2 − α_1))
    the whole lineage improves         R_t < R_0 for all t = 1..T
    it improves at every step          R_t ≤ R_{t−1} for all t, iff q_t ≤ r_{t−1} (`theory.quasi_equilibrium`)

Efficiency is the effective number of draws 1/r_T over the number that a rival has used: the batch of generation T
alone, or everything up to T; counted in real draws, or in all draws as if they had been real.

    jaxcollapse run experiments/improvement.py
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"alpha": np.linspace(0.04, 1.0, 17), "factor": np.geomspace(1, 32, 16)}
CONTOURS = (0.01, 0.03, 0.1, 0.3, 0.5, 1, 1.5, 2, 5, 10, 30)
CONDITIONS = {"first generation": "R_1 < R_0", "whole lineage": "R_t < R_0", "every step": "R_t ≤ R_t−1"}
VERDICTS = tuple(CONDITIONS)


def experiment(alpha, factor, *, key, generations=40, lineages=200, vocab=256, n0=100.0, decay=0.5, growth=0.25):
    """Relative risk r_t of every lineage at t = 1..T."""
    p_star = jc.corpora.shakespeare(vocab=vocab)
    weight, size = schedules(alpha, factor, n0, decay, growth)
    loop = jc.Loop(target=p_star, learner=jc.Tabular(), regime=jc.Replace(), alpha=weight, n=size)
    h_star = jc.metrics.diversity(p_star.probs)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, p_star.probs) / h_star
    _, risk = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)
    attrs = {"long_name": "risk r relative to 1 − ‖p*‖²", "units": "1"}
    return {
        "generation": ("generation", np.arange(1, generations + 1), {"long_name": "generation t"}),
        "risk": (("lineage", "generation"), risk, attrs),
    }


def schedules(alpha, factor, n0, decay, growth):
    size = jc.Piecewise((1,), (jc.Constant(n0), jc.PowerLaw(factor * n0, exponent=growth)))
    return jc.PowerLaw(alpha, exponent=-decay), size


def analyse(run):
    """Exact r_t, α_t and n_t on the grid, and the three verdicts by theory and by simulation."""
    set_ = json.loads(run.attrs["settings"])
    r, alpha_t, n_t = exact(run.alpha.values, run.factor.values, set_)
    risk = run.risk.transpose("alpha", "factor", "lineage", "generation").values.astype(float)
    mean, se = _mean_and_se(risk)
    whole = np.concatenate([np.broadcast_to(r[..., None, :1], (*risk.shape[:-1], 1)), risk], -1)
    least = np.broadcast_to(_least_before(whole.mean(-2))[..., None, :], risk.shape)
    return {
        "r": r,
        "alpha_t": alpha_t,
        "n_t": n_t,
        "mean": mean,
        "z": (mean - r[..., 1:]) / se,
        "lineages": risk.shape[-2],
        "settings": set_,
        "exact verdicts": exact_verdicts(r),
        "simulated verdicts": _verdicts(
            _significant(risk - whole[..., :1]), _significant(risk - np.take_along_axis(whole, least, -1))
        ),
        "clear": abs(mean[..., 0] - r[..., 0]) > 4 * se[..., 0],
    }


def exact(alpha, factor, settings):
    """r_t, α_t and n_t on the grid, t = 0..T along the last axis, in double precision."""

    def cell(alpha, factor):
        weight, size = schedules(alpha, factor, *(settings[name] for name in ("n0", "decay", "growth")))
        times = settings["generations"]
        return jc.theory.risk(weight, size, times), *jc.evaluate(weight, size, times)

    with jax.enable_x64(True):
        grid = jnp.meshgrid(jnp.asarray(alpha, float), jnp.asarray(factor, float), indexing="ij")
        return tuple(np.asarray(x) for x in jax.jit(jax.vmap(jax.vmap(cell)))(*grid))


def exact_verdicts(r):
    return _verdicts(r[..., 1:] - r[..., :1], r[..., 1:] - np.take_along_axis(r, _least_before(r), -1))


def _least_before(r):
    """The generation s < t of least risk, for t = 1..T: r never rises iff r_t ≤ r_s for all t."""
    before = np.minimum.accumulate(r, -1)[..., :-1]
    return np.maximum.accumulate(np.where(r[..., :-1] <= before, np.arange(before.shape[-1]), 0), -1)


def _verdicts(excess, rise):
    """The three conditions, from r_t − r_0 and r_t − min_{s<t} r_s along the last axis, t = 1..T."""
    return {
        "first generation": excess[..., 0] < 0,
        "whole lineage": (excess < 0).all(-1),
        "every step": (rise <= 0).all(-1),
    }


def _significant(difference):
    """Means over lineages; a rise at t ≥ 2 that noise explains (one run in a thousand exceeds it) counts as a fall."""
    mean, se = _mean_and_se(difference)
    bound = stats.t.isf(5e-4 / mean.shape[-1], difference.shape[-2] - 1)
    explained = (mean > 0) & (mean <= bound * se) & (np.arange(mean.shape[-1]) > 0)
    return np.where(explained, -mean, mean)


def _mean_and_se(x):
    return x.mean(-2), x.std(-2, ddof=1) / np.sqrt(x.shape[-2])


def efficiencies(found, risk):
    """Effective draws 1/r_T over those that each rival has used."""
    effective, n_t, alpha_t = 1 / risk[..., -1], found["n_t"], found["alpha_t"]
    return {
        "the real start, n₀": effective / n_t[..., 0],
        "the latest batch, real draws": effective / (n_t * alpha_t)[..., -1],
        "all batches (oracle), real draws": effective / (n_t * alpha_t).sum(-1),
        "the latest batch, all draws": effective / n_t[..., -1],
        "all batches (oracle), all draws": effective / n_t.sum(-1),
    }


def summary(run):
    """The verdicts by theory and by simulation, and the efficiency against each rival."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    cells = found["clear"].size
    table = Table(title="Cells in which the risk improves", box=SIMPLE)
    for name in ("condition", "exact", "simulated, up to noise", "agree"):
        table.add_column(name, justify="left" if name == "condition" else "right")
    for name in VERDICTS:
        exact, simulated = found["exact verdicts"][name], found["simulated verdicts"][name]
        agree = exact == simulated
        row = (exact.sum(), simulated.sum(), f"{agree.sum()} of {cells}")
        table.add_row(f"{name}: {CONDITIONS[name]}", *map(str, row))
    rivals = Table(title="Effective draws 1/r_T over the draws of a rival (above 1: the loop is better)", box=SIMPLE)
    for name in ("rival", "median", "least", "most"):
        rivals.add_column(name, justify="left" if name == "rival" else "right")
    for name, value in efficiencies(found, found["mean"]).items():
        rivals.add_row(name, f"{np.median(value):.3g}", f"{value.min():.3g}", f"{value.max():.3g}")
    z = abs(found["z"])
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    agreement = f"worst |z| {z.max():.2f} over {z.size} comparisons (bound {bound:.2f})"
    first = (found["exact verdicts"][VERDICTS[0]] == found["simulated verdicts"][VERDICTS[0]])[found["clear"]]
    clear = f"first generation: agreement in {first.sum()} of the {first.size} cells where |R_1 − R_0| > 4 s.e."
    return Group(table, clear, rivals, f"simulated risk against the exact recursion: {agreement}")


def figure(run):
    """The three nested regions with the threshold, and the loop's efficiency against each rival."""
    import matplotlib.pyplot as plt
    found = analyse(run)
    alpha, factor = run.alpha.values, run.factor.values
    figure, axes = plt.subplots(2, 3, figsize=(14, 8.2), layout="constrained", sharex=True, sharey=True)
    _regions(axes[0, 0], alpha, factor, found)
    # The start stands under the regions; equal real draws above equal total draws.
    panels = [axes[1, 0], axes[0, 1], axes[0, 2], axes[1, 1], axes[1, 2]]
    by_theory = efficiencies(found, found["r"])
    for ax, (name, value) in zip(panels, efficiencies(found, found["mean"]).items(), strict=True):
        _efficiency(ax, alpha, factor, value, by_theory[name])
        ax.set_title(f"$1/r_T$ over {name}", fontsize=11)
    for ax in axes[-1]:
        ax.set_xlabel("mixture weight of generation 1, α₁")
    for ax in axes[:, 0]:
        ax.set_ylabel("n₁ / n₀")
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
    set_ = found["settings"]
    figure.suptitle(
        rf"Improvement over the real-only start: $\alpha_t = \alpha_1 t^{{-{set_['decay']:g}}}$, "
        rf"$n_t = f n_0 t^{{{set_['growth']:g}}}$, $n_0$ = {set_['n0']:g}, T = {set_['generations']}. "
        "Colours: simulated; lines: exact"
    )
    return figure


def _efficiency(ax, alpha, factor, value, exact):
    """Purple: more effective draws than the rival used, orange: fewer; contours of the exact ratio."""
    log, most = np.log10(value).T, max(0.3, abs(np.log10(value)).max())
    plain = lambda x, _=None: f"{10**x:.2g}"
    image = ax.pcolormesh(
        alpha, factor, log, vmin=-most, vmax=most, cmap="PuOr", shading="nearest", rasterized=True
    )
    ax.figure.colorbar(image, ax=ax, format=plain, label="effective draws / draws used")
    lines = ax.contour(alpha, factor, np.log10(exact).T, levels=np.log10(CONTOURS), colors="black", linewidths=0.8)
    ax.clabel(lines, fmt=plain, fontsize=8)


def _regions(ax, alpha, factor, found):
    level = np.sum([found["simulated verdicts"][name] for name in VERDICTS], axis=0)
    ax.pcolormesh(alpha, factor, level.T, cmap="gray_r", vmin=0, vmax=4, shading="nearest", rasterized=True)
    styles = {"first generation": ("C0", "-"), "whole lineage": ("C1", "--"), "every step": ("C2", ":")}
    fine, size = np.linspace(alpha[0], alpha[-1], 201), np.geomspace(factor[0], factor[-1], 201)
    by_theory = exact_verdicts(exact(fine, size, found["settings"])[0])
    for name, (colour, style) in styles.items():
        ax.contour(fine, size, by_theory[name].T, levels=[0.5], colors=colour, linestyles=style, linewidths=2)
        ax.plot([], [], color=colour, linestyle=style, linewidth=2, label=f"{name}, exact")
    for met in range(4):
        ax.plot([], [], "s", color=str(1 - 0.25 * met), markeredgecolor="black", label=f"{met} of 3 met, simulated")
    n0 = found["settings"]["n0"]
    threshold = (1 + (n0 - 1) / (fine * (2 - fine))) / n0
    ax.plot(fine, threshold, color="black", linestyle=(0, (1, 2)), linewidth=2, label="threshold on n₁, formula")
    ax.set_ylim(factor[0], factor[-1])
    ax.legend(fontsize=7.5, loc="upper right")
    ax.set_title("risk improves: conditions met", fontsize=11)
