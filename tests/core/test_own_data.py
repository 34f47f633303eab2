"""Data of users in the forms that need no library: what becomes a data set, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sat_core as sat
from sat_core import indexed_data
from sat_core.array_data import mean_and_std
from sat_core.errors import DataError
from sat_core.images import ImageSource
from sat_core.own_data import as_data_set


def photographs(n: int, shape: tuple[int, ...] = (6, 5, 3)) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


X, Y = photographs(12), np.arange(12) % 3
PAIR = (X, Y)
TEST = (photographs(6), np.arange(6) % 3)


class Indexed:
    """A map-style data set without a framework; `change` is its transform."""

    def __init__(self, images: Any = X, labels: Any = Y, change: Any = lambda image: image) -> None:
        self.images, self.labels, self.change = images, labels, change

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        if number >= len(self):
            raise IndexError(number)
        return self.change(self.images[number]), self.labels[number]


def message(data: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        sat.make_dataset(data, TEST, **options)
    text = str(caught.value)
    assert 0 < len(text.splitlines()) <= 3
    return text


def same(data: sat.DataSet, images: np.ndarray = X, labels: np.ndarray = Y) -> None:
    np.testing.assert_array_equal(data.train.images, images)
    np.testing.assert_array_equal(data.train.labels, labels)


@pytest.mark.parametrize(
    "data",
    [
        (PAIR, TEST),
        [[X, Y], [*TEST]],
        (Indexed(), TEST),
        (list(zip(X, Y, strict=True)), list(zip(*TEST, strict=True))),
        {"train": Indexed(), "test": TEST},
        {"x_train": X, "y_train": Y, "x_test": TEST[0], "y_test": TEST[1]},
        {"train": [{"image": x, "label": y} for x, y in zip(X, Y, strict=True)], "test": TEST},
        (Indexed(change=lambda x: x.transpose(2, 0, 1)), TEST),
        (Indexed(change=lambda x: x.astype(np.float32) / np.float32(255)), TEST),
        (Indexed(change=lambda x: (x / 255).transpose(2, 0, 1)), TEST),
        (Indexed(change=lambda x: x.astype(np.float32) * np.float32(1 / 255)), TEST),
    ],
    ids=range(11),
)
def test_forms_of_the_same_data(data: Any) -> None:
    made = as_data_set(data)
    same(made)
    assert made.train.images.dtype == np.uint8
    assert made.validation is None
    assert made.class_names == ("0", "1", "2")
    assert made.fingerprint() == as_data_set((PAIR, TEST)).fingerprint()


def test_the_third_part_picks_the_epoch() -> None:
    held = photographs(3), np.array([2, 1, 0])
    for data in (
        (PAIR, TEST, held),
        {"train": Indexed(), "test": TEST, "val": held},
        {"train": PAIR, "test": TEST, "validation": Indexed(*held)},
        sat.make_dataset(PAIR, TEST, held),
    ):
        made = as_data_set(data)
        assert made.validation is not None
        np.testing.assert_array_equal(made.validation.images, held[0])
        assert made.validation.labels.tolist() == [2, 1, 0]
        assert made.notes == ()
    alone = sat.make_dataset(PAIR, validation=held, name="pets")
    assert (alone.validation, len(alone.test)) == (None, 3)
    assert alone.notes == ("pets has no test examples: those for validation are the test examples",)


def test_facts_are_given_or_found() -> None:
    named = Indexed()
    named.classes = ["cat", "dog", "élan"]  # as torchvision's data sets have it
    made = sat.make_dataset(named, TEST, name="pets", mean=(0.5, 0.5, 0.5), std=[0.25] * 3)
    assert (made.name, made.class_names, made.mean, made.std) == (
        "pets",
        ("cat", "dog", "élan"),
        (0.5,) * 3,
        (0.25,) * 3,
    )
    assert sat.make_dataset(PAIR, TEST, mean=np.full(3, 0.5)).mean == (0.5,) * 3
    assert "mean: expected 3 numbers in [0, 1]" in message(PAIR, mean=0.5)
    assert "std: expected 3 numbers in [1e-06, 1]" in message(PAIR, std=["a", "b", "c"])
    assert message(PAIR, mean=[[1], [1, 2]]) == "mean: expected a number for each channel, got list"
    assert sat.make_dataset(named, TEST, class_names="abc").class_names == ("a", "b", "c")
    named.labels = Y % 2  # fewer classes than there are names: they are not those of the labels
    assert sat.make_dataset(named, (X, Y % 2)).class_names == ("0", "1")
    other = Indexed(*TEST)
    other.classes = ["cat", "élan", "dog"]
    named.labels = Y
    with pytest.raises(DataError, match=r"test: expected the 3 classes of train in the same order, got 3, 'élan' in"):
        sat.make_dataset(named, other)


def test_floats_that_are_no_bytes_stay_as_they_are_and_grey_becomes_colour_beside_colour() -> None:
    floats = np.random.default_rng(0).random((12, 6, 5, 3)).astype(np.float32)
    same(sat.make_dataset(Indexed(floats), TEST), floats)
    mixed = [x if number else x[..., 0] for number, x in enumerate(X)]
    expected = X.copy()
    expected[0] = X[0, ..., :1]
    same(sat.make_dataset(Indexed(mixed), TEST), expected)
    grey = sat.make_dataset(Indexed(X[..., 0]), (TEST[0][..., 0], TEST[1]))
    assert grey.image_shape == (6, 5, 1)


def test_images_of_several_sizes_are_scaled() -> None:
    sizes = [np.full((30 + 4 * n, 60, 3), 20 * n, np.uint8) for n in range(12)]
    assert "expected images of one size, got 60 x 34 in item 1 and 60 x 30 in item 0" in message(Indexed(sizes))
    made = sat.make_dataset(Indexed(sizes), Indexed(sizes[:3], Y[:3]), size=8)
    assert made.image_shape == (8, 8, 3)
    assert made.train.images[:, 0, 0, 0].tolist() == [20 * n for n in range(12)]
    assert "sides that differ by at most 50 times" in message(Indexed([np.zeros((1, 60), np.uint8)] * 12), size=8)
    for wrong in (4, "8", 8.0):
        assert message(Indexed(), size=wrong) == f"size: expected a whole number of 8 to 1024 pixels, got {wrong!r}"
    wide = photographs(12, (30, 44, 3))
    one_by_one = sat.make_dataset(Indexed(wide), Indexed(wide[:3], Y[:3]), size=8)
    at_once = sat.make_dataset((wide, Y), sat.Examples(wide[:3], Y[:3], 3), size=8)
    for one, other in zip(one_by_one.parts, at_once.parts, strict=True):
        # an integer may be rounded another way
        np.testing.assert_allclose(one.images.astype(int), other.images.astype(int), atol=1)
        assert other.images.shape[1:] == (8, 8, 3)
    assert "x_train: expected sides that differ by at most 50" in message((np.zeros((12, 1, 60), np.uint8), Y), size=8)


def test_a_stream_has_the_same_images_and_is_the_same_data_set_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, made = sat.make_dataset(Indexed(), TEST), sat.make_dataset(Indexed(), TEST, streamed=True)
    images = made.train.images
    assert isinstance(images, ImageSource)
    np.testing.assert_array_equal(images[np.array([3, 1])], X[[3, 1]])
    np.testing.assert_array_equal(images.take(np.array([3, 1]))[:], X[[3, 1]])
    np.testing.assert_allclose([made.mean, made.std], mean_and_std(X), atol=2e-6)
    assert (made.train.labels.tolist(), made.image_shape) == (Y.tolist(), stored.image_shape)
    assert made.fingerprint() == sat.make_dataset(Indexed(), TEST, streamed=True).fingerprint()
    other = X.copy()
    other[7, 3, 2, 1] ^= 1
    assert made.fingerprint() != sat.make_dataset(Indexed(other), TEST, streamed=True).fingerprint()
    assert images.take(np.arange(3)).fingerprint() != images.take(np.arange(3)[::-1]).fingerprint()
    monkeypatch.setattr(indexed_data, "LARGE", X.nbytes - 1)
    assert isinstance(sat.make_dataset(Indexed(), TEST).train.images, ImageSource)
    assert not isinstance(sat.make_dataset(Indexed(), TEST, streamed=False).train.images, ImageSource)


def test_a_stream_crops_what_was_not_scaled_yet() -> None:
    wide = [np.tile(np.arange(64, dtype=np.uint8)[:, None], (1, 64))[..., None].repeat(3, 2)] * 12
    source = sat.make_dataset(Indexed(wide), Indexed(wide[:3], Y[:3]), size=8, streamed=True).train.images
    assert isinstance(source, ImageSource)
    draws = np.random.default_rng(0).random((2, 30))
    (whole,), (crops,) = source.stream([(np.arange(2), None)]), source.stream([(np.arange(2), draws)])
    assert crops.shape == whole.shape == (2, 8, 8, 3)
    assert (np.ptp(crops, axis=1) < np.ptp(whole, axis=1)).any()
    np.testing.assert_array_equal(source.resized((4, 4, 1)).shape, (12, 4, 4, 1))
    with pytest.raises(DataError, match="expected a square"):
        source.resized((4, 5, 3))
    floats = Indexed(np.random.default_rng(0).random((12, 6, 5, 3)))
    assert "expected uint8 (6, 5, 3) to be streamed, got float32" in message(floats, streamed=True)


class Flip:
    """Turns every other image that it gets, as a random transform might."""

    turned = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.turned = not self.turned
        return image[:, ::-1] if self.turned else image


class Rare:
    """Turns image 4 when it is taken for the second time: of 130 examples, 64 even looks see it, and 16 do not."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def __len__(self) -> int:
        return 130

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        self.taken.append(number)
        turned = number == 4 and self.taken.count(number) > 1
        return (X[number % 12][:, ::-1] if turned else X[number % 12]), number % 3


class Endless:
    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y, strict=True)


class Broken(Indexed):
    def __getitem__(self, number: int) -> Any:
        raise OSError("the disk is gone")


REFUSED: list[tuple[str, Any, str]] = [
    (
        "random",
        Indexed(change=Flip()),
        "item 0 is another one when it is taken twice: a transform draws random numbers",
    ),
    ("rarely random", Rare(), "is another one when it is taken twice"),
    ("normalised", Indexed(change=lambda x: x / 127.5 - 1), "leave out the step that normalises"),
    ("not divided", Indexed(change=lambda x: x.astype(np.float32)), "divide by 255"),
    ("one-hot", Indexed(labels=np.eye(3)[Y]), "one-hot labels: take y.argmax(axis=1)"),
    ("text", Indexed(labels=np.array(["cat", "dog", "élan"])[Y]), "number them"),
    ("no labels", Indexed(labels=[None] * 12), "expected an integer for each label, got NoneType"),
    ("from 1", Indexed(labels=Y + 1), "labels that count from 1: subtract 1"),
    ("a missing class", Indexed(labels=2 * (Y % 2)), "got none of class 1"),
    ("empty", Indexed(X[:0], Y[:0]), "expected at least one example, got none"),
    ("bool", Indexed(change=lambda x: x > 9), "multiply by 255"),
    ("16 bits", Indexed(change=lambda x: x.astype(np.uint16)), "divide by 65535"),
    ("int64", Indexed(change=lambda x: x.astype(np.int64)), "x.astype('uint8')"),
    ("iterable", Endless(), "A is a list of example numbers: read it into a list"),
    ("broken", Broken(), "train: item 0 cannot be read (OSError: the disk is gone)"),
    ("three values", [(x, y, 0) for x, y in zip(X, Y, strict=True)], "expected (image, label), got 3 values"),
    (
        "other keys",
        [{"img": x, "label": y} for x, y in zip(X, Y, strict=True)],
        "expected a key 'image', got img, label\nname it: image=KEY",
    ),
    ("images alone", X, "expected examples that are had by their number, got numpy.ndarray\ngive (images, labels)"),
    ("a number", 3, "an object with __len__ and __getitem__"),
    ("channels first", (X.transpose(0, 3, 1, 2).repeat(2, 2), Y), "transpose(0, 2, 3, 1)"),
]


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused_says_what_to_do(data: Any, expected: str) -> None:
    assert expected in message(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Indexed(), "got test_own_data.Indexed\nAutoAttack picks"),
        ((PAIR,), "got tuple"),
        ({"train": PAIR}, "test: expected examples to report accuracy on, got none"),
        ({"train": PAIR, "test": TEST, "extra": TEST}, "expected the parts train, test and"),
        ({"train": PAIR, "val": TEST, "valid": TEST}, "got train, val, valid"),
        ({"x_train": X, "x_valid": X}, "unknown array 'x_valid'"),
    ],
)
def test_parts_that_are_missing_or_unknown(data: Any, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        as_data_set(data)
    assert expected in str(caught.value)


def test_a_test_part_without_labels_is_refused() -> None:
    with pytest.raises(DataError, match=r"got -1\.\.-1\n-1 marks images without a label: .* take another part"):
        sat.make_dataset(PAIR, (X, np.full(12, -1)))


def test_memory_mapped_arrays_stay_on_the_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    made = as_data_set(((mapped, Y), TEST))
    assert np.shares_memory(made.train.images, mapped)
    same(made)
