"""The documentation agrees with the code: keys, defaults, names, links, and Python that runs."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blocks import program

import sat_core as sat
from sat_core import checkpoint
from sat_core.attack_kinds import ATTACKS
from sat_core.attack_spec import OBJECTIVES
from sat_core.augmentation import AUGMENTATIONS
from sat_core.autoattack import AUTOATTACK, LEVELS
from sat_core.backend import Backend
from sat_core.difficulty import DIFFICULTIES
from sat_core.files import read_npz
from sat_core.grids import LIST_KEYS, SHARED, TRANSFER_KEYS
from sat_core.member_losses import LOSSES
from sat_core.protocols import PROTOCOLS
from sat_core.report_arms import REPORT_ARMS
from sat_core.schedules import SCHEDULES
from sat_core.seeds import SEEDS
from sat_core.selection import SELECTION_RULES
from sat_core.spec import KEYS, Spec
from sat_core.study import Study
from sat_core.tables import flatten
from sat_core.threat import THREAT_MODELS
from sat_core.weighting import WEIGHTING_RULES

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "docs"
PAGES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part in ("runs", "build") for part in path.relative_to(ROOT).parts)
]
DERIVED = {
    "data.name": "none",
    "training.epochs": "none",
    "ranking.epochs": "`training.epochs`",
    "subset.seed": "`training.seed`",
    "attack.steps": "7; 1 for",
    "attack.step_size": "ε/5 for L2, ε/4 for Linf",
}
NAMES = {
    "protocol": PROTOCOLS,
    "ranking.metric": DIFFICULTIES,
    "subset.strategy": SELECTION_RULES,
    "weighting.rule": WEIGHTING_RULES,
    "loss.kind": LOSSES,
    "attack.kind": ATTACKS,
    "attack.loss": OBJECTIVES,
    "attack.norm": THREAT_MODELS,
    "training.schedule": SCHEDULES,
    "training.augmentation": AUGMENTATIONS,
    "evaluation.level": LEVELS,
    "evaluation.attacks": AUTOATTACK,
}


def keys_of_the_page() -> dict[str, tuple[str, str]]:
    """Key to type and default, from the tables with four columns."""
    keys = {}
    for line in (DOCUMENTS / "study.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)][1:-1]
        if len(cells) == 4 and cells[0].startswith("`"):
            assert cells[0].strip("`") not in keys, cells[0]
            keys[cells[0].strip("`")] = cells[1], cells[2]
    return keys


def test_every_key_of_a_study_is_on_its_page() -> None:
    assert sorted(keys_of_the_page()) == sorted((*KEYS, REPORT_ARMS, SEEDS, *TRANSFER_KEYS))


def test_the_page_gives_the_defaults_of_the_code() -> None:
    page = keys_of_the_page()
    smallest = Spec.from_tables({"data": {"name": "digits"}, "training": {"epochs": 3}})
    for key, value in flatten(smallest.to_tables()).items():
        expected = DERIVED.get(key, f"`{json.dumps(value)}`")
        assert page[key][1].startswith(expected), key


@pytest.mark.parametrize("key", NAMES)
def test_the_page_names_every_choice(key: str) -> None:
    assert [name for name in NAMES[key] if f"`{name}`" not in keys_of_the_page()[key][0]] == []


def test_the_page_knows_the_keys_that_a_grid_treats_in_its_own_way() -> None:
    text = (DOCUMENTS / "study.md").read_text(encoding="utf-8").split("## Grid")[1]
    assert [key for key in (*LIST_KEYS, *SHARED) if f"`{key}`" not in text] == []


def test_studies_on_the_page_are_studies() -> None:
    page = (DOCUMENTS / "study.md").read_text(encoding="utf-8")
    whole, level, reported, part, several = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(Study.loads(whole).arms) == 9
    assert len(Study.loads(several).arms) == 24
    base = 'data.name = "digits"\ntraining.epochs = 1\nsubset = {kind = "classes", strategy = "listed"}\n'
    assert len(Study.loads(base + part).arms) == 3
    (arm,) = Study.loads(f'data.name = "digits"\ntraining.epochs = 1\n{level}').arms
    assert (arm.spec.evaluation.attacks, arm.spec.evaluation.selection_attacks) == ("standard", "screening")
    grid = 'grid.subset = {strategy = ["hardest", "random"], size = [0.0, 0.5, 1.0]}\n'
    study = Study.loads(f'data.name = "digits"\ntraining.epochs = 1\n{grid}{reported}')
    assert [arm.spec.evaluation.attacks for arm in study.arms].count("standard") == 3


def text_of_the_protocols() -> str:
    return (DOCUMENTS / "PROTOCOLS.md").read_text(encoding="utf-8")


def keys_named(text: str) -> set[str]:
    """What has the form of a dotted key, and of no file, at the start of `code`."""
    return {
        key
        for key in re.findall(r"`([a-z]+\.\w+)(?=`| =)", text)
        if not re.search(r"\.(json|md|np[yz]|png|toml)$", key)
    }


def test_the_protocols_name_keys_that_exist() -> None:
    named = keys_named(text_of_the_protocols())
    assert len(named) > 20
    assert named <= {*KEYS, *TRANSFER_KEYS}
    assert keys_named("`training.epoch` `subset.size = 1` `order.npy` `a/b.c`") == {"training.epoch", "subset.size"}


def test_studies_in_the_protocols_are_studies_under_both() -> None:
    studies = re.findall(r"```toml\n(.*?)```", text_of_the_protocols(), re.DOTALL)
    assert len(studies) > 5
    for text in studies:
        for protocol in PROTOCOLS:
            assert len(Study.loads(text).set({"protocol": protocol}).arms) > 1


def test_the_protocols_name_every_difference_once() -> None:
    assert sorted(re.findall(r"\(([a-z])\) ", text_of_the_protocols().split("\n## ", 1)[1])) == list("abcdefghijkl")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page to what does not exist, headings included."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", link):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_what_is_to_be_installed_can_be() -> None:
    """The name is not ours on the package index, so nobody is sent there; and the extras exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = [
        path for root in ("sat_core", "backends", "datasets", "evaluation") for path in (ROOT / root).rglob("*.py")
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*sources, *PAGES])
    assert re.findall(r"install ['\"]?sat[-_]core.*", text) == []
    named = re.findall(r"""\binstall\(["'](\w+)["']\)|install '\.\[([\w,]+)\]'""", text)
    assert {extra for pair in named for part in pair for extra in part.split(",") if extra} <= {*extras}


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "# Some title\n[1](b.md) [2](#some-title) [3](#no) [4](a.md#some-title) [5](http://x.y) ![6](c.png)"
    )
    assert broken_links(page) == ["b.md", "#no", "c.png"]
    assert ROOT / "README.md" in PAGES


def test_recipe_has_the_sections_that_docstrings_name() -> None:
    from sat_core import __file__ as home

    sections = {line.split()[1].rstrip(".") for line in headings(DOCUMENTS / "recipe.md")}
    texts = [path.read_text(encoding="utf-8") for path in Path(home).parent.rglob("*.py")]
    named = {n for text in texts for n in re.findall(r"recipe, (?:sections? )?(\d(?:\.\d)?)", text)}
    assert named
    assert named <= sections


def headings(page: Path) -> list[str]:
    return [line for line in page.read_text(encoding="utf-8").splitlines() if re.match(r"##+ \d", line)]


def with_examples(root: Path) -> list[str]:
    """Names of the modules below a source root whose docstrings have examples."""
    paths = (path for package in sorted(root.glob("sat_*")) for path in sorted(package.rglob("*.py")))
    return [".".join(p.relative_to(root).with_suffix("").parts) for p in paths if ">>> " in p.read_text("utf-8")]


@pytest.mark.parametrize("name", [*with_examples(ROOT), *with_examples(ROOT / "evaluation")])
def test_examples_in_docstrings_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


def fields(content: Any) -> Iterator[str]:
    """All keys of nested tables, but for the settings and the versions of packages."""
    for key, value in content.items() if isinstance(content, dict) else ():
        yield key
        if key not in ("spec", "versions"):
            yield from fields(value)
    for item in content if isinstance(content, list) else ():
        yield from fields(item)


def test_fields_are_found_at_any_depth() -> None:
    assert list(fields({"a": [{"b": 1}, {"c": {"d": []}}], "spec": {"e": 2}})) == ["a", "b", "c", "d", "spec"]


@pytest.mark.torch
@pytest.mark.usefixtures("small")
def test_files_of_a_run_are_explained_and_its_program_reads_them(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sat_evaluation.results.csv_file import write_csv
    from sat_evaluation.results.rows import collect

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/api"
    trained = sat.train(
        "small-cnn",
        "digits",
        backend=backend,
        subset=0.3,
        out=run,
        progress=False,
        settings={"evaluation.examples": 100},
    )
    (arm,) = (run / "arms").iterdir()
    shutil.copytree(arm, tmp_path / "runs/digits/arms/size-0.5")
    exec(compile(program(DOCUMENTS / "results.md", backend.name), "results.md", "exec"), {})
    result = json.loads((arm / "results.json").read_text())
    assert capsys.readouterr().out.startswith(f"{result['robust_accuracy']['all']['value']} ")

    write_csv(run / "summary.csv", collect([trained.results]))
    names = {
        *fields(result),
        *fields(json.loads((arm / "split.json").read_text())),
        *(run / "summary.csv").read_text().splitlines()[0].split(","),
        *read_npz(run / "ranking/ranking.npz"),
        *read_npz(arm / "evaluation/report.npz"),
        *(f"{group}/..." for group in checkpoint.read(run / "ranking/checkpoint-last").groups),
        *checkpoint.read(arm / "checkpoint-best").metadata,
        *checkpoint.read(arm / "checkpoint-last").metadata,
    }
    text = (DOCUMENTS / "results.md").read_text(encoding="utf-8")
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_published_numbers_beside_ours_are_the_published_ones() -> None:
    home = Path(importlib.import_module("sat_evaluation.plan").__path__[0])
    curves = tomllib.loads((home / "published.toml").read_text(encoding="utf-8"))["curves"]
    ours = {curve["measure"]: curve for curve in curves if (curve["figure"], curve["data"]) == ("fig6", "cifar10")}
    page = (DOCUMENTS / "results-cifar10.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    named = {(row[0], row[1]): tuple(row[-2:]) for row in rows if row[0].endswith("%") and row[-1] != "–"}
    expected = {
        (f"{10 * tenth} %", strategy): tuple(str(ours[measure][strategy][tenth - 1]) for measure in ("robust", "clean"))
        for tenth in (1, 3, 5)
        for strategy in ("hardest", "random", "easiest")
    }
    full = tuple(str(ours[measure]["full"]) for measure in ("robust", "clean"))
    assert named == {**expected, ("100 %", "full adversarial training"): full}
