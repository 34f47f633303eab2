"""The parity table: how far two backends may be apart, measured through the interface alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, final

import attrs
import numpy as np

from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier, State
from sat_core.data import Examples
from sat_core.input_spec import InputSpec
from sat_core.recorder import Recorder
from sat_core.splits import hardest_first
from sat_core.testing import samples
from sat_core.testing.options import OPTIONS, option_difference
from sat_core.threat import THREAT_MODELS
from sat_core.training_spec import TrainingSpec
from sat_core.weighting import WEIGHTING_RULES


@final
@attrs.frozen
class Parity:
    """One row of the table.

    Args:
        what: what is compared.
        tolerance: in words.
        limit: the row holds if what `measure` returns is at most this.
        models: that both backends need.
        measure: of two backends.
    """

    what: str
    tolerance: str
    limit: float
    models: tuple[str, ...]
    measure: Callable[[Backend, Backend], float]


IMAGE_SHAPES = {
    "linear": samples.SHAPE,
    "small-cnn": samples.SHAPE,
    "resnet18": (32, 32, 3),
    "wide-preact-resnet18": (32, 32, 3),
    "resnet50": (64, 64, 3),
}
"""Shapes `(h, w, c)` of the images on which the logits of each model are compared."""


def pair(one: Backend, other: Backend, model: str, shape: samples.Shape = samples.SHAPE) -> list[Classifier]:
    """Build a model in both backends with the weights that `one` draws for the samples."""
    both = [samples.build(backend, model, shape=shape) for backend in (one, other)]
    both[1].load_state(both[0].state())
    return both


def logits_difference(classifiers: list[Classifier], model: str) -> float:
    """Return the largest difference of logits relative to max(1, |expected|), on uint8 and float32 images."""
    # The numpy oracle is slow on the large networks.
    n, shape = 24 if IMAGE_SHAPES[model] == samples.SHAPE else 2, IMAGE_SHAPES[model]
    batches = [samples.examples(n, whole=whole, shape=shape).images for whole in (False, True)]
    got, expected = (np.concatenate([c.logits(images) for images in batches]) for c in classifiers)
    return float(np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))))


def _logits_row(model: str) -> Parity:
    return Parity(
        what=f"logits of {model}, same weights",
        tolerance="1e-4, relative to a logit of more than 1",
        limit=1e-4,
        models=(model,),
        measure=lambda one, other: logits_difference(pair(one, other, model, IMAGE_SHAPES[model]), model),
    )


def steps_difference(one: Backend, other: Backend, steps: int, rule: str, share: float, **changes: Any) -> float:
    """Train a small CNN by SAT with PGD-7 in both backends, and compare losses and states after `steps` steps.

    Returns:
        The largest difference, relative to the largest number of the array in which it is.
    """
    data = samples.examples(160, whole=True)
    training, attack = samples.training(batch_size=16, **changes), samples.attack(random_start=True)
    plans = samples.plans(len(data), share, training, attack, rule)
    logs: list[State] = []
    for backend, classifier in zip((one, other), pair(one, other, "small-cnn"), strict=True):
        losses = samples.train(backend.trainer(classifier, data, training, attack), plans, steps)
        logs.append(classifier.state() | {f"loss {i}": np.array(loss) for i, loss in enumerate(losses)})
    got, expected = logs
    # np.max throughout, because Python's max may drop a NaN, which has to fail the limit.
    return float(np.max([np.max(np.abs(got[k] - v)) / np.max(np.abs(v)) for k, v in expected.items()]))


def _steps_row(steps: int, precision: str, limit: float, shares: tuple[float, ...] = (0.4,), **changes: Any) -> Parity:
    def measure(one: Backend, other: Backend) -> float:
        cases = [(rule, share) for rule in WEIGHTING_RULES for share in shares]
        changed = {"precision": precision, **changes}
        return float(np.max([steps_difference(one, other, steps, *case, **changed) for case in cases]))

    return Parity(
        what=f"{precision}, {steps} {'step' if steps == 1 else 'steps'} of the small CNN, every weighting rule"
        + (", AdamW" if changes.get("optimizer") == "adamw" else ""),
        tolerance=f"{limit:.0e}, relative, of losses, weights and running statistics".replace("e-0", "e-"),
        limit=limit,
        models=("small-cnn",),
        measure=measure,
    )


def attack_difference(one: Backend, other: Backend, norm: str) -> float:
    """Attack by PGD-7 from one random start in both backends.

    Returns:
        The share of examples (L2) that differ by more than 1e-3, or of pixels (Linf) that differ by more than 1e-6.
    """
    data = samples.examples(200)
    size = {"L2": 0.8, "Linf": 0.06}[norm]
    attack = samples.attack(norm=norm, eps=size, step_size=size / 4, random_start=True)
    got, expected = (
        c.perturb(data.images, data.labels, attack, np.random.default_rng(7)) for c in pair(one, other, "small-cnn")
    )
    if norm == "L2":
        # "not <=" counts NaN as a difference. Two programs need not agree on the direction of a gradient near 0.
        return float(np.mean(~(THREAT_MODELS.get(norm).size(got - expected) <= 1e-3)))
    return float(np.mean(~(np.abs(got - expected) <= 1e-6)))


def ranking_difference(one: Backend, other: Backend, data: Examples) -> tuple[float, float]:
    """Rank `data` by the online entropies of one epoch of plain training of a small CNN, in both backends.

    Entropies that are less than 1e-3 apart are ties: rounding decides which of them comes first.

    Returns:
        1 - Spearman's correlation, and the share that is missing from the hardest 10, 30 or 50 %, at worst.
    """
    training = TrainingSpec(epochs=1, batch_size=32, lr=0.05, schedule="constant")
    shape = (int(data.images.shape[1]), int(data.images.shape[2]), int(data.images.shape[3]))
    planner = Planner(samples.split(len(data), 0.0), training, samples.attack(), shape)
    inputs = InputSpec(data.classes, shape)
    weights = one.build_for(inputs, "small-cnn").state()
    scores = []
    for backend in (one, other):
        classifier, recorder = backend.build_for(inputs, "small-cnn"), Recorder(len(data), 1)
        classifier.load_state(weights)
        trainer, plan = backend.trainer(classifier, data, training, samples.attack()), planner.epoch(0)
        trainer.begin(plan, record=True)
        for step in range(plan.steps):
            trainer.step(step)
        recorder.add(plan.index.ravel(), trainer.moments(0, plan.steps), 0)
        # One epoch leaves out its last, incomplete batch.
        seen = recorder.seen > 0
        scores.append(recorder.state()["entropy"][seen])
    got, expected = orders = [hardest_first(s) for s in scores]
    places = [np.argsort(order) for order in orders]
    tops = (len(got) * percent // 100 for percent in (10, 30, 50))
    missing = [np.mean(scores[1][got[:n]] < scores[1][expected[n - 1]] - 1e-3) for n in tops]
    return float(1 - np.corrcoef(places[0], places[1])[0, 1]), float(max(missing))


def option_row(name: str) -> str:
    """Return the name of the row of an option."""
    return f"twenty_steps_with_{re.sub(r'[^a-zε]+', '_', name.lower())}"


def _option_row(name: str) -> Parity:
    return Parity(
        what=f"float64, 20 steps of the small CNN with {name}",
        tolerance="1e-6, relative, of losses, logits, weights, statistics and averages",
        limit=1e-6,
        models=("small-cnn",),
        measure=lambda one, other: option_difference(one, other, name),
    )


def _samples_ranking(column: int) -> Callable[[Backend, Backend], float]:
    return lambda one, other: ranking_difference(one, other, samples.examples(320))[column]


PARITY: dict[str, Parity] = {
    **{f"logits_of_{model.replace('-', '_')}": _logits_row(model) for model in IMAGE_SHAPES},
    "twenty_steps_in_float64": _steps_row(20, "float64", 1e-6),
    "one_step_in_float32": _steps_row(1, "float32", 1e-5, (0.0, 0.4, 1.0)),
    "five_steps_in_float32": _steps_row(5, "float32", 1e-3),
    "five_steps_in_bf16": _steps_row(5, "bf16", 5e-2),
    "five_steps_in_fp16": _steps_row(5, "fp16", 5e-2),
    "twenty_steps_of_adamw_in_float64": _steps_row(20, "float64", 1e-6, optimizer="adamw", lr=1e-3),
    # where a gradient is rounding error, its sign decides a step of the full learning rate
    "five_steps_of_adamw_in_float32": _steps_row(5, "float32", 2e-2, optimizer="adamw", lr=1e-3),
    **{option_row(name): _option_row(name) for name in OPTIONS},
    "attack_in_l2": Parity(
        what="PGD-7 in L2, same weights and random start",
        tolerance="at most 1 % of the examples differ by more than 1e-3",
        limit=0.01,
        models=("small-cnn",),
        measure=lambda one, other: attack_difference(one, other, "L2"),
    ),
    "attack_in_linf": Parity(
        what="PGD-7 in Linf, same weights and random start",
        tolerance="at most 1 % of the pixels differ by more than 1e-6",
        limit=0.01,
        models=("small-cnn",),
        measure=lambda one, other: attack_difference(one, other, "Linf"),
    ),
    "order_of_the_ranking": Parity(
        what="entropies of one epoch, all examples",
        tolerance="Spearman's correlation at least 1 - 1e-4",
        limit=1e-4,
        models=("small-cnn",),
        measure=_samples_ranking(0),
    ),
    "hardest_of_the_ranking": Parity(
        what="entropies of one epoch, hardest 10, 30 and 50 %",
        tolerance="at most 0.5 % of them missing, but for ties within 1e-3",
        limit=0.005,
        models=("small-cnn",),
        measure=_samples_ranking(1),
    ),
}
"""The rows by name; the contract measures them against the numpy reference as ``parity_<name>``."""
