"""Look at what every layer of a network puts out for a picture.

python examples/look_inside.py yolov3-tiny.cfg yolov3-tiny.weights street.jpg [LAYER]

Prints each layer's shape and the spread of its output, and saves the channels of one layer, side by
side, as ``layer.png``.
"""

import sys

import numpy as np
from PIL import Image

import tinyyolo3
from tinyyolo3.arrays import ByteArray, FloatArray
from tinyyolo3.image.files import read_image
from tinyyolo3.image.resize import network_input_numba


def main(cfg: str, weights: str, picture: str, chosen: str = "0") -> None:
    network = tinyyolo3.load(cfg, weights).network
    _, height, width = network.graph.input_shape
    x = network_input_numba(read_image(picture), width, height, "letterbox")[None]
    outputs = network.outputs(x)
    for layer in network.layers:
        y = outputs[layer.index]
        spread = f"{y.mean():9.4f} ± {y.std():.4f}"
        print(f"{layer.index:4} {layer.kind:15} {y.shape[1:]!s:18} {spread}")
    Image.fromarray(side_by_side(outputs[int(chosen)][0])).save("layer.png")


def side_by_side(channels: FloatArray, columns: int = 8) -> ByteArray:
    """Return up to 64 channels (C, H, W) as grey tiles, each scaled to its own range."""
    shown = channels[:64]
    low, high = shown.min(axis=(1, 2), keepdims=True), shown.max(axis=(1, 2), keepdims=True)
    grey = (255 * (shown - low) / np.maximum(high - low, 1e-9)).astype(np.uint8)
    blank = np.zeros((-len(grey) % columns, *grey.shape[1:]), np.uint8)
    tiles = np.concatenate([grey, blank]).reshape(-1, columns, *grey.shape[1:])
    return np.vstack([np.hstack(row) for row in tiles])


if __name__ == "__main__":
    main(*sys.argv[1:5])
