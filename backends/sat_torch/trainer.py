"""The training step in PyTorch, on data that lies on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.ascent import attack_first, padded, random_start
from sat_core.attack_spec import AttackSpec
from sat_core.augmentation import AUGMENTATIONS, Moves
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan, check_devices
from sat_core.images import ImageSource
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.moments import STATISTICS, Moments
from sat_core.precision import FP16_SCALE, check_precision, least_precise
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.streams import stream
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec
from sat_torch.arrays import to_numpy
from sat_torch.attacked import Attacked
from sat_torch.attacks import pgd
from sat_torch.augmentation import augment
from sat_torch.classifier import TorchClassifier
from sat_torch.distributed import norms, parallel, take_buffers
from sat_torch.folded import hooked
from sat_torch.graphs import Captured, Upload
from sat_torch.losses import moments, weighted_sum
from sat_torch.modes import frozen, precision
from sat_torch.ops import OPS
from sat_torch.optimizer import Optimizer

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
AHEAD = 8
"""Steps that may be queued on a GPU and not be done: enough that it never waits for the host."""


@final
class TorchTrainer(Trainer):
    """See `sat_core.trainer.Trainer`. `training.compile` has the network compiled by TorchInductor.

    Several ranks train one `torch.nn.parallel.DistributedDataParallel`. The attack runs on the network inside of it.
    """

    def __init__(
        self,
        classifier: TorchClassifier,
        data: Examples,
        training: TrainingSpec,
        attack: AttackSpec,
        features: np.ndarray | None = None,
        loss: LossSpec = PLAIN,
        group: ProcessGroup = ALONE,
    ) -> None:
        check_devices(training, attack, group.size)
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
        if training.channels_last or ours:  # always faster; a user's network may need its own
            self._layout = torch.channels_last
            module.to(memory_format=self._layout)
        half = HALF.get(training.precision)
        self._forward = precision(torch.compile(module) if training.compile else module, device.type, half)
        self._attacked = Attacked(classifier, training, self._forward)
        self._group = group
        self._norms: AbstractContextManager[object] = nullcontext()
        # whether ranks have statistics of their own after a step; a user's layers may keep what they like
        self._own_buffers = group.size > 1 and (training.batch_norm == "local" or not ours)
        if group.size > 1:
            self._norms = norms(module, training.batch_norm)
            self._forward = precision(parallel(module, ours=ours), device.type, half)
        self._images: Tensor | None = None  # where images are decoded on demand, they come with each step
        if features is not None:
            self._images = torch.from_numpy(features).to(device)
        elif not isinstance(data.images, ImageSource):
            self._images = _channels_first(data.images).to(device)
        self._labels = torch.tensor(data.labels, device=device)
        learning = {name: p for name, p in classifier.native.named_parameters() if p.requires_grad}
        self._optimizer = Optimizer(learning, training, device)
        self._captured = None
        # Of several ranks the attack alone, which is most of a step: sums over ranks are not captured, as what one rank
        # captures, another may refuse.
        self._capturable = self._compute if group.size == 1 else self._mix
        if device.type == "cuda" and training.cuda_graphs:
            self._captured = Captured(self._capturable, self._changing, device)
        self._padded = training.compile or self._captured is not None
        self._upload = Upload(device)
        self._queued: deque[torch.cuda.Event] = deque()
        self._epoch: dict[str, Tensor] = {}
        # the number of the step lies on the device, so that a captured step finds the rows of its batch by itself
        self._number = torch.zeros(1, dtype=torch.int64, device=device)
        self._moments: Tensor | None = None

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._plan, device, before = plan, self._classifier.device, self._epoch
        arrays = {name: _tensor(array, device) for name, array in plan.arrays().items()}
        shapes = {name: tensor.shape for name, tensor in arrays.items()}
        if shapes == {name: tensor.shape for name, tensor in before.items()} and record == (self._moments is not None):
            for name, tensor in arrays.items():  # into the same memory, which captured steps read
                before[name].copy_(tensor)
            return
        if self._captured is not None:
            self._captured.forget()
        size, steps, dtype = plan.batch_size, plan.steps, self._classifier.dtype
        self._epoch = arrays
        self._losses = torch.zeros(steps, dtype=dtype, device=device)
        self._logits = torch.zeros(size, self._classifier.classes, dtype=dtype, device=device)
        self._moments = torch.zeros(steps, STATISTICS, size, dtype=torch.float64, device=device) if record else None
        h, w, c = self._classifier.image_shape
        shape = (c, h, w) if self._images is None else self._images.shape[1:]
        self._inputs = torch.zeros(size, *shape, dtype=dtype, device=device)
        if len(shape) == 3:  # else they are features
            self._inputs = self._inputs.contiguous(memory_format=self._layout)
        if self._images is None:
            self._decoded = torch.zeros(size, *self._classifier.image_shape, dtype=torch.uint8, device=device)

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        if images is not None:
            self._decoded.copy_(self._upload(images))
        self._number.fill_(number)
        members, batch = int(self._plan.members[number]), self._plan.batch_size
        size = padded(members, batch) if self._padded else members
        with self._draws(self._plan.epoch, number):
            several = self._group.size > 1
            if several:
                # here, since a replayed attack runs no Python, and gradients of the last step would be added to
                self._optimizer.clear()
            if self._captured is None or hooked(self._classifier.module):
                self._capturable(size)
            else:
                self._captured(size)
            if several:
                self._learn()
        if self._classifier.device.type == "cuda":
            self._keep_pace()

    def _keep_pace(self) -> None:
        """Wait for a step long ago, so that progress is true, and a stop does not have to wait for a whole epoch."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._queued.append(event)
        if len(self._queued) > AHEAD:
            self._queued.popleft().synchronize()

    @contextmanager
    def _draws(self, epoch: int, step: int) -> Iterator[None]:
        """What a user's layers draw, as dropout, follows from seed and place, so that any step can be made alone.

        Ranks draw for different examples, so they draw differently.
        """
        # our own networks have no layer that draws
        if self._classifier.description:
            yield
            return
        with torch.random.fork_rng():
            place = (epoch, step) if self._group.size == 1 else (epoch, step, self._group.rank)
            torch.manual_seed(int(stream(self._training.seed, "layers", *place).integers(2**63)))
            yield

    def _compute(self, size: int) -> None:
        """Make the step whose number is on the device, of which the first `size` images are attacked.

        Nothing in it waits for the device, and all that it leaves behind is written into tensors of before, so that it
        can be captured.
        """
        self._optimizer.clear()
        self._mix(size)
        self._learn()

    # a script may have switched gradients off for the whole process
    @torch.enable_grad()
    def _mix(self, size: int) -> None:
        """Make the mixed batch of the step: its first `size` images are attacked."""
        batch = self._rows("index", "members", "integers", "factors", "keys")
        images, labels = self._batch(batch), self._labels[batch["index"]]
        self._inputs.copy_(self._mixed(images, labels, batch, size) if size else images)

    @torch.enable_grad()
    def _learn(self) -> None:
        """Make the step of the optimiser on the mixed batch."""
        batch, images = self._rows("index", "weights", "totals", "lr"), self._inputs
        labels = self._labels[batch["index"]]
        # after the attack. Of a network with a new head, the head alone: its features stay in evaluation mode, so that
        # their running statistics are frozen, too (recipe, section 1.4)
        self._learning.train()
        with self._norms:  # also backward, in which checkpointed layers go forward again
            logits = self._forward(images).to(images.dtype)  # may be in half precision; the loss and its sum are not
            loss = weighted_sum(logits, labels, batch["weights"].to(images))[0] / batch["totals"].to(images)
            # a share's part of the loss; gradients are averaged over ranks, and the whole loss is the sum
            self._optimizer.apply(loss if self._group.size == 1 else loss * self._group.size, batch["lr"])
        if self._own_buffers:
            take_buffers(self._classifier.module)
        self._classifier.module.eval()
        logits = logits.detach()
        self._losses.index_copy_(0, self._number, loss.detach()[None])
        self._logits.copy_(logits)
        if self._moments is not None:
            self._moments.index_copy_(0, self._number, moments(logits, labels)[None])

    def _rows(self, *names: str) -> dict[str, Tensor]:
        """Return what the plan says of the step, of that what it has."""
        return {name: self._epoch[name].index_select(0, self._number)[0] for name in names if name in self._epoch}

    def _batch(self, batch: Mapping[str, Tensor]) -> Tensor:
        images = self._decoded.permute(0, 3, 1, 2) if self._images is None else self._images[batch["index"]]
        # bytes lie on the device as they are, in a quarter of the memory of float32, and become floats batch by batch
        dtype = self._classifier.dtype
        images = images.to(dtype) / 255 if images.dtype == torch.uint8 else images.to(dtype)
        if "integers" in batch:
            moves = Moves(batch["integers"], batch["factors"])
            images = augment(images, AUGMENTATIONS.get(self._training.augmentation), moves)
        return images.contiguous(memory_format=self._layout) if images.ndim == 4 else images

    def _mixed(self, images: Tensor, labels: Tensor, batch: Mapping[str, Tensor], size: int) -> Tensor:
        start, attack = None, self._attack
        if "keys" in batch:
            keys, shape = batch["keys"][:size], self._classifier.image_shape
            start = random_start(OPS, attack.norm, keys, shape, attack.eps).to(images)
        scale = FP16_SCALE if self._training.precision == "fp16" else 1.0
        members = batch["members"] if self._padded else None
        with self._attacked.weights() as forward:

            def perturb(x: Tensor, y: Tensor, start: Tensor | None) -> Tensor:
                return pgd(forward, x, y, attack, start, gradient_scale=scale)

            return attack_first(OPS, perturb, images, labels, start, size, members)

    def _changing(self) -> list[list[Tensor]]:
        """Return all tensors that a captured step, or attack, changes and that what comes next depends on."""
        if self._group.size > 1:
            return [[self._inputs]]
        module = self._classifier.module
        return [[*module.parameters()], [*module.buffers()], self._optimizer.tensors()]

    def losses(self, first: int, last: int) -> np.ndarray:
        return to_numpy(self._losses[first:last]).copy()

    def moments(self, first: int, last: int) -> Moments:
        assert self._moments is not None, "begin(record=True) comes first"  # noqa: S101
        return Moments(*to_numpy(self._moments[first:last].permute(1, 0, 2).reshape(STATISTICS, -1)))

    def logits(self) -> np.ndarray:
        return to_numpy(self._logits.float()).copy()

    def state(self) -> State:
        return self._optimizer.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._optimizer.load_state(state)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array of a plan; words are int32 here, see `sat_torch.ops`."""
    return torch.tensor(array.view(np.int32) if array.dtype == np.uint32 else array, device=device)


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
