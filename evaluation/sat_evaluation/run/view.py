"""What a run tells its user while it works: the interface between rooms that run and those that show."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import final

from sat_core.unit_folder import UnitFolder

Count = Callable[[int, int], None]
"""count(done, total)."""
Share = Callable[[float, str], None]
"""share(done, note): done is in [0, 1]."""


class UnitsView(ABC):  # noqa: B024 - a view shows what it wants to, so there is nothing that each must have
    """Shows units while they run. Each method does nothing unless a view has its own."""

    def refresh(self, queued: Mapping[str, str], notice: str) -> None:
        """Look at the units again, whose folders say how far they are; called a few times a second.

        Args:
            queued: Names of units that wait in a queue, with what is known of that.
            notice: What holds everything up; usually empty.
        """
        return None

    def finish(self, unit: UnitFolder) -> None:
        """The unit is finished."""
        return None

    def fail(self, unit: UnitFolder, reason: str) -> None:
        """The unit failed."""
        return None


class View(ABC):  # noqa: B024 - as above
    """Shows how a run goes. Each method does nothing unless a view has its own."""

    def note(self, text: str) -> None:
        """Something worth knowing, in one line."""
        return None

    def warn(self, text: str) -> None:
        """Something that the user hardly wants, in one line."""
        return None

    def heading(self, text: str) -> None:
        """What several studies that are run now have in common, in one line."""
        return None

    def say(self, text: str) -> None:
        """Which of several studies is run next, or what came out of them, in one line."""
        return None

    def checking_images(self) -> AbstractContextManager[Count]:
        """Give what is called with the number of images checked so far and of all, while they are checked."""
        return nullcontext(lambda _done, _total: None)

    def attacking(self, threat: str) -> AbstractContextManager[Share]:
        """Give what is called with the share of an attack that is done, in [0, 1], and what runs now."""
        return nullcontext(lambda _share, _note: None)

    def units(self, units: Sequence[UnitFolder]) -> AbstractContextManager[UnitsView]:
        """Give what shows these units while they run: those of a study, then those of each of its transfers."""
        return nullcontext(_SilentUnits())


@final
class _SilentUnits(UnitsView):
    pass


@final
class Silent(View):
    """Shows nothing."""
