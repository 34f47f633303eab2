"""The paper's recipe: 201 epochs of 50,000 images on its wide network, extrapolated from shorter epochs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gpu_log import Log, Measurement, Row
from gpu_setup import Bench, random_examples
from gpu_speed import MATRIX
from gpu_speed import SECTION as SPEED
from gpu_training import multiplications, operations, seconds_per_image, settings

SECTION = "recipe"
EPOCHS, IMAGES = 201, 50_000
NAMES = {1.0: "full AT", 0.5: "50 % ESAT"}


def measurements(bench: Bench, log: Log) -> Iterator[Measurement]:
    """Yield a measurement for full AT and one for half of the examples in A."""
    for share, name in NAMES.items():
        yield Measurement(name, partial(_recipe, bench, log, share))


def _recipe(bench: Bench, log: Log, share: float) -> Row:
    data = random_examples(bench.size.recipe, bench.size.side)
    spec = settings(bench, precision="bf16", augmentation="cifar")
    seconds = seconds_per_image(bench, bench.size.wide, data, spec, share) * EPOCHS * IMAGES
    forward = multiplications(bench.build(bench.size.wide, data), bench.size.side)
    work = operations(forward, share) * EPOCHS * IMAGES
    return {
        "minutes": seconds / 60,
        "PFLOP": work / 1e15,
        "of bf16 matrix rate": work / 1e12 / seconds / log.row(SPEED, MATRIX)["TFLOP/s"],
    }
