"""Every family, small: a target and its learner."""

import jax.numpy as jnp
import numpy as np

import jaxcollapse as jc

WORDS = jnp.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)])
SMALL = {"layers": 1, "width": 4, "heads": 1, "hidden": 4, "capacity": 64, "steps": 10, "batch_size": 16, "rate": 0.05}


def state(model):
    """The numbers that a model says, as one vector."""
    match model:
        case jc.Normal():
            return jnp.concatenate([model.mean, model.cov.ravel()])
        case jc.LinearModel():
            return model.weights
        case jc.GaussianMixture() | jc.KernelDensity():
            mean = model.normals.weights @ model.normals.centres
            return jnp.concatenate([mean, model.normals.weights @ model.normals.centres**2])
        case jc.VariationalModel():
            return jnp.append(model.decode(jnp.zeros(1)), model.variance)
        case jc.Poisson() | jc.Bernoulli() | jc.ExponentialLaw():
            return model.mean[None]
        case jc.TransformerModel() | jc.NeighbourModel():
            return jnp.exp(model.log_prob(WORDS))
    return model.probs.ravel()


def _table():
    return jc.Categorical(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))


def _words():
    return jc.Markov(jc.Categorical(np.array([[0.8, 0.2], [0.4, 0.6]])), 2)


FAMILIES = {
    "tabular": lambda: (jc.zipf(4), jc.Tabular()),
    "contexts": lambda: (_table(), jc.Tabular()),
    "retrieval": lambda: (jc.zipf(4), jc.Retrieval(jc.Tabular(), weight=0.0)),
    "softmax": lambda: (_table(), jc.Softmax(steps=150)),
    "distilled": lambda: (_table(), jc.Distilled(jc.Tabular())),
    "network": lambda: (_table(), jc.Nodes(jc.Tabular())),
    "gaussian": lambda: (jc.Normal(0.5, 2.0), jc.Gaussian()),
    "gaussian 2d": lambda: (jc.Normal(np.array([0.0, 1.0]), np.array([[1.0, 0.5], [0.5, 2.0]])), jc.Gaussian()),
    "poisson": lambda: (jc.Poisson(1.5), jc.MaximumLikelihood()),
    "bernoulli": lambda: (jc.Bernoulli(0.3), jc.MaximumLikelihood()),
    "exponential": lambda: (jc.ExponentialLaw(2.0), jc.MaximumLikelihood()),
    "regression": lambda: (jc.LinearModel(np.array([1.0, -1.0, 0.5])), jc.Ridge()),
    "mixture": lambda: (
        jc.GaussianMixture(np.full(2, 0.5), np.array([[-2.0], [2.0]]), np.ones((2, 1, 1))),
        jc.Mixture(components=2, steps=3, capacity=64),
    ),
    "kernel": lambda: (
        jc.GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1))),
        jc.Kernel(0.5, capacity=64),
    ),
    "vae": lambda: (
        jc.GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1))),
        jc.Autoencoder(1, 0, "learned", capacity=64, rate=0.02, steps=10, batch_size=None),
    ),
    "vae with a hidden layer": lambda: (
        jc.GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1))),
        jc.Autoencoder(1, 4, 0.1, capacity=64, rate=0.02, steps=10, batch_size=16),
    ),
    "transformer": lambda: (_words(), jc.Transformer(**SMALL)),
    "experts": lambda: (_words(), jc.Transformer(**SMALL, experts=2)),
    "neighbours": lambda: (_words(), jc.Neighbours(jc.Transformer(**SMALL), neighbours=4, datastore=WORDS)),
}
ABSORBED = ("tabular", "contexts", "retrieval", "distilled", "network", "gaussian", "gaussian 2d", "bernoulli")
ABSORBED += ("mixture",)
# Samples are held in as many atoms as there are slots.
LIMITED = ("mixture", "kernel", "vae", "vae with a hidden layer", "transformer", "experts", "neighbours")
