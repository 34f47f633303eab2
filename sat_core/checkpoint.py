"""Checkpoints: safetensors with one JSON string of metadata. Loading one never executes anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core.errors import CheckpointError
from sat_core.files import write_bytes

SUFFIX = ".safetensors"
_KEY = "sat-core"


@final
@attrs.frozen(eq=False)
class Checkpoint:
    """Arrays in named groups ("model", "trainer", "recorder") and a table about them."""

    groups: dict[str, dict[str, np.ndarray]]
    about: dict[str, Any]


def save(path: Path, groups: Mapping[str, Mapping[str, np.ndarray]], about: Mapping[str, Any]) -> None:
    """Write `path` whole; the same content gives the same bytes."""
    from safetensors.numpy import save as encode

    flat = {f"{g}/{name}": np.asarray(a, order="C") for g, arrays in groups.items() for name, a in arrays.items()}
    write_bytes(path, encode(flat, metadata={_KEY: json.dumps(about, sort_keys=True, allow_nan=False)}))


def find(path: str | Path) -> Path:
    """The file that `path` names, with or without suffix, or the best in an arm's folder; else CheckpointError."""
    path = Path(path)
    for candidate in (path, path.with_name(path.name + SUFFIX), path / f"checkpoint-best{SUFFIX}"):
        if candidate.is_file():
            return candidate
    raise CheckpointError(f"{path}: no such checkpoint")


def read(path: str | Path) -> Checkpoint:
    """The checkpoint at `path`, with or without its suffix; CheckpointError names file and reason."""
    from safetensors import SafetensorError, safe_open

    path = find(path)
    groups: dict[str, dict[str, np.ndarray]] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            for key in sorted(file.keys()):
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except KeyError as error:
        raise CheckpointError(f"{path}: not a checkpoint of sat-core (no {error} metadata)") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: truncated or not a safetensors file ({error})") from error
    return Checkpoint(groups, about)


def check_state(expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], what: str) -> None:
    """CheckpointError for the first array that is missing, surplus, or of another shape."""
    for name in [*expected, *got]:
        if name not in got or name not in expected:
            word = "lacks" if name in expected else "has a surplus"
            raise CheckpointError(f"{what}: the state {word} {name!r}; it belongs to another architecture")
        if expected[name].shape != got[name].shape:
            raise CheckpointError(f"{what}: {name!r}: expected shape {expected[name].shape}, got {got[name].shape}")
