"""Does it run, and is it right? Losses against float64, graphs against eager, AutoAttack, the contract suite."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import numpy as np
import torch
from gpu_log import Log, Measurement, Row
from gpu_ranks import losses_and_seconds
from gpu_setup import Bench, attack_settings, build, learnable_examples
from gpu_training import PGD7, settings, training

from sat_core.backend import Backend, get_backend
from sat_core.testing import backend_checks
from sat_core.training_spec import TrainingSpec

SECTION = "correctness"
REFERENCE = "losses in float64 on the CPU"
FIRST = {"float32": 0.001, "tf32": 0.01, "bf16": 0.03}
"""Largest relative difference of the first loss from float64's: that of one attack, before any weight has changed."""
LATER = {"float32": 0.05, "tf32": 0.1, "bf16": 0.1}
"""The same over the training. A network that learns from eight images at a time is chaotic: on a CPU float32 came 1.8 %
away within 20 steps with this learning rate, and 21 % with ten times as much."""


def measurements(bench: Bench, log: Log) -> Iterator[Measurement]:
    """Yield the measurements in the order of worth."""
    yield Measurement(REFERENCE, lambda: _reference(bench))
    for precision in _precisions(bench):
        yield Measurement(f"losses in {precision}", partial(_against_float64, bench, log, precision))
    for precision in ("bf16", "float32"):
        yield Measurement(f"CUDA graphs against eager, {precision}", partial(_graphs, bench, precision))
    for graphs in (True, False):
        yield Measurement(f"waits, {'CUDA graphs' if graphs else 'eager'}", partial(_waits, bench, graphs))
    yield Measurement("AutoAttack, 16 images", lambda: _attacked(bench))
    yield Measurement("deterministic, twice", lambda: _twice(bench))
    yield Measurement("ranks of torchrun", lambda: _ranks(bench))
    yield Measurement("contract", lambda: _contract(bench))


def _precisions(bench: Bench) -> tuple[str, ...]:
    return ("float32", "tf32", "bf16") if bench.on_gpu else ("float32", "bf16")  # a CPU has no tf32


def _train(bench: Bench, backend: Backend, spec: TrainingSpec, share: float = 0.5) -> tuple[np.ndarray, bytes]:
    """Train the small network for some steps; return their losses and the bytes of its state."""
    batch, steps, pgd_steps = bench.size.reference
    data, attack = learnable_examples(batch * steps, bench.size.side), attrs.evolve(PGD7, steps=pgd_steps)
    classifier = build(backend, bench.size.small, data)
    with training(backend, classifier, data, spec, share, attack) as run:
        losses = run.epoch(0)
    return losses, b"".join(value.tobytes() for _, value in sorted(classifier.state().items()))


def _spec(bench: Bench, **changes: Any) -> TrainingSpec:
    # stratified: all steps are of one size, for which a graph is captured once and cuDNN's algorithms are tried once
    return settings(bench, batch_size=bench.size.reference[0], lr=0.001, batches="stratified", **changes)


def _reference(bench: Bench) -> Row:
    losses, _ = _train(bench, get_backend("torch"), _spec(bench, precision="float64", channels_last=False))
    return {"steps": len(losses), "first loss": float(losses[0]), "last loss": float(losses[-1]), "_losses": [*losses]}


def _against_float64(bench: Bench, log: Log, precision: str) -> Row:
    expected = np.array((log.row(SECTION, REFERENCE) or _reference(bench))["_losses"])
    losses, _ = _train(bench, bench.backend, _spec(bench, precision=precision))
    apart = np.abs(losses / expected - 1)
    return {
        "steps": len(losses),
        "first loss": float(losses[0]),
        "last loss": float(losses[-1]),
        "largest difference, relative": float(apart.max()),
        "first difference": float(apart[0]),
        "right": _yes(bool(apart[0] <= FIRST[precision] and (apart <= LATER[precision]).all())),
    }


def _graphs(bench: Bench, precision: str) -> Row:
    """Train with and without CUDA graphs. Equal bit by bit where the kernels are: cuDNN may pick others for a size."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runs = [
            _train(bench, bench.backend, _spec(bench, precision=precision, deterministic=True, cuda_graphs=graphs))
            for graphs in (True, False)
        ]
    failed = [str(warning.message) for warning in caught if "cuda_graphs" in str(warning.message)]
    (captured, captured_state), (eager, eager_state) = runs
    apart = np.abs(captured / eager - 1)
    equal = bool((captured == eager).all()) and captured_state == eager_state
    return {
        "steps": len(eager),
        "captured": failed[0] if failed else "yes" if bench.on_gpu else "no GPU",
        "first loss": float(captured[0]),
        "last loss": float(captured[-1]),
        "largest difference, relative": float(apart.max()),
        "bit by bit": _yes(equal),
        "right": _yes(not failed and bool((apart <= LATER[precision]).all())),
    }


def _waits(bench: Bench, graphs: bool) -> Row:
    """Make steps while PyTorch raises an error where the host waits for the device; a CPU has nothing to wait for."""
    batch, steps, pgd_steps = bench.size.reference
    data, attack = learnable_examples(batch * steps, bench.size.side), attrs.evolve(PGD7, steps=pgd_steps)
    spec = _spec(bench, precision="bf16", cuda_graphs=graphs, augmentation="cifar", epochs=2)
    wait = ""
    with training(bench.backend, bench.build(bench.size.small, data), data, spec, 0.5, attack) as run:
        run.epoch(0)
        plan = run.planner.epoch(1)
        run.trainer.begin(plan)
        if bench.on_gpu:
            torch.cuda.set_sync_debug_mode("error")
        try:
            for step in range(plan.steps):
                run.trainer.step(step)
        except RuntimeError as error:
            wait = str(error).splitlines()[0]
        finally:
            if bench.on_gpu:
                torch.cuda.set_sync_debug_mode("default")
        losses = run.trainer.losses(0, plan.steps) if not wait else np.zeros(0)
    return {
        "steps": plan.steps,
        "waits": wait or ("none" if bench.on_gpu else "no GPU"),
        "right": _yes(not wait and bool(np.isfinite(losses).all())),
    }


def _twice(bench: Bench) -> Row:
    spec = _spec(bench, deterministic=True)
    (_, one), (_, other) = (_train(bench, bench.backend, spec) for _ in range(2))
    return {"bit by bit": _yes(one == other), "right": _yes(one == other)}


def _ranks(bench: Bench) -> Row:
    """Train as a process alone, as the one rank of torchrun, and as two ranks that share the device."""
    (alone, seconds), (one, seconds_of_one), (two, _) = (losses_and_seconds(bench, ranks) for ranks in (0, 1, 2))
    apart = np.abs(two / alone - 1)
    return {
        "one rank, times as slow as none": seconds_of_one / seconds,
        "one rank, bit by bit": _yes(bool((one == alone).all())),
        "two ranks, largest difference, relative": float(apart.max()),
        "right": _yes(bool(apart[0] <= FIRST["float32"] and (apart <= LATER["float32"]).all())),
    }


def _attacked(bench: Bench) -> Row:
    """Attack few images with both engines, in a part of the budget: the package's own takes half a minute on any batch.

    ε is small, so that most images go through all four attacks.
    """
    data = learnable_examples(16, bench.size.side)
    classifier = bench.build(bench.size.small, data)
    labels = classifier.logits(data.images).argmax(axis=1)
    attacks = attack_settings(bench.size.budget or 30)
    row: Row = {}
    flags = {}
    for engine in ("fast", "package"):
        options = {"norm": "L2", "eps": 0.05, "attacks": attacks, "engine": engine}

        def attack(engine: str = engine, options: dict[str, Any] = options) -> None:
            flags[engine] = bench.backend.evaluate(classifier, data.images, labels, **options).robust

        row[f"s, {engine}"] = bench.seconds(attack)
    row["robust"] = f"{flags['package'].sum()} of {len(labels)}"
    row["right"] = _yes(bool((flags["fast"] <= flags["package"]).all()))
    return row


def _contract(bench: Bench) -> Row:
    """Run the contract suite, which has the rows of the parity table; those that fail are named."""
    failed, checks = [], backend_checks()[: bench.size.checks]
    with bench.backend.session(settings(bench)):
        for check in checks:
            try:
                check(bench.backend)
            except Exception as error:  # the others are checked all the same
                failed.append(f"{check} ({str(error).splitlines()[0] if str(error) else type(error).__name__})")
    return {"checks": len(checks), "failed": "; ".join(failed) or "none", "right": _yes(not failed)}


def _yes(right: bool) -> str:
    return "yes" if right else "NO"
