"""Exact draws: whole numbers from binomial, multinomial, Poisson and hypergeometric laws, floats from gamma laws."""

from jaxcollapse.sampling._binomial import binomial
from jaxcollapse.sampling._gamma import chi_square, gamma
from jaxcollapse.sampling._hypergeometric import hypergeometric
from jaxcollapse.sampling._multinomial import multinomial
from jaxcollapse.sampling._poisson import poisson

__all__ = ["binomial", "chi_square", "gamma", "hypergeometric", "multinomial", "poisson"]
