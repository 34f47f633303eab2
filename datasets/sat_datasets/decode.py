"""Image files as arrays of uint8, each by the same rules: see `read_image`. A broken one is an error that names it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sat_core.errors import DataError, NotInstalledError

if TYPE_CHECKING:
    from PIL import Image

GREY = ("1", "L", "LA")
"""Pillow's modes of images without colour; those of 16 bits are beside them."""
_MARGIN = 256 / 224
"""The short side of an image is scaled to this times the size of the central crop (recipe, section 1.0)."""


def need_pillow(name: str) -> None:
    """NotInstalledError, for the data set called `name`, without Pillow."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise NotInstalledError(f"data set {name!r} needs Pillow: pip install 'sat-core[data]'") from error


def read_image(path: Path) -> np.ndarray:
    """`(h, w, c)` uint8, c = 1 for an image without colour, else 3.

    EXIF orientation is honoured, transparency lies on black, 16-bit grey is rounded to 8, all else goes through
    Pillow's conversion to RGB; of an animation the first frame is taken. Raises DataError, naming the file, for what is
    no image, is cut off, or is so large that Pillow takes it for an attack.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise DataError(f"{path}: expected an image, got something that is no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _pixels(ImageOps.exif_transpose(image))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # each format has errors of its own for a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(repr(str(path)), "it")
        raise DataError(
            f"{path}: expected an image that Pillow can read, got another or a broken file ({reason})"
        ) from error


def _pixels(image: Image.Image) -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)[..., None]
        if deep.min() < 0 or deep.max() > 65535:
            raise DataError(f"expected grey values of 8 or 16 bits, got {deep.min()}..{deep.max()}")
        return ((deep + 128) // 257).astype(np.uint8)
    if image.mode == "F":
        raise DataError("expected an image of integers, got floating point (mode 'F'): its range is not known")
    grey = image.mode in GREY
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", transparent.size, (0, 0, 0, 255)), transparent)
    return np.asarray(image.convert("RGB"))[..., : 1 if grey else 3]


def scaled(pixels: np.ndarray, size: int, channels: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """`pixels` `(h, w, 1 or 3)` as `(size, size, channels)`, by Pillow's bilinear filter.

    box: top, left, height and width of the part that is scaled. Without one the short side is scaled to 256/224 of
    `size`, and the centre is cut out (recipe, section 1.0).
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if image.mode != ("L" if channels == 1 else "RGB"):
        image = image.convert("L" if channels == 1 else "RGB")
    if box is not None:
        top, left, height, width = box
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    else:
        short = round(size * _MARGIN)
        ratio = short / min(image.size)
        width, height = (short if side == min(image.size) else int(ratio * side) for side in image.size)
        left, top = round((width - size) / 2), round((height - size) / 2)
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image).reshape(size, size, channels)
