"""Whatever the files hold, the readers read it or say what is wrong, and every box is one."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinyyolo3.data.open import open_dataset
from tinyyolo3.errors import DataError

WORDS = ["0", "1", "2", "-1", ".5", "1e999", "nan", "-0.0", "x", "é", "\x00", "0 .5 .5 .5 .5", "\n"]
PARTS = ["annotation", "object", "name", "bndbox", "xmin", "ymin", "xmax", "ymax", "size", "width"]
XML = [f"<{part}>" for part in PARTS] + [f"</{part}>" for part in PARTS] + [*WORDS, "&", "<!--"]

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 2**63, 10**400])
VALUES = NUMBERS | st.none() | st.text(max_size=3) | st.lists(NUMBERS, max_size=5) | st.booleans()


def entries(*keys: str) -> st.SearchStrategy:
    """Entries with the right keys, mostly, and the right values, sometimes."""
    ordinary = {
        "bbox": st.lists(st.floats(0, 9), min_size=4, max_size=4),
        "name": st.just("cat"),
        "file_name": st.sampled_from(["a.png", "b.png"]),
    }
    values = {key: ordinary.get(key, st.integers(0, 2)) | VALUES for key in keys}
    return st.lists(st.fixed_dictionaries({}, optional=values) | VALUES, max_size=4) | VALUES


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    Image.new("L", (8, 4)).save(folder / "a.png")
    (folder / "list.txt").write_text("a.png\n")
    (folder / "x.names").write_text("cat\ndog\n")
    (folder / "x.data").write_text("valid=list.txt\nnames=x.names\n")
    return folder


def read(path: Path) -> None:
    """Read strictly, and once more collecting: both or none find something that is bad."""
    found = []
    try:
        samples = list(open_dataset(path, report=found.append))
    except DataError:  # nothing of it can be used
        with pytest.raises(DataError):
            list(open_dataset(path))
        return
    for sample in samples:
        boxes = sample.boxes_xyxy_px
        assert np.isfinite(boxes).all()
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        assert len(boxes) == len(sample.classes) == len(sample.places)
        assert sample.width > 0
        assert sample.height > 0
    if any(not problem.harmless for problem in found):
        with pytest.raises(DataError) as caught:
            list(open_dataset(path))
        assert str(caught.value) == str(next(each for each in found if not each.harmless))
    else:
        assert len(list(open_dataset(path))) == len(samples)
    assert not any("\n" in str(problem) for problem in found)


@settings(deadline=None)
@given(lines=st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)) | st.binary())
def test_labels(folder, lines):
    data = lines if isinstance(lines, bytes) else "\n".join(lines).encode()
    (folder / "a.txt").write_bytes(data)
    read(folder / "x.data")


@settings(deadline=None)
@given(
    images=entries("id", "file_name", "width", "height"),
    annotations=entries("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore"),
    categories=entries("id", "name"),
)
def test_coco(folder, images, annotations, categories):
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "x.json").write_text(json.dumps(whole))
    read(folder / "x.json")


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from(XML)) | st.binary())
def test_voc(folder, parts):
    (folder / "voc").mkdir(exist_ok=True)
    data = parts if isinstance(parts, bytes) else "".join(["<annotation>", *parts]).encode()
    (folder / "voc" / "a.xml").write_bytes(data)
    read(folder / "voc")
