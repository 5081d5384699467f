"""How good the weights of a training are on pictures that it does not learn from."""

from collections.abc import Callable
from pathlib import Path

from tinyyolo3.darknet.files import PathLike
from tinyyolo3.data.samples import DataSet
from tinyyolo3.evaluate.evaluation import evaluate_detector
from tinyyolo3.evaluate.run import RunSettings
from tinyyolo3.loading import load
from tinyyolo3.train.folder import ValidationRow


class StoppedError(Exception):
    """A validation was asked to end before it was through."""


def validate(
    cfg: PathLike,
    weights: Path,
    data: DataSet,
    iteration: int,
    *,
    names: tuple[str, ...] | None = None,
    threads: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> ValidationRow:
    """Run the detector that a training has made so far over a labelled set.

    Pictures are stretched to the network's input, as training has them (Darknet's ``map``).

    Args:
        cfg: the network.
        weights: the file that the training has written.
        data: the set.
        iteration: after which one they were written.
        names: the classes that the training set calls them by; None if it has no names.
        threads: how many CPU threads to use; None for all.
        stopped: is asked now and then whether to end.

    Raises:
        StoppedError: it was.
        TinyYoloError: the set cannot be used.
    """

    def progress(_: int) -> None:
        if stopped():
            raise StoppedError

    detector = load(cfg, weights, names=names, device="cpu", threads=threads)
    found = evaluate_detector(
        detector, data, RunSettings(resize="stretch"), progress=progress, batch=8
    )
    assert found.coco is not None
    assert found.darknet is not None
    return ValidationRow(
        iteration,
        float(found.coco["AP"]),
        float(found.coco["AP50"]),
        float(found.darknet.mean_average_precision),
    )
