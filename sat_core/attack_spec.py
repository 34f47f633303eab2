"""[attack]: the threat model and the attack used in training."""

from __future__ import annotations

from typing import Any, ClassVar, final

import attrs

from sat_core import fields
from sat_core.attack_kinds import ATTACKS, AttackKind
from sat_core.errors import SpecError
from sat_core.schedules import check_length
from sat_core.threat import THREAT_MODELS, ThreatModel

OBJECTIVES = ("ce", "kl", "dlr", "margin")
"""What an attack may maximise: the cross-entropy; KL(p ‖ p') from the clean prediction, as in TRADES; the DLR loss; the
margin max_{k≠y} z_k - z_y. See `sat_core.reference.losses`."""


@final
@attrs.frozen(kw_only=True)
class AttackSpec:
    """The threat model and the attack used in training.

    Lengths are in units of [0, 1] pixels and below the diameter of the images. `eps`, `steps`, `step_size`,
    `random_start` and `replays` are derived from the other fields where they are not given, also after `attrs.evolve`.

    Attributes:
        kind: ``pgd``; ``fgsm``: one step of ε from the image; ``rs-fgsm``: one step of 1.25 ε from a random start;
            ``n-fgsm``: one step of ε from noise of 2 ε, not projected; ``free``: each batch is trained on `replays`
            times, and each step of the weights moves δ as well; or one that a plug-in brings.
        norm: ``L2``, ``Linf``, or one that a plug-in brings.
        eps: Radius of the ball. Default: 0.5 (L2), 8/255 (Linf), that of the threat model.
        steps: Gradient steps. Default: 7 for ``pgd``, else 1.
        step_size: Length of a step. Default: ε/5 (L2), ε/4 (Linf), that of the threat model for ``pgd``.
        random_start: Whether to start from a random point in the ball. Default: for ``rs-fgsm``, ``n-fgsm`` and `loss`
            ``kl``.
        keep_best: Return the highest loss among x0 … x(steps-1) instead of the last iterate.
        loss: What it maximises: ``ce``, ``kl``, ``dlr`` or ``margin``. Default: that of ``loss.kind``.
        restarts: How often it is run, each time from another random start; the highest loss is returned.
        replays: m of ``free``; 1 for all others.
        warmup: Epochs, or steps as ``"500steps"``, over which ε, and step sizes with it, rise linearly from 0.
    """

    SECTION: ClassVar[str] = "attack"
    kind: str = fields.choice(lambda: ATTACKS, "pgd")
    norm: str = fields.choice(lambda: THREAT_MODELS, "L2")
    _eps: float | str | None = fields.given()
    _steps: int | None = fields.given()
    _step_size: float | str | None = fields.given()
    _random_start: bool | None = fields.given()
    _replays: int | None = fields.given()
    eps: float = fields.real(init=False)
    steps: int = fields.integer(1, init=False)
    step_size: float = fields.real(init=False)
    loss: str = fields.choice(OBJECTIVES, "ce")
    random_start: bool = fields.flag(init=False)
    keep_best: bool = fields.flag(False)
    restarts: int = fields.integer(1, 1)
    replays: int = fields.integer(1, init=False)
    warmup: float | str = fields.field(check_length, 0.0, fields.fraction)

    @eps.default
    def _get_eps(self) -> Any:
        if self._eps is not None:
            return self._eps
        if self._threat.eps is None:
            raise SpecError(f"attack.eps: has no default with attack.norm = {self.norm!r}; give the radius of the ball")
        return self._threat.eps

    @steps.default
    def _get_steps(self) -> Any:
        return self._kind.steps if self._steps is None else self._steps

    @step_size.default
    def _get_step_size(self) -> Any:
        if self._step_size is not None:
            return self._step_size
        if not isinstance(self.eps, float):
            return 0.0  # eps is refused by its own validator, right after
        share = self._threat.step_size if self._kind.step_size is None else self._kind.step_size
        return share * self.eps

    @random_start.default
    def _get_random_start(self) -> Any:
        # the divergence from the clean prediction has no gradient at the clean image
        return self._kind.random_start or self.loss == "kl" if self._random_start is None else self._random_start

    @replays.default
    def _get_replays(self) -> Any:
        return self._kind.replays if self._replays is None else self._replays

    def __attrs_post_init__(self) -> None:
        if self._kind.single and self.steps != 1:
            raise SpecError(
                f'attack.steps: expected 1 for {self.kind!r}, got {self.steps}; set it to 1, or kind to "pgd"'
            )
        # Without a shape this finds Linf radii only; L2 ones are checked again once the data are known.
        self.check_images(None)
        # A random start changes images even without a step, and ε = 0 is plain training by intent.
        if self.eps > 0 and self.step_size == 0 and not self.random_start:
            raise SpecError("attack.step_size: expected a number > 0, got 0, with which no image is changed")
        if self.keep_best and self.steps == 1 and not self.random_start:
            raise SpecError(
                "attack.keep_best: expected false with attack.steps = 1: the last point is not among those that are "
                "compared,\nand the only other one is the clean image"
            )
        if self.loss == "kl" and not self.random_start:
            raise SpecError(
                'attack.random_start: expected true with attack.loss = "kl", got false: at the clean image it has no '
                "gradient"
            )
        if self.restarts > 1 and not self.random_start:
            raise SpecError(
                f"attack.restarts: expected 1 without attack.random_start, got {self.restarts}: all would be the same"
            )
        if self.warmup and self._kind.functions:
            raise SpecError(
                f"attack.warmup: expected 0 with attack.kind = {self.kind!r}, got {self.warmup}: the function of a "
                "plug-in has one ε"
            )
        if self.replays > 1 and self._kind.replays == 1:
            raise SpecError(f'attack.replays: needs attack.kind = "free", got {self.kind!r}')
        if self.free and (self.random_start or self.loss != "ce" or self.restarts > 1 or self.keep_best):
            raise SpecError(
                "attack.kind: 'free' takes the gradient of the training step: expected attack.loss = \"ce\", no random "
                "start, no restarts and no keep_best"
            )

    def check_images(self, image_shape: tuple[int, ...] | None) -> None:
        """Raise SpecError if ε or the step size is too large for images `(h, w, c)`; with None, for any image."""
        lengths = {"attack.eps": self.eps, "attack.step_size": self.step_size}
        self._threat.check(lengths, image_shape)

    @property
    def _kind(self) -> AttackKind:
        # The name is refused by its own validator, right after.
        return ATTACKS.get(self.kind if self.kind in ATTACKS else "pgd")

    @property
    def _threat(self) -> ThreatModel:
        return THREAT_MODELS.get(self.norm if self.norm in THREAT_MODELS else "L2")

    @property
    def free(self) -> bool:
        """Whether the steps of the weights are those of the attack, too (Free-AT)."""
        return self._kind.replays > 1

    @property
    def projects(self) -> bool:
        """Whether each step ends inside the ε-ball."""
        return self._kind.projects

    @property
    def start_radius(self) -> float:
        """Radius of the random start."""
        return self._kind.start * self.eps

    @property
    def reach(self) -> float:
        """Largest norm of δ: ε, unless the attack does not project."""
        start = self.start_radius if self.random_start else 0.0
        return self.eps if self.projects else start + self.steps * self.step_size

    @property
    def passes(self) -> int:
        """Gradient evaluations of the attack of one image, apart from those of the training step."""
        return 0 if self.free else self.steps * self.restarts

    @property
    def probe(self) -> AttackSpec:
        """PGD-10 in the same threat model, whatever the training uses."""
        # After catastrophic overfitting (Wong et al. 2020), a single-step attack still finds the network robust.
        return AttackSpec(kind="pgd", norm=self.norm, eps=self.eps, steps=10, step_size=self.eps / 4)
