"""kernels/resize.cu against the plain reference, bit for bit."""

from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.maps import empty_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.image.files import to_grey
from tinyyolo3.image.geometry import Geometry, resize_geometry
from tinyyolo3.image.resize import network_input_reference
from tinyyolo3.image.resize_cuda import FRAME, fill_frames, network_input_cuda
from tinyyolo3.testing.kernels import assert_stored, elements, margins, run_on_maps

MODES = ("letterbox", "stretch")


def network_input_on(
    target, pictures, width, height, mode, *, channels=3, places=None, margin=0, element=None
):
    """Run the kernel on a batch with so many places."""
    places = len(pictures) if places is None else places
    geometries = [resize_geometry(p.shape[1], p.shape[0], width, height, mode) for p in pictures]
    frames = np.empty(places, FRAME)
    pixels = np.concatenate([p.reshape(-1) for p in pictures])
    assert fill_frames(frames, geometries) == pixels.size
    tables = target.upload(pixels), target.upload(frames.view(np.uint8))
    launch = partial(network_input_cuda, target, *tables)
    return run_on_maps(target, launch, [], (places, channels, height, width), margin, element)


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=50, deadline=None)
@given(
    shapes=st.lists(sizes, min_size=1, max_size=3),
    network=st.tuples(st.integers(1, 48), st.integers(1, 48)),
    mode=st.sampled_from(MODES),
    grey=st.booleans(),
    margin=margins,
    element=elements,
)
@example([(240, 3)], (5, 416), "stretch", False, 0, np.float32)  # Darknet's dark last row
@example([(3, 240), (4, 4)], (416, 22), "stretch", True, 1, np.float32)
def test_the_bits_are_the_references(
    target: Target,
    shapes: list[tuple[int, int]],
    network: tuple[int, int],
    mode: str,
    grey: bool,
    margin: int,
    element: type,
) -> None:
    rng = np.random.default_rng(len(shapes))
    pictures = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    channels = 1 if grey else 3
    options = {"channels": channels, "margin": margin, "element": element}
    found = network_input_on(target, pictures, *network, mode, **options)
    for picture, got in zip(pictures, found, strict=True):
        seen = to_grey(picture) if grey else picture
        assert_stored(got, network_input_reference(seen, *network, mode)[:channels], 0)


def test_every_byte_is_divided_as_by_darknet(target: Target) -> None:
    picture = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=2)
    found = network_input_on(target, [picture], 16, 16, "stretch")
    assert np.array_equal(found[0, 1].ravel(), (np.arange(256) / 255.0).astype(np.float32))


def test_a_place_without_a_picture_is_border(target: Target) -> None:
    picture = np.full((5, 7, 3), 255, np.uint8)
    found = network_input_on(target, [picture], 8, 8, "stretch", places=3)
    assert (found[0] == 1).all()
    assert (found[1:] == 0.5).all()


def test_more_pictures_than_places_are_refused() -> None:
    frame = Geometry(4, 4, 8, 8, 8, 8, 0, 0)
    with pytest.raises(InputError, match="a batch of 1 has no room for 2 pictures"):
        fill_frames(np.empty(1, FRAME), [frame, frame])


def test_other_channels_are_refused(target: Target) -> None:
    nothing = target.empty(0, np.uint8)
    with pytest.raises(InputError, match="1 or 3 channels, not 4"):
        network_input_cuda(target, nothing, nothing, empty_map(target, 1, 8, 8, 4))
