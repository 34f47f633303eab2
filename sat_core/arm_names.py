"""Which points of a grid are the same arm, and what its folder is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from sat_core.attack_spec import AttackSpec
from sat_core.files import short_name
from sat_core.loss_spec import LossSpec
from sat_core.selection import SELECTION_RULES
from sat_core.spec import KEYS, Spec

_SUFFIXES = (".safetensors", ".pt", ".pth", ".keras", ".h5")
"""Of files of weights; the .5 of size-0.5 is none."""


def unify(spec: Spec) -> tuple[Spec, tuple[str, ...]]:
    """Unify arms that differ in keys which change nothing in them, so that each runs once.

    Choice and weights of examples change nothing in baselines, nor do attacks if A is empty; and ``subset.seed`` does
    not where the strategy draws nothing.

    Returns:
        The spec with these keys at their defaults, and the prefixes of the keys that were ignored.
    """
    size = spec.subset.size
    # 1.0 is everything, but 1 is one example, which is no baseline.
    if spec.subset.strategy == "listed" or not (size == 0 or (isinstance(size, float) and size == 1)):
        if SELECTION_RULES.get(spec.subset.strategy).draws:
            return spec, ()
        return attrs.evolve(spec, subset=attrs.evolve(spec.subset, seed=spec.training.seed)), ("subset.seed",)
    ignored: tuple[str, ...] = ("subset.strategy", "subset.seed", "subset.rerank", "weighting.", "ranking.metric")
    # Every batch has the same share of members in any case.
    ignored = (*ignored, "training.batches")
    spec = attrs.evolve(
        spec,
        subset=attrs.evolve(spec.subset, strategy="hardest", size=float(size), seed=spec.training.seed, rerank=0),
        weighting=attrs.evolve(spec.weighting, rule="uniform"),
        ranking=attrs.evolve(spec.ranking, metric="entropy"),
        training=attrs.evolve(spec.training, batches="random"),
    )
    if size == 0:
        # The evaluation still attacks in this threat model.
        plain = AttackSpec(norm=spec.attack.norm, eps=spec.attack.eps)
        ignored = (
            *ignored,
            *(key for key in KEYS if key.startswith("attack.") and key not in ("attack.norm", "attack.eps")),
            *("loss.kind", "loss.beta", "training.awp"),
        )
        loss = LossSpec(label_smoothing=spec.loss.label_smoothing, class_weights=spec.loss.class_weights)
        spec = attrs.evolve(spec, attack=plain, loss=loss, training=attrs.evolve(spec.training, awp=0.0))
    return spec, ignored


def name_arm(chosen: Mapping[str, Any]) -> str:
    """Name an arm by the values that its grid gave it: ``size-0.5_seed-1``."""
    return "_".join(f"{key.rsplit('.')[-1]}-{_word(_short(key, value))}" for key, value in chosen.items())


def _short(key: str, value: Any) -> Any:
    """Return a path of weights without folders and suffix: an arm has one name wherever they are."""
    if key != "model.weights" or not value:
        return "new" if key == "model.weights" else value
    path = Path(value)
    return path.name.removesuffix(path.suffix) if path.suffix in _SUFFIXES else path.name


def folder_name(dataset: str) -> str:
    """Turn a data set's full name into a folder name, shortened if necessary.

    >>> folder_name("flowers102?protocol=authors")
    'flowers102-protocol-authors'
    """
    return short_name(_word(dataset), of=dataset)


def _word(value: Any) -> str:
    text = "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.") or "x"
