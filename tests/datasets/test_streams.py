"""Images that are decoded when they are needed: what comes out, in which order, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import SIZE, broken_tree, draws

from sat_core.augmentation import crop_box
from sat_core.data import DataSet, check_files
from sat_core.datasets import get_dataset
from sat_core.errors import DataError, SpecError
from sat_core.images import resize
from sat_core.scaling import Scaling
from sat_datasets.stream import FileImages
from sat_datasets.workers import AHEAD

pytestmark = pytest.mark.data


def test_the_test_time_transform_is_resize_and_centre_crop(
    data: DataSet, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image
    from torchvision.transforms import CenterCrop, Compose, Resize

    monkeypatch.delenv("SAT_WORKERS")  # as many as there are by default
    transform = Compose([Resize(round(SIZE * 256 / 224)), CenterCrop(SIZE)])
    paths = sorted(photographs.glob("test/*/*.jpg"))
    expected = np.stack([np.asarray(transform(Image.open(path))) for path in paths])
    images = data.test.images[np.arange(len(data.test))]
    assert images.dtype == np.uint8
    assert data.image_shape == images.shape[1:] == (SIZE, SIZE, 3)
    assert np.array_equal(images, expected)
    assert data.class_names == ("across", "along")
    assert data.test.labels.tolist() == [0] * 12 + [1] * 12


def test_a_random_crop_is_the_part_that_the_draws_say(data: DataSet, photographs: Path) -> None:
    from PIL import Image
    from torchvision.transforms.functional import resized_crop

    paths, chosen = sorted(photographs.glob("train/*/*.jpg")), draws(40)
    (found,) = data.train.images.stream([(np.arange(40), chosen)])
    for path, row, pixels in zip(paths, chosen, found, strict=True):
        image = Image.open(path)
        box = crop_box(row, image.height, image.width)
        assert np.array_equal(pixels, np.asarray(resized_crop(image, *box, size=[SIZE, SIZE])))


@pytest.mark.parametrize(("h", "w"), [(256, 256), (300, 200), (40, 400), (8, 9)])
def test_crops_are_those_of_the_recipe(h: int, w: int) -> None:
    """Crops lie inside, and their places and sizes have the mean and spread of torchvision's, whose draws differ."""
    import torch
    from torchvision.transforms import RandomResizedCrop

    boxes = np.array([crop_box(row, h, w) for row in draws(4000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= h).all()
    assert (left + width <= w).all()
    assert {*range(h - height.min() + 1)} >= {*top} or h == height.min()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.zeros(1, h, w)
        torchvisions = np.array([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)])
    for ours, expected in zip(boxes.T, torchvisions.T, strict=True):
        assert ours.mean() == pytest.approx(expected.mean(), abs=0.05 * max(h, w))
        assert ours.std() == pytest.approx(expected.std(), abs=0.05 * max(h, w))


@pytest.mark.parametrize("workers", ["0", "1", "3"])
def test_the_order_is_that_of_the_requests_whoever_decodes(
    data: DataSet, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("SAT_WORKERS", workers)
    images, requested = data.train.images, 0
    parts = [np.array([3, 3, 0]), np.array([39]), *(np.array([i, 39 - i]) for i in range(10))]

    def requests() -> Iterator[Any]:
        nonlocal requested
        for place, part in enumerate(parts):
            requested += 1
            yield part, None if place % 2 else draws(len(part), place)

    state, most = torch.random.get_rng_state(), 0
    for place, batch in enumerate(images.stream(requests())):
        expected = images.read(parts[place], None if place % 2 else draws(len(parts[place]), place))
        assert np.array_equal(batch, expected)
        most = max(most, requested - place)
    assert place == len(parts) - 1
    assert most <= AHEAD * int(workers) + 1  # never the whole set ahead
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_fingerprint_is_of_names_contents_and_transform(
    photographs: Path, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photographs, tmp_path / "copy")
    prints = [data.fingerprint(), get_dataset(f"folder:{tmp_path / 'copy'}?size={SIZE}").fingerprint()]
    assert prints[0] == prints[1]
    prints.append(get_dataset(f"folder:{photographs}?size=20").fingerprint())
    victim = sorted((tmp_path / "copy").rglob("*.jpg"))[0]
    content = victim.read_bytes()
    for changed in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        victim.write_bytes(changed)
        prints.append(get_dataset(f"folder:{tmp_path / 'copy'}?size={SIZE}").fingerprint())
    assert len(set(prints)) == 4
    monkeypatch.setattr("sat_datasets.stream.HASHED", 0)  # of more than that, names and sizes have to do
    assert get_dataset(f"folder:{tmp_path / 'copy'}?size={SIZE}").fingerprint() not in prints


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_broken_file_is_named_in_two_lines(
    photographs: Path, tmp_path: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_WORKERS", workers)
    shutil.copytree(photographs, tmp_path / "tree")
    victim = sorted((tmp_path / "tree" / "test").rglob("*.jpg"))[5]
    victim.write_bytes(victim.read_bytes()[:300])
    images = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}").test.images
    parts = ((np.arange(i, i + 4), None) for i in range(0, 24, 4))
    with pytest.raises(DataError) as error:
        list(images.stream(parts))
    assert str(victim) in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_a_pipe_among_images_is_named_and_not_waited_for(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs, tmp_path / "tree")
    pipe = tmp_path / "tree/test/along/z.jpg"
    os.mkfifo(pipe)
    data = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}")
    with pytest.raises(DataError, match=f"{pipe}: expected an image, got a pipe"):
        check_files(*data.parts)
    with pytest.raises(DataError, match=f"{pipe}: expected a file, got a pipe"):
        data.fingerprint()


@pytest.mark.parametrize("count", ["0", "2"])
def test_broken_images_are_all_named_before_a_run(
    photographs: Path, tmp_path: Path, count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_WORKERS", count)
    victims = broken_tree(photographs, tmp_path, 12)
    data = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}")
    seen: list[tuple[int, int]] = []
    with pytest.raises(DataError) as error:
        check_files(*data.parts, progress=lambda *progress: seen.append(progress))
    first, names, last = str(error.value).splitlines()
    assert first == "expected images, got 12 of 64 files that are none or are broken:"
    assert all(str(path) in names for path in victims[:10])
    assert names.endswith("; and 2 more")
    assert last == "replace or remove them, and start again"
    assert seen[-1] == (64, 64)


def test_images_are_checked_once_in_a_process(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photographs, tmp_path / "tree")
    name = f"folder:{tmp_path / 'tree'}?size={SIZE}"
    check_files(*get_dataset(name).parts)
    monkeypatch.setattr("PIL.Image.open", None)
    check_files(*get_dataset(name).parts)
    with pytest.raises(DataError, match="got 64 of 64 files"):
        check_files(*get_dataset(name).parts, whole=True)
    (tmp_path / "tree/train/along/001.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="got 40 of 64 files"):  # those of the part that has changed
        check_files(*get_dataset(name).parts)


def test_an_image_too_long_to_be_scaled_is_named(photographs: Path, tmp_path: Path) -> None:
    from PIL import Image

    shutil.copytree(photographs, tmp_path / "tree")
    path = tmp_path / "tree" / "test" / "along" / "long.png"
    Image.new("RGB", (5000, 1)).save(path)
    images = get_dataset(f"folder:{tmp_path / 'tree'}?size={SIZE}").test.images
    with pytest.raises(DataError, match=f"{path}: expected sides that differ by at most 50 times, got 5000 x 1 pixels"):
        images[np.arange(len(images))]


def test_sizes_and_counts_that_make_no_sense_are_refused(
    photographs: Path, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("x", "0", "-3", "4096", "16.0", "0016", "１６"):
        with pytest.raises(SpecError, match="expected size=N"):
            get_dataset(f"folder:{photographs}?size={size}")
    with pytest.raises(SpecError, match=r"unknown option 'sizes' \(did you mean 'size'\?\)"):
        get_dataset(f"folder:{photographs}?sizes=16")
    for wrong in ("size", "size=", "size=16&size=8"):
        with pytest.raises(SpecError, match=r"expected OPTION=VALUE after '\?', each once"):
            get_dataset(f"folder:{photographs}?{wrong}")
    with pytest.raises(DataError, match="expected a square"):
        data.test.resized((8, 9, 3))
    monkeypatch.setenv("SAT_WORKERS", "many")
    with pytest.raises(SpecError, match="SAT_WORKERS"):
        list(data.test.images.stream([(np.arange(3), None)]))


def test_images_of_a_source_are_taken_and_resized_without_decoding(data: DataSet) -> None:
    images = data.test.images
    assert isinstance(images, FileImages)
    some = images.take(np.array([4, 2])).resized((8, 8, 1))
    assert some.shape == (2, 8, 8, 1)
    assert some.files == (images.files[4], images.files[2])
    assert data.resized((12, 12, 3)).image_shape == (12, 12, 3)
    assert np.array_equal(images[3:5], images[np.array([3, 4])])


@pytest.mark.parametrize("shape", [(8, 8, 1), (11, 40, 3), (28, 28, 1), (5, 3, 3)])
def test_arrays_are_resized_as_pillow_does(shape: tuple[int, int, int]) -> None:
    from PIL import Image

    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    for size in ((8, 8), (17, 9), (32, 32)):
        scaled = resize(images, (*size, shape[2]))
        for image, pixels in zip(images, scaled, strict=True):
            squeezed = image[..., 0] if shape[2] == 1 else image
            expected = np.asarray(Image.fromarray(squeezed).resize(size[::-1], Image.Resampling.BILINEAR))
            assert np.abs(pixels.reshape(expected.shape).astype(int) - expected).max() <= 1
        floats = resize((images / np.float32(255)).astype(np.float32), (*size, shape[2]))
        assert floats.dtype == np.float32
        assert np.abs(floats * 255 - scaled).max() <= 0.51


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_filters_in_front_of_networks_are_pillows(interpolation: str) -> None:
    from PIL import Image

    image = np.random.default_rng(0).random((11, 40), np.float32)  # of 8 bits, Pillow would clip between the two axes
    for size, crop in (((8, 8), (8, 8)), ((17, 16), (10, 6)), ((64, 64), (60, 60))):
        rows, columns = Scaling(size=size, crop=crop, interpolation=interpolation).maps(*image.shape)
        expected = Image.fromarray(image).resize(size[::-1], Image.Resampling[interpolation.upper()])
        top, left = (round((s - c) / 2) for s, c in zip(size, crop, strict=True))
        cut = np.asarray(expected)[top : top + crop[0], left : left + crop[1]]
        np.testing.assert_allclose(rows @ image @ columns.T, cut, atol=1e-5)


def test_channels_follow_the_model() -> None:
    colour = np.full((1, 4, 4, 3), (255, 0, 0), np.uint8)
    assert resize(colour, (4, 4, 1))[0, 0, 0] == 76
    grey = resize(np.full((1, 4, 4, 1), 90, np.uint8), (2, 2, 3))
    assert grey.shape == (1, 2, 2, 3)
    assert (grey == 90).all()
