"""The path of pictures on the CPU: batch by batch, and image by image around the network."""

from collections.abc import Generator, Iterable

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray
from tinyyolo3.engine.network import Network
from tinyyolo3.errors import InputError
from tinyyolo3.image.files import to_grey
from tinyyolo3.image.geometry import ResizeMode, resize_geometry
from tinyyolo3.selection import Selected, Selection, head_geometries, select_boxes
from tinyyolo3.stages import NetworkInput, stages


class CpuPipeline:
    """Pictures → network input → logits of the heads → boxes in the picture that survive."""

    def run(
        self,
        network: Network,
        batches: Iterable[list[ByteArray]],
        resize: ResizeMode,
        selection: Selection,
    ) -> Generator[tuple[ByteArray, Selected]]:
        """Yield each picture and its boxes; see `Pipeline.run`."""
        channels, height, width = network.graph.input_shape
        geometries = head_geometries(network.graph)
        for pictures in batches:
            using = stages()
            pixels = np.empty((len(pictures), channels, height, width), np.float32)
            for picture, target in zip(pictures, pixels, strict=True):
                fill_input(picture, target, resize, using.network_input)
            logits = network.forward(pixels)
            for index, picture in enumerate(pictures):
                frame = resize_geometry(picture.shape[1], picture.shape[0], width, height, resize)
                heads = [head[index] for head in logits]
                yield picture, select_boxes(heads, geometries, frame, selection, using)


def fill_input(
    picture: ByteArray,
    target: NDArray[np.float32],
    resize: ResizeMode,
    network_input: NetworkInput,
) -> None:
    """Write a picture into the network's input (C, H, W) of three channels, or of one (grey).

    Raises:
        InputError: it takes another number of channels.
    """
    channels, height, width = target.shape
    check_channels(channels)
    if channels == 3:
        network_input(picture, width, height, resize, out=target)
    else:
        target[0] = network_input(to_grey(picture), width, height, resize)[0]


def check_channels(channels: int) -> None:
    """Check that a network's input can be a picture.

    Raises:
        InputError: it takes neither three channels nor one.
    """
    if channels not in (1, 3):
        raise InputError(
            f"the network takes {channels} channels; pictures have three, or one when grey: "
            "use forward() and candidates() with arrays of your own"
        )
