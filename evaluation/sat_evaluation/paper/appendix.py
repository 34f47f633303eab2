"""What the paper's appendix shows, as studies: their arms are those of its figures wherever these have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from sat_evaluation.paper.panels import ALL, Panel, PanelMaker

BY_CLASS, BY_EXAMPLE = {"subset.kind": "classes"}, {"subset.kind": "examples"}
ATTACKS = ("evaluation.attacks", "evaluation.selection_attacks")
# At |A| = 0 and |A| = N every strategy selects the same examples.
# Shares, with a decimal point: the integer 1 is one example or one class.
BASELINES = {"subset.strategy": ["hardest"], "subset.size": [0.0, 1.0]}
_ROLES = ("digits", "cifar10")
_WATCHED = 512


def single_classes(make: PanelMaker, role: str, name: str) -> Panel:
    """Return a study with an arm for each class and both baselines: Fig. 2, and class transfer over class entropy."""
    settings: dict[str, Any] = {**BY_CLASS}
    if make.protocol == "authors":  # its attacks for single classes hold for the baselines, too
        settings |= {key: ["apgd-ce", "apgd-t"] for key in ATTACKS}
    one = {"subset.strategy": ["listed"], "subset.classes": [[c] for c in range(make.classes(role))]}
    panel = make.study(role, name, settings, [one, BASELINES])
    return attrs.evolve(panel, measures=("robust_a", "robust_b"))


def _defence(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_ROLES):
        # the arms of Fig. 6
        grids = make.strategies(role, make.scale.sizes, ["hardest", "easiest"])
        yield attrs.evolve(make.study(role, "defence", BY_EXAMPLE, grids), measures=("defence",))


def _gain(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_ROLES):
        # the arms of Fig. 5
        grids = make.strategies(role, make.scale.class_sizes, ["hardest", "easiest"])
        yield attrs.evolve(make.study(role, "gain", BY_CLASS, grids), measures=("robust_b",))


def _class_entropy(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_ROLES):
        # the arms of Fig. 2, and the ranking of Fig. 3, which single classes do without
        yield single_classes(make, role, "class-entropy")
        yield attrs.evolve(make.study(role, "class-entropy-ranking", {}, [{}]), ranking=True)


def _agreement(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_ROLES):
        others: dict[str, dict[str, Any]] = {
            "agreement": {},
            f"agreement-{make.scale.ranked_by}": {"ranking.model": make.scale.ranked_by},
            "agreement-seed-1": {"training.seed": 1},
        }
        for name, settings in others.items():
            yield attrs.evolve(make.study(role, name, settings, [{}]), ranking=True)


def _overfitting(make: PanelMaker) -> Iterable[Panel]:
    for role in make.roles(*_ROLES):
        settings: dict[str, Any] = {**BY_EXAMPLE, "evaluation.watch": _WATCHED}
        if make.scale.name == "demo":  # of its 40 images of the selection split, the curves would be mere noise
            settings["evaluation.selection_share"] = 0.3
        grid = {"subset.size": [0.0, *make.scale.sweep, 1.0]}
        yield attrs.evolve(make.study(role, "overfitting", settings, [grid]), measures=ALL)


APPENDIX: dict[str, tuple[str, str, Callable[[PanelMaker], Iterable[Panel]]]] = {
    "defence": ("Defence rate: robust accuracy among correctly classified images (ESAT)", "defence", _defence),
    "gain": ("Gain on B against full AT on the same B (CSAT)", "gain", _gain),
    "class-entropy": (
        "What one class in A brings to B, over its entropy (CSAT)",
        "class-entropy",
        _class_entropy,
    ),
    "agreement": ("Agreement of rankings, of another network and another seed", "agreement", _agreement),
    "overfitting": ("Accuracy after each epoch: robust overfitting (ESAT)", "overfitting", _overfitting),
}
"""Name to title, kind of drawing, and what makes the panels, as for the figures."""
