"""The sections of a spec, one class for each table of a study file. Every key is described in docs/study.md."""

from __future__ import annotations

from typing import Any, ClassVar, final

import attrs

from sat_core import fields
from sat_core.augmentation import AUGMENTATIONS
from sat_core.difficulty import DIFFICULTIES
from sat_core.errors import SpecError
from sat_core.precision import AUTO, OF_NETWORK
from sat_core.schedules import check_schedule
from sat_core.selection import SELECTION_RULES
from sat_core.threat import THREAT_MODELS
from sat_core.weighting import WEIGHTING_RULES


@final
@attrs.frozen(kw_only=True)
class DataSpec:
    """Which images to use.

    Attributes:
        name: A full name as `sat_core.datasets.get_dataset` takes it, such as ``digits`` or ``npz:PATH``.
    """

    SECTION: ClassVar[str] = "data"
    name: str = fields.text()


@final
@attrs.frozen(kw_only=True)
class ModelSpec:
    """Which network to train.

    Attributes:
        name: One of the backend's models, or ``package.module:factory`` for the user's own.
    """

    SECTION: ClassVar[str] = "model"
    name: str = fields.text("small-cnn")


@final
@attrs.frozen(kw_only=True)
class RankingSpec:
    """How difficulty is measured: by a non-robust classifier (paper, Eq. 3), or read from a file.

    Attributes:
        epochs: Passes over the training set.
        model: The classifier, as in `ModelSpec`; empty for the arms' own.
        metric: Which difficulty orders the examples.
        record: ``snapshot`` evaluates all examples after each epoch; ``online`` records the (augmented) training
            forwards, as the published rankings do. Online needs many epochs: in few, it measures when an example was
            first seen.
        file: A published order, hardest first; empty for none.
    """

    SECTION: ClassVar[str] = "ranking"
    epochs: int = fields.integer(1)
    model: str = fields.text("")
    metric: str = fields.choice(lambda: DIFFICULTIES, "entropy")
    record: str = fields.choice(("snapshot", "online"), "snapshot")
    file: str = fields.text("")


def _check_size(value: Any) -> str | None:
    share = isinstance(value, float) and 0.0 <= value <= 1.0
    return (
        None
        if share or fields.whole(value, 0)
        else "a count >= 0 (integer) or a share in [0, 1] (with a decimal point)"
    )


def _check_classes(value: Any) -> str | None:
    good = isinstance(value, tuple) and all(isinstance(v, str) or fields.whole(v, 0) for v in value)
    return None if good else "a list of class numbers or names"


@final
@attrs.frozen(kw_only=True)
class SubsetSpec:
    """Which part of the training set is A.

    Attributes:
        kind: ``examples`` (ESAT) or ``classes`` (CSAT).
        strategy: Which examples or classes come first; ``listed`` takes those in `classes`.
        size: An integer is a count, a float a share: floor(share · N) of examples or classes. Ignored for ``listed``.
        classes: Class numbers or names, for ``listed``.
    """

    SECTION: ClassVar[str] = "subset"
    kind: str = fields.choice(("examples", "classes"), "examples")
    strategy: str = fields.choice(lambda: SELECTION_RULES, "hardest")
    # In Python 1 == 1.0, but here 1 is one example and 1.0 all of them: two different arms.
    size: int | float = fields.field(_check_size, 0.5, eq=lambda value: (type(value), value))
    classes: tuple[int | str, ...] = fields.field(_check_classes, (), fields.tuples)

    def __attrs_post_init__(self) -> None:
        listed = self.strategy == "listed"
        if listed and self.kind != "classes":
            raise SpecError(
                "subset.strategy: 'listed' needs subset.kind = \"classes\"\n"
                "for examples of your own, give ranking.file with their numbers first and subset.size as a count"
            )
        if listed and not self.classes:
            raise SpecError("subset.classes: expected the classes of A with strategy 'listed', got none")
        if self.classes and not listed:
            raise SpecError(f'subset.classes: needs subset.strategy = "listed", got {self.strategy!r}')


@final
@attrs.frozen(kw_only=True)
class WeightingSpec:
    """Weights of A and B in the loss (recipe, section 1.2).

    Attributes:
        rule: Name of a weighting rule.
    """

    SECTION: ClassVar[str] = "weighting"
    rule: str = fields.choice(lambda: WEIGHTING_RULES)


@final
@attrs.frozen(kw_only=True)
class AttackSpec:
    """The threat model and the attack used in training.

    Lengths are in units of [0, 1] pixels and below the diameter of the images. `eps`, `steps`, `step_size` and
    `random_start` are derived from the other fields where they are not given, also after `attrs.evolve`.

    Attributes:
        kind: ``pgd``; ``fgsm``: one step of ε from the image; ``rs-fgsm``: one step of 1.25 ε from a random start.
        norm: ``L2`` or ``Linf``.
        eps: Radius of the ball. Default: 0.5 (L2), 8/255 (Linf).
        steps: Gradient steps. Default: 7 for ``pgd``, else 1.
        step_size: Length of a step. Default: ε/5 (L2), ε/4 (Linf) for ``pgd``.
        random_start: Whether to start from a random point in the ball. Default: only for ``rs-fgsm``.
        keep_best: Return the highest loss among x0 … x(steps-1) instead of the last iterate.
    """

    SECTION: ClassVar[str] = "attack"
    kind: str = fields.choice(("pgd", "fgsm", "rs-fgsm"), "pgd")
    norm: str = fields.choice(lambda: THREAT_MODELS, "L2")
    _eps: float | str | None = fields.given()
    _steps: int | None = fields.given()
    _step_size: float | str | None = fields.given()
    _random_start: bool | None = fields.given()
    eps: float = fields.real(init=False)
    steps: int = fields.integer(1, init=False)
    step_size: float = fields.real(init=False)
    random_start: bool = fields.flag(init=False)
    keep_best: bool = fields.flag(False)

    @eps.default
    def _get_eps(self) -> Any:
        if self._eps is not None:
            return self._eps
        return 8 / 255 if self.norm == "Linf" else 0.5

    @steps.default
    def _get_steps(self) -> Any:
        if self._steps is not None:
            return self._steps
        return 7 if self.kind == "pgd" else 1

    @step_size.default
    def _get_step_size(self) -> Any:
        if self._step_size is not None:
            return self._step_size
        if not isinstance(self.eps, float):
            return 0.0  # eps is refused by its own validator, right after
        # 0.1 of 0.5 and 2/255 of 8/255, as in the code; RS-FGSM's 1.25 ε (Wong et al. 2020) is 3.75 of 3.0 there
        of_pgd = 0.2 if self.norm == "L2" else 0.25
        of_eps = 1.0 if self.kind == "fgsm" else 1.25 if self.kind == "rs-fgsm" else of_pgd
        return of_eps * self.eps

    @random_start.default
    def _get_random_start(self) -> Any:
        return self.kind == "rs-fgsm" if self._random_start is None else self._random_start

    def __attrs_post_init__(self) -> None:
        if self.kind != "pgd" and self.steps != 1:
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

    def check_images(self, image_shape: tuple[int, ...] | None) -> None:
        """Raise SpecError if ε or the step size is too large for images `(h, w, c)`; with None, for any image."""
        lengths = {"attack.eps": self.eps, "attack.step_size": self.step_size}
        THREAT_MODELS.get(self.norm).check(lengths, image_shape)

    @property
    def probe(self) -> AttackSpec:
        """PGD-10 in the same threat model, whatever the training uses."""
        # After catastrophic overfitting (Wong et al. 2020), a single-step attack still finds the network robust.
        return AttackSpec(kind="pgd", norm=self.norm, eps=self.eps, steps=10, step_size=self.eps / 4)


@final
@attrs.frozen(kw_only=True)
class TrainingSpec:
    """How one classifier is trained.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Examples per step; the last, incomplete batch of an epoch is dropped.
        batches: ``random``, or ``stratified``: every batch has the same share of members of A, rounded.
        optimizer: ``sgd`` or ``adamw``.
        lr: Learning rate per batch of `batch_size`.
        momentum: Of ``sgd``.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Per step, on all weights.
        schedule: ``piecewise[:drops]``, ``cosine``, ``one-cycle`` or ``constant``.
        augmentation: Name of an augmentation.
        batch_norm: Statistics of BatchNorm where several devices train: ``global``, those of the whole batch, so that
            the training is the same as on one device; ``local``, those of the device's share.
        precision: Arithmetic of the network. ``tf32`` is float32 with products that a GPU may round to 10 bits;
            ``float32`` never rounds. Attacks keep δ in float32. ``auto`` is replaced by the fastest that the device
            computes in hardware when a run begins.
        compile: Whether to compile the step.
        cuda_graphs: Whether PyTorch captures the step in CUDA graphs, where the device is a GPU.
        channels_last: Whether PyTorch stores images and weights channels last.
        threads: Of the CPU, per arm; never changed by how many arms run at once.
        seed: Of weights, order, augmentation and random starts.
        deterministic: Whether to use deterministic kernels only.
    """

    SECTION: ClassVar[str] = "training"
    epochs: int = fields.integer(1)
    batch_size: int = fields.integer(1, 128)
    batches: str = fields.choice(("random", "stratified"), "random")
    optimizer: str = fields.choice(("sgd", "adamw"), "sgd")
    lr: float = fields.real(default=0.1)
    momentum: float = fields.real(below=1.0, default=0.9)
    nesterov: bool = fields.flag(False)
    weight_decay: float = fields.real(default=5e-4)
    schedule: str = fields.field(check_schedule, "piecewise")
    augmentation: str = fields.choice(lambda: AUGMENTATIONS, "none")
    batch_norm: str = fields.choice(("global", "local"), "global")
    precision: str = fields.choice((*OF_NETWORK, AUTO), "float32")
    compile: bool = fields.flag(False)
    cuda_graphs: bool = fields.flag(True)
    channels_last: bool = fields.flag(False)
    threads: int = fields.integer(1, 1)
    seed: int = fields.integer(0, 0)
    deterministic: bool = fields.flag(False)

    def __attrs_post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise SpecError("training.nesterov: needs training.momentum > 0, got momentum 0")
        room = 1 - self.momentum if self.optimizer == "sgd" else 1.0  # momentum multiplies a step by 1/(1 - momentum)
        if self.lr * self.weight_decay >= room:
            raise SpecError(
                f"training.weight_decay: expected less than {room / self.lr:.4g} with training.lr = {self.lr:g}, got "
                f"{self.weight_decay:g}\neach step would take away all of the weights"
            )
