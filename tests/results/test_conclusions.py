"""What is concluded from a study: pairs, all arms, recovered shares, and what cannot be said."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
from flagged import flags, make_run, write_arm

from sat_core import files
from sat_core.errors import SpecError
from sat_core.run_folder import RunFolder
from sat_evaluation.results.chosen_pairs import Arms, compare_arms, compare_runs
from sat_evaluation.results.conclusion_files import write_conclusions
from sat_evaluation.results.conclusions import Conclusions, compare_to, conclude, labels
from sat_evaluation.results.curves import group
from sat_evaluation.results.headline import headline
from sat_evaluation.results.rows import collect
from sat_evaluation.results.verdicts import Comparison, seen
from sat_evaluation.statistics.cochran import cochran_q
from sat_evaluation.statistics.estimate import estimate
from sat_evaluation.statistics.holm import holm
from sat_evaluation.statistics.mcnemar import mcnemar, visible_difference
from sat_evaluation.statistics.paired import paired_difference
from sat_evaluation.statistics.recovered import recovered


def pair(made: Conclusions, one: str, other: str) -> Comparison:
    (found,) = (c for c in made.comparisons if (c.one, c.other) == (one, other))
    return found


def test_pairs_are_with_baselines_and_at_the_same_size(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path)
    made = conclude(rows, folder)
    assert {(c.one, c.other) for c in made.comparisons} == {
        ("hardest 50 %", "full AT"),
        ("hardest 50 %", "plain training"),
        ("random 50 %", "full AT"),
        ("random 50 %", "plain training"),
        ("full AT", "plain training"),
        ("hardest 50 %", "random 50 %"),
    }
    hardest, random = flags(400, 0.5, 2), flags(400, 0.45, 3)
    found = pair(made, "hardest 50 %", "random 50 %")
    assert found.estimate.p == mcnemar(hardest, random).mid_p
    assert found.estimate.difference.value == pytest.approx(0.05)
    assert [c.adjusted for c in made.comparisons] == holm([c.estimate.p for c in made.comparisons])
    assert made.overall is not None
    assert made.overall.p == cochran_q([flags(400, 0.1, 1), hardest, random, flags(400, 0.52, 99)]).p
    assert made.notes == ()


def test_sentences_say_what_was_found_and_what_could_have_been_seen(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path)
    made = conclude(rows, folder)
    found = pair(made, "hardest 50 %", "plain training")
    assert found.found
    assert found.sentence.startswith("hardest 50 % is 40.0 points [")
    assert "] more robust than plain training (p < 0.0001, adjusted < 0.0001; McNemar mid-P" in found.sentence
    assert "n = 400)" in found.sentence
    none = pair(made, "hardest 50 %", "full AT")
    assert not none.found
    assert none.sentence.startswith("no difference found between hardest 50 % and full AT (-2.0 points [")
    assert none.sentence.endswith(f"could have seen {100 * none.estimate.visible:.1f} points")
    assert none.verdict == f"none found, could have seen {100 * none.estimate.visible:.1f} points"
    assert made.overall is not None
    assert made.overall.sentence.startswith("the 4 trainings differ in robust accuracy (Cochran's Q = ")


def test_what_could_have_been_seen_is_at_the_level_of_the_correction(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    shares = {0: 0.1, 490: 0.5, 500: 0.51, 1000: 0.52}
    contents = [write_arm(folder, size, flags(400, share, size)) for size, share in shares.items()]
    made = conclude(collect(folder.unit(c["arm"]).results() for c in contents), folder)
    assert [c.found for c in made.comparisons].count(False) == 2
    for each in made.comparisons:
        discordant, level = each.estimate.discordant, 0.05 if each.found else 0.05 / 2
        assert discordant is not None
        assert each.estimate.visible == visible_difference(400, discordant, level=level)


def test_the_lesser_arm_is_less_robust_by_a_positive_number(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    contents = [write_arm(folder, 100, flags(400, 0.2, 1)), write_arm(folder, 1000, flags(400, 0.5, 2))]
    made = conclude(collect(folder.unit(c["arm"]).results() for c in contents), folder)
    (found,) = made.comparisons
    low, high = 100 * found.estimate.difference.low, 100 * found.estimate.difference.high
    assert f"30.0 points [{-high:.1f}, {-low:.1f}] less robust than full AT" in found.sentence


def test_shares_are_recovered_with_their_interval(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path)
    shares = conclude(rows, folder).shares
    assert [share.name for share in shares] == ["hardest 50 %", "random 50 %"]
    expected = recovered(flags(400, 0.1, 1), flags(400, 0.5, 2), flags(400, 0.52, 99)).interval
    assert shares[0].recovered.interval == expected
    assert shares[0].text == f"95 % [{100 * expected.low:.0f}, {100 * expected.high:.0f}]"
    assert shares[0].over == "test images"
    assert conclude(rows, folder).share(group(rows)[1]) == shares[0]


def test_the_headline_has_the_interval_and_compares_with_full_at(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path)
    text = headline(rows, folder)
    share = conclude(rows, folder).shares[0]
    found = compare_to(group(rows)[-1], group(rows)[1], folder)
    assert found is not None
    assert f"(hardest) recover {share.text} (95 % interval over test images) of the robust accuracy" in text
    visible = f"{100 * found.estimate.visible:.1f} points"
    assert text.endswith(f". No difference to full AT found; could have seen {visible}.")
    assert headline(rows).startswith("50 % of the examples (hardest) recover 95 % of the robust accuracy")
    folder.unit(rows[0].arm).remove_evaluations()
    assert "recover 95 % (no interval: flags of test images are missing) of" in headline(rows, folder)


def test_the_headline_says_where_full_at_is_better(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    shares = {0: 0.1, 500: 0.3, 1000: 0.6}
    contents = [write_arm(folder, size, flags(400, share, size)) for size, share in shares.items()]
    text = headline(collect(folder.unit(c["arm"]).results() for c in contents), folder)
    expected = paired_difference(flags(400, 0.6, 1000), flags(400, 0.3, 500))
    ends = f"[{100 * expected.low:.1f}, {100 * expected.high:.1f}]"
    assert text.endswith(f"Full AT is 30.0 points {ends} more robust (p < 0.0001).")


def test_the_best_of_several_subsets_is_not_better_by_chance(tmp_path: Path) -> None:
    folder, full = RunFolder(tmp_path), np.arange(400) < 200
    better = full.copy()
    better[200:214], better[:4] = True, False
    assert 0.05 / 3 < mcnemar(full, better).mid_p < 0.05
    arms = {0: np.arange(400) < 40, 495: full, 500: better, 505: full, 1000: full}
    contents = [write_arm(folder, size, robust) for size, robust in arms.items()]
    rows = collect(folder.unit(c["arm"]).results() for c in contents)
    assert "(hardest, the best of 3 subsets)" in headline(rows, folder)
    assert " No difference to full AT found; could have seen " in headline(rows, folder)
    alone = [row for row in rows if row.size not in (495, 505)]
    assert "] less robust (p = 0.0" in headline(alone, folder)


def test_a_share_of_nothing_is_said_to_be_unknown(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    sizes = (0, 500, 1000)
    contents = [write_arm(folder, size, flags(100, 0.5 + size / 1e5, size)) for size in sizes]
    (share,) = conclude(collect(folder.unit(c["arm"]).results() for c in contents), folder).shares
    assert share.text.endswith("[any share: full AT is not found to be better than plain training]")


def test_seeds_are_a_level_of_their_own(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path, seeds=3)
    made = conclude(rows, folder)
    found = pair(made, "hardest 50 %", "random 50 %")
    assert found.estimate.seeds == (1, 3)
    assert found.estimate.over == "test images and seeds"
    assert "n = 400, 1 and 3 seeds" in found.sentence
    assert made.overall is not None
    assert made.overall.how == "F over images and seeds"
    assert made.share(group(rows)[2]).over == "test images and seeds"  # type: ignore[union-attr]
    assert pair(made, "full AT", "plain training").estimate.over == "test images"


def test_two_seeds_far_apart_can_show_no_difference() -> None:
    apart, alike = ([np.arange(40) < k for k in each] for each in ((40, 31), (38, 40)))
    assert seen(estimate(apart, alike)) == "could have seen none"
    assert seen(estimate(alike[0], alike[1])).endswith(" points")


def test_clean_accuracy_is_compared_too(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path)
    made = conclude(rows, folder, measure="clean")
    assert made.shares == ()
    assert "accurate on clean images" in made.comparisons[1].sentence or not made.comparisons[1].found
    assert made.comparisons[0].one_value == rows[1].clean.value


def test_arms_without_flags_are_named_and_left_out(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path)
    folder.unit(rows[1].arm).remove_evaluations()
    made = conclude(rows, folder)
    assert {name for c in made.comparisons for name in (c.one, c.other)} == {"random 50 %", "full AT", "plain training"}
    (note,) = made.notes
    assert note.startswith("hardest 50 % is not compared, only its Wilson interval is known: ")
    assert len(note.splitlines()) == 1
    for row in rows:
        folder.unit(row.arm).remove_evaluations()
    nothing = conclude(rows, folder)
    assert (nothing.comparisons, nothing.shares, nothing.overall) == ((), (), None)
    assert nothing.notes[0].startswith(
        "4 of 4 are not compared, only their Wilson intervals are known; plain training: "
    )


def test_other_images_are_compared_without_pairs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    one = write_arm(folder, 500, flags(100, 0.4))
    other = write_arm(folder, 1000, flags(200, 0.8), np.arange(100, 300))
    made = conclude(collect(folder.unit(c["arm"]).results() for c in (one, other)), folder)
    (found,) = made.comparisons
    assert "different images" in found.estimate.how
    assert "n = 100 and 200" in found.sentence
    assert made.overall is None


def test_arms_are_compared_under_one_threat_model_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    contents = [
        write_arm(folder, size, flags(400, share, size), seed=seed, attack__eps=eps)
        for seed, eps in enumerate((0.5, 0.25))
        for size, share in ((0, 0.2), (500, 0.4 + 0.1 * seed), (1000, 0.5))
    ]
    rows = collect(folder.unit(c["arm"]).results() for c in contents)
    made = conclude(rows, folder)
    assert len(made.comparisons) == 4
    assert all(c.one.endswith(c.other[-3:]) for c in made.comparisons)
    assert made.overall is None
    assert made.notes == (
        "not compared with each other: arms on digits, L2, ε = 0.5, standard / digits, L2, ε = 0.25, standard",
    )
    clean = conclude(rows, folder, measure="clean")  # on the same images, whatever the attack
    assert clean.overall is not None
    assert "hardest 50 %, attack.eps = 0.25" in {c.other for c in clean.comparisons}


def test_a_single_image_in_common_is_no_sample(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    numbers = np.arange(100)
    contents = [
        write_arm(folder, 0, flags(100, 0.2), numbers),
        *(write_arm(folder, 500, flags(100, 0.4, s), numbers + 99, seed=s) for s in range(2)),
        write_arm(folder, 1000, flags(100, 0.5), numbers),
    ]
    made = conclude(collect(folder.unit(c["arm"]).results() for c in contents), folder)
    assert "different images" in pair(made, "hardest 50 %", "full AT").estimate.how
    assert (made.shares, made.overall) == ((), None)


def test_seeds_that_are_too_few_are_not_said_to_count(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path, seeds=2)
    overall = conclude(rows, folder).overall
    assert overall is not None
    assert overall.how == "F over images"


def test_records_are_numbers_and_names(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path, seeds=2)
    records = json.loads(json.dumps(conclude(rows, folder).records()))
    (record,) = (r for r in records if (r["one"], r["other"]) == ("hardest 50 %", "random 50 %"))
    assert (record["one_arms"], record["other_arms"]) == ("hardest-500-0", "random-500-0 random-500-1")
    assert record["low"] < record["difference"] < record["high"]
    assert record["n_one"] == record["n_other"] == 400


def test_groups_that_are_called_alike_have_their_arm_in_the_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    contents = [write_arm(folder, size, flags(40, 0.5, size)) for size in (500, 502)]
    rows = collect(folder.unit(c["arm"]).results() for c in contents)
    assert [*labels(rows).values()] == ["hardest 50 % (hardest-500-0)", "hardest 50 % (hardest-502-0)"]


def test_arms_of_listed_classes_are_called_by_these(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    arms = [{"strategy": "listed", "kind": "classes", "units": 1, "chosen": (1,)}, {}]
    contents = [
        write_arm(folder, size, flags(40, 0.5), **options) for size, options in zip((250, 1000), arms, strict=True)
    ]
    rows = collect(folder.unit(c["arm"]).results() for c in contents)
    assert [*labels(rows).values()] == ["A = c1", "full AT"]


def test_arms_of_two_runs_are_compared_by_their_names(tmp_path: Path) -> None:
    (one, rows), (other, others) = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    first = Arms(folder=one, rows=rows, name="one")
    second = Arms(folder=other, rows=others, name="two")
    made = compare_runs(first, second)
    assert [(c.one, c.other) for c in made.comparisons][1] == ("hardest 50 % in one", "hardest 50 % in two")
    assert all(c.estimate.p == 1 and c.tests == 4 for c in made.comparisons)
    assert made.notes == ()
    single = compare_arms(only(first, "hardest-500-0"), only(second, "random-500-0"))
    assert [c.estimate.difference.value for c in single.comparisons] == pytest.approx([0.05])
    with pytest.raises(SpecError, match="expected arms of the same names, got hardest-0-0 and hardest-500-0"):
        compare_runs(only(first, "hardest-0-0"), only(second, "hardest-500-0"))


def only(arms: Arms, name: str) -> Arms:
    return attrs.evolve(arms, rows=[row for row in arms.rows if row.arm == name])


def test_runs_without_a_common_test_image_say_how_to_have_one(tmp_path: Path) -> None:
    runs = []
    for name, images in (("one", np.arange(100)), ("two", np.arange(100, 200))):
        folder = RunFolder(tmp_path / name)
        content = write_arm(folder, 500, flags(100, 0.4), images)
        rows = collect([folder.unit(content["arm"]).results()])
        runs.append(Arms(folder=folder, rows=rows, name=name))
    made = compare_runs(*runs)
    (note,) = made.notes
    assert "compared without pairs" in note
    assert note.endswith("pairs need runs with the same data, evaluation.selection_share and evaluation.examples")


def test_other_attacks_are_refused_with_what_measures_the_same(tmp_path: Path) -> None:
    runs = []
    for name, level in (("one", "standard"), ("two", "plus")):
        folder = RunFolder(tmp_path / name)
        content = write_arm(folder, 500, flags(100, 0.4))
        unit = folder.unit(content["arm"])
        content["attacks"]["level"] = level
        files.write_json(unit.results_file, content)
        runs.append(Arms(folder=folder, rows=collect([unit.results()]), name=name))
    with pytest.raises(SpecError) as error:
        compare_runs(*runs)
    first, second = str(error.value).splitlines()
    assert first.endswith(f"got standard in {runs[0].folder} and plus in {runs[1].folder}")
    assert f"`sat evaluate {runs[0].folder} --level plus`" in second
    assert f"sat evaluate {runs[1].folder}" not in second
    assert "--accuracy clean" in second
    assert [pair.measure for pair in compare_runs(*runs, measure="clean").comparisons] == ["clean"]


def test_files_have_what_is_concluded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    contents = [write_arm(folder, size, flags(100, 0.5 + size / 1e5, size)) for size in (0, 500, 1000)]
    made = conclude(collect(folder.unit(c["arm"]).results() for c in contents), folder)
    write_conclusions(tmp_path / "made.json", made)
    content = json.loads((tmp_path / "made.json").read_text())
    assert (content["recovered"][0]["low"], content["recovered"][0]["n"]) == (None, 100)  # any share
    assert content["overall"]["how"] == "Cochran's Q"
    write_conclusions(tmp_path / "made.csv", made)
    lines = (tmp_path / "made.csv").read_text().splitlines()
    assert len(lines) == 1 + len(content["pairs"]) == 4
    assert lines[0].startswith("one,other,one_arms,other_arms,accuracy,")
    with pytest.raises(SpecError, match=r"--out: expected a file that ends in \.csv or \.json"):
        write_conclusions(tmp_path / "made.txt", made)


def test_studies_of_many_arms_compare_with_the_baselines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rows = make_run(tmp_path)
    monkeypatch.setattr("sat_evaluation.results.conclusions.LIMIT", 5)
    made = conclude(rows, folder)
    assert len(made.comparisons) == 5
    assert made.notes == ("1 pairs of arms with the same |A| are not compared; `sat compare RUN ARM ARM` does it",)
