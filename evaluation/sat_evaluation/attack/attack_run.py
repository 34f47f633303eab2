"""The attacks that are left of an evaluation, one after the other, and the checks of what they return."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from sat_core.data import Examples
from sat_core.errors import EvaluationError
from sat_core.evaluation import ROBUST, Evaluation
from sat_core.process_group import ProcessGroup
from sat_core.threat import norm_of
from sat_evaluation.attack.fast.engine import Fast
from sat_evaluation.attack.meter import Meter, Progress
from sat_evaluation.attack.model import Model, seeded
from sat_evaluation.attack.package import Package
from sat_evaluation.attack.record import EvaluationSettings, Record
from sat_evaluation.attack.rounds import by_rank_0, in_rounds

if TYPE_CHECKING:
    import torch


@final
class AttackRun:
    """Runs what is left, and saves after every round. All ranks keep the record, rank 0 its file.

    Args:
        model: What is attacked.
        package: Whose attacks run.
        data: The images.
        record: How far the evaluation is; the same on all ranks.
        path: Of its file; None for none.
        progress: See `sat_evaluation.attack.runner.evaluate`.
        group: The ranks.
    """

    def __init__(
        self,
        model: Model,
        package: Package | Fast,
        data: Examples,
        record: Record,
        path: Path | None,
        progress: Progress | None,
        group: ProcessGroup,
    ) -> None:
        self.model, self.package, self.data, self.record, self.path = model, package, data, record, path
        self.group = group
        self.meter = Meter(record, classes=data.classes, progress=progress)
        first, size = map(int, record.batch_size)
        if size < first:
            package.at_most(size)
        elif model.device.type != "cpu":
            package.at_most(max(size, model.images_at_once()))

    def run(self) -> None:
        """Run to the end; errors as in `evaluate`."""
        record, count = self.record, len(self.record.settings.attacks)
        for number in range(int(record.next[0]), count if record.settings.eps > 0 else 0):
            self._run(number)
            record.next[:] = number + 1, 0
        record.next[:] = count, 0
        record.warnings = np.array([*record.warnings, *masking_warnings(record.evaluation())], dtype=np.str_)
        self._save()

    def _save(self) -> None:
        by_rank_0(self.group, lambda: self.record.save(self.path))

    def _run(self, number: int) -> None:
        """Run what is left of one attack."""
        model, record, s = self.model, self.record, self.record.settings
        attack = s.attacks[number]
        perturb = self.package.attack(attack, model, norm=s.norm, eps=s.eps, seed=s.seed, device=model.device)
        # the candidates are fixed when an attack starts, also after a resume: batches decide what is drawn
        alive = np.flatnonzero((record.broken_by == ROBUST) | (record.broken_by == number))

        def one_batch(index: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
            x, y = model.tensors(self.data.float_images(index), self.data.labels[index])
            left, together = len(alive) - int(record.next[1]), self.group.size * int(record.batch_size[1])
            model.on_query = self.meter.begin(number, len(index), left, together)
            with seeded(s.seed):
                adversarial = perturb(x, y)
                broken = model.exact(adversarial).max(dim=1)[1] != y
            _check_adversarial(attack.name, s, x, adversarial)
            return index, broken.cpu().numpy(), self.meter.used

        def lowered(size: int) -> None:
            # saved at once, so that a resumed evaluation has the same batches
            record.batch_size[1] = size
            self._save()
            self.package.at_most(size)
            model.release()

        left, size = alive[record.next[1] :], int(record.batch_size[1])
        for results in in_rounds(
            left,
            size,
            one_batch,
            self.group,
            out_of_memory=model.out_of_memory,
            lowered=lowered,
            idle=lambda: self.meter.tell(number),
        ):
            for index, broken, queries in results:
                record.broken_by[index[broken]] = number
                # counted with its batch, so that one that is broken off and done again counts once
                record.queries[number] += queries
                record.next += (0, len(index))
            self._save()


def _check_adversarial(attack: str, settings: EvaluationSettings, x: torch.Tensor, adversarial: torch.Tensor) -> None:
    """EvaluationError unless the adversarial images are numbers in [0, 1] within eps of `x`, up to rounding."""
    images = adversarial.cpu().numpy()
    size = norm_of(settings.norm).size(images - x.cpu().numpy()).max()
    low, high = images.min(), images.max()
    # the ball may be left by rounding in float32, [0, 1] may not: every attack clamps to it last
    if not (low >= 0 and high <= 1 and size <= settings.eps * (1 + 1e-4) + 1e-6):  # NaN makes each comparison false
        raise EvaluationError(
            f"{attack}: expected adversarial images in [0, 1] with {settings.norm} distance <= {settings.eps:.6g}, "
            f"got [{low:.6g}, {high:.6g}] and {size:.6g}"
        )


def masking_warnings(evaluation: Evaluation) -> list[str]:
    """Return a warning if Square, which needs no gradients, broke what the attacks before it could not.

    The limit of 0.2 points of robust accuracy is the package's.
    """
    left = {"clean": float(evaluation.correct.mean())}
    for outcome in evaluation.breakdown():
        if min(left.values()) > 0:  # with none left, no attack was run
            left[outcome.settings.name] = outcome.robust_accuracy
    square, others = left.pop("square", 1.0), min(left.values())
    if len(left) < 2 or square >= others - 0.002:
        return []
    fall = f"from {100 * others:.1f} % to {100 * square:.1f} %"
    return [f"masked gradients: Square, which uses none, lowered robust accuracy {fall}"]
