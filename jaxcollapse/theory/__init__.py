"""Exact results, by subject: what the loop must agree with. Nothing here imports the loop or a family.

    risk           r_t, its covariance, diversity, equilibria, thresholds, spectrum, contexts
    moments        the exact variance of one lineage's squared error
    curation       smoothing, a fixed law, a datastore; where temperature and reward lead; networks
    distillation   probabilities fitted instead of samples
    drift          laws of token counts, fixation, turnover, additive metrics
    extinction     lost tokens: survivors, hapaxes, effective draws
    founders       next-token tables: lost pairs, exactly; originals drawn anew in every generation
    scaling        missing mass and distinct tokens of Zipf laws, contaminated scaling laws
    accumulation   pooled, subsampled and retained data
    regression     least squares on its own labels; the best weight of real against synthetic data
    strategies     estimates beside the chain, labels, retained data, other sources
    gaussian       moments, W2, drift of ln σ and survival of recursively fitted normal laws
    exponential    the mean parameter of Poisson, Bernoulli and exponential laws
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
from jaxcollapse.theory._curation import (
    contaminated,
    contamination_floor,
    dirichlet_limit,
    dirichlet_risk,
    retrieval,
    smoothed,
)
from jaxcollapse.theory._distillation import (
    distilled_context_risk,
    distilled_plateau,
    distilled_recursion,
    distilled_risk,
)
from jaxcollapse.theory._drift import (
    TwoTokenChain,
    stationary_dirichlet,
    turnover,
    two_token_chain,
    two_token_turnover,
)
from jaxcollapse.theory._exponential import mean_parameter
from jaxcollapse.theory._extinction import (
    Ewens,
    absence,
    alive_bounds,
    branching_survival,
    effective_draws,
    ewens,
    ewens_spectrum,
    hapax_factor,
    lineage_survival,
    survival_factor,
)
from jaxcollapse.theory._fixation import (
    ConditionalTimes,
    FixationTail,
    conditional_times,
    conditional_times_diffusion,
    fixation_tail,
    fixation_time,
    fixation_time_diffusion,
)
from jaxcollapse.theory._founders import anchored_factor, anchored_risk, context_absence, occupancy
from jaxcollapse.theory._gaussian import (
    GaussianMoments,
    LogScale,
    gaussian,
    gaussian_accumulation,
    gaussian_log_scale,
    gaussian_survival,
    gaussian_survival_bound,
    gaussian_wasserstein,
)
from jaxcollapse.theory._kernel import KernelVariance, kernel_growth, kernel_recursion, kernel_variance
from jaxcollapse.theory._moments import risk_variance, risk_variance_recursion
from jaxcollapse.theory._network import network, network_limit, network_recursion
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
from jaxcollapse.theory._scaling import (
    CHINCHILLA,
    CHINCHILLA_ROUNDED,
    KAPLAN,
    KAPLAN_JOINT,
    KaplanLaw,
    ScalingLaw,
    compute_optimal,
    contaminated_loss,
    cut_missing_mass,
    distinct,
    fixed_ratio,
    inflow_draws,
    inflow_optimal,
    kaplan_loss,
    missing_mass,
    retraining_draws,
    stock_optimal,
    zipf_distinct,
    zipf_missing_mass,
)
from jaxcollapse.theory._selection import (
    temperature_branch,
    temperature_fold,
    temperature_limit,
    temperature_threshold,
    tilt_limit,
)
from jaxcollapse.theory._strategies import debiased, other_source, real_only, real_only_pooled, retain

__all__ = [
    "CHINCHILLA",
    "CHINCHILLA_ROUNDED",
    "KAPLAN",
    "KAPLAN_JOINT",
    "ConditionalTimes",
    "Ewens",
    "FixationTail",
    "GaussianMoments",
    "KaplanLaw",
    "KernelVariance",
    "LogScale",
    "Phase",
    "ScalingLaw",
    "TwoTokenChain",
    "absence",
    "accumulate",
    "accumulation_factor",
    "accumulation_limit",
    "additive",
    "alive_bounds",
    "anchored_factor",
    "anchored_risk",
    "boundary",
    "branching_survival",
    "compute_optimal",
    "conditional_times",
    "conditional_times_diffusion",
    "contaminated",
    "contaminated_loss",
    "contamination_floor",
    "context_absence",
    "context_recursion",
    "context_risk",
    "covariance",
    "cut_missing_mass",
    "debiased",
    "dirichlet_limit",
    "dirichlet_risk",
    "distilled_context_risk",
    "distilled_plateau",
    "distilled_recursion",
    "distilled_risk",
    "distinct",
    "diversity",
    "diversity_recursion",
    "effective_draws",
    "ewens",
    "ewens_spectrum",
    "fixation_tail",
    "fixation_time",
    "fixation_time_diffusion",
    "fixed_design",
    "fixed_ratio",
    "fresh_inflow",
    "gaussian",
    "gaussian_accumulation",
    "gaussian_log_scale",
    "gaussian_survival",
    "gaussian_survival_bound",
    "gaussian_wasserstein",
    "golden_weight",
    "hapax_factor",
    "improvement_threshold",
    "inflow_draws",
    "inflow_optimal",
    "kaplan_loss",
    "kernel_growth",
    "kernel_recursion",
    "kernel_variance",
    "lag_correlation",
    "leading_order_boundary",
    "lineage_survival",
    "mean_parameter",
    "memory_weight",
    "missing_mass",
    "network",
    "network_limit",
    "network_recursion",
    "occupancy",
    "optimal_weight",
    "other_source",
    "phase",
    "plateau",
    "pooled_recursion",
    "quasi_equilibrium",
    "real_only",
    "real_only_pooled",
    "reciprocal_moment",
    "recursion",
    "regression",
    "regression_accumulate",
    "retain",
    "retained",
    "retained_mixture",
    "retraining_draws",
    "retrieval",
    "risk",
    "risk_variance",
    "risk_variance_recursion",
    "scaling_curve",
    "scaling_variable",
    "smoothed",
    "spectrum",
    "stationary_dirichlet",
    "stock_optimal",
    "subsample",
    "survival_factor",
    "temperature_branch",
    "temperature_fold",
    "temperature_limit",
    "temperature_threshold",
    "tilt_limit",
    "token_law",
    "turnover",
    "two_token_chain",
    "two_token_turnover",
    "weighted_plateau",
    "weighted_recursion",
    "zipf_distinct",
    "zipf_missing_mass",
]
