"""Robust accuracy under several threat models on the same images, and the images that survive all of them.

An adversarial example for a small radius lies in every larger ball of the same norm. So an image that was broken at one
radius is broken at all larger ones, and only those that are left are attacked there: fewer attacks, and robust accuracy
that cannot rise with the radius. Of two norms nothing of the kind is taken for granted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, final

import attrs
import numpy as np

from sat_core.accuracy import Accuracies, Accuracy, accuracies
from sat_core.display import html_table
from sat_core.evaluation import Evaluation
from sat_core.json_fields import from_json, json_field, part, sequence, text, to_json
from sat_core.result_parts import AttackSummary, LevelResults
from sat_core.threat_grid import Threat, ThreatGrid

Attack = Callable[[Threat, np.ndarray], Evaluation]
"""attack(threat, index): attacks the images at `index`, ascending, of those that are evaluated."""


@final
@attrs.frozen(kw_only=True)
class ThreatSummary:
    """A matrix without its flags per image, as it stands in a JSON file.

    Attributes:
        grid: The threat models, as `ThreatGrid.parse` reads them.
        clean: Accuracies on the images as they are.
        every: Accuracies of images that are correct under every threat model (union robustness).
        threats: Robust accuracies and attacks of each threat model, in the order of the grid.
        experiment: Fingerprint of the arm that was attacked; empty where it is none.
    """

    grid: str = json_field(text)
    clean: Accuracies = json_field(part(Accuracies), key="clean_accuracy")
    every: Accuracies = json_field(part(Accuracies), key="every_threat")
    threats: tuple[LevelResults, ...] = json_field(sequence(part(LevelResults)))
    experiment: str = json_field(text, "", omit=True)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a file."""
        content: dict[str, Any] = to_json(self)
        return content

    @classmethod
    def from_json(cls, content: Any) -> ThreatSummary:
        """Return the summary that a file says; DataError names the first field that is missing or wrong."""
        return from_json(cls, content)


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ThreatMatrix:
    """Evaluations of the same images, one for each threat model.

    Attributes:
        grid: The threat models.
        evaluations: In the order of the grid. An image has the attack that broke it at this radius or at a smaller one
            of the same norm.
    """

    grid: ThreatGrid
    evaluations: tuple[Evaluation, ...]

    @property
    def label(self) -> np.ndarray:
        """Classes of the images, int64 `(n,)`."""
        return self.evaluations[0].label

    @property
    def robust(self) -> np.ndarray:
        """Correct on the clean image and under every attack of a threat model, bool `(threats, n)`."""
        return np.array([evaluation.robust for evaluation in self.evaluations])

    @property
    def survives(self) -> np.ndarray:
        """Robust under every threat model (union robustness, Maini et al. 2020), bool `(n,)`."""
        return np.logical_and.reduce(self.robust)

    @property
    def clean_accuracy(self) -> Accuracy:
        """Share of images that are correct as they are, with its 95 % interval."""
        return self.evaluations[0].clean_accuracy

    @property
    def robust_accuracies(self) -> tuple[Accuracy, ...]:
        """Robust accuracy under each threat model, in the order of the grid."""
        return tuple(evaluation.robust_accuracy for evaluation in self.evaluations)

    @property
    def every(self) -> Accuracy:
        """Share of `survives`, with its 95 % interval."""
        return accuracies(self.survives, self.label, None, None).all

    def summary(self, classes: int, in_a: np.ndarray | None = None, experiment: str = "") -> ThreatSummary:
        """Return the accuracies; the arguments are those of `sat_core.accuracy.accuracies`, and a fingerprint."""

        def shares(good: np.ndarray) -> Accuracies:
            return accuracies(good, self.label, classes, in_a)

        return ThreatSummary(
            grid=str(self.grid),
            clean=shares(self.evaluations[0].correct),
            every=shares(self.survives),
            threats=tuple(
                LevelResults(robust=shares(each.robust), attacks=AttackSummary.of(each, each.level))
                for each in self.evaluations
            ),
            experiment=experiment,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved per image: `label`, `broken_by` `(threats, n)`, and `norm` and `eps` of each threat."""
        return {
            "label": self.label,
            "broken_by": np.array([evaluation.broken_by for evaluation in self.evaluations]),
            "norm": np.array([threat.norm for threat in self.grid.threats]),
            "eps": np.array([threat.eps for threat in self.grid.threats]),
        }

    def __repr__(self) -> str:
        cells = ", ".join(f"{t}: {a.value:.3f}" for t, a in zip(self.grid.threats, self.robust_accuracies, strict=True))
        return f"ThreatMatrix({cells}; every threat: {self.every.value:.3f}, n={self.every.n})"

    def _repr_html_(self) -> str:
        pairs = zip(self.grid.threats, self.robust_accuracies, strict=True)
        rows: list[tuple[object, ...]] = [("none (clean images)", str(self.clean_accuracy))]
        rows += [(str(threat), str(accuracy)) for threat, accuracy in pairs]
        rows.append(("every threat", str(self.every)))
        return html_table("Robust accuracy under several threat models", ("threat model", "accuracy"), rows)


def name_of_left(index: np.ndarray, count: int) -> str:
    """Return a word for what of `count` images smaller radii have left, in names of files; empty if it is all of them.

    It tells apart which images, not only how many: an evaluation is continued on the same ones.
    """
    if len(index) == count:
        return ""
    return f"left-{len(index)}-{hashlib.sha256(index.astype(np.int64).tobytes()).hexdigest()[:8]}"


def evaluate_threats(grid: ThreatGrid, count: int, attack: Attack) -> ThreatMatrix:
    """Attack `count` images under each threat model; at larger radii only those that smaller ones have left.

    Args:
        grid: The threat models.
        count: Number of images, at least 1.
        attack: See `Attack`. It is not called where no image is left.
    """
    evaluations: list[Evaluation] = []
    for place, threat in enumerate(grid.threats):
        smaller = evaluations[-1] if place and grid.threats[place - 1].norm == threat.norm else None
        if smaller is None:
            evaluations.append(attack(threat, np.arange(count)))
            continue
        left, evaluation = np.flatnonzero(smaller.robust), attrs.evolve(smaller, eps=threat.eps, warnings=())
        if len(left):
            measured, broken_by = attack(threat, left), smaller.broken_by.copy()
            broken_by[left] = measured.broken_by
            evaluation = attrs.evolve(measured, label=smaller.label, broken_by=broken_by)
        evaluations.append(evaluation)
    return ThreatMatrix(grid=grid, evaluations=tuple(evaluations))
