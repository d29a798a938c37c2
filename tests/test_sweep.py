"""`sweep` maps a pure function: its draws depend on the key and the coordinates alone."""

import functools
import itertools
import json
import os
import subprocess
import sys
import threading
import warnings

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr

from jaxcollapse import _execute, _program
from jaxcollapse._plan import plan
from jaxcollapse._sweep import sweep

KEY = jr.key(7)


def noise(a, b, *, key, size=3):
    """One standard normal vector a point, beside its coordinates."""
    return {"x": ("lineage", jr.normal(key, (size,))), "a_seen": a, "b_seen": b}


def place(a, b, *, key):
    return {"total": a + b}


def test_a_point_lands_at_its_coordinates():
    a, b = [0.5, -1.0, 2.0], [3, 1]
    table = sweep(noise, key=KEY, a=a, b=b)
    assert table.x.dims == ("a", "b", "lineage")
    assert np.array_equal(table.a, a) and np.array_equal(table.b, b)
    assert np.array_equal(table.a_seen, np.broadcast_to(np.array(a)[:, None], (3, 2)))
    assert np.array_equal(table.b_seen, np.broadcast_to(np.array(b), (3, 2)))


def test_axes_keep_the_order_in_which_they_were_named():
    table = sweep(place, key=KEY, b=[1.0, 2.0], a=[10.0, 20.0, 30.0])
    assert table.total.dims == ("b", "a")
    assert float(table.total.sel(b=2.0, a=30.0)) == 32.0


def test_floats_arrive_in_the_default_type_and_whole_numbers_stay_whole(precision):
    table = sweep(noise, key=KEY, a=[0.1, 0.2], b=[1, 2])
    assert table.a_seen.dtype == precision.replace("x64", "float64")
    assert table.b_seen.dtype == ("int64" if precision == "x64" else "int32")


def test_the_experiment_is_traced_once_for_the_whole_map():
    traces = []

    def counted(a, b, *, key):
        traces.append(threading.current_thread())
        return {"total": a + b}

    sweep(counted, key=KEY, chunk=3, repeats=2, a=np.arange(5.0), b=np.arange(4.0))
    assert traces == [threading.main_thread()]


def test_draws_are_bitwise_equal_for_every_chunk():
    """Random bits for any number of lineages, normal draws for 16: newer XLA rounds log1p in another way elsewhere."""

    def draws(a, b, *, key):
        return {"bits": ("one", jr.bits(key, (3,))), "normal": ("lineage", a + jr.normal(key, (16,)))}

    axes = {"a": np.linspace(0, 1, 5), "b": [1, 2, 3]}
    whole = sweep(draws, key=KEY, **axes)
    for chunk in (1, 2, 4, 7, 15, 99):
        table = sweep(draws, key=KEY, chunk=chunk, **axes)
        assert np.array_equal(table.bits, whole.bits) and np.array_equal(table.normal, whole.normal), chunk


def test_draws_do_not_depend_on_the_rest_of_the_grid():
    whole = sweep(noise, key=KEY, a=[0.0, 0.25, 0.5], b=[1.0, 2.0]).x
    reordered = sweep(noise, key=KEY, b=[2.0], a=[0.5, 0.25, 7.0]).x
    assert np.array_equal(reordered.sel(a=0.25, b=2.0), whole.sel(a=0.25, b=2.0))
    whole_number = sweep(noise, key=KEY, a=[0.5], b=[2]).x
    assert np.array_equal(whole_number.squeeze(), whole.sel(a=0.5, b=2.0))


def test_draws_differ_between_points_that_float32_would_merge():
    close = [0.1, np.nextafter(0.1, 1.0)]
    table = sweep(noise, key=KEY, a=close, b=[1.0])
    assert table.a_seen[0] == table.a_seen[1]
    assert not np.array_equal(table.x[0], table.x[1])


def test_every_point_repeat_and_key_has_its_own_draws():
    axes = {"a": np.linspace(0, 1, 8), "b": np.linspace(0, 1, 8)}
    draws = [sweep(noise, key=jr.key(seed), repeats=3, **axes).x.values.ravel() for seed in (0, 1)]
    assert len(np.unique(np.concatenate(draws))) == 2 * 8 * 8 * 3 * 3


def test_more_repeats_keep_the_earlier_ones():
    axes = {"a": [0.1, 0.2], "b": [1.0]}
    one = sweep(noise, key=KEY, **axes)
    three = sweep(noise, key=KEY, repeats=3, **axes)
    assert "repeat" not in one.dims and three.x.dims == ("a", "b", "repeat", "lineage")
    assert np.array_equal(three.x.sel(repeat=0), one.x)


def test_the_key_is_folded_over_the_words_of_the_coordinates_and_then_the_repeat():
    low, high = np.array([0.3], "<f8").view("<u4").tolist()
    one = np.array([1.0], "<f8").view("<u4").tolist()
    key = functools.reduce(jr.fold_in, [low, high, *one, 2], KEY)
    table = sweep(noise, key=KEY, repeats=3, b=[1.0], a=[0.3])
    assert np.array_equal(table.x.sel(repeat=2).squeeze(), jr.normal(key, (3,)))


def test_a_legacy_key_is_the_typed_key_with_its_words():
    axes = {"a": [0.1], "b": [1.0]}
    legacy = jr.key_data(KEY)
    assert np.array_equal(sweep(noise, key=legacy, **axes).x, sweep(noise, key=KEY, **axes).x)


def test_results_are_labelled_as_they_say():
    def labelled(a, *, key):
        return {
            "plain": jnp.full((2, 3), a),
            "named": (("lineage", "generation"), jnp.ones((4, 5)), {"units": "1", "long_name": "risk"}),
            "last": ("lineage", jnp.arange(4)),
            "generation": ("generation", 10 * jnp.arange(5), {"units": "seconds"}),
        }

    table = sweep(labelled, key=KEY, chunk=2, a=[1.0, 2.0, 3.0])
    assert table.plain.dims == ("a", "plain_0", "plain_1")
    assert table.named.dims == ("a", "lineage", "generation")
    assert table.named.attrs == {"units": "1", "long_name": "risk"}
    assert list(table.data_vars) == ["plain", "named", "last"]
    assert np.array_equal(table.indexes["generation"], 10 * np.arange(5))
    assert table.generation.dtype == np.int32 and table.generation.attrs == {"units": "seconds"}


def test_labels_that_differ_between_points_are_refused():
    with pytest.raises(ValueError, match="time: got labels that differ between points"):
        sweep(lambda a, *, key: {"time": ("time", a * jnp.ones(2))}, key=KEY, a=[1.0, 2.0])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (jnp.ones(2), "experiment: got the result"),
        ({}, "experiment: got the result"),
        ({1: 2.0}, "experiment: got the result"),
        ({"a": 1.0}, "a: got the name a, which is an axis or reserved"),
        ({"risk": ("point", jnp.ones(2))}, "risk: got the name point, which is an axis or reserved"),
        ({"risk": ("lineage", jnp.ones((2, 2)))}, "risk: got dimensions"),
        ({"risk": (("t", "t"), jnp.ones((2, 2)))}, "risk: got dimensions"),
        ({"risk": (3, jnp.ones(2))}, "risk: got the tuple"),
        ({"risk": ("t",)}, "risk: got the tuple"),
        ({"risk": ("t", jnp.ones(2), {"units": jnp.ones(2)})}, "risk: got the tuple"),
        ({"risk": ("t", jnp.ones(2)), "bias": ("t", jnp.ones(3))}, "bias: got 3 along t, which has 2 elsewhere"),
        ({"risk": ("t", jnp.ones(2)), "t": 1.0}, "t: got a variable named like a dimension"),
        ({"risk": jr.key(0)}, "risk: got values of type key"),
    ],
)
def test_results_that_fit_no_table_are_refused(result, message):
    with pytest.raises(ValueError, match=message):
        sweep(lambda a, *, key: result, key=KEY, a=[1.0])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"a": 0.5, "b": [1]}, "a: got the scalar 0.5, expected a list of values"),
        ({"a": [], "b": [1]}, "a: got shape"),
        ({"a": [[1.0]], "b": [1]}, "a: got shape"),
        ({"a": [1.0, float("nan")], "b": [1]}, "a: got NaN at position 1"),
        ({"a": [1.0, 2.0, 1.0], "b": [1]}, "a: got 1.0 twice"),
        ({"a": [0.0, -0.0], "b": [1]}, "a: got 0.0 twice"),
        ({"a": ["x"], "b": [1]}, "a: got values of type"),
        ({"a": [1j], "b": [1]}, "a: got values of type"),
        ({"a": [2**40], "b": [1]}, "a: got values beyond 2147483647"),
        ({"a": [1e39], "b": [1]}, "a: got values beyond 3.4"),
        ({"a": [1.0], "b": [1], "c": [1]}, "c: got an axis that the experiment does not take, expected among: a, b"),
        ({"a": [1.0]}, "b: got no axis for this argument of the experiment"),
        ({"a": [1.0], "b": [1], "done": [1]}, "done: got an axis of this name, which is reserved"),
        ({"a": [1.0], "b": [1], "shard": [1]}, r"shard: got \[1\], expected \(i, N\) with 0 <= i < N"),
        ({"a": [1.0], "b": [1], "shard": (2, 2)}, r"shard: got \(2, 2\), expected"),
        ({"a": [1.0], "b": [1], "shard": (0, 2)}, "shard: got no store to share"),
        ({"a": [1.0], "b": [1], "repeat": [1]}, "repeat: got an axis of this name, which is reserved"),
        ({}, "axes: got none"),
    ],
)
def test_axes_that_make_no_grid_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        sweep(noise, key=KEY, **axes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": 0}, "key: got 0, expected a random key"),
        ({"key": jr.split(KEY)}, "key: got keys of shape"),
        ({"repeats": 0}, "repeats: got 0, expected a whole number of at least 1"),
        ({"repeats": 1.5}, "repeats: got 1.5"),
        ({"chunk": True}, "chunk: got True"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(noise, {"a": [1.0], "b": [1.0]}, **({"key": KEY} | arguments))


def test_the_default_chunk_fills_whole_vectors_and_gives_every_thread_several(monkeypatch):
    for threads, points in itertools.product((1, 2, 16, 64), (1, 5, 40, 625, 10**5)):
        monkeypatch.setattr(_program, "threads", lambda threads=threads: threads)
        small = plan(lambda a, *, key: {"x": a}, {"a": np.arange(points)}, key=KEY)
        chunk = _program.width(small, _program.trace(small))
        assert 8 <= chunk <= 1024 and chunk % 8 == 0
        assert -(-points // chunk) >= 2 * threads or points <= 32 * threads


@pytest.mark.parametrize(("size", "most"), [(2**14, 16), (2**16, 4), (2**18, 1), (2**20, 1)])
def test_the_largest_array_of_a_default_chunk_fits_the_cache(monkeypatch, size, most):
    def scanned(a, *, key):  # the largest array is inside
        return {"x": jax.lax.scan(lambda c, _: (c + jr.normal(key, (size,)).sum(), None), a, None, length=2)[0]}

    monkeypatch.setattr(_program, "devices", lambda: None)
    asked = plan(scanned, {"a": np.arange(1000.0)}, key=KEY)
    assert _program.width(asked, _program.trace(asked)) in (most, most // 2)  # XLA may draw words of twice that size


def test_a_chunk_fits_the_memory_that_is_allowed(monkeypatch):
    def large(a, *, key):
        return {"x": jr.normal(key, (2**18,)).sum()}

    monkeypatch.setattr(_program, "CACHE", {"cpu": 2**40})
    unlimited, limited = (plan(large, {"a": np.arange(1e4)}, key=KEY, memory=m) for m in (None, "8GB"))
    chunks = [_program.width(asked, _program.trace(asked)) for asked in (unlimited, limited)]
    assert chunks[1] < chunks[0] and chunks[1] * 2**20 * _program.ARRAYS * _program.threads() < 8e9
    asked = plan(large, {"a": np.arange(8.0)}, key=KEY, memory="1 MiB")
    with pytest.raises(ValueError, match=r"memory: got 1,048,576 bytes, expected more than [\d,]+: .* results"):
        _program.width(asked, _program.trace(asked))


def test_blocks_run_on_all_threads_at_once_with_the_default_chunk(monkeypatch):
    together, run = threading.Barrier(3, timeout=30), _execute.run

    def watched(compute, blocks, workers):  # the barrier opens for three blocks at the same time, or never
        return run(lambda block: (together.wait(), compute(block))[1], blocks, workers)

    monkeypatch.setattr(_program, "devices", lambda: None)
    monkeypatch.setattr(_execute, "threads", lambda: 3)
    monkeypatch.setattr(_execute, "run", watched)
    table = sweep(place, key=KEY, a=np.arange(96.0), b=[1.0])
    assert bool(table.done.all()) and table.attrs["threads"] == 3


def test_a_plain_process_sweeps_on_every_usable_core():
    code = (
        "import os, jax, numpy as np, jaxcollapse as jc\n"
        "table = jc.sweep(lambda a, *, key: {'x': a}, key=jax.random.key(0), a=np.arange(8))\n"
        "cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()\n"
        "assert table.attrs['threads'] == cores, (table.attrs['threads'], cores)"
    )
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=plain)
    assert done.returncode == 0, done.stderr


def test_a_function_that_takes_no_key_is_refused():
    with pytest.raises(ValueError, match="experiment: got a function without `key`"):
        sweep(lambda a: {"x": a}, key=KEY, a=[1.0])
    with pytest.raises(ValueError, match="experiment: got 3, expected a function"):
        plan(3, {"a": [1.0]}, key=KEY)


def test_large_whole_numbers_pass_under_x64():
    with jax.enable_x64(True):
        table = sweep(noise, key=KEY, a=[2**40], b=[1.0])
    assert int(table.a_seen.squeeze()) == 2**40


def test_a_nan_is_kept_flagged_counted_and_named():
    def undefined(a, b, *, key):
        return {"root": ("lineage", jnp.sqrt(a * jnp.ones(2))), "whole": b}

    said = r"2 of 6 points hold NaN in root \(.*the first at \(a=-1, b=0\), \(a=-1, b=1\);"
    with pytest.warns(UserWarning, match=said):
        table = sweep(undefined, key=KEY, a=[-1.0, 0.0, 1.0], b=[0, 1])
    assert np.array_equal(table.valid, [[False, False], [True, True], [True, True]])
    assert np.array_equal(np.isnan(table.root).any("lineage"), ~table.valid)


def test_outcomes_are_not_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = sweep(lambda a, *, key: {"time": a / 0.0}, key=KEY, a=[1.0])
    assert bool(table.valid.all()) and np.isinf(table.time).all()


def test_settings_are_the_keywords_in_effect():
    bound = functools.partial(noise, size=2)
    table = sweep(bound, key=KEY, a=[1.0], b=[1.0])
    assert table.sizes["lineage"] == 2
    assert json.loads(table.attrs["settings"]) == {"size": 2}
    assert table.attrs["experiment"] == "noise"
    assert table.attrs["key"] == np.asarray(jr.key_data(KEY)).tolist()
    assert {"jax", "jaxlib", "numpy", "jaxcollapse", "platform", "x64", "run_seconds"} <= table.attrs.keys()


def test_an_experiment_that_raises_while_traced_raises_its_own_error_once():
    calls = []

    def broken(a, *, key):
        calls.append(a)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sweep(broken, key=KEY, chunk=1, a=[1.0, 2.0, 3.0])
    assert len(calls) == 1


def test_coordinates_may_be_anything_that_numpy_reads():
    expected = sweep(place, key=KEY, a=[0.5, 0.25], b=[1.0])
    for a in (np.array([0.5, 0.25], np.float16), jnp.array([0.5, 0.25]), xr.DataArray([0.5, 0.25]), (0.5, 0.25)):
        xr.testing.assert_equal(sweep(place, key=KEY, a=a, b=[1.0]), expected)


def test_booleans_make_an_axis():
    table = sweep(lambda flag, *, key: {"y": jnp.where(flag, 1.0, 2.0)}, key=KEY, flag=[True, False])
    assert np.array_equal(table.y, [1.0, 2.0])


def test_a_program_is_what_it_computes_and_not_what_its_functions_are_called():
    def digest(name, function):
        def inner(x):
            return function(x)

        inner.__name__ = inner.__qualname__ = name
        experiment = lambda a, *, key: {"x": jax.jit(inner)(a)}
        return _program.trace(plan(experiment, {"a": [0.0, 1.0]}, key=jr.key(0))).digest

    square = digest("one", lambda x: jnp.where(x > 0, x * x, 1.0))
    assert square == digest("where", lambda x: jnp.where(x > 0, x * x, 1.0))
    assert square != digest("one", lambda x: jnp.where(x > 0, x * x, 2.0))
