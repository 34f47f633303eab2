"""The training step in PyTorch, on data that lies on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.ascent import padded
from sat_core.attack_spec import AttackSpec
from sat_core.classifier import State
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan, check_devices
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.moments import STATISTICS, Moments
from sat_core.precision import check_precision, least_precise
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.streams import stream
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec
from sat_torch.arrays import to_numpy
from sat_torch.averaging import Average
from sat_torch.batch import Batch, Batches
from sat_torch.classifier import TorchClassifier
from sat_torch.distributed import parallel
from sat_torch.folded import hooked
from sat_torch.graphs import Captured
from sat_torch.learning import Learning
from sat_torch.losses import moments
from sat_torch.members import Members, Replayed
from sat_torch.mixing import mix
from sat_torch.modes import frozen, precision
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
        self._classifier, self._training, self._attack, self._group = classifier, training, attack, group
        check_precision(training.precision, classifier.precision, _computes_in(classifier))
        if training.precision == "float64":
            module.double()
        module.eval()  # what does not learn stays so
        learning = classifier.head or module
        module = learning if features is not None else module
        ours = bool(classifier.description)
        self._layout = torch.contiguous_format
        if training.channels_last or ours:  # always faster; a user's network may need its own
            self._layout = torch.channels_last
            module.to(memory_format=self._layout)
        half = HALF.get(training.precision)
        alone = precision(torch.compile(module) if training.compile else module, device.type, half)
        self._parallel = parallel(module, ours=ours) if group.size > 1 else None
        together = alone if self._parallel is None else precision(self._parallel, device.type, half)
        self._batches = Batches(classifier, data, features, training.augmentation, self._layout)
        weights = {name: p for name, p in classifier.native.named_parameters() if p.requires_grad}
        optimizer = self._optimizer = Optimizer(weights, training, device)
        self._learning = Learning(module, learning, training, loss, optimizer, alone, together, group, ours=ours)
        captures = device.type == "cuda" and training.cuda_graphs
        # with clean images of the members, more of them would change the statistics of BatchNorm
        self._padded = (training.compile or captures) and not self._learning.pairs
        self._average = Average(classifier.variables() if training.averaging != "none" else {})
        # features have no members
        free = attack.free and features is None
        replayed = Replayed(attack, self._batches.zeros(training.batch_size)) if free else None
        self._members = Members(classifier, training, attack, alone, replayed)
        # Of several ranks the attack alone, which is most of a step: sums over ranks are not captured, as what one rank
        # captures, another may refuse.
        self._capturable = self._compute if group.size == 1 else self._attack_alone
        self._captured = None
        if captures and (group.size == 1 or training.micro_batches == 1):
            self._captured = Captured(self._capturable, self._changing, device)
        self._queued: deque[torch.cuda.Event] = deque()
        self._epoch: dict[str, Tensor] = {}
        self._kind: object = None
        # the number of the step lies on the device, so that a captured step finds the rows of its batch by itself
        self._number = torch.zeros(1, dtype=torch.int64, device=device)
        self._moments: Tensor | None = None

    def begin(self, plan: EpochPlan, *, record: bool = False) -> None:
        self._plan, device, before = plan, self._classifier.device, self._epoch
        arrays = {name: _tensor(array, device) for name, array in plan.arrays().items()}
        kind = ({name: tensor.shape for name, tensor in arrays.items()}, plan.online, record)
        if kind == self._kind:
            for name, tensor in arrays.items():  # into the same memory, which captured steps read
                before[name].copy_(tensor)
            return
        if self._captured is not None:
            self._captured.forget()
        size, steps, dtype = plan.batch_size, plan.steps, self._classifier.dtype
        self._epoch, self._kind = arrays, kind
        self._losses = torch.zeros(steps, dtype=dtype, device=device)
        self._logits = torch.zeros(size, self._classifier.classes, dtype=dtype, device=device)
        self._moments = torch.zeros(steps, STATISTICS, size, dtype=torch.float64, device=device) if record else None
        self._orders = torch.zeros(steps if plan.online else 0, size, dtype=torch.int64, device=device)
        self._own = torch.zeros(size, dtype=torch.int64, device=device)
        part = size // self._training.micro_batches
        self._inputs = self._batches.zeros(2 * part if self._learning.pairs else part)
        self._batches.reserve(size)

    def step(self, number: int, images: np.ndarray | None = None) -> None:
        if images is not None:
            self._batches.take(images)
        self._number.fill_(number)
        size = int(self._plan.members[number])
        size = padded(size, self._plan.batch_size) if self._padded else size
        with self._draws(self._plan.epoch, number):
            if self._captured is None or hooked(self._classifier.module):
                self._compute(size)
            elif self._group.size == 1:
                self._captured(size)
            else:
                # here, since a replayed attack runs no Python, and gradients of the last step would be added to
                self._optimizer.clear()
                self._captured(size)
                self._finish(self._planned(size, self._inputs, self._own))
        if self._plan.decay is not None:
            self._average.update(float(self._plan.decay[number]))
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

    # a script may have switched gradients off for the whole process
    @torch.enable_grad()
    def _compute(self, size: int) -> None:
        """Make the step whose number is on the device, of which the first `size` images are attacked.

        Nothing in it waits for the device, and all that it leaves behind is written into tensors of before, so that it
        can be captured.
        """
        batch, parts = self._prepared(size), self._training.micro_batches
        for _ in range(self._attack.replays):
            self._optimizer.clear()
            self._losses.index_fill_(0, self._number, 0)
            for k in range(parts):
                part = batch.part(k, parts)
                self._mix(part)
                self._learn(part, k)
            self._optimizer.apply(self._rows("lr")["lr"])
        self._record()

    @torch.enable_grad()
    def _attack_alone(self, size: int) -> None:
        """Make the mixed batch of the step, of which the first `size` images are attacked."""
        self._mix(self._prepared(size))

    @torch.enable_grad()
    def _finish(self, batch: Batch) -> None:
        """Make the step of the optimiser on the mixed batch."""
        self._losses.index_fill_(0, self._number, 0)
        self._learn(batch, 0)
        self._optimizer.apply(self._rows("lr")["lr"])
        self._record()

    def _prepared(self, size: int) -> Batch:
        """Return the batch of the step before the attack, in its order."""
        rows = self._rows("index", "integers", "factors", "partner", "share", "box")
        images, labels = self._batches.images(rows), self._batches.labels[rows["index"]]
        targets = labels
        if "partner" in rows:
            images, targets = mix(images, labels, self._classifier.classes, rows)
        batch = self._planned(size, images, targets)
        if self._plan.online:
            order = self._members.order(images, labels, self._plan.online)
            self._orders.index_copy_(0, self._number, order[None])
            batch, labels = batch.ordered(order), labels[order]
        self._own.copy_(labels)
        return batch

    def _planned(self, size: int, images: Tensor, labels: Tensor) -> Batch:
        rows = self._rows("weights", "totals", "members", "keys", "beta", "strength")
        return Batch(
            images=images,
            labels=labels,
            weights=rows["weights"].to(images),
            total=rows["totals"].to(images),
            members=rows["members"],
            size=size,
            padded=self._padded,
            keys=rows.get("keys"),
            beta=rows.get("beta", 0.0),
            strength=rows.get("strength"),
        )

    def _mix(self, part: Batch) -> None:
        """Make the mixed images of a part of the batch, and clean ones of its members behind them if the loss asks."""
        n = len(part.images)
        self._inputs[:n].copy_(self._members.mixed(part))
        if self._learning.pairs:
            self._inputs[n : n + part.size].copy_(part.images[: part.size])

    def _learn(self, part: Batch, k: int) -> None:
        parts, n = self._training.micro_batches, len(part.labels)
        images = self._inputs[: n + part.size] if self._learning.pairs else self._inputs
        # gradients of the parts before the last one are summed on this rank only
        with self._parallel.no_sync() if self._parallel and k < parts - 1 else nullcontext():
            loss, logits = self._learning(part, images, self._members.replayed if part.size else None)
        self._losses.index_add_(0, self._number, loss[None])
        self._logits[k::parts].copy_(logits)

    def _record(self) -> None:
        if self._moments is not None:
            self._moments.index_copy_(0, self._number, moments(self._logits, self._own)[None])

    def _rows(self, *names: str) -> dict[str, Tensor]:
        """Return what the plan says of the step, of that what it has."""
        return {name: self._epoch[name].index_select(0, self._number)[0] for name in names if name in self._epoch}

    def _changing(self) -> list[list[Tensor]]:
        """Return all tensors that a captured step, or attack, changes and that what comes next depends on."""
        if self._group.size > 1:
            return [[self._inputs], [self._own]]
        module, replayed = self._classifier.module, self._members.replayed
        delta = [] if replayed is None else [replayed.delta]
        return [[*module.parameters()], [*module.buffers()], self._optimizer.tensors(), delta]

    def losses(self, first: int, last: int) -> np.ndarray:
        return to_numpy(self._losses[first:last]).copy()

    def moments(self, first: int, last: int) -> Moments:
        assert self._moments is not None, "begin(record=True) comes first"  # noqa: S101
        return Moments(*to_numpy(self._moments[first:last].permute(1, 0, 2).reshape(STATISTICS, -1)))

    def logits(self) -> np.ndarray:
        return to_numpy(self._logits.float()).copy()

    def order(self, first: int, last: int) -> np.ndarray:
        return to_numpy(self._orders[first:last]).copy()

    def averaged(self) -> AbstractContextManager[None]:
        return self._average.inside()

    def state(self) -> State:
        return self._optimizer.state() | self._average.state() | self._members.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._optimizer.load_state(self._members.load_state(self._average.load_state(state)))


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array of a plan; words are int32 here, see `sat_torch.ops`."""
    return torch.tensor(array.view(np.int32) if array.dtype == np.uint32 else array, device=device)


def _computes_in(classifier: TorchClassifier) -> str:
    """Type of the weights, or of the logits where a user's module computes in less, as under an autocast of its own."""
    if classifier.description:
        return classifier.precision
    with frozen(classifier.module), torch.no_grad():
        h, w, c = classifier.image_shape
        logits = classifier.module(torch.zeros(1, c, h, w, dtype=classifier.dtype, device=classifier.device))
    return least_precise([classifier.precision, str(logits.dtype).removeprefix("torch.")])
