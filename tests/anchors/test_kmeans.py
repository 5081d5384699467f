"""The anchors found: where the clusters are, and never worse than other ways to find them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.anchors import kmeans
from tinyyolo3.anchors.assign import BLOCK, assign_numba, assign_reference
from tinyyolo3.anchors.kmeans import ascend, draw_start, find_anchors, iterate_means
from tinyyolo3.errors import DataError, InputError
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import BEST_MEAN_IOU, CLUSTER_SIDE, SAMPLED_MEAN_IOU


def coco_like(seed: int, count: int) -> np.ndarray:
    """Sizes as in COCO at 416: logarithms of three normal distributions, cut off at the picture."""
    random = np.random.default_rng(seed)
    kind = random.choice(3, count, p=[0.42, 0.34, 0.24])
    side = np.exp(random.normal(np.log([18.0, 60, 190])[kind], np.array([0.6, 0.5, 0.45])[kind]))
    stretch = np.exp(random.normal(0, 0.5, count))
    return np.clip(np.column_stack([side * stretch, side / stretch]), 0.5, 416)


def mean_iou(sizes: np.ndarray, anchors: np.ndarray) -> float:
    return assign_reference(sizes, np.ones(len(sizes)), np.asarray(anchors)).mean_iou


def darknet_iterates(sizes: np.ndarray, centers: np.ndarray) -> list[np.ndarray]:
    """All centres that Darknet's do_kmeans goes through, from matrix.c (AlexeyAB) line by line."""
    iterates, before = [], None
    for _ in range(1000):
        iterates.append(centers)
        iou = np.empty((len(sizes), len(centers)))
        for j, (width, height) in enumerate(centers):
            inner = np.minimum(sizes[:, 0], width) * np.minimum(sizes[:, 1], height)
            iou[:, j] = inner / (sizes[:, 0] * sizes[:, 1] + width * height - inner)
        assignments = (1 - iou).argmin(axis=1)
        if before is not None and (assignments == before).all():
            break
        before = assignments
        centers = np.array(
            [
                sizes[assignments == j].mean(axis=0) if (assignments == j).any() else centers[j]
                for j in range(len(centers))
            ]
        )
    return iterates


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_known_clusters_are_found(data_seed: int, clusters: int, seed: int) -> None:
    random = np.random.default_rng(data_seed)
    # A grid of sizes so far apart that the IoU of two is at most 0.6.
    places = random.choice(25, clusters, replace=False)
    centres = 12 * 1.7 ** np.column_stack([places // 5, places % 5])
    owners = np.repeat(np.arange(clusters), random.integers(100, 300, clusters))
    sizes = centres[owners] * np.exp(random.normal(0, 0.04, (len(owners), 2)))
    found = find_anchors(sizes, clusters, seed=seed)
    centres = kmeans.sort_by_area(centres)
    # Areas of different clusters may be all but equal: each is compared with its nearest.
    nearest = assign_reference(found.anchors_px, np.ones(clusters), centres).nearest
    assert sorted(nearest) == list(range(clusters))
    np.testing.assert_allclose(found.anchors_px, centres[nearest], rtol=CLUSTER_SIDE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("clusters", [6, 9])
def test_as_good_as_lloyd_from_scikit_learns_start(seed: int, clusters: int) -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    sizes = coco_like(seed, 3000)
    start, _ = cluster.kmeans_plusplus(sizes, clusters, random_state=seed)
    others = max(mean_iou(sizes, centres) for centres in darknet_iterates(sizes, start))
    assert find_anchors(sizes, clusters, seed=seed).mean_iou >= others


@pytest.mark.parametrize("seed", range(4))
def test_means_move_as_darknets(seed: int) -> None:
    sizes = np.unique(np.round(coco_like(seed, 2000), 6), axis=0)
    weights = np.ones(len(sizes))
    start = draw_start(sizes, weights, 9, np.random.default_rng(seed))
    best, best_iou = iterate_means(sizes, weights, start)
    iterates = darknet_iterates(sizes, start)
    ious = [mean_iou(sizes, centres) for centres in iterates]
    reached = [np.allclose(best, centres, rtol=1e-9) for centres in iterates]
    assert any(reached)
    assert best_iou == pytest.approx(max(ious[: reached.index(True) + kmeans.PATIENCE]))
    # The reason why the best on the way are kept, and why there is an ascent.
    assert best_iou > ious[-1] + 0.01
    assert ascend(sizes, weights, best)[1] > best_iou + 0.003


def test_one_anchor_is_the_best_there_is() -> None:
    sizes = coco_like(5, 400)
    sides = np.exp(np.linspace(np.log(5), np.log(300), 100))
    by_all = [mean_iou(sizes, [(w, h)]) for w in sides for h in sides]
    assert find_anchors(sizes, 1, restarts=1).mean_iou >= max(by_all) - BEST_MEAN_IOU


def test_nothing_near_is_better() -> None:
    sizes = coco_like(6, 2000)
    found = find_anchors(sizes, 5)
    for place in np.ndindex(5, 2):
        for factor in (0.9, 0.98, 1.02, 1.1):
            moved = found.anchors_px.copy()
            moved[place] *= factor
            assert mean_iou(sizes, moved) <= found.mean_iou + BEST_MEAN_IOU


def test_as_many_clusters_as_sizes_fit_exactly() -> None:
    sizes = np.array([[10.0, 20], [20, 10], [20, 20], [300, 7], [1, 1]])
    found = find_anchors(np.repeat(sizes, 3, axis=0), 5)
    assert found.mean_iou == 1
    # By area; of equal ones the narrower first.
    assert found.anchors_px.tolist() == [[1, 1], [10, 20], [20, 10], [20, 20], [300, 7]]


def test_what_is_returned_belongs_together() -> None:
    sizes = coco_like(7, 1500)
    found = find_anchors(sizes, 6, restarts=3)
    expected = assign_reference(sizes, np.ones(len(sizes)), found.anchors_px)
    np.testing.assert_array_equal(found.nearest, expected.nearest)
    assert found.mean_iou == pytest.approx(expected.mean_iou)
    assert len(found.start_ious) == 3
    assert found.mean_iou >= max(found.start_ious) - BEST_MEAN_IOU
    assert (np.diff(found.anchors_px.prod(axis=1)) >= 0).all()


def test_every_start_gains_by_its_ascent() -> None:
    sizes = coco_like(7, 1500)
    found = find_anchors(sizes, 6, seed=2, restarts=5)
    distinct, counts = np.unique(np.round(sizes, kmeans.DECIMALS), axis=0, return_counts=True)
    random = np.random.default_rng(2)
    for reached in found.start_ious:
        start = draw_start(distinct, counts.astype(float), 6, random)
        assert reached > iterate_means(distinct, counts.astype(float), start)[1]


def test_only_sizes_and_seed_decide() -> None:
    sizes = coco_like(8, 20 * BLOCK)
    once = find_anchors(sizes, 4, seed=3, restarts=2)
    np.random.default_rng(0).shuffle(shuffled := sizes.copy())
    for threads, same in ((1, sizes), (2, shuffled)):
        with thread_limit(threads):
            again = find_anchors(same, 4, seed=3, restarts=2)
        np.testing.assert_array_equal(again.anchors_px, once.anchors_px)
    other = find_anchors(sizes, 4, seed=4, restarts=2)
    assert (other.anchors_px != once.anchors_px).any()


def test_equal_boxes_count_each() -> None:
    sizes = np.array([[10.0, 10]] * 9 + [[20.0, 20]])
    found = find_anchors(sizes, 1)
    assert found.anchors_px[0] == pytest.approx([10, 10], rel=0.01)


def test_noise_of_rounding_makes_no_different_sizes() -> None:
    sizes = np.array([[10.0, 20], [30, 40]])[[0, 1] * 50]
    sizes *= 1 + np.random.default_rng(0).choice([-1e-15, 0, 1e-15], sizes.shape)
    assert find_anchors(sizes, 2).mean_iou == pytest.approx(1)
    with pytest.raises(DataError, match=r"^a\.json: 3 clusters need .* found 2 among 100 boxes$"):
        find_anchors(sizes, 3, source="a.json")


@pytest.mark.parametrize("outside", [1e-3, 1e5])
def test_anchors_without_boxes_are_put_where_they_help(outside: float) -> None:
    sizes = np.array([[10.0, 10], [11, 10], [50, 60], [200, 30]])
    start = np.array([[11.0, 10], [outside, outside], [outside, outside], [10, 10]])
    best, best_iou = iterate_means(sizes, np.ones(4), start)
    assert best_iou == 1
    assert sorted(best.tolist()) == sizes.tolist()


@given(st.integers(0, 2**32), st.integers(1, 8))
@settings(deadline=None, max_examples=20)
def test_compiled_as_the_reference(seed: int, clusters: int) -> None:
    sizes = np.unique(np.round(coco_like(seed, 300), 6), axis=0)
    weights = np.random.default_rng(seed).integers(1, 4, len(sizes)).astype(float)
    both = []
    for assign in (assign_reference, assign_numba):
        start = draw_start(sizes, weights, clusters, np.random.default_rng(seed), assign)
        both.append((start, *iterate_means(sizes, weights, start, assign)))
    # One block: even the sums are taken in the same order.
    for one, other in zip(*both, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_start_takes_far_boxes_first() -> None:
    # Two boxes far from a thousand: by chance alone they would be among the start's rarely.
    sizes = np.concatenate([100 + np.arange(2000.0).reshape(-1, 2) / 1e5, [[5, 90], [90, 5]]])
    for seed in range(20):
        start = draw_start(sizes, np.ones(len(sizes)), 3, np.random.default_rng(seed))
        assert {(5, 90), (90, 5)} <= {tuple(size) for size in start.tolist()}


def test_of_very_many_sizes_starts_see_a_sample(monkeypatch) -> None:
    sizes = coco_like(9, 4000)
    full = find_anchors(sizes, 5).mean_iou
    seen = []

    def assign(*arguments):
        seen.append(len(arguments[0]))
        return assign_numba(*arguments)

    monkeypatch.setattr(kmeans, "SAMPLE", 1000)
    sampled = find_anchors(sizes, 5, assign=assign)
    # The boxes cut off at the picture's corner are one size; at the end each box gets its anchor.
    assert set(seen) == {1000, len(np.unique(sizes, axis=0)), 4000}
    assert sampled.mean_iou > full - SAMPLED_MEAN_IOU
    again = find_anchors(sizes[::-1], 5)
    np.testing.assert_array_equal(again.anchors_px, sampled.anchors_px)


class TestRefused:
    @pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e-7, 2e6])
    def test_sides_that_no_box_has(self, bad: float) -> None:
        sizes = coco_like(0, 20)
        sizes[7, 1] = bad
        with pytest.raises(InputError, match=r"^sizes_px\[7\] is .* a side must be from 0\.000001"):
            find_anchors(sizes, 2)

    @pytest.mark.parametrize("shape", [(4,), (4, 4), (2, 2, 2)])
    def test_other_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"shape \(N, 2\)"):
            find_anchors(np.ones(shape), 1)

    @pytest.mark.parametrize("name", ["clusters", "restarts", "seed"])
    @pytest.mark.parametrize("value", [-1, 1.5, True, "3", None])
    def test_what_is_no_whole_number(self, name: str, value: object) -> None:
        with pytest.raises(InputError, match=rf"^{name} must be a whole number from [01], not "):
            find_anchors(np.ones((3, 2)), **{"clusters": 1, name: value})

    def test_no_boxes(self) -> None:
        with pytest.raises(DataError, match=r"^boxes: 1 clusters need .* found 0 among 0 boxes"):
            find_anchors(np.empty((0, 2)), 1)
