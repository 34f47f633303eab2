"""[training]: how one classifier is trained."""

from __future__ import annotations

from typing import ClassVar, final

import attrs

from sat_core import fields
from sat_core.augmentation import AUGMENTATIONS
from sat_core.averaging import check_averaging
from sat_core.errors import SpecError
from sat_core.mixing import check_mixing
from sat_core.precision import AUTO, OF_NETWORK
from sat_core.schedules import check_length, check_schedule


@final
@attrs.frozen(kw_only=True)
class TrainingSpec:
    """How one classifier is trained.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Examples per step; the last, incomplete batch of an epoch is dropped.
        batches: ``random``, or ``stratified``: every batch has the same share of members of A, rounded.
        optimizer: ``sgd`` or ``adamw``.
        lr: Learning rate per batch of `batch_size`.
        momentum: Of ``sgd``.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Per step, on all weights.
        schedule: ``piecewise[:drops]``, ``step[:length]``, ``cosine``, ``one-cycle`` or ``constant``; see
            `sat_core.schedules.parse_schedule`.
        warmup: Epochs, or steps as ``"500steps"``, over which the learning rate rises linearly to the schedule's.
        clip_norm: Largest norm of the gradient over all weights; a longer one is scaled down. 0 for none.
        micro_batches: Into how many parts a batch is divided to save memory. Loss and gradient are those of the whole
            batch; BatchNorm has the statistics of each part.
        augmentation: Name of an augmentation.
        mixing: ``none``, ``mixup:α`` or ``cutmix:α``; members of A are attacked after the mixing.
        awp: γ of adversarial weight perturbation against the loss of the members of A (Wu et al. 2020); 0 for none.
        averaging: ``none``, ``ema:0.999`` or ``swa:0.75``: what is checked, reported and saved is the average of the
            weights of all steps, or of those after each epoch from that share of the epochs on.
        patience: Checks without an improvement after which the training ends; 0 trains all epochs.
        batch_norm: Statistics of BatchNorm where several devices train: ``global``, those of the whole batch, so that
            the training is the same as on one device; ``local``, those of the device's share.
        precision: Arithmetic of the network. ``tf32`` is float32 with products that a GPU may round to 10 bits;
            ``float32`` never rounds. Attacks keep δ in float32. ``auto`` is replaced by the fastest that the device
            computes in hardware when a run begins.
        compile: Whether to compile the step.
        cuda_graphs: Whether PyTorch captures the step in CUDA graphs, where the device is a GPU.
        channels_last: Whether PyTorch stores images and weights channels last.
        threads: Of the CPU, per arm; never changed by how many arms run at once.
        seed: Of weights, order, augmentation and random starts.
        deterministic: Whether to use deterministic kernels only.
    """

    SECTION: ClassVar[str] = "training"
    epochs: int = fields.integer(1)
    batch_size: int = fields.integer(1, 128)
    batches: str = fields.choice(("random", "stratified"), "random")
    optimizer: str = fields.choice(("sgd", "adamw"), "sgd")
    lr: float = fields.real(default=0.1)
    momentum: float = fields.real(below=1.0, default=0.9)
    nesterov: bool = fields.flag(False)
    weight_decay: float = fields.real(default=5e-4)
    schedule: str = fields.field(check_schedule, "piecewise")
    warmup: float | str = fields.field(check_length, 0.0, fields.fraction)
    clip_norm: float = fields.real(default=0.0)
    micro_batches: int = fields.integer(1, 1)
    augmentation: str = fields.choice(lambda: AUGMENTATIONS, "none")
    mixing: str = fields.field(check_mixing, "none")
    awp: float = fields.real(default=0.0)
    averaging: str = fields.field(check_averaging, "none")
    patience: int = fields.integer(0, 0)
    batch_norm: str = fields.choice(("global", "local"), "global")
    precision: str = fields.choice((*OF_NETWORK, AUTO), "float32")
    compile: bool = fields.flag(False)
    cuda_graphs: bool = fields.flag(True)
    channels_last: bool = fields.flag(False)
    threads: int = fields.integer(1, 1)
    seed: int = fields.integer(0, 0)
    deterministic: bool = fields.flag(False)

    def __attrs_post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise SpecError("training.nesterov: needs training.momentum > 0, got momentum 0")
        room = 1 - self.momentum if self.optimizer == "sgd" else 1.0  # momentum multiplies a step by 1/(1 - momentum)
        if self.lr * self.weight_decay >= room:
            raise SpecError(
                f"training.weight_decay: expected less than {room / self.lr:.4g} with training.lr = {self.lr:g}, got "
                f"{self.weight_decay:g}\neach step would take away all of the weights"
            )
        if self.batch_size % self.micro_batches:
            raise SpecError(
                f"training.micro_batches: expected a divisor of training.batch_size = {self.batch_size}, got "
                f"{self.micro_batches}"
            )
