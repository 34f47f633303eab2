"""The results of one arm, as an object: what `results.json` says (docs/results.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import attrs

from sat_core.accuracy import Accuracies, Accuracy
from sat_core.autoattack import strength
from sat_core.errors import DataError, quoted
from sat_core.json_fields import (
    from_json,
    integer,
    json_field,
    mapping,
    number,
    optional,
    part,
    sequence,
    text,
    to_json,
)
from sat_core.result_parts import (
    ROUNDING,
    AttackSummary,
    CollapseSummary,
    Cost,
    DataSummary,
    LevelResults,
    RankingSummary,
    Selection,
    SourceSummary,
    SplitSummary,
    WatchSummary,
    WeightsSummary,
    read_settings,
)


@final
@attrs.frozen(kw_only=True)
class ArmResults:
    """The results of a finished arm, as they stand in its `results.json`.

    Attributes:
        arm, full_name: Name of the arm's folder, and the whole name where it is too long for one.
        spec: All settings, as `Spec.to_tables` returns them.
        backend, device, versions: What computed it.
        devices: Numbers of devices that trained it together, one after the other.
        seeds: By purpose; that of the ranking is None if none was trained.
        data, ranking, split, cost: See their classes.
        source: Of a transfer only. Then split and cost of `source` say how the features were trained, and those of the
            results how the head was.
        weights: Of a training that began with those of a file, or with a network of another library.
        selection: The chosen epoch, and the checks that chose it.
        clean, robust: Accuracies of the chosen epoch on the examples that did not choose it.
        attacks: How it was attacked.
        levels: What other levels of evaluation measured, each with its attacks.
        epochs: That were trained: fewer than ``training.epochs`` where ``training.patience`` ended it.
        losses: Mean training loss of each epoch in nats.
        watch: Of a training with ``evaluation.watch`` only.
        collapse: Of a training with a single-step attack only.
        warnings: Lines about data, settings, ranking and training.
        experiment: SHA-256 of what makes the arm.
        reused: Folder of the finished arm that was taken over, if one was.
    """

    arm: str = json_field(text)
    full_name: str = json_field(text, "", omit=True)
    spec: dict[str, Any] = json_field(read_settings)
    backend: str = json_field(text)
    device: str = json_field(text)
    devices: tuple[int, ...] = json_field(sequence(integer(1)))
    versions: dict[str, str] = json_field(mapping(text))
    seeds: dict[str, int | None] = json_field(mapping(optional(integer())))
    data: DataSummary = json_field(part(DataSummary))
    source: SourceSummary | None = json_field(part(SourceSummary), None, omit=True)
    weights: WeightsSummary | None = json_field(part(WeightsSummary), None, omit=True)
    ranking: RankingSummary | None = json_field(optional(part(RankingSummary)))
    split: SplitSummary = json_field(part(SplitSummary))
    selection: Selection = json_field(part(Selection))
    clean: Accuracies = json_field(part(Accuracies), key="clean_accuracy")
    robust: Accuracies = json_field(part(Accuracies), key="robust_accuracy")
    attacks: AttackSummary = json_field(part(AttackSummary))
    levels: tuple[LevelResults, ...] = json_field(sequence(part(LevelResults)), (), omit=True)
    cost: Cost = json_field(part(Cost))
    epochs: int = json_field(integer(1))
    losses: tuple[float, ...] = json_field(sequence(number()))
    watch: WatchSummary | None = json_field(part(WatchSummary), None, omit=True)
    collapse: CollapseSummary | None = json_field(part(CollapseSummary), None, omit=True)
    warnings: tuple[str, ...] = json_field(sequence(text))
    experiment: str = json_field(text)
    reused: str = json_field(text, "", omit=True)

    @property
    def clean_accuracy(self) -> Accuracy:
        """Share of images that are classified correctly as they are, over all classes."""
        return self.clean.all

    @property
    def robust_accuracy(self) -> Accuracy:
        """Share of images that are classified correctly as they are and after every attack, over all classes."""
        return self.robust.all

    @property
    def trained(self) -> ArmResults | SourceSummary:
        """Whose split, cost, settings and training data say what A was: of a transfer its source's, else its own."""
        return self.source or self

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """Warnings about the training, then those about the evaluation."""
        return (*self.warnings, *self.attacks.warnings)

    @property
    def level(self) -> str:
        """The level of the reported robust accuracy, one of `sat_core.autoattack.LEVELS` or `CUSTOM_LEVEL`."""
        return self.attacks.level

    def at(self, level: str) -> ArmResults | None:
        """Return the results with the robust accuracy and the attacks of another level; None if it was not run."""
        if level == self.level:
            return self
        other = next((each for each in self.levels if each.attacks.level == level), None)
        return other and attrs.evolve(self, robust=other.robust, attacks=other.attacks, levels=())

    def with_level(self, clean: Accuracies, measured: LevelResults) -> ArmResults:
        """Return the results with those of one more level, which are reported if they are of the strongest one."""
        own = LevelResults(robust=self.robust, attacks=self.attacks)
        if strength(measured.attacks.level) < strength(self.level):
            return attrs.evolve(self, levels=(*self.levels, measured))
        return attrs.evolve(
            self, clean=clean, robust=measured.robust, attacks=measured.attacks, levels=(*self.levels, own)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of `results.json`."""
        content: dict[str, Any] = to_json(self)
        return content

    @classmethod
    def from_json(cls, content: Any) -> ArmResults:
        """Return the results that `results.json` says.

        Raises:
            DataError: One line that begins with the field that is missing, wrong, or does not fit the others.
        """
        results = from_json(cls, content)
        for field, expected, value in results._misfits():
            raise DataError(f"{field}: expected {expected}, got {quoted(value)}")
        return results

    def _misfits(self) -> Iterator[tuple[str, str, object]]:
        """Fields that do not fit the others: their name, what was expected, and their value."""
        total, classes = self.trained.data.train, len(self.trained.data.classes)
        if self.split.size > self.data.train:
            yield "split.size", f"at most the {self.data.train} training examples", self.split.size
        if self.source is not None and self.source.split.size > total:
            yield "source.split.size", f"at most the {total} training examples", self.source.split.size
        if max(self.trained.split.classes, default=0) >= max(classes, 1):
            yield "split.classes", f"classes in 0..{classes - 1}", list(self.trained.split.classes)
        if self.selection.epoch not in [check.epoch for check in self.selection.checks]:
            yield "selection.epoch", "an epoch that was checked", self.selection.epoch
        of_levels = [(f"levels[{n}].robust_accuracy", each.robust) for n, each in enumerate(self.levels)]
        for field, accuracies in (("clean_accuracy", self.clean), ("robust_accuracy", self.robust), *of_levels):
            per_class = accuracies.per_class
            if per_class is None or len(per_class) != len(self.data.classes):
                yield f"{field}.per_class", f"a list of {len(self.data.classes)}", per_class and len(per_class)
            for each in (accuracies.all, accuracies.a, accuracies.b, *(per_class or ())):
                if each and not each.low - ROUNDING <= each.value <= each.high + ROUNDING:
                    yield field, "accuracies within their intervals", each.value
