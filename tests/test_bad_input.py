"""What goes wrong for real: every mistake meets one of the project's errors, in one clear line.

Each test says which error it is and what the message must tell: the file or argument, and what was
found there.
"""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinyyolo3
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.errors import (
    BackendError,
    ConfigError,
    ImageError,
    InputError,
    TinyYoloError,
    WeightsError,
    WeightsWarning,
)
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 248007048\n"
NAMES = ("cfg", "weights", "names")
ERRORS = {"cfg": ConfigError, "weights": WeightsError, "names": ConfigError}
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
PIXELS = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)


@pytest.fixture
def detector(tiny_model):
    return tinyyolo3.load(tiny_model.cfg, tiny_model.weights, names=tiny_model.names)


def refusal(error: type[TinyYoloError], call, *arguments, **options) -> str:
    """The message of the refusal, which is exactly of that type and of one line."""
    with pytest.raises(TinyYoloError) as caught:
        call(*arguments, **options)
    assert caught.type is error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load_refusal(error: type[TinyYoloError], model, **options) -> str:
    arguments = {"names": model.names} | options
    return refusal(error, tinyyolo3.load, model.cfg, model.weights, **arguments)


def with_array(model, cfg: str, arrays, layer: int, name: str, value: float) -> None:
    """Write the weights with one value of one array replaced."""
    arrays[layer][name].flat[1] = value
    write_weights(model.weights, network_slots(build_graph(parse_config(cfg))), arrays)


class TestFiles:
    @pytest.mark.parametrize("which", NAMES)
    def test_missing(self, tiny_model, which):
        getattr(tiny_model, which).unlink()
        assert f"tiny.{which}: no such file" in load_refusal(ERRORS[which], tiny_model)

    @pytest.mark.parametrize("which", NAMES)
    def test_directory(self, tiny_model, which):
        path = getattr(tiny_model, which)
        path.unlink()
        path.mkdir()
        message = load_refusal(ERRORS[which], tiny_model)
        assert message.startswith(f"{path}: expected ")
        assert message.endswith(", found a directory")

    @pytest.mark.parametrize("which", NAMES)
    def test_empty(self, tiny_model, which):
        path = getattr(tiny_model, which)
        path.write_bytes(b"")
        message = load_refusal(ERRORS[which], tiny_model)
        assert message.startswith(f"{path}: expected ")
        assert message.endswith(", found an empty file")

    @pytest.mark.parametrize("which", NAMES)
    @pytest.mark.parametrize(
        ("content", "found"), [(HTML, "a web page"), (LFS, "a Git LFS pointer")]
    )
    def test_what_a_failed_download_leaves(self, tiny_model, which, content, found):
        path = getattr(tiny_model, which)
        path.write_bytes(content)
        message = load_refusal(ERRORS[which], tiny_model)
        assert message.startswith(f"{path}: expected ")
        assert f", found {found} (" in message

    @pytest.mark.parametrize("which", NAMES)
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_named_pipe_is_refused_and_not_waited_for(self, tiny_model, which):
        path = getattr(tiny_model, which)
        path.unlink()
        os.mkfifo(path)
        message = load_refusal(ERRORS[which], tiny_model)
        assert message.startswith(f"{path}: expected ")
        assert message.endswith("something that is not a regular file")

    @pytest.mark.parametrize("which", NAMES)
    def test_no_path_at_all(self, tiny_model, which):
        arguments = {name: getattr(tiny_model, name) for name in NAMES} | {which: 3}
        assert "not 3" in refusal(InputError, tinyyolo3.load, **arguments)

    @pytest.mark.parametrize("which", ["cfg", "names"])
    def test_not_utf8(self, tiny_model, which):
        path = getattr(tiny_model, which)
        path.write_bytes(b"# fine\n# gr\xf6\xdfe\n" + path.read_bytes())
        assert load_refusal(ConfigError, tiny_model) == f"{path}:2 is not UTF-8: byte 0xf6"

    def test_cfg_and_weights_swapped(self, tiny_model):
        message = refusal(ConfigError, tinyyolo3.load, tiny_model.weights, tiny_model.cfg)
        assert message.startswith(f"{tiny_model.weights}: expected a Darknet cfg, found a binary")
        assert message.endswith("are the arguments in the right order?")

    def test_cfg_given_twice(self, tiny_model):
        message = refusal(WeightsError, tinyyolo3.load, tiny_model.cfg, tiny_model.cfg)
        assert message.startswith(f"{tiny_model.cfg}: expected Darknet weights, found a file of an")
        assert "b'[net]\\nwi'" in message


class TestWeights:
    def test_truncated_names_the_layer_and_both_counts(self, tiny_model):
        data = tiny_model.weights.read_bytes()
        tiny_model.weights.write_bytes(data[:-4])
        assert load_refusal(WeightsError, tiny_model) == (
            f"{tiny_model.weights}: too short: it ends inside layer 10 [convolutional] weights, "
            "which needs floats 996 to 1,220; the network needs 1,220 floats, the file holds 1,219"
        )

    def test_too_long_names_both_counts(self, tiny_model):
        with open(tiny_model.weights, "ab") as file:
            file.write(bytes(8))
        assert load_refusal(WeightsError, tiny_model) == (
            f"{tiny_model.weights}: too long: after the last layer the network has 1,220 floats, "
            "the file holds 1,222; do cfg and weights belong together?"
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_none_load_with_a_warning(
        self, tiny_model, tiny_cfg, seeded_weights, value
    ):
        with_array(tiny_model, tiny_cfg, seeded_weights(tiny_cfg), 2, "weights", value)
        with pytest.warns(WeightsWarning) as caught:
            detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
        assert [str(warning.message) for warning in caught] == [
            f"{tiny_model.weights}: layer 2 [convolutional] ({tiny_model.cfg}:18) weights: "
            "1 of 576 values are NaN or infinite"
        ]
        assert caught[0].filename == __file__
        found = detector.detect(PICTURE, threshold=0.0, nms=None)  # without further warnings
        assert np.isfinite(found.boxes_xyxy_px).all()

    def test_negative_variance_loads_with_a_warning(self, tiny_model, tiny_cfg, seeded_weights):
        with_array(tiny_model, tiny_cfg, seeded_weights(tiny_cfg), 0, "variance", -1.0)
        with pytest.warns(WeightsWarning, match=r"layer 0 .* variance: some values are negative"):
            detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
        detector.detect(PICTURE)

    def test_weights_that_make_boxes_of_absurd_size_still_give_finite_ones(
        self, tiny_model, tiny_cfg, seeded_weights
    ):
        arrays = seeded_weights(tiny_cfg)
        for layer in (5, 10):
            arrays[layer]["biases"][[2, 3]] = 87.0  # exp(87) = 6e37 anchors wide
        slots = network_slots(build_graph(parse_config(tiny_cfg)))
        write_weights(tiny_model.weights, slots, arrays)
        found = tinyyolo3.load(tiny_model.cfg, tiny_model.weights).detect(PICTURE, threshold=0.01)
        assert len(found) > 0
        assert np.isfinite(found.boxes_xyxy_px).all()
        found.to_json()


class TestNames:
    @pytest.mark.parametrize("count", [1, 3, 80])
    def test_wrong_count_in_a_file(self, tiny_model, count):
        tiny_model.names.write_text("x\n" * count)
        assert load_refusal(ConfigError, tiny_model) == (
            f"{tiny_model.names} has {count} names, but {tiny_model.cfg}:39 [yolo] has classes=2"
        )

    def test_wrong_count_given(self, tiny_model):
        message = load_refusal(ConfigError, tiny_model, names=["one"])
        assert message.startswith(f"names has 1 names, but {tiny_model.cfg}:39 ")

    @pytest.mark.parametrize("names", [[1, 2], b"ab", {"cat": 1, "dog": 2}, 2.5])
    def test_names_that_are_no_strings(self, tiny_model, names):
        message = load_refusal(InputError, tiny_model, names=names)
        assert message.startswith("names must be a .names file or a list of strings, not ")


class TestLoadOptions:
    @pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
    def test_threads(self, tiny_model, threads):
        message = load_refusal(InputError, tiny_model, threads=threads)
        assert message == f"threads must be a positive integer, not {threads!r}"

    @pytest.mark.parametrize("option", ["device", "backend", "parity"])
    def test_unknown_choices_are_told_the_known(self, tiny_model, option):
        message = load_refusal(InputError, tiny_model, **{option: "tpu"})
        assert message.startswith(f"{option}='tpu' is unknown; known are ")

    @pytest.mark.parametrize(
        ("option", "value"), [("backend", "cpu"), ("memory", "low"), ("precision", "bf16")]
    )
    def test_cuda_refuses_what_only_the_cpu_does(self, tiny_model, option, value):
        message = load_refusal(BackendError, tiny_model, device="cuda", **{option: value})
        assert message == f"device='cuda': {option}={value!r} belongs to device='cpu'"

    @pytest.mark.parametrize("precision", ["fp16", "tf32"])
    def test_the_cpu_refuses_what_only_a_gpu_does(self, tiny_model, precision):
        message = load_refusal(BackendError, tiny_model, device="cpu", precision=precision)
        assert message == f"device='cpu': precision={precision!r} belongs to device='cuda'"

    def test_unknown_precisions_are_told_the_known(self, tiny_model):
        message = load_refusal(InputError, tiny_model, precision="fp8")
        known = "precision must be 'fp32' or 'bf16' or 'fp16' or 'tf32', not 'fp8'"
        assert message == known

    @pytest.mark.parametrize("size", [416, (32,), (32, 32, 3), "32x32"])
    def test_size_is_a_pair(self, tiny_model, size):
        message = load_refusal(InputError, tiny_model, size=size)
        assert message == f"size must be (width, height), not {size!r}"

    def test_a_size_the_strides_do_not_allow(self, tiny_model):
        message = load_refusal(ConfigError, tiny_model, size=(36, 52))
        assert message.startswith(f"{tiny_model.cfg}:51 [route] joins maps of different size")
        assert message.endswith("(network input 36x52)")


class TestDetectOptions:
    @pytest.mark.parametrize("images", [PICTURE, []], ids=["a picture", "no pictures"])
    @pytest.mark.parametrize(
        ("option", "value", "expected"),
        [
            *(
                ("threshold", value, "a number in [0, 1]")
                for value in (2, -0.1, np.nan, "0.5", None)
            ),
            *(("nms", value, "a number in [0, 1]") for value in (-1, 1.1, np.nan, "0.45", True)),
            *(("batch", value, "a positive integer") for value in (0, -1, 1.0, "8", True)),
            *(("resize", value, "'letterbox' or 'stretch'") for value in ("fit", None, "Stretch")),
            *(("nms_kind", value, "'greedy' or 'diou'") for value in ("soft", "greedynms", 1)),
            *(("size", value, "(width, height)") for value in (416, "416", (1, 2, 3))),
        ],
    )
    def test_the_argument_is_named_with_what_it_must_be(
        self, detector, images, option, value, expected
    ):
        message = refusal(InputError, detector.detect, images, **{option: value})
        assert message == f"{option} must be {expected}, not {value!r}"

    def test_nms_kind_is_refused_even_where_nothing_is_suppressed(self, detector):
        refusal(InputError, detector.detect, PICTURE, nms=None, nms_kind="soft")

    @pytest.mark.parametrize("size", [(0, 32), (32, -1), (32, 20000), (32.5, 32), ("a", 32)])
    def test_sides(self, detector, size):
        message = refusal(InputError, detector.detect, PICTURE, size=size)
        assert message.startswith(("width", "height"))

    def test_an_unknown_class_is_told_the_names(self, detector):
        message = refusal(InputError, detector.detect, PICTURE, classes=["cow"])
        assert message == "class 'cow' is unknown; the names are: cat, dog"

    def test_a_class_name_without_names(self, tiny_model):
        detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
        message = refusal(InputError, detector.detect, PICTURE, classes="cat")
        assert message == "class 'cat' is unknown; the names are: none, for no names were given"

    @pytest.mark.parametrize("entry", [2, -1, 1.5, True, [1]])
    def test_a_class_number_that_does_not_exist(self, detector, entry):
        message = refusal(InputError, detector.detect, PICTURE, classes=[entry])
        assert message == f"class {entry!r} must be an integer from 0 to 1"

    def test_classes_that_are_no_list(self, detector):
        assert "class 1.5 must" in refusal(InputError, detector.detect, PICTURE, classes=1.5)


def encoded(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, kind, **options)
    return stream.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises more pixels than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))


class TestPictures:
    def detect(self, detector, path: Path, content: bytes) -> str:
        path.write_bytes(content)
        message = refusal(ImageError, detector.detect, path)
        assert message.startswith(f"{path}: ")
        return message

    def test_missing(self, detector, tmp_path):
        message = refusal(ImageError, detector.detect, tmp_path / "x.jpg")
        assert message == f"{tmp_path / 'x.jpg'}: no such file"

    def test_folder(self, detector, tmp_path):
        message = refusal(ImageError, detector.detect, tmp_path)
        assert message == f"{tmp_path}: is a folder, not a picture"

    def test_empty(self, detector, tmp_path):
        assert "is empty (0 bytes)" in self.detect(detector, tmp_path / "x.jpg", b"")

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_truncated(self, detector, tmp_path, kind, part):
        data = encoded(kind)
        message = self.detect(detector, tmp_path / "x.jpg", data[: int(part * len(data))])
        assert "truncated" in message or "damaged" in message

    def test_corrupt_header(self, detector, tmp_path):
        data = encoded("JPEG")
        message = self.detect(detector, tmp_path / "x.jpg", data[:4] + bytes(50) + data[54:])
        assert "is damaged or truncated: " in message

    def test_decompression_bomb(self, detector, tmp_path):
        message = self.detect(detector, tmp_path / "x.png", png_claiming(50_000, 50_000))
        assert "has 50000×50000 pixels, more than the 178956970 that are decoded" in message

    def test_web_page(self, detector, tmp_path):
        assert "is an HTML page" in self.detect(detector, tmp_path / "x.jpg", HTML)

    def test_weights(self, detector, tiny_model):
        message = refusal(ImageError, detector.detect, tiny_model.weights)
        assert message.startswith(f"{tiny_model.weights}: is not a picture that Pillow knows")

    def test_the_bad_one_of_a_list_is_named(self, detector, tmp_path):
        (tmp_path / "good.png").write_bytes(encoded("PNG"))
        (tmp_path / "bad.png").write_bytes(encoded("PNG")[:60])
        sources = [tmp_path / "good.png", tmp_path / "bad.png"]
        assert refusal(ImageError, detector.detect, sources).startswith(f"{tmp_path / 'bad.png'}: ")

    @pytest.mark.parametrize("source", [None, 3, [None], iter([]), object()])
    def test_something_that_is_no_picture(self, detector, source):
        message = refusal(InputError, detector.detect, source)
        assert message.startswith("an image must be a path, bytes, a Pillow image or a uint8 array")

    @pytest.mark.parametrize(
        "array", [PICTURE.astype(np.float32), PICTURE[..., :2], PICTURE.transpose(2, 0, 1)]
    )
    def test_an_array_of_another_kind(self, detector, array):
        message = refusal(InputError, detector.detect, array)
        assert message.endswith(f"found {array.dtype} {array.shape}")

    def test_an_array_without_pixels(self, detector):
        assert "has no pixels (50×0)" in refusal(ImageError, detector.detect, PICTURE[:0])


class TestForward:
    @pytest.mark.parametrize("call", ["forward", "candidates"])
    @pytest.mark.parametrize(
        ("x", "found"),
        [
            (PIXELS.astype(np.uint8), "found dtype uint8"),
            (PIXELS.astype(complex), "found dtype complex128"),
            (PIXELS[0], "found (3, 32, 32)"),
            (PIXELS[:, :2], "found (1, 2, 32, 32)"),
            (PIXELS[:0], "found (0, 3, 32, 32)"),
            (PIXELS[..., :0], "found (1, 3, 32, 0)"),
            (PIXELS.tolist(), "found list"),
            (None, "found NoneType"),
        ],
        ids=str,
    )
    def test_an_input_of_another_kind(self, detector, call, x, found):
        message = refusal(InputError, getattr(detector, call), x)
        assert message.startswith("expected ")
        assert message.endswith(found)

    def test_a_size_the_strides_do_not_allow(self, detector):
        x = np.zeros((1, 3, 36, 52), np.float32)
        assert "(network input 52x36)" in refusal(ConfigError, detector.forward, x)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_broken_pixels_pass_through_without_a_warning(self, detector, value):
        x = PIXELS.copy()
        x[0, 0, 5, 5] = value
        assert not all(np.isfinite(head).all() for head in detector.forward(x))

    @pytest.mark.parametrize("index", [12, -13, 99])
    def test_a_layer_that_does_not_exist(self, detector, index):
        message = refusal(InputError, detector.network.outputs, PIXELS, [index])
        assert message == f"layer {index} does not exist: the network has layers 0 to 11"
