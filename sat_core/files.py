"""Files that are written whole or not at all, and read without executing anything in them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sat_core.errors import DataError, RunDirectoryError
from sat_core.registry import nearest

TEMPORARY = ".partial-"
"""Prefix of files that are being written. One that is left behind was cut off, and can be removed."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
EXPERIMENT = "experiment"
"""Key under which files of a run have the fingerprint of their experiment, see `sat_core.experiment`."""
_LOCK = ".lock"
LONGEST_NAME = 200
"""Bytes. File systems allow 255, of which suffixes and the prefix of temporary files need some."""


def short_name(name: str, of: str) -> str:
    """Return `name`, or, where that is too long for a file, its beginning and a hash of `of`, which it stands for.

    >>> short_name("size-0.5", of="size 0.5"), len(short_name(300 * "a", of=300 * "a"))
    ('size-0.5', 200)
    """
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(of.encode()).hexdigest()[:16]
    # A cut may fall inside a character, whose first bytes are left out then.
    return f"{name.encode()[: LONGEST_NAME - 17].decode(errors='ignore')}-{digest}"


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write so that after a crash it has its old content or the new, never a mixture.

    What is written inside gets the name `path` at the end; an error inside leaves what was there.

    Raises:
        RunDirectoryError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, because a rename replaces a file at once only within one file system.
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    except OSError as error:
        raise RunDirectoryError(
            f"{path.parent}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a rename may reach the disk before the content does
        # mkstemp makes files that only their owner can read.
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise RunDirectoryError(f"{path}: cannot be written ({error.strerror})") from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; see `writing`."""
    with writing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8; see `write_bytes`."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON; NaN and infinity are refused, because JSON has none. See `write_bytes`."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz with the same bytes for the same arrays; arrays of objects are refused. See `write_bytes`."""
    buffer = io.BytesIO()
    # Every member gets the date 1980, so that only their order could change the bytes.
    np.savez(buffer, allow_pickle=False, **dict(sorted(arrays.items())))
    write_bytes(path, buffer.getvalue())


def irregular(path: Path) -> str:
    """Return what is at `path` in words if it is no file; empty for a file."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return "nothing" if isinstance(error, FileNotFoundError) else f"an error ({error.strerror})"
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "something else")


def check_regular(path: Path) -> None:
    """Raise DataError unless there is a file at `path`: reading from a pipe or a device may never end."""
    if what := irregular(path):
        raise DataError(f"{path}: no such file" if what == "nothing" else f"{path}: expected a file, got {what}")


def read_npz(path: Path, *names: str, optional: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return arrays of an .npz. Only those that are asked for are read.

    Args:
        path: The file.
        names: Arrays that it must have; none for all that it has.
        optional: Arrays that it may have besides. If given, a file with any other array is refused.

    Raises:
        DataError: Names file and reason. Arrays of objects are refused: reading them would execute what is in them.
    """
    check_regular(path)
    try:
        # np.load takes an .npy, too, and returns an array, which has no names.
        if not zipfile.is_zipfile(path):
            raise DataError("not a zip archive, or a part of one")
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            there = list(file.files)
            wanted = [name for name in (*(names or there), *(optional or ())) if name in there]
            unknown = [name for name in there if name not in wanted] if optional is not None else []
            missing = [name for name in names if name not in there]
            # Nothing is read of a file that is refused for its names: its arrays may be huge.
            arrays = {name: _array(file, name) for name in wanted} if not missing and not unknown else {}
    except Exception as error:  # zip, numpy and zlib each have errors of their own for a broken file
        raise DataError(f"{path}: expected an .npz file of plain arrays ({reason(error)})") from error
    if missing:
        raise DataError(f"{path}: expected the arrays {', '.join(names)}, got {', '.join(there) or 'none'}")
    if unknown:
        raise DataError(
            f"{path}: unknown array {unknown[0]!r}{nearest(unknown[0], (*names, *(optional or ())))}\n"
            f"expected {', '.join(names)}; besides them at most {', '.join(optional or ())}"
        )
    return arrays


def _array(file: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        raise ValueError(f"{name}: {reason(error)}") from error


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; DataError names file and reason."""
    try:
        if what := irregular(path):
            raise ValueError(f"got {what}")
        return json.loads(path.read_text(), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON file ({reason(error)})") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of TOML text; ValueError says in one line what is wrong."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("brackets are nested too deep") from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where the disk allows no links; never a part of it."""
    partial = target.with_name(f"{TEMPORARY}{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        # A link never replaces what is there, a rename does.
        os.link(source, partial)
        os.replace(partial, target)
        # Where `target` was a link to `source` already, the rename does nothing and leaves `partial` behind.
        partial.unlink(missing_ok=True)
    except OSError:
        partial.unlink(missing_ok=True)
        write_bytes(target, source.read_bytes())


def sweep(directory: Path, below: bool = True) -> None:
    """Remove temporary files of interrupted writes from `directory` and, with `below`, from all folders in it."""
    for leftover in directory.glob(f"{'**/' * below}{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


@contextmanager
def locked(directory: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of `directory` inside. The system releases it when the process ends, however that happens.

    Raises:
        RunDirectoryError: Another process still holds it after `wait` seconds.
    """
    import fcntl

    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / _LOCK).open("a+")
    except OSError as error:
        raise RunDirectoryError(f"{directory}: cannot be written ({error.strerror}); choose another folder") from error
    with file:
        until = time.monotonic() + wait
        # flock waits for ever or not at all, so it is asked again and again. Closing the file releases the lock.
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= until:
                    raise RunDirectoryError(
                        f"{directory}: another process runs in it; wait for it or stop it"
                    ) from error
            time.sleep(0.05)
        yield


def is_locked(directory: Path) -> bool:
    """Return whether a process holds the lock of `directory`."""
    import fcntl

    try:
        # For reading: to ask makes neither file nor folder.
        with (directory / _LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that two who ask do not see each other
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def reason(error: BaseException) -> str:
    """Return the first line of an error; of errors of the system without the path, which the caller names."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
