"""The results of a study's arms as rows, as groups of seeds, as curves over |A|, as a CSV file and as one sentence."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, final

import attrs

from sat_core.autoattack import ATTACK_SETS
from sat_core.errors import DataError, printable
from sat_core.files import write_text
from sat_core.spec import DEFAULTS, flatten

_NOT_COMPARED = ("training.seed", "subset.size", "subset.classes")
_NOT_IN_ALL = ("subset.", "weighting.", "ranking.")
_NOT_IN_NONE = (*_NOT_IN_ALL, "attack.kind", "attack.step", "attack.random_start", "attack.keep_best")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a formula begins with in a spreadsheet."""
_ALIKE = 0.02
"""Shares that differ by less count as the same: classes are not all equally large."""
_OWN_COLUMN = ("subset.kind", "subset.strategy", "subset.size", "weighting.rule", "training.seed")


@final
@attrs.frozen
class Accuracy:
    """A share in [0, 1] and where it lies: 95 % Wilson interval of one training, lowest and highest of several."""

    value: float
    low: float
    high: float


@final
@attrs.frozen(kw_only=True)
class Row:
    """One arm. size: |A| in examples of `total`; share = size / total. units: examples or classes chosen.

    cost: gradient evaluations of training and its attack as a share of what full adversarial training takes.
    per_class: robust accuracy on each class, None where it has no test example. counts: for each class, test images and
    those of them that are classified correctly and robustly. spec: dotted keys to values.
    source: of a transfer, the data set that the features were trained on, else empty. Then A, costs and spec are those
    of the run that they come from, and accuracies and epoch those of the head on `data`.
    """

    arm: str
    backend: str
    kind: str
    strategy: str
    size: int
    units: int
    total: int
    share: float
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    epoch: int
    n: int
    clean: Accuracy
    robust: Accuracy
    robust_a: Accuracy | None
    robust_b: Accuracy | None
    clean_a: Accuracy | None
    clean_b: Accuracy | None
    per_class: tuple[float | None, ...]
    counts: tuple[tuple[int, int, int], ...]
    attack_gradients: int
    training_gradients: int
    ranking_gradients: int
    full_at_gradients: int
    cost: float
    seconds: float
    data: str
    source: str
    threat: str
    attacks: str
    spec: dict[str, Any]

    @property
    def baseline(self) -> str:
        """``none`` (|A| = 0, plain training), ``all`` (full adversarial training), else empty."""
        return {0: "none", self.total: "all"}.get(self.size, "")

    @property
    def settings(self) -> dict[str, Any]:
        """What the arm depends on besides seed and members of A; a baseline knows no strategy, weights or ranking."""
        ignored = _NOT_COMPARED + {"none": _NOT_IN_NONE, "all": _NOT_IN_ALL, "": ()}[self.baseline]
        return {"backend": self.backend} | {k: v for k, v in self.spec.items() if not k.startswith(ignored)}

    def over(self, name: str, classes: Iterable[int]) -> float | None:
        """`clean` or `robust` accuracy on the test images of `classes`; None if there are none."""
        counts = [self.counts[c] for c in classes]
        n = sum(count[0] for count in counts)
        return sum(count[("clean", "robust").index(name) + 1] for count in counts) / n if n else None


@final
@attrs.frozen
class Group:
    """Arms that differ only in training.seed, one per seed."""

    rows: tuple[Row, ...]

    def mean(self, name: str) -> float:
        """Mean of a field of `Row` over the seeds."""
        return fmean(getattr(row, name) for row in self.rows)

    def accuracy(self, name: str) -> Accuracy:
        """`clean` or `robust`: of the one seed with its interval, or the mean with the range over seeds."""
        found = self.part(name)
        if found is None:
            raise KeyError(name)
        return found

    def part(self, name: str) -> Accuracy | None:
        """The same of any accuracy, such as `robust_a`; None if a seed has none."""
        found: list[Accuracy | None] = [getattr(row, name) for row in self.rows]
        if len(found) == 1:
            return found[0]
        values = [a.value for a in found if a is not None]
        return Accuracy(fmean(values), min(values), max(values)) if len(values) == len(found) else None

    def on_part_of(self, other: Group, name: str) -> float | None:
        """Accuracy of these arms on the A or the B of `other`, where A is made of classes: what a baseline reaches on
        the same test images. name: as `robust_b`. Mean over the seeds of both; None where a part has no test image.
        """
        accuracy, _, part = name.partition("_")
        values = []
        for theirs in other.rows:
            classes = [c for c in range(len(theirs.class_names)) if (c in theirs.classes) == (part == "a")]
            values += [row.over(accuracy, classes) for row in self.rows]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else None


@final
@attrs.frozen
class Series:
    """One curve: the groups that differ only in |A|, smallest first, and the baselines that belong to them.

    settings: ``key = value`` for those in which the curves of a study differ, empty if there are none.
    """

    strategy: str
    settings: str
    groups: tuple[Group, ...]
    none: Group | None
    full: Group | None

    @property
    def points(self) -> tuple[Group, ...]:
        """The groups between their baselines."""
        return tuple(group for group in (self.none, *self.groups, self.full) if group is not None)


def collect(results: Iterable[dict[str, Any]]) -> list[Row]:
    """One row for each results.json, in that order. DataError names the arm whose results are not as expected."""
    rows = []
    for result in results:
        try:
            rows.append(_row(result))
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            arm = result.get("arm", "?") if isinstance(result, dict) else "?"
            raise DataError(
                f"results.json of arm {arm!r}: expected the results of a finished arm "
                f"({type(error).__name__}: {error})\ndelete the file and start the study again"
            ) from error
    return rows


def _row(result: dict[str, Any]) -> Row:
    origin = result.get("source") or result
    spec = flatten(origin["spec"])
    spec |= {key: value for key, value in DEFAULTS.items() if key not in spec}  # which an older version did not know
    split, data, cost = origin["split"], result["data"], origin["cost"]
    clean, robust, attacks = result["clean_accuracy"], result["robust_accuracy"], result["attacks"]
    names = tuple(attack["name"] for attack in attacks["breakdown"])
    suites = [f"AutoAttack {suite}" for suite, members in ATTACK_SETS.items() if members == names]
    engine = "" if attacks["engine"] == "package" else f" ({attacks['engine']} engine)"
    precision = attacks.get("precision", "float32")
    engine += "" if precision == "float32" else f" in {precision}"
    return Row(
        arm=result["arm"],
        backend=result["backend"],
        kind=split["kind"],
        strategy=split["strategy"],
        size=split["size"],
        units=split["units"],
        total=origin["data"]["train"],
        share=split["share"],
        classes=tuple(split["classes"]),
        class_names=tuple(data["classes"]),
        epoch=result["selection"]["epoch"],
        n=robust["all"]["n"],
        clean=_accuracy(clean["all"]),
        robust=_accuracy(robust["all"]),
        robust_a=_part(robust["A"]),
        robust_b=_part(robust["B"]),
        clean_a=_part(clean["A"]),
        clean_b=_part(clean["B"]),
        per_class=tuple(_value(entry) for entry in robust["per_class"]),
        counts=tuple(_counts(c, r) for c, r in zip(clean["per_class"], robust["per_class"], strict=True)),
        attack_gradients=cost["attack_gradients"],
        training_gradients=cost["training_gradients"],
        ranking_gradients=cost["ranking_gradients"],
        full_at_gradients=cost["full_at_gradients"],
        cost=(cost["attack_gradients"] + cost["training_gradients"]) / cost["full_at_gradients"],
        seconds=sum(s for s in result["cost"]["seconds"].values() if s is not None),
        data=data["name"],
        source="" if origin is result else origin["data"]["name"],
        threat=f"{attacks['norm']}, ε = {epsilon(attacks['eps'])}",
        attacks=(suites[0] if suites else " + ".join(names)) + engine,
        spec=spec,
    )


def _accuracy(entry: dict[str, float]) -> Accuracy:
    return Accuracy(entry["value"], entry["low"], entry["high"])


def _part(entry: dict[str, float] | None) -> Accuracy | None:
    return None if entry is None else _accuracy(entry)


def _value(entry: dict[str, float] | None) -> float | None:
    return None if entry is None else entry["value"]


def _counts(clean: dict[str, float] | None, robust: dict[str, float] | None) -> tuple[int, int, int]:
    n = int(robust["n"]) if robust else 0
    correct, survived = (round(n * entry["value"]) if entry else 0 for entry in (clean, robust))
    return n, correct, survived


def group(rows: Iterable[Row]) -> list[Group]:
    """Rows that differ only in training.seed together, in order of appearance; of equal ones the first counts."""
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        chosen = row.classes if row.strategy == "listed" and not row.baseline else ()
        key = json.dumps([row.settings, row.size if row.baseline else row.units, chosen])
        found.setdefault(key, {}).setdefault(row.spec["training.seed"], row)
    return [Group(tuple(seeds.values())) for seeds in found.values()]


def series(rows: Sequence[Row]) -> list[Series]:
    """The curves over |A|; a baseline belongs to every curve whose settings it shares."""
    groups = group(rows)
    curves: dict[str, list[Group]] = {}
    for g in groups:
        if not g.rows[0].baseline:
            curves.setdefault(json.dumps(g.rows[0].settings), []).append(g)
    keys = varied(rows)
    result = []
    for found in curves.values():
        first = found[0].rows[0]
        shared = {
            g.rows[0].baseline: g for g in groups if g.rows[0].baseline and _within(g.rows[0].settings, first.settings)
        }
        settings = ", ".join(f"{key} = {shown(first.settings.get(key))}" for key in keys)
        ordered = tuple(sorted(found, key=lambda g: g.rows[0].share))
        result.append(Series(first.strategy, settings, ordered, shared.get("none"), shared.get("all")))
    return result


def _within(part: dict[str, Any], whole: dict[str, Any]) -> bool:
    return all(key in whole and whole[key] == value for key, value in part.items())


def varied(rows: Sequence[Row]) -> list[str]:
    """Settings besides the strategy in which arms differ, without those that follow from one already there."""
    tables = [{key: repr(value) for key, value in row.settings.items()} for row in rows]
    kept: list[str] = []
    for key in dict.fromkeys(key for table in tables for key in table if key != "subset.strategy"):
        having = [table for table in tables if key in table]
        follows = any(
            len({(t.get(other), t[key]) for t in having}) == len({t.get(other) for t in having}) for other in kept
        )
        if len({t[key] for t in having}) > 1 and not follows:
            kept.append(key)
    return kept


def csv_text(rows: Sequence[Row]) -> str:
    """One line per arm as CSV; the dotted keys in which the arms differ have columns of their own."""
    keys = dict.fromkeys(key for row in rows for key in row.spec if key not in _OWN_COLUMN)
    differ = [key for key in keys if len({repr(row.spec.get(key)) for row in rows}) > 1]
    table = [
        {
            "arm": row.arm,
            "backend": row.backend,
            "kind": row.kind,
            "strategy": row.strategy,
            "size": row.size,
            "share": row.share,
            **{key: row.spec.get(key) for key in differ},
            "weighting": row.spec["weighting.rule"],
            "seed": row.spec["training.seed"],
            "epoch": row.epoch,
            **_columns("clean_all", row.clean),
            **_columns("robust_all", row.robust),
            "robust_A": row.robust_a and row.robust_a.value,
            "robust_B": row.robust_b and row.robust_b.value,
            "n": row.n,
            "attack_gradients": row.attack_gradients,
            "training_gradients": row.training_gradients,
            "ranking_gradients": row.ranking_gradients,
            "full_at_gradients": row.full_at_gradients,
            "cost": row.cost,
            "seconds": row.seconds,
        }
        for row in rows
    ]
    return csv_lines(table[0] if table else ["arm"], (line.values() for line in table))


def csv_lines(heads: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """A table as CSV. Text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP's advice)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_inert(cell) for cell in line] for line in [heads, *lines])
    return text.getvalue()


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write `csv_text`."""
    write_text(path, csv_text(rows))


def _columns(name: str, accuracy: Accuracy) -> dict[str, float]:
    return {name: accuracy.value, f"{name}_low": accuracy.low, f"{name}_high": accuracy.high}


def headline(rows: Sequence[Row]) -> str:
    """What attacking about half of the examples brings, in one sentence; empty without both baselines.

    Of `hardest` if it is there, else of the first strategy, at the share nearest to 0.5; of several subsets of that
    share, such as single classes, the one that brings most.
    """
    curves = [(c, c.none, c.full) for c in series(rows) if c.none and c.full]
    if not curves:
        return ""
    curve, without, whole = next((c for c in curves if c[0].strategy == "hardest"), curves[0])
    nearest = min((group.rows[0].share for group in curve.groups), key=lambda share: abs(share - 0.5))
    alike = [group for group in curve.groups if abs(group.rows[0].share - nearest) < _ALIKE]
    half = max(alike, key=lambda group: group.accuracy("robust").value)
    none, some, full = (g.accuracy("robust").value for g in (without, half, whole))
    row = half.rows[0]
    best = f"the best of {len(alike)} subsets" if len(alike) > 1 else ""
    how = ", ".join(filter(None, [members(row) or curve.strategy, best, curve.settings]))
    seeds = f", means of {len(half.rows)} seeds" if len(half.rows) > 1 else ""
    whose = " of the source" if row.source else ""
    cost = f"{percent(fmean(row.cost for row in half.rows))} of the gradient evaluations{whose}"
    if row.ranking_gradients:
        with_ranking = fmean(r.cost + r.ranking_gradients / r.full_at_gradients for r in half.rows)
        cost += f" ({percent(with_ranking)} with the ranking)"
    if some < none or full <= none:
        return (
            f"{percent(row.share)} of the examples ({how}) bring {percent(some, 1)} robust accuracy, all of them "
            f"{percent(full, 1)}, none {percent(none, 1)}{seeds}, at {cost}."
        )
    return (
        f"{percent(row.share)} of the examples ({how}) recover {percent((some - none) / (full - none))} of the robust "
        f"accuracy that attacking all of them brings ({percent(some, 1)} against {percent(full, 1)}, "
        f"{percent(none, 1)} without{seeds}), at {cost}."
    )


def title(rows: Sequence[Row]) -> str:
    """Data set, model, threat model, attacks and number of test examples in one line."""

    def joined(values: Iterable[str]) -> str:
        return " / ".join(shown(value, 80) for value in dict.fromkeys(values))

    counts = sorted({row.n for row in rows})
    return " · ".join(
        [
            joined(f"{row.source} → {row.data}" if row.source else row.data for row in rows),
            joined(row.spec["model.name"] for row in rows),
            joined(row.threat for row in rows),
            joined(row.attacks for row in rows),
            f"n = {counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else ""),
        ]
    )


def spread(groups: Iterable[Group]) -> str:
    """What the intervals of these groups are, in words."""
    seeds = sorted({len(g.rows) for g in groups})
    several = f"mean, lowest and highest of {'–'.join(str(s) for s in seeds if s > 1)} seeds"
    return " or ".join(["95 % Wilson interval"] * (seeds[0] == 1) + [several] * (seeds[-1] > 1))


def members(row: Row) -> str:
    """The names of the classes in A if they were listed by hand, else empty."""
    return ", ".join(shown(row.class_names[c], 16) for c in row.classes) if row.strategy == "listed" else ""


def shown(value: object, width: int = 40) -> str:
    """A value of a spec or a name from a data set as one short line without control characters.

    >>> shown("a\\nb"), shown(["apgd-ce", "square"]), shown(0.1)
    ('a\\\\nb', 'apgd-ce + square', '0.1')
    """
    text = " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = printable(text, keep="")
    return text if len(text) <= width else text[: width - 1] + "…"


def percent(share: float, digits: int = 0) -> str:
    """A share in percent; one that is not 0 does not look like 0.

    >>> percent(0.815), percent(0.815, 1), percent(0.0031)
    ('82 %', '81.5 %', '0.3 %')
    """
    small = digits == 0 and 0 < share < 0.01
    return f"{100 * share:.1g} %" if small else f"{100 * share:.{digits}f} %"


def epsilon(eps: float) -> str:
    """ε in units of [0, 1] pixels: ``0.5``, or ``8/255`` where that is the shorter way."""
    plain, whole = f"{eps:.4g}", round(eps * 255)
    return f"{whole}/255" if len(plain) > 5 and abs(eps * 255 - whole) < 1e-6 else plain


def duration(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
