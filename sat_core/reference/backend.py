"""A complete backend in numpy.

With it every part of the core runs without a framework (epoch loop, resume, contract suite), and other backends are
compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import SpecError
from sat_core.input_spec import InputSpec
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.probe import Look, check_network
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.reference.classifier import NumpyClassifier
from sat_core.reference.layers import Pass
from sat_core.reference.networks import SHAPES, head_shapes
from sat_core.reference.trainer import NumpyTrainer
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec


@final
class NumpyBackend(Backend):
    """The numpy reference backend, for small models on the CPU."""

    name = "numpy"

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._group: ProcessGroup = ALONE

    def join(self, group: ProcessGroup) -> None:
        self._group = group

    def models(self) -> tuple[str, ...]:
        return tuple(SHAPES)

    def new(self, description: Mapping[str, Any]) -> NumpyClassifier:
        shapes = SHAPES[description["model"]](description["classes"], InputSpec.from_dict(description).network_shape)
        if description.get("head"):
            shapes = head_shapes(shapes)
        dtype = np.dtype(description.get("dtype", "float32"))
        return NumpyClassifier(description, {name: np.zeros(shape, dtype) for name, shape in shapes.items()})

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        # Nothing here draws from a global generator.
        return nullcontext()

    def wrap_for(self, inputs: InputSpec, model: Any) -> NumpyClassifier:
        """Make the linear model with the weights `model`."""
        classifier = NumpyClassifier({"model": "linear", **inputs.to_dict()}, model)

        def look(images: np.ndarray) -> Look:
            logits = classifier.run(Pass(model), images)[0].astype(np.float32)
            return Look(output=logits, values=logits, entered=(), gradient=True)

        check_network(look, classifier)
        return classifier

    def trainer(
        self,
        classifier: Classifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        loss: LossSpec = PLAIN,
    ) -> Trainer:
        if not isinstance(classifier, NumpyClassifier):
            raise SpecError(f"trainer: expected a classifier of the numpy reference, got {type(classifier).__name__}")
        return NumpyTrainer(classifier, data, training, attack, features, loss, self._group)

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}
