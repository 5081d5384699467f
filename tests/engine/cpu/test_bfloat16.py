"""Products in bfloat16: what is lost is the rounding of inputs and weights, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.arithmetic import HAS_BFLOAT16
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.testing.engines import Case, allowing, layer_case, plan_case
from tinyyolo3.testing.strategies import seeds
from tinyyolo3.testing.tolerances import summation

pytestmark = pytest.mark.skipif(not HAS_BFLOAT16, reason="this processor has no bfloat16")


def rounded(x: np.ndarray) -> np.ndarray:
    """Round float32 to bfloat16, to nearest and ties to even, by the values on either side."""
    bits = x.astype(np.float32).view(np.uint32)
    below = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    above = ((bits & np.uint32(0xFFFF0000)) + np.uint32(0x10000)).view(np.float32)
    down, up = np.abs(x - below.astype(np.float64)), np.abs(above.astype(np.float64) - x)
    even = (bits >> np.uint32(16)) % 2 == 0
    return np.where((down < up) | ((down == up) & even), below, above)


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
        numbers = {"weights": rounded(own["weights"]), "biases": own["biases"]}
        exact = Case(case.graph, {0: numbers}, rounded(case.x)).exact()[0]
        sizes = {name: np.abs(array) for name, array in numbers.items()}
        magnitude = Case(case.graph, {0: sizes}, np.abs(rounded(case.x))).exact()[0]
        assert (np.abs(found - exact) <= summation(magnitude, channels * size**2 + 1)).all()

    check()
