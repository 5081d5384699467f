"""Products of pixels and panels: however they are cut into jobs, the same bits."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu import lower_convolutions, packing, sharing
from tinyyolo3.engine.cpu.algorithms import PAIRED_FILTERS
from tinyyolo3.engine.cpu.arithmetic import HALF_BLOCK, HAS_BFLOAT16
from tinyyolo3.engine.cpu.microkernel import ROWS, SHORT_ROWS
from tinyyolo3.engine.cpu.sharing import Cut, cut_product
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.testing.engines import Case, layer_case, plan_case
from tinyyolo3.testing.strategies import seeds

PRECISIONS = ("fp32", "bf16") if HAS_BFLOAT16 else ("fp32",)


def pointwise(channels: int, filters: int, sides: tuple[int, int], seed: int) -> Case:
    section = f"[convolutional]\nfilters={filters}\nsize=1\nactivation=leaky\n"
    return layer_case(section, (channels, *sides), seed)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("by_chunk", [False, True])
def test_every_cut_gives_the_same(by_chunk: bool, precision: str) -> None:
    @settings(max_examples=20, deadline=None)
    @given(
        filters=st.integers(1, 9 * LANES),
        sides=st.tuples(st.integers(1, 9), st.integers(1, 17)),
        tiles=st.integers(1, 5),
        share=st.integers(1, 5),
        tile_rows=st.sampled_from([ROWS, SHORT_ROWS]),
        seed=seeds(),
    )
    def check(
        filters: int, sides: tuple[int, int], tiles: int, share: int, tile_rows: int, seed: int
    ) -> None:
        pixels, panels = sides[0] * sides[1], packing.panels(filters)
        chunk = min(tiles * tile_rows, pixels)
        cut = Cut(chunk, -(-pixels // chunk), share, -(-panels // share), by_chunk, tile_rows)
        chosen = {
            "cut_product": lambda *_: cut,
            "choose_tile_rows": lambda *own: SHORT_ROWS if own[2].fold else tile_rows,
        }
        case = pointwise(2 * LANES + 1, filters, sides, seed)
        usual = plan_case(case, precision=precision).forward(case.x)[0]
        with patch.dict(vars(lower_convolutions), chosen):
            planned = plan_case(case, precision=precision)
            found = planned.forward(case.x)[0]
        np.testing.assert_array_equal(found, usual)
        if precision == "fp32":
            assert (np.abs(found - case.exact()[0]) <= case.sum_bound(2 * LANES + 2)).all()

    check()


@pytest.mark.parametrize("small_weights", [0, sharing.SMALL_WEIGHTS])
def test_panel_by_panel_where_weights_fill_the_cache(small_weights: int) -> None:
    with patch.dict(vars(sharing), {"SMALL_WEIGHTS": small_weights}):
        cut = cut_product.__wrapped__(600, 4 * BLOCK, 5 * LANES, 1 << 14, workers=2, jobs=8)
    assert cut.by_chunk == (small_weights > 0)
    assert cut.chunks * cut.chunk >= 600 > (cut.chunks - 1) * cut.chunk
    assert cut.groups * cut.panels_per_job >= 3 > (cut.groups - 1) * cut.panels_per_job


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("channels", "filters"), [(3 * LANES, 40), (2 * LANES + 3, 2)])
def test_a_map_that_has_left_the_caches_is_prefetched(
    channels: int, filters: int, precision: str
) -> None:
    """At and below the limit; the bits are the same."""
    sides = (7, 9)
    case = pointwise(max(channels, 32), filters, sides, seed=2)
    wide = precision == "bf16" and filters >= 32
    size = packing.blocks(case.x.shape[1]) * 63 * (HALF_BLOCK if wide else BLOCK)
    found = []
    for limit, far in ((size, 1), (size + 1, 0)):
        with patch.dict(vars(lower_convolutions), {"FAR_BYTES": limit}):
            planned = plan_case(case, precision=precision)
            workspace = planned.take_workspace()
            assert planned.plan.steps[1].algorithm.startswith("multiply")
            assert workspace.record(1)["far"] == far
            planned.idle.append(workspace)
            found.append(planned.forward(case.x)[0])
    np.testing.assert_array_equal(*found)


@pytest.mark.skipif(not PAIRED_FILTERS, reason="vectors of four multiply no pairs")
@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 2 * LANES + 3),
    filters=st.integers(1, max(1, PAIRED_FILTERS)),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 17)),
    size=st.sampled_from([1, 2, 5]),
    seed=seeds(),
)
def test_layers_of_few_filters_multiply_two_channels_at_once(
    channels: int, filters: int, sides: tuple[int, int], size: int, seed: int
) -> None:
    """By the engine's own choice."""
    section = f"[convolutional]\nfilters={filters}\nsize={size}\npadding={size // 2}\n"
    case = layer_case(f"{section}activation=leaky\n", (channels, *sides), seed)
    planned = plan_case(case)
    assert planned.plan.steps[1].algorithm.endswith(" pairs")
    bound = case.sum_bound(channels * size**2 + 1)
    assert (np.abs(planned.forward(case.x)[0] - case.exact()[0]) <= bound).all()
