"""At which width does a model learn to copy, or to look up; does training on its own output move that width?

    copying     x = (y, y), y uniform on V^{ℓ/2}: half of the tokens are a function of the others; a transformer
    look-up     p*(v | c) = 1{v = c}, c uniform on K keys, what a linear memory must hold; a softmax of rank w
    accuracy    a = share of determined tokens that are the most probable ones, on true sequences nobody trained on
    threshold   w*: (a(w*) − c)/(1 − c) = ½,   c = 1/V or 1/K by chance,   the exact optimum is 1

A softmax of rank 1 has no more than two rows right, 2/K; one of rank 2 can have all of them, its keys on a circle: it
is training, not what a width could hold, that sets the threshold. All widths have the same draws a generation, steps
and rate. Clean training (α = 1) is each generation anew on n true draws; contaminated and fully synthetic training hand
a model's errors on as labels. A U-shape would be an accuracy that falls again at the largest widths.

    jaxcollapse run experiments/thresholds.py
"""

import json
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Num
from scipy import stats

import jaxcollapse as jc

AXES = {"alpha": np.array([1.0, 0.1, 0.0])}
TASKS = {"copying": "width", "look-up": "rank"}
SIZES = {"copying": "widths", "look-up": "ranks"}


class Copying(jc.AbstractSequences):
    """Sequences whose second half repeats the first, which is uniform: ln p(x) = −(ℓ/2) ln V, or −∞."""

    test: Int[Array, "k ℓ"]
    vocab: int = eqx.field(static=True)
    length: int = eqx.field(static=True)

    def __init__(self, vocab, length, tests=512):
        self.vocab, self.length = vocab, length
        self.test = self.draw(tests, key=jr.key(0xC09)).astype(int)

    def draw(self, number, *, key):
        half = jr.randint(key, (number, self.length // 2), 0, self.vocab)
        return jnp.concatenate([half, half], -1).astype(float)

    def log_prob(self, x: Num[Array, "*m ℓ"]) -> Float[Array, "*m"]:
        first, second = jnp.split(x, 2, axis=-1)
        return jnp.where((first == second).all(-1), -self.length / 2 * math.log(self.vocab), -jnp.inf)

    def summary(self, target):
        return {"copies": jnp.isfinite(self.log_prob(target.test)).mean(dtype=float)}


def experiment(
    alpha, *, key, widths=(4, 6, 8, 12, 32, 64), generations=4, lineages=16,
    vocab=32, length=16, n=512, steps=200, rate=0.01,
    ranks=(1, 2, 3, 4, 8, 32), keys=64, draws=1024, updates=100, speed=0.1,
):  # fmt: skip
    """Accuracy, and the mean probability of the right token, of every lineage at t = 1 … T, for both tasks."""
    target = Copying(vocab, length)
    table = jc.Categorical(np.eye(keys))

    def transformer(width):
        return jc.Transformer(layers=1, width=width, heads=1, capacity=n, steps=steps, rate=rate, batch_size=32)

    def softmax(rank):
        return jc.Softmax(rank=rank, steps=updates, rate=speed)

    def lineages_of(learner, target, n, record, key):
        loop = jc.Loop(target, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)[1]

    k_copy, k_look = jr.split(key)
    copying = lambda lineage, batch: _copied(lineage.model, target.test)
    lookup = lambda lineage, batch: _right(jnp.log(lineage.model.probs), jnp.arange(keys))
    found = {
        "copying": [lineages_of(transformer(w), target, n, copying, jr.fold_in(k_copy, w)) for w in widths],
        "look-up": [lineages_of(softmax(r), table, draws, lookup, jr.fold_in(k_look, r)) for r in ranks],
    }
    names = {"accuracy": "share of determined tokens that are right", "sampled": "mean probability of the right token"}
    return {"generation": ("generation", jnp.arange(1, generations + 1), {"long_name": "generation t"})} | {
        f"{task} {name}": (
            (TASKS[task], "lineage", "generation"),
            jnp.stack([one[name] for one in each]),
            {"long_name": f"{task}: {about}", "units": "1"},
        )
        for task, each in found.items()
        for name, about in names.items()
    }


def _copied(model, x):
    """How well the second half is told from the first."""
    half = x.shape[-1] // 2
    return _right(model.next_log_probs(x)[:, half:], x[:, half:])


def _right(log_probs: Float[Array, "... v"], truth: Int[Array, "..."]):
    """Accuracy of the most probable token, and the mean probability of the true one; NaN for a diverged model."""
    lawful = jnp.where(jnp.isnan(log_probs).any(), jnp.nan, 1.0)
    own = jnp.take_along_axis(log_probs, truth[..., None], -1)
    right = jnp.argmax(log_probs, -1) == truth
    return {"accuracy": lawful * right.mean(dtype=float), "sampled": lawful * jnp.exp(own).mean()}


def analyse(run) -> dict[str, Any]:
    """For each task: mean accuracy and s.e. `alpha width generation`; threshold and s.e. in log₂ w `alpha generation`.

    Lineages that diverged are left out, and counted.
    """
    set_: dict = json.loads(run.attrs["settings"])
    found = {"alpha": run.alpha.values, "settings": set_, "lineages": run.sizes["lineage"]}
    for task, axis in TASKS.items():
        read = lambda name, task=task, axis=axis: (
            run[f"{task} {name}"].transpose("alpha", "generation", axis, "lineage").values.astype(float)
        )
        accuracy, widths = read("accuracy"), np.array(set_[SIZES[task]])
        chance = 1 / set_["vocab" if task == "copying" else "keys"]
        kept = np.isfinite(accuracy).sum(-1)
        mean, se = np.nanmean(accuracy, -1), np.nanstd(accuracy, -1, ddof=1) / np.sqrt(kept)
        at, error = threshold(np.log2(widths), (mean - chance) / (1 - chance) - 0.5, se / (1 - chance))
        found[task] = {
            "widths": widths,
            "chance": chance,
            "mean": mean.swapaxes(1, 2),
            "se": se.swapaxes(1, 2),
            "sampled": np.nanmean(read("sampled"), -1).swapaxes(1, 2),
            "threshold": at,
            "threshold se": error,
            "diverged": int(accuracy.size - kept.sum()),
            "kept": kept.swapaxes(1, 2),
        }
    return found


def _threshold(x, gap, se):
    rises = np.flatnonzero((gap[:-1] < 0) & (gap[1:] >= 0))
    if not len(rises):
        return np.nan, np.nan
    i = rises[0]
    share = -gap[i] / (gap[i + 1] - gap[i])
    slope = (gap[i + 1] - gap[i]) / (x[i + 1] - x[i])
    return x[i] - gap[i] / slope, np.hypot((1 - share) * se[i], share * se[i + 1]) / slope


# Where a gap `… w` first rises through 0, linear in x between neighbours, and its s.e. (delta method); NaN if never.
threshold = np.vectorize(_threshold, signature="(w),(w),(w)->(),()")


def summary(run):
    """Accuracy against width for each α, thresholds beside the clean one, and whether the largest width does worse."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found, lines = analyse(run), []
    for task, axis in TASKS.items():
        one = found[task]
        title = f"{task.capitalize()} at t = {found['settings']['generations']}: accuracy, and w* (95 %)"
        table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
        for name in ("α", *(f"{axis} {w}" if not i else str(w) for i, w in enumerate(one["widths"])), "w*"):
            table.add_column(name, justify="right")
        for i, alpha in enumerate(found["alpha"]):
            table.add_row(f"{alpha:g}", *(f"{a:.3f}" for a in one["mean"][i, :, -1]), _range(found, task, i))
        lines += [table, *_words(found, task)]
    return Group(*lines)


def _range(found, task, i):
    one, z = found[task], stats.t.isf(0.025, found["lineages"] - 1)
    at, se = one["threshold"][i, -1], one["threshold se"][i, -1]
    if np.isnan(at):
        above = one["mean"][i, 0, -1] > (1 + one["chance"]) / 2
        return f"below {one['widths'][0]}" if above else f"none to {one['widths'][-1]}"
    return f"{2**at:.3g} ({2 ** (at - z * se):.3g}–{2 ** (at + z * se):.3g})"


def _words(found, task):
    """Chance, optimum and s.e.; how far the threshold moves; what is lost from the best width to the largest."""
    one, clean, axis = found[task], int(np.argmax(found["alpha"])), TASKS[task]
    worst = f"s.e. up to {np.nanmax(one['se'][..., -1]):.2g}"
    yield f"chance {one['chance']:.4f}, exact optimum 1; {worst}; {one['diverged']} records diverged"
    if task == "look-up":
        yield f"rank 1 can have {2 * one['chance']:.4f} right at most, rank 2 all: the rest is training"
    for i, alpha in enumerate(found["alpha"]):
        words = f"α = {alpha:g}, the largest {axis}: {_lost(found, task, i)}"
        moved = one["threshold"][i, -1] - one["threshold"][clean, -1]
        if i != clean and not np.isnan(moved):
            se = np.hypot(one["threshold se"][i, -1], one["threshold se"][clean, -1])
            words += f"; w* {2**moved:.2f} × the clean one"
            words += f" (z {moved / se:+.1f})" if se > 0 else ""
        yield words


def _lost(found, task, i):
    """What the largest size does worse than the best; first of all, how many lineages diverged at the two."""
    one, each = found[task], found["lineages"]
    best, drop, error, z, bound = fall(found, task, i)
    gone = {one["widths"][k]: each - one["kept"][i, k, -1] for k in (-1, best)}
    diverged = ", ".join(f"{count} of {each} diverged at {width}" for width, count in gone.items() if count)
    lost = f"−{drop:.4f} ± {error:.1g}{', U-shape' if z > bound else ''}" if drop > 0 else ""
    return "; of the rest ".join(part for part in (diverged, lost) if part) or "as good as any"


def fall(found, task, i):
    """Place of the best size; best mean − mean at the largest, its s.e., z, and the bound of z; NaN if none is left.

    The bound is one-sided 0.025, shared among all that are compared with the largest, in each task, for each α.
    """
    mean, se, kept = (found[task][name][i, :, -1] for name in ("mean", "se", "kept"))
    best = int(np.nanargmax(mean)) if kept.any() else len(mean) - 1
    drop, error = mean[best] - mean[-1], np.hypot(se[best], se[-1]) if best < len(mean) - 1 else 0.0
    compared = max(len(mean) - 1, 1) * len(TASKS) * len(found["alpha"])
    bound = stats.t.isf(0.025 / compared, min(kept[best], kept[-1]) - 1)
    return best, drop, error, drop / error if error > 0 else 0.0, bound


def figure(run):
    """Accuracy against width at the last generation, and the threshold by generation, for both tasks."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    figure, axes = plt.subplots(2, len(TASKS), figsize=(10.5, 7), layout="constrained", height_ratios=[3, 2])
    for (above, below), task in zip(axes.T, TASKS, strict=True):
        _accuracies(above, found, task)
        _thresholds(below, found, task)
    axes[0, 0].legend(frameon=False)
    figure.suptitle(_title(found), fontsize=11)
    return figure


def _title(found):
    """How far the thresholds move for the least α, and where the largest size does worse than the best."""
    clean, least = int(np.argmax(found["alpha"])), int(np.argmin(found["alpha"]))
    at = {task: 2 ** (found[task]["threshold"][least, -1] - found[task]["threshold"][clean, -1]) for task in TASKS}
    moved = ", ".join(f"{task} × {ratio:.2f}" for task, ratio in at.items() if np.isfinite(ratio))
    return f"α = {found['alpha'][least]:g} moves the threshold w*: {moved or 'not seen'};\n{_worse(found)}"


def _worse(found):
    """Where the largest size does worse than the best, or the largest drop; and how many lineages diverged there."""
    cells = [(task, i, f"{task} at α = {alpha:g}") for task in TASKS for i, alpha in enumerate(found["alpha"])]
    falls = [(*fall(found, task, i)[1:], where) for task, i, where in cells]
    worse = [f"{where} (−{drop:.3f})" for drop, _, z, bound, where in falls if z > bound]
    drop, error, *_, where = max(falls, key=lambda one: np.nan_to_num(one[0], nan=-1.0))
    most = f"at most −{drop:.3f} ± {error:.2g}, {where}" if np.isfinite(drop) else "the largest diverged"
    none = f"no U-shape beyond noise: {most}"
    words = "the largest do worse: " + ", ".join(worse) if worse else none
    gone = sum(found["lineages"] - found[task]["kept"][i, -1, -1] for task, i, _ in cells)
    return words + (f"; {gone} lineages diverged at the largest" if gone else "")


LOOKS = [
    {"color": colour, "marker": marker, "linestyle": style, "capsize": 2, "markersize": 5}
    for colour, marker, style in zip(jc.plot.COLOURS, "os^DvP", ("-", "--", ":", "-.", (0, (1, 4)), "-"), strict=True)
]


def _accuracies(ax, found, task):
    one, z = found[task], stats.t.isf(0.025, found["lineages"] - 1)
    for i, alpha in enumerate(found["alpha"]):
        bars = LOOKS[i % len(LOOKS)] | {"yerr": z * one["se"][i, :, -1], "label": f"α = {alpha:g}"}
        ax.errorbar(one["widths"], one["mean"][i, :, -1], **bars)
    ax.axhline(one["chance"], color="0.5", linewidth=1, label="chance")
    ax.axhline((1 + one["chance"]) / 2, color="0.5", linewidth=1, linestyle=":", label="halfway to the optimum 1")
    ax.set_xscale("log", base=2)
    ax.set_xticks(one["widths"], [str(w) for w in one["widths"]])
    ax.set(xlabel=f"{TASKS[task]} w", ylabel="accuracy on true sequences", ylim=(0, 1.03))
    ax.set_title(f"{task} at t = {found['settings']['generations']}, {found['lineages']} lineages (bars: 95 %)")


def _thresholds(ax, found, task):
    one, z = found[task], stats.t.isf(0.025, found["lineages"] - 1)
    t = np.arange(1, one["threshold"].shape[1] + 1)
    for i, (at, se) in enumerate(zip(one["threshold"], one["threshold se"], strict=True)):
        bars = LOOKS[i % len(LOOKS)] | {"yerr": 2**at * np.stack([1 - 2 ** (-z * se), 2 ** (z * se) - 1])}
        ax.errorbar(t, 2**at, **bars)
    ax.set_xticks(t)
    ax.set(xlabel="generation t", ylabel=f"threshold {TASKS[task]} w*")
