"""What TensorBoard gets: each value of each epoch once, however often a training was stopped. Its own reader reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import job, same_bytes

from sat_core.arm import run_arm
from sat_core.errors import Interrupted, NotInstalledError, RunDirectoryError
from sat_core.ranking import Ranking, run_ranking
from sat_core.unit_folder import UnitFolder
from sat_evaluation.cli import main
from sat_evaluation.trackers import missing
from sat_evaluation.trackers.event_file import EventFile

pytestmark = pytest.mark.tensorboard

EVENTS = "events.out.tfevents.sat"


def curves(directory: Path) -> dict[str, dict[int, float]]:
    """Tags to epochs to values; an epoch that is there twice is an error."""
    accumulator = EventAccumulator(str(directory)).Reload()
    curves = {}
    for tag in accumulator.Tags()["scalars"]:
        points = [(event.step, event.value) for event in accumulator.Scalars(tag)]
        assert max(Counter(step for step, _ in points).values()) == 1, tag
        curves[tag] = dict(points)
    return curves


def finish(root: Path, *, on: bool = True, **changes: Any) -> Path:
    """A ranking and an arm."""

    def scalars(name: str) -> dict[str, Any]:
        return {"scalars": EventFile(UnitFolder(root / name).events_file).log} if on else {}

    ranking = run_ranking(job(root / "ranking", **changes, **scalars("ranking")))
    run_arm(job(root / "arm", **changes, **scalars("arm")), ranking)
    return root / "arm"


def test_the_curves_are_those_of_the_results(tmp_path: Path) -> None:
    arm = finish(tmp_path, keys={"attack.kind": "rs-fgsm", "training.schedule": "piecewise:2"})
    scalars, results = curves(arm), json.loads((arm / "results.json").read_text())
    assert scalars.pop("loss") == pytest.approx(dict(enumerate(results["losses"], 1)))
    assert scalars.pop("learning_rate") == pytest.approx({1: 0.05, 2: 0.05, 3: 0.005, 4: 0.005})
    gradients = scalars.pop("gradient_evaluations")
    assert list(gradients) == [1, 2, 3, 4]
    assert gradients[4] == results["cost"]["attack_gradients"] + results["cost"]["training_gradients"]
    for name in ("pgd_accuracy", "gradient_alignment"):
        assert scalars.pop(name) == pytest.approx(dict(enumerate(results["collapse"][name], 1)))
    for name in ("clean_accuracy", "robust_accuracy"):
        checks = {check["epoch"]: check[name]["all"]["value"] for check in results["selection"]["checks"]}
        assert scalars.pop(f"selection/{name}") == pytest.approx(checks)
        final = {results["selection"]["epoch"]: results[name]["all"]["value"]}
        assert scalars.pop(f"report/{name}") == pytest.approx(final)
    assert scalars == {}
    assert set(curves(tmp_path / "ranking")) == {"loss", "learning_rate", "gradient_evaluations"}


def test_gradients_of_an_epoch_are_those_that_its_steps_take(tmp_path: Path) -> None:
    one = job(tmp_path)
    fit = one.fit(one.build(), Ranking(scores={"entropy": np.arange(90.0)}).split(one), "")
    planner, total = fit.planner, 0
    for epoch, gradients in enumerate(fit.run().gradients):
        plan = planner.epoch(epoch)
        total += plan.index.size + 7 * plan.members.sum()
        assert gradients == total
        assert [planner.lr(epoch, step) for step in range(plan.steps)] == plan.lr.tolist()


@pytest.mark.parametrize("stop_every", [1, 3, 7])
def test_stopped_anywhere_it_has_the_same_curves_and_changes_no_byte_of_the_rest(
    tmp_path: Path, stop_every: int
) -> None:
    whole, broken, starts = finish(tmp_path / "whole"), tmp_path / "broken", 0
    while not (broken / "arm" / "results.json").exists():
        calls = iter(range(10**6))
        starts += 1
        try:
            finish(broken, stop=lambda calls=calls, n=stop_every + starts: next(calls) >= n)
        except Interrupted:
            assert starts < 200
    assert starts > 3
    for name in ("ranking", "arm"):
        assert curves(broken / name) == curves(tmp_path / "whole" / name)
        (broken / name / EVENTS).unlink()
    finish(tmp_path / "off", on=False)
    same_bytes(tmp_path / "off", broken)
    assert (whole / EVENTS).exists()


class Cut(Exception):
    """A crash at a chosen call."""


@pytest.mark.parametrize("after", range(1, 8))
@pytest.mark.parametrize("written", [False, True])
def test_a_crash_beside_any_value_leaves_none_out(tmp_path: Path, after: int, written: bool) -> None:
    whole = finish(tmp_path / "whole")
    ranking = run_ranking(job(tmp_path / "ranking"))

    def crashing(epoch: int, values: Any) -> None:
        nonlocal left
        left -= 1
        if written or left:
            file.log(epoch, values)
        if not left:
            raise Cut

    left, arm = after, tmp_path / "cut"
    file = EventFile(UnitFolder(arm).events_file)
    with pytest.raises(Cut):
        run_arm(job(arm, scalars=crashing, save_every=0.0), ranking)
    run_arm(job(arm, scalars=EventFile(UnitFolder(arm).events_file).log), ranking)
    assert curves(arm) == curves(whole)


def test_a_file_that_was_cut_off_goes_on_behind_its_last_whole_record(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    file = EventFile(UnitFolder(whole).events_file)
    for epoch in (1, 2, 3):
        file.log(epoch, {"loss": 1 / epoch, "learning_rate": 0.1})
    content, expected = (
        (whole / EVENTS).read_bytes(),
        {tag: [1, 2, 3, 4] for tag in ("loss", "learning_rate")},
    )
    for length in range(len(content)):
        cut = tmp_path / f"cut-{length}"
        cut.mkdir()
        (cut / EVENTS).write_bytes(content[:length])
        file = EventFile(UnitFolder(cut).events_file)
        for epoch in (1, 2, 3, 4):
            file.log(epoch, {"loss": 1 / epoch, "learning_rate": 0.1})
        assert {tag: list(points) for tag, points in curves(cut).items()} == expected


def test_turned_on_late_it_has_the_epochs_before(tmp_path: Path) -> None:
    whole = finish(tmp_path / "whole")
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        finish(tmp_path / "late", on=False, stop=lambda: next(calls) > 38)
    assert (tmp_path / "late/arm/selection.json").exists()
    assert curves(finish(tmp_path / "late")) == curves(whole)


def test_writing_imports_no_framework_and_the_reader_none_of_ours(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sat_evaluation.trackers.event_file import EventFile\n"
        "for _ in range(2): EventFile(Path(sys.argv[1]) / 'events.out.tfevents.sat').log(1, {'loss': 0.5})\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"torch", "tensorflow", "keras", "jax"}
    assert curves(tmp_path) == {"loss": {1: 0.5}}


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"tfevents\.sat: cannot be written \(Not a directory\)"):
        EventFile(UnitFolder(tmp_path / "file").events_file).log(1, {"loss": 1.0})
    (tmp_path / EVENTS).mkdir()
    with pytest.raises(RunDirectoryError, match=r"tfevents\.sat: cannot be read or written"):
        EventFile(UnitFolder(tmp_path).events_file)


def test_without_the_package_it_is_refused_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(missing, "find_spec", lambda _name: None)
    with pytest.raises(NotInstalledError):
        EventFile(UnitFolder(tmp_path).events_file)
    study = tmp_path / "study.toml"
    study.write_text('data.name = "digits"\ntraining.epochs = 1\n')
    for command in (["run", study], ["transfer", tmp_path, "--data", "digits"], ["reproduce", "fig3"]):
        arguments = [*map(str, command), "--out", str(tmp_path / "out"), "--track", "tensorboard"]
        assert main(arguments) == 2
        assert capsys.readouterr().err == (
            "sat: --track tensorboard needs tensorboard: pip install '.[tensorboard]' in the folder of sat-core's "
            "source\n"
        )
    assert not (tmp_path / "out").exists()
