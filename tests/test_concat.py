"""Stores of one sweep are one sweep."""

import jax.random as jr
import numpy as np
import pytest
import xarray as xr

import jaxcollapse as jc
from jaxcollapse._status import opened
from jaxcollapse._store import Table

KEY = jr.key(5)


def noise(a, b, *, key, size=16):
    return {
        "x": ("lineage", a * jr.normal(key, (size,)), {"units": "nats"}),
        "whole": b + 1,
        "lineage": ("lineage", np.arange(size)),
    }


def stored(path, experiment=noise, key=KEY, **asked):
    jc.sweep(experiment, key=key, store=path, chunk=2, **asked)
    return path


@pytest.fixture
def halves(tmp_path):
    return [stored(tmp_path / n, a=a, b=[1, 2]) for n, a in (("first", [0.5, 3.0]), ("second", [1.0, 0.5, 2.0]))]


def test_the_union_of_two_grids_is_the_sweep_of_their_union(halves):
    union = jc.concat(halves)
    whole = jc.sweep(noise, key=KEY, chunk=2, a=[0.5, 1.0, 2.0, 3.0], b=[1, 2])
    xr.testing.assert_identical(union.drop_attrs(deep=False), whole.drop_attrs(deep=False))
    assert union.attrs["stores"] == list(map(str, halves)) and union.attrs["key"] == [0, 5]
    assert "points" not in union.attrs and "created" not in union.attrs
    xr.testing.assert_identical(jc.concat(halves[::-1]).drop_attrs(), union.drop_attrs())


def test_repeats_and_lists_are_points_too(tmp_path):
    once = stored(tmp_path / "once", a=[0.5, 1.0], b=[1])
    twice = stored(tmp_path / "twice", a=[1.0, 0.5], b=[1], repeats=2)
    assert dict(jc.concat([once, twice]).whole.sizes) == {"a": 2, "b": 1, "repeat": 2}
    listed = stored(tmp_path / "listed", points={"a": [0.5, 7.0], "b": [2, 3]})
    union = jc.concat([once, listed])
    assert union.x.dims == ("point", "lineage") and union.sizes["point"] == 4
    assert sorted(zip(union.a.values.tolist(), union.b.values.tolist(), strict=True)) == [
        (0.5, 1),
        (0.5, 2),
        (1.0, 1),
        (7.0, 3),
    ]


def test_a_point_is_taken_from_a_store_where_it_is_done(halves):
    whole = jc.concat(halves)
    Table(halves[0]).forget(0)  # a = 0.5, which the second store has as well
    xr.testing.assert_identical(jc.concat(halves).drop_attrs(), whole.drop_attrs())
    Table(halves[0]).forget(1)  # a = 3, which it has not
    partial = jc.concat(halves)
    assert np.array_equal(partial.done.all("b"), [True, True, True, False])
    assert np.isnan(partial.whole.sel(a=3.0)).all()
    xr.testing.assert_equal(partial.x.sel(a=[0.5, 1.0, 2.0]), whole.x.sel(a=[0.5, 1.0, 2.0]))


def test_one_store_is_itself(halves):
    xr.testing.assert_identical(jc.concat(halves[:1]).drop_attrs(), jc.open(halves[0]).drop_attrs())


def test_stores_of_other_sweeps_are_refused_and_the_difference_named(halves, tmp_path):
    others = {
        "key": stored(tmp_path / "key", key=jr.key(6), a=[9.0], b=[1]),
        "settings": stored(tmp_path / "size", experiment=lambda a, b, *, key, size=17: noise(a, b, key=key, size=size),
                           a=[9.0], b=[1]),
        "types": stored(tmp_path / "types", a=[9.0], b=[1.0]),
        "common_random_numbers": stored(tmp_path / "common", common_random_numbers=True, a=[9.0], b=[1]),
    }  # fmt: skip
    for name, other in others.items():
        with pytest.raises(ValueError, match=rf"stores: got .*first and .*, which differ in {name}.*expected stores"):
            jc.concat([*halves, other])


def test_what_is_no_list_of_stores_is_refused(halves, tmp_path):
    for wrong, said in (("runs/a", "got the single path runs/a"), ([], "got none")):
        with pytest.raises(ValueError, match=f"stores: {said}"):
            jc.concat(wrong)
    with pytest.raises(ValueError, match=r"store: got .*nothing, which is not there"):
        jc.concat([halves[0], tmp_path / "nothing"])


def test_damage_in_any_of_them_is_named(halves):
    (chunk,) = (file for file in (halves[1] / "x" / "c" / "1").rglob("*") if file.is_file())
    chunk.write_bytes(b"")
    with pytest.raises(ValueError, match=r"store: got .*second, whose x is damaged"):
        jc.concat(halves)
    assert opened(halves[1])
