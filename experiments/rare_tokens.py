"""Which tokens does a loop lose, by their frequency, and how much text does it thereby lose?

    Zipf's law in octaves: 2^k tokens of probability ∝ 2^(−k β), k = 0..9       n draws a generation, constant α
    exact       P(a token of class k is alive at t), from its own two-token chain (`theory.two_token_chain`)
    one curve   missing mass = Σ p e^(−p F_t) for every α and t, F_t = n f_t(α) (`theory.effective_draws`)
    hapaxes/n   Good and Turing's estimate of the missing mass: too small by h(α) (`theory.hapax_factor`)

F_t is the number of real draws that lose as many rare tokens; α = 0: F_t ≈ 2n/t (Suresh et al., arXiv 2412.17646).

    jaxcollapse run experiments/rare_tokens.py
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.special import betaln

import jaxcollapse as jc

AXES = {"alpha": np.array([0.0, 0.02, 0.1, 0.5]), "exponent": np.array([1.0, 2.0])}
MARKERS = "osd^vP*X"  # of α, and of the classes over time
FILLS = ("full", "none", "left", "bottom")  # of the exponents
SHOWN = (0, 3, 5, 7, 9)  # classes drawn over time
MEASURED = {
    "alive": "share of a class alive",
    "distinct": "distinct tokens",
    "missing": "missing mass",
    "hapaxes": "hapaxes / n",
}


def experiment(alpha, exponent, *, key, generations=200, lineages=192, n=500, octaves=10):
    """What is `MEASURED` of every lineage at log-spaced generations."""
    p_star, kept = jc.Categorical(octave_law(exponent, octaves)), times(generations)
    loop = jc.Loop(p_star, jc.Tabular(), jc.Replace(), alpha=jc.Constant(alpha), n=jc.Constant(float(n)))
    which = np.repeat(np.eye(octaves), 2 ** np.arange(octaves), axis=0)  # token × class
    share = jnp.asarray(which / which.sum(0), float)

    def record(lineage, batch):
        p = lineage.model.probs
        return {
            "alive": jnp.sign(p) @ share,
            "distinct": jc.metrics.surviving(p).astype(float),
            "missing": jc.metrics.missing_mass(p, p_star.probs),
            "hapaxes": jc.metrics.hapaxes(batch.pooled.counts).astype(float) / n,
        }

    _, records = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=kept)
    axes = {"alive": ("lineage", "generation", "octave")}
    return {"generation": ("generation", kept, {"long_name": "generation t"})} | {
        name: (axes.get(name, ("lineage", "generation")), value, {"long_name": MEASURED[name], "units": "1"})
        for name, value in records.items()
    }


def octave_law(exponent, octaves=10):
    """p of all tokens, most probable class first."""
    octave = np.repeat(np.arange(octaves), 2 ** np.arange(octaves))
    return jax.nn.softmax(-jnp.asarray(exponent, float) * jnp.log(2.0) * jnp.asarray(octave, float))


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, 24)).astype(int))


def analyse(run):
    """Means, s.e., exact values and those by F of everything: alpha × exponent × generation (× octave)."""
    set_ = json.loads(run.attrs["settings"])
    order = ("alpha", "exponent", "lineage", "generation", "octave")
    found = {"times": times(set_["generations"]), "n": set_["n"], "sizes": 2 ** np.arange(set_["octaves"])}
    found["lineages"], found["exact"], found["by F"], found["mean"], found["se"] = run.sizes["lineage"], {}, {}, {}, {}
    cells = [[_exact(a, b, found) for b in run.exponent.values] for a in run.alpha.values]
    for name in MEASURED:
        sample = run[name].transpose(*order[: run[name].ndim]).values.astype(float)
        found["mean"][name] = sample.mean(2)
        found["se"][name] = sample.std(2, ddof=1) / np.sqrt(sample.shape[2])
        for kind in ("exact", "by F"):
            found[kind][name] = np.array([[cell[kind][name] for cell in row] for row in cells])
    found["draws"] = np.array([[cell["draws"] for cell in row] for row in cells])
    return found


def classes(exponent, sizes):
    """The probability of one token of each class."""
    p = sizes ** -float(exponent)
    return p / (sizes @ p)


def _exact(alpha, exponent, found):
    """One cell: from the two-token chains of its classes, and by the draws F_t."""
    n, t, sizes = found["n"], found["times"], found["sizes"]
    p = classes(exponent, sizes)
    laws = np.stack([jc.theory.two_token_chain(q, float(alpha), n).laws(int(t[-1]))[t, :2] for q in p], 1)
    with jax.enable_x64(True):
        draws = np.asarray(jc.theory.effective_draws(jc.Constant(float(alpha)), jc.Constant(n), int(t[-1])))[t]
        once = hapax_factors(alpha, t)
    lost = np.exp(-np.multiply.outer(draws, p))
    counts = laws[..., 0], laws[..., 1], lost, n * once[:, None] * p * lost
    exact, by_draws = (_metrics(*pair, p, sizes, n) for pair in (counts[:2], counts[2:]))
    return {"exact": exact, "by F": by_draws, "draws": draws}


def hapax_factors(alpha, t):
    """`theory.hapax_factor` at many generations at once."""
    u = np.asarray(jc.theory.branching_survival(float(alpha), int(t[-1])), float)
    d = np.concatenate([[1.0], np.cumprod((1 - alpha) * (1 - u[1:]))])
    return (alpha * (d.cumsum() - d) + d)[t]


def _metrics(lost, once, p, sizes, n):
    return {
        "alive": 1 - lost,
        "distinct": (1 - lost) @ sizes,
        "missing": lost @ (sizes * p),
        "hapaxes": once @ sizes / n,
    }


def scores(found, name):
    """z of the comparisons that say something: 20 lineages or more in which a token is there, and in which not."""
    exact, lineages = found["exact"][name], found["lineages"]
    tokens = found["sizes"] if name == "alive" else found["n"]
    often = lineages * tokens * (np.minimum(exact, 1 - exact) if name != "distinct" else 1.0) >= 20
    often &= found["se"][name] > 0
    return ((found["mean"][name] - exact) / np.where(often, found["se"][name], np.inf))[often]


def summary(run):
    """Exact values beside simulated ones at the last generation, and the worst z over time."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    title = f"At generation {found['times'][-1]}, n = {found['n']}"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for column in ("quantity", "β", "α", "exact", "by F_t", "ours ± s.e.", "z"):
        table.add_column(column, justify="left" if column == "quantity" else "right")
    for name in ("distinct", "missing", "hapaxes"):
        for j, i in np.ndindex(run.exponent.size, run.alpha.size):
            exact, by_draws, mean, se = (found[kind][name][i, j, -1] for kind in ("exact", "by F", "mean", "se"))
            cell = (f"{run.exponent.values[j]:g}", f"{run.alpha.values[i]:g}", f"{exact:.4g}", f"{by_draws:.4g}")
            table.add_row(MEASURED[name], *cell, f"{mean:.4g} ± {se:.2g}", f"{(mean - exact) / se:+.2f}")
    lines = []
    for name, label in MEASURED.items():
        z = abs(scores(found, name))
        bound = stats.t.isf(5e-4 / max(z.size, 1), found["lineages"] - 1)
        lines.append(f"{label}: worst |z| {z.max(initial=0):.2f} over {z.size} comparisons (bound {bound:.2f})")
    return Group(table, *lines)


def figure(run):
    """Survival by class, absence by frequency, one curve of missing mass, and Good and Turing's estimate."""
    import matplotlib.pyplot as plt

    found, alphas, exponents = analyse(run), run.alpha.values, run.exponent.values
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.4), layout="constrained")
    _survival(axes[0, 0], found, alphas, exponents)
    _absence(axes[0, 1], found, alphas, exponents)
    _missing(axes[1, 0], found, alphas, exponents)
    _good_turing(axes[1, 1], found, alphas, exponents)
    figure.suptitle(
        "A loop keeps of its rare tokens what F real draws would keep, and Good and Turing's estimate misses the loss\n"
        f"Zipf in octaves, n = {found['n']}, {found['lineages']} lineages; points: simulated ± 2 s.e.; lines: theory",
        fontsize=12,
    )
    return figure


def _points(ax, x, mean, se, **style):
    ax.errorbar(x, mean, 2 * se, fmt=style.pop("marker", "o"), markersize=3.5, linewidth=0.8, **style)


def _look(i, j=0):
    """Colour and marker by α (or class), filled by the exponent."""
    return {"color": f"C{i}", "marker": MARKERS[i % len(MARKERS)], "fillstyle": FILLS[j % len(FILLS)]}


def _fills(ax, exponents):
    for j, exponent in enumerate(exponents):
        ax.plot([], [], "o", markersize=3.5, fillstyle=FILLS[j % len(FILLS)], color="grey", label=f"β = {exponent:g}")


def _survival(ax, found, alphas, exponents):
    """The first α (0 by default) and the first exponent."""
    p, t = classes(exponents[0], found["sizes"]), found["times"]
    for k in SHOWN:
        if k >= p.size:
            continue
        colour = f"C{SHOWN.index(k)}"
        mean, se, exact = (found[kind]["alive"][0, 0, :, k] for kind in ("mean", "se", "exact"))
        seen = found["lineages"] * found["sizes"][k] * exact >= 20
        style = _look(SHOWN.index(k)) | {"label": f"n p = {found['n'] * p[k]:.3g}"}
        _points(ax, t[seen], mean[seen], se[seen], **style)
        ax.plot(t, exact, color=colour, linewidth=1)
        ax.plot(t, found["by F"]["alive"][0, 0, :, k], color=colour, linewidth=1, linestyle=":")
    ax.plot([], [], color="black", linewidth=1, label="exact chain")
    ax.plot([], [], color="black", linewidth=1, linestyle=":", label=r"$1 - e^{-pF_t}$")
    ax.set(xscale="log", yscale="log", xlabel="generation t", ylabel="P(a token is alive)", ylim=(2e-4, 1.5))
    ax.set_title(rf"Survival by frequency, $\alpha$ = {alphas[0]:g}, $\beta$ = {exponents[0]:g}", fontsize=11)
    ax.legend(fontsize=8, loc="lower left")


def _absence(ax, found, alphas, exponents):
    """The last generation, all α, all exponents: absence depends on n p alone."""
    n = found["n"]
    x = np.geomspace(1e-2, 0.6 * n, 200)
    for i, alpha in enumerate(alphas):
        colour = f"C{i}"
        for j, exponent in enumerate(exponents):
            mean, se, exact = (found[kind]["alive"][i, j, -1] for kind in ("mean", "se", "exact"))
            p = classes(exponent, found["sizes"])
            _points(ax, n * p, 1 - mean, se, label=f"α = {alpha:g}" if j == 0 else None, **_look(i, j))
            ax.plot(n * p, 1 - exact, "_", color="black", markersize=9, zorder=4)
        ax.plot(x, np.exp(-x * found["draws"][i, 0, -1] / n), color=colour, linewidth=1)
        if alpha > 0:
            a, b = 2 * alpha * x, 2 * alpha * (n - x)
            ax.plot(x, np.exp(betaln(a, b + n) - betaln(a, b)), color=colour, linewidth=1, linestyle="--")
    _fills(ax, exponents)
    ax.plot([], [], "_", color="black", markersize=9, label="exact chain")
    ax.plot([], [], color="black", linewidth=1, label=r"$e^{-pF_t}$")
    ax.plot([], [], color="black", linewidth=1, linestyle="--", label="diffusion, t → ∞")
    ax.set(xscale="log", xlabel="expected count of real data, n p", ylabel="P(a token is absent)", xlim=(x[0], x[-1]))
    ax.set_title(f"Absence at generation {found['times'][-1]}", fontsize=11)
    ax.legend(fontsize=8)


def _missing(ax, found, alphas, exponents):
    """Every α and every generation on the clean law of real draws."""
    draws = np.geomspace(found["draws"].min() / 2, found["draws"].max() * 2, 200)
    for j, exponent in enumerate(exponents):
        p = classes(exponent, found["sizes"])
        clean = np.exp(-np.multiply.outer(draws, p)) @ (found["sizes"] * p)
        style = "-" if j == 0 else "--"
        ax.plot(draws, clean, color="black", linewidth=1, linestyle=style, label=rf"clean law, $\beta$ = {exponent:g}")
        for i, alpha in enumerate(alphas):
            mean, se = (found[kind]["missing"][i, j] for kind in ("mean", "se"))
            label = f"α = {alpha:g}" if j == 0 else None
            _points(ax, found["draws"][i, j], mean, se, label=label, **_look(i, j))
        worst = (found["draws"][0, j], found["exact"]["missing"][0, j])
        label = f"exact chain, α = {alphas[0]:g}" if j == 0 else None
        ax.plot(*worst, color="black", linewidth=1, linestyle=":", label=label)
    _fills(ax, exponents)
    ax.set(xscale="log", yscale="log", xlabel=r"real draws that would lose as much, $F_t$", ylabel="missing mass")
    ax.set_title("Every generation is worth $F_t$ real draws", fontsize=11)
    ax.legend(fontsize=8)


def _good_turing(ax, found, alphas, exponents):
    """Hapaxes per n and missing mass over time: the estimate is right for real data alone."""
    t = found["times"]
    for i, alpha in enumerate(alphas):
        for j in range(len(exponents)):
            ratio = found["mean"]["hapaxes"][i, j] / found["mean"]["missing"][i, j]
            spread = np.hypot(
                found["se"]["hapaxes"][i, j] / np.maximum(found["mean"]["hapaxes"][i, j], 1e-12),
                found["se"]["missing"][i, j] / found["mean"]["missing"][i, j],
            )
            label = f"α = {alpha:g}" if j == 0 else None
            seen = found["lineages"] * found["n"] * found["exact"]["hapaxes"][i, j] >= 20
            _points(ax, t[seen], ratio[seen], (ratio * spread)[seen], label=label, **_look(i, j))
        ax.plot(t, hapax_factors(alpha, t), color=f"C{i}", linewidth=1)
    _fills(ax, exponents)
    ax.plot([], [], color="black", linewidth=1, label=r"$h_t(\alpha)$")
    ax.axhline(1, color="grey", linewidth=0.8, linestyle=":", label="real draws alone")
    ax.set(xscale="log", yscale="log", xlabel="generation t", ylabel="(hapaxes / n) / missing mass", ylim=(1e-3, 1.5))
    ax.set_title(r"Good and Turing's estimate is too small by $h_t(\alpha)$", fontsize=11)
    ax.legend(fontsize=8, ncols=2, loc="lower left")
