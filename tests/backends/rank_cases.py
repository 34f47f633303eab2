"""Trainings that several ranks of a group make as one process would; the same for every backend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core.backend import Backend, get_backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.epoch_plan import joined
from sat_core.loss_spec import LossSpec
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.testing import samples
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec

EXAMPLES = 24
"""In three batches of 8 per epoch."""


@final
@attrs.frozen(kw_only=True)
class Case:
    """A training of five steps.

    Attributes:
        share: Of the examples that are in A.
        rule: Of the weights.
        model: Name of the network, which the caller makes.
        features: Whether a new head is trained on features.
        training: Changes of `samples.training`.
        attack: Changes of `samples.attack`.
        loss: Settings of the loss.
        close: Largest difference of any weight, buffer, loss or statistic between one process and several.
    """

    share: float = 0.5
    rule: str = "emphasised"
    model: str = "small-cnn"
    features: bool = False
    training: dict[str, Any] = attrs.field(factory=dict)
    attack: dict[str, Any] = attrs.field(factory=dict)
    loss: dict[str, Any] = attrs.field(factory=dict)
    close: float = 1e-9


EXACT = {"precision": "float64"}
AUGMENTED = {**EXACT, "augmentation": "cifar"}
PAIRS = {"kind": "trades", "beta": (12.0, 6.0), "label_smoothing": 0.1}
CASES = {
    "no members": Case(share=0.0, rule="uniform", training=EXACT),
    # One batch of three has a member, so that at least one rank never attacks.
    "one member": Case(share=0.05, rule="balanced", training=EXACT),
    "half": Case(training=EXACT),
    "stratified": Case(rule="uniform", training={**EXACT, "batches": "stratified"}),
    "all members": Case(share=1.0, rule="uniform", training={**EXACT, "optimizer": "adamw", "lr": 1e-3}),
    "augmented": Case(rule="balanced", training=AUGMENTED, attack={"random_start": True}),
    "float32": Case(training={"precision": "float32"}, close=1e-3),
    "bf16": Case(training={"precision": "bf16"}, close=5e-2),
    "fp16": Case(training={"precision": "fp16"}, close=5e-2),
    "head": Case(model="head", training=AUGMENTED),
    "last layer": Case(model="last layer", training=EXACT),
    "features": Case(model="head", features=True, share=0.0, rule="uniform", training=EXACT),
}
OPTIONS = {
    # Ranks send different numbers of images through the network.
    "pairs": Case(training=EXACT, attack={"random_start": True, "loss": "kl", "restarts": 2}, loss=PAIRS),
    "pairs of one member": Case(share=0.05, rule="balanced", training=EXACT, loss={"kind": "mart"}),
    "perturbed weights": Case(share=0.05, rule="balanced", training={**EXACT, "awp": 0.02}),
    "clipped average": Case(training={**EXACT, "clip_norm": 0.3, "averaging": "ema:0.9"}),
    # A head has no statistics, which would be those of each part.
    "parts": Case(model="head", training={**EXACT, "micro_batches": 2}, attack={"warmup": 2.0}),
}
"""Steps with more than plain SAT has."""


def run(
    backend: Backend,
    classifier: Classifier,
    case: Case,
    group: ProcessGroup = ALONE,
    share: tuple[int, int] | None = None,
    prepare: Callable[[Trainer], None] = lambda trainer: None,
) -> dict[str, np.ndarray]:
    """Train, and return everything that the training leaves behind, by name.

    Args:
        backend: Has joined the group.
        classifier: New, the same on every rank.
        case: What is trained.
        group: The ranks.
        share: Rank and number of ranks whose share is taken; by default those of the group.
        prepare: Gets the trainer before its first step.
    """
    rank, size = share or (group.rank, group.size)
    data, training, attack = (
        samples.examples(EXAMPLES),
        samples.training(**case.training),
        samples.attack(**case.attack),
    )
    features = classifier.features(data.images) if case.features else None
    loss = LossSpec(**case.loss)
    planner = Planner(samples.split(EXAMPLES, case.share, case.rule), training, attack, samples.SHAPE, "", loss)
    trainer = backend.trainer(classifier, data, training, attack, features, loss)
    prepare(trainer)
    left: dict[str, np.ndarray] = {}
    for epoch, steps in enumerate((3, 2)):
        plan = planner.epoch(epoch).share(rank, size)
        trainer.begin(plan, record=True)
        for step in range(steps):
            trainer.step(step)
        left[f"losses {epoch}"] = np.sum(group.gather(trainer.losses(0, steps)), axis=0)
        for name, values in attrs.asdict(trainer.moments(0, steps)).items():
            left[f"{name} {epoch}"] = joined(group.gather(values.reshape(steps, -1)))
    left["logits"] = joined(group.gather(trainer.logits()[None]))[0]
    return (
        left
        | {f"model {k}": v for k, v in classifier.state().items()}
        | {f"optimiser {k}": v for k, v in trainer.state().items()}
    )


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the largest difference of each array, relative to its largest value where that is above 1."""
    assert one.keys() == other.keys()
    return {
        name: float(np.abs(value - other[name]).max(initial=0) / max(1, np.abs(value).max(initial=0)))
        for name, value in one.items()
    }


def read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return what a rank has saved as arrays ``training/name``, by training and name."""
    saved: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key, value in arrays.items():
            training, _, name = key.partition("/")
            saved.setdefault(training, {})[name] = value
    return saved


def main(name: str, folder: str, *cases: str) -> None:
    """Be a rank that makes some of the trainings of small-cnn with a backend, and save what they leave behind."""
    from sat_evaluation.run.ranks import join_group

    group, backend, left = join_group(name, "cpu"), get_backend(name), {}
    backend.join(group)
    with backend.session(TrainingSpec(epochs=1, threads=1)):
        for case in cases:
            made = run(backend, samples.build(backend, "small-cnn"), CASES[case], group)
            left |= {f"{case}/{key}": value for key, value in made.items()}
    np.savez(Path(folder) / f"{group.rank}.npz", **left)


if __name__ == "__main__":
    main(*sys.argv[1:])
