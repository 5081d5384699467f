"""tinyyolo3: a small, complete YOLOv3 engine on NumPy and Numba.

import tinyyolo3

detector = tinyyolo3.load("yolov3.cfg", "yolov3.weights", names="coco.names")
for found in detector.detect("street.jpg"):
    print(found.name, found.confidence, found.xyxy)
"""

from tinyyolo3.detections import Detection, Detections
from tinyyolo3.detector import Detector
from tinyyolo3.errors import (
    BackendError,
    ConfigError,
    ImageError,
    InputError,
    OutputError,
    TinyYoloError,
    WeightsError,
    WeightsWarning,
)
from tinyyolo3.loading import load

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "ConfigError",
    "Detection",
    "Detections",
    "Detector",
    "ImageError",
    "InputError",
    "OutputError",
    "TinyYoloError",
    "WeightsError",
    "WeightsWarning",
    "__version__",
    "load",
]
