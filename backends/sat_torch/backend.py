"""The PyTorch backend."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

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
from sat_core.weights import Weights
from sat_core.zoos import Zoo
from sat_torch import weights
from sat_torch.classifier import TorchClassifier
from sat_torch.distributed import check_group
from sat_torch.models import MODELS
from sat_torch.models.head import put_head
from sat_torch.modes import plain, tf32
from sat_torch.probe import look
from sat_torch.trainer import TorchTrainer
from sat_torch.zoos import ZOOS


@final
class TorchBackend(Backend):
    """See `sat_core.backend.Backend`. device: ``cpu``, ``cuda`` or ``cuda:N``."""

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        number = device_number(device)
        if number is not None and number >= torch.cuda.device_count():
            gpus = torch.cuda.device_count()
            raise SpecError(f"device: {device!r} was asked for, and PyTorch sees {gpus} CUDA GPUs\ntake --device cpu")
        self.device = device
        self._device = torch.device(device)
        self._group: ProcessGroup = ALONE

    def join(self, group: ProcessGroup) -> None:
        """See `sat_core.backend.Backend.join`. The default process group of `torch.distributed` has the same ranks."""
        check_group(group)
        self._group = group

    def limit_memory(self, size: int) -> None:
        """See `sat_core.backend.Backend.limit_memory`."""
        if self._device.type == "cuda":
            total = torch.cuda.get_device_properties(self._device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), self._device)

    @staticmethod
    def preload() -> None:
        # the first optimiser of a process imports PyTorch's compiler, which takes 4 s
        torch.optim.SGD([nn.Parameter(torch.zeros(1))])

    def models(self) -> tuple[str, ...]:
        return tuple(MODELS)

    def zoos(self) -> Mapping[str, Zoo]:
        return ZOOS

    def new(self, description: Mapping[str, Any]) -> TorchClassifier:
        inputs, dtype = InputSpec.from_dict(description), description.get("dtype", "float32")
        # layers draw weights as they are made. The core replaces them all by its own draws; the caller's generator must
        # not move
        with torch.random.fork_rng(devices=[]), plain():
            native, head = MODELS[description["model"]](inputs.classes, inputs.network_shape), None
            if description.get("head"):
                native, head = put_head(native, "fc", inputs.classes)
            native.to(getattr(torch, dtype))
        return TorchClassifier(native.eval(), self._device, inputs, description=description, head=head)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield

    def wrap_for(self, inputs: InputSpec, model: Any) -> TorchClassifier:
        if not isinstance(model, nn.Module):
            raise SpecError(f"model: expected a torch.nn.Module, got {type_name(model)}")
        if any(p.is_meta for p in model.parameters()):
            raise SpecError("model: expected weights, got a module on the meta device; load its weights first")
        classifier = TorchClassifier(model, self._device, inputs)
        # lazy layers draw their weights in the first forward, and in a fork two models would draw the same ones
        lazy = any(nn.parameter.is_lazy(p) for p in model.parameters())
        with nullcontext() if lazy else torch.random.fork_rng():
            check_network(partial(look, classifier), classifier)
        return classifier

    def read_weights(self, path: Path) -> Weights:
        """See `sat_core.backend.Backend.read_weights`; files of `torch.save`, too."""
        return weights.read(path) or super().read_weights(path)

    def trainer(
        self,
        classifier: Classifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        loss: LossSpec = PLAIN,
    ) -> Trainer:
        if not isinstance(classifier, TorchClassifier):
            raise SpecError(f"trainer: expected a classifier of this backend, got {type(classifier).__name__}")
        return TorchTrainer(classifier, data, training, attack, features, loss, self._group)

    def fastest_precision(self) -> str:
        """See `sat_core.backend.Backend.fastest_precision`."""
        if self._device.type == "cpu":
            return "bf16" if cpu_multiplies_bfloat16() else "float32"
        with torch.cuda.device(self._device):
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return "bf16"
        return "tf32" if torch.cuda.get_device_capability(self._device) >= (8, 0) else "float32"

    def plain_code(self, model: str, inputs: InputSpec, head: bool = False, native: Any = None) -> PlainCode | None:
        from sat_torch.plain_code import plain_code

        return plain_code(model, inputs, head, native)

    def save_onnx(self, classifier: Classifier, path: Path) -> None:
        from sat_torch.onnx_file import save_onnx

        save_onnx(classifier, path)

    def versions(self) -> dict[str, str]:
        cuda = {"cuda": str(torch.version.cuda)} if self._device.type == "cuda" else {}
        return {"torch": torch.__version__, **cuda}

    @contextmanager
    def session(self, training: TrainingSpec) -> Iterator[None]:
        threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        benchmark = torch.backends.cudnn.benchmark  # tries algorithms for each shape, and may pick another in each run
        if training.deterministic:
            # without it PyTorch refuses cuBLAS's products in its deterministic mode
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        try:
            torch.set_num_threads(training.threads)
            # a user who has asked for deterministic algorithms keeps them
            _deterministic(strict or training.deterministic)
            torch.backends.cudnn.benchmark = not training.deterministic
            with tf32(training.precision == "tf32"):
                yield
        finally:
            torch.set_num_threads(threads)
            _deterministic(strict)
            torch.backends.cudnn.benchmark = benchmark


def _deterministic(strict: bool) -> None:
    # only to change it: the call imports PyTorch's compiler, 4 s in every process
    if strict != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(strict)
