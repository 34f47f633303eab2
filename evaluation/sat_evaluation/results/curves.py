"""Groups rows by seed, and groups into curves over |A| with their baselines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, stdev
from typing import final

import attrs

from sat_core.accuracy import Accuracy, wilson
from sat_core.spec import DEFAULTS
from sat_core.tables import lists
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.measures import measured, measured_over
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown


@final
@attrs.frozen
class Group:
    """Arms that differ only in their seeds, one for each."""

    rows: tuple[Row, ...]

    def at(self, level: str) -> Group | None:
        """Return the arms with the robust accuracies of another level; None unless all of them have it."""
        rows = tuple(at for row in self.rows if (at := row.at(level)) is not None)
        return Group(rows) if len(rows) == len(self.rows) else None

    def mean(self, name: str) -> float:
        """Return the mean of a field of `Row` over the seeds."""
        return fmean(getattr(row, name) for row in self.rows)

    def accuracy(self, name: str) -> Accuracy:
        """Return the `clean` or `robust` accuracy, as `part` does."""
        accuracy = self.part(name)
        if accuracy is None:
            raise KeyError(name)
        return accuracy

    def part(self, name: str) -> Accuracy | None:
        """Return any accuracy of `measured`, such as `robust_a`; of several seeds their mean; None if a seed has none.

        The interval is always that of the test images, for a network with the mean accuracy: it says nothing about
        other seeds, see `deviation`.
        """
        return mean_accuracy([measured(row, name) for row in self.rows])

    def deviation(self, name: str) -> float | None:
        """Return the standard deviation of an accuracy over the seeds, in [0, 1]; None of one seed, or without it."""
        values = [accuracy.value for row in self.rows if (accuracy := measured(row, name)) is not None]
        return stdev(values) if len(values) == len(self.rows) > 1 else None

    def on_part_of(self, other: Group, name: str) -> float | None:
        """Return what these arms, such as a baseline, reach on the classes that other arms have in A, or in B.

        Args:
            other: Arms in which A is made of classes.
            name: Field of `Row`, such as `robust_b`.

        Returns:
            Mean over the seeds of both groups; None where a part has no test image.
        """
        accuracy, _, part = name.partition("_")
        values = []
        # for each seed by itself: random subsets have other classes with each
        for divided in other.rows:
            classes = [c for c in range(len(divided.class_names)) if (c in divided.classes) == (part == "a")]
            values += [measured_over(row, accuracy, classes) for row in self.rows]
        numbers = [value for value in values if value is not None]
        # a part may have no test image for some seeds; a mean of the others would hide that
        return fmean(numbers) if len(numbers) == len(values) else None


@final
@attrs.frozen
class Series:
    """One curve over |A|.

    Attributes:
        strategy: How A is chosen.
        settings: ``key = value`` for the settings in which the curves of a study differ, of several those that are not
            the default; empty if there are none.
        groups: Arms that differ only in |A|, smallest first.
        plain, full: The baselines with the same settings; None where they were not run.
    """

    strategy: str
    settings: str
    groups: tuple[Group, ...]
    plain: Group | None
    full: Group | None

    @property
    def chosen(self) -> str:
        """The strategy, with the mark of its arms."""
        return f"{self.strategy} ({self.mark})" if self.mark else self.strategy

    @property
    def mark(self) -> str:
        """The mark that any arm has, as `Row.mark`; arms of one curve have one or none."""
        return max(row.mark for g in self.groups for row in g.rows)

    @property
    def points(self) -> tuple[Group, ...]:
        """The groups, between their baselines."""
        return tuple(group for group in (self.plain, *self.groups, self.full) if group is not None)


def group(rows: Iterable[Row]) -> list[Group]:
    """Put rows that differ only in their seeds together, in order of appearance; of equal ones the first counts."""
    groups: dict[tuple[str, int, tuple[int, ...]], dict[tuple[int, int], Row]] = {}
    for row in rows:
        # with random subsets, A differs from seed to seed; a list of classes is a setting of its own
        chosen = row.classes if row.strategy == "listed" and not row.baseline else ()
        # by the number of classes, not by |A|: classes differ in size. A baseline by |A|: it is one training,
        # whether all examples were asked for or all classes
        key = (row.key, row.size if row.baseline else row.units, chosen)
        groups.setdefault(key, {}).setdefault(row.seeds, row)
    return [Group(tuple(seeds.values())) for seeds in groups.values()]


def series(rows: Sequence[Row]) -> list[Series]:
    """Return the curves over |A|; a baseline belongs to every curve with its settings."""
    groups = group(rows)
    curves: dict[str, list[Group]] = {}
    for g in groups:
        if not g.rows[0].baseline:
            curves.setdefault(g.rows[0].key, []).append(g)
    keys = varied([row for row in rows if not row.baseline])
    baselines = _Baselines(g for g in groups if g.rows[0].baseline)
    result = []
    for parts in curves.values():
        first = parts[0].rows[0]
        shared = baselines.of(first)
        # of one key, all values are named: a default is no more usual than the others
        own = {keys[0]: first.settings.get(keys[0])} if len(keys) == 1 else not_default(first, keys)
        settings = ", ".join(f"{key} = {shown(value)}" for key, value in own.items())
        ordered = tuple(sorted(parts, key=lambda g: g.rows[0].share))
        result.append(Series(first.strategy, settings, ordered, shared.get(Baseline.PLAIN), shared.get(Baseline.FULL)))
    return result


class _Baselines:
    """The baselines of a study, found by their settings: thousands of curves do not look through all of them."""

    def __init__(self, groups: Iterable[Group]) -> None:
        # By the keys of their settings, which are the same for all baselines of a kind.
        self._by_keys: dict[tuple[str, ...], dict[str, list[Group]]] = {}
        for g in groups:
            settings = g.rows[0].settings
            there = self._by_keys.setdefault(tuple(settings), {})
            there.setdefault(json.dumps([*settings.values()]), []).append(g)

    def of(self, row: Row) -> dict[Baseline | None, Group]:
        """Return those of an arm: they lack the settings that change nothing in them, and agree in the others."""
        alike = [
            g
            for keys, there in self._by_keys.items()
            if all(key in row.settings for key in keys)
            for g in there.get(json.dumps([row.settings[key] for key in keys]), ())
        ]
        return {g.rows[0].baseline: g for g in alike}


def varied(rows: Sequence[Row]) -> list[str]:
    """Return the settings in which arms differ, without the strategy.

    A setting that follows from those before it in the list is left out, such as a step size that goes with ε, or a
    random start that goes with the kind of the attack and the loss.
    """
    # most arms have the settings of others
    distinct = {row.key: row.settings for row in rows}.values()
    tables = [{key: repr(value) for key, value in settings.items()} for settings in distinct]
    keys: list[str] = []
    for key in dict.fromkeys(key for table in tables for key in table if key != "subset.strategy"):
        having = [(tuple(t.get(other) for other in keys), t[key]) for t in tables if key in t]
        # as many pairs as values of the others: this one is a function of them
        follows = len(set(having)) == len({others for others, _ in having})
        if len({value for _, value in having}) > 1 and not follows:
            keys.append(key)
    return keys


def not_default(row: Row, keys: Iterable[str]) -> dict[str, object]:
    """Return those of `keys` that an arm depends on, with their values where these are not the default."""
    own = {key: row.settings[key] for key in keys if key in row.settings}
    # compared as JSON has them: of a key without a default, every value counts
    return {key: value for key, value in own.items() if key not in DEFAULTS or value != lists(DEFAULTS[key])}


def method_name(row: Row, keys: Iterable[str]) -> str:
    """Return how an arm was trained: strategy or baseline, and those of `keys` that are not the default."""
    # names of classes may be digits
    listed = f"A = {shown(listed_classes(row), 60)}" if listed_classes(row) else row.chosen
    how = row.baseline.label if row.baseline else listed
    return ", ".join([how, *_words(not_default(row, keys))])


def _words(settings: dict[str, object]) -> Iterator[str]:
    for key, value in settings.items():
        if key in ("attack.kind", "loss.kind"):
            yield shown(value)
        elif key == "subset.rerank":
            yield f"A chosen anew every {value} epochs"
        else:
            yield f"{key} = {shown(value)}"


def mean_accuracy(accuracies: Sequence[Accuracy | None]) -> Accuracy | None:
    """Return the mean accuracy of several seeds; None if one has none.

    Its 95 % Wilson interval is for as many images as the smallest is of: seeds are tested on the same images, which do
    not become more with them.
    """
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if len(known) < len(accuracies) or not known:
        return None
    if len(known) == 1:
        return known[0]
    mean, n = fmean(accuracy.value for accuracy in known), min(accuracy.n for accuracy in known)
    interval = wilson(round(mean * n), n)
    return interval and attrs.evolve(interval, value=mean)


def spread(groups: Iterable[Group]) -> str:
    """Return what the intervals of these groups are, in words; what seeds add is in `of_seeds`."""
    several = any(len(g.rows) > 1 for g in groups)
    return f"95 % Wilson interval{' of the mean' if several else ''} over test images"


def of_seeds(groups: Iterable[Group]) -> str:
    """Return what `Group.deviation` is of, in words; empty where each group has one seed."""
    seeds = sorted({len(g.rows) for g in groups} - {1})
    return f"standard deviation of {'–'.join(str(count) for count in seeds)} seeds" if seeds else ""


def listed_classes(row: Row) -> str:
    """Return the names of the classes in A if they were listed by hand, else empty text."""
    return ", ".join(shown(row.class_names[c], 16) for c in row.classes) if row.strategy == "listed" else ""
