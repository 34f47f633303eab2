"""What runs a whole study, and what says before what it costs: the interfaces, and the registries of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sat_core.registry import Registry


class Runner(Protocol):
    """Runs the arms of a study."""

    def __call__(
        self,
        study: Any,
        out: str | Path,
        *,
        data: Any,
        backend: str | None,
        device: str,
        jobs: int | None,
        devices: int,
        reuse: Sequence[str | Path],
        track: Sequence[str],
        progress: bool,
    ) -> Any:
        """Run `study`, a `sat_core.study.Study`, in the folder `out`; the arguments are those of `Study.run`."""


RUNNERS: Registry[Runner] = Registry("runner", "sat_core.runners")
"""Runners by name, found by entry point, so that the core needs none of their packages."""


class Planner(Protocol):
    """Says what a study costs before it runs."""

    def __call__(
        self,
        study: Any,
        *,
        backend: str | None,
        device: str,
        jobs: int | None,
        card: str,
        measure: bool,
        hours: float | None,
        of_full_at: str | float | None,
        curves: Sequence[str | Path],
    ) -> Any:
        """Plan `study`, a `sat_core.study.Study`; the arguments are those of `Study.plan`."""


PLANNERS: Registry[Planner] = Registry("planner", "sat_core.planners")
"""Planners by name, found by entry point."""
