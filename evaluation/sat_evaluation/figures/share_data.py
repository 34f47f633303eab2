"""Accuracy over |A| as values: matplotlib and the HTML report draw the same points, baselines and published curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import attrs

from sat_evaluation.results.curves import Group, Series, series
from sat_evaluation.results.rows import Row

MEASURES = {
    "robust": "robust accuracy",
    "clean": "clean accuracy",
    "robust_a": "robust accuracy on A",
    "robust_b": "robust accuracy on B",
    "clean_a": "clean accuracy on A",
    "clean_b": "clean accuracy on B",
    "defence": "defence rate",
    "defence_a": "defence rate on A",
    "defence_b": "defence rate on B",
}
"""Names of `sat_evaluation.results.measures.measured` in words."""
LEAST_HEIGHT = 20.0
"""Percentage points that an axis of accuracies spans at least, so that small differences look small."""
_MARGIN = 0.06
"""Room above and below the values, as a share of what they span."""
_SPACING = 0.8
"""Percentage points of |A| between the error bars of neighbouring curves, which would hide each other."""
_MOST_SPACED = 6
"""More curves than these would be moved too far from their |A|."""


@final
@attrs.frozen(kw_only=True)
class PublishedCurve:
    """Published accuracies over |A|, drawn behind ours.

    Attributes:
        measure: ``robust`` or ``clean``.
        source: Where it was published, in words.
        values: Strategy, or weighting rule, to {share of A: accuracy}, both in [0, 1].
        weights: The weighting rule of all arms; empty where `values` has a curve for each rule.
        loss: The loss of all arms, as ``loss.kind``.
        full: Accuracy of full adversarial training, None where it is not known.
        variant: What is special about it, if anything. We have no arms like these.
    """

    measure: str
    source: str
    values: dict[str, dict[float, float]]
    weights: str
    loss: str = "ce"
    full: float | None = None
    variant: str = ""

    def like(self, row: Row) -> dict[float, float]:
        """Return share to accuracy of the published arms with strategy, weights and loss of ours; empty without any."""
        rule = row.spec["weighting.rule"]
        # Whoever published with the strategy of ours kept A as it was.
        if row.spec["loss.kind"] != self.loss or row.moving:
            return {}
        if not self.weights:
            return self.values.get(rule, {})
        return self.values.get(row.strategy, {}) if rule == self.weights else {}


@final
@attrs.frozen(kw_only=True)
class Point:
    """One accuracy over |A|, everything in percent.

    Attributes:
        share: |A| as a share of the training set.
        value: The accuracy, a mean if there are several seeds.
        low: Lower end of its 95 % interval over test images, at most `value`.
        high: Upper end of its interval, at least `value`.
        deviation: Standard deviation over the seeds, another bar; 0 of one seed.
        group: The arms that it is of, or beside which a baseline is drawn; None for a published value.
    """

    share: float
    value: float
    low: float
    high: float
    deviation: float = 0.0
    group: Group | None = None

    @property
    def ends(self) -> tuple[float, ...]:
        """Ends of both bars, which have to be seen."""
        return self.low, self.high, self.value - self.deviation, self.value + self.deviation


@final
@attrs.frozen(kw_only=True)
class ShareCurve:
    """Arms that differ in |A| only, smallest first, with what belongs beside them.

    Attributes:
        arms: The arms themselves.
        name: Strategy, and the settings in which it differs from the other curves.
        measure: A key of `MEASURES`.
        number: Place among the curves, which decides colour and marker.
        offset: How far to the right a drawing may move its points, so that error bars do not hide each other.
        points: The arms between the baselines.
        plain: Plain training. On all images one point at |A| = 0; on A or B, its accuracy on the classes of each arm.
        full: Full adversarial training likewise, at |A| = 100 %.
        published: Points of each published curve with the same strategy and weights.
    """

    arms: Series
    name: str
    measure: str
    number: int
    offset: float
    points: tuple[Point, ...]
    plain: tuple[Point, ...]
    full: tuple[Point, ...]
    published: tuple[tuple[Point, ...], ...]

    @property
    def on_part(self) -> bool:
        """Whether the accuracies are those on A or on B, where baselines are curves of their own."""
        return "_" in self.measure

    @property
    def path(self) -> tuple[Point, ...]:
        """The points from baseline to baseline; without them on A and on B."""
        return self.points if self.on_part else (*self.plain, *self.points, *self.full)


def share_curves(rows: Sequence[Row], measure: str, published: Sequence[PublishedCurve] = ()) -> list[ShareCurve]:
    """Make the curves over |A| of one accuracy.

    Classes listed by hand one by one make no curve: they have no order in |A|.

    Args:
        rows: Arms of one or several studies.
        measure: A key of `MEASURES`.
        published: Published curves; each curve gets those of its strategy and weights.
    """
    everyone = [c for c in series(rows) if c.strategy != "listed" or any(g.rows[0].units > 1 for g in c.groups)]
    spacing = _SPACING if len(everyone) <= _MOST_SPACED else 0.0
    curves = []
    for number, (arms, name) in enumerate(zip(everyone, curve_names(everyone), strict=True)):
        values = [one.like(arms.groups[0].rows[0]) for one in published_on(published, measure)]
        curves.append(
            ShareCurve(
                arms=arms,
                name=name,
                measure=measure,
                number=number,
                offset=spacing * (number - (len(everyone) - 1) / 2),
                points=points_of(arms.groups, measure),
                plain=_baseline(arms.plain, arms, measure),
                full=_baseline(arms.full, arms, measure),
                published=tuple(_published_points(shares) for shares in values if shares),
            )
        )
    return curves


def published_on(published: Iterable[PublishedCurve], measure: str) -> list[PublishedCurve]:
    """Return the published curves of this accuracy that our arms can be compared with."""
    return [curve for curve in published if curve.measure == measure and not curve.variant]


def curve_names(curves: Sequence[Series], *, mean: bool = False) -> list[str]:
    """Return the strategy of each curve, unless it is the same and unmarked in all, and the settings that differ.

    Args:
        curves: All curves of the drawing.
        mean: Whether to say behind the strategy that values are means, where they are.
    """
    several = len({curve.chosen for curve in curves}) > 1
    names = []
    for curve in curves:
        strategy = f"{curve.chosen} (mean)" if mean and len(curve.groups[0].rows) > 1 else curve.chosen
        named = several or not curve.settings or curve.chosen != curve.strategy
        names.append(", ".join(filter(None, [strategy if named else "", curve.settings])))
    return names


def points_of(groups: Iterable[Group], measure: str) -> tuple[Point, ...]:
    """Return the accuracy of each group that has one, at its |A|; arguments as in `share_curves`."""
    points = []
    for g in groups:
        accuracy = g.part(measure)
        if accuracy is None:
            continue
        value, low, high = (100 * number for number in (accuracy.value, accuracy.low, accuracy.high))
        points.append(
            Point(
                share=100 * g.rows[0].share,
                value=value,
                # rounding may leave the mean of several seeds, or a share of 1, just outside of its interval
                low=min(low, value),
                high=max(high, value),
                deviation=100 * (g.deviation(measure) or 0.0),
                group=g,
            )
        )
    return tuple(points)


def _baseline(baseline: Group | None, arms: Series, measure: str) -> tuple[Point, ...]:
    if baseline is None:
        return ()
    # on all images a baseline has one accuracy; on A and on B it has one for the classes of each arm
    if "_" not in measure:
        return points_of([baseline], measure)
    pairs = [(100 * g.rows[0].share, g, baseline.on_part_of(g, measure)) for g in arms.groups]
    return tuple(_exact(share, 100 * value, g) for share, g, value in pairs if value is not None)


def _published_points(values: Mapping[float, float]) -> tuple[Point, ...]:
    return tuple(_exact(100 * share, 100 * value) for share, value in values.items())


def _exact(share: float, value: float, group: Group | None = None) -> Point:
    return Point(share=share, value=value, low=value, high=value, group=group)


def accuracy_limits(values: Iterable[float], within: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of an axis of accuracies in percent, which spans at least `LEAST_HEIGHT` points.

    Args:
        values: All that has to be seen.
        within: Lowest and highest possible end. matplotlib cuts markers off there, SVG does not.
    """
    return limits(values, LEAST_HEIGHT, within)


def limits(values: Iterable[float], least: float, within: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of an axis around `values` that is at least `least` long and stays inside of `within`."""
    numbers = list(values) or [0.0, 1.0]
    low, high = min(numbers), max(numbers)
    # 1e-9: equal values need an axis, too
    room = max(_MARGIN * (high - low), (least - (high - low)) / 2, 1e-9)
    low, high = low - room, high + room
    low, high = low + max(0, within[0] - low), high + max(0, within[0] - low)  # move it up or down as a whole
    low, high = low - max(0, high - within[1]), high - max(0, high - within[1])
    return max(low, within[0]), high
