"""What a ``.weights`` file promises: Darknet's header, Darknet's order, and no silent misfit."""

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.darknet.config import parse_config, read_config
from tinyyolo3.darknet.weights import (
    Header,
    Slot,
    WeightsFile,
    open_weights,
    read_weights,
    write_weights,
)
from tinyyolo3.errors import OutputError, WeightsError, WeightsWarning
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots

#: Three layers of 2, 6 and 3 floats; layer 1 has no parameters.
SLOTS = (
    Slot(0, "convolutional", "biases", (2,)),
    Slot(2, "connected", "biases", (2,)),
    Slot(2, "connected", "weights", (2, 2)),
    Slot(3, "convolutional", "biases", (3,)),
)
WIDE = struct.pack("<iiiQ", 0, 2, 5, 7)


def floats(count: int) -> bytes:
    return np.arange(count, dtype="<f4").tobytes()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "x.weights"


def refusal(path: Path, **options) -> str:
    with pytest.raises(WeightsError) as caught:
        read_weights(path, SLOTS, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_file_order(cfg: str) -> list[tuple[int, str, tuple[int, ...]]]:
    slots = network_slots(build_graph(parse_config(cfg)))
    return [(slot.layer, slot.name, slot.shape) for slot in slots]


class TestHeader:
    @pytest.mark.parametrize(
        ("major", "minor", "wide"),
        [(0, 0, False), (0, 1, False), (0, 2, True), (0, 3, True), (1, 0, True)],
    )
    def test_darknet_seen_has_eight_bytes_from_version_0_2_on(self, path, major, minor, wide):
        seen = 2**40 if wide else 2**31 + 5
        layout = "<iiiQ" if wide else "<iiiI"
        path.write_bytes(struct.pack(layout, major, minor, 9, seen) + floats(11))
        header, arrays = read_weights(path, SLOTS)
        assert header == Header(major, minor, 9, seen)
        assert header.wide is wide
        assert arrays[0]["biases"].tolist() == [0, 1]
        write_weights(path, SLOTS, arrays, header)
        assert path.read_bytes() == struct.pack(layout, major, minor, 9, seen) + floats(11)

    @pytest.mark.parametrize("layout", ["<iiiI", "<iiiQ"], ids=["pjreddie", "alexeyab"])
    def test_darknet_matrices_of_transposed_files_under_both_builds_headers(self, path, layout):
        path.write_bytes(struct.pack(layout, 1001, 0, 0, 7) + floats(11))
        header, arrays = read_weights(path, SLOTS)
        assert header.transposed
        assert header.seen == 7
        assert arrays[2]["weights"].tolist() == [[4, 6], [5, 7]]
        assert arrays[2]["weights"].flags.c_contiguous
        assert arrays[3]["biases"].tolist() == [8, 9, 10]

    def test_only_connected_matrices_are_transposed(self, path):
        slots = (Slot(0, "convolutional", "weights", (2, 3, 1, 1)),)
        path.write_bytes(struct.pack("<iiiQ", 0, 1001, 0, 0) + floats(6))
        assert read_weights(path, slots)[1][0]["weights"].ravel().tolist() == [0, 1, 2, 3, 4, 5]

    def test_version_1000_is_not_transposed(self):
        assert not Header(1000, 1000).transposed
        assert Header(1001, 0).transposed
        assert Header(0, 1001).transposed

    @pytest.mark.parametrize("size", [1, 12, 15, 16, 19])
    def test_a_file_shorter_than_its_header(self, path, size):
        path.write_bytes(WIDE[:size])
        assert f"-byte header, found {size} bytes" in refusal(path)

    @pytest.mark.parametrize(
        "start", [b"[net]\nwidth=416\nheight=416\n", b"\x89PNG\r\n\x1a\n" + bytes(20), b"\xff" * 32]
    )
    def test_a_file_of_another_kind(self, path, start):
        path.write_bytes(start)
        message = refusal(path)
        assert "expected Darknet weights, found a file of another kind" in message
        assert repr(start[:8]) in message

    def test_web_page_and_git_lfs_pointer(self, path):
        path.write_bytes(b"<!doctype html><title>404</title>")
        assert "found a web page" in refusal(path)
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        assert "found a Git LFS pointer" in refusal(path)


class TestOrder:
    def test_darknet_convolution_biases_batch_norm_then_weights(self):
        cfg = (
            "[net]\nwidth=4\nheight=4\n[conv]\nfilters=2\nsize=3\nbatch_normalize=1\n"
            "[conv]\ngroups=2\nfilters=4"
        )
        assert in_file_order(cfg) == [
            *((0, name, (2,)) for name in ("biases", "scales", "mean", "variance")),
            (0, "weights", (2, 3, 3, 3)),
            (1, "biases", (4,)),
            (1, "weights", (4, 1, 1, 1)),
        ]

    def test_darknet_connected_biases_weights_then_batch_norm(self):
        cfg = "[net]\nwidth=4\nheight=2\n[connected]\noutput=5\nbatch_normalize=1\n[connected]"
        assert in_file_order(cfg) == [
            (0, "biases", (5,)),
            (0, "weights", (5, 24)),
            *((0, name, (5,)) for name in ("scales", "mean", "variance")),
            (1, "biases", (1,)),
            (1, "weights", (1, 5)),
        ]

    def test_hand_made_bytes_land_where_they_belong(self, path):
        cfg = (
            "[net]\nwidth=1\nheight=1\nchannels=2\n[conv]\nbatch_normalize=1\nfilters=2\n[maxpool]\n"
            "[connected]\noutput=2\nbatch_normalize=1\n"
        )
        slots = network_slots(build_graph(parse_config(cfg)))
        path.write_bytes(WIDE + floats(24))
        _, arrays = read_weights(path, slots)
        assert sorted(arrays) == [0, 2]
        assert {name: array.ravel().tolist() for name, array in arrays[0].items()} == {
            "biases": [0, 1],
            "scales": [2, 3],
            "mean": [4, 5],
            "variance": [6, 7],
            "weights": [8, 9, 10, 11],
        }
        assert {name: array.tolist() for name, array in arrays[2].items()} == {
            "biases": [12, 13],
            "weights": [[14, 15], [16, 17]],
            "scales": [18, 19],
            "mean": [20, 21],
            "variance": [22, 23],
        }
        assert all(array.dtype == np.float32 for own in arrays.values() for array in own.values())


class TestLength:
    @pytest.mark.parametrize(
        ("count", "place"),
        [
            (0, "layer 0 [convolutional] biases, which needs floats 0 to 2"),
            (2, "layer 2 [connected] biases, which needs floats 2 to 4"),
            (5, "layer 2 [connected] weights, which needs floats 4 to 8"),
            (10, "layer 3 [convolutional] biases, which needs floats 8 to 11"),
        ],
    )
    def test_a_short_file_names_the_layer_where_it_ends_and_both_counts(self, path, count, place):
        path.write_bytes(WIDE + floats(count))
        message = refusal(path)
        assert f"too short: it ends inside {place}; the network needs 11 floats" in message
        assert message.endswith(f"the file holds {count}")

    @pytest.mark.parametrize(
        ("extra", "held"), [(4, "12"), (1, "11 and 1 bytes"), (403, "111 and 3 bytes")]
    )
    def test_a_long_file_names_both_counts(self, path, extra, held):
        path.write_bytes(WIDE + floats(11) + bytes(extra))
        message = refusal(path)
        assert f"the network has 11 floats, the file holds {held};" in message

    def test_without_strictness_the_layers_held_whole_are_read_with_a_warning(self, path):
        path.write_bytes(WIDE + floats(10))
        with pytest.warns(WeightsWarning, match="ends inside layer 3") as caught:
            _, arrays = read_weights(path, SLOTS, strict=False)
        assert len(caught) == 1
        assert sorted(arrays) == [0, 2]
        assert arrays[2]["weights"].tolist() == [[4, 5], [6, 7]]

    def test_without_strictness_a_layer_cut_in_its_second_array_is_left_out_whole(self, path):
        path.write_bytes(WIDE + floats(7) + b"\0\0")
        with pytest.warns(WeightsWarning, match="the file holds 7 and 2 bytes"):
            assert sorted(read_weights(path, SLOTS, strict=False)[1]) == [0]

    def test_without_strictness_left_over_bytes_are_ignored_with_a_warning(self, path):
        path.write_bytes(WIDE + floats(13))
        with pytest.warns(WeightsWarning, match="too long"):
            assert sorted(read_weights(path, SLOTS, strict=False)[1]) == [0, 2, 3]

    @pytest.mark.parametrize("count", [8, 9, 11, 20])
    def test_cutoff_reads_the_layers_before_it_however_much_follows(self, path, count):
        path.write_bytes(WIDE + floats(count))
        assert sorted(read_weights(path, SLOTS, cutoff=3)[1]) == [0, 2]

    def test_cutoff_still_refuses_a_file_without_those_layers(self, path):
        path.write_bytes(WIDE + floats(7))
        assert "the network needs 8 floats, the file holds 7" in refusal(path, cutoff=3)

    def test_cutoff_of_an_exact_file_beyond_the_last_layer(self, path):
        path.write_bytes(WIDE + floats(11))
        assert sorted(read_weights(path, SLOTS, cutoff=99)[1]) == [0, 2, 3]

    def test_a_file_that_the_system_does_not_let_read(self, path, monkeypatch):
        path.write_bytes(WIDE + floats(11))

        def fail(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tinyyolo3.darknet.weights.open", fail, raising=False)
        assert refusal(path) == f"{path}: cannot be read: Permission denied"

    def test_a_cfg_far_too_large_for_its_file_is_refused_before_allocating(self, path):
        path.write_bytes(WIDE + floats(11))
        huge = (Slot(0, "convolutional", "weights", (2**20, 2**20, 3, 3)),)
        with pytest.raises(WeightsError, match="the network needs 9,895,604,649,984 floats"):
            read_weights(path, huge)


class TestLayerByLayer:
    @pytest.fixture
    def file(self, path) -> WeightsFile:
        path.write_bytes(WIDE + floats(11))
        return open_weights(path, SLOTS)

    def later(self, path: Path, data: bytes) -> None:
        """Write the file again, as if a while had passed."""
        path.write_bytes(data)
        os.utime(path, ns=(0, 1_000_000_000))

    def test_layers_may_be_read_in_any_order_and_again(self, file):
        assert file.header == Header(seen=7)
        assert list(file.layers) == [0, 2, 3]
        for _ in range(2):
            assert file.read_layer(3)["biases"].tolist() == [8, 9, 10]
            assert file.read_layer(0)["biases"].tolist() == [0, 1]
            assert file.read_layer(2)["weights"].tolist() == [[4, 5], [6, 7]]

    def test_every_reading_gives_arrays_of_its_own(self, file):
        file.read_layer(3)["biases"][:] = -1
        assert file.read_layer(3)["biases"].tolist() == [8, 9, 10]

    @pytest.mark.parametrize("layout", ["<iiiI", "<iiiQ"], ids=["short", "wide"])
    def test_offsets_are_counted_from_the_headers_end(self, path, layout):
        path.write_bytes(struct.pack(layout, 1001, 0, 0, 7) + floats(11))
        file = open_weights(path, SLOTS)
        assert file.read_layer(3)["biases"].tolist() == [8, 9, 10]
        assert file.read_layer(2)["weights"].tolist() == [[4, 6], [5, 7]]

    def test_a_layer_that_the_file_does_not_hold_whole(self, path):
        path.write_bytes(WIDE + floats(10))
        with pytest.warns(WeightsWarning, match="too short"):
            file = open_weights(path, SLOTS, strict=False)
        assert list(file.layers) == [0, 2]
        with pytest.raises(KeyError):
            file.read_layer(3)

    @pytest.mark.parametrize(
        "data",
        [WIDE + floats(11), WIDE + floats(12), WIDE + floats(9), b"", WIDE[:5]],
        ids=["rewritten", "longer", "shorter", "emptied", "without a header"],
    )
    @pytest.mark.parametrize("layer", [0, 2])
    def test_a_file_changed_since_is_refused(self, path, file, data, layer):
        self.later(path, data)
        section = {0: "convolutional", 2: "connected"}[layer]
        with pytest.raises(WeightsError) as caught:
            file.read_layer(layer)
        assert str(caught.value) == (
            f"{path}: layer {layer} [{section}] cannot be read: the file has been replaced or "
            f"rewritten since it was checked (64 bytes then, {len(data)} now)"
        )

    def test_a_file_cut_short_while_it_is_read(self, path, file, monkeypatch):
        read = np.fromfile

        def cut_and_read(*arguments):
            os.truncate(path, 30)
            return read(*arguments)

        monkeypatch.setattr(np, "fromfile", cut_and_read)
        with pytest.raises(WeightsError, match=r"layer 2 .* \(64 bytes then, 30 now\)"):
            file.read_layer(2)

    def test_a_file_removed_since(self, path, file):
        path.unlink()
        with pytest.raises(WeightsError) as caught:
            file.read_layer(2)
        assert str(caught.value) == (
            f"{path}: layer 2 [connected] cannot be read: No such file or directory"
        )

    def test_a_relative_path_is_meant_from_the_folder_of_then(self, path, monkeypatch, tmp_path):
        path.write_bytes(WIDE + floats(11))
        monkeypatch.chdir(tmp_path)
        file = open_weights(path.name, SLOTS)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert file.read_layer(0)["biases"].tolist() == [0, 1]
        path.unlink()
        with pytest.raises(WeightsError, match=r"^x\.weights: layer 0 "):
            file.read_layer(0)

    def test_a_folder_in_its_place_since(self, path, file):
        path.unlink()
        path.mkdir()
        with pytest.raises(
            WeightsError, match=r"layer 3 \[convolutional\] cannot be read: Is a dir"
        ):
            file.read_layer(3)

    def test_no_more_than_one_layer_is_in_memory(self, path):
        count = 2**16
        slots = [Slot(layer, "convolutional", "weights", (count,)) for layer in range(8)]
        path.write_bytes(WIDE + floats(8 * count))
        tracemalloc.start()
        file = open_weights(path, slots)
        for layer in file.layers:
            assert file.read_layer(layer)["weights"][0] == layer * count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.5 * 4 * count


@st.composite
def slots_and_arrays(draw):
    """Layers in order, each with a few arrays of random bits: NaN, infinities and all."""
    slots = []
    for layer in sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=4))):
        section = draw(st.sampled_from(["convolutional", "connected"]))
        for name in draw(st.permutations(["biases", "weights", "scales"]))[:2]:
            rank = 2 if section == "connected" and name == "weights" else draw(st.integers(1, 4))
            shape = tuple(draw(st.integers(1, 4)) for _ in range(rank))
            slots.append(Slot(layer, section, name, shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays: dict[int, dict[str, np.ndarray]] = {}
    for slot in slots:
        bits = rng.integers(0, 2**32, slot.shape, dtype=np.uint32)
        arrays.setdefault(slot.layer, {})[slot.name] = bits.view(np.float32)
    return slots, arrays


HEADERS = st.builds(
    Header,
    major=st.sampled_from([0, 1, 1001]),
    minor=st.sampled_from([0, 1, 2, 5, 1001]),
    revision=st.integers(0, 9999),
    seen=st.integers(0, 2**32 - 1),
)


@settings(deadline=None, max_examples=60)
@given(slots_and_arrays(), HEADERS)
def test_what_is_written_is_read_bit_for_bit(tmp_path_factory, drawn, header):
    slots, arrays = drawn
    path = tmp_path_factory.mktemp("weights") / "x.weights"
    write_weights(path, slots, arrays, header)
    found_header, found = read_weights(path, slots)
    assert found_header == header
    assert found.keys() == arrays.keys()
    for layer, own in arrays.items():
        assert found[layer].keys() == own.keys()
        for name, array in own.items():
            assert found[layer][name].shape == array.shape
            assert found[layer][name].tobytes() == array.tobytes()


class TestWriting:
    def arrays(self):
        rng = np.random.default_rng(0)
        arrays: dict[int, dict[str, np.ndarray]] = {}
        for slot in SLOTS:
            arrays.setdefault(slot.layer, {})[slot.name] = rng.random(slot.shape)
        return arrays

    def test_float64_arrays_are_stored_as_float32(self, path):
        arrays = self.arrays()
        write_weights(path, SLOTS, arrays)
        found = read_weights(path, SLOTS)[1]
        np.testing.assert_array_equal(found[2]["weights"], arrays[2]["weights"].astype("f4"))

    def test_missing_and_misshapen_arrays_are_refused_before_anything_is_written(self, path):
        arrays = self.arrays()
        arrays[2]["weights"] = np.zeros((4,))
        with pytest.raises(WeightsError, match=r"layer 2 .* expected shape \(2, 2\), found shape"):
            write_weights(path, SLOTS, arrays)
        del arrays[2]["weights"]
        with pytest.raises(WeightsError, match=r"layer 2 \[connected\] weights: .* found nothing"):
            write_weights(path, SLOTS, arrays)
        assert os.listdir(path.parent) == []

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(
        self, path, monkeypatch, error
    ):
        path.write_bytes(b"old")

        def fail(*_):
            raise error

        monkeypatch.setattr("tinyyolo3.darknet.weights._is_transposed", fail)
        expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected) as caught:
            write_weights(path, SLOTS, self.arrays())
        if expected is OutputError:
            assert str(caught.value) == f"{path}: cannot be written: No space left on device"
        assert os.listdir(path.parent) == [path.name]
        assert path.read_bytes() == b"old"

    def test_a_folder_that_does_not_exist(self, path):
        with pytest.raises(OutputError, match=r"x/y\.weights: cannot be written: No such file"):
            write_weights(path.parent / "x" / "y.weights", SLOTS, self.arrays())

    def test_a_folder_in_the_files_place(self, path):
        path.mkdir()
        with pytest.raises(OutputError, match="cannot be written: Is a directory"):
            write_weights(path, SLOTS, self.arrays())
        assert os.listdir(path.parent) == [path.name]


class TestReference:
    @pytest.mark.parametrize(
        ("cfg", "count"),
        [
            ("yolov3", 62_001_757),
            ("yolov3-tiny", 8_858_734),
            ("yolov3-spp", 63_052_381),
            ("darknet53", 41_645_640),
        ],
    )
    def test_counts_of_known_networks(self, reference, cfg, count):
        slots = network_slots(build_graph(read_config(reference / "cfg" / f"{cfg}.cfg")))
        assert sum(slot.count for slot in slots) == count

    def test_yolov3_has_248007048_bytes(self, reference, path):
        slots = network_slots(build_graph(read_config(reference / "cfg" / "yolov3.cfg")))
        path.write_bytes(WIDE)
        os.truncate(path, 248_007_048 - 1)  # sparse: it takes no place on disk
        with pytest.raises(WeightsError, match="62,001,756 and 3 bytes"):
            read_weights(path, slots)
        os.truncate(path, 248_007_048 + 1)
        with pytest.raises(WeightsError, match="62,001,757 and 1 bytes"):
            read_weights(path, slots)

    @pytest.mark.parametrize(
        "model",
        ["yolo-fastest-1.1", "yolo-fastest-1.1-xl", "mobilenetv2-yolov3-nano-coco", "yoloface-50k"],
    )
    def test_trained_models_are_read_and_written_byte_for_byte(self, reference, path, model):
        folder = reference / "models" / model
        slots = network_slots(build_graph(read_config(folder / "model.cfg")))
        header, arrays = read_weights(folder / "model.weights", slots)
        write_weights(path, slots, arrays, header)
        assert path.read_bytes() == (folder / "model.weights").read_bytes()
