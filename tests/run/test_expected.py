"""The expected time of arms, by which the longest start first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toys import job

from sat_core.errors import SpecError
from sat_core.reference import NumpyBackend
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.run.expected import expected_passes
from sat_evaluation.run.prepare import prepare_study
from sat_evaluation.run.view import Silent

KEYS = {"evaluation.attacks": ["apgd-ce"], "evaluation.selection_attacks": ["apgd-ce"], "attack.steps": 7}


def passes(size: int, **keys: Any) -> float:
    return expected_passes(job(Path("nowhere"), keys={**KEYS, **keys}), size)


def test_what_takes_longer_is_expected_to() -> None:
    assert passes(0) < passes(9) < passes(90)
    assert passes(45) < passes(45, **{"training.epochs": 8})
    assert passes(45) < passes(45, **{"attack.steps": 20})
    assert passes(45) < passes(45, **{"evaluation.attacks": ["apgd-ce", "square"]})
    assert passes(45, **{"evaluation.examples": 5}) < passes(45)
    # an engine that spares the second query of FAB-T
    fab = {"evaluation.attacks": ["fab-t"]}
    assert passes(45, **fab, **{"evaluation.engine": "fast"}) < passes(45, **fab)


@pytest.mark.data
def test_units_start_longest_first_after_the_ranking(tmp_path: Path) -> None:
    tables = {"data": {"name": "digits"}, "model": {"name": "linear"}, "evaluation": {"examples": 10}}
    sizes = [0.0, 0.1, 0.3, 0.5, 1.0]
    study = Study(settings=tables, grids={"subset.size": sizes, "training.epochs": [1, 200]})

    def names(study: Study, out: str) -> list[str]:
        return [unit.name for unit in prepare_study(study, RunFolder(tmp_path / out), NumpyBackend(), (), Silent())]

    long, short = ([f"size-{size}_epochs-{epochs}" for size in reversed(sizes)] for epochs in (200, 1))
    ranking, *arms = names(study, "both")
    assert ranking == "ranking"
    assert sorted(arms) == sorted(arm.name for arm in study.arms)
    assert [name for name in arms if name in long] == long
    assert [name for name in arms if name in short] == short
    # |A| alone would put the short training of everything before the long one of a half
    assert arms.index(long[-2]) < arms.index(short[0])


def test_attacks_that_do_not_fit_the_data_are_refused_before_a_training() -> None:
    with pytest.raises(SpecError, match="none is left of apgd-t"):
        passes(9, **{"evaluation.attacks": ["apgd-t"]})
