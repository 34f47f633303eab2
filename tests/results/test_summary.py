"""Rows, groups, curves, the CSV file, the sentence and the table of a study, from made-up results."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from toys import ALL, HALF, NONE, as_rows, result

from sat_core.accuracy import wilson
from sat_core.arm_results import ArmResults
from sat_core.run_folder import RunFolder
from sat_evaluation.cli.study_table import print_table
from sat_evaluation.cli.summary import print_summary
from sat_evaluation.report.gather import Run
from sat_evaluation.report.tables import provenance
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.csv_file import csv_lines, csv_text, write_csv
from sat_evaluation.results.curves import group, series, varied
from sat_evaluation.results.headline import headline, title
from sat_evaluation.results.table import cost_unit
from sat_evaluation.results.text import duration, epsilon, percent


def test_warnings_that_all_arms_share_are_printed_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    results = [result(0, 0.43), result(500, 0.8), result(1000, 0.83)]
    for made, own in zip(results, ([], ["overfitting"], ["overfitting"]), strict=True):
        made["warnings"] = ["val is the test set", *own]
    print_summary([ArmResults.from_json(content) for content in results], RunFolder(tmp_path))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert lines == [
        "warning: val is the test set",
        "warning: hardest-500-0 and 1 more: overfitting",
    ]


def table(results: list[dict[str, Any]], width: int) -> str:
    output = io.StringIO()
    print_table(as_rows(results), Console(file=output, width=width))
    return output.getvalue()


def test_baselines_on_the_same_classes_as_an_arm() -> None:
    """Plain training on B = {c2, c3}, and not on all classes; A of the second seed has other classes."""
    shares = {"kind": "classes", "strategy": "random", "units": 2, "parts": (0.8, 0.3)}
    arms = [result(500, 0.5, seed=seed, chosen=chosen, **shares) for seed, chosen in ((0, (0, 1)), (1, (0, 3)))]
    plain = result(0, 0.1, kind="classes", units=0, per_class=[0.1, 0.2, 0.3, 0.5])
    one, both, baseline = (group(as_rows(rows))[0] for rows in (arms[:1], arms, [plain]))
    assert baseline.on_part_of(one, "robust_b") == pytest.approx(0.4)
    assert baseline.on_part_of(one, "robust_a") == pytest.approx(0.15)
    assert baseline.on_part_of(both, "robust_b") == pytest.approx((0.4 + 0.25) / 2)
    empty = result(0, 0.1, kind="classes", units=0, per_class=[0.1, 0.2, None, None])
    assert group(as_rows([empty]))[0].on_part_of(one, "robust_b") is None


def test_rows_say_what_the_results_say() -> None:
    none, half, full = as_rows([NONE, HALF, ALL])
    assert (none.baseline, half.baseline, full.baseline) == (Baseline.PLAIN, None, Baseline.FULL)
    assert (half.size, half.share, half.n, half.epoch) == (500, 0.5, 400, 7)
    assert half.robust.value == 0.815
    assert half.robust.low < 0.815 < half.robust.high
    assert half.cost == (3500 + 1000) / 8000
    assert half.training_seconds == 60.0
    assert half.seconds == 66.0
    assert full.cost == 1.0
    assert title([none, half]) == "digits · small-cnn · L2, ε = 0.5 · AutoAttack standard · n = 400"


def test_title_names_what_is_not_the_default() -> None:
    other = result(500, 0.5, n=300, attack__norm="Linf", attack__eps="8/255", training__precision="bf16")
    other["attacks"] |= {"engine": "fast", "breakdown": other["attacks"]["breakdown"][::3]}
    assert title(as_rows([other, HALF])) == (
        "digits · small-cnn · Linf, ε = 8/255 / L2, ε = 0.5 · trained in bf16 / float32 · "
        "apgd-ce + square (fast engine) / AutoAttack standard · n = 300 to 400"
    )


def test_title_has_no_folder_of_whoever_trained() -> None:
    other = result(500, 0.5)
    other["data"]["name"] = "npz:/home/me/cats.npz"
    assert title(as_rows([other])).startswith("npz:cats.npz · ")


def test_the_report_tells_in_what_all_arms_were_trained(tmp_path: Path) -> None:
    rows = as_rows([HALF, result(700, 0.5, training__precision="bf16", training__compile=True)])
    unused: dict[str, Any] = {"settings": [], "spec": "", "unfinished": [], "ranking": None, "data": None}
    table = provenance(Run(folder=RunFolder(tmp_path), name="study", rows=rows, problems=[], **unused))
    lines = {name: value for (name, _), (value, _) in table.rows}
    assert lines["training, precision"] == "float32 / bf16"
    assert lines["training, compile"] == "false / true"


def test_seeds_form_one_group_with_mean_interval_and_deviation() -> None:
    rows = as_rows([result(500, 0.80, seed=s, n=1000) for s in (0, 1)] + [result(500, 0.86, seed=2, n=1000), NONE])
    seeds, none = group(rows)
    assert [row.spec["training.seed"] for row in seeds.rows] == [0, 1, 2]
    robust = seeds.accuracy("robust")
    assert robust.value == pytest.approx(0.82)
    # as many images as each seed is tested on, which are the same
    assert robust.interval == wilson(820, 1000).interval
    assert seeds.deviation("robust") == pytest.approx(0.06 / 3**0.5)
    assert (none.deviation("robust"), seeds.deviation("robust_a")) == (None, None)
    assert none.accuracy("robust") == rows[-1].robust
    assert seeds.part("robust_a") is None


def test_baselines_are_shared_whatever_their_strategy_weights_or_attack() -> None:
    """Two runs of plain training that differ only in what has no effect are one; in ε they are two."""
    rows = as_rows(
        [
            NONE,
            result(0, 0.1, strategy="random", weighting__rule="balanced", attack__kind="fgsm"),
            ALL,
            result(1000, 0.1, strategy="easiest", weighting__rule="balanced"),
            HALF,
            result(500, 0.7, strategy="random"),
            result(0, 0.2, attack__eps=1.0),
        ]
    )
    assert [len(g.rows) for g in group(rows)] == [1] * 5
    hardest, random = series(rows)
    for curve in (hardest, random):
        assert curve.plain is not None
        assert curve.plain.rows == (rows[0],)
        assert curve.full is not None
        assert curve.full.rows == (rows[2],)
    assert [g.rows[0].size for g in hardest.points] == [0, 500, 1000]


def test_what_changes_nothing_in_plain_training_makes_no_other_baseline() -> None:
    nothing = {"loss__kind": "trades", "attack__restarts": 2, "attack__loss": "kl", "attack__warmup": 3.0}
    of_training = {"training__awp": 0.1, "training__batches": "stratified"}
    assert len(group(as_rows([NONE, result(0, 0.1, **nothing, **of_training)]))) == 1
    assert len(group(as_rows([NONE, result(0, 0.1, training__averaging="ema:0.9")]))) == 2


def test_arms_with_another_loss_attack_or_average_are_other_curves() -> None:
    """One key each; what follows from it, such as β, step size and random start, is not named."""
    keys = {"loss.kind": "trades", "attack.kind": "n-fgsm", "training.averaging": "ema:0.9", "subset.rerank": 5}
    changed = [result(500, 0.7, **{key.replace(".", "__"): value}) for key, value in keys.items()]
    rows = as_rows([HALF, *changed])
    assert sorted(varied(rows)) == sorted(keys)
    assert len(series(rows)) == len(group(rows)) == 5
    assert sorted(curve.settings for curve in series(rows)) == ["", *sorted(f"{k} = {v}" for k, v in keys.items())]
    named = [curve.settings for curve in series(as_rows([HALF, *changed[:1]]))]
    assert named == ["loss.kind = ce", "loss.kind = trades"]


def test_seeds_of_subsets_are_seeds() -> None:
    """Whether they follow the seed of the training or not; two subsets of one training seed are two."""
    seeds = [{"seed": 0}, {"seed": 1}, {"seed": 0, "subset__seed": 7}]
    rows = as_rows([result(500, 0.7, strategy="random", **seed) for seed in seeds])
    (one,) = group(rows)
    assert [row.seeds for row in one.rows] == [(0, 0), (1, 1), (0, 7)]
    assert [row.seeds for row in as_rows([result(500, 0.7, **seed) for seed in seeds])] == [(0, 0), (1, 1), (0, 0)]
    assert varied(rows) == []


def test_a_cheaper_attack_stands_at_its_own_cost() -> None:
    """Half of the examples in one step: 1000 + 500 of the 8000 gradients of full PGD, and not of its own 2000."""
    single = result(500, 0.7, attack__kind="n-fgsm")
    single["cost"] |= {"attack_gradients": 500, "full_at_gradients": 2000}
    for rows in (as_rows([single, ALL]), as_rows([ALL, single])):
        assert sorted(row.cost for row in rows) == [1500 / 8000, 1.0]
    full = result(1000, 0.8, attack__kind="n-fgsm")
    full["cost"] |= {"attack_gradients": 1000, "full_at_gradients": 2000}
    text = headline(as_rows([NONE, single, full, result(1000, 0.83)]))
    assert "at 75 % of the gradient evaluations (105 % with the ranking)" in text
    (alone,) = as_rows([single])
    assert alone.cost == 1500 / 2000


def test_a_clean_arm_has_no_attack_that_costs_are_shares_of() -> None:
    """Its settings have the default attack, PGD-7, where all others of the study take a single step."""
    arms = []
    for size, attacked in ((500, 500), (1000, 1000)):
        arm = result(size, 0.7, attack__kind="n-fgsm", attack__steps=1)
        arm["cost"] |= {"attack_gradients": attacked, "full_at_gradients": 2000}
        arms.append(arm)
    rows = as_rows([NONE, *arms])
    assert [row.cost for row in rows] == [1000 / 2000, 1500 / 2000, 1.0]
    assert cost_unit(rows) == "full AT = 100 %"
    assert "attack.kind" not in csv_text(rows).splitlines()[0]
    assert "attack.kind" in csv_text(as_rows([NONE, *arms, ALL])).splitlines()[0]
    assert [row.cost for row in as_rows([NONE])] == [1000 / 8000]


def test_full_training_with_another_attack_is_another_baseline() -> None:
    rows = as_rows([ALL, result(1000, 0.5, attack__kind="fgsm"), HALF])
    (curve,) = series(rows)
    assert curve.full is not None
    assert curve.full.rows == (rows[0],)


def test_curves_are_told_apart_by_the_settings_that_differ() -> None:
    rows = as_rows([result(s, 0.6, training__lr=lr, attack__eps=lr) for s in (700, 300) for lr in (0.1, 0.2)])
    assert varied(rows) == ["attack.eps"]  # step size and learning rate follow from it
    assert [(c.strategy, c.settings) for c in series(rows)] == [
        ("hardest", "attack.eps = 0.1"),
        ("hardest", "attack.eps = 0.2"),
    ]
    assert [g.rows[0].size for g in series(rows)[0].groups] == [300, 700]
    assert series(as_rows([NONE, HALF]))[0].settings == ""


def test_listed_classes_are_separate_arms_random_ones_are_seeds() -> None:
    listed = [result(250, 0.3, strategy="listed", kind="classes", units=1, chosen=(c,)) for c in range(2)]
    random = [result(250 + s, 0.3, strategy="random", kind="classes", units=1, chosen=(s,), seed=s) for s in range(2)]
    assert [len(g.rows) for g in group(as_rows(listed))] == [1, 1]
    assert [len(g.rows) for g in group(as_rows(random))] == [2]


def test_csv_has_no_formulas() -> None:
    text = csv_lines(["=name", "x"], [["+1+1", -0.5], ["@SUM(A1)", "8/255"], ["-2+3", None], ["\t=1", "plain, text"]])
    lines = list(csv.reader(io.StringIO(text)))
    expected = [["'=name", "x"], ["'+1+1", "-0.5"], ["'@SUM(A1)", "8/255"], ["'-2+3", ""], ["'\t=1", "plain, text"]]
    assert lines == expected


def test_csv_round_trip(tmp_path: Any) -> None:
    rows = as_rows([NONE, result(500, 0.815, parts=(0.9, 0.7), seed=3, model__name='a,"b"\nc')])
    write_csv(tmp_path / "summary.csv", rows)
    with (tmp_path / "summary.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [line["model.name"] for line in read] == ["small-cnn", 'a,"b"\nc']
    assert {"training.seed", "subset.size", "training.epochs"}.isdisjoint(read[0])
    for line, row in zip(read, rows, strict=True):
        assert float(line["robust_all"]) == row.robust.value
        assert float(line["robust_all_low"]) == row.robust.low
        assert float(line["robust_all_high"]) == row.robust.high
        assert float(line["clean_all"]) == row.clean.value
        assert (int(line["size"]), float(line["share"]), int(line["n"])) == (row.size, row.share, row.n)
        assert (line["arm"], line["seed"]) == (row.arm, str(row.spec["training.seed"]))
        assert float(line["cost"]) == row.cost
    assert [(line["robust_A"], line["robust_B"]) for line in read] == [("", ""), ("0.9", "0.7")]
    assert read[0]["weighting"] == "uniform"


def test_headline_numbers() -> None:
    assert headline(as_rows([NONE, HALF, ALL])) == (
        "50 % of the examples (hardest) recover 96 % of the robust accuracy that attacking all of them brings "
        "(81.5 % against 83.0 %, 43.0 % without), at 56 % of the gradient evaluations (64 % with the ranking)."
    )


def test_headline_takes_hardest_at_the_share_nearest_to_half() -> None:
    near, far = result(400, 0.63), result(900, 0.82)
    text = headline(as_rows([result(500, 0.5, strategy="random"), far, near, NONE, ALL]))
    assert text.startswith("40 % of the examples (hardest) recover 50 % of")


def test_headline_of_seeds_and_of_other_settings() -> None:
    seeds = [result(500, r, strategy="easiest", seed=s) for s, r in enumerate((0.6, 0.66))]
    text = headline(as_rows([*seeds, result(300, 0.5, strategy="easiest", training__lr=0.5), NONE, ALL]))
    assert "50 % of the examples (easiest, training.lr = 0.1) recover 50 % of" in text
    assert "(63.0 % against 83.0 %, 43.0 % without, means of 2 seeds)" in text


def test_headline_takes_the_best_of_single_classes() -> None:
    classes = [
        result(size, robust, strategy="listed", kind="classes", units=1, chosen=(number,))
        for number, (size, robust) in enumerate([(100, 0.5), (105, 0.63), (98, 0.55)])
    ]
    text = headline(as_rows([*classes, NONE, ALL]))
    assert text.startswith("10 % of the examples (c1, the best of 3 subsets) recover 50 % of"), text


@pytest.mark.parametrize(
    "missing", [[NONE, HALF], [HALF, ALL], [NONE, ALL], [result(0, 0.4, attack__eps=9.0), HALF, ALL]]
)
def test_no_headline_without_both_baselines(missing: list[dict[str, Any]]) -> None:
    assert headline(as_rows(missing)) == ""


@pytest.mark.parametrize("values", [(0.5, 0.4, 0.5), (0.5, 0.6, 0.5), (0.5, 0.4, 0.8)])
def test_headline_claims_nothing_where_nothing_is_recovered(values: tuple[float, float, float]) -> None:
    text = headline(as_rows([result(size, value) for size, value in zip((0, 500, 1000), values, strict=True)]))
    assert f"bring {100 * values[1]:.1f} % robust accuracy, all of them {100 * values[2]:.1f} %, none 50.0 %" in text


def test_table_of_one_strategy() -> None:
    lines = table([ALL, HALF, NONE], 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split("  ")[0] == "|A|"
    assert "strategy" not in lines[1]
    assert "on A" not in lines[1]
    lines_of_arms = [line for line in lines if "%" in line and "[" in line][:3]
    assert [line.split("  ")[0] for line in lines_of_arms] == ["none (plain training)", "500", "all (full AT)"]
    assert "81.5 [77.4, 85.0]" in lines_of_arms[1]
    assert "56 %" in lines_of_arms[1]
    assert "95 % Wilson interval" in lines[-3]
    # three times have no room beside each other
    assert lines[-1] == "all arms: training 3 min, checks 3 s, report 15 s"
    head, *arms = (line for line in table([ALL, HALF, NONE], 120).splitlines() if "|" in line)
    assert head.endswith("training | checks | report")
    assert [line.split("  ")[-1].strip() for line in arms] == ["60 s | 1 s | 5 s"] * 3


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_never_cuts_a_number(width: int) -> None:
    """Strategies, a setting, parts and seeds at once: columns go before numbers do, and the table says so."""
    results = [
        result(size, 0.6, strategy=strategy, seed=seed, training__lr=lr, parts=(0.9, 0.5), kind="classes", units=size)
        for size in (0, 300, 1000)
        for strategy in ("hardest", "random")
        for seed in (0, 1)
        for lr in (0.1, 0.25)
    ]
    text = table(results, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert text.count("60.0 ± 0.0 [55.1, 64.7]") == 8
    assert "training.lr" in text
    assert "±: standard deviation of 2 seeds" in " ".join(text.split())
    assert ("for lack of room: time" in text) == (width < 120)
    head = next(line for line in text.splitlines() if line.startswith("|A|"))
    assert ("cost" in head) == ("cost: gradient" in text) == (width > 60)


@pytest.mark.parametrize("width", [60, 80])
def test_methods_that_differ_in_several_settings_stay_readable_beside_their_accuracies(width: int) -> None:
    keys = {"loss__kind": "trades", "training__averaging": "ema:0.99", "attack__kind": "n-fgsm", "subset__rerank": 5}
    arms = [
        result(500, 0.8, strategy=how, **{k: v})
        for how in ("hardest", "online-hardest")
        for k, v in keys.items()
        if (how, k) != ("online-hardest", "subset__rerank")
    ]
    text = table([NONE, HALF, *arms, ALL], width)
    head = next(line for line in text.splitlines() if line.startswith("|A|"))
    assert head.split() == ["|A|", "method", "robust", "%", "clean", "%", "cost"]
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    for name in ("hardest, trades", "online-hardest", "plain training", "full AT", "hardest, n-fgsm"):
        assert f" {name}" in text
    (one,) = {line for line in table([NONE, *arms[:4], ALL], width).splitlines() if "plain" in line}
    assert one.startswith("none  plain training")


def test_table_of_listed_classes_shows_hostile_names_as_text() -> None:
    names = ["[red]cat[/red]", "a\nb\x1b[31m", "$x_1$", "d"]
    listed = [
        result(250, 0.3, strategy="listed", kind="classes", units=1, chosen=(c,), names=names, parts=(0.9, 0.2))
        for c in range(3)
    ]
    text = table([NONE, *listed, ALL], 100)
    assert "[red]cat[/red]" in text
    assert r"a\nb\x1b[31m" in text
    assert "$x_1$" in text
    assert "\x1b" not in text
    assert "plain training" in text
    assert "90.0" in text


def test_numbers_in_words() -> None:
    assert [duration(s) for s in (0.4, 89, 91, 5399, 5401)] == ["0 s", "89 s", "2 min", "90 min", "1.5 h"]
    assert [epsilon(e) for e in (0.5, 8 / 255, 0.25, 3.0, 0.12345)] == ["0.5", "8/255", "0.25", "3", "0.1235"]
    assert [percent(p) for p in (0.0, 0.0031, 0.0995, 1.0)] == ["0 %", "0.3 %", "10 %", "100 %"]
