"""How fast: images per second by network, precision and share in A, the peers beside it, and the matrix rate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from gpu_log import Log, Measurement, Row
from gpu_peers import compare
from gpu_setup import ON_CPU, Bench, random_examples
from gpu_training import SHARES, multiplications, operations, seconds_per_image, settings

SECTION = "speed"
MATRIX = "bf16 matrix product"
COMPILED, EAGER, STRATIFIED = "bf16, compile", "bf16, no CUDA graphs", "bf16, stratified batches"
SWITCHES: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "tf32": {"precision": "tf32"},
    "float32": {"precision": "float32"},
    COMPILED: {"precision": "bf16", "compile": True},
    EAGER: {"precision": "bf16", "cuda_graphs": False},
    STRATIFIED: {"precision": "bf16", "batches": "stratified"},
}


def measurements(bench: Bench, log: Log) -> Iterator[Measurement]:
    """Yield the measurements in the order of worth."""
    size = bench.size
    yield Measurement(MATRIX, lambda: {"TFLOP/s": matrix_rate(bench) / 1e12})
    if size == ON_CPU:
        yield from _peers(bench)
        return

    def rate(model: str, precision: str, *shares: float) -> Iterator[Measurement]:
        for share in shares:
            yield Measurement(name(model, precision, share), partial(_rate, bench, log, model, precision, share))

    yield from rate(size.small, "bf16", 1.0, 0.0, 0.5, 0.1, 0.3)
    yield from _peers(bench)
    yield from rate(size.wide, "bf16", 1.0, 0.5, 0.0, 0.1)
    yield from rate(size.small, EAGER, 1.0, 0.1)
    yield from rate(size.small, STRATIFIED, 0.1)
    yield from rate(size.small, "float32", 1.0, 0.0, 0.5, 0.1)
    if size.budget is None:  # compilation takes a minute on a CPU
        yield from rate(size.small, COMPILED, 1.0)
        yield from rate(size.wide, COMPILED, 1.0, 0.5)
    yield from rate(size.large, "bf16", 1.0, 0.0, 0.5)
    yield from rate(size.wide, "float32", *SHARES[::-1])


def _peers(bench: Bench) -> Iterator[Measurement]:
    for precision in ("bf16", "tf32", "float32") if bench.on_gpu else ("float32", "bf16"):  # a CPU has no tf32
        yield Measurement(peers_name(precision), partial(compare, bench, precision))


def peers_name(precision: str) -> str:
    """Return the name of the row that compares us with the peers."""
    return f"peers, {precision}"


def name(model: str, precision: str, share: float) -> str:
    """Return the name of a row."""
    return f"{model}, {precision}, {share:.0%} in A"


def _rate(bench: Bench, log: Log, model: str, precision: str, share: float) -> Row:
    size = bench.size
    photographs = model == size.large and size.large != size.small
    n, side, batch = (
        (size.large_part, size.large_side, size.large_batch) if photographs else (size.part, size.side, size.batch)
    )
    data = random_examples(n, side)
    augmentation = "none" if photographs else "cifar"
    spec = settings(bench, batch_size=batch, augmentation=augmentation, **SWITCHES[precision])
    seconds = seconds_per_image(bench, model, data, spec, share)
    work = operations(multiplications(bench.build(model, data), side), share) / seconds
    return {
        "images/s": 1 / seconds,
        "ms per step": 1e3 * seconds * batch,
        "TFLOP/s": work / 1e12,
        "of bf16 matrix rate": work / 1e12 / log.row(SECTION, MATRIX)["TFLOP/s"],
    }


def matrix_rate(bench: Bench) -> float:
    """Return the operations per second of a large bf16 matrix product: the best of twelve rounds of ten."""
    side = bench.size.matrix
    a, b = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))

    def products() -> None:
        for _ in range(10):
            a @ b

    return 10 * 2 * side**3 / min(bench.seconds(products) for _ in range(12))
