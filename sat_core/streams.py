"""Random streams. Every draw of an experiment comes from a generator made here: a pure function of seed and place."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """A generator for one `purpose` ("order", "start", ...) at one `place` (epoch, batch).

    Two streams with different purposes or places are independent. Because nothing is drawn before, training can be
    resumed between any two batches without saving the state of a generator.
    """
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:4], "little")
    return np.random.default_rng(np.random.SeedSequence([seed, word, *place]))
