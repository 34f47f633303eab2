"""A tracker of a user's module that raises at every call: the study is the same, and says so once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sat_command import sat
from toys import same_bytes

pytestmark = pytest.mark.torch  # trackers are told by the core, whichever the backend

MODULE = """
from sat_core.trackers import TRACKERS, Tracker, TrackerRun

class Broken(Tracker):
    name = "broken"
    def check(self): pass
    def prepare(self): raise KeyError("no server")
    def start(self, unit): raise SystemExit("log in first")

class Late(Tracker):
    name = "late"
    def check(self): pass
    def start(self, unit): return LateRun()

class LateRun(TrackerRun):
    def log(self, epoch, values): raise ConnectionError("gone")

TRACKERS.register("broken", Broken())
TRACKERS.register("late", Late())
"""


def test_a_study_does_not_depend_on_its_trackers(finished: Path, study: Path, tmp_path: Path) -> None:
    (tmp_path / "own_trackers.py").write_text(MODULE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    arms = ["--set", "subset.size=[0.5]", "--import", "own_trackers", "--track", "broken", "--track", "late"]
    done = sat("run", study, "--out", tmp_path / "out", *arms, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    # the ranking and the arm say the same
    assert warnings == [
        "warning: broken is not ready: KeyError: 'no server'",
        "warning: broken lacks what came after this error of its own: SystemExit: log in first",
        "warning: late lacks what came after this error of its own: ConnectionError: gone",
    ]
    log = (tmp_path / "out/arms/size-0.5/log.txt").read_text()
    assert log.count("warning: late lacks") == 1
    # which attack broke which image, at every check and in the report
    same_bytes(finished / "arms/size-0.5/evaluation", tmp_path / "out/arms/size-0.5/evaluation")
