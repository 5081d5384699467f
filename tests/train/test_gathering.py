"""What a labelled set must have for a network to learn from it."""

from pathlib import Path

import pytest
from PIL import Image

from tinyyolo3.data.darknet import read_darknet_list
from tinyyolo3.data.samples import DataSet
from tinyyolo3.errors import DataError
from tinyyolo3.train.gathering import gather_samples


def labelled(folder: Path, *labels: str | None, names: int = 3) -> DataSet:
    """Write a picture for each text of labels; None has no file."""
    for n, text in enumerate(labels):
        Image.new("RGB", (20, 10)).save(folder / f"{n}.png")
        if text is not None:
            (folder / f"{n}.txt").write_text(text)
    (folder / "list.txt").write_text("".join(f"{n}.png\n" for n in range(len(labels))))
    return read_darknet_list(folder / "list.txt", names=[f"n{i}" for i in range(names)])


def test_samples_are_gathered_in_order(tmp_path: Path) -> None:
    found = gather_samples(labelled(tmp_path, "2 .5 .5 .5 .5", "0 .5 .5 .5 .5\n1 .5 .5 .5 .5"), 3)
    assert [sample.classes.tolist() for sample in found.samples] == [[2], [0, 1]]
    assert found.notes == ()


def test_pictures_without_objects_and_classes_without_pictures_are_noted(tmp_path: Path) -> None:
    found = gather_samples(labelled(tmp_path, "1 .5 .5 .5 .5", "", None), 3)
    assert len(found.samples) == 3
    assert found.notes == (
        "2 of 3 pictures have no object",
        "no picture has an object of class n0, n2",
    )


def test_many_missing_classes_are_noted_in_one_line(tmp_path: Path) -> None:
    found = gather_samples(labelled(tmp_path, "1 .5 .5 .5 .5", names=9), 9)
    assert found.notes == ("no picture has an object of class n0, n2, n3, n4, n5 and 3 more",)


def test_a_class_that_the_network_lacks_is_refused_with_its_place(tmp_path: Path) -> None:
    data = labelled(tmp_path, "0 .5 .5 .5 .5\n2 .5 .5 .5 .5")
    with pytest.raises(DataError, match=r"0.txt line 2: class 2, but the network has 2 \(0 to 1\)"):
        gather_samples(data, 2)
    with pytest.raises(DataError, match=r"class 2, but the network has 1 \(only 0\)"):
        gather_samples(data, 1)


def test_a_set_without_objects_is_refused(tmp_path: Path) -> None:
    data = labelled(tmp_path, "", None)
    with pytest.raises(DataError, match=r"list.txt: none of its 2 pictures has a labelled object"):
        gather_samples(data, 1)


def test_a_set_without_pictures_is_refused():
    data = DataSet(Path("x.json"), "coco", ("a",), (1,), 0, lambda: iter(()))
    with pytest.raises(DataError, match=r"x.json: has no picture to train on"):
        gather_samples(data, 1)
