"""Image files, data sets of one file, and the refusal of a bad one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sat_core.augmentation import AUGMENTATIONS
from sat_core.data import DataSet
from sat_core.errors import DataError


def refusal(load: Callable[[str], DataSet], argument: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load(str(argument))
    message = str(caught.value)
    assert "expected" in message
    assert "got" in message
    assert len(message.splitlines()) <= 3
    return message


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


def paint(path: Path, value: Any = 0, mode: str = "RGB", size: tuple[int, int] = (6, 4), **options: Any) -> Path:
    """A file with one colour, or with the array `value`, in the format that its name says."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(value) if isinstance(value, np.ndarray) else Image.new(mode, size, value)
    image.save(path, **options)
    return path


SIZE = 16
CROP = AUGMENTATIONS.get("imagenet")


def draws(n: int, seed: int = 0) -> np.ndarray:
    made = CROP.draw(np.random.default_rng(seed), n)
    assert made is not None
    return made


def broken_tree(photographs: Path, folder: Path, count: int) -> list[Path]:
    """A copy of `photographs` in `folder`, some of whose test images are web pages or cut off."""
    shutil.copytree(photographs, folder / "tree")
    victims = sorted((folder / "tree" / "test").rglob("*.jpg"))[:count]
    for place, victim in enumerate(victims):
        victim.write_bytes(b"<!doctype html>" if place % 2 else victim.read_bytes()[:-200])
    return victims
