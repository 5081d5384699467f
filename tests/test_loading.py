"""From file names to a detector: what each argument of `load` changes."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import tinyyolo3
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import Header, write_weights
from tinyyolo3.errors import InputError, WeightsError, WeightsWarning
from tinyyolo3.loading import load_parameters
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_parameters
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing import tolerances

HEADER_BYTES = 20


@pytest.fixture
def pixels():
    return np.random.default_rng(0).random((2, 3, 32, 32), np.float32)


def keep_floats(model, count: int) -> None:
    """Cut the weights after `count` floats."""
    model.weights.write_bytes(model.weights.read_bytes()[: HEADER_BYTES + 4 * count])


def first_floats(cfg: str, layers: int) -> int:
    """How many floats the first layers of a cfg have."""
    slots = network_slots(build_graph(parse_config(cfg)))
    return sum(slot.count for slot in slots if slot.layer < layers)


def test_paths_may_be_strings(tiny_model):
    detector = tinyyolo3.load(
        str(tiny_model.cfg), str(tiny_model.weights), names=str(tiny_model.names)
    )
    assert detector.names == ("cat", "dog")


def test_names_may_be_given_or_missing(tiny_model):
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, names=["a", "b"])
    assert detector.names == ("a", "b")
    assert tinyyolo3.load(tiny_model.cfg, tiny_model.weights).names is None


def test_size_replaces_the_cfgs(tiny_model):
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, size=(64, 32))
    assert detector.network.graph.input_shape == (3, 32, 64)


def test_parity_reaches_the_graph(tiny_model):
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, parity="pjreddie")
    assert detector.network.graph.parity.name == "pjreddie"


def test_the_arrays_are_the_files(tiny_model, tiny_cfg, seeded_weights):
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, fold=False)
    for layer, own in seeded_weights(tiny_cfg).items():
        for name, array in own.items():
            np.testing.assert_array_equal(detector.network.parameters[layer][name], array)


def test_the_folded_arrays_are_those_of_the_file_folded(tiny_model, tiny_cfg, seeded_weights):
    detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
    graph = build_graph(parse_config(tiny_cfg))
    for layer, own in fold_parameters(graph, seeded_weights(tiny_cfg)).items():
        assert detector.network.parameters[layer].keys() == own.keys()
        for name, array in own.items():
            np.testing.assert_array_equal(detector.network.parameters[layer][name], array)


@pytest.mark.parametrize("parity", ["alexeyab", "pjreddie", "opencv"])
def test_folding_changes_nothing_but_the_last_digits(tiny_model, pixels, parity):
    folded, plain = (
        tinyyolo3.load(tiny_model.cfg, tiny_model.weights, parity=parity, fold=fold)
        for fold in (True, False)
    )
    assert sorted(folded.network.parameters[0]) == ["biases", "weights"]
    assert "variance" in plain.network.parameters[0]
    for ours, theirs in zip(folded.forward(pixels), plain.forward(pixels), strict=True):
        bound = tolerances.network(float(np.abs(theirs).max()), depth=6, terms=72)
        assert np.abs(ours - theirs).max() <= bound


def test_backends_agree(tiny_model, pixels):
    cpu, reference = (
        tinyyolo3.load(tiny_model.cfg, tiny_model.weights, backend=backend)
        for backend in ("cpu", "reference")
    )
    for ours, theirs in zip(cpu.forward(pixels), reference.forward(pixels), strict=True):
        bound = tolerances.network(float(np.abs(theirs).max()), depth=6, terms=72)
        assert np.abs(ours - theirs).max() <= bound


class TestPartialWeights:
    def test_without_strictness_missing_layers_put_out_zeros(self, tiny_model, tiny_cfg, pixels):
        keep_floats(tiny_model, first_floats(tiny_cfg, 6) + 3)
        with pytest.warns(WeightsWarning, match=r"ends inside layer 10 \[convolutional\] biases"):
            detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, strict=False)
        first, second = detector.forward(pixels)
        assert (first != 0).any()
        assert (second == 0).all()

    def test_without_strictness_the_layer_that_ran_out_is_neutral_as_a_whole(
        self, tiny_model, tiny_cfg
    ):
        keep_floats(tiny_model, first_floats(tiny_cfg, 3) - 1)
        with pytest.warns(WeightsWarning, match=r"ends inside layer 2 \[convolutional\] weights"):
            detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, strict=False, fold=False)
        parameters = detector.network.parameters
        assert (parameters[0]["biases"] != 0).all()
        assert all((parameters[2][name] == 0).all() for name in ("biases", "mean", "weights"))
        assert all((parameters[2][name] == 1).all() for name in ("scales", "variance"))

    def test_cutoff_loads_the_layers_before_it_in_silence(self, tiny_model, tiny_cfg, pixels):
        keep_floats(tiny_model, first_floats(tiny_cfg, 6))
        with pytest.raises(WeightsError, match="ends inside layer 10"):
            tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
        detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, cutoff=6)
        first, second = detector.forward(pixels)
        assert (first != 0).any()
        assert (second == 0).all()

    def test_cutoff_of_a_whole_file_reads_no_further(self, tiny_model):
        detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights, cutoff=3, fold=False)
        assert (detector.network.parameters[2]["biases"] != 0).all()
        assert (detector.network.parameters[5]["biases"] == 0).all()

    @pytest.mark.parametrize("cutoff", [-1, 1.0, "3", True])
    def test_a_cutoff_that_is_no_index(self, tiny_model, cutoff):
        with pytest.raises(InputError, match="cutoff must be a layer's index, zero or more, not"):
            tinyyolo3.load(tiny_model.cfg, tiny_model.weights, cutoff=cutoff)


class TestMemory:
    CFG = "[net]\nwidth=8\nheight=8\nchannels=192\n" + 6 * (
        "[conv]\nbatch_normalize=1\nfilters=192\nsize=3\npad=1\nactivation=leaky\n"
    )
    LAYER_BYTES = 4 * (192 * 192 * 9 + 4 * 192)

    def test_a_loaded_network_runs_without_its_file(self, tiny_model, pixels):
        detector = tinyyolo3.load(tiny_model.cfg, tiny_model.weights)
        before = detector.forward(pixels)
        tiny_model.weights.unlink()
        for ours, theirs in zip(detector.forward(pixels), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    # Read one by one, a layer is held as it is stored and as it is folded. Read ahead, so may be
    # the layer before, the one that is packed and the one that is read: the threads' affair.
    @pytest.mark.parametrize(
        ("options", "layers"), [({"memory": "low"}, 3), ({"threads": 1}, 3), ({}, 7)]
    )
    def test_loading_needs_a_few_layers_more_than_it_leaves(self, write_model, options, layers):
        model = write_model(self.CFG)
        # Imports and caches are not what is measured.
        tinyyolo3.load(model.cfg, model.weights, **options)
        tracemalloc.start()
        detector = tinyyolo3.load(model.cfg, model.weights, **options)
        left, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert detector.network.parameters[5]["weights"].nbytes < self.LAYER_BYTES
        assert left < 6.25 * self.LAYER_BYTES
        assert peak - left < layers * self.LAYER_BYTES

    def test_parameters_are_not_in_memory_before_they_are_looked_up(self, write_model):
        model = write_model(self.CFG)
        graph = build_graph(parse_config(self.CFG))
        tracemalloc.start()
        parameters = load_parameters(graph, model.weights)
        left, _ = tracemalloc.get_traced_memory()
        folded = fold_parameters(graph, parameters)
        for index in folded:
            assert folded[index]["weights"].shape == (192, 192, 3, 3)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert left < 0.25 * self.LAYER_BYTES
        assert peak < 2.25 * self.LAYER_BYTES

    def test_a_file_rewritten_after_it_was_checked(self, tiny_model, tiny_cfg):
        parameters = load_parameters(build_graph(parse_config(tiny_cfg)), tiny_model.weights)
        os.utime(tiny_model.weights, ns=(0, 1_000_000_000))
        with pytest.raises(WeightsError, match=r"layer 2 .*replaced or rewritten since"):
            parameters[2]


def test_a_classifier_has_forward_alone(write_model):
    cfg = "[net]\nwidth=8\nheight=8\n[conv]\nfilters=5\n[avgpool]\n[softmax]\n[cost]\n"
    model = write_model(cfg)
    detector = tinyyolo3.load(model.cfg, model.weights)
    x = np.zeros((2, 3, 8, 8), np.float32)
    (output,) = detector.forward(x)
    assert output.shape == (2, 5, 1, 1)
    for call in (detector.candidates, detector.detect):
        with pytest.raises(InputError, match=r"tiny\.cfg has no \[yolo\] or \[region\] section"):
            call(x)


def test_a_connected_network_keeps_its_size(write_model):
    model = write_model("[net]\nwidth=8\nheight=8\n[connected]\noutput=4\n")
    detector = tinyyolo3.load(model.cfg, model.weights)
    with pytest.raises(tinyyolo3.ConfigError, match=r"ties the network to its input size 8x8"):
        detector.forward(np.zeros((1, 3, 8, 16), np.float32))


def test_transposed_weights_load_as_others_do(write_model):
    cfg = "[net]\nwidth=4\nheight=4\n[connected]\noutput=6\n[connected]\noutput=3\n"
    x = np.random.default_rng(1).random((1, 3, 4, 4), np.float32)
    model = write_model(cfg)
    (plain,) = tinyyolo3.load(model.cfg, model.weights).forward(x)
    slots = network_slots(build_graph(parse_config(cfg)))
    loaded = tinyyolo3.load(model.cfg, model.weights).network.parameters
    write_weights(model.weights, slots, loaded, Header(0, 1001))
    (transposed,) = tinyyolo3.load(model.cfg, model.weights).forward(x)
    np.testing.assert_array_equal(transposed, plain)


def test_the_gpus_engine_is_imported_only_where_a_gpu_is_used(tiny_model) -> None:
    """It would lengthen every start on the CPU."""
    code = (
        "import sys, tinyyolo3\n"
        f"detector = tinyyolo3.load({str(tiny_model.cfg)!r}, {str(tiny_model.weights)!r}, "
        "device='cpu')\n"
        "assert detector._pipeline is not None\n"
        "print([name for name in sys.modules if name.startswith('tinyyolo3.engine.cuda')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
