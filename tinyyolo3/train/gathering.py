"""A labelled set as training wants it: in memory, and fit for the network."""

from dataclasses import dataclass, replace

import numpy as np

from tinyyolo3.data.samples import DataSet, Sample
from tinyyolo3.errors import DataError


@dataclass(frozen=True, eq=False)
class Gathered:
    """The pictures of a set.

    Attributes:
        samples: them, without the places of their labels.
        notes: what may be wrong with them, in a line each.
    """

    samples: tuple[Sample, ...]
    notes: tuple[str, ...]


def gather_samples(data: DataSet, classes: int) -> Gathered:
    """Read all labels of a set, and check that a network can learn from them.

    Darknet draws pictures at random, so that all must be at hand; some hundred bytes each.

    Args:
        data: the set.
        classes: that the network tells apart.

    Raises:
        DataError: there is no picture, or no object in any of them; a label is of a class that the
            network does not have; or a label cannot be used.
    """
    samples: list[Sample] = []
    seen = np.zeros(classes, np.int64)
    empty = 0
    for sample in data:
        for position in np.flatnonzero(sample.classes >= classes)[:1]:
            raise DataError(
                f"{sample.places[position]}: class {sample.classes[position]}, but the network "
                f"has {classes} ({'only 0' if classes == 1 else f'0 to {classes - 1}'})"
            )
        np.add.at(seen, sample.classes, 1)
        empty += not len(sample.classes)
        samples.append(replace(sample, places=()))
    if not samples:
        raise DataError(f"{data.source}: has no picture to train on")
    if empty == len(samples):
        raise DataError(f"{data.source}: none of its {empty} pictures has a labelled object")
    notes = []
    if empty:
        notes.append(f"{empty} of {len(samples)} pictures have no object")
    missing = [data.names[n] for n in np.flatnonzero(seen == 0) if n < len(data.names)]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        notes.append(f"no picture has an object of class {', '.join(missing[:5])}{more}")
    return Gathered(tuple(samples), tuple(notes))
