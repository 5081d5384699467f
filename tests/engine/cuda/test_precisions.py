"""The engine on tensor cores, in fp16 and tf32: against plain NumPy in float64, and overflows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda import convolutions
from tinyyolo3.engine.cuda.choose import map_layout, plan_network
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.engine.cuda.overflow import check_overflow
from tinyyolo3.errors import BackendError, InputError
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    PRECISIONS,
    STREAM_K_INSTANCES,
    Precision,
)
from tinyyolo3.layers.convolution.cuda_tensor import TensorTile
from tinyyolo3.loading import load_on
from tinyyolo3.testing.deferred import DeferredTarget
from tinyyolo3.testing.engines import Case, make_case
from tinyyolo3.testing.networks import network_configs
from tinyyolo3.testing.plans import check_plan
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import network_half

precisions = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)


def check_layers(case: Case, wanted: Sequence[int], found: Sequence[FloatArray]) -> None:
    """Compare layers' outputs with plain NumPy's in float64."""
    exact = case.exact()
    largest = 0.0
    bounds = []
    for layer in case.graph.layers:
        largest = max(largest, float(np.abs(exact[layer.index]).max()))
        bounds.append(network_half(largest, layer.index + 1))
    for index, array in zip(wanted, found, strict=True):
        assert array.shape == exact[index].shape
        difference = float(np.abs(array - exact[index]).max())
        where = f"layer {index} [{case.graph.layers[index].kind}]"
        assert difference <= bounds[index], f"{where}: {difference:.3g} > {bounds[index]:.3g}"


def check_network(
    target: Target, case: Case, precision: Precision, wanted: Sequence[int] | None = None
) -> None:
    """Check a network's plan and its outputs, or those of some layers."""
    engine = CudaEngine(target, case.parameters, precision.name)
    if wanted is None:
        layers = case.graph.output_indices
        check_layers(case, layers, engine.forward(case.graph, case.x))
    else:
        layers = tuple(sorted(set(wanted)))
        found = engine.outputs(case.graph, case.x, layers)
        check_layers(case, layers, [found[index] for index in layers])
    images = len(case.x)
    plan = plan_network(case.graph, images, layers, precision)
    check_plan(case.graph, plan, map_layout(images, precision))


@settings(max_examples=12, deadline=None)
@given(
    cfg=network_configs(wide=True, max_blocks=4),
    images=st.integers(1, 3),
    seed=seeds(),
    precision=st.sampled_from([*PRECISIONS.values()]),
    wanted=st.one_of(st.none(), st.lists(st.integers(0, 99), min_size=1, max_size=4)),
)
def test_a_random_network_equals_the_reference(
    target: Target,
    cfg: str,
    images: int,
    seed: int,
    precision: Precision,
    wanted: list[int] | None,
) -> None:
    case = make_case(cfg, seed, images)
    layers = None if wanted is None else [index % len(case.graph.layers) for index in wanted]
    check_network(target, case, precision, layers)


@precisions
def test_every_layer_of_a_varied_network(
    target: Target, varied_cfg: str, precision: Precision
) -> None:
    case = make_case(varied_cfg.format(width=40, height=24), seed=3, images=2)
    check_network(target, case, precision)
    check_network(target, case, precision, range(len(case.graph.layers)))


#: A head after what a convolution has not written alone: a route's map, which others read too.
HEADS = """
[net]
width=16
height=16
channels=3
[convolutional]
filters=7
size=3
pad=1
activation=leaky
[convolutional]
filters=7
size=1
activation=linear
[route]
layers=-1,-2
[yolo]
mask=0,1
anchors=4,6, 8,8
classes=2
num=2
[route]
layers=1,3
[convolutional]
filters=14
size=3
pad=1
activation=linear
[yolo]
mask=0,1
anchors=4,6, 8,8
classes=2
num=2
[convolutional]
filters=5
size=1
activation=linear
[shortcut]
from=-4
activation=linear
"""


def test_heads_read_floats_wherever_they_come_from(target: Target) -> None:
    """Also what is read by others, or a head's own output, which a later layer reads."""
    case = make_case(HEADS, seed=2, images=2)
    check_network(target, case, FP16)
    check_network(target, case, FP16, range(len(case.graph.layers)))


def test_logits_are_not_rounded(quick_target: Target, varied_cfg: str) -> None:
    case = make_case(varied_cfg.format(width=40, height=24), seed=3)
    engine = CudaEngine(quick_target, case.parameters, "fp16")
    program = engine.program(quick_target, case.graph, 1)
    assert {x.data.dtype for x in program.outputs} == {np.dtype(np.float32)}
    assert program.input.data.dtype == np.float16
    logits = np.concatenate([y.ravel() for y in engine.forward(case.graph, case.x)])
    assert (logits != logits.astype(np.float16)).mean() > 0.9


@precisions
def test_results_are_the_same_from_run_to_run(varied_cfg: str, precision: Precision) -> None:
    """Also where work is done as late as a GPU does it."""
    case = make_case(varied_cfg.format(width=48, height=32), seed=5, images=3)
    host = HostTarget("fast")
    engines = [CudaEngine(t, case.parameters, precision.name) for t in (host, DeferredTarget(host))]
    expected = engines[0].forward(case.graph, case.x)
    for engine in (*engines, *engines):
        for one, other in zip(engine.forward(case.graph, case.x), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_network_whose_slices_are_dealt_out_evenly(
    quick_target: Target, varied_cfg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All convolutions share one workspace, with tiles and numbers of blocks of their own."""
    asked: set[str] = set()

    def choose(problem: Problem, precision: Precision, gpu: Gpu) -> TensorTile:
        assert gpu.multiprocessors
        tile = STREAM_K_INSTANCES[problem.filters % 3]
        asked.add(tile.instance(precision, np.empty(0), "leaky"))
        return replace(tile, blocks=3 + problem.filters % 7)

    monkeypatch.setattr(convolutions, "choose_tensor_tile", choose)
    case = make_case(varied_cfg.format(width=40, height=24), seed=3, images=2)
    check_network(quick_target, case, FP16)
    assert len(asked) > 1


def test_a_gpu_without_tensor_cores_for_it_is_refused() -> None:
    @dataclass
    class Turing:
        name: str = "Tesla T4"
        architecture: str = "sm_75"

    target = HostTarget("fast")
    target.gpu = Turing()  # type: ignore[attr-defined]
    message = r'precision="tf32" needs tensor cores of sm_80 or later; Tesla T4 is sm_75'
    with pytest.raises(BackendError, match=message):
        CudaEngine(target, {}, "tf32")
    CudaEngine(target, {}, "fp16")


def test_what_a_target_cannot_load_is_refused(tiny_model: Any) -> None:
    files = tiny_model.cfg, tiny_model.weights
    with pytest.raises(BackendError, match=r'^precision="fp16" needs fold=True$'):
        load_on(HostTarget("fast"), *files, precision="fp16", fold=False)
    with pytest.raises(InputError, match="a target of kernels knows no precision 'bf16'"):
        load_on(HostTarget("fast"), *files, precision="bf16")


#: Two convolutions, and after them what could make an infinity of one channel finite again.
CHAIN = """
[net]
width=16
height=16
channels=3
[convolutional]
filters=8
size=3
pad=1
activation=leaky
[convolutional]
filters=8
size=1
activation=linear
{section}
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,6, 8,8
classes=2
num=2
"""

SQUASH = "[convolutional]\nfilters=8\nsize=1\nactivation="
SECTIONS = {
    "nothing": "",
    "tensor cores": f"{SQUASH}relu6",
    "depthwise": f"{SQUASH}logistic\ngroups=8",
    "grouped": f"{SQUASH}relu6\ngroups=2",
    "gate": f"[avgpool]\n{SQUASH}logistic\n[scale_channels]\nfrom=0\nactivation=linear",
    "scale": "[avgpool]\n[scale_channels]\nfrom=0\nactivation=logistic",
    "connected": "[avgpool]\n[connected]\noutput=8\nactivation=relu6",
    "shortcut": "[shortcut]\nfrom=0\nactivation=relu6",
    "sam": f"{SQUASH}logistic\n[sam]\nfrom=0\nactivation=linear",
    "sam activated": "[sam]\nfrom=0\nactivation=logistic",
    "maxpool": "[maxpool]\nsize=2\nstride=2",
    "upsample": "[upsample]\nstride=2",
    "reorg": "[reorg]\nstride=2",
    "route": "[route]\nlayers=-1,0",
}


def changed(case: Case, index: int, name: str, change: Callable[[FloatArray], None]) -> Case:
    """Return the network with other weights or biases of a layer."""
    own = {key: array.copy() for key, array in case.parameters[index].items()}
    change(own[name])
    return replace(case, parameters={**case.parameters, index: own})


def overflowing(biases: FloatArray) -> None:
    """Make one channel infinite, of either sign in the next sums: two might make NaN of them."""
    biases[2] = 7e4


class TestOverflow:
    """What exceeds fp16's numbers is never lost on the way to the outputs."""

    @pytest.mark.parametrize("section", SECTIONS)
    def test_its_layer_is_named(self, target: Target, section: str) -> None:
        cfg = CHAIN.format(section=SECTIONS[section])
        case = make_case(cfg, seed=1, images=2)
        line = case.graph.layers[1].line
        large = changed(case, 1, "biases", overflowing)
        message = (
            rf"^.*:{line}: layer 1 \[convolutional\]: its numbers exceed 65504, the largest of "
            r'fp16: use precision="tf32"'
        )
        with pytest.raises(BackendError, match=message):
            CudaEngine(target, large.parameters, "fp16").forward(case.graph, case.x)
        found = CudaEngine(target, large.parameters, "tf32").forward(case.graph, case.x)
        assert np.isfinite(found[0]).all()
        CudaEngine(target, case.parameters, "fp16").forward(case.graph, case.x)

    def test_a_single_number_is_enough(self, target: Target) -> None:
        """Below the largest of its pooling window, in one of two pictures."""
        case = make_case(CHAIN.format(section=SECTIONS["maxpool"]), 1, 2)
        case.x[...] = 0
        case.x[1, :, 4, 4] = 1

        def only(weights: FloatArray) -> None:
            weights[...] = 0
            weights[3] = -6e4

        case = changed(case, 0, "biases", lambda biases: biases.fill(0))
        large = changed(case, 1, "weights", only)
        engine = CudaEngine(target, large.parameters, "fp16")
        engine.forward(case.graph, case.x[:1])
        with pytest.raises(BackendError, match=r"layer 1 \[conv"):
            engine.forward(case.graph, case.x)

    def test_a_weight_that_is_too_large_is_named(self, target: Target) -> None:
        case = make_case(CHAIN.format(section=""), seed=1)
        large = changed(case, 2, "weights", lambda weights: weights.fill(7e4))
        engine = CudaEngine(target, large.parameters, "fp16")
        with pytest.raises(BackendError, match=r"layer 2 \[convolutional\]: its weights exceed"):
            engine.prepare(case.graph)

    def test_what_is_not_finite_from_the_start_is_no_overflow(self, target: Target) -> None:
        case = make_case(CHAIN.format(section=""), seed=1)
        broken = changed(case, 1, "biases", lambda biases: biases.fill(np.nan))
        engine = CudaEngine(target, broken.parameters, "fp16")
        (found,) = engine.forward(case.graph, case.x)
        assert np.isnan(found).all()
        engine = CudaEngine(target, case.parameters, "fp16")
        (found,) = engine.forward(case.graph, np.full_like(case.x, np.inf))
        assert not np.isfinite(found).any()

    def test_what_follows_from_nan_is_no_overflow(self) -> None:
        case = make_case(CHAIN.format(section=""), seed=1)
        zeros = {layer.index: np.zeros(1) for layer in case.graph.layers}
        check_overflow(case.graph, zeros)
        check_overflow(case.graph, zeros | {1: np.array([np.nan]), 2: np.array([np.inf])})
        with pytest.raises(BackendError, match="layer 1 "):
            check_overflow(case.graph, zeros | {1: np.array([np.nan, -np.inf])})

    @pytest.mark.parametrize("kind", ["plain", "grouped head", "head read elsewhere"])
    def test_detecting_names_it_too(self, target: Target, write_model: Callable, kind: str) -> None:
        """In the latter two, only some of a candidate's logits overflow, not the objectness."""
        cfg = CHAIN.format(section="")
        layer = 1
        if kind == "grouped head":
            cfg, layer = cfg.replace("filters=14\n", "filters=14\ngroups=2\n"), 2
        if kind == "head read elsewhere":
            head, layer = cfg[cfg.index("[convolutional]\nfilters=14") :], 2
            cfg += "[route]\nlayers=2\n" + head
        files = write_model(cfg)
        pictures = [np.full((20, 30, 3), 100 * i, np.uint8) for i in range(3)]
        detector = load_on(target, files.cfg, files.weights, precision="fp16")
        assert len(detector.detect(pictures, threshold=0.01)[1])
        engine, spec = detector.network.engine, detector.network.layers[layer]
        biases = engine._weights.of(spec, None if kind == "grouped head" else FP16).biases
        changed = target.download(biases)
        changed[6] = 7e4
        target.copy_in(biases, changed)
        for _ in range(2):  # the slots are free again
            with pytest.raises(BackendError, match=rf"tiny\.cfg:\d+: layer {layer} \[conv"):
                detector.detect(pictures, threshold=0.01, batch=3)
