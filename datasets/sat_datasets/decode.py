"""Image files as arrays of uint8, each by the same rules: see `read_image`. Broken ones are errors that name them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sat_core import files
from sat_core.augmentation import crop_box
from sat_core.errors import DataError, NotInstalledError, install
from sat_core.images import Fault, refuse_broken

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")
"""Pillow's names of the formats that are read. Others start programs (EPS: Ghostscript), or hold no photographs."""
ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
"""What whole files end with; one that ends otherwise may be cut off."""
LONGEST = 50
"""Times that an image may be longer than it is wide: scaled to some width, a longer one would fill the memory."""
GREY = ("1", "L", "LA")
"""Pillow's modes of images without colour; those of 16 bits are beside them."""
_MARGIN = 256 / 224
"""The short side of an image is scaled to this times the size of the central crop (recipe, section 1.0)."""


def need_pillow(name: str) -> None:
    """NotInstalledError, for the data set called `name`, without Pillow."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise NotInstalledError(f"data set {name!r} needs Pillow: {install('data')}") from error


def read_image(path: Path) -> np.ndarray:
    """`(h, w, c)` uint8, c = 1 for an image without colour, else 3.

    EXIF orientation is honoured, transparency lies on black, 16-bit grey is rounded to 8, all else goes through
    Pillow's conversion to RGB; of an animation the first frame is taken. Raises BrokenImage for what is no image in one
    of `FORMATS`, is cut off, or is so large that Pillow takes it for an attack.
    """
    from PIL import ImageOps

    with _opened(path) as image:
        return _pixels(ImageOps.exif_transpose(image))


def read_square(path: Path, size: int, channels: int, draws: np.ndarray | None = None) -> np.ndarray:
    """`read_image`, then `scaled` to `(size, size, channels)`; `draws` `(d,)` say which part is taken."""
    pixels = read_image(path)
    h, w = pixels.shape[:2]
    _check_sides(path, h, w)
    return scaled(pixels, size, channels, None if draws is None else crop_box(draws, h, w))


def check_image(path: Path, *, whole: bool = False) -> None:
    """BrokenImage if `read_square` would raise it, as far as the header and the last bytes tell; whole: in any case."""
    if whole:
        pixels = read_image(path)
        _check_sides(path, *pixels.shape[:2])
        return
    with _opened(path) as image:
        _check_sides(path, image.height, image.width)
        end = ENDS.get(image.format or "", b"")
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(end)))
            cut = file.read() != end
        if cut or image.mode == "F":
            _pixels(image)


def squares(paths: Sequence[str], size: int, channels: int, array: np.ndarray | None = None) -> np.ndarray:
    """`read_square` of each, `(n, size, size, channels)`; array: their draws `(n, d)`. DataError names broken ones."""
    images, faults = np.empty((len(paths), size, size, channels), np.uint8), Faults()
    for place, path in enumerate(paths):
        with faults:
            images[place] = read_square(Path(path), size, channels, None if array is None else array[place])
    refuse_broken(faults.found, len(paths))
    return images


def checked(paths: Sequence[str], whole: bool, array: None = None) -> list[Fault]:
    """Path and fault of those that `check_image` finds broken; whole: of those that `read_square` does."""
    faults = Faults()
    for path in paths:
        with faults:
            check_image(Path(path), whole=whole)
    return faults.found


TASKS: dict[str, Callable[..., Any]] = {"squares": squares, "checked": checked}
"""What worker processes do, by name."""


@final
class BrokenImage(DataError):
    """A file that is no image, or cannot be used as one."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.path, self.fault = path, fault


@final
class Faults:
    """Collects the broken images that `with` blocks meet, in `found`."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if isinstance(error, BrokenImage):
            self.found.append((str(error.path), error.fault))
        return isinstance(error, BrokenImage)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, its pixels not decoded yet; whatever is wrong with it, inside the block too, is a BrokenImage."""
    from PIL import Image, UnidentifiedImageError

    if what := files.irregular(path):
        raise BrokenImage(path, f"expected an image, got {what}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_formats()) as image:
                yield image
    except BrokenImage:
        raise
    except DataError as error:
        raise BrokenImage(path, str(error)) from error
    except Exception as error:  # each format has errors of its own for a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(repr(str(path)), "it")
        if isinstance(error, UnidentifiedImageError):
            with path.open("rb") as file:
                start = file.read(16)
            reason = f"it begins with {start!r}" if start else "it is empty"
        raise BrokenImage(
            path, f"expected an image that Pillow can read, got another or a broken file ({reason})"
        ) from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_sides(path: Path, h: int, w: int) -> None:
    if max(h, w) > LONGEST * min(h, w):
        raise BrokenImage(path, f"expected sides that differ by at most {LONGEST} times, got {w} x {h} pixels")


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
