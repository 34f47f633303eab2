"""Odd data sources, and the table of docs/data.md that says what becomes of each.

``python tests/interop/data_sources.py`` writes it anew.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import datasets
from sat_core import DataSet, make_dataset
from sat_core.errors import DataError
from sat_core.images import ImageSource

PAGE = Path(__file__).parents[2] / "docs/data.md"
HEAD = "| source | training data | what becomes of them |\n|---|---|---|\n"
x = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
y = np.arange(12) % 3
photos = [Image.fromarray(image) for image in x]
tensors = torch.from_numpy(x).permute(0, 3, 1, 2)
labels = torch.from_numpy(y)
to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
flip = v2.Compose([v2.RandomHorizontalFlip(), to_tensor])
normalise = v2.Compose([to_tensor, v2.Normalize([0.5] * 3, [0.25] * 3)])
names = datasets.ClassLabel(names=["cat", "dog", "owl"])
array = datasets.Array3D((16, 16, 3), "uint8")


class Pairs(Dataset):
    """A data set of PyTorch: images, labels and a transform."""

    def __init__(self, images: Any, labels: Any = y, transform: Any = None) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Any:
        image = self.images[number]
        return self.transform(image) if self.transform else image, self.labels[number]


class Stream(IterableDataset):
    """A data set of PyTorch without numbers, as WebDataset makes them."""

    def __iter__(self) -> Any:
        return iter(zip(photos, y, strict=True))


@cache
def tensorflow() -> Any:
    """TensorFlow's data sets; imported after PyTorch, and only where one is made."""
    import tensorflow as tf

    return tf.data.Dataset


def hf_table(images: Any = photos, image: Any = None, label: Any = None) -> Any:
    """A `datasets.Dataset` with columns of these types."""
    features = datasets.Features({"image": image or datasets.Image(), "label": label or names})
    return datasets.Dataset.from_dict({"image": images, "label": y.tolist()}, features=features)


def mapped() -> Any:
    """Images in a file that is mapped into memory."""
    path = Path(tempfile.mkdtemp()) / "x.npy"
    np.save(path, x)
    return np.load(path, mmap_mode="r")


def sizes() -> list[Any]:
    """Photographs of several sizes."""
    return [photo.resize((16 + 2 * place, 16)) for place, photo in enumerate(photos)]


def modes(mode: str) -> list[Any]:
    """The same photographs in another mode of Pillow."""
    return [photo.convert("L").convert(mode) if mode in ("I;16", "F") else photo.convert(mode) for photo in photos]


def folders() -> Path:
    """Folders of classes with image files."""
    root = Path(tempfile.mkdtemp())
    for place, photo in enumerate(photos):
        (root / names.names[y[place]]).mkdir(exist_ok=True)
        photo.save(root / names.names[y[place]] / f"{place}.png")
    return root


def frame() -> Any:
    """Pixels and labels in one table."""
    return pandas.DataFrame(x.reshape(12, -1)).assign(label=y)


# fmt: off
SOURCES: tuple[tuple[str, Callable[[], Any], dict[str, Any]], ...] = (
    ("PyTorch: Pillow images", lambda: Pairs(photos), {}),
    ("PyTorch: tensors, channels first, in [0, 1]", lambda: Pairs(photos, transform=to_tensor), {}),
    ("PyTorch: `TensorDataset`", lambda: TensorDataset(tensors, labels), {}),
    ("PyTorch: numpy's integers as labels", lambda: Pairs(x, y.astype(np.int8)), {}),
    ("PyTorch: a `Subset` of a `Subset`", lambda: Subset(Subset(Pairs(photos), range(11, 2, -1)), range(6)), {}),
    ("PyTorch: `ConcatDataset`", lambda: ConcatDataset([Pairs(photos), Pairs(photos[:3])]), {}),
    ("torchvision: `ImageFolder`", lambda: ImageFolder(str(folders())), {}),
    ("PyTorch: decoded when needed", lambda: Pairs(photos), {"streamed": True}),
    ("PyTorch: a random transform", lambda: Pairs(photos, transform=flip), {}),
    ("PyTorch: normalised", lambda: Pairs(photos, transform=normalise), {}),
    ("PyTorch: one-hot labels", lambda: Pairs(photos, torch.eye(3)[labels]), {}),
    ("PyTorch: `DataLoader`", lambda: DataLoader(Pairs(photos)), {}),
    ("PyTorch: `IterableDataset`, WebDataset", lambda: Stream(), {}),
    ("Pillow: grey", lambda: Pairs(modes("L")), {}),
    ("Pillow: RGBA", lambda: Pairs(modes("RGBA")), {}),
    ("Pillow: a palette", lambda: Pairs(modes("P")), {}),
    ("Pillow: 16-bit grey", lambda: Pairs(modes("I;16")), {}),
    ("Pillow: floating point", lambda: Pairs(modes("F")), {}),
    ("images of different sizes", lambda: Pairs(sizes()), {}),
    ("the same, scaled", lambda: Pairs(sizes()), {"size": 8}),
    ("arrays", lambda: (x, y), {}),
    ("arrays in a file, mapped into memory", lambda: (mapped(), y), {}),
    ("arrays, channels first", lambda: (x.transpose(0, 3, 1, 2), y), {}),
    ("arrays of bool", lambda: (x > 127, y), {}),
    ("arrays of 16 bits", lambda: (x.astype("uint16") * 257, y), {}),
    ("labels from 1", lambda: (x, y + 1), {}),
    ("a class without an example", lambda: (x, 2 * (y % 2)), {}),
    ("no examples", lambda: Pairs([]), {}),
    ("a pandas frame", lambda: frame(), {}),
    ("tf.data: single examples", lambda: tensorflow().from_tensor_slices((x, y)), {}),
    ("tf.data: batches", lambda: tensorflow().from_tensor_slices((x, y)).batch(5), {}),
    ("tf.data: repeated for ever", lambda: tensorflow().from_tensor_slices((x, y)).repeat(), {}),
    ("tf.data: shuffled each time", lambda: tensorflow().from_tensor_slices((x, y)).shuffle(12), {}),
    ("Hugging Face: Image and ClassLabel", lambda: hf_table(), {}),
    ("Hugging Face: Array3D", lambda: hf_table(x.tolist(), image=array), {}),
    ("Hugging Face: no labels", lambda: hf_table().remove_columns("label"), {}),
    ("Hugging Face: labels as text", lambda: hf_table(label=datasets.Value("string")), {}),
    ("Hugging Face: streaming", lambda: hf_table().to_iterable_dataset(), {}),
)
# fmt: on
TEST = SimpleNamespace(grey=(x[:3, ..., :1], y[:3]), colour=(x[:3], y[:3]), small=(x[:3, :8, :8], y[:3]))


def table() -> str:
    """Return the table of the page."""
    rows = [f"| {name} | `{code(give, options)}` | {outcome(give, options)} |\n" for name, give, options in SOURCES]
    return HEAD + "".join(rows)


def code(give: Callable[[], Any], options: dict[str, Any]) -> str:
    """Return the expression that makes the training data, with the options of `make_dataset`."""
    text = next(line for line in inspect.getsource(give).splitlines() if "lambda: " in line)
    text = text.partition("lambda: ")[2].rpartition(", {")[0]
    return ", ".join([text, *(f"{key}={value}" for key, value in options.items())])


def outcome(give: Callable[[], Any], options: dict[str, Any]) -> str:
    """Return what becomes of a source: what the data set has, or the message."""
    try:
        made = made_of(give, options)
    except DataError as error:
        return f"refused: {'; '.join(str(error).splitlines()).replace('|', '/')}"
    h, w, c = made.image_shape
    kind = "decoded when needed" if isinstance(made.train.images, ImageSource) else made.train.images.dtype
    classes = "" if made.class_names[0].isdecimal() else f"; classes {', '.join(made.class_names)}"
    return f"{len(made.train)} images {h} x {w} x {c}, {kind}{classes}"


def made_of(give: Callable[[], Any], options: dict[str, Any]) -> DataSet:
    """Return the data set with the source's training data, and test images of the same shape."""
    torch.manual_seed(0)  # of the random transform
    data, refusal = give(), None
    for test in (TEST.colour, TEST.grey, TEST.small):
        try:
            return make_dataset(data, test, **options)
        except DataError as error:
            if "of one shape" not in str(error):
                raise
            refusal = error
    raise refusal or AssertionError


if __name__ == "__main__":
    import data_sources  # by this name, which messages have

    PAGE.write_text(PAGE.read_text(encoding="utf-8").partition(HEAD)[0] + data_sources.table(), encoding="utf-8")
