"""A data set in one .npz file: read as it says, or refused with the array that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import arrays, refusal, save

from sat_core.array_data import mean_and_std
from sat_core.datasets import get_dataset
from sat_core.errors import DataError
from sat_datasets import npz

pytestmark = pytest.mark.data


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
    metadata = {"class_names": np.array(["cat", "dog", "élan"]), "mean": [0.4, 0.5, 0], "std": np.array([0.2, 0.3, 1])}
    data = npz.load(str(save(tmp_path / "data.npz", **metadata)))
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
        ({"x_test": arrays()["x_test"][:, :4]}, "test\nscale them to one size, as by size=N"),
        ({"x_test": arrays()["x_test"][..., 0]}, "test\nmake all of them grey, or all RGB"),
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
