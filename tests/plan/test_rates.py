"""How fast a device is: what earlier runs took, the cache that keeps it, the table of cards, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from test_work import FACTS, study

from sat_core.errors import SpecError
from sat_evaluation.cli import main
from sat_evaluation.plan import cache
from sat_evaluation.plan.cache import Taken, add_taken, cache_file, read_taken
from sat_evaluation.plan.cards import cards, find_card, table_rates
from sat_evaluation.plan.history import history_rates
from sat_evaluation.plan.plan import plan_units
from sat_evaluation.plan.rates import HISTORY, TABLE, setting_of
from sat_evaluation.plan.sources import planning
from sat_evaluation.plan.units import UnitWork, study_units
from sat_evaluation.plan.words import time_lines


def units(**keys: Any) -> list[UnitWork]:
    return study_units(study(**{"subset.size": [0.0, 0.1, 0.5, 1.0], **keys}), FACTS)


def took(unit: UnitWork, *, device: str = "cpu 1", training: float = 1e-4, attack: float = 5e-5) -> Taken:
    """What the unit takes where each gradient and each pass has a fixed price."""
    work = unit.work
    checks, report = (
        (each.calls, each.passes, 1e-3 * each.calls + 1e-6 * each.passes) for each in (work.checks, work.report)
    )
    return Taken(
        device=device,
        backend="torch",
        setting=json.loads(json.dumps(attrs.asdict(setting_of(unit.spec, unit.facts)))),
        forward_flops=unit.cost.forward_flops if unit.cost else 0,
        work=(work.steps, work.training_gradients, work.attack_steps, work.attack_gradients, work.forwards),
        seconds=training * work.training_gradients + attack * work.attack_gradients,
        checks=checks,
        report=report,
    )


def test_what_finished_arms_took_is_expected_of_the_next() -> None:
    arms = [unit for unit in units() if unit.kind == "arm"]
    rates = history_rates([took(unit) for unit in arms], "cpu 1", "torch")
    longer = [unit for unit in units(**{"training.epochs": 12}) if unit.kind == "arm"]
    for planned, unit in zip(plan_units(longer, rates).units, longer, strict=True):
        assert planned.seconds is not None
        assert planned.seconds.total == pytest.approx(
            took(unit).seconds + took(unit).checks[2] + took(unit).report[2], rel=0.1
        )
        assert planned.rates is not None
        assert planned.rates.source == HISTORY
    assert history_rates([took(arms[0])], "cpu 2", "torch")(arms[0].spec, FACTS) is None
    assert history_rates([took(arms[0])], "cpu 1", "tensorflow")(arms[0].spec, FACTS) is None


def test_another_batch_size_or_network_is_less_sure() -> None:
    arms = [unit for unit in units() if unit.kind == "arm"]
    rates = history_rates([took(unit) for unit in arms], "cpu 1", "torch")
    same, batch, network = (
        rates(units(**keys)[1].spec, FACTS) for keys in ({}, {"training.batch_size": 32}, {"model.name": "resnet18"})
    )
    assert same is not None
    assert batch is not None
    assert network is not None
    assert same.factor < batch.factor < network.factor
    assert network.training > 10 * same.training


def test_a_single_training_is_less_sure_than_several() -> None:
    arms = [unit for unit in units() if unit.kind == "arm"]
    one, several = (history_rates([took(unit) for unit in some], "cpu 1", "torch") for some in (arms[:1], arms))
    single, all_of_them = one(arms[0].spec, FACTS), several(arms[0].spec, FACTS)
    assert single is not None
    assert all_of_them is not None
    # it nearly fits itself, and must not look as sure as what three trainings agree on
    assert single.factor >= 1.5 > all_of_them.factor


def test_the_cache_keeps_what_runs_took_and_a_damaged_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "KEPT", 3)
    assert read_taken() == ([], "")
    first = took(units()[1])
    add_taken([first])
    add_taken([attrs.evolve(first, seconds=float(number)) for number in (1, 2, 3)])
    assert [each.seconds for each in read_taken()[0]] == [1.0, 2.0, 3.0]
    cache_file().write_text(cache_file().read_text()[:-30])
    taken, line = read_taken()
    assert taken == []
    assert "damaged" in line
    add_taken([first])
    assert read_taken() == ([first], "")
    cache_file().write_text('{"version": 1, "taken": [{"device": 1}]}')
    assert "damaged" in read_taken()[1]


def test_a_cache_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAT_CACHE", "/dev/null/none")
    add_taken([took(units()[1])])
    assert read_taken() == ([], "")


def test_cards_are_found_by_their_names_and_half_precision_is_faster() -> None:
    assert len({card.title for card in cards()}) == len(cards())
    for name, title in {"NVIDIA H100 PCIe": "H100 PCIe", "NVIDIA H100 80GB HBM3": "H100", "Tesla T4": "T4"}.items():
        card = find_card(name)
        assert card is not None
        assert card.title == title
        assert 0 < card.float32 <= card.tf32 <= card.half
        assert card.source
    # names of which those of an A100, an A40 and an L4 are a part
    assert [find_card(name) for name in ("NVIDIA RTX A1000", "NVIDIA RTX A4000", "NVIDIA L40")] == [None] * 3
    full, half = (
        table_rates("NVIDIA A100-SXM4-40GB")(units(**{"training.precision": precision})[1].spec, FACTS)
        for precision in ("float32", "bf16")
    )
    assert full is not None
    assert half is not None
    assert full.source == TABLE
    assert full.training == pytest.approx(16 * half.training)
    # AutoAttack computes in float32, whatever the training does
    assert full.query == half.query
    with pytest.raises(SpecError, match="--card: expected one of H200"):
        planning(card="abacus")


def test_where_nothing_is_known_the_plan_says_how_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAT_CACHE", "/dev/null/none")
    (line,) = time_lines(planning().study(study()))
    assert "--measure" in line


def test_the_command_prints_each_training_or_of_many_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    assert main(["plan", str(root / "examples/digits.toml"), "--card", "A100"]) == 0
    shown = capsys.readouterr().out
    assert "size-0.5" in shown
    assert "expected: " in shown
    assert main(["plan", str(root / "examples/digits-strategies.toml")]) == 0
    shown = capsys.readouterr().out
    assert "9 arms" in shown
    assert "1 ranking, 33 arms" in shown
    assert main(["plan", str(root / "examples/digits.toml"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["units"]) == 6


def test_a_network_that_was_right_on_no_image_says_nothing_of_times() -> None:
    unit = next(unit for unit in units() if unit.kind == "arm")
    nothing = attrs.evolve(took(unit), checks=(0, 0, 0), report=(0, 0, 1.5))
    assert history_rates([nothing], "cpu 1", "torch")(unit.spec, FACTS) is None
    with_others = history_rates([nothing, took(unit)], "cpu 1", "torch")(unit.spec, FACTS)
    assert with_others == history_rates([took(unit)], "cpu 1", "torch")(unit.spec, FACTS)
