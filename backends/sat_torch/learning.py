"""Loss and gradients of a mixed batch, in training mode, with what the settings add to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sat_core.loss_spec import LossSpec
from sat_core.member_losses import LOSSES, example_losses
from sat_core.precision import FP16_SCALE
from sat_core.process_group import ProcessGroup
from sat_core.training_spec import TrainingSpec
from sat_torch.batch import Batch
from sat_torch.distributed import norms, take_buffers
from sat_torch.losses import cross_entropy, smoothed
from sat_torch.members import Replayed
from sat_torch.modes import Forward
from sat_torch.ops import OPS
from sat_torch.optimizer import Optimizer


@final
class Learning:
    """Goes forward and back over a mixed batch.

    Args:
        module: From images, or features, to logits.
        learning: The part of it that learns.
        training: Settings of the training.
        loss: What is minimised.
        optimizer: Gets the gradients.
        alone: The forward of `module` in the precision of the training.
        together: The same as all ranks train it.
        group: The ranks.
        ours: Whether it is one of our networks; a user's layers may keep what they like.
    """

    def __init__(
        self,
        module: nn.Module,
        learning: nn.Module,
        training: TrainingSpec,
        loss: LossSpec,
        optimizer: Optimizer,
        alone: Forward,
        together: Forward,
        group: ProcessGroup,
        *,
        ours: bool,
    ) -> None:
        self._module, self._learning, self._loss, self._optimizer = module, learning, loss, optimizer
        self._alone, self._together, self._ranks = alone, together, group.size
        # of a gradient of which only the direction counts
        self._scale = FP16_SCALE if training.precision == "fp16" else 1.0
        self._norms: AbstractContextManager[object] = nullcontext()
        if group.size > 1:
            self._norms = norms(module, training.batch_norm)
        # whether ranks have statistics of their own after a step
        self._own_buffers = group.size > 1 and (training.batch_norm == "local" or not ours)
        self._awp = WeightPerturbation(learning, training.awp, group.size) if training.awp else None
        self.pairs = LOSSES.get(loss.kind).pairs
        """Whether clean images of the members follow the mixed ones."""

    def __call__(self, batch: Batch, images: Tensor, replayed: Replayed | None = None) -> tuple[Tensor, Tensor]:
        """Add the gradient of a part of the batch to those of the step.

        Args:
            batch: The part; of its images, those of `images` count.
            images: As they are mixed, and clean ones of the first `batch.size` if the loss has `pairs`.
            replayed: δ that moves along the gradient over the images.

        Returns:
            This part of Σ w·ℓ / Σ w, and the logits of the mixed images.
        """
        # after the attack. Of a network with a new head, the head alone: its features stay in evaluation mode, so that
        # their running statistics are frozen, too (recipe, section 1.4)
        self._learning.train()
        if replayed is not None:
            images = images.detach().requires_grad_()

        def of_members() -> Tensor:
            losses = self._losses(self._alone, images, batch)[0]
            weights = torch.where(batch.is_member(len(losses)), batch.weights, 0.0).to(losses)
            return (weights * losses).sum() * (self._scale / batch.total)

        with self._norms, self._perturbed(batch, of_members):  # also backward: checkpointed layers go forward again
            losses, logits = self._losses(self._together, images, batch)
            loss = (batch.weights.to(losses) * losses).sum() / batch.total.to(losses)
            # a share's part of the loss; gradients are averaged over ranks, and the whole loss is the sum
            self._optimizer.backward(loss if self._ranks == 1 else loss * self._ranks)
        if self._own_buffers:
            take_buffers(self._module)
        self._module.eval()
        if replayed is not None and images.grad is not None:
            replayed.move(batch, images.grad)
        return loss.detach(), logits.detach()

    def _perturbed(self, batch: Batch, loss: Callable[[], Tensor]) -> AbstractContextManager[None]:
        # All ranks or none: members of this share are not all that there are.
        if self._awp is None or not (batch.size or self._ranks > 1):
            return nullcontext()
        return self._awp.perturbed(loss)

    def _losses(self, forward: Forward, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return ℓ of each example, and the logits of the mixed images."""
        dtype = images.dtype  # logits may be in half precision; the loss and its sum are not
        logits, n = forward(images).to(dtype), len(batch.labels)
        if self._loss.kind == "ce":
            return cross_entropy(logits, batch.labels, self._loss), logits
        targets = smoothed(batch.labels, logits, self._loss)
        members = batch.size if self.pairs else batch.members
        losses: Tensor = example_losses(OPS, self._loss.kind, logits, targets, members, batch.beta)
        return losses, logits[:n]


@final
class WeightPerturbation:
    """Adversarial weight perturbation (Wu et al. 2020, Eqs. 10 and 11); see `sat_core.trainer.Trainer.step`.

    Args:
        module: What learns.
        gamma: γ, the length of a perturbation relative to the weights.
        ranks: How many train together; gradients are summed over them.
    """

    def __init__(self, module: nn.Module, gamma: float, ranks: int) -> None:
        self._weights = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
        self._module, self._gamma, self._ranks = module, gamma, ranks

    @contextmanager
    def perturbed(self, loss: Callable[[], Tensor]) -> Iterator[None]:
        """Inside, weights are perturbed along the gradient of `loss`, of which only the direction counts."""
        statistics = [(buffer, buffer.clone()) for buffer in self._module.buffers()]
        gradients = torch.autograd.grad(loss(), self._weights, allow_unused=True, materialize_grads=True)
        own = [weight.detach().clone() for weight in self._weights]
        with torch.no_grad():
            for buffer, before in statistics:
                buffer.copy_(before)
            for weight, gradient in zip(self._weights, gradients, strict=True):
                self._push(weight, gradient.contiguous())
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, before in zip(self._weights, own, strict=True):
                    weight.copy_(before)

    def _push(self, weight: Tensor, gradient: Tensor) -> None:
        if self._ranks > 1:
            dist.all_reduce(gradient)
        size = torch.linalg.vector_norm(gradient)
        push = gradient * (self._gamma * torch.linalg.vector_norm(weight) / size)
        # no members, no gradient; and one that overflows in float16 must not spoil running statistics
        weight.add_(torch.where((size > 0) & size.isfinite(), push, 0.0))
