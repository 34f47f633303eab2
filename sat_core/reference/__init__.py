"""The numpy oracle, with which every backend is compared.

It is written for clarity and apart from the code of the backends, so that a fault is not on both sides.
"""

from sat_core.reference.attacks import pgd, strongest
from sat_core.reference.augmentation import augment
from sat_core.reference.backend import NumpyBackend
from sat_core.reference.classifier import NumpyClassifier
from sat_core.reference.losses import loss_and_gradient, weighted_mean
from sat_core.reference.networks import ORACLES

__all__ = [
    "ORACLES",
    "NumpyBackend",
    "NumpyClassifier",
    "augment",
    "loss_and_gradient",
    "pgd",
    "strongest",
    "weighted_mean",
]
