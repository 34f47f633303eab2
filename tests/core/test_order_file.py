"""Published rankings: every way people write them is read, and any other file is refused."""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from order_files import FIXTURES, ORDER, WRITERS, refusal, saved, zipped

from sat_core.errors import DataError
from sat_core.order_file import read_order


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_reads_what_torch_wrote(path: Path) -> None:
    order = read_order(path, 101)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(order, ORDER)


def test_fixtures_cover_both_formats_of_torch() -> None:
    names = [path.stem for path in FIXTURES]
    assert len(names) == 16
    assert {name.removesuffix("_zip") for name in names if name.endswith("_zip")} == {
        name.removesuffix("_legacy") for name in names if name.endswith("_legacy")
    }


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_reads_what_numpy_and_pickle_write(writer: str, data: st.DataObject, tmp_path: Path) -> None:
    examples = data.draw(st.integers(1, 120))
    length = data.draw(st.integers(1, examples))
    order = np.array(data.draw(st.permutations(range(examples)))[:length])
    stored = order.astype(data.draw(st.sampled_from(["<i8", ">i8", "<i4", ">u2", "i1", "u1", "<u8"])))
    if data.draw(st.booleans()):
        stored = np.stack([stored[::-1], stored], axis=1)[:, 1]
    path = tmp_path / "order"
    path.write_bytes(WRITERS[writer](stored))
    read = read_order(str(path), examples)
    assert read.dtype == np.dtype(np.int64)
    assert read.flags.writeable
    np.testing.assert_array_equal(read, order)


@pytest.mark.parametrize("writer", WRITERS)
def test_reads_long_orders(writer: str, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(50_000)
    path = tmp_path / "order"
    path.write_bytes(WRITERS[writer](order))
    np.testing.assert_array_equal(read_order(path, 50_000), order)


@pytest.mark.torch
@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "slice", "column", "reversed", "array", "parts"])
def test_reads_what_the_installed_torch_writes(kind: str, zip_format: bool, tmp_path: Path) -> None:
    import torch

    tensor = torch.from_numpy(ORDER)
    content = {
        "int64": tensor,
        "int32": tensor.to(torch.int32),
        "uint8": tensor.to(torch.uint8),
        "slice": tensor.repeat_interleave(3)[1::3],
        "column": torch.stack([tensor.flip(0), tensor], dim=1)[:, 1],
        "reversed": tensor.flip(0),
        "array": ORDER,
        "parts": tensor[40:60],
    }[kind]
    torch.save(content, tmp_path / "order.pt", _use_new_zipfile_serialization=zip_format)
    expected = {"reversed": ORDER[::-1], "parts": ORDER[40:60]}.get(kind, ORDER)
    np.testing.assert_array_equal(read_order(tmp_path / "order.pt", 101), expected)


@pytest.mark.torch
@pytest.mark.parametrize("zip_format", [True, False])
def test_refuses_what_is_no_tensor_of_integers(zip_format: bool, tmp_path: Path) -> None:
    import torch

    tensor = torch.from_numpy(ORDER)
    for content, expected in (
        (tensor.float(), "expected integers, got a tensor with a 'torch.FloatStorage'"),
        (tensor.bfloat16(), "expected integers, got a tensor with a 'torch.BFloat16Storage'"),
        (tensor.reshape(1, 101), "expected one dimension, shape (k,), got 2"),
        (tensor[3], "expected one dimension, shape (k,), got 0"),
        ({"order": tensor}, "expected one pickled array or tensor, got 'dict'"),
        (torch.nn.Linear(2, 2), "wants 'torch.nn.modules.linear.Linear'"),
        (torch.zeros(1, dtype=torch.int64).expand(101), "expected each index once, got 0 101 times"),
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=zip_format)
        assert expected in refusal(buffer.getvalue(), tmp_path)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ORDER.astype(float), "expected integers, got float64"),
        (ORDER > 50, "expected integers, got bool"),
        (ORDER.astype("U3"), "expected integers, got"),
        (ORDER.astype("M8[s]"), "expected integers, got"),
        (ORDER.astype([("index", "i8")]), "expected integers, got"),
        (ORDER[None], "expected one dimension, shape (k,), got 2"),
        (ORDER[:100].reshape(20, 5), "expected one dimension, shape (k,), got 2"),
        (np.asfortranarray(ORDER[:100].reshape(20, 5)), "expected one dimension, shape (k,), got 2"),
        (np.array(3), "expected one dimension, shape (k,), got 0"),
        (ORDER[:0], "expected"),
        (np.arange(102), "expected 1 to 101 indices, got 102\nis it the order of another data set?"),
        (ORDER + 1, "expected indices in 0..100, got 1..101"),
        (ORDER - 1, "expected indices in 0..100, got -1..99"),
        (np.array([5, 2**63], dtype=np.uint64), "expected indices in 0..100, got 5..9223372036854775808"),
        (np.array([4, 9, 7, 9, 9]), "expected each index once, got 9 3 times"),
    ],
)
def test_refuses_what_is_no_order(writer: str, order: np.ndarray, expected: str, tmp_path: Path) -> None:
    assert expected in refusal(WRITERS[writer](order), tmp_path)


def test_refuses_arrays_of_objects(tmp_path: Path) -> None:
    objects = np.array([[1], [2, 3]], dtype=object)
    for content in (saved(np.save, objects), saved(np.savez, order=objects)):
        assert "expected integers, got object" in refusal(content, tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert "expected" in refusal(pickle.dumps(objects, protocol), tmp_path)


def test_refuses_other_files(tmp_path: Path) -> None:
    assert "'a', 'b'" in refusal(saved(np.savez, a=ORDER, b=ORDER), tmp_path)
    assert "got none" in refusal(zipped({"readme.txt": b"0 1 2"}), tmp_path)
    assert "got 'list'" in refusal(pickle.dumps([1, 2, 3]), tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for content in ({"order": ORDER}, {"order": ORDER, "name": "mine"}):
            assert "got 'dict'" in refusal(pickle.dumps(content, protocol), tmp_path)
    assert "one dimension" in refusal(pickle.dumps(ORDER[0]), tmp_path)
    assert "got 'collections.OrderedDict'" in refusal(pickle.dumps(collections.OrderedDict(), 2), tmp_path)
    for content in (b"", b"3\n1\n2\n", b"\x93NUMPY", b"\x93NUMPY\x09\x00" + bytes(200), b"PK", b"PK\x03\x04"):
        assert "another or a broken file" in refusal(content, tmp_path)
    with pytest.raises(DataError, match="missing: no such file"):
        read_order(tmp_path / "missing", 101)
    with pytest.raises(DataError, match="expected a file, got a folder"):
        read_order(tmp_path, 101)


@pytest.mark.parametrize(
    "content",
    [*(path.read_bytes() for path in FIXTURES), *(write(ORDER) for write in WRITERS.values())],
    ids=[*(path.stem for path in FIXTURES), *WRITERS],
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_refuses_a_part_of_a_file(content: bytes, data: st.DataObject, tmp_path: Path) -> None:
    refusal(content[: data.draw(st.integers(0, len(content) - 1))], tmp_path)


@pytest.mark.parametrize(
    "content",
    [*(path.read_bytes() for path in FIXTURES), *(write(ORDER) for write in WRITERS.values())],
    ids=[*(path.stem for path in FIXTURES), *WRITERS],
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_gives_an_order_or_a_refusal(content: bytes, data: st.DataObject, tmp_path: Path) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "order"
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(DataError):
        order = read_order(path, 101)
        assert order.dtype == np.int64
        assert order.ndim == 1
        assert set(order) <= set(range(101))
        assert len(set(order)) == len(order)
