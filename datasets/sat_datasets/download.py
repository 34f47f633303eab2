"""Published files into the folder of a data set: whole and checked, or not at all."""

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
from sat_datasets.catalogue import about
from sat_datasets.fetch import Progress, fetch
from sat_datasets.releases import Published, md5_sum, published

_EXTRACTED: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {"set_attrs": False}
"""How members are written; Python has filters since 3.11.4."""
NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def download(name: str, folder: Path, *, progress: Progress = lambda *_: None) -> bool:
    """Get the data set called `name` into `folder`; False if it was there, whole, and nothing was done.

    Everything is made in a temporary folder inside `folder`: downloaded, held against its MD5 sum, unpacked, loaded
    once, and then renamed. Whatever fails, `folder` is as it was before. A second download into it waits for the first.
    Raises DataError if the data set has no published files, for a file that cannot be had within the limits of
    `sat_datasets.fetch` or is another, for an archive with a member that leads out of it, and if `folder` cannot be
    written.
    """
    archives = published(name)
    if not archives:
        raise DataError(_by_hand(name, folder))
    try:
        if _missing(archives, folder):
            with _alone(folder, progress), _temporary(folder) as temporary:
                if missing := _missing(archives, folder):  # unless a process that was waited for got it
                    for archive in missing:
                        _fetch(name, archive, temporary, progress)
                    if missing == archives:
                        _load(name, temporary)
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
    return [archive for archive in archives if not os.path.lexists(folder / archive.part)]


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold `folder`, which is made; folders that were made for it go, if nothing is in them at the end."""
    import fcntl

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    progress(f"waiting for another download into {folder}", 0, None)
                    fcntl.flock(handle, fcntl.LOCK_EX)
                except OSError:  # a file system without locks for folders
                    pass
                # a download that was waited for, and failed, has removed the folder that it had made
                if folder.exists() and os.path.samestat(os.fstat(handle), os.stat(folder)):
                    yield
                    return
            finally:
                os.close(handle)
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _by_hand(name: str, folder: Path) -> str:
    known = about(name)
    if known.package:
        return f"data set {name!r}: expected one to download, got one that comes {known.obtain}; use it as it is"
    return (
        f"data set {name!r}: expected one to download, got one whose terms have to be accepted at https://image-net.org\n"
        f"place ILSVRC2012 in {folder}, as train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG"
    )


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A folder inside `folder` that goes with all that is left in it."""
    _sweep(folder)
    temporary = Path(tempfile.mkdtemp(prefix=files.TEMPORARY, dir=folder))
    try:
        with files.locked(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what a download left that was killed; one that still runs holds its lock."""
    for leftover in folder.glob(f"{files.TEMPORARY}*"):
        try:
            with files.locked(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
        except RunDirectoryError:
            continue


def _fetch(name: str, archive: Published, temporary: Path, progress: Progress) -> None:
    """Download one file and put it, or what is in it, where it belongs below `temporary`."""
    file = temporary / "download" / archive.url.rsplit("/", 1)[-1]
    file.parent.mkdir(exist_ok=True)
    try:
        fetch(archive.url, file, progress)
    except NETWORK as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(
            f"{archive.url}: cannot be downloaded ({reason})\n"
            f"try again later, or place {archive.target} in the folder by hand"
        ) from error
    if (found := md5_sum(name, file)) != archive.md5:
        raise DataError(
            f"{archive.url}: expected a file with MD5 {archive.md5}, got a file of {file.stat().st_size:,} bytes with "
            f"MD5 {found}\nthe download was cut off or the file is another one: try again later"
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
    """The files and folders of a tar archive, compressed or not, into `folder`, which is made.

    Raises DataError for a member that is absolute, leads out of `folder` itself or as a link, or is no file, folder or
    link, and for an archive that is cut off.
    """
    folder.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _refuse(archive.name, member, os.path.realpath(folder))
                tar.extract(member, folder, **_EXTRACTED)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive.name}: expected a whole tar archive, got a broken one ({error})") from error


def _refuse(archive: str, member: tarfile.TarInfo, home: str) -> None:
    """DataError for a member that could write, or show, what lies outside of `home`, which it is unpacked to."""
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise DataError(f"{archive}: expected files, folders and links, got {member.name!r}, which is none")
    target = member.linkname
    if member.issym():
        target = posixpath.join(posixpath.dirname(member.name), target)
    reached = [os.path.realpath(os.path.join(home, path)) for path in (posixpath.dirname(member.name), target)]
    if posixpath.isabs(member.name) or ".." in member.name.split("/") or not _inside(home, reached[0]):
        out = repr(member.name)
    elif posixpath.isabs(target) or not _inside(home, reached[1]):
        out = f"{member.name!r}, a link to {member.linkname!r}"
    else:
        return
    raise DataError(f"{archive}: expected members that stay in its folder, got {out}\nnothing of it is kept")


def _inside(home: str, path: str) -> bool:
    return os.path.commonpath([home, path]) == home


def _load(name: str, folder: Path) -> None:
    try:
        DATASETS.get(name)(str(folder))
    except DataError as error:
        raise DataError(f"data set {name!r}: what was downloaded is not whole: {str(error).splitlines()[0]}") from error
