"""One study or transfer on the page."""

from __future__ import annotations

from typing import Any, final

import attrs

from sat_evaluation.report.blocks import Chapter
from sat_evaluation.report.chapters import chapters
from sat_evaluation.report.gather import Run
from sat_evaluation.report.opening import Opening, opening
from sat_evaluation.results.conclusions import conclude

_LISTED = 20
"""Warnings and unfinished units that are listed; the others are counted."""


@final
@attrs.frozen(kw_only=True)
class Section:
    """One study or transfer on the page.

    Attributes:
        anchor: Id of the section, for links.
        run: What was read from its folder.
        opening: Question, answer, picture and cost.
        chapters: All else.
    """

    anchor: str
    run: Run
    opening: Opening
    chapters: tuple[Chapter, ...]

    @property
    def warnings(self) -> list[str]:
        """The first warnings, and a line that counts the others."""
        lines = self.run.warnings
        return lines[:_LISTED] + ([f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else [])

    @property
    def unfinished(self) -> tuple[list[Any], int]:
        """Unfinished units that run, failed or stopped, and how many others there are."""
        listed = [unit for unit in self.run.unfinished if unit.state != "waiting"][:_LISTED]
        return listed, len(self.run.unfinished) - len(listed)


def section(number: int, run: Run) -> Section:
    """Make the section of a run, the `number`-th on its page."""
    found = conclude(run.rows, run.folder) if run.rows else None
    return Section(anchor=f"run-{number}", run=run, opening=opening(run, found), chapters=tuple(chapters(run, found)))
