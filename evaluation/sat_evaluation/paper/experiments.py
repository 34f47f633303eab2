"""The figures of the paper, and further experiments around it, as studies (docs/PROTOCOLS.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

import attrs

from sat_core.datasets import get_dataset
from sat_core.errors import SpecError, quoted
from sat_core.registry import unknown
from sat_core.study import Study, folder_name
from sat_core.tables import nest
from sat_evaluation.paper import published
from sat_evaluation.paper.scales import SCALES, Flat, Scale

ALL, ON_B = ("robust", "clean"), ("robust_b", "clean_b")
"""Fields of `sat_evaluation.results.rows.Row`."""


@final
@attrs.frozen(kw_only=True)
class Panel:
    """What one data set, or one pair of source and target, contributes to a figure.

    name: folder of the study. data, target: roles, as "cifar10"; target is empty without a transfer. measures: fields
    of `Row`, one plot each, on the target if there is one; those in `of_source` are on the source. ranking: nothing
    else is run.
    """

    name: str
    data: str
    study: Study
    target: str = ""
    measures: tuple[str, ...] = ALL
    of_source: tuple[str, ...] = ()
    ranking: bool = False

    @property
    def title(self) -> str:
        """As ``cifar100 → cifar10``."""
        return f"{self.data} → {self.target}" if self.target else self.data


@final
@attrs.frozen(kw_only=True)
class PaperFigure:
    """One figure. kind: ``curves``, ``classes`` (bars and matrix of Fig. 2) or ``difficulty`` (bars of Fig. 3)."""

    name: str
    title: str
    kind: str
    panels: tuple[Panel, ...]


@final
class Recipe:
    """Makes panels at one scale under one protocol. data: roles to data sets in place of the scale's, or all of them.

    weights: the weighting rule of all arms; empty if the figure varies it. settings: dotted keys that override what the
    figure asks, as ``--set`` gives them.
    """

    def __init__(self, scale: Scale, protocol: str, weights: str, data: Mapping[str, str], settings: Flat) -> None:
        self.scale, self.protocol, self._settings = scale, protocol, settings
        self._weights = {"weighting.rule": weights} if weights else {}
        self._data, self._chosen = {**scale.data, **data}, data

    def roles(self, *standard: str) -> list[str]:
        """The data sets that the user named, or of the scale those in `standard`."""
        return list(self._chosen) or [role for role in standard if role in self.scale.data]

    def pairs(self, standard: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The pairs in `standard` of which the user named both, or all; another two that were named are a pair."""
        found = [pair for pair in standard if not self._chosen or set(pair) <= set(self._chosen)]
        if self._chosen and not found:
            if len(self._chosen) != 2:
                raise SpecError(f"--data: expected a source and a target, got {', '.join(self._chosen)}")
            first, second = self._chosen
            return [(first, second)]
        return found

    def study(self, role: str, name: str, asked: Flat, grids: Sequence[Flat], target: str = "") -> Panel:
        """The panel of one study, whose folder is `name` with its data sets."""
        moved = self.scale.moved.get(role, {}) if target else {}
        base = self.scale.base(role, self._data[role], self.protocol)
        settings = {**base, **self._weights, **moved, **asked}
        transfer = {"targets": [self._data[target]], **self.scale.heads} if target else {}
        study = Study(settings=nest(settings), grids=[dict(grid) for grid in grids], transfer=transfer).set(
            self._settings
        )
        roles = "-".join(filter(None, (role, target)))
        return Panel(data=role, study=study, target=target, name=folder_name(f"{name}-{roles}"))

    def classes(self, role: str) -> int:
        """Number of classes; a data set of the user's own is loaded for it."""
        return 10 if role in _TEN else get_dataset(self._data[role]).classes

    def repeats(self, role: str) -> list[int]:
        """Seeds of random subsets."""
        return list(range(self.scale.repeats.get(role, self.scale.repeats[""])))

    def strategies(self, role: str, sizes: Sequence[float], ordered: Sequence[str]) -> list[Flat]:
        """Grids of `ordered` strategies and of random subsets, with both baselines once."""
        return [
            {"subset.strategy": list(ordered), "subset.size": [0.0, *sizes, 1.0]},
            {"subset.strategy": ["random"], "subset.size": list(sizes), "training.seed": self.repeats(role)},
        ]


_ATTACKS = ("evaluation.attacks", "evaluation.selection_attacks")
_BASELINES = {"subset.strategy": ["hardest"], "subset.size": [0.0, 1.0]}
_SETS = ("digits", "mnist5k", "cifar10", "cifar100", "imagenet200")
_TEN = ("digits", "mnist5k", "cifar10")
_BY_CLASS, _BY_EXAMPLE = {"subset.kind": "classes"}, {"subset.kind": "examples"}


def _fig2(make: Recipe) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar10"):
        asked: dict[str, Any] = {**_BY_CLASS}
        if make.protocol == "authors":  # what it asks for single classes holds for their baselines, too
            asked |= {key: ["apgd-ce", "apgd-t"] for key in _ATTACKS}
        one = {"subset.strategy": ["listed"], "subset.classes": [[c] for c in range(make.classes(role))]}
        panel = make.study(role, "fig2", asked, [one, _BASELINES])
        yield attrs.evolve(panel, measures=("robust_a", "robust_b"))


def _fig3(make: Recipe) -> Iterable[Panel]:
    for role in make.roles(*_SETS):
        yield attrs.evolve(make.study(role, "fig3", {}, [{}]), ranking=True)


def _fig4(make: Recipe) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar10"):
        panel = make.study(role, "fig4", _BY_CLASS, make.strategies(role, make.scale.four, ["hardest"]))
        yield attrs.evolve(panel, measures=("robust_b", "clean_b", *ALL))


def _fig5(make: Recipe) -> Iterable[Panel]:
    for role in make.roles(*_SETS):
        grids = make.strategies(role, make.scale.class_sizes, ["hardest", "easiest"])
        yield attrs.evolve(make.study(role, "fig5", _BY_CLASS, grids), measures=("robust_b", "robust"))


def _fig6(make: Recipe) -> Iterable[Panel]:
    for role in make.roles(*_SETS):
        grids = make.strategies(role, make.scale.sizes, ["hardest", "easiest"])
        yield make.study(role, "fig6", _BY_EXAMPLE, grids)


def _fig7(make: Recipe) -> Iterable[Panel]:
    for source, target in make.pairs([make.scale.weighed]):
        sizes = [0.0, *(make.scale.class_sizes if make.scale.name == "demo" else make.scale.sizes), 1.0]
        grid = {"weighting.rule": ["uniform", "balanced", "emphasised"], "subset.size": sizes}
        panel = make.study(source, "fig7", _BY_CLASS, [grid], target)
        yield attrs.evolve(panel, of_source=("robust_a", "robust_b"), measures=("robust",))


def _transfers(name: str, asked: Flat, *, hardest_only: bool = False) -> Callable[[Recipe], Iterable[Panel]]:
    def make_panels(make: Recipe) -> Iterable[Panel]:
        for source, target in make.pairs(make.scale.pairs):
            sizes = make.scale.class_sizes if asked.get("subset.kind") == "classes" else make.scale.sizes
            grids = make.strategies(source, sizes, ["hardest", "easiest"])
            if hardest_only:
                grids = [{"subset.size": [0.0, *sizes, 1.0]}]
            yield make.study(source, name, {**make.scale.unseen, **asked}, grids, target)

    return make_panels


def _sweep(name: str, grid: Flat, asked: Flat | None = None, *roles: str) -> Callable[[Recipe], Iterable[Panel]]:
    def make_panels(make: Recipe) -> Iterable[Panel]:
        for role in make.roles(*(roles or ("digits", "cifar10"))):
            sizes = {"subset.size": [0.0, *make.scale.sweep, 1.0]}
            panel = make.study(role, name, asked or {}, [{**grid, **sizes}])
            by_class = (asked or {}).get("subset.kind") == "classes"
            yield attrs.evolve(panel, measures=("robust_b", "robust") if by_class else ALL)

    return make_panels


def _linf(make: Recipe) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar10", "imagenet200"):
        asked = make.scale.linf.get(role, make.scale.linf[""])
        yield make.study(role, "linf", asked, [{"subset.size": [0.0, *make.scale.sweep, 1.0]}])


def _other_ranking(make: Recipe) -> Iterable[Panel]:
    for role in make.roles("digits", "cifar100"):
        for model in ("", make.scale.ranked_by):
            asked = {"ranking.model": model, **({} if make.scale.name == "demo" else {"attack.kind": "rs-fgsm"})}
            name = f"other-ranking-{model}" if model else "other-ranking"
            yield make.study(role, name, asked, [{"subset.size": [0.0, *make.scale.sweep, 1.0]}])


def _svhn(make: Recipe) -> Iterable[Panel]:
    if "svhn" not in make.scale.data:
        raise SpecError(
            f"svhn: has no {make.scale.name} scale, its images are not embedded; take --scale short or paper"
        )
    grids = make.strategies("cifar100", make.scale.sizes, ["hardest", "easiest"])
    yield make.study("cifar100", "svhn", {}, grids, "svhn")


_FIGURES: dict[str, tuple[str, str, Callable[[Recipe], Iterable[Panel]]]] = {
    "fig2": ("One class is attacked (CSAT)", "classes", _fig2),
    "fig3": ("Difficulty of the classes", "difficulty", _fig3),
    "fig4": ("The hardest classes are attacked, against random ones (CSAT)", "curves", _fig4),
    "fig5": ("A part of the classes is attacked (CSAT)", "curves", _fig5),
    "fig6": ("A part of the examples is attacked (ESAT)", "curves", _fig6),
    "fig7": ("Three ways to weigh A, before a transfer (S-CSAT)", "curves", _fig7),
    "fig8": ("Transfer of features from examples attacked in part (S-ESAT)", "curves", _transfers("fig8", _BY_EXAMPLE)),
    "rs-fgsm": (
        "A part of the examples is attacked in a single step (RS-FGSM)",
        "curves",
        _sweep("rs-fgsm", {}, {"attack.kind": "rs-fgsm"}, "digits", "cifar10", "cifar100"),
    ),
    "rs-fgsm-transfer": (
        "Transfer of features from examples attacked in a single step",
        "curves",
        _transfers("rs-fgsm-transfer", {"attack.kind": "rs-fgsm"}, hardest_only=True),
    ),
    "linf": ("A part of the examples is attacked, L∞", "curves", _linf),
    "radii": (
        "The hardest classes are attacked, at three radii (CSAT)",
        "curves",
        _sweep("radii", {"attack.eps": [0.25, 0.5, 1.0]}, _BY_CLASS),
    ),
    "metrics": (
        "Other measures of difficulty (ESAT)",
        "curves",
        _sweep("metrics", {"ranking.metric": ["entropy", "error", "variance", "margin"]}),
    ),
    "other-ranking": ("A ranking made by another network (ESAT)", "curves", _other_ranking),
    "s-csat": (
        "Transfer of features from classes attacked in part (S-CSAT)",
        "curves",
        _transfers("s-csat", _BY_CLASS),
    ),
    "svhn": ("Transfer of features to SVHN (S-ESAT)", "curves", _svhn),
}
PAPER_FIGURES = {name: title for name, (title, _, _) in _FIGURES.items()}
"""Names and titles."""


def paper_figure(
    name: str, scale: str, protocol: str, data: Mapping[str, str] | None = None, settings: Flat | None = None
) -> PaperFigure:
    """The figure called `name` at a scale of `SCALES`, with studies that are checked; SpecError."""
    if name not in _FIGURES:
        raise SpecError(unknown("figure", name, _FIGURES))
    if scale not in SCALES:
        raise SpecError(f"--scale: expected one of {', '.join(SCALES)}, got {quoted(scale)}")
    title, kind, panels = _FIGURES[name]
    weights = "uniform" if (name, protocol) == ("fig2", "paper") else published.weights(name)  # the text has 1 there
    found = tuple(panels(Recipe(SCALES[scale], protocol, weights, data or {}, settings or {})))
    return PaperFigure(name=name, title=title, kind=kind, panels=found)


def parse_data(given: Sequence[str], scale: str) -> dict[str, str]:
    """``--data``: a role of the scale, a role and what stands for it (``cifar10=npz:PATH``), or another data set."""
    known = SCALES[scale].data if scale in SCALES else {}
    found = {}
    for text in given:
        role, equals, name = text.partition("=")
        if "?" in role or ":" in role:  # an option's =, or none
            role, equals, name = text.split("?")[0].split(":")[0], "=", text
        found[role] = name if equals else known.get(role, role)
    return found
