"""Exact results, by subject: what the loop must agree with. Nothing here imports the loop or a family.

    risk           r_t, its covariance, diversity, equilibria, thresholds, spectrum, contexts
    moments        the exact variance of one lineage's squared error
    drift          laws of token counts, lost tokens, fixation, additive metrics
    accumulation   pooled, subsampled and retained data
    regression     least squares on its own labels; the best weight of real against synthetic data
    phases         what happens as t → ∞, and where the boundary lies at finite t
"""

from jaxcollapse.theory._accumulation import (
    accumulate,
    accumulation_limit,
    fresh_inflow,
    pooled_recursion,
    retained,
    retained_mixture,
    subsample,
)
from jaxcollapse.theory._additive import additive, token_law
from jaxcollapse.theory._boundary import boundary, leading_order_boundary, scaling_curve, scaling_variable
from jaxcollapse.theory._contexts import context_recursion, context_risk, reciprocal_moment
from jaxcollapse.theory._drift import absence, fixation_time, fixation_time_diffusion, survival_factor
from jaxcollapse.theory._moments import risk_variance, risk_variance_recursion
from jaxcollapse.theory._phases import Phase, phase
from jaxcollapse.theory._regression import (
    accumulation_factor,
    fixed_design,
    golden_weight,
    optimal_weight,
    regression,
    regression_accumulate,
    weighted_plateau,
    weighted_recursion,
)
from jaxcollapse.theory._risk import (
    covariance,
    diversity,
    diversity_recursion,
    improvement_threshold,
    lag_correlation,
    memory_weight,
    plateau,
    quasi_equilibrium,
    recursion,
    risk,
    spectrum,
)

__all__ = [
    "Phase",
    "absence",
    "accumulate",
    "accumulation_factor",
    "accumulation_limit",
    "additive",
    "boundary",
    "context_recursion",
    "context_risk",
    "covariance",
    "diversity",
    "diversity_recursion",
    "fixation_time",
    "fixation_time_diffusion",
    "fixed_design",
    "fresh_inflow",
    "golden_weight",
    "improvement_threshold",
    "lag_correlation",
    "leading_order_boundary",
    "memory_weight",
    "optimal_weight",
    "phase",
    "plateau",
    "pooled_recursion",
    "quasi_equilibrium",
    "reciprocal_moment",
    "recursion",
    "regression",
    "regression_accumulate",
    "retained",
    "retained_mixture",
    "risk",
    "risk_variance",
    "risk_variance_recursion",
    "scaling_curve",
    "scaling_variable",
    "spectrum",
    "subsample",
    "survival_factor",
    "token_law",
    "weighted_plateau",
    "weighted_recursion",
]
