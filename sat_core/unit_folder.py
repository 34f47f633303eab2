"""The folder of one unit of a run, an arm or a ranking: the names of its files and what they say about its state."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from sat_core import files
from sat_core.arm_results import ArmResults
from sat_core.errors import DataError, RunDirectoryError, printable
from sat_core.folder import FAILURE, LOG, PROGRESS, Folder

_RESULTS, _RANKING, _SPLIT, _SECONDS = "results.json", "ranking.npz", "split.json", "seconds.json"
_CHECKS, _EXAMPLES, _ATTACKED = "selection.json", "examples.npz", "attacked.npz"
_BEST, _LAST = "checkpoint-best.safetensors", "checkpoint-last.safetensors"
_EVALUATION, _FEATURES = "evaluation", "features"
# TensorBoard finds its files by the "tfevents" in their names.
_EVENTS, _TRACKERS = "events.out.tfevents.sat", "trackers.json"
_START = "# started "
_TAIL = 8192
"""Bytes of a log that are searched for its last lines."""


@attrs.frozen
class UnitFolder(Folder):
    """The folder of one arm or of one ranking.

    >>> UnitFolder("runs/digits/arms/size-0.5").results_file.as_posix()
    'runs/digits/arms/size-0.5/results.json'
    """

    @property
    def results_file(self) -> Path:
        """Results of a finished arm (docs/results.md)."""
        return self.path / _RESULTS

    @property
    def ranking_file(self) -> Path:
        """Difficulties of a finished ranking."""
        return self.path / _RANKING

    @property
    def split_file(self) -> Path:
        """Members of A, and the positions of the images that pick the epoch and of those that are reported."""
        return self.path / _SPLIT

    @property
    def checks_file(self) -> Path:
        """Accuracies on the selection split so far."""
        return self.path / _CHECKS

    @property
    def examples_file(self) -> Path:
        """A few test images with adversarial examples, to look at."""
        return self.path / _EXAMPLES

    @property
    def attacked_file(self) -> Path:
        """How often each training example was attacked, where members of A change during the training."""
        return self.path / _ATTACKED

    @property
    def best_checkpoint(self) -> Path:
        """Weights after the epoch that was picked."""
        return self.path / _BEST

    @property
    def last_checkpoint(self) -> Path:
        """State of a training, from which it resumes."""
        return self.path / _LAST

    @property
    def progress_file(self) -> Path:
        """How far the running process is."""
        return self.path / PROGRESS

    @property
    def log_file(self) -> Path:
        """What the processes of the unit printed."""
        return self.path / LOG

    @property
    def events_file(self) -> Path:
        """Curves for TensorBoard."""
        return self.path / _EVENTS

    @property
    def outcome(self) -> list[Path]:
        """The files that are there of a finished unit, without what only a start that goes on needs."""
        evaluations = sorted((self.path / _EVALUATION).glob(f"{self.report_name()}*.npz"))
        own = [self.path / name for name in (_RESULTS, _SPLIT, _RANKING, _ATTACKED, _EXAMPLES, _BEST)]
        return [path for path in (self.spec_file, *own, *evaluations) if path.exists()]

    def trackers(self) -> dict[str, Any]:
        """Return what is kept of each tracker of experiments; nothing where the file is not there, or damaged."""
        try:
            content = files.read_json(self.path / _TRACKERS)
        except DataError:
            return {}
        return content if isinstance(content, dict) else {}

    def keep_trackers(self, content: Mapping[str, Any]) -> None:
        """Write down what is kept of trackers, if the disk takes it: a unit does not depend on it."""
        with suppress(RunDirectoryError):
            files.write_json(self.path / _TRACKERS, content)

    def tracker_warnings(self) -> list[str]:
        """Return what went wrong with trackers in the last start of the unit."""
        tables = [table for table in self.trackers().values() if isinstance(table, dict)]
        return [printable(str(table["warning"])) for table in tables if table.get("warning")]

    def evaluation_file(self, name: str) -> Path:
        """Results per example of the attack called `name`."""
        return self.path / _EVALUATION / f"{name}.npz"

    def measured_file(self, name: str, suffix: str = ".json") -> Path:
        """What `sat evaluate` measured later, as ``grid``: accuracies, or with another suffix a figure of it."""
        return self.path / _EVALUATION / f"{name}{suffix}"

    @staticmethod
    def report_name(level: str = "") -> str:
        """Return the name of the reported evaluation, or of a later one at another level."""
        return f"report-{level}" if level else "report"

    def features_file(self, part: int) -> Path:
        """Features of one part of the training images, of a transfer that is under way."""
        return self.path / _FEATURES / f"{part:05d}.npz"

    def sweep(self) -> None:
        """Remove what interrupted writes left in the folder and below."""
        files.sweep(self.path)

    def remove_evaluations(self) -> None:
        """Remove the results per example of all attacks."""
        shutil.rmtree(self.path / _EVALUATION, ignore_errors=True)

    def remove_features(self) -> None:
        """Remove the features, which only a training needs."""
        shutil.rmtree(self.path / _FEATURES, ignore_errors=True)

    @property
    def has_results(self) -> bool:
        """Whether it is the folder of a finished arm."""
        return self.results_file.exists()

    @property
    def has_ranking(self) -> bool:
        """Whether it is the folder of a finished ranking."""
        return self.ranking_file.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the arm or the ranking is finished."""
        return self.has_results or self.has_ranking

    def results(self) -> ArmResults:
        """Return the results of the finished arm; DataError names the field that is wrong."""
        path = self.results_file
        try:
            return ArmResults.from_json(files.read_json(path))
        except DataError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise DataError(
                f"{path}: expected the results of a finished arm ({reason})\ndelete {path} and start again"
            ) from error

    def own_results(self, fingerprint: str | None = None) -> ArmResults:
        """Return the results; DataError unless they are of this folder, and of `fingerprint` if that is given."""
        results, path = self.results(), self.results_file
        if results.arm != self.name or fingerprint not in (None, results.experiment):
            raise DataError(f"{path}: belongs to another arm or study\ndelete {path} and start again")
        return results

    def seconds(self) -> dict[str, float]:
        """Return the seconds that each stage took so far, over all starts. Values that are no numbers are left out."""
        try:
            content = files.read_json(self.path / _SECONDS)
        # Only the times in the results come from this file; damage to it stops no run.
        except DataError:
            return {}
        stages = content.items() if isinstance(content, dict) else ()
        return {name: float(s) for name, s in stages if isinstance(s, int | float) and abs(s) <= sys.float_info.max}

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the seconds of a stage. They have a file of their own: the bytes of all others repeat."""
        spent = self.seconds()
        files.write_json(self.path / _SECONDS, {**spent, stage: spent.get(stage, 0.0) + seconds})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time inside to `stage`."""
        start = time.monotonic()
        try:
            yield
        finally:
            # Also of a stage that is interrupted: seconds add up over all starts.
            self.add_seconds(stage, time.monotonic() - start)

    def take_ranking(self, other: UnitFolder) -> None:
        """Take over the finished ranking of `other`."""
        self._take(other, [_SECONDS, other.spec_file.name, _RANKING])

    def take_arm(self, other: UnitFolder) -> None:
        """Take over the files of the finished arm of `other`, except ``results.json``.

        Files are hard links where the disk allows it: a file of a run is replaced, never changed.
        """
        # results.json follows last, with the new name in it; until then the arm counts as unfinished.
        kept = [path for kind in ("npz", "json") for path in (other.path / _EVALUATION).glob(f"*.{kind}")]
        evaluations = [f"{_EVALUATION}/{path.name}" for path in sorted(kept)]
        self._take(other, [_SPLIT, _CHECKS, _SECONDS, _EXAMPLES, _ATTACKED, _BEST, other.spec_file.name, *evaluations])

    def _take(self, other: UnitFolder, names: list[str]) -> None:
        for name in names:
            if (other.path / name).exists():
                files.link_or_copy(other.path / name, self.path / name)

    @contextmanager
    def new_log(self) -> Iterator[BinaryIO]:
        """Open the log for one more process, with a line that says when and where it starts; OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.forget_failure()
        with self.log_file.open("ab") as log:
            log.write(f"{_START}{time.strftime('%Y-%m-%d %H:%M:%S')} on {socket.gethostname()}\n".encode())
            # Before the process that inherits the file writes to it.
            log.flush()
            yield log

    def log_end(self, count: int = 3) -> list[str]:
        """Return the last lines that the last process printed, without empty ones."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        # What an earlier process printed is no reason why the last one failed.
        since = text.rpartition(_START)[2].splitlines()[1:] if _START in text else text.splitlines()
        return [printable(line, keep="\t") for line in since if line.strip()][-count:]

    def record_failure(self, reason: str) -> str:
        """Write down why the unit failed, if the disk takes it; returns `reason`."""
        with suppress(RunDirectoryError):
            files.write_json(self.path / FAILURE, {"reason": reason})
        return reason

    def failure(self) -> str:
        """Return why the unit failed when it was last run; empty if it did not."""
        try:
            return printable(str(json.loads((self.path / FAILURE).read_text())["reason"]))
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, LookupError, TypeError):
            return f"{FAILURE} cannot be read"

    def forget_failure(self) -> None:
        """Remove what an earlier failure left, before the unit is run again."""
        (self.path / FAILURE).unlink(missing_ok=True)


def finished_units(path: Path) -> list[UnitFolder]:
    """Return the folders of all finished arms and rankings in `path` and below it."""
    return [UnitFolder(file.parent) for file in sorted((*path.rglob(_RESULTS), *path.rglob(_RANKING)))]
