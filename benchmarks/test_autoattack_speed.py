"""G10 to G13: AutoAttack through our runner against the package's own, same network, images, budgets and seed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measure import cost, record, timed
from pyautoattack import AutoAttack

from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import ENGINES, AttackSettings
from sat_core.backend import get_backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.datasets import get_dataset
from sat_core.splits import Split
from sat_core.testing import samples
from sat_core.training_spec import TrainingSpec
from sat_evaluation.attack.plan import plan
from sat_evaluation.attack.runner import evaluate

THREADS = 2
REFERENCE = "run_standard_evaluation"
CLOCK = time.perf_counter
NORM = "L2"
FULL = {"iterations": 100, "target_classes": 9, "queries": 5000}
SHORT = {"iterations": 40, "target_classes": 4, "queries": 1200}
"""For ResNet-18, which takes minutes per image with `FULL`. FAB-T has a sixth of the work of it, Square a quarter."""
SMOKE = {"iterations": 3, "target_classes": 2, "queries": 5}
SETTINGS = {"resnet18": (SHORT, 3, 2, 0.3, 60, 16), "small-cnn": (FULL, 48, 2, 0.5, 90, 64)}
"""Budgets, images to attack, repeats, ε, and the steps and batch size with which the network is trained."""

pytestmark = pytest.mark.benchmark(timer=CLOCK)


class Setting:
    """A network after a short training (adversarial for the small CNN), and digits that it classifies correctly."""

    def __init__(self, model: str, smoke: bool) -> None:
        torch.set_num_threads(THREADS)
        budgets, self.n, self.rounds, self.eps, steps, batch = SETTINGS[model]
        self.budgets = SMOKE if smoke else budgets
        data = get_dataset("digits")
        train, test = (_enlarged(part) if model == "resnet18" else part for part in (data.train, data.test))
        if smoke:
            self.n, steps = 4, 12
        shape, channels = train.images.shape[1:], train.images.shape[3]
        options = {"classes": 10, "image_shape": shape, "mean": (0.3,) * channels, "std": (0.37,) * channels}
        backend, self.training = get_backend("torch"), TrainingSpec(epochs=1, batch_size=batch, lr=0.05)
        self.classifier: Classifier = backend.build(model, **options)
        attack = AttackSpec(norm=NORM, eps=0.5, steps=3)
        members = np.full(len(train), model == "small-cnn")
        split = Split(kind="examples", strategy="random", members=members, classes=None, weights=(1.0, 1.0))
        planner = Planner(split, self.training, attack, shape)
        trainer = backend.trainer(self.classifier, train, self.training, attack)
        samples.train(trainer, [planner.epoch(epoch) for epoch in range(-(-steps // planner.steps_per_epoch))], steps)
        correct = np.flatnonzero(self.classifier.logits(test.images).argmax(1) == test.labels)[::4][: self.n]
        self.examples = test.take(correct)

    def package(self) -> np.ndarray:
        """Run the package's own evaluation on the bare module; return which examples are robust, bool `(n,)`."""
        module, data = self.classifier.module.eval(), self.examples  # type: ignore[attr-defined]
        package = AutoAttack(module, norm=NORM, eps=self.eps, seed=0, device="cpu", version="standard")
        for part in (package.apgd, package.apgd_targeted, package.fab):
            part.n_iter = part.n_iter_orig = self.budgets["iterations"]
            part.n_iter_2, part.n_iter_min, part.size_decr = (
                max(int(share * part.n_iter), 1) for share in (0.22, 0.06, 0.03)
            )
            part.n_target_classes = self.budgets["target_classes"]
        package.square.n_queries = self.budgets["queries"]
        x = torch.from_numpy(data.float_images(np.arange(len(data))).transpose(0, 3, 1, 2).copy())
        trace = sys.gettrace()  # the package replaces the trace function, which coverage uses
        _, predicted = package.run_standard_evaluation(x, torch.from_numpy(data.labels), batch_size=250)
        sys.settrace(trace)
        return predicted.numpy() == data.labels

    def ours(self, engine: str) -> np.ndarray:
        """Run the same evaluation with our runner."""
        shape = self.classifier.image_shape
        planned, _ = plan("standard", norm=NORM, classes=self.classifier.classes, image_shape=shape)
        limited = [{key: self.budgets.get(key, value) for key, value in a.to_table().items()} for a in planned]
        attacks, data = tuple(AttackSettings.from_table(table) for table in limited), self.examples
        options = {"norm": NORM, "eps": self.eps, "attacks": attacks, "engine": engine}
        return evaluate(self.classifier, data.images, data.labels, **options).robust


def _enlarged(data: Examples) -> Examples:
    """Enlarge digits of 8x8 grey pixels to 32x32 in three channels."""
    images = data.images.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    return Examples(images, data.labels, data.classes, data.name)


@pytest.mark.parametrize("model", SETTINGS)
def test_autoattack(benchmark: Any, model: str) -> None:
    """The package's flags are equal; the other engines round differently and may differ in one in fifteen."""
    setting = Setting("small-cnn" if benchmark.disabled else model, benchmark.disabled)
    runs: dict[str, Callable[[], np.ndarray]] = {REFERENCE: setting.package}
    runs |= {engine: partial(setting.ours, engine) for engine in ENGINES}
    robust: dict[str, np.ndarray] = {}
    seconds: dict[str, list[float]] = {name: [] for name in runs}

    def turn() -> None:
        for name, run in runs.items():
            seconds[name].append(timed(lambda: robust.__setitem__(name, run()), CLOCK))  # noqa: B023

    benchmark.pedantic(turn, rounds=setting.rounds)
    expected = robust[REFERENCE]
    np.testing.assert_array_equal(robust["package"], expected)
    few = max(len(expected) // 15, 1)
    assert (robust["folded"] != expected).sum() <= few
    assert robust["fast"].sum() <= expected.sum() + few
    note = f"{expected.sum()} of {len(expected)} robust"
    for engine in ENGINES:
        ratios = np.array(seconds[REFERENCE]) / seconds[engine]
        record(benchmark, f"autoattack-{engine}-{model}", ratios, note, float(np.median(seconds[engine])))


def _peak(who: str, smoke: bool) -> float:
    """Return the peak memory, in GiB, of a process that attacks 64 images with ResNet-18."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_autoattack_speed as t; "
    return cost([sys.executable, "-c", f"{code}t.attack({who!r}, {smoke})"])[1]


def attack(who: str, smoke: bool) -> None:
    """Run in the process that `_peak` starts."""
    SETTINGS["resnet18"] = (SMOKE, 64, 1, 0.3, 60, 16)
    setting = Setting("small-cnn" if smoke else "resnet18", smoke)
    setting.package() if who == "bare" else setting.ours(who)


@pytest.mark.parametrize("engine", ["package", "fast"])
def test_memory(benchmark: Any, engine: str) -> None:
    """Peak memory of the whole process against that of the package on the bare module."""
    peaks: list[float] = []
    smoke = benchmark.disabled
    benchmark.pedantic(lambda: peaks.append(_peak(engine, smoke)), rounds=1)
    assert peaks[0] > 0
    if not smoke:
        record(benchmark, f"autoattack-memory-{engine}", [peaks[0] / _peak("bare", smoke)])
