"""Plans on terminals of several widths, and what a run says of its plan."""

from __future__ import annotations

import shlex
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sat_core.study import Study
from sat_evaluation.cli import main
from sat_evaluation.cli.lines import without, wrapped
from sat_evaluation.cli.plan_table import print_plan
from sat_evaluation.cli.proposal import proposal
from sat_evaluation.cli.proposal_table import print_proposal
from sat_evaluation.plan.plan import Plan
from sat_evaluation.plan.sources import planning
from sat_evaluation.run.expected import Expected, announce
from sat_evaluation.run.view import View

DIGITS = Path(__file__).parents[2] / "examples/digits.toml"


def plan() -> Plan:
    return planning(card="A100").study(Study.load(DIGITS))


def test_lines_are_broken_between_words_and_numbers_keep_their_units() -> None:
    assert wrapped("short", 5) == ["short"]
    assert wrapped("  it recovers 90 % of it", 16) == ["  it recovers", "    90 % of it"]
    assert wrapped("12 GFLOP of 3.4 min", 13) == ["12 GFLOP of", "  3.4 min"]
    assert wrapped("images, 8 x 8 x 1", 12) == ["images,", "  8 x 8 x 1"]
    assert wrapped("a runs/very-long-name", 8) == ["a", "  runs/very-long-name"]


def test_columns_go_in_their_order_until_the_others_fit() -> None:
    columns = {"a": ["1"], "bb": ["22"], "ccc": ["333"]}
    assert without(columns, 10, ("ccc", "a")) == []
    assert without(columns, 9, ("none", "ccc", "a")) == ["ccc"]
    assert without(columns, 2, ("ccc", "a")) == ["ccc", "a"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_plan_fits_the_terminal_and_names_its_trainings(width: int) -> None:
    text = StringIO()
    print_plan(plan(), "digits.toml", Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text.getvalue()
    assert {"training", "ranking", "size-0.0", "size-1.0"} <= {line.split()[0] for line in lines if line}
    assert ("only with --json for lack of room: memory" in text.getvalue()) == (width == 60)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_fits_fits_the_terminal(width: int) -> None:
    study, text = Study.load(DIGITS), StringIO()
    made = planning(card="A100").study
    fitting = proposal(study, made, hours=8.0, of_full_at="50%")
    assert fitting is not None
    print_proposal(fitting, "digits.toml", made(study), Console(file=text, width=width))
    printed = text.getvalue()
    assert max(map(len, printed.splitlines())) <= width
    assert ("lack of room: baselines" in printed) == (width == 60)
    command = printed.replace(" \\\n ", "").splitlines()[-1]
    assert command.startswith("sat run digits.toml --set 'subset.size=[0.0, 0.42, 1.0]' --set seeds=")
    assert command.endswith(" --set evaluation.attacks=standard --out runs/planned")


def test_a_study_without_autoattack_says_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "agreement", "--dry-run", "--out", "none"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("#")]
    assert any("FLOP of training" in line for line in lines)
    assert any("memory: " in line for line in lines)
    assert not any("AutoAttack" in line for line in lines)


@pytest.mark.parametrize("figure", ["agreement", "fig2"])
def test_a_dry_run_of_figures_prints_nothing_before_its_error(figure: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", figure, "--data", "nothing", "--dry-run", "--out", "none"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "unknown data set 'nothing'" in printed.err


@pytest.mark.backend
@pytest.mark.parametrize("setting", ["data.name=nothing", "model.name=nothing"])
def test_a_dry_run_of_a_study_prints_nothing_before_its_error(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(DIGITS), "--set", setting, "--dry-run", "--out", "none"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "'nothing'" in printed.err


@pytest.mark.parametrize("card", [[], ["--card", "A100"]])
def test_of_a_network_that_is_not_ours_a_plan_says_what_measures_it(
    card: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAT_CACHE", str(tmp_path))
    assert main(["plan", str(DIGITS), "--set", "model.name=own:make", *card]) == 0
    words = " ".join(capsys.readouterr().out.split())
    says = "FLOPs, memory and hours: not known of own:make; `sat plan STUDY --measure` measures it, for --card too"
    assert words.count("not known") == words.count(says) == 1
    assert "of this device" not in words


@pytest.mark.parametrize("size", [128, 25600])
def test_a_card_without_room_is_named(size: int, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(DIGITS.with_name("cifar10.toml"))
    assert main(["plan", study, "--card", "A100", "--set", f"training.batch_size={size}"]) == 0
    assert ("more than the 40 GB of this card" in capsys.readouterr().out) == (size > 128)


def test_the_command_of_what_fits_keeps_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--set", "model.name=linear", "--set", "seeds=5", "--backend", "torch", "--device", "cuda:1"]
    assert main(["plan", str(DIGITS), *given, "--of-full-at", "50%"]) == 0
    command = shlex.split(capsys.readouterr().out.replace(" \\\n ", "").splitlines()[-1])
    assert command[:5] == ["sat", "run", str(DIGITS), "--set", "model.name=linear"]
    assert command.count("seeds=3") == 1
    assert "seeds=5" not in command
    assert command[command.index("--backend") + 1] == "torch"
    assert command[command.index("--device") + 1] == "cuda:1"
    assert main(["plan", str(DIGITS), *given, "--of-full-at", "50%", "--card", "A100"]) == 0
    assert "--device" not in capsys.readouterr().out


def test_what_a_run_expects_has_one_prefix() -> None:
    class Notes(View):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def note(self, text: str) -> None:
            self.lines.append(text)

    view = Notes()
    announce(Expected(plan(), plan()), view)
    assert view.lines[0].startswith("expected to take ")
    assert view.lines[1].startswith("from the table of cards, A100")
    assert not any(line.split(" ")[0].endswith(":") for line in view.lines)
