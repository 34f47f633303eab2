"""Whether the files of a data set are whole."""

from __future__ import annotations

from collections.abc import Callable

from sat_core.data import DataSet, check_files
from sat_core.datasets import get_dataset, split_name
from sat_core.errors import DataError
from sat_datasets.catalogue import CATALOGUE


def verify(name: str, progress: Callable[[int, int], None] = lambda *_: None) -> DataSet:
    """Load the data set of that full name and look at each of its images; the data set, if all is well.

    Loading checks MD5 sums where the release has them, classes and counts; then every photograph is decoded.
    progress: called with the images decoded so far and their number. Raises DataError naming the broken files.
    """
    data = get_dataset(name)
    head = split_name(name)[0]
    known = CATALOGUE[head].fingerprint if head in CATALOGUE else ""
    if known and data.name == head and data.fingerprint() != known:
        raise DataError(f"data set {name!r}: expected the fingerprint {known}, got {data.fingerprint()}")
    check_files(*data.parts, progress=progress, whole=True)
    return data
