"""Does a trained softmax collapse where the exact recursion of tables says so?

    z ← z − rate · Adam(∇ [−Σ_v (N_v/n) log softmax(z)_v]),   `steps` updates a generation, from z = 0 ("scratch")
                                                              or from the generation before ("previous")
    exact, for tables:   g_t = (1 − 1/n) [α(2 − α) + (1 − α)² g_{t−1}],   r = 1 − g → 1/(1 + 2 n α) for small α, large n

A table is what a softmax learns as its fit converges. Where a token is lost its best logit is −∞: training that stops
leaves it a probability, and training that goes on from there has to come back from far below.
Source of the recursion: arXiv 2602.10531. A transformer on sequences: `neural_phase_transformer.py`.

    jaxcollapse run experiments/neural_phase_map.py
"""

import json
from typing import Any

import jax
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"n": np.geomspace(10, 10_000, 9).round(), "alpha": np.concatenate([[0.0], np.geomspace(0.003, 1.0, 8)])}
STARTS = ("scratch", "previous")
CONVERGED = 5.0  # n α min p*, from which hardly a token is lost


def experiment(n, alpha, *, key, generations=50, lineages=64, vocab=64, steps=150, rate=0.1):
    """Relative risk r_T of every lineage, for both starts, with the same keys."""
    p_star = jc.zipf(vocab)
    scale = jc.metrics.diversity(p_star.probs)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, p_star.probs) / scale

    def risk(start):
        learner = jc.Softmax(steps=steps, rate=rate, start=start)
        loop = jc.Loop(p_star, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        options = {"lineages": lineages, "key": key, "record": record, "record_at": [generations]}
        return jc.ensemble(loop, generations, **options)[1][:, 0]

    about = {"long_name": "risk r relative to 1 − ‖p*‖²", "units": "1"}
    return {start: ("lineage", risk(start), about) for start in STARTS}


def analyse(run) -> dict[str, Any]:
    """Means over lineages, axes n × alpha, beside the exact risk of a table at this T."""
    set_: dict = json.loads(run.attrs["settings"])
    n, alpha = run.n.values, run.alpha.values
    with jax.enable_x64(True):
        exact = lambda a, size: jc.theory.risk(jc.Constant(a), jc.Constant(size), set_["generations"])[-1]
        table = np.array([[float(exact(a, size)) for a in alpha] for size in n])
        rarest = float(jc.zipf(set_["vocab"]).probs.min())
    found = {"n": n, "alpha": alpha, "exact": table, "settings": set_, "lineages": run.sizes["lineage"]}
    for start in STARTS:
        risk = run[start].transpose("n", "alpha", "lineage").values.astype(float)
        found[start] = risk.mean(-1)
        found[f"{start} se"] = risk.std(-1, ddof=1) / np.sqrt(risk.shape[-1])
    return found | {"safe": np.outer(n, alpha) * rarest >= CONVERGED}


def summary(run):
    """Risk at some n and α, and how the trained models compare with the table where no token is lost, and elsewhere."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    title = f"Risk r at T = {found['settings']['generations']}: tables, exact, and softmax ± s.e."
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for name in ("n", "α", "n α", "table", *(f"from {start}" for start in STARTS)):
        table.add_column(name, justify="right")
    for i in range(0, len(found["n"]), max(1, len(found["n"]) // 3)):
        for j in range(0, len(found["alpha"]), max(1, len(found["alpha"]) // 3)):
            ours = (f"{found[s][i, j]:.3g} ± {found[f'{s} se'][i, j]:.1g}" for s in STARTS)
            n, alpha = found["n"][i], found["alpha"][j]
            table.add_row(f"{n:g}", f"{alpha:.3g}", f"{n * alpha:.3g}", f"{found['exact'][i, j]:.3g}", *ours)
    return Group(table, *(_verdict(found, start) for start in STARTS))


def _verdict(found, start):
    """One line on a start: z where the theory of tables must hold, and the range of the ratio elsewhere."""
    safe, exact = found["safe"], found["exact"]
    z = abs(found[start] - exact)[safe] / found[f"{start} se"][safe]
    bound = stats.t.isf(5e-4 / max(z.size, 1), found["lineages"] - 1)
    where = f"n α min p* ≥ {CONVERGED:g}: worst |z| {z.max(initial=0):.2f} of {z.size} (bound {bound:.2f})"
    elsewhere = "" if safe.all() else f"; elsewhere {_over(found, start, ~safe)} times the table's risk"
    return f"from {start}, {where}{elsewhere}"


def _over(found, start, kept):
    """The range of the risk over the table's."""
    ratio = (found[start] / found["exact"])[kept]
    return f"{ratio.min():.2f} to {ratio.max():.2f}"


def _finding(found):
    """The title, as measured, over the whole map."""
    scratch, previous = (_over(found, start, np.isfinite(found["exact"])) for start in STARTS)
    return (
        f"Risk at T = {found['settings']['generations']} over the table's, mean of {found['lineages']} lineages: "
        f"softmax from the generation before {previous}, from scratch {scratch}"
    )


def figure(run):
    """The map from scratch with the table's exact contours; below, both starts against n α."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    _map(figure, left, found)
    _curve(right, found)
    figure.suptitle(_finding(found), fontsize=11)
    return figure


def _map(figure, ax, found):
    rows, columns = np.arange(len(found["n"])), np.arange(len(found["alpha"]))
    mesh = ax.pcolormesh(columns, rows, np.log10(found["scratch"]), cmap="viridis", shading="nearest")
    levels = [0.01, 0.1, 0.5]
    handles, styles = [], {"linestyles": ["-", "--", ":"], "linewidths": 2}
    for risk, colour in ((found["exact"], "white"), (found["scratch"], "red")):
        handles += ax.contour(columns, rows, risk, levels, colors=colour, **styles).legend_elements()[0]
    named = [f"{whose}: r = {level:g}" for whose in ("table, exact", "softmax") for level in levels]
    ax.legend(handles, named, facecolor="0.35", labelcolor="white", fontsize=8, handlelength=3.5)
    ax.set_xticks(columns, [f"{a:.2g}" for a in found["alpha"]])
    ax.set_yticks(rows, [f"{n:g}" for n in found["n"]])
    ax.set(xlabel="mixture weight α", ylabel="draws a generation n")
    ax.set_title("softmax from scratch (colour), and lines of equal risk")
    figure.colorbar(mesh, ax=ax, label="log₁₀ of the risk r")


def _curve(ax, found):
    real = np.outer(found["n"], found["alpha"])
    fine = np.geomspace(real[real > 0].min(), real.max(), 200)
    ax.plot(fine, 1 / (1 + 2 * fine), color="black", label="1/(1 + 2 n α), tables, α → 0")
    ax.plot(real[real > 0], found["exact"][real > 0], "k.", markersize=4, label="tables, exact")
    for start, marker, colour in zip(STARTS, "o^", jc.plot.COLOURS, strict=False):
        shown, se = found[start][real > 0], found[f"{start} se"][real > 0]
        bars = {"yerr": 2 * se, "fmt": marker, "markersize": 4, "color": colour, "fillstyle": "none", "linewidth": 0.8}
        ax.errorbar(real[real > 0], shown, label=f"softmax from {start} (± 2 s.e.)", **bars)
    ax.set(xscale="log", yscale="log", xlabel="real draws a generation n α", ylabel="risk r")
    ax.set_title(f"T = {found['settings']['generations']}, {found['settings']['steps']} steps a fit")
    ax.legend(frameon=False)
