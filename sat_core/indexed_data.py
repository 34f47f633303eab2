"""Data sets of which each example can be had by its number, as `torch.utils.data.Dataset`: read once, or streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, final

import attrs
import numpy as np

from sat_core.arrays import as_float, label_remedy
from sat_core.augmentation import crop_box
from sat_core.errors import DataError, brief, type_name
from sat_core.images import ImageSource, Request
from sat_core.pixels import Box, check_sides, is_pillow, pillow_square, pixels, plain, square

LARGE = 4 * 2**30
"""Bytes of decoded images; of more, images are decoded when they are needed."""
LOOKS = 64
"""Examples that are taken twice: a change of one image in ten goes unnoticed about once in 850 times (0.9⁶⁴)."""
Pick = Callable[[Any], tuple[Any, Any]]
"""Returns image and label of an item."""


@final
@attrs.frozen(eq=False)
class Part:
    """One part of a data set, such as its test images.

    Attributes:
        images: `(n, h, w, c)`, an array or a source.
        labels: As they came, in one array.
        class_names: One per class, if the data say so.
        mean, std: Per channel in units of [0, 1] pixels; of streamed images, which are read for them once.
    """

    images: Any
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def read_indexed(data: Any, name: str, pick: Pick, *, size: int | None = None, streamed: bool | None = None) -> Part:
    """Read all examples of a data set; example i is ``data[i]``, also of a `Subset`.

    Args:
        data: Has a length, and gives an item for each number.
        name: What messages call it.
        pick: Returns image and label of an item.
        size: Pixels of a side that images are scaled to, as in ``folder:PATH?size=N``; by default all have one size.
        streamed: Whether images are decoded when they are needed. Default: where all together exceed `LARGE` bytes.

    Raises:
        DataError: It is empty, items differ when they are taken twice, or images or labels cannot be used.
    """
    if len(data) == 0:
        raise DataError(f"{name}: expected at least one example, got none")
    items = Items(data, name, pick)
    _refuse_random(items, len(data))
    first, _ = items[0]
    h, w, c = (size, size, _channels(first)) if size else items.as_pixels(first, 0).shape
    if streamed is None:
        streamed = len(data) * h * w * c > LARGE
    return _streamed(items, len(data), (h, w, c), size) if streamed else _in_memory(items, len(data), size)


@final
@attrs.frozen(eq=False)
class Items:
    """Images and labels of a data set, by number.

    Args:
        data, name, pick: As in `read_indexed`.
    """

    data: Any
    name: str
    pick: Pick

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        """Return image and label as they come."""
        try:
            item = self.data[number]
        except Exception as error:  # whatever the user's code raises
            raise DataError(f"{self.name}: item {number} cannot be read ({brief(error)})") from error
        try:
            return self.pick(item)
        except DataError as error:
            raise DataError(f"{self.name}: item {number}: {error}") from error

    def as_pixels(self, image: Any, number: int) -> np.ndarray:
        """Return image `number` as an array, unscaled."""
        return pixels(image, f"{self.name}: item {number}")

    def scale(
        self, image: Any, number: int, size: int, channels: int, crop: Callable[[int, int], Box] | None = None
    ) -> np.ndarray:
        """Scale image `number` to a square; `crop` chooses a part of it by height and width."""
        name = f"{self.name}: item {number}"
        # Pillow's own filter is many times faster, and what the same files give as a folder.
        fast = is_pillow(image) and image.mode[0] not in "IF"
        array = np.empty(0) if fast else pixels(image, name)
        h, w = image.size[::-1] if fast else array.shape[:2]
        if fault := check_sides(h, w):
            raise DataError(f"{name}: {fault}")
        box = None if crop is None else crop(h, w)
        return pillow_square(plain(image), size, channels, box) if fast else square(array, size, channels, box)


def _channels(image: Any) -> int:
    """Channels of scaled images: three, as networks for photographs have, but for images of arrays that are grey."""
    return 3 if is_pillow(image) else int(pixels(image, "image").shape[2])


def _refuse_random(items: Items, n: int) -> None:
    labels = []
    for look in range(LOOKS):
        number = look * n // LOOKS if n >= LOOKS else look % n
        (image, label), (image_again, label_again) = items[number], items[number]
        once, again = items.as_pixels(image, number), items.as_pixels(image_again, number)
        if once.shape != again.shape or not np.array_equal(once, again) or not _equal(label, label_again):
            raise DataError(
                f"{items.name}: item {number} is another one when it is taken twice: a transform draws random numbers\n"
                "leave it out, and set training.augmentation instead"
            )
        labels.append(label)
    as_labels(labels, items.name)  # before all images are decoded, which may take minutes


def _equal(label: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(label), np.asarray(other)))


def as_labels(labels: list[Any], name: str) -> np.ndarray:
    """Return labels as an array of integers `(n,)`; DataError says what else they are."""
    try:
        array = np.asarray(labels)
    except Exception as error:  # of several lengths, or tensors on a GPU
        raise DataError(f"{name}: expected an integer for each label, got {type_name(labels[0])}") from error
    if array.dtype.kind not in "iu" or array.ndim != 1:
        form = f"{array.dtype} of shape {array.shape[1:]}" if array.ndim > 1 else type_name(labels[0])
        raise DataError(f"{name}: expected an integer for each label, got {form}{label_remedy(array)}")
    return array


def stack(images: list[np.ndarray], name: str) -> np.ndarray:
    """Make one array of images: uint8 if all are, and with colour if one has.

    Raises:
        DataError: They differ in size.
    """
    h, w = images[0].shape[:2]
    for number, image in enumerate(images):
        if image.shape[:2] != (h, w):
            raise DataError(
                f"{name}: expected images of one size, got {image.shape[1]} x {image.shape[0]} in item {number} and "
                f"{w} x {h} in item 0 (width x height)\ngive size=N, which scales them, or scale them in a transform"
            )
    channels = {image.shape[2] for image in images}
    if channels - {1, max(channels)}:
        raise DataError(f"{name}: expected images of as many channels, got {sorted(channels)}")
    dtype = np.uint8 if all(image.dtype == np.uint8 for image in images) else np.float32
    array = np.empty((len(images), h, w, max(channels)), dtype)
    for place, image in zip(array, images, strict=True):
        place[:] = image if dtype == np.uint8 else as_float(image)  # broadcasts a grey image
    return array


def _in_memory(items: Items, n: int, size: int | None) -> Part:
    images, labels = [], []
    channels = _channels(items[0][0])
    for number in range(n):
        image, label = items[number]
        images.append(items.scale(image, number, size, channels) if size else items.as_pixels(image, number))
        labels.append(label)
    return Part(stack(images, items.name), as_labels(labels, items.name))


def _streamed(items: Items, n: int, shape: tuple[int, int, int], size: int | None) -> Part:
    """Read everything once, for labels, fingerprint, mean and deviation; keep nothing of the images."""
    labels, digests = [], np.empty((n, 32), np.uint8)
    source = IndexedImages(items, np.arange(n), shape, digests, scales=size is not None)
    total, squares = np.zeros(shape[2], np.int64), np.zeros(shape[2], np.int64)
    for number in range(n):
        image, label = items[number]
        raw = items.as_pixels(image, number)
        digest = hashlib.sha256(repr((raw.dtype.str, raw.shape)).encode())
        digest.update(np.ascontiguousarray(raw).data)
        digests[number] = np.frombuffer(digest.digest(), np.uint8)
        decoded = source.decode(image, number).astype(np.int64)
        total += decoded.sum(axis=(0, 1))  # of integers, so that the variance loses no digits
        squares += (decoded**2).sum(axis=(0, 1))
        labels.append(label)
    count = n * shape[0] * shape[1] * 255
    mean = total / count
    std = np.sqrt(np.maximum(squares / (count * 255) - mean**2, 0)).round(6)
    means, stds = tuple(mean.round(6).tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
    return Part(source, as_labels(labels, items.name), mean=means, std=stds)


def _fitting(image: np.ndarray, shape: tuple[int, int, int], items: Items, number: int) -> np.ndarray:
    """Return an unscaled image of a stream as uint8 of `shape`."""
    if image.shape[:2] != shape[:2]:
        raise DataError(
            f"{items.name}: expected images of one size, got {image.shape[1]} x {image.shape[0]} in item {number} and "
            f"{shape[1]} x {shape[0]} in item 0 (width x height)\ngive size=N, which scales them"
        )
    if image.dtype != np.uint8 or image.shape[2] not in (1, shape[2]):
        raise DataError(
            f"{items.name}: item {number}: expected uint8 {shape} to be streamed, got {image.dtype} {image.shape}\n"
            "give streamed=False, size=N, or images of 8 bits"
        )
    return np.broadcast_to(image, shape)


@final
class IndexedImages(ImageSource):
    """Images of a data set that are decoded when they are needed.

    Args:
        items: All images.
        positions: `(n,)` numbers of those that these are.
        shape: `(h, w, c)`.
        digests: SHA-256 of every image of `items`, `(all, 32)` uint8.
        scales: Whether images have several sizes and are scaled; h and w are equal then.
        threads: Images that are decoded at a time; more than one only where `items` may be read so.
    """

    def __init__(
        self,
        items: Items,
        positions: np.ndarray,
        shape: tuple[int, int, int],
        digests: np.ndarray,
        *,
        scales: bool,
        threads: int = 1,
    ) -> None:
        self.items, self.positions, self.digests, self.scales = items, positions, digests, scales
        self.shape, self.threads = (len(positions), *shape), threads

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        return self.read(np.arange(len(self))[index])

    def read(self, index: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Decode images; `index` `(n,)` and `draws` `(n, d)` or None are those of a request."""
        images = np.empty((len(index), *self.shape[1:]), np.uint8)

        def read(place: int) -> None:
            number = int(self.positions[index[place]])
            images[place] = self.decode(self.items[number][0], number, None if draws is None else draws[place])

        if self.threads > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(read, range(len(index))))  # a list, so that errors are raised
        else:
            for place in range(len(index)):
                read(place)
        return images

    def decode(self, image: Any, number: int, draws: np.ndarray | None = None) -> np.ndarray:
        """Return image `number` as uint8 of the shape of these; `draws` place a random crop."""
        shape = self.shape[1:]
        if not self.scales and draws is None:
            return _fitting(self.items.as_pixels(image, number), shape, self.items, number)
        if shape[0] != shape[1]:
            raise DataError(f"{self.items.name}: expected squares to crop, got {shape[1]} x {shape[0]}; give size=N")
        crop = None if draws is None else partial(crop_box, draws)
        array = self.items.scale(image, number, shape[0], shape[2], crop)
        # Scaled floats are no longer multiples of 1/255.
        return array if array.dtype == np.uint8 else np.rint(array * 255).astype(np.uint8)

    def stream(self, requests: Iterable[Request]) -> Iterator[np.ndarray]:
        for index, draws in requests:
            yield self.read(index, draws)

    def take(self, index: np.ndarray) -> IndexedImages:
        return self._with(self.positions[index], self.shape[1:], self.scales)

    def resized(self, image_shape: tuple[int, int, int]) -> IndexedImages:
        h, w, c = image_shape
        same = image_shape == self.shape[1:]
        if not same and (h != w or c not in (1, 3)):
            raise DataError(f"{self.items.name}: expected a square of 1 or 3 channels to scale to, got {image_shape}")
        return self._with(self.positions, image_shape, self.scales or not same)

    def _with(self, positions: np.ndarray, shape: tuple[int, int, int], scales: bool) -> IndexedImages:
        return IndexedImages(self.items, positions, shape, self.digests, scales=scales, threads=self.threads)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.shape, self.scales)).encode())
        digest.update(np.ascontiguousarray(self.digests[self.positions]).data)
        return digest.hexdigest()
