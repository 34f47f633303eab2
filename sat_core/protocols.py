"""The two protocols: what the paper's text says, and what the authors' code does (recipe, sections 0 and 1)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from sat_core.registry import Registry

_HEADS = {"caltech256": (101, 128), "flowers102": (101, 102)}
"""Epochs and batch size of heads for these data sets; those of all others are as for CIFAR-10."""


class EvaluationProtocol(ABC):
    """Defaults that belong together; each is also a key of its own in the study file."""

    name: str

    @abstractmethod
    def defaults(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Dotted keys to values, for keys that `asked` (nested tables) leaves out."""

    def data(self, name: str) -> str:
        """The data set that stands for `name` under this protocol."""
        return name

    def head(self, target: str) -> dict[str, Any]:
        """Epochs and batch size with which a head for the data set `target` is trained (recipe, section 1.4)."""
        epochs, batch_size = _HEADS.get(re.split("[:?]", target)[0], (41, 128))
        return {"epochs": epochs, "batch_size": batch_size}

    @abstractmethod
    def of_target(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """What a transfer keeps of the evaluation section of its source."""

    @abstractmethod
    def checks(self, dataset: str, epochs: int, drops: tuple[int, ...], *, head: bool = False) -> tuple[int, ...]:
        """The epochs (counted from 1) after which robust accuracy on the selection split is measured.

        head: of the training of a head on frozen features.
        """


class Paper(EvaluationProtocol):
    """The text of the paper: last iterate, uniform weights (section 3.2), rankings from snapshots (Eq. 3), a check
    after each drop and at the end.
    """

    name = "paper"

    def defaults(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "attack.keep_best": False,
            "weighting.rule": "uniform",
            "ranking.record": "snapshot",
            "evaluation.attacks": "standard",
            "evaluation.selection_attacks": "standard",
            "evaluation.examples": "rest",
        }

    def of_target(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """All but the epochs."""
        return {key: value for key, value in evaluation.items() if key != "selection_epochs"}

    def checks(self, dataset: str, epochs: int, drops: tuple[int, ...], *, head: bool = False) -> tuple[int, ...]:
        """First epoch after each drop and the last; without drops, 5 epochs spread over the last quarter."""
        after = [d + 1 for d in drops] or [round(epochs * (0.75 + 0.05 * i)) for i in range(1, 5)]
        return _unique([*after, epochs], epochs)


class Authors(EvaluationProtocol):
    """The released code, source of the published numbers: best of x0 … x6, rankings recorded online, fixed check
    epochs, 80 % reported. Weights are uniform but for a single class in A; figures with other weights set their own.
    """

    name = "authors"
    _FEW = ("apgd-ce", "apgd-t")

    def defaults(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        data = dataset_name(asked)
        subset = asked.get("subset", {})
        by_class = subset.get("kind") == "classes"
        one, classes = subset.get("size"), subset.get("classes")
        listed = isinstance(classes, list | tuple) and len(classes) == 1
        single = by_class and (listed or (isinstance(one, int) and one == 1))
        attack = asked.get("attack", {})
        few = single or data == "cifar100" or (data == "imagenet200" and by_class)
        attacks: Any = self._FEW if few else "standard"
        return {
            "attack.keep_best": attack.get("kind", "pgd") == "pgd" and attack.get("steps") != 1,
            "weighting.rule": "balanced" if single else "uniform",
            "ranking.record": "online",
            "evaluation.attacks": attacks,
            "evaluation.selection_attacks": attacks,
            **self._positions(data),
        }

    def _positions(self, data: str) -> dict[str, Any]:
        """Of the permuted validation images; at most 1000 pick the epoch, as many are never used (section 1.3)."""
        if data == "flowers102":
            return {"evaluation.examples": "rest"}
        if data == "caltech256":
            return {"evaluation.selection_share": 1000, "evaluation.examples": 4122}
        return {"evaluation.examples": 0.8}  # positions 1000 … 8999 of 10,000

    def data(self, name: str) -> str:
        """Flowers-102 as the authors' code reads it: shifted labels, and validation images that also report."""
        head, _, options = name.partition("?")
        if head.partition(":")[0] != "flowers102" or "protocol=" in options:
            return name
        return f"{name}{'&' if options else '?'}protocol=authors"

    def of_target(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """The engine only: what is fixed for the target holds."""
        return {key: value for key, value in evaluation.items() if key == "engine"}

    def checks(self, dataset: str, epochs: int, drops: tuple[int, ...], *, head: bool = False) -> tuple[int, ...]:
        """The recipe's epochs (15, 50, 101, 151, 200 of 201; 51, 101, 150 of 151), scaled to other lengths.

        Of a head, 15, 51, 76, 100 of 101 for Caltech-256 and Flowers-102, else 5, 21, 31, 40 of 41.
        """
        last, fixed = {
            (False, False): (201, (15, 50, 101, 151, 200)),
            (False, True): (151, (51, 101, 150)),
            (True, False): (41, (5, 21, 31, 40)),
            (True, True): (101, (15, 51, 76, 100)),
        }[head, dataset in _HEADS if head else dataset == "imagenet200"]
        return _unique([round(epochs * e / last) for e in fixed], epochs)


def dataset_name(tables: Mapping[str, Any]) -> str:
    """``imagenet200`` of ``imagenet200:PATH?OPTION=VALUE``."""
    name = tables.get("data", {}).get("name", "")
    return re.split("[:?]", name)[0] if isinstance(name, str) else ""


def _unique(epochs: list[int], last: int) -> tuple[int, ...]:
    return tuple(sorted({min(max(e, 1), last) for e in epochs}))


PROTOCOLS: Registry[EvaluationProtocol] = Registry("protocol")
for _protocol in (Paper(), Authors()):
    PROTOCOLS.register(_protocol.name, _protocol)
