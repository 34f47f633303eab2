"""Types of numbers: what a network computes in, what an attack on it computes in, and what a training may ask of it."""

from __future__ import annotations

from collections.abc import Iterable

from sat_core.errors import SpecError

TYPES = ("float16", "bfloat16", "float32", "float64")
"""Floating types, the least precise first."""
HALF = TYPES[:2]
OF_NETWORK = {"float32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16", "float64": "float64"}
"""Values of training.precision, and the type in which the network computes. tf32 is float32 whose products a GPU may
round to 10 bits."""
FP16_SCALE = 1024.0
"""What losses are multiplied with before gradients are taken in float16, in steps (at first) and in attacks: gradients
from 6e-11 to 64 can then be represented. PyTorch's own start of 65,536 overflows at gradients of 1, and loses steps."""
FP16_GROWTH_INTERVAL = 2000
"""After how many good steps the loss scale doubles; a step that overflows is left out and halves it."""


def least_precise(types: Iterable[str]) -> str:
    """The least precise floating type among names such as ``float32``; others do not count. float32 if there are none.

    >>> least_precise(["float32", "int64", "bfloat16"]), least_precise([])
    ('bfloat16', 'float32')
    """
    found = {*types}
    return next((name for name in TYPES if name in found), "float32")


def attack_type(network: str) -> str:
    """Type of images, δ, projection and losses in attacks on a network that computes in the type `network`.

    Never less than float32: bfloat16 has 8 bits, so that a pixel of 0.5 moves in steps of 1/256.

    >>> attack_type("bfloat16"), attack_type("float64")
    ('float32', 'float64')
    """
    return "float64" if network == "float64" else "float32"


def check_precision(asked: str, weights: str, network: str) -> None:
    """SpecError unless a network with `weights` that computes in `network` can be trained in `asked`.

    One in float32 can be trained in any precision, one that brings another type only in that.
    """
    if weights in HALF:
        raise SpecError(
            f"training.precision: expected weights in float32, got {weights}, in which small updates are lost\n"
            'convert them, and ask for half precision with training.precision = "bf16" or "fp16"'
        )
    if network not in ("float32", OF_NETWORK[asked]):
        fitting = next(name for name, of_network in OF_NETWORK.items() if of_network == network)
        raise SpecError(
            f"training.precision: {asked!r} was asked for, but the network itself computes in {network}\n"
            f'set training.precision = "{fitting}", or build the network in float32'
        )
