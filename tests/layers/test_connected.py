"""Connected: the matrix product against exactly rounded sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.connected import connected_forward_reference
from tinyyolo3.testing.oracles import connected_oracle
from tinyyolo3.testing.strategies import (
    assert_honours_out,
    feature_maps,
    map_shapes,
    normal_map,
    seeds,
)
from tinyyolo3.testing.tolerances import summation


@st.composite
def products(draw):
    x = draw(feature_maps(map_shapes(max_channels=4, max_side=5)))
    outputs = draw(st.integers(1, 5))
    weights = normal_map((outputs, x[0].size), x.dtype.type, draw(seeds()))
    return x, weights, normal_map((outputs,), x.dtype.type, draw(seeds()))


def bound(x, weights, biases):
    magnitude = connected_oracle(np.abs(x), np.abs(weights), np.abs(biases))
    return summation(magnitude, weights.shape[1] + 1, x.dtype)


@settings(max_examples=40, deadline=None)
@given(product=products())
def test_agrees_with_the_oracle_on_any_layout(product):
    actual = connected_forward_reference(*product)
    assert actual.dtype == product[0].dtype
    assert actual.shape == (len(product[0]), len(product[2]), 1, 1)
    assert np.all(np.abs(actual - connected_oracle(*product)) <= bound(*product))


@settings(max_examples=25, deadline=None)
@given(product=products())
def test_out_and_its_surroundings(product):
    assert_honours_out(lambda out: connected_forward_reference(*product, out=out))


def test_darknet_flattens_channel_then_row_then_column():
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    weights = np.zeros((2, 8), np.float32)
    weights[0, 5] = weights[1, 2] = 1
    actual = connected_forward_reference(x, weights, np.array([100, 0], np.float32))
    np.testing.assert_array_equal(actual.ravel(), [105, 2])


def test_parameters_that_do_not_fit_are_refused():
    x = np.zeros((1, 2, 2, 2), np.float32)
    weights, biases = np.zeros((3, 8), np.float32), np.zeros(3, np.float32)
    with pytest.raises(InputError, match=r"weights must be \(outputs, 8\).*not \(3, 7\)"):
        connected_forward_reference(x, weights[:, :7], biases)
    with pytest.raises(InputError, match=r"not \(3, 8\) and \(2,\)"):
        connected_forward_reference(x, weights, biases[:2])
    with pytest.raises(InputError, match="must be float32 like x, not float64"):
        connected_forward_reference(x, weights.astype(np.float64), biases)


def test_agrees_with_torch():
    torch = pytest.importorskip("torch")
    x = normal_map((3, 4, 5, 6), np.float32, seed=1)
    weights, biases = normal_map((7, 120), np.float32, 2), normal_map((7,), np.float32, 3)
    t = [torch.from_numpy(a) for a in (x.reshape(3, -1), weights, biases)]
    expected = torch.nn.functional.linear(*t).numpy().reshape(3, 7, 1, 1)
    actual = connected_forward_reference(x, weights, biases)
    assert np.all(np.abs(actual - expected) <= bound(x, weights, biases))
