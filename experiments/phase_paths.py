"""Collapse path by path: one token for ever, one token almost for ever, or a dominant token that keeps changing.

    α_t = a₀ t^−a,  n_t = n₀ t^b,  b ≤ 1, b < a: E H_t → 0 in all three, yet
    C1   a ≤ 1           Σ α_t = ∞       ever new dominant tokens: (1 − Σ p²) Σ α_t changes, as ln t at a = 1
    C2   1 < a ≤ 1 + b   Σ n_t α_t = ∞   one token wins; short-lived immigrants never cease
    C3   a > 1 + b       Σ n_t α_t < ∞   absorbed for ever in finite time

A lineage on one token of a uniform law of K leaves it at t with probability q_t = 1 − (1 − α_t (1 − 1/K))^n_t, exactly:
the number of departures minus Σ q_t over the generations spent on one token has mean 0, whatever the schedules. For
two tokens the mean number of changes is exact (`theory.two_token_turnover`). Derived for this project.

    jaxcollapse run experiments/phase_paths.py
"""

import json

import jax.numpy as jnp
import numpy as np

import jaxcollapse as jc

AXES = {"growth": np.array([0.0, 0.25]), "decay": np.array([0.5, 1.0, 1.125, 1.5])}
SHOWN = 12  # lineages whose dominant tokens are kept
EXACT = 500  # generations up to which the chain of two tokens is followed


def experiment(decay, growth, *, key, generations=4000, lineages=300, vocab=5, a0=0.5, n0=20.0):
    """Changes of the last token to reach frequency 1, departures from it, and the time of the last one."""
    alpha, n = jc.PowerLaw(a0, exponent=-decay, cap=1), jc.PowerLaw(n0, exponent=growth)

    def record(lineage, batch):
        return jc.metrics.dominant(lineage.model.probs, threshold=1.0)

    def ids(tokens, length):
        loop = jc.Loop(jc.uniform(tokens), jc.Tabular(), jc.Replace(), alpha, n)
        return jc.ensemble(loop, length, lineages=lineages, key=key, record=record)[1]

    who, kept = ids(vocab, generations), doublings(generations)
    on_one, t = who >= 0, jnp.arange(generations) + 1
    left = on_one[:, :-1] & ~on_one[:, 1:] | (on_one[:, :-1] & on_one[:, 1:] & (who[:, :-1] != who[:, 1:]))
    alpha_t, n_t = (x[2:] for x in jc.evaluate(alpha, n, generations))
    chance = -jnp.expm1(n_t * jnp.log1p(-alpha_t * (1 - 1 / vocab)))
    late = (t[1:] > generations // 2).astype(float)[None]
    excess = left.astype(float) - on_one[:, :-1].astype(float) * chance[None]
    last = jnp.where(on_one, 0, t[None]).max(-1)  # the last generation with two tokens or more
    pair = ids(2, min(EXACT, generations))
    turnover = jnp.stack([jc.metrics.turnover(who[:, :h]) for h in kept], -1)
    shown = np.unique(np.rint(np.geomspace(1, generations, 160))).astype(int)
    return {
        "horizon": ("horizon", kept, {"long_name": "generation t"}),
        "shown_at": ("shown_at", shown, {"long_name": "generation t"}),
        "turnover": (("lineage", "horizon"), turnover.astype(float), {"long_name": "changes of the dominant token"}),
        "late_departures": ("lineage", (left.astype(float) * late).sum(-1), {"long_name": "departures in (T/2, T]"}),
        "excess": ("lineage", excess.sum(-1), {"long_name": "departures − Σ q_t"}),
        "last": ("lineage", last.astype(float), {"long_name": "last generation with two tokens or more"}),
        "pair": ("lineage", jc.metrics.turnover(pair).astype(float), {"long_name": "changes with two tokens"}),
        "winner": ("lineage", who[:, -1], {"long_name": "token at frequency 1 at T, −1: none"}),
        "who": (("path", "shown_at"), who[:SHOWN, shown - 1], {"long_name": "token at frequency 1, −1: none"}),
    }


def doublings(generations):
    return generations // 2 ** np.arange(3, -1, -1)


def analyse(run):
    """For each cell: class, changes, departures, absorption, with s.e. over lineages."""
    set_, found = json.loads(run.attrs["settings"]), []
    for a in run.decay.values:
        for b in run.growth.values:
            here = run.sel(decay=a, growth=b)
            alpha, n = jc.PowerLaw(set_["a0"], exponent=-float(a), cap=1), jc.PowerLaw(set_["n0"], exponent=float(b))
            phase, at = jc.theory.phase(alpha, n), run.horizon.values
            p = np.full(set_["vocab"], 1 / set_["vocab"])
            predicted = np.asarray(jc.theory.turnover(p, alpha, set_["generations"]))[at]
            two = jc.theory.two_token_turnover(0.5, alpha, n, min(EXACT, set_["generations"]))[-1]
            cell = {name: _mean(here[name].values) for name in ("late_departures", "excess", "pair")}
            changes = here.turnover.transpose("lineage", "horizon").values
            cell |= {"a": float(a), "b": float(b), "class": phase.subphase, "times": at, "two": two}
            cell |= {"changes": _mean(changes), "doubling": _mean(changes[:, -1] - changes[:, -2])}
            late = here["last"].values > set_["generations"] / 2
            cell |= {"predicted": predicted, "last": np.sort(here["last"].values), "late": _mean(late.astype(float))}
            cell |= {"who": here.who.transpose("path", "shown_at").values, "shown": run.shown_at.values}
            cell["winners"] = np.bincount(here.winner.values[here.winner.values >= 0], minlength=set_["vocab"])
            found.append(cell)
    return sorted(found, key=lambda cell: (cell["class"], cell["a"], cell["b"]))


def _mean(x):
    return x.mean(0), x.std(0, ddof=1) / np.sqrt(len(x))


def summary(run):
    """Turnover, departures and absorption, beside what is exact or predicted."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from scipy import stats

    found, lineages = analyse(run), run.sizes["lineage"]
    generations = int(run.horizon.values[-1])
    title = f"Collapse path by path, T = {generations}, {lineages} lineages; changes over the last doubling of t"
    table = Table(title=title, box=SIMPLE, padding=0)
    columns = (
        "class",
        "a, b",
        "changes",
        "law",
        "departures",
        "last departure",
        "P(after T/2)",
        "K = 2 exact",
        "ours",
        "z",
        "excess z",
    )
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    z = []
    for c in found:
        law = c["predicted"][-1] - c["predicted"][-2]
        scores = [
            (ours - exact) / se if se > 0 else np.nan
            for (ours, se), exact in ((c["pair"], c["two"]), (c["excess"], 0.0))
        ]
        z += [score for score in scores if np.isfinite(score)]
        shown = [f"{score:+.2f}" if np.isfinite(score) else "" for score in scores]
        two = (f"{c['two']:.4f}", f"{c['pair'][0]:.3f} ± {c['pair'][1]:.3f}", shown[0])
        table.add_row(
            c["class"], f"{c['a']:g}, {c['b']:g}", f"{c['doubling'][0]:.3f} ± {c['doubling'][1]:.3f}", f"{law:.3f}",
            f"{c['late_departures'][0]:.3g} ± {c['late_departures'][1]:.1g}", f"{np.median(c['last']):.0f}",
            f"{c['late'][0]:.1%}", *two, shown[1],
        )  # fmt: skip
    bound = stats.t.isf(5e-4 / len(z), lineages - 1)
    settled = np.sum([c["winners"] for c in found if c["class"] != "C1"], 0)
    chi = stats.chisquare(settled).pvalue if settled.sum() else np.nan
    lines = [
        f"exact checks (two tokens up to t = {min(EXACT, generations)}; departures against their own chances): worst "
        f"|z| {max(np.abs(z)):.2f} of {len(z)} (bound {bound:.2f})",
        f"C2 and C3: the winner is token i with probability p_i: {settled.tolist()} of {settled.sum()}, p = {chi:.2f}",
    ]
    return Group(table, *lines)


def figure(run):
    """Changes of the dominant token, when lineages are absorbed, and who is dominant in a few of them."""
    import matplotlib.pyplot as plt

    found, colours = analyse(run), dict(zip(("C1", "C2", "C3"), jc.plot.COLOURS, strict=False))
    figure = plt.figure(figsize=(13, 8.4), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    _draw_changes(figure.add_subplot(grid[0, :3]), found, colours)
    _draw_absorption(figure.add_subplot(grid[0, 3:]), found, colours)
    for k, name in enumerate(colours):
        cells = [c for c in found if c["class"] == name]
        if cells:
            _draw_paths(figure.add_subplot(grid[1, 2 * k : 2 * k + 2]), cells[-1], name)
    figure.suptitle(
        "One mean, three fates: the dominant token changes for ever (C1), stays but immigrants never cease (C2), or is "
        "absorbed (C3).\nBelow: 12 lineages each, shade: token at frequency 1, white: none"
    )
    return figure


STYLES, MARKERS = ("-", "--", ":", "-."), "osD^vP<>"


def _draw_changes(ax, found, colours):
    for i, c in enumerate(found):
        style = STYLES[[d["a"] for d in found if d["class"] == c["class"]].index(c["a"]) % 4 if c["b"] == 0 else i % 4]
        mean, se = c["changes"]
        label = f"{c['class']}: a = {c['a']:g}, b = {c['b']:g}"
        ax.errorbar(
            c["times"], mean, 1.96 * se, color=colours[c["class"]], fmt=MARKERS[i], ms=5, capsize=2, label=label
        )
        if c["a"] >= 1:  # else there are still too many real draws a generation
            law = mean[-1] + c["predicted"] - c["predicted"][-1]
            ax.plot(c["times"], np.where(law > 0, law, np.nan), color=colours[c["class"]], linestyle=style, lw=1)
    ax.plot([], [], color="0.4", lw=1, label=r"slope of $(1 - \sum p^2) \sum \alpha_t$, $a \geq 1$")
    ax.set(xscale="log", yscale="symlog", xlabel="generation t", ylabel="changes of the dominant token, ± 1.96 s.e.")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_xticks(found[0]["times"], labels=[str(t) for t in found[0]["times"]], minor=False)
    ax.set_xticks([], minor=True)
    ax.set_yticks([0, 0.25, 0.5, 1, 2, 5, 10, 20], labels=["0", "¼", "½", "1", "2", "5", "10", "20"])
    ax.set_ylim(0, 60)
    ax.set_title("Changes of the last token to reach frequency 1", fontsize=11)
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")


def _draw_absorption(ax, found, colours):
    for i, c in enumerate(found):
        share = 1 - (np.arange(c["last"].size) + 1) / c["last"].size
        label = f"{c['class']}: a = {c['a']:g}, b = {c['b']:g}"
        marks = {"marker": MARKERS[i], "markevery": 0.12, "ms": 4, "linestyle": STYLES[i % 4]}
        ax.step(c["last"], share, where="post", color=colours[c["class"]], lw=1.5, label=label, **marks)
    ax.set(xscale="log", xlabel="generation t", ylabel="share not yet on one token for good", ylim=(0, 1.02))
    ax.set_title("Last generation with two tokens or more, within the run", fontsize=11)
    ax.legend(frameon=False, fontsize=8, loc="lower left")


def _draw_paths(ax, cell, name):
    from matplotlib.colors import ListedColormap

    shades = ListedColormap(["white", *(str(g) for g in (0.0, 0.3, 0.5, 0.68, 0.84))])
    rows = np.arange(cell["who"].shape[0] + 1) + 0.5
    edges = np.append(cell["shown"], cell["shown"][-1] * 1.03)
    ax.pcolormesh(edges, rows, cell["who"], cmap=shades, vmin=-1.5, vmax=4.5, rasterized=True)
    ax.set(xscale="log", xlabel="generation t", ylabel="lineage")
    ax.set_xlim(max(1, cell["shown"][-1] / 100), None)
    fate = {"C1": "changes for ever", "C2": "one wins, never quite", "C3": "one wins for good"}[name]
    ax.set_title(f"{name}, {fate}: a = {cell['a']:g}, b = {cell['b']:g}", fontsize=10)
