"""Pairs that someone asks for: arms of a study, or the same arms of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import attrs

from sat_core.autoattack import LEVELS
from sat_core.errors import SpecError
from sat_core.run_folder import RunFolder
from sat_evaluation.results.conclusions import Conclusions, Key, compare_all, key_of, labels
from sat_evaluation.results.curves import Group, group
from sat_evaluation.results.pairs import line_up, read_flags
from sat_evaluation.results.rows import Row, together
from sat_evaluation.results.text import shown


@final
@attrs.frozen(kw_only=True, eq=False)
class Arms:
    """Finished arms of one run.

    Attributes:
        folder: Of the run.
        rows: The arms.
        name: What the run is called.
    """

    folder: RunFolder
    rows: Sequence[Row]
    name: str


def compare_arms(one: Arms, other: Arms, *, measure: str = "robust") -> Conclusions:
    """Compare each group of seeds of some arms with each of others, which may belong to another run.

    Args:
        one, other: The arms. Of two runs, robust accuracies are those of a level that all of them have.
        measure: ``robust`` or ``clean``.

    Raises:
        SpecError: There is no pair, or the levels of the evaluations differ.
        DataError: Flags of an arm are missing or damaged.
    """
    first, second = _same_level(one, other, measure)
    pairs = [(a, b) for a in group(first.rows) for b in group(second.rows)]
    return _conclusions(first, second, pairs, measure)


def compare_runs(one: Arms, other: Arms, *, measure: str = "robust") -> Conclusions:
    """Compare the arms of the same name in two runs; the arguments and errors are those of `compare_arms`."""
    first, second = _same_level(one, other, measure)
    there = {key_of(g): g for g in group(second.rows)}
    pairs = [(g, there[key_of(g)]) for g in group(first.rows) if key_of(g) in there]
    if not pairs:
        raise SpecError(
            f"{one.folder} and {other.folder}: expected arms of the same names, got {_few(one)} and {_few(other)}\n"
            "name two arms, as RUN/arms/ARM"
        )
    return _conclusions(first, second, pairs, measure)


def _same_level(one: Arms, other: Arms, measure: str) -> tuple[Arms, Arms]:
    """Return the arms at a level that all have; clean accuracies need none."""
    rows = together([*one.rows, *other.rows])
    count = len(one.rows)
    first, second = attrs.evolve(one, rows=rows[:count]), attrs.evolve(other, rows=rows[count:])
    if measure == "robust" and len({row.level for row in rows}) > 1:
        raise SpecError(_other_attacks(first, second))
    return first, second


def _other_attacks(one: Arms, other: Arms) -> str:
    parts: dict[str, list[Row]] = {}
    for arms in (one, other):
        parts.setdefault(str(arms.folder), []).extend(arms.rows)
    got = [
        f"{' / '.join(dict.fromkeys(row.level for row in rows))}{f' in {folder}' if len(parts) > 1 else ''}"
        for folder, rows in parts.items()
    ]
    named = [level for level in LEVELS if any(row.at(level) for rows in parts.values() for row in rows)]
    level = named[-1] if named else "standard"
    missing = [folder for folder, rows in parts.items() if not all(row.at(level) for row in rows)]
    commands = " and ".join(f"`sat evaluate {folder} --level {level}`" for folder in missing)
    return (
        f"sat compare: expected robust accuracies by the same attacks, got {' and '.join(got)}\n"
        f"measure them by the same with {commands}, or compare clean accuracies with --accuracy clean"
    )


def _conclusions(one: Arms, other: Arms, pairs: Sequence[tuple[Group, Group]], measure: str) -> Conclusions:
    same = one.folder.path.resolve() == other.folder.path.resolve()
    pairs = list(_different(pairs) if same else pairs)
    if not pairs:
        raise SpecError("sat compare: expected two different arms, got the same one twice")
    names = _names(one, other, same)
    flags = {
        (number, key_of(g)): read_flags(g, arms.folder)
        for number, arms in enumerate((one, other))
        for g in {key_of(pair[number]): pair[number] for pair in pairs}.values()
    }
    comparisons = compare_all(
        [(flags[0, key_of(a)], flags[1, key_of(b)]) for a, b in pairs],
        [(names[0, key_of(a)], names[1, key_of(b)]) for a, b in pairs],
        measure,
    )
    notes = [*_notes(one, other)]
    if any(line_up((flags[0, key_of(a)], flags[1, key_of(b)])) is None for a, b in pairs):
        notes.append(
            "no test image in common: compared without pairs, which finds large differences only\n"
            "pairs need runs with the same data, evaluation.selection_share and evaluation.examples"
        )
    return Conclusions(measure=measure, comparisons=tuple(comparisons), shares=(), overall=None, notes=tuple(notes))


def _different(pairs: Sequence[tuple[Group, Group]]) -> Iterator[tuple[Group, Group]]:
    """The pairs of one run, each once and none of an arm with itself."""
    seen = set[frozenset[Key]]()
    for a, b in pairs:
        both = frozenset((key_of(a), key_of(b)))
        if len(both) == 2 and both not in seen:
            seen.add(both)
            yield a, b


def _names(one: Arms, other: Arms, same: bool) -> dict[tuple[int, Key], str]:
    if same:
        called = labels(list({row.arm: row for row in [*one.rows, *other.rows]}.values()))
        # arms that are seeds of one group may be compared with each other
        alone = {key_of(g): ", ".join(key_of(g)) for arms in (one, other) for g in group(arms.rows)}
        return {(number, key): called.get(key, name) for number in (0, 1) for key, name in alone.items()}
    runs = (one.name, other.name) if one.name != other.name else (str(one.folder), str(other.folder))
    return {
        (number, key): f"{name} in {shown(run)}"
        for number, (arms, run) in enumerate(zip((one, other), runs, strict=True))
        for key, name in labels(arms.rows).items()
    }


def _notes(one: Arms, other: Arms) -> Iterator[str]:
    """What else differs between the arms of two runs."""
    for what in ("threat", "data", "attacks"):
        values = list(dict.fromkeys(getattr(row, what) for row in [*one.rows, *other.rows]))
        if len(values) > 1:
            yield f"they differ in {what}: {' / '.join(shown(value) for value in values[:4])}"


def _few(arms: Arms) -> str:
    names = [row.arm for row in arms.rows]
    return ", ".join(shown(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
