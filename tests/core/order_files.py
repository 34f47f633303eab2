"""Files of published rankings, honest and crafted, and the refusal of one."""

from __future__ import annotations

import functools
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sat_core.errors import DataError
from sat_core.order_file import read_order

FOLDER = Path(__file__).parent / "data"
FIXTURES = sorted(FOLDER.glob("*.pth"))
ORDER = (37 * np.arange(101) + 11) % 101
MACHINE = pickle.dumps({"little_endian": True, "type_sizes": {"long": 4}}, 2)
LEGACY_HEADER = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + MACHINE
Write = Callable[[np.ndarray], bytes]


def saved(save: Callable[..., None], *arrays: np.ndarray, **named: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def torch_zip(content: bytes, **storages: bytes) -> bytes:
    return zipped({"archive/data.pkl": content} | {f"archive/data/{key[1:]}": raw for key, raw in storages.items()})


def torch_legacy(content: bytes, keys: tuple[str, ...] = (), raw: bytes = b"") -> bytes:
    return LEGACY_HEADER + content + pickle.dumps(list(keys), 2) + raw


def legacy_of(order: np.ndarray, protocol: int) -> bytes:
    return b"".join(pickle.dumps(part, protocol) for part in (0x1950A86A20F9469CFC6C, 1001, {"long": 4}, order, []))


WRITERS: dict[str, Write] = {
    "npy": lambda order: saved(np.save, order),
    "npy 2.0": lambda order: saved(functools.partial(np.lib.format.write_array, version=(2, 0)), order),
    "npz": lambda order: saved(np.savez, order),
    "npz compressed": lambda order: saved(np.savez_compressed, anything=order),
    "npz among others": lambda order: saved(np.savez, scores=np.zeros(1000), order=order),
    **{f"pickle {n}": functools.partial(pickle.dumps, protocol=n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
    "pickle of numpy 1": lambda order: pickle.dumps(order, 2).replace(b"numpy._core", b"numpy.core"),
    "torch zip": lambda order: torch_zip(pickle.dumps(order, 2)),
    "torch legacy": lambda order: torch_legacy(pickle.dumps(order, 2)),
    "torch legacy, pickle 0": lambda order: legacy_of(order, 0),
    "torch legacy, pickle 4": lambda order: legacy_of(order, 4),
}


def refusal(content: bytes, folder: Path, examples: int = 101) -> str:
    """The message with which `content` is refused; it names the file, says what was expected, and is short."""
    path = folder / "order.pth"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_order(path, examples)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert "got" in message
    assert len(message.splitlines()) <= 3
    assert all(len(line) < 300 + len(str(path)) for line in message.splitlines())
    return message.removeprefix(f"{path}: ")


def array_pickle(
    shape: Any = (3,), dtype: str = "i8", raw: Any = bytes(24), order: str = "<", fields: Any = None, state: Any = None
) -> bytes:
    """A pickled array with the given parts, right or wrong."""

    class Type:
        def __reduce__(self) -> tuple[Any, ...]:
            return np.dtype, (dtype, False, True), (3, order, fields, None, None, -1, -1, 0)

    class Array:
        def __reduce__(self) -> tuple[Any, ...]:
            function, arguments = np.arange(3).__reduce__()[:2]
            return function, arguments, (1, shape, Type(), False, raw) if state is None else state

    return pickle.dumps(Array(), 4)


def tensor_pickle(
    size: Any = (3,),
    stride: Any = (1,),
    offset: Any = 0,
    held: Any = 3,
    key: Any = "0",
    kind: str = "Long",
    view: Any = (),
) -> bytes:
    """A pickled tensor with the given parts, right or wrong."""

    class Named:
        def __init__(self, module: str, name: str) -> None:
            self.text = f"c{module}\n{name}\n".encode()

    class Pickler(pickle._Pickler):  # the pure Python one writes operations by hand
        def save(self, obj: Any, save_persistent_id: bool = True) -> None:
            if isinstance(obj, Named):
                self.write(obj.text)
            else:
                super().save(obj, save_persistent_id)

    buffer = io.BytesIO()
    pickler = Pickler(buffer, 2)
    pickler.write(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(")
    pickler.save(("storage", Named("torch", f"{kind}Storage"), key, "cpu", held, *view))
    pickler.write(b"Q")
    for part in (offset, size, stride, False, None):
        pickler.save(part)
    pickler.write(b"tR.")
    return buffer.getvalue()


THREE = np.array([2, 0, 1]).astype("<i8").tobytes()
