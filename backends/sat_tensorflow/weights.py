"""Weights and networks in files of Keras, of any program. Nothing in them is executed or imported."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from sat_core.errors import CheckpointError, brief, quoted
from sat_core.file_kinds import HDF5, KERAS, kind_of
from sat_tensorflow.classifier import TensorFlowClassifier

_PROGRAMS = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
"""Classes of Keras that are made of code, or of another file, which their configuration has or names."""
_NOT_OF_THE_NETWORK = ("optimizer", "metrics", "compile_metrics", "optimizer_weights")
_LARGEST_CONFIG = 2**26
_INSTEAD = "its weights alone can be read into a network that you make: --model package.module:factory"


def is_of_keras(path: Path) -> bool:
    """Return whether Keras wrote a file, or is to have written it."""
    return kind_of(path) in (KERAS, HDF5)


def load_into(classifier: TensorFlowClassifier, path: Path, fresh: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Read the weights of a file of Keras into a network; if that fails, it has those that it had.

    Args:
        classifier: Whose network it is.
        path: Of a ``.weights.h5``, ``.keras`` or ``.h5``.
        fresh: See `sat_core.weights.Weights.fitted`.

    Returns:
        Lines on what was done.

    Raises:
        CheckpointError: The file is damaged, or the weights are those of another network.
    """
    saved, own, variables = _count(path), classifier.state(), classifier.variables()
    expected = len(classifier.native.weights)  # without the states of layers that draw, which Keras does not save
    if saved != expected and not fresh:
        raise CheckpointError(
            f"{path}: expected {expected} arrays, as many as the network has, got {saved}\n"
            "its weights are those of another network"
        )
    try:
        # What Keras skips without a word stays NaN.
        for variable in variables.values():
            if variable.dtype.startswith(("float", "bfloat")):
                variable.assign(np.full(variable.shape, np.nan))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.native.load_weights(path, skip_mismatch=bool(fresh))
        state = classifier.state()
        kept = [name for name in fresh if not np.isfinite(state[name]).all()]
        state |= {name: own[name] for name in kept}
        for name, value in state.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise CheckpointError(
                    f"{path}: {quoted(variables[name].path)}: expected finite numbers of shape {value.shape}, "
                    "got NaN or infinity, or nothing for it"
                )
    except CheckpointError:
        classifier.load_state(own)
        raise
    except Exception as error:  # Keras, h5py and zipfile have errors of their own
        classifier.load_state(own)
        raise CheckpointError(
            f"{path}: damaged, or its weights are those of another network or number of classes ({brief(error)})"
        ) from error
    classifier.load_state(state)
    return (f"the last layer is new: {', '.join(kept)}",) if kept else ()


def load_model(path: Path) -> keras.Model | None:
    """Make the network that a file of Keras describes, with its weights; None if it has weights alone.

    Raises:
        CheckpointError: The file is damaged, or the network has parts that are programs, or that no module which this
            process has imported brings.
    """
    config = _config(path)
    if config is None:
        return None
    known = keras.saving.get_custom_objects()
    for part in _parts(config):
        name, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
        if name in _PROGRAMS:
            raise CheckpointError(f"{path}: has a layer {quoted(name)}, which is a program\n{_INSTEAD}")
        of_keras = module is None or str(module).partition(".")[0] in ("keras", "builtins")
        if registered not in known and name not in known and (not of_keras or ">" in str(registered)):
            shown = registered if of_keras else f"{module}.{name}"
            raise CheckpointError(
                f"{path}: has a part {quoted(shown)}, which is not Keras's, and nothing is imported for a file\n"
                f"give the module that registers it with --import if you trust that; else {_INSTEAD}"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and zipfile have errors of their own
        raise CheckpointError(f"{path}: damaged, or of another version of Keras ({brief(error)})") from error
    if not isinstance(model, keras.Model):
        raise CheckpointError(f"{path}: expected a keras.Model, got {type(model).__name__}")
    return model


def _config(path: Path) -> Any:
    """The description of the network in a file; None if there is none."""
    try:
        if kind_of(path) == KERAS:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > _LARGEST_CONFIG:
                    raise CheckpointError(f"{path}: expected at most {_LARGEST_CONFIG} bytes of config.json")
                return json.loads(archive.read("config.json"))
        with h5py.File(path) as file:
            text = file.attrs.get("model_config")
            return None if text is None else json.loads(text)
    except CheckpointError:
        raise
    # KeyError: no config.json; RecursionError: json cannot read brackets nested without end
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: truncated or not a file of Keras ({brief(error)})") from error


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """All tables in the description of a network."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _count(path: Path) -> int:
    """The number of arrays of a network in a file, without those of its optimiser."""
    count, suffix = 0, ".keras"

    def visit(name: str, item: Any) -> None:
        nonlocal count
        count += isinstance(item, h5py.Dataset) and name.partition("/")[0] not in _NOT_OF_THE_NETWORK

    try:
        if kind_of(path) == KERAS:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open("model.weights.h5") as member,
                h5py.File(member) as file,
            ):
                file.visititems(visit)
        else:
            with h5py.File(path) as file:
                legacy = "layer_names" in file.attrs or "model_weights" in file
                suffix = ".h5" if legacy else ".weights.h5"
                file.visititems(visit)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: truncated or not a file of Keras ({brief(error)})") from error
    if not path.name.endswith(suffix) or (suffix == ".h5" and path.name.endswith(".weights.h5")):
        # Keras chooses its reader by the name
        raise CheckpointError(f"{path}: for what is in it, Keras expects a name like NAME{suffix}; rename it")
    return count
