"""Networks with weights from anywhere: a checkpoint of ours, a file of any program, a name."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs

from sat_core import checkpoint
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.errors import CheckpointError, SatError, SpecError, brief, quoted, type_name
from sat_core.exported import CONFIG, Exported, zoo_name, zoo_of
from sat_core.input_spec import InputSpec
from sat_core.named_networks import is_zoo, rebuilt
from sat_core.probe import OtherClasses
from sat_core.zoos import ZooName

UNTRAINED = "its weights are new, and nothing has trained them: give a file of weights, or NAME?pretrained"


@final
@attrs.frozen(kw_only=True, eq=False)
class Network:
    """A network with weights, and where they are from.

    Attributes:
        classifier: The network.
        model: Its name: one of the backend's, of a library's, or of a factory; empty if a file has said what it is.
        path: The file of its weights; None if they came with the network.
        saved: What a checkpoint of ours says of itself; empty for weights of other programs.
        taken: What was chosen, renamed and left out, one line each, as it is printed.
    """

    classifier: Classifier
    model: str = ""
    path: Path | None = None
    saved: Mapping[str, Any] = attrs.field(factory=dict)
    taken: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self.path or self.model)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file in hexadecimal; empty if there is none."""
        if self.path is None:
            return ""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def open_network(backend: Backend, inputs: InputSpec, path: str | Path | None, model: Any) -> Network:
    """Return a network with the weights of a file, or those that it comes with.

    Args:
        backend: What computes.
        inputs: Classes and images of the data, and what stands in front of a network whose weights are not ours:
            nothing, if it says nothing.
        path: Of a checkpoint of ours, of a file of another program, or of the folder of an arm; None for the weights
            that the network comes with.
        model: Name of the network, or a native model, which takes the weights over; empty where the file says what it
            is.

    Raises:
        CheckpointError: The file is damaged, or of another network.
        SpecError: There is no such network, or it has another number of classes.
    """
    if path is None:
        classifier = _built(backend, inputs, model)
        if own := classifier.weights_for:
            raise _other_classes(inputs, model, own)
        taken = (*classifier.taken, *([UNTRAINED] if _is_new(backend, model) else []))
        return Network(classifier=classifier, model=_name(model), taken=taken)
    if (Path(path) / CONFIG).is_file():
        return _exported(backend, inputs, Path(path), model)
    path = checkpoint.find(path)
    if checkpoint.is_ours(path):
        return _ours(backend, inputs, path, model)
    if not model:
        classifier = backend.load_network(inputs, path)
        return Network(classifier=classifier, path=path)
    classifier = _built(backend, inputs, model)
    lines = backend.load_weights(classifier, path)
    return Network(classifier=classifier, model=_name(model), path=path, taken=(*classifier.taken, *lines))


def attacked_network(
    backend: Backend, inputs: InputSpec, path: str | Path | None, model: Any, classes: int | None
) -> Classifier:
    """Return a network as `open_network` does, with as many classes as it has.

    Args:
        backend, inputs, path, model: As there; the classes of `inputs` are a guess.
        classes: How many are expected; None for any number that is not less than guessed.

    Raises:
        CheckpointError, SpecError: As there.
    """
    try:
        return open_network(backend, inputs, path, model).classifier
    except OtherClasses as error:
        own = error.classes or 0
        if classes is not None or own <= inputs.classes:
            raise
        return open_network(backend, attrs.evolve(inputs, classes=own), path, model).classifier


def said_by(path: str | Path) -> Mapping[str, Any]:
    """Return what a checkpoint or an export of ours says of its training; nothing for other files, or for no path.

    Raises:
        CheckpointError: There is no such file, or it is damaged.
    """
    if not path:
        return {}
    if (Path(path) / CONFIG).is_file():
        return {"attack": Exported.read(Path(path)).attack}
    path = checkpoint.find(path)
    return checkpoint.read(path).metadata if checkpoint.is_ours(path) else {}


def _exported(backend: Backend, inputs: InputSpec, path: Path, model: Any) -> Network:
    _check_bare(inputs, path)
    says = Exported.read(path)
    classifier = says.load(path, backend, model or None)
    return Network(
        classifier=classifier, model=says.model, path=path / checkpoint.EXPORTED, saved={"attack": says.attack}
    )


def _check_bare(inputs: InputSpec, path: Path) -> None:
    if inputs.mean or inputs.output:
        raise SpecError(
            f"{'output' if inputs.output else 'mean, std'}: for weights of other programs only; {path} is of sat-core, "
            "and its network takes images as in its training"
        )


def _ours(backend: Backend, inputs: InputSpec, path: Path, model: Any) -> Network:
    _check_bare(inputs, path)
    saved, into = checkpoint.read(path).metadata, None
    if not model and not saved.get("model"):
        model = _of_library(saved.get("network"), path)
    # the network of a transfer is its source's, for the source's classes and images, below a head for the target
    if model and "source" in saved:
        classes = _described(saved.get("network"), path).classes
        into = _as_trained(backend, _described(saved["source"], path), model).with_head(classes)
    elif model:
        into = _as_trained(backend, _described(saved.get("network"), path), model)
    return Network(classifier=backend.load(path, into=into), model=_name(model), path=path, saved=saved)


def _of_library(described: Any, path: Path) -> ZooName:
    """Return the library's network that a checkpoint names: it is made as in an export, and no module of a user's."""
    name = str(described.get("name", "")) if isinstance(described, Mapping) else ""
    if not zoo_of(name):
        raise CheckpointError(
            f"{path}: has weights of the network {quoted(name or 'of the user')}, and a checkpoint never imports code\n"
            f"name it if you trust it: --model {shlex.quote(name or 'package.module:factory')}"
        )
    try:
        return zoo_name(name)
    except SatError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _as_trained(backend: Backend, inputs: InputSpec, model: Any) -> Classifier:
    named = isinstance(model, str | ZooName)
    return rebuilt(backend, inputs, model) if named else backend.wrap_for(inputs, model)


def _described(inputs: Any, path: Path) -> InputSpec:
    try:
        return InputSpec.from_dict(inputs)
    except (SpecError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: what it says of its images makes no network ({brief(error)})") from error


def _name(model: Any) -> str:
    return str(model) if isinstance(model, str | ZooName) else type_name(model)


def _is_new(backend: Backend, model: Any) -> bool:
    """Return whether nobody has trained the network that is called so; of one from a factory only its author knows."""
    if not isinstance(model, str):
        return False
    # RobustBench has no network without weights
    of_library = is_zoo(backend, model) and not model.startswith("robustbench:")
    return model in backend.models() or (of_library and not ZooName.parse(model).pretrained)


def _built(backend: Backend, inputs: InputSpec, model: Any) -> Classifier:
    if not isinstance(model, str):
        return backend.wrap_for(inputs, model)
    try:
        return backend.build_for(inputs, model)
    except OtherClasses as error:
        if not error.classes:
            raise
        raise _other_classes(inputs, model, error.classes) from error


def _other_classes(inputs: InputSpec, model: Any, own: int) -> OtherClasses:
    return OtherClasses(
        f"model: expected logits for the {inputs.classes} classes of the data, got {own} from {model}\n"
        f"take a network for {inputs.classes} classes, or data with those that it was trained on",
        own,
    )
