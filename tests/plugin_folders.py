"""Plug-ins that tests write: modules, and packages that look installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sat_core.attack_kinds import ATTACKS
from sat_core.augmentation import AUGMENTATIONS
from sat_core.difficulty import DIFFICULTIES
from sat_core.member_losses import LOSSES
from sat_core.models import MODELS
from sat_core.registry import Registry
from sat_core.schedules import SCHEDULES
from sat_core.selection import SELECTION_RULES
from sat_core.threat import THREAT_MODELS
from sat_core.trackers import TRACKERS
from sat_core.weighting import WEIGHTING_RULES

REGISTRIES: tuple[Registry, ...] = (
    *(SELECTION_RULES, DIFFICULTIES, WEIGHTING_RULES, LOSSES, ATTACKS, THREAT_MODELS, SCHEDULES, AUGMENTATIONS),
    *(MODELS, TRACKERS),
)
"""Those that plug-ins add to, besides backends, data sets and evaluators."""
RULE = """
import numpy as np
from sat_core.selection import SELECTION_RULES, SelectionRule

class Middle(SelectionRule):
    name = "{name}"
    needs_all = True
    def order(self, ranking, listed, rng):
        return ranking[np.argsort(np.abs(np.arange(len(ranking)) - len(ranking) / 2), kind="stable")]

RULE = Middle()
"""
REGISTER = 'SELECTION_RULES.register("{name}", RULE)\n'
"""Behind `RULE`: of a module that `plugins` names, not of one that an entry point does."""


@contextmanager
def registries_as_they_were() -> Iterator[None]:
    """Inside, registries may be added to; afterwards entries and imported modules are as they were."""
    before, modules, path = [dict(each._entries) for each in REGISTRIES], {*sys.modules}, [*sys.path]
    try:
        yield
    finally:
        for each, entries in zip(REGISTRIES, before, strict=True):
            each._entries.clear()
            each._entries.update(entries)
        for name in {*sys.modules} - modules:
            if name.startswith(("sat_test_", "sat_example_plugin")):
                del sys.modules[name]
        sys.path[:] = path


def install(folder: Path, entry_points: str, **modules: str) -> None:
    """Write modules and the metadata of a package with these entry points into a folder for `sys.path`."""
    information = folder / "sat_test_package-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: sat-test-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, with a folder on its path."""
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
