"""Charts show the numbers they are given, legibly, the same way each time, or say why not."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinyyolo3 import charts
from tinyyolo3.charts import anchors, canvas, confusion, precision_recall, sizes, training
from tinyyolo3.errors import InputError, OutputError

pytest.importorskip("matplotlib")

#: Names that charts have trouble with: formulas, line breaks, long ones, letters without a font.
NAMES = ["dog", "$x^$", "two\nlines", "w" * 60, "猫", "\U0001f98a", "", "naïve", "car", "bus"]
EDGES_PX = 2.0 ** (np.arange(33) / 4)


def draw_sizes(path: Path, boxes: int = 500) -> None:
    random = np.random.default_rng(2)
    lengths = np.exp(random.uniform(0, 5, (boxes, 2)))
    counts = {
        name: np.histogram(lengths[:, axis], EDGES_PX)[0] for axis, name in enumerate(["w", "h"])
    }
    joint = np.histogram2d(*lengths.T, [EDGES_PX, EDGES_PX])[0].astype(np.int64)
    charts.draw_box_sizes(path, EDGES_PX, counts, joint, title="Sizes", subtitle="of $500$")


def draw_anchors(path: Path, boxes: int = 500, count: int = 9) -> None:
    random = np.random.default_rng(3)
    found = np.sort(np.exp(random.uniform(2, 5.8, (count, 2))), axis=0)
    lengths = np.exp(random.uniform(1, 6, (boxes, 2)))
    owners = random.integers(0, count, boxes)
    charts.draw_anchors(path, lengths, owners, found, input_px=(416, 416), title="Anchors")


def draw_curves(path: Path, names: list[str] = NAMES, thresholds: int = 3) -> None:
    random = np.random.default_rng(4)
    recall = np.linspace(0, 1, 101)
    precision = np.sort(random.uniform(0, 1, (thresholds, len(names), 101)))[..., ::-1].copy()
    precision[:, 1:2] = np.nan
    charts.draw_precision_recall(
        path,
        recall,
        precision,
        precision.mean(axis=2),
        iou_thresholds=np.linspace(0.5, 0.95, thresholds).tolist(),
        names=names,
        title="Precision over recall",
        subtitle="101 recalls",
    )


def draw_course(path: Path, iterations: int = 1000, measured: int = 5) -> None:
    random, at = np.random.default_rng(5), np.arange(1, iterations + 1)
    loss = np.exp(random.normal(0, 0.2, iterations) - at / iterations)
    loss[1:4] = (np.nan, 0, np.inf)[: len(loss) - 1]
    charts.draw_training(
        path,
        at,
        loss,
        {"box": loss / 2, "$x$": loss / 3},
        np.minimum(at / 100, 1) / 1000,
        measured_at=at[:: iterations // measured] if measured else None,
        measures={"mAP@0.50": random.uniform(0, 1, measured)} if measured else None,
        title="x.cfg",
    )


def draw_confusions(
    path: Path, names: list[str] = NAMES, scale: int = 50, title: str = "Confusions"
) -> None:
    counts = np.random.default_rng(5).poisson(1, (len(names) + 1,) * 2)
    counts[np.diag_indices(len(names))] *= scale
    charts.draw_confusion_matrix(path, counts, names, title=title, subtitle="IoU .5")


DRAWINGS: dict[str, Callable[..., None]] = {
    "sizes": draw_sizes,
    "no sizes": lambda path: draw_sizes(path, 0),
    "anchors": draw_anchors,
    "one anchor": lambda path: draw_anchors(path, 0, 1),
    "many anchors": lambda path: draw_anchors(path, 30, 24),
    "curves": draw_curves,
    "one curve": lambda path: draw_curves(path, ["dog"], 1),
    "no curve": lambda path: draw_curves(path, ["dog", "no objects"][1:] * 2, 1),
    "ten thresholds": lambda path: draw_curves(path, NAMES[:3], 10),
    "confusions": draw_confusions,
    "one class": lambda path: draw_confusions(path, ["dog"]),
    "long title": lambda path: draw_confusions(path, ["dog"], title="long title " * 30),
    "80 classes": lambda path: draw_confusions(path, [f"class {i}" for i in range(80)]),
    "course": draw_course,
    "one iteration": lambda path: draw_course(path, 1, 0),
    "nothing measured": lambda path: draw_course(path, 30, 0),
    "long counts": lambda path: draw_confusions(path, NAMES, 123_456_789),
}


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The figures that were saved, last first."""
    saved: list[Any] = []

    def keep(figure: Any, path: Path) -> None:
        saved.insert(0, figure)
        canvas.save_figure(figure, path)

    for module in (anchors, confusion, precision_recall, sizes, training):
        monkeypatch.setattr(module, "save_figure", keep)
    return iter([saved]).__next__()


def texts_of(figure: Any) -> list[Any]:
    from matplotlib.text import Text

    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    hidden = {
        text
        for axes in figure.axes
        if not axes.axison
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels())
    }
    return [text for text in found if text.get_text() and text not in hidden]


def assert_inside(boxes: list[tuple[str, Any]], whole: Any) -> None:
    for text, box in boxes:
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, (text, box)
        assert whole.y0 <= box.y0 <= box.y1 <= whole.y1, (text, box)


def assert_apart(boxes: list[tuple[str, Any]]) -> None:
    for index, (text, box) in enumerate(boxes):
        for other, other_box in boxes[:index]:
            wide = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
            high = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
            # A text's box is as high as its tallest letter could be: letters' own are not.
            assert wide < 1 or high < 4, (text, other)


class TestEveryChart:
    @pytest.mark.parametrize("name", DRAWINGS)
    def test_it_is_a_picture_whose_texts_are_whole_and_apart(self, tmp_path, figure, name) -> None:
        place = tmp_path / "chart.png"
        DRAWINGS[name](place)
        with Image.open(place) as image:
            assert image.format == "PNG"
            assert min(image.size) >= 400
            assert "Software" not in image.info
        assert list(tmp_path.iterdir()) == [place]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure[0])]
        assert len(boxes) > 3
        assert_inside(boxes, figure[0].bbox)
        if "anchor" in name:  # whose numbers stand in the first panel, where the anchors do
            panel = figure[0].axes[0].bbox
            boxes = [(text, box) for text, box in boxes if not panel.contains(*box.min)]
        assert_apart(boxes)

    @pytest.mark.parametrize(
        "draw", [draw_sizes, draw_anchors, draw_curves, draw_confusions, draw_course]
    )
    def test_it_is_the_same_each_time(self, tmp_path, draw) -> None:
        first, second = tmp_path / "1.png", tmp_path / "2.png"
        for path in (first, second):
            draw(path)
        assert first.read_bytes() == second.read_bytes()

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"no[/\\]chart\.png: cannot be written"):
            draw_sizes(tmp_path / "no" / "chart.png")

    def test_what_stops_the_drawing_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from matplotlib.figure import Figure

        def fail(_: Figure, file: Any, **__: object) -> None:
            file.write(b"half a chart")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Figure, "savefig", fail)
        with pytest.raises(OutputError, match=r"chart\.png: cannot be written: No space left"):
            draw_sizes(tmp_path / "chart.png")
        assert not list(tmp_path.iterdir())


class TestMatplotlib:
    def test_without_it_the_message_says_how_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        for draw in (draw_sizes, draw_anchors, draw_curves, draw_confusions, draw_course):
            with pytest.raises(OutputError) as caught:
                draw(tmp_path / "chart.png")
            assert str(caught.value) == (
                f"{tmp_path / 'chart.png'}: a chart needs matplotlib, which is not installed: "
                "pip install 'tinyyolo3[plots]'"
            )

    def test_one_that_is_broken_is_told_apart(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
        with pytest.raises(OutputError, match=r"is installed but cannot be imported: .*agg"):
            draw_sizes(tmp_path / "chart.png")

    def test_it_is_imported_late_and_its_global_state_left_alone(self, tmp_path: Path) -> None:
        code = (
            "import sys, numpy as np\n"
            "from tinyyolo3 import charts\n"
            "assert 'matplotlib' not in sys.modules\n"
            "import matplotlib\n"
            "matplotlib.rcParams['text.usetex'] = True\n"
            "before = dict(matplotlib.rcParams)\n"
            "charts.draw_confusion_matrix(sys.argv[1], np.eye(3, dtype=int), 'ab', title='t')\n"
            "assert dict(matplotlib.rcParams) == before\n"
            "assert 'matplotlib.pyplot' not in sys.modules\n"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MPLBACKEND": "TkAgg"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "chart.png")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr


class TestSizes:
    def test_bars_are_shares_of_all_boxes(self, tmp_path, figure) -> None:
        from matplotlib.patches import StepPatch

        counts = np.zeros(32, np.int64)
        counts[[4, 8]] = 1, 3
        joint = np.diag(counts)
        charts.draw_box_sizes(tmp_path / "c.png", EDGES_PX, {"w": counts}, joint, title="")
        (bars,) = figure[0].findobj(StepPatch)
        assert bars.get_data().values.tolist() == (25 * counts).tolist()
        assert bars.get_data().edges.tolist() == EDGES_PX.tolist()

    @pytest.mark.parametrize(("bins", "median"), [([8], 4.0 * 2 ** (1 / 8)), ([4, 8], 2**1.25)])
    def test_the_median_lies_where_half_of_them_are_smaller(self, bins, median) -> None:
        counts = np.zeros(32, np.int64)
        counts[bins] = 10
        assert sizes._median(counts, EDGES_PX) == pytest.approx(median)

    def test_counts_that_do_not_fit_the_edges(self, tmp_path: Path) -> None:
        good, square = np.zeros(32, np.int64), np.zeros((32, 32), np.int64)
        for histograms, joint in (({"w": good[1:]}, square), ({"w": good}, square[1:])):
            with pytest.raises(InputError, match="32"):
                charts.draw_box_sizes(tmp_path / "c.png", EDGES_PX, histograms, joint, title="")


class TestAnchors:
    def test_of_many_boxes_some_are_drawn_evenly(self, tmp_path, figure) -> None:
        lengths = np.linspace(1, 400, 45_001)[:, None].repeat(2, 1)
        owners = (lengths[:, 0] > 100).astype(np.int64)
        charts.draw_anchors(
            tmp_path / "c.png",
            lengths,
            owners,
            np.array([[50.0, 50], [200, 200]]),
            input_px=(416, 416),
            title="",
        )
        points = np.asarray(figure[0].axes[0].collections[0].get_offsets())
        assert 10_000 < len(points) <= 20_000
        assert points.min() == 1
        assert points.max() > 399
        assert {text.get_text() for text in texts_of(figure[0])} >= {"24.8%", "75.2%", "50 × 50"}

    @pytest.mark.parametrize(
        ("lengths", "owners", "found", "message"),
        [
            ([[1, 2]], [0], np.empty((0, 2)), "at least one anchor"),
            ([[1, 2]], [1], [[3, 4]], "from 0 to 0"),
            ([[1, 2]], [-1], [[3, 4]], "from 0 to 0"),
            ([[1, 2]], [0, 0], [[3, 4]], "for each of 1 boxes"),
            ([[1, 0]], [0], [[3, 4]], "sizes_px"),
            ([[1, 2]], [0], [[3, np.nan]], "anchors_px"),
            ([[1, 2, 3]], [0], [[3, 4]], "sizes_px"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, lengths, owners, found, message) -> None:
        arrays = (np.array(lengths, np.float64), np.array(owners), np.array(found, np.float64))
        with pytest.raises(InputError, match=message):
            charts.draw_anchors(tmp_path / "c.png", *arrays, input_px=(9, 9), title="")


class TestCurves:
    def test_a_few_classes_are_all_named_the_best_first(self, tmp_path, figure) -> None:
        recall = np.array([0.0, 0.5, 1.0])
        precision = np.array([[[1, 0.5, 0], [1, 1, 1], [np.nan] * 3]])
        scores = np.array([[0.4, 0.9, np.nan]])
        charts.draw_precision_recall(
            tmp_path / "c.png",
            recall,
            precision,
            scores,
            iou_thresholds=[0.5],
            names=["low", "high", "absent"],
            title="",
        )
        (axes,) = figure[0].axes
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["0.650  mean of 2", "0.900  high", "0.400  low"]
        mean = axes.lines[-1].get_ydata()
        assert mean.tolist() == [1, 0.75, 0.5]
        assert mean.size == recall.size

    def test_of_many_classes_the_best_and_the_worst_are_named(self, tmp_path, figure) -> None:
        names = [f"c{number}" for number in range(20)]
        scores = np.linspace(0.05, 1, 20)[None]
        precision = np.repeat(scores[..., None], 11, axis=2)
        charts.draw_precision_recall(
            tmp_path / "c.png",
            np.linspace(0, 1, 11),
            precision,
            scores,
            iou_thresholds=[0.5],
            names=names,
            title="",
        )
        (axes,) = figure[0].axes
        words = [text.get_text().split()[-1] for text in axes.get_legend().get_texts()]
        assert words == ["20", "c19", "c18", "c17", "c2", "c1", "c0"]
        assert len(axes.lines) == 20 + 6 + 1

    @pytest.mark.parametrize("shape", [(1, 2, 10), (1, 3, 11), (2, 2, 11), (2, 11)])
    def test_arrays_that_do_not_fit(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"\(1, 2, 11\)"):
            charts.draw_precision_recall(
                tmp_path / "c.png",
                np.linspace(0, 1, 11),
                np.zeros(shape),
                np.zeros((1, 2)),
                iou_thresholds=[0.5],
                names=["a", "b"],
                title="",
            )


class TestConfusions:
    def test_colours_are_shares_of_rows_and_numbers_counts(self, tmp_path, figure) -> None:
        counts = np.array([[30, 10, 0], [0, 0, 0], [12_345, 0, 0]])
        charts.draw_confusion_matrix(tmp_path / "c.png", counts, ["a", "b"], title="")
        axes = figure[0].axes[0]
        pixels = axes.images[0].get_array()
        blue, orange = (
            np.array([int(hue[at : at + 2], 16) / 255 for at in (1, 3, 5)])
            for hue in (canvas.BLUE, canvas.ORANGE)
        )
        np.testing.assert_allclose(pixels[0, 0], 1 - 0.75**0.5 * (1 - blue))
        np.testing.assert_allclose(pixels[0, 1], 1 - 0.25**0.5 * (1 - orange))
        np.testing.assert_allclose(pixels[2, 0], orange)
        assert (pixels[1] == 1).all()
        words = [text.get_text() for text in axes.texts]
        assert words[:3] == ["40", "0", "12,345"]
        assert words[-3:] == ["30", "10", "12.3k"]

    @pytest.mark.parametrize(
        ("count", "shown"),
        [
            *((0, "0"), (9999, "9999"), (10_000, "10k"), (99_960, "100k"), (999_499, "999k")),
            *((999_500, "1M"), (12_340_000, "12.3M")),
        ],
    )
    def test_long_counts_are_shortened(self, count: int, shown: str) -> None:
        assert confusion._short(count) == shown

    def test_of_very_many_classes_the_names_go(self, tmp_path, figure, monkeypatch) -> None:
        monkeypatch.setattr(confusion, "_LARGEST_INCH", 5.0)
        names = [f"c{number}" for number in range(60)]
        charts.draw_confusion_matrix(tmp_path / "c.png", np.eye(61, dtype=int), names, title="t")
        assert not any(text.get_text().startswith("c") for text in texts_of(figure[0]))
        with Image.open(tmp_path / "c.png") as image:
            assert max(image.size) < 8 * canvas.DOTS_PER_INCH
        with pytest.raises(OutputError, match=r"c\.png: .* of 5,000 classes is too large"):
            draw_confusions(tmp_path / "c.png", ["c"] * 5000)

    @pytest.mark.parametrize("counts", [np.zeros((2, 2)), np.full((3, 3), -1), np.zeros((3, 2))])
    def test_counts_that_do_not_fit(self, tmp_path: Path, counts: np.ndarray) -> None:
        with pytest.raises(InputError, match=r"\(3, 3\)"):
            charts.draw_confusion_matrix(tmp_path / "c.png", counts, ["a", "b"], title="")


class TestCourse:
    def test_of_many_iterations_means_are_drawn(self, tmp_path, figure) -> None:
        at = np.arange(1, 801)
        loss = np.where(at % 2, 3.0, 5.0)
        charts.draw_training(tmp_path / "c.png", at, loss, {}, loss / 1000, title="")
        (line,) = figure[0].axes[0].lines
        assert line.get_ydata().tolist() == [4.0] * 400
        assert line.get_xdata().tolist() == (np.arange(400) * 2 + 1.5).tolist()

    def test_what_is_no_number_leaves_a_gap(self, tmp_path, figure) -> None:
        loss = np.array([1, np.nan, 0, np.inf, 2])
        charts.draw_training(tmp_path / "c.png", np.arange(5), loss, {}, np.ones(5), title="")
        (line,) = figure[0].axes[0].lines
        assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([0, 4], [1, 2])

    def test_the_best_measure_stands_beside_its_name(self, tmp_path, figure) -> None:
        one = np.ones(2)
        charts.draw_training(
            tmp_path / "c.png", np.arange(2), one, {"box": one}, one, title="",
            measured_at=np.arange(2), measures={"AP": np.array([0.25, 0.125])},
        )  # fmt: skip
        assert {text.get_text() for text in texts_of(figure[0])} >= {"0.250  AP, at best", "box"}

    def test_arrays_that_do_not_fit(self, tmp_path: Path) -> None:
        one = np.ones(2)
        for at, parts in ((np.arange(3), {}), (np.arange(2), {"box": np.ones(3)}), (one[:0], {})):
            with pytest.raises(InputError, match="values of each"):
                charts.draw_training(tmp_path / "c.png", at, one, parts, one, title="")
