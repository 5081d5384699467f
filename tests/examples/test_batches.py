"""Batches of scenes: any iteration's can be asked for, and they are what training takes."""

import numpy as np
import pytest

from digits.batches import FRESH, SceneBatches
from digits.scenes import SIZE
from digits.writer import Writer, make_writer

WINDOW, BATCH = 12, 4


@pytest.fixture(scope="module")
def writer() -> Writer:
    return make_writer(range(40), strokes=0.3)


@pytest.fixture
def source(writer: Writer) -> SceneBatches:
    return SceneBatches(writer, batch=BATCH, seed=3, window=WINDOW)


def test_a_batch_depends_on_its_iteration_alone(writer: Writer, source: SceneBatches) -> None:
    in_turn = [source.batch(iteration) for iteration in range(1, 7)]
    for iteration in (6, 2):
        straight = SceneBatches(writer, batch=BATCH, seed=3, window=WINDOW).batch(iteration)
        earlier = in_turn[iteration - 1]
        assert np.array_equal(straight.pictures, earlier.pictures)
        for one, other in zip(straight.truths, earlier.truths, strict=True):
            assert np.array_equal(one.boxes_cxcywh_unit, other.boxes_cxcywh_unit)
            assert np.array_equal(one.classes, other.classes)
    assert not np.array_equal(in_turn[0].pictures, in_turn[1].pictures)


def test_another_seed_gives_other_batches(writer: Writer, source: SceneBatches) -> None:
    other = SceneBatches(writer, batch=BATCH, seed=4, window=WINDOW)
    assert not np.array_equal(source.batch(1).pictures, other.batch(1).pictures)


def test_pictures_and_truths_are_the_networks(source: SceneBatches) -> None:
    batch = source.batch(5)
    assert batch.pictures.shape == (BATCH, 3, SIZE, SIZE)
    assert batch.pictures.dtype == np.float32
    assert 0 <= batch.pictures.min() < 0.3
    assert 0.5 < batch.pictures.max() <= 1
    assert batch.size_px == (SIZE, SIZE)
    for truths in batch.truths:
        centres, sizes = truths.boxes_cxcywh_unit[:, :2], truths.boxes_cxcywh_unit[:, 2:]
        assert (centres - sizes / 2 > 0).all()
        assert (centres + sizes / 2 < 1).all()
        assert len(truths.classes) == len(centres)


def test_the_window_fills_and_then_moves_on(source: SceneBatches) -> None:
    windows = [source.window_at(iteration) for iteration in range(1, 6)]
    assert windows[:3] == [range(4), range(8), range(12)]
    assert windows[3:] == [range(n * FRESH, WINDOW + n * FRESH) for n in (1, 2)]
