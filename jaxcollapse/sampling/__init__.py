"""Exact integer counts from binomial, multinomial, Poisson and multivariate hypergeometric laws."""

from jaxcollapse.sampling._binomial import binomial
from jaxcollapse.sampling._hypergeometric import hypergeometric
from jaxcollapse.sampling._multinomial import multinomial
from jaxcollapse.sampling._poisson import poisson

__all__ = ["binomial", "hypergeometric", "multinomial", "poisson"]
