"""``training.precision = "auto"``: replaced when a run begins, by the fastest that the device has in hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toys import toy

import sat_core as sat
from sat_core.errors import SpecError
from sat_core.files import parse_toml
from sat_core.precision import AUTO, check_precision, cpu_multiplies_bfloat16
from sat_core.reference import NumpyBackend
from sat_core.resolve import resolve_precision
from sat_core.run_folder import RunFolder
from sat_core.study import Study

SETTINGS = {"training.precision": AUTO, "training.batch_size": 16, "training.lr": 0.05, "training.threads": 1}


def study(**grid: Any) -> Study:
    training = {"epochs": 2, "lr": 0.1, "precision": AUTO}
    tables = {"data": {"name": "toy"}, "model": {"name": "linear"}, "training": training}
    return Study.from_tables({**tables, "subset": {"size": 0.5}, **({"grid": grid} if grid else {})})


def rank(out: Path) -> sat.Ranking:
    data = toy()
    return sat.rank("linear", data, epochs=2, backend=NumpyBackend(), settings=SETTINGS, out=out, progress=False)


def test_a_run_and_its_ranking_name_what_was_used_and_continue_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rank(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    tables = [parse_toml(each.spec_file.read_text()) for each in (folder, folder.ranking)]
    assert [each["training"]["precision"] for each in tables] == ["float32", "float32"]
    monkeypatch.setattr(NumpyBackend, "fastest_precision", lambda self: "bf16")  # as on another machine
    again = rank(tmp_path / "run")
    assert (again.hardest_first() == first.hardest_first()).all()
    rank(tmp_path / "new")
    assert parse_toml(RunFolder(tmp_path / "new").spec_file.read_text())["training"]["precision"] == "bf16"


def test_all_arms_get_the_same_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyBackend, "fastest_precision", lambda self: "tf32")
    resolved = resolve_precision(study(**{"subset.size": [0.1, 0.5]}), RunFolder(tmp_path), NumpyBackend())
    assert [arm.spec.training.precision for arm in resolved.arms] == ["tf32", "tf32"]
    assert resolved.base.training.precision == "tf32"
    named = study().set({"training.precision": "fp16"})
    assert resolve_precision(named, RunFolder(tmp_path), NumpyBackend()) is named


def test_what_cannot_be_resolved_is_refused(tmp_path: Path) -> None:
    folder, backend = RunFolder(tmp_path / "run"), NumpyBackend()
    with pytest.raises(SpecError, match="'auto' needs the device that computes, and this run is computed on other"):
        resolve_precision(study(), folder, backend, elsewhere=True)
    several = study(**{"training.precision": ["float32", AUTO]})
    with pytest.raises(SpecError, match="grid: expected precisions by name"):
        resolve_precision(several, folder, backend)
    with pytest.raises(SpecError, match="got 'auto', which only studies replace"):
        check_precision(AUTO, "float32", "float32")
    folder.claim(_experiment(study().set({"training.precision": "bf16"})))
    resolved = resolve_precision(study(), folder, backend, elsewhere=True)
    assert resolved.base.training.precision == "bf16"  # as the run began


def _experiment(of: Study) -> Any:
    from sat_core.experiment import Experiment

    return Experiment(tables=of.to_tables(), run={"backend": "numpy", "device": "cpu"}, data="toy")


@pytest.mark.parametrize(
    ("flags", "has"), [("fma avx512_bf16 avx2", True), ("amx_bf16", True), ("avx512f avx512_bf16x", False)]
)
def test_what_the_cpu_says_of_itself(flags: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"processor : 0\nmodel name : amx_bf16\nflags\t\t: fpu {flags}\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: text)
    assert cpu_multiplies_bfloat16() is has


def test_a_machine_that_does_not_say_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Path, **_: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert not cpu_multiplies_bfloat16()
