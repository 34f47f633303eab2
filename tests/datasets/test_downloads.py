"""Downloads: what arrives whole is kept, anything else leaves the folder as it was."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from archives import NAMES, Get, Server, archives, fails, listing, md5, refusal

from sat_core import files
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, SpecError
from sat_datasets import fetch, releases
from sat_datasets.catalogue import CATALOGUE, root
from sat_datasets.download import download
from sat_datasets.verify import verify

pytestmark = pytest.mark.data


@pytest.mark.parametrize("name", NAMES)
def test_a_download_leaves_the_data_set_and_nothing_else(name: str, get: Get, server: Server, home: Path) -> None:
    data = get(name)
    assert sorted(path.name for path in (home / name).iterdir()) == sorted(CATALOGUE[name].parts)
    assert not list(home.rglob("*.t*gz"))
    before, requested = listing(home), list(server.asked)
    assert download(name, root(name)) is False
    assert listing(home) == before
    assert server.asked == requested
    assert verify(name).fingerprint() == data.fingerprint()


def test_a_download_gets_only_what_is_missing(get: Get, server: Server, home: Path) -> None:
    data = get("svhn")
    (home / "svhn/test_32x32.mat").unlink()
    (home / "svhn/notes.txt").write_text("mine")
    server.asked.clear()
    assert download("svhn", root("svhn"))
    assert set(server.asked) == {"test.mat"}
    assert get_dataset("svhn").fingerprint() == data.fingerprint()
    assert (home / "svhn/notes.txt").read_text() == "mine"


def test_what_is_there_and_broken_is_not_replaced(get: Get, home: Path) -> None:
    get("flowers102")
    (home / "flowers102/flowers-102/jpg/image_00003.jpg").unlink()
    before = listing(home)
    message = refusal(lambda: download("flowers102", root("flowers102")))
    assert "expected flowers-102/jpg/image_00003.jpg in" in message
    assert f"move {home / 'flowers102/flowers-102'} away, then `sat data download flowers102` gets it" in message
    assert listing(home) == before
    (home / "flowers102/flowers-102").rename(home / "away")
    assert download("flowers102", root("flowers102"))


@pytest.mark.parametrize("name", ["digits", "mnist5k", "imagenet200"])
def test_what_cannot_be_downloaded(name: str, home: Path) -> None:
    message = refusal(lambda: download(name, root(name)))
    assert "expected one to download, got one " in message
    assert (f"place ILSVRC2012 in {home / name}" if name == "imagenet200" else f"{CATALOGUE[name].obtain}") in message
    assert "did you mean 'cifar10'?" in refusal(lambda: download("cifar", home), SpecError)
    assert not home.exists()


@pytest.mark.parametrize("name", NAMES)
def test_another_file_than_the_published_one(
    name: str, untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(name, monkeypatch)
    file = list(archives(name))[-1]
    right = md5(server.content[file])
    server.content[file] += b"x"
    size, wrong = len(server.content[file]), md5(server.content[file])
    message = fails(name, untouched)
    assert (
        f"{server.url}/{file}: expected a file with MD5 {right}, got a file of {size:,} bytes with MD5 {wrong}"
        in message
    )


def test_a_connection_that_breaks_off(untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish("cifar10", monkeypatch)
    server.cut.add("cifar10.tar.gz")
    assert "the download was cut off or the file is another one" in fails("cifar10", untouched)


def test_an_address_without_a_file(untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish("flowers102", monkeypatch)
    del server.content["imagelabels.mat"]
    message = fails("flowers102", untouched)
    assert f"{server.url}/imagelabels.mat: cannot be downloaded (" in message
    assert "place flowers-102/imagelabels.mat in the folder by hand" in message
    assert "102flowers.tgz" in server.asked


def test_an_address_without_a_server(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "CALTECH256", ("http://127.0.0.1:9/a.tar", "0" * 32))
    message = fails("caltech256", untouched)
    assert "http://127.0.0.1:9/a.tar: cannot be downloaded (" in message
    assert "refused" in message


@pytest.mark.parametrize("what", ["headers", "content"])
def test_a_server_that_drips_is_given_up(
    what: str, untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte comes in time, but the file would take for ever."""
    monkeypatch.setattr(fetch, "PATIENCE", 0.5)
    server.publish("svhn", monkeypatch)
    server.drip["train.mat"] = what
    message = fails("svhn", untouched)
    assert f"{server.url}/train.mat: expected a file at 10,000 bytes per second, got " in message


def test_a_server_that_is_silent_is_given_up(untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PATIENCE", 0.5)
    server.publish("svhn", monkeypatch)
    server.gate.clear()
    assert f"{server.url}/train.mat: " in fails("svhn", untouched)
    server.gate.set()


def test_downloads_have_limits_of_time_and_size(
    untouched: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("svhn", monkeypatch)
    monkeypatch.setattr(fetch, "LARGEST", 1000)
    size = len(server.content["train.mat"])
    assert f"expected a file of at most 1,000 bytes, got {size:,}" in fails("svhn", untouched)
    monkeypatch.setattr(fetch, "LARGEST", 2**30)
    monkeypatch.setattr(fetch, "LONGEST", 0.3)
    server.drip["train.mat"] = "content"
    assert "expected a file within 8.33e-05 hours" in fails("svhn", untouched)


@pytest.mark.parametrize("first_fails", [False, True])
def test_a_second_download_waits_for_the_first(
    first_fails: bool, home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("svhn", monkeypatch)
    server.gate.clear()
    server.cut |= {"train.mat"} if first_fails else set()
    ends: dict[str, Any] = {}

    def run(name: str, progress: Any) -> None:
        try:
            ends[name] = download("svhn", root("svhn"), progress=progress)
        except DataError:
            ends[name] = "failed"

    def second(what: str, *_: Any) -> None:
        if what.startswith("waiting for another download into"):
            server.gate.set()

    calls = [("first", lambda *_: None), ("second", second)]
    threads = [threading.Thread(target=run, args=call) for call in calls]
    threads[0].start()
    while not server.asked:
        threads[0].join(0.01)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert ends == ({"first": "failed", "second": True} if first_fails else {"first": True, "second": False})
    assert server.asked == [*(["train.mat"] * first_fails), "train.mat", "test.mat"]
    assert sorted(path.name for path in (home / "svhn").iterdir()) == ["test_32x32.mat", "train_32x32.mat"]


def test_leftovers_of_a_killed_download_go_and_those_of_another_stay(get: Get, home: Path) -> None:
    killed, running = home / "cifar10" / f"{files.TEMPORARY}a", home / "cifar10" / f"{files.TEMPORARY}b"
    for folder in (killed, running):
        (folder / "download").mkdir(parents=True)
        (folder / "download/cifar10.tar.gz").write_bytes(b"half")
    with files.locked(running):
        get("cifar10")
    assert not killed.exists()
    assert (running / "download/cifar10.tar.gz").read_bytes() == b"half"
