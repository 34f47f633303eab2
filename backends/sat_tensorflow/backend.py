"""The TensorFlow backend."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, final

import keras
import numpy as np
import tensorflow as tf

from sat_core import checkpoint
from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend, device_number
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import SpecError, type_name
from sat_core.input_spec import InputSpec
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.plain_code import PlainCode
from sat_core.precision import cpu_multiplies_bfloat16
from sat_core.probe import check_network
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec
from sat_core.weights import unnamed
from sat_core.zoos import Zoo
from sat_tensorflow import weights
from sat_tensorflow.classifier import TensorFlowClassifier
from sat_tensorflow.distributed import strategy_of
from sat_tensorflow.models import MODELS, build
from sat_tensorflow.modes import tf32
from sat_tensorflow.probe import look
from sat_tensorflow.trainer import TensorFlowTrainer
from sat_tensorflow.zoos import ZOOS


@final
class TensorFlowBackend(Backend):
    """See `sat_core.backend.Backend`. device: ``cpu``, ``cuda`` or ``cuda:N``; GPU memory is taken as it is needed."""

    name = "tensorflow"
    _group: ProcessGroup = ALONE

    def __init__(self, device: str = "cpu") -> None:
        number, gpus = device_number(device), tf.config.list_physical_devices("GPU")
        if number is not None and number >= len(gpus):
            raise SpecError(
                f"device: {device!r} was asked for, and TensorFlow sees {len(gpus)} CUDA GPUs\n"
                "take --device cpu, or pip install 'tensorflow[and-cuda]' for its CUDA libraries"
            )
        # TensorFlow would take all of a GPU's memory at once, and PyTorch needs some beside it, to run AutoAttack
        for gpu in gpus:
            with suppress(RuntimeError, ValueError):  # in use already, or divided: as the user has set it
                tf.config.experimental.set_memory_growth(gpu, True)
        self.device = device
        self._device = "/CPU:0" if number is None else f"/GPU:{number}"

    def limit_memory(self, size: int) -> None:
        """See `sat_core.backend.Backend.limit_memory`."""
        if (number := device_number(self.device)) is not None:
            gpu = tf.config.list_physical_devices("GPU")[number]
            # one or the other: a device with a limit takes all of that at once
            tf.config.experimental.set_memory_growth(gpu, False)
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=size // 2**20)
            tf.config.set_logical_device_configuration(gpu, [limit])

    def join(self, group: ProcessGroup) -> None:
        self._group = group

    def models(self) -> tuple[str, ...]:
        return tuple(MODELS)

    def zoos(self) -> Mapping[str, Zoo]:
        return ZOOS

    def new(self, description: Mapping[str, Any]) -> TensorFlowClassifier:
        inputs, dtype = InputSpec.from_dict(description), description.get("dtype", "float32")
        with tf.device(self._device):
            native, head = build(description, dtype)
        return TensorFlowClassifier(native, self._device, inputs, description=description, head=head)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Seed what Keras draws: the seeds of its layers come from Python's generator.

        What `tf.random` draws is not seeded, as its generator could not be put back.
        """
        before = random.getstate(), np.random.get_state()
        try:
            random.seed(seed)
            np.random.seed(seed)
            with tf.device(self._device):
                yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])

    def wrap_for(self, inputs: InputSpec, model: Any) -> TensorFlowClassifier:
        """See `sat_core.backend.Backend.wrap`.

        The state has what `model.variables` has. Layers that draw random numbers resume if they hold a
        `keras.random.SeedGenerator`, as Keras's own do; a bare `tf.Variable` is not seen.
        """
        if not isinstance(model, keras.Model):
            raise SpecError(f"model: expected a keras.Model of Keras 3, got {type_name(model)}")
        classifier = TensorFlowClassifier(model, self._device, inputs)
        check_network(partial(look, classifier), classifier)
        return classifier

    def load_weights(self, classifier: Classifier, path: str | Path, fresh: tuple[str, ...] = ()) -> tuple[str, ...]:
        """See `sat_core.backend.Backend.load_weights`; files of Keras, too."""
        path = checkpoint.find(path)
        if isinstance(classifier, TensorFlowClassifier) and weights.is_of_keras(path):
            return weights.load_into(classifier, path, fresh)
        return super().load_weights(classifier, path, fresh)

    def load_network(self, inputs: InputSpec, path: Path) -> Classifier:
        """See `sat_core.backend.Backend.load_network`: of files that Keras saved as models."""
        if weights.is_of_keras(path):
            with tf.device(self._device):
                model = weights.load_model(path)
            if model is not None:
                return self.wrap_for(inputs, model)
            raise unnamed(path)
        return super().load_network(inputs, path)

    def trainer(
        self,
        classifier: Classifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        loss: LossSpec = PLAIN,
    ) -> Trainer:
        if not isinstance(classifier, TensorFlowClassifier):
            raise SpecError(f"trainer: expected a classifier of this backend, got {type(classifier).__name__}")
        if classifier.native.losses:
            raise SpecError(
                "model: the losses that its layers add, such as regularisers, are no part of SAT\n"
                "leave them out and take training.weight_decay"
            )
        if training.precision == "float64" and classifier.dtype != "float64":
            self._widen(classifier)
        return TensorFlowTrainer(classifier, data, training, attack, features, loss, self._group)

    def _widen(self, classifier: TensorFlowClassifier) -> None:
        """Make a float64 model with the same weights, as a variable of Keras cannot change its type."""
        if not classifier.description:
            raise SpecError('training.precision: Keras cannot widen a model later; build yours with dtype="float64"')
        state, layers = classifier.state(), "all" if classifier.head is None else "head"
        with tf.device(self._device):
            classifier.use(*build(classifier.description, "float64"))
        classifier.load_state(state)
        classifier.learn(layers)

    def fastest_precision(self) -> str:
        """See `sat_core.backend.Backend.fastest_precision`."""
        number = device_number(self.device)
        if number is None:
            return "bf16" if cpu_multiplies_bfloat16() else "float32"
        gpu = tf.config.list_physical_devices("GPU")[number]
        # both came with the same generation of cards
        capability = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        return "bf16" if tuple(capability) >= (8, 0) else "float32"

    def plain_code(self, model: str, inputs: InputSpec, head: bool = False, native: Any = None) -> PlainCode | None:
        from sat_tensorflow.plain_code import plain_code

        return plain_code(model, inputs, head, native)

    def versions(self) -> dict[str, str]:
        cuda = {"cuda": str(tf.sysconfig.get_build_info().get("cuda_version"))} if "GPU" in self._device else {}
        return {"tensorflow": tf.__version__, "keras": keras.__version__, **cuda}

    @contextmanager
    def session(self, training: TrainingSpec) -> Iterator[None]:
        """See `sat_core.backend.Backend.session`. TensorFlow cannot undo threads and deterministic kernels."""
        threading, threads = tf.config.threading, training.threads
        current = threading.get_intra_op_parallelism_threads() or os.cpu_count()  # 0 stands for all
        if current != threads:
            try:
                threading.set_intra_op_parallelism_threads(threads)
                threading.set_inter_op_parallelism_threads(threads)
            except RuntimeError:
                warnings.warn(
                    f"training.threads: expected {threads}, but TensorFlow computes in this process already, with "
                    f"{current}; results may differ in their last digits",
                    stacklevel=3,
                )
        if training.deterministic:
            tf.config.experimental.enable_op_determinism()
        if self._group.size > 1:
            # before anything is computed, and so before there is a trainer: it starts TensorFlow
            strategy_of(self._group, "GPU" in self._device)
        with tf32(training.precision == "tf32"):
            yield
