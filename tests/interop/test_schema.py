"""The JSON Schema of study files, by the validator of the package jsonschema."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from plugin_folders import install

from sat_core.study import Study
from sat_core.study_schema import study_schema

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
SMALLEST: dict[str, Any] = {"data": {"name": "digits"}, "training": {"epochs": 1}}


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    Draft202012Validator.check_schema(study_schema())
    return Draft202012Validator(study_schema())


def test_examples_and_what_runs_write_of_them_are_valid(schema: Draft202012Validator) -> None:
    assert len(EXAMPLES) > 5
    for path in EXAMPLES:
        schema.validate(tomllib.loads(path.read_text(encoding="utf-8")))
        schema.validate(tomllib.loads(Study.load(path).dumps()))


def test_names_of_installed_plug_ins_are_valid(
    schema: Draft202012Validator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tomllib.loads((ROOT / "examples/plugin/study.toml").read_text(encoding="utf-8"))
    assert not schema.is_valid(study)
    project = tomllib.loads((ROOT / "examples/plugin/pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in points.items()))
    )
    install(tmp_path, "\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    Draft202012Validator(study_schema()).validate(study)


@pytest.mark.parametrize(
    ("more", "valid"),
    [
        ("", True),
        ("trainning.lr = 0.1", False),
        ("training.lrr = 0.1", False),
        ("model.output = 1", True),
        ("model.output = true", False),
        ('attack.eps = "8/255"', True),
        ('attack.eps = "big"', False),
        ("attack.eps = true", False),
        ('attack.norm = "L7"', False),
        ("subset.size = 1.5", False),
        ("subset.size = 15", True),
        ("loss.beta = [6, 3.5]", True),
        ("loss.beta = [6]", False),
        ('training.schedule = "step:30*0.5"', True),
        ('training.schedule = "stair"', False),
        ('training.warmup = "500steps"', True),
        ('evaluation.attacks = ["apgd-ce", "square"]', True),
        ('evaluation.attacks = ["apgd"]', False),
        ('evaluation.level = "screening"', True),
        ('evaluation.report_arms = ["size-*"]', True),
        ("grid.subset.size = [0.1, 5]", True),
        ("grid.subset.size = 0.1", False),
        ("grid.subset.size = []", False),
        ('grid.data.name = ["digits"]', False),
        ('grid."subset.sise" = [0.1]', False),
        ("[[grid]]\nsubset.classes = [[0], [1, 2]]", True),
        ("[[grid]]\nsubset.classes = [0]", False),
        ('transfer = {targets = ["digits"], lr = 0.1}', True),
        ("transfer = {lr = 0.1}", False),
        ('transfer = {targets = ["digits"], eps = 0.1}', False),
    ],
)
def test_single_keys(schema: Draft202012Validator, more: str, valid: bool) -> None:
    tables = tomllib.loads(f'data.name = "digits"\n{more}')
    tables.setdefault("training", {})["epochs"] = 1
    assert schema.is_valid(tables) is valid


def test_it_refuses_what_studies_refuse(schema: Draft202012Validator) -> None:
    """One wrong value for each key: no schema without a limit."""
    wrong = [key for key in study_schema()["properties"] if key not in ("grid", "transfer", "data")]
    for section in wrong:
        table = study_schema()["properties"][section].get("properties")
        for key in table or [None]:
            value = {"nobody": "writes this"}
            tables = {**SMALLEST, section: value if key is None else {**SMALLEST.get(section, {}), key: value}}
            assert not schema.is_valid(tables), f"{section}.{key}"
