"""Finished arms of other studies are taken over where they are the same, and only there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from toys import job, toy

from sat_core.arm import run_arm
from sat_core.errors import RunDirectoryError
from sat_core.ranking import Ranking, run_ranking
from sat_core.reuse import Finished
from sat_core.unit_folder import UnitFolder


def finish(study: Path, name: str = "arm", **changes: Any) -> Ranking:
    ranking = run_ranking(job(study / "ranking", **changes))
    run_arm(job(study / "arms" / name, **changes), ranking)
    return ranking


def test_a_ranking_and_an_arm_are_taken_over_whole(tmp_path: Path) -> None:
    ranking = finish(tmp_path / "a")
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    finished, new = Finished([tmp_path / "a"], besides=tmp_path / "b"), tmp_path / "b"
    assert finished.take_ranking(job(new / "ranking"))
    assert (new / "ranking/ranking.npz").read_bytes() == (tmp_path / "a/ranking/ranking.npz").read_bytes()
    arm = job(new / "arms" / "other-name")
    assert finished.take_arm(arm, Ranking.read(UnitFolder(new / "ranking")))
    results = arm.folder.results()
    assert (results.arm, results.reused) == ("other-name", "../../../a/arms/arm")
    assert run_arm(arm, ranking) == results
    weights = [folder / "checkpoint-best.safetensors" for folder in (tmp_path / "a/arms/arm", arm.folder.path)]
    assert os.path.samefile(*weights)
    assert not list(new.rglob(".partial*"))
    assert before == {path: path.read_bytes() for path in before}
    (tmp_path / "a/arms/arm/checkpoint-best.safetensors").unlink()
    assert weights[1].exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": {"training.seed": 1}},
        {"keys": {"attack.eps": 0.4}},
        {"keys": {"subset.size": 45}},
        {"data": toy(seed=1)},
    ],
)
def test_what_differs_in_anything_is_not_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    ranking = finish(tmp_path / "a")
    finished = Finished([tmp_path], besides=tmp_path / "b")
    assert not finished.take_arm(job(tmp_path / "b", **changes), ranking)
    assert not (tmp_path / "b").exists()


def test_the_same_settings_with_another_a_are_not_the_same(tmp_path: Path) -> None:
    ranking = finish(tmp_path / "a")
    other = Ranking(scores={name: -scores for name, scores in ranking.scores.items()})
    finished = Finished([tmp_path / "a"], besides=tmp_path / "b")
    assert not finished.take_arm(job(tmp_path / "b"), other)
    (tmp_path / "a/arms/arm/split.json").write_text("cut off")
    assert not finished.take_arm(job(tmp_path / "b"), ranking)


def test_unfinished_arms_and_the_own_folder_are_not_taken(tmp_path: Path) -> None:
    ranking = finish(tmp_path / "a")
    assert not Finished([tmp_path], besides=tmp_path / "a").take_arm(job(tmp_path / "b"), ranking)
    results = tmp_path / "a/arms/arm/results.json"
    for content in (results.read_text()[:400], "", "[]", "{}"):
        results.write_text(content)
        assert not Finished([tmp_path], besides=tmp_path / "b").take_arm(job(tmp_path / "b"), ranking)
    results.unlink()
    assert not Finished([tmp_path], besides=tmp_path / "b").take_arm(job(tmp_path / "b"), ranking)
    with pytest.raises(RunDirectoryError, match="expected a folder with finished studies, found none"):
        Finished([tmp_path / "nowhere"], besides=tmp_path / "b")
