"""The question before a run that is expected to take days: on a terminal, and without one."""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace

import pytest

from sat_core.study import Study
from sat_evaluation.cli.cost_lines import whole_plan
from sat_evaluation.cli.options import confirmation
from sat_evaluation.plan.facts import facts_of
from sat_evaluation.plan.units import study_units


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _answer(monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[bool, str]:
    out = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(text))
    monkeypatch.setattr(sys, "stdout", out)
    confirm = confirmation(Namespace(yes=False))
    assert confirm is not None
    return confirm("expected to take 2 days"), out.getvalue()


@pytest.mark.parametrize(
    ("text", "starts"),
    # the last is Ctrl-D: the end of the input
    [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("yesterday\n", False), ("", False)],
)
def test_only_yes_starts_it(monkeypatch: pytest.MonkeyPatch, text: str, starts: bool) -> None:
    answer, shown = _answer(monkeypatch, text)
    assert answer is starts
    assert shown.startswith("expected to take 2 days\nstart? [y/N] ")


def test_ctrl_c_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert _answer(monkeypatch, "")[0] is False


def test_without_a_terminal_and_with_yes_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    confirm = confirmation(Namespace(yes=False))
    assert confirm is not None
    assert confirm("expected to take 2 days") is True
    assert "note: expected to take 2 days; it starts without a question" in capsys.readouterr().err
    assert confirmation(Namespace(yes=True)) is None


def test_only_what_is_left_is_asked_about() -> None:
    tables = {"data.name": "digits", "model.name": "small-cnn", "training.epochs": 2}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in tables.items())
    study = Study.loads(f'{text}[grid]\n"subset.size" = [0.0, 0.5]\n')
    units = study_units(study, facts_of("digits"))
    arguments = Namespace(executor="slurm", jobs=1, devices=1, jobs_per_device=1, backend=None, device="cpu")
    # of another study of the same folder, too
    left, _ = whole_plan([units, units], arguments, [unit for unit in units if unit.name == "size-0.0"])
    assert [each.unit.name for each in left.units] == ["ranking", "size-0.5"]
    assert not whole_plan([units], arguments, units)[0].units
