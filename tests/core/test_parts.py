"""Calls on many images go on with parts of half the size where memory runs out."""

from __future__ import annotations

import weakref
from itertools import chain
from typing import Any

import numpy as np
import pytest

from sat_core.chunks import in_parts
from sat_core.errors import EvaluationError
from sat_core.reference import NumpyBackend
from sat_core.testing import samples


class Full(Exception):
    """What a framework raises."""


class Device:
    """Takes parts of at most `room` items, and keeps the sizes that it was asked for."""

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []

    def __call__(self, part: np.ndarray) -> list[int]:
        self.asked.append(len(part))
        if len(part) > self.room:
            raise Full("out of memory\nmore about it")
        return part.tolist()


@pytest.mark.parametrize(
    ("total", "size", "room", "asked", "halved"),
    [
        (7, 4, 9, [4, 3], []),
        (7, 4, 3, [4, 2, 2, 2, 1], [2]),
        (9, 8, 2, [8, 4, 2, 2, 2, 2, 1], [4, 2]),
        (7, 4, 1, [4, 2, 1, 1, 1, 1, 1, 1, 1], [2, 1]),
        (5, 100, 2, [5, 3, 2, 2, 1], [3, 2]),
        (0, 4, 1, [], []),
    ],
)
def test_parts_are_halved_until_they_fit(total: int, size: int, room: int, asked: list[int], halved: list[int]) -> None:
    device, lowered = Device(room), list[int]()
    parts = in_parts(np.arange(total), size, device, (Full,), lowered.append)
    assert [*chain.from_iterable(parts)] == [*range(total)]
    assert device.asked == asked
    assert lowered == halved


def test_one_item_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(EvaluationError, match=r"^memory: expected room for one image, .*\(out of memory\)\nend what"):
        [*in_parts(np.arange(4), 4, Device(0), (Full,))]
    with pytest.raises(Full):
        [*in_parts(np.arange(4), 4, Device(0))]
    with pytest.raises(ZeroDivisionError):
        [*in_parts(np.arange(4), 4, lambda part: 1 // 0, (Full,))]


def test_what_was_too_large_is_freed_before_the_next_part() -> None:
    tensors: list[Any] = []

    def call(part: np.ndarray) -> bool:
        freed = [tensor() is None for tensor in tensors]
        tensor = np.zeros(len(part))
        tensors.append(weakref.ref(tensor))
        if len(part) > 1:
            raise Full
        return all(freed)

    assert [*in_parts(np.arange(4), 4, call, (Full,))] == [True] * 4


def test_calls_of_a_classifier_give_the_same_and_remember_the_size() -> None:
    data, attack = samples.examples(7), samples.attack(random_start=True)
    free, tight = (samples.build(NumpyBackend(), "linear") for _ in range(2))
    tight.out_of_memory = (Full,)
    sizes: list[int] = []

    def limited(call: Any) -> Any:
        def within(images: np.ndarray, *rest: Any) -> Any:
            sizes.append(len(images))
            if len(images) > 3:
                raise Full
            return call(images, *rest)

        return within

    for name in ("_logits", "_features", "_perturb", "_loss_gradient"):
        setattr(tight, name, limited(getattr(tight, name)))

    def values(classifier: Any) -> list[np.ndarray]:
        return [
            classifier.logits(data.images),
            classifier.features(data.images),
            classifier.perturb(data.images, data.labels, attack, np.random.default_rng(0)),
            *classifier.loss_gradient(data.images, data.labels, "ce"),
            *classifier.loss_gradient(data.images, data.labels, "targeted-dlr", (data.labels + 1) % samples.CLASSES),
        ]

    for one, other in zip(values(free), values(tight), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert sizes[:3] == [7, 4, 2]
    assert max(sizes[3:]) == 2
