"""Fixtures that tests of data sets share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from archives import Get, Server, jpeg, listing
from pictures import SIZE, paint

from sat_core.data import DataSet
from sat_core.datasets import get_dataset
from sat_datasets import imagenet200
from sat_datasets.catalogue import CATALOGUE, root
from sat_datasets.download import download


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes; every training image has one grey value of its own, 10, 20, ... in the order it must be read."""
    for value, name in enumerate(["cat/b.png", "cat/deep/a.png", "cat/deep/er/c.png", "dog/10.png", "dog/9.png"], 1):
        paint(tmp_path / "train" / name, (value * 10,) * 3)
    paint(tmp_path / "test/cat/x.png", (60,) * 3)
    paint(tmp_path / "test/dog/x.png", (70,) * 3)
    return tmp_path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where data sets lie; images are decoded in this process unless a test says otherwise."""
    monkeypatch.setenv("SAT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SAT_WORKERS", "0")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


@pytest.fixture
def server() -> Iterator[Server]:
    """An HTTP server on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = self.path.strip("/")
            state.asked.append(file)
            if file not in state.content:
                self.send_error(404)
                return
            content = state.content[file]
            state.gate.wait(60)
            half = file in state.cut
            state.cut.discard(file)
            with contextlib.suppress(OSError):  # a client that has given up
                if state.drip.get(file) == "headers":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                while file in state.drip and not state.closed.wait(0.02):
                    self.wfile.write(b"x")
                self.wfile.write(content[: len(content) // 2] if half else content)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state = Server(f"http://127.0.0.1:{http.server_address[1]}")
        state.gate.set()
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        state.closed.set()
        http.shutdown()
        thread.join()


@pytest.fixture
def get(server: Server, monkeypatch: pytest.MonkeyPatch) -> Get:
    """Downloads a data set in small and loads it, options and all."""

    def load(full_name: str) -> DataSet:
        name = full_name.partition("?")[0]
        server.publish(name, monkeypatch)
        assert download(name, root(name))
        return get_dataset(full_name)

    return load


@pytest.fixture
def imagenet(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two training images and one for validation in each of the 200 classes, and what else may lie in such a tree."""
    entry = CATALOGUE["imagenet200"]
    monkeypatch.setitem(CATALOGUE, "imagenet200", attrs.evolve(entry, train=400, test=200))
    image = jpeg(90)
    for wnid in (*imagenet200.WNIDS, "n00000001", "n99999999"):
        for path in (f"train/{wnid}/{wnid}_9.JPEG", f"train/{wnid}/{wnid}_10.JPEG", f"val/{wnid}/val_7.JPEG"):
            target = home / "imagenet200" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(image)
    (home / "imagenet200/train" / imagenet200.WNIDS[0] / "notes.txt").write_text("no image")
    (home / "imagenet200/train" / imagenet200.WNIDS[0] / "._x.JPEG").write_text("no image")
    (home / "imagenet200/train.tar").write_text("")
    return home / "imagenet200"


@pytest.fixture(params=["no folder", "a folder"])
def untouched(request: pytest.FixtureRequest, home: Path) -> Iterator[Path]:
    """The folder of the test's data set, missing or with a file of the user's; at the end it is as it was."""
    folder = home / "there"
    if request.param == "a folder":
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
    before = listing(home.parent)
    yield folder
    assert listing(home.parent) == before


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of JPEG files of many sizes: stripes across or along."""
    from PIL import Image

    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 24)):
        for number in range(count):
            h, w = rng.integers(20, 60, 2)
            along = np.sin(np.arange(h)[:, None] / 2) if number % 2 else np.sin(np.arange(w)[None] / 2)
            x = 128 + 90 * along[..., None] + rng.integers(-20, 20, (h, w, 3))
            folder = root / part / ("across", "along")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.jpg", quality=90)
    return root


@pytest.fixture(scope="module")
def data(photographs: Path) -> DataSet:
    return get_dataset(f"folder:{photographs}?size={SIZE}")
