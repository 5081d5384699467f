"""The project's own errors: every refusal a user can meet is one of these.

A message says the place, what was expected and what was found, in one line:
``yolov3.cfg:612 [route] layers=-61 leaves the network (58 layers so far)``.
"""


class TinyYoloError(Exception):
    """Base of all errors that tinyyolo3 raises on purpose."""


class ConfigError(TinyYoloError):
    """A Darknet ``.cfg``, ``.names`` or ``.data`` file that cannot be used, with its line."""


class WeightsError(TinyYoloError):
    """A Darknet ``.weights`` file that does not fit its network."""


class ImageError(TinyYoloError):
    """An image that cannot be read or has no usable pixels."""


class DataError(TinyYoloError):
    """Labelled data that cannot be used: a file, its line or entry, and what is wrong with it."""


class InputError(TinyYoloError, ValueError):
    """An argument of the wrong type, shape, dtype or range."""


class BackendError(TinyYoloError):
    """A backend or device that is missing, or lacks a layer the network needs."""


class KernelError(TinyYoloError):
    """A CUDA kernel that does not compile, is called wrongly, or does what a kernel must not."""


class TrainingError(TinyYoloError):
    """A training that cannot go on, or is not there to go on with."""


class OutputError(TinyYoloError):
    """A result that could not be written."""


class WeightsWarning(UserWarning):
    """Weights that load but will not give useful numbers (NaN, infinity)."""


class DeviceWarning(UserWarning):
    """A device that was to be used if it could be, and cannot."""
