"""Random streams. Every draw of an experiment comes from a generator made here: a pure function of seed and place."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """Return the generator for one purpose at one place of an experiment.

    Streams of different purposes or places are independent. As no stream continues another one, a training resumes
    between any two batches without the state of a generator.

    Args:
        seed: Of the experiment.
        purpose: What is drawn, such as "order" or "start".
        place: Where it is drawn, such as epoch and batch.
    """
    # Not hash(): Python salts it anew in every process.
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:4], "little")
    # A sum of seed and place would give seed 1, epoch 0 the draws of seed 0, epoch 1. SeedSequence keeps them apart.
    # But up to four words it ignores zeros at the end: (0,) is (), so the places of a purpose must have one length.
    return np.random.default_rng(np.random.SeedSequence([seed, word, *place]))
