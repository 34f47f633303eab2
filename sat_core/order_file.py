"""Reads published rankings, orders of the indices of a data set, from the kinds of files that people publish."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np

from sat_core.errors import DataError
from sat_core.files import check_regular
from sat_core.unpickle import integers, integers_from_bytes, read_pickle

LEGACY = 0x1950A86A20F9469CFC6C
"""The number in the first pickle of a file of `torch.save` before torch 1.6, which identifies the format."""


def read_order(path: str | Path, examples: int) -> np.ndarray:
    """Return the order of difficulty in a file.

    Args:
        path: An .npy, an .npz with one array or one called ``order``, or a .pth, .pt or .pkl with one numpy array or
            torch tensor, as `pickle` and both formats of `torch.save` write it. The content decides, not the suffix,
            and nothing in it is executed.
        examples: Number of training examples.

    Returns:
        Different indices in 0..examples-1, hardest first, int64 `(k,)` with 1 <= k <= examples.

    Raises:
        DataError: The file is anything else.
    """
    path = Path(path)
    check_regular(path)
    try:
        return _check(_read(path.read_bytes(), examples), examples)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # zip, pickletools, struct and numpy each have errors of their own for a broken file
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: expected an order of indices as .npy, .npz, .pth, .pt or .pkl, got another or a broken file\n"
            f"({reason})"
        ) from error


def _read(content: bytes, examples: int) -> np.ndarray:
    if content.startswith(b"\x93NUMPY"):
        return _read_npy(content, examples)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return _read_zip(file, examples)
    pickles = io.BytesIO(content)
    first = read_pickle(pickles)
    if first == LEGACY:
        return _read_torch_legacy(pickles, examples)
    return integers(first, examples, _no_storage)


def _read_npy(content: bytes, examples: int) -> np.ndarray:
    file = io.BytesIO(content)
    # The header alone: np.load takes memory for the shape it claims before it looks how much is there. Version 3 is for
    # names of fields, which no order has.
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = headers[np.lib.format.read_magic(file)](file)
    return integers_from_bytes(file.read(), dtype, shape, examples)


def _read_zip(file: zipfile.ZipFile, examples: int) -> np.ndarray:
    names = file.namelist()
    # Of two members with one name, the reader would decide which counts.
    if len(set(names)) < len(names) or any(name.startswith("/") or ".." in name or "\\" in name for name in names):
        raise DataError("expected an archive with plain and different names, got a name twice, with '..', '\\' or '/'")
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) == 1:
        return _read_torch_zip(file, pickles[0].removesuffix("data.pkl"), examples)
    arrays = [name for name in names if name.endswith(".npy")]
    chosen = "order.npy" if "order.npy" in arrays else arrays[0] if len(arrays) == 1 else None
    if chosen is None:
        listed = ", ".join(repr(name.removesuffix(".npy")[:40]) for name in arrays[:5]) or "none"
        raise DataError(f"expected one array, or one called 'order', got {listed}")
    with file.open(chosen) as member:  # a small file may unpack to a huge one: read no more than an order can have
        return _read_npy(member.read(8 * examples + 2**16), examples)


def _read_torch_zip(file: zipfile.ZipFile, folder: str, examples: int) -> np.ndarray:
    def member(name: str) -> bytes:
        information = file.getinfo(f"{folder}{name}")
        if information.compress_type != zipfile.ZIP_STORED:  # torch never compresses: this could fill the memory
            raise DataError(f"expected members as torch.save stores them, got {name!r} compressed")
        return file.read(information)

    def storage(key: str, count: int) -> bytes:
        # A key with .. would name another member.
        if not key.isdecimal():
            raise DataError(f"expected a number as the key of a storage, got {key[:40]!r}")
        return member(f"data/{key}")

    if f"{folder}byteorder" in file.namelist() and member("byteorder") != b"little":
        raise DataError("expected a tensor of a little-endian machine, got a big-endian one; save it with numpy.save")
    return integers(read_pickle(io.BytesIO(member("data.pkl"))), examples, storage)


def _read_torch_legacy(file: io.BytesIO, examples: int) -> np.ndarray:
    version, _machine, tree, keys = (read_pickle(file) for _ in range(4))
    if version != 1001:
        raise DataError("expected version 1001 of torch's first format, got another")

    def storage(key: str, count: int) -> bytes:
        if keys != [key] or file.read(8) != struct.pack("<q", count):
            raise DataError("expected one storage, of the size that the tensor names, got another")
        return file.read()

    return integers(tree, examples, storage)


def _no_storage(key: str, count: int) -> bytes:
    raise DataError("expected a tensor with its elements, got one that was pickled without: use torch.save")


def _check(order: np.ndarray, examples: int) -> np.ndarray:
    low, high = int(order.min()), int(order.max())
    if low < 0 or high >= examples:
        raise DataError(
            f"expected indices in 0..{examples - 1}, got {low}..{high}\nis it the order of another data set?"
        )
    values, counts = np.unique(order, return_counts=True)
    if len(values) < len(order):
        often = int(counts.argmax())
        raise DataError(f"expected each index once, got {int(values[often])} {int(counts[often])} times")
    return order.astype(np.int64)
