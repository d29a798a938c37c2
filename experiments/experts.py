"""Does routing to experts speed collapse up or slow it down, at equal parameters?

    dense         F(h) = W₂ gelu(W₁ h),  `hidden` wide
    experts       E nets, hidden/E wide, one a token: the same parameters (and a router of width × E), 1/E of the work
    unbalanced    the same without the loss that keeps the experts' loads alike
    narrow        dense, hidden/E wide: the same work for fewer parameters

    risk          KL_t = (1/ℓ) Σ_i E_{x ~ p*} KL(p*(· | x_<i) ‖ p_t(· | x_<i)),  nats a token, 0 for the truth
    lost          KL_t less the mean KL of generations that see real data alone (α = 1): what the loop costs
    load          H(f)/ln E,  f_e the share of true tokens that expert e gets: 1 alike, 0 one expert for all

The truth is a Markov chain of letters, so p*(· | x_<i) is known exactly and only contexts are sampled.
Fits stop early, so what a loop adds up is flatness: entropy rises above the truth's.
Experts: Fedus et al., Switch Transformer, arXiv 2101.03961.

    jaxcollapse run experiments/experts.py
"""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"alpha": np.array([0.0, 0.1, 1.0])}
ARMS = ("dense", "experts", "unbalanced", "narrow")
ROUTED = ("experts", "unbalanced")
MEASURED = {"kl": "KL(p* ‖ p), nats a token", "entropy": "entropy of the next token, nats", "load": "load H(f)/ln E"}


def experiment(
    alpha, *, key, generations=8, lineages=24, n=512, length=16, width=32, hidden=128, experts=4, steps=100, batch=16
):
    """What is `MEASURED` of every lineage and generation, by arm, all with the same keys."""
    p_star = jc.Markov(jc.corpora.letters(order=2), length)
    true = p_star.next_log_probs(p_star.test)
    learner = functools.partial(jc.Transformer, width=width, steps=steps, batch_size=batch, capacity=n)

    def record(lineage, batch):
        found = lineage.model.next_log_probs(p_star.test)
        kl = jax.scipy.special.rel_entr(jnp.exp(true), jnp.exp(found)).sum(-1).mean()
        load = jc.metrics.entropy(lineage.model.expert_load(p_star.test)).mean() / np.log(experts)
        return {"kl": kl, "entropy": jc.metrics.entropy(jnp.exp(found)).mean(), "load": load}

    def run(learner):
        loop = jc.Loop(p_star, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)[1]

    routed = lambda balance: run(learner(experts=experts, hidden=hidden // experts, balance=balance))
    both = jax.vmap(routed)(jnp.array([0.01, 0.0]))  # one program, as they differ by a number
    one = lambda i: jax.tree.map(lambda x: x[i], both)
    records = {arm: one(i) for i, arm in enumerate(ROUTED)}
    records |= {"dense": run(learner(hidden=hidden)), "narrow": run(learner(hidden=hidden // experts))}
    return {"generation": ("generation", np.arange(1, generations + 1), {"long_name": "generation t"})} | {
        f"{arm}_{name}": (("lineage", "generation"), records[arm][name], {"long_name": about})
        for arm in ARMS
        for name, about in MEASURED.items()
        if name != "load" or arm in ROUTED
    }


def analyse(run):
    """By arm and α: mean and s.e. of each measure by generation; each lineage's last KL, and real data's alone."""
    found, alphas = {}, shares(run)
    for arm in ARMS:
        alone = values(run, arm, "kl", alphas[-1]).mean(1)
        for alpha in alphas:
            last = values(run, arm, "kl", alpha)[:, -1]
            each = {"alone": alone, "last": last, "lost": last - alone.mean()}
            for name in MEASURED if arm in ROUTED else ("kl", "entropy"):
                x = values(run, arm, name, alpha)
                each[name] = x.mean(0), x.std(0, ddof=1) / np.sqrt(len(x))
            found[arm, alpha] = each
    return found


def shares(run):
    """The values of α from the least to 1, real data alone, which the others are compared with."""
    *mixed, real = alphas = sorted(run.alpha.values.tolist())
    if not mixed or real != 1:
        got = ", ".join(f"{alpha:g}" for alpha in alphas)
        raise ValueError(f"alpha: got {got}, expected 1, real data alone, and less; try --axis alpha=0,0.1,1")
    return alphas


def values(run, arm, name, alpha):
    """`lineage generation`."""
    return run[f"{arm}_{name}"].sel(alpha=alpha).transpose("lineage", "generation").values.astype(float)


def summary(run):
    """The last generation by arm, and each arm's loss beside that of the dense one, lineage by lineage."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found, set_ = analyse(run), json.loads(run.attrs["settings"])
    title = f"Generation {set_['generations']}, {set_['lineages']} lineages, n = {set_['n']}: mean ± s.e."
    table = Table(title=title, box=SIMPLE, padding=0)
    for column in ("α", "arm", "KL", "lost to the loop", "entropy", "load first", "last"):
        table.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    for alpha in shares(run):
        for arm in ARMS:
            e = found[arm, alpha]
            ends = [f"{e['load'][0][i]:.2f}" for i in (0, -1)] if "load" in e else ["", ""]
            lost = e["lost"].mean(), e["lost"].std(ddof=1) / np.sqrt(e["lost"].size)
            shown = [f"{mean:.3f} ± {se:.3f}" for mean, se in ((e["kl"][0][-1], e["kl"][1][-1]), lost)]
            first = f"{alpha:g}" if arm == ARMS[0] else ""
            table.add_row(first, arm, *shown, f"{e['entropy'][0][-1]:.3f}", *ends)
    truth = float(jc.Markov(jc.corpora.letters(order=2), set_["length"]).entropy) / set_["length"]
    compared = [(arm, alpha) for alpha in shares(run)[:-1] for arm in ARMS[1:]]
    verdicts = [_verdict(found, arm, alpha, len(compared)) for arm, alpha in compared]
    return Group(table, f"entropy of the truth: {truth:.3f} nats a token", *verdicts)


def _change(found, arm, alpha):
    """What the loop costs over what it costs the dense one; Welch's t, and p, of the change against dense.

    The change is paired by lineage, less the same change without a loop.
    """
    ours, dense = found[arm, alpha], found["dense", alpha]
    change, base = ours["last"] - dense["last"], ours["alone"] - dense["alone"]
    return ours["lost"].mean() / dense["lost"].mean(), *stats.ttest_ind(change, base, equal_var=False)


def _verdict(found, arm, alpha, number):
    ratio, t, p = _change(found, arm, alpha)
    return f"α = {alpha:g}: {arm} loses {ratio:.2f} times what dense does (t {t:+.1f}, p {p:.2g}, one of {number})"


def figure(run):
    """KL against generation by arm for each α, and the experts' loads."""
    import matplotlib.pyplot as plt

    found, at = analyse(run), run.generation.values
    alphas = shares(run)
    figure, axes = plt.subplots(1, len(alphas), figsize=(4 * max(len(alphas), 3), 4.4), layout="constrained")
    marks = dict(zip(ARMS, "oD^s", strict=True))
    bars = lambda ax, arm, pair, **style: ax.errorbar(
        at, pair[0], 2 * pair[1], marker=marks[arm], ms=4, mfc="white", lw=1.2, capsize=2, **style
    )
    colours = dict(zip(ARMS, jc.plot.COLOURS, strict=False))
    for ax, alpha in zip(axes[:-1], alphas[:-1], strict=True):
        ax.sharey(axes[0])
        for arm in ARMS:
            bars(ax, arm, found[arm, alpha]["kl"], color=colours[arm], label=arm)
            ax.axhline(found[arm, alpha]["alone"].mean(), color=colours[arm], lw=0.9, ls=":")
        ax.set(xlabel="generation t", ylabel=MEASURED["kl"], title=f"α = {alpha:g}; dotted: real data alone")
        ax.legend(frameon=False)
    for arm in ROUTED:
        for alpha, line in zip(alphas, itertools.cycle(("-", "--", ":", "-.")), strict=False):
            bars(axes[-1], arm, found[arm, alpha]["load"], color=colours[arm], ls=line, label=f"{arm}, α = {alpha:g}")
    axes[-1].set(xlabel="generation t", ylabel=MEASURED["load"], ylim=(0, 1.05), title="loads on true sequences")
    axes[-1].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{_finding(found, alphas[0])}\n{run.sizes['lineage']} lineages, bars: 2 s.e.", fontsize=11)
    return figure


def _finding(found, alpha):
    ratio, t, _ = _change(found, "experts", alpha)
    first, last = found["unbalanced", alpha]["load"][0][[0, -1]]
    return (
        f"At α = {alpha:g} the loop costs experts {ratio:.2f} times the KL that it costs a dense layer (t {t:+.1f}); "
        f"without a balance loss their loads go from {first:.2f} to {last:.2f}"
    )
