"""Products in bfloat16: what is lost is the rounding of inputs and weights, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.algorithms import BFLOAT16_CHANNELS, candidates
from tinyyolo3.engine.cpu.arithmetic import HALF_BLOCK, HAS_BFLOAT16
from tinyyolo3.engine.cpu.depthwise_rows import RUN
from tinyyolo3.engine.cpu.engine import PlannedNetwork
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.network import specs
from tinyyolo3.testing.engines import Case, allowing, guard, layer_case, plan_case
from tinyyolo3.testing.memory import can_guard, run_in_child
from tinyyolo3.testing.oracles import bfloat16_oracle
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation

pytestmark = pytest.mark.skipif(not HAS_BFLOAT16, reason="this processor has no bfloat16")


@pytest.mark.parametrize("wish", ["multiply bf16", "im2col bf16", "im2col shared bf16"])
def test_a_convolution_is_exact_on_rounded_numbers(wish: str) -> None:
    size = 1 if wish.startswith("multiply") else 3

    @settings(max_examples=40, deadline=None)
    @given(
        channels=st.integers(max(1, LANES // 2) + 1, 70),
        filters=st.integers(1, 70),
        sides=st.tuples(st.integers(1, 14), st.integers(1, 14)),
        ties=st.booleans(),
        seed=seeds(),
    )
    def check(channels: int, filters: int, sides: tuple[int, int], ties: bool, seed: int) -> None:
        section = f"[convolutional]\nfilters={filters}\nsize={size}\npad=1\nactivation=linear\n"
        case = layer_case(section, (channels, *sides), seed)
        own = case.parameters[0]
        if ties:  # numbers of nine bits lie halfway between two of eight
            for array in (case.x, own["weights"]):
                array[...] = np.round(array * 64) + 257 * np.sign(array)
        with allowing(wish):
            planned = plan_case(case, wish=wish)
            assert wish in {step.algorithm for step in planned.plan.steps}
            found = planned.forward(case.x)[0]
        numbers = {"weights": bfloat16_oracle(own["weights"]), "biases": own["biases"]}
        rounded = Case(case.graph, {0: numbers}, bfloat16_oracle(case.x))
        bound = rounded.sum_bound(channels * size**2 + 1)
        assert (np.abs(found - rounded.exact()[0]) <= bound).all()

    check()


@pytest.mark.parametrize("channels", [BFLOAT16_CHANNELS - 1, BFLOAT16_CHANNELS])
@pytest.mark.parametrize("filters", [BFLOAT16_CHANNELS - 1, BFLOAT16_CHANNELS])
@pytest.mark.parametrize("groups", [1, 2])
def test_layers_of_few_channels_or_filters_stay_in_float32(
    channels: int, filters: int, groups: int
) -> None:
    """Of groups that stay apart, each must have enough."""
    counts = (groups * channels, groups * filters)
    section = f"[convolutional]\nfilters={counts[1]}\ngroups={groups}\nsize=1\nactivation=linear\n"
    (layer,) = layer_case(section, (counts[0], 4, 4), seed=1).graph.layers
    assert isinstance(layer, specs.Convolutional)
    parts = 1 if any(count % LANES for count in (channels, filters)) else groups
    enough = min(counts) // parts >= BFLOAT16_CHANNELS
    for precision in ("fp32", "bf16"):
        names = [candidate.algorithm for candidate in candidates(layer, precision)]
        assert names == ["multiply bf16" if enough and precision == "bf16" else "multiply"]


def depthwise_case(size: int, stride: int, sides: tuple[int, int], seed: int, more: str) -> Case:
    """Return a depthwise layer of 40 channels, whose sums are exact, and what reads its map."""
    section = f"[convolutional]\nfilters=40\ngroups=40\nsize={size}\nstride={stride}\npad=1\n"
    case = layer_case(f"{section}activation=relu\n{more}", (40, *sides), seed)
    for array in (case.x, *case.parameters[0].values()):
        array[...] = np.round(array * 64)
    return case


def pointwise(filters: int = 48, more: str = "") -> str:
    return f"[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n{more}"


def check_products(
    case: Case, layer: int, found: np.ndarray, extra: np.ndarray | float = 0
) -> None:
    """Check a 1 × 1 convolution of the depthwise map, rounded, of rounded weights."""
    x = bfloat16_oracle(case.exact([0])[0])[0].astype(np.float64)
    own = case.parameters[layer]
    weights = bfloat16_oracle(own["weights"])[:, :, 0, 0].astype(np.float64)
    biases = own["biases"][:, None, None].astype(np.float64)
    exact = np.einsum("fc,chw->fhw", weights, x) + biases + extra
    magnitude = np.einsum("fc,chw->fhw", np.abs(weights), np.abs(x)) + np.abs(biases)
    assert (np.abs(found - exact) <= summation(magnitude + np.abs(extra), 42)).all()


def target_pixel(planned: PlannedNetwork) -> int:
    """Return how many bytes a pixel's block has in the map that the depthwise layer writes."""
    workspace = planned.take_workspace()
    planned.idle.append(workspace)
    (step,) = (i for i, s in enumerate(planned.plan.steps) if s.algorithm == "depthwise")
    return int(workspace.record(step)["target_pixel"][0])


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("readers", [1, 2])
def test_a_depthwise_map_that_only_such_products_read_is_rounded(
    size: int, stride: int, readers: int
) -> None:
    @settings(max_examples=10, deadline=None)
    @given(height=st.integers(1, 9), width=st.integers(RUN, 2 * RUN + 1), seed=seeds())
    def check(height: int, width: int, seed: int) -> None:
        more = pointwise() + f"[route]\nlayers=0\n{pointwise()}" * (readers - 1)
        case = depthwise_case(size, stride, (height, stride * width), seed, more)
        layers = [1, 3][:readers]
        planned = plan_case(case, layers, precision="bf16")
        assert target_pixel(planned) == HALF_BLOCK
        for layer, found in zip(layers, planned.forward(case.x), strict=True):
            check_products(case, layer, found[0])
        if can_guard():
            run_in_child(
                lambda: check_products(case, 1, guard(planned, "end").forward(case.x)[0][0])
            )

    check()


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        (pointwise(40, "[shortcut]\nfrom=0\nactivation=linear\n"), [2]),
        (pointwise(48, "[route]\nlayers=-1,0\n"), [2]),
        (pointwise(), [0, 1]),
        (pointwise(48, "[route]\nlayers=0\n[maxpool]\nsize=2\nstride=2\n"), [1, 3]),
        (pointwise(48, f"[route]\nlayers=0\n{pointwise(9)}"), [1, 3]),
    ],
    ids=["shortcut", "route", "output", "pooling", "float32"],
)
def test_a_depthwise_map_that_others_read_is_not(more: str, wanted: list[int]) -> None:
    case = depthwise_case(3, 1, (6, 2 * RUN), 5, more)
    planned = plan_case(case, wanted, precision="bf16")
    assert "multiply bf16" in {step.algorithm for step in planned.plan.steps}
    assert target_pixel(planned) == BLOCK
    found = dict(zip(planned.plan.outputs, planned.forward(case.x), strict=True))
    exact = case.exact()
    if "[shortcut]" in more:
        check_products(case, 1, found[2][0], exact[0][0])
        return
    check_products(case, 1, found[1][0] if 1 in found else found[2][0, :48])
    if 2 in found:
        np.testing.assert_array_equal(found[2][0, 48:], exact[0][0])
    if 0 in found:
        np.testing.assert_array_equal(found[0], exact[0])
    if 3 in found and "[maxpool]" in more:
        np.testing.assert_array_equal(found[3], exact[3])
    elif 3 in found:
        sizes = np.abs(case.parameters[3]["weights"][:, :, 0, 0]).astype(np.float64)
        magnitude = np.einsum("fc,chw->fhw", sizes, exact[0][0]) + 1
        assert (np.abs(found[3][0] - exact[3][0]) <= summation(magnitude, 42)).all()


@pytest.mark.parametrize("reader", ["mish", "groups", "no row kernel"])
def test_nor_is_one_that_products_read_otherwise(reader: str) -> None:
    """An activation of its own, a product for each group, a window without a kernel for rows."""
    activation = "mish" if reader == "mish" else "relu"
    size = 4 if reader == "no row kernel" else 3
    groups = 2 if reader == "groups" else 1
    text = f"[convolutional]\nfilters=64\ngroups=64\nsize={size}\npad=1\n"
    text += f"activation={activation}\n[convolutional]\nfilters=64\nsize=1\ngroups={groups}\n"
    case = layer_case(text + "activation=linear\n", (64, 5, 2 * RUN), seed=3)
    planned = plan_case(case, precision="bf16")
    assert "multiply bf16" in {step.algorithm for step in planned.plan.steps}
    assert target_pixel(planned) == BLOCK
