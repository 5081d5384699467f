"""No access outside the arena, the scratch, the weights, or the caller's arrays; nothing unwritten.

All of a network's memory lies between guard pages and begins as NaN. Each example runs in a forked
child, so that a stray access is a failed example, which Hypothesis makes small.
"""

import ctypes
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu import engine
from tinyyolo3.engine.cpu.algorithms import PAIRED_FILTERS
from tinyyolo3.engine.cpu.compilation import compilation
from tinyyolo3.testing.convolutions import convolution_configs
from tinyyolo3.testing.engines import (
    WISHES,
    allowing,
    check_outputs,
    make_case,
    plan_case,
    run_guarded,
)
from tinyyolo3.testing.memory import Side, can_guard, guarded_floats, run_in_child
from tinyyolo3.testing.networks import network_configs
from tinyyolo3.testing.strategies import seeds

pytestmark = pytest.mark.skipif(not can_guard(), reason="needs Linux's mprotect and fork")

SIDES = st.sampled_from(["begin", "end"])
#: Wide enough for a row to be more than the slack behind a worker's scratch.
WIDTHS = st.integers(14, 48)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile in the parent what every child would have to load anew."""
    for piece in compilation():
        piece()


def check_guarded(cfg: str, seed: int, side: Side, wish: str | None = None) -> None:
    case = make_case(cfg, seed)
    with allowing(wish):
        planned = plan_case(case, wish=wish)
        check_outputs(case, planned, run_guarded(planned, case.x, side))


@settings(max_examples=40, deadline=None)
@given(cfg=network_configs(wide=True), seed=seeds(), side=SIDES)
def test_a_random_network_keeps_to_its_memory(cfg: str, seed: int, side: Side) -> None:
    run_in_child(partial(check_guarded, cfg, seed, side))


@pytest.mark.parametrize("wish", [None, *WISHES])
def test_every_algorithm_keeps_to_its_memory(wish: str | None) -> None:
    stride = 2 if wish and "/2" in wish else 1
    configs = convolution_configs(
        stride=stride if wish and wish.startswith("winograd") else None,
        max_filters=PAIRED_FILTERS if wish and wish.endswith("pairs") else None,
    )

    @settings(max_examples=10, deadline=None)
    @given(cfg=configs, seed=seeds(), side=SIDES)
    def check(cfg: str, seed: int, side: Side) -> None:
        run_in_child(partial(check_guarded, cfg, seed, side, wish))

    check()


@st.composite
def pooling_configs(draw: st.DrawFn) -> str:
    """Draw a network of one pooling, upsampling or depthwise layer on a wide map, and no more."""
    channels, height, width = draw(st.integers(1, 40)), draw(st.integers(5, 12)), draw(WIDTHS)
    size = draw(st.integers(1, 5))
    steps = f"stride_y={draw(st.integers(1, 2))}\nstride_x={draw(st.integers(1, 2))}\n"
    window = f"size={size}\npadding={draw(st.integers(0, size - 1))}\n{steps}"
    depthwise = f"filters={channels}\ngroups={channels}\nactivation=relu\n{window}"
    section = draw(
        st.sampled_from(
            [f"[maxpool]\n{window}", f"[convolutional]\n{depthwise}", "[upsample]\n", "[avgpool]\n"]
        )
    )
    return f"[net]\nchannels={channels}\nheight={height}\nwidth={width}\n{section}"


@settings(max_examples=60, deadline=None)
@given(cfg=pooling_configs(), seed=seeds(), side=SIDES)
def test_a_layer_alone_keeps_to_its_memory(cfg: str, seed: int, side: Side) -> None:
    """Alone, for the scratch of a network is that of its most demanding layer."""
    run_in_child(partial(check_guarded, cfg, seed, side))


@pytest.mark.parametrize("side", ["begin", "end"])
def test_guards_catch_one_float(side: Side) -> None:
    def read(offset: int) -> Callable[[], None]:
        def function() -> None:
            array = guarded_floats(16, side)
            ctypes.string_at(array.ctypes.data + 4 * offset, 4)

        return function

    run_in_child(read(0))
    run_in_child(read(15))
    with pytest.raises(AssertionError, match="SIGSEGV"):
        run_in_child(read(16 if side == "end" else -1))


def test_a_child_passes_on_what_went_wrong() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_in_child(lambda: print(1 // 0))


def test_the_slack_behind_the_arena_is_used_and_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the slack the guard must be hit: this is what proves that the guards are there."""
    cfg = "[net]\nwidth=1\nheight=1\nchannels=40\n[convolutional]\nfilters=8\nsize=1\n"
    run_in_child(partial(check_guarded, cfg, 1, "end"))
    monkeypatch.setattr(engine, "SLACK_BYTES", 0)
    with pytest.raises(AssertionError, match="SIGSEGV"):
        run_in_child(partial(check_guarded, cfg, 1, "end"))
