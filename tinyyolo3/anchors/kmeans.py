"""k-means over box sizes with the distance 1 - IoU, as Darknet finds anchors, and a last ascent.

1. *Start* (Arthur and Vassilvitskii, k-means++, 2007): boxes become anchors one by one, each drawn
   with a probability in proportion to its distance from the nearest one so far, as in Darknet's
   matrix.c, smart_centers. Several are drawn each time, and the best one is taken (section 7).
2. *k-means* (matrix.c, kmeans_expectation and kmeans_maximization): boxes go to their nearest
   anchor, anchors move to the means of their boxes. Means are not what makes the IoU large, since
   a few large boxes pull them away from many small ones: after some passes, the mean IoU falls.
   Darknet goes on until nothing moves; here the best anchors on the way are kept.
3. *Ascent*: from there, along the derivative of the mean IoU by the logarithms of the anchors'
   sides, with steps by sign (Riedmiller and Braun, RPROP, 1993). COCO-like sizes gain about one
   point in a hundred.

All this is done from several starts, and the anchors of the largest mean IoU win. Of very many
sizes starts see a sample; the winner's ascent goes on with all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tinyyolo3.anchors.assign import Assignment, assign_numba
from tinyyolo3.arrays import FloatArray, IntArray
from tinyyolo3.errors import DataError, InputError

#: Gives weighted sizes their anchors: `assign_numba`, or in tests the reference.
Assign: TypeAlias = Callable[[FloatArray, FloatArray, FloatArray], Assignment]

#: The most passes over the sizes, of k-means as in Darknet (do_kmeans), and of the ascent.
PASSES = 1000
#: It is over when in this many passes the mean IoU has not risen by more than this in all.
PATIENCE, GAIN = 10, 1e-5
#: RPROP's first step, of logarithms, and what it is multiplied by when a derivative keeps its sign
#: or changes it.
FIRST_STEP, GROW, SHRINK = 0.05, 1.2, 0.5

#: The most sizes that starts see. Between two samples of so many boxes the mean IoU differs by less
#: than one in a thousand, and the best anchors for one are nearly those for the other.
SAMPLE = 100_000

#: Sizes are the same if they are to this decimal. A side that is 0 then is none.
DECIMALS = 6
LARGEST_PX = 1e6


@dataclass(frozen=True)
class Clusters:
    """Anchors, and what became of the boxes.

    Attributes:
        anchors_px: (K, 2) float64, widths and heights in pixels of the network's input, by area.
        nearest: (N,) int64, each box's anchor.
        iou: (N,) float64, its IoU with that.
        start_ious: (restarts,) the mean IoU that each start led to, before the winner went on.
    """

    anchors_px: FloatArray
    nearest: IntArray
    iou: FloatArray
    start_ious: tuple[float, ...]

    @property
    def mean_iou(self) -> float:
        """The mean IoU of all boxes with their anchors, from 0 to 1."""
        return float(self.iou.mean())


def find_anchors(
    sizes_px: FloatArray,
    clusters: int = 9,
    *,
    seed: int = 0,
    restarts: int = 10,
    source: str = "boxes",
    assign: Assign = assign_numba,
) -> Clusters:
    """Find the anchors that fit boxes best.

    The result depends on the sizes, the seed and the number of restarts alone: not on the boxes'
    order nor on the number of threads.

    Args:
        sizes_px: (N, 2) float, widths and heights in pixels of the network's input.
        clusters: how many anchors, K.
        seed: what all random choices follow from.
        restarts: how many starts to try.
        source: where the boxes come from, for messages.
        assign: what gives sizes their anchors.

    Raises:
        DataError: there are fewer distinct sizes than clusters.
        InputError: a size is not from 0.000001 to 1,000,000 px, or another argument is not a whole
            number in its range.
    """
    _check_whole("clusters", clusters, 1)
    _check_whole("restarts", restarts, 1)
    _check_whole("seed", seed, 0)
    distinct, weights = _distinct_sizes(_check_sizes(sizes_px))
    if len(distinct) < clusters:
        raise DataError(
            f"{source}: {clusters} clusters need as many different box sizes, found "
            f"{len(distinct)} among {len(sizes_px)} boxes"
        )
    random = np.random.default_rng(seed)
    sample = np.arange(len(distinct))
    if len(distinct) > max(SAMPLE, clusters):
        sample = np.sort(random.choice(sample, max(SAMPLE, clusters), replace=False))
    seen = distinct[sample], weights[sample]
    ends = []
    for _ in range(restarts):
        anchors = draw_start(*seen, clusters, random, assign)
        anchors, _ = iterate_means(*seen, anchors, assign)
        ends.append(ascend(*seen, anchors, assign))
    best, _ = max(ends, key=lambda end: end[1])
    anchors, _ = ascend(distinct, weights, best, assign)
    start_ious = tuple(mean_iou for _, mean_iou in ends)
    return assign_boxes(sizes_px, sort_by_area(anchors), start_ious, assign)


def assign_boxes(
    sizes_px: FloatArray,
    anchors_px: FloatArray,
    start_ious: tuple[float, ...] = (),
    assign: Assign = assign_numba,
) -> Clusters:
    """Give boxes (N, 2) their anchors (K, 2), as they are."""
    sizes = np.asarray(sizes_px, np.float64)
    found = assign(sizes, np.ones(len(sizes)), anchors_px)
    return Clusters(anchors_px, found.nearest, found.iou, start_ious)


def sort_by_area(anchors: FloatArray) -> FloatArray:
    """Return anchors (K, 2) from the smallest area to the largest, of equal ones the narrower."""
    order = np.lexsort((anchors[:, 0], anchors[:, 0] * anchors[:, 1]))
    return np.asarray(anchors[order])


def draw_start(
    sizes: FloatArray,
    weights: FloatArray,
    clusters: int,
    random: np.random.Generator,
    assign: Assign = assign_numba,
) -> FloatArray:
    """Draw anchors among the sizes: greedy k-means++ with the distance 1 - IoU.

    Args:
        sizes: (N, 2), distinct; N is at least `clusters`.
        weights: (N,), how many boxes have each size.
        clusters: how many anchors to draw.
        random: what they are drawn with.
        assign: what gives sizes their anchors.

    Returns:
        (clusters, 2), different sizes.
    """
    trials = 2 + int(np.log(clusters))  # Arthur's own choice, and scikit-learn's
    # The first is drawn as if all boxes were one apart from it.
    distances, chosen = np.ones(len(sizes)), []
    for number in range(clusters):
        so_far = np.cumsum(weights * distances)
        points = random.random(trials if number else 1) * so_far[-1]
        drawn = np.minimum(np.searchsorted(so_far, points, side="right"), len(sizes) - 1)
        best = np.inf
        for candidate in drawn:
            new = np.minimum(distances, 1 - assign(sizes, weights, sizes[candidate, None]).iou)
            total = (weights * new).sum()
            if total < best:
                best, closer, taken = total, new, candidate
        distances = closer
        chosen.append(taken)
    return sizes[chosen]


def iterate_means(
    sizes: FloatArray, weights: FloatArray, anchors: FloatArray, assign: Assign = assign_numba
) -> tuple[FloatArray, float]:
    """Move anchors to the means of their boxes while that helps.

    An anchor without boxes goes where a box is farthest from its own; Darknet leaves it where it
    is.

    Args:
        sizes: (N, 2), distinct, N at least K.
        weights: (N,), how many boxes have each size.
        anchors: (K, 2), where to begin.
        assign: what gives sizes their anchors.

    Returns:
        The best anchors on the way, and their mean IoU.
    """

    def move(found: Assignment, _: FloatArray) -> FloatArray:
        empty = found.boxes == 0
        moved = found.size_sums / np.where(empty, 1, found.boxes)[:, None]
        if empty.any():
            moved[empty] = sizes[np.argsort(found.iou, kind="stable")[: empty.sum()]]
        return moved

    return _improve(sizes, weights, anchors, assign, move)


def ascend(
    sizes: FloatArray, weights: FloatArray, anchors: FloatArray, assign: Assign = assign_numba
) -> tuple[FloatArray, float]:
    """Move anchors along the derivative of the mean IoU while that helps; see `iterate_means`."""
    steps = np.full(anchors.shape, FIRST_STEP)
    before = np.zeros(anchors.shape)

    def move(found: Assignment, anchors: FloatArray) -> FloatArray:
        signs = np.sign(found.slopes)
        agreement = signs * before
        steps[agreement > 0] *= GROW
        steps[agreement < 0] *= SHRINK
        before[:] = signs
        return np.asarray(anchors * np.exp(signs * steps))

    return _improve(sizes, weights, anchors, assign, move)


def _improve(
    sizes: FloatArray,
    weights: FloatArray,
    anchors: FloatArray,
    assign: Assign,
    move: Callable[[Assignment, FloatArray], FloatArray],
) -> tuple[FloatArray, float]:
    """Move anchors until it no longer helps; return the best ones on the way, and their mean."""
    best, best_iou, mark, waited = anchors, 0.0, 0.0, 0
    for _ in range(PASSES):
        found = assign(sizes, weights, anchors)
        if found.mean_iou > best_iou:
            best, best_iou = anchors, found.mean_iou
        waited += 1
        if best_iou > mark + GAIN:
            mark, waited = best_iou, 0
        moved = move(found, anchors)
        if waited == PATIENCE or np.array_equal(moved, anchors):
            break
        anchors = moved
    return best, best_iou


def _distinct_sizes(sizes_px: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the sizes that there are, by width and then height, and how many boxes have each."""
    # A complex number has two parts, by which they are sorted: ten times as quick as rows.
    pairs = np.round(sizes_px, DECIMALS).view(np.complex128)[:, 0]
    distinct, counts = np.unique(pairs, return_counts=True)
    return distinct.view(np.float64).reshape(-1, 2), counts.astype(np.float64)


def _check_sizes(sizes_px: FloatArray) -> FloatArray:
    sizes = np.ascontiguousarray(sizes_px, np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2:
        raise InputError(f"sizes_px must have shape (N, 2), not {sizes.shape}")
    good = (sizes >= 10.0**-DECIMALS) & (sizes <= LARGEST_PX)  # NaN is not
    if not good.all():
        worst = int(np.argmin(good.all(axis=1)))
        raise InputError(
            f"sizes_px[{worst}] is {sizes[worst, 0]:g} x {sizes[worst, 1]:g}; a side must be from "
            f"{10.0**-DECIMALS:f} to {LARGEST_PX:,.0f} px"
        )
    return sizes


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be a whole number from {least}, not {value!r}")
