"""A network in a folder that anybody can load: what its ``config.json`` says, and a classifier made of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

import attrs

from sat_core import checkpoint, files
from sat_core.attack_spec import AttackSpec
from sat_core.backend import BACKENDS, Backend, get_backend
from sat_core.classifier import Classifier
from sat_core.errors import CheckpointError, DataError, SatError, SpecError, brief, quoted
from sat_core.input_spec import InputSpec
from sat_core.json_fields import Unfit, flag, from_json, json_field, mapping, optional, sequence, table, text, to_json
from sat_core.zoos import ZOOS, ZooName

CONFIG = "config.json"
"""What `Exported` says; a folder with such a file is an export."""
_LOADING = ("pretrained", "checkpoint", "weights", "path", "file", "url", "dir", "cfg", "cache", "hub")
"""Words in options of libraries by which they would load something; the folder has the weights."""
_DTYPES = ("float32", "float64", "float16", "bfloat16")


def _inputs(value: Any) -> InputSpec:
    content = table(value)
    try:
        h, w, c = map(int, content["image_shape"])
        mean, std = (tuple(map(float, content[key])) for key in ("mean", "std"))
        known = {"classes": int(content["classes"]), "image_shape": (h, w, c), "mean": mean, "std": std}
        return InputSpec.from_dict({**content, **known, "output": text(content.get("output", ""))})
    except (SpecError, KeyError, TypeError, ValueError) as error:
        raise Unfit(f"classes, image_shape, mean and std of a network ({error})", value) from error


def zoo_of(model: str) -> str:
    """Return the library that makes a network without any weights, as ``timm``; empty for ours and users' own."""
    place, colon, _ = model.partition(":")
    # robustbench makes networks with its own weights only, which it would fetch.
    return place if colon and place in ZOOS and place != "robustbench" else ""


def zoo_name(model: str) -> ZooName:
    """Return the name that a file gives to a library's network, without what would load weights: the file has them.

    Raises:
        CheckpointError: An option is not a word or a number, such as the path of a file.
        SpecError: It is no such name.
    """
    name = ZooName.parse(model)
    options = {k: value for k, value in name.options.items() if not any(word in k for word in _LOADING)}
    for word in (name.network, *options, *options.values()):
        if not all(c.isalnum() or c in "._-+" for c in word):
            raise CheckpointError(f"model: expected words and numbers, got {quoted(word)} in {quoted(model)}")
    return attrs.evolve(name, options=options)


@final
@attrs.frozen(kw_only=True)
class Exported:
    """What ``config.json`` says of an exported network.

    Attributes:
        model: Name of its architecture: one of ours, of a library (``timm:resnet18d``), or a user's factory; empty for
            a network that was passed in by somebody else's program.
        inputs: Classes, images, and what is done to these in front of the network.
        head: Whether it is the head of a transfer (`Classifier.with_head`) on a network for `source`.
        source: Classes and images of that network.
        dtype: Type of its weights.
        class_names: Of the data that it was trained on; empty if they are not known.
        backend: That it was trained with.
        attack: Norm and radius of the training; None if it is not known.
        version: Of sat-core that wrote the folder.
        origin: SHA-256 of what is exported, the same for the same weights.
    """

    model: str = json_field(text)
    inputs: InputSpec = json_field(_inputs)
    head: bool = json_field(flag, False, omit=True)
    source: InputSpec | None = json_field(optional(_inputs), None, omit=True)
    dtype: str = json_field(text, "float32")
    class_names: tuple[str, ...] = json_field(sequence(text), ())
    backend: str = json_field(text)
    attack: dict[str, Any] | None = json_field(optional(table), None)
    version: dict[str, str] = json_field(mapping(text))
    origin: str = json_field(text)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``config.json``."""
        fields = attrs.asdict(self, recurse=False, filter=lambda field, value: value != field.default)
        described = {name: v.to_dict() if isinstance(v, InputSpec) else v for name, v in fields.items()}
        return {"library_name": "sat-core", **to_json(described)}

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Return what the export in `folder` says of itself; CheckpointError if it is none."""
        path = folder / CONFIG
        try:
            return from_json(cls, files.read_json(path))
        except DataError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise CheckpointError(
                f"{folder}: expected an export of sat-core ({CONFIG}: {reason})\n`sat export` makes one"
            ) from error

    @property
    def zoo(self) -> str:
        """The library that makes the architecture without any weights, as ``timm``; empty for ours and users' own."""
        return zoo_of(self.model)

    def build(self, backend: Backend, model: Any = None) -> Classifier:
        """Return a classifier of this architecture, with any weights.

        Args:
            backend: What computes.
            model: A user's own network: a native model, or ``package.module:factory``; not needed for ours and zoos'.

        Raises:
            SatError: It cannot be built.
        """
        inputs = self.source or self.inputs
        if model is not None and not (self.zoo and model == self.model):
            wrapped = backend.build_for(inputs, model) if isinstance(model, str) else backend.wrap_for(inputs, model)
            return wrapped.with_head(self.inputs.classes) if self.head else wrapped
        if self.model in backend.models():
            if self.dtype not in _DTYPES:
                raise CheckpointError(f"dtype: expected one of {', '.join(_DTYPES)}, got {quoted(self.dtype)}")
            head = {"head": True} if self.head else {}
            return backend.new({"model": self.model, **self.inputs.to_dict(), **head, "dtype": self.dtype})
        zoos = backend.zoos()
        if self.zoo in zoos:
            with backend.seeded(0):
                # As large as it was made: what stands in front of it is known.
                made = backend.wrap_for(inputs, zoos[self.zoo](zoo_name(self.model), inputs.inner).native)
            return made.with_head(self.inputs.classes) if self.head else made
        if self.zoo:
            raise SpecError(
                f"backend: {quoted(self.model)} is a network for {ZOOS[self.zoo]!r}, got {quoted(backend.name)}"
            )
        raise SpecError(
            f"model: {quoted(self.model or 'of the user')} is not one of {', '.join(backend.models())}, and an export "
            "never imports code\nif you have that network and trust it, pass it: model=NATIVE or "
            'model="package.module:factory" (command line: --model)'
        )

    def load(self, folder: Path, backend: Backend, model: Any = None) -> Classifier:
        """Return the classifier with the weights in `folder`; `model` as in `build`."""
        try:
            classifier = self.build(backend, model)
        except SatError as error:
            raise type(error)(f"{folder}: {error}") from error
        except Exception as error:  # a framework has errors of its own for sizes that make no network
            raise CheckpointError(f"{folder}: what {CONFIG} says makes no network ({brief(error)})") from error
        backend.load_weights(classifier, folder / checkpoint.EXPORTED)
        if self.attack:
            classifier.default_attack = AttackSpec(norm=self.attack["norm"], eps=self.attack["eps"]).probe
        return classifier


def load_model(
    place: str | Path,
    backend: str | Backend | None = None,
    device: str = "cpu",
    *,
    model: Any = None,
    revision: str | None = None,
) -> Classifier:
    """Load an exported network, ready to classify images and to be attacked; nothing in the folder is executed.

    Args:
        place: A folder that `sat export` made, or the name of one on a hub, as ``owner/name``, which is then fetched by
            ``huggingface_hub``.
        backend: "torch" or "tensorflow", or a backend. Weights of sat-core's own architectures load in each. Default:
            the environment variable SAT_BACKEND for these, and else the backend that trained the network.
        device: "cpu", "cuda" or "cuda:N".
        model: The network itself, where it is a user's own: a native model, or the ``package.module:factory`` of one.
        revision: Of the hub: a branch, a tag or a commit.

    Returns:
        The classifier. Its `perturb` attacks in the threat model of the training.

    Raises:
        SatError: The folder is no export, or its network is not to be had here.

    Example:
        >>> import sat_core as sat
        >>> classifier = sat.load_model("exported")  # doctest: +SKIP
        >>> classifier.logits(images).argmax(1)  # doctest: +SKIP
    """
    folder = Path(place)
    if not folder.is_dir():
        from sat_core.hub import download

        folder = download(str(place), (CONFIG, checkpoint.EXPORTED), revision)
    exported = Exported.read(folder)
    if not isinstance(backend, Backend):
        own = "" if ":" in exported.model or not exported.model else os.environ.get("SAT_BACKEND")
        name = backend or own or exported.backend
        if name not in BACKENDS:
            raise SpecError(f"{folder}: was trained with the backend {quoted(name)}; pass backend=NAME for another one")
        backend = get_backend(name, device)
    return exported.load(folder, backend, model)
