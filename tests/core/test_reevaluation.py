"""A finished arm is evaluated at another level: nothing is trained, and its results keep what they had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import job, toy

from sat_core.arm import run_arm
from sat_core.autoattack import CUSTOM, LEVELS
from sat_core.errors import CheckpointError, Interrupted, RunDirectoryError
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.job import Job
from sat_core.outcome import TrainingResult
from sat_core.ranking import run_ranking
from sat_core.reevaluation import evaluate_arm

Calls = list[tuple[Any, str]]


def by_number(calls: Calls) -> Any:
    """An evaluator whose attacks break the correct images in turn: the first attack the first one, and so on.

    calls: gets the attacks and the name of the file of each evaluation.
    """

    def evaluate(
        classifier: Any, images: np.ndarray, labels: np.ndarray, *, norm: str, eps: float, **options: Any
    ) -> Evaluation:
        attacks = options["attacks"]
        calls.append((attacks, options["path"].stem))
        settings = LEVELS[attacks] if isinstance(attacks, str) else tuple(CUSTOM[name] for name in attacks)
        correct = classifier.logits(images[np.arange(len(labels))]).argmax(1) == labels
        broken_by = np.where(correct, ROBUST, MISCLASSIFIED)
        places = np.flatnonzero(correct)[: len(settings)]
        broken_by[places] = np.arange(len(places))
        options["progress"](1.0, settings[-1].name)
        threat = {"norm": norm, "eps": eps, "package": "numpy 2"}
        return Evaluation(label=labels, broken_by=broken_by, attacks=settings, **threat)

    return evaluate


def finished(folder: Path, calls: Calls, evaluation: dict[str, Any], **keys: Any) -> Job:
    settings = {f"evaluation.{key}": value for key, value in evaluation.items()}
    arm = job(folder / "arm", evaluator=by_number(calls), keys={**settings, **keys})
    run_arm(arm, run_ranking(job(folder / "ranking", keys={**settings, **keys})))
    calls.clear()
    return arm


def test_standard_brings_screening_with_it(tmp_path: Path) -> None:
    results = finished(tmp_path, [], {}).folder.results()
    screening = results.at("screening")
    assert screening is not None
    assert (results.level, screening.level) == ("standard", "screening")
    assert screening.robust.all.count - results.robust.all.count == 2  # FAB-T and Square broke one each
    assert screening.attacks.breakdown == results.attacks.breakdown[:2]
    assert results.at("plus") is None
    assert type(results).from_json(results.to_json()) == results


@pytest.mark.parametrize("asked", ["screening", ["apgd-ce"]])
def test_a_stronger_level_is_reported_and_the_weaker_one_kept(tmp_path: Path, asked: Any) -> None:
    calls: Calls = []
    classes = {"subset.kind": "classes", "subset.size": 1}
    arm = finished(tmp_path, calls, {"attacks": asked}, **classes)
    weights, before = arm.folder.best_checkpoint.read_bytes(), arm.folder.results()
    results = evaluate_arm(arm, "standard")
    assert calls == [("standard", "report-standard")]
    assert results == arm.folder.results()
    assert results.level == "standard"
    assert results.robust.all.count < before.robust.all.count
    assert results.robust.a is not None
    assert results.robust.b is not None
    kept = results.at(before.level)
    assert kept is not None
    assert (kept.robust, kept.attacks) == (before.robust, before.attacks)
    assert sorted(each.attacks.level for each in results.levels) == sorted({"screening", before.level})
    assert (results.selection, results.experiment, results.clean) == (
        before.selection,
        before.experiment,
        before.clean,
    )
    assert weights == arm.folder.best_checkpoint.read_bytes()
    assert evaluate_arm(arm, "standard") == evaluate_arm(arm, "screening") == results
    assert len(calls) == 1
    assert run_arm(arm) == results
    assert evaluate_arm(arm, "plus").level == "plus"


def test_a_weaker_level_does_not_replace_the_reported_one(tmp_path: Path) -> None:
    arm = finished(tmp_path, [], {"level": "plus"})
    before = arm.folder.results()
    results = evaluate_arm(arm, "screening")
    assert (results.level, results.robust) == ("plus", before.robust)
    assert [each.attacks.level for each in results.levels] == ["screening"]


def test_the_result_of_a_training_has_the_flags_of_the_level_that_is_reported(tmp_path: Path) -> None:
    calls: Calls = []
    arm = finished(tmp_path, calls, {"level": "screening"}, **{"subset.size": 1.0})
    results = evaluate_arm(arm, "standard")
    result = TrainingResult.read(arm, results, None, None)
    assert calls[-1] == ("standard", "report-standard")
    assert result.robust_accuracy == results.robust_accuracy


def test_an_interrupted_evaluation_changes_nothing(tmp_path: Path) -> None:
    arm = finished(tmp_path, [], {"level": "screening"})
    before = arm.folder.results_file.read_bytes()
    with pytest.raises(Interrupted):
        evaluate_arm(attrs.evolve(arm, stop=lambda: True), "standard")
    assert arm.folder.results_file.read_bytes() == before


def test_what_is_not_the_arm_any_more_is_refused(tmp_path: Path) -> None:
    arm = finished(tmp_path, [], {"level": "screening"})
    with pytest.raises(RunDirectoryError, match="images or labels of toy are others than when the arm was trained"):
        evaluate_arm(attrs.evolve(arm, data=toy(seed=1)), "standard")
    other = finished(tmp_path / "other", [], {"level": "screening"}, **{"training.seed": 1})
    arm.folder.best_checkpoint.write_bytes(other.folder.best_checkpoint.read_bytes())
    with pytest.raises(CheckpointError):
        evaluate_arm(arm, "standard")
    assert arm.folder.results().level == "screening"
