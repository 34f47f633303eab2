"""The contract of the options of a step: they go on from a saved state, and the average is what it says."""

from __future__ import annotations

import numpy as np

from sat_core.backend import Backend
from sat_core.errors import CheckpointError
from sat_core.testing import samples
from sat_core.testing.contract import check, close, raises, require, same_state
from sat_core.testing.options import OPTIONS

KEEPING = ("EMA", "SWA", "Free-AT", "TRADES", "hardest of each batch")
"""Options whose steps depend on more than weights, optimiser and plan, or on many numbers of the plan."""


@check("small-cnn")
def options_go_on_from_a_saved_state(backend: Backend) -> None:
    """A training with an option that is interrupted between two steps ends with the same bytes."""
    for name in KEEPING:
        option, precision = OPTIONS[name], {"precision": "float32"}
        whole, broken, again = (samples.build(backend, "small-cnn", seed) for seed in (0, 0, 9))
        trainer, plans = option.trainer(backend, whole, **precision)
        samples.train(trainer, plans[:2])
        first, _ = option.trainer(backend, broken, **precision)
        first.begin(plans[0])
        for step in range(3):
            first.step(step)
        again.load_state(broken.state())
        second, _ = option.trainer(backend, again, **precision)
        second.load_state(first.state())
        second.run(plans[0], first=3)
        samples.train(second, plans[1:2])
        same_state(f"resumed training with {name}", again.state(), whole.state())
        same_state(f"resumed trainer with {name}", second.state(), trainer.state())


@check("small-cnn")
def averaged_weights_come_and_go(backend: Backend) -> None:
    """Inside, the classifier has the average that the state holds; then its own weights again, bit by bit."""
    classifier = samples.build(backend, "small-cnn")
    trainer, plans = OPTIONS["EMA"].trainer(backend, classifier, precision="float32")
    samples.train(trainer, plans[:1])
    own = classifier.state()
    average = {name: v for name, v in trainer.state().items() if name.startswith("average.")}
    require({f"average.{name}" for name in own} == {*average}, "state: expected the average of all weights, by name")
    with trainer.averaged():
        inside = {f"average.{name}": value for name, value in classifier.state().items()}
        logits = classifier.logits(samples.examples().images)
    for name, value in average.items():
        close(name, inside[name], value, 1e-6)
    same_state("averaged", classifier.state(), own)
    apart = np.abs(logits - classifier.logits(samples.examples().images)).max()
    require(bool(apart > 1e-3), "averaged: expected other logits than those of the last weights")
    lacking = {name: v for name, v in trainer.state().items() if name != "average.fc.bias"}
    fresh, _ = OPTIONS["EMA"].trainer(backend, samples.build(backend, "small-cnn"), precision="float32")
    raises(CheckpointError, "load_state without an average", lambda: fresh.load_state(lacking))
