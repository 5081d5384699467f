"""The programs against the plain passes: random networks, chosen ones, threads, memory, errors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import InputError
from tinyyolo3.layers.maxpool import maxpool_backward_reference
from tinyyolo3.network import specs
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import Parameters, cast_parameters
from tinyyolo3.testing.architectures import yolov3_tiny_config
from tinyyolo3.testing.memory import Side, can_guard, guarded_floats, run_in_child
from tinyyolo3.testing.networks import network_configs
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import propagation
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.cpu import CpuPropagation
from tinyyolo3.train.propagate import forward_training
from tinyyolo3.train.propagation import Propagation, ReferencePropagation
from tinyyolo3.train.step import Recipe, read_recipe

#: Two heads; a map with three readers; groups that fill blocks, that do not, and that are
#: channels; strides; a border of none; leaky with and without batch norm.
VARIED = """
[net]
width=28
height=20
channels=3
[convolutional]
batch_normalize=1
filters=32
size=3
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
batch_normalize=1
filters=64
groups=2
size=3
stride=2
pad=1
activation=relu
[convolutional]
filters=64
size=1
activation=leaky
[convolutional]
filters=64
groups=64
size=3
pad=1
batch_normalize=1
activation=leaky
[shortcut]
from=-3
activation=leaky
[convolutional]
filters=20
groups=4
size=5
pad=1
activation=selu
[convolutional]
filters=21
size=1
activation=linear
[yolo]
mask=0,1,2
classes=2
num=3
anchors=3,3, 8,6, 9,9
[route]
layers=-3
[upsample]
stride=2
[route]
layers=-1,1
groups=2
group_id=1
[maxpool]
size=3
stride=1
[convolutional]
filters=7
size=3
padding=0
activation=linear
[yolo]
mask=0
classes=2
num=1
anchors=3,3
"""
TINY = yolov3_tiny_config(64, 32)


@dataclass(frozen=True)
class Passes:
    """What a propagation gave for a mini-batch."""

    heads: Mapping[int, FloatArray]
    deltas: Parameters
    moments: Mapping[int, tuple[FloatArray, FloatArray, int]]


def recipe_of(cfg: str) -> Recipe:
    return read_recipe(build_graph(parse_config(cfg, "x.cfg")))


def mini_batch(
    recipe: Recipe, seed: int, images: int, dtype: type
) -> tuple[Parameters, FloatArray]:
    """Return random parameters and pictures: the same numbers whatever their dtype."""
    parameters = cast_parameters(random_weights(recipe.graph, seed), np.float32)
    shape = (images, *recipe.graph.input_shape)
    pictures = np.random.default_rng(seed).random(shape, np.float32)
    return cast_parameters(parameters, dtype), pictures.astype(dtype)


def run(propagation: Propagation, recipe: Recipe, seed: int, images: int, dtype: type) -> Passes:
    """Run a random mini-batch there and back."""
    heads = propagation.forward(*mini_batch(recipe, seed, images, dtype))
    rng = np.random.default_rng(seed)
    heads = {index: output.copy() for index, output in heads.items()}
    of_heads = {i: rng.standard_normal(x.shape, np.float32) for i, x in heads.items()}
    deltas = propagation.backward({i: x.astype(dtype) for i, x in of_heads.items()})
    kept = {i: {name: array.copy() for name, array in own.items()} for i, own in deltas.items()}
    return Passes(heads, kept, propagation.moments())


def check(recipe: Recipe, seed: int, images: int, found: Passes) -> None:
    """Hold numbers to the plain passes in float64, by what these lose in float32."""
    exact, rounded = (
        run(ReferencePropagation(recipe), recipe, seed, images, dtype)
        for dtype in (np.float64, np.float32)
    )
    for index, output in exact.heads.items():
        assert_near(found.heads[index], output, rounded.heads[index], f"head {index}")
    assert found.heads.keys() == exact.heads.keys()
    assert found.moments.keys() == exact.moments.keys()
    for index, (mean, variance, count) in exact.moments.items():
        assert found.moments[index][2] == count
        assert_near(found.moments[index][0], mean, rounded.moments[index][0], f"mean {index}")
        assert_near(
            found.moments[index][1], variance, rounded.moments[index][1], f"variance {index}"
        )
    assert found.deltas.keys() == exact.deltas.keys()
    for index, own in exact.deltas.items():
        assert found.deltas[index].keys() == own.keys()
        for name, array in own.items():
            plain = rounded.deltas[index][name]
            assert_near(found.deltas[index][name], array, plain, f"{name} of {index}")


def assert_near(found: FloatArray, exact: FloatArray, plain: FloatArray, what: str) -> None:
    assert found.dtype == np.float32
    assert found.shape == exact.shape
    error = float(np.abs(found - exact).max())
    bound = propagation(float(np.abs(exact).max()), float(np.abs(plain - exact).max()))
    assert error <= bound, (what, error, bound)


def maxima_are_clear(recipe: Recipe, seed: int, images: int) -> bool:
    """Return whether rounding could not make another number of a window the largest."""
    parameters, pictures = mini_batch(recipe, seed, images, np.float64)
    traces = forward_training(recipe.graph, parameters, pictures, frozen=recipe.frozen)
    for layer, trace in zip(recipe.graph.layers, traces, strict=True):
        if isinstance(layer, specs.Maxpool):
            x = trace.inputs[0]
            gradient = np.ones_like(trace.output)
            noise = np.random.default_rng(seed).standard_normal(x.shape) * np.abs(x).max() * 1e-5
            one, other = (
                maxpool_backward_reference(
                    gradient, each, size=layer.size, stride=layer.stride, padding=layer.padding
                )
                for each in (x, x + noise)
            )
            if not np.array_equal(one, other):
                return False
    return True


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(
    cfg=network_configs(trainable=True, max_blocks=6),
    seed=seeds(),
    images=st.integers(1, 3),
    threads=st.integers(1, 3),
    frozen=st.sampled_from([0, 0, 0, 2]),
    stop=st.sampled_from([0, 0, 0, 3]),
)
def test_random_networks_are_the_plain_passes(
    cfg: str, seed: int, images: int, threads: int, frozen: int, stop: int
) -> None:
    recipe = replace(recipe_of(cfg), frozen=frozen, stop=stop)
    assume(maxima_are_clear(recipe, seed, images))
    found = run(CpuPropagation(recipe, images, threads), recipe, seed, images, np.float32)
    check(recipe, seed, images, found)


@pytest.mark.parametrize(("frozen", "stop"), [(0, 0), (3, 0), (0, 4), (5, 2)])
def test_so_is_a_varied_one(frozen: int, stop: int) -> None:
    recipe = replace(recipe_of(VARIED), frozen=frozen, stop=stop)
    found = run(CpuPropagation(recipe, 2), recipe, 1, 2, np.float32)
    check(recipe, 1, 2, found)


def test_so_are_frozen_layers_that_have_no_way_back() -> None:
    cfg = """
    [net]
    width=16
    height=16
    [convolutional]
    batch_normalize=1
    filters=20
    size=3
    pad=1
    activation=leaky
    [dropout]
    probability=.5
    [shortcut]
    from=-2
    activation=linear
    [dropout]
    [reorg]
    stride=2
    [convolutional]
    filters=7
    [yolo]
    anchors=3,3
    classes=2
    """
    recipe = read_recipe(build_graph(parse_config(cfg, "x.cfg")), frozen=5)
    found = run(CpuPropagation(recipe, 2), recipe, 1, 2, np.float32)
    check(recipe, 1, 2, found)


def test_so_is_yolov3_tiny() -> None:
    recipe = recipe_of(TINY)
    found = run(CpuPropagation(recipe, 2), recipe, 1, 2, np.float32)
    check(recipe, 1, 2, found)


def test_neither_runs_nor_threads_change_a_bit() -> None:
    recipe = recipe_of(VARIED)
    one = CpuPropagation(recipe, 3, threads=1)
    first, again = (run(one, recipe, 2, 3, np.float32) for _ in range(2))
    others = [run(CpuPropagation(recipe, 3, n), recipe, 2, 3, np.float32) for n in (2, 5)]
    for other in (again, *others):
        for index, output in first.heads.items():
            np.testing.assert_array_equal(other.heads[index], output)
        for index, own in first.deltas.items():
            for name, array in own.items():
                np.testing.assert_array_equal(other.deltas[index][name], array)


def test_a_mini_batch_leaves_nothing_to_the_next() -> None:
    """Gradients start anew, and parameters are read anew."""
    recipe = recipe_of(VARIED)
    used = CpuPropagation(recipe, 2)
    run(used, recipe, 3, 2, np.float32)
    found = run(used, recipe, 4, 2, np.float32)
    wanted = run(CpuPropagation(recipe, 2), recipe, 4, 2, np.float32)
    for index, own in wanted.deltas.items():
        for name, array in own.items():
            np.testing.assert_array_equal(found.deltas[index][name], array)


def test_arrays_of_other_dtypes_and_strides_are_copied() -> None:
    recipe = recipe_of(TINY)
    parameters, pictures = mini_batch(recipe, 5, 1, np.float64)
    propagation = CpuPropagation(recipe, 1)
    wanted = {
        i: x.copy() for i, x in propagation.forward(*mini_batch(recipe, 5, 1, np.float32)).items()
    }
    flipped = np.ascontiguousarray(pictures[..., ::-1])[..., ::-1]
    found = propagation.forward(parameters, flipped)
    of_heads = {i: np.asfortranarray(np.ones_like(x)) for i, x in found.items()}
    propagation.backward(of_heads)
    for index, output in wanted.items():
        np.testing.assert_array_equal(found[index], output)


@pytest.mark.skipif(not can_guard(), reason="needs Linux's mprotect and fork")
@pytest.mark.parametrize("side", ["begin", "end"])
@pytest.mark.parametrize("cfg", [VARIED, TINY], ids=["varied", "tiny"])
def test_no_access_outside_and_nothing_unwritten(cfg: str, side: Side) -> None:
    """All memory lies between guard pages and begins as NaN."""
    recipe = recipe_of(cfg)
    wanted = run(CpuPropagation(recipe, 2), recipe, 6, 2, np.float32)

    def guarded() -> None:
        def allocate(size: int) -> FloatArray:
            return guarded_floats(-(-size // 64) * 16, side)

        propagation = CpuPropagation(recipe, 2, allocate=allocate)
        found = run(propagation, recipe, 6, 2, np.float32)
        for index, own in wanted.deltas.items():
            for name, array in own.items():
                np.testing.assert_array_equal(found.deltas[index][name], array)

    run_in_child(guarded)


def test_what_does_not_fit_is_refused() -> None:
    recipe = recipe_of(VARIED)
    with pytest.raises(InputError, match="at least one picture, not 0"):
        CpuPropagation(recipe, 0)
    with pytest.raises(InputError, match="threads must be a positive integer"):
        CpuPropagation(recipe, 1, threads=0)
    propagation = CpuPropagation(recipe, 2)
    with pytest.raises(InputError, match="a forward pass comes before"):
        propagation.backward({})
    parameters, pictures = mini_batch(recipe, 0, 3, np.float32)
    with pytest.raises(InputError, match=r"\(3, 3, 20, 28\) do not fit \(2, 3, 20, 28\)"):
        propagation.forward(parameters, pictures)
    heads = propagation.forward(parameters, pictures[:2])
    with pytest.raises(InputError, match="deltas of layer 8 have shape"):
        propagation.backward({index: x[:1] for index, x in heads.items()})


def test_one_value_has_no_variance() -> None:
    recipe = recipe_of(yolov3_tiny_config(32, 32))
    with pytest.raises(InputError, match="at least two numbers per channel, found 1"):
        CpuPropagation(recipe, 1)
