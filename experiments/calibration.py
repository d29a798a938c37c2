"""Is a descendant calibrated: does what it says with probability c still happen with probability c?

    overconfidence   Σ_c π_c (max_v p_t(v|c) − p*(v̂|c)),  v̂ the most probable token;   its ECE with |·|, unbinned
    slope β_t        of the truth on what is said: Σ π_c (p_t − 1/v)(p* − 1/v) / Σ π_c (p_t − 1/v)²

p* is the table of Shakespeare's letters, so accuracies are exact: no test text, no bins and no bias of either. β = 1 is
calibrated, β < 1 says too much. For tables E p_t = p* and E‖p_t − p*‖² = r_{c,t} H_c in each context, so that exactly

    E Σ (p_t − 1/v)(p* − 1/v) = V,    E Σ (p_t − 1/v)² = V + Σ_c π_c H_c r_{c,t},    V = Σ_c π_c (‖p*_c‖² − 1/v)

and the ratio of means falls from 1 to V / (V + H) as t → ∞ without real data; overconfidence rises to H = Σ π_c H_c.
All learners see about n tokens: tables and softmax in independent contexts, transformers in sequences, each of which
their training sees some twelve times over. What is said with less than 1/1000 is one bin of the diagram.
Sources: recursion: arXiv 2602.10531; calibration error: Guo et al., arXiv 1706.04599; slope: Cox, Biometrika 45:562.

    jaxcollapse run experiments/calibration.py
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

AXES = {"alpha": np.array([0.0, 0.1, 1.0])}
LEARNERS = {
    "table": "table",
    "scratch": "softmax, each from scratch",
    "previous": "softmax, each from the one before",
    "transformer": "transformer, each from scratch",
}
MEASURED = ("error", "overconfidence", "spread", "along")
EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 1, 13)])
LENGTH = 32


def experiment(
    alpha, *, key, generations=10, lineages=64, n=8192, steps=150, transformers=4, transformer_steps=200, width=32
):
    """What is `MEASURED` of every lineage and generation, and the last generation's reliability diagram of the law."""
    p_star = jc.corpora.letters(order=2)
    text = jc.Markov(p_star, LENGTH)
    true = jnp.exp(text.next_log_probs(text.test))
    table = lambda model: measure(model.probs, p_star.probs, p_star.contexts)
    sequences = lambda model: measure(jnp.exp(model.next_log_probs(text.test)), true, jnp.ones(true.shape[:-1]))
    cheap = {"table": jc.Tabular(), **{s: jc.Softmax(steps=steps, start=s) for s in ("scratch", "previous")}}
    size = {"layers": 1, "width": width, "heads": 2, "capacity": n // LENGTH, "steps": transformer_steps, "rate": 0.01}
    runs = {name: (p_star, learner, n, lineages, table) for name, learner in cheap.items()}
    runs["transformer"] = (text, jc.Transformer(**size), n // LENGTH, transformers, sequences)
    found = {}
    for name, (target, learner, draws, repeats, measured) in runs.items():
        loop = jc.Loop(target, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(draws))
        record = lambda lineage, batch, measured=measured: measured(lineage.model)
        _, records = jc.ensemble(loop, generations, lineages=repeats, key=jr.fold_in(key, len(found)), record=record)
        whose = "transformers" if name == "transformer" else "lineage"
        found |= {f"{name}_{what}": ((whose, "generation"), records[what]) for what in MEASURED}
        found[f"{name}_diagram"] = ((whose, "of", "bin"), records["diagram"][:, -1])
    return found


def measure(probs, true, weights):
    """Calibration of next-token laws `*b v` against the true ones, with the weights of their contexts `*b`."""
    weights = weights / weights.sum()
    confidence, accuracy = jc.calibration.top_token(probs, true)
    flat, said = 1 / probs.shape[-1], jc.calibration.each_token(probs, true)
    each = jnp.broadcast_to(weights[..., None], probs.shape)
    diagram = jc.calibration.reliability(*said, bins=EDGES, weights=each)
    held = diagram.count > 0
    sums = [jnp.where(held, diagram.count * mean, 0.0) for mean in (diagram.confidence, diagram.accuracy)]
    return {
        "error": jc.calibration.calibration_error(confidence, accuracy, None, weights),
        "overconfidence": jnp.sum(weights * (confidence - accuracy)),
        "spread": jnp.sum(each * (probs - flat) ** 2),
        "along": jnp.sum(each * (probs - flat) * (true - flat)),
        "diagram": jnp.concatenate([jnp.asarray(sums), diagram.count[None]]),
    }


def analyse(run) -> dict[str, Any]:
    """By learner, α × t: means and standard errors over lineages, slopes; diagrams, α × bins; the table's theory."""
    set_: dict = json.loads(run.attrs["settings"])
    found = {"alpha": run.alpha.values, "t": np.arange(1, set_["generations"] + 1), "settings": set_}
    for name in LEARNERS:
        whose = "transformers" if name == "transformer" else "lineage"
        at = ("alpha", whose, "generation")
        values = {what: run[f"{name}_{what}"].transpose(*at).values.astype(float) for what in MEASURED}
        estimates = {what: (x.mean(1), x.std(1, ddof=1) / np.sqrt(x.shape[1])) for what, x in values.items()}
        diagram = run[f"{name}_diagram"].transpose("of", "alpha", whose, "bin").values.astype(float)
        found[name] = estimates | {"slope": _ratio(values["along"], values["spread"]), "diagram": diagram}
    return found | {"exact": exact(found["alpha"], set_)}


def _ratio(a, b):
    """A ratio of means over lineages, axis 1, and its standard error (delta method)."""
    below = np.where(b.mean(1) > 0, b.mean(1), np.nan)
    ratio = a.mean(1) / below
    residual = (a - ratio[:, None] * b) / below[:, None]
    return ratio, residual.std(1, ddof=1) / np.sqrt(a.shape[1])


def exact(alphas, set_):
    """For tables: E spread and E along / E spread, α × t; V, H, and r of contexts is `theory.context_risk`."""
    with jax.enable_x64(True):
        p_star = jc.corpora.letters(order=2)
        pi, h = np.asarray(p_star.contexts), np.asarray(jc.metrics.diversity(p_star.probs))
        risk = [
            np.asarray(jc.theory.context_risk(jc.Constant(a), jc.Constant(set_["n"]), pi, set_["generations"]))[1:]
            for a in alphas
        ]
    v = float(pi @ (1 - h - 1 / len(pi)))
    spread = v + np.array(risk) @ (pi * h)
    return {"V": v, "H": float(pi @ h), "spread": spread, "slope": v / spread}


def summary(run):
    """Overconfidence, error and slope of each learner at the last generation; for tables the exact slope beside it."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    title = f"Generation {found['t'][-1]}: top token, and slope of the truth on what is said (± s.e.)"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for column in ("α", "learner", "overconfidence", "error", "slope", "exact"):
        table.add_column(column, justify="left" if column == "learner" else "right")
    for i, alpha in enumerate(found["alpha"]):
        for name in LEARNERS:
            shown = (_shown(*(x[i, -1] for x in found[name][what])) for what in ("overconfidence", "error", "slope"))
            due = f"{found['exact']['slope'][i, -1]:.4f}" if name == "table" else ""
            table.add_row(f"{alpha:g}", name, *shown, due)
    return Group(table, *_verdicts(found))


def _shown(mean, se):
    return f"{mean:.4f} ± {se:.1g}"


def _verdicts(found):
    z = (found["table"]["spread"][0] - found["exact"]["spread"]) / found["table"]["spread"][1]
    yield f"tables: E Σ (p − 1/v)² against the exact recursion: worst |z| {abs(z).max():.2f} of {z.size}"
    v, h = found["exact"]["V"], found["exact"]["H"]
    yield f"tables without real data, t → ∞: slope {v / (v + h):.4f}, overconfidence {h:.4f}"
    yield f"what is said with less than {EDGES[1]:g}, share of the true text:"
    for i, alpha in enumerate(found["alpha"]):
        unsaid = (f"{name} {100 * found[name]['diagram'][1, i, :, 0].mean():.2f} %" for name in LEARNERS)
        yield f"α = {alpha:g}: {', '.join(unsaid)}"


def figure(run):
    """By α: overconfidence, the slope with the table's exact one, and the last generation's reliability diagram."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    many = len(found["alpha"])
    figure, axes = plt.subplots(3, many, figsize=(3.7 * many, 9.6), sharey="row", squeeze=False, layout="constrained")
    for i, alpha in enumerate(found["alpha"]):
        _lines(axes[0, i], found, i, "overconfidence")
        axes[0, i].axhline(0, color="0.5", linestyle=":")
        _lines(axes[1, i], found, i, "slope")
        axes[1, i].plot(found["t"], found["exact"]["slope"][i], "k--", linewidth=1.2, label="table, exact", zorder=5)
        axes[1, i].axhline(1, color="0.5", linestyle=":", label="calibrated")
        _diagram(axes[2, i], found, i)
        axes[0, i].set_title(f"α = {alpha:g}")
        axes[0, i].set_xlabel("generation t")
        axes[1, i].set_xlabel("generation t")
    axes[0, 0].set_ylabel("overconfidence, top token")
    axes[1, 0].set_ylabel("calibration slope β")
    axes[2, 0].set_ylabel("true probability, mean")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(_finding(found), fontsize=10)
    return figure


def _finding(found):
    """Overconfidence at T, of the least share of real data and the next, and the transformer's at once."""
    names = {"table": "table", "scratch": "softmax stopped early", "transformer": "transformer"}
    lines = []
    for i, alpha in enumerate(found["alpha"][:2]):
        each = (f"{words} {found[name]['overconfidence'][0][i, -1]:.3f}" for name, words in names.items())
        lines.append(f"α = {alpha:g}, t = {found['t'][-1]}: overconfidence of a {', '.join(each)}")
    at_once = found["transformer"]["overconfidence"][0][0, 0]
    return "\n".join(lines) + f";\nthe transformer's is {at_once:.3f} at t = {found['t'][0]} already"


def _lines(ax, found, i, what):
    for (name, label), marker, colour in zip(LEARNERS.items(), "osv^", jc.plot.COLOURS, strict=False):
        mean, se = (x[i] for x in found[name][what])
        style = {"marker": marker, "markersize": 4, "color": colour, "fillstyle": "none", "linewidth": 1}
        ax.errorbar(found["t"], mean, 2 * se, label=f"{label} (± 2 s.e.)", **style)


def _diagram(ax, found, i):
    """Mean true probability by what is said, logarithmic; what is said with less than the least edge, apart."""
    for name, marker, colour in zip(LEARNERS, "osv^", jc.plot.COLOURS, strict=False):
        said, true, held = found[name]["diagram"]
        (mean, _), (height, se) = (tuple(x[i] for x in _ratio(sums, held)) for sums in (said, true))
        place = np.where(np.arange(mean.size) == 0, EDGES[1] / 2, mean)
        style = {"marker": marker, "markersize": 4, "color": colour, "fillstyle": "none", "linewidth": 1}
        for part in (slice(0, 1), slice(1, None)):
            ax.errorbar(place[part], height[part], 2 * se[part], **style)
    ax.plot([EDGES[1], 1], [EDGES[1], 1], color="0.5", linestyle=":")
    ax.set(xscale="log", yscale="log", xlim=(EDGES[1] / 3, 1.4), ylim=(EDGES[1] / 8, 1.4))
    ax.set_xticks([EDGES[1] / 2, 0.01, 0.1, 1], ["less than\n0.001", "0.01", "0.1", "1"])
    ax.minorticks_off()
    ax.set_xlabel("probability that is said")
