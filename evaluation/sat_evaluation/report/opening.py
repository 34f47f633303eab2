"""What a reader sees first: the question of a study, its answer in a sentence, one picture, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import attrs

from sat_evaluation.report.bars import class_charts
from sat_evaluation.report.charts import Bars, Level, Matrix, Plot
from sat_evaluation.report.gather import Run
from sat_evaluation.report.share_plots import over_share
from sat_evaluation.report.words import arm_names
from sat_evaluation.results.conclusions import Conclusions
from sat_evaluation.results.curves import Group, Series, group, listed_classes, series
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import duration, percent, public_name, shown

_STAGES = {"selection": "checks", "evaluation": "report"}
"""Stages of an arm, as tables call them."""
_TERMS = {
    "robust accuracy": "Robust accuracy: the share of test images that are classified correctly under every attack.",
    "full AT": "Full AT: full adversarial training, in which all training examples are attacked.",
    "could have seen": "Could have seen: a difference of this size would have been found with a chance of 80 %.",
    "[": "[ ]: 95 % interval.",
    "±": "±: standard deviation over seeds.",
}
"""Words and signs of the first screen, and what they mean."""


@final
@attrs.frozen(kw_only=True)
class Fact:
    """One number of the opening: its name, the number, and what it is compared with."""

    name: str
    value: str
    detail: str


@final
@attrs.frozen(kw_only=True)
class Opening:
    """The first screen of a run.

    Attributes:
        question: What the study asks.
        answer: What it found, in one sentence.
        facts: Accuracies and costs, each with what it is compared with.
        picture: Robust accuracy over |A|, or by class; None where no arm is finished.
    """

    question: str
    answer: str
    facts: tuple[Fact, ...]
    picture: Plot | Matrix | Bars | None

    @property
    def terms(self) -> str:
        """What the words and signs mean, for readers who have not seen any other page."""
        text = " ".join([self.answer, *(fact.detail for fact in self.facts)])
        return " ".join(meaning for word, meaning in _TERMS.items() if word in text)


@final
@attrs.frozen(kw_only=True)
class Subject:
    """The arms that the headline is about: about half of the examples, beside both baselines."""

    curve: Series
    half: Group
    plain: Group
    full: Group


def opening(run: Run, found: Conclusions | None) -> Opening:
    """Make the first screen of a run.

    Args:
        run: As it was read.
        found: What the test images say of its arms; None without any.
    """
    subject = subject_of(run.rows)
    return Opening(
        question=_question(run, subject),
        answer=run.headline,
        facts=tuple(_facts(run.rows, subject, found)),
        picture=_picture(run.rows, subject),
    )


def subject_of(rows: Sequence[Row]) -> Subject | None:
    """Return the arms that `sat_evaluation.results.headline.headline` is about; None without both baselines."""
    curves = [(c, c.plain, c.full) for c in series(rows) if c.plain and c.full]
    if not curves:
        return None
    curve, plain, full = next((c for c in curves if c[0].chosen == "hardest"), curves[0])
    nearest = min((g.rows[0].share for g in curve.groups), key=lambda share: abs(share - 0.5))
    # classes are not all equally large: shares that differ by less than 2 % are the same
    alike = [g for g in curve.groups if abs(g.rows[0].share - nearest) < 0.02]
    half = max(alike, key=lambda g: g.accuracy("robust").value)
    return Subject(curve=curve, half=half, plain=plain, full=full)


def _question(run: Run, subject: Subject | None) -> str:
    if not run.rows:
        return run.name
    data = " and ".join(dict.fromkeys(shown(public_name(row.data), 60) for row in run.rows))
    if subject is None:
        several = len(group(run.rows)) > 1
        return (
            f"Which of these trainings is most robust on {data}?" if several else f"How robust is a network on {data}?"
        )
    row = subject.half.rows[0]
    part = _part(row)
    if row.source:
        source = shown(public_name(row.source), 60)
        return (
            f"How much of the robustness of full adversarial training on {source} reaches {data} if only {part} "
            f"{_are(row)} attacked?"
        )
    return f"How much of the robustness of full adversarial training does attacking {part} bring on {data}?"


def _part(row: Row) -> str:
    """What is attacked, as the object of a sentence."""
    share = percent(row.share)
    if classes := listed_classes(row):
        return f"only {classes} ({share})"
    of_classes = row.kind == "classes"
    if row.strategy in ("hardest", "easiest"):
        return f"the {row.strategy} classes ({share})" if of_classes else f"the {row.strategy} {share}"
    if row.strategy == "random":
        return f"random classes ({share})" if of_classes else f"a random {share}"
    return f"{share} of the examples ({shown(row.chosen)})"


def _are(row: Row) -> str:
    return "are" if row.kind == "classes" or row.strategy in ("hardest", "easiest") else "is"


def _facts(rows: Sequence[Row], subject: Subject | None, found: Conclusions | None) -> Iterator[Fact]:
    if not rows:
        return
    if subject is None:
        groups = group(rows)
        best = max(range(len(groups)), key=lambda i: groups[i].accuracy("robust").value)
        name = arm_names(groups)[best]
        for measure in ("robust", "clean"):
            yield Fact(
                name=f"{measure.title()} accuracy",
                value=percent(groups[best].accuracy(measure).value, 1),
                detail=f"{_errors(groups[best], measure)}, {name}",
            )
    else:
        share = found.share(subject.half) if found else None
        if share:
            interval = share.recovered.interval
            value = percent(interval.value) if interval.bounded else "unknown"
            yield Fact(
                name="Recovered of full AT",
                value=value,
                detail=f"{share.text.removeprefix(f'{value} ')} of the robust accuracy that it brings; 95 % interval "
                f"over {share.over}",
            )
        yield from _compared(subject)
    yield _whole(rows)


def _compared(subject: Subject) -> Iterator[Fact]:
    half, plain, full = subject.half, subject.plain, subject.full
    for measure in ("robust", "clean"):
        own, all_of_it, none = (percent(g.accuracy(measure).value, 1) for g in (half, full, plain))
        yield Fact(
            name=f"{measure.title()} accuracy",
            value=own,
            detail=f"{_errors(half, measure)}; full AT {all_of_it} {_errors(full, measure)}, plain training {none} "
            f"{_errors(plain, measure)}",
        )
    own_cost, full_cost = half.mean("cost_with_ranking"), full.mean("cost")
    ranking = half.mean("cost_with_ranking") - half.mean("cost")
    with_ranking = f", those of the ranking ({percent(ranking / full_cost)}) among them" if ranking > 0 else ""
    unit = full.rows[0].unit
    yield Fact(
        name="Gradient evaluations",
        value=percent(own_cost / full_cost),
        detail=f"of full AT: {_millions(own_cost * unit)} against {_millions(full_cost * unit)}{with_ranking}",
    )
    seconds, all_seconds = half.mean("training_seconds"), full.mean("training_seconds")
    if all_seconds > 0:
        yield Fact(
            name="Time of the training",
            value=duration(seconds),
            detail=f"{percent(seconds / all_seconds)} of full AT, which took {duration(all_seconds)}",
        )


def _whole(rows: Sequence[Row]) -> Fact:
    """What the whole study took."""
    stages: dict[str, float] = {}
    for row in rows:
        for stage, seconds in row.full.cost.seconds.items():
            # the arms share the ranking
            if stage != "ranking":
                stages[stage] = stages.get(stage, 0.0) + (seconds or 0.0)
    shared = {row.full.cost.seconds.get("ranking") or 0.0 for row in rows}
    expected = [row.full.cost.expected_seconds for row in rows]
    known = [seconds for seconds in expected if seconds is not None]
    # what was expected is of all stages but the ranking
    plan = f"; the arms were expected to take {duration(sum(known))} and took {duration(sum(stages.values()))}"
    stages["ranking"] = max(shared, default=0.0)
    parts = ", ".join(
        f"{_STAGES.get(stage, stage)} {duration(seconds)}" for stage, seconds in stages.items() if seconds >= 1
    )
    return Fact(
        name="The whole study",
        value=duration(sum(stages.values())),
        detail=f"{len(rows):,} {'arms' if len(rows) > 1 else 'arm'}"
        + (f": {parts}" if parts else "")
        + plan * (len(known) == len(rows)),
    )


def _picture(rows: Sequence[Row], subject: Subject | None) -> Plot | Matrix | Bars | None:
    plot = over_share(rows, ("robust",), "Robust accuracy over |A|")
    if plot is None:
        return next(iter(class_charts(rows)), None)
    if subject is None:
        return plot
    full = 100 * subject.full.accuracy("robust").value
    return attrs.evolve(plot, levels=(*plot.levels, Level(y=full, name="full AT", full=True)))


def _errors(g: Group, measure: str) -> str:
    """The deviation over seeds, where there are several, and the interval over test images."""
    accuracy, deviation = g.accuracy(measure), g.deviation(measure)
    seeds = "" if deviation is None else f"± {100 * deviation:.1f} "
    return f"{seeds}[{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"


def _millions(number: float) -> str:
    """Return a count in thousands, millions or billions."""
    for size, word in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if number >= size:
            return f"{number / size:.3g}{word}"
    return f"{number:.0f}"
