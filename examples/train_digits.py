"""Train the model that comes with the package, from scratch, in an hour on two cores.

python examples/train_digits.py [--out digits-training]

It needs scikit-learn (``pip install '.[test]'``), whose handwritten digits it writes onto paper;
see `examples/digits`. The folder then has the model, ``digits.cfg``, ``digits.weights`` and
``digits.names``; the training's log, its means over every 50 iterations, and its plot; and
``evaluation.json``. Interrupted, the same command goes on where it was.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

import tinyyolo3
from digits.batches import SceneBatches
from digits.evaluate import evaluate_sets, result_lines
from digits.handwriting import split
from digits.writer import make_writer
from tinyyolo3.arrays import FloatArray
from tinyyolo3.atomic import whole_file
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.edit import NET, set_options
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.network.specs import Yolo
from tinyyolo3.train import TrainingSettings, train
from tinyyolo3.train.folder import LogRow, TrainingFolder
from tinyyolo3.train.table import read_table

CFG = Path(__file__).parent / "digits" / "digits.cfg"
#: Width and height of the model's input where nobody says: pages have more to read than scenes.
INPUT_PX = 416
#: Share of the training's digits that are drawn by rules, see `digits.strokes`.
STROKES = 0.2
#: Logits that a head begins with: objects are rare, and of ten digits each is.
OBJECTNESS_BIAS, CLASS_BIAS = -4.5, -2.0
#: Spread of a head's weights at the beginning, so that its first outputs are its biases.
HEAD_SPREAD = 0.01
#: Iterations that the log is summed up by.
MEAN_OF = 50


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    text = CFG.read_text()
    if options.iterations is not None:
        text = set_options(text, {NET: {"max_batches": str(options.iterations)}}, str(CFG))
    graph = build_graph(parse_config(text, str(CFG)))
    training_cfg, start = out / "training.cfg", out / "start.weights"
    write_text(training_cfg, text)
    write_weights(start, network_slots(graph), initial_parameters(graph, options.seed))
    print("Preparing the handwriting ...", flush=True)
    batch = graph.config.net.integer("batch", 1)
    source = SceneBatches(make_writer(split()["train"], STROKES), batch=batch, seed=options.seed)
    settings = TrainingSettings(
        seed=options.seed, ema=0.998, loss="gradient", threads=options.threads
    )
    train(
        training_cfg,
        source,
        out,
        weights=start,
        settings=settings,
        progress=print_now_and_then(),
        say=print,
    )
    write_model(out, graph, text)
    spent = summarize_log(TrainingFolder(out))
    evaluate(out, spent, options.most)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("digits-training"), help="the folder")
    parser.add_argument("--iterations", type=int, help="instead of the cfg's, for a trial")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    parser.add_argument("--threads", type=int, help="by default all cores")
    parser.add_argument("--most", type=int, help="pictures of each evaluation set, for a trial")
    return parser.parse_args(arguments)


def initial_parameters(graph: Graph, seed: int) -> dict[int, dict[str, FloatArray]]:
    """Return the parameters to begin with.

    Weights are normal with the variance 2 / (1.01 n), n being the products of one output, which
    keeps the size of maps through leaky activations (He et al., Delving Deep into Rectifiers, 2015,
    equation 15); heads begin with small ones, and biases that expect nothing anywhere.
    """
    rng = np.random.default_rng(seed)
    found: dict[int, dict[str, FloatArray]] = {}
    for slot in network_slots(graph):
        array = np.full(slot.shape, slot.name in ("scales", "variance"), np.float32)
        following = graph.layers[slot.layer + 1] if slot.layer + 1 < len(graph.layers) else None
        is_head = isinstance(following, Yolo)
        if slot.name == "weights":
            spread = HEAD_SPREAD if is_head else np.sqrt(2 / (1.01 * np.prod(slot.shape[1:])))
            array[:] = rng.normal(0, spread, slot.shape)
        elif slot.name == "biases" and isinstance(following, Yolo):
            of_anchors = array.reshape(len(following.mask), 5 + following.classes)
            of_anchors[:, 4], of_anchors[:, 5:] = OBJECTNESS_BIAS, CLASS_BIAS
        found.setdefault(slot.layer, {})[slot.name] = array
    return found


def print_now_and_then(every_s: float = 20) -> Callable[[LogRow, int], None]:
    """Return what prints a line on the training's progress every few seconds."""
    began = time.monotonic()
    shown, first = began, 0

    def show(row: LogRow, last: int) -> None:
        nonlocal shown, first
        now, iteration = time.monotonic(), int(row.iteration)
        first = first or iteration
        if now - shown < every_s and iteration < last:
            return
        shown = now
        pace = (now - began) / (iteration - first + 1)
        print(
            f"{iteration:6} of {last}: box {row.box:.2f}, objectness {row.objectness:.2f}, "
            f"classes {row.classes:.2f}, IoU {row.iou:.3f}; {row.images_per_second:.1f} images/s, "
            f"{(last - iteration) * pace / 60:.0f} min left",
            flush=True,
        )

    return show


def write_model(out: Path, graph: Graph, text: str) -> None:
    """Write the model's files as they ship: with a larger input, each place read once."""
    last_head = max(layer.index for layer in graph.layers if isinstance(layer, Yolo))
    size = {"width": str(INPUT_PX), "height": str(INPUT_PX)}
    write_text(
        out / "digits.cfg",
        set_options(text, {NET: size, last_head: {"agnostic_nms": "1"}}, str(CFG)),
    )
    shutil.copyfile(out / "final.weights", out / "digits.weights")
    shutil.copyfile(CFG.with_suffix(".names"), out / "digits.names")


def summarize_log(folder: TrainingFolder) -> dict[str, float]:
    """Write the log's means over every few iterations, and return what the training took."""
    fields = LogRow._fields
    log = np.array(read_table(folder.log, fields))
    firsts = np.arange(0, len(log), MEAN_OF)
    means = np.add.reduceat(log, firsts) / np.diff([*firsts, len(log)])[:, None]
    # Of these two the last counts, as it does in the log.
    counts = [fields.index("iteration"), fields.index("seen")]
    means[:, counts] = log[np.minimum(firsts + MEAN_OF, len(log)) - 1][:, counts]
    lines = [",".join(fields), *(",".join(f"{value:.6g}" for value in row) for row in means)]
    write_text(folder.path / "log-means.csv", "\n".join(lines) + "\n")
    seen = log[:, fields.index("seen")]
    seconds = np.diff(seen, prepend=0) / log[:, fields.index("images_per_second")]
    return {
        "iterations": len(log),
        "pictures": int(seen[-1]),
        "minutes": round(float(seconds.sum()) / 60, 1),
    }


def evaluate(out: Path, spent: Mapping[str, float], most: int | None) -> None:
    print("Evaluating ...", flush=True)
    model = (out / "digits.cfg", out / "digits.weights")
    detector = tinyyolo3.load(*model, names=out / "digits.names", device="cpu")
    results = evaluate_sets(detector, most=most)
    print(*result_lines(results), sep="\n")
    stored = {
        "tinyyolo3": tinyyolo3.__version__,
        "training": dict(spent),
        "sets": [one.as_json() for one in results],
    }
    write_text(out / "evaluation.json", json.dumps(stored, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())


if __name__ == "__main__":
    try:
        main()
    except tinyyolo3.TinyYoloError as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
