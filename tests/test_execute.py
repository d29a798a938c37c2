"""Blocks run on all threads, and what has been computed is handed on whatever happens."""

import threading

import pytest

from jaxcollapse import _execute


def test_blocks_run_on_every_thread_and_come_back_as_they_finish():
    together = threading.Barrier(3, timeout=30)

    def compute(block):
        together.wait()
        return threading.current_thread().name

    results = dict(_execute.run(compute, range(6), 3))
    assert sorted(results) == list(range(6)) and len(set(results.values())) == 3


def test_a_failing_block_is_raised_after_the_others_under_way_are_handed_on():
    started = threading.Barrier(2, timeout=30)

    def compute(block):
        started.wait()
        if block == 0:
            raise RuntimeError("block 0")
        return block

    received = []
    with pytest.raises(RuntimeError, match="block 0"):
        for block, _ in _execute.run(compute, range(2), 2):
            received.append(block)
    assert received == [1]


def test_an_interrupt_is_raised_after_the_blocks_under_way_are_handed_on():
    def interrupted():
        yield "first"
        raise KeyboardInterrupt

    received = []
    with pytest.raises(KeyboardInterrupt):
        for block, result in _execute.run(str.upper, interrupted(), 2):
            received.append((block, result))
    assert received == [("first", "FIRST")]
