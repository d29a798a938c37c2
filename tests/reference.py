"""A readable NumPy oracle of the loop, drawn token by token: slow, and written without looking at the package.

Every draw is an explicit token from an explicit source, so provenance, regimes and contexts are what they say.
"""

import numpy as np


def lineage(
    rng, p_star, alpha, n, generations, *, regime="replace", split="random", smoothing=0.0, fraction=None, decay=None
):
    """One lineage of a unigram model, t = 0..T: the counts that the learner saw, `T+1 v`, and how many were real."""
    vocab = len(p_star)
    first = tokens(rng, p_star, size(n(0)))
    seen = [count(first, vocab)]
    model = fit(first, vocab, smoothing)
    provenance = [seen[0]]
    pool, leaky = first, seen[0]
    for t in range(1, generations + 1):
        n_t = size(n(t))
        n_real = real_draws(rng, alpha(t), n_t, split)
        real = tokens(rng, p_star, n_real)
        synthetic = tokens(rng, model, n_t - n_real)
        batch = np.concatenate([real, synthetic])
        if regime == "replace":
            data = batch
        elif regime == "accumulate":
            data = pool = np.concatenate([pool, batch])
        elif regime == "subsample":
            pool = np.concatenate([pool, batch])
            data = rng.choice(pool, size=n_t, replace=False)
        elif regime == "leaky":
            leaky = decay * leaky + count(batch, vocab)
            data = leaky
        elif regime == "subsample real":
            pool = np.concatenate([pool, real])
            data = rng.choice(pool, size=min(n_t, len(pool)), replace=False)
        elif regime == "anchor":
            kept = first if fraction is None else rng.choice(first, size=round(fraction * len(first)), replace=False)
            data = np.concatenate([kept, synthetic])
        elif regime == "real only":
            data = real
        if regime == "leaky":
            model = data / data.sum()
        elif len(data):
            model = fit(data, vocab, smoothing)
        seen.append(data if regime == "leaky" else count(data, vocab))
        provenance.append(count(real, vocab))
    return np.array(seen), np.array(provenance)


def table_lineage(rng, p_star, contexts, alpha, n, generations):
    """One lineage of a `c v` table with contexts drawn independently from π: its models, `T+1 c v`."""
    c, v = p_star.shape
    model = np.array([count(tokens(rng, row, 1), v) for row in p_star], float)
    models = []
    for t in range(generations + 1):
        drawn = np.zeros((c, v))
        for context in rng.choice(c, size=size(n(t)), p=contexts):
            source = p_star if t == 0 or rng.random() < alpha(t) else model
            drawn[context, tokens(rng, source[context], 1)[0]] += 1
        visited = drawn.sum(1) > 0
        model = model.copy()
        model[visited] = drawn[visited] / drawn[visited].sum(1, keepdims=True)
        models.append(model)
    return np.array(models)


def documents(rng, p_star, contexts, number, length):
    """Token counts `c v` of documents written by a Markov chain, one token after another."""
    drawn = np.zeros(p_star.shape, int)
    for _ in range(number):
        at = rng.choice(len(contexts), p=contexts)
        for _ in range(length):
            token = rng.choice(p_star.shape[1], p=p_star[at])
            drawn[at, token] += 1
            at = token
    return drawn


def real_draws(rng, alpha, n, split):
    if split == "random":
        return int((rng.random(n) < alpha).sum())
    if split == "fixed":
        return int(np.floor(alpha * n + rng.random()))
    return int(np.rint(alpha * n))


def tokens(rng, p, n):
    return rng.choice(len(p), size=n, p=p)


def count(drawn, vocab):
    return np.bincount(drawn, minlength=vocab)


def fit(data, vocab, smoothing):
    return (count(data, vocab) + smoothing) / (len(data) + vocab * smoothing)


def size(n):
    return max(1, int(np.rint(n)))


def zipf(vocab, exponent=1.0):
    p = np.arange(1, vocab + 1.0) ** -exponent
    return p / p.sum()
