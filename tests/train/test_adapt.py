"""A model for other classes: what changes in its cfg, and that everything else is kept."""

from pathlib import Path

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.names import read_names
from tinyyolo3.darknet.weights import read_weights
from tinyyolo3.errors import ConfigError, InputError, OutputError, WeightsError
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.train.adapt import adapt_cfg, adapt_model, adapt_parameters
from tinyyolo3.train.initial import initial_parameters

#: In the tiny cfg: the convolutions of the heads, each with two anchors of 5 + 2 entries.
HEADS = (5, 10)


def graph_of(text: str):
    return build_graph(parse_config(text))


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    pairs = zip(before.split("\n"), after.split("\n"), strict=True)
    return [pair for pair in pairs if pair[0] != pair[1]]


class TestCfg:
    def test_classes_and_filters_change_and_nothing_else(self, tiny_cfg):
        changes = changed_lines(tiny_cfg, adapt_cfg(tiny_cfg, 3))
        assert changes == [("filters=14", "filters=16"), ("classes=2", "classes=3")] * 2

    def test_a_head_of_another_mask_has_other_filters(self, tiny_cfg):
        text = tiny_cfg.replace("mask=2,3", "mask=1,2,3").replace("filters=14", "filters=21", 1)
        heads = [
            layer.filters for layer in graph_of(adapt_cfg(text, 4)).layers if layer.index in HEADS
        ]
        assert heads == [27, 18]

    def test_anchors_and_options_of_net(self, tiny_cfg):
        anchors = np.array([[1, 2], [3, 4.5], [5, 6], [7, 8]])
        changed = adapt_cfg(tiny_cfg, 2, anchors_px=anchors, net={"width": "64", "batch": "4"})
        graph = graph_of(changed)
        assert graph.input_shape == (3, 32, 64)
        assert graph.config.net.integer("batch") == 4
        assert [head.anchors for head in graph.heads] == [((5, 6), (7, 8)), ((1, 2), (3, 4.5))]

    def test_the_number_of_anchors_stays(self, tiny_cfg):
        with pytest.raises(InputError, match=r"^a\.cfg:39 \[yolo\] has num=4 anchors, not 3$"):
            adapt_cfg(tiny_cfg, 2, anchors_px=np.ones((3, 2)), source="a.cfg")

    def test_what_is_no_detector_is_refused(self, tiny_cfg):
        with pytest.raises(ConfigError, match=r"^a\.cfg has no \[yolo\] section"):
            adapt_cfg(tiny_cfg.partition("[yolo]")[0], 2, source="a.cfg")

    def test_a_head_behind_something_else_is_refused(self, tiny_cfg):
        text = tiny_cfg.replace("[yolo]", "[maxpool]\nsize=1\nstride=1\n\n[yolo]", 1)
        with pytest.raises(ConfigError, match=r"expected a \[convolutional\].*found \[maxpool\]"):
            adapt_cfg(text, 2)


class TestParameters:
    @pytest.mark.parametrize("same", [{}, {0: 1}, {2: 0, 0: 1}])
    def test_all_are_kept_but_the_classes_that_are_new(self, tiny_cfg, seeded_weights, same):
        trained, graph = graph_of(tiny_cfg), graph_of(adapt_cfg(tiny_cfg, 3))
        weights = seeded_weights(tiny_cfg)
        adapted = adapt_parameters(graph, trained, weights, same_classes=same, seed=4)
        assert adapted.heads == HEADS
        assert adapted.kept == (0, 2)
        assert adapted.parameters[0] is weights[0]
        for index in HEADS:
            anew = initial_parameters(graph.layers[index], 4)
            for name, found in adapted.parameters[index].items():
                ours = found.reshape(2, 8, -1)
                before, random = (
                    weights[index][name].reshape(2, 7, -1),
                    anew[name].reshape(2, 8, -1),
                )
                np.testing.assert_array_equal(ours[:, :5], before[:, :5])
                for new in range(3):
                    expected = before[:, 5 + same[new]] if new in same else random[:, 5 + new]
                    np.testing.assert_array_equal(ours[:, 5 + new], expected)

    def test_as_many_classes_are_not_the_same_ones(self, tiny_cfg, seeded_weights):
        graph, weights = graph_of(tiny_cfg), seeded_weights(tiny_cfg)
        adapted = adapt_parameters(graph, graph, weights)
        biases = adapted.parameters[5]["biases"].reshape(2, 7)
        np.testing.assert_array_equal(biases[:, :5], weights[5]["biases"].reshape(2, 7)[:, :5])
        assert (biases[:, 5:] == 0).all()

    def test_another_network_is_refused(self, tiny_cfg, seeded_weights):
        other = tiny_cfg.replace("filters=8", "filters=9", 1)
        with pytest.raises(ConfigError, match=r"<cfg>:6 \[convolutional\] is another layer than"):
            adapt_parameters(graph_of(other), graph_of(tiny_cfg), seeded_weights(tiny_cfg))


class TestModel:
    def test_is_ready_to_be_loaded(self, tiny_model, tmp_path):
        adapted = adapt_model(
            tmp_path / "a.b",
            ["dog", "owl"],
            tiny_model.cfg,
            tiny_model.weights,
            known=["cat", "dog"],
        )
        assert (adapted.cfg.name, adapted.names.name) == ("a.b.cfg", "a.b.names")
        assert adapted.same_classes == {0: 1}
        assert read_names(adapted.names) == ("dog", "owl")
        header, arrays = read_weights(adapted.weights, network_slots(adapted.graph))
        assert header.seen == 0  # it begins anew
        for index, own in adapted.parameters.parameters.items():
            for name, array in own.items():
                np.testing.assert_array_equal(arrays[index][name], array)
        detector = tinyyolo3.load(adapted.cfg, adapted.weights, names=adapted.names)
        before = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
        x = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
        dogs = [found.candidates(x).probability[:, k] for found, k in ((detector, 0), (before, 1))]
        np.testing.assert_allclose(*dogs, rtol=1e-6)

    def test_without_weights_there_are_none(self, tiny_model, tmp_path):
        adapted = adapt_model(tmp_path / "a", ["owl"], tiny_model.cfg)
        assert adapted.weights is adapted.parameters is None
        assert {path.name for path in tmp_path.glob("a.*")} == {"a.cfg", "a.names"}

    @pytest.mark.parametrize("suffix", [".cfg", ".weights"])
    def test_nothing_is_written_over(self, tiny_model, tmp_path, suffix):
        (tmp_path / f"a{suffix}").write_text("precious")
        with pytest.raises(OutputError, match=rf"a\{suffix}: is there already"):
            adapt_model(tmp_path / "a", ["owl"], tiny_model.cfg, tiny_model.weights)
        assert [path.read_text() for path in tmp_path.glob("a.*")] == ["precious"]

    def test_names_that_are_there_must_be_the_same(self, tiny_model, tmp_path):
        names = tmp_path / "a.names"
        names.write_text("owl\nbat")
        with pytest.raises(OutputError, match=r"a\.names: is there already"):
            adapt_model(tmp_path / "a", ["owl"], tiny_model.cfg)
        assert adapt_model(tmp_path / "a", ["owl", "bat"], tiny_model.cfg).names == names

    def test_bad_input(self, tiny_model, tmp_path):
        with pytest.raises(InputError, match="at least one class"):
            adapt_model(tmp_path / "a", [], tiny_model.cfg)
        tiny_model.weights.write_bytes(tiny_model.weights.read_bytes()[:-4])
        with pytest.raises(WeightsError, match="too short"):
            adapt_model(tmp_path / "a", ["owl"], tiny_model.cfg, tiny_model.weights)
        with pytest.raises(OutputError, match=r"gone/a\.cfg: cannot be written"):
            adapt_model(tmp_path / "gone" / "a", ["owl"], tiny_model.cfg)
        assert not list(tmp_path.glob("a.*"))


def test_yolo_fastest_goes_on_knowing_a_class_it_knew(reference: Path, tmp_path: Path) -> None:
    model = reference / "models" / "yolo-fastest-1.1" / "model"
    cfg, weights, names = (model.with_suffix(s) for s in (".cfg", ".weights", ".names"))
    adapted = adapt_model(tmp_path / "p", ["star", "person"], cfg, weights, known=read_names(names))
    picture = reference / "images" / "person.png"
    found = tinyyolo3.load(adapted.cfg, adapted.weights, names=adapted.names).detect(
        picture, classes=["person"]
    )
    expected = tinyyolo3.load(cfg, weights, names=names).detect(picture, classes=["person"])
    assert len(expected) > 0
    np.testing.assert_array_equal(found.boxes_xyxy_px, expected.boxes_xyxy_px)
