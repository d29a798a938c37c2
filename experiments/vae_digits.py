"""What does a variational autoencoder lose that is trained on its own draws: pixels, latents, or likelihood?

    p_t(x) = ∫ N(x; f_t(z), v I) N(z; 0, I) dz,     the draws handed on:  f_t(z) + c √v ε

c = 1 is the model's own law; c = 0 hands on f(z), the clean pictures that are usually shown. v is stated, not learned.
A linear decoder (probabilistic PCA, Tipping and Bishop 1999) with endless data keeps what varies by more than v, and
its lineage is known: along each of its k directions, λ* the variance of the real data,

    s_t = (α λ* + (1 − α)(s_{t−1} + c² v) − v)_+,    s_0 = (λ* − v)_+      the variance of f_t(z)

so c = 1 keeps s_0 whatever α is, and c = 0 loses v a generation: all of it at α = 0, and with real data every direction
of α λ* < v. Draws hold s_t + c² v: at c = 1 the pixel variance cannot fall below d v, however little has been kept.

A trained decoder that is not linear does neither: with the noise the digits' pixel and latent variance grow, and their
held-out likelihood falls faster than with clean pictures, whose variance shrinks. So variance alone does not tell.

Latent variance is read by a fixed encoder, the founder's, generation 0 of the workflow's first lineage: each
generation's own encoder holds its own draws to the prior's variance 1. Real data: 8 × 8 digits (scikit-learn, extra
`data`), and eight normals on a circle.

    jaxcollapse run experiments/vae_digits.py
"""

import functools
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

AXES = {"noise": [0.0, 1.0], "alpha": [0.0, 0.1]}
TARGETS = ("digits", "circle")
NAMES = {"pixel": "pixel variance of draws / real", "latent": "latent variance / real", "elbo": "held-out ELBO, nats"}
DRAWS = 512
IMAGES = 9  # drawn of each shown generation


class Noise(eqx.Module):
    """Hands on the model with c times the decoder's noise."""

    share: jax.Array

    def __call__(self, model):
        return eqx.tree_at(lambda m: m.variance, model, self.share**2 * model.variance)


class Measured(eqx.Module):
    """What is recorded of a generation: its draws as they are handed on, and its bound on held-out points."""

    hand_on: Noise
    ruler: jc.VariationalModel
    total: jax.Array  # tr Σ* of the real points
    latent: jax.Array  # the variance that the ruler reads of them
    test: jax.Array

    def __call__(self, lineage, batch=None):
        draws = self.hand_on(lineage.model).draw(DRAWS, key=jr.key(1))
        found = {"pixel": spread(draws) / self.total, "latent": spread(self.ruler.posterior(draws)[0]) / self.latent}
        found["elbo"] = lineage.model.elbo(self.test, key=jr.key(2)).mean()
        return found | {"pictures": draws[:IMAGES]}


def spread(x):
    """The trace of the covariance of points."""
    return jnp.var(x, 0).sum()


@functools.cache
def targets():
    """Name -> (the law, real points, held-out points, k)."""
    angles = np.arange(8) * np.pi / 4
    means = 1.5 * np.stack([np.cos(angles), np.sin(angles)], 1)
    with jax.ensure_compile_time_eval():  # once, and not again in every program
        law, test = jc.corpora.digits()
        circle = jc.GaussianMixture(np.full(8, 1 / 8), means, np.tile(0.04 * np.eye(2), (8, 1, 1)))
        points = circle.draw(2048, key=jr.key(3))
        return {"digits": (law, law.points, test, 8), "circle": (circle, points[:1024], points[1024:], 2)}


def times(generations):
    return np.arange(generations + 1)


def experiment(
    noise, alpha, *, key, generations=10, lineages=6, n=1024, variance=0.02, hidden=64,
    steps=1500, rate=0.003, circle_steps=3000, circle_rate=0.01,
):  # fmt: skip
    """Variances, bound and pictures of every lineage and generation t = 0..T, for both targets."""
    training = {"digits": (steps, rate), "circle": (circle_steps, circle_rate)}
    found: dict[str, tuple] = {"generation": ("generation", times(generations), {"long_name": "generation t"})}
    for i, (name, (law, real, test, latent)) in enumerate(targets().items()):
        updates, speed = training[name]
        learner = jc.Autoencoder(latent, hidden, variance, capacity=int(n), rate=speed, steps=updates)
        hand_on = Noise(jnp.asarray(noise, float))
        loop = jc.Loop(law, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n), curate=hand_on)
        own = jr.fold_in(key, i)
        founder = lambda l, loop=loop, own=own: loop.init(key=jr.fold_in(jr.fold_in(own, l), 0))
        first = eqx.filter_vmap(founder)(jnp.arange(lineages))
        ruler = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, first.model)
        total = jnp.asarray(np.var(real, 0).sum(), float)
        measured = Measured(hand_on, ruler, total, spread(ruler.posterior(real)[0]), test)
        start = eqx.filter_vmap(lambda lineage, measured=measured: measured(lineage))(first)
        _, later = jc.ensemble(loop, generations, lineages=lineages, key=own, record=measured)
        both = jax.tree.map(lambda a, b: jnp.concatenate([a[:, None], b], 1), start, later)
        pictures = both.pop("pictures")[0]
        for quantity, values in both.items():
            found[f"{name}_{quantity}"] = (("lineage", "generation"), values, {"long_name": NAMES[quantity]})
        dimensions = ("generation", "image", f"{name}_pixel_of_image")
        found[f"{name}_pictures"] = (dimensions, pictures, {"long_name": "draws of one lineage, as handed on"})
    return found


def linear(eigenvalues, latent, variance, alpha, noise, generations):
    """A linear decoder with endless data: total variance of draws, and of f(z), relative to the real, `T 2`."""
    seen, rows = eigenvalues, []
    for _ in times(generations):
        signal = np.maximum(seen - variance, 0) * (np.argsort(np.argsort(-seen)) < latent)
        sent = signal + noise**2 * variance
        rows.append((sent.sum(), signal.sum()))
        seen = alpha * eigenvalues + (1 - alpha) * sent
    return np.array(rows) / eigenvalues.sum()


def pca_bound(real, test, latent, variance):
    """The best bound of a linear model of the same v, fitted to the real points: ln p of held-out points, nats each."""
    mean = real.mean(0)
    eigenvalues, axes = np.linalg.eigh(np.cov(real.T, bias=True))
    held = np.full(len(eigenvalues), variance)
    held[-latent:] = np.maximum(eigenvalues[-latent:], variance)
    squares = ((test - mean) @ axes) ** 2 / held
    return float(-0.5 * (squares.sum(1).mean() + np.log(2 * np.pi * held).sum()))


def analyse(run):
    """Means and standard errors over lineages, axes noise × alpha × generation, beside what is exact."""
    set_ = json.loads(run.attrs["settings"])
    found = {"settings": set_, "lineages": run.sizes["lineage"], "t": run.generation.values}
    for name, (law, real, test, latent) in targets().items():
        real, test = np.asarray(real, np.float64), np.asarray(test, np.float64)
        eigenvalues = np.linalg.eigvalsh(np.cov(real.T, bias=True))[::-1]
        known = {"linear": {}, "pca": pca_bound(real, test, latent, set_["variance"])}
        known["floor"] = len(eigenvalues) * set_["variance"] / eigenvalues.sum()
        known["entropy"] = None if name == "digits" else float(law.log_prob(jnp.asarray(test, float)).mean())
        for noise in run.noise.values:
            for alpha in run.alpha.values:
                path = linear(eigenvalues, latent, set_["variance"], alpha, noise, set_["generations"])
                known["linear"][float(noise), float(alpha)] = path
        found[name] = known
        for quantity in NAMES:
            values = run[f"{name}_{quantity}"].transpose("noise", "alpha", "lineage", "generation").values.astype(float)
            known[quantity] = values.mean(2), values.std(2, ddof=1) / np.sqrt(values.shape[2])
    found |= {"alphas": run.alpha.values, "noises": run.noise.values}
    found["cells"] = [(i, j, c, a) for i, c in enumerate(run.noise.values) for j, a in enumerate(run.alpha.values)]
    return found


def summary(run):
    """First and last generation of every workflow, the linear model's exact variance beside, and reference bounds."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    set_, shown = found["settings"], [found["t"][0], found["t"][-1]]
    tables, lines = [], []
    for name in TARGETS:
        known = found[name]
        title = f"{name}: v = {set_['variance']:g}, n = {set_['n']:g}, {found['lineages']} lineages ± s.e."
        table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
        for column in ("c", "α", "t", "pixel variance", "linear", "latent variance", "ELBO, held out"):
            table.add_column(column, justify="right")
        for i, j, noise, alpha in found["cells"]:
            for t in shown:
                ours = ["{:.3f} ± {:.3f}".format(*(x[i, j, t] for x in known[q])) for q in ("pixel", "latent")]
                bound = "{:.2f} ± {:.2f}".format(*(x[i, j, t] for x in known["elbo"]))
                exact = known["linear"][noise, alpha][t, 0]
                table.add_row(f"{noise:g}", f"{alpha:g}", str(t), ours[0], f"{exact:.3f}", ours[1], bound)
        tables.append(table)
        lines.append(f"{name}: the decoder's noise alone is {known['floor']:.4f} of the real pixel variance; linear")
        lines.append(f"    decoder of the same v and k, fitted to all real points: {known['pca']:.3f} nats held out")
        if known["entropy"] is not None:
            lines.append(f"    the truth itself: {known['entropy']:.3f} nats")
    about = "c: share of the decoder's noise handed on; linear: exact pixel variance of a linear decoder, n → ∞"
    return Group(*tables, *lines, about)


LOOKS = {0: ("-", "o"), 1: ("--", "s")}  # by whether the decoder's noise is handed on


def figure(run):
    """Variances and bound against t for both targets; below, the digits that were handed on."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    drawn = plt.figure(figsize=(13, 9.6), layout="constrained")
    parts: Any = drawn.subfigures(2, 1, height_ratios=(7.2, 2.4))
    top, bottom = parts
    axes: Any = top.subplots(len(TARGETS), 3, sharex=True)
    for row, name in zip(axes, TARGETS, strict=True):
        for ax, quantity in zip(row, NAMES, strict=True):
            _course(ax, found, name, quantity)
        row[0].set_ylabel(f"{name}\nrelative to the real data")
    top.axes[-3].legend(frameon=False, fontsize=8)
    for ax in top.axes[-3:]:
        ax.set_xlabel("generation t")
    _pictures(bottom, run, found)
    set_ = found["settings"]
    drawn.suptitle(_title(found), fontsize=11)
    top.suptitle(
        f"v = {set_['variance']:g}, n = {set_['n']:g} draws a generation, {found['lineages']} lineages, ± 2 s.e.; "
        "thin: a linear decoder with endless data, exact",
        fontsize=10,
    )
    return drawn


def _title(found):
    """As measured of the digits, for the least and the largest noise: at the least α, and at the largest."""
    pixel, bound = found["digits"]["pixel"][0], found["digits"]["elbo"][0]
    alphas, noises = found["alphas"], found["noises"]
    (low, high), ends = ((x.argmin(), x.argmax()) for x in (alphas, noises))
    lost = lambda i, j: f"{bound[i, j, 0] - bound[i, j, -1]:.0f}"
    more = lambda i: f" ({lost(i, high)} at α = {alphas[high]:g})" if high != low else ""
    each = [
        f"{_handed(noises[i])}: {lost(i, low)} nats of held-out ELBO lost{more(i)}, "
        f"pixel variance {pixel[i, low, 0]:.2f} to {pixel[i, low, -1]:.2f}"
        for i in dict.fromkeys(ends)
    ]
    start = f"{found['t'][-1]} generations of an autoencoder of digits at α = {alphas[low]:g}"
    return "\n".join([start, *each])


def _handed(noise):
    return {0: "clean pictures", 1: "with the decoder's noise"}.get(noise, f"with {noise:g} of the decoder's noise")


def _course(ax, found, name, quantity):
    mean, se = found[name][quantity]
    for i, j, noise, alpha in found["cells"]:
        line, marker = LOOKS[int(noise > 0)]
        colour = jc.plot.COLOURS[j]
        style = {"ls": line, "marker": marker, "ms": 4, "color": colour, "mfc": colour if alpha else "white", "lw": 1.4}
        label = f"α = {alpha:g}, {_handed(noise)}"
        ax.errorbar(found["t"] + 0.12 * (i + 2 * j - 1.5), mean[i, j], yerr=2 * se[i, j], label=label, **style)
        if quantity == "pixel":
            ax.plot(found["t"], found[name]["linear"][noise, alpha][:, 0], color=colour, ls=line, lw=0.7)
    if quantity == "elbo":
        ax.axhline(found[name]["pca"], color="black", lw=0.9, ls=":", label="linear, fitted to the real points")
        if found[name]["entropy"] is not None:
            ax.axhline(found[name]["entropy"], color="black", lw=0.9, ls="-.", label="the truth")
        ax.legend(*_references(ax), frameon=False, fontsize=8)
    else:
        ax.axhline(1.0, color="0.6", lw=0.8, zorder=0)
        ax.set_ylim(0)
    titles = {"pixel": "variance of draws", "latent": "latent variance, the founder's encoder", "elbo": NAMES["elbo"]}
    ax.set_title(titles[quantity])
    ax.spines[["top", "right"]].set_visible(False)


def _references(ax):
    handles, labels = ax.get_legend_handles_labels()
    kept = [k for k, label in enumerate(labels) if not label.startswith("α")]
    return [handles[k] for k in kept], [labels[k] for k in kept]


def _pictures(space, run, found):
    """A mosaic a workflow: generations downwards, draws of one lineage across."""
    shown = [t for t in (0, 1, 2, 5, 10) if t <= found["t"][-1]]
    pictures = run.digits_pictures.transpose("noise", "alpha", "generation", "image", ...).values
    axes: Any = space.subplots(1, len(found["cells"]), squeeze=False)
    for ax, (i, j, noise, alpha) in zip(axes[0], found["cells"], strict=True):
        images = pictures[i, j][shown].reshape(len(shown), -1, 8, 8)
        tiles = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.5)
        mosaic = tiles.transpose(0, 2, 1, 3).reshape(10 * len(shown), -1)
        ax.imshow(mosaic, cmap="gray_r", vmin=0, vmax=1)
        ax.set_yticks(10 * np.arange(len(shown)) + 4.5, [str(t) for t in shown])
        ax.set_xticks([])
        ax.set_xlabel(f"α = {alpha:g}, {_handed(noise)}")
    space.axes[0].set_ylabel("generation t")
