"""Curves of a training for TensorBoard: an event file in the folder of the arm."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

from sat_core.errors import RunDirectoryError, install
from sat_core.trackers import TrackedUnit, Tracker, TrackerRun
from sat_evaluation.trackers.missing import require

_FRAME = 16
"""Bytes around each record: its length (8), a checksum of the length (4), and one of the record (4)."""


@final
class EventFile(TrackerRun):
    """Appends numbers of epochs to an event file.

    The file has each value once, however often the job was interrupted: values that it has are not written again, and
    an incomplete record at its end is removed. Of the package only those parts are imported
    that know the format: they import no framework.

    Args:
        path: Of the file.

    Raises:
        RunDirectoryError: It cannot be read or written.
    """

    remembers = True

    def __init__(self, path: Path) -> None:
        require_tensorboard()
        self._path = path
        self._written: set[tuple[str, int]] = set()
        try:
            if self._path.exists():
                self._read()
        except OSError as error:
            raise RunDirectoryError(f"{self._path}: cannot be read or written ({error.strerror})") from error

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `TrackerRun`."""
        # a training that resumes repeats the values of earlier epochs (`sat_core.training.Scalars`)
        new = {tag: value for tag, value in values.items() if (tag, epoch) not in self._written}
        if not new:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in new.items()])
        try:
            self._append(epoch, summary)
        except OSError as error:
            raise RunDirectoryError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._written |= {(tag, epoch) for tag in new}

    def _append(self, epoch: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        # closed after each epoch, before the training saves that epoch: a kill in between leaves no value out
        with self._path.open("ab") as file:
            writer = RecordWriter(file)
            # readers want the version in the first record; opened to append, the position is the end of the file
            if not file.tell():
                writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
            writer.write(Event(wall_time=now, step=epoch, summary=summary).SerializeToString())

    def _read(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        whole = 0
        for record in _records(self._path):
            whole += len(record) + _FRAME
            event = Event.FromString(record)
            self._written |= {(value.tag, event.step) for value in event.summary.value}
        # a reader stops at the first damaged record, and would never see what is appended behind it
        os.truncate(self._path, whole)


@final
class TensorBoard(Tracker):
    """TensorBoard: curves in the folder of each unit, ``tensorboard --logdir`` shows those of a study."""

    name = "tensorboard"

    def check(self) -> None:
        """See `Tracker`."""
        require_tensorboard()

    def start(self, unit: TrackedUnit) -> EventFile:
        """See `Tracker`."""
        return EventFile(unit.folder.events_file)


def require_tensorboard() -> None:
    """Raise NotInstalledError if the package is missing."""
    require("tensorboard", "tensorboard", install("tensorboard"))


TRACKER = TensorBoard()


def _records(path: Path) -> Iterator[bytes]:
    """Yield the complete records of an event file; it ends at the first damaged one."""
    # TensorBoard reads with this stub where TensorFlow is missing: nothing here imports a framework
    from tensorboard.compat.tensorflow_stub.errors import DataLossError, OutOfRangeError
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader = PyRecordReader_New(str(path))
    try:
        while True:
            reader.GetNext()
            yield reader.record()
    except (DataLossError, OutOfRangeError):
        return
