"""AutoAttack: the engine `fast` against the package on one network, of which two thirds of the images are robust."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import numpy as np
from gpu_log import Log, Measurement, Row
from gpu_setup import Bench, attack_settings, learnable_examples
from gpu_training import PGD7, settings, training

from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.files import read_npz, write_npz

SECTION = "AutoAttack"
ENGINES = ("fast", "package")
ROBUST = 2 / 3
_EPOCHS, _IMAGES = 3, 6_400


def measurements(bench: Bench, log: Log) -> Iterator[Measurement]:
    """Yield a measurement for each number of images and engine, the cheap ones first."""
    for n in bench.size.attacked:
        for engine in ENGINES:
            yield Measurement(name(engine, n), partial(_attack, bench, log, engine, n))


def name(engine: str, n: int) -> str:
    """Return the name of a row."""
    return f"{engine}, {n:,} images"


def _attack(bench: Bench, log: Log, engine: str, n: int) -> Row:
    classifier, data, eps = _prey(bench, log.folder / "attacked.npz")
    images, labels = data.images[:n], data.labels[:n]
    attacks = "standard" if bench.size.budget is None else attack_settings(bench.size.budget)
    robust = np.zeros(0, bool)

    def attack() -> None:
        nonlocal robust
        options = {"norm": "L2", "eps": eps, "engine": engine, "attacks": attacks}
        robust = bench.backend.evaluate(classifier, images, labels, **options).robust

    seconds = bench.seconds(attack)
    return {
        "seconds": seconds,
        "images/s": n / seconds,
        "robust": int(robust.sum()),
        "images": n,
        "eps": eps,
        "_robust": "".join("01"[int(flag)] for flag in robust),
    }


def _prey(bench: Bench, path: Path) -> tuple[Classifier, Examples, float]:
    """Return a network, images that it classifies correctly, and the ε at which PGD leaves two thirds of them.

    The network is adversarially trained on patterns for a moment. It is kept in the folder, so that both engines attack
    the same one, whenever they run.
    """
    smoke = bench.size.budget is not None
    most = bench.size.attacked[-1]
    data = learnable_examples(2 * most + (64 if smoke else _IMAGES), bench.size.side)
    test, train = data.take(np.arange(2 * most)), data.take(np.arange(2 * most, len(data)))
    classifier = bench.build(bench.size.small, data)
    if path.exists():
        arrays = read_npz(path)
        eps = float(arrays.pop("eps"))
        classifier.load_state(arrays)
    else:
        spec = settings(bench, epochs=_EPOCHS, lr=0.05)
        with training(bench.backend, classifier, train, spec, 1.0, attrs.evolve(PGD7, steps=3)) as run:
            for epoch in range(_EPOCHS):
                run.epoch(epoch)
        eps = _radius(classifier, test)
        write_npz(path, {**classifier.state(), "eps": np.array(eps)})
    correct = np.flatnonzero(classifier.logits(test.images).argmax(axis=1) == test.labels)
    # a network that has learnt too little would leave too few; wrong images make the same work of less
    rest = np.setdiff1d(np.arange(len(test)), correct)
    return classifier, test.take(np.concatenate([correct, rest])[:most]), eps


def _radius(classifier: Classifier, data: Examples) -> float:
    """Find the ε at which PGD-20 leaves two thirds of the correctly classified images, by bisection."""
    correct = np.flatnonzero(classifier.logits(data.images).argmax(axis=1) == data.labels)
    images, labels = data.images[correct], data.labels[correct]
    low, high = 0.0, 4.0
    for _ in range(8):
        eps = (low + high) / 2
        attack = attrs.evolve(PGD7, eps=eps, steps=20, step_size=eps / 8)
        robust = classifier.logits(classifier.perturb(images, labels, attack)).argmax(axis=1) == labels
        low, high = (eps, high) if robust.mean() > ROBUST else (low, eps)
    return (low + high) / 2
