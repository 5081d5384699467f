"""The sizes that anchors are for: of which boxes, and as the network sees them."""

from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.anchors import read_sizes
from tinyyolo3.data.samples import DataSet, Sample, areas_px2
from tinyyolo3.errors import DataError, InputError


def sample(*boxes: tuple[float, ...], width: int = 200, height: int = 100, **options) -> Sample:
    array = np.array(boxes, np.float64).reshape(-1, 4)
    none = np.zeros(len(array), bool)
    return Sample(
        Path("a.png"), width, height, array, np.zeros(len(array), np.int64),
        np.array(options.get("crowds", none)), np.array(options.get("difficults", none)),
        areas_px2(array), 1, tuple(f"a.txt line {i + 1}" for i in range(len(array))),
    )  # fmt: skip


def dataset(*samples: Sample) -> DataSet:
    return DataSet(Path("set.json"), "coco", ("x",), (1,), len(samples), lambda: iter(samples))


BOX = (10.0, 20, 60, 45)  # a quarter of the picture's width and of its height


def test_stretched_sizes_are_shares_of_the_input() -> None:
    found = read_sizes(dataset(sample(BOX), sample(BOX, width=100, height=50)), (608, 352))
    assert found.sizes_px.tolist() == [[152, 88], [304, 176]]
    assert found.pictures == 2


def test_letterboxed_sizes_keep_their_aspect() -> None:
    found = read_sizes(dataset(sample(BOX)), (400, 400), "letterbox")
    assert found.sizes_px.tolist() == [[100, 50]]


def test_boxes_end_at_their_picture() -> None:
    boxes = [(-50.0, -10, 100, 50), (150, 0, 1e9, 200), (300, 0, 400, 50)]
    found = read_sizes(dataset(sample(*boxes)), (200, 100))
    assert found.sizes_px.tolist() == [[100, 50], [50, 100]]
    assert found.flat == 1, "the last one is outside"


def test_what_is_left_out_is_counted_once() -> None:
    flat = (5.0, 5, 5, 9)
    boxes = [BOX, BOX, BOX, flat, flat, flat, flat]
    crowds = [False, True, False, True, False, False, False]
    difficults = [False, True, True, True, True, False, False]
    found = read_sizes(dataset(sample(*boxes, crowds=crowds, difficults=difficults)), (200, 100))
    assert found.sizes_px.tolist() == [[50, 25]]
    assert (found.crowds, found.difficults, found.flat) == (2, 2, 2)


def test_progress_is_told_of_every_picture() -> None:
    told: list[int] = []
    read_sizes(dataset(sample(BOX), sample(), sample(BOX)), (32, 32), progress=told.append)
    assert told == [1, 2, 3]


@pytest.mark.parametrize("samples", [(), (sample(),), (sample(BOX, crowds=[True]),)])
def test_no_boxes_is_an_error_that_names_the_set(samples: tuple[Sample, ...]) -> None:
    with pytest.raises(DataError, match=r"^set\.json: no boxes to find anchors for in \d pictures"):
        read_sizes(dataset(*samples), (416, 416))


def test_an_input_without_pixels_is_refused() -> None:
    with pytest.raises(InputError):
        read_sizes(dataset(sample(BOX)), (0, 416))
