"""OpenCV 4's DNN module, which reads Darknet's files itself."""

import cv2
import numpy as np

from peers.base import NMS, THRESHOLD, ByteArray, Engine, FloatArray, Model, UnavailableError


def load(model: Model, threads: int) -> Engine:
    """Load the cfg and weights as OpenCV's YOLO sample does.

    The importer calls the convolution of section N ``conv_N`` and the head ``yolo_N``: a forward
    pass asks for the convolutions before the heads, which is what the other engines put out, and a
    detection for the heads. Changing between the two makes OpenCV allocate anew, so whoever times
    them must not alternate.

    Raises:
        UnavailableError: this OpenCV has no Darknet importer any more.
    """
    if int(cv2.__version__.partition(".")[0]) >= 5:
        raise UnavailableError(f"OpenCV {cv2.__version__} does not read Darknet models")
    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromDarknet(str(model.cfg), str(model.weights))
    # The names come in the order of the sections.
    head_names = [name for name in network.getLayerNames() if name.startswith("yolo_")]
    logit_names = [f"conv_{int(name.removeprefix('yolo_')) - 1}" for name in head_names]

    def forward(blob: FloatArray) -> list[FloatArray]:
        network.setInput(blob)
        return list(network.forward(logit_names))

    def detect(picture: ByteArray) -> object:
        network.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, (model.side, model.side)))
        found = network.forward(head_names)
        rows = np.concatenate([out.reshape(-1, out.shape[-1]) for out in found])
        rows = rows[rows[:, 4] > THRESHOLD]
        boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], axis=1)
        scores, classes = rows[:, 5:].max(axis=1), rows[:, 5:].argmax(axis=1)
        return cv2.dnn.NMSBoxesBatched(
            boxes.tolist(), scores.tolist(), classes.tolist(), THRESHOLD, NMS
        )

    return Engine(cv2.__version__, "float32", forward, detect)
