"""The contract of a trainer, and of the backend as a whole: the parity table against the numpy reference."""

from __future__ import annotations

import attrs
import numpy as np

from sat_core.backend import Backend
from sat_core.errors import CheckpointError
from sat_core.moments import moments
from sat_core.reference import NumpyBackend
from sat_core.testing import samples
from sat_core.testing.contract import CHECKS, Check, check, close, raises, require, same_state
from sat_core.testing.parity import PARITY, Parity


@check("linear")
def steps_follow_the_oracle(backend: Backend) -> None:
    """Loss, weights and logits of a short SAT training are the oracle's, with every optimiser and weighting rule."""
    data = samples.examples(whole=True)
    for rule, changes in (
        ("uniform", {}),
        ("balanced", {"augmentation": "cifar"}),
        ("emphasised", {"nesterov": True}),
        ("emphasised", {"momentum": 0.0, "weight_decay": 0.0}),
        ("emphasised", {"optimizer": "adamw", "lr": 1e-3}),
    ):
        training = samples.training(**changes)
        attack = samples.attack(random_start=rule == "balanced")
        plans = samples.plans(len(data), 0.4, training, attack, rule)
        log_of_backend: list[tuple[float, np.ndarray]] = []
        expected: list[tuple[float, np.ndarray]] = []
        for made_by, log in ((backend, log_of_backend), (NumpyBackend(), expected)):
            classifier = samples.build(made_by, "linear")
            trainer = made_by.trainer(classifier, data, training, attack)
            for plan in plans:
                trainer.begin(plan)
                for step in range(plan.steps):
                    trainer.step(step)
                    log.append((float(trainer.losses(step, step + 1)[0]), trainer.logits()))
                log.append((float(trainer.losses(0, plan.steps).sum()), trainer.logits()))
            log.append((0.0, classifier.state()["fc.weight"]))
        for (loss, logits), (oracle_loss, oracle_logits) in zip(log_of_backend, expected, strict=True):
            close(f"logits or weights, {rule}", logits, oracle_logits, 1e-5)
            close(f"loss, {rule}", np.array(loss), np.array(oracle_loss), 1e-5)


@check("small-cnn")
def statistics_are_those_of_the_logits(backend: Backend) -> None:
    """What a trainer records are the statistics of the logits of its own training forwards."""
    data, training, attack = samples.examples(whole=True), samples.training(), samples.attack()
    plan = samples.plans(len(data), 0.4, training, attack)[0]
    trainer = backend.trainer(samples.build(backend, "small-cnn"), data, training, attack)
    trainer.begin(plan, record=True)
    for step in range(plan.steps):
        trainer.step(step)
        expected = moments(trainer.logits(), data.labels[plan.index[step]])
        recorded = trainer.moments(step, step + 1)
        for name, values in attrs.asdict(expected).items():
            close(f"{name} of step {step}", getattr(recorded, name), values, 1e-5)
    together, last = trainer.moments(0, plan.steps), trainer.moments(plan.steps - 1, plan.steps)
    close("order of the statistics", together.entropy[-len(last.entropy) :], last.entropy, 0)


@check("small-cnn")
def only_the_head_learns(backend: Backend) -> None:
    """On frozen features the steps are the oracle's, whether these were computed before or with every batch."""
    data, training, attack = samples.examples(whole=True), samples.training(), samples.attack()
    # The target of a transfer has no A (recipe, section 1.4).
    plans = samples.plans(len(data), 0.0, training, attack)
    ends: list[dict[str, np.ndarray]] = []
    for made_by, before in ((backend, True), (backend, False), (NumpyBackend(), False)):
        source = samples.build(made_by, "small-cnn")
        classifier = source.with_head(samples.CLASSES, seed=1)
        frozen = {name: value for name, value in classifier.state().items() if not name.startswith("fc.")}
        features = source.features(data.images) if before else None
        samples.train(made_by.trainer(classifier, data, training, attack, features), plans)
        state = classifier.state()
        same_state("training a head", {name: state[name] for name in frozen}, frozen)
        ends.append({name: value for name, value in state.items() if name not in frozen})
    for name, expected in ends[2].items():
        close(f"{name}, features computed before", ends[0][name], expected, 1e-4)
        close(f"{name}, features computed with every batch", ends[1][name], expected, 1e-4)


@check("small-cnn")
def only_the_last_layer_learns(backend: Backend) -> None:
    """Told to learn the head alone, SAT moves the last layer as the oracle does, and nothing else by a bit."""
    data, attack = samples.examples(whole=True), samples.attack(steps=2)
    for share, changes in ((0.0, {}), (0.4, {"averaging": "ema:0.9"})):
        training = samples.training(**changes)
        plans = samples.plans(len(data), share, training, attack)
        ends: list[dict[str, np.ndarray]] = []
        for made_by in (NumpyBackend(), backend):
            classifier = samples.build(made_by, "small-cnn")
            last, before = classifier.last_layer(), classifier.state()
            require({*last} == {"fc.weight", "fc.bias"}, f"last_layer: expected fc.weight and fc.bias, got {last}")
            classifier.learn("head")
            trainer = made_by.trainer(classifier, data, training, attack)
            samples.train(trainer, plans)
            with trainer.averaged():
                ends.append(classifier.state())
            for state in (ends[-1], classifier.state()):
                body, frozen = ({n: a for n, a in s.items() if n not in last} for s in (state, before))
                same_state("training the last layer", body, frozen)
        for name in last:
            close(f"{name}, {share:.0%} attacked", ends[1][name], ends[0][name], 1e-6)
            require(not np.array_equal(ends[0][name], before[name]), f"{name}: expected it to learn")
    classifier.learn("all")
    samples.train(backend.trainer(classifier, data, samples.training(), attack), plans[:1])
    require(
        not np.array_equal(classifier.state()["conv1.weight"], before["conv1.weight"]), "all: expected all to learn"
    )


@check("small-cnn")
def training_goes_on_from_a_saved_state(backend: Backend) -> None:
    """A training that is interrupted between two steps ends with the same weights, byte for byte."""
    data = samples.examples(whole=True)
    for changes in ({}, {"optimizer": "adamw", "lr": 1e-3}):
        training, attack = samples.training(**changes), samples.attack()
        plans = samples.plans(len(data), 0.4, training, attack)
        whole, interrupted = (samples.build(backend, "small-cnn") for _ in range(2))
        samples.train(backend.trainer(whole, data, training, attack), plans)
        first = backend.trainer(interrupted, data, training, attack)
        first.begin(plans[0])
        for step in range(2):
            first.step(step)
        # From other weights, so that a load_state that does nothing shows.
        resumed = samples.build(backend, "small-cnn", seed=9)
        resumed.load_state(interrupted.state())
        second = backend.trainer(resumed, data, training, attack)
        for wrong in ({k: v.astype(np.int32) for k, v in first.state().items()}, {"fc.none": np.zeros(1, np.float32)}):
            raises(CheckpointError, "load_state of another training", lambda s=wrong, t=second: t.load_state(s))  # type: ignore[misc]
        second.load_state(first.state())
        second.run(plans[0], first=2)
        samples.train(second, plans[1:])
        same_state(f"resumed training with {training.optimizer}", resumed.state(), whole.state())


def _against_the_reference(name: str, row: Parity) -> Check:
    def body(backend: Backend) -> None:
        difference = row.measure(backend, NumpyBackend())
        require(difference <= row.limit, f"{row.what}: expected {row.tolerance}, measured {difference:.3g}")

    return Check(f"parity_{name}", row.models, body)


for _name, _row in PARITY.items():
    if set(_row.models) <= set(NumpyBackend().models()):
        CHECKS[f"parity_{_name}"] = _against_the_reference(_name, _row)
