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

import jaxcollapse as jc

AXES = {"alpha": np.linspace(0.04, 1.0, 17), "factor": np.geomspace(1, 32, 16)}
VERDICTS = ("first generation", "whole lineage", "every step")


def experiment(alpha, factor, *, key, generations=40, lineages=200, vocab=256, n0=100.0, decay=0.5, growth=0.75):
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
    set_ = {"generations": 40, "n0": 100.0, "decay": 0.5, "growth": 0.75} | json.loads(run.attrs["settings"])
    options = {name: set_[name] for name in ("n0", "decay", "growth")}
    grid = np.meshgrid(run.alpha.values, run.factor.values, indexing="ij")

    def exact(alpha, factor):
        weight, size = schedules(alpha, factor, **options)
        from jaxcollapse.theory import risk

        times = jnp.arange(set_["generations"] + 1)
        n_t = jnp.maximum(jnp.rint(jax.vmap(size)(times)), 1.0)
        return risk(weight, size, set_["generations"]), jax.vmap(weight)(times).at[0].set(1.0), n_t

    with jax.enable_x64(True):
        r, alpha_t, n_t = (np.asarray(x) for x in jax.vmap(jax.vmap(exact))(*(jnp.asarray(g) for g in grid)))
    mean = run.risk.mean("lineage").values
    simulated = np.concatenate([r[..., :1], mean], -1)
    se = run.risk.std("lineage", ddof=1).values / np.sqrt(run.sizes["lineage"])
    return {"r": r, "alpha_t": alpha_t, "n_t": n_t, "mean": mean, "se": se, "settings": set_} | {
        "exact verdicts": verdicts(r),
        "simulated verdicts": verdicts(simulated),
        "margin": abs(mean[..., 0] - r[..., 0]) / se[..., 0],
    }


def verdicts(r):
    """The three conditions on r_t along the last axis, t = 0..T."""
    return {
        "first generation": r[..., 1] < r[..., 0],
        "whole lineage": (r[..., 1:] < r[..., :1]).all(-1),
        "every step": (np.diff(r, axis=-1) <= 0).all(-1),
    }


def efficiencies(found):
    """Effective draws 1/r_T over those that each rival has used."""
    effective, n_t, alpha_t = 1 / found["mean"][..., -1], found["n_t"], found["alpha_t"]
    return {
        "the real start, n_0": effective / n_t[..., 0],
        "latest batch, its real draws": effective / (n_t * alpha_t)[..., -1],
        "oracle, all real draws": effective / (n_t * alpha_t).sum(-1),
        "latest batch, all its draws": effective / n_t[..., -1],
        "oracle, all draws as if real": effective / n_t.sum(-1),
    }


def summary(run):
    """The verdicts by theory and by simulation, and the efficiency against each rival."""
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    cells = found["margin"].size
    table = Table(title="Cells in which risk improves on the real-only start R_0")
    for name in ("condition", "exact", "simulated", "agree", "agree where the first step's |z| > 4"):
        table.add_column(name, justify="left" if name == "condition" else "right")
    clear = found["margin"] > 4
    for name in VERDICTS:
        exact, simulated = found["exact verdicts"][name], found["simulated verdicts"][name]
        agree = exact == simulated
        row = (exact.sum(), simulated.sum(), f"{agree.sum()} of {cells}", f"{(agree & clear).sum()} of {clear.sum()}")
        table.add_row(f"{name} (R_t < R_0)" if name != "every step" else f"{name} (R_t ≤ R_t−1)", *map(str, row))
    rivals = Table(title="Effective draws 1/r_T of the loop over those of a rival (above 1: the loop is better)")
    for name in ("rival", "median", "least", "most"):
        rivals.add_column(name, justify="left" if name == "rival" else "right")
    for name, value in efficiencies(found).items():
        rivals.add_row(name, f"{np.median(value):.3g}", f"{value.min():.3g}", f"{value.max():.3g}")
    z = (found["mean"] - found["r"][..., 1:]) / found["se"]
    return Group(table, rivals, f"worst |z| of the simulated risk against the exact recursion: {abs(z).max():.2f} over {z.size} comparisons")


def figure(run):
    """The three nested regions with the threshold, and the loop's efficiency against each rival."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import TwoSlopeNorm

    found = analyse(run)
    alpha, factor = run.alpha.values, run.factor.values
    figure, axes = plt.subplots(2, 3, figsize=(14, 8.2), layout="constrained", sharex=True, sharey=True)
    _regions(axes[0, 0], alpha, factor, found)
    order = (1, 2, 3, 5, 4)  # start under the regions; equal real draws above equal total draws
    norm = TwoSlopeNorm(0, -1.5, 1.5)
    panels = [axes[1, 0], axes[0, 1], axes[0, 2], axes[1, 1], axes[1, 2]]
    for ax, (name, value) in zip(panels, efficiencies(found).items(), strict=True):
        image = ax.pcolormesh(alpha, factor, np.log10(value).T, norm=norm, cmap="PuOr", shading="nearest", rasterized=True)
        lines = ax.contour(alpha, factor, np.log10(value).T, levels=np.log10([0.1, 0.3, 0.5, 1, 2, 5, 10]), colors="black", linewidths=0.8)
        ax.clabel(lines, fmt=lambda x: f"{10**x:.2g}", fontsize=8)
        ax.set_title(f"1/r_T against {name}", fontsize=10)
    figure.colorbar(image, ax=axes[:, 2], label="log₁₀ efficiency (effective draws / draws used)", shrink=0.8)
    for ax in axes[-1]:
        ax.set_xlabel("mixture weight of generation 1, α₁")
    for ax in axes[:, 0]:
        ax.set_ylabel("n₁ / n₀")
        ax.set_yscale("log")
    set_ = found["settings"]
    figure.suptitle(
        f"Improvement over the real-only start: α_t = α₁ t^−{set_['decay']:g}, n_t = f n₀ t^{set_['growth']:g}, "
        f"n₀ = {set_['n0']:g}, T = {set_['generations']}"
    )
    return figure


def _regions(ax, alpha, factor, found):
    level = sum(found["simulated verdicts"][name].astype(float) for name in VERDICTS)
    ax.pcolormesh(alpha, factor, level.T, cmap="Greys", vmin=0, vmax=5, shading="nearest", rasterized=True)
    styles = {"first generation": ("C0", "-"), "whole lineage": ("C1", "--"), "every step": ("C2", ":")}
    for name, (colour, style) in styles.items():
        exact = found["exact verdicts"][name].astype(float)
        if 0 < exact.mean() < 1:
            ax.contour(alpha, factor, exact.T, levels=[0.5], colors=colour, linestyles=style, linewidths=2)
        ax.plot([], [], color=colour, linestyle=style, linewidth=2, label=f"{name}, exact")
    n0, fine = found["settings"]["n0"], np.linspace(alpha[0], 1, 200)
    ax.plot(fine, (1 + (n0 - 1) / (fine * (2 - fine))) / n0, color="black", linewidth=1, label="threshold on n₁")
    ax.set_ylim(factor[0], factor[-1])
    ax.legend(fontsize=8, loc="upper right")
    ax.set_title("Simulated: grey, conditions met (0 to 3)", fontsize=10)
