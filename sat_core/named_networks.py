"""Networks by name, with new weights or those of their library; what `sat_core.backend.Backend` makes of a name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import attrs

from sat_core.classifier import Classifier
from sat_core.errors import CheckpointError, SpecError, brief, quoted
from sat_core.initialisation import initial_state
from sat_core.input_spec import InputSpec
from sat_core.models import MODELS
from sat_core.plugins import user_factory
from sat_core.registry import nearest
from sat_core.scaling import Scaling
from sat_core.zoos import ZOOS, Zoo, ZooName


class Builder(Protocol):
    """What of `sat_core.backend.Backend` makes networks."""

    name: str

    def models(self) -> tuple[str, ...]:
        """See `Backend`."""
        ...

    def zoos(self) -> Mapping[str, Zoo]:
        """See `Backend`."""
        ...

    def new(self, description: Mapping[str, Any]) -> Classifier:
        """See `Backend`."""
        ...

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """See `Backend`."""
        ...

    def wrap_for(self, inputs: InputSpec, model: Any) -> Classifier:
        """See `Backend`."""
        ...


def network_of(backend: Builder, inputs: InputSpec, model: str, seed: int) -> Classifier:
    """Make a network, see `sat_core.backend.Backend.build_for`."""
    zoo, zoos = model.partition(":")[0], backend.zoos()
    if is_zoo(backend, model):
        if zoo not in zoos:
            raise SpecError(
                f"model.name: {quoted(model)} is a network for the backend {ZOOS[zoo]!r}, got {quoted(backend.name)}\n"
                f"take --backend {ZOOS[zoo]}"
            )
        with backend.seeded(seed):
            made = zoos[zoo](ZooName.parse(model), inputs)
            classifier = backend.wrap_for(made.inputs, made.native)
        new = f"the last layer is new, as the weights of {model} are for {made.weights_for} classes"
        classifier.taken = (*filter(None, [made.taken]), *([new] if made.weights_for else []))
        classifier.weights_for = made.weights_for
        return classifier
    if ":" in model or (model not in backend.models() and model in MODELS):
        factory = user_factory(model) if ":" in model else MODELS.get(model).function(backend.name)
        with backend.seeded(seed):
            try:
                native = factory(classes=inputs.classes, image_shape=inputs.image_shape)
            except (Exception, SystemExit) as error:  # the user's function may raise anything
                raise SpecError(f"model.name: {model}(classes, image_shape) raised {brief(error)}") from error
            # Inside, too: lazy layers draw their weights when images are first sent through.
            return backend.wrap_for(inputs, native)
    if model not in backend.models():
        names = (*backend.models(), *MODELS)
        raise SpecError(
            f"model.name: unknown model {quoted(model)}{nearest(model, names)}\n"
            f"expected one of {', '.join(names)}, or package.module:factory"
        )
    classifier = backend.new({"model": model, **inputs.to_dict()})
    classifier.load_state(initial_state(classifier.state(), seed))
    return classifier


def is_zoo(backend: Builder, model: str) -> bool:
    """Return whether `model` names a network of another library, as ``timm:resnet18d``."""
    zoo, colon, _ = model.partition(":")
    return bool(colon) and (zoo in backend.zoos() or zoo in ZOOS)


def rebuilt(backend: Builder, inputs: InputSpec, model: str | ZooName) -> Classifier:
    """Make a network whose weights are in a checkpoint: none are fetched, and no library's record counts.

    Args:
        backend: Makes it.
        inputs: As the classifier of the checkpoint had them, with scaling and output.
        model: As in `sat_core.backend.Backend.build`; of a library's network, what its options say of weights is left
            out.
    """
    zoo = backend.zoos().get(model.zoo if isinstance(model, ZooName) else model.partition(":")[0])
    if zoo is None or not is_zoo(backend, str(model)):
        return network_of(backend, inputs, str(model), 0)
    name = model if isinstance(model, ZooName) else ZooName.parse(model)
    options = {key: value for key, value in name.options.items() if key != "pretrained"}
    with backend.seeded(0):
        # of a library's weights a network may have other channels than the images
        return backend.wrap_for(inputs, zoo(attrs.evolve(name, options=options), inputs.inner).native)


def built_as(backend: Builder, description: Any, path: str | Path) -> Classifier:
    """Return one of the backend's own networks as a checkpoint describes it, with any weights.

    Raises:
        CheckpointError: It describes none.
    """
    name = str(description.get("model", "")) if isinstance(description, Mapping) else quoted(description)
    if name not in backend.models():
        raise CheckpointError(
            f"{path}: its model {quoted(name or 'of the user')} is not one of {', '.join(backend.models())}\n"
            "a checkpoint never imports code: build the model and pass it as `into` (command line: --model)"
        )
    try:
        h, w, c = map(int, description["image_shape"])
        mean, std = (tuple(map(float, description[key])) for key in ("mean", "std"))
        scaling = None if description.get("scaling") is None else Scaling(**description["scaling"])
        inputs = InputSpec(int(description["classes"]), (h, w, c), mean, std, scaling)
        # Made of the parts that were checked: nothing else that a file says reaches the framework.
        return backend.new({"model": name, **inputs.to_dict(), **({"head": True} if description.get("head") else {})})
    except Exception as error:  # a framework has errors of its own for sizes that make no network
        raise CheckpointError(f"{path}: what it says of its model makes none ({brief(error)})") from error
