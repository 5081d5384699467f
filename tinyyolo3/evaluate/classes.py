"""Which of the data set's classes each of the model's is: by name, where the model has names."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.data.samples import DataSet
from tinyyolo3.errors import DataError

#: Darknet's coco.names calls six of COCO's categories as Pascal VOC does.
_COCO_AND_VOC = (
    ("airplane", "aeroplane"),
    ("couch", "sofa"),
    ("dining table", "diningtable"),
    ("motorcycle", "motorbike"),
    ("potted plant", "pottedplant"),
    ("tv", "tvmonitor"),
)
OTHER_NAME = {one: other for pair in _COCO_AND_VOC for one, other in (pair, pair[::-1])}


def match_classes(names: Sequence[str] | None, classes: int, data: DataSet) -> NDArray[np.int64]:
    """Return the position in the data set's names of each of the model's classes, -1 for none.

    Args:
        names: the model's, or None: then its classes are the data set's, in their order.
        classes: how many the model has.
        data: the data set; the model may know more classes than it has.

    Raises:
        DataError: a class of the data set is none of the model's.
    """
    if names is None:
        if classes != len(data.names):
            raise DataError(
                f"{data.source}: has {len(data.names)} classes, but the model has {classes}; "
                "give the model's names, to tell them apart"
            )
        return np.arange(classes)
    position = {name: index for index, name in reversed(list(enumerate(names)))}
    found = np.full(classes, -1)
    missing = []
    for index, name in enumerate(data.names):
        own = position.get(name, position.get(OTHER_NAME.get(name, name)))
        if own is None:
            missing.append(name)
        else:
            found[own] = index
    if missing:
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{data.source}: {len(missing)} of its {len(data.names)} classes "
            f"{'is' if len(missing) == 1 else 'are'} unknown to the model: {listed} "
            f"(the model's begin with {', '.join(names[:5])})"
        )
    return found
