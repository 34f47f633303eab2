"""The simulations behind docs/statistics.md: they find what covers and what does not, and name each public function."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def simulations(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("simulations")


def shares(rows: Any) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(f"{row.function} {row.number}", []).append(row.share)
    return found


def test_flags_have_their_shares_and_hard_images_in_common(simulations: ModuleType) -> None:
    model = importlib.import_module("simulations_model")
    one, other = (arm[0] for arm in model.flags(np.random.default_rng(0), 40_000, [0.1, 0.4], [1, 1]))
    assert (one.mean(), other.mean()) == pytest.approx((0.1, 0.4), abs=0.01)
    assert (one & other).mean() > 0.08  # 0.04 if they were independent
    trainings = model.flags(np.random.default_rng(0), 4000, [0.4], [60])[0]
    assert trainings.mean(1).std() == pytest.approx(0.0194, rel=0.4)  # 0.05 times the density at the threshold
    counts = model.pairs(np.random.default_rng(0), 1000, 0.4, 0.5, 500)
    assert counts[:, :2].sum(1).mean() / 1000 == pytest.approx(0.4, abs=0.01)
    assert [int(arm.sum()) for arm in model.spelt([3, 2, 1, 4])] == [5, 4]


def test_intervals_and_tests_of_pairs_hold(simulations: ModuleType) -> None:
    """With 300 draws, wide of the limits that the page has with 2,000."""
    part = importlib.import_module("simulations_pairs")
    found = shares(part.wilson_rows(np.random.default_rng(0), 300))
    found |= shares(part.mcnemar_rows(np.random.default_rng(1), 300))
    assert all(0.9 < share < 0.99 for share in found["sat_core.accuracy.wilson coverage"])
    assert all(0.02 < share < 0.08 for share in found["mcnemar.mcnemar: mid_p type-I error"])
    exact, mid = (np.mean(found[f"mcnemar.mcnemar: {name} type-I error"]) for name in ("exact", "mid_p"))
    assert exact < mid


def test_an_interval_that_is_too_narrow_is_found(simulations: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    part = importlib.import_module("simulations_pairs")
    real = part.wilson

    def narrow(count: int, n: int) -> Any:
        found = real(count, n)
        half = (found.high - found.low) / 4
        return type(found)(found.value, n, max(0.0, found.value - half), min(1.0, found.value + half))

    monkeypatch.setattr(part, "wilson", narrow)
    rows = list(part.wilson_rows(np.random.default_rng(0), 300))
    assert all(row.share < 0.8 and not row.held for row in rows)
    assert simulations.result(rows[0]) == "**outside**: not explained"


def test_the_page_says_what_is_outside_and_why(simulations: ModuleType) -> None:
    model = importlib.import_module("simulations_model")

    def row(share: float, wanted: tuple[float, float], reason: str = "") -> Any:
        return model.Row(
            function="law.Law.band", number="n", setting="s", draws=2000, share=share, wanted=wanted, reason=reason
        )

    assert simulations.result(row(0.95, model.COVERAGE)) == "held"
    assert simulations.result(row(0.99, model.COVERAGE, "conservative: x")) == "**outside**: conservative: x"
    assert simulations.result(row(0.80, model.COVERAGE, "conservative: x")) == "**outside**: not explained"
    assert simulations.result(row(0.01, model.TYPE_1, "conservative: x")) == "**outside**: conservative: x"
    assert simulations.result(row(0.20, model.TYPE_1, "conservative: x")) == "**outside**: not explained"
    assert "may be chance" in simulations.result(row(0.926, model.COVERAGE))
    text = simulations.page({"Curves": [row(0.95, model.COVERAGE), row(0.5, model.COVERAGE)]}, 2000, 1.0)
    assert (
        "**1 of 2 numbers are within these limits.** Outside are:\n\n- 1 of `law.Law.band`, n: not explained\n" in text
    )
    assert "| `law.fit_law` | 2 | 1 |" in text


def test_every_public_function_is_simulated_or_part_of_another(simulations: ModuleType) -> None:
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert "**not simulated**" not in page
    assert [name for name in simulations.public() if f"| `{name}` |" not in page] == []
    assert set(simulations.HELPERS) <= set(simulations.public())


def test_seeds_and_curves_are_simulated(simulations: ModuleType) -> None:
    for section, name in (("simulations_seeds", "matched_rows"), ("simulations_curves", "count_rows")):
        rows = list(getattr(importlib.import_module(section), name)(np.random.default_rng(0), 60))
        assert all(row.draws in (60, 120) for row in rows)
        kind = {"coverage": (0.8, 1.0), "type-I error": (0.0, 0.2)}
        assert all(kind[row.number][0] <= row.share <= kind[row.number][1] for row in rows)
