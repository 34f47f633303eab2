"""Study files and their grids: which arms there are, what they are called, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sat_core.arm_names import folder_name
from sat_core.errors import SpecError
from sat_core.protocols import PROTOCOLS
from sat_core.schedules import SCHEDULES
from sat_core.spec import KEYS, Spec
from sat_core.study import Study
from sat_core.tables import flatten, nest, parse_setting

PLAIN: dict[str, Any] = {"data": {"name": "digits"}, "training": {"epochs": 12}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data.name = " + "[" * 100_000, "not valid TOML: brackets are nested too deep"),
        ("data.name = " + "9" * 5000, "not valid TOML"),
        ("training.lr = 1e999", "training.lr: expected a finite number >= 0, got inf"),
        (f"grid.training.seed = {list(range(1001))}\ngrid.subset.size = {list(range(1001))}", "arms, got 1,002,001\n"),
    ],
    ids=["brackets", "digits", "infinity", "grid"],
)
def test_hostile_study_files_are_refused_in_a_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text("\ufefftraining.epochs = 3\n" + text)  # as some editors begin a file
    with pytest.raises(SpecError) as error:
        Study.load(path)
    assert says in str(error.value)
    assert len(str(error.value)) < 300


def test_how_many_arms_a_study_may_have_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = {**PLAIN, "grid": {"training.seed": [0, 1, 2]}}
    monkeypatch.setenv("SAT_MAX_ARMS", "2")
    with pytest.raises(SpecError, match=r"grid: expected at most 2 arms, got 3\n.*SAT_MAX_ARMS"):
        Study.from_tables(seeds)
    monkeypatch.setenv("SAT_MAX_ARMS", "3")
    assert len(Study.from_tables(seeds).arms) == 3
    monkeypatch.setenv("SAT_MAX_ARMS", "many")
    with pytest.raises(SpecError, match="SAT_MAX_ARMS: expected how many arms a study may have, got 'many'"):
        Study.from_tables(seeds)


@settings(deadline=None)
@given(
    eps=st.floats(0, 10, allow_subnormal=False),  # a fifth of the smallest is no step
    size=st.one_of(st.integers(0, 100), st.floats(0, 1)),
    protocol=st.sampled_from(sorted(PROTOCOLS)),
    kind=st.sampled_from(["pgd", "fgsm", "rs-fgsm"]),
    schedule=st.sampled_from([*SCHEDULES, "piecewise:3,0.5", "step:9steps*0.5"]),
    epochs=st.integers(1, 300),
)
def test_toml_keeps_every_spec(
    eps: float, size: int | float, protocol: str, kind: str, schedule: str, epochs: int
) -> None:
    tables = nest(
        {
            "protocol": protocol,
            "data.name": "npz:a b.npz",
            "subset.size": size,
            "attack.eps": eps,
            "attack.kind": kind,
            "training.epochs": epochs,
            "training.schedule": schedule,
        }
    )
    study = Study.from_tables(tables)
    again = Study.loads(study.dumps())
    assert again.arms == study.arms
    assert Spec.from_tables(study.arms[0].spec.to_tables()) == study.arms[0].spec
    assert set(flatten(study.arms[0].spec.to_tables())) == set(KEYS) - {
        "evaluation.level"
    }  # which stands for two others


def test_the_grid_is_a_product_and_baselines_run_once() -> None:
    tables = {
        **PLAIN,
        "grid": {
            "subset.strategy": ["hardest", "random"],
            "subset.size": [0, 0.0, 0.3, 1, 1.0],
            "weighting.rule": ["uniform", "balanced"],
            "training.seed": [0, 1],
        },
    }
    study = Study.from_tables(tables)
    sizes = [(arm.spec.subset.size, type(arm.spec.subset.size)) for arm in study.arms]
    assert sizes.count((0.0, float)) == sizes.count((1.0, float)) == 2  # one a seed
    assert sizes.count((0.3, float)) == sizes.count((1, int)) == 8  # one example is no baseline
    assert len({arm.name for arm in study.arms}) == len(study.arms) == 20
    assert study.arms[0].name == "size-0_seed-0"
    nested = Study.from_tables({**PLAIN, "grid": {"subset": {"size": [0.1, 0.2]}}})
    assert [arm.name for arm in nested.arms] == ["size-0.1", "size-0.2"]
    assert [arm.name for arm in Study.from_tables(PLAIN).arms] == ["arm"]


@pytest.mark.parametrize(
    ("key", "values", "arms"),
    [
        ("subset.strategy", ["hardest", "easiest", "random"], [1, 3, 1]),
        ("subset.seed", [0, 1], [1, 1, 1]),
        ("ranking.metric", ["entropy", "error"], [1, 2, 1]),
        ("training.batches", ["random", "stratified"], [1, 2, 1]),
        ("attack.restarts", [1, 2], [1, 2, 2]),
        ("attack.warmup", [0, 2], [1, 2, 2]),
        ("training.awp", [0.0, 0.01], [1, 2, 2]),
        ("loss", {"kind": ["trades"], "beta": [6, [12, 6]]}, [1, 2, 2]),
        ("loss.class_weights", ["none", "balanced"], [2, 2, 2]),
        ("training.averaging", ["none", "ema:0.9"], [2, 2, 2]),
    ],
)
def test_a_baseline_has_one_arm_for_what_makes_no_difference_to_it(key: str, values: Any, arms: list[int]) -> None:
    base = {**PLAIN, "attack": {"random_start": True}}
    counts = [
        len(Study.from_tables(nest({**base, "grid": {key: values}, "subset.size": s})).arms) for s in (0.0, 0.5, 1.0)
    ]
    assert counts == arms


@pytest.mark.parametrize(
    ("strategy", "arms"),
    [
        ("hardest", 1),
        ("easiest", 1),
        ("online-hardest", 1),
        ("online-boundary", 1),
        ("random", 2),
        ("online-random", 2),
    ],
)
def test_the_seed_of_the_subset_makes_arms_where_something_is_drawn(strategy: str, arms: int) -> None:
    grid = {"grid": {"subset.seed": [3, 4]}, "subset": {"strategy": strategy, "size": 0.5}}
    study = Study.from_tables({**PLAIN, **grid})
    assert [arm.name for arm in study.arms] == (["arm"] if arms == 1 else ["seed-3", "seed-4"])
    assert [arm.spec.subset.seed for arm in study.arms] == ([0] if arms == 1 else [3, 4])
    listed = {"strategy": "listed", "kind": "classes", "classes": [1]}
    assert len(Study.from_tables({**PLAIN, **grid, "subset": listed}).arms) == 1


def test_several_grids_add_their_arms() -> None:
    grids = [
        {"subset.strategy": ["hardest", "easiest"], "subset.size": [0.0, 0.3, 1.0]},
        {"subset.strategy": ["random"], "subset.size": [0.3], "training.seed": [0, 1]},
        {"subset.size": [0.3]},
    ]
    study = Study.from_tables({**PLAIN, "grid": grids})
    subsets = [(arm.spec.subset.strategy, arm.spec.subset.size, arm.spec.training.seed) for arm in study.arms]
    assert subsets == [
        ("hardest", 0.0, 0),
        ("hardest", 0.3, 0),
        ("hardest", 1.0, 0),
        ("easiest", 0.3, 0),
        ("random", 0.3, 0),
        ("random", 0.3, 1),
    ]
    assert len({arm.name for arm in study.arms}) == 6
    assert study.base.training.seed == 0
    again = Study.loads(study.dumps())
    assert (again.arms, again.to_tables()) == (study.arms, study.to_tables())
    assert len(study.set({"attack.eps": [0.1, 0.2]}).arms) == 12
    assert {arm.spec.subset.size for arm in study.set({"subset.size": 0.5}).arms} == {0.5}
    for wrong in ([], [3], "subset.size"):
        with pytest.raises(SpecError, match=r"grid: expected a table \[grid\] of lists, or several \[\[grid\]\]"):
            Study.from_tables({**PLAIN, "grid": wrong})


def test_derived_defaults_follow_the_grid() -> None:
    study = Study.from_tables({**PLAIN, "grid": {"attack.eps": [0.25, 0.5, 1.0]}})
    assert [arm.spec.attack.step_size for arm in study.arms] == pytest.approx([0.05, 0.1, 0.2])
    assert Study.loads(study.dumps()).arms == study.arms


def test_set_overrides_and_moves_in_and_out_of_the_grid() -> None:
    study = Study.from_tables({**PLAIN, "grid": {"subset.size": [0.1, 0.5]}})
    assert [arm.spec.subset.size for arm in study.set({"subset.size": 0.3}).arms] == [0.3]
    assert len(study.set({"training.seed": [0, 1, 2]}).arms) == 6
    attacks = study.set({"evaluation.attacks": ["apgd-ce", "apgd-t"]})
    assert attacks.arms[0].spec.evaluation.attacks == ("apgd-ce", "apgd-t")
    assert len(study.set({"evaluation.attacks": [["apgd-ce"], "standard"]}).arms) == 4
    assert study.set({"training.epochs": 20}).base.training.epochs == 20
    with pytest.raises(SpecError, match=r"unknown key 'training.epoch' \(did you mean 'training.epochs'\?\)"):
        study.set({"training.epoch": 3})


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("training.epochs=20", "training.epochs", 20),
        ("attack.eps=8/255", "attack.eps", "8/255"),
        ("training.schedule=cosine", "training.schedule", "cosine"),
        ("subset.size=[0.0, 0.5]", "subset.size", [0.0, 0.5]),
        ('model.name="a:b"', "model.name", "a:b"),
        (f"model.name={'[' * 5000}", "model.name", "[" * 5000),
    ],
)
def test_settings_of_the_command_line(text: str, key: str, value: Any) -> None:
    assert parse_setting(text) == (key, value)


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"data.name": ["digits"]}, "makes the ranking"),
        ({"subset.size": []}, "expected a list of values"),
        ({"subset.size": 0.5}, "expected a list of values"),
        ({"subset.classes": [1, 2]}, "a list of lists"),
        ({"subset.sizes": [1]}, "did you mean 'subset.size'?"),
        ({"attack.eps": [0.5, -1]}, "attack.eps"),
    ],
)
def test_wrong_grids(grid: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as error:
        Study.from_tables({**PLAIN, "grid": grid})
    assert says in str(error.value)


def test_the_base_of_a_study_does_not_depend_on_the_order_of_its_grid() -> None:
    grid = {"training.seed": [2, 1], "model.name": ["resnet18", "linear"], "ranking.metric": ["error", "entropy"]}
    study = Study.from_tables({**PLAIN, "grid": grid})
    assert (study.base.training.seed, study.base.model.name) == (0, "small-cnn")
    epochs = Study.from_tables({"data": {"name": "digits"}, "grid": {"training.epochs": [5, 9]}})
    assert (epochs.base.training.epochs, epochs.base.ranking.epochs) == (5, 5)
    assert Study.loads(epochs.dumps()).arms == epochs.arms


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("data.name = [")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    for name in ("a.toml", "b.toml", "c.toml"):
        with pytest.raises(SpecError, match=name):
            Study.load(tmp_path / name)


def test_names_that_no_file_system_takes_are_shortened_and_stay_apart() -> None:
    classes = [[f"class-{i}-of-many" for i in range(60)], [f"class-{i}-of-many" for i in range(61)], ["a"]]
    tables = {
        "data": {"name": "digits"},
        "training": {"epochs": 1},
        "subset": {"kind": "classes", "strategy": "listed"},
    }
    grid = {"subset.classes": classes, "training.seed": [0, 1]}
    arms = Study.from_tables({**tables, "grid": grid}).arms
    assert len({arm.name for arm in arms}) == 6
    assert all(len(arm.name.encode()) <= 200 for arm in arms)
    assert [bool(arm.full) for arm in arms] == [True] * 4 + [False] * 2
    assert arms[-1].name == "classes-a_seed-1"
    assert arms == Study.from_tables({**tables, "grid": grid}).arms
    for arm in arms[:4]:
        assert arm.name[:180] == arm.full[:180]
        assert "class-59-of-many" in arm.full
    one, other = f"npz:/{'a/' * 200}b.npz", f"npz:/{'a-' * 200}b.npz"
    assert folder_name(one) != folder_name(other)  # which differ in what a folder's name has no room for
    assert len(folder_name(one)) == 200
