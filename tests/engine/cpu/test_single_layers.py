"""Operations on blocked maps, each in a network of one layer, against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.engine.cpu import algorithms
from tinyyolo3.engine.cpu.microkernel import ROWS
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.engine.eager import run_graph
from tinyyolo3.network import specs
from tinyyolo3.testing.engines import Case, layer_case, plan_case
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation

#: Around one and two blocks, for any number of lanes.
CHANNELS = st.sampled_from([1, 2, LANES - 1, LANES, LANES + 1, 2 * LANES, 2 * LANES + 3])
SIDES = st.integers(1, 23)


def run(case: Case) -> tuple[list[str], np.ndarray]:
    """Return the algorithms that ran, and the first output."""
    planned = plan_case(case)
    return [step.algorithm for step in planned.plan.steps], planned.forward(case.x)[0]


def reference(case: Case) -> np.ndarray:
    """Return the output by plain NumPy in float32."""
    last = len(case.graph.layers) - 1
    return run_graph(case.graph, case.parameters, REFERENCE, case.x, [last])[last]


@settings(max_examples=80, deadline=None)
@given(
    channels=CHANNELS.filter(lambda c: c > 1),
    sides=st.tuples(SIDES, SIDES),
    size=st.integers(1, 5),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 4),
    activation=st.sampled_from(["linear", "relu"]),
    seed=seeds(),
)
def test_depthwise(
    channels: int,
    sides: tuple[int, int],
    size: int,
    stride: tuple[int, int],
    padding: int,
    activation: str,
    seed: int,
) -> None:
    padding = max(min(padding, size - 1), -(-(size - min(sides)) // 2))
    section = f"[convolutional]\nfilters={channels}\ngroups={channels}\nsize={size}\n"
    section += f"padding={padding}\nstride_y={stride[0]}\nstride_x={stride[1]}\n"
    case = layer_case(section + f"activation={activation}\n", (channels, *sides), seed)
    ran, found = run(case)
    assert ran == ["pack", "depthwise", "unpack"]
    bound = case.sum_bound(size * size + 1)
    assert (np.abs(found - case.exact()[0]) <= bound).all()


@settings(max_examples=40, deadline=None)
@given(
    channels=st.sampled_from([3, LANES, LANES + 1]),
    filters=CHANNELS,
    sides=st.tuples(st.integers(2, 12), st.integers((ROWS + 1) // 2, 2 * ROWS)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    seed=seeds(),
)
def test_convolutions_that_pool(
    channels: int,
    filters: int,
    sides: tuple[int, int],
    stride: int,
    padding: int,
    seed: int,
) -> None:
    """From the picture, and by Winograd's tiles of 4 × 4, which the map's border may cut.

    They give the same bits as when the map is written and then pooled.
    """
    height, width = (2 * side * stride for side in sides)
    section = f"[convolutional]\nfilters={filters}\nsize=3\nstride={stride}\npad=1\n"
    section += f"activation=leaky\n[maxpool]\nsize=2\nstride=2\npadding={padding}\n"
    case = layer_case(section, (channels, height, width), seed)
    (layer, _) = case.graph.layers
    assert isinstance(layer, specs.Convolutional)
    wish = None
    if not algorithms.is_first_layer(layer):
        names = [candidate.algorithm for candidate in algorithms.candidates(layer)]
        (wish,) = filter(algorithms.makes_pairs, names)
    pooling = plan_case(case, wish=wish)
    assert [step.layer for step in pooling.plan.steps if step.weights == 0] == [1]
    apart = plan_case(case, wanted=[0, 1], wish=wish)
    assert [step.layer for step in apart.plan.steps if step.weights == 0] == [0]
    assert np.array_equal(pooling.forward(case.x)[0], apart.forward(case.x)[1])


@pytest.mark.parametrize("width", [17, 32, 45])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_rows_of_several_runs(size: int, stride: int, width: int) -> None:
    channels = LANES + 3
    section = f"[convolutional]\nfilters={channels}\ngroups={channels}\nsize={size}\n"
    section += f"stride={stride}\npad=1\nactivation=leaky\n"
    case = layer_case(section, (channels, 6, width), seed=width)
    ran, found = run(case)
    assert ran == ["pack", "depthwise", "unpack"]
    bound = case.sum_bound(size * size + 1)
    assert (np.abs(found - case.exact()[0]) <= bound).all()


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, max(1, LANES // 2)),
    filters=CHANNELS,
    height=st.integers(3, 12),
    out_width=st.integers(ROWS, 4 * ROWS),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    seed=seeds(),
)
def test_first_layer(
    channels: int, filters: int, height: int, out_width: int, stride: int, padding: int, seed: int
) -> None:
    width = (out_width - 1) * stride + 3 - 2 * padding
    section = f"[convolutional]\nfilters={filters}\nsize=3\nstride={stride}\npadding={padding}\n"
    case = layer_case(section + "activation=relu\n", (channels, height, width), seed)
    ran, found = run(case)
    assert ran == ["first layer", "unpack"]
    bound = case.sum_bound(9 * channels + 1)
    assert (np.abs(found - case.exact()[0]) <= bound).all()


@settings(max_examples=80, deadline=None)
@given(
    channels=CHANNELS,
    sides=st.tuples(SIDES, SIDES),
    size=st.integers(1, 13),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 12),
    seed=seeds(),
)
def test_maxpool_is_exact(
    channels: int,
    sides: tuple[int, int],
    size: int,
    stride: tuple[int, int],
    padding: int,
    seed: int,
) -> None:
    padding = max(min(padding, size - 1), size - min(sides))
    section = f"[maxpool]\nsize={size}\nstride_y={stride[0]}\nstride_x={stride[1]}\n"
    case = layer_case(section + f"padding={padding}\n", (channels, *sides), seed)
    ran, found = run(case)
    assert ran == ["pack", "maxpool", "unpack"]
    np.testing.assert_array_equal(found, reference(case))


@settings(max_examples=30, deadline=None)
@given(channels=CHANNELS, sides=st.tuples(SIDES, SIDES), factor=st.integers(1, 4), seed=seeds())
def test_upsample_is_exact(channels: int, sides: tuple[int, int], factor: int, seed: int) -> None:
    case = layer_case(f"[upsample]\nstride={factor}\n", (channels, *sides), seed)
    ran, found = run(case)
    assert ran == ["pack", "upsample", "unpack"]
    np.testing.assert_array_equal(found, reference(case))


@settings(max_examples=30, deadline=None)
@given(channels=CHANNELS, sides=st.tuples(SIDES, SIDES), seed=seeds())
def test_avgpool(channels: int, sides: tuple[int, int], seed: int) -> None:
    case = layer_case("[avgpool]\n", (channels, *sides), seed)
    ran, found = run(case)
    assert ran == ["pack", "avgpool", "unpack"]
    pixels = sides[0] * sides[1]
    magnitude = np.abs(case.x).mean((2, 3), np.float64, keepdims=True)
    assert (np.abs(found - case.exact()[0]) <= summation(magnitude, pixels)).all()


@settings(max_examples=30, deadline=None)
@given(channels=CHANNELS, sides=st.tuples(SIDES, SIDES), seed=seeds())
def test_packing_and_unpacking_a_map_gives_it_back(
    channels: int, sides: tuple[int, int], seed: int
) -> None:
    case = layer_case("[dropout]\n", (channels, *sides), seed)
    ran, found = run(case)
    assert ran == ["pack", "unpack"]
    np.testing.assert_array_equal(found, case.x)


#: A map of its own with the same numbers.
COPY = "[maxpool]\nsize=1\nstride=1\n"


@pytest.mark.parametrize("groups", [1, 2, 3, 5])
@settings(max_examples=30, deadline=None)
@given(share=st.integers(1, 2 * LANES + 3), sides=st.tuples(SIDES, SIDES), seed=seeds())
def test_routes_copy_channels_between_any_lanes(
    groups: int, share: int, sides: tuple[int, int], seed: int
) -> None:
    """Slices of a map, joined with others: every first lane meets every other."""
    section = COPY
    slices = [0]
    for group in range(groups):
        section += f"[route]\nlayers=0\ngroups={groups}\ngroup_id={group}\n"
        slices.append(group + 1)
    section += COPY + f"[route]\nlayers={','.join(map(str, [*slices[::-1], groups + 1]))}\n"
    case = layer_case(section, (groups * share, *sides), seed)
    _, found = run(case)
    np.testing.assert_array_equal(found, reference(case))


@pytest.mark.parametrize(
    ("section", "algorithm"),
    [
        (COPY + COPY + "[shortcut]\nfrom=0\nactivation=linear\n", "add"),
        (COPY + COPY + "[sam]\nfrom=0\nactivation=linear\n", "multiply maps"),
        (COPY + "[avgpool]\n[scale_channels]\nfrom=0\nactivation=linear\n", "scale channels"),
    ],
)
@settings(max_examples=20, deadline=None)
@given(channels=CHANNELS, sides=st.tuples(SIDES, SIDES), seed=seeds())
def test_pairs_of_maps(
    section: str, algorithm: str, channels: int, sides: tuple[int, int], seed: int
) -> None:
    case = layer_case(section, (channels, *sides), seed)
    ran, found = run(case)
    assert algorithm in ran
    last = len(case.graph.layers) - 1
    magnitude = np.abs(case.exact()[last]) + np.abs(case.x).max() ** 2 / 2
    assert (np.abs(found - case.exact()[last]) <= summation(magnitude, sides[0] * sides[1])).all()
