"""What a backend must offer. These docstrings are the specification; `sat_core.testing` holds backends to it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from sat_core import checkpoint
from sat_core.classifier import Classifier
from sat_core.errors import CheckpointError, SpecError, brief, quoted
from sat_core.evaluation import Evaluation
from sat_core.evaluator import get_evaluator
from sat_core.initialisation import initial_state
from sat_core.input_spec import InputSpec
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.models import MODELS
from sat_core.plain_code import Publisher
from sat_core.plugins import user_factory
from sat_core.probe import OtherClasses
from sat_core.process_group import ProcessGroup
from sat_core.registry import Registry, nearest
from sat_core.scaling import Scaling
from sat_core.weights import Weights
from sat_core.zoos import ZOOS, Zoo, ZooName

if TYPE_CHECKING:
    from sat_core.attack_spec import AttackSpec
    from sat_core.data import Examples
    from sat_core.trainer import Trainer
    from sat_core.training_spec import TrainingSpec


class Backend(Publisher, ABC):
    """A framework that computes what the core plans.

    It is an object that is passed around, never a global, so that several can live in one process.
    """

    name: str
    device: str

    def join(self, group: ProcessGroup) -> None:
        """Train from now on as one rank of a group (`sat_core.trainer.Trainer.step`), before anything is computed.

        All else, such as attacks that evaluate, computes on this rank alone.

        Raises:
            SpecError: The backend trains on one device only.
        """
        if group.size > 1:
            self.check_joins()

    def check_joins(self) -> None:
        """Raise SpecError if the backend trains on one device only, as one without a `join` of its own does."""
        if type(self).join is Backend.join:
            raise SpecError(f"--devices: expected 1, since the backend {quoted(self.name)} trains on one device")

    def limit_memory(self, size: int) -> None:
        """Use at most `size` bytes of the GPU, which others use, too; called before anything is computed.

        A backend that cannot be limited, or computes on a CPU, does nothing.
        """

    @staticmethod
    def preload() -> None:
        """Import what the framework imports only when it is used, for processes that are forked from this one.

        It computes nothing and starts no thread: a process that has done so cannot be forked safely.
        """
        return None

    @abstractmethod
    def models(self) -> tuple[str, ...]:
        """Return the backend's own models, which `new` makes."""

    def zoos(self) -> Mapping[str, Zoo]:
        """Return what makes networks of other libraries, by the word before the colon, see `sat_core.zoos`."""
        return {}

    @abstractmethod
    def new(self, description: Mapping[str, Any]) -> Classifier:
        """Make one of the backend's own models with any weights.

        Args:
            description: its name as "model", the keys of `InputSpec.to_dict`, and "head": True for one `with_head`;
                the classifier keeps it as its own. "dtype" is the type of its weights, as ``float16``; float32 if left
                out.
        """

    @abstractmethod
    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """Inside, what the framework draws follows from `seed`; afterwards its generators are as they were."""

    def wrap(
        self,
        model: Any,
        *,
        image_shape: tuple[int, int, int],
        classes: int | None = None,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        scaling: Scaling | None = None,
        output: str = "",
    ) -> Classifier:
        """Make a `Classifier` of a user's own native model. The object is used as it is, never copied.

        A few images are sent through it first; see `sat_core.probe`.

        Args:
            model: a `torch.nn.Module` or `keras.Model` that returns logits, alone or among other things, or one logit
                for two classes.
            image_shape: `(h, w, c)` of the images.
            classes: number of logits; by default as many as the model gives.
            mean: per channel, in units of [0, 1] pixels; subtracted in front of the model. Empty if the model
                normalises itself.
            std: per channel, in units of [0, 1] pixels; divided by after that.
            scaling: of images to the size that the network takes, in front of all that; differentiated with it.
            output: which part of what the model returns are its logits, as ``"0"`` or ``"head.logits"``; by default the
                usual, see `sat_core.outputs.logits_in`.

        Raises:
            SpecError: unless finite logits `(n, classes)` come out, with a gradient with respect to the images. A
                network that itself scales pixels of 0..255 down is refused, too, unless `mean` and `std` make them so:
                0 and 1/255 for each channel.
        """
        inputs = InputSpec(classes or 2, image_shape, mean, std, scaling, output)
        try:
            return self.wrap_for(inputs, model)
        except OtherClasses as error:  # the guess was wrong, and the model has been asked how many it has
            if classes is not None or not error.classes or error.classes < 2:
                raise
            return self.wrap_for(attrs.evolve(inputs, classes=error.classes), model)

    @abstractmethod
    def wrap_for(self, inputs: InputSpec, model: Any) -> Classifier:
        """Do as `wrap`, which gathers its keywords in `inputs`."""

    @abstractmethod
    def trainer(
        self,
        classifier: Classifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        loss: LossSpec = PLAIN,
    ) -> Trainer:
        """Make a trainer.

        Args:
            classifier: of this backend; its weights are trained in place.
            data: put on the device once. Images that are decoded when they are needed come with the plans instead.
            training: optimiser, precision and augmentation.
            attack: of the members of A.
            features: of all of `data`, float32 `(n, d)`, for a classifier `with_head`. The head is then trained on
                these, and no image is looked at; without augmentation that is the same training.
            loss: what is minimised.
        """

    def fastest_precision(self) -> str:
        """Return the value of ``training.precision`` with which the device is fastest, of those it has in hardware."""
        return "float32"

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return names and versions of the packages that compute."""

    def build(
        self,
        model: str,
        *,
        classes: int,
        image_shape: tuple[int, int, int],
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        seed: int = 0,
    ) -> Classifier:
        """Make a new network that normalises inside.

        Weights of the backend's own models are drawn by `sat_core.initialisation` and so equal in every backend.

        Args:
            model: one of `models`; a network of another library, as ``timm:resnet18d`` (see `sat_core.zoos`); one of
                `sat_core.models.MODELS`; or a ``package.module:factory``, which is called with `classes` and
                `image_shape` as keywords, after seeding the framework.
            classes: number of logits.
            image_shape: `(h, w, c)` of the images.
            mean: see `wrap`.
            std: see `wrap`.
            seed: of the weights.

        Raises:
            SpecError: for a model that does not exist, or that `wrap` refuses.
        """
        return self.build_for(InputSpec(classes, image_shape, mean, std), model, seed)

    def build_for(self, inputs: InputSpec, model: str, seed: int = 0) -> Classifier:
        """Do as `build`, which gathers its keywords in `inputs`."""
        zoo = model.partition(":")[0] if ":" in model else ""
        if zoo in (zoos := self.zoos()) or zoo in ZOOS:
            if zoo not in zoos:
                raise SpecError(
                    f"model.name: {quoted(model)} is a network for the backend {ZOOS[zoo]!r}, got {quoted(self.name)}\n"
                    f"take --backend {ZOOS[zoo]}"
                )
            with self.seeded(seed):
                made = zoos[zoo](ZooName.parse(model), inputs)
                classifier = self.wrap_for(made.inputs, made.native)
            classifier.taken = (made.taken,) if made.taken else ()
            return classifier
        if ":" in model or (model not in self.models() and model in MODELS):
            factory = user_factory(model) if ":" in model else MODELS.get(model).function(self.name)
            with self.seeded(seed):
                try:
                    native = factory(classes=inputs.classes, image_shape=inputs.image_shape)
                except (Exception, SystemExit) as error:  # the user's function may raise anything
                    raise SpecError(f"model.name: {model}(classes, image_shape) raised {brief(error)}") from error
                # Inside, too: lazy layers draw their weights when images are first sent through.
                return self.wrap_for(inputs, native)
        if model not in self.models():
            names = (*self.models(), *MODELS)
            raise SpecError(
                f"model.name: unknown model {quoted(model)}{nearest(model, names)}\n"
                f"expected one of {', '.join(names)}, or package.module:factory"
            )
        classifier = self.new({"model": model, **inputs.to_dict()})
        classifier.load_state(initial_state(classifier.state(), seed))
        return classifier

    @contextmanager
    def session(self, training: TrainingSpec) -> Iterator[None]:
        """Inside, apply settings that frameworks only have per process: threads, deterministic kernels, TF32.

        Afterwards they are as they were, if the framework has a way back.
        """
        yield

    def read_weights(self, path: Path) -> Weights:
        """Read the weights in a file of any program; nothing in it is executed. Backends add formats of their own.

        Args:
            path: Of a checkpoint of ours, or of a ``.safetensors`` file.

        Raises:
            CheckpointError: It cannot be read; the message says how it can be saved so that it can.
        """
        return checkpoint.weights(path)

    def load_weights(self, classifier: Classifier, path: str | Path, fresh: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Load the weights of a file of any program into a classifier; nothing in the file is executed.

        Args:
            classifier: takes them over; its architecture has to be theirs.
            path: of the file, of the folder of a finished arm, or of an exported folder.
            fresh: see `sat_core.weights.Weights.fitted`.

        Returns:
            What was chosen and renamed, one line each.

        Raises:
            CheckpointError: for files that are damaged, or of another architecture.
        """
        state, lines = self.read_weights(checkpoint.find(path)).fitted(classifier.state(), fresh)
        classifier.load_state(state)
        return lines

    def load(self, path: str | Path, into: Classifier | None = None) -> Classifier:
        """Load a checkpoint. Code from the file is never executed.

        Args:
            path: of the file, or of the folder of a finished arm.
            into: a classifier of the same architecture that takes over the weights; needed for a user's own model. A
                new one is built if it is left out.

        Raises:
            CheckpointError: for files that are damaged, foreign, or of another architecture.
        """
        saved = checkpoint.read(path)
        if "model" not in saved.groups:
            raise CheckpointError(f"{path}: holds no model")
        if into is None:
            into = self._build_as(saved.metadata.get("model") or {}, path)
        into.load_state(saved.groups["model"])
        return into

    def _build_as(self, description: Any, path: str | Path) -> Classifier:
        name = str(description.get("model", "")) if isinstance(description, Mapping) else quoted(description)
        if name not in self.models():
            raise CheckpointError(
                f"{path}: its model {quoted(name or 'of the user')} is not one of {', '.join(self.models())}\n"
                "a checkpoint never imports code: build the model and pass it as `into` (command line: --model)"
            )
        try:
            h, w, c = map(int, description["image_shape"])
            mean, std = (tuple(map(float, description[key])) for key in ("mean", "std"))
            scaling = None if description.get("scaling") is None else Scaling(**description["scaling"])
            inputs = InputSpec(int(description["classes"]), (h, w, c), mean, std, scaling)
            # Made of the parts that were checked: nothing else that a file says reaches the framework.
            return self.new({"model": name, **inputs.to_dict(), **({"head": True} if description.get("head") else {})})
        except Exception as error:  # a framework has errors of its own for sizes that make no network
            raise CheckpointError(f"{path}: what it says of its model makes none ({brief(error)})") from error

    def evaluate(self, classifier: Classifier, images: np.ndarray, labels: np.ndarray, **options: Any) -> Evaluation:
        """Run AutoAttack, the same call with every backend; `options` as in `sat_core.evaluator.Evaluator`."""
        return get_evaluator()(classifier, images, labels, **options)


BACKENDS: Registry[Callable[..., Backend]] = Registry("backend", "sat_core.backends")
"""Backends by name, found by entry point; each entry makes a `Backend` from `device`."""


def device_number(device: str) -> int | None:
    """Return 0 for "cuda", N for "cuda:N", None for "cpu"; SpecError for anything else."""
    kind, colon, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise SpecError(f"device: expected cpu, cuda or cuda:N, got {quoted(device)}")
    return int(number or 0) if kind == "cuda" else None


def get_backend(name: str | None = None, device: str = "cpu") -> Backend:
    """Return a backend.

    Args:
        name: as "torch". By default the environment variable SAT_BACKEND decides, and torch if it is not set.
        device: "cpu", "cuda" or "cuda:N".
    """
    return BACKENDS.get(name or os.environ.get("SAT_BACKEND") or "torch")(device=device)
