"""The folder of a training: its files, and that no two trainings write to them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tinyyolo3.atomic import output_errors
from tinyyolo3.errors import TrainingError
from tinyyolo3.filelock import FileLock


class LogRow(NamedTuple):
    """One iteration's line in ``log.csv``.

    Attributes:
        iteration: as the schedule counts.
        seen: pictures by the end of it.
        rate: the learning rate.
        loss: per picture, as Darknet prints it.
        box: what boxes have of the loss.
        objectness: that of objectness.
        classes: that of classes.
        iou: the mean IoU of responsible predictions with their objects.
        width: of the network's input, px.
        height: likewise.
        images_per_second: with the wait for pictures.
    """

    iteration: float
    seen: float
    rate: float
    loss: float
    box: float
    objectness: float
    classes: float
    iou: float
    width: float
    height: float
    images_per_second: float


class ValidationRow(NamedTuple):
    """One validation's line in ``validation.csv``.

    Attributes:
        iteration: after which.
        average_precision: COCO's AP, the mean over IoU 0.50 to 0.95.
        average_precision_50: COCO's AP at IoU 0.50.
        darknet_map: Darknet's mAP@0.50, by which the best weights are chosen.
    """

    iteration: float
    average_precision: float
    average_precision_50: float
    darknet_map: float


@dataclass(frozen=True)
class TrainingFolder:
    """Where the files of a training are.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """All that is needed to go on."""
        return self.path / "checkpoint.npz"

    @property
    def log(self) -> Path:
        """A `LogRow` for each iteration."""
        return self.path / "log.csv"

    @property
    def validations(self) -> Path:
        """A `ValidationRow` for each validation."""
        return self.path / "validation.csv"

    @property
    def plot(self) -> Path:
        """Both as a picture."""
        return self.path / "training.png"

    @property
    def last(self) -> Path:
        """The weights as of the last checkpoint or validation."""
        return self.path / "last.weights"

    @property
    def best(self) -> Path:
        """The weights of the validation with the highest mAP."""
        return self.path / "best.weights"

    @property
    def final(self) -> Path:
        """The weights at the end."""
        return self.path / "final.weights"


@contextmanager
def held_folder(folder: TrainingFolder) -> Iterator[None]:
    """Make the folder if need be, and hold it against other trainings during the block.

    Raises:
        TrainingError: another training holds it.
        OutputError: it cannot be made.
    """
    with output_errors(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.path / ".training.lock")
    if not lock.acquire():
        raise TrainingError(f"{folder.path}: another training is writing to this folder")
    try:
        # What a killed training was writing.
        for part in folder.path.glob(".tinyyolo3-*.part"):
            with suppress(OSError):
                part.unlink()
        yield
    finally:
        lock.release()
