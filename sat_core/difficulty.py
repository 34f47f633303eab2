"""How difficult each example is for a non-robust classifier: the scores. Higher is harder in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import numpy as np

from sat_core.arrays import as_float
from sat_core.difficulty_kinds import Difficulty, ExtraPass, MeasuredDifficulty, Recorded, StreamedDifficulty
from sat_core.registry import Registry
from sat_core.threat import TINY


class Entropy(StreamedDifficulty):
    """Softmax entropy in nats, averaged over epochs (paper, Eq. 3)."""

    name = "entropy"
    once = True

    def score(self, recorded: Recorded) -> np.ndarray:
        return recorded.mean.entropy


class ErrorFrequency(StreamedDifficulty):
    """Share of the epochs in which the example was misclassified."""

    name = "error"
    once = True

    def score(self, recorded: Recorded) -> np.ndarray:
        return recorded.mean.error


class SoftmaxVariance(StreamedDifficulty):
    """Variance over the epochs of p(label). INFERRED: the paper's supplement, which defines "svar", is not public.

    Meaningful in a training long enough that easy examples are learned early: hard ones then keep changing, as in the
    published rankings (ρ with the entropy 0.88 to 0.91 over 151 or 201 epochs). In a short one it is the easy examples
    that change, and the order is reversed (ρ = -0.73 with the published class order after 3 epochs on CIFAR-10).
    """

    name = "variance"

    def score(self, recorded: Recorded) -> np.ndarray:
        return recorded.variance


class Margin(StreamedDifficulty):
    """Minus the mean over epochs of p(label) - highest other probability."""

    name = "margin"
    once = True

    def score(self, recorded: Recorded) -> np.ndarray:
        return -recorded.mean.margin


class Loss(StreamedDifficulty):
    """Cross-entropy in nats, averaged over epochs."""

    name = "loss"
    once = True

    def score(self, recorded: Recorded) -> np.ndarray:
        return recorded.mean.loss


class El2n(StreamedDifficulty):
    """‖p - onehot(label)‖₂, averaged over epochs.

    Paul et al. 2021 (Definition 2.2) average over several networks early in training; here it is one network over the
    epochs of the ranking, so that a short ranking is what they have.
    """

    name = "el2n"
    once = True

    def score(self, recorded: Recorded) -> np.ndarray:
        return recorded.mean.el2n


class Forgetting(StreamedDifficulty):
    """Number of times that the example was right in one recording and wrong in the next (Toneva et al. 2019).

    One that was never right counts as more than any other: as the number of recordings, of which a forgetting takes
    two. Many examples share a number, and such are ordered by their place in the data.
    """

    name = "forgetting"

    def score(self, recorded: Recorded) -> np.ndarray:
        return np.where(recorded.mean.error == 1, recorded.seen.max(initial=0), recorded.forgotten)


class AreaUnderMargin(StreamedDifficulty):
    """Minus the mean over epochs of the label's logit less the highest other one (AUM, Pleiss et al. 2020, Eq. 1).

    A low AUM is hard, or wrongly labelled, for which it was made.
    """

    name = "aum"
    once = True

    def score(self, recorded: Recorded) -> np.ndarray:
        return -recorded.mean.logit_margin


class LateEntropy(StreamedDifficulty):
    """Softmax entropy in nats, averaged over the last tenth of the epochs: what is hard once the rest is learnt."""

    name = "late-entropy"

    def score(self, recorded: Recorded) -> np.ndarray:
        return recorded.late_entropy


class GradientNorm(MeasuredDifficulty):
    """‖∇ₓ ℓ‖₂ of the cross-entropy with respect to the image, in [0, 1] pixels.

    GraNd (Paul et al. 2021, Definition 2.1) is the norm with respect to the weights.
    """

    name = "gradient-norm"
    gradients = 1

    def measure(self, examples: ExtraPass) -> np.ndarray:
        def norms(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            gradient = examples.classifier.loss_gradient(as_float(images), labels)[2]
            return np.linalg.norm(gradient.reshape(len(labels), -1).astype(np.float64), axis=1)

        return np.concatenate([*examples.each(norms)])


class Prototypicality(MeasuredDifficulty):
    """1 - cosine of the example's features with the mean features of its class, in [0, 2].

    Sorscher et al. 2022 (section 6) take the nearest of the k-means centres of self-supervised features instead. The
    features go through twice, because those of a large data set do not fit into memory.
    """

    name = "prototypicality"

    def measure(self, examples: ExtraPass) -> np.ndarray:
        def sums(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            classes, which = np.unique(labels, return_inverse=True)
            features = examples.classifier.features(images).astype(np.float64)
            total = np.zeros((examples.classes, features.shape[1]))
            total[classes] = (which == np.arange(len(classes))[:, None]) @ features
            return total

        # The cosine with a sum is that with the mean.
        prototypes = _unit(reduce(np.add, examples.each(sums)))

        def distances(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            features = _unit(examples.classifier.features(images).astype(np.float64))
            return 1 - np.vecdot(features, prototypes[labels])

        return np.concatenate([*examples.each(distances)])


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays, and has a cosine of 0 with all."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)


DIFFICULTIES: Registry[Difficulty] = Registry("difficulty metric", "sat_core.difficulties", of=Difficulty)
STREAMED: tuple[StreamedDifficulty, ...] = (
    *(Entropy(), ErrorFrequency(), SoftmaxVariance(), Margin(), Loss()),
    *(El2n(), Forgetting(), AreaUnderMargin(), LateEntropy()),
)
for _metric in (*STREAMED, GradientNorm(), Prototypicality()):
    DIFFICULTIES.register(_metric.name, _metric)


def extra_metrics(names: Iterable[str] | None = None) -> list[str]:
    """Return which of `names`, by default of all metrics, take an extra pass over the examples."""
    names = DIFFICULTIES if names is None else names
    return [name for name in names if isinstance(DIFFICULTIES.get(name), MeasuredDifficulty)]
