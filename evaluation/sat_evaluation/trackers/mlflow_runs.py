"""MLflow: an experiment for each study, a run for each unit, in the store that MLflow's own settings name."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from sat_core.errors import NotInstalledError
from sat_core.trackers import TrackedUnit, Tracker, TrackerRun
from sat_evaluation.results.text import shown
from sat_evaluation.trackers.missing import require

_STORE = "MLFLOW_TRACKING_URI"
_ENDS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_LONGEST = 5000
"""Characters of a parameter; a database takes 6000."""
_AT_ONCE = 100
"""Parameters, and metrics, of one call."""


@final
class MLflow(Tracker):
    """MLflow, without its global run: a user's network may have one."""

    name = "mlflow"

    def check(self) -> None:
        """See `Tracker`."""
        require("mlflow", "mlflow", "pip install mlflow")
        if _STORE not in os.environ and find_spec("sqlalchemy") is None:
            raise NotInstalledError(
                f"--track mlflow: it has no database here: pip install mlflow, or set {_STORE} to a server's address"
            )

    def prepare(self) -> None:
        """See `Tracker`. Of two processes that make the tables of a new database, one would fail."""
        _client().search_experiments(max_results=1)

    def start(self, unit: TrackedUnit) -> TrackerRun:
        """See `Tracker`."""
        return _Run(unit)


TRACKER = MLflow()


@final
class _Run(TrackerRun):
    remembers = True

    def __init__(self, unit: TrackedUnit) -> None:
        self._client, self._logged = _client(), set[tuple[str, int]]()
        if unit.run_id:
            self.run_id = unit.run_id
            self._client.update_run(self.run_id, status="RUNNING")
            for name in self._client.get_run(self.run_id).data.metrics:
                points = self._client.get_metric_history(self.run_id, name)
                self._logged |= {(name, point.step) for point in points}
            return
        experiment = _experiment(self._client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or unit.study)
        self.run_id = self._client.create_run(experiment, tags=dict(unit.tags), run_name=unit.name).info.run_id
        from mlflow.entities import Param

        params = [Param(key, shown(value, _LONGEST)) for key, value in unit.params.items()]
        for first in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self.run_id, params=params[first : first + _AT_ONCE])

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `TrackerRun`."""
        from mlflow.entities import Metric

        new = {name: value for name, value in values.items() if (name, epoch) not in self._logged}
        now = int(1000 * time.time())
        self._client.log_batch(self.run_id, metrics=[Metric(name, v, now, epoch) for name, v in new.items()])
        self._logged |= {(name, epoch) for name in new}

    def finish(self, summary: Mapping[str, float], files: Sequence[Path]) -> None:
        """See `TrackerRun`."""
        self.log(0, {f"summary/{name}": value for name, value in summary.items()})
        for path in files:
            self._client.log_artifact(self.run_id, str(path))

    def end(self, how: str) -> None:
        """See `TrackerRun`."""
        self._client.set_terminated(self.run_id, status=_ENDS[how])


def _client() -> Any:
    # before the import: it tells its makers of its use unless somebody says otherwise
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient()


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another unit of the study has made it in between
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)
