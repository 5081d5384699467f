"""Valid files, damaged at random: whatever they hold, the answer is a result or a `TinyYoloError`.

Hypothesis chooses the damage; no example may take seconds or hundreds of megabytes. NumPy tells
tracemalloc of its arrays, so the peak covers whatever a number in a cfg could make too large.
"""

import io
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tinyyolo3
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.names import read_names
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.errors import TinyYoloError, WeightsWarning
from tinyyolo3.image.files import read_image
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.network.summary import summarize

SECONDS = 2.0
BYTES = 500 * 2**20
#: Networks that ask for more than this are valid, and too much work for a test.
MAX_FLOP = 10**8
MAX_OUTPUTS = 2**21
MAX_PADDING = 64

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)

#: A small detector with every kind of section that reads one.
EVERY_KIND = """\
[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=8
size=3
pad=1
groups=8
dilation=2
activation=mish
[shortcut]
from=-2
activation=linear
[maxpool]
size=2
stride=2
[reorg]
stride=2
[avgpool]
[connected]
output=32
activation=logistic
[scale_channels]
from=-3
[dropout]
probability=.5
[upsample]
stride=2
[route]
layers=-1
groups=2
group_id=1
[convolutional]
filters=16
size=1
stride_x=1
stride_y=1
activation=swish
[sam]
from=-2
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,2
anchors=4,6, 8,8, 12,16
classes=2
num=3
scale_x_y=1.05
nms_kind=diounms
"""

EXTREMES = (
    *("0", "-1", "1", "2", "3", "7", "65535", "65536", "16777216", "2147483647", "2147483648"),
    *("-2147483648", "99999999999999999999", "1e9", "1e-30", "1e308", "nan", "inf", "", "x", "1,2"),
)
LINES = (
    *(
        "[yolo]",
        "[region]",
        "[softmax]",
        "[cost]",
        "[route]",
        "[lstm]",
        "[net]",
        "[",
        "]",
        "=",
        "#",
    ),
    *("layers=-1", "from=0", "pad=1", "padding=9", "batch_normalize=1", "new_coords=1", "xnor=1"),
)


@contextmanager
def within_limits() -> Iterator[None]:
    """Fail when the block takes too long or too much memory, whether or not it raises."""
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - begin
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < BYTES


# Each edit takes the lines and gives new ones; positions wrap around, so all are valid.
def _delete(lines: list[str], at: int, _: str) -> list[str]:
    return lines[:at] + lines[at + 1 :]


def _duplicate(lines: list[str], at: int, _: str) -> list[str]:
    return lines[: at + 1] + lines[at:]


def _swap(lines: list[str], at: int, _: str) -> list[str]:
    return [*lines[:at], *reversed(lines[at : at + 2]), *lines[at + 2 :]]


def _set_value(lines: list[str], at: int, value: str) -> list[str]:
    name, equals, _ = lines[at].partition("=")
    return [*lines[:at], f"{name}={value}" if equals else lines[at], *lines[at + 1 :]]


def _insert(lines: list[str], at: int, text: str) -> list[str]:
    return [*lines[:at], text, *lines[at:]]


def _cut(lines: list[str], at: int, _: str) -> list[str]:
    return [*lines[:at], lines[at][: len(lines[at]) // 2]]


def _edits() -> st.SearchStrategy[tuple[Callable[..., list[str]], int, str]]:
    at = st.integers(0, 10**6)
    return st.one_of(
        st.tuples(st.sampled_from([_delete, _duplicate, _swap]), at, st.just("")),
        st.tuples(st.just(_set_value), at, st.sampled_from(EXTREMES) | st.integers().map(str)),
        st.tuples(st.just(_insert), at, st.sampled_from(LINES) | st.text(max_size=20)),
        st.tuples(st.just(_cut), at, st.just("")),
    )


@st.composite
def damaged_cfgs(draw: st.DrawFn, cfg: str) -> str:
    def apply(lines: list[str], edit: tuple[Callable[..., list[str]], int, str]) -> list[str]:
        change, at, text = edit
        return change(lines, at % len(lines), text) if lines else lines

    edits = draw(st.lists(_edits(), min_size=1, max_size=4))
    return "\n".join(reduce(apply, edits, cfg.split("\n")))


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(damaged) - 1)))
        match draw(st.sampled_from(["flip", "cut", "remove", "insert"])):
            case "flip":
                damaged[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del damaged[at:]
            case "remove":
                del damaged[at : at + draw(st.integers(1, 64))]
            case "insert":
                damaged[at:at] = draw(st.binary(min_size=1, max_size=64))
    return bytes(damaged)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def model(folder: Path, seeded_weights) -> tuple[Path, Path]:
    """A valid cfg and weights; loading and running them once compiles what there is to compile."""
    cfg, weights = folder / "valid.cfg", folder / "valid.weights"
    cfg.write_text(EVERY_KIND)
    slots = network_slots(build_graph(parse_config(EVERY_KIND)))
    write_weights(weights, slots, seeded_weights(EVERY_KIND))
    tinyyolo3.load(cfg, weights).detect(PICTURE, threshold=0.0)
    return cfg, weights


def small_graph(text: str) -> Graph | None:
    """The graph of a cfg, or None where it is refused or too much work to run here."""
    try:
        graph = build_graph(parse_config(text))
    except TinyYoloError:
        return None
    summary = summarize(graph)
    outputs = sum(int(np.prod(row.output_shape, dtype=object)) for row in summary.rows)
    reaches = [
        getattr(layer, "padding", 0) * getattr(layer, "dilation", 1) for layer in graph.layers
    ]
    small = summary.flop <= MAX_FLOP and max(outputs, summary.parameters) <= MAX_OUTPUTS
    small = small and max(reaches) <= MAX_PADDING
    return graph if small else None


@settings(deadline=None, max_examples=200)
@given(damaged_cfgs(EVERY_KIND))
def test_a_damaged_cfg_is_refused_or_gives_a_graph(text):
    message = ""
    with within_limits():
        try:
            summarize(build_graph(parse_config(text, "x.cfg")))
        except TinyYoloError as problem:
            message = str(problem)
    assert not message or message.startswith("x.cfg")
    assert message.isprintable()
    assert len(message) < 500


@settings(deadline=None, max_examples=150)
@given(data=st.data())
@pytest.mark.usefixtures("model")
def test_a_damaged_cfg_that_still_parses_runs_with_weights_of_its_own(data, folder, seeded_weights):
    text = data.draw(damaged_cfgs(EVERY_KIND))
    graph = small_graph(text)
    if graph is None:
        return
    cfg, weights = folder / "own.cfg", folder / "own.weights"
    cfg.write_text(text, encoding="utf-8", newline="")
    write_weights(weights, network_slots(graph), seeded_weights(text))
    with within_limits():
        detector = tinyyolo3.load(cfg, weights)
        (output, *_) = detector.forward(np.full((1, *graph.input_shape), 0.5, np.float32))
        assert output.dtype == np.float32
        try:
            detector.detect(PICTURE, threshold=0.01)
        except TinyYoloError:
            assert not graph.heads or graph.input_shape[0] != 3


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_damaged_cfg_with_the_weights_of_the_whole_one(data, folder, model):
    cfg = folder / "other.cfg"
    cfg.write_bytes(data.draw(damaged_cfgs(EVERY_KIND)).encode("utf-8", "surrogatepass"))
    strict = data.draw(st.booleans())
    with within_limits(), suppress(TinyYoloError), warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)
        tinyyolo3.load(cfg, model[1], strict=strict)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_weights_are_refused_or_run(data, folder, model):
    cfg, whole = model
    weights = folder / "damaged.weights"
    weights.write_bytes(data.draw(damaged_bytes(whole.read_bytes())))
    strict = data.draw(st.booleans())
    with within_limits(), suppress(TinyYoloError), warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsWarning)
        found = tinyyolo3.load(cfg, weights, strict=strict).detect(PICTURE, threshold=0.01)
        assert np.isfinite(found.boxes_xyxy_px).all()
        assert np.isfinite(found.confidence).all()


@settings(deadline=None, max_examples=100)
@given(damaged_bytes("person\nbicycle\ntraffic light\n日本\n".encode()))
def test_damaged_names_are_refused_or_read(folder, content):
    path = folder / "damaged.names"
    path.write_bytes(content)
    with within_limits(), suppress(TinyYoloError):
        names = read_names(path)
        assert names
        assert not any("\n" in name or "\r" in name for name in names)


def encoded(kind: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(stream, kind)
    return stream.getvalue()


PICTURES = {
    "PNG": encoded("PNG"),
    "PNG with a palette": encoded("PNG", "P"),
    "JPEG": encoded("JPEG"),
    "GIF": encoded("GIF", "P"),
    "BMP": encoded("BMP"),
    "TIFF": encoded("TIFF"),
    "WebP": encoded("WEBP"),
}


@settings(deadline=None, max_examples=300)
@given(data=st.data(), kind=st.sampled_from(sorted(PICTURES)))
def test_a_damaged_picture_is_refused_or_read(data, kind):
    content = data.draw(damaged_bytes(PICTURES[kind]))
    with within_limits(), suppress(TinyYoloError):
        pixels = read_image(content)
        assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG"]))
def test_a_damaged_picture_is_refused_or_looked_at(data, model, kind):
    detector = tinyyolo3.load(*model)
    content = data.draw(damaged_bytes(PICTURES[kind]))
    with within_limits(), suppress(TinyYoloError):
        assert detector.detect(content, threshold=0.01).image.ndim == 3
