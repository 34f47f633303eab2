"""Releases in small, in the official formats, and a server that has them."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from sat_core.data import DataSet
from sat_core.errors import DataError
from sat_datasets import caltech256, releases
from sat_datasets.download import download

RNG = np.random.default_rng(0)
CIFAR_IMAGES = RNG.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
SVHN_IMAGES = RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
IDS = {"trnid": [3, 8, 1, 12, 6], "valid": [2, 9, 5], "tstid": [4, 7, 11, 10]}
FLOWERS = np.array([1, 1, 1, 1, 102, 102, 102, 102, 7, 7, 7, 7])
"""Labels of the twelve flowers, as the release has them: from 1."""
CALTECH = {"001.ak47": 10, "002.american-flag": 7, "003.backpack": 5, "004.clutter": 8}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def tar(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def jpeg(value: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def mat(**arrays: Any) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, arrays)
    return buffer.getvalue()


def rows(images: np.ndarray) -> np.ndarray:
    """As CIFAR's batches have them: `(n, 3072)`, red, green, blue."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def cifar_files(name: str) -> dict[str, bytes]:
    """Files of the release in order: training, test, meta; 50 training images with labels i % classes."""
    classes, key, folder = (10, "labels", "cifar-10-batches-py") if name == "cifar10" else (5, "fine_labels", "")
    parts = {f"data_batch_{k}": slice(10 * k - 10, 10 * k) for k in range(1, 6)} | {"test_batch": slice(50, 60)}
    names, meta = ("label_names", "batches.meta") if name == "cifar10" else ("fine_label_names", "meta")
    if name == "cifar100":
        folder, parts = "cifar-100-python", {"train": slice(0, 50), "test": slice(50, 60)}
    content = {
        f"{folder}/{part}": pickle.dumps(
            {"data": rows(CIFAR_IMAGES[place]), key: (np.arange(60) % classes)[place].tolist()}, protocol=2
        )
        for part, place in parts.items()
    }
    return content | {f"{folder}/{meta}": pickle.dumps({names: [f"class {k}" for k in range(classes)]}, protocol=2)}


def flower_files() -> dict[str, bytes]:
    return {f"jpg/image_{number:05d}.jpg": jpeg(20 * number) for number in range(1, 13)}


def caltech_files() -> dict[str, bytes]:
    content = {
        f"256_ObjectCategories/{name}/{name[:3]}_{k:04d}.jpg": jpeg(10 * k, mode="L" if k == 1 else "RGB")
        for name, count in CALTECH.items()
        for k in range(count, 0, -1)
    }
    strays = ("002.american-flag/RENAME2", "003.backpack/greg/vision309", "003.backpack/greg/003_0009.jpg")
    return content | {f"256_ObjectCategories/{stray}": b"no image" for stray in strays}


def archives(name: str) -> dict[str, bytes]:
    """Files that the server has for a data set."""
    if name.startswith("cifar"):
        return {f"{name}.tar.gz": tar(dict(cifar_files(name)))}
    if name == "svhn":
        x = SVHN_IMAGES.transpose(1, 2, 3, 0)
        y = (np.arange(30) % 10 + 1)[:, None].astype(np.uint8)
        return {"train.mat": mat(X=x[..., :20], y=y[:20]), "test.mat": mat(X=x[..., 20:], y=y[20:])}
    if name == "flowers102":
        sets = mat(**{key: np.array(ids)[None] for key, ids in IDS.items()})
        return {"102flowers.tgz": tar(dict(flower_files())), "imagelabels.mat": mat(labels=FLOWERS), "setid.mat": sets}
    return {"256_ObjectCategories.tar": tar(dict(caltech_files()), "w")}


NAMES = ("cifar10", "cifar100", "svhn", "flowers102", "caltech256")


@attrs.define
class Server:
    """What it serves, and what it was asked for.

    cut: files of which only half is sent, once. drip: files that come a byte at a time, from their "headers" or their
    "content" on. gate: has to be set before anything is sent.
    """

    url: str
    content: dict[str, bytes] = attrs.Factory(dict)
    cut: set[str] = attrs.Factory(set)
    drip: dict[str, str] = attrs.Factory(dict)
    asked: list[str] = attrs.Factory(list)
    gate: threading.Event = attrs.Factory(threading.Event)
    closed: threading.Event = attrs.Factory(threading.Event)

    def publish(self, name: str, monkeypatch: pytest.MonkeyPatch, **changes: bytes) -> None:
        """Serve a data set, and let torchvision expect it; `changes` replaces its archive, with the right MD5 sum."""
        from torchvision import datasets

        content = archives(name)
        if "archive" in changes:
            content[next(iter(content))] = changes["archive"]
        self.content |= content
        sums = {file: md5(data) for file, data in content.items()}
        if name.startswith("cifar"):
            release = getattr(datasets, name.upper())
            parts = {path.split("/")[1]: md5(data) for path, data in cifar_files(name).items()}
            for attribute in ("train_list", "test_list"):
                same = [[part, parts[part]] for part, _ in getattr(release, attribute)]
                monkeypatch.setattr(release, attribute, same)
            monkeypatch.setattr(release, "meta", {**release.meta, "md5": parts[release.meta["filename"]]})
            monkeypatch.setattr(release, "url", f"{self.url}/{name}.tar.gz")
            monkeypatch.setattr(release, "tgz_md5", sums[f"{name}.tar.gz"])
        elif name == "svhn":
            both = {p: [f"{self.url}/{p}.mat", f"{p}_32x32.mat", sums[f"{p}.mat"]] for p in ("train", "test")}
            monkeypatch.setattr(datasets.SVHN, "split_list", both)
        elif name == "flowers102":
            kinds = zip(("image", "label", "setid"), sums.items(), strict=True)
            monkeypatch.setattr(datasets.Flowers102, "_download_url_prefix", f"{self.url}/")
            monkeypatch.setattr(datasets.Flowers102, "_file_dict", dict(kinds))
        else:
            ((file, expected),) = sums.items()
            monkeypatch.setattr(releases, "CALTECH256", (f"{self.url}/{file}", expected))
            monkeypatch.setattr(caltech256, "CLASSES", len(CALTECH))
            monkeypatch.setattr(caltech256, "IMAGES", sum(CALTECH.values()))


Get = Callable[[str], DataSet]


def listing(folder: Path) -> dict[str, Any]:
    """Everything below a folder, with its content."""
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def refusal(act: Callable[[], Any], kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        act()
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    return message


def values(images: Any) -> list[int]:
    """Grey values of images of one colour each; JPEG may move them by one or two."""
    pixels = images[np.arange(len(images))]
    assert np.ptp(pixels, axis=(1, 2, 3)).max() <= 2
    return [int(image.mean()) for image in pixels]


def fails(name: str, folder: Path) -> str:
    return refusal(lambda: download(name, folder))


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info
