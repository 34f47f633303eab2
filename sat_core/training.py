"""The epoch loop: runs planned steps, records logits, calls checks, saves, and resumes between any two steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, final

import attrs
import numpy as np

from sat_core import checkpoint
from sat_core.attacked import Attacked
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.collapse import PROBE, collapse, gradient_alignment, pgd_accuracy
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan
from sat_core.errors import CheckpointError, Interrupted, TrainingError
from sat_core.files import EXPERIMENT
from sat_core.leader import statistics, tell_model
from sat_core.position import Position
from sat_core.process_group import ALONE, Command, ProcessGroup
from sat_core.recorder import Recorder
from sat_core.reselection import Reselection
from sat_core.streams import stream
from sat_core.trainer import Trainer
from sat_core.unit_folder import UnitFolder
from sat_core.watch import Watch

WATCH = "watch"
"""Stage in which images are watched, and what of the results says so."""
STOPPED = "stopped on request; everything is saved, the same command goes on"

OnProgress = Callable[[str, float, float, str], None]
"""progress(stage, done, total, note): how far a stage is."""
Scalars = Callable[[int, Mapping[str, float]], None]
"""scalars(epoch, values): numbers of an epoch (from 1) by name; a resumed training repeats those of earlier epochs."""


@final
@attrs.define(kw_only=True)
class Fit:
    """One training in one folder. `run` starts it, or continues from the checkpoint in the folder.

    Args:
        classifier, trainer: What is trained, and what computes its steps.
        planner: Plans the steps.
        data: Training examples.
        folder: Of the arm or ranking, with checkpoints.
        fingerprint: Of the experiment that the folder belongs to; a checkpoint of another one is refused.
        stage: To which the time is added.
        recorder: Gets the logits of every training forward; None records nothing.
        attacked: Counts how often each example is attacked; None where none is.
        reselection: Chooses A anew; None where it stays the same.
        watch: Attacks a few images after each epoch; None attacks none.
        snapshot: Whether the recorder gets the logits of all training images after each epoch instead.
        check_epochs: Epochs (from 1) after which `on_check` is called.
        on_check: Gets the epoch; may be called again for the same one after a crash.
        ended: Whether the checks so far end the training before its last epoch.
        progress: See `OnProgress`.
        stop: Called between steps; True saves and raises Interrupted.
        save_every: Seconds between saves within an epoch.
        group: The ranks that train together; this one is the first of them.
        with_images: Whether images that are decoded on demand are read; not where the trainer has features instead.
        scalars: See `Scalars`; called for each epoch before it is saved, so that an interruption leaves none out.
    """

    classifier: Classifier
    trainer: Trainer
    planner: Planner
    data: Examples
    folder: UnitFolder
    fingerprint: str
    stage: str = "training"
    recorder: Recorder | None = None
    attacked: Attacked | None = None
    reselection: Reselection | None = None
    watch: Watch | None = None
    snapshot: bool = False
    check_epochs: tuple[int, ...] = ()
    on_check: Callable[[int], None] = lambda _epoch: None
    ended: Callable[[], bool] = lambda: False
    progress: OnProgress = lambda *_: None
    stop: Callable[[], bool] = lambda: False
    save_every: float = 20.0
    group: ProcessGroup = ALONE
    with_images: bool = True
    scalars: Scalars = lambda *_: None
    position: Position = attrs.field(factory=Position, init=False)
    _read: int = attrs.field(default=0, init=False)
    _saved: float = attrs.field(factory=time.monotonic, init=False)

    def resume(self) -> Position:
        """Load the last checkpoint, if there is one; returns where the training continues.

        Raises:
            CheckpointError: The checkpoint is damaged, or of another experiment.
        """
        path = self.folder.last_checkpoint
        # `run` calls this again: what has been loaded or trained since must not be set back.
        if self.position == Position() and path.exists():
            try:
                self._load(checkpoint.read(path))
            # CheckpointError is a ValueError; the others are from metadata that is whole JSON and says something else.
            except (KeyError, TypeError, ValueError) as error:
                reason = str(error).splitlines()[0] if isinstance(error, CheckpointError) else f"{path}: {error!r}"
                raise CheckpointError(f"{reason}\ndelete {path} and the training starts anew") from error
        return self.position

    def run(self) -> Position:
        """Train to the last epoch, or until the checks end it.

        Raises:
            TrainingError: The loss is not finite.
            Interrupted: A stop was requested; the state is saved.
        """
        self.resume()
        self._saved = time.monotonic()
        for epoch in range(self.position.epoch):
            self._tell(epoch + 1)
        if self.reselection is not None:
            self.reselection.tell()
        epochs = self.planner.training.epochs
        # The last start may have ended between the save of an epoch and its check.
        if self.position.step == 0:
            self._check()
        unfinished = self.position.epoch < epochs and not self.ended()
        if unfinished and self.position.devices[-1:] != [self.group.size]:
            self.position.devices.append(self.group.size)
        while self.position.epoch < epochs and not self.ended():
            self._run_epoch(self.planner.epoch(self.position.epoch))
            self._end_epoch()
            done = self.position.epoch
            self._tell(done)
            # Before the check, which may take hours: whoever ends it loses no training.
            if done in self.check_epochs or done == epochs or time.monotonic() - self._saved >= self.save_every:
                self._save()
            self._check()
        if self.position.epoch < epochs:
            steps = epochs * self.planner.steps_per_epoch
            self.progress(self.stage, steps, steps, f"ended after epoch {self.position.epoch} of {epochs}")
        return self.position

    def warnings(self) -> list[str]:
        """Return lines on several numbers of devices, and on catastrophic overfitting."""
        counts, local = [*map(str, self.position.devices)], self.planner.training.batch_norm == "local"
        what = "with BatchNorm on shares of another size" if local else "whose sums are rounded differently"
        lines = [f"trained on {', then '.join(counts)} devices, {what}"] * (len(counts) > 1)
        fell = collapse(self.position.pgd_accuracy, self.position.gradient_alignment)
        return [*lines, fell] if fell else lines

    def _tell(self, epoch: int) -> None:
        at, lr = self.position, self.planner.lr(epoch - 1, self.planner.steps_per_epoch - 1)
        values = {
            "loss": at.losses[epoch - 1],
            "learning_rate": lr,
            "gradient_evaluations": float(at.gradients[epoch - 1]),
        }
        if at.pgd_accuracy:
            values["pgd_accuracy"] = at.pgd_accuracy[epoch - 1]
            values["gradient_alignment"] = at.gradient_alignment[epoch - 1]
        if at.watched:
            values["watch/clean_accuracy"], values["watch/robust_accuracy"] = at.watched[epoch - 1]
        self.scalars(epoch, values)

    def _check(self) -> None:
        if self.position.epoch in self.check_epochs:
            # Its seconds belong to the stage selection, so those of the training count on from after it.
            with self.trainer.averaged():
                self.on_check(self.position.epoch)
            self._saved = time.monotonic()

    def _run_epoch(self, plan: EpochPlan) -> None:
        at, per_epoch = self.position, self.planner.steps_per_epoch
        self.trainer.begin(plan, record=self._records)
        self._read = at.step
        # Each rank decodes its own share only.
        share = self.trainer.share(plan)
        for images in share.decoded(self.data.images if self.with_images else np.empty(0), at.step):
            if self.stop():
                self._save(plan)
                raise Interrupted(STOPPED)
            if time.monotonic() - self._saved >= self.save_every:
                self._save(plan)
            self.trainer.step(at.step, images)
            # Copies that pad a captured batch are not counted: this is the cost of the method.
            attack_gradients, training_gradients = self.planner.cost(int(plan.members[at.step]), plan.batch_size)
            at.attack_gradients += attack_gradients
            at.training_gradients += training_gradients
            at.selection_forwards += plan.batch_size if plan.online else 0
            at.step += 1
            done, note = at.epoch * per_epoch + at.step, f"epoch {at.epoch + 1} of {self.planner.training.epochs}"
            self.progress(self.stage, done, self.planner.training.epochs * per_epoch, note)
        self._settle(plan)

    @property
    def _records(self) -> bool:
        """Whether the recorder gets the outputs of the steps themselves."""
        return self.recorder is not None and not self.snapshot

    def _settle(self, plan: EpochPlan) -> None:
        """Read what the steps since the last call have left on the device, which makes the CPU wait for it."""
        at, first = self.position, self._read
        for step, loss in enumerate(self.trainer.losses(first, at.step), first + 1):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss:g} in epoch {at.epoch + 1}, step {step}; "
                    'lower training.lr or take training.precision = "float32"'
                )
            # One by one, so that the sum does not depend on when it is saved.
            at.loss_sum += float(loss)
        index = plan.index[first : at.step]
        if plan.online and len(index):
            index = np.take_along_axis(index, self.trainer.order(first, at.step), axis=1)
        if self.recorder is not None and self._records and len(index):
            # With augmented images in training mode, as the authors' code has it (recipe, section 2).
            self.recorder.add(index.ravel(), self.trainer.moments(first, at.step), at.epoch)
        if self.attacked is not None:
            self.attacked.add(index, plan.members[first : at.step])
        self._read = at.step

    def _end_epoch(self) -> None:
        at = self.position
        at.losses.append(at.loss_sum / self.planner.steps_per_epoch)
        at.gradients.append(at.training_gradients + at.attack_gradients)
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        if self.recorder is not None and self.snapshot:
            tell_model(self.classifier, self.group)
            self.group.lead(Command.RECORD)
            moments = statistics(self.classifier, self.data, self.group)
            self.recorder.add(np.arange(len(self.data)), moments, at.epoch - 1)
        if self.reselection is not None and self.reselection.due(at.epoch, self.planner.training.epochs):
            self.planner = attrs.evolve(self.planner, split=self.reselection.choose(self.classifier))
            at.selection_forwards += len(self.data)
        probe = self.planner.split.some(PROBE)
        # Catastrophic overfitting is a fault of single-step attacks; other trainings are spared the probe.
        if self.planner.attack.steps == 1 and len(probe):
            images, labels, attack = self.data.float_images(probe), self.data.labels[probe], self.planner.attack
            at.pgd_accuracy.append(pgd_accuracy(self.classifier, images, labels, attack))
            rng = stream(self.planner.training.seed, f"{self.planner.streams}alignment", at.epoch)
            at.gradient_alignment.append(gradient_alignment(self.classifier, images, labels, attack, rng))
        if self.watch is not None:
            # Its seconds are no part of the training's.
            start = time.monotonic()
            with self.folder.timed(WATCH), self.trainer.averaged():
                at.watched.append(self.watch.measure(self.classifier))
            self._saved += time.monotonic() - start

    @property
    def _collectors(self) -> dict[str, Recorder | Attacked | Reselection]:
        """What a checkpoint has beside network and optimiser, by the name of its group there."""
        parts = {"recorder": self.recorder, "attacked": self.attacked, "subset": self.reselection}
        return {name: part for name, part in parts.items() if part is not None}

    def _load(self, saved: checkpoint.Checkpoint) -> None:
        saved.check(self.fingerprint)
        self.classifier.load_state(saved.groups["model"])
        # An optimiser without state leaves no group in the file.
        self.trainer.load_state(saved.groups.get("trainer", {}))
        for name, part in self._collectors.items():
            part.load_state(saved.groups[name])
        if self.reselection is not None:
            self.planner = attrs.evolve(self.planner, split=self.reselection.split)
        self.position = Position(**saved.metadata["position"])

    def _save(self, plan: EpochPlan | None = None) -> None:
        """Save a checkpoint; within an epoch, `plan` is that of the epoch."""
        if plan is not None:
            # The sum of losses in a checkpoint has to have that of every step that the checkpoint counts.
            self._settle(plan)
        groups = {"model": self.classifier.state(), "trainer": self.trainer.state()}
        groups |= {name: part.state() for name, part in self._collectors.items()}
        checkpoint.save(self.folder.last_checkpoint, groups, self._metadata())
        self.folder.add_seconds(self.stage, time.monotonic() - self._saved)
        self._saved = time.monotonic()

    def _metadata(self) -> dict[str, Any]:
        metadata = {"model": dict(self.classifier.description), "position": attrs.asdict(self.position)}
        return metadata | {EXPERIMENT: self.fingerprint}
