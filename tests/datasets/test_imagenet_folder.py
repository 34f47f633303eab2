"""ImageNet's tree and its relatives as they lie on disks: images for validation in one folder, tests without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import paint

from sat_core.datasets import get_dataset
from sat_core.errors import DataError

pytestmark = pytest.mark.data

CLASSES = ("n01440764", "n01443537", "n02086240")
VALIDATION = {f"ILSVRC2012_val_0000000{n}": CLASSES[n % 3] for n in range(1, 7)}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Three classes to train on, six images in `val` without folders of classes, and `test` without labels."""
    for value, name in enumerate(CLASSES):
        paint(tmp_path / f"train/{name}/{name}_10026.JPEG", (40 * value,) * 3)
    for value, name in enumerate(VALIDATION):
        paint(tmp_path / f"val/{name}.JPEG", (10 * value,) * 3)
    paint(tmp_path / "test/ILSVRC2012_test_00000001.JPEG")
    return tmp_path


KAGGLE = "ImageId,PredictionString\n" + "".join(f"{file},{name} 85 1 499 272 \n" for file, name in VALIDATION.items())
CAFFE = "".join(f"{file}.JPEG {CLASSES.index(name)}\n" for file, name in reversed(VALIDATION.items()))
TINY = "".join(f"{file}.JPEG\t{name}\t0\t32\t44\t62\r\n" for file, name in VALIDATION.items())


@pytest.mark.parametrize("lines", [KAGGLE, CAFFE, TINY], ids=["LOC_val_solution.csv", "val.txt", "val_annotations.txt"])
@pytest.mark.parametrize("size", ["", "&size=8"])
def test_a_file_says_which_classes_images_have(imagenet: Path, lines: str, size: str) -> None:
    (imagenet / "labels.txt").write_text(lines)
    name = f"folder:{imagenet}?test=val&labels=labels.txt"
    data = get_dataset("&".join([name, *size[1:].split()]))
    assert data.class_names == CLASSES
    assert data.test.labels.tolist() == [1, 2, 0, 1, 2, 0]
    np.testing.assert_allclose(data.test.images[:][:, 0, 0, 0], [0, 10, 20, 30, 40, 50], atol=2)  # JPEG
    assert (data.validation, data.notes) == (None, ())
    assert f"labels=labels.txt{size}" in data.name or f"{size[1:]}&test=val&labels=labels.txt" in data.name


def test_a_tree_with_the_file_beside_its_images(imagenet: Path) -> None:
    (imagenet / "val").rename(imagenet / "images")
    (imagenet / "val").mkdir()
    (imagenet / "images").rename(imagenet / "val/images")
    (imagenet / "val/val_annotations.txt").write_text(TINY)
    data = get_dataset(f"folder:{imagenet}?test=val&labels=val/val_annotations.txt")
    assert data.test.labels.tolist() == [1, 2, 0, 1, 2, 0]


def test_folders_of_classes_need_no_file_and_test_is_chosen(imagenet: Path) -> None:
    with pytest.raises(DataError, match=r"got a file\nlabels=FILE says which class each image has$"):
        get_dataset(f"folder:{imagenet}?test=val")
    for file, name in VALIDATION.items():
        (imagenet / "val" / name).mkdir(exist_ok=True)
        (imagenet / f"val/{file}.JPEG").rename(imagenet / f"val/{name}/{file}.JPEG")
    with pytest.raises(DataError, match=r"got a file\nlabels=FILE says which .* test=val takes those in val"):
        get_dataset(f"folder:{imagenet}")
    assert get_dataset(f"folder:{imagenet}?test=val").test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    (imagenet / "l.txt").write_text(TINY)
    with pytest.raises(DataError, match=r"labels=l.txt: the images have folders of classes already; leave labels out"):
        get_dataset(f"folder:{imagenet}?test=val&labels=l.txt")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (TINY.replace("n02086240", "n99999999"), r"line 2: expected FILE CLASS .* 'ILSVRC2012_val_00000002.JPEG\\tn99"),
        ("490\n361\n", "line 1: .* got '490'\nthe development kit's numbers have another order"),
        (
            TINY.splitlines()[0],
            "expected a line for each image, got none for val/ILSVRC2012_val_00000002.JPEG and 4 more",
        ),
        (CAFFE.replace(" 2\n", " 1\n"), r"expected numbers of the 3 classes .* got 0\.\.1; give names"),
        (
            CAFFE.replace(" 2\n", " 7\n"),
            "expected FILE CLASS with a class of the training images or its number from 0 to 2",
        ),
        ("\0\xff", "line 1: expected FILE CLASS"),
    ],
)
def test_a_file_that_does_not_say_it_is_refused(imagenet: Path, lines: str, expected: str) -> None:
    (imagenet / "labels.txt").write_text(lines)
    with pytest.raises(DataError, match=expected) as caught:
        get_dataset(f"folder:{imagenet}?test=val&labels=labels.txt")
    assert len(str(caught.value).splitlines()) <= 3


def test_other_folders_are_not_taken_for_test(imagenet: Path) -> None:
    for other in ("train", "..", "val/n01440764"):
        with pytest.raises(DataError, match="expected test=FOLDER, one of the folders in it beside train"):
            get_dataset(f"folder:{imagenet}?test={other}")
    with pytest.raises(DataError, match=r"labels\.csv: no such file"):
        get_dataset(f"folder:{imagenet}?test=val&labels=labels.csv")
