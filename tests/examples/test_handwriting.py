"""Who is trained on is never who is evaluated on."""

import numpy as np

from digits.handwriting import HELD_OUT, UNSEEN_WRITERS, handwriting, split


def test_every_digit_belongs_to_one_part() -> None:
    parts = split()
    assert set(parts) == {"train", "held out", "unseen writers"}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1797))


def test_the_unseen_writers_are_the_last_ones() -> None:
    parts = split()
    assert list(parts["unseen writers"]) == list(range(1797 - UNSEEN_WRITERS, 1797))
    assert len(parts["held out"]) == HELD_OUT
    # A part of a shuffled row, not of hands that stand together.
    assert np.ptp(parts["held out"]) > 1500


def test_every_part_has_every_digit() -> None:
    _, digits = handwriting()
    for positions in split().values():
        assert np.bincount(digits[positions], minlength=10).min() >= 14


def test_ink_is_one_and_paper_is_zero() -> None:
    pictures, digits = handwriting()
    assert pictures.shape == (1797, 8, 8)
    assert pictures.dtype == np.float32
    assert (pictures.min(), pictures.max()) == (0, 1)
    assert list(digits[:5]) == [0, 1, 2, 3, 4]
