"""A network, the images that it is measured on, and where what is measured is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import DataSet, Examples
from sat_core.errors import Interrupted
from sat_core.evaluation import Evaluation
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.threat_grid import Threat
from sat_core.training import STOPPED
from sat_evaluation.run.view import View


@final
@attrs.frozen(kw_only=True, eq=False)
class Target:
    """A network in memory, and the images that it is measured on.

    Attributes:
        title: What progress calls it: the name of an arm, or empty.
        backend, classifier: What computes, and the network.
        data: The data set with images as the network takes them.
        examples: Those that are measured on.
        place: Path of what is kept under some words, without suffix. Evaluations have words for what they depend on;
            a matrix of other threat models, or a later measurement, takes the place of the one before.
        about: What is said of network and data in a file of results.
        experiment: Fingerprint of an arm; empty for other networks.
        in_a: Which of `examples` are of the classes in A, bool `(n,)`; None without such classes.
        trained: Attack of the training; None if it is not known.
        batch_size, engine: Of AutoAttack, see `sat_core.evaluator.Evaluator`.
        group: The ranks that work on it; rank 0 writes files.
    """

    title: str
    backend: Backend
    classifier: Classifier
    data: DataSet
    examples: Examples
    place: Callable[..., Path]
    about: Mapping[str, Any]
    experiment: str = ""
    in_a: np.ndarray | None = None
    trained: AttackSpec | None = None
    batch_size: int | None = None
    engine: str = "package"
    group: ProcessGroup = ALONE

    def attack(
        self,
        threat: Threat,
        index: np.ndarray | slice,
        attacks: str | tuple[str, ...],
        path: Path,
        view: View,
        stop: Callable[[], bool],
    ) -> Evaluation:
        """Attack the images at `index` by AutoAttack.

        Args:
            threat: Norm and radius.
            index: Of images in `examples`.
            attacks: As in `sat_core.evaluator.Evaluator`.
            path: Of the .npz that is saved after every batch, and continued by the same call; without suffix.
            view: Shows how far it is.
            stop: Called at every query; True ends it.

        Raises:
            Interrupted: A stop was requested, or another rank has an error; what is done is saved.
        """
        examples = self.examples if isinstance(index, slice) else self.examples.take(index)
        title = f"{self.title}, {threat.norm}" if self.title else threat.norm
        with view.attacking(f"{title} ε = {threat.eps:g}") as show:

            def progress(share: float, note: str) -> None:
                show(share, note)
                if stop():
                    raise Interrupted(STOPPED)

            return self.backend.evaluate(
                self.classifier,
                examples.images,
                examples.labels,
                norm=threat.norm,
                eps=threat.eps,
                attacks=attacks,
                batch_size=self.batch_size,
                engine=self.engine,
                path=path.with_name(f"{path.name}.npz") if self.group.rank == 0 else None,
                group=self.group,
                progress=progress,
            )
