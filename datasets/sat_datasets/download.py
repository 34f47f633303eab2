"""Download a data set: its folder gets all of the published files, checked, or none of them."""

from __future__ import annotations

import http.client
import os
import posixpath
import shutil
import ssl
import tarfile
import tempfile
import urllib.error
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sat_core import files
from sat_core.datasets import DATASETS
from sat_core.errors import DataError, RunDirectoryError
from sat_datasets.catalogue import catalogue_entry
from sat_datasets.fetch import Progress, fetch
from sat_datasets.releases import Published, md5_sum, published_files

_EXTRACT_OPTIONS: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {"set_attrs": False}
"""Options of `TarFile.extract`. Python has extraction filters since 3.11.4; `_refuse` does not depend on them."""
# Most of these are OSErrors: `_fetch` has to catch them before `download` takes them for a disk that is full.
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def download(name: str, folder: Path, *, progress: Progress = lambda *_: None) -> bool:
    """Download a data set.

    The files are downloaded to a temporary folder inside `folder`, compared with their MD5 sums, unpacked, loaded once
    and then renamed. If anything fails, `folder` is as it was before. A second download into the same folder waits for
    the first.

    Args:
        name: The data set.
        folder: Where to put it.
        progress: Called many times a second; see `sat_datasets.fetch.Progress`.

    Returns:
        False if the data set was there already, and whole.

    Raises:
        DataError: The data set cannot be downloaded; a file does not arrive within the limits of `sat_datasets.fetch`
            or is not the published one; a member of an archive leads out of its folder; `folder` cannot be written.
        NotInstalledError: torchvision, or another package that the loader needs, is not installed.
    """
    archives = published_files(name)
    if not archives:
        raise DataError(_by_hand(name, folder))
    try:
        if _missing(archives, folder):
            with _exclusive(folder, progress), _temporary(folder) as temporary:
                if missing := _missing(archives, folder):  # asked again: the other process may have got it meanwhile
                    for archive in missing:
                        _fetch(name, archive, temporary, progress)
                    # A data set of several files can be loaded only if all of them are in the temporary folder.
                    if missing == archives:
                        _check_loads(name, temporary)
                    # Several files may lie in one folder, which moves once: the three of Flowers-102.
                    for part in dict.fromkeys(archive.part for archive in missing):
                        (temporary / part).rename(folder / part)
                    return True
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error}); it is as it was before\n"
            "free some space or choose another folder"
        ) from error
    DATASETS.get(name)(str(folder))
    return False


def _missing(archives: list[Published], folder: Path) -> list[Published]:
    # Also a link to nowhere is there: nothing of the user's is ever replaced.
    return [archive for archive in archives if not os.path.lexists(folder / archive.part)]


@contextmanager
def _exclusive(folder: Path, progress: Progress) -> Iterator[None]:
    """Create and lock `folder`; at the end, remove the folders that were created for it and are still empty."""
    import fcntl

    created = [path for path in (folder, *folder.parents) if not path.exists()]
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # a download that failed has just removed it
            continue
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"waiting for another download into {folder}", 0, None)
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:  # a file system without locks for folders
                pass
            # The download that held the lock may have failed and removed the folder that it had created: then this lock
            # is on a folder without a name, and the next turn of the loop creates a new one.
            if not folder.exists() or not os.path.samestat(os.fstat(handle), os.stat(folder)):
                continue
            try:
                yield
            finally:  # before the lock is released: who waits for it must not lose its folder
                for path in created:
                    if path.is_dir() and not any(path.iterdir()):
                        path.rmdir()
            return
        finally:
            os.close(handle)


def _by_hand(name: str, folder: Path) -> str:
    entry = catalogue_entry(name)
    if entry.package:
        return f"data set {name!r}: expected one to download, got one that comes {entry.obtain}; use it as it is"
    return (
        f"data set {name!r}: expected one to download, got one whose terms have to be accepted at https://image-net.org\n"
        f"place ILSVRC2012 in {folder}, as train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG"
    )


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Create a temporary folder inside `folder`, on the same disk, so that files can be moved out by renaming them."""
    _remove_leftovers(folder)
    temporary = Path(tempfile.mkdtemp(prefix=files.TEMPORARY, dir=folder))
    try:
        with files.locked(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of downloads that were killed; one that still runs holds a lock on its own."""
    for leftover in folder.glob(f"{files.TEMPORARY}*"):
        try:
            with files.locked(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
        except RunDirectoryError:
            continue


def _fetch(name: str, archive: Published, temporary: Path, progress: Progress) -> None:
    """Download one file and put it, or the folder in it, at its `target` in `temporary`."""
    file = temporary / "download" / archive.url.rsplit("/", 1)[-1]
    file.parent.mkdir(exist_ok=True)
    try:
        fetch(archive.url, file, progress)
    except NETWORK_ERRORS as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(
            f"{archive.url}: cannot be downloaded ({reason})\n"
            f"try again later, or place {archive.target} in the folder by hand"
        ) from error
    # Before unpacking: nothing of an archive is trusted that is not the published one.
    if (actual := md5_sum(name, file)) != archive.md5:
        raise DataError(
            f"{archive.url}: expected a file with MD5 {archive.md5}, got a file of {file.stat().st_size:,} bytes with "
            f"MD5 {actual}\nthe download was cut off or the file is another one: try again later"
        )
    target = temporary / archive.target
    target.parent.mkdir(parents=True, exist_ok=True)
    if not archive.unpack:
        file.rename(target)
        return
    unpack(file, temporary / "unpacked")
    if not (temporary / "unpacked" / target.name).is_dir():
        raise DataError(f"{archive.url}: expected a folder {target.name} in it, got none")
    (temporary / "unpacked" / target.name).rename(target)
    file.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not.

    Args:
        archive: The file.
        folder: Where to; it is created.

    Raises:
        DataError: A member has an absolute path, leads out of `folder` by its path or as a link, or is no file, folder
            or link; or the archive is truncated.
    """
    folder.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _refuse(archive.name, member, os.path.realpath(folder))
                tar.extract(member, folder, **_EXTRACT_OPTIONS)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name}: expected a whole tar archive, got a broken one ({error})") from error


def _refuse(archive: str, member: tarfile.TarInfo, home: str) -> None:
    """Refuse a member that could write to, or link to, anything outside of `home`, the folder it is unpacked to.

    Paths are resolved on the disk, after the members before this one were written: two links that are harmless on their
    own can lead out together.
    """
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise DataError(f"{archive}: expected files, folders and links, got {member.name!r}, which is none")
    target = member.linkname
    if member.issym():
        target = posixpath.join(posixpath.dirname(member.name), target)
    parent, end = (os.path.realpath(os.path.join(home, path)) for path in (posixpath.dirname(member.name), target))
    if posixpath.isabs(member.name) or ".." in member.name.split("/") or not _inside(home, parent):
        escaping = repr(member.name)
    elif posixpath.isabs(target) or not _inside(home, end):
        escaping = f"{member.name!r}, a link to {member.linkname!r}"
    else:
        return
    raise DataError(f"{archive}: expected members that stay in its folder, got {escaping}\nnothing of it is kept")


def _inside(home: str, path: str) -> bool:
    return os.path.commonpath([home, path]) == home


def _check_loads(name: str, folder: Path) -> None:
    try:
        DATASETS.get(name)(str(folder))
    except DataError as error:
        raise DataError(f"data set {name!r}: what was downloaded is not whole: {str(error).splitlines()[0]}") from error
