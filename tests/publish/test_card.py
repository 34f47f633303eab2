"""The model card says what the results say, and names from data are text in it."""

from __future__ import annotations

import json
import re

import attrs
import pytest
from toys import result

from sat_core.arm_results import ArmResults
from sat_core.exported import Exported
from sat_core.input_spec import InputSpec
from sat_evaluation.publish.card import card
from sat_evaluation.publish.front_matter import front_matter
from sat_evaluation.results.text import public_name

EXPORTED = Exported(
    model="small-cnn", inputs=InputSpec(10, (8, 8, 1)), backend="torch", version={"torch": "2.15"}, origin="0"
)


def results(**options: object) -> ArmResults:
    return ArmResults.from_json(result(500, 0.815, clean=0.96, **options))


def test_the_card_says_what_the_results_say() -> None:
    found = results()
    text = card(EXPORTED, found, None, licence="Apache-2.0")
    robust, clean = found.robust_accuracy, found.clean_accuracy
    for line in (
        f"| clean | 96.0 % | {100 * clean.low:.1f} to {100 * clean.high:.1f} % | {clean.n:,} | images as they are |",
        f"| robust | 81.5 % | {100 * robust.low:.1f} to {100 * robust.high:.1f} % | {robust.n:,} | AutoAttack standard,"
        " L2, ε = 0.5 |",
        "| \\|A\\|, the attacked part | 500 images, 50 % |",
        "| chosen by | hardest examples |",
        # (7 x 500 + 1000) of 8000
        "| cost | 56 % of the gradient evaluations of full adversarial training |",
        "| cost of the ranking | ",
        "torch 2.15",
        "Apache-2.0.",
        'classifier = sat.load_model(".")',
    ):
        assert line in text, line
    assert "unknown" not in text
    assert text.startswith("---\nlicense: apache-2.0\nlibrary_name: sat-core\n")
    assert "        - type: accuracy\n            value: 81.5\n" in text


def test_a_baseline_and_a_network_without_results_say_so() -> None:
    plain = card(EXPORTED, ArmResults.from_json(result(0, 0.43)), None)
    assert "Trained on digits with plain training." in plain
    assert "chosen by" not in plain
    assert "Unknown: who made this folder has not named one" in plain
    nothing = card(attrs.evolve(EXPORTED, model="mine.nets:make"), None, None)
    assert "No accuracy was measured" in nothing
    assert 'sat.load_model(".", model="mine.nets:make")' in nothing
    assert "model-index" not in nothing


def test_the_weights_at_the_start_are_named_without_their_folder() -> None:
    started = result(500, 0.8, model__weights="/home/me/clean.safetensors", model__layers="head")
    text = card(EXPORTED, ArmResults.from_json(started), None)
    assert "| weights at the start | clean.safetensors |\n| trained layers | head |" in text
    assert "/home/me" not in text
    pretrained = result(500, 0.8, model__name="timm:resnet10t?pretrained", loss__kind="trades")
    text = card(EXPORTED, ArmResults.from_json(pretrained), None)
    assert "| weights at the start | those of timm:resnet10t?pretrained |\n| loss of A | trades |" in text


def test_warnings_of_the_training_are_told() -> None:
    content = {**result(500, 0.8), "warnings": ["gradient masking?"]}
    assert "- gradient masking?" in card(EXPORTED, ArmResults.from_json(content), None)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a | b", "[x](http://y)", "# c", "d\n---\nlicense: mit"])
def test_names_from_data_are_text(name: str) -> None:
    found = results()
    data = attrs.evolve(found.data, name=name, classes=(name, *found.data.classes[1:]))
    text = card(EXPORTED, attrs.evolve(found, data=data), None)
    _, head, body = text.split("---\n", 2)
    assert head.count("\nlicense") + head.startswith("license") == 2  # license and license_name
    assert not re.search(r"(?<!\\)(<script|\]\(http)", body)
    assert body.count("\n# ") == 1
    # As many cells as the table has columns, so no name ends one.
    rows = [line for line in body.splitlines() if "81.5 %" in line or "96.0 %" in line]
    assert {line.replace("\\|", "").count("|") for line in rows} <= {5, 6}


def test_front_matter_is_yaml_that_json_agrees_with() -> None:
    fields = {"a": "yes", "b": ["x-1", "2.0", "ε: #"], "c": [{"d": 1.5, "e": {"f": "g h"}}], "h": None}
    lines = front_matter(fields).splitlines()
    assert lines[0] == lines[-1] == "---"
    assert lines[1:-1] == [
        'a: "yes"',
        "b:",
        "  - x-1",
        '  - "2.0"',
        '  - "ε: #"',
        "c:",
        "  - d: 1.5",
        "    e:",
        '      f: "g h"',
        "h: null",
    ]
    assert json.loads(lines[5].strip("- ")) == "ε: #"


def test_names_of_folders_are_left_out() -> None:
    assert [
        public_name(name) for name in ("npz:/a/b.npz?x=1", "folder:../c/", "hf:me/set?split=a", "hf:/a/set", "digits")
    ] == [
        "npz:b.npz",
        "folder:c",
        "hf:me/set",
        "hf:set",
        "digits",
    ]
