"""Random starts of attacks on images, as a generator of the caller's draws them."""

from __future__ import annotations

import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.errors import SpecError
from sat_core.threat import THREAT_MODELS


def starts_of(images: np.ndarray, attack: AttackSpec, rng: np.random.Generator | None) -> list[np.ndarray] | list[None]:
    """Draw the random starts that `attack` asks for, one for each restart; None if it asks for none."""
    attack.check_images(images.shape[1:])
    if attack.free or attack.warmup:
        words = ("'free'", 'kind = "fgsm"') if attack.free else ("a warm-up", "warmup = 0")
        raise SpecError("perturb: {} is a way to train, not an attack; take attack.{}".format(*words))
    if not attack.random_start:
        return [None]
    if rng is None:
        raise SpecError("perturb: the attack has a random start; pass rng=numpy.random.default_rng(seed)")
    threat = THREAT_MODELS.get(attack.norm)
    return [threat.random_start(rng, images.shape, attack.start_radius) for _ in range(attack.restarts)]
