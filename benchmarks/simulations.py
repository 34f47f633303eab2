"""Simulate every test and interval of `statistics` and `plan`: python benchmarks/simulations.py docs/statistics.md

It takes about eight minutes on one core; OMP_NUM_THREADS=1 keeps numpy on it. The same versions of numpy and scipy give
the same page, but for its last lines.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import scipy
import simulations_curves
import simulations_pairs
import simulations_plan
import simulations_seeds
from simulations_model import COVERAGE, HARD, TRAINING, TYPE_1, Row

from sat_evaluation import statistics

DRAWS = 2000
SECTIONS = {
    "One training of each arm": simulations_pairs,
    "Several trainings of each arm, and the share of full AT recovered": simulations_seeds,
    "Curves over \\|A\\|": simulations_curves,
    "What a plan expects that A recovers": simulations_plan,
}
HELPERS = {
    "checks.flags": "refuses what are no flags",
    "checks.same_images": "refuses different numbers of images",
    "checks.seeds_and_images": "refuses what are no flags",
    "mcnemar.of_counts": "`mcnemar.mcnemar` from counts",
    "paired.of_counts": "`paired.paired_difference` from counts",
    "profile.gained": "the law's equation",
    "profile.share_of": "its inverse",
    "profile.profile_at": "part of `law.fit_law`",
    "profile.profile_of": "part of `law.fit_law`",
    "share_means.flag_means": "part of `law.fit_law`, in all of its rows but the one from counts",
    "spline.chi_bar_p": "part of `spline.fit_spline`",
}
"""Public functions that make no claim of their own, and what they are part of."""

PAGE = """\
# What the statistics hold

Every interval and test of `sat_evaluation.statistics`, Wilson's, and what a plan expects, on simulated data whose truth
is known. An interval should contain the truth in {coverage} of the draws, a test should find a difference that is not
there in {type_1}.

**{held} of {all} numbers are within these limits.** {outside}

Images are robust if a normal number is below a threshold. The same image in two arms has a correlation of {hard} before
that, so that arms fail on the same images, as they do in studies. Trainings of an arm move its threshold by a standard
deviation of {training}, two points of robust accuracy at 40 %. The chance of these numbers is the ± beside them, one
standard deviation: of {all}, a few are outside by chance alone.
How much few seeds count in degrees of freedom was chosen by simulations like these. Where trainings did not vary, or
three times as much, tests over seeds found 3 to 7 % of what is not there.
[What the files of a run say](results.md) explains each test and interval.

{tables}
## Every public function

| function | numbers | within the limits |
| --- | --- | --- |
{functions}

Made on {date} with `OMP_NUM_THREADS=1 python benchmarks/simulations.py docs/statistics.md`, in {minutes:.0f} minutes on
one core: {draws:,} draws of each interval and up to five times as many of each test, with numpy {numpy} and scipy
{scipy}.
"""


def simulate(draws: int, seed: int = 0) -> dict[str, list[Row]]:
    """Return the rows of each section. Every part has a generator of its own, so that parts can be changed alone."""
    sections: dict[str, list[Row]] = {}
    for section, (title, module) in enumerate(SECTIONS.items()):
        sections[title] = []
        for number, part in enumerate(module.PARTS):
            start = time.monotonic()
            sections[title] += part(np.random.default_rng([seed, section, number]), draws)
            print(f"{part.__name__}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return sections


def page(sections: dict[str, list[Row]], draws: int, minutes: float) -> str:
    """Return the page."""
    rows = [row for part in sections.values() for row in part]
    outside = [row for row in rows if not row.held]
    return PAGE.format(
        coverage=_range(COVERAGE),
        type_1=_range(TYPE_1),
        held=len(rows) - len(outside),
        all=len(rows),
        outside=_outside(outside),
        hard=HARD,
        training=TRAINING,
        tables="\n".join(f"## {title}\n\n{table(part)}\n" for title, part in sections.items()),
        functions=functions(rows),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        draws=draws,
        minutes=minutes,
        numpy=np.__version__,
        scipy=scipy.__version__,
    )


def table(rows: Iterable[Row]) -> str:
    """Return rows as a table in Markdown."""
    head = ["function", "what", "setting", "draws", "share", "wanted", "result"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        share = f"{100 * row.share:.1f} ± {100 * row.deviation:.1f} %"
        lines.append(
            [f"`{row.function}`", row.number, row.setting, f"{row.draws:,}", share, _range(row.wanted), result(row)]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def result(row: Row) -> str:
    """Return ``held``, or ``outside`` with the reason."""
    if row.held:
        return "held"
    # an interval that covers too much, or a test that finds too little
    careful = row.share > row.wanted[1] if row.wanted == COVERAGE else row.share < row.wanted[0]
    reason = row.reason if careful or not row.reason.startswith("conservative") else ""
    near = min(abs(row.share - end) for end in row.wanted) <= 2 * row.deviation
    return (
        f"**outside**: {reason or ('may be chance, within two deviations of the limit' if near else 'not explained')}"
    )


def functions(rows: Sequence[Row]) -> str:
    """Return a line for every public function of the room."""
    lines = []
    for name in public():
        own = [row for row in rows if named(row, name)]
        numbers = f"{len(own)}" if own else HELPERS.get(name, "**not simulated**")
        lines.append(f"| `{name}` | {numbers} | {sum(row.held for row in own) if own else '–'} |")
    return "\n".join(lines)


def named(row: Row, name: str) -> bool:
    """Return whether a row is of a function: ``law.fit_law`` or, of what it returns, ``law.Law.band``."""
    function = row.function.partition(":")[0]
    _, own = name.split(".")
    made = {"fit_law": "law.Law", "means": "variance.Means"}.get(own, "–")
    return any(part == name or part.startswith(f"{made}.") for part in function.split(", "))


def public() -> list[str]:
    """Return ``module.function`` of every public function of the room."""
    names = []
    for module in pkgutil.iter_modules(statistics.__path__):
        content = importlib.import_module(f"{statistics.__name__}.{module.name}")
        own = [f for _, f in inspect.getmembers(content, inspect.isfunction) if f.__module__ == content.__name__]
        names += [f"{module.name}.{f.__name__}" for f in own if not f.__name__.startswith("_")]
    return sorted(names)


def _range(wanted: tuple[float, float]) -> str:
    return f"{100 * wanted[0]:.0f} to {100 * wanted[1]:.0f} %"


def _outside(rows: Sequence[Row]) -> str:
    """A line for each function and reason."""
    if not rows:
        return ""
    counts = Counter(f"`{row.function}`, {row.number}: {result(row).partition(': ')[2]}" for row in rows)
    return "Outside are:\n\n" + "\n".join(f"- {count} of {text}" for text, count in counts.items())


def main(path: str, draws: int = DRAWS) -> None:
    """Write the page."""
    start = time.monotonic()
    sections = simulate(draws)
    Path(path).write_text(page(sections, draws, (time.monotonic() - start) / 60), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
