"""Watches how robust a network is after each epoch, which shows robust overfitting (Rice et al. 2020).

After a drop of the learning rate, robust accuracy on images that are not trained on falls from epoch to epoch while the
training loss goes on falling. The checks that pick the epoch are too few to show it, and too slow for every epoch.
"""

from __future__ import annotations

from functools import cached_property
from typing import final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.splits import validation_permutation


def watched(candidates: np.ndarray, count: int) -> np.ndarray:
    """Return which images of the selection split are watched: the first `count` in the fixed order of that many.

    Args:
        candidates: Positions of the images that pick the epoch, int64.
        count: How many to watch, `evaluation.watch`; all if there are fewer.
    """
    # Validation images of a data set's own are in the order of its files, which may be that of the classes.
    return candidates[validation_permutation(len(candidates))[:count]]


@final
@attrs.define(kw_only=True, eq=False, slots=False)
class Watch:
    """Images of the selection split that are attacked after each epoch.

    The attack is PGD-10 from the clean image: nothing is drawn, and no other result depends on whether it runs.

    Args:
        examples: The images, those that `watched` says.
        attack: Of the training; the threat model is taken from it.
    """

    examples: Examples
    attack: AttackSpec

    @cached_property
    def _images(self) -> np.ndarray:
        # Decoded once, in the type they have: 512 photographs of 224 pixels are 77 MB.
        return self.examples.images[np.arange(len(self.examples))]

    def measure(self, classifier: Classifier) -> tuple[float, float]:
        """Return the shares that are classified correctly as they are, and as they are and after the attack."""
        labels = self.examples.labels
        correct = classifier.logits(self._images).argmax(axis=1) == labels
        attacked = classifier.perturb(self._images, labels, self.attack.probe)
        robust = correct & (classifier.logits(attacked).argmax(axis=1) == labels)
        return float(correct.mean()), float(robust.mean())
