"""What a figure of the paper consists of: a study for each data set, or for each pair of source and target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import attrs

from sat_core.arm_names import folder_name
from sat_core.datasets import get_dataset
from sat_core.errors import SpecError
from sat_core.study import Study
from sat_core.tables import nest
from sat_evaluation.paper.scales import Flat, Scale

ALL = ("robust", "clean")
"""Accuracies on all test images, as keys of `sat_evaluation.figures.share_data.MEASURES`."""


@final
@attrs.frozen(kw_only=True)
class Panel:
    """What one data set, or one pair of source and target, contributes to a figure.

    Attributes:
        name: Name of the study's folder.
        data: Role of the data set, such as ``cifar10``; of a transfer, that of the source.
        study: What is run.
        target: Role of the target; empty without a transfer.
        measures: Accuracies that are drawn, a plot each: keys of `sat_evaluation.figures.share_data.MEASURES`. Of a
            transfer, those on the target.
        of_source: Of a transfer, accuracies on the source that are drawn as well.
        ranking: Whether only the ranking is trained, and no arm.
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
        """The data set, or ``cifar100 → cifar10``."""
        return f"{self.data} → {self.target}" if self.target else self.data


@final
@attrs.frozen(kw_only=True)
class PaperFigure:
    """One figure of the paper, or one further experiment, with its studies.

    Attributes:
        name: Such as ``fig6`` or ``linf``.
        title: One line above the figure.
        kind: ``curves``, ``classes`` (bars and matrix of Fig. 2), ``difficulty`` (bars of Fig. 3), or one of
            `sat_evaluation.paper.draw_appendix.KINDS`.
        panels: A study for each data set or pair.
    """

    name: str
    title: str
    kind: str
    panels: tuple[Panel, ...]


@final
class PanelMaker:
    """Makes the panels of one figure at one scale under one protocol.

    Args:
        scale: Settings and data sets.
        protocol: ``paper`` or ``authors``.
        weights: The weighting rule of all arms; empty if the figure compares the rules.
        data: Roles to data sets, as `parse_data` returns them: these are drawn instead of the figure's own.
        settings: Dotted keys that override those of the figure, as ``--set`` gives them.
    """

    def __init__(self, scale: Scale, protocol: str, weights: str, data: Mapping[str, str], settings: Flat) -> None:
        self.scale, self.protocol, self._overrides = scale, protocol, settings
        self._weights = {"weighting.rule": weights} if weights else {}
        self._data, self._chosen = {**scale.data, **data}, data

    def roles(self, *standard: str) -> list[str]:
        """Return the data sets that the user named, else those in `standard` that the scale has."""
        return list(self._chosen) or [role for role in standard if role in self.scale.data]

    def pairs(self, standard: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return pairs of source and target.

        Those in `standard`, or if the user named data sets, those of which both were named. Two data sets that form no
        such pair are source and target in their order.

        Raises:
            SpecError: The user named one data set, or more than two, of which no pair in `standard` consists.
        """
        pairs = [pair for pair in standard if not self._chosen or set(pair) <= set(self._chosen)]
        if self._chosen and not pairs:
            if len(self._chosen) != 2:
                raise SpecError(f"--data: expected a source and a target, got {', '.join(self._chosen)}")
            source, target = self._chosen
            return [(source, target)]
        return pairs

    def study(self, role: str, name: str, settings: Flat, grids: Sequence[Flat], target: str = "") -> Panel:
        """Make the panel of one study.

        Args:
            role: The data set; of a transfer, the source.
            name: Beginning of the folder's name; the roles follow.
            settings: Dotted keys of this experiment, which override those of the scale.
            grids: Grids of the study.
            target: Role of the target; empty without a transfer.
        """
        source_settings = self.scale.source_settings.get(role, {}) if target else {}
        base = self.scale.base(role, self._data[role], self.protocol)
        # later ones win: a figure knows more than its scale. What the user sets comes last, and for the grids, too
        tables = nest({**base, **self._weights, **source_settings, **settings})
        transfer = {"targets": [self._data[target]], **self.scale.heads} if target else {}
        study = Study(settings=tables, grids=[dict(grid) for grid in grids], transfer=transfer).set(self._overrides)
        roles = "-".join(filter(None, (role, target)))
        return Panel(data=role, study=study, target=target, name=folder_name(f"{name}-{roles}"))

    def classes(self, role: str) -> int:
        """Return the number of classes; a data set of the user's own is loaded for it."""
        return 10 if role in _TEN else get_dataset(self._data[role]).classes

    def repeats(self, role: str) -> list[int]:
        """Return the seeds of random subsets."""
        return list(range(self.scale.repeats.get(role, self.scale.repeats[""])))

    def strategies(self, role: str, sizes: Sequence[float], ordered: Sequence[str]) -> list[Flat]:
        """Return grids of `ordered` strategies and of random subsets, with both baselines once."""
        return [
            {"subset.strategy": list(ordered), "subset.size": [0.0, *sizes, 1.0]},
            # a grid of its own: in the other one, seeds would multiply the ordered strategies and the baselines
            {"subset.strategy": ["random"], "subset.size": list(sizes), "training.seed": self.repeats(role)},
        ]


_TEN = ("digits", "mnist5k", "cifar10")
"""Data sets of ten classes. They need not be loaded, or downloaded, to be counted."""
