"""This project's own engine."""

import inspect
from typing import Any

import tinyyolo3
from peers.base import NMS, THRESHOLD, ByteArray, Engine, Model, UnavailableError


def load(model: Model, threads: int, **options: Any) -> Engine:
    """Load the network as a user does; `options` are further ones of `tinyyolo3.load`.

    Raises:
        UnavailableError: this version of the package, or this machine, does not have the options.
    """
    for name in options:
        if name not in inspect.signature(tinyyolo3.load).parameters:
            raise UnavailableError(f"tinyyolo3.load of this version takes no {name}=")
    tinyyolo3.warmup()  # without it the first runs would be plain NumPy's
    usual: dict[str, Any] = {"device": "cpu", "size": (model.side, model.side), "threads": threads}
    try:
        detector = tinyyolo3.load(model.cfg, model.weights, **(usual | options))
    except tinyyolo3.TinyYoloError as error:
        if not options:
            raise
        raise UnavailableError(str(error)) from error

    def detect(picture: ByteArray) -> object:
        return detector.detect(
            picture, threshold=THRESHOLD, nms=NMS, resize="stretch", multi_label=False
        )

    precision = "bfloat16" if options.get("precision") == "bf16" else "float32"
    return Engine(tinyyolo3.__version__, precision, detector.forward, detect)
