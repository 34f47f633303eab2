"""What holds for losses and attacks of loaded plug-ins, in the backend under test; threat models are in `checks`."""

from __future__ import annotations

import numpy as np

from sat_core.attack_kinds import ATTACKS
from sat_core.backend import Backend
from sat_core.member_losses import LOSSES
from sat_core.reference import NumpyBackend
from sat_core.testing import samples
from sat_core.testing.contract import check, close, require
from sat_core.testing.options import Option, difference
from sat_core.threat import THREAT_MODELS


@check("small-cnn")
def losses_of_plugins_are_those_of_their_numpy_functions(backend: Backend) -> None:
    """Trainings of 20 steps in float64 are the oracle's; of a loss without a numpy function, losses are finite."""
    for name in LOSSES:
        loss = LOSSES.get(name)
        if not loss.needs_function("numpy"):  # one of ours
            continue
        loss.check_function(backend.name)
        option = Option(loss={"kind": name})
        if "numpy" in loss.functions:
            apart = difference(option, backend, NumpyBackend())
            require(apart <= 1e-6, f"loss {name!r}: expected 1e-6 from its numpy function in 20 steps, got {apart:.3g}")
        else:
            trainer, plans = option.trainer(backend, samples.build(backend, "small-cnn"))
            require(bool(np.isfinite(samples.train(trainer, plans)).all()), f"loss {name!r}: expected finite losses")


@check("small-cnn")
def threat_models_of_plugins_train_as_their_definitions(backend: Backend) -> None:
    """Trainings of 20 steps in float64, in norms that plug-ins bring, are the oracle's."""
    for norm in THREAT_MODELS:
        threat = THREAT_MODELS.get(norm)
        if threat.functions:
            eps = samples.radius(norm)
            attack = {"norm": norm, "eps": eps, "step_size": eps / 3, "random_start": True}
            apart = difference(Option(attack=attack), backend, NumpyBackend())
            require(apart <= 1e-6, f"norm {norm!r}: expected 1e-6 from its definition in 20 steps, got {apart:.3g}")


@check("small-cnn")
def attacks_of_plugins_stay_inside(backend: Backend) -> None:
    """In the ball and in [0, 1]; the images of the numpy function, if there is one."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    oracle = NumpyBackend().new(classifier.description)
    oracle.load_state(classifier.state())
    for name in ATTACKS:
        functions = ATTACKS.get(name).functions
        if not functions:
            continue
        attack = samples.attack(kind=name, steps=1 if ATTACKS.get(name).single else 7)
        adversarial = classifier.perturb(data.images, data.labels, attack, np.random.default_rng(7))
        size = THREAT_MODELS.get(attack.norm).size(adversarial.astype(np.float64) - data.images).max()
        require(size <= attack.reach + 1e-6, f"attack {name!r}: expected at most ε = {attack.reach}, got {size:.8g}")
        require(bool((adversarial >= 0).all() and (adversarial <= 1).all()), f"attack {name!r}: expected [0, 1]")
        if "numpy" in functions:
            expected = oracle.perturb(data.images, data.labels, attack, np.random.default_rng(7))
            close(f"attack {name!r}", adversarial, expected, 1e-3, share=0.97)
