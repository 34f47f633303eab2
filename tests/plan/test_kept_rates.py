"""Rates that were measured before: kept in the user's cache, and what comes before them."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from test_rates import took, units
from test_work import FACTS

from sat_core.network_cost import network_cost
from sat_core.sections import ModelSpec
from sat_evaluation.plan.cache import add_taken
from sat_evaluation.plan.devices import device_name
from sat_evaluation.plan.kept_rates import KeptRates, keep_rates, kept_file, read_kept
from sat_evaluation.plan.rates import HISTORY, MEASURED, Rates, setting_of
from sat_evaluation.plan.sources import planning

RATES = Rates(
    training=1e-4, attack=5e-5, forward=1e-5, query=1e-6, attacks=(("square", 1e-3, 2e-6),), source=MEASURED,
    detail="20 s", factor=1.25,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAT_CACHE", str(tmp_path / "cache"))


def kept(device: str = "", backend: str = "torch", **changes: object) -> KeptRates:
    setting = attrs.evolve(setting_of(units()[1].spec, FACTS), **changes)
    return KeptRates(device or device_name("cpu"), backend, setting, RATES)


def test_measurements_are_kept_and_newer_ones_take_their_place() -> None:
    assert read_kept() == ([], "")
    keep_rates([kept(), kept(threads=4), kept(device="another")])
    newer = attrs.evolve(kept(), rates=attrs.evolve(RATES, training=1.0))
    keep_rates([newer])
    assert read_kept()[0] == [kept(threads=4), kept(device="another"), newer]
    kept_file().write_text(kept_file().read_text()[:-30])
    measured, line = read_kept()
    assert measured == []
    assert "damaged" in line
    assert planning().notes == (line,)
    keep_rates([kept()])
    assert read_kept() == ([kept()], "")


@pytest.mark.parametrize("other", [{"device": "another"}, {"backend": "tensorflow"}, {"threads": 4}, {"model": "x"}])
def test_only_those_of_the_same_kind_count(other: dict[str, object]) -> None:
    spec = units()[1].spec
    keep_rates([kept(**other)])  # type: ignore[arg-type]
    assert planning(backend="torch").rates(spec, FACTS) is None
    keep_rates([kept(batch_size=7)])
    assert planning(backend="torch").rates(spec, FACTS) == RATES


def test_runs_of_the_same_setting_come_first_if_there_are_enough_and_they_agree() -> None:
    arms = [unit for unit in units() if unit.kind == "arm"]
    spec = arms[0].spec

    def source() -> str:
        rates = planning(backend="torch").rates(spec, FACTS)
        assert rates is not None
        return rates.source

    here = device_name("cpu")
    add_taken(took(unit, device=here) for unit in arms[:2])
    assert source() == HISTORY
    keep_rates([kept()])
    assert source() == MEASURED
    add_taken([took(arms[2], device=here)])
    assert source() == HISTORY
    slow = took(arms[2], device=here)  # beside other programs
    add_taken([attrs.evolve(slow, seconds=4 * slow.seconds)])
    assert source() == MEASURED


def test_a_card_knows_the_cost_of_a_network_that_was_measured_on_another_device() -> None:
    spec = attrs.evolve(units()[1].spec, model=ModelSpec(name="own:make"))
    assert planning(card="A100").rates(spec, FACTS) is None
    cost = network_cost("small-cnn", FACTS.image_shape, FACTS.classes)
    measured = attrs.evolve(
        kept(model="own:make", device="another", batch_size=7), rates=attrs.evolve(RATES, cost=cost)
    )
    keep_rates([kept(model="own:make"), measured])
    rates = planning(card="A100").rates(spec, FACTS)
    assert rates is not None
    named = planning(card="A100").rates(attrs.evolve(spec, model=ModelSpec(name="small-cnn")), FACTS)
    assert named is not None
    assert rates == attrs.evolve(named, cost=cost)
    assert planning(card="A100").units(units(**{"model.name": "own:make"})).flops is not None
    assert planning(card="A100").rates(spec, attrs.evolve(FACTS, image_shape=(9, 9, 1))) is None
