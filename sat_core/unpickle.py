"""Reads arrays and tensors from pickles without unpickling: calls in the file are recorded, never made.

A pickle is a program. Python's unpickler runs it, and even one that looks up nothing foreign can be made to fill the
memory (a memo index of 2**32) or the time (hashes of nested tuples). Here the few operations that arrays and tensors
need are followed with tuples, lists and inert records; an array is built at the end, from a tree that has its shape.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from typing import Any, BinaryIO, final

import attrs
import numpy as np

from sat_core.errors import DataError

STORAGES = {
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
}
"""torch's storages of integers, and their types of elements as numpy writes them."""

ADMITTED = frozenset(
    {
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.numeric._frombuffer",
        "numpy.ndarray",
        "numpy.dtype",
        "_codecs.encode",
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        *STORAGES,
        # Not read, only admitted: so the refusal can say which type of numbers it got.
        *(f"torch.{kind}Storage" for kind in ("Bool", "Half", "BFloat16", "Float", "Double")),
    }
)
"""Names that a pickled array or tensor may mention (older numpy says ``numpy.core``). Any other is refused."""


@final
@attrs.define(eq=False)
class Record:
    """An object in a pickle: what would be called, with which arguments, and which state it would get. Inert."""

    name: str
    arguments: Any = None
    state: Any = None


def read_pickle(file: BinaryIO) -> Any:
    """Return the tree of records that the pickle at the file's position describes, and move to its end.

    Raises:
        DataError: It has a name outside of `ADMITTED`, or an operation that no array or tensor needs.
        ValueError, IndexError, KeyError, AttributeError: It is damaged.
    """
    stack: list[Any] = []
    marks: list[int] = []
    # A dict: an index of 2**32 in the file takes one entry; the unpickler in C makes room for all below it.
    memo: dict[Any, Any] = {}

    def pop(count: int) -> list[Any]:
        if count > len(stack):
            raise ValueError("a pickle that takes more than it put down")
        items = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return items

    def pop_to_mark() -> list[Any]:
        return pop(len(stack) - marks.pop())

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            # A frame may claim any size; nothing is read ahead for it.
            case "PROTO" | "FRAME":
                pass
            case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1":
                stack.append(argument)
            case "UNICODE" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BYTEARRAY8":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "PUT" | "BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET":
                stack.append(memo[argument])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3").index(opcode.name))))
            case "EMPTY_LIST" | "LIST":
                stack.append(pop_to_mark() if opcode.name == "LIST" else [])
            case "APPEND" | "APPENDS":
                items = pop(1) if opcode.name == "APPEND" else pop_to_mark()
                stack[-1].extend(items)
            case "EMPTY_DICT" | "DICT":  # torch's information on the machine, which is not needed
                _ = pop_to_mark() if opcode.name == "DICT" else None
                stack.append(Record("dict"))
            # Dropped, not put into a dict: the hash of a key made of nested tuples may take for ever.
            case "SETITEM" | "SETITEMS":
                _ = pop(2) if opcode.name == "SETITEM" else pop_to_mark()
            case "GLOBAL":
                stack.append(_admit(*str(argument).split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_admit(*pop(2)))
            case "REDUCE":
                function, arguments = pop(2)
                stack.append(Record(function.name, arguments))
            case "BUILD":
                (state,) = pop(1)
                stack[-1].state = state
            # How torch writes a storage: ("storage", type, key, device, length), in old files followed by a view.
            case "BINPERSID":
                stack.append(Record("storage", *pop(1)))
            case "STOP":
                return stack.pop()
            case _:
                raise DataError(
                    f"expected a pickled array or tensor, got the operation {opcode.name} {_short(argument)}, "
                    "which neither has"
                )
    raise ValueError("a pickle without an end")


def integers(tree: Any, limit: int, storage: Callable[[str, int], bytes]) -> np.ndarray:
    """Return the integers `(k,)`, 1 <= k <= limit, of the array or tensor that a tree of records describes.

    Args:
        tree: What `read_pickle` returned.
        limit: Largest number of integers.
        storage: Returns the bytes of a tensor's storage, given its key and its number of elements.

    Raises:
        DataError: It is another tree, or shape, strides and offset reach outside of the bytes.
    """
    match tree:
        # State of an array: version, shape, type, Fortran's order or not, bytes. One dimension is the same in both.
        case Record("numpy._core.multiarray._reconstruct", _, (_, shape, dtype, _, raw)):
            return integers_from_bytes(_bytes(raw), _dtype(dtype), shape, limit)
        # How protocol 5 writes an array.
        case Record("numpy._core.numeric._frombuffer", (raw, dtype, shape, _)):
            return integers_from_bytes(_bytes(raw), _dtype(dtype), shape, limit)
        # One number alone: its shape () is refused as that of an array is.
        case Record("numpy._core.multiarray.scalar", (dtype, raw)):
            return integers_from_bytes(_bytes(raw), _dtype(dtype), (), limit)
        case Record("torch._utils._rebuild_tensor_v2", (Record("storage", held), offset, size, stride, *_)):
            return _tensor(held, offset, size, stride, limit, storage)
    what = tree.name if isinstance(tree, Record) else type(tree).__name__
    raise DataError(f"expected one pickled array or tensor, got {_short(what)}")


def integers_from_bytes(raw: bytes | bytearray, dtype: np.dtype, shape: object, limit: int) -> np.ndarray:
    """Return the integers `(k,)` in `raw`, 1 <= k <= limit; DataError if type, shape or size do not fit."""
    if dtype.kind not in "iu":
        raise DataError(f"expected integers, got {dtype}")
    return _exactly(raw, dtype, _length(shape, limit))


def _tensor(
    held: Any, offset: Any, size: Any, stride: Any, limit: int, storage: Callable[[str, int], bytes]
) -> np.ndarray:
    count = _length(size, limit)
    match held, offset, stride:
        case ("storage", Record(kind), str(key), _, int(total), *view), int(), (int(step),) if not any(view):
            if kind not in STORAGES:
                raise DataError(f"expected integers, got a tensor with a {_short(kind)}")
            # In Python's integers, which a stride of 2**70 does not overflow.
            if min(offset, step) < 0 or offset + (count - 1) * step >= total:
                raise DataError(
                    f"expected a tensor inside its storage of {_short(total)} elements, got {count} from "
                    f"{_short(offset)} in steps of {_short(step)}"
                )
            flat = _exactly(storage(key, total), np.dtype(STORAGES[kind]), total)
            return np.asarray(flat[offset + step * np.arange(count)])
    raise DataError("expected a tensor with a storage, an offset and a stride, got another description")


def _exactly(raw: bytes | bytearray, dtype: np.dtype, count: int) -> np.ndarray:
    if len(raw) != count * dtype.itemsize:
        raise DataError(f"expected {count * dtype.itemsize} bytes of elements, got {len(raw)}: is the file whole?")
    return np.frombuffer(raw, dtype)


def _length(shape: object, limit: int) -> int:
    if not isinstance(shape, tuple):
        raise DataError(f"expected one dimension, shape (k,), got {_short(shape)}")
    if len(shape) != 1:
        raise DataError(f"expected one dimension, shape (k,), got {len(shape)}")
    (count,) = shape
    # Before anything of this size is made. To isinstance True is an integer, too.
    if type(count) is not int or not 1 <= count <= limit:
        raise DataError(f"expected 1 to {limit} indices, got {_short(count)}\nis it the order of another data set?")
    return count


def _dtype(tree: Any) -> np.dtype:
    match tree:
        case Record("numpy.dtype", (str(code), *_), (_, str(order), None, None, None, *_)):
            # np.dtype takes far more from a text, objects and structures among them.
            if re.fullmatch("[biufc][0-9]{1,2}", code) and order in ("<", ">", "|", "="):
                return np.dtype(order + code)
            raise DataError(f"expected integers, got elements of type {_short(code)}")
    raise DataError("expected integers, got elements of another description")


def _bytes(tree: Any) -> bytes | bytearray:
    match tree:
        case bytes() | bytearray():
            return tree
        case Record("_codecs.encode", (str(text), "latin1")):  # how protocol 2 writes bytes
            return text.encode("latin1")
    raise DataError(f"expected an array with its bytes, got {type(tree).__name__}")


def _admit(module: object, name: object) -> Record:
    full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "a name that is no text"
    modern = full.replace("numpy.core.", "numpy._core.")
    if modern not in ADMITTED:
        raise DataError(
            f"expected a pickled array or tensor and nothing else, got one that wants {_short(full)}\n"
            "it was not looked up and not called; save the order with numpy.save instead"
        )
    return Record(modern)


def _short(value: object) -> str:
    """For a message: one line, not long, and nothing of what a file nests without end."""
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else f"{value[:76]} ...")
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else "a number of more than 64 bits"
    return type(value).__name__
