"""Anchors for a data set: the box shapes that a network's heads start from.

- `sizes` reads the boxes' sizes as the network sees them.
- `assign` is the distance, and gives boxes their nearest anchors.
- `kmeans` finds the anchors.
- `options` turns them into what a cfg's [yolo] sections say.
"""

from tinyyolo3.anchors.kmeans import Clusters, find_anchors
from tinyyolo3.anchors.options import anchors_option, masks, round_anchors
from tinyyolo3.anchors.sizes import LabelledSizes, read_sizes

__all__ = [
    "Clusters",
    "LabelledSizes",
    "anchors_option",
    "find_anchors",
    "masks",
    "read_sizes",
    "round_anchors",
]
