"""Teach a trained detector classes that it has never seen, from a few dozen pictures.

python examples/finetune.py [--model NAME] [--iterations 600] [--out finetune]

Draws pages with stars, arrows and smileys as a hand would, and labels them; adapts a trained model
(the digits model that comes with tinyyolo3, or any other: ``--model yolov3.cfg``) to these classes;
trains the heads and what lies before them while the backbone stays as it is; prints mAP before
and after, and saves ``finetune/found.png``. In Python it is what `tinyyolo3 adapt`,
`tinyyolo3 train` and `tinyyolo3 evaluate` do one after the other.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import tinyyolo3
from tinyyolo3.arrays import FloatArray
from tinyyolo3.darknet.names import read_names
from tinyyolo3.models import BUNDLED, FOLDER
from tinyyolo3.train.adapt import AdaptedModel, adapt_model
from tinyyolo3.train.folder import LogRow
from tinyyolo3.train.loop import train
from tinyyolo3.train.settings import TrainingSettings

#: Pixels of a page's sides; it is drawn this many times larger, and shrunk.
SIDE, FINE = 320, 3
#: The network's input in training: smaller than what it detects at, to be quicker.
INPUT = 256
#: The loss that the bundled models were trained with. The factors in a cfg are for one of them.
BUNDLED_LOSS = "gradient"
#: Pages that are learnt from, and pages that are not.
TRAIN, VALID = 48, 32

Random = np.random.Generator


def star(_: Random) -> list[FloatArray]:
    turns = np.arange(6) * (4 * math.pi / 5) - math.pi / 2
    return [np.stack([np.cos(turns), np.sin(turns)], axis=1)]


def arrow(random: Random) -> list[FloatArray]:
    along = np.linspace(-1, 1, 5)
    shaft = np.stack([along, random.uniform(-0.35, 0.35) * (1 - along**2)], axis=1)
    head = np.array([[0.5, -0.35], [1, 0], [0.5, 0.35]])
    turn = random.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return [shaft @ rotation, head @ rotation]


def smiley(random: Random) -> list[FloatArray]:
    around = np.linspace(0, 2 * math.pi * random.uniform(0.97, 1.05), 24)
    smile = np.linspace(0.25, math.pi - 0.25, 7)
    depth = random.uniform(0.3, 0.55)
    eyes = [np.array([[x, -0.35], [x, -0.2]]) for x in (-0.35, 0.35)]
    return [
        np.stack([np.cos(around), np.sin(around)], axis=1),
        np.stack([0.55 * np.cos(smile), depth * np.sin(smile)], axis=1),
        *eyes,
    ]


#: The new classes: each drawn as strokes, points (N, 2) with x to the right and y down.
SHAPES: dict[str, Callable[[Random], list[FloatArray]]] = {
    "star": star,
    "arrow": arrow,
    "smiley": smiley,
}


def by_hand(strokes: list[FloatArray], random: Random) -> list[FloatArray]:
    """Return the strokes as a hand draws them: shaky, rounded, a little slanted."""
    slant = np.array([[1, random.normal(0, 0.12)], [random.normal(0, 0.08), 1]])
    drawn = []
    for stroke in strokes:
        shaky = stroke + random.normal(0, 0.035, stroke.shape)
        at = np.linspace(0, len(shaky) - 1, 8 * len(shaky))
        fine = np.stack([np.interp(at, np.arange(len(shaky)), axis) for axis in shaky.T], axis=1)
        wide = np.pad(fine, ((2, 2), (0, 0)), mode="edge")
        drawn.append(sum(wide[k : k + len(fine)] for k in range(5)) / 5 @ slant)
    return drawn


def paper(random: Random) -> Image.Image:
    """Return an empty page, often with lines."""
    base = random.uniform(170, 250) + random.uniform(-12, 12, 3)
    page = Image.new("RGB", (SIDE * FINE, SIDE * FINE), colour(base))
    if random.random() < 0.6:
        draw, line = ImageDraw.Draw(page), colour(base - random.uniform(15, 60))
        for y in np.arange(0, SIDE, random.uniform(12, 40)) * FINE:
            draw.line([(0, y), (SIDE * FINE, y)], fill=line, width=2)
    return page


def colour(values: FloatArray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def page_with_shapes(random: Random) -> tuple[Image.Image, list[tuple[int, FloatArray]]]:
    """Return a page, and the class and corners in pixels of what is drawn on it."""
    page = paper(random)
    found: list[tuple[int, FloatArray]] = []
    for _ in range(int(random.integers(1, 7))):
        class_id, pen = int(random.integers(len(SHAPES))), random.uniform(1.2, 4)
        strokes = by_hand(list(SHAPES.values())[class_id](random), random)
        strokes = [random.uniform(0.97, 1.03) * stroke for stroke in strokes]
        points = np.concatenate(strokes)
        scale = random.uniform(14, 50)
        low, high = points.min(axis=0) * scale - pen / 2, points.max(axis=0) * scale + pen / 2
        for _ in range(20):  # tries to find a free place
            corner = random.uniform(2, SIDE - 2 - (high - low))
            box = np.concatenate([corner, corner + high - low])
            if all(
                (box[2:] < other[:2]).any() or (other[2:] < box[:2]).any() for _, other in found
            ):
                ink = colour(random.uniform(0, 110, 3))
                draw_strokes(page, [scale * s - low + corner for s in strokes], pen, ink)
                found.append((class_id, box))
                break
    top, bottom = random.uniform(0.75, 1.05, 2).tolist()
    light = np.linspace(top, bottom, SIDE)[:, None, None]
    pixels = np.asarray(page.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) * light
    pixels += random.normal(0, random.uniform(0, 6), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), found


def draw_strokes(
    page: Image.Image, strokes: list[FloatArray], pen: float, ink: tuple[int, ...]
) -> None:
    draw, radius = ImageDraw.Draw(page), pen * FINE / 2
    for stroke in strokes:
        points = [(x, y) for x, y in FINE * stroke]
        draw.line(points, fill=ink, width=round(2 * radius), joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=ink)


def write_pages(folder: Path, train: int, valid: int, seed: int = 0) -> Path:
    """Draw pages and label them in Darknet's form; return the ``.data`` file."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    names = folder / "shapes.names"
    names.write_text("".join(f"{name}\n" for name in SHAPES))
    lists = {"train": range(train), "valid": range(train, train + valid)}
    for index in range(train + valid):
        page, found = page_with_shapes(np.random.default_rng([seed, index]))
        page.save(folder / "images" / f"{index:03}.png")
        rows = []
        for class_id, box in found:
            centre, size = (box[:2] + box[2:]) / 2 / SIDE, (box[2:] - box[:2]) / SIDE
            rows.append(f"{class_id} {' '.join(f'{value:.6f}' for value in (*centre, *size))}\n")
        (folder / "labels" / f"{index:03}.txt").write_text("".join(rows))
    for split, indices in lists.items():
        paths = (folder.resolve() / "images" / f"{index:03}.png" for index in indices)
        (folder / f"{split}.txt").write_text("".join(f"{path}\n" for path in paths))
    data = folder / "shapes.data"
    lines = [f"{split} = {folder.resolve() / split}.txt\n" for split in lists]
    data.write_text("".join([f"classes = {len(SHAPES)}\n", *lines, f"names = {names.resolve()}\n"]))
    return data


def find_model(name: str) -> list[Path]:
    """Return cfg, weights and names of a bundled model, or of one whose cfg is named."""
    stem = FOLDER / name if name in BUNDLED else Path(name.removesuffix(".cfg"))
    return [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("cfg", "weights", "names")]


def schedule(iterations: int, side: int) -> dict[str, str]:
    """Return the options of [net] for a short training: the rate falls once, near the end."""
    return {
        "width": str(side),
        "height": str(side),
        "batch": "8",
        "subdivisions": "1",
        "learning_rate": "0.005",
        "burn_in": str(iterations // 10),
        "max_batches": str(iterations),
        "policy": "steps",
        "steps": str(iterations * 3 // 4),
        "scales": ".1",
    }


def measure(model: AdaptedModel, weights: Path, data: Path) -> str:
    """Return how good the model is on the pages that it does not learn from."""
    detector = tinyyolo3.load(model.cfg, weights, names=model.names)
    found = tinyyolo3.evaluate.evaluate_detector(detector, tinyyolo3.open_dataset(data))
    assert found.coco is not None
    return f"AP50 {100 * found.coco['AP50']:5.1f} %, AP50:95 {100 * found.coco['AP']:5.1f} %"


def draw_found(model: AdaptedModel, weights: Path, data: Path, to: Path, count: int = 6) -> None:
    """Save some of these pages with what is found on them, side by side."""
    detector = tinyyolo3.load(model.cfg, weights, names=model.names)
    pages = [sample.image for sample in tinyyolo3.open_dataset(data)][:count]
    drawn = [np.asarray(detector.detect(page).draw()) for page in pages]
    columns = max(1, len(drawn) // 2)
    rows = [np.hstack(drawn[k : k + columns]) for k in (0, columns) if drawn[k : k + columns]]
    Image.fromarray(np.vstack(rows)).save(to)


def learn(model: AdaptedModel, data: Path, out: Path, loss: str) -> Path:
    """Train all layers from the last two before the first head on; return the trained weights."""
    first_head = min(head.index for head in model.graph.heads) - 1
    result = train(
        model.cfg,
        tinyyolo3.open_dataset(data, split="train"),
        out,
        weights=model.weights,
        settings=TrainingSettings(freeze=first_head - 2, ema=0.99, loss=loss),
        progress=show,
    )
    return result.weights


def show(row: LogRow, last: int) -> None:
    """Print one iteration of fifty."""
    if row.iteration % 50 == 0 or row.iteration == last:
        print(f"{row.iteration:5.0f} of {last}: loss {row.loss:7.2f}, mean IoU {row.iou:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="digits", help="a bundled model, or a .cfg file")
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--size", type=int, default=INPUT, help="of the network's input")
    parser.add_argument("--pages", type=int, nargs=2, default=(TRAIN, VALID))
    parser.add_argument("--out", type=Path, default=Path("finetune"))
    options = parser.parse_args()
    (cfg, weights, names), out = find_model(options.model), options.out
    data = write_pages(out / "pages", *options.pages)
    model = adapt_model(
        out / "shapes",
        list(SHAPES),
        cfg,
        weights,
        known=read_names(names),
        net=schedule(options.iterations, options.size),
    )
    assert model.weights is not None
    print(f"before: {measure(model, model.weights, data)}", flush=True)
    loss = BUNDLED_LOSS if options.model in BUNDLED else "darknet"
    final = learn(model, data, out / "training", loss)
    print(f"after:  {measure(model, final, data)}")
    draw_found(model, final, data, out / "found.png")


if __name__ == "__main__":
    main()
