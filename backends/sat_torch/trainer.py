"""The training step in PyTorch, on data that lies on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.augmentation import AUGMENTATIONS
from sat_core.batches import BatchPlan
from sat_core.checkpoint import check_state
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.images import ImageSource
from sat_core.precision import FP16_GROWTH_INTERVAL, FP16_SCALE, check_precision, least_precise
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.streams import stream
from sat_core.trainer import OnBatch, StepResult, Trainer
from sat_torch.attacks import Forward, attack_members
from sat_torch.augmentation import augment
from sat_torch.classifier import TorchClassifier, to_numpy
from sat_torch.folded import Folded, as_built
from sat_torch.losses import weighted_loss
from sat_torch.modes import frozen

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SCALER = {"scaler.scale": "scale", "scaler.growth_tracker": "_growth_tracker"}
"""Canonical names of the loss scaler's state, and PyTorch's."""


@final
class TorchTrainer(Trainer):
    """See `sat_core.trainer.Trainer`."""

    def __init__(
        self,
        classifier: TorchClassifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
    ) -> None:
        device, module = classifier.device, classifier.module
        check_precision(training.precision, classifier.precision, _computes_in(classifier))
        if training.precision == "float64":
            module.double()
        self._learning = classifier.head or module
        if features is not None:
            module = self._learning
        ours = bool(classifier.description)
        self._layout = torch.contiguous_format
        if training.channels_last or (ours and device.type == "cpu"):  # always faster there; a user's may need its own
            self._layout = torch.channels_last
            module.to(memory_format=self._layout)
        foldable = ours and features is None and not training.compile and training.precision not in AUTOCAST
        self._folded = Folded(classifier.native) if foldable and as_built(classifier.native) else None
        self._classifier, self._training, self._attack = classifier, training, attack
        self._forward = _in_precision(torch.compile(module) if training.compile else module, training, device)
        self._images = torch.empty(0)  # the plans have them
        if features is not None:
            self._images = torch.from_numpy(features).to(device)
        elif not isinstance(data.images, ImageSource):
            self._images = _channels_first(data.images).to(device)
        self._labels = torch.tensor(data.labels, device=device)
        self._names = [name for name, p in classifier.native.named_parameters() if p.requires_grad]
        self._optimizer = _optimizer([p for p in classifier.native.parameters() if p.requires_grad], training)
        self._scaler = torch.amp.GradScaler(
            device.type, FP16_SCALE, growth_interval=FP16_GROWTH_INTERVAL, enabled=training.precision == "fp16"
        )

    def run(self, batches: Iterable[BatchPlan], on_batch: OnBatch) -> None:
        for plan in batches:
            with self._draws(plan):
                loss, logits = self._step(plan)
            on_batch(plan, StepResult(loss.item, lambda logits=logits: to_numpy(logits.float())))  # type: ignore[misc]

    @contextmanager
    def _draws(self, plan: BatchPlan) -> Iterator[None]:
        """What a user's layers draw, as dropout, follows from seed and place, so that any step can be made alone."""
        if self._classifier.description:
            yield
            return
        with torch.random.fork_rng():
            seed = stream(self._training.seed, "layers", plan.epoch, plan.step).integers(2**63)
            torch.manual_seed(int(seed))
            yield

    @torch.enable_grad()
    def _step(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        images, labels = self._batch(plan)
        self._optimizer.zero_grad(set_to_none=True)
        if plan.members.any():
            images = self._attacked(images, labels, plan)
        for group in self._optimizer.param_groups:
            group["lr"] = plan.lr
        self._learning.train()
        logits = self._forward(images).to(images.dtype)
        loss = weighted_loss(logits, labels, torch.from_numpy(plan.weights).to(images))
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._classifier.module.eval()
        return loss.detach(), logits.detach()

    def _attacked(self, images: Tensor, labels: Tensor, plan: BatchPlan) -> Tensor:
        start = None
        if plan.start is not None:
            start = torch.from_numpy(plan.start.transpose(0, 3, 1, 2).copy()).to(images)
        with self._frozen() as forward:
            return attack_members(
                forward,
                images,
                labels,
                torch.from_numpy(np.flatnonzero(plan.members)).to(images.device),
                self._attack,
                start,
                pad_to=max(1, len(plan.index) // 16) if self._training.compile else 1,
                gradient_scale=FP16_SCALE if self._training.precision == "fp16" else 1.0,
            )

    @contextmanager
    def _frozen(self) -> Iterator[Forward]:
        """The network in evaluation mode, without gradients for weights; folded where nobody could tell."""
        module, folded = self._classifier.module, self._folded
        if folded is None or not as_built(self._classifier.native):
            with frozen(module):
                yield self._forward
            return
        normalised = module.normaliser(self._classifier.dtype)
        with folded.current():
            yield lambda images: folded(normalised(images))

    def _batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(plan.index).to(self._classifier.device)
        images = self._images[index] if plan.images is None else _channels_first(plan.images).to(index.device)
        images = images.to(self._classifier.dtype) / 255 if images.dtype == torch.uint8 else images
        images = augment(images.to(self._classifier.dtype), AUGMENTATIONS.get(self._training.augmentation), plan.draws)
        if images.ndim == 4:
            images = images.contiguous(memory_format=self._layout)
        return images, self._labels[index]

    def state(self) -> State:
        own = self._optimizer.state_dict()["state"]
        state = {
            f"{self._names[i]}.{k}": to_numpy(v).copy()
            for i, kept in own.items()
            for k, v in kept.items()
            if v is not None
        }
        scaler = self._scaler.state_dict()
        return state | {name: np.array(scaler[own], np.float32) for name, own in _SCALER.items() if own in scaler}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        kept: dict[int, dict[str, Tensor]] = {}
        parameters = dict(zip(self._names, self._optimizer.param_groups[0]["params"], strict=True))
        for key, value in state.items():
            name, _, leaf = key.rpartition(".")
            if name == "scaler":
                continue
            if name not in parameters:
                check_state({}, {key: value}, "optimiser")
            like = np.empty(parameters[name].shape if value.ndim else (), np.float32)  # a step's count, or a buffer
            check_state({key: like}, {key: value}, "optimiser")
            tensor = torch.from_numpy(np.array(value))
            if tensor.ndim:  # the fused optimisers take numbers as they lie in memory
                tensor = torch.empty_like(parameters[name], device="cpu").copy_(tensor)
            kept.setdefault(self._names.index(name), {})[leaf] = tensor
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": kept})
        scaler = self._scaler.state_dict()
        if scaler:
            self._scaler.load_state_dict({**scaler, **{own: state[name].item() for name, own in _SCALER.items()}})


def _channels_first(images: np.ndarray) -> Tensor:
    """A view of `images` `(n, h, w, c)`."""
    return torch.from_numpy(images if images.flags.writeable else images.copy()).permute(0, 3, 1, 2)


def _computes_in(classifier: TorchClassifier) -> str:
    """Type of the weights, or of the logits where a user's module computes in less, as under an autocast of its own."""
    if classifier.description:
        return classifier.precision
    with frozen(classifier.module), torch.no_grad():
        h, w, c = classifier.image_shape
        logits = classifier.module(torch.zeros(1, c, h, w, dtype=classifier.dtype, device=classifier.device))
    return least_precise([classifier.precision, str(logits.dtype).removeprefix("torch.")])


def _in_precision(module: Forward, training: TrainingSpec, device: torch.device) -> Forward:
    half = AUTOCAST.get(training.precision)
    if half is None:
        return module

    def forward(x: Tensor) -> Tensor:
        with torch.autocast(device.type, half):
            return module(x)

    return forward


def _optimizer(parameters: list[torch.nn.Parameter], t: TrainingSpec) -> torch.optim.Optimizer:
    if t.optimizer == "adamw":
        return torch.optim.AdamW(parameters, t.lr, weight_decay=t.weight_decay, fused=True)
    momentum, decay = t.momentum, t.weight_decay
    sgd = torch.optim.SGD(parameters, t.lr, momentum=momentum, nesterov=t.nesterov, weight_decay=decay, fused=True)
    for p in parameters if momentum else ():  # a first step that overflows leaves those that PyTorch makes as they lie
        sgd.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return sgd
