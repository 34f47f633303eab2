"""Folders that make no data set: files that are no images, links, missing and ambiguous classes."""

from __future__ import annotations

import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from pictures import paint, refusal

from sat_datasets import folder

pytestmark = pytest.mark.data


def test_folder_names_two_files_of_different_size(tree: Path) -> None:
    paint(tree / "test/dog/large.png", (1, 2, 3), size=(7, 5))
    message = refusal(folder.load, tree)
    assert "test/dog/large.png: expected images of one size, got 7 x 5" in message
    assert "6 x 4" in message
    assert "train/cat/b.png" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train/cat/notes.txt", b"no image"),
        ("train/cat/empty.png", b""),
        ("test/dog/cut.png", None),
        ("test/dog/deep/cut.png", None),
    ],
)
def test_folder_names_what_is_no_image(name: str, content: bytes | None, tree: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = paint(tree / name, pixels, format="png")
    assert folder.load(str(tree)).image_shape == (4, 6, 3)
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    assert f"{path}: expected an image that Pillow can read" in refusal(folder.load, tree)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n%%EOF\n"


def test_folder_starts_no_program_to_read_a_file(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads PostScript with Ghostscript, whatever a file is called."""
    from PIL import Image

    path = tree / "train/cat/z.png"
    path.write_bytes(EPS)
    with Image.open(path) as image:
        assert image.format == "EPS"
    monkeypatch.setattr(subprocess, "Popen", None)
    assert f"{path}: expected an image that Pillow can read" in refusal(folder.load, tree)
    assert "it begins with b'%!PS-Adobe" in refusal(folder.load, tree)
    assert str(path) in refusal(lambda name: folder.load(name, size="8").train.images[:], tree)


def test_folder_names_all_broken_images(tree: Path) -> None:
    paths = [tree / "train/cat/b.png", tree / "test/dog/x.png"]
    for path in paths:
        path.write_bytes(b"<!doctype html>")
    said = refusal(folder.load, tree)
    assert all(str(path) in said for path in paths)
    assert "got 2 of 7 files that are none or are broken" in said


def test_folder_names_what_has_no_known_range(tree: Path) -> None:
    path = paint(tree / "train/cat/a.tiff", np.zeros((4, 6), np.float32))
    assert f"{path}: expected an image of integers" in refusal(folder.load, tree)
    paint(path, np.full((4, 6), 65536, np.int32))
    assert f"{path}: expected grey values of 8 or 16 bits, got 65536..65536" in refusal(folder.load, tree)
    paint(path, np.full((4, 6), -1, np.int32))
    assert f"{path}: expected grey values of 8 or 16 bits, got -1..-1" in refusal(folder.load, tree)


@pytest.mark.parametrize("limit", [23, 11])
def test_folder_names_decompression_bombs(limit: int, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    folder.load(str(tree))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # 24 pixels: above the warning, above twice of it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = refusal(folder.load, tree)
    assert f"{tree / 'train/cat/b.png'} (" in message
    assert "exceeds limit" in message


def test_folder_refuses_links_that_lead_out(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    paint(outside / "secret.png", (1, 2, 3))
    link = tree / "train/cat/link"
    for target in (outside / "secret.png", outside, tree / "train/dog", tree, tree / "nowhere", link, Path("../../..")):
        link.symlink_to(target)
        assert f"{link}: expected links to files inside {tree}" in refusal(folder.load, tree)
        link.unlink()
    (tree / "train/bird").symlink_to(outside)
    assert f"{tree / 'train/bird'}: expected links" in refusal(folder.load, tree)
    (tree / "train/bird").unlink()
    (tree / "test").rename(outside / "test")
    (tree / "test").symlink_to(outside / "test")
    assert "got a link" in refusal(folder.load, tree)


def test_folder_refuses_other_trees(tree: Path) -> None:
    assert "folder:PATH" in refusal(folder.load, "")
    assert f"{tree / 'none' / 'train'}: expected" in refusal(folder.load, tree / "none")
    assert f"{tree / 'train/cat/b.png/train'}: expected" in refusal(folder.load, tree / "train/cat/b.png")
    (tree / "train/bird").mkdir()
    assert f"{tree / 'train/bird'}: expected at least one image" in refusal(folder.load, tree)
    (tree / "train/bird/.hidden").write_bytes(b"")
    (tree / "train/bird/deep").mkdir()
    assert f"{tree / 'train/bird'}: expected at least one image" in refusal(folder.load, tree)
    os.mkfifo(tree / "train/bird/pipe")
    assert f"{tree / 'train/bird/pipe'}: expected an image, got a pipe (FIFO)" in refusal(folder.load, tree)
    (tree / "train/bird").rename(tree / ".bird")
    paint(tree / "test/bird/a.png", (1, 2, 3))
    assert f"{tree / 'test/bird'}: expected one of the classes" in refusal(folder.load, tree)
    (tree / "test/bird").rename(tree / ".bird2")
    (tree / "test/cow").mkdir()
    assert f"{tree / 'test/cow'}: expected one of the classes" in refusal(folder.load, tree)
    (tree / "test/cow").rmdir()
    paint(tree / "train/a.png", (1, 2, 3))
    assert f"{tree / 'train/a.png'}: expected a folder for each class" in refusal(folder.load, tree)
    (tree / "train/a.png").unlink()
    (tree / "test").rename(tree / ".test")
    assert f"{tree / 'test'}: expected a folder" in refusal(folder.load, tree)
    (tree / "test").mkdir()
    assert f"{tree / 'test'}: expected a folder for each class, got none" in refusal(folder.load, tree)


def test_folder_refuses_classes_that_differ_in_case_only(tree: Path) -> None:
    paint(tree / "train/CAT/a.png", (1, 2, 3))
    said = refusal(folder.load, tree)
    assert str(tree / "train/CAT") in said
    assert "'cat'" in said
    assert "differ in more than case" in said


def test_folder_refuses_classes_that_look_the_same(tree: Path) -> None:
    """As when some of the images were copied by macOS, which stores é as two characters."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    paint(tree / "train" / composed / "a.png", (1, 2, 3))
    paint(tree / "test" / apart / "a.png", (1, 2, 3))
    assert f"got {apart!r}, which is {composed!r} there" in refusal(folder.load, tree)
    paint(tree / "train" / apart / "a.png", (1, 2, 3))
    assert "differ in more than case, spaces or Unicode form" in refusal(folder.load, tree)
    (tree / "train" / apart).rename(tree / "train" / "cat ")
    assert "too\nmost likely they are one class" in refusal(folder.load, tree)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"a\x1b[31m"])
def test_folder_refuses_names_that_are_no_text(name: bytes, tree: Path) -> None:
    os.makedirs(os.path.join(os.fsencode(tree / "train"), name))
    said = refusal(folder.load, tree)
    assert repr(name) in said


def test_folder_refuses_one_class(tmp_path: Path) -> None:
    for part in ("train", "test"):
        paint(tmp_path / part / "cat/a.png", (1, 2, 3))
    assert "expected at least 2 classes, got 1" in refusal(folder.load, tmp_path)


def test_folder_says_what_cannot_be_listed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder.os, "scandir", denied)
    assert f"{tree / 'train'}: expected a folder that can be read" in refusal(folder.load, tree)
