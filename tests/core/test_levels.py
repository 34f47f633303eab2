"""Levels of evaluation: what they are made of, and how a study names them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from sat_core.autoattack import CUSTOM, LEVELS, attacks_of, level_of
from sat_core.errors import SpecError
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.transfer import transfer_spec

PLAIN: dict[str, Any] = {"data": {"name": "digits"}, "training": {"epochs": 3}}


def attacks(spec: Spec) -> tuple[Any, Any]:
    """What reports, and what picks the epoch."""
    return spec.evaluation.attacks, spec.evaluation.selection_attacks


def of(evaluation: dict[str, Any], **tables: Any) -> tuple[Any, Any]:
    return attacks(Spec.from_tables({**PLAIN, **tables, "evaluation": evaluation}))


def test_screening_is_how_standard_begins() -> None:
    assert list(LEVELS) == ["screening", "standard", "plus"]
    assert LEVELS["screening"] == LEVELS["standard"][:2]
    assert [(each.name, each.restarts) for each in LEVELS["screening"]] == [("apgd-ce", 1), ("apgd-t", 1)]


def test_a_level_is_known_by_its_settings_not_by_its_names() -> None:
    for name, level in LEVELS.items():
        assert level_of(level, "L2") == name
        fewer = [attrs.evolve(each, target_classes=each.target_classes and 3) for each in level]
        assert level_of(fewer, "L2") == name
    assert level_of((CUSTOM["apgd-ce"], CUSTOM["apgd-t"]), "L2") == "custom"  # of 5 restarts, where screening has 1
    assert level_of(LEVELS["standard"][:3], "L2") == "custom"


def test_levels_in_l1_are_those_of_autoattack_there() -> None:
    """The package's `_set_version`: five restarts of APGD-CE, and five targets of APGD-T."""
    assert [(each.restarts, each.target_classes) for each in attacks_of("standard", "L1")] == [
        *((5, None), (1, 5), (1, 9), (1, None)),
    ]
    assert attacks_of("screening", "L1") == attacks_of("standard", "L1")[:2]
    assert attacks_of("plus", "L1") == LEVELS["plus"]
    assert attacks_of("standard", "L2") == LEVELS["standard"]
    for level in LEVELS:
        assert level_of(attacks_of(level, "L1"), "L1") == level
    assert level_of(LEVELS["standard"], "L1") == "custom"


def test_a_level_sets_what_reports_and_what_picks_the_epoch() -> None:
    assert of({}) == ("standard", "standard")
    assert of({"level": "screening"}) == ("screening", "screening")
    assert of({"level": "plus", "selection_attacks": "screening"}) == ("plus", "screening")
    assert of({"level": "screening", "attacks": ["apgd-ce"]}) == (("apgd-ce",), "screening")
    tables = {"evaluation": {"level": "screening"}, **PLAIN}
    assert Spec.from_tables(Spec.from_tables(tables).to_tables()) == Spec.from_tables(tables)
    assert tables["evaluation"] == {"level": "screening"}


def test_a_level_is_stronger_than_the_attacks_of_a_protocol() -> None:
    authors = {"protocol": "authors", "data": {"name": "cifar100"}}
    assert of({}, **authors)[0] == ("apgd-ce", "apgd-t")
    assert of({"level": "standard"}, **authors) == ("standard", "standard")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("screenign", "expected one of screening, standard, plus, got 'screenign' (did you mean 'screening'?)"),
        (["apgd-ce"], "got ['apgd-ce']; evaluation.attacks takes a list of attacks"),
        (1, "expected one of screening, standard, plus, got 1"),
    ],
)
def test_what_is_no_level(value: Any, says: str) -> None:
    with pytest.raises(SpecError) as error:
        of({"level": value})
    assert str(error.value).startswith("evaluation.level: ")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("evaluation", "grid"),
    [
        ({"level": "screening"}, {}),
        ({"level": "screening", "attacks": ["apgd-ce"]}, {}),
        ({"level": "screening"}, {"evaluation.attacks": [["apgd-ce"], "plus"]}),
        ({}, {"evaluation.level": ["screening"]}),
        ({"selection_attacks": "screening"}, {"evaluation.level": ["standard", "plus"]}),
        ({"level": "plus"}, [{"evaluation.level": ["screening"]}, {"subset.size": [0.1]}]),
        ({"level": "plus"}, [{"evaluation.attacks": ["standard"]}, {"subset.size": [0.1]}]),
    ],
)
def test_a_study_with_levels_is_the_same_when_it_is_read_again(evaluation: dict[str, Any], grid: Any) -> None:
    study = Study.from_tables({**PLAIN, "evaluation": evaluation, "grid": grid})
    assert Study.loads(study.dumps()).arms == study.arms


def test_setting_a_level_replaces_the_attacks_of_a_study() -> None:
    own = {"attacks": "plus", "selection_attacks": ["apgd-ce"]}
    study = Study.from_tables({**PLAIN, "evaluation": own, "grid": {"evaluation.attacks": ["plus", "standard"]}})
    for each in (study, Study.loads(study.dumps())):
        assert [attacks(arm.spec) for arm in each.set({"evaluation.level": "screening"}).arms] == [("screening",) * 2]
    both = study.set({"evaluation.selection_attacks": "screening", "evaluation.level": "plus"})
    assert [attacks(arm.spec) for arm in both.arms] == [("plus", "screening")]
    several = study.set({"evaluation.level": ["screening", "standard"]})
    assert [arm.spec.evaluation.attacks for arm in several.arms] == ["screening", "standard"]
    assert [arm.name for arm in several.arms] == ["level-screening", "level-standard"]


def test_heads_have_the_level_of_their_source_or_their_own() -> None:
    source = Spec.from_tables({**PLAIN, "evaluation": {"level": "plus", "selection_attacks": ["apgd-ce"]}})
    assert attacks(transfer_spec(source, "cifar10", {})) == ("plus", ("apgd-ce",))
    assert attacks(transfer_spec(source, "cifar10", {"level": "screening"})) == ("screening", "screening")
    own = {"level": "screening", "attacks": ["square"]}
    assert attacks(transfer_spec(source, "cifar10", own)) == (("square",), "screening")
    with pytest.raises(SpecError, match=r"transfer\.level: expected one of screening, standard, plus, got 'most'"):
        transfer_spec(source, "cifar10", {"level": "most"})
    tables = {**PLAIN, "transfer": {"targets": ["mnist5k"], "attacks": ["apgd-ce"]}}
    assert Study.from_tables(tables).set({"transfer.level": "plus"}).head_settings == {"level": "plus"}


def test_arms_that_are_not_reported_are_screened() -> None:
    evaluation = {"attacks": "plus", "selection_attacks": ["apgd-ce"], "report_arms": ["size-0.0_seed-0", "*5_seed-?"]}
    grid = {"subset.size": [0.0, 0.1, 0.5], "training.seed": [0, 1]}
    study = Study.from_tables({**PLAIN, "evaluation": evaluation, "grid": grid})
    reported = ["size-0.0_seed-0", "size-0.5_seed-0", "size-0.5_seed-1"]
    for each in (study, Study.loads(study.dumps()), study.set({"training.lr": 0.2})):
        assert [arm.name for arm in each.arms if arm.spec.evaluation.attacks == "plus"] == reported
        others = [arm.spec for arm in each.arms if arm.name not in reported]
        assert {attacks(spec) for spec in others} == {("screening", ("apgd-ce",))}
    (one,) = (
        arm for arm in study.set({"evaluation.report_arms": ["size-0.1_seed-1"]}).arms if attacks(arm.spec)[0] == "plus"
    )
    assert one.name == "size-0.1_seed-1"
    assert study.arms == Study.from_tables(study.to_tables()).arms


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("size-0.5", 'expected a list of names, as ["size-0.5", "size-1*"], got \'size-0.5\''),
        ([0.5], 'expected a list of names, as ["size-0.5", "size-1*"], got [0.5]'),
        (["half"], "no arm is called 'half'; they are size-0.0, size-0.5, size-1.0"),
    ],
)
def test_reported_arms_that_there_are_not(value: Any, says: str) -> None:
    with pytest.raises(SpecError) as error:
        Study.from_tables({**PLAIN, "evaluation": {"report_arms": value}, "grid": {"subset.size": [0.0, 0.5, 1.0]}})
    assert str(error.value) == f"evaluation.report_arms: {says}"


def test_which_arms_are_reported_is_for_the_study_not_for_its_arms() -> None:
    with pytest.raises(SpecError, match=r"grid: 'evaluation\.report_arms' names arms of the study"):
        Study.from_tables({**PLAIN, "grid": {"evaluation.report_arms": [["arm"]]}})
    with pytest.raises(SpecError, match=r"unknown key 'evaluation\.report_arms'"):
        Spec.from_tables({**PLAIN, "evaluation": {"report_arms": ["arm"]}})
