"""A run directory belongs to one experiment: claimed by the first start, checked by every later one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sat_core import files
from sat_core.backend import Backend
from sat_core.data import DataSet
from sat_core.errors import RunDirectoryError, quoted
from sat_core.spec import DEFAULTS
from sat_core.tables import flatten

SPEC = "spec.toml"
_REMEDY = "choose another folder, or if this one is of the same run, empty {} and start again"
_HARMLESS = ("log.txt", "progress.json", "failed.json")


def claim(directory: Path, spec: Mapping[str, Any], backend: Backend, data: DataSet) -> str:
    """Make `directory` the one of this experiment, or check that it is; returns the experiment's `fingerprint`.

    `spec.toml` says which: the tables of `spec`, and a table [run] with backend, device and the data's fingerprint.
    A key that an older version did not know had its default there. One that was cut off is written anew. Raises
    RunDirectoryError, and changes nothing, if the directory belongs to another experiment or to none.
    """
    run = run_table(backend, data)
    text = _text(spec, run)
    path = directory / SPEC
    if path.exists():
        whole, found = text.encode(), path.read_bytes()
        if found != whole and whole.startswith(found):
            files.write_text(path, text)
    else:
        foreign = [p.name for p in directory.glob("[!.]*") if p.name not in _HARMLESS] if directory.is_dir() else []
        if foreign:
            raise RunDirectoryError(
                f"{directory}: expected a new folder or one of an earlier run, found {sorted(foreign)[0]!r} in it\n"
                "choose another folder"
            )
        files.write_text(path, text)
    there, here = flatten(_read(path)), flatten(files.parse_toml(text))
    if not any(key in there for key in here):
        raise RunDirectoryError(f"{path}: expected the settings of a run, got other keys\n{_REMEDY.format(path)}")
    there = {**{key: DEFAULTS[key] for key in here if key in DEFAULTS}, **there}
    keys = [*here, *(key for key in there if key not in here)]
    differing = [key for key in keys if repr(there.get(key)) != repr(here.get(key))]  # a share of 1.0 is no count of 1
    if differing == ["run.data_fingerprint"]:
        raise RunDirectoryError(
            f"{directory}: images or labels of {data.name} are others than when the run began\n"
            "choose another folder, or put the data back as they were"
        )
    differences = [
        f"{key} is {quoted(there.get(key, 'not set'))} there and {quoted(here.get(key, 'not set'))} here"
        for key in differing
    ]
    if differences:
        more = f" (and {len(differences) - 2} more)" if len(differences) > 2 else ""
        raise RunDirectoryError(
            f"{directory}: holds another experiment: {'; '.join(differences[:2])}{more}\n"
            "choose another folder, or the settings of that run to go on with it"
        )
    return fingerprint(spec, run)


def fingerprint(spec: Mapping[str, Any], run: Mapping[str, str]) -> str:
    """SHA-256 of an experiment. What a run writes says it, so that a file of another one is found out.

    run: `run_table`. Keys with their default are left out: one that a later version adds changes nothing.
    """
    keys = {key: json.dumps(value) for key, value in flatten({**spec, "run": run}).items()}
    kept = {key: text for key, text in keys.items() if key not in DEFAULTS or text != json.dumps(DEFAULTS[key])}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def run_table(backend: Backend, data: DataSet) -> dict[str, str]:
    """The table [run]: what else than the spec makes an experiment. It reads all of the data."""
    return {"backend": backend.name, "device": backend.device, "data_fingerprint": data.fingerprint()}


def claim_text(spec: Mapping[str, Any], backend: Backend, data: DataSet) -> str:
    """What `claim` writes."""
    return _text(spec, run_table(backend, data))


def read(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `claim` was given: the tables of the spec, and those of [run]."""
    path = directory / SPEC
    tables = _read(path)
    run = tables.pop("run", None)
    if not isinstance(run, dict):
        raise RunDirectoryError(f"{path}: expected the settings of a run, got none\n{_REMEDY.format(path)}")
    return tables, run


def _text(spec: Mapping[str, Any], run: Mapping[str, str]) -> str:
    import tomli_w

    return tomli_w.dumps({**spec, "run": run})


def _read(path: Path) -> dict[str, Any]:
    try:
        return files.parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path}: cannot be read ({files.reason(error)})\n{_REMEDY.format(path)}") from error
