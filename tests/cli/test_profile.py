"""What ``tinyyolo3 profile`` measures: every step, in the running program, and no number alone.

How long anything takes is not tested, with one exception that no machine can upset: a convolution
of a billion operations takes longer than any of a few million.
"""

import json
import re
import time

import numpy as np
import pytest

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.engine.cpu import profile as engine_profile
from tinyyolo3.engine.cpu.engine import PlannedNetwork
from tinyyolo3.errors import InputError
from tinyyolo3.loading import load_on
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.network.summary import summarize
from tinyyolo3.testing.weights import random_weights

#: A small convolution, a large one, and one that is left to its backend.
UNEQUAL = """\
[net]
width=32
height=32
channels=3

[convolutional]
filters=64
size=3
pad=1
activation=leaky

[convolutional]
filters=512
size=5
pad=1
activation=leaky

[reorg]
stride=2

[convolutional]
filters=8
size=1
activation=linear

[avgpool]
"""


@pytest.fixture
def profile(command, model, pictures):  # noqa: ARG001 (the folder it runs in)
    """Run ``tinyyolo3 profile`` on ``a.png`` with the tiny model, three times over."""
    return lambda *argv: command("profile", "a.png", *model.arguments, "--runs=3", *argv)


@pytest.fixture
def unequal(tmp_path):
    """The arguments that name a classifier of the layers above."""
    slots = network_slots(build_graph(parse_config(UNEQUAL)))
    (tmp_path / "unequal.cfg").write_text(UNEQUAL)
    weights = random_weights(build_graph(parse_config(UNEQUAL)), seed=1)
    write_weights(tmp_path / "unequal.weights", slots, weights)
    return [f"--cfg={tmp_path}/unequal.cfg", f"--weights={tmp_path}/unequal.weights"]


def rows_of(out: str) -> list[dict[str, str]]:
    """Return the table's rows, by column; the columns of text are left out."""
    table = out.split("\n\n")[1].splitlines()
    pattern = re.compile(
        r" *(?P<step>\d+) +(?P<layer>[\d+]+|input)  (?P<algorithm>[\w(),/ ]+?)  .*? → .*?"
        r"(  +(?P<gflop>\d+\.\d{3}))? +(?P<ms>\d+\.\d{3})( +(?P<rate>[\d,]+\.\d))?"
        r" +(?P<share>[\d.]+)% +(?P<so_far>[\d.]+)%(  #+)?"
    )
    found = [pattern.fullmatch(line) for line in table[1:]]
    assert all(found), table
    return [match.groupdict() for match in found if match]


class TestText:
    def test_table_has_a_row_per_step_and_the_totals_agree(self, profile, model):
        ending = profile("--threads=2")
        assert (ending.status, ending.err) == (0, "")
        assert ending.out.startswith(
            "a.png: 60 x 40, input 32 x 32, 2 threads, medians of 3 runs\n"
        )
        rows = rows_of(ending.out)
        graph = model.load().network.graph
        steps = model.load().network.engine.planned(graph).plan.steps
        assert [row["step"] for row in rows] == [str(i) for i in range(len(steps))]
        assert [row["algorithm"] for row in rows] == [step.algorithm for step in steps]
        total = re.search(rf"\n{len(steps)} steps take ([\d.]+) ms;", ending.out)
        assert float(total[1]) == pytest.approx(
            sum(float(row["ms"]) for row in rows), abs=0.0005 * (len(rows) + 1)
        )
        assert sum(float(row["share"]) for row in rows) == pytest.approx(100, abs=0.05 * len(rows))
        assert rows[-1]["so_far"] == "100.0"

    def test_parts_of_the_way_are_there_and_add_up(self, profile):
        parts = re.findall(r"\n(read|resize|network|boxes|in all) +([\d.]+) ms", profile().out)
        assert [name for name, _ in parts] == ["read", "resize", "network", "boxes", "in all"]
        times = [float(ms) for _, ms in parts]
        assert all(ms > 0 for ms in times)
        assert sum(times[:-1]) == pytest.approx(times[-1], abs=0.0025)

    def test_longest_first(self, profile):
        by_step, by_time = rows_of(profile().out), rows_of(profile("--sort=time").out)
        times = [float(row["ms"]) for row in by_time]
        assert times == sorted(times, reverse=True)
        assert sorted(int(row["step"]) for row in by_time) == list(range(len(by_step)))
        so_far = [float(row["so_far"]) for row in by_time]
        assert so_far == sorted(so_far)

    def test_one_thread_and_one_run_are_no_plural(self, command, model, pictures):  # noqa: ARG002
        ending = command("profile", "a.png", *model.arguments, "--threads=1", "--runs=1")
        assert ", 1 thread, 1 run\n" in ending.out

    def test_classifier_finds_no_boxes(self, command, pictures, unequal):  # noqa: ARG002
        ending = command("profile", "a.png", *unequal, "--runs=3")
        assert (ending.status, ending.err) == (0, "")
        assert "\nnetwork " in ending.out
        assert "\nboxes " not in ending.out


class TestJson:
    def test_standard_output_is_json_alone(self, profile, model):
        ending = profile("--json=-", "--size=64x32", "--threads=1")
        found = json.loads(ending.out)
        graph = model.load(size=(64, 32)).network.graph
        assert (found["image"], found["width"], found["height"]) == ("a.png", 60, 40)
        assert (found["input_shape"], found["threads"], found["runs"]) == ([3, 32, 64], 1, 3)
        assert found["flop"] == summarize(graph).flop == sum(s["flop"] for s in found["steps"])
        assert found["weight_bytes"] == sum(step["weight_bytes"] for step in found["steps"])
        assert found["steps_ms"] == pytest.approx(sum(step["ms"] for step in found["steps"]))
        assert list(found["ms"]) == ["read", "resize", "network", "boxes"]
        # The first convolution does the pooling behind it.
        assert found["steps"][0]["output_shape"] == list(graph.layers[1].output_shape)

    def test_file_is_written_beside_the_table(self, profile, pictures):
        ending = profile("--json=found.json")
        found = json.loads((pictures / "found.json").read_text())
        assert len(rows_of(ending.out)) == len(found["steps"])


class TestErrors:
    def test_picture_that_is_not_there(self, command, model, pictures):
        ending = command("profile", "none.png", *model.arguments, "--json=found.json")
        assert (ending.status, ending.out) == (1, "")
        assert ending.err == "error: none.png: no such file\n"
        assert not (pictures / "found.json").exists()

    def test_network_without_a_plan(self, profile):
        ending = profile("--backend=reference")
        assert (ending.status, ending.out) == (2, "")
        assert ending.err == (
            "error: this network runs layer by layer, without a plan, so there are no steps to "
            "profile: load it with the cpu backend and fold=True, "
            "where TINYYOLO3_COMPILE is not never\n"
        )

    @pytest.mark.parametrize("option", ["--runs=0", "--sort=name", "--json=a.png", "--threads=0"])
    def test_option_out_of_range(self, profile, option):
        ending = profile(option)
        assert (ending.status, ending.out) == (2, "")
        assert ending.err.startswith(f"error: argument {option.split('=')[0]}: ")
        assert ending.err.count("\n") == 1


class TestFunction:
    """`tinyyolo3.engine.cpu.profile.profile_network`."""

    def test_large_convolution_takes_the_time(self, load_unequal, x):
        found = engine_profile.profile_network(load_unequal(), x, runs=5)
        longest = max(found.steps, key=lambda timed: timed.seconds)
        assert longest.step.layers == (1,)
        assert found.steps_seconds < 2 * sum(t.seconds for t in found.steps if 1 in t.step.layers)
        assert longest.flop_per_s == longest.step.flop / longest.seconds

    def test_layer_that_its_backend_runs_is_timed_too(self, load_unequal, x, monkeypatch):
        run_eager = PlannedNetwork.run_eager

        def slow(self, workspace, step):
            engine_profile.time.sleep(0.3)
            run_eager(self, workspace, step)

        monkeypatch.setattr(PlannedNetwork, "run_eager", slow)
        found = engine_profile.profile_network(load_unequal(), x, runs=1)
        (eager,) = (timed for timed in found.steps if timed.step.algorithm == "eager")
        assert eager.step.layers == (2,)
        assert eager.seconds >= 0.3
        assert found.seconds >= 0.3
        assert found.steps_seconds - eager.seconds < 0.3

    @pytest.mark.parametrize("threads", [1, 2])
    def test_program_that_reads_the_clock_computes_the_same(self, load_unequal, x, threads):
        network = load_unequal(threads=threads)
        planned = network.engine.planned(network.graph)
        workspace = planned.take_workspace()
        (expected,) = network.forward(x)
        output = np.full_like(expected[0], np.nan)
        planned.bind(workspace, x[0], [output])
        timed = engine_profile._TimedProgram(planned, workspace)
        for _ in range(2):
            output[:] = np.nan
            seconds = timed.run()
            assert np.array_equal(output, expected[0])
            assert seconds.shape == (len(planned.plan.steps),)
            assert (seconds >= 0).all()

    def test_threads_are_the_network_s(self, load_unequal, x):
        assert engine_profile.profile_network(load_unequal(threads=3), x, runs=1).threads == 3

    def test_clock_counts_nanoseconds(self):
        memory = np.zeros(2, np.int64)
        before = time.monotonic_ns()
        found = engine_profile.read_clock(memory.ctypes.data)
        assert before <= found <= time.monotonic_ns()
        readings = np.array([[10**18, 0], [10**18 + 10**9 + 200, 0]])
        assert engine_profile._seconds(readings) == pytest.approx([0, 1.0000002], rel=1e-9)

    def test_workspace_is_given_back(self, load_unequal, x):
        network = load_unequal()
        planned = network.engine.planned(network.graph)
        for _ in range(2):
            engine_profile.profile_network(network, x, runs=1)
            assert len(planned.idle) == 1

    @pytest.mark.parametrize("runs", [0, True, 1.5])
    def test_runs_must_be_a_positive_integer(self, load_unequal, x, runs):
        with pytest.raises(InputError, match="runs must be a positive integer"):
            engine_profile.profile_network(load_unequal(), x, runs=runs)

    def test_one_picture_at_a_time(self, load_unequal, x):
        with pytest.raises(InputError, match=r"expected one picture .* a batch of 2"):
            engine_profile.profile_network(load_unequal(), np.concatenate([x, x]))

    def test_only_the_cpus_steps_are_measured(self, unequal, x):
        cfg, weights = (argument.split("=", 1)[1] for argument in unequal)
        network = load_on(HostTarget(), cfg, weights).network
        with pytest.raises(InputError, match="load the network with device='cpu'"):
            engine_profile.profile_network(network, x)

    def test_unfolded_network_has_no_plan(self, load_unequal, x):
        with pytest.raises(InputError, match="without a plan"):
            engine_profile.profile_network(load_unequal(fold=False), x)


@pytest.fixture
def load_unequal(unequal):
    """Load the network of `unequal`."""
    import tinyyolo3

    cfg, weights = (argument.split("=", 1)[1] for argument in unequal)
    return lambda **options: tinyyolo3.load(cfg, weights, **options).network


@pytest.fixture
def x():
    return np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
