"""Data of users, in any form that people have them in, as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import attrs
import numpy as np

from sat_core.array_data import OPTIONAL, REQUIRED, data_set_from_arrays
from sat_core.arrays import as_array, check_images
from sat_core.data import DataSet, Examples
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, quoted, type_name
from sat_core.images import ImageSource
from sat_core.indexed_data import Part, Pick, read_indexed
from sat_core.iterated_data import read_iterated
from sat_core.pixels import check_sides, squares
from sat_core.registry import nearest
from sat_core.table_data import table_columns

Data = DataSet | str | Mapping[str, Any] | Sequence[Any]
"""A data set; the name of one; a mapping with `x_train`, `y_train`, `x_test` and `y_test`, or with `train` and `test`;
or ``(train, test)`` or ``(train, test, validation)``, each as `make_dataset` takes it."""
VALIDATION = ("validation", "val", "valid")
"""Names that a part with validation images may have."""


def as_data_set(data: Data) -> DataSet:
    """Give what users call data as a data set; see `Data`.

    Raises:
        DataError: It is none, or its parts do not fit together.
    """
    if isinstance(data, DataSet):
        return data
    if isinstance(data, str):
        return get_dataset(data)
    if isinstance(data, Mapping):
        return _from_arrays(data) if any(str(key).startswith(("x_", "y_")) for key in data) else _from_parts(data)
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        if all(_is_pair(part) for part in data):
            keys = [f"{axis}_{part}" for part in ("train", "test", "val")[: len(data)] for axis in "xy"]
            return _from_arrays(dict(zip(keys, [array for part in data for array in part], strict=True)))
        if not any(hasattr(part, "__array__") for part in data):
            return make_dataset(*data)
    raise DataError(
        f"data: expected a data set, the name of one, or (x_train, y_train), (x_test, y_test), got {type_name(data)}\n"
        "AutoAttack picks the epoch and reports on test images: give (train, test)"
    )


def make_dataset(
    train: Any,
    test: Any = None,
    validation: Any = None,
    *,
    name: str = "own",
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] | np.ndarray | None = None,
    std: Sequence[float] | np.ndarray | None = None,
    image: str | None = None,
    label: str | None = None,
    size: int | None = None,
    streamed: bool | None = None,
) -> DataSet:
    """Make a data set of your own data.

    Each part is ``(images, labels)``, two arrays; a map-style data set, as `torch.utils.data.Dataset`, whose items are
    ``(image, label)`` or have these keys, with Pillow images, arrays or tensors, channels first or last; a finite
    `tf.data.Dataset`, batched or not; or a `datasets.Dataset` of Hugging Face. Pixels are uint8 or in [0, 1], without
    random transforms and not normalised: augmentation is a setting, and networks normalise inside.

    Args:
        train: Examples to train on, in the order that rankings and splits count them.
        test: Examples to report accuracy on. Without it, these are the validation examples.
        validation: Examples that pick the epoch; by default a part of the test examples does.
        name: As results show it.
        class_names: One per class. By default those that the data have, or numbers.
        mean: Per channel, in units of [0, 1] pixels, of the network's normalisation; by default that of `train`.
        std: Likewise.
        image: Column or key of the images, by default found by its type.
        label: Column or key of the labels, by default found by its type.
        size: Pixels of a side that images are scaled to, as in ``folder:PATH?size=N``; by default all have one size.
        streamed: Whether images are decoded each time that they are needed, instead of once. Default: only where all
            together exceed 4 GiB.

    Raises:
        DataError: Something cannot be used; the message starts with its part.

    Example:
        >>> import numpy as np
        >>> pairs = [(np.full((8, 8), 20 * i, np.uint8), i % 2) for i in range(10)]
        >>> data = make_dataset(pairs[:6], pairs[6:], class_names=["even", "odd"])
        >>> data.image_shape, data.train.labels.tolist()
        ((8, 8, 1), [0, 1, 0, 1, 0, 1])
    """
    if size is not None and not (isinstance(size, int | np.integer) and 8 <= size <= 1024):
        raise DataError(f"size: expected a whole number of 8 to 1024 pixels, got {quoted(size)}")
    notes: tuple[str, ...] = ()
    if test is None:
        if validation is None:
            raise DataError(
                "test: expected examples to report accuracy on, got none\n"
                "give test=..., or cut some off, as by torch.utils.data.random_split or train_test_split"
            )
        test, validation = validation, None
        notes = (f"{name} has no test examples: those for validation are the test examples",)
    options: dict[str, Any] = {"image": image, "label": label, "size": size, "streamed": streamed}
    parts = {"train": read_part(train, "train", **options), "test": read_part(test, "test", **options)}
    if validation is not None:
        parts["val"] = read_part(validation, "validation", **options)
    arrays: dict[str, Any] = {f"x_{key}": part.images for key, part in parts.items()}
    arrays |= {f"y_{key}": part.labels for key, part in parts.items()}
    if names := _class_names(parts, class_names):
        arrays["class_names"] = np.array(names)
    for key, given in (("mean", mean), ("std", std)):
        values = getattr(parts["train"], key) if given is None else given
        if given is not None or len(values):
            arrays[key] = _numbers(values, key)
    return data_set_from_arrays(arrays, name=name, notes=notes)


def read_part(
    data: Any,
    name: str,
    *,
    image: str | None = None,
    label: str | None = None,
    size: int | None = None,
    streamed: bool | None = None,
) -> Part:
    """Read one part of a data set; the arguments are those of `make_dataset`, and `name` is what messages call it."""
    if isinstance(data, Examples):
        return Part(_scaled(data.images, size, name), data.labels)
    if _is_pair(data):
        x, y = data
        images = x if isinstance(x, ImageSource) else as_array(x, f"x_{name}", "images")
        return Part(_scaled(images, size, f"x_{name}"), as_array(y, f"y_{name}", "labels"))
    if hasattr(data, "element_spec") and hasattr(data, "as_numpy_iterator"):
        if streamed:
            raise DataError(f"{name}: a data set that is read in order cannot be streamed; leave out streamed=True")
        return read_iterated(data, name, ItemPick(image or "image", label or "label"), size=size)
    _refuse(data, name)
    if isinstance(getattr(data, "features", None), Mapping):
        columns = table_columns(data, name, image, label)
        pick: Pick = columns
        class_names = columns.class_names(data)
    else:
        pick, class_names = ItemPick(image or "image", label or "label"), _texts(getattr(data, "classes", ()))
    part = read_indexed(data, name, pick, size=size, streamed=streamed)
    return Part(part.images, part.labels, class_names, part.mean, part.std)


def _scaled(images: Any, size: int | None, name: str) -> Any:
    """Return images of one size as squares, as images one by one become them."""
    if size is None:
        return images
    if isinstance(images, ImageSource):
        return images.resized((size, size, images.shape[3]))
    array = check_images(images, name)
    if array.size and (fault := check_sides(*array.shape[1:3])):
        raise DataError(f"{name}: {fault}")
    return squares(array, size, array.shape[3]) if array.size else array


def _refuse(data: Any, name: str) -> None:
    """Raise DataError for what is no map-style data set, with what to give instead."""
    if hasattr(data, "iloc"):
        remedy = "give two arrays: (frame[pixels].to_numpy('uint8').reshape(-1, h, w, c), frame['label'].to_numpy())"
    elif hasattr(data, "batch_sampler") and hasattr(data, "dataset"):
        remedy = "give the data set that it loads: loader.dataset"
    elif isinstance(data, Mapping | str) or hasattr(data, "__array__"):
        remedy = "give (images, labels), or a data set of such pairs"
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return
    elif hasattr(data, "__iter__"):
        remedy = "A is a list of example numbers: read it into a list, or give a data set with __len__ and __getitem__"
    else:
        remedy = "give (images, labels), or an object with __len__ and __getitem__"
    raise DataError(f"{name}: expected examples that are had by their number, got {type_name(data)}\n{remedy}")


@final
@attrs.frozen
class ItemPick:
    """Takes image and label from an item: a pair, or a mapping with these keys."""

    image: str
    label: str

    def __call__(self, item: Any) -> tuple[Any, Any]:
        """Return image and label of `item`."""
        if isinstance(item, Mapping):
            for what, key in (("image", self.image), ("label", self.label)):
                if key not in item:
                    raise DataError(f"expected a key {key!r}, got {', '.join(map(str, item))}\nname it: {what}=KEY")
            return item[self.image], item[self.label]
        if isinstance(item, tuple | list) and len(item) == 2:
            return item[0], item[1]
        got = f"{len(item)} values" if isinstance(item, tuple | list) else type_name(item)
        raise DataError(f"expected (image, label), got {got}")


def _is_pair(part: Any) -> bool:
    """Return whether `part` is images and labels in two arrays, and not a list of two examples."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        return False
    arrays = all(hasattr(each, "__array__") or isinstance(each, list | ImageSource) for each in part)
    return arrays and not all(isinstance(each, tuple) for each in part)


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # lists of several lengths, a tensor on a GPU
        raise DataError(f"{name}: expected a number for each channel, got {type_name(values)}") from error


def _texts(names: Any) -> tuple[str, ...]:
    good = isinstance(names, tuple | list) and all(isinstance(each, str) for each in names)
    return tuple(names) if good else ()


def _class_names(parts: Mapping[str, Part], given: Sequence[str] | None) -> Sequence[str]:
    """Return the names that are given, or those that the data have if there are as many as classes in training."""
    if given is not None:
        return list(given)
    names = parts["train"].class_names
    for key, part in parts.items():
        if names and part.class_names and part.class_names != names:
            differing = [pair for pair in zip(names, part.class_names, strict=False) if pair[0] != pair[1]]
            raise DataError(
                f"{key}: expected the {len(names)} classes of train in the same order, got {len(part.class_names)}"
                + (f", {differing[0][1]!r} in place of {differing[0][0]!r}" if differing else "")
            )
    # A subset, or labels that a transform numbers anew, may have other classes than the data below them.
    return names if len(names) == len(np.unique(parts["train"].labels)) else ()


def _from_arrays(data: Mapping[str, Any]) -> DataSet:
    known = (*REQUIRED, *OPTIONAL)
    for key in data:
        if key not in known:
            raise DataError(f"data: unknown array {quoted(key)}{nearest(str(key), known)}; expected {', '.join(known)}")
    arrays: dict[str, Any] = {
        key: value if isinstance(value, ImageSource) else as_array(value, key, "labels" if key[0] == "y" else "images")
        for key, value in data.items()
    }
    return data_set_from_arrays(arrays, name="arrays")


def _from_parts(data: Mapping[str, Any]) -> DataSet:
    held = [key for key in VALIDATION if key in data]
    unknown = [key for key in data if key not in ("train", "test", *held)]
    if unknown or len(held) > 1 or "train" not in data:
        raise DataError(
            f"data: expected the parts train, test and, optional, validation, got {', '.join(map(str, data))}\n"
            "name them: sat.make_dataset(train=..., test=..., validation=...)"
        )
    return make_dataset(data["train"], data.get("test"), data[held[0]] if held else None)
