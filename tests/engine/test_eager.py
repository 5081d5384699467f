"""The eager engine: what runs, what is kept, and that nothing is shared that should not be."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tinyyolo3.backends.cpu import CPU
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.backends.table import Backend, check_backend, needed_operations
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.engine.eager import run_graph
from tinyyolo3.engine.network import Network
from tinyyolo3.errors import BackendError, ConfigError, InputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import Parameters, cast_parameters
from tinyyolo3.network.specs import Yolo
from tinyyolo3.parallel import thread_limit

SeededWeights = Callable[[str], Parameters]


@pytest.fixture(scope="module")
def network(tiny_cfg: str, seeded_weights: SeededWeights) -> Network:
    graph = build_graph(parse_config(tiny_cfg, "tiny.cfg"))
    return Network(graph, seeded_weights(tiny_cfg), CPU, folded=False)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).random((2, 3, 32, 32), np.float32)


def counting(backend: Backend, calls: list[str]) -> Backend:
    """Return the backend with every call's operation noted in `calls`."""

    def note(operation: str) -> object:
        def call(*args: object, **options: object) -> object:
            calls.append(operation)
            return backend.functions[operation](*args, **options)

        return call

    return Backend(backend.name, {name: note(name) for name in backend.functions})


def test_forward_returns_the_heads_logits_in_order(network: Network, x: np.ndarray) -> None:
    logits = network.forward(x)
    heads = network.graph.heads
    assert [a.shape for a in logits] == [(2, *head.input_shapes[0]) for head in heads]
    every = network.outputs(x)
    for head, array in zip(heads, logits, strict=True):
        np.testing.assert_array_equal(array, every[head.inputs[0]])


def test_only_what_is_wanted_runs(network: Network, x: np.ndarray) -> None:
    calls: list[str] = []
    counted = replace(network, backend=counting(CPU, calls))
    counted.forward(x)
    assert "yolo" not in calls
    calls.clear()
    counted.outputs(x, [0])
    assert calls == ["convolution", "batchnorm", "activation"]


def test_every_layers_output_has_its_specs_shape(network: Network, x: np.ndarray) -> None:
    every = network.outputs(x)
    assert list(every) == list(range(len(network.layers)))
    for layer in network.layers:
        assert every[layer.index].shape == (2, *layer.output_shape)


def test_outputs_asked_for_one_by_one_equal_those_of_a_full_run(
    network: Network, x: np.ndarray
) -> None:
    every = network.outputs(x)
    for index in every:
        np.testing.assert_array_equal(network.outputs(x, [index])[index], every[index])


def test_running_leaves_input_and_parameters_alone(network: Network, x: np.ndarray) -> None:
    before = x.copy()
    arrays = [a.copy() for own in network.parameters.values() for a in own.values()]
    network.outputs(x)
    np.testing.assert_array_equal(x, before)
    after = [a for own in network.parameters.values() for a in own.values()]
    for old, new in zip(arrays, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_batch_is_its_images_one_by_one(network: Network, x: np.ndarray) -> None:
    together = network.forward(x)
    for image in range(len(x)):
        alone = network.forward(x[image : image + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[image : image + 1], b)


def test_threads_and_other_sizes_in_between_change_nothing(network: Network) -> None:
    rng = np.random.default_rng(1)
    inputs = [rng.random((1, 3, 32, 32), np.float32), rng.random((1, 3, 64, 32), np.float32)] * 8
    expected = [network.forward(a) for a in inputs]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(network.forward, inputs), expected, strict=True):
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_number_of_threads_changes_nothing(network: Network, x: np.ndarray) -> None:
    expected = network.forward(x)
    for threads in (1, 3):
        with thread_limit(threads):
            for a, b in zip(network.forward(x), expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_another_size_gives_other_maps_from_the_same_arrays(network: Network) -> None:
    wide = network.resized(96, 64)
    assert wide.graph.input_shape == (3, 64, 96)
    assert wide.parameters is network.parameters
    assert network.resized(32, 32) is network
    with pytest.raises(ConfigError, match=r"tiny.cfg:\d+ \[route\].*network input 36x36"):
        network.resized(36, 36)


def test_an_activated_head_is_darknets_output(network: Network, x: np.ndarray) -> None:
    head = next(layer for layer in network.layers if isinstance(layer, Yolo))
    found = network.outputs(x, [head.index, head.inputs[0]])
    logits, activated = found[head.inputs[0]], found[head.index]
    np.testing.assert_allclose(activated[:, 4], 1 / (1 + np.exp(-logits[:, 4])), rtol=1e-6)
    np.testing.assert_array_equal(activated[:, 2:4], logits[:, 2:4])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((1, 3, 32, 32), np.uint8), "uint8"),
        (np.zeros((3, 32, 32), np.float32), r"\(3, 32, 32\)"),
        (np.zeros((1, 1, 32, 32), np.float32), r"\(1, 1, 32, 32\)"),
        (np.zeros((0, 3, 32, 32), np.float32), r"\(0, 3, 32, 32\)"),
        ("x", "str"),
    ],
)
def test_a_wrong_input_is_refused(network: Network, bad: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        network.forward(bad)


def test_a_batch_beyond_reason_is_refused_before_it_is_allocated(network: Network) -> None:
    pixel = np.zeros((1, 1, 1, 1), np.float32)
    batch = np.broadcast_to(pixel, (2**21, 3, 32, 32))
    with pytest.raises(InputError, match=r"layer 0 \[convolutional\].*use smaller batches"):
        network.forward(batch)


def test_a_layer_that_does_not_exist_is_refused(network: Network, x: np.ndarray) -> None:
    with pytest.raises(InputError, match="layer 99 does not exist"):
        network.outputs(x, [99])
    last = network.outputs(x, [-1])
    assert list(last) == [len(network.layers) - 1]


@pytest.mark.parametrize("backend", [CPU, REFERENCE], ids=lambda b: b.name)
def test_a_backend_without_an_operation_is_refused_by_name(
    backend: Backend, network: Network
) -> None:
    graph = network.graph
    check_backend(backend, graph)
    needed = {operation for layer in graph.layers for operation in needed_operations(layer)}
    for operation in needed:
        functions = {k: v for k, v in backend.functions.items() if k != operation}
        with pytest.raises(BackendError, match=rf"tiny.cfg:\d+ .*no {operation}"):
            check_backend(Backend(backend.name, functions), graph)


def test_both_tables_serve_the_same_operations() -> None:
    assert CPU.functions.keys() == REFERENCE.functions.keys()


def test_the_reference_keeps_float64(network: Network, x: np.ndarray) -> None:
    wide = cast_parameters(network.parameters, np.float64)
    wanted = range(len(network.layers))
    found = run_graph(network.graph, wide, REFERENCE, x.astype(np.float64), wanted)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float64)}
