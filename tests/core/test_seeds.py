"""The key `seeds` of a study: every arm several times."""

from __future__ import annotations

from typing import Any

import pytest

from sat_core.errors import SpecError
from sat_core.spec import Spec
from sat_core.study import Study

PLAIN: dict[str, Any] = {"data": {"name": "digits"}, "training": {"epochs": 3}}
SIZES = {"grid": {"subset.size": [0.0, 0.5, 1.0], "subset.strategy": ["hardest", "random"]}}


def seeds(study: Study) -> list[tuple[int, int]]:
    return [(arm.spec.training.seed, arm.spec.subset.seed) for arm in study.arms]


def test_every_arm_has_all_seeds() -> None:
    study = Study.loads('seeds = 3\ndata.name = "digits"\ntraining.epochs = 3\ngrid.subset.size = [0.0, 0.5, 1.0]\n')
    assert seeds(study) == [(seed, seed) for _ in range(3) for seed in range(3)]
    assert study == Study.from_tables({**PLAIN, "grid": {"subset.size": [0.0, 0.5, 1.0], "training.seed": [0, 1, 2]}})
    assert [arm.name for arm in study.arms[:2]] == ["size-0.0_seed-0", "size-0.0_seed-1"]


def test_it_is_in_every_grid() -> None:
    grids = [{"subset.size": [0.0, 1.0]}, {"subset.strategy": ["random"], "subset.size": [0.3]}]
    study = Study(settings={**PLAIN, "seeds": [4, 7]}, grids=grids)
    assert seeds(study) == [(4, 4), (7, 7)] * 3
    assert len(Study(settings={**PLAIN, "seeds": 5}).arms) == 5


def test_a_number_counts_from_the_seed_of_the_training() -> None:
    study = Study.from_tables({**PLAIN, "seeds": 2, "training": {"epochs": 3, "seed": 5}, **SIZES})
    assert {seed for seed, _ in seeds(study)} == {5, 6}
    assert study.base.training.seed == 5  # that of the ranking


def test_a_subset_may_stay() -> None:
    study = Study.from_tables({**PLAIN, "seeds": 2, "subset": {"seed": 9, "strategy": "random", "size": 0.5}})
    assert seeds(study) == [(0, 9), (1, 9)]


@pytest.mark.parametrize("given", [1, 3, [4, 2]])
def test_it_is_written_back(given: int | list[int]) -> None:
    study = Study.from_tables({**PLAIN, "seeds": given, "training": {"epochs": 3, "seed": 5}, **SIZES})
    again = Study.loads(study.dumps())
    assert again.arms == study.arms
    assert again.base == study.base
    assert again.dumps() == study.dumps()


def test_it_is_set_and_taken_back() -> None:
    study = Study.from_tables({**PLAIN, **SIZES})
    several = study.set({"seeds": 3})
    assert len(several.arms) == 3 * len(study.arms)
    assert [*dict.fromkeys(seed for seed, _ in seeds(several.set({"seeds": [8]})))] == [8]
    assert several.set({"seeds": 2, "training.seed": 4}).arms[1].spec.training.seed == 5
    assert several.set({"training.seed": 1}).arms == study.set({"training.seed": 1}).arms


@pytest.mark.parametrize("given", [0, -1, True, 1.0, "3", [], [1, 1], [-1], [True, 2], {"a": 1}])
def test_what_is_no_seeds_is_refused(given: Any) -> None:
    with pytest.raises(SpecError, match=r"^seeds: expected how many, as 3, or a list"):
        Study.from_tables({**PLAIN, "seeds": given})


def test_what_says_it_twice_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^seeds: a grid has 'training\.seed'"):
        Study.from_tables({**PLAIN, "seeds": 2, "grid": {"training.seed": [0, 1]}})
    with pytest.raises(SpecError, match=r"^grid: 'seeds' is for all arms alike; set it at the top"):
        Study.from_tables({**PLAIN, "grid": {"seeds": [0, 1]}})
    with pytest.raises(SpecError, match=r"^training\.seed: expected an integer >= 0"):
        Study.from_tables({**PLAIN, "seeds": 2, "training": {"epochs": 3, "seed": "x"}})


def test_an_arm_has_no_such_key_and_a_slip_is_named() -> None:
    with pytest.raises(SpecError, match=r"^unknown key 'seeds'"):
        Spec.from_tables({**PLAIN, "seeds": 2})
    with pytest.raises(SpecError, match=r"unknown key 'seed' \(did you mean 'seeds'\?\)"):
        Study.from_tables({**PLAIN, "seed": 2})
