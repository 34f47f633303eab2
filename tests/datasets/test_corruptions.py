"""Common corruptions: shapes, types, what each does, and that the same generator gives the same images."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sat_core.errors import NotInstalledError, SpecError
from sat_datasets.corruptions import (
    CONSTANTS,
    CORRUPTIONS,
    SEVERITIES,
    check_installed,
    constants_of,
    corrupt,
    corruptions_of,
    left_out,
    plasma,
)

pytestmark = pytest.mark.data


def photographs(side: int = 24, channels: int = 3, n: int = 3) -> np.ndarray:
    """Smooth colours with edges, far enough from 0 and 1 that little is cut off."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[0:side, 0:side] / side
    waves = [np.sin(2 * np.pi * (a * x + b * y)) for a, b in rng.uniform(0.5, 2, (n * channels, 2))]
    images = 0.5 + 0.2 * np.stack(waves).reshape(n, channels, side, side).transpose(0, 2, 3, 1)
    images[:, side // 4 : side // 2, side // 4 : side // 2] = rng.uniform(0.2, 0.8, channels)
    return images.astype(np.float32)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_keeps_shape_and_type_repeats_and_grows(name: str) -> None:
    for images in (photographs(), photographs(channels=1), photographs(side=9), photographs(side=80, n=1)):
        if name not in corruptions_of(images.shape[1:]):
            continue
        whole = np.rint(images * 255).astype(np.uint8)
        distances, before = [], images.copy()
        for severity in SEVERITIES:
            changed = corrupt(images, name, severity, np.random.default_rng(1))
            assert (changed.shape, changed.dtype) == (images.shape, np.float32)
            assert 0 <= changed.min() <= changed.max() <= 1
            assert np.array_equal(changed, corrupt(images, name, severity, np.random.default_rng(1)))
            assert corrupt(whole, name, severity, np.random.default_rng(1)).dtype == np.uint8
            distances.append(float(np.abs(changed - images).mean()))
        if name != "saturate":  # first less, then more
            assert distances[4] > distances[0]
        assert max(distances) > 0.002
        assert np.array_equal(images, before)


def test_bytes_and_floats_are_corrupted_alike() -> None:
    images = np.rint(photographs() * 255).astype(np.uint8)
    for name in CORRUPTIONS:
        one = corrupt(images, name, 3, np.random.default_rng(1)) / 255
        other = corrupt(images.astype(np.float32) / np.float32(255), name, 3, np.random.default_rng(1))
        assert np.abs(one - other).max() <= 0.51 / 255, name


def test_noise_has_its_size() -> None:
    grey = np.full((20, 32, 32, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    assert corrupt(grey, "gaussian-noise", 2, rng).std() == pytest.approx(0.06, rel=0.03)
    assert corrupt(grey, "shot-noise", 5, rng).std() == pytest.approx((0.5 / 50) ** 0.5, rel=0.03)
    assert corrupt(grey, "speckle-noise", 3, rng).std() == pytest.approx(0.06, rel=0.03)
    impulses = corrupt(grey, "impulse-noise", 5, rng)
    assert (impulses != 0.5).mean() == pytest.approx(0.07, rel=0.1)
    assert (impulses == 1).mean() == pytest.approx(0.035, rel=0.15)


def test_blurs_keep_what_is_even_and_move_no_mass() -> None:
    even, point = np.full((2, 32, 32, 3), 0.4, np.float32), np.zeros((1, 33, 33, 1), np.float32)
    point[0, 16, 16] = 1
    for name in ("gaussian-blur", "defocus-blur", "motion-blur", "zoom-blur"):
        assert corrupt(even, name, 5, np.random.default_rng(0)) == pytest.approx(0.4, abs=1e-5)
        if name != "zoom-blur":
            assert corrupt(point, name, 5, np.random.default_rng(0)).sum() == pytest.approx(1, abs=1e-4)
    # Motion goes to one side, within 45 degrees.
    rows, columns = np.nonzero(corrupt(point, "motion-blur", 3, np.random.default_rng(0))[0, :, :, 0])
    assert columns.max() == 16
    assert (np.abs(rows - 16) <= 16 - columns + 1).all()
    assert columns.min() < 14


def test_colours() -> None:
    images = np.array([0.4, 0.2, 0.1], np.float32).reshape(1, 1, 1, 3) * np.ones((1, 8, 8, 1), np.float32)
    rng = np.random.default_rng(0)
    # Value 0.4 becomes 0.7 with the same hue and saturation.
    assert corrupt(images, "brightness", 5, rng)[0, 0, 0] == pytest.approx([0.7, 0.35, 0.175], abs=1e-6)
    # Saturation 0.75 becomes 0.225, then 1.
    assert corrupt(images, "saturate", 1, rng)[0, 0, 0] == pytest.approx([0.4, 0.34, 0.31], abs=1e-6)
    assert corrupt(images, "saturate", 5, rng)[0, 0, 0] == pytest.approx([0.4, 0.4 / 3, 0], abs=1e-6)
    black, grey = np.zeros((1, 8, 8, 3), np.float32), np.full((1, 8, 8, 3), 0.5, np.float32)
    assert corrupt(black, "brightness", 1, rng) == pytest.approx(0.05, abs=1e-6)
    assert corrupt(grey, "saturate", 4, rng)[0, 0, 0] == pytest.approx([0.5, 0.45, 0.45], abs=1e-6)
    halves = np.concatenate([np.zeros((1, 4, 8, 1)), np.ones((1, 4, 8, 1))], axis=1).astype(np.float32)
    assert set(np.round(corrupt(halves, "contrast", 2, rng).ravel(), 6)) == {0.25, 0.75}


def test_clouds_reach_both_ends_and_wrap_around() -> None:
    maps = plasma(4, 32, 2.0, np.random.default_rng(0))
    assert maps.shape == (4, 32, 32)
    assert np.array_equal(maps.min(axis=(1, 2)), np.zeros(4))
    assert np.array_equal(maps.max(axis=(1, 2)), np.ones(4))
    rough = plasma(4, 32, 1.2, np.random.default_rng(0))
    steps = [np.abs(np.diff(each, axis=1)).mean() for each in (maps, rough)]
    assert steps[0] < steps[1]
    assert np.abs(maps[:, -1] - maps[:, 0]).mean() < 0.2


def test_what_images_can_have_and_whose_severities() -> None:
    assert corruptions_of((32, 32, 3)) == CORRUPTIONS == tuple(CONSTANTS)
    assert left_out((8, 8, 1))[0] == "saturate"
    assert "snow" in left_out((32, 32, 3))
    assert constants_of((64, 80, 3)) == "CIFAR-10-C"
    assert constants_of((224, 224, 3)) == "ImageNet-C"
    rng = np.random.default_rng(0)
    with pytest.raises(SpecError, match=r"expected one of gaussian-noise, .* got 'snow'"):
        corrupt(photographs(), "snow", 1, rng)
    with pytest.raises(SpecError, match="expected one of"):
        corrupt(photographs(channels=1), "saturate", 1, rng)
    with pytest.raises(SpecError, match="severity: expected 1 to 5, got 6"):
        corrupt(photographs(), "fog", 6, rng)
    assert corrupt(photographs()[:0], "fog", 1, rng).shape == (0, 24, 24, 3)


def test_without_pillow_two_of_them_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    says = "the corruptions pixelate and jpeg need Pillow: pip install '.[data]' in the folder of sat-core's source"
    rng, images = np.random.default_rng(0), photographs()
    for name in ("pixelate", "jpeg"):
        with pytest.raises(NotInstalledError) as caught:
            corrupt(images, name, 1, rng)
        assert str(caught.value) == says
    with pytest.raises(NotInstalledError):
        check_installed((8, 8, 1))
    # of four channels there are none, and the others need none
    check_installed((8, 8, 4))
    assert corrupt(images, "fog", 1, rng).shape == images.shape
