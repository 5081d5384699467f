"""The learning rate of each iteration (AlexeyAB's network.c, get_current_rate).

With b the number of the iteration, from 1, and r the cfg's ``learning_rate``:

======== ==========================================================================
burn-in  r · (b / burn_in)^power while b < burn_in, whatever the policy
constant r
step     r · scale^⌊b / step⌋
steps    r times each of ``scales`` whose step is not after b
exp      r · gamma^b
poly     r · (1 − b / max_batches)^power
sig      r / (1 + e^(gamma · (b − step)))
sgdr     m + (r − m)/2 · (1 + cos(π · t / T)): the t-th iteration of a cycle of T, falling
         to m = ``learning_rate_min`` (Loshchilov and Hutter, SGDR, 2017, equation 5)
======== ==========================================================================

Cycles of sgdr begin with ``sgdr_cycle`` iterations and grow by the factor ``sgdr_mult``.
"""

import math
from dataclasses import dataclass

from tinyyolo3.darknet.config import Section

POLICIES = ("constant", "step", "steps", "exp", "poly", "sig", "sgdr")


@dataclass(frozen=True)
class Schedule:
    """What decides the learning rate.

    Attributes:
        policy: one of `POLICIES`.
        learning_rate: r above.
        burn_in: iterations of the slow start; 0 for none.
        power: the exponent of the slow start and of poly.
        steps: (iteration, factor) of each step, in the cfg's order.
        max_batches: the iteration at which poly reaches 0.
        learning_rate_min: where a cycle of sgdr ends.
        cycle: iterations of sgdr's first cycle.
        cycle_factor: how much longer each cycle is than the last.
        step: iterations between two factors of step; the middle of sig's slope.
        scale: the factor of step.
        gamma: the factor of exp; the steepness of sig.
    """

    policy: str
    learning_rate: float
    burn_in: int = 0
    power: float = 4.0
    steps: tuple[tuple[int, float], ...] = ()
    max_batches: int = 0
    learning_rate_min: float = 1e-5
    cycle: int = 1
    cycle_factor: int = 2
    step: int = 1
    scale: float = 1.0
    gamma: float = 1.0

    def rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration; the first is 1."""
        if iteration < self.burn_in:
            # DARKNET: the slow start has one exponent with poly, by default 4.
            return self.learning_rate * math.pow(iteration / self.burn_in, self.power)
        match self.policy:
            case "step":
                return self.learning_rate * _power(self.scale, iteration // self.step)
            case "steps":
                return self._stepped(iteration)
            case "exp":
                return self.learning_rate * _power(self.gamma, iteration)
            case "sig":
                return self._sigmoid(iteration)
            case "poly":
                left = max(0.0, 1 - iteration / self.max_batches)
                return self.learning_rate * math.pow(left, self.power)
            case "sgdr":
                return self._cosine(iteration)
            case _:
                return self.learning_rate

    def _stepped(self, iteration: int) -> float:
        rate = self.learning_rate
        for step, factor in self.steps:
            # DARKNET: it stops at the first step to come, so that steps out of order wait for it.
            if step > iteration:
                break
            rate *= factor
        return rate

    def _sigmoid(self, iteration: int) -> float:
        # Beyond 700 e^x overflows; the rate is 0 long before.
        exponent = min(self.gamma * (iteration - self.step), 700.0)
        return self.learning_rate / (1 + math.exp(exponent))

    def _cosine(self, iteration: int) -> float:
        start, length = 0, self.cycle
        # DARKNET: a cycle's last iteration has the least rate; the next cycle begins after it.
        while start + length < iteration:
            start += length
            length *= self.cycle_factor
        height = (1 + math.cos(math.pi * (iteration - start) / length)) / 2
        return self.learning_rate_min + (self.learning_rate - self.learning_rate_min) * height


def _power(base: float, exponent: int) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf


def read_schedule(net: Section) -> Schedule:
    """Read a cfg's [net] (parser.c parse_net_options).

    Raises:
        ConfigError: an unknown policy, or one that lacks what it needs; numbers out of range.
    """
    policy = net.text("policy", "constant")
    if policy not in POLICIES:
        # DARKNET: knows more policies, and takes an unknown one for constant.
        known = ", ".join(POLICIES)
        raise net.error(f"{net.quote('policy')} is not supported; known are {known}", "policy")
    max_batches = net.integer("max_batches", 0, low=0)
    if policy == "poly" and not max_batches:
        raise net.error("policy=poly needs max_batches=", "policy")
    cycle = 1
    if policy == "sgdr":
        cycle = net.integer("sgdr_cycle", max_batches, low=0)
        if not cycle:
            raise net.error("policy=sgdr needs sgdr_cycle= or max_batches=", "policy")
    return Schedule(
        policy,
        net.number("learning_rate", 0.001, low=0.0, high=1e6),
        burn_in=net.integer("burn_in", 0, low=0),
        power=net.number("power", 4.0, low=0.0, high=100.0),
        steps=_read_steps(net) if policy == "steps" else (),
        max_batches=max_batches,
        learning_rate_min=net.number("learning_rate_min", 1e-5, low=0.0, high=1e6),
        cycle=cycle,
        cycle_factor=net.integer("sgdr_mult", 2, low=1),
        step=net.integer("step", 1, low=1),
        scale=net.number("scale", 1.0, low=0.0, high=100.0),
        gamma=net.number("gamma", 1.0, low=0.0, high=100.0),
    )


def _read_steps(net: Section) -> tuple[tuple[int, float], ...]:
    steps, factors = net.integers("steps"), net.numbers("scales")
    if len(steps) != len(factors):
        raise net.error(f"steps= has {len(steps)} numbers and scales= {len(factors)}", "scales")
    return tuple(zip(steps, factors, strict=True))
