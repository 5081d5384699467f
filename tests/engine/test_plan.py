"""The planner: which steps, where maps lie, and what the checks of a plan notice."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.engine.layout import CACHE_SET_BYTES, Blocked, ChannelsLast
from tinyyolo3.engine.plan import Choice, Chooser, Plan, Step
from tinyyolo3.engine.planner import make_plan
from tinyyolo3.network import specs
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.testing.networks import network_configs
from tinyyolo3.testing.plans import check_plan

Layout = Blocked | ChannelsLast
LAYOUTS: list[Layout] = [Blocked(16), ChannelsLast(2)]
CONV = "[convolutional]\nsize=1\nactivation=linear\nfilters="


def graph_of(*sections: str, channels: int = 16, side: int = 8) -> Graph:
    net = f"[net]\nwidth={side}\nheight={side}\nchannels={channels}\n"
    return fold_graph(build_graph(parse_config(net + "\n".join(sections))))


def choose(layer: specs.Layer) -> Choice:
    """Compute everything in one step; convolutions can add a residual."""
    convolution = isinstance(layer, specs.Convolutional)
    return Choice(
        "something", workspace_bytes=1000 * convolution, residual=convolution, pools=convolution
    )


def plan_of(
    graph: Graph,
    layout: Layout = LAYOUTS[0],
    wanted: list[int] | None = None,
) -> Plan:
    plan = make_plan(graph, graph.output_indices if wanted is None else wanted, layout, choose)
    check_plan(graph, plan, layout)
    return plan


def kinds(plan: Plan) -> list[tuple[str, int]]:
    return [(step.algorithm, step.layer) for step in plan.steps]


@settings(max_examples=150, deadline=None)
@given(
    cfg=network_configs(wide=True, max_blocks=14),
    layout=st.one_of(st.sampled_from([4, 8, 16]).map(Blocked), st.integers(1, 3).map(ChannelsLast)),
    wanted=st.one_of(st.none(), st.lists(st.integers(0, 99), min_size=1, max_size=5)),
    separate=st.booleans(),
)
def test_random_plans_hold(
    cfg: str, layout: Layout, wanted: list[int] | None, separate: bool
) -> None:
    graph = fold_graph(build_graph(parse_config(cfg)))
    layers = graph.output_indices
    if wanted is not None:
        layers = tuple(sorted({index % len(graph.layers) for index in wanted}))

    def choose_any(layer: specs.Layer) -> Choice:
        choice = choose(layer)
        alone = not separate  # a residual and a pooling come behind the activation
        return replace(
            choice,
            activation=separate,
            residual=choice.residual and alone,
            pools=choice.pools and alone,
        )

    chooser: Chooser = choose_any
    check_plan(graph, make_plan(graph, layers, layout, chooser), layout)


def test_what_nobody_wants_is_not_computed() -> None:
    graph = graph_of(CONV + "16", CONV + "8", "[route]\nlayers=0", CONV + "4")
    assert kinds(plan_of(graph, wanted=[3])) == [
        ("pack", -1),
        ("something", 0),
        ("something", 3),
        ("unpack", 3),
    ]


def test_a_dropout_and_a_route_of_one_layer_take_no_step() -> None:
    graph = graph_of(CONV + "32", "[dropout]", "[route]\nlayers=-1\ngroups=2\ngroup_id=1", "[cost]")
    plan = plan_of(graph, wanted=[1, 2])
    assert kinds(plan) == [("pack", -1), ("something", 0), ("unpack", 1), ("unpack", 2)]
    whole, half = plan.steps[2].inputs[0], plan.steps[3].inputs[0]
    assert whole is not None
    assert half is not None
    assert half.offset == whole.offset + whole.stride
    assert half.shape == (16, 8, 8)


def test_a_route_of_whole_blocks_copies_nothing() -> None:
    graph = graph_of(CONV + "32", CONV + "20", "[route]\nlayers=0,1", CONV + "4")
    plan = plan_of(graph)
    assert "copy" not in {step.algorithm for step in plan.steps}
    first, second = plan.steps[1].output, plan.steps[2].output
    assert first is not None
    assert second is not None
    assert first.buffer == second.buffer
    assert second.offset - first.offset == 2 * first.stride


@pytest.mark.parametrize(
    ("layers", "copied"), [("1,0", [0, 1]), ("0,0", [1]), ("0,1,0", [1, 2]), ("1,1", [0, 1])]
)
def test_a_route_copies_what_does_not_begin_or_end_with_a_block(
    layers: str, copied: list[int]
) -> None:
    """Layer 0 fills two blocks, layer 1 one and a quarter; a map lies in one place only."""
    graph = graph_of(CONV + "32", CONV + "20", f"[route]\nlayers={layers}")
    plan = plan_of(graph)
    found = [step.part for step in plan.steps if step.algorithm == "copy"]
    assert found == copied


@pytest.mark.parametrize("group", [0, 1])
def test_a_route_copies_a_slice_of_a_map(group: int) -> None:
    """The whole map lies where its own layer put it; only a part of it belongs to the route."""
    half = f"[route]\nlayers=0\ngroups=2\ngroup_id={group}"
    graph = graph_of(CONV + "32", half, CONV + "16", "[route]\nlayers=1,2")
    copies = [step for step in plan_of(graph).steps if step.algorithm == "copy"]
    assert [(step.part, step.offset) for step in copies] == [(0, (16 * group, 0))]


def test_a_route_copies_the_networks_input() -> None:
    graph = graph_of("[dropout]", CONV + "16", "[route]\nlayers=0,1")
    copies = [step for step in plan_of(graph).steps if step.algorithm == "copy"]
    assert [step.part for step in copies] == [0]


def test_a_shortcut_is_added_by_the_convolution_before_it() -> None:
    shortcut = "[shortcut]\nfrom=0\nactivation=linear"
    graph = graph_of(CONV + "16", CONV + "8", CONV + "16", "[dropout]", shortcut)
    plan = plan_of(graph)
    assert kinds(plan)[-2:] == [("something", 4), ("unpack", 4)]
    step = plan.steps[-2]
    assert step.weights == 2
    assert step.residual == plan.steps[1].output


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        ((CONV + "16", CONV + "16", "[shortcut]\nfrom=0\nactivation=linear"), [1, 2]),
        ((CONV + "16", CONV + "16", "[shortcut]\nfrom=0\nactivation=leaky"), [2]),
        ((CONV + "16", CONV + "8", "[shortcut]\nfrom=0\nactivation=linear"), [2]),
        ((CONV + "16", "[maxpool]\nsize=1", "[shortcut]\nfrom=0\nactivation=linear"), [2]),
        ((CONV + "16", CONV + "16", "[shortcut]\nfrom=0,0\nactivation=linear"), [2]),
        ((CONV + "16", "[shortcut]\nfrom=0\nactivation=linear"), [1]),
        (
            (
                *(CONV + "16", CONV + "16", CONV + "16", "[route]\nlayers=0"),
                "[shortcut]\nfrom=2\nactivation=linear",
            ),
            [4],
        ),
    ],
    ids=[
        *("its result is wanted", "activated", "other shapes", "no convolution", "two sources"),
        *("with itself", "a route between"),
    ],
)
def test_a_shortcut_is_a_step_where_it_must(sections: tuple[str, ...], wanted: list[int]) -> None:
    plan = plan_of(graph_of(*sections), wanted=wanted)
    assert all(step.residual is None for step in plan.steps)
    assert ("something", wanted[-1]) in kinds(plan)


POOL = "[maxpool]\nsize=2\nstride="


def test_a_pooling_that_halves_a_map_is_done_by_the_convolution_before_it() -> None:
    plan = plan_of(graph_of(CONV + "16", CONV + "8", POOL + "2"))
    assert kinds(plan)[-2:] == [("something", 2), ("unpack", 2)]
    assert plan.steps[-2].weights == 1
    assert plan.steps[-2].output is not None
    assert plan.steps[-2].output.shape == (8, 4, 4)


@pytest.mark.parametrize(
    ("sections", "wanted", "side"),
    [
        ((CONV + "16", POOL + "2"), [0, 1], 8),
        ((CONV + "16", POOL + "2", "[route]\nlayers=0"), [1, 2], 8),
        ((CONV + "16", POOL + "2"), [1], 9),
        ((CONV + "16", POOL + "1"), [1], 8),
        ((CONV + "16", "[maxpool]\nsize=3\nstride=2"), [1], 8),
        ((CONV + "16", POOL + "2\npadding=2"), [1], 8),
        ((CONV + "16", "[dropout]", POOL + "2"), [2], 8),
        ((POOL + "2",), [0], 8),
    ],
    ids=[
        *(
            "its map is wanted",
            "its map is read",
            "an odd side",
            "at every pixel",
            "larger windows",
        ),
        *("a border", "no convolution", "the network's input"),
    ],
)
def test_a_pooling_is_a_step_where_it_must(
    sections: tuple[str, ...], wanted: list[int], side: int
) -> None:
    plan = plan_of(graph_of(*sections, side=side), wanted=wanted)
    assert all(step.weights in (None, step.layer) for step in plan.steps)


def test_memory_is_used_again() -> None:
    chain = [CONV + "16"] * 12
    plan = plan_of(graph_of(*chain, side=20))
    one = 20 * 20 * 4 * 16
    assert plan.arena_bytes < 4 * one
    assert sum(buffer.bytes for buffer in plan.buffers) > 12 * one


def test_blocks_do_not_compete_for_cache_sets() -> None:
    plan = plan_of(graph_of(CONV + "64", side=16))
    output = plan.steps[1].output
    assert output is not None
    assert (16 * 16 * 64) % CACHE_SET_BYTES == 0
    assert output.stride % CACHE_SET_BYTES != 0


def test_channels_last_maps_join_at_multiples_of_four() -> None:
    """Pixels of a route's map hold its layers side by side; only what begins askew is copied."""
    sections = (CONV + "8", CONV + "6", CONV + "6", CONV + "3", "[route]\nlayers=0,1,2,3")
    plan = plan_of(graph_of(*sections), ChannelsLast(3))
    copies = [step for step in plan.steps if step.algorithm == "copy"]
    assert [(step.part, step.offset) for step in copies] == [(2, (0, 14))]
    whole = plan.steps[-1].inputs[0]
    outputs = {step.layer: step.output for step in plan.steps if step.algorithm == "something"}
    assert whole is not None
    assert whole.stride == 4 * 24
    assert plan.buffers[whole.buffer].bytes == 3 * 8 * 8 * whole.stride
    assert outputs[0] == replace(whole, shape=(8, 8, 8))
    assert outputs[1] == replace(whole, offset=32, shape=(6, 8, 8))


@pytest.mark.parametrize(("group", "channels"), [(1, 32), (1, 12), (2, 9)])
def test_a_channels_last_slice_is_read_where_it_lies(group: int, channels: int) -> None:
    """Unless it does not begin at a multiple of four channels."""
    groups = f"[route]\nlayers=0\ngroups=3\ngroup_id={group}"
    plan = plan_of(graph_of(CONV + str(3 * channels), groups, CONV + "4"), ChannelsLast(1))
    assert ("copy", 1) not in kinds(plan) or channels == 9


@pytest.mark.parametrize("layout", LAYOUTS, ids=["blocked", "channels last"])
class TestTheChecksThemselves:
    """Each way to spoil a plan is noticed."""

    graph = graph_of(
        *(CONV + "32", CONV + "20", CONV + "32", "[shortcut]\nfrom=0\nactivation=linear"),
        *(CONV + "24", "[route]\nlayers=-1,-2,1", CONV + "4"),
    )

    def spoil(self, layout: Layout, number: int, **changes: object) -> Plan:
        plan = plan_of(self.graph, layout)
        steps = list(plan.steps)
        steps[number] = replace(steps[number], **changes)  # type: ignore[arg-type]
        return replace(plan, steps=tuple(steps))

    def place(self, layout: Layout, number: int, name: str) -> object:
        step: Step = plan_of(self.graph, layout).steps[number]
        return step.inputs[0] if name == "inputs" else getattr(step, name)

    def test_steps_in_another_order(self, layout: Layout) -> None:
        plan = plan_of(self.graph, layout)
        for i in range(len(plan.steps) - 2):
            steps = list(plan.steps)
            steps[i], steps[i + 1] = steps[i + 1], steps[i]
            if {steps[i].algorithm, steps[i + 1].algorithm} == {"copy"}:
                continue  # copies into one route may change places
            with pytest.raises(AssertionError):
                check_plan(self.graph, replace(plan, steps=tuple(steps)), layout)

    @pytest.mark.parametrize("name", ["inputs", "output", "residual"])
    @pytest.mark.parametrize("change", [{"offset": 64}, {"stride": 4096}, {"shape": (16, 8, 8)}])
    def test_a_map_elsewhere(self, layout: Layout, name: str, change: dict[str, object]) -> None:
        spoiled = 0
        for number, step in enumerate(plan_of(self.graph, layout).steps):
            value = self.place(layout, number, name) if step.inputs else None
            if value is None:
                continue
            moved = replace(value, **change)  # type: ignore[type-var]
            if moved == value or ("stride" in change and value.shape[0] <= 16):
                continue
            changed = {name: (moved, *step.inputs[1:]) if name == "inputs" else moved}
            with pytest.raises(AssertionError):
                check_plan(self.graph, self.spoil(layout, number, **changed), layout)
            spoiled += 1
        assert spoiled

    def test_a_copy_left_out(self, layout: Layout) -> None:
        plan = plan_of(self.graph, layout)
        for number, step in enumerate(plan.steps):
            if step.algorithm == "copy":
                steps = plan.steps[:number] + plan.steps[number + 1 :]
                with pytest.raises(AssertionError):
                    check_plan(self.graph, replace(plan, steps=steps), layout)

    def test_a_copy_to_other_channels(self, layout: Layout) -> None:
        for number, step in enumerate(plan_of(self.graph, layout).steps):
            if step.algorithm == "copy":
                first, channel = step.offset
                for offset in ((first + 1, channel), (first, channel + 1)):
                    with pytest.raises(AssertionError):
                        check_plan(self.graph, self.spoil(layout, number, offset=offset), layout)

    def test_buffers_that_share_memory(self, layout: Layout) -> None:
        plan = plan_of(self.graph, layout)
        for number, buffer in enumerate(plan.buffers):
            for other in plan.buffers:
                if other.first <= buffer.last and buffer.first <= other.last and other != buffer:
                    buffers = list(plan.buffers)
                    buffers[number] = replace(buffer, offset=other.offset)
                    with pytest.raises(AssertionError):
                        check_plan(self.graph, replace(plan, buffers=tuple(buffers)), layout)

    def test_an_arena_too_small(self, layout: Layout) -> None:
        plan = plan_of(self.graph, layout)
        with pytest.raises(AssertionError, match="leaves the arena"):
            check_plan(self.graph, replace(plan, arena_bytes=plan.arena_bytes - 64), layout)

    def test_outputs_in_another_order(self, layout: Layout) -> None:
        plan = plan_of(self.graph, layout, wanted=[1, 6])
        with pytest.raises(AssertionError, match="outputs"):
            check_plan(self.graph, replace(plan, outputs=(6, 1)), layout)
