"""The training step in PyTorch, on data that lies on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.ascent import Members, attack_members
from sat_core.augmentation import AUGMENTATIONS
from sat_core.batches import BatchPlan
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.images import ImageSource
from sat_core.precision import FP16_SCALE, check_precision, least_precise
from sat_core.sections import AttackSpec, TrainingSpec
from sat_core.streams import stream
from sat_core.trainer import OnBatch, StepResult, Trainer
from sat_torch.arrays import to_numpy
from sat_torch.attacked import Attacked
from sat_torch.attacks import pgd
from sat_torch.augmentation import augment
from sat_torch.classifier import TorchClassifier
from sat_torch.losses import weighted_loss
from sat_torch.modes import frozen, precision
from sat_torch.ops import OPS
from sat_torch.optimizer import Optimizer

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@final
class TorchTrainer(Trainer):
    """See `sat_core.trainer.Trainer`. `training.compile` has the network compiled by TorchInductor."""

    def __init__(
        self,
        classifier: TorchClassifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
    ) -> None:
        device, module = classifier.device, classifier.module
        self._classifier, self._training, self._attack = classifier, training, attack
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
        self._forward = precision(
            torch.compile(module) if training.compile else module, device.type, HALF.get(training.precision)
        )
        self._attacked = Attacked(classifier, training, self._forward)
        self._images = torch.empty(0)  # where images are decoded when they are needed, the plans have them
        if features is not None:
            self._images = torch.from_numpy(features).to(device)
        elif not isinstance(data.images, ImageSource):
            self._images = _channels_first(data.images).to(device)
        self._labels = torch.tensor(data.labels, device=device)
        learning = {name: p for name, p in classifier.native.named_parameters() if p.requires_grad}
        self._optimizer = Optimizer(learning, training, device)

    def run(self, batches: Iterable[BatchPlan], on_batch: OnBatch) -> None:
        for plan in batches:
            with self._draws(plan):
                loss, logits = self._step(plan)
            # neither is read here: that would make the CPU wait for the GPU, and the next step begin later
            on_batch(plan, StepResult(loss.item, lambda logits=logits: to_numpy(logits.float())))  # type: ignore[misc]

    @contextmanager
    def _draws(self, plan: BatchPlan) -> Iterator[None]:
        """What a user's layers draw, as dropout, follows from seed and place, so that any step can be made alone."""
        # our own networks have no layer that draws
        if self._classifier.description:
            yield
            return
        with torch.random.fork_rng():
            seed = stream(self._training.seed, "layers", plan.epoch, plan.step).integers(2**63)
            torch.manual_seed(int(seed))
            yield

    def _batch(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(plan.index).to(self._classifier.device)
        images = self._images[index] if plan.images is None else _channels_first(plan.images).to(index.device)
        # bytes lie on the device as they are, in a quarter of the memory of float32, and become floats batch by batch
        images = images.to(self._classifier.dtype) / 255 if images.dtype == torch.uint8 else images
        images = augment(images.to(self._classifier.dtype), AUGMENTATIONS.get(self._training.augmentation), plan.draws)
        if images.ndim == 4:
            images = images.contiguous(memory_format=self._layout)
        return images, self._labels[index]

    def _mix(self, images: Tensor, labels: Tensor, plan: BatchPlan) -> Tensor:
        members = Members.of(plan.members, plan.start, padded=self._training.compile)
        if members.count == 0:
            return images
        scale = FP16_SCALE if self._training.precision == "fp16" else 1.0
        with self._attacked.weights() as forward:

            def perturb(x: Tensor, y: Tensor, start: Tensor | None) -> Tensor:
                return pgd(forward, x, y, self._attack, start, gradient_scale=scale)

            return attack_members(OPS, perturb, images, labels, members)

    # a script may have switched gradients off for the whole process
    @torch.enable_grad()
    def _step(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        images, labels = self._batch(plan)
        self._optimizer.clear()
        images = self._mix(images, labels, plan)
        # after the attack. Of a network with a new head, the head alone: its features stay in evaluation mode, so that
        # their running statistics are frozen, too (recipe, section 1.4)
        self._learning.train()
        logits = self._forward(images).to(images.dtype)  # they may be in half precision; the loss and its sum are not
        loss = weighted_loss(logits, labels, torch.from_numpy(plan.weights).to(images))
        self._optimizer.apply(loss, plan.lr)
        self._classifier.module.eval()
        return loss.detach(), logits.detach()

    def state(self) -> State:
        return self._optimizer.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._optimizer.load_state(state)


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
