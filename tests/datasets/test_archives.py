"""Archives that are hostile or broken off, full disks and interrupts."""

from __future__ import annotations

import errno
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

import pytest
from archives import Server, archives, caltech_files, fails, link, tar

from sat_datasets import releases
from sat_datasets.download import download, unpack

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("member", "content", "says"),
    [
        ("../escaped", b"x", "got '../escaped'"),
        ("256_ObjectCategories/../../escaped", b"x", "got '256_ObjectCategories/../../escaped'"),
        ("/escaped", b"x", "got '/escaped'"),
        ("link", link(tarfile.SYMTYPE, "/etc"), "got 'link', a link to '/etc'"),
        ("link", link(tarfile.SYMTYPE, ".."), "got 'link', a link to '..'"),
        ("a/link", link(tarfile.SYMTYPE, "../../b"), "got 'a/link', a link to '../../b'"),
        ("a/link", link(tarfile.LNKTYPE, "../escaped"), "got 'a/link', a link to '../escaped'"),
        ("pipe", link(tarfile.FIFOTYPE, ""), "got 'pipe', which is none"),
        ("device", link(tarfile.CHRTYPE, ""), "got 'device', which is none"),
    ],
)
def test_archives_that_lead_out_of_their_folder(
    member: str, content: Any, says: str, untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar({**caltech_files(), member: content}, "w")
    server.publish("caltech256", monkeypatch, archive=archive)
    message = fails("caltech256", untouched)
    assert "256_ObjectCategories.tar: expected " in message
    assert says in message


def test_links_that_lead_out_only_together(untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each target alone is inside; the second goes through the first link, which leads up."""
    pair = {"a/b/up": link(tarfile.SYMTYPE, "../.."), "out": link(tarfile.SYMTYPE, "a/b/up/../b")}
    server.publish("caltech256", monkeypatch, archive=tar({"a/b/x": b"x", **pair}, "w"))
    assert "got 'out', a link to 'a/b/up/../b'" in fails("caltech256", untouched)


def test_links_inside_an_archive_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"a/x": b"content", "b/link": link(tarfile.SYMTYPE, "../a/x")}))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out/b/link").read_bytes() == b"content"


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("name", ["cifar10", "flowers102", "caltech256"])
def test_archives_that_are_cut_off(
    name: str, share: float, untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = next(iter(archives(name).values()))
    server.publish(name, monkeypatch, archive=whole[: int(len(whole) * share)])
    message = fails(name, untouched)
    assert "expected a whole tar archive, got a broken one" in message


def test_archives_that_end_too_early(untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = dict(list(caltech_files().items())[:20])
    server.publish("caltech256", monkeypatch, archive=tar(dict(fewer), "w"))
    assert "data set 'caltech256': what was downloaded is not whole: " in fails("caltech256", untouched)
    server.publish("caltech256", monkeypatch, archive=tar({"other/a.jpg": b"x"}, "w"))
    assert "expected a folder 256_ObjectCategories in it, got none" in fails("caltech256", untouched)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=["^C", "full"]
)
@pytest.mark.parametrize("stage", ["download", "unpacking"])
def test_interrupts_and_full_disks(
    stage: str, error: BaseException, untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("cifar10", monkeypatch)
    written: list[Path] = []

    class Half:
        """A response that breaks off after its first part."""

        headers: ClassVar[dict[str, str]] = {}

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read1(self, _size: int) -> bytes:
            if written:
                raise error
            written.extend(untouched.rglob("cifar10.tar.gz"))
            return b"half"

    def member(_tar: tarfile.TarFile, info: tarfile.TarInfo, folder: Path, **_: Any) -> None:
        (folder / "half").write_bytes(b"half")
        written.append(folder / "half")
        raise error

    if stage == "download":
        monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Half())
    else:
        monkeypatch.setattr(tarfile.TarFile, "extract", member)
    if isinstance(error, OSError):
        message = fails("cifar10", untouched)
        assert f"{untouched}: cannot be written (No space left on device); it is as it was before" in message
    else:
        with pytest.raises(KeyboardInterrupt):
            download("cifar10", untouched)
    assert written
    assert written[0].is_relative_to(untouched)


FULL = """
import resource, sys
from sat_datasets import releases
from sat_evaluation.cli import main
import torchvision.datasets, sat_datasets.download
url, md5, folder = sys.argv[1:]
releases.CALTECH256 = (url, md5)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
sys.exit(main(["data", "download", "caltech256", "--root", folder]))
"""


@pytest.mark.parametrize("untouched", ["a folder"], indirect=True)
def test_a_file_larger_than_the_system_allows(untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish("caltech256", monkeypatch)
    url, expected = releases.CALTECH256
    command = [sys.executable, "-c", FULL, url, expected, str(untouched)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot be written (File too large); it is as it was before" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_a_folder_that_cannot_be_made(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish("cifar10", monkeypatch)
    (tmp_path / "file").write_text("")
    assert "cannot be written (" in fails("cifar10", tmp_path / "file" / "folder")
