"""Learning rates, iteration by iteration."""

import math

import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import ConfigError
from tinyyolo3.train.schedule import Schedule, read_schedule


def schedule(*options: str) -> Schedule:
    text = "\n".join(["[net]", "learning_rate=0.5", *options, "[maxpool]"])
    return read_schedule(parse_config(text, "x.cfg").net)


def test_a_cfg_that_says_nothing_has_darknets_defaults():
    net = parse_config("[net]\n[maxpool]").net
    assert read_schedule(net) == Schedule("constant", 0.001)


def test_constant():
    assert [schedule("policy=constant").rate(b) for b in (1, 2, 10**6)] == [0.5] * 3


@pytest.mark.parametrize(("power", "exponent"), [("power=2", 2), ("max_batches=9", 4)])
def test_burn_in_rises_by_a_power_and_ends_before_its_own_iteration(power, exponent):
    rates = schedule("burn_in=4", power)
    assert [rates.rate(b) for b in (1, 3, 4, 5)] == [
        0.5 * 0.25**exponent,
        0.5 * 0.75**exponent,
        0.5,
        0.5,
    ]


def test_steps_multiply_from_their_own_iteration_on():
    steps = schedule("policy=steps", "steps=3,5", "scales=.5,.1")
    assert [steps.rate(b) for b in (1, 2, 3, 4)] == [0.5, 0.5, 0.25, 0.25]
    assert [steps.rate(b) for b in (5, 99)] == pytest.approx([0.025, 0.025], rel=1e-15)


def test_step_multiplies_again_and_again():
    step = schedule("policy=step", "step=3", "scale=.5")
    assert [step.rate(b) for b in (1, 2, 3, 5, 6)] == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_exp_is_a_power_of_the_iteration():
    exp = schedule("policy=exp", "gamma=.5")
    assert [exp.rate(b) for b in (1, 3)] == [0.25, 0.0625]
    assert schedule("policy=exp", "gamma=2").rate(10**5) == math.inf


def test_sig_falls_around_its_step():
    sig = schedule("policy=sig", "gamma=2", "step=10")
    assert sig.rate(10) == 0.25
    assert sig.rate(11) == pytest.approx(0.5 / (1 + math.exp(2)), rel=1e-15)
    assert sig.rate(10**6) < 1e-300


def test_burn_in_comes_before_steps():
    steps = schedule("policy=steps", "steps=2", "scales=.5", "burn_in=4", "power=1")
    assert [steps.rate(b) for b in (2, 4)] == [0.25, 0.25]


def test_steps_out_of_order_wait_for_the_first():
    steps = schedule("policy=steps", "steps=5,3", "scales=.5,.25")
    assert [steps.rate(b) for b in (4, 5)] == [0.5, 0.0625]


def test_poly_falls_to_nothing_and_stays_there():
    poly = schedule("policy=poly", "max_batches=4", "power=3")
    assert [poly.rate(b) for b in (1, 2, 4, 5)] == [0.5 * 0.75**3, 0.5 * 0.5**3, 0, 0]


def test_a_cosine_falls_to_the_least_rate_at_the_end_of_each_cycle():
    cosine = schedule(
        "policy=sgdr", "sgdr_cycle=4", "learning_rate_min=.1", "sgdr_mult=2", "burn_in=0"
    )
    assert [cosine.rate(b) for b in (0, 2, 4)] == pytest.approx([0.5, 0.3, 0.1], rel=1e-15)
    # The second cycle is 5 to 12, its middle 8.
    assert [cosine.rate(b) for b in (8, 12)] == pytest.approx([0.3, 0.1], rel=1e-15)
    assert cosine.rate(5) == pytest.approx(0.1 + 0.2 * (1 + math.cos(math.pi / 8)), rel=1e-15)


def test_a_cosine_has_one_cycle_if_the_cfg_says_nothing():
    assert schedule("policy=sgdr", "max_batches=20").cycle == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["policy=random"], r"x.cfg:3 \[net\] policy=random is not supported; known are constant"),
        (["policy=poly"], "policy=poly needs max_batches="),
        (["policy=sgdr"], "policy=sgdr needs sgdr_cycle="),
        (["policy=steps"], "has no steps="),
        (["policy=steps", "steps=1,2", "scales=.1"], r"x.cfg:5 .*steps= has 2 numbers and scales"),
        (["burn_in=-1"], "burn_in=-1 must be from 0"),
        (["power=nan"], "power=nan: expected a number"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        schedule(*options)
