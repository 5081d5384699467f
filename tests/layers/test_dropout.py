"""Dropout at inference passes its input on."""

import numpy as np
import pytest
from hypothesis import given, settings

from tinyyolo3.errors import InputError
from tinyyolo3.layers.dropout import dropout_forward_reference
from tinyyolo3.testing.strategies import assert_honours_out, feature_maps


@settings(max_examples=25, deadline=None)
@given(x=feature_maps())
def test_is_the_identity_and_honours_out(x):
    assert dropout_forward_reference(x) is x
    np.testing.assert_array_equal(dropout_forward_reference(x, out=np.zeros_like(x)), x)
    assert_honours_out(lambda out: dropout_forward_reference(x, out=out))


def test_a_wrong_shape_is_refused():
    with pytest.raises(InputError, match=r"dropout: x must be a feature map"):
        dropout_forward_reference(np.zeros((2, 3), np.float32))
