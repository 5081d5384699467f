"""The update of one array against its formula and against plain momentum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64
from tinyyolo3.train import sgd
from tinyyolo3.train.options import TrainingOptions
from tinyyolo3.train.schedule import Schedule
from tinyyolo3.train.sgd import update_numba, update_reference

OPTIONS = TrainingOptions(
    mini_batch=2, subdivisions=2, momentum=0.5, decay=0.25, schedule=Schedule("constant", 1.0)
)


def test_weights_decay_by_the_whole_batch_and_momentum_keeps_it():
    weights, deltas = np.array([1.0, -2.0]), np.array([4.0, 8.0])
    new, kept = update_reference(weights, deltas, rate=0.1, options=OPTIONS, decays=True)
    np.testing.assert_allclose(kept, [0.5 * (4 - 1), 0.5 * (8 + 2)], rtol=ELEMENTARY_FLOAT64)
    np.testing.assert_allclose(new, [1 + 0.1 / 4 * 3, -2 + 0.1 / 4 * 10], rtol=ELEMENTARY_FLOAT64)
    np.testing.assert_array_equal(weights, [1.0, -2.0])
    np.testing.assert_array_equal(deltas, [4.0, 8.0])


def test_biases_do_not_decay():
    new, kept = update_reference(np.ones(1), np.ones(1), rate=0.4, options=OPTIONS, decays=False)
    assert (new, kept) == (1 + 0.1, 0.5)


def test_it_is_momentum_on_the_mean_gradient():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(5)
    other, velocity, buffer = weights.copy(), np.zeros(5), np.zeros(5)
    for rate in (0.1, 0.1, 0.02):
        gradients = rng.standard_normal((4, 5))  # of each picture
        deltas = buffer - gradients.sum(axis=0)
        weights, buffer = update_reference(weights, deltas, rate=rate, options=OPTIONS, decays=True)
        velocity = 0.5 * velocity + gradients.mean(axis=0) + 0.25 * other
        other = other - rate * velocity
        np.testing.assert_allclose(weights, other, rtol=ELEMENTARY_FLOAT64)


def test_float32_stays_float32():
    arrays = np.ones(3, np.float32), np.ones(3, np.float32)
    for found in update_reference(*arrays, rate=0.1, options=OPTIONS, decays=True):
        assert found.dtype == np.float32


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(1, 70),
    dtype=st.sampled_from([np.float32, np.float64]),
    decays=st.booleans(),
    rate=st.floats(0, 10),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_loop_gives_the_formulas_bits_in_place(size, dtype, decays, rate, threads, seed):
    rng = np.random.default_rng(seed)
    array, deltas = (rng.standard_normal((size, 3)).astype(dtype) for _ in range(2))
    wanted = update_reference(array, deltas, rate=rate, options=OPTIONS, decays=decays)
    with pytest.MonkeyPatch.context() as patch, thread_limit(threads):
        patch.setattr(sgd, "GRAIN", 5)
        update_numba(array, deltas, rate=rate, options=OPTIONS, decays=decays)
    np.testing.assert_array_equal(array, wanted[0])
    np.testing.assert_array_equal(deltas, wanted[1])


def test_arrays_that_cannot_be_changed_in_place_are_refused():
    options = {"rate": 1.0, "options": OPTIONS, "decays": True}
    with pytest.raises(InputError, match="must be C-contiguous"):
        update_numba(np.zeros((4, 6))[:, ::2], np.zeros((4, 3)), **options)
    with pytest.raises(InputError, match=r"float64 of shape \(4,\) and float64 of shape \(2,\)"):
        update_numba(np.zeros(4), np.zeros(2), **options)
