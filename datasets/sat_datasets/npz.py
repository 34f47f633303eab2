"""A data set in one .npz file: images and labels for training, testing and validation, and optional facts."""

from __future__ import annotations

from pathlib import Path

from sat_core.array_data import OPTIONAL, REQUIRED, data_set_from_arrays
from sat_core.data import DataSet
from sat_core.errors import DataError
from sat_core.files import read_npz


def load(argument: str) -> DataSet:
    """Load the data set in the file `argument`.

    Args:
        argument: Path of an .npz file with the arrays of `sat_core.array_data.data_set_from_arrays` and no others.

    Raises:
        DataError: There is no such file, or its arrays make no data set.
    """
    if not argument:
        raise DataError("data set 'npz': expected npz:PATH, got no path")
    path = Path(argument).expanduser()
    arrays = read_npz(path, *REQUIRED, optional=OPTIONAL)
    return data_set_from_arrays(arrays, name=f"npz:{argument}", prefix=f"{path}: ")
