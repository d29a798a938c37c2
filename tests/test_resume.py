"""Whatever kills a sweep, what was written stays, only what is missing is computed, and the result is the same."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import jax.random as jr
import numpy as np
import pytest
import zarr

import jaxcollapse as jc
from jaxcollapse import _experiment, _remote
from jaxcollapse._store import DONE, RUN, Table, begin
from jaxcollapse._sweep import sweep

TOY = """
import signal
import sys

import jax
import jax.numpy as jnp
import jax.random as jr

AXES = {"a": [0.1 * i for i in range(20)], "b": [float(i) for i in range(15)]}


def experiment(a, b, *, key, size=64):
    x = jr.normal(key, (size,))
    return {"x": ("lineage", a * x + b), "largest": (a * x + b).max()}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it, and so would this
    from jaxcollapse._plan import plan
    from jaxcollapse._sweep import stages

    part, parts = int(sys.argv[2]), int(sys.argv[3])
    asked = plan(experiment, AXES, key=jr.key(5), store=sys.argv[1], chunk=2, shard=(part, parts))
    for stage in stages(asked):
        print(stage.name, flush=True)
        if stage.name == "run":
            sys.stdin.readline()  # goes on when it is told to
"""
KEY = jr.key(5)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text(TOY)
    return path


@pytest.fixture(scope="module")
def whole(toy):
    module = _experiment.module(toy)
    return sweep(module.experiment, key=KEY, chunk=2, **module.AXES)


def start(toy, store, part=0, parts=1, told=0):
    """A process that writes that many blocks and waits; without a number it does not."""
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(toy), str(store), str(part), str(parts)]
    stdin = subprocess.PIPE if told else subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=plain)
    if told:
        process.stdin.write(told * "\n")
        process.stdin.flush()
    return process


def kill_while_it_writes(process, blocks, seconds, by=signal.SIGKILL):
    """So long after that many blocks."""
    for line in process.stdout:
        blocks -= line.startswith("run")
        if blocks < 0:
            break
    time.sleep(seconds)
    process.send_signal(by)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def finish(process):
    process.communicate()
    assert process.returncode == 0


def assert_equal(store, whole):
    table = jc.open(store)
    assert bool(table.done.all()) and bool(table.valid.all())
    for name in whole.data_vars:
        assert np.array_equal(table[name], whole[name]), name
    assert not list(store.rglob("*.partial"))


def test_a_sweep_that_is_killed_twenty_times_equals_one_that_is_not(toy, whole, tmp_path):
    moments, store, written = random.Random(1), tmp_path / "run", [0]
    for _ in range(20):
        blocks = moments.randint(0, 6)
        kill_while_it_writes(start(toy, store, told=blocks + 3), blocks, moments.uniform(0, 0.01))
        done = np.asarray(zarr.open_array(store / DONE, mode="r"))
        runs = np.asarray(zarr.open_array(store / RUN, mode="r"))
        assert done.sum() >= written[-1], "a block was lost"
        assert (runs[done] != 0).all()
        written.append(int(done.sum()))
    assert len(set(written)) > 10, f"the kills did not fall into the writing: {written}"
    before = np.asarray(zarr.open_array(store / RUN, mode="r"))[: written[-1]]
    finish(start(toy, store))
    assert_equal(store, whole)
    done_before = before[before != 0]
    after = np.asarray(zarr.open_array(store / RUN, mode="r"))
    assert np.isin(done_before, after).all(), "a block was computed twice"


def test_an_interrupted_sweep_keeps_what_it_had_done(toy, whole, tmp_path):
    store = tmp_path / "run"
    process = start(toy, store, told=140)  # of 150
    kill_while_it_writes(process, 3, 0, by=signal.SIGINT)
    assert process.returncode != 0
    runs = np.asarray(zarr.open_array(store / RUN, mode="r"))
    assert (runs != 0).any()
    finish(start(toy, store))
    assert np.isin(runs[runs != 0], np.asarray(zarr.open_array(store / RUN, mode="r"))).all()
    assert_equal(store, whole)


def test_processes_that_share_a_store_and_are_killed_leave_it_whole(toy, whole, tmp_path):
    moments, store = random.Random(2), tmp_path / "run"
    for kill in (True, False):
        parts = [start(toy, store, part, 4, told=20 * kill) for part in range(4)]
        for process in parts:
            if kill:
                kill_while_it_writes(process, moments.randint(0, 17), moments.uniform(0, 0.01))
            else:
                finish(process)
    assert_equal(store, whole)


def test_processes_of_an_executor_give_the_same_draws(toy, whole, tmp_path):
    module = _experiment.module(toy)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        table = sweep(module.experiment, key=KEY, chunk=16, store=tmp_path / "run", executor=pool, **module.AXES)
    assert np.array_equal(table.x, whole.x) and np.array_equal(table.largest, whole.largest)
    assert_equal(tmp_path / "run", whole)


def test_a_dask_cluster_whose_workers_are_killed_finishes(toy, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    module, store = _experiment.module(toy), tmp_path / "run"
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())

        def kill_when_something_is_written():
            patience = time.monotonic() + 120
            while not store.joinpath("zarr.json").exists() or not Table(store, mode="r").column(DONE).any():
                assert time.monotonic() < patience, "nothing is written"
                time.sleep(0.02)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            return Table(store, mode="r").column(DONE).mean()

        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill_when_something_is_written)
            table = sweep(module.experiment, key=KEY, chunk=2, store=store, executor=client, **module.AXES)
            assert killed.result() < 1, "the workers were killed too late"
    assert np.array_equal(table.x, whole.x)
    assert_equal(store, whole)


def test_a_finished_sweep_computes_nothing_again(toy, whole, tmp_path, monkeypatch):
    module, store = _experiment.module(toy), tmp_path / "run"
    sweep(module.experiment, key=KEY, chunk=16, store=store, **module.AXES)
    monkeypatch.setattr("jaxcollapse._program.compile", None)
    table = sweep(module.experiment, key=KEY, store=store, **module.AXES)
    assert np.array_equal(table.x, whole.x)


def test_an_extension_keeps_what_is_there_bit_for_bit(toy, whole, tmp_path):
    module, store = _experiment.module(toy), tmp_path / "run"
    a, b = module.AXES["a"], module.AXES["b"]
    first = sweep(module.experiment, key=KEY, chunk=16, store=store, a=a[::2], b=b)
    longer = sweep(module.experiment, key=KEY, store=store, a=a, b=b)
    assert np.array_equal(longer.x, whole.x) and np.array_equal(longer.x.values[::2], first.x)
    repeated = sweep(module.experiment, key=KEY, store=store, a=a, b=b, repeats=2)
    assert np.array_equal(repeated.x.sel(repeat=0), whole.x)
    assert np.isin(repeated.x.sel(repeat=1, a=a[1:]), whole.x).mean() < 0.1  # some floats are equal by chance
    listed = sweep(module.experiment, key=KEY, store=store, points={"a": [0.1, 7.0], "b": [1.0, 1.5]})
    assert np.array_equal(listed.x[0], whole.x[1, 1]) and listed.x.dims == ("point", "lineage")
    assert jc.open(store).sizes["point"] == 2 * 20 * 15 + 1
    smaller = sweep(module.experiment, key=KEY, store=store, a=a[3:5], b=b[::-1])
    assert np.array_equal(smaller.x, whole.x[3:5, ::-1])


@pytest.mark.parametrize("part", range(2))
def test_a_shard_computes_its_own_blocks_alone(toy, tmp_path, part):
    module = _experiment.module(toy)
    asked = {"key": KEY, "chunk": 16, "store": tmp_path / "run", "shard": (part, 2)}
    table = sweep(module.experiment, **asked, **module.AXES)
    blocks = table.done.values.ravel()[::16]
    assert np.array_equal(blocks, np.arange(len(blocks)) % 2 == part)


def test_two_different_sweeps_cannot_share_a_store(toy, tmp_path):
    module = _experiment.module(toy)
    sweep(module.experiment, key=KEY, store=tmp_path / "run", a=[1.0], b=[1.0])

    def other(a, b, *, key, size=64):
        return module.experiment(a, b + 1, key=key, size=size)

    def counted(a, b, *, key, size=64):
        return module.experiment(a.astype(float), b, key=key, size=size)

    for function, key, a, differs in (
        (module.experiment, jr.key(6), [1.0], r"whose key is \[0, 5\], while this sweep has \[0, 6\]"),
        (other, KEY, [1.0], "whose experiment, with the same settings, computed something else"),
        (counted, KEY, [1], "whose types is {'a': 'f', 'b': 'f'}, while this sweep has {'a': 'i', 'b': 'f'}"),
    ):
        with pytest.raises(ValueError, match=rf"store: got .*run, {differs}.*force_new=True"):
            sweep(function, key=key, store=tmp_path / "run", a=a, b=[1.0])
    beside = sweep(other, key=KEY, store=tmp_path / "run", force_new=True, a=[1.0], b=[1.0])
    assert np.array_equal(jc.open(tmp_path / "run-2").x, beside.x)


def test_a_half_made_store_is_made_again(toy, whole, tmp_path):
    """Killed while the group was moved to its place: some arrays are there, what makes it a store is not."""
    module, store = _experiment.module(toy), tmp_path / "run"
    sweep(module.experiment, key=KEY, chunk=16, store=store, **module.AXES)
    (store / "runs" / "new").mkdir()
    (store / "zarr.json").replace(store / "runs" / "new" / "zarr.json")
    assert np.array_equal(sweep(module.experiment, key=KEY, chunk=16, store=store, **module.AXES).x, whole.x)


def test_a_half_made_extension_is_made_again(toy, whole, tmp_path):
    """Killed while the arrays grew: they differ in length, and the attribute says how long the list is."""
    module, store = _experiment.module(toy), tmp_path / "run"
    a, b = module.AXES["a"], module.AXES["b"]
    sweep(module.experiment, key=KEY, chunk=16, store=store, a=a[:10], b=b)
    for name in ("x", "done", "a"):
        array = zarr.open_array(store / name, mode="r+")
        array.resize((300, *array.shape[1:]))
    assert np.array_equal(jc.open(store).x, whole.x[:10])
    assert np.array_equal(sweep(module.experiment, key=KEY, store=store, a=a, b=b).x, whole.x)


def test_an_executor_needs_a_store_and_an_experiment_of_a_file(toy, tmp_path):
    module = _experiment.module(toy)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(ValueError, match="executor: got no store"):
            sweep(module.experiment, key=KEY, executor=pool, **module.AXES)
        inside = lambda a, b, *, key: {"x": a + b}
        with pytest.raises(ValueError, match=r"experiment: got .*, which workers cannot load, expected a function"):
            sweep(inside, key=KEY, executor=pool, store=tmp_path / "run", **module.AXES)


def test_a_worker_without_the_experiment_file_says_so(toy, tmp_path):
    module = _experiment.module(toy)
    job = _remote.Job(str(tmp_path / "run"), str(tmp_path / "gone.py"), "experiment", {}, False)
    sweep(module.experiment, key=KEY, chunk=16, store=tmp_path / "run", shard=(0, 2), **module.AXES)
    with pytest.raises(ValueError, match=r"gone.py: file: got .*gone.py, which is not there"):
        _remote.work(job, 1, [1])


def test_a_worker_with_another_program_refuses(toy, tmp_path):
    module = _experiment.module(toy)
    sweep(module.experiment, key=KEY, chunk=16, store=tmp_path / "run", shard=(0, 2), **module.AXES)
    edited = tmp_path / "edited.py"
    edited.write_text(TOY.replace("a * x + b", "a * x - b"))
    job = _remote.Job(str(tmp_path / "run"), str(edited), "experiment", {}, False)
    with pytest.raises(ValueError, match="computed something else than this one"):
        _remote.work(job, 1, [1])


def test_a_file_that_sweeps_while_a_worker_loads_it_is_named(toy, tmp_path):
    module = _experiment.module(toy)
    sweep(module.experiment, key=KEY, chunk=16, store=tmp_path / "run", shard=(0, 2), **module.AXES)
    bare = tmp_path / "bare.py"
    sweeps = "\nimport jaxcollapse as jc\njc.sweep(experiment, key=jr.key(0), **AXES)\n"
    bare.write_text(TOY.split("if __name__")[0] + sweeps)
    job = _remote.Job(str(tmp_path / "run"), str(bare), "experiment", {}, False)
    with pytest.raises(ValueError, match=r"sweep: got a call while a worker loads .*bare.py; put what"):
        _remote.work(job, 1, [1])


@pytest.mark.parametrize("devices", [1, 4, 8])
def test_draws_do_not_depend_on_the_number_of_devices(toy, whole, tmp_path, devices):
    """The test process itself has two."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, toy, tmp_path / "run", "0", "1"], env=os.environ | flags, check=True)
    assert jc.open(tmp_path / "run").attrs["devices"] == devices
    assert_equal(tmp_path / "run", whole)


def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(toy, whole, tmp_path):
    module, disk = _experiment.module(toy), tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with pytest.raises(OSError, match="No space left"):
            sweep(module.experiment, key=KEY, chunk=2, store=disk / "run", **module.AXES)
        assert 0 < int(jc.open(disk / "run").done.sum()) < 300
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        sweep(module.experiment, key=KEY, store=disk / "run", **module.AXES)
        assert_equal(disk / "run", whole)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_of_two_sweeps_that_race_for_a_path_one_is_refused(toy, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(TOY.replace("jr.key(5)", "jr.key(6)"))
    racing = [
        subprocess.Popen([sys.executable, file, tmp_path / "run", "0", "1"], stderr=subprocess.PIPE, text=True)
        for file in (toy, other)
    ]
    said = [process.communicate()[1] for process in racing]
    assert sorted(process.returncode for process in racing) == [0, 1]
    assert "while this sweep has" in said[0] + said[1]
    assert bool(jc.open(tmp_path / "run").done.all())


def test_more_points_are_refused_while_another_run_is_writing(toy, tmp_path):
    module, store = _experiment.module(toy), tmp_path / "run"
    sweep(module.experiment, key=KEY, store=store, a=[1.0], b=[1.0])
    table = Table(store, mode="r")
    with begin(store, table.columns(), {}, 8, table.attrs):
        sweep(module.experiment, key=KEY, store=store, a=[1.0], b=[1.0])
        with pytest.raises(ValueError, match="which lacks 1 of these points while another run is writing to it"):
            sweep(module.experiment, key=KEY, store=store, a=[1.0, 2.0], b=[1.0])
    sweep(module.experiment, key=KEY, store=store, a=[1.0, 2.0], b=[1.0])
