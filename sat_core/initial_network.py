"""The network that a training begins with: from which weights, how it normalises, and what of it learns."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs

from sat_core import checkpoint
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet
from sat_core.errors import CheckpointError, SpecError, quoted
from sat_core.experiment import WEIGHTS
from sat_core.input_spec import InputSpec
from sat_core.named_networks import is_zoo, rebuilt
from sat_core.sections import ModelSpec


def initial_network(
    backend: Backend, model: ModelSpec, data: DataSet, seed: int, make: Callable[[], Classifier] | None = None
) -> Classifier:
    """Return the network that a training on `data` begins with; `taken` of it says what was done for it.

    Args:
        backend: Makes it.
        model: Which network, and from which weights. The last layer is new where those are of other classes.
        data: Whose classes and images it is for.
        seed: Of what is new.
        make: Returns a network of the user's in place of the one that `model` names.

    Raises:
        SpecError: The network does not fit the data, or `model` the network.
        CheckpointError: The weights are missing, damaged, or those of another network.
    """
    classifier = _named(backend, model, data, seed) if make is None else make()
    if model.weights:
        lines = backend.load_weights(classifier, model.weights, classifier.last_layer())
        lines = (_start(model.weights, classifier.inputs), *lines, *_other_inputs(model.weights, classifier.inputs))
        # a network of the user's is the same object each time
        before = (line for line in classifier.taken if line not in lines and not line.startswith(_STARTS))
        classifier.taken = (*before, *lines)
    classifier.learn(model.layers)
    return classifier


def _named(backend: Backend, model: ModelSpec, data: DataSet, seed: int) -> Classifier:
    inputs = attrs.evolve(InputSpec.of(data), output=model.output)
    if model.output and model.name in backend.models():
        raise SpecError(f"model.output: {quoted(model.name)} returns its logits alone; leave it out")
    zoo = is_zoo(backend, model.name)
    if model.mean and not zoo:
        inputs = _normalised(inputs, model)
    classifier = backend.build_for(inputs, model.name, seed)
    if model.mean and zoo:  # in place of the library's own record, which may be of another number of channels
        taken = classifier.taken
        classifier = backend.wrap_for(_normalised(classifier.inputs, model), classifier.native)
        classifier.taken = (*taken, "mean and std are model.mean and model.std")
    return classifier


def _normalised(inputs: InputSpec, model: ModelSpec) -> InputSpec:
    # of grey images that are made coloured, one number stands for all channels
    times = inputs.network_shape[2] if len(model.mean) == 1 else 1
    try:
        return attrs.evolve(inputs, mean=model.mean * times, std=model.std * times)
    except SpecError as error:
        raise SpecError(f"model.mean, model.std: {str(error).partition(': ')[2]}") from error


_STARTS = "starts from "


def _start(path: str, inputs: InputSpec) -> str:
    """Say which weights they are, and how the network normalises."""
    mean, std = _numbers(inputs.mean), _numbers(inputs.std)
    normalised = f"normalised with mean {mean} and deviation {std}" if inputs.mean else "not normalised"
    return f"{_STARTS}{Path(path).name} (SHA-256 {fingerprint(path)[:8]}…), {normalised}"


def _other_inputs(path: str, inputs: InputSpec) -> tuple[str, ...]:
    """Say if the weights of a checkpoint of ours were trained with another normalisation."""
    try:
        metadata = checkpoint.read(path).metadata
    except CheckpointError:  # of another program
        return ()
    before = metadata.get("network") or metadata.get("model") or {}
    mean, std = (tuple(before.get(key, ())) if isinstance(before, dict) else () for key in ("mean", "std"))
    if not mean or (mean, std) == (inputs.mean, inputs.std):
        return ()
    here = f"here it is {_numbers(inputs.mean)} and {_numbers(inputs.std)}" if inputs.mean else "here there is none"
    return (
        f"the weights were trained with the mean {_numbers(mean)} and deviation {_numbers(std)}, and {here}: "
        "model.mean and model.std set them",
    )


def _numbers(values: Iterable[Any]) -> str:
    return f"[{', '.join(f'{v:.4g}' if isinstance(v, float) else str(v) for v in values)}]"


def trained_network(backend: Backend, path: Path, model: str, inputs: InputSpec) -> Classifier:
    """Return the network of a checkpoint; nothing is fetched for it but code that `model` names.

    Args:
        backend: Makes it.
        path: Of the checkpoint.
        model: What ``model.name`` was in its training.
        inputs: What it takes, see `trained_inputs`.
    """
    into = None if model in backend.models() else rebuilt(backend, inputs, model)
    return backend.load(path, into=into)


def trained_inputs(metadata: Mapping[str, Any], default: InputSpec) -> InputSpec:
    """Return what the network of a checkpoint takes, from its metadata; `default` if they do not say."""
    try:
        return InputSpec.from_dict(metadata.get("network") or metadata.get("model") or {})
    except (KeyError, TypeError):
        return default


def weights_table(*paths: str) -> dict[str, str]:
    """Return what the table [run] says of files of weights: their fingerprints, in order, each once.

    Args:
        paths: As in ``model.weights``; those that are empty do not count.
    """
    fingerprints = dict.fromkeys(fingerprint(path) for path in paths if path)
    return {WEIGHTS: "+".join(fingerprints)} if fingerprints else {}


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a file of weights in hexadecimal; `path` as in ``model.weights``."""
    file = checkpoint.find(path)
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(file: Path, _size: int, _changed: int) -> str:
    # A study asks for it once for each of its arms.
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while part := content.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def absolute(path: str) -> str:
    """Return the absolute path of weights; CheckpointError if there are none.

    Workers stand in other folders than the user.
    """
    path = os.path.abspath(Path(path).expanduser())
    try:
        checkpoint.find(path)
    except CheckpointError as error:
        raise CheckpointError(f"model.weights: {error}") from error
    return path
