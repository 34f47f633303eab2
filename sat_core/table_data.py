"""Data sets with typed columns, as `datasets.Dataset` of Hugging Face: which has the images, and which the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import attrs
import numpy as np

from sat_core.errors import DataError, quoted
from sat_core.registry import nearest

_IMAGES = (("Image",), ("Array3D", "Array2D"))
"""Types of columns with images; those before are taken first."""


@final
@attrs.frozen
class Columns:
    """Takes image and label from a row.

    Attributes:
        image: Column of the images.
        label: Column of the labels.
        dtype: Of pixels, which come as nested lists of integers of any size; empty for images of other types.
    """

    image: str
    label: str
    dtype: str = ""

    def __call__(self, row: Any) -> tuple[Any, Any]:
        """Return image and label of `row`."""
        missing = [column for column in (self.image, self.label) if column not in row]
        if missing:
            raise DataError(f"expected a column {missing[0]!r}, got {', '.join(map(str, row))}; set_format hides it")
        return np.asarray(row[self.image], self.dtype) if self.dtype else row[self.image], row[self.label]

    def class_names(self, data: Any) -> tuple[str, ...]:
        """Return the names of the classes, if the column of labels has them."""
        return tuple(getattr(data.features[self.label], "names", None) or ())


def table_columns(data: Any, name: str, image: str | None = None, label: str | None = None) -> Columns:
    """Find the columns of images and labels, by their types where they are not named.

    Args:
        data: Has `features`, a mapping from columns to types.
        name: What messages call it.
        image: Name of the column with images, or None.
        label: Name of the column with labels, or None.

    Raises:
        DataError: There is no such column, or more than one.
    """
    types = {column: _type(feature) for column, feature in data.features.items()}
    image = _column(types, name, "image", image, _IMAGES, "Image, Array3D or Array2D")
    label = _column(types, name, "label", label, (("ClassLabel",), _integers(types)), "ClassLabel or an integer")
    return Columns(image, label, str(data.features[image].dtype) if types[image].startswith("Array") else "")


def _type(feature: Any) -> str:
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind


def _integers(types: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(kind for kind in types.values() if kind.startswith(("int", "uint")))


def _column(
    types: Mapping[str, str],
    name: str,
    role: str,
    given: str | None,
    kinds: tuple[tuple[str, ...], ...],
    expected: str,
) -> str:
    listed = ", ".join(f"{column} ({kind})" for column, kind in types.items())
    if given is not None:
        if given not in types:
            raise DataError(f"{name}: no column {quoted(given)}{nearest(given, list(types))}\nexpected one of {listed}")
        return given
    for group in kinds:
        found = [column for column, kind in types.items() if kind in group]
        if len(found) > 1:
            raise DataError(
                f"{name}: expected one column of type {expected}, got {', '.join(found)}\nname it with {role}=COLUMN"
            )
        if found:
            return found[0]
    texts = [column for column, kind in types.items() if kind in ("string", "large_string")]
    remedy = f"\ntext becomes a ClassLabel with class_encode_column({texts[0]!r})" if role == "label" and texts else ""
    raise DataError(f"{name}: expected a column of type {expected}, got {listed or 'none'}{remedy}")
