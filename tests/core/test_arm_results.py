"""Results of an arm: what stands in results.json comes back as it was, and what is wrong in it is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from toys import HALF, accuracy, result

from sat_core.arm_results import ArmResults
from sat_core.errors import DataError
from sat_core.json_fields import from_json, to_json
from sat_core.result_parts import Checks

CLASSES = result(500, 0.6, kind="classes", units=2, chosen=(1, 3), parts=(0.8, 0.3), per_class=[0.3, 0.8, None, 0.9])
HEAD = {**result(0, 0.4), "full_name": "a long name", "reused": "../other/arms/x"}
HEAD["source"] = {"run": "../run", "fingerprint": "0"} | {
    key: CLASSES[key] for key in ("spec", "split", "cost", "clean_accuracy", "robust_accuracy", "backend", "data")
}
TRAINED = {**HALF, "ranking": {"metric": "entropy", "record": "snapshot", "order_correlation": -0.01}}
TRAINED["selection"] = {**HALF["selection"], "attacks": ["apgd-ce", "square"]}


@pytest.mark.parametrize("content", [HALF, CLASSES, HEAD, TRAINED])
def test_results_come_back_as_they_were(content: dict[str, Any]) -> None:
    results = ArmResults.from_json(json.loads(json.dumps(content)))
    assert results.to_json() == content
    assert ArmResults.from_json(results.to_json()) == results
    order = [key for key in results.to_json() if key not in ("full_name", "reused", "source")]
    assert order == list(HALF)


def test_accuracies_are_objects() -> None:
    results = ArmResults.from_json(CLASSES)
    assert results.robust_accuracy.value == 0.6
    assert results.robust_accuracy.n == 400
    assert results.robust_accuracy.interval[0] < 0.6 < results.robust_accuracy.interval[1]
    assert results.robust.a is not None
    assert str(results.robust.a) == "80.0 % [75.8, 83.6]"
    assert results.robust.per_class is not None
    assert results.robust.per_class[2] is None
    assert results.trained is results
    assert ArmResults.from_json(HEAD).trained.split.size == 500


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("arm", 3, "arm: expected text, got 3"),
        ("spec", {}, "spec: expected settings with "),
        ("spec", [], r"spec: expected a table, got \[\]"),
        ("versions", [], r"versions: expected a table, got \[\]"),
        ("versions.python", 3, "versions.python: expected text, got 3"),
        ("seeds.training", -1, "seeds.training: expected an integer >= 0, got -1"),
        ("data.train", None, "data.train: expected an integer >= 1, got None"),
        ("data.image_shape", [8, 8], r"data.image_shape: expected a list of 3, got \[8, 8\]"),
        ("robust_accuracy.all", None, "robust_accuracy.all: expected a table, got None"),
        ("robust_accuracy.all.value", 95.0, r"robust_accuracy.all.value: expected a number in \[0, 1\], got 95.0"),
        ("robust_accuracy.all.value", True, r"robust_accuracy.all.value: expected a number in \[0, 1\], got True"),
        ("robust_accuracy.all.low", "x", r"robust_accuracy.all.low: expected a number in \[0, 1\], got 'x'"),
        ("robust_accuracy.all.low", 0.99, "robust_accuracy: expected accuracies within their intervals"),
        ("robust_accuracy.all.n", 0, "robust_accuracy.all.n: expected an integer >= 1, got 0"),
        ("robust_accuracy.per_class", [None], "robust_accuracy.per_class: expected a list of 4, got 1"),
        ("split.share", 7, r"split.share: expected a number in \[0, 1\], got 7"),
        ("split.size", 1001, "split.size: expected at most the 1000 training examples, got 1001"),
        ("split.classes", [4], r"split.classes: expected classes in 0..3, got \[4\]"),
        ("selection.epoch", 3, "selection.epoch: expected an epoch that was checked, got 3"),
        ("selection.checks", [{"epoch": 1}], r"selection.checks\[0\].clean_accuracy: missing"),
        ("cost", None, "cost: expected a table, got None"),
        ("cost.full_at_gradients", 0, "cost.full_at_gradients: expected an integer >= 1, got 0"),
        ("cost.seconds.training", float("inf"), "cost.seconds.training: expected a finite number >= 0, got inf"),
        ("attacks.breakdown", [{"name": "square"}], r"attacks.breakdown\[0\].broken: missing"),
        ("attacks.warnings", None, "attacks.warnings: expected a list, got None"),
        ("losses", [1.0, "a"], r"losses\[1\]: expected a finite number, got 'a'"),
        ("losses", [10**400], r"losses\[0\]: expected a finite number, got "),
    ],
)
def test_a_wrong_field_is_named_in_one_line(path: str, value: object, said: str) -> None:
    content = json.loads(json.dumps(HALF))
    *tables, last = path.split(".")
    table = content
    for name in tables:
        table = table[name]
    table[last] = value
    with pytest.raises(DataError, match=f"^{said}") as error:
        ArmResults.from_json(content)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("field", [key for key in HALF if key not in ("full_name", "reused", "source")])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(DataError, match=f"^{field}: missing$"):
        ArmResults.from_json({key: value for key, value in HALF.items() if key != field})


@pytest.mark.parametrize("content", [None, [], "text", {}])
def test_anything_else_is_no_results(content: object) -> None:
    with pytest.raises(DataError):
        ArmResults.from_json(content)


def test_fields_of_a_later_version_are_ignored_unless_told_otherwise() -> None:
    checks = {"experiment": "0", "checks": [{"epoch": 3, **dict.fromkeys(("clean_accuracy", "robust_accuracy"))}]}
    part = {"all": accuracy(0.5, 10), "A": None, "B": None}
    checks["checks"][0] |= {"clean_accuracy": part, "robust_accuracy": part}  # type: ignore[index]
    read = from_json(Checks, {**checks, "colour": "blue"})
    assert to_json(read) == checks
    with pytest.raises(DataError, match="unknown field 'colour'"):
        from_json(Checks, {**checks, "colour": "blue"}, strict=True)
