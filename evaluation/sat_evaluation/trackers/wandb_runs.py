"""Weights & Biases: a group for each study, a run for each unit; offline unless its own settings say otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final
from uuid import uuid4

from sat_core.trackers import TrackedUnit, Tracker, TrackerRun
from sat_evaluation.trackers.missing import require

_EPOCH = "epoch"
_LONGEST = 64
"""Characters of a tag, as its server has it."""


@final
class WeightsAndBiases(Tracker):
    """Weights & Biases. ``WANDB_MODE=online`` sends what is tracked; else ``wandb sync`` does, later."""

    name = "wandb"

    def check(self) -> None:
        """See `Tracker`."""
        require("wandb", "wandb", "pip install wandb")

    def start(self, unit: TrackedUnit) -> TrackerRun:
        """See `Tracker`."""
        return _Run(unit)


TRACKER = WeightsAndBiases()


@final
class _Run(TrackerRun):
    def __init__(self, unit: TrackedUnit) -> None:
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before the import: its makers hear of errors
        import wandb

        self.run_id = unit.run_id or uuid4().hex
        self._row = unit.told
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "sat-core"),
            group=unit.study,
            name=unit.name,
            id=self.run_id,
            resume="allow",
            mode=mode,
            tags=[f"{key}: {value}"[:_LONGEST] for key, value in unit.tags.items()],
            config=dict(unit.params),
            # the log of a unit is not copied, and nothing is printed into it
            settings=wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True),
        )
        # a resumed training tells of earlier epochs, and the report of the chosen one: steps of its own only rise
        self._run.define_metric(_EPOCH)
        self._run.define_metric("*", step_metric=_EPOCH)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `TrackerRun`."""
        self._run.log({_EPOCH: epoch, **values}, step=self._row)
        self._row += 1

    def finish(self, summary: Mapping[str, float], files: Sequence[Path]) -> None:
        """See `TrackerRun`."""
        import wandb

        self._run.summary.update(dict(summary))
        artifact = wandb.Artifact(f"unit-{self.run_id}", type="unit")
        for path in files:
            artifact.add_file(str(path), name=path.name)
        self._run.log_artifact(artifact)

    def end(self, how: str) -> None:
        """See `TrackerRun`."""
        self._run.finish(exit_code=0 if how == "finished" else 1)
