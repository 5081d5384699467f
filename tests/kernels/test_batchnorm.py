"""kernels/batchnorm.cu against the plain reference."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.maps import download_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.batchnorm import (
    batchnorm_divisor,
    batchnorm_forward_cuda,
    batchnorm_forward_reference,
    batchnorm_statistics_cuda,
    batchnorm_statistics_reference,
    batchnorm_statistics_workspace,
)
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import feature_maps, map_shapes, normal_map, seeds

#: Wider than a block's 32 channels now and then.
SHAPES = st.one_of(map_shapes(), map_shapes(max_channels=70, max_side=4))


def parameters(channels: int, seed: int) -> list[np.ndarray]:
    mean, spread, scales, biases = normal_map((4, channels), np.float32, seed)
    return [mean, spread**2, scales, biases]


@settings(max_examples=40, deadline=None)
@given(
    x=feature_maps(SHAPES, np.float32),
    seed=seeds(),
    epsilon=st.sampled_from([1e-5, 1e-6, 0.5]),
    inside=st.booleans(),
    margin=margins,
)
def test_the_kernel_normalises_as_the_reference(
    target: Target, x: np.ndarray, seed: int, epsilon: float, inside: bool, margin: int
) -> None:
    values = parameters(x.shape[1], seed)
    options = {"epsilon": epsilon, "epsilon_inside_root": inside}
    arrays = [target.upload(value) for value in values]

    def launch(source, out):
        batchnorm_forward_cuda(target, source, *arrays, out, **options)

    found = run_on_maps(target, launch, [x], x.shape, margin)
    double = [value.astype(np.float64) for value in values]
    expected = batchnorm_forward_reference(x.astype(np.float64), *double, **options)
    mean, variance, scales, biases = double
    factors = scales / batchnorm_divisor(variance, epsilon, inside)
    m, f, b = (np.abs(value)[:, None, None] for value in (mean, factors, biases))
    assert np.all(np.abs(found - expected) <= tolerances.summation(f * (np.abs(x) + m) + b, 2))


def test_a_map_can_be_normalised_in_place(target: Target) -> None:
    x = normal_map((2, 5, 9, 31), np.float32, 1)
    arrays = [target.upload(value) for value in parameters(5, 2)]
    launch = partial(batchnorm_forward_cuda, target)
    apart = run_on_maps(target, lambda a, b: launch(a, *arrays, b), [x], x.shape)
    here = upload_map(target, x)
    launch(here, *arrays, here)
    assert np.array_equal(download_map(target, here), apart)


def statistics(target: Target, x: np.ndarray, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    source = upload_map(target, x, x.shape[1] + margin)
    mean, variance = target.empty(source.channels), target.empty(source.channels)
    workspace = target.empty(batchnorm_statistics_workspace(source.pixels, source.channels))
    batchnorm_statistics_cuda(target, source, mean, variance, workspace)
    return target.download(mean), target.download(variance)


@settings(max_examples=30, deadline=None)
@given(
    x=feature_maps(SHAPES, np.float32).filter(lambda x: x[:, 0].size > 1),
    shift=st.sampled_from([0.0, 1.0, -300.0]),
    margin=margins,
)
def test_statistics_are_the_references(
    target: Target, x: np.ndarray, shift: float, margin: int
) -> None:
    x = np.ascontiguousarray(x + np.float32(shift))
    mean, variance = statistics(target, x, margin)
    expected_mean, expected_variance = batchnorm_statistics_reference(x.astype(np.float64))
    count = x[:, 0].size
    bound = tolerances.summation(np.abs(x).mean(axis=(0, 2, 3), dtype=np.float64), count)
    assert np.all(np.abs(mean - expected_mean) <= bound)
    bound = tolerances.variance(expected_mean, expected_variance, count)
    assert np.all(np.abs(variance - expected_variance) <= bound)


def test_statistics_of_many_slabs_have_the_same_bits_in_every_run(target: Target) -> None:
    x = normal_map((2, 3, 61, 67), np.float32, 1)
    first, second = statistics(target, x), statistics(target, x)
    assert batchnorm_statistics_workspace(2 * 61 * 67, 3) // 9 > 20
    assert np.array_equal(first, second)
    bound = tolerances.variance(*batchnorm_statistics_reference(x.astype(np.float64)), 2 * 61 * 67)
    assert np.all(np.abs(first[1] - x.var(axis=(0, 2, 3), dtype=np.float64, ddof=1)) <= bound)


def test_darknet_divides_the_variance_by_one_less_than_the_count() -> None:
    x = np.array([1.0, 2.0, 3.0, 6.0], np.float32).reshape(2, 1, 1, 2)
    mean, variance = batchnorm_statistics_reference(x)
    assert (mean.item(), variance.item()) == (3.0, np.float32(14 / 3))


def test_one_number_has_no_variance(target: Target) -> None:
    x = np.ones((1, 3, 1, 1), np.float32)
    with pytest.raises(InputError, match="at least two numbers per channel, found 1"):
        batchnorm_statistics_reference(x)
    with pytest.raises(InputError, match="at least two numbers per channel, found 1"):
        statistics(target, x)
