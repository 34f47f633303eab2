"""The sections of a spec, one class for each table of a study file. Every key is described in docs/study.md."""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import attrs

from sat_core import fields
from sat_core.difficulty import DIFFICULTIES, extra_metrics
from sat_core.errors import SpecError, quoted
from sat_core.selection import LOOKING, SELECTION_RULES
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


def _check_channels(value: Any) -> str | None:
    good = isinstance(value, tuple) and all(isinstance(v, float) and 0 <= v < math.inf for v in value)
    return None if good else "a list of finite numbers >= 0, one per channel"


@final
@attrs.frozen(kw_only=True)
class ModelSpec:
    """Which network to train, and from which weights.

    Attributes:
        name: One of the backend's models; a network of another library, as ``timm:resnet18d?pretrained``; or
            ``package.module:factory`` for the user's own.
        weights: What the training starts from, the ranking's, too: the path of a file, of a finished arm or of an
            exported folder. Empty for new weights, or those that the network comes with.
        layers: ``all`` are trained, or the ``head``: the last layer, on features that stay as they are.
        output: Which part of what the network returns are its logits, see `sat_core.outputs.logits_in`;
            the number of one of several may be an integer.
        mean: Per channel, in units of [0, 1] pixels: what the network subtracts first. Empty for that of the training
            images, or for the record of the library where the weights are that library's.
        std: What it divides by after that; given together with `mean`.
    """

    SECTION: ClassVar[str] = "model"
    name: str = fields.text("small-cnn")
    weights: str = fields.text("")
    layers: str = fields.choice(("all", "head"), "all")
    output: str = fields.part()
    mean: tuple[float, ...] = fields.field(_check_channels, (), fields.floats)
    std: tuple[float, ...] = fields.field(_check_channels, (), fields.floats)

    def __attrs_post_init__(self) -> None:
        if len(self.mean) != len(self.std) or 0.0 in self.std:
            raise SpecError(
                "model.mean, model.std: expected both or none, one number per channel, and no deviation of 0, "
                f"got {quoted(list(self.mean))} and {quoted(list(self.std))}"
            )


def _check_extra(value: Any) -> str | None:
    # Only where some are named, since this imports every plug-in's metric.
    names = extra_metrics() if value else []
    good = isinstance(value, tuple) and all(name in names and value.count(name) == 1 for name in value)
    return None if good else f"a list of scores that take an extra pass ({', '.join(names)}), each once"


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
        extra: Scores that take an extra pass over all examples once the classifier is trained, such as
            ``gradient-norm``; the pass counts in the cost of the ranking.
    """

    SECTION: ClassVar[str] = "ranking"
    epochs: int = fields.integer(1)
    model: str = fields.text("")
    metric: str = fields.choice(lambda: DIFFICULTIES, "entropy")
    record: str = fields.choice(("snapshot", "online"), "snapshot")
    file: str = fields.text("")
    extra: tuple[str, ...] = fields.field(_check_extra, (), fields.tuples)

    def __attrs_post_init__(self) -> None:
        if self.metric not in self.extra and self.metric in extra_metrics([self.metric]):
            raise SpecError(
                f"ranking.metric: {self.metric!r} takes an extra pass over the examples\n"
                f"add it to ranking.extra, whose passes count in the cost: {quoted([*self.extra, self.metric])}"
            )


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
        seed: Of random choices. Default: ``training.seed``.
        rerank: Epochs after which A is chosen anew, by the difficulty of all examples for the network that is being
            trained; 0 for never.
    """

    SECTION: ClassVar[str] = "subset"
    kind: str = fields.choice(("examples", "classes"), "examples")
    strategy: str = fields.choice(lambda: SELECTION_RULES, "hardest")
    # In Python 1 == 1.0, but here 1 is one example and 1.0 all of them: two different arms.
    size: int | float = fields.field(_check_size, 0.5, eq=lambda value: (type(value), value))
    classes: tuple[int | str, ...] = fields.field(_check_classes, (), fields.tuples)
    seed: int = fields.integer(0, 0)
    rerank: int = fields.integer(0, 0)

    def __attrs_post_init__(self) -> None:
        listed = self.strategy == "listed"
        if listed and self.kind != "classes":
            raise SpecError(
                "subset.strategy: 'listed' needs subset.kind = \"classes\"\n"
                "for examples of your own, give ranking.file with their numbers first and subset.size as a count"
            )
        if listed and not self.classes:
            raise SpecError("subset.classes: expected the classes of A with strategy 'listed', got none")
        rule = SELECTION_RULES.get(self.strategy)
        if rule.online not in ("", "random", *LOOKING):
            raise SpecError(
                f"subset.strategy: {self.strategy!r} has each batch choose by {rule.online!r}; backends know "
                f"{', '.join(('random', *LOOKING))}"
            )
        if rule.online and self.kind != "examples":
            raise SpecError(
                f'subset.kind: expected "examples" with {self.strategy!r}, got {self.kind!r}: each batch chooses images'
            )
        if self.rerank and not rule.needs_ranking:
            raise SpecError(
                f"subset.rerank: expected 0 with {self.strategy!r}, got {self.rerank}: only strategies that look at "
                "difficulty, such as 'hardest', choose anew"
            )
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
