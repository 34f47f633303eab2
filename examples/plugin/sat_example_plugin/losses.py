"""What is minimised for members of A."""

from __future__ import annotations

from sat_core.member_losses import Loss

# by name: the module of a framework is imported when its backend asks for it
_FUNCTIONS = {
    "torch": "sat_example_plugin.torch_code:generalized_cross_entropy",
    "tensorflow": "sat_example_plugin.tensorflow_code:generalized_cross_entropy",
    "numpy": "sat_example_plugin.numpy_code:generalized_cross_entropy",
}


class GeneralizedCrossEntropy(Loss):
    """Σ t_k (1 - p'_k^q) / q with q = 0.7, which bounds the loss of wrong labels (Zhang & Sabuncu 2018, Eq. 6).

    The operations of `sat_core.member_losses.LossOps` would do. This is how a loss looks that needs others.
    """

    name = "gce"
    functions = _FUNCTIONS


GCE = GeneralizedCrossEntropy()
