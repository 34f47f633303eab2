"""Checkpoints: safetensors with one JSON string of metadata. Loading one never executes anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core.errors import CheckpointError, quoted, shortened
from sat_core.file_kinds import NPZ, WRITERS, backend_for, kind_of
from sat_core.files import EXPERIMENT, irregular, write_bytes
from sat_core.unit_folder import UnitFolder
from sat_core.weights import Weights

SUFFIX = ".safetensors"
EXPORTED = "model.safetensors"
"""Weights in an exported folder, see `sat_core.exported`."""
_KEY = "sat-core"
_KINDS = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
"""Types of arrays that numpy has, as safetensors calls them. numpy has no bfloat16 and no float8."""


@final
@attrs.frozen(eq=False)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: Of the file.
        groups: Arrays by name, in groups such as "model", "trainer" and "recorder".
        metadata: A table of JSON values about them.
    """

    path: Path
    groups: dict[str, dict[str, np.ndarray]]
    metadata: dict[str, Any]

    def check(self, fingerprint: str) -> None:
        """Raise CheckpointError unless it was written in a run of the experiment with this fingerprint."""
        if self.metadata.get(EXPERIMENT) != fingerprint:
            raise CheckpointError(f"{self.path}: belongs to another arm or study")


def save(path: Path, groups: Mapping[str, Mapping[str, np.ndarray]], metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all. The same content gives the same bytes."""
    from safetensors.numpy import save as encode

    # safetensors copies memory as it lies, so that views have to be made contiguous. `ascontiguousarray` would turn
    # the shape () of a scalar into (1,).
    flat = {f"{g}/{name}": np.asarray(a, order="C") for g, arrays in groups.items() for name, a in arrays.items()}
    # One sorted string under one key: safetensors writes several keys in an order that changes from run to run.
    write_bytes(path, encode(flat, metadata={_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)}))


def find(path: str | Path) -> Path:
    """Return the file that `path` names.

    Args:
        path: Of a file, with or without its suffix, or of the folder of an arm, whose best epoch is meant, or of an
            export.

    Raises:
        CheckpointError: There is no such file.
    """
    path = Path(path)
    # Not `with_suffix`, which takes the .5 of size-0.5 for a suffix.
    for candidate in (path, path.with_name(path.name + SUFFIX), UnitFolder(path).best_checkpoint, path / EXPORTED):
        if candidate.is_file():
            return candidate
        if candidate.exists() and not candidate.is_dir():
            raise CheckpointError(f"{candidate}: expected a file, got {irregular(candidate)}")
    raise CheckpointError(f"{path}: {_none_here(path)}")


def _none_here(path: Path) -> str:
    from sat_core.run_folder import RunFolder

    expected = "expected one, a file of weights, or the folder of a finished arm"
    if not path.is_dir():
        return f"no such checkpoint; {expected}"
    study = RunFolder(path)
    if not study.has_begun or not study.has_arms:
        return f"no such checkpoint in this folder; {expected} or of an export"
    finished = next((str(arm) for arm in study.arms if arm.best_checkpoint.is_file()), "")
    return f"the folder of a study; {expected}\n" + (
        f"take {finished}" if finished else "no arm of it has a checkpoint"
    )


def read(path: str | Path) -> Checkpoint:
    """Return the checkpoint at `path`, as `find` takes it. Nothing in the file is executed.

    Raises:
        CheckpointError: Names file and reason, and for files of other libraries how to load them.
    """
    from safetensors import SafetensorError, safe_open

    path = find(path)
    groups: dict[str, dict[str, np.ndarray]] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {})[_KEY])
            for key in sorted(file.keys()):
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = _array(file, key, path)
    except KeyError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of sat-core (no {error} metadata)\nof weights of another program: "
            f"{how_to_load()}"
        ) from error
    except CheckpointError:
        raise
    # RecursionError: json cannot read brackets nested without end.
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: expected a table as its metadata, got {quoted(metadata)}")
    return Checkpoint(path, groups, metadata)


def weights(path: Path) -> Weights:
    """Return the weights in a checkpoint of ours, or in a safetensors file of any program.

    Raises:
        CheckpointError: It is neither, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if _KEY not in (file.metadata() or {}):
                return Weights(path=path, arrays={key: _array(file, key, path) for key in sorted(file.keys())})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    saved = read(path)
    if "model" not in saved.groups:
        raise CheckpointError(f"{path}: holds no model")
    return Weights(path=path, arrays=saved.groups["model"])


def _array(file: Any, key: str, path: Path) -> np.ndarray:
    kind = file.get_slice(key).get_dtype()
    if kind not in _KINDS:
        raise CheckpointError(
            f"{path}: expected arrays of types that numpy has, got {quoted(key)} in {kind}; save it as float32"
        )
    array: np.ndarray = file.get_tensor(key)
    return array


def is_ours(path: Path) -> bool:
    """Return whether a file is a checkpoint that `save` wrote; nothing is checked beyond that it says so.

    Raises:
        CheckpointError: It is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if kind_of(path):
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def how_to_load(backend: str = "") -> str:
    """Say how weights of other programs are loaded, with a backend if only one can."""
    option = f" --backend {backend}" if backend else ""
    return f"sat evaluate PATH --model NAME{option}; in Python backend.load_weights(classifier, path)"


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    says = _foreign(path) or f"truncated or not a safetensors file ({shortened(str(error), 160)})"
    return CheckpointError(f"{path}: {says}")


def _foreign(path: Path) -> str:
    """Say which program wrote the file, and what reads it; empty if it is none that we know."""
    kind = kind_of(path)
    if backend := backend_for(kind):
        return f"a file of {WRITERS[kind]}, no checkpoint of sat-core\n{how_to_load(backend)}"
    if kind == NPZ:
        return "an .npz of numpy\npass its arrays: classifier.load_state(dict(numpy.load(path)))"
    return ""
