"""The live oracle: every layer of random networks against OpenCV's DNN module.

OpenCV 4 reads the same cfg and weights with code of its own. With layer fusion and Winograd
convolutions off, its intermediate outputs are real and plain float32 sums.

What `network_configs(opencv=True)` leaves out, and what OpenCV 4.14 gave instead of Darknet's
result when it was tried:

- relu6, hard_mish, elu, selu: "Unsupported activation".
- [convolutional] without filters= or size=: refused; Darknet takes 1 for both. Depthwise on a
  map one pixel wide: other numbers, sometimes beyond 1e30; it seems to read beyond the map.
- stride_x and stride_y (convolution and pooling): ignored, the output has another shape.
- dilation: ignored, other numbers.
- [maxpool] without size= or stride=: it takes 2, Darknet 1 for the stride and that for the size.
- [maxpool] with padding above size - 1: one row and column less where the last window lies
  wholly in the padding.
- [upsample] scale: ignored. Without stride= it does not enlarge, Darknet doubles.
- [route] of several inputs with groups: the inputs in another order unless that is the layers'
  own, another split unless all have equal channels, and layers after it lose their weights, for
  it counts as several. Tested here where none of it matters.
- [shortcut] with several sources: only the first is added; of different sizes: refused; alpha:
  ignored, as AlexeyAB's Darknet does.
- [scale_channels] scale_wh: ignored, and later layers lose their channels. On a batch of more than
  one image: refused, so OpenCV is given one image at a time.
- [reorg] without stride=: refused; Darknet takes 1.
- [softmax] over more than one pixel: taken over each pixel's channels, Darknet takes it over the
  whole map; groups: refused; temperature: ignored.
- [connected] with batch_normalize: NaN, for it looks for the numbers in another order. After
  anything but pooling and convolution: it may expect weights for another size of map.
- [region] without softmax: refused.

A head is compared as decoded boxes, for OpenCV decodes in its layer. In a [region] layer it also
suppresses, at an IoU of 0.4; and it reports the objectness, where AlexeyAB's Darknet, and so this
package, says 1.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyyolo3
from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.arrays import FloatArray
from tinyyolo3.boxes.nms import nms_numba
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.detector import Detector, NetworkCandidates
from tinyyolo3.image.files import read_image
from tinyyolo3.image.resize import network_input_numba
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import cast_parameters, layer_slots, network_slots
from tinyyolo3.network.specs import Head
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.networks import (
    OPENCV_ACTIVATIONS,
    network_configs,
    random_weights,
    write_random_network,
)

cv2 = pytest.importorskip("cv2")

BACKENDS = ("reference", "cpu")
#: The importer gives every [region] head this suppression, whatever the cfg says.
OPENCV_REGION_NMS = 0.4
#: One of each kind that OpenCV supports, with each activation, groups and both ways to refer.
TOUR = """
[net]
width=26
height=22
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=8
groups=8
size=3
stride=2
pad=1
activation=mish
[convolutional]
filters=8
groups=2
size=5
stride=1
padding=2
activation=swish
[shortcut]
from=-2
activation=tanh
[maxpool]
size=2
stride=1
[maxpool]
size=5
stride=1
[route]
layers=-1,-2,3
[route]
layers=-1
groups=3
group_id=1
[avgpool]
[convolutional]
filters=8
size=1
activation=logistic
[scale_channels]
from=7
activation=relu
[dropout]
probability=.5
[convolutional]
filters=8
size=1
activation=logistic
[sam]
from=-2
activation=linear
[convolutional]
batch_normalize=1
filters=4
size=1
[shortcut]
from=-2
[convolutional]
filters=16
size=1
activation=linear
[yolo]
mask=1,3
num=4
anchors=3,4, 5.5,8, 12,3, 17,16
classes=3
scale_x_y=1.05
thresh=.3
[route]
layers=15
[upsample]
stride=2
[route]
layers=-1,0
[maxpool]
size=3
stride=2
padding=1
[route]
layers=19
[reorg]
stride=2
[convolutional]
filters=8
size=1
activation=logistic
[yolo]
mask=0
num=4
anchors=3,4, 5.5,8, 12,3, 17,16
classes=3
new_coords=1
thresh=.1
"""
CLASSIFIER = """
[net]
width=9
height=10
channels=2
[convolutional]
filters=4
size=3
stride=2
activation=leaky
[connected]
output=12
activation=leaky
[dropout]
probability=.5
[connected]
output=7
[softmax]
[cost]
"""


@settings(max_examples=150, deadline=None)
@given(
    cfg=network_configs(opencv=True),
    images=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_layer_of_a_random_network_agrees_with_opencv(cfg, images, seed):
    with tempfile.TemporaryDirectory() as folder:
        check_every_layer(*write_random_network(Path(folder), cfg, seed), seed, images)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("cfg", [TOUR, CLASSIFIER], ids=["detector", "classifier"])
def test_every_supported_kind_agrees_with_opencv(tmp_path, cfg, images):
    check_every_layer(*write_random_network(tmp_path, cfg, seed=5), 6, images)


def test_the_fixed_networks_contain_every_kind_and_activation():
    layers = [
        layer for cfg in (TOUR, CLASSIFIER) for layer in build_graph(parse_config(cfg)).layers
    ]
    assert {layer.kind for layer in layers} == {
        *("convolutional", "connected", "maxpool", "avgpool", "upsample", "route", "shortcut"),
        *("scale_channels", "sam", "dropout", "softmax", "cost", "reorg", "yolo"),
    }
    assert {getattr(layer, "activation", None) for layer in layers} >= set(OPENCV_ACTIVATIONS)


def test_region_head_agrees_with_opencv_after_its_suppression(tmp_path):
    cfg = "[net]\nwidth=20\nheight=14\nchannels=3\n[convolutional]\nfilters=16\nsize=3\nstride=2\n"
    cfg += "pad=1\n[region]\nnum=2\nclasses=3\nanchors=1,2, 3.5,1\nsoftmax=1\nthresh=0\n"
    files = write_random_network(tmp_path, cfg, seed=5)
    detector = load_flavour(*files)
    graph = detector.network.graph
    x = random_input(graph, seed=6)
    bound = error_bounds(graph, detector.network.outputs(x))[1]
    theirs = opencv_blobs(*files, x)["detection_out"][0]
    found = detector.candidates(x)
    boxes_unit = found.boxes_cxcywh_px / np.array([20, 14, 20, 14], np.float32)
    assert_close(boxes_unit, theirs[:, :4], bound, "boxes")
    box, class_id = np.indices(found.probability.shape).reshape(2, -1)
    kept = nms_numba(
        boxes_unit[box], found.probability.reshape(-1), class_id, iou_threshold=OPENCV_REGION_NMS
    )
    assert 0 < len(kept) < len(box)
    probability = np.zeros_like(found.probability)
    probability.flat[kept] = found.probability.flat[kept]
    assert_close(probability, theirs[:, 5:], bound, "probability")


def test_route_slices_each_of_several_inputs_as_opencv_does(tmp_path):
    layer = "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"
    cfg = "[net]\nwidth=9\nheight=8\nchannels=3\n" + layer + layer
    cfg += "[route]\nlayers=0,-1\ngroups=2\ngroup_id=1\n"
    files = write_random_network(tmp_path, cfg, seed=5)
    detector = load_flavour(*files)
    x = random_input(detector.network.graph, seed=6)
    bounds = error_bounds(detector.network.graph, detector.network.outputs(x))
    theirs = opencv_blobs(*files, x)["concat_4"]  # after slice_2 and slice_3
    assert_close(detector.network.outputs(x)[2], theirs, bounds[2], "route")


def test_batchnorm_epsilon_is_opencvs_under_its_parity_and_darknets_without(tmp_path):
    cfg = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nbatch_normalize=1\nfilters=4\n"
    graph = build_graph(parse_config(cfg + "size=3\nactivation=linear\n"))
    parameters = random_weights(graph, seed=1)
    parameters[0]["variance"][:] = 1e-6
    files = (tmp_path / "epsilon.cfg", tmp_path / "epsilon.weights")
    files[0].write_text(cfg + "size=3\nactivation=linear\n")
    write_weights(files[1], network_slots(graph), parameters)
    x = random_input(graph, seed=2)
    theirs = opencv_blobs(*files, x)["bn_0"]
    for fold in (True, False):
        ours = load_flavour(*files, fold=fold).network.outputs(x)
        assert_close(ours[0], theirs, error_bounds(graph, ours)[0], f"fold={fold}")
    darknets = tinyyolo3.load(*files).network.outputs(x)[0]
    shift = parameters[0]["biases"][:, None, None]
    ratio = np.median((darknets - shift) / (theirs - shift))
    assert ratio == pytest.approx(np.sqrt((1e-6 + 1e-6) / (1e-6 + 1e-5)), rel=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize(
    "model", ["yolo-fastest-1.1", "mobilenetv2-yolov3-nano-coco", "yoloface-50k"]
)
def test_every_layer_of_a_trained_network_agrees_with_opencv(reference, model):
    folder = reference / "models" / model
    cfg, weights = folder / "model.cfg", folder / "model.weights"
    detector = load_flavour(cfg, weights)
    channels, height, width = detector.network.graph.input_shape
    x = np.empty((1, channels, height, width), np.float32)
    picture = read_image(reference / "images" / "dog.png")
    network_input_numba(picture, width, height, "letterbox", out=x[0])
    ours = detector.network.outputs(x)
    bounds = error_bounds(detector.network.graph, ours)
    compare_with_opencv(detector, x, ours, bounds, opencv_blobs(cfg, weights, x))


def check_every_layer(cfg: Path, weights: Path, seed: int, images: int = 1) -> None:
    """Compare both backends, folded and not, with each other, with float64 and with OpenCV."""
    plain = load_flavour(cfg, weights, backend="reference", fold=False)
    graph = plain.network.graph
    x = random_input(graph, seed, images)
    wide = replace(plain.network, parameters=cast_parameters(plain.network.parameters, np.float64))
    exact = wide.outputs(x)
    bounds = error_bounds(graph, exact)
    blobs = opencv_blobs(cfg, weights, x)
    detectors = {f"{name}, folded": load_flavour(cfg, weights, backend=name) for name in BACKENDS}
    detectors["reference, unfolded"] = plain
    detectors["cpu, unfolded"] = load_flavour(cfg, weights, backend="cpu", fold=False)
    for name, detector in detectors.items():
        ours = detector.network.outputs(x)
        assert detector.network.backend.name == name.split(",")[0]
        for layer in graph.layers:
            place = f"layer {layer.index} [{layer.kind}] of {name} against float64"
            assert_close(ours[layer.index], exact[layer.index], bounds[layer.index], place)
        compare_with_opencv(detector, x, ours, bounds, blobs)


def load_flavour(cfg: Path, weights: Path, *, backend: str = "cpu", fold: bool = True) -> Detector:
    return tinyyolo3.load(cfg, weights, parity="opencv", backend=backend, fold=fold)


def random_input(graph: Graph, seed: int, images: int = 1) -> FloatArray:
    shape = (images, *graph.input_shape)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def opencv_blobs(cfg: Path, weights: Path, x: FloatArray) -> dict[str, FloatArray]:
    """Return OpenCV's output of every one of its layers, image by image, by its own names."""
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.enableFusion(False)
    net.enableWinograd(False)
    names = net.getLayerNames()
    found: dict[str, list[FloatArray]] = {name: [] for name in names}
    for image in x:
        net.setInput(image[None])
        for name, blob in zip(names, net.forward(list(names)), strict=True):
            rows_of_boxes = name.startswith(("yolo", "detection"))
            found[name].append(blob if rows_of_boxes else blob[0])
    return {name: np.stack(blobs) for name, blobs in found.items()}


def opencv_outputs(blobs: Mapping[str, FloatArray]) -> dict[int, FloatArray]:
    """Return the last of OpenCV's blobs for each of our layers.

    Layer 0 is ``conv_0``, with batch norm then ``bn_0``, and then its activation, which OpenCV
    counts as the next layer: ``leaky_1``.
    """
    found = {}
    for name, blob in blobs.items():
        kind, number = name.rsplit("_", 1)
        found[int(number) - (kind in ACTIVATIONS)] = blob
    return found


def error_bounds(graph: Graph, outputs: Mapping[int, FloatArray]) -> list[float]:
    """Return `tolerances.network` for each layer, from what came before it."""
    bounds, largest, terms = [], 0.0, 1
    for layer in graph.layers:
        largest = max(largest, float(np.abs(outputs[layer.index]).max()))
        sums = [slot.count // slot.shape[0] for slot in layer_slots(layer)]
        terms = max(terms, *sums, 1)
        if layer.kind == "avgpool":
            terms = max(terms, int(np.prod(layer.input_shapes[0][1:])))
        bounds.append(tolerances.network(largest, layer.index + 1, terms))
    return bounds


def compare_with_opencv(
    detector: Detector,
    x: FloatArray,
    ours: Mapping[int, FloatArray],
    bounds: Sequence[float],
    blobs: Mapping[str, FloatArray],
) -> None:
    """Check every layer's output, and the boxes of every head."""
    graph = detector.network.graph
    theirs = opencv_outputs(blobs)
    assert sorted(theirs) == list(range(len(graph.layers)))
    for layer in graph.layers:
        if isinstance(layer, Head):
            continue
        expected = theirs[layer.index]
        if expected.ndim == 2:  # after a fully connected layer
            expected = expected[:, :, None, None]
        place = f"layer {layer.index} [{layer.kind}] against OpenCV"
        assert_close(ours[layer.index], expected, bounds[layer.index], place)
    if graph.heads:
        found = detector.candidates(x)
        for image, candidates in enumerate(found if isinstance(found, list) else [found]):
            rows = {head.index: theirs[head.index][image] for head in graph.heads}
            compare_boxes(graph, candidates, rows, bounds, f"image {image}")


def compare_boxes(
    graph: Graph,
    candidates: NetworkCandidates,
    theirs: Mapping[int, FloatArray],
    bounds: Sequence[float],
    place: str,
) -> None:
    """Check one image's decoded boxes: rows of cx, cy, w, h, objectness, class probabilities."""
    first = 0
    _, height, width = graph.input_shape
    for head in graph.heads:
        rows = theirs[head.index]
        part = slice(first, first + len(rows))
        first += len(rows)
        boxes_unit = candidates.boxes_cxcywh_px[part] / (width, height, width, height)
        bound = bounds[head.index]
        where = f"of layer {head.index} [{head.kind}], {place}"
        # A logit's error is the box's side's relative error: exp turns sums into products.
        sides = np.maximum(1.0, boxes_unit)
        assert_close(boxes_unit / sides, rows[:, :4] / sides, bound, f"boxes {where}")
        assert_close(candidates.objectness[part], rows[:, 4], bound, f"objectness {where}")
        threshold = graph.config.layers[head.index].number("thresh", 0.2, low=0.0, high=1.0)
        probability = candidates.probability[part]
        clear = np.abs(probability - threshold) > bound
        kept = np.where(clear & (probability > threshold), probability, 0)
        assert_close(kept, np.where(clear, rows[:, 5:], 0), bound, f"probability {where}")
    assert first == len(candidates.objectness)


def assert_close(found: FloatArray, expected: FloatArray, bound: float, place: str) -> None:
    assert found.shape == expected.shape, f"{place}: {found.shape} and not {expected.shape}"
    difference = float(np.abs(found - expected).max())
    assert difference <= bound, f"{place}: differs by {difference:.3g}, allowed is {bound:.3g}"
