"""An evaluation at another level begins where that of a weaker one ended."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
from toys import job

from sat_core.evaluation import ROBUST
from sat_evaluation.attack.package import find_package
from sat_evaluation.attack.plan import plan
from sat_evaluation.attack.record import EvaluationSettings, Record
from sat_evaluation.run.levels import go_on_from_weaker

pytestmark = pytest.mark.torch


def finished(title: str) -> Record:
    """A finished screening of the data of `toys.toy`, whose three classes leave APGD-CE of it."""
    planned, notes = plan("screening", norm="L2", classes=3, image_shape=(6, 6, 1))
    settings = EvaluationSettings(
        norm="L2", eps=0.5, attacks=planned, seed=0, batch_size=250, package=title, data="0", model="0"
    )
    record = Record.new(settings, np.zeros(4, np.int64), np.array([0, 0, 0, 1]), notes, 250)
    record.broken_by[0] = 0
    record.next[:] = len(planned), 0
    return record


def test_standard_begins_where_screening_ended(tmp_path: Path) -> None:
    arm = job(tmp_path, keys={"evaluation.level": "screening"})
    report, longer = (arm.folder.evaluation_file(name) for name in ("report", "report-standard"))
    finished(find_package().title).save(report)
    before = report.read_bytes()
    go_on_from_weaker(arm, "standard")
    record = Record.read(longer)
    assert [attack.name for attack in record.settings.attacks] == ["apgd-ce", "fab-t", "square"]
    assert (record.next.tolist(), record.broken_by.tolist()) == ([1, 0], [0, ROBUST, ROBUST, -2])
    assert report.read_bytes() == before
    written = longer.read_bytes()
    attrs.evolve(record, next=np.array([2, 0])).save(longer)
    go_on_from_weaker(arm, "standard")  # what has come further is kept
    assert longer.read_bytes() != written
    go_on_from_weaker(arm, "plus")
    assert not arm.folder.evaluation_file("report-plus").exists()


def test_what_another_version_attacked_or_is_damaged_is_not_gone_on_with(tmp_path: Path) -> None:
    arm = job(tmp_path)
    report, longer = (arm.folder.evaluation_file(name) for name in ("report", "report-standard"))
    go_on_from_weaker(arm, "standard")
    finished("pyautoattack 0.0.1").save(report)
    go_on_from_weaker(arm, "standard")
    report.write_bytes(report.read_bytes()[:100])
    go_on_from_weaker(arm, "standard")
    assert not longer.exists()
    screened = arm.folder.evaluation_file("report-screening")  # `sat evaluate STUDY --level screening` made it
    finished(find_package().title).save(screened)
    go_on_from_weaker(arm, "standard")
    assert longer.exists()
