"""Averages of parameters: how much they keep, and the compiled loop against the formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.parallel import thread_limit
from tinyyolo3.train import averaging
from tinyyolo3.train.averaging import average_decay, average_numba, average_reference


def test_the_first_updates_count_for_much() -> None:
    assert average_decay(0.99, 1) == 2 / 11
    assert average_decay(0.999, 990) == 991 / 1000
    assert average_decay(0.99, 892) == 0.99


def test_an_average_of_one_value_is_that_value() -> None:
    average = np.zeros(3)
    for updates in range(1, 200):
        average = average_reference(average, np.full(3, 5.0), average_decay(0.9, updates))
    assert average == pytest.approx([5.0] * 3, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(1, 70),
    dtype=st.sampled_from([np.float32, np.float64]),
    decay=st.floats(0, 1),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_loop_gives_the_formulas_bits(size, dtype, decay, threads, seed) -> None:
    rng = np.random.default_rng(seed)
    average, array = (rng.standard_normal((size, 3)).astype(dtype) for _ in range(2))
    wanted = average_reference(average, array, decay)
    with pytest.MonkeyPatch.context() as patch, thread_limit(threads):
        patch.setattr(averaging, "GRAIN", 5)
        average_numba(average, array, decay)
    np.testing.assert_array_equal(average, wanted)


def test_arrays_that_cannot_be_changed_in_place_are_refused() -> None:
    whole = np.zeros((4, 6))
    with pytest.raises(InputError, match="must be C-contiguous"):
        average_numba(whole[:, ::2], np.zeros((4, 3)), 0.5)
    with pytest.raises(InputError, match=r"float64 of shape \(4, 6\) and float32 of shape \(2,\)"):
        average_numba(whole, np.zeros(2, np.float32), 0.5)
