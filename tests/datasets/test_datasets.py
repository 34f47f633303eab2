"""Data sets: the digits stay what they are, archives and folders are read as they say or refused."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sat_core.array_data import mean_and_std
from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, NotInstalledError, SpecError
from sat_datasets import digits, folder, npz

pytestmark = pytest.mark.data


def refusal(load: Callable[[str], DataSet], argument: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load(str(argument))
    message = str(caught.value)
    assert "expected" in message
    assert "got" in message
    assert len(message.splitlines()) <= 3
    return message


# digits ---------------------------------------------------------------------------------------------------------------


def test_digits_never_change() -> None:
    data = get_dataset("digits")
    assert data.fingerprint() == "36c7a746a033c17ebc0194e9239ae15e1e29cef1afd6e7467e58593988dcb18e"
    assert (len(data.train), len(data.test), data.image_shape) == (1437, 360, (8, 8, 1))
    assert data.train.classes == data.test.classes == 10
    assert data.train.images.dtype == np.float32
    assert data.class_names == tuple("0123456789")
    assert (data.mean, data.std) == ((0.3053,), (0.3759,))
    assert data.licence == "CC BY 4.0"
    assert "Alpaydin" in data.citation


def test_digits_are_all_of_scikit_learns_once() -> None:
    from sklearn.datasets import load_digits

    data = digits.load("")
    both = np.concatenate([data.train.images, data.test.images])[..., 0] * 16
    labels = np.concatenate([data.train.labels, data.test.labels])
    ours = sorted(
        (*pixels, label) for pixels, label in zip(both.reshape(-1, 64).tolist(), labels.tolist(), strict=True)
    )
    bunch = load_digits()
    theirs = sorted((*pixels, label) for pixels, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    assert ours == theirs


def test_digits_in_part_are_a_task_of_their_own() -> None:
    whole, low, high = (get_dataset(name) for name in ("digits", "digits?classes=0-4", "digits?classes=5-9"))
    assert (low.classes, high.class_names) == (5, tuple("56789"))
    assert high.name == "digits?classes=5-9"
    assert len(low.test) + len(high.test) == len(whole.test)
    kept = whole.train.labels >= 5
    np.testing.assert_array_equal(high.train.images, whole.train.images[kept])
    np.testing.assert_array_equal(high.train.labels, whole.train.labels[kept] - 5)
    assert get_dataset("digits?classes=0-9").fingerprint() == whole.fingerprint()
    for wrong in ("5", "5-5", "9-0", "0-10"):
        with pytest.raises(SpecError, match="expected two or more of 0-9"):
            get_dataset(f"digits?classes={wrong}")


def test_mnist5k_in_other_sizes() -> None:
    assert get_dataset("mnist5k?size=14").image_shape == (14, 14, 1)
    for wrong in ("0", "29", "x"):
        with pytest.raises(SpecError, match="expected 1 to 28 pixels"):
            get_dataset(f"mnist5k?size={wrong}")


def test_digits_constants_are_those_of_the_training_images() -> None:
    images = digits.load().train.images.astype(float)
    assert (round(images.mean(), 4),) == digits.MEAN
    assert (round(images.std(), 4),) == digits.STD


def test_digits_take_no_argument() -> None:
    assert "'extra'" in refusal(digits.load, "extra")


@given(hnp.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 6)), st.data())
def test_validation_is_in_proportion(labels: np.ndarray, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(labels)))
    mask = digits.validation_mask(labels, size)
    assert mask.sum() == size
    n, exact = len(labels), np.bincount(labels) * size  # in n-ths, so that nothing is rounded
    taken = np.bincount(labels[mask], minlength=len(exact)) * n
    assert np.all(np.abs(taken - exact) < n)
    up, down = exact[taken > exact] % n, exact[taken < exact] % n
    assert up.min(initial=n) >= down.max(initial=0)


@pytest.mark.parametrize(
    ("module", "load", "message"),
    [
        (
            "sklearn.datasets",
            digits.load,
            "data set 'digits' needs scikit-learn: pip install '.[data]' in the folder of sat-core's source",
        ),
        (
            "PIL.Image",
            folder.load,
            "data set 'folder' needs Pillow: pip install '.[data]' in the folder of sat-core's source",
        ),
    ],
)
def test_says_what_to_install(
    module: str, load: Callable[[str], DataSet], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotInstalledError) as caught:
        load("" if load is digits.load else str(tmp_path))
    assert str(caught.value) == message


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_no_framework_is_imported() -> None:
    listed = "print(sorted({'torch', 'tensorflow', 'jax', 'sklearn', 'PIL'} & set(sys.modules)))"
    assert run(f"import sys, sat_datasets.digits, sat_datasets.npz, sat_datasets.folder; {listed}") == "[]"
    loaded = run(f"import sys; from sat_core.datasets import get_dataset; get_dataset('digits'); {listed}")
    assert "'sklearn'" in loaded
    assert "torch" not in loaded
    assert "tensorflow" not in loaded


# statistics -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))))
def test_mean_and_std_are_numpys(images: np.ndarray) -> None:
    for stored in (images, (images / 255).astype(np.float32)):
        mean, std = mean_and_std(stored)
        expected = (images / 255).std(axis=(0, 1, 2))
        np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
        np.testing.assert_allclose(std, np.where(expected < 5e-7, 1, expected), atol=1e-6)


def test_mean_and_std_of_several_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 3, 2, 3), dtype=np.uint8)
    images[:1024] //= 4
    mean, std = mean_and_std(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), atol=1e-6)


# npz ------------------------------------------------------------------------------------------------------------------


def arrays(**changes: Any) -> dict[str, Any]:
    """A data set of 12 training and 6 validation images of 3 classes; None takes an array away."""
    rng = np.random.default_rng(0)
    whole = {
        "x_train": rng.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
    return {name: array for name, array in (whole | changes).items() if array is not None}


def save(path: Path, **changes: Any) -> Path:
    np.savez(path, **arrays(**changes))
    return path


def test_npz_is_read_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "data.npz")
    data = get_dataset(f"npz:{path}")
    for part, examples in (("train", data.train), ("test", data.test)):
        np.testing.assert_array_equal(examples.images, arrays()[f"x_{part}"])
        np.testing.assert_array_equal(examples.labels, arrays()[f"y_{part}"])
        assert examples.images.dtype == np.uint8
        assert examples.labels.dtype == np.int64
    assert (data.name, data.classes, data.class_names) == (f"npz:{path}", 3, ("0", "1", "2"))
    assert (data.mean, data.std) == mean_and_std(arrays()["x_train"])


def test_npz_says_more_where_it_can(tmp_path: Path) -> None:
    known = {"class_names": np.array(["cat", "dog", "élan"]), "mean": [0.4, 0.5, 0], "std": np.array([0.2, 0.3, 1])}
    data = npz.load(str(save(tmp_path / "data.npz", **known)))
    assert data.class_names == ("cat", "dog", "élan")
    assert data.mean == (0.4, 0.5, 0.0)
    assert data.std == (0.2, 0.3, 1.0)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_npz_takes_floats_and_grey_images(kind: str, tmp_path: Path) -> None:
    grey = {name: (arrays()[name][..., 0] / 255).astype(kind) for name in ("x_train", "x_test")}
    labels = {"y_train": arrays()["y_train"].astype("u1"), "y_test": arrays()["y_test"].astype(">i2")}
    data = npz.load(str(save(tmp_path / "data.npz", **grey, **labels)))
    assert data.image_shape == (5, 4, 1)
    assert data.train.images.dtype == np.dtype(np.float32)
    assert data.test.labels.dtype == np.dtype(np.int64)
    np.testing.assert_array_equal(data.train.images[..., 0], grey["x_train"].astype(np.float32))


def test_npz_takes_validation_images(tmp_path: Path) -> None:
    x, y = arrays()["x_test"][:2] // 2, np.array([2, 0])
    data = npz.load(str(save(tmp_path / "data.npz", x_val=x, y_val=y)))
    assert data.validation is not None
    np.testing.assert_array_equal(data.validation.images, x)
    assert data.validation.labels.tolist() == [2, 0]
    assert data.fingerprint() != npz.load(str(save(tmp_path / "without.npz"))).fingerprint()


def test_npz_expands_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(save(tmp_path / "data.npz").parent))
    assert len(npz.load("~/data.npz").train) == 12


NAN = np.full((12, 5, 4, 3), np.nan)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x_train": None}, "expected the arrays x_train, y_train, x_test, y_test"),
        ({"y_test": None}, "expected the arrays x_train, y_train, x_test, y_test"),
        ({"x_train": np.array([[1], [1, 2]], dtype=object)}, "plain arrays"),
        ({"y_train": np.arange(12).astype(object)}, "plain arrays"),
        ({"x_train": arrays()["x_train"][:11]}, "train: expected as many labels as images, got 11 images and 12"),
        ({"y_test": np.zeros(7, int)}, "test: expected as many labels as images, got 6 images and 7"),
        ({"x_train": NAN}, "train: expected finite pixels"),
        ({"x_test": NAN[:6] + np.inf}, "test: expected finite pixels"),
        ({"x_train": arrays()["x_train"] * 1.0}, "train: expected float pixels in [0, 1]"),
        ({"x_test": arrays()["x_test"] / 255 - 0.5}, "test: expected float pixels in [0, 1], got [-0.4"),
        ({"x_train": arrays()["x_train"].astype(np.int64)}, "train: expected uint8 or float images, got int64"),
        ({"x_train": arrays()["x_train"] > 9}, "train: expected uint8 or float images, got bool"),
        ({"x_train": arrays()["x_train"].astype(complex)}, "train: expected uint8 or float images, got complex128"),
        ({"x_train": arrays()["x_train"].reshape(12, 60)}, "train: expected images of shape"),
        ({"x_train": arrays()["x_train"][None]}, "train: expected images of shape"),
        ({"x_train": np.uint8(3)}, "train: expected images of shape"),
        ({"x_train": arrays()["x_train"][:, :0]}, "x_train: expected images with at least one pixel"),
        ({"x_train": arrays()["x_train"][..., :0]}, "x_train: expected images with at least one pixel"),
        ({"x_test": arrays()["x_test"][:0], "y_test": np.arange(0)}, "x_test: expected images with at least one pixel"),
        ({"x_train": np.zeros((12, 3, 8, 8), np.uint8)}, "x_train: expected channels last"),
        ({"x_test": np.zeros((6, 1, 8, 8), np.uint8)}, "x_test: expected channels last"),
        ({"x_valid": arrays()["x_test"]}, "unknown array 'x_valid' (did you mean 'x_val'?)"),
        ({"x_val": arrays()["x_test"]}, "expected x_val and y_val, got one without the other"),
        ({"x_val": arrays()["x_test"], "y_val": np.arange(6)}, "val: expected labels in 0..2, got 0..5"),
        ({"x_train": arrays()["x_train"].transpose(1, 2, 3, 0)}, "x_train.transpose(3, 0, 1, 2)"),
        ({"y_train": np.eye(3)[np.arange(12) % 3]}, "one-hot labels: take y.argmax(axis=1)"),
        ({"y_test": np.eye(3, dtype=int)[np.arange(6) % 3]}, "one-hot labels: take y.argmax(axis=1)"),
        ({"y_test": np.arange(6)[:, None] % 3}, "take the only column, y[:, 0]"),
        ({"y_train": np.arange(12) % 3 * 1.0}, "whole numbers: take y.astype('int64')"),
        ({"y_train": np.where(np.arange(12) < 2, np.nan, 1)}, "2 are NaN: leave out examples without a label"),
        ({"y_train": np.array(["cat", "dog", "cow"] * 4)}, "np.unique(y, return_inverse=True)"),
        ({"y_train": np.arange(12) % 3 + 1}, "labels that count from 1: subtract 1"),
        ({"y_test": np.arange(6) % 3 + 1}, "labels that count from 1: subtract 1"),
        ({"y_train": np.arange(12) % 3 - 1}, "leave out examples without a label, or number from 0"),
        ({"class_names": np.array(["a", "", "c"])}, "different texts, none of them empty"),
        ({"class_names": np.array(["a", "b", "c"], object)}, "class_names: Object arrays cannot"),
        ({"x_test": arrays()["x_test"][:, :4]}, "training and validation images of one shape"),
        ({"x_test": arrays()["x_test"][..., 0]}, "training and validation images of one shape"),
        ({"y_train": np.arange(12) % 3 * 1.0}, "y_train: expected integers of shape (n,)"),
        ({"y_train": (np.arange(12) % 3)[:, None]}, "y_train: expected integers of shape (n,)"),
        ({"y_train": np.arange(12) > 3}, "y_train: expected integers of shape (n,)"),
        ({"y_train": np.arange(0)}, "y_train: expected integers of shape (n,)"),
        ({"y_test": np.arange(6) * 0.5}, "test: expected integer labels"),
        ({"y_test": (np.arange(6) % 3)[:, None]}, "test: expected integer labels"),
        ({"y_train": np.arange(12) % 3 - 1}, "y_train: expected labels from 0, got -1"),
        (
            {"y_train": np.arange(12) % 3 + 1},
            "y_train: expected an example of every class in 0..3, got none of class 0",
        ),
        ({"y_train": np.arange(12) % 3 * 2}, "expected an example of every class in 0..4, got none of class 1"),
        ({"y_train": np.arange(12) % 2 * 2**62}, "got none of class 1"),
        ({"y_train": (np.arange(12) % 2).astype("u8") * np.uint64(2**64 - 1)}, "got none of class 1"),
        ({"y_test": np.arange(6) % 3 - 1}, "test: expected labels in 0..2, got -1..1"),
        ({"y_test": np.arange(6) % 4}, "test: expected labels in 0..2, got 0..3"),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, "expected at least 2 classes, got 1"),
        ({"class_names": np.array(["a", "b"])}, "class_names: expected 3 different texts"),
        ({"class_names": np.array(["a", "b", "a"])}, "class_names: expected 3 different texts"),
        ({"class_names": np.array([["a", "b", "c"]])}, "class_names: expected 3 different texts"),
        ({"class_names": np.array([b"a", b"b", b"c"])}, "class_names: expected 3 different texts"),
        ({"class_names": np.arange(3)}, "class_names: expected 3 different texts"),
        ({"mean": np.array([0.5])}, "mean: expected 3 numbers in [0, 1]"),
        ({"mean": 0.5}, "mean: expected 3 numbers in [0, 1]"),
        ({"mean": np.array([125.3, 123.0, 113.9])}, "mean: expected 3 numbers in [0, 1]"),
        ({"mean": np.array([0.5, -0.5, 0.5])}, "mean: expected 3 numbers in [0, 1]"),
        ({"mean": np.array([0.5, np.nan, 0.5])}, "mean: expected 3 numbers in [0, 1]"),
        ({"mean": np.array(["a", "b", "c"])}, "mean: expected 3 numbers in [0, 1]"),
        ({"std": np.array([0.5, 0, 0.5])}, "std: expected 3 numbers in [1e-06, 1]"),
        ({"std": np.array([0.5, np.inf, 0.5])}, "std: expected 3 numbers in [1e-06, 1]"),
    ],
)
def test_npz_refuses(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = save(tmp_path / "data.npz", **changes)
    message = refusal_or_reason(path)
    assert expected in message
    assert str(path) in message


def refusal_or_reason(path: Path) -> str:
    """As `refusal`; `sat_core.files` gives the reason of a broken file instead of what it got."""
    with pytest.raises(DataError) as caught:
        npz.load(str(path))
    message = str(caught.value)
    assert "expected" in message
    assert len(message.splitlines()) <= 3
    return message


def test_npz_refuses_other_files(tmp_path: Path) -> None:
    assert "npz:PATH" in refusal(npz.load, "")
    with pytest.raises(DataError, match="no such file"):
        npz.load(str(tmp_path / "missing.npz"))
    (tmp_path / "text.npz").write_text("x_train")
    np.save(tmp_path / "one.npy", np.arange(3))
    damaged = bytearray(save(tmp_path / "data.npz").read_bytes())
    damaged[len(damaged) // 3] ^= 1
    (tmp_path / "damaged.npz").write_bytes(damaged)
    for name in ("text.npz", "one.npy", "damaged.npz"):
        assert name in refusal_or_reason(tmp_path / name)


def test_npz_refuses_a_part_of_a_file(tmp_path: Path) -> None:
    whole = save(tmp_path / "data.npz").read_bytes()
    (tmp_path / "part.npz").write_bytes(whole[: len(whole) // 2])
    assert "part.npz: expected an .npz file of plain arrays" in refusal_or_reason(tmp_path / "part.npz")


# folder ---------------------------------------------------------------------------------------------------------------


def paint(path: Path, value: Any = 0, mode: str = "RGB", size: tuple[int, int] = (6, 4), **options: Any) -> Path:
    """A file with one colour, or with the array `value`, in the format that its name says."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(value) if isinstance(value, np.ndarray) else Image.new(mode, size, value)
    image.save(path, **options)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes; every training image has one grey value of its own, 10, 20, ... in the order it must be read."""
    for value, name in enumerate(["cat/b.png", "cat/deep/a.png", "cat/deep/er/c.png", "dog/10.png", "dog/9.png"], 1):
        paint(tmp_path / "train" / name, (value * 10,) * 3)
    paint(tmp_path / "test/cat/x.png", (60,) * 3)
    paint(tmp_path / "test/dog/x.png", (70,) * 3)
    return tmp_path


def test_folder_is_read_in_order(tree: Path) -> None:
    data = get_dataset(f"folder:{tree}")
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (4, 6, 3)
    assert data.train.images.dtype == np.uint8
    assert data.train.images[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test.images[:, 3, 5, 2].tolist() == [60, 70]
    assert data.test.labels.tolist() == [0, 1]
    assert (data.mean, data.std) == mean_and_std(data.train.images)
    assert data.name == f"folder:{tree}"


def test_folder_order_does_not_depend_on_the_listing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = folder.load(str(tree)).fingerprint()
    listing = Path.iterdir
    for order in (lambda paths: sorted(paths, reverse=True), lambda paths: sorted(paths, key=lambda p: hash(p.name))):
        monkeypatch.setattr(Path, "iterdir", lambda self, order=order: iter(order(listing(self))))
        assert folder.load(str(tree)).fingerprint() == expected


def test_folder_leaves_hidden_files_out(tree: Path) -> None:
    expected = folder.load(str(tree)).fingerprint()
    (tree / "train/.DS_Store").write_bytes(b"no image")
    (tree / "train/cat/.hidden.png").write_bytes(b"no image")
    (tree / "train/.cache").mkdir()
    paint(tree / "train/cat/.thumbnails/a.png", (99,) * 3)
    (tree / "README.txt").write_text("beside train and test there may be more")
    assert folder.load(str(tree)).fingerprint() == expected


@pytest.mark.parametrize("size", ["", "8"])
def test_folder_skips_what_systems_leave_behind(size: str, tree: Path) -> None:
    expected = folder.load(str(tree), size=size).fingerprint()
    names = ("Thumbs.db", "desktop.ini", ".DS_Store", "._b.png", "Icon\r", "__MACOSX/._b.png", "@eaDir/b.png")
    for place in ("train", "train/cat", "train/cat/deep", "test/dog"):
        for name in names:
            path = tree / place / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"no image")
    data = folder.load(str(tree), size=size)
    assert data.class_names == ("cat", "dog")
    assert data.fingerprint() == expected


@pytest.mark.parametrize("size", ["", "8"])
@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_folder_takes_validation_images(name: str, size: str, tree: Path) -> None:
    paint(tree / name / "dog/v.png", (99,) * 3)
    data = folder.load(str(tree), size=size)
    assert data.validation is not None
    assert data.validation.labels.tolist() == [1]
    assert data.validation.images[np.arange(1)][0, 0, 0].tolist() == [99] * 3
    assert data.test.labels.tolist() == [0, 1]
    assert data.notes == ()
    paint(tree / "val2" / "dog/v.png", (99,) * 3)
    assert len(folder.load(str(tree)).parts) == 3


def test_folder_without_test_images_reports_on_those_for_validation(tree: Path) -> None:
    (tree / "test").rename(tree / "val")
    data = folder.load(str(tree))
    assert data.validation is None
    assert data.test.images[:, 0, 0, 0].tolist() == [60, 70]
    assert data.notes == (f"{tree} has no folder test: the images in val are the test images",)
    paint(tree / "valid" / "dog/v.png", (99,) * 3)
    assert "expected one folder of validation images, got val and valid" in refusal(folder.load, tree)


def test_folder_names_folders_that_may_be_meant(tree: Path) -> None:
    (tree / "test").rename(tree / "Test")
    assert f"{tree / 'test'}: expected a folder" in refusal(folder.load, tree)
    assert "has 'Test', 'train'" in refusal(folder.load, tree)


def test_folder_keeps_pixels_where_they_are(tree: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for suffix in ("png", "bmp", "ppm", "tiff", "tga"):
        paint(tree / f"train/cat/a.{suffix}", pixels)
        np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], pixels)
        (tree / f"train/cat/a.{suffix}").unlink()


RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6)


@pytest.mark.parametrize(
    ("name", "value", "options", "expected"),
    [
        ("a.png", (RAMP * 10).astype(np.uint8), {}, RAMP * 10),
        ("a.png", RAMP % 2 > 0, {}, RAMP % 2 * 255),
        ("a.png", RAMP * 2700 + 100, {}, np.rint((RAMP * 2700 + 100) / 257)),
        ("a.tiff", RAMP * 2700 + 100, {}, np.rint((RAMP * 2700 + 100) / 257)),
        ("a.png", np.full((4, 6), 65535, np.uint16), {}, np.full((4, 6), 255)),
        ("a.tiff", (RAMP * 2700).astype(np.int32), {}, np.rint(RAMP * 2700 / 257)),
        ("a.jpg", np.full((4, 6), 77, np.uint8), {"quality": 95}, np.full((4, 6), 77)),
    ],
)
def test_folder_without_colour_has_one_channel(
    name: str, value: np.ndarray, options: dict[str, Any], expected: np.ndarray, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        paint(tmp_path / part / "cat" / name, value, **options)
        paint(tmp_path / part / "dog/x.png", 9, "L")
    data = folder.load(str(tmp_path))
    assert data.image_shape == (4, 6, 1)
    np.testing.assert_array_equal(data.train.images[0, ..., 0], expected)
    paint(tmp_path / "test/dog/colour.png", (9, 9, 9), "RGB")
    coloured = folder.load(str(tmp_path))
    assert coloured.image_shape == (4, 6, 3)
    np.testing.assert_array_equal(coloured.train.images[0], np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "options", "expected"),
    [
        ("RGB", (10, 20, 30), "png", {}, (10, 20, 30)),
        ("RGBA", (100, 200, 50, 255), "png", {}, (100, 200, 50)),
        ("RGBA", (100, 200, 50, 0), "png", {}, (0, 0, 0)),
        ("RGBA", (100, 200, 50, 128), "png", {}, (50, 100, 25)),
        ("LA", (100, 128), "png", {}, (50, 50, 50)),
        ("L", 100, "png", {"transparency": 100}, (0, 0, 0)),
        ("RGB", (10, 20, 30), "png", {"transparency": (10, 20, 30)}, (0, 0, 0)),
        ("P", 0, "png", {}, (200, 100, 50)),
        ("P", 0, "gif", {}, (200, 100, 50)),
        ("P", 0, "png", {"transparency": 0}, (0, 0, 0)),
        ("P", 0, "png", {"transparency": b"\x80"}, (100, 50, 25)),
        ("CMYK", (255, 0, 0, 0), "tiff", {}, (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "tiff", {}, (0, 0, 0)),
        ("YCbCr", (76, 84, 255), "tiff", {}, (254, 0, 0)),
    ],
)
def test_folder_converts_to_colour(
    mode: str, value: Any, suffix: str, options: dict[str, Any], expected: Any, tree: Path
) -> None:
    from PIL import Image

    image = Image.new(mode, (6, 4), value)
    if mode == "P":
        image.putpalette([200, 100, 50] + [0] * 765)
    image.save(tree / f"train/cat/a.{suffix}", **options)
    np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], np.tile(expected, (4, 6, 1)))


def test_folder_honours_exif_orientation(tree: Path) -> None:
    from PIL import Image

    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated clockwise
    path = paint(tree / "train/cat/a.png", np.rot90(upright).copy(), exif=exif)
    np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], upright)
    exif[0x0112] = 1
    paint(path, np.rot90(upright).copy(), exif=exif)
    assert "got 6 x 4\nand 4 x 6" in refusal(folder.load, tree)


def test_folder_takes_the_first_frame(tree: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (6, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tree / "train/cat/a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], np.tile((255, 0, 0), (4, 6, 1)))


def test_folder_takes_links_inside_the_tree(tree: Path) -> None:
    (tree / "train/cat/zz.png").symlink_to(tree / "train/dog/9.png")
    assert folder.load(str(tree)).train.images[:, 0, 0, 0].tolist() == [10, 20, 30, 50, 40, 50]
    (tree.parent / f"{tree.name}-link").symlink_to(tree)
    assert len(folder.load(f"{tree}-link").train) == 6


def test_folder_need_not_have_each_class_in_validation(tree: Path) -> None:
    (tree / "test/dog/x.png").unlink()
    (tree / "test/dog").rmdir()
    assert folder.load(str(tree)).test.labels.tolist() == [0]


def test_folder_names_two_files_of_different_size(tree: Path) -> None:
    paint(tree / "test/dog/large.png", (1, 2, 3), size=(7, 5))
    message = refusal(folder.load, tree)
    assert "test/dog/large.png: expected images of one size, got 7 x 5" in message
    assert "6 x 4" in message
    assert "train/cat/b.png" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train/cat/notes.txt", b"no image"),
        ("train/cat/empty.png", b""),
        ("test/dog/cut.png", None),
        ("test/dog/deep/cut.png", None),
    ],
)
def test_folder_names_what_is_no_image(name: str, content: bytes | None, tree: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = paint(tree / name, pixels, format="png")
    assert folder.load(str(tree)).image_shape == (4, 6, 3)
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    assert f"{path}: expected an image that Pillow can read" in refusal(folder.load, tree)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n%%EOF\n"


def test_folder_starts_no_program_to_read_a_file(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads PostScript with Ghostscript, whatever a file is called."""
    from PIL import Image

    path = tree / "train/cat/z.png"
    path.write_bytes(EPS)
    with Image.open(path) as image:
        assert image.format == "EPS"
    monkeypatch.setattr(subprocess, "Popen", None)
    assert f"{path}: expected an image that Pillow can read" in refusal(folder.load, tree)
    assert "it begins with b'%!PS-Adobe" in refusal(folder.load, tree)
    assert str(path) in refusal(lambda name: folder.load(name, size="8").train.images[:], tree)


def test_folder_names_all_broken_images(tree: Path) -> None:
    paths = [tree / "train/cat/b.png", tree / "test/dog/x.png"]
    for path in paths:
        path.write_bytes(b"<!doctype html>")
    said = refusal(folder.load, tree)
    assert all(str(path) in said for path in paths)
    assert "got 2 of 7 files that are none or are broken" in said


def test_folder_names_what_has_no_known_range(tree: Path) -> None:
    path = paint(tree / "train/cat/a.tiff", np.zeros((4, 6), np.float32))
    assert f"{path}: expected an image of integers" in refusal(folder.load, tree)
    paint(path, np.full((4, 6), 65536, np.int32))
    assert f"{path}: expected grey values of 8 or 16 bits, got 65536..65536" in refusal(folder.load, tree)
    paint(path, np.full((4, 6), -1, np.int32))
    assert f"{path}: expected grey values of 8 or 16 bits, got -1..-1" in refusal(folder.load, tree)


@pytest.mark.parametrize("limit", [23, 11])
def test_folder_names_decompression_bombs(limit: int, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    folder.load(str(tree))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # 24 pixels: above the warning, above twice of it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = refusal(folder.load, tree)
    assert f"{tree / 'train/cat/b.png'} (" in message
    assert "exceeds limit" in message


def test_folder_refuses_links_that_lead_out(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    paint(outside / "secret.png", (1, 2, 3))
    link = tree / "train/cat/link"
    for target in (outside / "secret.png", outside, tree / "train/dog", tree, tree / "nowhere", link, Path("../../..")):
        link.symlink_to(target)
        assert f"{link}: expected links to files inside {tree}" in refusal(folder.load, tree)
        link.unlink()
    (tree / "train/bird").symlink_to(outside)
    assert f"{tree / 'train/bird'}: expected links" in refusal(folder.load, tree)
    (tree / "train/bird").unlink()
    (tree / "test").rename(outside / "test")
    (tree / "test").symlink_to(outside / "test")
    assert "got a link" in refusal(folder.load, tree)


def test_folder_refuses_other_trees(tree: Path) -> None:
    assert "folder:PATH" in refusal(folder.load, "")
    assert f"{tree / 'none' / 'train'}: expected" in refusal(folder.load, tree / "none")
    assert f"{tree / 'train/cat/b.png/train'}: expected" in refusal(folder.load, tree / "train/cat/b.png")
    (tree / "train/bird").mkdir()
    assert f"{tree / 'train/bird'}: expected at least one image" in refusal(folder.load, tree)
    (tree / "train/bird/.hidden").write_bytes(b"")
    (tree / "train/bird/deep").mkdir()
    assert f"{tree / 'train/bird'}: expected at least one image" in refusal(folder.load, tree)
    os.mkfifo(tree / "train/bird/pipe")
    assert f"{tree / 'train/bird/pipe'}: expected an image, got a pipe (FIFO)" in refusal(folder.load, tree)
    (tree / "train/bird").rename(tree / ".bird")
    paint(tree / "test/bird/a.png", (1, 2, 3))
    assert f"{tree / 'test/bird'}: expected one of the classes" in refusal(folder.load, tree)
    (tree / "test/bird").rename(tree / ".bird2")
    (tree / "test/cow").mkdir()
    assert f"{tree / 'test/cow'}: expected one of the classes" in refusal(folder.load, tree)
    (tree / "test/cow").rmdir()
    paint(tree / "train/a.png", (1, 2, 3))
    assert f"{tree / 'train/a.png'}: expected a folder for each class" in refusal(folder.load, tree)
    (tree / "train/a.png").unlink()
    (tree / "test").rename(tree / ".test")
    assert f"{tree / 'test'}: expected a folder" in refusal(folder.load, tree)
    (tree / "test").mkdir()
    assert f"{tree / 'test'}: expected a folder for each class, got none" in refusal(folder.load, tree)


def test_folder_refuses_classes_that_differ_in_case_only(tree: Path) -> None:
    paint(tree / "train/CAT/a.png", (1, 2, 3))
    said = refusal(folder.load, tree)
    assert str(tree / "train/CAT") in said
    assert "'cat'" in said
    assert "differ in more than case" in said


def test_folder_refuses_classes_that_look_the_same(tree: Path) -> None:
    """As where a part of the images was copied by macOS, which takes é apart."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    paint(tree / "train" / composed / "a.png", (1, 2, 3))
    paint(tree / "test" / apart / "a.png", (1, 2, 3))
    assert f"got {apart!r}, which is {composed!r} there" in refusal(folder.load, tree)
    paint(tree / "train" / apart / "a.png", (1, 2, 3))
    assert "differ in more than case, spaces or Unicode form" in refusal(folder.load, tree)
    (tree / "train" / apart).rename(tree / "train" / "cat ")
    assert "too\nmost likely they are one class" in refusal(folder.load, tree)


def test_folder_takes_names_in_any_script(tree: Path) -> None:
    for part in ("train", "test"):
        (tree / part / "cat").rename(tree / part / "кошка 猫 é")
        paint(tree / part / "кошка 猫 é" / "ß – ø.png", (1, 2, 3))
    data = folder.load(str(tree))
    assert data.class_names == ("dog", "кошка 猫 é")
    streamed = folder.load(str(tree), size="8")
    assert streamed.class_names == data.class_names
    assert streamed.fingerprint() == folder.load(str(tree), size="8").fingerprint()
    assert streamed.train.images[:].shape == (len(data.train), 8, 8, 3)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"a\x1b[31m"])
def test_folder_refuses_names_that_are_no_text(name: bytes, tree: Path) -> None:
    os.makedirs(os.path.join(os.fsencode(tree / "train"), name))
    said = refusal(folder.load, tree)
    assert repr(name) in said


def test_folder_refuses_one_class(tmp_path: Path) -> None:
    for part in ("train", "test"):
        paint(tmp_path / part / "cat/a.png", (1, 2, 3))
    assert "expected at least 2 classes, got 1" in refusal(folder.load, tmp_path)


def test_folder_says_what_cannot_be_listed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    assert f"{tree / 'train'}: expected a folder that can be read" in refusal(folder.load, tree)
