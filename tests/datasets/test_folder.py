"""A data set in folders: which images are read, in which order, and what becomes of their pixels."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import paint, refusal

from sat_core.array_data import mean_and_std
from sat_core.datasets import get_dataset
from sat_datasets import folder

pytestmark = pytest.mark.data


def test_folder_is_read_in_order(tree: Path) -> None:
    data = get_dataset(f"folder:{tree}")
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (4, 6, 3)
    assert data.train.images.dtype == np.uint8
    assert data.train.images[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50]
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test.images[:, 3, 5, 2].tolist() == [60, 70]
    assert data.test.labels.tolist() == [0, 1]
    assert (data.mean, data.std) == mean_and_std(data.train.images)
    assert data.name == f"folder:{tree}"


def test_folder_order_does_not_depend_on_the_listing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = folder.load(str(tree)).fingerprint()
    scandir = os.scandir
    for key in (lambda entry: [-ord(letter) for letter in entry.name], lambda entry: hash(entry.name)):
        monkeypatch.setattr(
            folder.os, "scandir", lambda path, key=key: nullcontext(iter(sorted(scandir(path), key=key)))
        )
        assert folder.load(str(tree)).fingerprint() == expected


def test_folder_leaves_hidden_files_out(tree: Path) -> None:
    expected = folder.load(str(tree)).fingerprint()
    (tree / "train/.DS_Store").write_bytes(b"no image")
    (tree / "train/cat/.hidden.png").write_bytes(b"no image")
    (tree / "train/.cache").mkdir()
    paint(tree / "train/cat/.thumbnails/a.png", (99,) * 3)
    (tree / "README.txt").write_text("beside train and test there may be more")
    assert folder.load(str(tree)).fingerprint() == expected


@pytest.mark.parametrize("size", ["", "8"])
def test_folder_skips_what_systems_leave_behind(size: str, tree: Path) -> None:
    expected = folder.load(str(tree), size=size).fingerprint()
    names = ("Thumbs.db", "desktop.ini", ".DS_Store", "._b.png", "Icon\r", "__MACOSX/._b.png", "@eaDir/b.png")
    for place in ("train", "train/cat", "train/cat/deep", "test/dog"):
        for name in names:
            path = tree / place / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"no image")
    data = folder.load(str(tree), size=size)
    assert data.class_names == ("cat", "dog")
    assert data.fingerprint() == expected


@pytest.mark.parametrize("size", ["", "8"])
@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_folder_takes_validation_images(name: str, size: str, tree: Path) -> None:
    paint(tree / name / "dog/v.png", (99,) * 3)
    data = folder.load(str(tree), size=size)
    assert data.validation is not None
    assert data.validation.labels.tolist() == [1]
    assert data.validation.images[np.arange(1)][0, 0, 0].tolist() == [99] * 3
    assert data.test.labels.tolist() == [0, 1]
    assert data.notes == ()
    paint(tree / "val2" / "dog/v.png", (99,) * 3)
    assert len(folder.load(str(tree)).parts) == 3


def test_folder_without_test_images_reports_on_those_for_validation(tree: Path) -> None:
    (tree / "test").rename(tree / "val")
    data = folder.load(str(tree))
    assert data.validation is None
    assert data.test.images[:, 0, 0, 0].tolist() == [60, 70]
    assert data.notes == (f"{tree} has no folder test: the images in val are the test images",)
    paint(tree / "valid" / "dog/v.png", (99,) * 3)
    assert "expected one folder of validation images, got val and valid" in refusal(folder.load, tree)


def test_folder_names_folders_that_may_be_meant(tree: Path) -> None:
    (tree / "test").rename(tree / "Test")
    assert f"{tree / 'test'}: expected a folder" in refusal(folder.load, tree)
    assert "has 'Test', 'train'" in refusal(folder.load, tree)


def test_folder_keeps_pixels_where_they_are(tree: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for suffix in ("png", "bmp", "ppm", "tiff", "tga"):
        paint(tree / f"train/cat/a.{suffix}", pixels)
        np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], pixels)
        (tree / f"train/cat/a.{suffix}").unlink()


RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6)


@pytest.mark.parametrize(
    ("name", "value", "options", "expected"),
    [
        ("a.png", (RAMP * 10).astype(np.uint8), {}, RAMP * 10),
        ("a.png", RAMP % 2 > 0, {}, RAMP % 2 * 255),
        ("a.png", RAMP * 2700 + 100, {}, np.rint((RAMP * 2700 + 100) / 257)),
        ("a.tiff", RAMP * 2700 + 100, {}, np.rint((RAMP * 2700 + 100) / 257)),
        ("a.png", np.full((4, 6), 65535, np.uint16), {}, np.full((4, 6), 255)),
        ("a.tiff", (RAMP * 2700).astype(np.int32), {}, np.rint(RAMP * 2700 / 257)),
        ("a.jpg", np.full((4, 6), 77, np.uint8), {"quality": 95}, np.full((4, 6), 77)),
    ],
)
def test_folder_without_colour_has_one_channel(
    name: str, value: np.ndarray, options: dict[str, Any], expected: np.ndarray, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        paint(tmp_path / part / "cat" / name, value, **options)
        paint(tmp_path / part / "dog/x.png", 9, "L")
    data = folder.load(str(tmp_path))
    assert data.image_shape == (4, 6, 1)
    np.testing.assert_array_equal(data.train.images[0, ..., 0], expected)
    paint(tmp_path / "test/dog/colour.png", (9, 9, 9), "RGB")
    coloured = folder.load(str(tmp_path))
    assert coloured.image_shape == (4, 6, 3)
    np.testing.assert_array_equal(coloured.train.images[0], np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "options", "expected"),
    [
        ("RGB", (10, 20, 30), "png", {}, (10, 20, 30)),
        ("RGBA", (100, 200, 50, 255), "png", {}, (100, 200, 50)),
        ("RGBA", (100, 200, 50, 0), "png", {}, (0, 0, 0)),
        ("RGBA", (100, 200, 50, 128), "png", {}, (50, 100, 25)),
        ("LA", (100, 128), "png", {}, (50, 50, 50)),
        ("L", 100, "png", {"transparency": 100}, (0, 0, 0)),
        ("RGB", (10, 20, 30), "png", {"transparency": (10, 20, 30)}, (0, 0, 0)),
        ("P", 0, "png", {}, (200, 100, 50)),
        ("P", 0, "gif", {}, (200, 100, 50)),
        ("P", 0, "png", {"transparency": 0}, (0, 0, 0)),
        ("P", 0, "png", {"transparency": b"\x80"}, (100, 50, 25)),
        ("CMYK", (255, 0, 0, 0), "tiff", {}, (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "tiff", {}, (0, 0, 0)),
        ("YCbCr", (76, 84, 255), "tiff", {}, (254, 0, 0)),
    ],
)
def test_folder_converts_to_colour(
    mode: str, value: Any, suffix: str, options: dict[str, Any], expected: Any, tree: Path
) -> None:
    from PIL import Image

    image = Image.new(mode, (6, 4), value)
    if mode == "P":
        image.putpalette([200, 100, 50] + [0] * 765)
    image.save(tree / f"train/cat/a.{suffix}", **options)
    np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], np.tile(expected, (4, 6, 1)))


def test_folder_honours_exif_orientation(tree: Path) -> None:
    from PIL import Image

    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated clockwise
    path = paint(tree / "train/cat/a.png", np.rot90(upright).copy(), exif=exif)
    np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], upright)
    exif[0x0112] = 1
    paint(path, np.rot90(upright).copy(), exif=exif)
    assert "got 6 x 4\nand 4 x 6" in refusal(folder.load, tree)


def test_folder_takes_the_first_frame(tree: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (6, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tree / "train/cat/a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(folder.load(str(tree)).train.images[0], np.tile((255, 0, 0), (4, 6, 1)))


def test_folder_takes_links_inside_the_tree(tree: Path) -> None:
    (tree / "train/cat/zz.png").symlink_to(tree / "train/dog/9.png")
    assert folder.load(str(tree)).train.images[:, 0, 0, 0].tolist() == [10, 20, 30, 50, 40, 50]
    (tree.parent / f"{tree.name}-link").symlink_to(tree)
    assert len(folder.load(f"{tree}-link").train) == 6


def test_folder_need_not_have_each_class_in_validation(tree: Path) -> None:
    (tree / "test/dog/x.png").unlink()
    (tree / "test/dog").rmdir()
    assert folder.load(str(tree)).test.labels.tolist() == [0]


def test_folder_takes_names_in_any_script(tree: Path) -> None:
    for part in ("train", "test"):
        (tree / part / "cat").rename(tree / part / "кошка 猫 é")
        paint(tree / part / "кошка 猫 é" / "ß – ø.png", (1, 2, 3))
    data = folder.load(str(tree))
    assert data.class_names == ("dog", "кошка 猫 é")
    streamed = folder.load(str(tree), size="8")
    assert streamed.class_names == data.class_names
    assert streamed.fingerprint() == folder.load(str(tree), size="8").fingerprint()
    assert streamed.train.images[:].shape == (len(data.train), 8, 8, 3)
