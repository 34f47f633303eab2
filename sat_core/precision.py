"""Types of numbers: what networks and attacks compute in, and which of them a training can be asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sat_core.errors import SpecError

TYPES = ("float16", "bfloat16", "float32", "float64")
"""Floating types, the least precise first."""
HALF = TYPES[:2]
OF_NETWORK = {"float32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16", "float64": "float64"}
"""Values of training.precision, and the type in which the network computes. tf32 is float32 whose factors a GPU may
round to 10 bits of mantissa before it multiplies them."""
AUTO = "auto"
"""Value of training.precision for the fastest that the device computes in hardware; `resolve_precision` replaces it."""
FP16_SCALE = 1024.0
"""Losses are multiplied with this before gradients are taken in float16, in training (at first) and in attacks.

float16 reaches from 6e-8 to 65,504. Gradients over pixels are often smaller than its lower end, and would become zero;
with this scale, gradients from 6e-11 to 64 can be represented. PyTorch's own start of 65,536 overflows at gradients of
1, and loses the first steps of a training. Attacks need no search for a scale: a direction does not depend on it.
"""
FP16_GROWTH_INTERVAL = 2000
"""The loss scale of a training doubles after so many good steps; a step that overflows is left out and halves it."""


def least_precise(types: Iterable[str]) -> str:
    """Return the least precise floating type among names such as ``float32``; float32 if there is none among them.

    >>> least_precise(["float32", "int64", "bfloat16"]), least_precise([])
    ('bfloat16', 'float32')
    """
    names = {*types}
    return next((name for name in TYPES if name in names), "float32")


def attack_type(network: str) -> str:
    """Return the type of images, δ, projection and losses in attacks on a network that computes in `network`.

    Never less than float32: bfloat16 has 8 bits of mantissa, so that a pixel of 0.5 would move in steps of 1/256, and
    ε = 8/255 would be 8 of them.

    >>> attack_type("bfloat16"), attack_type("float64")
    ('float32', 'float64')
    """
    return "float64" if network == "float64" else "float32"


def check_precision(precision: str, weights: str, network: str) -> None:
    """Refuse a training that the network is not made for.

    A network in float32 can be trained in any precision, one that brings another type only in that.

    Args:
        precision: a value of training.precision.
        weights: type of the network's weights.
        network: type in which it computes.

    Raises:
        SpecError: for another precision than the network's own, and for weights in half precision.
    """
    if precision == AUTO:
        raise SpecError(
            f"training.precision: expected one of {', '.join(OF_NETWORK)}, got {AUTO!r}, which only studies replace\n"
            "take backend.fastest_precision()"
        )
    if weights in HALF:
        raise SpecError(
            f"training.precision: expected weights in float32, got {weights}, in which small updates are lost\n"
            'convert them, and ask for half precision with training.precision = "bf16" or "fp16"'
        )
    # A user's network that casts to another type would compute in that whatever precision is asked for, and the
    # results would name the wrong one.
    if network not in ("float32", OF_NETWORK[precision]):
        fitting = next(name for name, of_network in OF_NETWORK.items() if of_network == network)
        raise SpecError(
            f"training.precision: {precision!r} was asked for, but the network itself computes in {network}\n"
            f'set training.precision = "{fitting}", or build the network in float32'
        )


def cpu_multiplies_bfloat16() -> bool:
    """Tell whether this machine's CPU has instructions for products in bfloat16, AMX or AVX-512; only Linux says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any({"amx_bf16", "avx512_bf16"} & {*line.split()} for line in lines if line.startswith("flags"))
