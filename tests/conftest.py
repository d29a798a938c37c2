"""Two host devices, strict promotion of dtypes and ranks: what a stranger's configuration may have, the tests have."""

import os
import resource
import tempfile

# What one test has compiled, another one, a second worker or a child process loads, in this run alone.
if "JAXCOLLAPSE_TEST_CACHE" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="jaxcollapse-tests-")
    os.environ |= {
        "JAXCOLLAPSE_TEST_CACHE": _cache.name,
        "JAX_COMPILATION_CACHE_DIR": _cache.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("ci")


# Here compiling takes the time. The samplers' laws, sweeps and stores are tested as they are compiled for users.
QUICKLY = {"families", "theory", "test_loop.py", "test_regimes.py", "test_curate.py", "test_common_random_numbers.py"}
QUICKLY |= {"test_metrics.py", "test_experiments.py", "test_real_text.py", "test_exhaustion.py", "test_scaling_laws.py"}
QUICKLY |= {"test_phase_atlas.py", "test_docs.py", "test_optimal_schedule.py", "test_urns.py"}
QUICKLY |= {"test_text_metrics.py", "test_calibration.py"}
MEMORY = 1.5e6  # KiB (on Linux), a worker that has once held more forgets after each file what it has compiled


def _quickly(request) -> bool:
    return bool(QUICKLY & {request.path.name, request.path.parent.name})


def _compile_quickly(wanted: bool) -> None:
    """What was compiled the other way is forgotten: JAX would go on using it."""
    if jax.config.read("jax_disable_most_optimizations") != wanted:
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", wanted)


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly(request):
    """Without most of XLA's optimisations, in half the time, in the files and folders above."""
    _compile_quickly(_quickly(request))
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEMORY:
        jax.clear_caches()


@pytest.fixture
def optimised(request, compiled_quickly):
    """What the compiler makes of it is the point."""
    _compile_quickly(False)
    yield
    _compile_quickly(_quickly(request))


@pytest.fixture(params=["float32", "x64"])
def precision(request):
    """Runs a test in both precisions."""
    with jax.enable_x64(request.param == "x64"):
        yield request.param
