"""The JSON Schema of study files knows every key; `interop/test_schema.py` validates studies by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from sat_core.fields import SHAPE
from sat_core.grids import SHARED, TRANSFER_KEYS
from sat_core.member_losses import LOSSES
from sat_core.report_arms import REPORT_ARMS
from sat_core.seeds import SEEDS
from sat_core.spec import DEFAULTS, KEYS, SECTIONS
from sat_core.study_schema import key_schemas, study_schema
from sat_core.tables import lists
from sat_evaluation.cli import main


def keys_of(table: dict[str, Any]) -> set[str]:
    """Dotted keys of a schema of tables."""
    nested = {name: each["properties"] for name, each in table["properties"].items() if "properties" in each}
    return {name for name in table["properties"] if name not in nested} | {
        f"{name}.{key}" for name, keys in nested.items() for key in keys
    }


def test_every_key_is_in_it_and_no_other() -> None:
    schema = study_schema()
    grid, grids = schema["properties"].pop("grid")["anyOf"]
    assert keys_of(schema) == {*KEYS, REPORT_ARMS, SEEDS, *TRANSFER_KEYS}
    assert keys_of(grid) == {*KEYS} - {*SHARED, "plugins"}
    assert grids["items"] == grid
    tables = [schema, grid, *(each for each in schema["properties"].values() if each.get("type") == "object")]
    assert len(tables) == len(SECTIONS) + 3
    assert all(each["additionalProperties"] is False for each in tables)


def test_every_key_has_a_shape_its_default_and_a_description() -> None:
    schemas = key_schemas()
    assert [key for key, schema in schemas.items() if not {*schema} & {"type", "anyOf", "enum"}] == []
    assert {key: each["default"] for key, each in schemas.items() if "default" in each} == lists_of(DEFAULTS)
    assert [key for key, schema in schemas.items() if not schema.get("description")] == []
    assert schemas["training.epochs"]["description"] == "Passes over the training set."
    assert "`screening`" not in json.dumps(schemas["training.lr"])


def lists_of(values: dict[str, Any]) -> dict[str, Any]:
    return {key: lists(value) for key, value in values.items()}


def test_numbers_have_the_limits_of_their_checks() -> None:
    """What a schema says of a number is tried with the spec's own check, at both ends."""
    tried = 0
    for section, kind in SECTIONS.items():
        for field in attrs.fields(kind):
            shape = field.metadata[SHAPE]() if SHAPE in field.metadata else {}
            number = shape.get("anyOf", [shape])[0]
            if "minimum" in number:
                tried += 1
                assert number["minimum"] in (0, 1), f"{section}.{field.name}"
                holder = type("Holder", (), {"SECTION": section})()
                step, least = (1, number["minimum"]) if shape is number else (1e-9, float(number["minimum"]))
                field.validator(holder, field, least)
                for wrong in (least - step, number.get("exclusiveMaximum"), "", True):
                    if wrong is not None:
                        with pytest.raises(Exception, match=rf"{section}\.{field.name}: expected"):
                            field.validator(holder, field, wrong)
    assert tried > 15


def test_the_command_prints_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == study_schema()
    assert main(["schema", "--out", str(tmp_path / "study.json")]) == 0
    assert json.loads((tmp_path / "study.json").read_text()) == study_schema()
    assert main(["schema", "--out", str(tmp_path / "study.json/below.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    monkeypatch.setitem(LOSSES._entries, "of-a-plug-in", LOSSES.get("ce"))
    assert "of-a-plug-in" in study_schema()["properties"]["loss"]["properties"]["kind"]["enum"]
    assert main(["schema", "--import", "no.such.module"]) == 2
    assert "no.such.module" in capsys.readouterr().err
