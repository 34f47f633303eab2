"""The planner on studies: what of their grid counts, which settings it gives, and what is printed."""

from __future__ import annotations

import json
import shlex
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from sat_core.errors import SpecError
from sat_core.study import Study
from sat_core.tables import flatten, parse_setting
from sat_evaluation.cli import main
from sat_evaluation.cli.proposal_table import command, interval_text, print_proposal, size_text
from sat_evaluation.plan.planner import Proposal
from sat_evaluation.plan.recovery import Recovery
from sat_evaluation.plan.study_planner import propose_for

BASE = 'data.name = "digits"\ntraining.epochs = 4\n'
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


def price(study: Study) -> float:
    """An hour for the ranking, and (1 + 7 |A|) / 8 hours for each arm, twice that at the level plus."""
    arms = [arm.spec for arm in study.arms]
    return 1 + sum((1 + 7 * float(a.subset.size)) / 8 * (2 if a.evaluation.attacks == "plus" else 1) for a in arms)


def planned(text: str, hours: float | None = 20.0, of_full_at: float | None = None) -> Proposal:
    return propose_for(Study.loads(BASE + text), price, classes=10, hours=hours, of_full_at=of_full_at)


def printed(proposal: Proposal, width: int = 100) -> str:
    text = StringIO()
    print_proposal(proposal, "s.toml", console=Console(file=text, width=width))
    return text.getvalue()


def test_the_command_gives_the_study_that_was_priced() -> None:
    grid = """
        [grid]
        subset.strategy = ["easiest", "random"]
        subset.size = [0.0, 0.1, 0.2, 1.0]
        attack.eps = [0.5, 1.0]
    """
    study, proposal = Study.loads(BASE + grid), planned(grid, hours=None, of_full_at=0.5)
    settings = proposal.settings(proposal.recommended)
    assert settings == {
        "subset.strategy": "easiest",
        "attack.eps": 0.5,
        "subset.size": [0.0, 0.42, 1.0],
        "seeds": 3,
        "evaluation.attacks": "standard",
    }
    words = shlex.split(command(proposal, "s.toml"))
    assert words[:3] == ["sat", "run", "s.toml"]
    copied = dict(parse_setting(word) for before, word in pairwise(words) if before == "--set")
    assert copied == settings
    arms = study.set(copied).arms
    assert len(arms) == 9
    assert {arm.spec.attack.eps for arm in arms} == {0.5}
    assert proposal.recommended.hours == pytest.approx(price(study.set(copied)))


def test_the_command_gives_lists_of_words_and_truths_as_they_are() -> None:
    report = '[evaluation]\nreport_arms = ["size-0.1*"]\n'
    proposal = planned(f"{report}[grid]\nsubset.size = [0.0, 0.1, 1.0]\ntraining.nesterov = [true, false]")
    words = shlex.split(command(proposal, "s.toml"))
    copied = dict(parse_setting(word) for before, word in pairwise(words) if before == "--set")
    assert copied == proposal.settings(proposal.recommended)
    assert (copied["evaluation.report_arms"], copied["training.nesterov"]) == (["*"], True)


def test_the_first_arm_with_a_subset_says_how_a_is_chosen() -> None:
    proposal = planned(
        '[[grid]]\nsubset.size = [1.0, 0.0]\n[[grid]]\nsubset.strategy = ["random"]\nsubset.size = [0.5]'
    )
    assert proposal.fixed == {"subset.strategy": "random"}
    assert "of the grid, one value of each key counts: subset.strategy = random" in proposal.evidence.notes
    assert proposal.evidence.others[0].at(0.5) == pytest.approx(64.5 / 69)
    assert planned("").fixed == {}


def test_levels_of_a_grid_and_reported_arms_are_no_obstacle() -> None:
    levels = planned('[grid]\nevaluation.level = ["screening", "plus"]\nsubset.size = [0.5]')
    assert levels.fixed == {"evaluation.level": "screening"}
    assert {option.level for option in levels.options} == {"screening", "standard", "plus"}
    reported = planned('evaluation.report_arms = ["size-0.5"]\n[grid]\nsubset.size = [0.1, 0.5]')
    assert reported.fixed == {"evaluation.report_arms": ["*"]}


def test_heads_of_a_transfer_are_evaluated_at_the_same_level() -> None:
    proposal = planned('[transfer]\ntargets = ["mnist5k"]\n[grid]\nsubset.size = [0.5]')
    settings = proposal.settings(proposal.recommended)
    assert settings["evaluation.attacks"] == settings["transfer.attacks"] == proposal.recommended.level
    assert proposal.evidence.others[0].name == "CIFAR-100 → CIFAR-10"


def test_an_a_of_classes_is_planned_in_classes() -> None:
    proposal = planned('subset.kind = "classes"\nsubset.size = 0.3', hours=None, of_full_at=0.5)
    assert {option.share for option in proposal.options} == {0.4}


def test_an_a_that_is_listed_by_hand_is_refused() -> None:
    with pytest.raises(SpecError, match=r"subset\.classes: a planner chooses \|A\| itself"):
        planned('subset.kind = "classes"\nsubset.strategy = "listed"\nsubset.classes = [3]')


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_planned_or_says_why_not(path: Path) -> None:
    study = Study.load(path)
    if any(arm.spec.subset.strategy == "listed" for arm in study.arms):
        with pytest.raises(SpecError, match="listed by hand"):
            propose_for(study, price, classes=10, hours=10)
        return
    proposal = propose_for(study, price, classes=10, hours=10)
    assert proposal.recommended.hours is not None
    assert proposal.recommended.hours <= 10
    made = study.set(proposal.settings(proposal.recommended))
    assert len(made.arms) == 3 * proposal.recommended.seeds
    assert {flatten(arm.spec.to_tables())["evaluation.attacks"] for arm in made.arms} == {proposal.recommended.level}


# printed --------------------------------------------------------------------------------------------------------------


def test_the_table_says_what_is_recommended_and_what_it_is_from() -> None:
    proposal = planned("", hours=None, of_full_at=0.5)
    text = printed(proposal, 200)
    lines = text.splitlines()
    assert lines[0] == "What fits with 50 % of full AT's gradient evaluations"
    (row,) = [line.split() for line in lines if line.startswith("→") and "standard" in line and "in A" not in line]
    recovery = proposal.recommended.recovery
    assert row[:5] == ["→", "42", "%", "3", "standard"]
    assert f"{100 * recovery.value:.0f} %" in text
    assert interval_text(recovery) in text
    assert "CIFAR-10 64.9 of 69.0 % with 40 %" in text
    assert "the spread of n = 3" in text
    assert lines[-1] == command(proposal, "s.toml")
    assert "extrapolated" not in text
    assert "*:" not in text


def test_an_extrapolated_recovery_is_marked() -> None:
    text = printed(planned("", of_full_at=0.15, hours=None))
    assert "*: a smaller A, or a larger one" in text
    assert "%*" in text


def test_on_a_narrow_terminal_nothing_is_cut() -> None:
    wide, narrow = (printed(planned("", of_full_at=0.5), width) for width in (80, 50))
    assert "|A| seeds level" in " ".join(wide.split())
    assert "…" not in wide + narrow


def test_sizes_and_intervals_are_short() -> None:
    assert [size_text(share) for share in (0.42, 1 / 3, 0.4997)] == ["42 %", "33.3 %", "50 %"]
    unknown = Recovery(share=0.5, value=0.9, low=None, high=None, extrapolated=False)
    assert interval_text(unknown) == "not known"


# the command and the method -------------------------------------------------------------------------------------------


def test_the_command_prints_what_fits_on_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    path = next(str(each) for each in EXAMPLES if each.stem == "cifar10")
    assert main(["plan", path, "--card", "A100", "--hours", "8", "--of-full-at", "50%"]) == 0
    printed_lines = capsys.readouterr().out
    assert "What fits in 8.0 h and with 50 % of full AT's gradient evaluations" in printed_lines
    assert "from the table of cards, A100" in printed_lines
    assert f"sat run {path} --set subset.strategy=hardest" in printed_lines.replace(" \\\n ", "")


def test_what_fits_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    path = next(str(each) for each in EXAMPLES if each.stem == "cifar10")
    assert main(["plan", path, "--card", "A100", "--of-full-at", "50%", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["hours"], printed["of_full_at"]) == (None, 0.5)
    chosen = printed["recommended"]
    assert chosen in printed["options"]
    assert (chosen["share"], chosen["seeds"], chosen["level"]) == (0.42, 3, "standard")
    assert chosen["hours"] > chosen["baseline_hours"] > 0
    assert chosen["evaluations"] > chosen["baseline_evaluations"] > 0
    assert 0 < chosen["recovery"]["low"] < chosen["recovery"]["value"]
    again = Study.load(path).set(chosen["settings"])
    assert {arm.spec.subset.size for arm in again.arms} == {0.0, 0.42, 1.0}
    assert printed["evidence"]["same"][0]["name"] == "CIFAR-10"


def test_without_hours_rows_have_evaluations_of_the_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_CACHE", "/dev/null/none")
    path = next(str(each) for each in EXAMPLES if each.stem == "digits")
    assert main(["plan", path, "--of-full-at", "50%"]) == 0
    text = capsys.readouterr().out
    rows = [line.split()[-4:] for line in text.splitlines() if line.split()[-1:] == ["M"]]
    # more with each of three numbers of seeds, and with the level
    assert len(rows) == 9
    for first, second in ((0, 1), (1, 2), (0, 3), (3, 6)):
        assert float(rows[first][0]) < float(rows[second][0])
    assert "evaluations of the network, as no hours are known" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--of-full-at", "half"], "--of-full-at: expected a share between 0 and 100 %, as \"50%\" or 0.5, got 'half'"),
        (["--card", "A100", "--hours", "0.001"], "--hours: nothing fits into 4 s"),
        (["--card", "A100", "--hours", "-1"], "--hours: expected a number above 0"),
        (["--curves", "runs/a"], "--curves: expected --hours or --of-full-at beside it"),
        (["--card", "A100", "--hours", "8", "--curves", "nowhere"], "nowhere: expected the folder of a study"),
    ],
)
def test_the_command_refuses_in_its_own_words(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(str(each) for each in EXAMPLES if each.stem == "cifar10")
    assert main(["plan", path, *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"sat: {message}")


def test_a_study_in_python_says_what_fits() -> None:
    study = Study.loads(BASE)
    proposal = study.plan(of_full_at="50%", card="A100")
    assert isinstance(proposal, Proposal)
    chosen = proposal.recommended
    assert (chosen.share, chosen.seeds, chosen.level) == (0.42, 3, "standard")
    assert study.set(proposal.settings(chosen)).plan(card="A100").hours == pytest.approx(chosen.hours)
