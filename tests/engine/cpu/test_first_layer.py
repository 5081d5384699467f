"""The first layer: few lines of the picture at a time, with zeros around them."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.compilation import compilation
from tinyyolo3.engine.cpu.first_layer import JOB_ROWS
from tinyyolo3.engine.cpu.microkernel import ROWS
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.testing.engines import Case, layer_case, plan_case, run_guarded
from tinyyolo3.testing.memory import Side, can_guard, run_in_child
from tinyyolo3.testing.strategies import seeds


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile in the parent what every child would have to load anew."""
    for piece in compilation():
        piece()


def check_guarded(case: Case, pools: bool, side: Side) -> None:
    planned = plan_case(case)
    assert [step.algorithm for step in planned.plan.steps] == ["first layer", "unpack"]
    assert planned.plan.steps[0].layer == int(pools)
    (found,) = run_guarded(planned, case.x, side)
    exact = case.exact([0])[0]
    bound = case.sum_bound(9 * case.x.shape[1] + 1)
    if not pools:
        assert (np.abs(found - exact) <= bound).all()
        return
    # A maximum is off by no more than the worst of its four numbers.
    corners = (*found.shape[:2], found.shape[2], 2, found.shape[3], 2)
    largest, worst = (np.max(a.reshape(corners), axis=(3, 5)) for a in (exact, bound))
    assert (np.abs(found - largest) <= worst).all()


@pytest.mark.skipif(not can_guard(), reason="needs Linux's mprotect and fork")
@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_any_padding_and_height(stride: int, pools: bool) -> None:
    @settings(max_examples=12, deadline=None)
    @given(
        channels=st.integers(1, max(1, LANES // 2)),
        filters=st.sampled_from([1, LANES, LANES + 1, 2 * LANES + 3, 3 * LANES]),
        out_height=st.integers(1, 2 * JOB_ROWS + 1),
        out_width=st.integers((ROWS + 1) // 2, 2 * ROWS),
        padding=st.integers(0, 3),
        side=st.sampled_from(["begin", "end"]),
        seed=seeds(),
    )
    def check(
        channels: int,
        filters: int,
        out_height: int,
        out_width: int,
        padding: int,
        side: Side,
        seed: int,
    ) -> None:
        rows, columns = 2 * out_height if pools else out_height, 2 * out_width
        height, width = ((n - 1) * stride + 3 - 2 * padding for n in (rows, columns))
        assume(height > 0)
        section = f"[convolutional]\nfilters={filters}\nsize=3\nstride={stride}\n"
        section += f"padding={padding}\nactivation=relu\n"
        section += "[maxpool]\nsize=2\nstride=2\n" if pools else ""
        case = layer_case(section, (channels, height, width), seed)
        run_in_child(partial(check_guarded, case, pools, side))

    check()
