"""Two host devices, strict promotion of dtypes and ranks: what a stranger's configuration may have, the tests have."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("ci")


@pytest.fixture(params=["float32", "x64"])
def precision(request):
    """Runs a test in both precisions."""
    with jax.enable_x64(request.param == "x64"):
        yield request.param
