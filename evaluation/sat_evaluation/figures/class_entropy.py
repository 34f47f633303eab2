"""Robust accuracy on B when one class is attacked, over the mean difficulty of that class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sat_core.agreement import shown_rho
from sat_evaluation.figures.canvas import BAR, COLOURS, GREY, GRID, bar_handles, drawing, heading, seed_bars
from sat_evaluation.figures.class_entropy_data import ClassTransfer, PublishedTransfer
from sat_evaluation.figures.share_data import accuracy_limits
from sat_evaluation.results.text import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METRICS = {"entropy": "mean entropy of the class in A (nats)"}


def class_entropy_figure(transfer: ClassTransfer, *details: str, published: PublishedTransfer | None = None) -> Figure:
    """Draw a point for each class that was attacked alone, with Spearman's ρ.

    Args:
        transfer: As `class_transfer` returns it.
        details: Small print under the heading, as data set and model.
        published: Numbers of others, drawn pale.

    Raises:
        NotInstalledError: matplotlib is missing.
    """
    points, n = transfer.points, len(transfer.points)
    with drawing(6.2, 4.9) as figure:
        axes = figure.add_subplot()
        if published:
            x, y = published.entropy, [100 * value for value in published.robust_b]
            axes.plot(x, y, "o", color=COLOURS[1], alpha=0.3, markersize=6, zorder=1)
        for point in points:
            value, low, high = (100 * v for v in (point.accuracy.value, point.accuracy.low, point.accuracy.high))
            bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
            seed_bars(axes, [(point.difficulty, value, 100 * point.deviation)], COLOURS[0])
            axes.errorbar(point.difficulty, value, yerr=bars, color=COLOURS[0], marker="o", **BAR)
            axes.annotate(
                shown(point.name, 16), (point.difficulty, value), (5, 3), textcoords="offset points", fontsize=8
            )
        ends = [100 * end for point in points for end in point.accuracy.interval]
        ends += [100 * value for value in published.robust_b] if published else []
        axes.set_ylim(accuracy_limits(ends, (-2, 102)))
        axes.set_xlabel(_METRICS.get(transfer.metric, f"mean {shown(transfer.metric)} of the class in A"))
        axes.set_ylabel("robust accuracy on B (%)")
        axes.grid(color=GRID)
        axes.margins(x=0.12)
        handles: list[Any] = [axes.plot([], [], "o", color=COLOURS[0], label=_words(transfer.rho, n, "ours"))[0]]
        if published:
            text = _words(published.rho, len(published.entropy), "published")
            handles += axes.plot([], [], "o", color=COLOURS[1], alpha=0.3, markersize=6, label=text)
        seeds = "standard deviation over seeds" if any(point.deviation for point in points) else ""
        handles += bar_handles(axes, "95 % Wilson interval over test images", seeds)
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, labelcolor=GREY)
        source = f"published: {published.source}" if published else ""
        heading(figure, "How much one class in A helps the others, over its difficulty", *details, source)
    return figure


def _words(rho: float, n: int, whose: str) -> str:
    return f"{whose}: Spearman's ρ = {shown_rho(rho)}, n = {n} classes"
