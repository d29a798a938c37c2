"""Models: a distribution, the truth p* and every generation's p_t alike. Their leaves are their parameters."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int


class AbstractModel(eqx.Module):
    """A distribution that can be evaluated and compared with the truth."""

    @abc.abstractmethod
    def log_prob(self, x: Any) -> Float[Array, "..."]:
        """Log-probability (nats) of each element of x."""

    @abc.abstractmethod
    def summary(self, target: "AbstractModel") -> dict[str, Float[Array, "..."] | Int[Array, "..."]]:
        """The few numbers that are recorded of a generation unless the user asks for others."""
