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
from sat_core.errors import CheckpointError, SpecError, quoted
from sat_core.evaluation import Evaluation
from sat_core.evaluator import get_evaluator
from sat_core.input_spec import InputSpec
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.named_networks import built_as, network_of
from sat_core.plain_code import Publisher
from sat_core.probe import OtherClasses
from sat_core.process_group import ProcessGroup
from sat_core.registry import Registry
from sat_core.scaling import Scaling
from sat_core.weights import Weights, unnamed
from sat_core.zoos import Zoo

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
        return network_of(self, inputs, model, seed)

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
            CheckpointError: It cannot be read; the message says how to save it so that it can.
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

    def load_network(self, inputs: InputSpec, path: Path) -> Classifier:
        """Load a network that a file of another program describes, such as ``.keras``; nothing in it is executed.

        Args:
            inputs: classes and images of the data, and what stands in front of the network.
            path: of the file.

        Raises:
            CheckpointError: for files of weights alone, as all are here; a backend may have formats that are more.
        """
        self.read_weights(path)
        raise unnamed(path)

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
        into = into or built_as(self, saved.metadata.get("model") or {}, path)
        into.load_state(saved.groups["model"])
        return into

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
