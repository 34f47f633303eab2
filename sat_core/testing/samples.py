"""Small inputs for the contract suite, the same for every backend."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.epoch_plan import EpochPlan
from sat_core.splits import Split
from sat_core.threat import THREAT_MODELS
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec
from sat_core.weighting import WEIGHTING_RULES

CLASSES = 5
SHAPE = (8, 8, 3)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


Shape = tuple[int, int, int]


def examples(n: int = 24, *, whole: bool = False, seed: int = 1, shape: Shape = SHAPE) -> Examples:
    """Draw `n` random images with pixels at both ends of [0, 1]; uint8 if `whole`, else float32."""
    rng = np.random.default_rng(seed)
    pixels = np.clip(rng.normal(0.5, 0.4, (n, *shape)), 0, 1)
    images = (pixels * 255).astype(np.uint8) if whole else pixels.astype(np.float32)
    return Examples(images, rng.integers(0, CLASSES, n), CLASSES, "samples")


def build(backend: Backend, model: str, seed: int = 0, shape: Shape = SHAPE) -> Classifier:
    """Build a classifier for the samples.

    BatchNorm's statistics and weights are moved away from their initial values of 0 and 1, which would hide faults.
    """
    classifier = backend.build(model, classes=CLASSES, image_shape=shape, mean=MEAN, std=STD, seed=seed)
    rng = np.random.default_rng(seed + 100)
    state = classifier.state()
    for name, value in state.items():
        if name.endswith(("running_mean", "bias")):
            state[name] = (value + rng.normal(0, 0.1, value.shape)).astype(value.dtype)
        elif name == "fc.weight":
            state[name] = value * np.float32(0.1)  # no example is saturated: gradients of 1e-9 have no direction
        elif name.endswith("running_var"):
            # small variances, so that an epsilon that is off shows; in deep networks they would multiply
            low, high = (0.005, 0.5) if model == "small-cnn" else (0.5, 2.0)
            state[name] = (value * rng.uniform(low, high, value.shape)).astype(value.dtype)
    classifier.load_state(state)
    return classifier


def training(**changes: Any) -> TrainingSpec:
    """Return settings for a few steps in which momentum, decay and the schedule all matter."""
    # A decay of 0.01 is twenty times the recipe's: within six steps, a smaller one could hide in the tolerance.
    plain = TrainingSpec(epochs=2, batch_size=8, lr=0.01, momentum=0.9, weight_decay=0.01, schedule="cosine")
    return attrs.evolve(plain, **changes)


def attack(**changes: Any) -> AttackSpec:
    """Return L2 PGD that moves every pixel it can."""
    return AttackSpec(**{"norm": "L2", "eps": 0.8, "steps": 7, "step_size": 0.2, **changes})


def radius(norm: str) -> float:
    """Return an ε that changes every pixel a little; of plug-ins, a twentieth of the diameter of the images."""
    ours = {"L2": 0.8, "Linf": 0.06}
    return ours[norm] if norm in ours else THREAT_MODELS.get(norm).diameter(SHAPE) / 20


def split(n: int, share: float, rule: str = "emphasised") -> Split:
    """Split `n` examples with that share of them in A, evenly spread."""
    members = (np.arange(n) * share) % 1 < share if share < 1 else np.ones(n, bool)
    weights = WEIGHTING_RULES.get(rule).weights(int(members.sum()), n)
    return Split(kind="examples", strategy="listed", members=members, classes=None, weights=weights)


def plans(
    n: int, share: float, training_spec: TrainingSpec, attack_spec: AttackSpec, rule: str = "emphasised"
) -> list[EpochPlan]:
    """Return the plans of all epochs of a short training."""
    planner = Planner(split(n, share, rule), training_spec, attack_spec, SHAPE)
    return [planner.epoch(epoch) for epoch in range(training_spec.epochs)]


def same_batch(members: np.ndarray, weights: np.ndarray, lr: float, steps: int = 1) -> EpochPlan:
    """Return a plan of so many steps on one batch of all examples; members: bool `(n,)`."""
    index = np.argsort(~members, kind="stable")
    many = [np.tile(array, (steps, 1)) for array in (index, weights[index].astype(np.float32))]
    count = np.full(steps, members.sum())
    totals = many[1].sum(axis=1, dtype=np.float64)
    return EpochPlan(epoch=0, index=many[0], members=count, weights=many[1], totals=totals, lr=np.full(steps, lr))


def train(trainer: Trainer, plans: list[EpochPlan], steps: int | None = None) -> np.ndarray:
    """Make the first `steps` steps of all plans, or all of them; returns their losses."""
    losses: list[float] = []
    for plan in plans:
        last = plan.steps if steps is None else min(plan.steps, steps - len(losses))
        trainer.begin(plan)
        for number in range(last):
            trainer.step(number)
        losses += trainer.losses(0, last).tolist()
    return np.array(losses)
