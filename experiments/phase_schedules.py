"""Constant and exponential schedules, and the logarithmic edge: plateaus, speed limits, and runs that freeze.

    α_t = α ρ^t,  n_t = n g^t                        `theory.phase`, section by section:
    ρ = g = 1       plateau 1/(1 + (n − 1) α(2 − α)), approached as φ^t;  r = ½ at n = 1 + 1/(α(2 − α))
    ρ = 1, g > 1    recovery as g^−t, but never faster than (1 − α)^2t
    ρ < 1, g = 1    collapse, 1 − r as max(ρ, 1 − 1/n)^t
    ρ < 1, g > 1    frozen
    α_t = 1/(t ln t) recovers, 1/(t ln² t) freezes   with Σ 1/n_t < ∞

Simulated over the product of four axes against the recursion with rounded n_t. Derived for this project.

    jaxcollapse run experiments/phase_schedules.py
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {
    "g": np.array([1.0, 1.05, 1.2]), "n": np.geomspace(10, 1000, 5), "alpha": np.geomspace(0.01, 1.0, 5),
    "rho": np.array([0.9, 1.0]),
}  # fmt: skip
# α, ρ, n, g, unrounded: r g^t n, the last ratio of r or of 1 − r, and the frozen r, by an independent recursion.
INDEPENDENT = (
    ("r g^t n", 6.68896, (0.1, 1.0, 10.0, 1.05), 400), ("ratio of r", 0.81, (0.1, 1.0, 10.0, 1.5), 300),
    ("ratio of 1 − r", 0.95, (0.5, 0.9, 20.0, 1.0), 800), ("r", 0.0639863, (0.5, 0.9, 20.0, 1.1), 800),
)  # fmt: skip


def experiment(alpha, n, rho, g, *, key, generations=60, lineages=128, vocab=50):
    """Relative risk of every lineage at log-spaced generations."""
    p_star, kept = jc.zipf(vocab), times(generations)
    loop = jc.Loop(p_star, jc.Tabular(), jc.Replace(), *schedules(alpha, n, rho, g))
    scale = jc.metrics.diversity(p_star.probs)

    def record(lineage, batch):
        return jc.metrics.squared_error(lineage.model.probs, p_star.probs) / scale

    _, risk = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=kept)
    return {
        "generation": ("generation", kept, {"long_name": "generation t"}),
        "risk": (("lineage", "generation"), risk, {"long_name": "relative risk r", "units": "1"}),
    }


def schedules(alpha, n, rho, g):
    return jc.Exponential(alpha, rate=rho), jc.Exponential(n, rate=g)


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, 12))).astype(int)


def analyse(run):
    """Means, s.e. and exact values: alpha × n × rho × g × generation."""
    set_, order = json.loads(run.attrs["settings"]), ("alpha", "n", "rho", "g", "lineage", "generation")
    risk, t = run.risk.transpose(*order).values.astype(float), run.generation.values
    axes = [run[name].values for name in order[:4]]
    with jax.enable_x64(True):
        exact = lambda *x: jc.theory.risk(*schedules(*x), set_["generations"])[t]
        grid = [x.ravel() for x in jnp.meshgrid(*(jnp.asarray(x, float) for x in axes), indexing="ij")]
        r = np.asarray(jax.jit(jax.vmap(exact))(*grid)).reshape(*risk.shape[:4], -1)
    lineages = risk.shape[4]
    mean, se = risk.mean(4), risk.std(4, ddof=1) / np.sqrt(lineages)
    testable = (lineages * (1 - r) >= 20) & (se > 0)
    z = (mean - r) / np.where(testable, se, 1.0)
    return {
        "axes": axes,
        "times": t,
        "mean": mean,
        "se": se,
        "exact": r,
        "z": z,
        "testable": testable,
        "lineages": lineages,
    }


def independent(case):
    """One of the quantities of INDEPENDENT, by `theory.recursion`, n_t unrounded."""
    name, _, (alpha, rho, n, g), generations = case
    with jax.enable_x64(True):
        t = jnp.arange(generations + 1.0)
        arguments = alpha * rho**t, n * g**t
        r, other = jc.theory.recursion(*arguments), jc.theory.diversity_recursion(*arguments)
        values = {
            "r": r,
            "r g^t n": r * g**t * n,
            "ratio of r": r[1:] / r[:-1],
            "ratio of 1 − r": other[1:] / other[:-1],
        }
        return float(values[name][-1])


def edge(generations, power):
    """r_t for α_t = 1/(t ln^power t), t ≥ 3, n_t = 20 t²: unrounded, at four decades."""
    with jax.enable_x64(True):
        t = jnp.arange(generations + 1.0)
        late = jnp.maximum(t, 3.0)
        r = jc.theory.recursion(1 / (late * jnp.log(late) ** power), 20 * jnp.maximum(t, 1.0) ** 2)
        at = generations // 10 ** np.arange(3, -1, -1)
        return at, np.asarray(r[at])


def summary(run):
    """Worst z, the independent values, the plateaus and the edge."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    table = Table(title="Exponential schedules, unrounded: a = α ρ^t, n g^t", box=SIMPLE, padding=0)
    for name in ("α, ρ, n, g", "quantity", "independent", "theory.recursion"):
        table.add_column(name, justify="right")
    for case in INDEPENDENT:
        table.add_row(", ".join(f"{x:g}" for x in case[2]), case[0], f"{case[1]:.6g}", f"{independent(case):.6g}")
    z = abs(found["z"][found["testable"]])
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    lines = [f"all cells and generations: worst |z| {z.max():.2f} of {z.size} (bound {bound:.2f})"]
    for power, what in ((1, "recovers, r ln² t constant"), (2, "freezes")):
        at, r = edge(1_000_000, power)
        values = ", ".join(
            f"{x:.5f}" + (f" ({x * np.log(t) ** 2:.3f})" if power == 1 else "") for t, x in zip(at, r, strict=True)
        )
        lines.append(f"α_t = 1/(t ln{'²' if power == 2 else ''} t), n_t = 20 t², {what}: r at t = 10³ … 10⁶: {values}")
    return Group(table, _plateaus(found), *lines)


def _plateaus(found):
    from rich.box import SIMPLE
    from rich.table import Table

    alpha, n, rho, g = found["axes"]
    table = Table(
        title=f"Constant schedules: r at t = {found['times'][-1]}, ours ± s.e. (exact)", box=SIMPLE, padding=0
    )
    table.add_column("n", justify="right")
    for a in alpha:
        table.add_column(f"α = {a:.3g}", justify="right")
    here = np.flatnonzero(rho == 1)[0], np.flatnonzero(g == 1)[0]
    for j, size in enumerate(n):
        cells = []
        for i in range(alpha.size):
            exact, mean, se = (found[name][i, j, *here, -1] for name in ("exact", "mean", "se"))
            cells.append(f"{mean:.3g} ± {se:.1g} ({exact:.3g})")
        table.add_row(f"{np.rint(size):g}", *cells)
    return table


def figure(run):
    """The plateau map of (α, n), and what exponential schedules do."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    found = analyse(run)
    alpha, n, rho, g = found["axes"]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.9), layout="constrained")
    ax, here = axes[0], (np.flatnonzero(rho == 1)[0], np.flatnonzero(g == 1)[0])
    fine = np.geomspace(alpha[0], alpha[-1], 200), np.geomspace(n[0], n[-1], 200)
    limit = 1 / (1 + (fine[1][:, None] - 1) * fine[0] * (2 - fine[0]))
    norm = LogNorm(limit.min(), 1)
    image = ax.pcolormesh(*fine, limit, norm=norm, cmap="viridis", shading="nearest", rasterized=True)
    ax.contour(*fine, limit, levels=[0.5], colors="black", linewidths=2)
    grid = np.meshgrid(alpha, n, indexing="ij")
    ax.scatter(
        *grid, c=found["mean"][:, :, *here, -1], norm=norm, cmap="viridis", s=90, edgecolors="white", linewidths=1.2
    )
    ax.set(xscale="log", yscale="log", xlabel=r"mixture weight $\alpha$", ylabel="sample size $n$")
    ax.set_title(f"Constant schedules: plateau; discs: simulated, t = {found['times'][-1]};\nline: r = ½", fontsize=10)
    figure.colorbar(image, ax=ax, label="relative risk $r$")
    cells = (int(abs(alpha - 0.03).argmin()), int(abs(n - 32).argmin()))
    for ax, i in zip(axes[1:], range(2), strict=True):
        for k, rate in enumerate(g):
            colour, marker = jc.plot.COLOURS[k], "os^"[k % 3]
            mean, se, exact = (found[name][*cells, i, k] for name in ("mean", "se", "exact"))
            ax.errorbar(
                found["times"], mean, 1.96 * se, fmt=marker, ms=5, color=colour, label=f"g = {rate:g}", capsize=2
            )
            ax.plot(found["times"], exact, color=colour, lw=1.2, ls=("-", "--", ":")[k % 3])
        if rho[i] == 1:
            t = np.arange(1, found["times"][-1] + 1)
            ax.plot(
                t,
                found["exact"][*cells, i, -1, -1] * (1 - alpha[cells[0]]) ** (2 * (t - t[-1])),
                color="0.5",
                lw=1,
                label=r"limit of speed, $(1-\alpha)^{2t}$",
            )
        ax.set(yscale="log", xlabel="generation t", ylabel="relative risk $r_t$, ± 1.96 s.e.")
        what = "constant weight: recovers" if rho[i] == 1 else "decaying weight: freezes or collapses"
        ax.set_title(
            rf"$\rho$ = {rho[i]:g}, {what}" + f"\nα = {alpha[cells[0]]:.2g}, n = {n[cells[1]]:.0f}; lines: exact",
            fontsize=10,
        )
        ax.yaxis.set_minor_formatter("")
        ax.legend(frameon=False, fontsize=9)
    axes[1].set_ylim(min(0.01, axes[1].get_ylim()[0]), 1.2)
    axes[2].set_ylim(min(1e-4, axes[2].get_ylim()[0]), 2)
    figure.suptitle(
        "Growth alone does not help: a decaying weight freezes the risk; with a constant one the memory of old models "
        r"limits recovery to $(1-\alpha)^{2t}$", fontsize=12,
    )  # fmt: skip
    return figure
