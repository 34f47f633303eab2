"""Registries, files and locks: what is written is whole, what is missing is named."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from sat_core import checkpoint, files
from sat_core.backend import get_backend
from sat_core.data import Examples
from sat_core.datasets import get_dataset
from sat_core.errors import (
    CheckpointError,
    DataError,
    NotInstalledError,
    RunDirectoryError,
    SatError,
    SpecError,
    quoted,
)
from sat_core.order_file import read_order
from sat_core.plugins import user_factory
from sat_core.registry import Registry, nearest
from sat_core.spec import KEYS
from sat_core.unit_folder import UnitFolder


def test_a_registry_knows_its_names_and_the_nearest() -> None:
    fruits: Registry[int] = Registry("fruit")
    fruits.register("apple", 1)
    assert fruits.get("apple") == 1
    assert "apple" in fruits
    with pytest.raises(SpecError, match=r"unknown fruit 'Aple' \(did you mean 'apple'\?\)\nexpected one of: apple"):
        fruits.get("Aple")
    with pytest.raises(SpecError, match="registered already"):
        fruits.register("apple", 2)


@pytest.mark.parametrize(
    ("name", "known", "guess"),
    [
        ("lable", ["image", "label"], "'label'"),
        ("traning.epochs", KEYS, "'training.epochs'"),
        ("attack.espilon", KEYS, "'attack.eps'"),
        ("attack.epsilon", KEYS, "'attack.eps'"),
        ("subset.stratgy", KEYS, "'subset.strategy'"),
        ("training.batchsize", KEYS, "'training.batch_size'"),
        ("Training.Weight-Decay", KEYS, "'training.weight_decay'"),
        ("eps", KEYS, "'attack.eps'"),
        ("epochs", KEYS, "'ranking.epochs' or 'training.epochs'"),
        ("pdg", ["pgd", "fgsm"], "'pgd'"),
        ("cifar", ["cifar10", "digits"], "'cifar10'"),
        ("training.label_smoothing", KEYS, None),
        ("training.dropout", KEYS, None),
        ("evaluation.foo", KEYS, None),
        ("attack.epochs", KEYS, None),
        ("foo", KEYS, None),
        ("x", KEYS, None),
        ("", KEYS, None),
        ("training.epochs" * 200, KEYS, None),
    ],
)
def test_only_what_is_close_is_guessed(name: str, known: list[str], guess: str | None) -> None:
    assert nearest(name, known) == (f" (did you mean {guess}?)" if guess else "")


def test_what_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    backends: Registry[Any] = Registry("backend", "sat_core.backends")
    data_sets: Registry[Any] = Registry("data set", "sat_core.datasets", extra="data")
    for registry, name, module in ((backends, "torch", "sat_torch"), (data_sets, "digits", "sat_datasets.digits")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            NotInstalledError, match=r"is not installed .*pip install '\.\[(torch|data)\]' in the folder"
        ):
            registry.get(name)
    with pytest.raises(SpecError, match="unknown backend 'jaxx'"):
        get_backend("jaxx")
    with pytest.raises(SpecError, match="unknown data set 'cifar'"):
        get_dataset("cifar:somewhere")


def test_a_users_factory_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models_of_this_test.py").write_text(
        "def make(): return __import__('my_layers').SIX + 1\nVALUE = 3\n"
    )
    (tmp_path / "my_layers.py").write_text("SIX = 6\n")
    monkeypatch.chdir(tmp_path)
    assert user_factory("my_models_of_this_test:make")() == 7
    for wrong in ("my_models_of_this_test:nothing", "no_such_module:make", ":make", "my_models_of_this_test:VALUE"):
        with pytest.raises(SpecError, match=r"model\.name"):
            user_factory(wrong)


def test_no_file_of_the_working_directory_stands_in_for_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules that nothing has imported yet."""
    for name in ("this", "antigravity"):
        (tmp_path / f"{name}.py").write_text("def make(): return 7\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "mine_of_this_test.py").write_text("def make():\n    import this\n    return this.__file__\n")
    monkeypatch.chdir(tmp_path)
    assert not Path(user_factory("mine_of_this_test:make")()).is_relative_to(tmp_path)
    with pytest.raises(
        SpecError, match=r"'this' is .*this\.py; if that is not yours, give yours another name"
    ) as error:
        user_factory("this:make")
    assert len(str(error.value).splitlines()) <= 3


def test_writes_are_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "b.txt"
    files.write_text(path, "old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(RunDirectoryError, match=r"b\.txt: cannot be written \(No space left on device\)"):
            files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        files.write_text(path / "c.txt", "below a file")
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"x": float("nan")})


def test_archives_repeat_and_refuse_objects(tmp_path: Path) -> None:
    arrays = {"b": np.arange(3), "a": np.zeros((2, 2), np.float32)}
    files.write_npz(tmp_path / "one.npz", arrays)
    files.write_npz(tmp_path / "two.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    np.testing.assert_array_equal(files.read_npz(tmp_path / "one.npz", "b")["b"], np.arange(3))
    with pytest.raises(DataError, match="expected the arrays c, got a, b"):
        files.read_npz(tmp_path / "one.npz", "c")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "one.npz").read_bytes()[:100])
    for name in ("objects.npz", "cut.npz", "none.npz"):
        with pytest.raises(DataError, match=name):
            files.read_npz(tmp_path / name)


def test_only_the_arrays_that_are_asked_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    np.savez(path, a=np.arange(3), huge=np.arange(4))
    content = bytearray(path.read_bytes())
    content[content.rindex(np.arange(4).tobytes())] ^= 1  # whoever reads it finds its checksum wrong
    path.write_bytes(content)
    assert files.read_npz(path, "a")["a"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="unknown array 'huge'"):
        files.read_npz(path, "a", optional=["b"])
    with pytest.raises(DataError, match="Bad CRC"):
        files.read_npz(path)


@pytest.mark.parametrize(
    "read",
    [
        files.read_npz,
        files.read_json,
        lambda path: read_order(path, 3),
        checkpoint.read,
        lambda path: get_dataset(f"npz:{path}"),
    ],
    ids=["npz", "json", "ranking", "checkpoint", "data set"],
)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_and_not_waited_for(read: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            server.bind(str(path))
        else:
            path.symlink_to("/dev/zero")
        with pytest.raises((DataError, CheckpointError), match=rf"{path}: expected .*got a {kind}"):
            read(path)


def test_names_from_files_do_not_steer_a_terminal(tmp_path: Path) -> None:
    names = np.array(["\x1b[2J", "\u202egnp.exe", "c\nd"])
    x, y = np.zeros((6, 2, 2, 1), np.uint8), np.arange(6) % 3
    path = tmp_path / "x.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y, class_names=names)
    command = [sys.executable, "-m", "sat_evaluation.cli", "data", "info"]
    done = subprocess.run([*command, f"npz:{path}"], capture_output=True, text=True, check=True)
    assert "3: \\x1b[2J, \\u202egnp.exe, c\\nd" in done.stdout
    np.savez(path, **{"x_train": x, "\x1b[2J": x})
    failed = subprocess.run([*command, f"npz:{path}"], capture_output=True, text=True, check=False)
    assert "got x_train, \\x1b[2J" in failed.stderr
    assert str(DataError("a\x1b[31m\nb")) == "a\\x1b[31m\nb"


def test_checkpoints_repeat_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from sat_core import checkpoint\n"
        "about = {name: [name] for name in ('epoch', 'model', 'data', 'attack', 'position')}\n"
        "arrays = {f'x{i}': np.arange(i + 1.0) for i in range(9)}\n"
        "checkpoint.save(Path(sys.argv[1]), {'model': arrays, 'trainer': {'step': np.array(3.0)}}, about)\n"
    )
    for name in ("a", "b", "c"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert len({(tmp_path / name).read_bytes() for name in ("a", "b", "c")}) == 1
    contents = checkpoint.read(tmp_path / "a")
    assert contents.groups["trainer"]["step"].shape == ()
    assert contents.metadata["epoch"] == ["epoch"]


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ("[]", r"expected a table as its metadata, got \[\]"),
        ("null", "expected a table as its metadata, got None"),
        ('"' + "x" * 3000 + '"', "expected a table as its metadata, got 'xxx.* … .*xxx'"),
        ("[" * 100_000, "maximum recursion depth"),
        ('{"a": ' * 100_000, "maximum recursion depth"),
        ("1" * 5000, "truncated or not a safetensors file"),
        ("{", "truncated or not a safetensors file"),
    ],
    ids=["list", "nothing", "long", "nested list", "nested table", "digits", "cut"],
)
def test_a_checkpoint_with_odd_metadata_is_refused_in_a_line(tmp_path: Path, about: str, says: str) -> None:
    save_file({"model/a": np.zeros(2)}, tmp_path / "a.safetensors", metadata={"sat-core": about})
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: .*{says}") as error:
        checkpoint.read(tmp_path / "a")
    assert len(str(error.value).removeprefix(str(tmp_path))) < 300


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3"])
def test_a_checkpoint_in_a_type_that_numpy_lacks_is_refused(tmp_path: Path, kind: str) -> None:
    size = {"BF16": 4, "F8_E4M3": 2}[kind]
    header = {"__metadata__": {"sat-core": "{}"}, "model/a": {"dtype": kind, "shape": [2], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    with pytest.raises(CheckpointError, match=f"types that numpy has, got 'model/a' in {kind}; save it as float32"):
        checkpoint.read(tmp_path / "a")


def test_a_spec_that_is_nested_too_deep_is_named(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(RunDirectoryError, match=r"spec\.toml: cannot be read \(brackets are nested too deep\)"):
        UnitFolder(tmp_path).read_spec()


def test_values_in_messages_are_short() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    assert len(quoted("x" * 3000)) <= 80
    assert quoted(10**5000) == "int too large to print"
    assert nearest("x" * 3000, KEYS) == ""


def test_a_lock_is_waited_for_and_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sat_core import files\n"
        "with files.locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        start = time.monotonic()
        with pytest.raises(RunDirectoryError, match="another process runs in it"), files.locked(tmp_path, wait=0.3):
            pass
        assert time.monotonic() - start >= 0.3
        holder.kill()
        with files.locked(tmp_path, wait=10):
            pass


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((2, 4, 4, 1), np.float32), np.array([0]), "2 images and 1 labels"),
        (np.zeros((2, 16), np.uint8), np.array([0, 1]), r"shape \(n, height, width, channels\)"),
        (np.zeros((2, 3, 16, 16), np.uint8), np.array([0, 1]), r"channels last.*\n.*transpose\(0, 2, 3, 1\)"),
        ({"images": 1}, np.array([0, 1]), "expected an array of images, got dict"),
        ([np.zeros((4, 4)), np.zeros((4, 5))], np.array([0, 1]), "list does not become an array of images"),
        (np.zeros((2, 4, 4, 1), np.uint8), {0, 1}, "expected an array of labels, got set"),
        (np.full((2, 4, 4, 1), 1.5), np.array([0, 1]), r"pixels in \[0, 1\], got \[1.5, 1.5\]"),
        (np.full((2, 4, 4, 1), np.nan), np.array([0, 1]), "NaN"),
        (np.zeros((2, 4, 4, 1), object), np.array([0, 1]), "got object"),
        (np.zeros((2, 4, 4, 1), np.int64), np.array([0, 1]), "got int64"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 3]), r"labels in 0\.\.2, got 0\.\.3"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, -1]), r"labels in 0\.\.2, got -1\.\.0"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0.0, 1.0]), "integer labels"),
    ],
)
def test_examples_are_checked(images: np.ndarray, labels: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        Examples(images, labels, 3)
    assert isinstance(error.value, SatError)
    assert len(str(error.value).splitlines()) <= 3


def test_a_file_that_is_taken_over_twice_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    for _ in range(2):
        files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
