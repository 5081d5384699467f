"""Which tile of the blocked convolution is quickest for each layer shape, by trying them.

    python benchmarks/gpu_convolutions.py RESULTS

writes the quickest tiles of a run of ``gpu.py`` to where the package looks for a device's measured
tiles. The run itself calls `convolution_table`.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpu_context import Context, Record
from gpu_timing import launch_ms
from tinyyolo3.cuda.maps import DeviceMap, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import TinyYoloError
from tinyyolo3.layers.convolution.cuda import (
    conv_forward_blocked_cuda,
    new_workspace,
    pack_weights,
    workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tiles import (
    Product,
    Tile,
    candidates,
    choose_tile,
    modelled_cycles,
    tiles_file,
)
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.specs import Convolutional
from tinyyolo3.testing.architectures import yolov3_config, yolov3_spp_config, yolov3_tiny_config

#: Whose layers are timed, and the sides of their inputs.
NETWORKS = ((yolov3_config, 416), (yolov3_tiny_config, 416), (yolov3_spp_config, 608))
#: Weights are read from memory in a network, since all layers' together exceed the L2 cache. So
#: copies of them take turns, as many as make this size; maps stay where the last layer left them.
COLD_BYTES = 160 << 20
MOST_COPIES = 48
#: Candidates that the model thinks this much slower than its favourite are not tried.
SLACK = 1.8


@dataclass(frozen=True)
class LayerShape:
    """A convolution to time."""

    height: int
    width: int
    channels: int
    filters: int
    size: int
    stride: int
    padding: int

    def product(self, batch: int) -> Product:
        """Return the matrix product."""
        rows, columns = (
            (side + 2 * self.padding - self.size) // self.stride + 1
            for side in (self.height, self.width)
        )
        return Product(batch * rows * columns, self.filters, self.size**2 * self.channels)


def layer_shapes(tiny: bool) -> list[LayerShape]:
    """Return the distinct convolutions of the published networks; a few small ones if `tiny`."""
    if tiny:
        return [LayerShape(7, 9, 3, 8, 3, 1, 1), LayerShape(5, 5, 16, 40, 3, 2, 1)]
    return list(dict.fromkeys(shape for network in NETWORKS for shape in network_shapes(*network)))


def network_shapes(config: Callable[[int, int], str], side: int) -> Iterator[LayerShape]:
    """Yield a network's convolutions, in order."""
    graph = build_graph(parse_config(config(side, side)))
    for layer in graph.layers:
        if isinstance(layer, Convolutional) and layer.groups == 1:
            channels, height, width = layer.input_shapes[0]
            yield LayerShape(
                *(height, width, channels, layer.filters),
                *(layer.size, layer.stride[0], layer.padding),
            )


class Bench:
    """A convolution's arrays on a target, with as many copies of the weights as needed."""

    def __init__(self, target: Target, shape: LayerShape, batch: int, tiny: bool) -> None:
        """Upload random maps and weights; the workspace grows with the tiles that ask for it."""
        self.target, self.shape, self.product = target, shape, shape.product(batch)
        random = np.random.default_rng(0)
        x = random.standard_normal((batch, shape.channels, shape.height, shape.width))
        self.x = upload_map(target, x.astype(np.float32))
        weights = random.standard_normal((shape.filters, shape.channels, shape.size, shape.size))
        packed = pack_weights((weights / self.product.terms**0.5).astype(np.float32))
        copies = 2 if tiny else min(MOST_COPIES, 1 + COLD_BYTES // packed.nbytes)
        self.weights = [target.upload(packed) for _ in range(copies)]
        self.biases = target.upload(np.zeros(shape.filters, np.float32))
        rows, columns = (
            (side + 2 * shape.padding - shape.size) // shape.stride + 1
            for side in (shape.height, shape.width)
        )
        data = target.empty(self.product.pixels * shape.filters)
        self.out = DeviceMap(data, batch, rows, columns, shape.filters, shape.filters)
        self.workspace = new_workspace(target, 0)

    def ms(self, tile: Tile, runs: int) -> float:
        """Return the time of one launch with a tile, in a graph of launches."""
        floats = workspace_floats(self.product, tile)
        if floats > self.workspace.size:
            self.workspace = new_workspace(self.target, floats)
        launches = [self._launch(tile, packed) for packed in self.weights]
        return launch_ms(self.target, launches, -(-8 // len(launches)), runs)

    def _launch(self, tile: Tile, packed: Any) -> Callable[[], None]:
        workspace = self.workspace

        def launch() -> None:
            conv_forward_blocked_cuda(
                *(self.target, self.x, packed, self.biases, self.out),
                size=self.shape.size,
                stride=(self.shape.stride, self.shape.stride),
                padding=self.shape.padding,
                activation="leaky",
                tile=tile,
                workspace=workspace,
            )

        return launch


def convolution_table(context: Context, batch: int, record: Record) -> None:
    """Time every likely tile for each layer shape, and record the quickest.

    A row has the product's ``pixels, filters, terms``; the quickest ``tile`` with its ``us`` and
    ``tflop_per_s``; ``chosen_us`` of the tile that the model would take; and under ``tried`` the
    model's and the measured microseconds of each candidate, the quickest first.
    """
    target = context.open_target()
    for shape in layer_shapes(context.tiny):
        bench = Bench(target, shape, batch, context.tiny)
        try:
            record(str(astuple(shape)), table_row(bench, context.tiny))
        except TinyYoloError as problem:
            record(str(astuple(shape)), {"error": str(problem)})


def table_row(bench: Bench, tiny: bool) -> dict[str, Any]:
    """Time the likely tiles of one convolution."""
    product = bench.product
    chosen = choose_tile(product)
    limit = SLACK * modelled_cycles(product, chosen)
    likely = [tile for tile in candidates(product) if modelled_cycles(product, tile) <= limit]
    if tiny:
        likely = [chosen]
    us = {tile: 1e3 * bench.ms(tile, runs=1 if tiny else 5) for tile in likely}
    ordered = sorted(us, key=us.__getitem__)
    best = ordered[0]
    operations = 2.0 * product.pixels * product.filters * product.terms
    return {
        "product": astuple(product),
        "tile": astuple(best),
        "us": round(us[best], 2),
        "tflop_per_s": round(operations / us[best] / 1e6, 2),
        "chosen": astuple(chosen),
        "chosen_us": round(us[chosen], 2),
        "tried": [
            [*astuple(tile), round(modelled_cycles(product, tile)), round(us[tile], 2)]
            for tile in ordered
        ],
    }


def main() -> None:
    """Write the quickest tiles of a run to the package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="what gpu.py wrote")
    results = json.loads(parser.parse_args().results.read_text())
    device = results["stages"]["device"]["all"]["name"]
    rows = {
        tuple(row["product"]): row["tile"]
        for part, found in results["stages"]["layers"].items()
        if part.startswith("convolutions-")
        for row in found.values()
        if isinstance(row, dict) and "tile" in row
    }
    lines = (json.dumps({"product": key, "tile": tile}) for key, tile in sorted(rows.items()))
    tiles_file(device).write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
