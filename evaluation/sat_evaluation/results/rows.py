"""Arms as rows of a study: what tables, figures and sentences show of their results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, final

import attrs

from sat_core.accuracy import Accuracy
from sat_core.arm_results import ArmResults
from sat_core.autoattack import CUSTOM_LEVEL, LEVELS
from sat_core.selection import draws
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.compared import compared, full_costs
from sat_evaluation.results.marks import mark_of
from sat_evaluation.results.text import epsilon

_ATTACKS = "evaluation.attacks"
_OWN_RESULTS: Any = attrs.Factory(lambda row: row.results, takes_self=True)
_AS_TEXT: Any = attrs.Factory(lambda row: json.dumps(row.settings), takes_self=True)


@final
@attrs.frozen
class Row:
    """One arm of a study, seen as a point over |A|.

    Of a transfer, A, costs and settings are those of the run that the features come from; accuracies, epoch and time
    are those of the head on `data`.

    Attributes:
        results: the results of the arm, with the robust accuracy of the level that the rows of a study are compared at.
        full: the same results at the strongest level that was run, which may be another one; see `collect`.
        unit: gradient evaluations that are a cost of 1, the same for all rows that are compared; see `collect`.
        spec: settings as dotted keys to values. A key that an older version did not know has its default; the attacks
            are those that the robust accuracy is of.
        settings: those on which the arm depends, without seeds and |A|; a baseline has none of the choice of A either.
            Arms with the same settings are points of one curve. key: the same as text.
    """

    results: ArmResults
    full: ArmResults = attrs.field(default=_OWN_RESULTS, repr=False, eq=False)
    unit: int = attrs.field(repr=False, eq=False)
    spec: dict[str, Any] = attrs.field(init=False, repr=False, eq=False)
    settings: dict[str, Any] = attrs.field(init=False, repr=False, eq=False)
    # kept, as each of several drawings asks for those of each of perhaps ten thousand arms
    key: str = attrs.field(default=_AS_TEXT, init=False, repr=False, eq=False)

    @unit.default
    def _own_unit(self) -> int:
        return self.results.trained.cost.full_at_gradients

    @spec.default
    def _flat_spec(self) -> dict[str, Any]:
        spec, level = flatten(self.results.trained.spec), self.results.level
        # what was asked for may have been followed by another level; arms of different levels are no curve
        attacks = level if level != CUSTOM_LEVEL else flatten(self.results.spec).get(_ATTACKS)
        return spec | {key: value for key, value in DEFAULTS.items() if key not in spec} | {_ATTACKS: attacks}

    @settings.default
    def _compared(self) -> dict[str, Any]:
        return {"backend": self.backend} | compared(self.spec, self.baseline)

    @property
    def arm(self) -> str:
        """Name of the arm."""
        return self.results.arm

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self.results.backend

    @property
    def kind(self) -> str:
        """``classes`` or ``examples``: what A is made of."""
        return self.results.trained.split.kind

    @property
    def strategy(self) -> str:
        """Which units A was made of, such as ``hardest``."""
        return self.results.trained.split.strategy

    @property
    def chosen(self) -> str:
        """The strategy, with its mark."""
        return f"{self.strategy} ({self.mark})" if self.mark else self.strategy

    @property
    def mark(self) -> str:
        """What was attacked, where it is not an A that stays; see `marks`."""
        return mark_of(self.results.trained.split, self.spec)

    @property
    def moving(self) -> bool:
        """Whether members of A changed during the training, so that no example or class is in B throughout."""
        return self.results.trained.split.moving

    @property
    def attacked(self) -> float | None:
        """Share of the training examples that were attacked at least once; None where it was not counted."""
        attacked = self.results.trained.split.attacked
        return None if attacked is None else attacked / self.total

    @property
    def size(self) -> int:
        """|A| in training examples."""
        return self.results.trained.split.size

    @property
    def units(self) -> int:
        """How many classes or examples were chosen."""
        return self.results.trained.split.units

    @property
    def total(self) -> int:
        """N, the number of training examples."""
        return self.results.trained.data.train

    @property
    def share(self) -> float:
        """|A|/N."""
        return self.results.trained.split.share

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes in A; empty if A is made of examples."""
        return self.results.trained.split.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the data that was evaluated."""
        return self.results.data.classes

    @property
    def epoch(self) -> int:
        """The epoch that was picked, counted from 1."""
        return self.results.selection.epoch

    @property
    def n(self) -> int:
        """How many images the accuracies are of."""
        return self.robust.n

    @property
    def clean(self) -> Accuracy:
        """Clean accuracy over all classes."""
        return self.results.clean.all

    @property
    def robust(self) -> Accuracy:
        """Robust accuracy over all classes."""
        return self.results.robust.all

    @property
    def clean_a(self) -> Accuracy | None:
        """Clean accuracy on the classes in A; None if A is made of examples."""
        return self.results.clean.a

    @property
    def clean_b(self) -> Accuracy | None:
        """Clean accuracy on the classes in B; None if A is made of examples."""
        return self.results.clean.b

    @property
    def robust_a(self) -> Accuracy | None:
        """Robust accuracy on the classes in A; None if A is made of examples."""
        return self.results.robust.a

    @property
    def robust_b(self) -> Accuracy | None:
        """Robust accuracy on the classes in B; None if A is made of examples."""
        return self.results.robust.b

    @property
    def per_class(self) -> tuple[float | None, ...]:
        """Robust accuracy on each class, None where it has no test image."""
        return tuple(accuracy and accuracy.value for accuracy in self.results.robust.per_class or ())

    @property
    def seeds(self) -> tuple[int, int]:
        """Of the training, and of random choices of A: that of the training where nothing is drawn."""
        own: int = self.spec["training.seed"]
        drawn = not self.baseline and draws(self.strategy)
        return own, self.spec.get("subset.seed", own) if drawn else own

    @property
    def cost(self) -> float:
        """Gradient evaluations of attacks and training, where 1 is that of full adversarial training; see `collect`."""
        cost = self.results.trained.cost
        return (cost.attack_gradients + cost.training_gradients) / self.unit

    @property
    def cost_with_ranking(self) -> float:
        """The same with those of the ranking, which the arms of a study share."""
        return self.cost + self.results.trained.cost.ranking_gradients / self.unit

    @property
    def training_seconds(self) -> float:
        """Time of the training alone, attacks among it."""
        return self.results.trained.cost.seconds.get("training") or 0.0

    @property
    def seconds(self) -> float:
        """Time of all stages together, that of the ranking among them."""
        return self.results.cost.total_seconds

    @property
    def data(self) -> str:
        """The data set that was evaluated."""
        return self.results.data.name

    @property
    def source(self) -> str:
        """Of a transfer, the data set that the features were trained on, else empty."""
        return self.results.source.data.name if self.results.source else ""

    @property
    def threat(self) -> str:
        """``Linf, ε = 8/255``."""
        return f"{self.results.attacks.norm}, ε = {epsilon(self.results.attacks.eps)}"

    @property
    def level(self) -> str:
        """The level of the evaluation, one of `sat_core.autoattack.LEVELS`; of a list of attacks their names."""
        return " + ".join(self._attack_names) if self.results.level == CUSTOM_LEVEL else self.results.level

    def at(self, level: str) -> Row | None:
        """Return the row with the robust accuracy of another level; None if it was not run."""
        results = self.full.at(level)
        return None if results is None else Row(results, self.full, self.unit)

    @property
    def attacks(self) -> str:
        """``AutoAttack standard``, or the names of the attacks; with engine and precision where they are unusual."""
        attacks, names = self.results.attacks, self._attack_names
        # of data with few classes, a level lacks an attack, and is named by those that ran
        whole = names == tuple(each.name for each in LEVELS.get(attacks.level, ()))
        engine = "" if attacks.engine == "package" else f" ({attacks.engine} engine)"
        precision = "" if attacks.precision == "float32" else f" in {attacks.precision}"
        return (f"AutoAttack {attacks.level}" if whole else " + ".join(names)) + engine + precision

    @property
    def _attack_names(self) -> tuple[str, ...]:
        return tuple(outcome.settings.name for outcome in self.results.attacks.breakdown)

    @property
    def baseline(self) -> Baseline | None:
        """Which baseline the arm is; None for a proper subset."""
        return Baseline.of(self.size, self.total)

    def over(self, name: str, classes: Iterable[int]) -> float | None:
        """Return the `clean` or `robust` accuracy on the test images of `classes`; None if there are none."""
        per_class = getattr(self.results, name).per_class or ()
        chosen: list[Accuracy] = [accuracy for c in classes if (accuracy := per_class[c]) is not None]
        # counts, not a mean of shares: classes differ in their number of test images
        n = sum(accuracy.n for accuracy in chosen)
        return sum(accuracy.count for accuracy in chosen) / n if n else None


def collect(results: Iterable[ArmResults]) -> list[Row]:
    """Return a row for each arm, in that order.

    If the arms were evaluated at different levels, all rows have the strongest level that every arm was evaluated at,
    so that tables and curves compare like with like; `reported_levels` has the others. Without a common level each row
    has its own. Attacks that differ are a setting in which arms differ.

    Costs are shares of the same number: of full adversarial training with the attack of most gradients. Arms with a
    cheaper attack stand at their own cost, however much of A they attack.
    """
    results = list(results)
    unit = max(full_costs(results), default=1)
    rows = [Row(each, each, unit) for each in results]
    if len({row.results.level for row in rows}) < 2:
        return rows
    for level in (*reversed(LEVELS), CUSTOM_LEVEL):
        common = [at for row in rows if (at := row.at(level)) is not None]
        if len(common) == len(rows):
            return common
    return rows


def together(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of several studies for one drawing, at a common level as `collect` does for those of one."""
    return collect(row.full for row in rows)


def attacks_of(rows: Iterable[Row]) -> str:
    """Return how the robust accuracies of rows were measured, in words."""
    return " / ".join(dict.fromkeys(row.attacks for row in rows))


def reported_levels(rows: Iterable[Row]) -> list[str]:
    """Return the levels above that of the rows at which some of them were evaluated, too; the strongest first."""
    levels = {row.full.level for row in rows} - {row.results.level for row in rows}
    return [level for level in reversed(LEVELS) if level in levels]
