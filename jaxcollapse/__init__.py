"""jaxcollapse: recursive training on contaminated data, simulated exactly and thousands of lineages at a time.

Nothing is imported until it is used: `import jaxcollapse` does not import JAX.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = (
    "calibration",
    "corpora",
    "metrics",
    "phase",
    "plot",
    "report",
    "sampling",
    "streaming",
    "text_metrics",
    "theory",
)
_HOME = {
    "AbstractData": "_data",
    "AbstractEstimator": "_learner",
    "AbstractLearner": "_learner",
    "AbstractModel": "_model",
    "AbstractRegime": "_regime",
    "AbstractSequences": "families.sequences",
    "Accumulate": "_regime",
    "Anchor": "_regime",
    "Atoms": "_atoms",
    "Autoencoder": "families.vae",
    "Batch": "_regime",
    "Bernoulli": "families.exponential",
    "BestOf": "_curate",
    "Categorical": "families.tabular",
    "Chain": "_curate",
    "Constant": "_schedule",
    "Contaminate": "_blend",
    "Counts": "_data",
    "DataWall": "_exhaustion",
    "Debiased": "_debiased",
    "Decoding": "families._decoding",
    "Deduplicate": "_filtered",
    "Distilled": "families.distillation",
    "Drop": "_filtered",
    "Exponential": "_schedule",
    "ExponentialLaw": "families.exponential",
    "Gaussian": "families.gaussian",
    "GaussianMixture": "families.mixture",
    "HoerlKennard": "families.regression",
    "Kernel": "families.kernel",
    "KernelDensity": "families.kernel",
    "Lineage": "_loop",
    "LinearModel": "families.regression",
    "LinearMoments": "families.regression",
    "LogLinear": "families.softmax",
    "Loop": "_loop",
    "Markov": "families.sequences",
    "MaximumLikelihood": "families.exponential",
    "Mixing": "_blend",
    "Mixture": "families.mixture",
    "Moments": "_moments",
    "NeighbourModel": "families.neighbours",
    "Neighbours": "families.neighbours",
    "Nodes": "families.network",
    "Normal": "families.gaussian",
    "PenaltyPowerLaw": "families.regression",
    "Periodic": "_weights",
    "Piecewise": "_schedule",
    "Poisson": "families.exponential",
    "PosteriorSampling": "families.tabular",
    "PowerLaw": "_schedule",
    "RandomWeight": "_weights",
    "RealOnly": "_regime",
    "Replace": "_regime",
    "Restart": "families.mixture",
    "Retain": "_weighted",
    "Retrieval": "families.retrieval",
    "Ridge": "families.regression",
    "Softmax": "families.softmax",
    "Stopped": "families.tied",
    "Subsample": "_regime",
    "Sums": "families.exponential",
    "Tabular": "families.tabular",
    "Temperature": "_curate",
    "Text": "families.sequences",
    "Tied": "families.tied",
    "Tilt": "_curate",
    "TopK": "_curate",
    "TopP": "_curate",
    "Transformer": "families.transformer",
    "TransformerModel": "families.transformer",
    "VariationalModel": "families.vae",
    "Verifier": "_curate",
    "Weighted": "_weighted",
    "concat": "_concat",
    "dirichlet": "_target",
    "ensemble": "_loop",
    "evaluate": "_schedule",
    "from_counts": "_target",
    "from_text": "corpora",
    "interpolate": "_refine",
    "open": "_dataset",
    "refine": "_refine",
    "simulate": "_loop",
    "sobol": "_design",
    "sweep": "_sweep",
    "two_draws": "_learner",
    "uniform": "_target",
    "zipf": "_target",
}

__all__ = [*sorted(_HOME), *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"jaxcollapse.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"jaxcollapse.{_HOME[name]}"), name)
    raise AttributeError(f"module 'jaxcollapse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
