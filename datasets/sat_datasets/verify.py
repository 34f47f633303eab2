"""Whether the files of a data set are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sat_core.data import DataSet, get_dataset, split_name
from sat_core.errors import DataError
from sat_core.images import ImageSource, Request
from sat_datasets.catalogue import CATALOGUE

BLOCK = 64
"""Images that a worker process decodes at a time."""


def verify(name: str, progress: Callable[[int, int], None] | None = None) -> DataSet:
    """Load the data set of that full name and look at each of its images; the data set, if all is well.

    Loading checks MD5 sums where the release has them, classes and counts; then every photograph is decoded.
    progress: called with the images decoded so far and their number. Raises DataError naming the first bad file.
    """
    data = get_dataset(name)
    head = split_name(name)[0]
    known = CATALOGUE[head].fingerprint if head in CATALOGUE else ""
    if known and data.name == head and data.fingerprint() != known:
        raise DataError(f"data set {name!r}: expected the fingerprint {known}, got {data.fingerprint()}")
    total = sum(len(part) for part in data.parts)
    done = 0
    for part in data.parts:
        if isinstance(part.images, ImageSource):
            for images in part.images.stream(_blocks(len(part))):
                done += len(images)
                if progress is not None:
                    progress(done, total)
    return data


def _blocks(n: int) -> Iterator[Request]:
    for start in range(0, n, BLOCK):
        yield np.arange(start, min(start + BLOCK, n)), None
