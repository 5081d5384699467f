"""kernels/route.cu against the plain reference."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.route import route_forward_cuda, route_forward_reference
from tinyyolo3.testing.kernels import (
    assert_stored,
    channel_counts,
    elements,
    kernel_map,
    margins,
    run_on_maps,
)


@st.composite
def routes(draw: st.DrawFn) -> tuple[list[FloatArray], dict[str, int]]:
    """One to three maps of one size, and which group of their channels is wanted."""
    groups = draw(st.integers(1, 3))
    images, height, width = draw(st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7)))
    inputs = [
        kernel_map((images, groups * channels, height, width), seed)
        for seed, channels in enumerate(draw(st.lists(channel_counts, min_size=1, max_size=3)))
    ]
    return inputs, {"groups": groups, "group_id": draw(st.integers(0, groups - 1))}


@settings(max_examples=40, deadline=None)
@given(route=routes(), margin=margins, element=elements, output=elements)
def test_the_kernel_joins_as_the_reference(
    target: Target,
    route: tuple[list[FloatArray], dict[str, int]],
    margin: int,
    element: type,
    output: type,
) -> None:
    inputs, options = [x.astype(element) for x in route[0]], route[1]

    def launch(*maps: Any) -> None:
        route_forward_cuda(target, maps[:-1], maps[-1], **options)

    wide = [x.astype(np.float32) for x in inputs]
    expected = route_forward_reference(wide, **options)
    actual = run_on_maps(target, launch, inputs, expected.shape, margin, output)
    assert_stored(actual, expected, 0)
