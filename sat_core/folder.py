"""A folder that belongs to one experiment. The first start claims it, and every later one checks the claim."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs

from sat_core import files
from sat_core.errors import RunDirectoryError, quoted
from sat_core.experiment import WEIGHTS, Experiment
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten

LOG, PROGRESS, FAILURE = "log.txt", "progress.json", "failed.json"
"""Files that may be in a folder before it is claimed."""
_PLACES = ("model.weights", "grid.model.weights")
"""Keys whose values are paths of weights."""
_REMEDY = "choose another folder, or if this one is of the same run, empty {} and start again"


@attrs.frozen
class Folder(ABC):
    """The folder of a unit (`sat_core.unit_folder.UnitFolder`) or of a whole run. It need not exist yet."""

    path: Path = attrs.field(converter=Path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether the folder is there."""
        return self.path.exists()

    @property
    def spec_file(self) -> Path:
        """Settings of the experiment that the folder belongs to, with a table [run]."""
        return self.path / "spec.toml"

    def claim(self, experiment: Experiment) -> str:
        """Make the folder the one of `experiment`, or check that it is; returns the experiment's fingerprint.

        A key that an older version did not know had its default there. A ``spec.toml`` that was cut off is written
        anew, and so is one with another path of the same weights.

        Raises:
            RunDirectoryError: The folder belongs to another experiment or to none. Nothing has been changed.
        """
        path, text = self.spec_file, experiment.to_toml()
        if path.exists():
            whole, there = text.encode(), path.read_bytes()
            if there != whole and whole.startswith(there):
                files.write_text(path, text)
        else:
            self._check_new()
            files.write_text(path, text)
        if self._check_same(experiment, text):
            files.write_text(path, text)
        return experiment.fingerprint()

    def _check_new(self) -> None:
        harmless = (LOG, PROGRESS, FAILURE)
        # Hidden files do not count: the lock is one, and is there before the claim.
        entries = self.path.glob("[!.]*") if self.path.is_dir() else ()
        foreign = sorted(path.name for path in entries if path.name not in harmless)
        if foreign:
            raise RunDirectoryError(
                f"{self}: expected a new folder or one of an earlier run, found {foreign[0]!r} in it\n"
                "choose another folder"
            )

    def _check_same(self, experiment: Experiment, text: str) -> bool:
        """Check that the folder belongs to the experiment; returns whether its weights have moved since."""
        path = self.spec_file
        there, here = flatten(self._read_tables()), flatten(files.parse_toml(text))
        if not any(key in there for key in here):
            raise RunDirectoryError(f"{path}: expected the settings of a run, got other keys\n{_REMEDY.format(path)}")
        there = {**{key: DEFAULTS[key] for key in here if key in DEFAULTS}, **there}
        keys = [*here, *(key for key in there if key not in here)]
        # repr, not ==: a share of 1.0 is no count of 1
        differing = [key for key in keys if repr(there.get(key)) != repr(here.get(key))]
        # The same bytes at another place are the same weights.
        moved = f"run.{WEIGHTS}" in here and f"run.{WEIGHTS}" not in differing and {*differing} & {*_PLACES}
        differing = [key for key in differing if not (moved and key in _PLACES)]
        if differing == [f"run.{WEIGHTS}"]:
            raise RunDirectoryError(
                f"{self}: the weights in {', '.join(_named(here))} are others than when the run began\n"
                "choose another folder, or put the file back as it was"
            )
        # Two hashes side by side would tell nobody that it is the data that changed.
        if differing == ["run.data_fingerprint"]:
            raise RunDirectoryError(
                f"{self}: images or labels of {experiment.data} are others than when the run began\n"
                "choose another folder, or put the data back as they were"
            )
        differences = [
            f"{key} is {quoted(there.get(key, 'not set'))} there and {quoted(here.get(key, 'not set'))} here"
            for key in differing
        ]
        if differences:
            more = f" (and {len(differences) - 2} more)" if len(differences) > 2 else ""
            raise RunDirectoryError(
                f"{self}: holds another experiment: {'; '.join(differences[:2])}{more}\n"
                "choose another folder, or the settings of that run to go on with it"
            )
        return bool(moved)

    def read_spec(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the tables that the folder was claimed with, and its table [run]; RunDirectoryError if unreadable."""
        tables = self._read_tables()
        run = tables.pop("run", None)
        if not isinstance(run, dict):
            path = self.spec_file
            raise RunDirectoryError(f"{path}: expected the settings of a run, got none\n{_REMEDY.format(path)}")
        return tables, run

    def _read_tables(self) -> dict[str, Any]:
        path = self.spec_file
        try:
            return files.parse_toml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunDirectoryError(
                f"{path}: cannot be read ({files.reason(error)})\n{_REMEDY.format(path)}"
            ) from error

    def locked(self, wait: float = 0.0) -> AbstractContextManager[None]:
        """Hold the folder for this process; RunDirectoryError if another holds it for `wait` seconds."""
        return files.locked(self.path, wait)

    def is_locked(self) -> bool:
        """Return whether a process holds the folder."""
        return files.is_locked(self.path)

    @abstractmethod
    def sweep(self) -> None:
        """Remove what interrupted writes left in the folder, as far as no other process may write there."""


def _named(settings: dict[str, Any]) -> list[str]:
    """Return the paths of weights that settings name."""
    values = [settings[key] for key in _PLACES if key in settings]
    return [path for value in values for path in (value if isinstance(value, list) else [value]) if path]
