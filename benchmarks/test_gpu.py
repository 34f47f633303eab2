"""The GPU benchmark runs on a CPU with tiny numbers, continues where it stopped, and computes its goals right."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import gpu_correctness
import gpu_goals
import gpu_profile
import pytest
from goals import GOALS
from gpu_log import Log, Measurement, Row, Section
from gpu_setup import ON_CPU, SMOKE, Bench, Size

from sat_core.backend import get_backend

PROGRAM = Path(__file__).with_name("gpu.py")
SECTIONS = ["correctness", "speed", "AutoAttack", "recipe", "profile", "images"]


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run a smoke round in `folder` and return what it prints."""
    command = [sys.executable, str(PROGRAM), "--smoke", "--out", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr * bool(code)


def test_every_section_is_measured_and_a_second_start_measures_what_is_missing(tmp_path: Path) -> None:
    printed = run(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert list(content["rows"]) == SECTIONS
    assert content["errors"] == {}
    assert all(row.get("right", "yes") == "yes" for row in content["rows"]["correctness"].values())
    page = (tmp_path / "results.md").read_text()
    assert page in printed
    assert page.count("no GPU was at hand") == sum(key.startswith("gpu-") for key in GOALS)

    del content["rows"]["recipe"]["full AT"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert [line.split(":")[0] for line in run(tmp_path).splitlines() if ": minutes " in line] == ["recipe"]

    content["facts"]["device"] = "another card"
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert "holds measurements with another device; give another folder" in run(tmp_path, code=1)
    assert "expected some of correctness, speed" in run(tmp_path, "--only", "sped", code=2)


def log_of(folder: Path, **facts: str) -> Log:
    return Log(folder, facts, lambda _log: "")


def names(log: Log) -> dict[str, list[str]]:
    return {section: list(rows) for section, rows in log.rows.items()}


def test_time_is_kept_and_what_a_section_leaves_goes_to_the_others(tmp_path: Path) -> None:
    def after(seconds: float) -> Row:
        time.sleep(seconds)
        return {"s": seconds}

    endless = Section("endless", 1.0, lambda: [Measurement("a", lambda: after(60))])
    short = Section("short", 1.0, lambda: [Measurement("b", lambda: after(0)), Measurement("c", lambda: after(0))])
    log, start = log_of(tmp_path), time.monotonic()
    log.run([endless, short], seconds=1.0)
    assert 1.0 <= time.monotonic() - start < 30
    assert names(log) == {"short": ["b", "c"]}
    assert names(log_of(tmp_path)) == {"short": ["b", "c"]}


def test_a_measurement_that_fails_is_named_and_the_others_are_made(tmp_path: Path) -> None:
    def fails() -> Row:
        raise ValueError("no such kernel")

    def warns() -> Row:
        warnings.warn("runs without graphs", stacklevel=2)
        return {"n": 1}

    sections = [Section("speed", 1.0, lambda: [Measurement("a", fails), Measurement("b", warns)])]
    log = log_of(tmp_path)
    log.run(sections)
    assert names(log) == {"speed": ["b"]}
    page = (tmp_path / "results.md").read_text()
    assert "speed: a: ValueError: no such kernel" in page
    assert "- b: runs without graphs" in page
    again = log_of(tmp_path)
    again.run([Section("speed", 1.0, lambda: [Measurement("a", lambda: {"n": 2})])])
    assert again.row("speed", "a") == {"n": 2}


def test_losses_that_are_off_are_wrong(tmp_path: Path) -> None:
    log, bench = log_of(tmp_path), Bench(get_backend("torch"), SMOKE)
    made = {m.name: m.measure for m in gpu_correctness.measurements(bench, log)}
    reference = made[gpu_correctness.REFERENCE]()
    for off, right in ((1.0, "yes"), (1.002, "NO")):
        losses = [reference["_losses"][0] * off, *reference["_losses"][1:]]
        log.rows["correctness"] = {gpu_correctness.REFERENCE: {"_losses": losses}}
        assert made["losses in float32"]()["right"] == right


def rows() -> dict[str, dict[str, Row]]:
    """Return rows of a run in which the share ladder costs 1.1 times what it should, and the flags differ in one."""
    steps = {0: 10.0, 10: 1.1 * 14, 30: 1.1 * 22, 50: 1.1 * 30, 100: 50.0}
    speed: dict[str, Row] = {
        f"resnet18, bf16, {share}% in A": {"ms per step": ms, "images/s": 128e3 / ms} for share, ms in steps.items()
    }
    speed["peers, bf16"] = {"ours, images/s": 9000.0, "torchattacks, images/s": "not installed", "loop, images/s": 2e3}
    speed["peers, float32"] = {"ours, images/s": 3000.0, "torchattacks, images/s": 1e3, "loop, images/s": 2500.0}
    attacks: dict[str, Row] = {
        "fast, 1,000 images": {"seconds": 10.0, "robust": 2, "_robust": "1100"},
        "package, 1,000 images": {"seconds": 45.0, "robust": 3, "_robust": "1110"},
    }
    recipe = {"full AT": {"minutes": 28.0, "of bf16 matrix rate": 0.42}, "50 % ESAT": {"minutes": 18.0}}
    return {
        "speed": speed,
        "AutoAttack": attacks,
        "recipe": recipe,
        "profile": {"a": {"idle": 0.04}, "b": {"idle": 0.03}},
    }


def test_goals_follow_from_the_rows(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.rows = rows()
    values = dict(gpu_goals.measured(log, Size()))
    assert set(values) == {key for key in GOALS if key.startswith(("gpu-", "cpu-"))}
    assert values == pytest.approx(
        {
            "gpu-rate": 2560,
            "gpu-peers": 9000 / 2500,
            "cpu-peers": 3000 / 2500,
            "cpu-bf16": 3,
            "gpu-share-10%": 1.1,
            "gpu-share-30%": 1.1,
            "gpu-share-50%": 1.1,
            "gpu-recipe-100%": 28,
            "gpu-recipe-50%": 18,
            "gpu-utilisation": 42,
            "gpu-idle": 4,
            "gpu-autoattack": 4.5,
            "gpu-flags": 250,
            "gpu-more-robust": -1,
        }
    )


def test_goals_are_judged_where_a_gpu_measured_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, bench = log_of(tmp_path), Bench(get_backend("torch"), Size())
    log.rows = rows()
    del log.rows["profile"]
    monkeypatch.setattr(Bench, "on_gpu", True)
    results = {line.split(" | ")[0]: line for line in gpu_goals.goals_page(log, bench).splitlines()}
    assert results["| the recipe's 201 epochs, wide network, full AT"].endswith("| 28 minutes | met |")
    assert results["| the recipe's 201 epochs, wide network, 50 % ESAT"].endswith("| 18 minutes | missed |")
    assert results["| the device idles in a step of ResNet-18, bf16"].endswith("| not reached | – |")
    log.rows["correctness"] = {"losses in bf16": {"right": "NO"}}
    assert gpu_goals.goals_page(log, bench).startswith("**Wrong: losses in bf16.**")


def test_bf16_on_a_cpu_is_judged_with_amx_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, bench = log_of(tmp_path), Bench(get_backend("torch"), ON_CPU)
    log.rows = rows()
    monkeypatch.setattr(gpu_goals, "CPU", tmp_path / "cpuinfo")
    assert "| 3 x as fast as float32 | no AMX here |" in gpu_goals.goals_page(log, bench)
    (tmp_path / "cpuinfo").write_text("flags: amx_bf16")
    assert "| 3 x as fast as float32 | met |" in gpu_goals.goals_page(log, bench)


def test_a_trace_is_read_right(tmp_path: Path) -> None:
    def event(kind: str, name: str, begin: float, length: float) -> dict[str, Any]:
        return {"ph": "X", "cat": kind, "name": name, "ts": begin, "dur": length}

    events = [
        event("kernel", "convolution", 100, 40),
        event("kernel", "convolution", 120, 40),  # beside it, on another stream
        event("gpu_memcpy", "Memcpy HtoD", 180, 20),
        event("cuda_runtime", "cudaLaunchKernel", 90, 5),
        event("cuda_runtime", "cudaGraphLaunch", 95, 5),
        event("cuda_runtime", "cudaStreamSynchronize", 200, 5),
        event("cpu_op", "aten::conv2d", 0, 500),
        {"ph": "M", "name": "process_name"},
    ]
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    row = gpu_profile.summary(path)
    assert row["idle"] == pytest.approx(0.2)
    assert row["kernels per step"] == 3 / 5
    assert row["launches per step"] == 2 / 5
    assert row["waits per step"] == 1 / 5
    assert row["slowest kernels"] == "convolution 100%"
