"""Common corruptions of images at five severities (Hendrycks & Dietterich 2019), made here, not downloaded.

The severities are those of the public code of CIFAR-10-C for images of up to 64 pixels, and of ImageNet-C for larger
ones. Pixels differ from the published files: random numbers come from numpy's generators, images are rounded, not cut
off, to 8 bits, and nothing but numpy, scipy and Pillow computes. Left out: glass blur, elastic transform, snow, frost
and spatter, which take photographs of ice or filters of other libraries.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sat_core.arrays import check_images
from sat_core.errors import NotInstalledError, SpecError, install, quoted
from sat_core.registry import nearest

SEVERITIES = (1, 2, 3, 4, 5)
LARGEST_SMALL = 64
"""Shorter side up to which the constants of CIFAR-10-C are taken; above it those of ImageNet-C."""
_ZOOMS = (
    [(0.06, 0.01), (0.11, 0.01), (0.16, 0.01), (0.21, 0.01), (0.26, 0.01)],
    [(0.11, 0.01), (0.16, 0.01), (0.21, 0.02), (0.26, 0.02), (0.31, 0.03)],
)
CONSTANTS: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
    "gaussian-noise": ([0.04, 0.06, 0.08, 0.09, 0.10], [0.08, 0.12, 0.18, 0.26, 0.38]),
    "shot-noise": ([500, 250, 100, 75, 50], [60, 25, 12, 5, 3]),
    "impulse-noise": ([0.01, 0.02, 0.03, 0.05, 0.07], [0.03, 0.06, 0.09, 0.17, 0.27]),
    "speckle-noise": ([0.06, 0.1, 0.12, 0.16, 0.2], [0.15, 0.2, 0.35, 0.45, 0.6]),
    "gaussian-blur": ([0.4, 0.6, 0.7, 0.8, 1], [1, 2, 3, 4, 6]),
    "defocus-blur": (
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    ),
    "motion-blur": ([(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)], [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)]),
    "zoom-blur": _ZOOMS,
    "fog": (
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    ),
    "brightness": ([0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]),
    "contrast": ([0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]),
    "saturate": (
        [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    ),
    "pixelate": ([0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25]),
    "jpeg": ([80, 65, 58, 50, 40], [25, 18, 15, 10, 7]),
}
"""Constants of each corruption at severities 1 to 5, of small and of large images."""
CORRUPTIONS = tuple(CONSTANTS)
_NOT_MADE = ("glass-blur", "elastic-transform", "snow", "frost", "spatter")


def corruptions_of(image_shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the corruptions that images `(h, w, c)` can have: grey ones have no saturation."""
    channels = image_shape[2]
    without = {1: {"saturate"}, 3: set()}.get(channels, {"saturate", "brightness", "pixelate", "jpeg"})
    return tuple(name for name in CORRUPTIONS if name not in without)


def left_out(image_shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the other corruptions of CIFAR-10-C, which images `(h, w, c)` cannot have here."""
    can = corruptions_of(image_shape)
    return (*(name for name in CORRUPTIONS if name not in can), *_NOT_MADE)


def check_installed(image_shape: tuple[int, ...]) -> None:
    """Check that the corruptions of images `(h, w, c)` can be made; NotInstalledError if that takes Pillow."""
    if "jpeg" in corruptions_of(image_shape):
        _pillow()


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError as error:
        raise NotInstalledError(f"the corruptions pixelate and jpeg need Pillow: {install('data')}") from error
    return PIL.Image


def constants_of(image_shape: tuple[int, ...]) -> str:
    """Return whose constants images `(h, w, c)` get: ``CIFAR-10-C`` or ``ImageNet-C``."""
    return "CIFAR-10-C" if min(image_shape[:2]) <= LARGEST_SMALL else "ImageNet-C"


def corrupt(images: np.ndarray, name: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Return corrupted images, of the shape and type of `images`.

    Args:
        images: `(n, h, w, c)`, uint8, or float32 in [0, 1].
        name: One of `corruptions_of`.
        severity: 1 to 5.
        rng: Draws noise, angles and fog. It draws for all images at once.

    Raises:
        SpecError: There is no such corruption of these images, or no such severity.
        NotInstalledError: It takes Pillow, which is missing.
    """
    images = check_images(images)
    names = corruptions_of(images.shape[1:])
    if name not in names:
        raise SpecError(f"corruption: expected one of {', '.join(names)}, got {quoted(name)}{nearest(name, names)}")
    if severity not in SEVERITIES:
        raise SpecError(f"severity: expected 1 to 5, got {quoted(severity)}")
    large = constants_of(images.shape[1:]) == "ImageNet-C"
    constant = CONSTANTS[name][large][severity - 1]
    whole = images.dtype == np.uint8
    x = images.astype(np.float32) / np.float32(255) if whole else images
    changed = np.clip(_MADE_BY[name](x, constant, rng), 0, 1) if len(x) else x
    return np.rint(changed * 255).astype(np.uint8) if whole else changed.astype(np.float32)


def _gaussian_noise(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    return x + rng.normal(0, c, x.shape)


def _shot_noise(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    noisy: np.ndarray = rng.poisson(x * c) / c
    return noisy


def _impulse_noise(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.random(x.shape)
    return np.where(drawn < c / 2, 0.0, np.where(drawn < c, 1.0, x))


def _speckle_noise(x: np.ndarray, c: float, rng: np.random.Generator) -> np.ndarray:
    return x + x * rng.normal(0, c, x.shape)


def _gaussian_blur(x: np.ndarray, c: float, _rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    blurred: np.ndarray = gaussian_filter(x, (0, c, c, 0), mode="nearest")
    return blurred


def _defocus_blur(x: np.ndarray, c: tuple[float, float], _rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import convolve

    radius, alias = c
    # The edge of the disc is smoothed by a Gaussian of 3 or 5 taps.
    taps, reach = (1 if radius <= 8 else 2), int(np.ceil(radius))
    across = np.arange(-reach - taps, reach + taps + 1)
    disc = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    smooth = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * alias**2))
    smooth /= smooth.sum()
    kernel = convolve(disc / disc.sum(), smooth[:, None] * smooth, mode="constant")
    blurred: np.ndarray = convolve(x, kernel[None, :, :, None], mode="mirror")
    return blurred


def _motion_blur(x: np.ndarray, c: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    """Smear each image along a direction of its own: half a Gaussian of so many taps, edges repeated."""
    radius, sigma = c
    n, h, w = x.shape[:3]
    angles = np.deg2rad(rng.uniform(-45, 45, n))
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    blurred = np.zeros(x.shape)
    for step, weight in enumerate(weights / weights.sum()):
        down, right = (np.rint(step * turn(angles)).astype(np.int64) for turn in (np.sin, np.cos))
        rows = np.clip(np.arange(h) + down[:, None], 0, h - 1)
        columns = np.clip(np.arange(w) + right[:, None], 0, w - 1)
        blurred += weight * x[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return blurred


def _zoom_blur(x: np.ndarray, c: tuple[float, float], _rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import zoom

    h, w = x.shape[1:3]
    most, step = c
    factors, total = np.arange(1, 1 + most, step), x.astype(np.float64)
    for factor in factors:
        # The middle of the image, as large as before; at least as large as the image after rounding up.
        height, width = int(np.ceil(h / factor)), int(np.ceil(w / factor))
        top, left = (h - height) // 2, (w - width) // 2
        larger = zoom(x[:, top : top + height, left : left + width], (1, factor, factor, 1), order=1)
        down, right = (larger.shape[1] - h) // 2, (larger.shape[2] - w) // 2
        total += larger[:, down : down + h, right : right + w]
    return total / (len(factors) + 1)


def _fog(x: np.ndarray, c: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    strength, decay = c
    n, h, w = x.shape[:3]
    most = x.reshape(n, -1).max(axis=1)[:, None, None, None]
    clouds = plasma(n, 1 << int(np.ceil(np.log2(max(h, w, 2)))), decay, rng)[:, :h, :w, None]
    return (x + strength * clouds) * most / (most + strength)


def plasma(n: int, side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Return fractal maps by the diamond-square algorithm, which wrap around at their edges.

    Args:
        n: How many.
        side: Of each, a power of two, at least 2.
        decay: By which the height of what is added falls from one scale to the next.
        rng: Draws them.

    Returns:
        `(n, side, side)` in [0, 1]; each reaches both ends.
    """
    maps, step, height = np.zeros((n, side, side)), side, 100.0
    while step >= 2:
        half = step // 2

        def wobbled(mean: np.ndarray, height: float = height) -> np.ndarray:
            return mean + height * rng.uniform(-height, height, mean.shape)

        # The centre of each square, then the middle of each of its sides.
        corners = maps[:, ::step, ::step]
        right, down = np.roll(corners, -1, axis=2), np.roll(corners, -1, axis=1)
        maps[:, half::step, half::step] = wobbled((corners + right + down + np.roll(right, -1, axis=1)) / 4)
        centres = maps[:, half::step, half::step]
        above, before = np.roll(centres, 1, axis=1), np.roll(centres, 1, axis=2)
        maps[:, ::step, half::step] = wobbled((corners + right + centres + above) / 4)
        maps[:, half::step, ::step] = wobbled((corners + down + centres + before) / 4)
        step, height = half, height / decay
    maps -= maps.min(axis=(1, 2), keepdims=True)
    scaled: np.ndarray = maps / maps.max(axis=(1, 2), keepdims=True)
    return scaled


def _brightness(x: np.ndarray, c: float, _rng: np.random.Generator) -> np.ndarray:
    # Another value V in HSV with the same hue and saturation scales the three channels; black becomes grey.
    value = x.max(axis=3, keepdims=True)
    brighter = np.clip(value + c, 0, 1)
    return np.where(value > 0, x * (brighter / np.where(value > 0, value, 1)), brighter)


def _saturate(x: np.ndarray, c: tuple[float, float], _rng: np.random.Generator) -> np.ndarray:
    # Another saturation S in HSV with the same hue and value moves the channels towards or away from the largest.
    factor, more = c
    value, least = x.max(axis=3, keepdims=True), x.min(axis=3, keepdims=True)
    saturation = (value - least) / np.where(value > 0, value, 1)
    wanted = np.clip(saturation * factor + more, 0, 1)
    coloured = value - (value - x) * (wanted / np.where(saturation > 0, saturation, 1))
    # Grey has hue 0, which is red.
    red = value * (1 - wanted * np.array([0, 1, 1]))
    return np.where(saturation > 0, coloured, red)


def _contrast(x: np.ndarray, c: float, _rng: np.random.Generator) -> np.ndarray:
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * np.float32(c) + mean


def _pixelate(x: np.ndarray, c: float, _rng: np.random.Generator) -> np.ndarray:
    h, w = x.shape[1:3]
    small = max(1, int(w * c)), max(1, int(h * c))
    box = _pillow().Resampling.BOX
    return _by_pillow(x, lambda image: image.resize(small, box).resize((w, h), box))


def _jpeg(x: np.ndarray, c: int, _rng: np.random.Generator) -> np.ndarray:
    pillow = _pillow()

    def compressed(image: Any) -> Any:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=c)
        return pillow.open(content)

    return _by_pillow(x, compressed)


def _by_pillow(x: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray:
    pillow = _pillow()
    pixels = np.rint(x * 255).astype(np.uint8)
    changed = [np.asarray(change(pillow.fromarray(each.squeeze(2) if x.shape[3] == 1 else each))) for each in pixels]
    return np.stack(changed).reshape(x.shape) / np.float32(255)


_MADE_BY: dict[str, Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]] = {
    "gaussian-noise": _gaussian_noise,
    "shot-noise": _shot_noise,
    "impulse-noise": _impulse_noise,
    "speckle-noise": _speckle_noise,
    "gaussian-blur": _gaussian_blur,
    "defocus-blur": _defocus_blur,
    "motion-blur": _motion_blur,
    "zoom-blur": _zoom_blur,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturate": _saturate,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
