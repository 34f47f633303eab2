"""Data that are read from beginning to end, as `tf.data.Dataset`: its interface, without the library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sat_core import iterated_data, make_dataset
from sat_core.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (12, 6, 7, 3), dtype=np.uint8)
Y = np.arange(12) % 3
TEST = (X[:3], Y[:3])


class Elements:
    """Elements in an order that `make` gives; how many there are is not known (-2), as after a filter."""

    element_spec = None

    def __init__(self, make: Callable[[], Iterator[Any]], cardinality: int = -2) -> None:
        self.make, self.count = make, cardinality

    def cardinality(self) -> int:
        return self.count

    def as_numpy_iterator(self) -> Iterator[Any]:
        return self.make()


def batches(x: np.ndarray = X, y: Any = Y, size: int = 5) -> Elements:
    return Elements(lambda: ((x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)))


@pytest.mark.parametrize(
    "data",
    [
        Elements(lambda: zip(X, Y, strict=True), 12),
        batches(),
        batches(X.astype(np.float32) / np.float32(255)),
        Elements(lambda: ({"image": x, "label": y} for x, y in zip(X, Y, strict=True))),
        Elements(lambda: iter([{"image": X, "label": Y}])),
    ],
    ids=["examples", "batches", "floats", "keys", "one batch with keys"],
)
def test_examples_are_taken_out_of_their_batches(data: Elements) -> None:
    made = make_dataset(data, TEST)
    np.testing.assert_array_equal(made.train.images, X)
    assert made.train.labels.tolist() == Y.tolist()


def test_grey_batches_and_images_that_are_scaled() -> None:
    grey = make_dataset(batches(X[..., 0]), (X[:3, ..., 0], Y[:3]))
    np.testing.assert_array_equal(grey.train.images[..., 0], X[..., 0])
    flat = np.full((12, 20, 30, 3), 7, np.uint8) * np.arange(1, 13, dtype=np.uint8)[:, None, None, None]
    scaled = make_dataset(batches(flat), batches(flat), size=8)
    assert scaled.image_shape == (8, 8, 3)
    assert scaled.train.images[:, 3, 3, 0].tolist() == [7 * n for n in range(1, 13)]


def shuffled() -> Elements:
    orders = iter([np.arange(12), np.roll(np.arange(12), 1), np.roll(np.arange(12), 2)])

    def make() -> Iterator[Any]:
        order = next(orders)
        return zip(X[order], Y[order], strict=True)

    return Elements(make)


def broken() -> Iterator[Any]:
    yield X[0], 0
    raise OSError("the disk is gone")


def growing() -> Elements:
    lengths = iter([3, 4, 5])
    return Elements(lambda: zip(X[: next(lengths)], Y, strict=False))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Elements(lambda: zip(X, Y, strict=True), -1), "repeats for ever\nleave out repeat()"),
        (shuffled(), "got others when it was read twice\nA is a list of example numbers: leave out shuffle()"),
        (growing(), "got others when it was read twice"),
        (batches(y=np.eye(3)[Y]), "got float64 of shape (3,)\none-hot labels"),
        (Elements(lambda: zip(X, np.eye(3)[Y], strict=True)), "got float64 of shape (3,)\none-hot labels"),
        (Elements(lambda: iter(())), "expected at least one example, got none"),
        (Elements(broken), "train: cannot be read (OSError: the disk is gone)"),
        (Elements(lambda: iter([(X, Y[:5])])), "expected a label for each image of a batch"),
        (Elements(lambda: iter(X)), "train: expected (image, label), got numpy.ndarray"),
        (batches(X / 127.5 - 1), "leave out the step that normalises"),
    ],
    ids=[
        "endless",
        "shuffled",
        "growing",
        "one-hot batches",
        "one-hot",
        "empty",
        "broken",
        "labels",
        "no labels",
        "norm",
    ],
)
def test_what_is_refused_says_what_to_do(data: Elements, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        make_dataset(data, TEST)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_what_never_ends_is_refused_before_the_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[Any]:
        while True:
            yield X, Y

    monkeypatch.setattr(iterated_data, "LARGE", 400 * X[0].size)
    with pytest.raises(DataError, match="GiB of images to read at once, got more, or no end"):
        make_dataset(Elements(endless), TEST)
    with pytest.raises(DataError, match=r"cannot be streamed; leave out streamed=True"):
        make_dataset(batches(), TEST, streamed=True)
