"""Training tokens per second of one transformer and of many lineages side by side, beside the same model in PyTorch.

    about 110,000 parameters (2 layers, width 64, 4 heads), bytes of Shakespeare, Adam, batches of 16 sequences of 64
    a second and a CPU second: the second one is what counts where other work shares the cores

The second part of `neural.py`. A generation is a fit of BUDGET training tokens and 512 sequences drawn. The third part
runs 32 such lineages for 10 generations without real data, as a sweep whose blocks are one lineage each: a thread a
core, one model a thread.
"""

import functools
import importlib
import importlib.util
import os
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

LINEAGES, GENERATIONS, BUDGET = 32, 10, 150_000
BATCH, LENGTH, DRAWN = 16, 64, 512
LAYERS, WIDTH, HEADS = 2, 64, 4
TURNS = 3


def rates(quick):
    """name -> medians and ranges of tokens a second, tokens a CPU second, and the latter's ratio to one model."""
    found = rivals(2 if quick else LINEAGES, 2 if quick else 20)
    measured = {name: [] for name in found}
    for _ in range(1 if quick else TURNS):
        for name, (call, tokens, _) in found.items():
            measured[name].append(timed(call, tokens))
    base = np.array(measured["ours, one model"])
    rows = {}
    for name, (*_, seconds) in found.items():
        each = np.array(measured[name])
        ratio, middle = each / base, np.median(each, 0)
        rows[name] = dict(zip(("per_second", "per_cpu_second"), middle.tolist(), strict=True)) | {
            "ratio": [float(f(ratio[:, 1])) for f in (np.median, np.min, np.max)], "compile_seconds": seconds,
        }  # fmt: skip
        low, high = rows[name]["ratio"][1:]
        print(f"{name:28s} {middle[0]:9,.0f} tokens/s {middle[1]:9,.0f} a CPU second, {np.median(ratio[:, 1]):.2f} "
              f"({low:.2f}–{high:.2f}) times one model; compiled in {seconds:.1f} s")  # fmt: skip
    return rows


def lineages(quick):
    """Seconds and CPU seconds of 32 lineages × 10 generations, and their cross-entropy on real text."""
    number, generations, steps = (2, 1, 2) if quick else (LINEAGES, GENERATIONS, BUDGET // (BATCH * LENGTH))

    def experiment(alpha, *, key):
        text = jc.Text(jc.corpora.text("shakespeare"), LENGTH)
        loop = jc.Loop(text, learner(steps), jc.Replace(), jc.Constant(alpha), jc.Constant(float(DRAWN)))
        record = lambda lineage, batch: lineage.model.summary(text)["cross_entropy"]
        return {"cross_entropy": ("generation", jc.simulate(loop, generations, key=key, record=record)[1])}

    start, cpu = time.perf_counter(), time.process_time()
    table = jc.sweep(experiment, key=jr.key(0), repeats=number, chunk=1, alpha=[0.0])
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    x = table.cross_entropy.isel(alpha=0).transpose("repeat", "generation").values.astype(float)
    ends = [f"{x[:, t].mean():.3f} ± {x[:, t].std(ddof=1) / number**0.5:.3f}" for t in (0, -1)]
    print(f"{number} lineages × {generations} generations, {steps * BATCH * LENGTH:,} training tokens a fit: "
          f"{seconds:.0f} s, {cpu:.0f} CPU seconds; nats a byte on real text {ends[0]} at t = 1, {ends[1]} at the end")
    return {"lineages × generations": {"seconds": seconds, "cpu_seconds": cpu, "cross_entropy": x.mean(0).tolist()}}


def timed(call, tokens):
    """Tokens a second, and a second of all cores together."""
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return tokens / (time.perf_counter() - start), tokens / (time.process_time() - cpu)


def rivals(lineages, steps):
    """name -> (call, tokens of a call, seconds to compile)."""
    text = jc.Text(jc.corpora.text("shakespeare"), LENGTH)
    few = max(steps // 5, 1)
    found = {
        "ours, one model": trained(text, 1, steps),
        f"ours, {lineages} side by side": trained(text, lineages, few),
        "ours, drawn": drawn(text),
    }
    if importlib.util.find_spec("torch"):
        train, x = torch_trainer(text.vocab), np.asarray(text.draw(DRAWN, key=jr.key(1)), int)
        name = f"PyTorch {importlib.import_module('torch').__version__}"
        for threads in dict.fromkeys((1, os.cpu_count() or 1)):
            train(x, 1, threads)
            call = functools.partial(train, x, steps, threads)
            found[f"{name}, {threads} thread{'s' * (threads > 1)}"] = call, steps * BATCH * LENGTH, 0.0
    return found


def learner(steps):
    return jc.Transformer(LAYERS, WIDTH, HEADS, capacity=DRAWN, steps=steps, batch_size=BATCH)


def trained(text, lineages, steps):
    learns = learner(steps)
    data, model = learns.observe(text, jnp.asarray(DRAWN), key=jr.key(0)), learns.init(text, key=jr.key(0))

    def run(key, data, model):
        fit = lambda key: jax.tree.leaves(learns.fit(data, model, key=key))
        return fit(key) if lineages == 1 else jax.vmap(fit)(jr.split(key, lineages))

    call, seconds = compiled(run, data, model)
    return call, steps * BATCH * LENGTH * lineages, seconds


def drawn(text):
    model = learner(1).init(text, key=jr.key(0))
    call, seconds = compiled(lambda key, model: model.draw(DRAWN, key=key), model)
    return call, DRAWN * LENGTH, seconds


def compiled(run, *arguments):
    """A call of the compiled function that waits, made once before; seconds to compile."""
    start = time.perf_counter()
    executable = jax.jit(run).lower(jr.key(0), *arguments).compile()
    seconds = time.perf_counter() - start
    call = lambda: jax.block_until_ready(executable(jr.key(1), *arguments))
    call()
    return call, seconds


def torch_trainer(vocab):
    """The same model and training by hand: pre-norm layers, tied embeddings, batches drawn with replacement."""
    torch = importlib.import_module("torch")
    nn, F = torch.nn, torch.nn.functional

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList([nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)])
            self.mix, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

        def forward(self, h):
            parts = self.mix(self.norms[0](h)).chunk(3, -1)
            q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in parts)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + self.out(mixed.transpose(1, 2).flatten(2))
            return h + self.down(F.gelu(self.up(self.norms[1](h)), approximate="tanh"))

    embed, place, layers = nn.Embedding(vocab + 1, WIDTH), nn.Embedding(LENGTH, WIDTH), [Layer() for _ in range(LAYERS)]
    nn.init.normal_(embed.weight, std=0.02)
    norm = nn.RMSNorm(WIDTH)
    modules = nn.ModuleList([embed, place, norm, *layers])
    optimiser = torch.optim.Adam(modules.parameters(), lr=3e-3)

    def train(x, steps, threads):
        torch.set_num_threads(threads)  # where other work shares the cores, more than one wait for one another
        x = torch.as_tensor(x)
        for _ in range(steps):
            batch = x[torch.randint(len(x), (BATCH,))]
            inputs = F.pad(batch[:, :-1], (1, 0), value=vocab)
            h = embed(inputs) + place.weight
            for layer in layers:
                h = layer(h)
            loss = F.cross_entropy((norm(h) @ embed.weight[:-1].T).flatten(0, 1), batch.flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return train
