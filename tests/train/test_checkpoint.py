"""Checkpoints: the same bits again, and one clear line for a file that is not what it should be."""

import errno
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import OutputError, WeightsError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.testing.weights import random_weights
from tinyyolo3.train.checkpoint import (
    Checkpoint,
    digest_config,
    read_checkpoint,
    write_checkpoint,
)
from tinyyolo3.train.step import start_training

SETTINGS = {"seed": 3, "ema": 0.9, "data": "a.data"}


@pytest.fixture
def graph(tiny_cfg: str) -> Graph:
    return build_graph(parse_config(tiny_cfg, "x.cfg"))


@pytest.fixture
def checkpoint(graph: Graph) -> Checkpoint:
    state = start_training(random_weights(graph, 0), seen=64)
    for own in state.buffers.values():
        for array in own.values():
            array[...] = np.random.default_rng(array.size).standard_normal(array.shape)
    return Checkpoint(state, random_weights(graph, 1), 32, SETTINGS)


@pytest.fixture
def place(tmp_path: Path, graph: Graph, checkpoint: Checkpoint) -> Path:
    write_checkpoint(tmp_path / "checkpoint.npz", graph.config, checkpoint)
    return tmp_path / "checkpoint.npz"


def edit(place: Path, name: str, content: bytes | None) -> None:
    """Put other bytes in a member's place; None removes it."""
    with zipfile.ZipFile(place) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    members.pop(name, None)
    if content is not None:
        members[name] = content
    with zipfile.ZipFile(place, "w") as archive:
        for each, own in members.items():
            archive.writestr(each, own)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_what_is_read_are_the_bits_that_were_written(
    place: Path, graph: Graph, checkpoint: Checkpoint
) -> None:
    found = read_checkpoint(place, graph, SETTINGS)
    assert (found.state.seen, found.first_seen, found.settings) == (64, 32, SETTINGS)
    assert found.averages is not None
    for wanted, own in (
        (checkpoint.state.parameters, found.state.parameters),
        (checkpoint.state.buffers, found.state.buffers),
        (checkpoint.averages, found.averages),
    ):
        assert wanted is not None
        assert own.keys() == {index for index, arrays in wanted.items() if arrays}
        for index, arrays in own.items():
            assert arrays.keys() == wanted[index].keys()
            for name, array in arrays.items():
                assert array.tobytes() == wanted[index][name].tobytes()
                assert array.flags.writeable


def test_without_averages_there_are_none(
    tmp_path: Path, graph: Graph, checkpoint: Checkpoint
) -> None:
    settings = {**SETTINGS, "ema": None}
    bare = replace(checkpoint, averages=None, settings=settings)
    write_checkpoint(tmp_path / "c.npz", graph.config, bare)
    assert read_checkpoint(tmp_path / "c.npz", graph, settings).averages is None


def test_a_full_disk_leaves_the_earlier_one(
    place: Path, graph: Graph, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.read_bytes()

    def full(file: io.BufferedWriter, **_: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OutputError, match=r"checkpoint.npz: cannot be written: No space left"):
        write_checkpoint(place, graph.config, checkpoint)
    assert place.read_bytes() == before
    assert [each.name for each in place.parent.iterdir()] == [place.name]


def test_a_comment_more_is_the_same_cfg_and_another_number_is_not(tiny_cfg: str) -> None:
    digest = digest_config(parse_config(tiny_cfg))
    assert digest_config(parse_config("# said\n" + tiny_cfg)) == digest
    assert digest_config(parse_config(tiny_cfg.replace("filters=8", "filters=9", 1))) != digest


def test_another_cfg_is_refused(place: Path, tiny_cfg: str) -> None:
    other = build_graph(parse_config(tiny_cfg.replace("stride=2", "stride=1", 1), "y.cfg"))
    with pytest.raises(WeightsError, match=r"checkpoint.npz: belongs to another cfg than y.cfg"):
        read_checkpoint(place, other, SETTINGS)


def test_other_settings_are_refused(place: Path, graph: Graph) -> None:
    with pytest.raises(WeightsError, match=r"was begun with seed=3, not 4; another folder"):
        read_checkpoint(place, graph, {**SETTINGS, "seed": 4})


WEIGHTS = "parameters/2/weights.npy"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            WEIGHTS,
            npy(np.zeros((8, 8, 3, 2), np.float32)),
            "parameters/2/weights: expected 2,304 b",
        ),
        (
            WEIGHTS,
            npy(np.zeros((8, 72), np.float32)),
            r"expected float32 of shape \(8, 8, 3, 3\), ",
        ),
        (WEIGHTS, npy(np.zeros((8, 8, 3, 3), np.int32)), "found int32 of shape"),
        (WEIGHTS, None, "parameters/2/weights: expected 2,304 bytes, found nothing"),
        (WEIGHTS, b"\0" * 2400, "expected a whole checkpoint, found: the magic string"),
        ("buffers/1/weights.npy", npy(np.zeros(3)), "buffers/1/weights.npy: the network has no"),
        ("about.npy", npy(np.frombuffer(b"{}", np.uint8)), "expected a file of the format"),
        (
            "about.npy",
            npy(np.frombuffer(b"{", np.uint8)),
            "expected a whole checkpoint, found: Exp",
        ),
        ("about.npy", None, "expected a whole checkpoint, found: .*no item named 'about.npy'"),
    ],
)
def test_a_file_of_wrong_parts_is_refused(
    place: Path, graph: Graph, name: str, content: bytes | None, message: str
) -> None:
    edit(place, name, content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_checkpoint(place, graph, SETTINGS)
    assert str(caught.value).startswith(f"{place}: ")
    assert "\n" not in str(caught.value)


def test_pickled_objects_are_refused(place: Path, graph: Graph) -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}] * 9, object), allow_pickle=True)
    edit(place, "about.npy", file.getvalue())
    with pytest.raises(WeightsError, match="Object arrays cannot be loaded"):
        read_checkpoint(place, graph, SETTINGS)


def test_half_a_file_a_wrong_bit_and_no_file(
    place: Path, graph: Graph, checkpoint: Checkpoint
) -> None:
    content = bytearray(place.read_bytes())
    place.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="expected a whole checkpoint, found: File is not a zip"):
        read_checkpoint(place, graph, SETTINGS)
    content[content.index(checkpoint.state.buffers[2]["weights"].tobytes()) + 9] ^= 1
    place.write_bytes(content)
    with pytest.raises(WeightsError, match="expected a whole checkpoint, found: Bad CRC-32"):
        read_checkpoint(place, graph, SETTINGS)
    place.unlink()
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        read_checkpoint(place, graph, SETTINGS)
