"""Whether this machine computes what it should: versions, devices, a known miscompilation, a run against its theory."""

import importlib.util
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

PACKAGES = ("jax", "jaxlib", "equinox", "numpy", "scipy", "xarray", "zarr")
EXTRAS = {"plot": "matplotlib"}
EXCLUDED = ("0.10.0", "0.10.1", "0.10.2")


class Check(NamedTuple):
    """One line of the report; `good` is None where there is nothing to judge."""

    name: str
    good: bool | None
    text: str


def checks() -> Iterator[Check]:
    """Every check, as it is made; none computes where no device starts."""
    yield from _packages()
    if failure := _failure():
        yield Check("devices", False, f"{failure}; try unset JAX_PLATFORMS, or install jax for this machine's devices")
        return
    yield from _devices()
    yield _batches()
    yield _simulation()


def _packages() -> Iterator[Check]:
    for package in PACKAGES:
        found = _version(package)
        good = found is not None and not (package in ("jax", "jaxlib") and found in EXCLUDED)
        yield Check(package, good, found or "missing" if good else f"{found}: returns wrong rows; try another version")
    for extra, package in EXTRAS.items():
        found = _version(package)
        yield Check(package, None, found or f"missing; pip install 'jaxcollapse[{extra}]' if you want it")


def _version(package: str) -> str | None:
    try:
        return version(package) if importlib.util.find_spec(package) else None
    except PackageNotFoundError:
        return None


def _failure() -> str | None:
    """Why no device starts, in one line; None if they do."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # each backend has errors of its own
        return " ".join(str(error).split())
    return None


def _devices() -> Iterator[Check]:
    import jax
    import jax.numpy as jnp

    from jaxcollapse import _execute

    devices = ", ".join(f"{d.platform}:{d.id} ({d.device_kind})" for d in jax.devices())
    yield Check("devices", True, devices)
    yield Check("threads", True, f"{_execute.threads()} call the executable, of {os.cpu_count()} cores")
    wide = jnp.result_type(float) == jnp.float64
    yield Check("x64", None, "on" if wide else "off; JAX_ENABLE_X64=1 for sizes above 2147483647")
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    yield Check("cache", None, folder or "off; JAX_COMPILATION_CACHE_DIR=folder keeps compiled programs")


def _batches() -> Check:
    """jaxlib 0.10.2 on a CPU gets wrong rows for wide batches of this (jax issue 39103)."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    x = np.random.default_rng(0).normal(size=(40_000, 3)).astype(np.float32)
    a = np.arange(9, dtype=np.float32).reshape(3, 3)
    compiled = jax.jit(jax.vmap(lambda row: jnp.sum(jnp.matmul(jnp.asarray(a), row, precision="highest") ** 2)))(x)
    wrong = int((~np.isclose(compiled, ((x @ a.T) ** 2).sum(axis=1), rtol=1e-3, atol=1e-3)).sum())
    return Check("wide batches", not wrong, f"{wrong} of {len(x)} rows wrong")


def _simulation() -> Check:
    """The mean risk of 2,000 lineages against the exact recursion."""
    import jax
    import numpy as np

    from jaxcollapse import metrics, theory
    from jaxcollapse._loop import Loop, ensemble
    from jaxcollapse._regime import Replace
    from jaxcollapse._schedule import Constant
    from jaxcollapse._target import zipf
    from jaxcollapse.families.tabular import Tabular

    target, generations, lineages = zipf(32), 10, 2_000
    loop = Loop(target, Tabular(), Replace(), alpha=Constant(0.2), n=Constant(50))
    record = lambda lineage, batch: metrics.squared_error(lineage.model.probs, target.probs)
    _, risk = ensemble(loop, generations, lineages=lineages, key=jax.random.key(0), record=record)
    last = np.asarray(risk, float)[:, -1]
    exact = float(metrics.diversity(target.probs)) * float(theory.risk(loop.alpha, loop.n, generations)[-1])
    z = (last.mean() - exact) / (last.std(ddof=1) / lineages**0.5)
    return Check("simulation", bool(abs(z) < 4), f"risk {last.mean():.5f}, exact {exact:.5f}, z = {z:+.2f}")
