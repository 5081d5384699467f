"""Which labels of a picture training sees, by Darknet's rules."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.data.darknet import read_darknet_list
from tinyyolo3.data.samples import Sample
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64
from tinyyolo3.train.labels import MOST_LABELS, darknet_truths

NETWORK_PX = (32, 16)


def sample(*labels: tuple[float, float, float, float, float]) -> Sample:
    """Return a picture of 200x100 px with labels (class, cx, cy, w, h), as in a file."""
    numbers = np.array(labels, np.float64).reshape(-1, 5)
    centre, half = numbers[:, 1:3], numbers[:, 3:] / 2
    boxes = np.hstack([centre - half, centre + half]) * (200, 100, 200, 100)
    count = len(numbers)
    no = np.zeros(count, np.bool_)
    classes = numbers[:, 0].astype(np.int64)
    return Sample(Path("a.png"), 200, 100, boxes, classes, no, no, np.zeros(count), 1, ())


def test_a_box_inside_keeps_its_numbers():
    found = darknet_truths(sample((1, 0.5, 0.25, 0.2, 0.4)), NETWORK_PX, 2)
    np.testing.assert_allclose(
        found.boxes_cxcywh_unit, [[0.5, 0.25, 0.2, 0.4]], rtol=ELEMENTARY_FLOAT64
    )
    assert found.classes.tolist() == [1]


def test_a_box_is_cut_at_the_borders_and_centred_anew():
    found = darknet_truths(sample((0, 0.0, 0.9, 0.5, 0.4)), NETWORK_PX, 1)
    np.testing.assert_allclose(
        found.boxes_cxcywh_unit, [[0.125, 0.85, 0.25, 0.3]], rtol=ELEMENTARY_FLOAT64
    )


@pytest.mark.parametrize(
    "label",
    [
        (2, 0.5, 0.5, 0.5, 0.5),  # no such class
        (0, 0.5, 0.5, 0.9 / 32, 0.5),  # narrower than a pixel of the network's input
        (0, 0.5, 0.5, 0.5, 0.9 / 16),
        (0, 0.0, 0.5, 1.9 / 32, 0.5),  # so once cut
        (0, 1.6, 0.5, 0.5, 0.5),  # outside
        (0, 0.5, -0.6, 0.5, 0.5),
        (0, 0.0, 0.0, 0.5, 0.5),  # a label that was never drawn
    ],
)
def test_what_darknet_drops_is_dropped(label: tuple[float, float, float, float, float]) -> None:
    found = darknet_truths(sample(label, (1, 0.5, 0.5, 0.5, 0.5)), NETWORK_PX, 2)
    assert found.classes.tolist() == [1]


def test_a_box_of_just_a_pixel_is_kept():
    found = darknet_truths(sample((0, 0.5, 0.5, 1 / 32, 1 / 16)), NETWORK_PX, 1)
    assert len(found.classes) == 1


def test_a_centre_at_one_border_alone_is_no_mark():
    found = darknet_truths(sample((0, 0.0, 0.5, 0.5, 0.5)), NETWORK_PX, 1)
    assert len(found.classes) == 1


def test_a_picture_without_labels_has_none():
    found = darknet_truths(sample(), NETWORK_PX, 1)
    assert found.boxes_cxcywh_unit.shape == (0, 4)


def test_the_limit_counts_labels_that_are_dropped_afterwards():
    dropped, kept = (9, 0.5, 0.5, 0.5, 0.5), (0, 0.5, 0.5, 0.5, 0.5)
    many = sample(*[dropped] * MOST_LABELS, kept)
    assert len(darknet_truths(many, NETWORK_PX, 1).classes) == 0
    many = sample(dropped, *[kept] * MOST_LABELS)
    assert len(darknet_truths(many, NETWORK_PX, 1).classes) == MOST_LABELS - 1


def test_labels_are_shuffled_before_the_limit_and_boxes_keep_their_classes():
    labels = [(n, 0.5, 0.5, 0.2 + n / 100, 0.5) for n in range(50)]
    found = darknet_truths(
        sample(*labels), NETWORK_PX, 50, order=np.random.default_rng(0), limit=20
    )
    assert len(found.classes) == 20
    assert found.classes.tolist() != sorted(found.classes.tolist())
    np.testing.assert_allclose(
        found.boxes_cxcywh_unit[:, 2], 0.2 + found.classes / 100, rtol=ELEMENTARY_FLOAT64
    )


def test_darknets_files_are_read_by_the_data_room(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "list.txt").write_text("a.png\n")
    (read,) = read_darknet_list(tmp_path / "list.txt", names=["cat"])
    found = darknet_truths(read, NETWORK_PX, 1)
    np.testing.assert_array_equal(found.boxes_cxcywh_unit, [[0.5, 0.5, 0.25, 0.5]])
