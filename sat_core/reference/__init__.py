"""The numpy oracle: what every backend is compared with. Clear before fast."""

from sat_core.reference.attacks import pgd, takes_start
from sat_core.reference.augmentation import augment
from sat_core.reference.linear import LinearBackend
from sat_core.reference.losses import loss_and_gradient, weighted_mean
from sat_core.reference.small_cnn import small_cnn

__all__ = ["LinearBackend", "augment", "loss_and_gradient", "pgd", "small_cnn", "takes_start", "weighted_mean"]
