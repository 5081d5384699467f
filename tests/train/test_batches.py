"""Batches: the same whoever makes them, and clear words when they cannot be made."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.data.darknet import read_darknet_list
from tinyyolo3.data.samples import DataSet, Sample
from tinyyolo3.errors import ConfigError, DataError, ImageError, InputError
from tinyyolo3.image.files import to_grey
from tinyyolo3.image.resize import network_input_reference
from tinyyolo3.network.build import build_graph
from tinyyolo3.train.augmentation import Augmentation, PictureOptions
from tinyyolo3.train.batches import Batch, Batches, BatchSource, default_workers, open_batches
from tinyyolo3.train.gathering import gather_samples
from tinyyolo3.train.labels import darknet_truths
from tinyyolo3.train.sizes import SizeSchedule

ALL = Augmentation(0.3, 1.1, True, True, 0.1, 1.5, 1.5, mosaic=True, mosaic_bound=True)
SIZES = SizeSchedule((32, 64), 1.4, max_batches=500)


def write_set(folder: Path, pictures: int = 5) -> DataSet:
    """Write pictures of different sizes with two labels each."""
    random = np.random.default_rng(0)
    for n in range(pictures):
        pixels = random.integers(0, 256, (40 + n, 60 - n, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
        (folder / f"{n}.txt").write_text("0 .5 .5 .4 .6\n1 .3 .3 .2 .2\n")
    listed = "".join(f"{folder / f'{n}.png'}\n" for n in range(pictures))
    (folder / "list.txt").write_text(listed)
    return read_darknet_list(folder / "list.txt", names=["a", "b"])


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    return gather_samples(write_set(tmp_path_factory.mktemp("set")), 2).samples


def batches(samples: tuple[Sample, ...], workers: int, **changed: object) -> Batches:
    options = {"batch": 5, "seed": 4, **changed}
    return Batches(samples, PictureOptions(ALL, 2), SIZES, workers=workers, **options)


def copied(batch: Batch) -> Batch:
    return replace(batch, pictures=batch.pictures.copy())


def assert_same(found: Batch, wanted: Batch) -> None:
    assert found.size_px == wanted.size_px
    np.testing.assert_array_equal(found.pictures, wanted.pictures)
    for one, other in zip(found.truths, wanted.truths, strict=True):
        np.testing.assert_array_equal(one.boxes_cxcywh_unit, other.boxes_cxcywh_unit)
        np.testing.assert_array_equal(one.classes, other.classes)


def test_processes_make_what_the_caller_makes_in_any_order_and_size(
    samples: tuple[Sample, ...],
) -> None:
    with batches(samples, 0) as here, batches(samples, 2) as there:
        for iteration in (1, 2, 3, 9, 10, 11, 4, 4, 21):
            assert_same(there.batch(iteration), here.batch(iteration))


def test_going_on_from_an_iteration_gives_its_batches(samples: tuple[Sample, ...]) -> None:
    before, after = batches(samples, 0), batches(samples, 0)
    sequence = [copied(before.batch(n)) for n in range(1, 14)]
    for n in (12, 13):
        assert_same(after.batch(n), sequence[n - 1])


def test_seeds_iterations_and_positions_give_pictures_of_their_own(
    samples: tuple[Sample, ...],
) -> None:
    first, other = batches(samples[:1], 0), batches(samples[:1], 0, seed=5)
    pictures = [*first.batch(1).pictures, *first.batch(2).pictures, *other.batch(1).pictures]
    assert len({picture.tobytes() for picture in pictures}) == 15


def test_pictures_are_drawn_anew_in_each_iteration(samples: tuple[Sample, ...]) -> None:
    source = Batches(
        samples, PictureOptions(Augmentation(), 2), SizeSchedule((32, 64)), batch=5, workers=0
    )
    drawn = [[picture.tobytes() for picture in source.batch(n).pictures] for n in range(1, 9)]
    assert len({tuple(pictures) for pictures in drawn}) == 8
    assert len({picture for pictures in drawn for picture in pictures}) == len(samples)
    assert any(len(set(pictures)) < 5 for pictures in drawn)  # with replacement


def test_the_next_batch_is_made_meanwhile(tmp_path: Path) -> None:
    samples = gather_samples(write_set(tmp_path, 1), 2).samples
    with batches(samples, 1) as source:
        source.batch(1)
        wait([future for _, futures in source._pending.values() for future in futures], 60)
        samples[0].image.unlink()
        source.batch(2)
        with pytest.raises(ImageError, match=r"0.png: no such file"):
            source.batch(3)


def test_batches_are_floats_from_0_to_1_with_labels_inside(samples: tuple[Sample, ...]) -> None:
    source: BatchSource = batches(samples, 0, batch=20)
    found = source.batch(1)
    width, height = found.size_px
    assert found.pictures.shape == (20, 3, height, width)
    assert found.pictures.dtype == np.float32
    assert found.pictures.min() >= 0
    assert found.pictures.max() <= 1
    boxes = np.concatenate([truths.boxes_cxcywh_unit for truths in found.truths])
    assert (boxes[:, 2:] >= 1 / np.array(found.size_px)).all()
    assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-12).all()
    assert (boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-12).all()


def test_half_of_all_pictures_are_mosaics(samples: tuple[Sample, ...]) -> None:
    options = PictureOptions(Augmentation(mosaic=True), 2)
    flat = tuple(
        replace(sample, boxes_xyxy_px=np.array([[0.0, 0, 9, 9]] * 2)) for sample in samples
    )
    found = Batches(flat, options, SizeSchedule((64, 64)), batch=100, workers=0).batch(1)
    whole = {network_input_reference(np.asarray(Image.open(s.image)), 64, 64, "stretch").tobytes()
             for s in samples}  # fmt: skip
    assert sum(p.tobytes() in whole for p in found.pictures) == pytest.approx(50, abs=15)


def test_without_changes_pictures_and_labels_are_those_of_darknets_step(
    samples: tuple[Sample, ...],
) -> None:
    found = Batches(
        samples[:1], PictureOptions(Augmentation(), 2), SizeSchedule((32, 64)), batch=2, workers=0
    ).batch(7)
    image = np.asarray(Image.open(samples[0].image))
    wanted = darknet_truths(samples[0], (32, 64), 2)
    for picture, truths in zip(found.pictures, found.truths, strict=True):
        np.testing.assert_array_equal(picture, network_input_reference(image, 32, 64, "stretch"))
        order = np.argsort(truths.classes)
        np.testing.assert_array_equal(truths.boxes_cxcywh_unit[order], wanted.boxes_cxcywh_unit)


def test_a_network_of_one_channel_gets_grey(samples: tuple[Sample, ...]) -> None:
    found = Batches(
        samples[:1],
        PictureOptions(Augmentation(), 2),
        SizeSchedule((32, 64)),
        batch=1,
        channels=1,
        workers=0,
    ).batch(1)
    grey = to_grey(np.asarray(Image.open(samples[0].image)))
    wanted = network_input_reference(grey, 32, 64, "stretch")[:1]
    np.testing.assert_array_equal(found.pictures, wanted[None])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read_is_named_and_the_next_batch_is_made(
    workers: int, tmp_path: Path
) -> None:
    samples = gather_samples(write_set(tmp_path, 1), 2).samples
    kept = samples[0].image.read_bytes()
    with batches(samples, workers) as source:
        samples[0].image.write_bytes(kept[:200])
        for _ in range(2):
            with pytest.raises(ImageError, match=r"0.png: is damaged or truncated"):
                source.batch(1)
        samples[0].image.write_bytes(kept)
        assert_same(source.batch(1), batches(samples, 0).batch(1))


def test_a_picture_of_another_size_than_its_labels_are_for_is_refused(tmp_path: Path) -> None:
    samples = gather_samples(write_set(tmp_path, 1), 2).samples
    Image.new("RGB", (7, 9)).save(samples[0].image)
    with pytest.raises(DataError, match=r"0.png: is 7 x 9 pixels, but its labels are for 60 x 40"):
        batches(samples, 0).batch(1)


def children(of: int | None = None) -> set[int]:
    """Return the processes that this one, or another, has started and that make pictures."""
    found = set()
    for each in Path("/proc").glob("[0-9]*"):
        try:
            status, line = (each / "stat").read_text(), (each / "cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if (
            int(status.rpartition(")")[2].split()[1]) == (of or os.getpid())
            and "spawn_main" in line
        ):
            found.add(int(each.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@needs_proc
def test_a_worker_that_dies_is_told_and_none_is_left(samples: tuple[Sample, ...]) -> None:
    before = children()
    with batches(samples, 1) as source:
        source.batch(1)
        (worker,) = children() - before
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(DataError, match="a process that makes training pictures has died"):
            all(source.batch(iteration) for iteration in range(2, 9))
    assert children() == before


@needs_proc
def test_closing_leaves_no_process_and_the_last_batch(samples: tuple[Sample, ...]) -> None:
    before, source = children(), batches(samples, 2)
    found = source.batch(3)
    assert children() > before
    source.close()
    source.close()
    assert children() == before
    assert_same(found, batches(samples, 0).batch(3))
    with pytest.raises(InputError, match="these batches are closed"):
        source.batch(4)


PROGRAM = """\
import os, signal, sys, time
from tests_batches import batches, children, gather_samples, write_set
from pathlib import Path

if __name__ == "__main__":
    samples = gather_samples(write_set(Path(sys.argv[1])), 2).samples
    if sys.argv[2] == "starting":
        print("no worker yet", flush=True)
    iteration = 0
    with batches(samples, 1) as source:
        while True:
            iteration += 1
            source.batch(iteration)
            if iteration == 1 and sys.argv[2] != "starting":
                print(*children(), flush=True)
            if sys.argv[2] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
"""


@needs_proc
@pytest.mark.parametrize("end", ["kill", "interrupt", "starting"])
def test_no_process_outlives_a_program_that_is_ended(end: str, tmp_path: Path) -> None:
    """As from a terminal: Ctrl-C goes to all processes of the group."""
    (tmp_path / "tests_batches.py").write_text(Path(__file__).read_text())
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path, end],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert program.stdout is not None
    assert program.stderr is not None
    line = program.stdout.readline()
    while not (started := children(program.pid)) and end == "starting":
        time.sleep(0.01)
    if end == "starting":
        time.sleep(0.2)  # it is importing
    else:
        started = {int(each) for each in line.split()}
    assert started
    if end != "kill":
        os.killpg(program.pid, signal.SIGINT)
    errors = program.stderr.read()  # ends when all processes that have it do
    program.wait(30)
    program.stdout.close()
    program.stderr.close()
    assert errors.count("Traceback") == (end != "kill"), errors  # the program's own
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{each}").exists() for each in started) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [each for each in started if Path(f"/proc/{each}").exists()]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"batch": 0}, "batch must be an integer from 1"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"seed": 1 << 32}, "seed must be an integer from 0"),
        ({"channels": 4}, "pictures have 1 or 3 channels; the network takes 4"),
        ({"workers": -1}, "workers must be an integer from 0"),
    ],
)
def test_arguments_out_of_range_are_refused(
    changed: dict[str, int], match: str, samples: tuple[Sample, ...]
) -> None:
    with pytest.raises(InputError, match=match):
        batches(samples, **{"workers": 0, **changed})


def test_iterations_count_from_one(samples: tuple[Sample, ...]) -> None:
    with pytest.raises(InputError, match="iteration must be an integer from 1"):
        batches(samples, 0).batch(0)


def test_no_picture_is_refused():
    with pytest.raises(DataError, match="there is no picture to train on"):
        batches((), 0)


def test_default_workers_are_some():
    assert 1 <= default_workers() <= 8


def test_a_cfg_says_what_batches_are_like(samples: tuple[Sample, ...], tiny_cfg: str) -> None:
    text = tiny_cfg.replace("[net]", "[net]\nbatch=6\nsubdivisions=2\nflip=0", 1)
    graph = build_graph(parse_config(text))
    found = open_batches(graph, samples, seed=9, workers=0).batch(2)
    wanted = Batches(
        samples,
        PictureOptions(Augmentation(jitter=0.2), 2),
        SizeSchedule((32, 32)),
        batch=6,
        seed=9,
        workers=0,
    ).batch(2)
    assert_same(found, wanted)
    with pytest.raises(ConfigError, match="mixup=1 is not supported"):
        open_batches(build_graph(parse_config(text.replace("flip=0", "mixup=1"))), samples)
