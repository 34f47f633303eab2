"""Make CIFAR-10 small enough for a CPU: python examples/cifar10_small.py cifar10.npz cifar10-16x16.npz

Takes the first 10,000 training and 2,000 test images and averages blocks of 2 x 2 pixels, for `cifar10-small.toml`.
"""

from __future__ import annotations

import sys

import numpy as np

KEPT = {"train": 10_000, "test": 2_000}


def halved(images: np.ndarray) -> np.ndarray:
    """Scale uint8 images `(n, h, w, c)` to half their height and width."""
    n, h, w, c = images.shape
    blocks = images.reshape(n, h // 2, 2, w // 2, 2, c)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def main(source: str, target: str) -> None:
    """Read `source`, an .npz with x_train, y_train, x_test and y_test, and write `target`."""
    arrays = np.load(source)
    small = {f"x_{part}": halved(arrays[f"x_{part}"][:n]) for part, n in KEPT.items()}
    np.savez_compressed(target, **small, **{f"y_{part}": arrays[f"y_{part}"][:n] for part, n in KEPT.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
