"""What an A is expected to recover: published curves, curves of own runs, and the interval."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toys import as_rows, result

from sat_core.errors import DataError, RunDirectoryError, SpecError
from sat_core.files import write_json
from sat_core.run_folder import RunFolder
from sat_core.spec import Spec
from sat_evaluation.plan.numbers import tables
from sat_evaluation.plan.own_curves import own_curves, with_own
from sat_evaluation.plan.published_curves import published_evidence, role_of
from sat_evaluation.plan.recovery import CEILING, Evidence, RecoveryCurve

ROOT = Path(__file__).parents[2]
TENTHS = tuple(tenth / 10 for tenth in range(1, 10))
T_2 = 4.302652729749462  # Student's t, 2 degrees of freedom, 0.975


def spec(name: str = "digits", **sections: dict[str, Any]) -> Spec:
    return Spec.from_tables({"data": {"name": name}, "training": {"epochs": 10}, **sections})


def curve(*recovered: float, shares: Any = (0.1, 0.5), error: float = 0.02, **options: Any) -> RecoveryCurve:
    return RecoveryCurve(
        name="c", shares=shares, robust=recovered, full=1.0, errors=(error,) * len(recovered), **options
    )


# curves ---------------------------------------------------------------------------------------------------------------


def test_recovery_is_the_share_of_the_gain_and_exact_at_the_arms() -> None:
    own = RecoveryCurve(name="c", shares=(0.2, 0.6), robust=(0.4, 0.5), plain=0.2, full=0.6, errors=(0.01, 0.03))
    assert own.recovered == pytest.approx((0.5, 0.75))
    assert [own.at(s) for s in (0, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 0.75, 1])
    assert [own.error_at(s) for s in (0.1, 0.2, 0.4, 0.9)] == pytest.approx([0.01, 0.01, 0.02, 0.03])
    assert [own.reaches(s) for s in (0.19, 0.2, 0.99)] == [False, True, True]


def test_a_curve_that_does_not_end_in_full_at_stays_where_it_ends() -> None:
    open_end = curve(0.5, 0.8, closed=False)
    assert [open_end.at(s) for s in (0.5, 0.7, 1.0)] == pytest.approx([0.8, 0.8, 0.8])
    assert not open_end.reaches(0.7)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1.05), min_size=9, max_size=9), st.floats(0, 1))
@example([0.0] * 8 + [5e-324], 0.5)
def test_between_two_arms_a_curve_stays_between_them(recovered: list[float], share: float) -> None:
    made = curve(*recovered, shares=TENTHS)
    x, y = np.array([0, *TENTHS, 1]), np.array([0, *made.recovered, 1])
    right = int(np.clip(np.searchsorted(x, share), 1, 10))
    low, high = sorted(y[right - 1 : right + 1])
    assert low - 1e-12 <= made.at(share) <= high + 1e-12


def test_curves_without_a_gain_or_out_of_order_are_refused() -> None:
    with pytest.raises(DataError, match=r"c: robust accuracy is 30\.0 % with full AT and 30\.0 % without"):
        RecoveryCurve(name="c", shares=(0.5,), robust=(0.3,), plain=0.3, full=0.3, errors=(0.0,))
    for shares in ((0.5, 0.1), (0.5, 1.0), (0.0, 0.5)):
        with pytest.raises(DataError, match="expected ascending"):
            curve(0.5, 0.6, shares=shares)
    with pytest.raises(DataError, match="as many accuracies"):
        RecoveryCurve(name="c", shares=(0.5,), robust=(0.3,), full=0.4, errors=())
    with pytest.raises(DataError, match="at least one curve"):
        Evidence(others=())


def test_curves_of_one_data_set_alone_are_averaged_by_their_precision() -> None:
    evidence = Evidence(others=(), same=(curve(0.5, 0.7, error=0.02), curve(0.5, 0.8, error=0.04)))
    expected, error = evidence.at(0.5), (1 / (1 / 0.02**2 + 1 / 0.04**2) + 0.02**2) ** 0.5
    assert expected.value == pytest.approx((4 * 0.7 + 0.8) / 5)
    assert (expected.low, expected.high) == pytest.approx((0.72 - 1.96 * error, 0.72 + 1.96 * error), abs=1e-4)
    assert evidence.elsewhere is None


def test_what_measures_the_planned_data_set_sharply_is_all_that_counts() -> None:
    others = tuple(curve(0.3, value) for value in (0.4, 0.6, 0.8))
    sharp, blunt = (Evidence(others=others, same=(curve(0.5, 0.9, error=e),)).at(0.5) for e in (0.01, 10.0))
    assert sharp.value == pytest.approx(0.9, abs=0.002)
    assert (sharp.low, sharp.high) == pytest.approx((0.9 - 1.96 * 0.01 * 2**0.5, 0.9 + 1.96 * 0.01 * 2**0.5), abs=0.003)
    assert blunt.value == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(("between", "error"), [(0.03, None), (0.02, 0.05)])
def test_intervals_cover_what_a_new_study_recovers(
    between: float, error: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 100 draws, wide of the limits that docs/statistics.md has with 2,000."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    simulated, rng = importlib.import_module("simulations_plan"), np.random.default_rng(0)
    assert 0.88 < np.mean([simulated.covers(rng, 3, between, error) for _ in range(100)]) < 0.995


def test_one_curve_of_another_data_set_says_nothing_of_how_they_differ() -> None:
    alone = Evidence(others=(curve(0.5, 0.8),)).at(0.5)
    assert (alone.value, alone.low, alone.high) == (0.8, None, None)


# published ------------------------------------------------------------------------------------------------------------


def test_the_published_curves_of_examples_are_three_data_sets() -> None:
    evidence = published_evidence(spec())
    assert [c.name for c in evidence.others] == ["CIFAR-10", "CIFAR-100", "ImageNet-200"]
    assert (evidence.same, evidence.notes) == ((), ())
    # Fig. 6: 66.4 of 69.0 and 63.3 of 69.0 with the hardest 50 and 30 % of CIFAR-10
    assert [evidence.others[0].at(s) for s in (0.5, 0.3)] == pytest.approx([66.4 / 69, 63.3 / 69])
    assert evidence.others[2].at(0.1) == pytest.approx(24.0 / 51.1)


def test_a_new_data_set_is_expected_at_the_mean_with_its_prediction_interval() -> None:
    evidence = published_evidence(spec())
    values = np.array([66.4 / 69, 38.0 / 40.9, 47.7 / 51.1])
    half = T_2 * values.std(ddof=1) * (1 + 1 / 3) ** 0.5
    half_of = evidence.at(0.5)
    assert half_of.value == pytest.approx(values.mean())
    assert (half_of.low, half_of.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert not half_of.extrapolated
    # data sets differ by more at 10 %, so that next to nothing is known
    assert (evidence.at(0.1).low, evidence.at(0.1).high) == (0, CEILING)
    assert [evidence.at(s).value for s in (0, 1)] == [0, 1]
    with pytest.raises(SpecError, match=r"expected a share in \[0, 1\], got 50"):
        evidence.at(50)


def test_the_deviation_is_the_largest_at_this_or_a_larger_share() -> None:
    evidence = Evidence(others=(curve(0.5, 0.6), curve(0.5, 0.8)))
    half = 12.706204736174694 * np.std([0.6, 0.8], ddof=1) * 1.5**0.5
    assert half > 1  # which is cut off
    assert (evidence.at(0.1).low, evidence.at(0.1).high) == (0, CEILING)


def test_below_ten_percent_is_marked_and_bounded_by_what_ten_percent_recovers() -> None:
    evidence = published_evidence(spec("cifar10"))
    tenth, less = evidence.at(0.1), evidence.at(0.05)
    assert (tenth.extrapolated, less.extrapolated) == (False, True)
    assert (less.low, less.high) == (0, tenth.high)
    assert 0 < less.value < tenth.value


def test_the_planned_data_set_counts_by_its_precision() -> None:
    evidence = published_evidence(spec("npz:somewhere/CIFAR-10.npz"))
    assert [c.name for c in evidence.same] == ["CIFAR-10"]
    assert len(evidence.others) == 2
    expected = evidence.at(0.3)
    mean = (33.4 / 40.9 + 41.7 / 51.1) / 2
    assert mean < expected.value < 63.3 / 69
    assert evidence.elsewhere is not None
    assert evidence.elsewhere.at(0.3).value == pytest.approx(mean)
    assert expected.low is not None
    assert expected.high is not None
    assert expected.low < 63.3 / 69 < expected.high
    # of another threat model it is one data set more
    other = published_evidence(spec("cifar10", attack={"norm": "Linf", "eps": "8/255"}))
    assert (len(other.others), other.same) == (3, ())
    assert "all published curves are of L2" in other.notes[0]


@pytest.mark.parametrize(
    ("subset", "attack", "target", "names", "note"),
    [
        ({"strategy": "random"}, {}, "", ["CIFAR-10", "CIFAR-100", "ImageNet-200"], ""),
        ({"strategy": "online-hardest"}, {}, "", ["CIFAR-10", "CIFAR-100", "ImageNet-200"], "random A stands in"),
        ({"kind": "classes"}, {}, "", ["CIFAR-10", "CIFAR-100", "ImageNet-200"], "in classes"),
        ({}, {"kind": "rs-fgsm"}, "", ["CIFAR-10", "CIFAR-100"], "catastrophic"),
        ({"strategy": "random"}, {"kind": "fgsm"}, "", ["CIFAR-10", "CIFAR-100", "ImageNet-200"], "the attack there"),
        ({}, {}, "svhn", ["CIFAR-100 → CIFAR-10", "ImageNet-200 → Flowers-102", "ImageNet-200 → Caltech-256"], ""),
    ],
)
def test_the_nearest_curves(
    subset: dict[str, Any], attack: dict[str, Any], target: str, names: list[str], note: str
) -> None:
    evidence = published_evidence(spec(subset=subset, attack=attack), target=target)
    assert [c.name for c in evidence.others] == names
    assert [note in each for each in evidence.notes] == [True] * bool(note)


def test_the_curve_of_the_same_transfer_is_found() -> None:
    evidence = published_evidence(spec("cifar100"), target="cifar10")
    assert [c.name for c in evidence.same] == ["CIFAR-100 → CIFAR-10"]
    assert published_evidence(spec("digits"), target="cifar10").same == ()


def test_every_published_curve_has_a_threat_model() -> None:
    assert {table["data"] for table in tables()["curves"]} == set(tables()["threats"])


@pytest.mark.parametrize(
    ("name", "role"),
    [("cifar10", "cifar10"), ("hf:uoft-cs/cifar100?x=1", "cifar100"), ("npz:a/cifar10_small.npz", ""), ("digits", "")],
)
def test_names_of_published_data_sets(name: str, role: str) -> None:
    assert role_of(name) == role


# own runs -------------------------------------------------------------------------------------------------------------


def test_an_own_curve_has_the_error_of_its_images() -> None:
    rows = as_rows([result(0, 0.40), result(500, 0.70), result(1000, 0.80)])
    ((own, row),) = own_curves(rows, "run", "examples", "hardest")
    assert (own.shares, own.own, own.name, own.source, row.data) == ((0.5,), True, "digits", "own run", "digits")
    assert own.at(0.5) == pytest.approx(0.75)
    variance = {p: p * (1 - p) / 400 for p in (0.4, 0.7, 0.8)}
    expected = (variance[0.7] + 0.75**2 * variance[0.8] + 0.25**2 * variance[0.4]) ** 0.5 / 0.4
    assert own.errors == pytest.approx([expected])


def test_seeds_add_their_variance_and_share_their_images() -> None:
    rows = as_rows(
        [result(0, 0.0), *(result(500, r, seed=i) for i, r in enumerate((0.5, 0.6, 0.7))), result(1000, 1.0)]
    )
    ((own, _),) = own_curves(rows, "run", "examples", "hardest")
    assert own.at(0.5) == pytest.approx(0.6)
    assert own.errors == pytest.approx([(0.6 * 0.4 / 400 + 0.01 / 3) ** 0.5])


def finished(path: Path, *contents: dict[str, Any]) -> Path:
    folder = RunFolder(path)
    folder.path.mkdir()
    folder.spec_file.write_text("")
    for content in contents:
        unit = folder.unit(content["arm"])
        unit.path.mkdir(parents=True)
        write_json(unit.results_file, content)
    return path


def test_own_runs_of_the_planned_data_set_are_measurements_of_it(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", result(0, 0.40), result(500, 0.70), result(1000, 0.80))
    planned, published = spec(attack={"norm": "L2", "eps": 0.5}), published_evidence(spec())
    evidence = with_own(published, [run], planned, "hardest")
    assert [c.own for c in evidence.curves] == [True, False, False, False]
    assert "own runs of this data set weigh the more" in evidence.notes[0]
    assert evidence.at(0.5).value < published.at(0.5).value
    others = with_own(published, [run], spec("other", attack={"norm": "L2", "eps": 0.5}), "hardest")
    assert [c.own for c in others.curves] == [False, False, False, True]
    assert "one more data set" in others.notes[0]


def test_own_runs_without_a_baseline_or_the_strategy_are_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", result(0, 0.40), result(500, 0.70))
    with pytest.raises(RunDirectoryError, match=r"run: expected finished arms .* not both baselines"):
        with_own(published_evidence(spec()), [run], spec(), "hardest")
    with pytest.raises(RunDirectoryError, match=r"made of the easiest examples.* got none"):
        with_own(published_evidence(spec()), [run], spec(), "easiest")
