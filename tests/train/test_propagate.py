"""Gradients through whole networks in float64, against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest

from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.engine.eager import run_graph
from tinyyolo3.errors import ConfigError, InputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import RUNNING_STATISTICS, Parameters, cast_parameters
from tinyyolo3.network.parity import FLAVOURS
from tinyyolo3.testing.tolerances import FOLDED_FLOAT64, GRADIENT
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.propagate import (
    TRAINABLE,
    backward_training,
    check_trainable,
    forward_training,
)

NET = "[net]\nwidth=8\nheight=6\nchannels=2"
#: Layer 0 is read by three others, one of which has groups.
BRANCHES = """
[convolutional]
filters=4
size=3
pad=1
batch_normalize=1
activation=mish

[convolutional]
filters=4
size=3
pad=1
groups=2
activation=tanh

[shortcut]
from=-2
activation=swish

[maxpool]
size=2
stride=2

[convolutional]
filters=6
size=1
batch_normalize=1
activation=leaky

[upsample]
stride=2

[route]
layers=-1,0
groups=2
group_id=1

[convolutional]
filters=14
size=1
activation=linear

[yolo]
classes=2
num=2
anchors=2,2, 4,3

[route]
layers=4

[convolutional]
filters=7
size=1
activation=logistic

[yolo]
classes=2
num=1
anchors=2,2
"""
#: A gate of a number per channel, a softmax over it and a connected layer at the end.
GATES = """
[convolutional]
filters=4
size=3
stride=2
pad=1
activation=elu

[avgpool]

[convolutional]
filters=4
size=1
activation=logistic

[softmax]
groups=2
temperature=2

[scale_channels]
from=-4
activation=tanh

[connected]
output=7
batch_normalize=1
activation=linear

[yolo]
classes=2
num=1
anchors=2,2
"""
#: Factors of a shortcut between maps of unequal channels, which pjreddie's build knows.
FACTORS = """
[convolutional]
filters=5
size=1
activation=tanh

[convolutional]
filters=7
size=1
activation=linear

[shortcut]
from=-2
alpha=.5
beta=2
activation=logistic

[yolo]
classes=2
num=1
anchors=2,2
"""
UNREAD = "[convolutional]\nfilters=3\nsize=1\nactivation=linear\n[route]\nlayers=0"


def build(*sections: str, parity: str = "alexeyab") -> Graph:
    config = parse_config("\n".join([NET, *sections]), "x.cfg")
    return build_graph(config, parity=FLAVOURS[parity])


def start(graph: Graph) -> tuple[Parameters, np.ndarray]:
    parameters = cast_parameters(random_weights(graph, 0), np.float64)
    return parameters, np.random.default_rng(1).standard_normal((3, *graph.input_shape))


def head_inputs(graph: Graph, traces: list) -> dict[int, np.ndarray]:
    return {head.index: traces[head.index].inputs[0] for head in graph.heads}


@pytest.mark.parametrize(
    ("sections", "parity"),
    [(BRANCHES, "alexeyab"), (GATES, "alexeyab"), (FACTORS, "pjreddie")],
    ids=["branches", "gates", "factors"],
)
def test_gradients_of_every_parameter_are_finite_differences(sections: str, parity: str) -> None:
    graph = build(sections, parity=parity)
    parameters, x = start(graph)
    rng = np.random.default_rng(2)
    traces = forward_training(graph, parameters, x)
    # The loss is a sum of weighted head inputs and their squares.
    weight = {i: rng.standard_normal(a.shape) for i, a in head_inputs(graph, traces).items()}

    def loss(own: Parameters) -> float:
        maps = head_inputs(graph, forward_training(graph, own, x))
        return float(sum((weight[i] * (a + a**2 / 2)).sum() for i, a in maps.items()))

    upstream = {i: weight[i] * (1 + a) for i, a in head_inputs(graph, traces).items()}
    found = backward_training(graph, parameters, traces, upstream)
    for index, own in parameters.items():
        assert found[index].keys() == own.keys() - set(RUNNING_STATISTICS)
        for name, gradient in found[index].items():
            direction = rng.standard_normal(gradient.shape)
            numeric = derivative(loss, parameters, index, name, direction)
            scale = np.abs(gradient).max() * np.sqrt(gradient.size)
            assert abs((gradient * direction).sum() - numeric) <= GRADIENT * max(scale, 1), (
                index,
                name,
            )


def derivative(
    loss: Callable[[Parameters], float],
    parameters: Parameters,
    index: int,
    name: str,
    direction: np.ndarray,
    step: float = 1e-6,
) -> float:
    ends = [
        loss({**parameters, index: {**parameters[index], name: parameters[index][name] + move}})
        for move in (step * direction, -step * direction)
    ]
    return (ends[0] - ends[1]) / (2 * step)


def test_training_and_inference_differ_only_by_the_moments() -> None:
    graph = build(BRANCHES)
    parameters, x = start(graph)
    traces = forward_training(graph, parameters, x)
    settled = dict(parameters)
    for index, trace in enumerate(traces):
        if trace.moments is not None:
            own = {"mean": trace.moments.mean, "variance": trace.moments.variance}
            settled[index] = {**parameters[index], **own}
    wanted = run_graph(graph, settled, REFERENCE, x, range(len(graph.layers)))
    for index, trace in enumerate(traces):
        largest = np.abs(wanted[index]).max()
        assert np.abs(trace.output - wanted[index]).max() <= FOLDED_FLOAT64 * max(1, largest)


def test_a_layer_that_no_head_depends_on_has_no_gradient() -> None:
    head = "[yolo]\nclasses=2\nanchors=2,2"
    graph = build("[convolutional]\nfilters=7\nactivation=linear", UNREAD, head)
    parameters, x = start(graph)
    traces = forward_training(graph, parameters, x)
    found = backward_training(graph, parameters, traces, {3: np.ones_like(traces[3].output)})
    assert found.keys() == {0}


def test_every_trainable_kind_is_in_these_networks() -> None:
    kinds = {layer.kind for sections in (BRANCHES, GATES) for layer in build(sections).layers}
    assert kinds == TRAINABLE


@pytest.mark.parametrize(
    ("section", "kind"), [("[dropout]\nprobability=.5", "dropout"), ("[reorg]\nstride=2", "reorg")]
)
def test_a_layer_without_a_backward_is_named_with_its_line(section: str, kind: str) -> None:
    graph = build("[convolutional]\nfilters=4", section)
    with pytest.raises(ConfigError, match=rf"x.cfg:7 \[{kind}\] .*no backward pass"):
        check_trainable(graph)


def test_a_frozen_layer_needs_no_backward() -> None:
    head = "[convolutional]\nfilters=7\n[yolo]\nclasses=2\nanchors=2,2"
    graph = build("[convolutional]\nfilters=4", "[dropout]", head)
    check_trainable(graph, frozen=2)
    with pytest.raises(ConfigError, match="dropout"):
        check_trainable(graph, frozen=1)
    parameters, x = start(graph)
    traces = forward_training(graph, parameters, x, frozen=2)
    gradients = {3: np.ones_like(traces[3].output)}
    assert backward_training(graph, parameters, traces, gradients, first=2).keys() == {2}


def test_so_it_is_by_who_does_not_check() -> None:
    head = "[convolutional]\nfilters=7\n[yolo]\nclasses=2\nanchors=2,2"
    graph = build("[convolutional]\nfilters=4", "[dropout]", head)
    parameters, x = start(graph)
    traces = forward_training(graph, parameters, x)
    with pytest.raises(InputError, match=r"layer 1 \[dropout\] has no backward pass"):
        backward_training(graph, parameters, traces, {3: traces[3].output})


def test_a_network_without_a_head_cannot_be_trained() -> None:
    with pytest.raises(ConfigError, match=r"x.cfg: cannot be trained: it has no \[yolo\]"):
        check_trainable(build("[convolutional]\nfilters=4"))
