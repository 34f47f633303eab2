"""Checks whether the saved state of a model or trainer, named arrays, fits the one that it is loaded into."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sat_core.errors import CheckpointError, quoted
from sat_core.weights import WRAPPERS


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _wrapped(expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], what: str) -> str:
    """Say how to load the state of the same network where one of the two is inside a wrapper."""
    saved, own = ({part for name in names for part in name.split(".")} & {*WRAPPERS} for names in (got, expected))
    part = min(saved ^ own, default="module")
    whose, remedy = "the model", f"wrap the module inside: model.{part}"
    if part in saved:
        whose = "the state"
        remedy = f"strip it: {{name.replace('{part}.', ''): value for name, value in state.items()}}"
    says = f"{what}: the names of {whose} have {part!r}, of {WRAPPERS[part]}, before those of the same network"
    return f"{says}\n{remedy}"


def check_state(expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], what: str) -> None:
    """Check that two states have the same names, shapes and kinds of number.

    Args:
        expected: State of the object that is loaded into.
        got: The state that is loaded.
        what: What the object is called in messages.

    Raises:
        CheckpointError: Names the first array that is missing, surplus, or different.
    """
    if expected.keys() != got.keys() and {*map(_bare, expected)} == {*map(_bare, got)}:
        raise CheckpointError(_wrapped(expected, got, what))
    for name in [*expected, *got]:
        if name not in got or name not in expected:
            word = "lacks" if name in expected else "has a surplus"
            raise CheckpointError(f"{what}: the state {word} {quoted(name)}; it belongs to another architecture")
        if expected[name].shape != got[name].shape:
            raise CheckpointError(
                f"{what}: {quoted(name)}: expected shape {expected[name].shape}, got {got[name].shape}"
            )
        # Only the kind: floats of another precision are converted when they are loaded.
        if expected[name].dtype.kind != got[name].dtype.kind:
            raise CheckpointError(
                f"{what}: {quoted(name)}: expected numbers as {expected[name].dtype}, got {got[name].dtype}"
            )
