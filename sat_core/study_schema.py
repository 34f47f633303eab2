"""A JSON Schema (2020-12) of study files, with which editors complete keys and underline what is wrong."""

from __future__ import annotations

import inspect
import re
from typing import Any

import attrs

from sat_core.autoattack import AUTOATTACK, LEVELS
from sat_core.datasets import DATASETS
from sat_core.evaluation_spec import LEVEL
from sat_core.fields import FRACTION, SHAPE
from sat_core.grids import SHARED
from sat_core.plugins import PLUGINS
from sat_core.protocols import PROTOCOLS
from sat_core.report_arms import REPORT_ARMS
from sat_core.schedules import SCHEDULES
from sat_core.seeds import SEEDS
from sat_core.spec import DEFAULTS, SECTIONS, Spec
from sat_core.tables import lists, nest
from sat_core.transfer import SETTINGS

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NO_GRID = (*SHARED, PLUGINS, REPORT_ARMS, SEEDS)
"""Keys that no grid has."""


def study_schema() -> Json:
    """Return the schema of a study file, ready for `json.dumps`.

    It says what each key may be alone; what two keys may be together only `Study` knows. Names of plug-ins are in it
    as far as their modules are imported, or their packages installed.
    """
    values = key_schemas()
    top = _tables(values)
    top["data"]["required"] = ["name"]
    lines = {key: {**_list_of(_bare(value)), **_texts(value)} for key, value in values.items() if key not in _NO_GRID}
    # a run's own spec.toml has its grids in quoted, dotted keys
    grid = {
        **_table({**_tables(lines), **lines}),
        "description": "Lists of values; the arms of the study are their product.",
    }
    transfer = {key: _bare(values[f"{section}.{key}"]) for key, section in SETTINGS.items()}
    transfer["targets"] = {**_list_of(_bare(values["data.name"])), "uniqueItems": True}
    top["grid"] = {"anyOf": [grid, _list_of(grid)]}
    top["transfer"] = {
        **_table(transfer),
        "required": ["targets"],
        "description": "Heads on the frozen features of every arm, one for each target.",
    }
    return {"$schema": DIALECT, "title": "A study of sat-core", **_table(top), "required": ["data"]}


def key_schemas() -> dict[str, Json]:
    """Return the schema of the value of each dotted key, with its description and its default."""
    schemas = {"protocol": {"enum": list(PROTOCOLS)}, PLUGINS: _list_of({"type": "string", "minLength": 1}, empty=True)}
    own, texts = _own(), _attributes(Spec)
    for section, kind in SECTIONS.items():
        texts |= {f"{section}.{key}": text for key, text in _attributes(kind).items()}
        for field in attrs.fields(kind):
            if not field.name.startswith("_"):  # what was given for a field that may be derived
                key = f"{section}.{field.name}"
                schemas[key] = own[key] if key in own else field.metadata[SHAPE]()
    schemas[f"evaluation.{LEVEL}"] = {"enum": list(LEVELS)}
    texts[f"evaluation.{LEVEL}"] = "Sets `attacks` and `selection_attacks` where they are not given."
    seed: Json = {"type": "integer", "minimum": 0}
    schemas[SEEDS] = {"anyOf": [{"type": "integer", "minimum": 1}, {**_list_of(seed), "uniqueItems": True}]}
    texts[SEEDS] = "How many seeds every arm has, counted from `training.seed`; or a list of them."
    schemas[REPORT_ARMS] = _list_of({"type": "string"}, empty=True)
    texts[REPORT_ARMS] = "Names or patterns of the arms that are reported; the others are screened."
    for key, schema in schemas.items():
        if key in texts:
            schema["description"] = texts[key]
        if key in DEFAULTS:
            schema["default"] = lists(DEFAULTS[key])
    return schemas


def _own() -> dict[str, Json]:
    """Schemas of the keys whose values are of several kinds."""
    number: Json = {"type": "number", "minimum": 0}
    count: Json = {"type": "integer", "minimum": 1}
    fraction: Json = {"type": "string", "pattern": FRACTION}
    steps: Json = {"type": "string", "pattern": "^[0-9]+steps$"}
    attack: Json = {"enum": list(AUTOATTACK)}
    attacks: Json = {"anyOf": [{"enum": list(LEVELS)}, {**_list_of(attack), "uniqueItems": True}]}
    factor: Json = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, fraction]}
    beta: Json = {"anyOf": [number, fraction]}
    # names first, which an editor completes; anything that has a path or options comes by the second
    names: Json = {"anyOf": [{"enum": list(DATASETS)}, {"type": "string", "pattern": ".[:?]."}]}
    schedule = {"anyOf": [{"enum": list(SCHEDULES)}, {"type": "string", "pattern": r"^[a-z-]+[:*]\S"}]}
    share: Json = {"type": "number", "exclusiveMinimum": 0}
    return {
        "data.name": names,
        **{key: _list_of(beta, empty=True) for key in ("model.mean", "model.std")},
        "ranking.extra": {**_list_of({"type": "string"}, empty=True), "uniqueItems": True},
        "subset.size": {"anyOf": [{"type": "integer", "minimum": 0}, {**number, "maximum": 1}]},
        "subset.classes": _list_of({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}, empty=True),
        "loss.beta": {"anyOf": [*beta["anyOf"], {**_list_of(beta), "minItems": 2, "maxItems": 2}]},
        "loss.class_weights": {"anyOf": [{"enum": ["none", "balanced"]}, _list_of(factor)]},
        "attack.warmup": {"anyOf": [number, steps, fraction]},
        "training.schedule": schedule,
        "training.warmup": {"anyOf": [number, steps, fraction]},
        "training.mixing": {"type": "string", "pattern": "^(none|(mixup|cutmix):.+)$"},
        "training.averaging": {"type": "string", "pattern": "^(none|(ema|swa):.+)$"},
        "evaluation.examples": {"anyOf": [{"const": "rest"}, count, {**share, "maximum": 1}]},
        "evaluation.attacks": attacks,
        "evaluation.selection_attacks": attacks,
        "evaluation.selection_epochs": {"anyOf": [{"const": "protocol"}, _list_of(count)]},
        "evaluation.selection_share": {"anyOf": [{**share, "maximum": 0.9}, count]},
    }


def _attributes(kind: type[Any]) -> dict[str, str]:
    """The text on each attribute in the docstring of a class."""
    _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    texts = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text).replace("``", "`") for name, text in texts}


def _table(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _tables(values: Json) -> Json:
    """Dotted keys as tables in a table; those without a dot stay as they are."""
    nested = nest(values)
    return {name: _table(nested[name]) if name in SECTIONS else nested[name] for name in nested}


def _list_of(items: Json, *, empty: bool = False) -> Json:
    return {"type": "array", "items": items} | ({} if empty else {"minItems": 1})


def _bare(schema: Json) -> Json:
    return {key: value for key, value in schema.items() if key not in ("description", "default")}


def _texts(schema: Json) -> Json:
    return {key: value for key, value in schema.items() if key == "description"}
