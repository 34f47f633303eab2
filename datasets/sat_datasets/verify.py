"""Check that the files of a data set are whole."""

from __future__ import annotations

from collections.abc import Callable

from sat_core.data import DataSet, check_files
from sat_core.datasets import get_dataset, split_name
from sat_core.errors import DataError
from sat_datasets.catalogue import CATALOGUE


def verify(name: str, progress: Callable[[int, int], None] = lambda *_: None) -> DataSet:
    """Load a data set and decode every image of it.

    Loading compares MD5 sums where the release has them, classes, and numbers of images.

    Args:
        name: The full name, such as "flowers102?size=64" or "folder:PATH".
        progress: Called with the number of images decoded so far and the number of all.

    Returns:
        The data set.

    Raises:
        DataError: Files are missing, broken or not the published ones; the message names them.
    """
    data = get_dataset(name)
    head = split_name(name)[0]
    expected = CATALOGUE[head].fingerprint if head in CATALOGUE else ""
    if expected and data.name == head and data.fingerprint() != expected:  # with options it is another data set
        raise DataError(f"data set {name!r}: expected the fingerprint {expected}, got {data.fingerprint()}")
    check_files(*data.parts, progress=progress, whole=True)
    return data
