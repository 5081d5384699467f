"""What reading a picture promises: the pixels of every mode, and a clear refusal of the rest."""

import gc
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinyyolo3.errors import ImageError, InputError
from tinyyolo3.image.files import (
    MAX_PIXELS,
    describe_source,
    read_image,
    read_image_size,
    to_grey,
)

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, 0].copy()


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than its few bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


def refusal(source: object, **options: bool) -> str:
    """The message with which a source is refused: one line, with its name in front."""
    with pytest.raises(ImageError) as caught:
        read_image(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(describe_source(source) + ": ")
    return message


class TestSources:
    def test_path_string_bytes_and_image_give_the_same_pixels(self, tmp_path):
        data = encoded(Image.fromarray(RGB))
        path = tmp_path / "picture.png"
        path.write_bytes(data)
        sources = [path, str(path), data, bytearray(data), memoryview(data), Image.fromarray(RGB)]
        for source in sources:
            pixels = read_image(source)
            assert np.array_equal(pixels, RGB)
            assert pixels.dtype == np.uint8
            assert pixels.flags.c_contiguous
            assert pixels.flags.writeable
            assert pixels.base is None

    def test_rgb_array_is_handed_through_uncopied(self):
        assert read_image(RGB) is RGB

    def test_strided_and_grey_arrays_become_contiguous_rgb(self):
        flipped = read_image(RGB[::-1, :, ::-1])
        assert flipped.flags.c_contiguous
        assert np.array_equal(flipped, RGB[::-1, :, ::-1])
        for grey in (GREY, GREY[:, :, None]):
            assert np.array_equal(read_image(grey), np.stack([GREY] * 3, axis=2))

    @pytest.mark.parametrize(
        "array",
        [RGB.astype(np.float32), RGB.astype(np.int8), np.zeros((4, 4, 4), np.uint8), RGB[None]],
        ids=["float", "int8", "four channels", "batch"],
    )
    def test_other_arrays_are_refused_with_shape_and_dtype(self, array):
        with pytest.raises(InputError, match="found") as caught:
            read_image(array)
        assert str(array.dtype) in str(caught.value)
        assert str(array.shape) in str(caught.value)

    @pytest.mark.parametrize("source", [None, 3, [[1, 2, 3]]])
    def test_other_types_are_refused(self, source):
        with pytest.raises(InputError, match=type(source).__name__):
            read_image(source)

    def test_describe_source_names_paths_as_given_and_kinds_in_brackets(self):
        assert describe_source("a/../b.png") == "a/../b.png"
        assert describe_source(Path("b.png")) == "b.png"
        assert describe_source(bytearray()) == "<bytes>"
        assert describe_source(Image.new("L", (1, 1))) == "<image>"
        assert describe_source(RGB) == "<array>"
        assert describe_source(None) == "<NoneType>"

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
    def test_no_file_stays_open_whether_read_or_refused(self, tmp_path):
        good, bad, animated = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "a.gif"
        good.write_bytes(encoded(Image.fromarray(RGB)))
        bad.write_bytes(good.read_bytes()[:-40])
        frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
        animated.write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
        before = len(os.listdir("/proc/self/fd"))
        read_image(good)
        read_image(animated)
        refusal(bad)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before

    def test_a_pipe_can_be_read(self):
        reader, writer = os.pipe()
        os.write(writer, encoded(Image.fromarray(RGB)))
        os.close(writer)
        try:
            assert np.array_equal(read_image(f"/dev/fd/{reader}"), RGB)
        finally:
            os.close(reader)


class TestModes:
    def test_grey_and_one_bit_are_repeated(self):
        assert np.array_equal(read_image(Image.fromarray(GREY)), np.stack([GREY] * 3, axis=2))
        bits = GREY > 127
        pixels = read_image(encoded(Image.fromarray(bits)))
        assert np.array_equal(pixels, np.stack([bits * np.uint8(255)] * 3, axis=2))

    def test_darknet_alpha_is_dropped_not_blended(self):
        alpha = np.zeros_like(GREY)
        alpha[::2] = 90
        rgba = Image.fromarray(np.dstack([RGB, alpha]))
        assert np.array_equal(read_image(encoded(rgba)), RGB)
        grey_alpha = Image.fromarray(np.dstack([GREY, alpha]), "LA")
        assert np.array_equal(read_image(encoded(grey_alpha)), np.stack([GREY] * 3, axis=2))

    @pytest.mark.parametrize("transparency", [None, 1, bytes([0, 128, 255])])
    def test_darknet_palette_colours_survive_transparency(self, transparency):
        image = Image.fromarray(GREY % 3).convert("P")
        colours = np.array([[250, 10, 30], [40, 50, 60], [7, 200, 90]], np.uint8)
        image = Image.frombytes("P", image.size, (GREY % 3).tobytes())
        image.putpalette(colours.tobytes())
        options = {} if transparency is None else {"transparency": transparency}
        assert np.array_equal(read_image(encoded(image, **options)), colours[GREY % 3])

    def test_palette_with_alpha_channel_is_read(self):
        image = Image.fromarray(np.dstack([GREY, GREY]), "LA").convert("PA")
        assert np.array_equal(read_image(image), np.stack([GREY] * 3, axis=2))

    @pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
    def test_darknet_sixteen_bit_grey_keeps_the_high_byte(self, dtype):
        samples = np.array([[0, 255, 256], [30000, 65280, 65535]])
        image = Image.fromarray(samples.astype(dtype))
        expected = np.stack([samples >> 8] * 3, axis=2)
        assert np.array_equal(read_image(image), expected)
        if dtype == "<u2":
            assert np.array_equal(read_image(encoded(image)), expected)
            assert np.array_equal(read_image(encoded(image, "TIFF")), expected)

    def test_wide_integers_are_clipped_not_wrapped(self):
        image = Image.fromarray(np.array([[-5, 70000, 2**31 - 1]], np.int32))
        assert read_image(image)[0, :, 0].tolist() == [0, 255, 255]

    def test_float_pictures_are_levels_or_fractions(self):
        levels = np.array([[-3, 0, 17.6, 255, 900, np.nan, np.inf]], np.float32)
        expected = [0, 0, 18, 255, 255, 0, 255]
        assert read_image(Image.fromarray(levels))[0, :, 1].tolist() == expected
        fractions = np.array([[-0.5, 0, 0.5, 1.0]], np.float32)
        assert read_image(Image.fromarray(fractions))[0, :, 1].tolist() == [0, 0, 128, 255]

    @pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
    def test_other_colour_spaces_keep_a_colour(self, mode):
        colour = {"LAB": (136, 208, 195)}.get(mode)  # CIE L*a*b* 53, 80, 67: red
        if colour is None:
            image = Image.new("RGB", (8, 8), (250, 20, 30)).convert(mode)
        else:
            image = Image.new(mode, (8, 8), colour)
        red, green, blue = read_image(image)[4, 4].astype(int)
        assert red > 225
        assert green < 40
        assert blue < 45

    def test_cmyk_jpeg_is_not_inverted(self):
        data = encoded(Image.new("RGB", (16, 16), (250, 20, 30)).convert("CMYK"), "JPEG")
        assert np.abs(read_image(data)[8, 8].astype(int) - [250, 20, 30]).max() < 12

    def test_the_first_of_several_frames_is_read(self):
        frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
        for kind in ("GIF", "TIFF", "WEBP"):
            options = {"lossless": True} if kind == "WEBP" else {}
            data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
            assert np.array_equal(read_image(data)[:, :, 0], GREY)


class TestOrientation:
    UPRIGHT = {  # noqa: RUF012
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
        9: lambda a: a,
    }

    @pytest.mark.parametrize("orientation", sorted(UPRIGHT))
    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_exif_orientation_is_undone_unless_turned_off(self, orientation, kind):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(Image.fromarray(RGB), kind, exif=exif)
        upright = read_image(data)
        assert np.array_equal(upright, self.UPRIGHT[orientation](RGB))
        assert upright.flags.c_contiguous
        if kind == "PNG":  # Pillow itself turns TIFFs as it loads them
            assert np.array_equal(read_image(data, exif_orientation=False), RGB)

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=40), st.sampled_from(["", "II*\0\x08\0\0\0", "MM\0*\0\0\0\x08"]))
    def test_broken_exif_does_not_stop_reading(self, garbage, start):
        exif = b"Exif\0\0" + start.encode() + garbage
        pixels = read_image(encoded(Image.fromarray(RGB), exif=exif))
        assert sorted(pixels.ravel()) == sorted(RGB.ravel())


class TestRefusals:
    def test_missing_file_folder_and_impossible_path(self, tmp_path):
        assert "no such file" in refusal(tmp_path / "none.png")
        assert "is a folder" in refusal(tmp_path)
        assert "no such file" in refusal("")
        with pytest.raises(ImageError, match=r"^'a\\x00b': is not a path"):
            read_image("a\0b")

    def test_forbidden_file(self, tmp_path, monkeypatch):
        def forbid(*_: object) -> None:
            raise PermissionError(13, "Permission denied", "x")

        monkeypatch.setattr("builtins.open", forbid)
        with pytest.raises(ImageError, match=r"x\.png: Permission denied$"):
            read_image(tmp_path / "x.png")

    @pytest.mark.parametrize(
        ("data", "verdict"),
        [
            (b"", "is empty"),
            (b"\n <!DOCTYPE html><html>", "HTML"),
            (b"<HTML><body>", "HTML"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
            (b"<svg xmlns=", "SVG"),
            (b"\xef\xbb\xbf<?xml version", "XML"),
            (b"x", "not a picture that Pillow knows"),
            (b"hello, this is text", r"b'hello, this is t'"),
            (b"\x89PNG\r\n\x1a\n\0\0", "damaged or truncated: its PNG header"),
        ],
    )
    def test_what_is_not_a_picture_is_named(self, data, verdict, tmp_path):
        assert verdict in refusal(data)
        path = tmp_path / "x.jpg"
        path.write_bytes(data)
        assert verdict in refusal(path)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF"])
    def test_truncation_anywhere_is_refused_or_harmless(self, kind):
        """A cut may fall behind the last pixel; then every pixel must be there."""
        rng = np.random.default_rng(1)
        image = Image.fromarray(rng.integers(0, 256, (24, 40, 3), dtype=np.uint8))
        data = encoded(image, kind)
        whole = read_image(data)
        refused = 0
        for cut in range(1, len(data), 17):
            try:
                assert np.array_equal(read_image(data[:cut]), whole)
            except ImageError:
                refused += 1
        assert refused > 0.9 * len(range(1, len(data), 17))

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_a_flipped_byte_in_a_png_is_refused_or_harmless(self, data):
        """Few bytes are harmless: those that only tell the decompressor its window's size."""
        png = bytearray(encoded(Image.fromarray(RGB)))
        start, stop = png.index(b"IDAT") + 4, png.index(b"IEND") - 8
        place = data.draw(st.integers(start, stop - 1))
        png[place] ^= data.draw(st.integers(1, 255))
        try:
            assert np.array_equal(read_image(bytes(png)), RGB)
        except ImageError:
            pass
        else:
            assert place < start + 4

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]), st.data())
    @pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on broken tags
    def test_any_damage_gives_pixels_or_an_image_error(self, kind, data):
        damaged = bytearray(encoded(Image.fromarray(RGB), kind))
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        try:
            pixels = read_image(bytes(damaged))
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert pixels.ndim == 3

    def test_too_many_pixels_are_refused_from_the_header(self):
        side = int(MAX_PIXELS**0.5) + 1
        assert f"{side}×{side} pixels" in refusal(png_claiming(side, side))

    def test_below_the_limit_pillow_neither_warns_nor_refuses(self, monkeypatch):
        """100 million pixels make Pillow's own opening warn, which is an error in these tests."""
        assert "truncated" in refusal(png_claiming(10_000, 10_000))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
        assert np.array_equal(read_image(encoded(Image.fromarray(RGB))), RGB)

    def test_no_pixels(self):
        assert "has no pixels (0×5)" in refusal(Image.new("RGB", (0, 5)))
        assert "has no pixels (4×0)" in refusal(np.zeros((0, 4, 3), np.uint8))
        assert "has no pixels (0×4)" in refusal(np.zeros((4, 0), np.uint8))

    def test_image_whose_file_is_gone(self):
        stream = io.BytesIO(encoded(Image.fromarray(RGB)))
        image = Image.open(stream)
        stream.close()
        assert "damaged or truncated" in refusal(image)

    def test_message_stays_one_line_whatever_the_decoder_says(self, monkeypatch):
        def fail() -> None:
            raise RuntimeError("first line\n  second line")

        image = Image.fromarray(RGB)
        monkeypatch.setattr(image, "load", fail)
        assert refusal(image).endswith("truncated: first line second line")
        monkeypatch.setattr(image, "load", lambda: 1 // 0)
        assert "division" in refusal(image)

    def test_message_stays_one_line_whatever_the_name(self):
        with pytest.raises(ImageError, match=r"^'a\\nb': no such file$"):
            read_image("a\nb")


def test_darknet_grey_is_stb_images_weighted_sum() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    grey = to_grey(colours)
    assert grey.shape == (1, 4, 3)
    assert grey[0, :, 0].tolist() == [255 * 77 // 256, 255 * 150 // 256, 255 * 29 // 256, 255]
    np.testing.assert_array_equal(grey, np.repeat(grey[:, :, :1], 3, axis=2))


class TestSize:
    @pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp", "bmp", "gif", "ppm"])
    @pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8, 9])
    @pytest.mark.parametrize("exif_orientation", [True, False])
    def test_is_that_of_the_picture_as_it_is_read(
        self, tmp_path: Path, kind: str, orientation: int, exif_orientation: bool
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"a.{kind}"
        Image.fromarray(RGB).save(path, exif=exif)
        height, width, _ = read_image(path, exif_orientation=exif_orientation).shape
        assert read_image_size(path, exif_orientation=exif_orientation) == (width, height)

    def test_is_read_from_the_header_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(png_claiming(60_000, 50_000))
        assert read_image_size(path) == (60_000, 50_000)

    @pytest.mark.parametrize("content", [None, b"", b"text", png_claiming(0, 5)])
    def test_is_refused_where_the_picture_is(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "a.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ImageError) as wanted:
            read_image(path)
        with pytest.raises(ImageError) as found:
            read_image_size(path)
        assert str(found.value) == str(wanted.value)

    def test_a_folder_or_no_path(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="is a folder, not a picture"):
            read_image_size(tmp_path)
        with pytest.raises(ImageError, match="is not a path"):
            read_image_size("a\0b")
