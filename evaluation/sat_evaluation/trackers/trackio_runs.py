"""trackio: a project for each study, a run for each unit, on this machine unless its own settings say otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from sat_core.trackers import TrackedUnit, Tracker, TrackerRun
from sat_evaluation.results.text import shown
from sat_evaluation.trackers.missing import require


@final
class Trackio(Tracker):
    """trackio. ``trackio show`` shows what is tracked."""

    name = "trackio"

    def check(self) -> None:
        """See `Tracker`."""
        require("trackio", "trackio", "pip install trackio")

    def start(self, unit: TrackedUnit) -> TrackerRun:
        """See `Tracker`."""
        return _Run(unit)


TRACKER = Trackio()


@final
class _Run(TrackerRun):
    def __init__(self, unit: TrackedUnit) -> None:
        import trackio

        self._project = re.sub("[^A-Za-z0-9_-]", "-", unit.study)
        self._run: Any = trackio.init(
            project=self._project,
            name=unit.run_id or unit.name,
            group=unit.study,
            config={key: _simple(value) for key, value in {**unit.params, **unit.tags}.items()},
            # a name that is taken is another study's, of the same name
            resume="allow" if unit.run_id else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.run_id = self._run.name

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `TrackerRun`."""
        self._run.log(dict(values), step=epoch)

    def finish(self, summary: Mapping[str, float], files: Sequence[Path]) -> None:
        """See `TrackerRun`."""
        import trackio

        if summary:
            self._run.log({f"summary/{name}": value for name, value in summary.items()}, step=int(summary["epochs"]))
        artifact = trackio.Artifact(re.sub("[^A-Za-z0-9_.-]", "-", self.run_id), type="unit")
        for path in files:
            artifact.add_file(path, name=path.name)
        self._run.log_artifact(artifact)

    def end(self, how: str) -> None:
        """See `TrackerRun`."""
        import trackio

        close: Any = trackio.finish
        close()  # else it comes again at the end of the process, and prints behind its last word


def _simple(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else shown(value, 1000)
