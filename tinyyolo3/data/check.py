"""Look through a labelled set for what would spoil training or evaluation.

The readers report what they cannot read (`samples`); here come what can be read but should not be
there, and the pictures. Findings are handed on one by one and only counted, so that a million
pictures need little memory.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinyyolo3.data.samples import DataSet, Problem, ProblemKind, Report, Sample
from tinyyolo3.data.sizes import BoxSizes
from tinyyolo3.errors import ImageError
from tinyyolo3.image.ahead import Readers
from tinyyolo3.image.files import ImageSource, describe_source, read_image, read_image_size
from tinyyolo3.parallel import thread_count

#: What is counted apart: what readers report, and what is found here.
FindingKind: TypeAlias = (
    ProblemKind
    | Literal["duplicate image", "wrong size", "outside the picture", "no area", "duplicate box"]
)

#: Pixels by which a box may leave its picture: labels are rounded, to pixels or to six digits.
SLACK_PX = 0.5
#: Pictures that are looked at beside the one whose turn it is.
_AHEAD = 32


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: see `FindingKind`.
        place: where: "labels/a.txt line 3", "a.json annotation 17", "images/a.jpg".
        text: what was expected and what was found.
        harmless: only worth knowing: the set can be used as it is.
    """

    kind: FindingKind
    place: str
    text: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, eq=False)
class Summary:
    """What a set holds, and how much is wrong with it.

    Attributes:
        dataset: the set.
        pictures: how many could be read.
        empty: how many of them have no boxes.
        boxes: (C,) boxes of each class.
        pictures_with: (C,) pictures with a box of the class.
        crowds: boxes that stand for a group of objects.
        difficults: boxes that are marked as difficult.
        sizes: the boxes' sizes.
        problems: how many findings of each kind, without the harmless ones.
        remarks: how many harmless ones.
    """

    dataset: DataSet
    pictures: int
    empty: int
    boxes: NDArray[np.int64]
    pictures_with: NDArray[np.int64]
    crowds: int
    difficults: int
    sizes: BoxSizes
    problems: Counter[FindingKind]
    remarks: Counter[FindingKind]


def check_dataset(
    open_set: Callable[[Report], DataSet],
    found: Callable[[Finding], None],
    *,
    input_px: tuple[int, int] = (416, 416),
    decode: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Read a whole set, look at each of its pictures, and hand on what is wrong as it is found.

    Args:
        open_set: opens the set, given the function that its reader reports to.
        found: is told of each finding.
        input_px: width and height of the network's input, in which boxes' sizes are counted.
        decode: decode every picture; otherwise its header is read and what checksums its format
            has are compared, which misses damaged JPEG pixels.
        progress: is told after each picture how many are done, and of how many.

    Raises:
        DataError: the set cannot be read at all.
    """
    problems: Counter[FindingKind] = Counter()
    remarks: Counter[FindingKind] = Counter()

    def note(finding: Finding) -> None:
        (remarks if finding.harmless else problems)[finding.kind] += 1
        found(finding)

    def note_problem(problem: Problem) -> None:
        note(Finding(problem.kind, problem.place, problem.text, problem.harmless))

    dataset = open_set(note_problem)
    boxes, pictures_with = np.zeros((2, len(dataset.names)), np.int64)
    pictures = empty = crowds = difficults = 0
    sizes = BoxSizes(input_px)
    seen: set[bytes] = set()
    for sample, picture in _with_pictures(dataset, decode):
        for finding in (*picture, *_find_seen(dataset, sample, seen), *find_bad_boxes(sample)):
            note(finding)
        pictures += 1
        empty += not len(sample.classes)
        boxes += np.bincount(sample.classes, minlength=len(boxes))
        pictures_with[np.unique(sample.classes)] += 1
        crowds += int(sample.crowds.sum())
        difficults += int(sample.difficults.sum())
        sizes.add(sample)
        if progress:
            progress(pictures, dataset.count)
    return Summary(
        dataset, pictures, empty, boxes, pictures_with, crowds, difficults, sizes, problems, remarks
    )


def find_bad_boxes(sample: Sample) -> Iterator[Finding]:
    """Yield what is wrong with a picture's boxes: without area, outside it, or there twice."""
    size = f"{sample.width} × {sample.height} picture"
    first_place: dict[tuple[float, ...], str] = {}
    for box, class_id, place in zip(
        sample.boxes_xyxy_px.tolist(), sample.classes.tolist(), sample.places, strict=True
    ):
        left, top, right, bottom = box
        shown = " ".join(f"{edge:.6g}" for edge in box)
        if right <= left or bottom <= top:
            text = f"the box has no area: {right - left:.6g} × {bottom - top:.6g} px"
            yield Finding("no area", place, text)
        beyond = max(-left, -top, right - sample.width, bottom - sample.height)
        if beyond > SLACK_PX:
            text = f"the box leaves the {size} by {beyond:.4g} px: {shown}"
            yield Finding("outside the picture", place, text)
        key = (class_id, *box)
        if key in first_place:
            text = f"the same class and box as {first_place[key]}"
            yield Finding("duplicate box", place, text)
        first_place.setdefault(key, place)


def measure_picture(path: Path, *, decode: bool = False) -> tuple[int, int]:
    """Return a picture's width and height in pixels, turned upright, after looking at its file.

    Args:
        path: the file.
        decode: decode it; otherwise read its header and compare its checksums, if it has any.

    Raises:
        ImageError: it is missing or cannot be read.
    """
    if decode:
        height, width = read_image(path).shape[:2]
        return width, height
    size_px = read_image_size(path)
    try:
        with Image.open(path) as image:
            image.verify()
    except Exception as problem:  # Pillow's decoders raise nearly every type on damaged data
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise ImageError(f"{describe_source(path)}: is damaged: {reason}") from None
    return size_px


def _with_pictures(dataset: DataSet, decode: bool) -> Iterator[tuple[Sample, list[Finding]]]:
    """Yield each sample with what is wrong with its picture; threads look at the next ones."""

    def look(source: ImageSource) -> tuple[int, int]:
        return measure_picture(Path(str(source)), decode=decode)

    readers = Readers(look, thread_count())
    waiting: deque[tuple[Sample, Future[tuple[int, int]]]] = deque()
    try:
        for sample in dataset:
            waiting.append((sample, readers.submit(sample.image)))
            if len(waiting) > _AHEAD:
                first, size_px = waiting.popleft()
                yield first, _judge_picture(dataset, first, size_px)
        for rest, size_px in waiting:
            yield rest, _judge_picture(dataset, rest, size_px)
    finally:
        readers.close()


def _judge_picture(
    dataset: DataSet, sample: Sample, size_px: Future[tuple[int, int]]
) -> list[Finding]:
    place = _picture_place(dataset, sample)
    try:
        width, height = size_px.result()
    except ImageError as problem:
        kind: FindingKind = "unreadable image" if sample.image.exists() else "missing image"
        text = str(problem)
        return [Finding(kind, place, text.removeprefix(f"{place}: "))]
    if (width, height) == (sample.width, sample.height):
        return []
    text = f"the picture is {width} × {height}, its labels are for {sample.width} × {sample.height}"
    return [Finding("wrong size", place, text)]


def _find_seen(dataset: DataSet, sample: Sample, seen: set[bytes]) -> list[Finding]:
    """Find a picture that was in the set before; of each, a digest of 8 bytes is kept."""
    digest = blake2b(os.fsencode(os.path.abspath(sample.image)), digest_size=8).digest()
    if digest in seen:
        place = _picture_place(dataset, sample)
        text = f"{sample.image}: is in the set already".removeprefix(f"{place}: ")
        return [Finding("duplicate image", place, text)]
    seen.add(digest)
    return []


def _picture_place(dataset: DataSet, sample: Sample) -> str:
    """Name a picture as its set does: a COCO file's entry, otherwise its file."""
    if dataset.form == "coco":
        return f"{dataset.source} image {sample.image_id}"
    return str(sample.image)
