"""Calibration and common corruptions, as ``sat evaluate --calibration`` and ``--corruptions`` measured them."""

from __future__ import annotations

from collections.abc import Iterator

from sat_core.calibration import Calibration, CalibrationSummary
from sat_core.corrupted import CorruptionSummary
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.charts import Cell, Curve, Mark, Matrix, Plot
from sat_evaluation.report.gather import Run
from sat_evaluation.report.measured import measured
from sat_evaluation.report.words import MOST_CURVES, PERCENT, with_interval
from sat_evaluation.results.text import epsilon, percent, shown


def reliability(run: Run) -> Plot | None:
    """Draw accuracy over confidence of each arm, clean images filled and attacked ones hollow; None without any."""
    found = [(name, summary) for name, _, summary in measured(run, "calibration", CalibrationSummary.from_json)]
    curves: list[Curve] = []
    for number, (name, summary) in enumerate(found[:MOST_CURVES]):
        curves.append(_curve(name, number, summary.clean, "clean"))
        if summary.adversarial is not None:
            curves.append(_curve(name, number, summary.adversarial, "attacked"))
    if not curves:
        return None
    equal = tuple(Mark(x=end, y=end, low=end, high=end, tip="") for end in PERCENT)
    threats = dict.fromkeys(f"{s.norm}, ε = {epsilon(s.eps)}" for _, s in found if s.adversarial is not None)
    attacked = (f"attacked: PGD-10, {' / '.join(threats)}",) if threats else ()
    errors = (f"{name} {_errors(summary)}" for name, summary in found[:MOST_CURVES])
    axis = Axis(label="confidence (%)", low=-3, high=103, ticks=(0, 20, 40, 60, 80, 100))
    return Plot(
        title="Calibration",
        text="share of the images that are classified correctly over the mean confidence of the network in bins; on "
        "the dotted line both are equal",
        x=axis,
        y=Axis(label="accuracy (%)", low=-3, high=103, ticks=axis.ticks),
        curves=(Curve(name="as often right as confident", number=6, marks=equal, reference=True), *curves),
        fillings=("clean images", "attacked"),
        notes=(f"expected calibration error: {'; '.join(errors)}", *attacked),
    )


def _curve(name: str, number: int, one: Calibration, images: str) -> Curve:
    marks = []
    for each in one.bins:
        if each.confidence is not None and each.accuracy is not None:
            x, y = 100 * each.confidence, 100 * each.accuracy
            tip = f"{name}, {images}: {y:.1f} % of {each.count:,} images right, confidence {x:.1f} %"
            marks.append(Mark(x=x, y=y, low=y, high=y, tip=tip))
    return Curve(name=name, number=number, marks=tuple(marks), hollow=images != "clean")


def _errors(summary: CalibrationSummary) -> str:
    attacked = "" if summary.adversarial is None else f", attacked {percent(summary.adversarial.ece, 1)}"
    return f"{percent(summary.clean.ece, 1)}{attacked}"


def corruptions(run: Run) -> Matrix | None:
    """Draw mean accuracy over severities, a line for each arm and a column for each corruption; None without any."""
    found = [(name, summary) for name, _, summary in measured(run, "corruptions", CorruptionSummary.from_json)]
    if not found:
        return None
    names = dict.fromkeys(kind for _, summary in found for kind in summary.accuracy)
    left_out = dict.fromkeys(kind for _, summary in found for kind in summary.left_out)
    constants = " / ".join(dict.fromkeys(shown(summary.constants, 60) for _, summary in found))
    return Matrix(
        title="Common corruptions (accuracy, %)",
        text="accuracy without an attack, a mean over severities; lines: arms; columns: corruptions",
        lines=tuple(name for name, _ in found),
        columns=("clean", *(shown(kind, 24) for kind in names), "mean"),
        cells=tuple(tuple(_cells(name, summary, list(names))) for name, summary in found),
        corner="arm",
        notes=(
            f"severities as of {constants}",
            *([f"cannot be made of these images: {', '.join(map(shown, left_out))}"] if left_out else []),
        ),
    )


def _cells(name: str, summary: CorruptionSummary, kinds: list[str]) -> Iterator[Cell]:
    yield Cell(value=summary.clean.value, tip=f"{name}, clean: {with_interval(summary.clean)}")
    for kind in kinds:
        accuracies = summary.accuracy.get(kind, ())
        mean = sum(each.value for each in accuracies) / len(accuracies) if accuracies else None
        by_severity = ", ".join(f"{100 * each.value:.1f}" for each in accuracies)
        yield Cell(value=mean, tip=f"{name}, {shown(kind)}: {by_severity or 'not measured'} % by severity")
    yield Cell(value=summary.mean, tip=f"{name}, mean over corruptions and severities: {percent(summary.mean, 1)}")
