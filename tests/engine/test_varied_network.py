"""One network with every kind of step: what `test_other_processors` runs too."""

import pytest

from tinyyolo3.engine.cpu.algorithms import PAIRED_FILTERS
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.engine.layout import Blocked
from tinyyolo3.testing.engines import WISHES, allowing, check_outputs, make_case, plan_case
from tinyyolo3.testing.plans import check_plan

#: Every kind of step but those that only one wish or one processor brings.
STEPS = {
    *("pack", "unpack", "copy", "eager", "activation", "add", "scale channels", "multiply maps"),
    *("multiply", "im2col", "depthwise", "maxpool", "avgpool", "upsample", "first layer"),
}

#: Convolutions of few filters, which the network has not, and a depthwise row of several runs.
FEW_FILTERS = """
[net]
channels=3
width=26
height=9
[convolutional]
filters=20
size=1
activation=leaky
[convolutional]
filters=20
groups=20
size=5
pad=1
activation=relu
[convolutional]
filters=2
size=3
pad=1
activation=leaky
[convolutional]
filters=1
size=1
activation=linear
"""


def test_few_filters_equal_the_reference() -> None:
    case = make_case(FEW_FILTERS, seed=4)
    planned = plan_case(case)
    pairs = {"multiply pairs", "im2col pairs"} & {step.algorithm for step in planned.plan.steps}
    assert len(pairs) == (2 if PAIRED_FILTERS else 0)
    check_plan(case.graph, planned.plan, Blocked(LANES))
    check_outputs(case, planned, planned.forward(case.x))


@pytest.mark.parametrize("wish", [None, *WISHES])
def test_it_equals_the_reference(varied_cfg: str, wish: str | None) -> None:
    case = make_case(varied_cfg.format(width=56, height=40), seed=3, images=2)
    with allowing(wish):
        planned = plan_case(case, wish=wish)
        check_plan(case.graph, planned.plan, Blocked(LANES))
        check_outputs(case, planned, planned.forward(case.x))


def test_it_has_every_kind_of_step(varied_cfg: str) -> None:
    case = make_case(varied_cfg.format(width=56, height=40), seed=3)
    found = set()
    for wish in (None, "im2col"):
        for wanted in (None, range(len(case.graph.layers))):
            plan = plan_case(case, wanted, wish).plan
            found |= {step.algorithm for step in plan.steps}
            fused = {step.layer for step in plan.steps if step.residual is not None}
            assert fused == (set() if wanted else {5})
    if LANES < 8:
        found |= {"first layer"}  # three channels are no small part of such a vector
    assert found >= STEPS, STEPS - found
