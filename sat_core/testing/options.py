"""What a step may be besides plain SAT, option by option, and how far two backends are apart in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.batches import Planner
from sat_core.classifier import Classifier
from sat_core.epoch_plan import EpochPlan
from sat_core.loss_spec import LossSpec
from sat_core.testing import samples
from sat_core.trainer import Trainer
from sat_core.training_spec import TrainingSpec

EXAMPLES = 40
"""Of the training: five batches of eight in an epoch."""


@final
@attrs.frozen
class Option:
    """One option, as the settings that differ from plain SAT.

    Attributes:
        training, attack, loss: Settings by key.
        online: See `EpochPlan.online`.
    """

    training: Mapping[str, Any] = attrs.field(factory=dict)
    attack: Mapping[str, Any] = attrs.field(factory=dict)
    loss: Mapping[str, Any] = attrs.field(factory=dict)
    online: str = ""

    def settings(self, **training: Any) -> tuple[TrainingSpec, AttackSpec, LossSpec]:
        """Return the settings of a short training; `training` are more of them."""
        plain = {"batch_size": 8, "epochs": 4, "momentum": 0.5, "precision": "float64"}
        attack = samples.attack(**{"steps": 2, "step_size": 0.4, **self.attack})
        return samples.training(**{**plain, **self.training, **training}), attack, LossSpec(**self.loss)

    def plans(self, training: TrainingSpec, attack: AttackSpec, loss: LossSpec) -> list[EpochPlan]:
        """Return the plans of all epochs, with 40 % of the examples in A."""
        factors = loss.weights_of(samples.examples(EXAMPLES, whole=True).labels, samples.CLASSES)
        planner = Planner(samples.split(EXAMPLES, 0.4), training, attack, samples.SHAPE, "", loss, factors)
        return [attrs.evolve(planner.epoch(epoch), online=self.online) for epoch in range(training.epochs)]

    def trainer(self, backend: Backend, classifier: Classifier, **training: Any) -> tuple[Trainer, list[EpochPlan]]:
        """Return a trainer of `classifier`, and the plans of its epochs."""
        settings = self.settings(**training)
        data = samples.examples(EXAMPLES, whole=True)
        made = backend.trainer(classifier, data, settings[0], settings[1], None, settings[2])
        return made, self.plans(*settings)


_NOISE = {"random_start": True}
_SINGLE = {"steps": 1, "step_size": 0.8}

OPTIONS: dict[str, Option] = {
    "label smoothing and class weights": Option(loss={"label_smoothing": 0.2, "class_weights": "balanced"}),
    "TRADES": Option(attack={**_NOISE, "loss": "kl"}, loss={"kind": "trades", "beta": (12.0, 6.0)}),
    "MART": Option(loss={"kind": "mart"}),
    "ALP": Option(loss={"kind": "alp", "label_smoothing": 0.1}),
    "attack on DLR": Option(attack={"loss": "dlr"}),
    "attack on the margin": Option(attack={"loss": "margin", "keep_best": True}),
    "N-FGSM": Option(attack={**_SINGLE, "kind": "n-fgsm", **_NOISE}),
    "Free-AT": Option(attack={**_SINGLE, "kind": "free", "replays": 3}),
    "restarts": Option(attack={**_NOISE, "restarts": 3}),
    "ε warm-up": Option(attack={**_NOISE, "warmup": 2.5}),
    "EMA": Option(training={"averaging": "ema:0.9"}),
    "SWA": Option(training={"averaging": "swa:0.25"}),
    "clipping": Option(training={"clip_norm": 0.3}),
    "clipping, AdamW": Option(training={"clip_norm": 0.3, "optimizer": "adamw", "lr": 1e-3}),
    "micro-batches": Option(training={"micro_batches": 2}),
    "mixup": Option(training={"mixing": "mixup:0.8"}),
    "CutMix": Option(training={"mixing": "cutmix:1.0", "augmentation": "cifar"}),
    "AWP": Option(training={"awp": 0.02}),
    "AWP with TRADES": Option({"awp": 0.02}, {**_NOISE, "loss": "kl"}, {"kind": "trades"}),
    "hardest of each batch": Option(attack=_NOISE, online="hardest"),
    "boundary of each batch": Option(training={"micro_batches": 2}, online="boundary"),
}
"""By name."""


def option_difference(one: Backend, other: Backend, name: str) -> float:
    """Return the `difference` of the option of that name."""
    return difference(OPTIONS[name], one, other)


def difference(option: Option, one: Backend, other: Backend) -> float:
    """Train a small CNN for 20 steps in float64 with an option, in both backends.

    Returns:
        The largest difference of losses, weights, statistics and averages, relative to the largest number of each.
    """
    logs: list[dict[str, np.ndarray]] = []
    weights = samples.build(one, "small-cnn").state()
    for backend in (one, other):
        classifier = samples.build(backend, "small-cnn")
        classifier.load_state(weights)
        trainer, plans = option.trainer(backend, classifier)
        losses, logits = samples.train(trainer, plans), trainer.logits()
        log = {f"loss {i}": np.array(loss) for i, loss in enumerate(losses)} | classifier.state()
        with trainer.averaged():
            log |= {f"averaged {key}": value for key, value in classifier.state().items()}
        if option.online:
            log["order"] = trainer.order(0, plans[-1].steps).astype(np.float64)
        logs.append(log | {"logits": logits})
    got, expected = logs
    # np.max throughout, because Python's max may drop a NaN, which has to fail the limit.
    return float(np.max([np.max(np.abs(got[k] - v)) / np.max(np.abs(v)) for k, v in expected.items()]))
