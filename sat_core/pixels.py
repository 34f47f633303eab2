"""One image as people have it, a Pillow image, a tensor or an array of any usual layout, as an array of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from sat_core.arrays import as_array, as_float, image_remedy
from sat_core.errors import DataError
from sat_core.images import resize

GREY = ("1", "L", "LA")
"""Pillow's modes of images without colour; 16-bit grey ("I" and its variants) is handled apart."""
LONGEST = 50
"""Largest ratio of the sides. Scaling an image of 1 x 65,000 pixels to a fixed short side would fill the memory."""
_MARGIN = 256 / 224
"""Short side of a scaled image, as a multiple of the size of its central crop (recipe, section 1.0)."""
_BILINEAR = 2
"""Pillow's number of the filter. Pillow is not imported here: its images bring their methods along."""
Box = tuple[int, int, int, int]
"""Top, left, height and width of a part of an image."""


def is_pillow(image: Any) -> bool:
    """Return whether `image` is one of Pillow's."""
    return all(hasattr(image, name) for name in ("convert", "getbands", "has_transparency_data"))


def pillow_pixels(image: Any) -> np.ndarray:
    """Convert a Pillow image: transparent pixels are blended with black, 16-bit grey is rounded to 8 bits.

    Args:
        image: Of any mode but floating point; those that are neither grey nor colour go through RGB.

    Returns:
        `(h, w, c)` uint8; c is 1 for an image without colour, otherwise 3.

    Raises:
        DataError: Its values are no 8 or 16 bits.
    """
    if image.mode.startswith("I"):
        # Pillow opens 16-bit grey as mode "I", "I;16" or "I;16B", and its own conversion to "L" clips at 255.
        deep = np.asarray(image).astype(np.int64)[..., None]
        if deep.min() < 0 or deep.max() > 65535:
            raise DataError(f"expected grey values of 8 or 16 bits, got {deep.min()}..{deep.max()}")
        return ((deep + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257, rounded to the nearest
    array = np.asarray(plain(image))
    return array[..., None] if array.ndim == 2 else array


def plain(image: Any) -> Any:
    """Convert a Pillow image of 8 bits to mode L, if it has no colour, or RGB; DataError for floating point."""
    if image.mode == "F":
        raise DataError("expected an image of integers, got floating point (mode 'F'): its range is not known")
    grey = image.mode in GREY
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        image = transparent.copy()
        image.paste((0, 0, 0, 255), (0, 0, *image.size))
        image.alpha_composite(transparent)
    # Also for grey: all three channels are the same then, and 1-bit and palette images need no case of their own.
    image = image.convert("RGB")
    return image.getchannel(0) if grey else image


def pixels(image: Any, name: str) -> np.ndarray:
    """Convert one image.

    Args:
        image: A Pillow image; or an array or tensor `(h, w)`, `(h, w, c)` or `(c, h, w)`, uint8 or floats in [0, 1].
        name: What the message calls it.

    Returns:
        `(h, w, c)`, c from 1 to 4. Floats that are multiples of 1/255 up to rounding, as of an image that was uint8,
        become uint8 again, which is a quarter of the memory; the others are float32.

    Raises:
        DataError: It is none of these; the message says how to convert it, if that is known.
    """
    if is_pillow(image):
        try:
            return pillow_pixels(image)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    array = as_array(image, name, "pixels")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"{name}: expected uint8 or float pixels, got {array.dtype}{image_remedy(array)}")
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"{name}: expected pixels (h, w), (h, w, c) or (c, h, w), got shape {array.shape}")
    if array.shape[0] <= 4 < array.shape[2]:  # no image has more than 4 channels
        array = array.transpose(1, 2, 0)
    if array.shape[2] > 4:
        raise DataError(f"{name}: expected 1 to 4 channels, got pixels of shape {array.shape}")
    return array if array.dtype == np.uint8 else _as_bytes(array.astype(np.float32), name)


def _as_bytes(array: np.ndarray, name: str) -> np.ndarray:
    """Return float pixels as uint8 if that loses nothing; DataError if they are outside of [0, 1]."""
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # "not", so that NaN is refused, too
        bytes_ = low >= 0 and 1 < high <= 255 and bool((array == np.rint(array)).all())
        remedy = "divide by 255" if bytes_ else "leave out the step that normalises: networks do that inside"
        raise DataError(f"{name}: expected float pixels in [0, 1], got [{low:.4g}, {high:.4g}]\n{remedy}")
    rounded = np.rint(array * 255).astype(np.uint8)
    # Some multiply by 1/255, as torchvision's transforms, which differs from a division in the last digit.
    return rounded if np.abs(as_float(rounded) - array).max() <= 2**-23 else array


def check_sides(h: int, w: int) -> str:
    """Return what is wrong with an image of `h` x `w` pixels that is to be scaled; empty if nothing is."""
    if max(h, w) <= LONGEST * min(h, w):
        return ""
    return f"expected sides that differ by at most {LONGEST} times, got {w} x {h} pixels"


def centre(h: int, w: int, size: int) -> tuple[int, int, int, int]:
    """Return how an image is scaled whole before its central square is cut out.

    The short side becomes 256/224 of `size`, as torchvision's Resize and CenterCrop have it (recipe, section 1.0).

    Returns:
        New height and width, and top and left of the square.
    """
    # int for the long side and round for the corners, as torchvision has it; a test compares every pixel
    short = round(size * _MARGIN)
    ratio = short / min(h, w)
    height, width = (short if side == min(h, w) else int(ratio * side) for side in (h, w))
    return height, width, round((height - size) / 2), round((width - size) / 2)


def pillow_square(image: Any, size: int, channels: int, box: Box | None = None) -> np.ndarray:
    """Scale a Pillow image of mode L or RGB to a square with Pillow's bilinear filter.

    Args:
        image: The image.
        size: Pixels of a side.
        channels: 1 or 3.
        box: The part to scale; by default the central square, see `centre`.

    Returns:
        `(size, size, channels)` uint8.
    """
    if image.mode != ("L" if channels == 1 else "RGB"):
        image = image.convert("L" if channels == 1 else "RGB")
    if box is not None:
        top, left, height, width = box
        image = image.crop((left, top, left + width, top + height)).resize((size, size), _BILINEAR)
    else:
        height, width, top, left = centre(image.height, image.width, size)
        image = image.resize((width, height), _BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image).reshape(size, size, channels)


def square(array: np.ndarray, size: int, channels: int, box: Box | None = None) -> np.ndarray:
    """Scale an image to a square as `pillow_square` does (uint8: within 1/255 of it), without Pillow.

    Args:
        array: `(h, w, c)`, uint8 or float32 in [0, 1].
        size, channels, box: As there.
    """
    if box is not None:
        top, left, height, width = box
        return resize(array[None, top : top + height, left : left + width], (size, size, channels))[0]
    return squares(array[None], size, channels)[0]


def squares(images: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Scale images `(n, h, w, c)` of one size to squares, each as `square` does without a box."""
    height, width, top, left = centre(images.shape[1], images.shape[2], size)
    return resize(images, (height, width, channels))[:, top : top + size, left : left + size]
