"""The runs that compiled loops work on: contiguous, complete, and copied only when they must be."""

import numpy as np
import pytest
from hypothesis import given, settings

from tinyyolo3.layers.arguments import items_per_thread, plane_runs
from tinyyolo3.testing.strategies import LAYOUTS, feature_maps, guarded_output, normal_map


@settings(max_examples=40, deadline=None)
@given(x=feature_maps())
def test_runs_are_contiguous_planes_that_cover_the_maps_in_order(x):
    guarded = guarded_output(x.shape, x.dtype)
    for runs in plane_runs(guarded.view, x):
        for run in runs:
            assert run.flags.c_contiguous
            assert run.shape[1] == x.shape[2] * x.shape[3]
        runs[0][:] = runs[1]
    np.testing.assert_array_equal(guarded.view, x)
    assert guarded.surroundings_are_intact()


@pytest.mark.parametrize("layout", ["contiguous", "channel slice"])
def test_contiguous_images_are_not_copied(layout):
    x = LAYOUTS[layout](normal_map((3, 4, 5, 6), np.float32, seed=1))
    for (run,) in plane_runs(x):
        assert np.shares_memory(run, x)


def test_a_contiguous_map_is_one_run_and_a_channel_slice_one_for_each_image():
    x = normal_map((3, 4, 5, 6), np.float32, seed=2)
    assert len(list(plane_runs(x))) == 1
    assert len(list(plane_runs(LAYOUTS["channel slice"](x)))) == 3


def test_strange_layouts_are_written_back():
    out = LAYOUTS["channels last"](np.zeros((2, 3, 4, 5), np.float32))
    for (run,) in plane_runs(out):
        run[:] = 7
    assert np.all(out == 7)


def test_a_batch_of_no_images_has_nothing_to_run():
    assert sum(run.size for (run,) in plane_runs(np.zeros((0, 3, 4, 5), np.float32))) == 0


def test_items_per_thread_is_at_least_one():
    assert items_per_thread(100, 10) == 10
    assert items_per_thread(100, 1000) == 1
    assert items_per_thread(100, 0) == 100
