"""COCO's protocol in compiled loops; `tinyyolo3.evaluate.coco_reference` has the definitions.

Three ideas make it quick. Detections are sorted once, by score; counting sorts, which keep the
order of equals, then deal them out to classes and to pairs of picture and class. One visit to a
pair works out its IoUs once and matches at all areas and thresholds. And precision is read off
backwards (`tinyyolo3.evaluate.coco_curves`).

Pictures share nothing, so pairs go to several threads, and so do classes.
"""

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.evaluate.coco_curves import curves_of
from tinyyolo3.evaluate.coco_reference import (
    AREA_RANGES_PX2,
    FALSE_POSITIVE,
    IGNORED,
    IOU_THRESHOLDS,
    LARGEST_THRESHOLD,
    MAX_DETECTIONS,
    TRUE_POSITIVE,
    Curves,
)
from tinyyolo3.evaluate.columns import FoundBoxes, GroundTruth
from tinyyolo3.parallel import compiled, parallel_for

#: Pairs that are worth another thread: some tenths of a millisecond.
GRAIN_PAIRS = 512


def curves_numba(truth: GroundTruth, found: FoundBoxes) -> Curves:
    """Do what `curves_reference` does in compiled loops, with some 150 bytes for each detection.

    Args and Returns: as there.
    """
    images, categories = len(truth.image_ids), len(truth.names)
    rows = stable_order(found.image, np.arange(len(found)), images)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    ranked = stable_order(found.category, rows, categories)  # class by class, the best first
    place = np.empty_like(ranked)
    place[ranked] = np.arange(len(ranked))
    paired = stable_order(found.image, ranked, images)  # pair by pair, the best first
    true = stable_order(truth.category, np.arange(len(truth.image)), categories)
    true = stable_order(truth.image, true, images)
    pairs = list_pairs(
        found.image[paired], found.category[paired], truth.image[true], truth.category[true]
    )
    shape = (len(found), len(AREA_RANGES_PX2), len(IOU_THRESHOLDS))
    outcome = np.full(shape, IGNORED, np.int8)  # what those after the hundredth stay
    rank = np.empty(len(found), np.int64)
    parallel_for(
        _match_pairs,
        len(pairs),
        pairs,
        found.boxes_xywh_px[paired],
        place[paired],
        truth.boxes_xywh_px[true],
        truth.areas_px2[true],
        truth.crowds[true],
        np.array(list(AREA_RANGES_PX2.values())),
        np.minimum(IOU_THRESHOLDS, LARGEST_THRESHOLD),
        MAX_DETECTIONS[-1],
        outcome,
        rank,
        grain=GRAIN_PAIRS,
    )
    return curves_of(outcome, rank, np.bincount(found.category, minlength=categories), truth)


@compiled
def stable_order(keys: NDArray[np.int64], rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `rows` by ascending key, those of equal keys in the order in which they come.

    Args:
        keys: (N,) of all rows, in ``[0, count)``.
        rows: (N,) positions in `keys`.
        count: how many keys there are.
    """
    start = np.zeros(count + 1, np.int64)
    for row in rows:
        start[keys[row] + 1] += 1
    for key in range(count):
        start[key + 1] += start[key]
    ordered = np.empty_like(rows)
    for row in rows:
        ordered[start[keys[row]]] = row
        start[keys[row]] += 1
    return ordered


@compiled
def list_pairs(
    found_image: NDArray[np.int64],
    found_category: NDArray[np.int64],
    true_image: NDArray[np.int64],
    true_category: NDArray[np.int64],
) -> NDArray[np.int64]:
    """List the pairs of picture and class in which something was found.

    The columns are of detections and of objects, both by picture and then by class.

    Returns:
        (P, 4): where the pair's detections begin and end, and where its objects do.
    """
    pairs = np.empty((found_image.size, 4), np.int64)
    count, first, true = 0, 0, 0
    while first < found_image.size:
        image, category = found_image[first], found_category[first]
        stop = first
        while (
            stop < found_image.size
            and found_image[stop] == image
            and found_category[stop] == category
        ):
            stop += 1
        while true < true_image.size and (
            true_image[true] < image
            or (true_image[true] == image and true_category[true] < category)
        ):
            true += 1
        begin = true
        while (
            true < true_image.size and true_image[true] == image and true_category[true] == category
        ):
            true += 1
        pairs[count, 0], pairs[count, 1] = first, stop
        pairs[count, 2], pairs[count, 3] = begin, true
        first, count = stop, count + 1
    return pairs[:count].copy()


@compiled
def _match_pairs(
    start: int,
    stop: int,
    pairs: NDArray[np.int64],
    found_xywh_px: NDArray[np.float64],
    place: NDArray[np.int64],
    true_xywh_px: NDArray[np.float64],
    true_areas_px2: NDArray[np.float64],
    crowds: NDArray[np.bool_],
    ranges_px2: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    most_detections: int,
    outcome: NDArray[np.int8],
    rank: NDArray[np.int64],
) -> None:
    """Decide what the detections of some pairs are; write row ``place[d]`` of `outcome` and `rank`.

    All columns but those two are in the pairs' order.
    """
    largest = 0
    for pair in range(start, stop):
        largest = max(largest, pairs[pair, 3] - pairs[pair, 2])
    iou = np.empty((most_detections, largest))
    ignored = np.empty(largest, np.bool_)
    taken = np.empty(largest, np.bool_)
    for pair in range(start, stop):
        first, end, begin, last = pairs[pair, 0], pairs[pair, 1], pairs[pair, 2], pairs[pair, 3]
        for d in range(first, end):
            rank[place[d]] = d - first
        end = min(end, first + most_detections)
        own_crowds = crowds[begin:last]
        near = _fill_overlaps(
            found_xywh_px[first:end], true_xywh_px[begin:last], own_crowds, thresholds[0], iou
        )
        for area in range(len(ranges_px2)):
            least, most = ranges_px2[area]
            for g in range(begin, last):
                outside = true_areas_px2[g] < least or true_areas_px2[g] > most
                ignored[g - begin] = crowds[g] or outside
            for t in range(len(thresholds)):
                taken[: last - begin] = False
                for d in range(first, end):
                    best = -1
                    if near:
                        best = _best_object(
                            iou[d - first], own_crowds, ignored, taken, thresholds[t]
                        )
                    if best >= 0:
                        taken[best] = True
                        what = IGNORED if ignored[best] else TRUE_POSITIVE
                    else:
                        area_px2 = found_xywh_px[d, 2] * found_xywh_px[d, 3]
                        outside = area_px2 < least or area_px2 > most
                        what = IGNORED if outside else FALSE_POSITIVE
                    outcome[place[d], area, t] = what


@compiled
def _fill_overlaps(
    found_xywh_px: NDArray[np.float64],
    true_xywh_px: NDArray[np.float64],
    crowds: NDArray[np.bool_],
    threshold: float,
    iou: NDArray[np.float64],
) -> bool:
    """Write the overlaps of a pair's detections with its objects; return whether any will do."""
    near = False
    for d in range(len(found_xywh_px)):
        for g in range(len(true_xywh_px)):
            iou[d, g] = _overlap(found_xywh_px[d], true_xywh_px[g], crowds[g])
            near |= not iou[d, g] < threshold
    return near


@compiled
def _overlap(
    found_xywh_px: NDArray[np.float64], true_xywh_px: NDArray[np.float64], crowd: bool
) -> float:
    """Return the IoU of a detection and an object, or the part of it that lies in a crowd."""
    left, top, width, height = found_xywh_px
    true_left, true_top, true_width, true_height = true_xywh_px
    shared_width = min(left + width, true_left + true_width) - max(left, true_left)
    shared_height = min(top + height, true_top + true_height) - max(top, true_top)
    if shared_width <= 0 or shared_height <= 0:
        return 0.0
    shared, area = shared_width * shared_height, width * height
    overlap: float = shared / (area if crowd else area + true_width * true_height - shared)
    return overlap


@compiled
def _best_object(
    iou: NDArray[np.float64],
    crowds: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    taken: NDArray[np.bool_],
    threshold: float,
) -> int:
    """Return the object that a detection takes, an ignored one if there is no other; or -1."""
    for ignoring in (False, True):
        best, largest = -1, threshold
        for g in range(crowds.size):
            free = crowds[g] or not taken[g]
            if ignored[g] == ignoring and free and not iou[g] < largest:  # of equals the last
                best, largest = g, iou[g]
        if best >= 0:
            return best
    return -1
