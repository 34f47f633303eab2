"""Decode image files to uint8 arrays by one set of rules (see `read_image`); errors name the broken files."""

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
from sat_core.pixels import Box, check_sides, pillow_pixels, pillow_square

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")
"""The formats that are read, as Pillow calls them. Others start programs (EPS: Ghostscript) or hold no photographs."""
# Pillow calls a JPEG with more pictures behind the first, as phones write it, MPO.
ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
"""The last bytes of a whole file, by format; a file with another end may be cut off."""


def need_pillow(name: str) -> None:
    """Check that Pillow is installed.

    Args:
        name: The data set that needs it, for the message.

    Raises:
        NotInstalledError: Pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise NotInstalledError(f"data set {name!r} needs Pillow: {install('data')}") from error


def read_image(path: Path) -> np.ndarray:
    """Decode an image file.

    EXIF orientation is applied, transparent pixels are blended with black, 16-bit grey is rounded to 8 bits, and any
    other mode goes through Pillow's conversion to RGB. Of an animation, the first frame is read.

    Returns:
        `(h, w, c)` uint8; c is 1 for an image without colour, otherwise 3.

    Raises:
        BrokenImage: The file is no image in one of `FORMATS`, is cut off, or is so large that Pillow takes it for a
            decompression bomb.
    """
    from PIL import ImageOps

    with _opened(path) as image:
        return pillow_pixels(ImageOps.exif_transpose(image))


def read_square(path: Path, size: int, channels: int, draws: np.ndarray | None = None) -> np.ndarray:
    """Decode an image file and scale it to a square.

    Args:
        path: The file.
        size: Pixels of a side.
        channels: 1 or 3.
        draws: `(d,)` uniform draws that place a random crop (`sat_core.augmentation.crop_box`); None scales the whole
            image and takes its centre.

    Returns:
        `(size, size, channels)` uint8.

    Raises:
        BrokenImage: As `read_image`, and if the sides differ by more than `sat_core.pixels.LONGEST` times.
    """
    pixels = read_image(path)
    h, w = pixels.shape[:2]
    # Before scaling: this is what fills the memory.
    _check_sides(path, h, w)
    return scaled(pixels, size, channels, None if draws is None else crop_box(draws, h, w))


def check_image(path: Path, *, whole: bool = False) -> None:
    """Check that `read_square` will be able to read a file.

    Args:
        path: The file.
        whole: Decode every pixel. Otherwise only the header and the last bytes are read, which finds web pages, empty
            files and truncated ones at a fraction of the cost.

    Raises:
        BrokenImage: The file cannot be used.
    """
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
        if cut or image.mode == "F":  # some whole files have bytes behind their end: only decoding can tell
            pillow_pixels(image)


def squares(paths: Sequence[str], size: int, channels: int, array: np.ndarray | None = None) -> np.ndarray:
    """Read several files with `read_square`.

    Args:
        paths: The files.
        size: Pixels of a side.
        channels: 1 or 3.
        array: The draws of every image, `(n, d)`, or None.

    Returns:
        `(n, size, size, channels)` uint8.

    Raises:
        DataError: One or more files are broken; the message names them.
    """
    images, broken = np.empty((len(paths), size, size, channels), np.uint8), BrokenFiles()
    for place, path in enumerate(paths):
        with broken:
            images[place] = read_square(Path(path), size, channels, None if array is None else array[place])
    refuse_broken(broken.faults, len(paths))
    return images


def find_broken(paths: Sequence[str], whole: bool, array: None = None) -> list[Fault]:
    """Return path and fault of every file in which `check_image` finds one."""
    broken = BrokenFiles()
    for path in paths:
        with broken:
            check_image(Path(path), whole=whole)
    return broken.faults


TASKS: dict[str, Callable[..., Any]] = {"squares": squares, "find_broken": find_broken}
"""The tasks of worker processes, by name. Each takes one array, named `array`, beside arguments that JSON can hold."""


@final
class BrokenImage(DataError):
    """Raised for a file that is no image, or cannot be used as one."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.path, self.fault = path, fault


@final
class BrokenFiles:
    """Collects the broken images of a loop: wrap each turn in `with`, then read `faults`.

    A user with 300 broken files learns of all of them at once, instead of one per start.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if isinstance(error, BrokenImage):
            self.faults.append((str(error.path), error.fault))
        return isinstance(error, BrokenImage)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image without decoding it; any error, also one inside the block, becomes a BrokenImage."""
    from PIL import Image, UnidentifiedImageError

    if what := files.irregular(path):  # reading a pipe would wait for ever
        raise BrokenImage(path, f"expected an image, got {what}")
    try:
        with warnings.catch_warnings():
            # Between one and two times its limit, Pillow only warns.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # By content, whatever the name: a PostScript file called a.png would start Ghostscript.
            with Image.open(path, formats=_formats()) as image:
                yield image
    except BrokenImage:
        raise
    except DataError as error:  # of `pillow_pixels`, which does not know the path
        raise BrokenImage(path, str(error)) from error
    except Exception as error:  # each of Pillow's formats raises errors of its own for a broken file
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
    """Return those of `FORMATS` that the installed Pillow can read; builds differ in AVIF, JPEG 2000 and WebP."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_sides(path: Path, h: int, w: int) -> None:
    if fault := check_sides(h, w):
        raise BrokenImage(path, fault)


def scaled(pixels: np.ndarray, size: int, channels: int, box: Box | None = None) -> np.ndarray:
    """Scale an image to a square with Pillow's bilinear filter.

    Args:
        pixels: `(h, w, 1 or 3)` uint8.
        size: Pixels of a side.
        channels: 1 or 3.
        box: The part to scale; by default the central square, see `sat_core.pixels.centre`.

    Returns:
        `(size, size, channels)` uint8.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return pillow_square(image, size, channels, box)
