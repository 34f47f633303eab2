"""Published rankings that call functions or claim sizes that they do not have: nothing in them is ever executed."""

from __future__ import annotations

import builtins
import contextlib
import functools
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from order_files import (
    FIXTURES,
    LEGACY_HEADER,
    MACHINE,
    ORDER,
    THREE,
    array_pickle,
    refusal,
    saved,
    tensor_pickle,
    torch_legacy,
    torch_zip,
    zipped,
)

from sat_core.order_file import read_order


class Call:
    """Pickles as the call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments

    def __call__(self) -> None:
        raise NotImplementedError


def gadgets(marker: Path) -> dict[str, Call]:
    """Calls that leave a file at `marker`, and the name that a refusal has to mention."""
    from numpy.f2py.crackfortran import myeval
    from numpy.testing._private.utils import runstring

    source = f"open({str(marker)!r}, 'w').close()"
    return {
        f"{os.system.__module__}.system": Call(os.system, f"touch '{marker}'"),
        "subprocess.check_call": Call(subprocess.check_call, ["touch", str(marker)]),
        "eval": Call(eval, source),
        "exec": Call(exec, source, {}),
        "getattr": Call(Call(getattr, Call(builtins.open, str(marker), "w"), "close")),
        "functools.partial": Call(Call(functools.partial, os.system, f"touch '{marker}'")),
        "numpy.save": Call(np.save, str(marker), [1]),
        "numpy.testing._private.utils.runstring": Call(runstring, source, {}),
        "numpy.f2py.crackfortran.myeval": Call(myeval, source),
    }


def hidden_in_array(payload: Call) -> Any:
    """An honest array with the call where its bytes should be."""

    class Array:
        def __reduce__(self) -> tuple[Any, ...]:
            function, arguments, state = ORDER.__reduce__()[:3]
            return function, arguments, (*state[:4], payload)

    return Array()


@pytest.mark.parametrize("name", gadgets(Path("marker.npy")))
def test_nothing_is_called(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker.npy"
    payload = gadgets(marker)[name]
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(payload))
    assert marker.exists(), "the gadget works, so that its refusal means something"
    marker.unlink()
    honest = pickle.dumps(ORDER, 2)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for crafted in (payload, hidden_in_array(payload), [ORDER, payload], {"order": ORDER, "extra": payload}):
            plain = pickle.dumps(crafted, protocol)
            for content in (
                plain,
                torch_zip(plain),
                torch_legacy(plain),
                torch_legacy(honest).replace(MACHINE, plain),
                torch_legacy(honest).removesuffix(pickle.dumps([], 2)) + plain,
            ):
                message = refusal(content, tmp_path)
                assert f".{name.rpartition('.')[2]}'" in message
                assert "not looked up and not called" in message
                assert not marker.exists()
    for content in (
        saved(np.save, np.array([payload, None], dtype=object)),
        saved(np.savez, order=np.array([payload, None], dtype=object)),
    ):
        refusal(content, tmp_path)
        assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["os system", "posix system", "torch load", "numpy load", "numpy._core.multiarray fromfile", "numpy memmap"]
)
def test_names_what_it_refuses_even_where_it_is_not_installed(name: str, tmp_path: Path) -> None:
    lines = name.replace(" ", "\n")
    assert f"wants '{name.replace(' ', '.')}'" in refusal(f"c{lines}\n(Vx\ntR.".encode(), tmp_path)
    assert f"the operation INST '{name}'" in refusal(f"(Vx\ni{lines}\n.".encode(), tmp_path)


def test_cuts_long_names(tmp_path: Path) -> None:
    assert f"wants '{'a' * 76} ...'" in refusal(b"c" + b"a" * 1000 + b"\n" + b"b" * 1000 + b"\n.", tmp_path)


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"(o.", b"c_codecs\nencode\n)\x81.", b"\x97.", b"]\x91.", b"P1\n."])
def test_refuses_operations_that_no_array_has(opcode: bytes, tmp_path: Path) -> None:
    assert "operation" in refusal(b"\x80\x05" + opcode, tmp_path)


@pytest.mark.parametrize("content", [b"K\x01\x87.", b"K\x01R.", b"N\x93.", b"K\x01s."])
def test_refuses_pickles_that_take_more_than_they_put_down(content: bytes, tmp_path: Path) -> None:
    assert "takes more than it put down" in refusal(b"\x80\x04" + content, tmp_path)


@pytest.mark.installed
def test_reading_imports_no_framework() -> None:
    code = (
        "import sys; from sat_core.order_file import read_order\n"
        f"for path in {[str(path) for path in FIXTURES]!r}: read_order(path, 101)\n"
        "print(sorted({'torch', 'tensorflow', 'sat_core.unpickle'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['sat_core.unpickle']"


def test_crafted_pickles_are_honest_when_nothing_is_wrong(tmp_path: Path) -> None:
    for content in (
        array_pickle(raw=THREE),
        torch_zip(tensor_pickle(), _0=THREE),
        torch_zip(tensor_pickle(view=(None,)), _0=THREE),
        torch_legacy(tensor_pickle(), ("0",), struct.pack("<q", 3) + THREE),
        LEGACY_HEADER + tensor_pickle() + b"(V0\nl." + struct.pack("<q", 3) + THREE,
        zipped({"a/byteorder": b"little", "a/data.pkl": tensor_pickle(), "a/data/0": THREE}),
    ):
        path = tmp_path / "order.pt"
        path.write_bytes(content)
        np.testing.assert_array_equal(read_order(path, 3), [2, 0, 1])
    path.write_bytes(torch_zip(tensor_pickle(size=(2,), stride=(2,), held=3), _0=THREE))
    np.testing.assert_array_equal(read_order(path, 3), [2, 1])
    path.write_bytes(torch_zip(tensor_pickle(size=(2,), offset=1), _0=THREE))
    np.testing.assert_array_equal(read_order(path, 3), [0, 1])


@pytest.mark.parametrize(
    "content",
    [
        array_pickle(shape=(2,), raw=THREE),
        array_pickle(shape=(4,), raw=THREE),
        array_pickle(shape=(-3,), raw=THREE),
        array_pickle(shape=(2**2000,), raw=THREE),
        array_pickle(shape=(True,), raw=THREE[:8]),
        array_pickle(shape=(3.0,), raw=THREE),
        array_pickle(shape=3, raw=THREE),
        array_pickle(shape=[3], raw=THREE),
        array_pickle(shape=((3,),), raw=THREE),
        array_pickle(raw=[2, 0, 1]),
        array_pickle(raw=None),
        array_pickle(raw="abc"),
        array_pickle(raw=THREE, dtype="O8"),
        array_pickle(raw=THREE, dtype="O"),
        array_pickle(raw=THREE, dtype="V8"),
        array_pickle(raw=THREE, dtype="i8,i8"),
        array_pickle(raw=THREE, dtype="i3"),
        array_pickle(raw=THREE, dtype="object"),
        array_pickle(raw=THREE, order="i8,"),
        array_pickle(raw=THREE, fields=("i8", (1,))),
        array_pickle(state=()),
        array_pickle(state=(1, (3,))),
        array_pickle(state=7),
        torch_zip(tensor_pickle(size=(4,)), _0=THREE),
        torch_zip(tensor_pickle(offset=1), _0=THREE),
        torch_zip(tensor_pickle(offset=-1), _0=THREE),
        torch_zip(tensor_pickle(offset="0"), _0=THREE),
        torch_zip(tensor_pickle(stride=(2,)), _0=THREE),
        torch_zip(tensor_pickle(stride=(-1,), offset=2), _0=THREE),
        torch_zip(tensor_pickle(stride=(0,)), _0=THREE),
        torch_zip(tensor_pickle(stride=(1, 1)), _0=THREE),
        torch_zip(tensor_pickle(stride=()), _0=THREE),
        torch_zip(tensor_pickle(size=(1,), stride=(2**70,)), _0=THREE),
        torch_zip(tensor_pickle(size=(1,), offset=2**70), _0=THREE),
        torch_zip(tensor_pickle(held=4), _0=THREE),
        torch_zip(tensor_pickle(held=2, size=(2,)), _0=THREE),
        torch_zip(tensor_pickle(held=-3), _0=THREE),
        torch_zip(tensor_pickle(kind="Int"), _0=THREE),
        torch_zip(tensor_pickle(kind="Double"), _0=THREE),
        torch_zip(tensor_pickle(kind="Quaternion"), _0=THREE),
        torch_zip(tensor_pickle(view=(("0", 0, 3),)), _0=THREE),
        torch_zip(tensor_pickle(key=0), _0=THREE),
        torch_zip(tensor_pickle(key="1"), _0=THREE),
        torch_zip(tensor_pickle()),
        zipped({"archive/data.pkl": tensor_pickle(key="x/../0"), "archive/data/x/../0": THREE}),
        zipped({"archive/data.pkl": tensor_pickle(key="../secret"), "archive/secret": THREE}),
        zipped({"archive/data.pkl": tensor_pickle(key="x"), "archive/data/x": THREE}),
        zipped({"/archive/data.pkl": tensor_pickle(), "/archive/data/0": THREE}),
        zipped({"../archive/data.pkl": tensor_pickle(), "../archive/data/0": THREE}),
        zipped({"a/data.pkl": tensor_pickle(), "a/data/0": THREE, "b/data.pkl": tensor_pickle()}),
        zipped({"a/byteorder": b"big", "a/data.pkl": tensor_pickle(), "a/data/0": THREE}),
        zipped({"a/data.pkl": tensor_pickle(), "a/data/0": THREE}, zipfile.ZIP_DEFLATED),
        tensor_pickle(),
        torch_legacy(tensor_pickle(), (), struct.pack("<q", 3) + THREE),
        torch_legacy(tensor_pickle(), ("1",), struct.pack("<q", 3) + THREE),
        torch_legacy(tensor_pickle(), ("0", "0"), struct.pack("<q", 3) + THREE),
        torch_legacy(tensor_pickle(), ("0",), struct.pack("<q", 4) + THREE),
        torch_legacy(tensor_pickle(), ("0",), struct.pack("<q", 3) + THREE + b"x"),
        torch_legacy(tensor_pickle(), ("0",)),
        LEGACY_HEADER.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)) + pickle.dumps(np.arange(3), 2) + b"].",
    ],
)
def test_refuses_wrong_shapes_strides_offsets_and_storages(content: bytes, tmp_path: Path) -> None:
    refusal(content, tmp_path, examples=4)


def test_says_which_type_it_got(tmp_path: Path) -> None:
    for code in ("O8", "V8", "i8,i8", "object", "i"):
        message = refusal(array_pickle(dtype=code), tmp_path)
        assert message == f"expected integers, got elements of type {code!r}"
    assert refusal(array_pickle(order="i8,"), tmp_path) == "expected integers, got elements of type 'i8'"
    for kind in ("Bool", "Half", "BFloat16", "Float", "Double"):
        message = refusal(torch_zip(tensor_pickle(kind=kind), _0=THREE), tmp_path)
        assert message == f"expected integers, got a tensor with a 'torch.{kind}Storage'"
    assert "wants 'torch.QuaternionStorage'" in refusal(tensor_pickle(kind="Quaternion"), tmp_path)


def test_says_that_a_tensor_leaves_its_storage(tmp_path: Path) -> None:
    for size, stride, offset in ((4, 1, 0), (3, 1, 1), (2, 3, 0), (2, 2, 1), (1, 1, 3), (3, -1, 2), (3, 1, -1)):
        message = refusal(torch_zip(tensor_pickle((size,), (stride,), offset), _0=THREE), tmp_path)
        assert message == (
            f"expected a tensor inside its storage of 3 elements, got {size} from {offset} in steps of {stride}"
        )


def test_refuses_members_that_claim_more_than_the_archive_holds(tmp_path: Path) -> None:
    honest = saved(np.save, np.arange(3))
    crafted = zipped({"order.npy": honest}).replace(struct.pack("<I", len(honest)), struct.pack("<I", 2**16))
    said = refusal(crafted, tmp_path)  # an error without a message is named; newer Pythons see it beforehand
    assert "(EOFError)" in said or "(Overlapped entries: 'order.npy'" in said


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\evil"])
def test_refuses_members_with_paths(name: str, tmp_path: Path) -> None:
    honest = saved(np.save, np.arange(3))
    assert "plain and different names" in refusal(zipped({"order.npy": honest, name: b""}), tmp_path)


def test_refuses_two_members_with_one_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", tensor_pickle())
        file.writestr("archive/data/0", THREE)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("archive/data/0", THREE[::-1])
    assert "a name twice" in refusal(buffer.getvalue(), tmp_path)


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


DOUBLING = b"".join(b"q%ch%ch%c\x86" % (n, n, n) for n in range(60))
"""Turns the top of the stack into 2**60 references to it, in tuples of two."""


@pytest.mark.parametrize(
    "content",
    [
        npy_header("(1000000000000,)") + THREE,
        npy_header("(100,)") + THREE,
        npy_header("(-1,)") + THREE,
        npy_header("(" + "(" * 5000),
        zipped({"order.npy": npy_header("(1000000000000,)") + THREE}),
        saved(np.savez_compressed, order=np.zeros(2**23, dtype=np.int64)),
        saved(np.savez_compressed, order=np.zeros(100, dtype="V100000")),
        zipped({"order.npy": npy_header("(100,)") + bytes(2**26)}, zipfile.ZIP_DEFLATED),
        array_pickle(shape=(10**12,)),
        array_pickle(shape=(2**80,)),
        array_pickle(shape=(1,) * 1000),
        torch_zip(tensor_pickle(size=(10**12,)), _0=THREE),
        torch_zip(tensor_pickle(size=(10**12,), stride=(0,)), _0=THREE),
        torch_zip(tensor_pickle(held=10**15), _0=THREE),
        torch_legacy(tensor_pickle(held=2**40), ("0",), struct.pack("<q", 2**40) + THREE),
        zipped({"a/data.pkl": tensor_pickle(), "a/data/0": bytes(2**26)}, zipfile.ZIP_DEFLATED),
        b"\x80\x04Nr\xff\xff\xff\xff.",
        b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"N.",
        b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b"N.",
        b"\x80\x05\x8d" + struct.pack("<Q", 2**40) + b"N.",
        b"\x80\x05\x8b" + struct.pack("<I", 2**31 - 1) + b"N.",
        b"\x80\x04N" + DOUBLING + b".",
        b"\x80\x04}N" + DOUBLING + b"Ns.",
        b"\x80\x04(N" + DOUBLING + b"Nd.",
        b"\x80\x04N" + DOUBLING + b"\x8c\x01x\x93.",
        b"\x80\x04N" + DOUBLING + b"q\xf0\x8c\x01xh\xf0\x93.",
        b"\x80\x04](X" + struct.pack("<I", 10**5) + b"\xc3\xa9" * 50000 + b"\x8c\x06latin1\x86q\xff"
        b"c_codecs\nencode\nq\xfe" + b"h\xfeh\xffR" * 10000 + b"e.",
    ],
)
def test_small_files_stay_small(content: bytes, tmp_path: Path) -> None:
    """A claimed size, nested references or a compressed member never take more than some megabytes."""
    tracemalloc.start()
    try:
        refusal(content, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(content) + 4e6
    finally:
        tracemalloc.stop()
