"""Maps in a target's memory: how long their arrays are, and which can be copied in chunks."""

from dataclasses import replace

import numpy as np
import pytest

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.maps import download_map, empty_map, map_size, upload_map
from tinyyolo3.layers.pixelwise import channel_range
from tinyyolo3.testing.kernels import kernel_map


@pytest.mark.parametrize(
    ("channels", "pitch", "dtype", "last"),
    [
        (69, 72, np.float16, 72),
        (69, 72, np.float32, 72),
        (69, 80, np.float16, 72),
        (69, 80, np.float32, 72),
        (64, 72, np.float16, 64),
        (3, 8, np.float16, 8),
        (3, 8, np.float32, 4),
        (5, 8, np.float32, 8),
        (69, 69, np.float16, 69),
        (69, 70, np.float16, 69),
        (69, 76, np.float16, 69),  # pixels are whole chunks apart as floats only
        (69, 76, np.float32, 72),
    ],
)
def test_an_array_ends_with_its_last_chunk(
    channels: int, pitch: int, dtype: type, last: int
) -> None:
    assert map_size(1, channels, pitch, dtype) == last
    assert map_size(14, channels, pitch, dtype) == 13 * pitch + last


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("channels", "pitch"), [(3, 8), (5, 5), (5, 6), (8, 8), (11, 32)])
def test_what_is_uploaded_comes_back(channels: int, pitch: int, dtype: type) -> None:
    x = kernel_map((2, channels, 3, 5), 1).astype(dtype)
    here = upload_map(HostTarget(), x, pitch)
    assert here.data.size == map_size(30, channels, pitch, dtype)
    assert np.array_equal(download_map(HostTarget(), here), x)
    assert np.count_nonzero(np.isnan(here.data)) == here.data.size - x.size


def test_maps_that_can_be_copied_in_chunks() -> None:
    target = HostTarget()
    x = empty_map(target, 1, 2, 7, 69, 72, np.float16)
    assert x.in_chunks
    assert not replace(x, data=x.data[:-1]).in_chunks  # the last pixel's last chunk is cut off
    assert channel_range(x, 8, 60).in_chunks
    assert channel_range(x, 64, 5).in_chunks
    assert not channel_range(x, 4, 8).in_chunks  # begins within a chunk
    assert not empty_map(target, 1, 2, 7, 69, 70, np.float16).in_chunks
    assert empty_map(target, 1, 2, 7, 69, 76).in_chunks
    assert not empty_map(target, 1, 2, 7, 69, 76, np.float16).in_chunks
