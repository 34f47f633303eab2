"""`sat rank`."""

from __future__ import annotations

from pathlib import Path

import pytest
from sat_command import refused, sat
from toys import digits

import sat_core
from sat_core.agreement import shown_rho
from sat_core.difficulty import DIFFICULTIES
from sat_core.ranking import Ranking
from sat_core.unit_folder import UnitFolder
from sat_evaluation.cli import main

pytestmark = pytest.mark.backend


def test_a_ranking_is_saved_as_an_order_that_a_study_can_name(tmp_path: Path) -> None:
    data, out = f"npz:{digits(tmp_path / 'digits.npz')}", tmp_path / "out"
    arguments = ["rank", "small-cnn", "--data", data, "--epochs", 2, "--set", "training.batch_size=32", "--out", out]
    arguments += ["--set", "loss.kind=trades", "--set", "training.averaging=ema:0.9"]
    arguments += ["--figure", tmp_path / "agreement.png"]
    done = sat(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    order = sat_core.read_order(out / "order.npy", 160)
    assert sorted(order.tolist()) == list(range(160))
    words = " ".join(done.stdout.split())
    assert "warning: a ranking does not use loss.kind, training.averaging: it is of a plain training" in words
    assert f"160 examples, hardest first: {order[0]}, {order[1]}, " in words
    ranking = Ranking.read(UnitFolder(out / "ranking"))
    assert [*ranking.scores] == [*DIFFICULTIES]  # those that take an extra pass, too
    name, rho, (tenth, *_) = ranking.agreement().rows("entropy")[0]
    assert "agreement with entropy: Spearman's ρ, and % of the hardest examples in common" in words
    assert f" {name} {shown_rho(rho)} {100 * tenth:.0f} " in words
    numbers = " ".join(map(str, range(1, 11)))
    assert f"Spearman's ρ of all scores {numbers} 1 entropy 2 {name} {shown_rho(rho)} 3 " in words
    matrix = done.stdout.partition("of all scores\n")[2].partition("\n\n")[0]
    assert max(map(len, matrix.splitlines())) < 80
    assert {path.name for path in tmp_path.glob("agreement.*")} == {"agreement.png", "agreement.svg"}
    study = sat_core.Study.from_tables({"data": {"name": data}, "training": {"epochs": 1}})
    assert study.set({"ranking.file": str(out / "order.npy")}).arms[0].spec.ranking.file


def test_what_makes_no_ranking_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rank", "small-cnn", "--data", f"npz:{digits(tmp_path / 'digits.npz')}", "--out", tmp_path / "out"]
    refused(capsys, [*arguments, "--metric", "entropie"], "did you mean 'entropy'")
    refused(capsys, [*arguments, "--epochs", "0"], "epochs: expected an integer >= 1")
    with pytest.raises(SystemExit):
        main(["rank", "small-cnn"])
    assert "required: --data, --out" in capsys.readouterr().err
