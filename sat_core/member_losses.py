"""The losses of members of A, written once for the tensors of every framework, which differentiates them.

With z the logits of an image x and z' those of its adversarial example x', p = softmax(z), p' = softmax(z'), y the
label and t its target, which is onehot(y) unless labels are smoothed or images mixed:

- ce: H(t, p') = -Σ t log p' (Madry et al. 2018)
- trades: H(t, p) + β·KL(p ‖ p') (Zhang et al. 2019, Eq. 5, there β = 1/λ)
- mart: -log p'_y - log(1 - max_{k≠y} p'_k) + β·KL(p ‖ p')·(1 - p_y) (Wang et al. 2020, Eqs. 9 and 10, there β = λ)
- alp: (H(t, p) + H(t, p')) / 2 + β·Σ (z - z')² / k (Kannan et al. 2018, Eqs. 3 and 4, there β = λ)

`sat_core.reference.losses` has the same in numpy, with analytic gradients.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from sat_core.functions import PerBackend
from sat_core.registry import Registry

Tensor = Any
"""A tensor of any framework."""
TINY = 1e-12
"""Added where a logarithm of 0 could be taken, as in MART's code."""


class LossOps(Protocol):
    """The tensor operations that losses are made of, besides + - * and ``-x``; all keep the type of their argument."""

    backend: str
    """Name of the backend."""

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Return log p of each row, `(n, k)`."""

    def exp(self, x: Tensor) -> Tensor:
        """Return e^x."""

    def log(self, x: Tensor) -> Tensor:
        """Return the natural logarithm."""

    def total(self, x: Tensor) -> Tensor:
        """Return the sum of each row of `(n, k)`: `(n,)`."""

    def most(self, x: Tensor) -> Tensor:
        """Return the greatest number of each row of `(n, k)`: `(n,)`."""


class Loss(PerBackend):
    """A loss of members of A.

    A plug-in writes `losses` with the operations of `LossOps`, or leaves it and gives a function per backend, with the
    arguments of `losses` after `ops`. That of the backend "numpy" returns losses `(m,)` and their gradients over
    `adversarial` and `clean`, each `(m, k)`.

    Attributes:
        name: In the registry.
        beta: Weight of the second term by default; 0 if there is none.
        pairs: Whether clean images of the members go through the network, too.
        attack_loss: What the attack maximises by default, as ``attack.loss``.
        soft: Whether targets may be other than onehot(y).
    """

    kind: ClassVar[str] = "loss"
    beta: float = 0.0
    pairs: bool = False
    attack_loss: str = "ce"
    soft: bool = True

    def needs_function(self, backend: str) -> bool:
        """See `PerBackend`: those of ours, and those that `LossOps` can express, need none; numpy has no autodiff."""
        ours = type(self).__module__ == __name__
        return type(self).losses is Loss.losses or (backend == "numpy" and not ours)

    def losses(self, ops: LossOps, adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Tensor) -> Tensor:
        """Return the loss of each member, `(m,)`.

        Args:
            ops: Of the framework.
            adversarial: Logits z' `(m, k)`.
            clean: Logits z `(m, k)`; None unless `pairs`.
            targets: t `(m, k)`.
            beta: A number or a scalar tensor.
        """
        value: Tensor = self.function(ops.backend)(adversarial, clean, targets, beta)
        return value

    def checked(self, ops: LossOps, adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Tensor) -> Tensor:
        """Return `losses`; SpecError, which names the loss, says if that fails or returns another shape than `(m,)`."""
        value = self.call(self.losses, ops, adversarial, clean, targets, beta)
        # where m is a tensor, TensorFlow may know it of one of them
        known = [logits.shape[0] for logits in (adversarial, clean) if logits is not None]
        self.check_shape(value, [next((m for m in known if m is not None), None)], "losses of shape (m,)")
        return value


def cross_entropy(ops: LossOps, logits: Tensor, targets: Tensor) -> Tensor:
    """Return H(t, p) of each row, `(n,)`."""
    return -ops.total(targets * ops.log_softmax(logits))


def _divergence(ops: LossOps, clean: Tensor, adversarial: Tensor) -> Tensor:
    """Return KL(p ‖ p') of each row, `(n,)`."""
    log_p = ops.log_softmax(clean)
    return ops.total(ops.exp(log_p) * (log_p - ops.log_softmax(adversarial)))


class CrossEntropy(Loss):
    """The cross-entropy of the adversarial example."""

    name = "ce"

    def losses(self, ops: LossOps, adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Tensor) -> Tensor:
        return cross_entropy(ops, adversarial, targets)


class Trades(Loss):
    """TRADES (Zhang et al. 2019): clean cross-entropy, and a divergence that the attack maximises."""

    name = "trades"
    beta = 6.0
    pairs = True
    attack_loss = "kl"

    def losses(self, ops: LossOps, adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Tensor) -> Tensor:
        return cross_entropy(ops, clean, targets) + beta * _divergence(ops, clean, adversarial)


class Mart(Loss):
    """MART (Wang et al. 2020): misclassified examples are pulled harder."""

    name = "mart"
    beta = 6.0  # of the released code
    pairs = True
    soft = False

    def losses(self, ops: LossOps, adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Tensor) -> Tensor:
        p = ops.exp(ops.log_softmax(adversarial))
        # of the label it is 0, and no other probability is below
        other = ops.most(p * (1 - targets))
        boosted = cross_entropy(ops, adversarial, targets) - ops.log(1 - other + TINY)
        missed = 1 - ops.total(targets * ops.exp(ops.log_softmax(clean)))
        return boosted + beta * _divergence(ops, clean, adversarial) * missed


class LogitPairing(Loss):
    """Adversarial logit pairing (Kannan et al. 2018)."""

    name = "alp"
    beta = 0.5
    pairs = True

    def losses(self, ops: LossOps, adversarial: Tensor, clean: Tensor | None, targets: Tensor, beta: Tensor) -> Tensor:
        both = cross_entropy(ops, clean, targets) + cross_entropy(ops, adversarial, targets)
        apart = clean - adversarial
        return both / 2 + beta * ops.total(apart * apart) / apart.shape[1]


LOSSES: Registry[Loss] = Registry("loss", "sat_core.losses", of=Loss)
for _loss in (CrossEntropy(), Trades(), Mart(), LogitPairing()):
    LOSSES.register(_loss.name, _loss)


def example_losses(ops: Any, loss: str, logits: Tensor, targets: Tensor, members: Tensor, beta: Tensor) -> Tensor:
    """Return ℓ of each example of a mixed batch, `(n,)`: the loss of members of A, and the cross-entropy of all others.

    Args:
        ops: `sat_core.ascent.TensorOps` of the framework.
        loss: Name in `LOSSES`.
        logits: Of the mixed batch, in which the members come first, `(n, k)`; for a loss with `pairs`, those of the
            members' clean images follow, `(n + m, k)`.
        targets: `(n, k)`.
        members: m, a number or a scalar tensor.
        beta: A number or a scalar tensor.
    """
    kind, n = LOSSES.get(loss), targets.shape[0]
    others = cross_entropy(ops, logits[:n], targets)
    if kind.name == "ce":
        return others
    if kind.pairs:
        own = kind.checked(ops, logits[:members], logits[n:], targets[:members], beta)
        return ops.join(own, others[members:])
    # Of the shape of the batch, so that compiled code does not depend on the number of members.
    own = kind.checked(ops, logits, None, targets, beta)
    return ops.where(ops.integer_range(n, logits) < members, own, others)
