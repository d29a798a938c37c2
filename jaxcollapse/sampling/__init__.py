"""Exact integer counts from binomial, multinomial and multivariate hypergeometric laws."""

from jaxcollapse.sampling._binomial import binomial
from jaxcollapse.sampling._hypergeometric import hypergeometric
from jaxcollapse.sampling._multinomial import multinomial

__all__ = ["binomial", "hypergeometric", "multinomial"]
