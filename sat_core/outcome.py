"""What a training gives back."""

from __future__ import annotations

from pathlib import Path
from typing import final

import attrs

from sat_core.accuracy import Accuracy
from sat_core.arm_results import ArmResults
from sat_core.autoattack import CUSTOM_LEVEL
from sat_core.classifier import Classifier
from sat_core.display import html_table
from sat_core.evaluation import Evaluation
from sat_core.job import Job
from sat_core.ranking import Ranking
from sat_core.splits import Split


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class TrainingResult:
    """A trained classifier and what is known of it.

    Attributes:
        classifier: Ready to use, with the weights of the epoch that was picked. Its `perturb(images, labels)` runs
            PGD-10 in the threat model of the training.
        results: All numbers, as `results.json` has them.
        evaluation: AutoAttack's verdict on each image of the reported part of the test set.
        split: A and B.
        ranking: By which A was chosen; None where the strategy needs none.
        folder: Where everything is saved; None if nothing was.
    """

    classifier: Classifier
    results: ArmResults
    evaluation: Evaluation
    split: Split
    ranking: Ranking | None
    folder: Path | None

    @classmethod
    def read(cls, job: Job, results: ArmResults, ranking: Ranking | None, folder: Path | None) -> TrainingResult:
        """Put together what a finished `job` left behind; AutoAttack's per-image results are read, not run again."""
        classifier = job.load_best()
        classifier.default_attack = job.spec.attack.probe
        split = (ranking or Ranking(order=job.published_order())).split(job)
        attacks, name = job.spec.evaluation.attacks, job.folder.report_name()
        if results.level not in (attacks, CUSTOM_LEVEL):  # `sat evaluate` measured it later
            attacks, name = results.level, job.folder.report_name(results.level)
        evaluation = job.attack(classifier, attacks, name, "evaluation")
        return cls(
            classifier=classifier, results=results, evaluation=evaluation, split=split, ranking=ranking, folder=folder
        )

    @property
    def robust_accuracy(self) -> Accuracy:
        """Share of test images that no attack breaks, with its 95 % Wilson interval."""
        return self.evaluation.robust_accuracy

    @property
    def clean_accuracy(self) -> Accuracy:
        """Share of clean test images that are classified correctly, with its 95 % Wilson interval."""
        return self.evaluation.clean_accuracy

    def __repr__(self) -> str:
        return (
            f"TrainingResult(robust_accuracy={self.robust_accuracy.value:.3f}, "
            f"clean_accuracy={self.clean_accuracy.value:.3f}, n={self.robust_accuracy.n}, |A|={self.split.size})"
        )

    def _repr_html_(self) -> str:
        share = self.split.size / len(self.split.members)
        rows = [
            ("robust accuracy", self.robust_accuracy),
            ("clean accuracy", self.clean_accuracy),
            ("threat model", f"{self.evaluation.norm}, eps = {self.evaluation.eps:.4g}"),
            ("test images", f"{self.robust_accuracy.n:,}"),
            ("|A|", f"{self.split.size:,} ({100 * share:.0f} % of the training set)"),
            ("epoch picked", self.results.selection.epoch),
        ]
        return html_table("Subset Adversarial Training", (), rows)
