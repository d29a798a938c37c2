"""Does a trained transformer collapse where the exact recursion of tables says so, and on the softmax's curve?

    p*          a Markov chain with steps that it never takes; n sequences of ℓ tokens a generation, a share α real
    risk r      E ‖p_t(· | x_<i) − p*(· | x_{i−1})‖² / Σ_c π_c H*_c over true sequences x and places i ≥ 2,
                H*_c = 1 − ‖p*(· | c)‖²; an untrained model has r of order 1, a table of N real steps about v/N
    table       r_{c,T} of N = n (ℓ − 1) draws with contexts from π, `theory.context_risk`, weighed by π_c H*_c: exact
                for independent draws. Steps of one sequence are not: 150 tables fitted to such sequences, T = 8, had
                0.98 to 1.05 times that risk where α > 0, and 1.10 ± 0.02 times it at n = 32, α = 0
    softmax     a full-rank one, trained on those N draws, "previous" start, as in `neural_phase_map.py`

What a table forgets it never writes again. Two things are measured of what generation T writes: the share of steps that
p* never takes (a table: 0, exactly), and the share of sequences that cost more under generation 0 than the j-th largest
of m of its own, which one more of generation 0 would be with probability j/(m + 1) = 1 %, exactly but for
ties, where m + 1 is a multiple of 100.

    jaxcollapse run experiments/neural_phase_transformer.py
"""

import itertools
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

AXES = {"n": np.array([32.0, 128.0, 512.0]), "alpha": np.array([0.0, 1 / 16, 1 / 4, 1.0])}  # n α = 32 thrice
STARTS = ("scratch", "previous")
RARE = 0.01


def experiment(
    n, alpha, *, key, generations=8, lineages=8, vocab=12, length=16, width=24, steps=80, written=299, capacity=512
):
    """Risk, impossible steps and rare sequences at T of every lineage, for both starts, and the softmax's risk.

    A transformer is shown `capacity` sequences at most: where n is above it, all that is measured of one is NaN.
    """
    if (written + 1) % round(1 / RARE):
        raise ValueError(f"written: got {written}, expected a multiple of {round(1 / RARE)} less one; try 299")
    with jax.ensure_compile_time_eval():
        p_star = jc.Markov(chain(vocab), length)
    keys = jr.split(key, lineages)

    def transformer(start):
        learner = jc.Transformer(
            layers=1, width=width, heads=2, capacity=capacity, steps=steps, batch_size=32, rate=0.01, start=start
        )
        loop = jc.Loop(p_star, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jax.vmap(lambda key: ends(loop, generations, written, key))(keys)

    found = {start: transformer(start) for start in STARTS}
    seen = lambda x: jnp.where(n <= capacity, x, jnp.nan)
    out = {f"{start} {name}": ("lineage", seen(x)) for start, each in found.items() for name, x in each.items()}
    return out | {"softmax": ("lineage", softmax(p_star, n * (length - 1), alpha, generations, lineages, key))}


def chain(vocab):
    """P(v | c): each token has half of the tokens, and its right neighbour, as successors."""
    rng = np.random.default_rng(8)
    allowed = (rng.random((vocab, vocab)) < 0.5) | np.roll(np.eye(vocab, dtype=bool), 1, 1)
    weights = allowed * rng.gamma(1.0, size=(vocab, vocab))
    return weights / weights.sum(1, keepdims=True)


def ends(loop, generations, written, key):
    """What is measured of the last generation of one lineage, beside its generation 0."""
    first = loop.init(key=jr.fold_in(key, 0))
    arrays, static = eqx.partition(first, eqx.is_array)

    def step(t, state):
        return eqx.filter(loop.step(eqx.combine(state, static), key=jr.fold_in(key, t))[0], eqx.is_array)

    last = eqx.combine(jax.lax.fori_loop(1, generations + 1, step, arrays), static).model
    own, x = (model.draw(written, key=jr.fold_in(jr.fold_in(key, i), 9)) for i, model in enumerate((first.model, last)))
    limit = jnp.sort(-first.model.log_prob(own))[-round(RARE * (written + 1))]
    steps = jnp.take_along_axis(loop.target.next_log_probs(x), x.astype(int)[..., None], -1)[:, 1:, 0]
    return {
        "risk": risk(last, loop.target),
        "impossible": jnp.isneginf(steps).mean(dtype=float),
        "rare": (-first.model.log_prob(x) > limit).mean(dtype=float),
    }


def risk(model, p_star):
    """Squared error of the next token's law on true sequences, over the risk of a single draw."""
    x = p_star.test
    p, q = (jnp.exp(law.next_log_probs(x))[:, 1:] for law in (model, p_star))
    return ((p - q) ** 2).sum(-1).mean() / (p_star.contexts @ jc.metrics.diversity(p_star.probs))


def softmax(p_star, n, alpha, generations, lineages, key):
    """The risk of a softmax of full rank that is trained on n draws of the chain's table."""
    table = jc.Categorical(p_star.probs, p_star.contexts)
    scale = table.contexts @ jc.metrics.diversity(table.probs)
    record = lambda lineage, batch: table.contexts @ jc.metrics.squared_error(lineage.model.probs, table.probs) / scale
    learner = jc.Softmax(steps=150, start="previous")
    loop = jc.Loop(table, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
    options = {"lineages": lineages, "key": key, "record": record, "record_at": [generations]}
    return jc.ensemble(loop, generations, **options)[1][:, 0]


def analyse(run) -> dict[str, Any]:
    """Means and standard errors over lineages, axes n × alpha, beside the table's risk at this T."""
    set_, n, alpha = json.loads(run.attrs["settings"]), run.n.values, run.alpha.values
    draws = n * (set_["length"] - 1)
    with jax.enable_x64(True):
        table = jc.Markov(chain(set_["vocab"]), set_["length"])
        weights = np.asarray(table.contexts * jc.metrics.diversity(table.probs))
        law = lambda size, a: jc.theory.context_risk(
            jc.Constant(a), jc.Constant(size), table.contexts, set_["generations"]
        )
        rows = np.array([[np.asarray(law(size, a))[-1] for a in alpha] for size in draws])
    found = {"n": n, "alpha": alpha, "draws": draws, "settings": set_, "lineages": run.sizes["lineage"]}
    found["table"] = rows @ weights / weights.sum()
    for name in ("softmax", *(f"{start} {quantity}" for start in STARTS for quantity in QUANTITIES)):
        x = run[name].transpose("n", "alpha", "lineage").values.astype(float)
        found[name], found[f"{name} se"] = x.mean(-1), x.std(-1, ddof=1) / np.sqrt(x.shape[-1])
    return found


QUANTITIES = ("risk", "impossible", "rare")


def summary(run):
    """Every cell: risks beside the table's; then impossible steps and rare sequences."""
    from rich.console import Group

    found = analyse(run)
    when = f"T = {found['settings']['generations']}, {found['lineages']} lineages"
    risks = ("softmax", *(f"{start} risk" for start in STARTS))
    shown = lambda form, *x: form.format(*x) if np.isfinite(x[0]) else "–"
    wide = lambda name, i, j: shown("{:.3f} ± {:.3f}", found[name][i, j], found[f"{name} se"][i, j])
    names = ("table", "softmax", *(f"from {start}" for start in STARTS))
    risk = _cells(found, f"Risk r, {when}: table, softmax, transformer", names, risks, wide)
    written = [f"{start} {name}" for name in QUANTITIES[1:] for start in STARTS]
    share = lambda name, i, j: shown("{:.1%} ± {:.1%}", found[name][i, j], found[f"{name} se"][i, j])
    short = [f"{name},\n{start}" for name in QUANTITIES[1:] for start in STARTS]
    return Group(risk, _cells(found, f"What is written, {when}", short, written, share), *_verdicts(found))


def _cells(found, title, heads, names, form):
    """A table with a row for each cell of the map; the exact column of tables first, where it is named."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for head in ("N", "α", "N α", *heads):
        table.add_column(head, justify="right")
    for (i, j), exact in np.ndenumerate(found["table"]):
        draws, alpha = found["draws"][i], found["alpha"][j]
        shown = ([f"{exact:.4f}"] if len(heads) > len(names) else []) + [form(name, i, j) for name in names]
        last = alpha == found["alpha"][-1]
        table.add_row(f"{draws:g}", f"{alpha:.4g}", f"{draws * alpha:g}", *shown, end_section=last)
    return table


def _verdicts(found):
    """Whether one curve holds them all, in numbers."""
    real = found["alpha"] > 0
    parts = [(kept, where) for kept, where in ((real, "where α > 0"), (~real, "at α = 0")) if kept.any()]
    for name, label in (("softmax", "softmax"), *((f"{start} risk", f"transformer, {start}") for start in STARTS)):
        ranges = ", ".join(f"{_over(found, [name], kept)} {where}" for kept, where in parts)
        yield f"{label}, times the table's risk: {ranges}"


def _over(found, names, kept=slice(None)):
    """The range of risks over the table's in these columns α."""
    ratio = np.stack([(found[name] / found["table"])[:, kept] for name in names])
    known = ratio[np.isfinite(ratio)]
    return f"{known.min():.2g} to {known.max():.2g}" if known.size else "not known"


def figure(run):
    """Risk against real steps a generation, and what the last generation writes."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    figure, axes = plt.subplots(1, 3, figsize=(15, 5.2), layout="constrained")
    _curve(axes[0], found)
    _writes(axes[1], found, "impossible", "share of steps", "Steps that p* never takes (a table: 0, exactly)")
    _writes(axes[2], found, "rare", "share of sequences", "Sequences that generation 0 hardly ever writes")
    axes[2].axhline(RARE, color="0.4", linewidth=0.9, label="generation 0: 1 %")
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower right", ncols=5, fontsize=8, frameon=False)
    figure.suptitle(_finding(found), fontsize=12)
    return figure


def _finding(found):
    """The title, as measured: risks over the table's; how far a transformer's differ at one n α, and a table's."""
    ours, exact = _spread(found, "previous risk"), _spread(found, "table")
    apart = f"; trained on, at one n α, its risks differ up to {ours:.1f}-fold, a table's {exact:.1f}-fold"
    return (
        f"Generation {found['settings']['generations']}, risk over the table's: softmax {_over(found, ['softmax'])}, "
        f"transformer {_over(found, [f'{start} risk' for start in STARTS])}{apart if np.isfinite(ours) else ''}"
    )


def _spread(found, name):
    """The largest quotient of two risks at equal n α > 0 that a transformer was trained at; NaN where no two are."""
    real, risk = np.outer(found["n"], found["alpha"]).ravel(), found[name].ravel()
    kept = (real > 0) & np.isfinite(found["previous risk"].ravel())
    groups = [risk[kept & np.isclose(real, x)] for x in np.unique(real[kept])]
    return max((x.max() / x.min() for x in groups if x.size > 1), default=np.nan)


def _curve(ax, found):
    """All risks against N α, joined where n is one; α = 0 on the left edge."""
    real = np.outer(found["draws"], found["alpha"])
    left = min(real[real > 0], default=60) / 6
    real = np.where(real > 0, real, left)
    looks = {"table": ("table, exact recursion", "_", "black"), "softmax": ("softmax, trained on", "s", None)}
    looks |= {f"{start} risk": (f"transformer, from {start}", m, None) for start, m in zip(STARTS, "o^", strict=True)}
    for (name, (label, marker, colour)), other in zip(looks.items(), ("black", *jc.plot.COLOURS), strict=False):
        for i, line in zip(range(len(real)), itertools.cycle(("-", "--", ":")), strict=False):
            se = found.get(f"{name} se", np.zeros_like(real))[i]
            style = {"color": colour or other, "marker": marker, "fillstyle": "none", "markersize": 6, "linewidth": 0.8}
            ax.errorbar(real[i], found[name][i], 1.96 * se, linestyle=line, label="" if i else label, **style)
    ticks = [x for x in 10.0 ** np.arange(1, 7) if left < x < 2 * real.max()]
    edge = ([left], ["α = 0"]) if (found["alpha"] == 0).any() else ([], [])
    ax.set(xscale="log", yscale="log", xlabel="real steps a generation, N α", ylabel="risk r")
    ax.set_xticks([*edge[0], *ticks], [*edge[1], *(f"{x:,.0f}" for x in ticks)])
    ax.minorticks_off()
    ax.set_title(f"Risk, {found['lineages']} lineages, bars 1.96 s.e.; lines join one n", fontsize=11)
    ax.legend(fontsize=8, frameon=False)


def _writes(ax, found, name, label, title):
    looks = itertools.cycle(zip(jc.plot.COLOURS, "osD^vP", strict=True))
    for j, (alpha, (colour, marker)) in enumerate(zip(found["alpha"], looks, strict=False)):
        for k, (start, line) in enumerate(zip(STARTS, ("-", "--"), strict=True)):
            mean, se = (found[f"{start} {name}{kind}"][:, j] for kind in ("", " se"))
            style = {"color": colour, "linestyle": line, "marker": marker, "markersize": 5, "fillstyle": "none"}
            at = found["n"] * 1.04 ** (2 * j + k - 3.5)
            ax.errorbar(at, mean, 1.96 * se, label=f"α = {alpha:g}, from {start}", linewidth=1, **style)
    ax.set(xscale="log", xlabel="sequences a generation n", ylabel=label, ylim=(0, None))
    ax.set_xticks(found["n"], [f"{n:g}" for n in found["n"]])
    ax.minorticks_off()
    ax.set_title(title, fontsize=11)
