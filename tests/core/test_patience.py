"""Early stopping on the selection split: when it ends a training, what is said of it, and that a later start obeys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rank_threads import on_ranks
from toys import accuracy, job, same_bytes

from sat_core.arm import run_arm
from sat_core.errors import Interrupted
from sat_core.json_fields import from_json
from sat_core.result_parts import Check
from sat_core.results import out_of_patience

KEYS = {
    "subset.size": 1.0,
    "training.epochs": 9,
    "training.schedule": "constant",
    "training.lr": 0.3,
    "training.precision": "float64",
    "evaluation.selection_epochs": [1, 2, 3, 5, 6, 7, 8, 9],
}
PATIENT = {**KEYS, "training.patience": 2}


def checks(robust: Sequence[float]) -> list[Check]:
    whole = [{"all": accuracy(value, 10), "A": None, "B": None} for value in robust]
    return [
        from_json(Check, {"epoch": epoch, "clean_accuracy": each, "robust_accuracy": each})
        for epoch, each in enumerate(whole, 1)
    ]


@pytest.mark.parametrize(
    ("robust", "patience", "ends"),
    [
        ([0.5, 0.4, 0.3], 2, True),
        ([0.5, 0.4, 0.6, 0.5], 2, False),
        ([0.5, 0.5, 0.5], 2, True),  # as high as before is no improvement
        ([0.5, 0.5], 2, False),
        ([0.0, 0.0], 1, True),
        ([0.5, 0.4, 0.3], 0, False),
        ([], 1, False),
    ],
)
def test_checks_in_a_row_without_an_improvement_end_a_training(robust: list[float], patience: int, ends: bool) -> None:
    assert out_of_patience(checks(robust), patience) == ends


def test_a_training_ends_as_its_checks_say_and_the_results_say_so(tmp_path: Path) -> None:
    """It is the first part of the whole training, with the best epoch and the cost of that part."""
    whole, told = run_arm(job(tmp_path / "whole", keys=KEYS)), []
    early = run_arm(job(tmp_path / "early", keys=PATIENT, progress=lambda *at: told.append(at)))
    seen = [n for n in range(1, 9) if out_of_patience(whole.selection.checks[:n], 2)]
    assert seen  # else this test says nothing
    assert early.selection.checks == whole.selection.checks[: seen[0]]
    assert early.epochs == early.selection.checks[-1].epoch < whole.epochs == 9
    assert early.losses == whole.losses[: early.epochs]
    assert early.cost.training_gradients == whole.cost.training_gradients * early.epochs // 9
    assert early.cost.full_at_gradients == whole.cost.full_at_gradients
    note = f"ended after epoch {early.epochs} of 9"
    assert [at for at in told if at[3] == note] == [("training", 45, 45, note)]


def test_stopped_anywhere_it_ends_with_the_same_bytes_and_trains_no_more(tmp_path: Path) -> None:
    run_arm(job(tmp_path / "whole" / "arm", keys=PATIENT))
    broken, starts = tmp_path / "broken" / "arm", 0
    while not (broken / "results.json").exists():
        calls, starts = iter(range(10**6)), starts + 1
        try:
            run_arm(job(broken, keys=PATIENT, stop=lambda calls=calls, n=3 + starts: next(calls) >= n))
        except Interrupted:
            assert starts < 200
    assert starts > 3
    same_bytes(tmp_path / "whole", tmp_path / "broken")
    before = (broken / "checkpoint-last.safetensors").read_bytes()
    (broken / "results.json").unlink()
    run_arm(job(broken, keys=PATIENT))
    assert (broken / "checkpoint-last.safetensors").read_bytes() == before
    same_bytes(tmp_path / "whole", tmp_path / "broken")


def test_ranks_end_together_and_a_later_start_adds_no_device(tmp_path: Path) -> None:
    alone = run_arm(job(tmp_path / "one", keys=PATIENT))
    together: Any = on_ranks(2, tmp_path / "two", keys=PATIENT)
    assert (together.epochs, together.devices) == (alone.epochs, (2,))
    (tmp_path / "two" / "arm" / "results.json").unlink()
    assert run_arm(job(tmp_path / "two" / "arm", keys=PATIENT)).devices == (2,)
