"""How maps are shared out among threads."""

from dataclasses import replace

import numpy as np
import pytest

from tinyyolo3.cuda.maps import empty_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.pixelwise import channel_range, lanes_of, pixelwise_grid


@pytest.mark.parametrize(
    ("channels", "pitch", "lanes"), [(8, 8, 4), (8, 12, 4), (6, 8, 1), (8, 10, 1), (3, 3, 1)]
)
def test_four_channels_at_once_need_aligned_pixels(
    target: Target, channels: int, pitch: int, lanes: int
) -> None:
    assert lanes_of(empty_map(target, 1, 2, 3, channels, pitch)) == lanes


def test_all_maps_must_be_aligned_for_four_channels_at_once(target: Target) -> None:
    wide, narrow = empty_map(target, 1, 2, 3, 8), empty_map(target, 1, 2, 3, 6)
    assert lanes_of(wide, wide) == 4
    assert lanes_of(wide, narrow) == lanes_of(narrow, wide) == 1
    assert lanes_of(channel_range(wide, 4, 4)) == 4
    assert lanes_of(replace(wide, data=wide.data[1:], channels=4)) == 1


def test_a_channel_range_lies_in_its_map(target: Target) -> None:
    x = empty_map(target, 1, 1, 3, 5)
    part = channel_range(x, 1, 2)
    assert (part.channels, part.pitch) == (2, 5)
    assert np.asarray(target.download(part.data)).size == 2 * 5 + 2
    assert channel_range(x, 0, 5) is x


def test_the_grid_has_a_thread_for_each_group_of_channels(target: Target) -> None:
    assert pixelwise_grid(empty_map(target, 2, 16, 16, 4), 4) == (1, 2)
    assert pixelwise_grid(empty_map(target, 3, 16, 17, 4), 1) == (5, 3)
