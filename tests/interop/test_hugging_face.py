"""Data sets of Hugging Face's `datasets`, as objects and as folders on the disk, in its own format."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import datasets
import sat_core as sat
from sat_core import datasets as registry
from sat_core.errors import DataError, NotInstalledError, SpecError
from sat_core.images import ImageSource
from sat_datasets import hf
from sat_datasets.stream import FileImages

pytestmark = pytest.mark.interop

NAMES = ["cat", "dog", "élan"]
PIXELS = np.random.default_rng(0).integers(0, 256, (18, 10, 12, 3), dtype=np.uint8)
LABELS = np.arange(18) % 3


def table(rows: slice = slice(None), image: Any = None, label: Any = None, images: Any = None) -> Any:
    """A `Dataset` of photographs, or with columns of other types."""
    pictures = [Image.fromarray(pixels) for pixels in PIXELS[rows]] if images is None else images
    features = datasets.Features(
        id=datasets.Value("string"),
        image=image or datasets.Image(),
        label=label or datasets.ClassLabel(names=NAMES),
    )
    columns = {"id": [f"{n}" for n in range(len(pictures))], "image": pictures, "label": LABELS[rows].tolist()}
    return datasets.Dataset.from_dict(columns, features=features)


def splits(**parts: slice) -> Any:
    parts = parts or {"train": slice(0, 9), "test": slice(9, 18)}
    return datasets.DatasetDict({name: table(rows) for name, rows in parts.items()})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    splits().save_to_disk(tmp_path / "pets")
    return tmp_path / "pets"


def test_objects_are_read_in_their_order(tmp_path: Path) -> None:
    nested = [pixels.tolist() for pixels in PIXELS]
    array = datasets.Array3D(shape=(10, 12, 3), dtype="uint8")
    for data in (
        splits(),
        [table(slice(0, 9)), table(slice(9, 18))],
        {
            "train": table().select(range(9)),
            "test": table().shuffle(seed=0).select_columns(["image", "label"]),
        },
        {
            "train": table(image=array, images=nested).select(range(9)),
            "test": table(image=array, images=nested, label=datasets.Value("int8")),
        },
        {"train": table(slice(0, 9)).with_format("torch"), "test": table().with_format("numpy")},
    ):
        made = sat.make_dataset(**data) if isinstance(data, dict) else sat.make_dataset(*data)
        np.testing.assert_array_equal(made.train.images, PIXELS[:9])
        assert made.train.labels.tolist() == LABELS[:9].tolist()
        assert made.class_names == tuple(NAMES)
        assert made.train.images.dtype == np.uint8
    held = splits(train=slice(0, 9), validation=slice(9, 12), test=slice(12, 18))
    made = sat.make_dataset(**held)
    assert made.validation is not None
    np.testing.assert_array_equal(made.validation.images, PIXELS[9:12])


def refused(train: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        sat.make_dataset(train, table(), **options)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_columns_are_named_where_their_types_do_not_say_which() -> None:
    both = table().add_column("coarse", [0] * 18).cast_column("coarse", datasets.ClassLabel(names=["pet"]))
    assert "expected one column of type ClassLabel or an integer, got label, coarse" in refused(both)
    np.testing.assert_array_equal(sat.make_dataset(both, table(), label="label").train.labels, LABELS)
    assert "no column 'lable' (did you mean 'label'?)" in refused(both, label="lable")
    text = table().cast_column("label", datasets.Value("string"))
    assert "text becomes a ClassLabel with class_encode_column('id')" in refused(text)
    assert "number them" in refused(text, label="label")
    assert "expected a column of type Image, Array3D or Array2D, got id (string), label (Cl" in refused(
        table().remove_columns("image")
    )
    assert "item 0: expected an array of pixels, got dict" in refused(
        table().cast_column("image", datasets.Image(decode=False))
    )
    assert "A is a list of example numbers" in refused(table().to_iterable_dataset())
    assert "labels from 0, got -1" in refused(table(label=datasets.Value("int64")).map(lambda row: {"label": -1}))


def test_a_folder_on_the_disk(folder: Path) -> None:
    made = sat.get_dataset(f"hf:{folder}")
    np.testing.assert_array_equal(made.train.images, PIXELS[:9])
    np.testing.assert_array_equal(made.test.images, PIXELS[9:])
    assert (made.name, made.class_names, made.notes) == (f"hf:{folder}", tuple(NAMES), ())
    assert made.fingerprint() == sat.make_dataset(**splits()).fingerprint()
    cut = sat.get_dataset(f"hf:{folder}?train=train[:67%]&test=train[6:]&validation=test[3:6]&label=label&image=image")
    assert [part.labels.tolist() for part in cut.parts] == [[0, 1, 2] * 2, [0, 1, 2], [0, 1, 2]]
    np.testing.assert_array_equal(cut.test.images, PIXELS[6:9])


def test_a_validation_split_picks_the_epoch_or_stands_for_the_test_images(tmp_path: Path) -> None:
    splits(train=slice(0, 9), val=slice(9, 12), test=slice(12, 18)).save_to_disk(tmp_path / "three")
    made = sat.get_dataset(f"hf:{tmp_path}/three")
    assert made.validation is not None
    assert [len(part) for part in made.parts] == [9, 6, 3]
    assert [len(part) for part in sat.get_dataset(f"hf:{tmp_path}/three?test=val").parts] == [9, 3]
    splits(train=slice(0, 9), validation=slice(9, 18)).save_to_disk(tmp_path / "two")
    name = f"hf:{tmp_path}/two"
    assert sat.get_dataset(name).notes == (f"{name} has no split test: the images in validation are the test images",)
    assert sat.get_dataset(f"{name}?size=8").notes[0].startswith(f"{name}?size=8 has no split test")


def test_images_of_any_size_are_decoded_when_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    pictures = [Image.fromarray(rng.integers(0, 256, (30 + n, 50 - n, 3), dtype=np.uint8)) for n in range(9)]
    pictures[4] = pictures[4].convert("P")
    parts = {"train": table(slice(0, 9), images=pictures), "test": table(slice(0, 9), images=pictures)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "photographs")
    with pytest.raises(DataError, match="expected images of one size, got 49 x 31 in item 1 and 50 x 30 in item 0"):
        sat.get_dataset(f"hf:{tmp_path}/photographs")
    for n, picture in enumerate(pictures):
        picture.save(tmp_path / f"{n}.png")
    files = FileImages(tmp_path, [f"{n}.png" for n in range(9)], 16)
    prints = set()
    for workers in ("0", "3"):
        monkeypatch.setenv("SAT_WORKERS", workers)
        made = sat.get_dataset(f"hf:{tmp_path}/photographs?size=16")
        source = made.train.images
        assert isinstance(source, ImageSource)
        source = pickle.loads(pickle.dumps(source))  # as it goes from one rank of a run to the others
        np.testing.assert_array_equal(source[:], files[np.arange(9)])  # the same pixels as from a folder
        draws = rng.random((9, 30))
        (crops,) = source.stream([(np.arange(9), draws)])
        np.testing.assert_array_equal(crops, files.read(np.arange(9), draws))
        assert made.class_names == tuple(NAMES)
        prints.add(made.fingerprint())
    assert len(prints) == 1
    pictures[3].putpixel((0, 0), (1, 2, 3))
    parts["train"] = table(slice(0, 9), images=pictures)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "other")
    assert sat.get_dataset(f"hf:{tmp_path}/other?size=16").fingerprint() not in prints


def test_what_is_not_there_is_one_clear_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(argument: str, error: type[Exception] = DataError) -> str:
        with pytest.raises(error) as caught:
            registry.get_dataset(f"hf:{argument}")
        assert len(str(caught.value).splitlines()) <= 3
        return str(caught.value)

    assert "no split 'tests' (did you mean 'test'?); it has train, test" in message(f"{folder}?test=tests")
    assert "no column 'lable'" in message(f"{folder}?label=lable")
    assert "unknown option 'split'" in message(f"{folder}?split=test", SpecError)
    assert "expected size=N with N from 8 to 1024" in message(f"{folder}?size=4", SpecError)
    assert "expected a folder that save_to_disk wrote, found none" in message(f"{tmp_path}/nothing")
    assert "expected hf:PATH or hf:NAME" in message("")
    assert "expected a folder that save_to_disk wrote (FileNotFoundError" in message(str(tmp_path))
    table().save_to_disk(tmp_path / "single")
    assert "expected splits, at least train and test, got one table" in message(f"{tmp_path}/single")
    splits(train=slice(0, 9)).save_to_disk(tmp_path / "one")
    assert "no split 'test'; it has train" in message(f"{tmp_path}/one")
    assert "no such folder, and the hub does not give it" in message("nobody/nothing-of-this-name")  # offline
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert message(str(folder), NotInstalledError) == (
        "data set 'hf' needs Hugging Face's package datasets: pip install datasets"
    )
    assert hf.load.__kwdefaults__["train"] == "train"


def test_the_command_knows_it(folder: Path) -> None:
    command = [sys.executable, "-m", "sat_evaluation.cli", "data", "info", f"hf:{folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "9 training + 9 test" in done.stdout
    assert "3: cat, dog, élan" in done.stdout
