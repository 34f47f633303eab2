"""Losses on tensors; see `sat_core.reference.losses` for the definitions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sat_core.errors import SpecError
from sat_core.loss_spec import PLAIN, LossSpec
from sat_core.moments import LARGEST

_TINY = 1e-12
"""Added to the divisor of DLR, as in AutoAttack."""


def attack_loss(logits: Tensor, labels: Tensor, loss: str = "ce", targets: Tensor | None = None) -> Tensor:
    """Compute the losses `(n,)` that an attack maximises.

    Args:
        logits: `(n, k)`.
        labels: int64 `(n,)`; for ce also targets, floats `(n, k)` with rows that sum to 1.
        loss: ce, dlr, targeted-dlr or margin.
        targets: int64 `(n,)`, for the last two; the highest other class without it.
    """
    if loss == "ce":
        return functional.cross_entropy(logits, labels, reduction="none")
    own = logits.gather(1, labels[:, None]).squeeze(1)
    if targets is None:
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    else:
        other = logits.gather(1, targets[:, None]).squeeze(1)
    if loss == "margin":
        return other - own
    need = {"dlr": 3, "targeted-dlr": 4}.get(loss)
    if need is None or logits.shape[1] < need:
        raise SpecError(
            f"loss: expected ce, dlr (3 logits), targeted-dlr (4) or margin, got {loss!r} with {logits.shape[1]} logits"
        )
    # DLR and its targeted form (Croce & Hein 2020, Eqs. 6 and 7): a quotient of differences does not change if all
    # logits are scaled, by which a network can make the gradient of the cross-entropy vanish
    top = logits.topk(need, dim=1).values
    scale = top[:, 0] - (top[:, 2] if loss == "dlr" else (top[:, 2] + top[:, 3]) / 2)
    return (other - own) / (scale + _TINY)


def cross_entropy(logits: Tensor, labels: Tensor, loss: LossSpec = PLAIN) -> Tensor:
    """Compute the cross-entropy `(n,)` with smoothed labels `(n,)` or targets `(n, k)`: ℓ of members of B."""
    return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=loss.label_smoothing)


def onehot(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """Return 1 at the label of each row and else 0, `(n, k)`, in the type of `like`."""
    # and not functional.one_hot, which on some devices reads the largest label
    return (torch.arange(classes, device=labels.device) == labels[:, None]).to(like.dtype)


def smoothed(labels: Tensor, logits: Tensor, loss: LossSpec) -> Tensor:
    """Return smoothed targets of labels `(n,)` or targets `(n, k)`, in the type of the logits."""
    k, smooth = logits.shape[1], loss.label_smoothing
    targets = onehot(labels, k, logits) if labels.ndim == 1 else labels
    return (1 - smooth) * targets + smooth / k if smooth else targets


def moments(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the statistics of each row, float64 `(7, n)`; see `sat_core.moments.Moments`."""
    # in float64 the statistics of any logits are right, and a batch of them is little beside the network
    s = logits.double()
    s = s - s.amax(dim=1, keepdim=True)
    e = s.exp()
    total, own = e.sum(dim=1), s.gather(1, labels[:, None])[:, 0]
    others = s.scatter(1, labels[:, None], -torch.inf)
    other, rest = others.amax(dim=1), others.exp()
    p = own.exp() / total
    # -∞ · e^-∞ would be NaN
    entropy = total.log() - (s.clamp(min=-1e4) * e).sum(dim=1) / total
    # from the other classes alone, so that a loss that is nearly 0 keeps its digits
    loss = functional.softplus(rest.sum(dim=1).log() - own)
    el2n = (rest.sum(dim=1) ** 2 + (rest * rest).sum(dim=1)).sqrt() / total
    limited = torch.stack([loss, own - other]).clamp(-LARGEST, LARGEST)
    error = (other > own).double()
    return torch.stack([entropy, p, error, p - other.exp() / total, *limited, el2n])
