"""Moving blocked mini-batches about, against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.layers.route import route_backward_reference
from tinyyolo3.layers.shortcut import shortcut_backward_reference
from tinyyolo3.layers.upsample import upsample_backward_reference
from tinyyolo3.testing.batches import Batch, run_lowered
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation
from tinyyolo3.train.cpu.maps import (
    lower_add,
    lower_insert_zeros,
    lower_overlay,
    lower_pack,
    lower_unpack,
    lower_upsample_backward,
    lower_zero,
)

COUNTS = st.integers(1, 2 * LANES + 3)
SIDES = st.tuples(st.integers(1, 20), st.integers(1, 20))


def draw(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return small whole numbers, whose sums and products have no rounding."""
    return np.random.default_rng(seed).integers(-99, 99, shape).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(
    images=st.integers(1, 3), channels=COUNTS, sides=SIDES, jobs=st.integers(1, 20), seed=seeds()
)
def test_pack_and_unpack(
    images: int, channels: int, sides: tuple[int, int], jobs: int, seed: int
) -> None:
    plain = draw((images, channels, *sides), seed)
    batch, back = Batch(plain.shape), np.full(plain.size + 1, np.nan, np.float32)
    run_lowered(lower_pack(plain.ctypes.data, batch.map, jobs))
    np.testing.assert_array_equal(batch.values(), plain)
    assert not batch.spare().any()
    assert batch.touched() == 0
    run_lowered(lower_unpack(batch.map, back.ctypes.data, jobs))
    np.testing.assert_array_equal(back[:-1].reshape(plain.shape), plain)
    assert np.isnan(back[-1])
    run_lowered(lower_zero(batch.map, jobs))
    assert not batch.values().any()
    assert batch.touched() == 0


@settings(max_examples=80, deadline=None)
@given(
    images=st.integers(1, 2),
    counts=st.tuples(COUNTS, COUNTS, COUNTS),
    aligned=st.booleans(),
    sides=SIDES,
    source_step=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    target_step=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    factor=st.sampled_from([1.0, -2.0]),
    accumulate=st.booleans(),
    jobs=st.integers(1, 20),
    seed=seeds(),
)
def test_overlay(
    images: int,
    counts: tuple[int, int, int],
    aligned: bool,
    sides: tuple[int, int],
    source_step: tuple[int, int],
    target_step: tuple[int, int],
    factor: float,
    accumulate: bool,
    jobs: int,
    seed: int,
) -> None:
    first, offset, channels = counts
    if aligned:
        first, offset = first // LANES * LANES, offset // LANES * LANES
    rng = np.random.default_rng(seed)
    after = int(rng.integers(0, 3))

    def shape(begin: int, step: tuple[int, int]) -> tuple[int, ...]:
        own = [(side - 1) * s + 1 for side, s in zip(sides, step, strict=True)]
        return images, begin + channels + after, *own

    source = draw(shape(first, source_step), seed)
    target = draw(shape(offset, target_step), seed + 1)
    source_batch, batch = Batch.of(source), Batch.of(target, spare=7.0)
    run_lowered(
        lower_overlay(
            source_batch.map, batch.map, jobs, first=first, offset=offset, channels=channels,
            source_step=source_step, target_step=target_step, factor=factor, accumulate=accumulate,
        )
    )  # fmt: skip
    taken = source[:, first : first + channels, :: source_step[0], :: source_step[1]]
    place = target[:, offset : offset + channels, :: target_step[0], :: target_step[1]]
    place[...] = factor * taken + accumulate * place
    np.testing.assert_array_equal(batch.values(), target)
    spare = batch.spare()[..., :: target_step[0], :: target_step[1]]
    assert (spare == (7 if after else 0)).all()
    assert batch.touched() == 0


@settings(max_examples=20, deadline=None)
@given(
    factor=st.integers(1, 3),
    other=st.integers(1, 2 * LANES),
    larger=st.booleans(),
    alpha=st.sampled_from([1.0, 0.5]),
    seed=seeds(),
)
def test_shortcut_backward(factor: int, other: int, larger: bool, alpha: float, seed: int) -> None:
    small, large = (3, 5), (3 * factor, 5 * factor)
    gradient = draw((2, LANES + 2, *(small if larger else large)), seed)
    shape = (2, other, *(large if larger else small))
    step, sample = (factor, 1) if larger else (1, factor)
    of_x, of_other = Batch.of(gradient), Batch(shape)
    # The spare lanes of a gradient are zero; here one job reads and writes them in place.
    count = min(gradient.shape[1], other)
    steps = {"source_step": (sample, sample), "channels": count, "factor": 2.0}
    rows = [
        *lower_zero(of_other.map, 8),
        *lower_overlay(of_x.map, of_other.map, 8, target_step=(step, step), **steps),
        *lower_overlay(
            of_x.map, of_x.map, 8, channels=count, factor=alpha, source_step=(sample, sample),
            target_step=(sample, sample),
        ),
    ]  # fmt: skip
    run_lowered(rows)
    expected = shortcut_backward_reference(gradient, [shape], alpha=alpha, beta=2.0)
    np.testing.assert_array_equal(of_x.values(), expected[0])
    np.testing.assert_array_equal(of_other.values(), expected[1])


def test_route_backward_of_two_groups_from_the_middle_of_blocks() -> None:
    channels, groups, group = [LANES + 2, 6], 2, 1
    gradient = draw((2, sum(channels) // groups, 4, 5), 0)
    source = Batch.of(gradient)
    expected = route_backward_reference(gradient, channels, groups=groups, group_id=group)
    first = 0
    for count, wanted in zip(channels, expected, strict=True):
        own = Batch.of(np.ones(wanted.shape, np.float32))
        part = count // groups
        run_lowered(
            lower_overlay(
                source.map, own.map, 8, first=first, offset=group * part, channels=part,
                accumulate=True,
            )
        )  # fmt: skip
        np.testing.assert_array_equal(own.values(), wanted + 1)
        first += part


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
def test_zeros_between_pixels(stride: tuple[int, int]) -> None:
    gradient = draw((2, LANES + 1, 7, 9), 0)
    target = Batch((2, LANES + 1, 6 * stride[0] + 2, 8 * stride[1] + 1))
    source = Batch.of(gradient)
    run_lowered(lower_insert_zeros(source.map, target.map, stride, 8))
    expected = np.zeros(target.values().shape, np.float32)
    expected[:, :, : 6 * stride[0] + 1 : stride[0], :: stride[1]] = gradient
    np.testing.assert_array_equal(target.values(), expected)
    assert not target.spare().any()
    assert target.touched() == 0


@settings(max_examples=20, deadline=None)
@given(
    factor=st.integers(1, 4),
    sides=SIDES,
    channels=COUNTS,
    scale=st.sampled_from([1.0, 0.3]),
    accumulate=st.booleans(),
    jobs=st.integers(1, 20),
    seed=seeds(),
)
def test_upsample_backward(
    factor: int,
    sides: tuple[int, int],
    channels: int,
    scale: float,
    accumulate: bool,
    jobs: int,
    seed: int,
) -> None:
    gradient = draw((2, channels, sides[0] * factor, sides[1] * factor), seed)
    before = draw((2, channels, *sides), seed + 1)
    source = Batch.of(gradient, spare=0.0)
    target = Batch.of(before, spare=0.0) if accumulate else Batch(before.shape)
    run_lowered(
        lower_upsample_backward(
            source.map, target.map, jobs, factor=factor, scale=scale, accumulate=accumulate
        )
    )
    expected = upsample_backward_reference(gradient, stride=factor, scale=scale)
    magnitude = upsample_backward_reference(np.abs(gradient), stride=factor) + np.abs(before)
    error = np.abs(target.values() - expected - before * accumulate)
    assert (error <= summation(magnitude, factor**2)).all()
    assert not target.spare().any()
    assert target.touched() == 0


def test_adding_one_map_to_another() -> None:
    shape = (3, LANES + 5, 13, 11)
    source, target = Batch.of(draw(shape, 0)), Batch.of(draw(shape, 1))
    run_lowered(lower_add(source.map, target.map, 8))
    np.testing.assert_array_equal(target.values(), draw(shape, 0) + draw(shape, 1))
