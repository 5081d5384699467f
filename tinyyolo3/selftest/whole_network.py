"""The self-test's case of a whole network in one launch."""

import math
from collections.abc import Iterator

import numpy as np

from tinyyolo3.cuda.maps import download_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16
from tinyyolo3.layers.layout import nchw_to_map_cuda
from tinyyolo3.selftest.case import Case, Expected, Prepared
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.engines import make_case

#: A convolution, a bottleneck with its shortcut, and a route of maps at two resolutions.
CFG = """
[net]
width=29
height=18
channels=3
[convolutional]
filters=72
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=72
groups=72
size=3
pad=1
activation=leaky
[convolutional]
filters=72
size=1
activation=linear
[shortcut]
from=-3
activation=linear
[convolutional]
filters=24
size=1
activation=leaky
[maxpool]
size=2
stride=1
[upsample]
stride=2
[convolutional]
filters=16
size=3
stride=2
pad=1
activation=mish
[route]
layers=-1,-4
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=4,6, 8,8
classes=2
num=2
"""


def whole_network_cases() -> Iterator[Case]:
    """Yield the case."""
    case = make_case(CFG, seed=71, images=2)
    wanted = (len(case.graph.layers) - 2,)  # the logits

    def prepare(target: Target) -> Prepared:
        engine = CudaEngine(target, case.parameters, FP16.name, persistent=True)
        program = engine.program(target, case.graph, len(case.x))
        x = target.upload(case.x.reshape(-1))

        def launch() -> None:
            nchw_to_map_cuda(target, x, program.input)
            program.launch()

        def results() -> list[np.ndarray]:
            target.synchronize()
            return [download_map(target, y) for y in program.outputs]

        numbers = sum(array.size for own in case.parameters.values() for array in own.values())
        return Prepared(launch, results, case.x.nbytes + 2 * numbers)

    def expected() -> list[Expected]:
        exact = case.exact()
        largest = max(float(np.abs(exact[index]).max()) for index in range(wanted[0] + 1))
        allowed = tolerances.network_half(largest, wanted[0] + 1)
        return [Expected(exact[index], allowed) for index in wanted]

    sides = "x".join(map(str, case.x.shape))
    files = ("layout.cu", "persistent.cu")
    oldest = FP16.least_architecture, math.inf
    yield Case("whole network, fp16", files, sides, prepare, expected, architectures=oldest)
