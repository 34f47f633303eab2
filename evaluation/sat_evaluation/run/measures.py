"""What `sat evaluate` measures besides robust accuracy at one threat model, and how it is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.autoattack import check_norm
from sat_core.calibration import CalibrationSummary, calibration
from sat_core.chunks import chunks
from sat_core.corrupted import CorruptionSummary
from sat_core.errors import Interrupted
from sat_core.evaluation import Evaluation
from sat_core.streams import stream
from sat_core.threat_grid import Threat, ThreatGrid
from sat_core.threat_matrix import ThreatMatrix, evaluate_threats, name_of_left
from sat_core.training import STOPPED
from sat_datasets.corruptions import SEVERITIES, check_installed, constants_of, corrupt, corruptions_of, left_out
from sat_evaluation.attack.rounds import by_rank_0
from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.figures.reliability import reliability_figure
from sat_evaluation.results.text import public_name
from sat_evaluation.run.target import Target
from sat_evaluation.run.view import View

GRID, CALIBRATION, CORRUPTIONS = NAMES = ("grid", "calibration", "corruptions")
"""What can be measured, and the words for its files."""
_PART = 250
"""Images that are corrupted, or sent through the network, at a time. Random numbers are drawn for as many."""
CORRUPTION_SEED = 0
"""The same for all networks, so that they see the same images."""


@final
@attrs.frozen(kw_only=True)
class Measures:
    """What is measured.

    Attributes:
        grid: Threat models for AutoAttack, or none.
        calibration: Whether confidences are compared with accuracies.
        corruptions: Whether images are corrupted.
        attacks: A level of evaluation, or names of attacks, for the grid.
    """

    grid: ThreatGrid | None = None
    calibration: bool = False
    corruptions: bool = False
    attacks: str | tuple[str, ...] = "standard"

    @property
    def title(self) -> str:
        """The attacks as a word of a file's name."""
        return self.attacks if isinstance(self.attacks, str) else ",".join(self.attacks)


@final
@attrs.frozen(kw_only=True, eq=False)
class Measured:
    """What was measured of a network; None for what was not asked for."""

    grid: ThreatMatrix | None = None
    calibration: CalibrationSummary | None = None
    corruptions: CorruptionSummary | None = None


def measure(target: Target, measures: Measures, view: View, stop: Callable[[], bool]) -> Measured:
    """Measure a network; all ranks make this call, and rank 0 writes the files.

    Args:
        target: The network, and the images.
        measures: What to measure.
        view: Shows how far it is.
        stop: Called at every query of AutoAttack, and between parts of the images; True ends it.

    Raises:
        SatError: Something does not fit.
        Interrupted: A stop was requested. What AutoAttack has done is saved, and the same call goes on there.
    """
    if measures.corruptions:
        check_installed(target.data.image_shape)
    grid = measures.grid
    matrix = None if grid is None else _measure_grid(target, grid, measures, view, stop)
    # Passes forward only, beside an attack: rank 0 does them.
    calibrated, corrupted = by_rank_0(
        target.group,
        lambda: (
            _measure_calibration(target, view, stop) if measures.calibration else None,
            _measure_corruptions(target, view, stop) if measures.corruptions else None,
        ),
    )
    return Measured(grid=matrix, calibration=calibrated, corruptions=corrupted)


def _measure_grid(
    target: Target, grid: ThreatGrid, measures: Measures, view: View, stop: Callable[[], bool]
) -> ThreatMatrix:
    for threat in grid.threats:  # what cannot be attacked is said before the first attack, not hours into them
        check_norm(threat.norm, target.engine)
        threat.check_images(target.data.image_shape, GRID)
    count = len(target.examples)

    def attack(threat: Threat, index: np.ndarray) -> Evaluation:
        # The images that smaller radii have left are another evaluation than all of them.
        left = name_of_left(index, count)
        path = target.place(threat.norm, f"{threat.eps:g}", measures.title, *([left] if left else []))
        return target.attack(threat, index if left else slice(None), measures.attacks, path, view, stop)

    matrix = evaluate_threats(grid, count, attack)
    summary = matrix.summary(target.data.classes, target.in_a, target.experiment)
    content = {**target.about, **summary.to_json()}
    by_rank_0(target.group, lambda: _save(target, GRID, content, matrix.arrays()))
    return matrix


def _measure_calibration(target: Target, view: View, stop: Callable[[], bool]) -> CalibrationSummary:
    """Compare confidences with accuracies on the images as they are, and after PGD-10 if a threat model is known."""
    labels, attack = target.examples.labels, target.trained
    logits, attacked = [], []
    with view.attacking(_title(target, CALIBRATION)) as show:
        for index in chunks(np.arange(len(labels)), _PART):
            show(index[0] / len(labels), "")
            if stop():
                raise Interrupted(STOPPED)
            images = target.examples.images[index]
            logits.append(target.classifier.logits(images))
            if attack is not None:
                adversarial = target.classifier.perturb(images, labels[index], attack.probe)
                attacked.append(target.classifier.logits(adversarial))
    arrays = {"label": labels, "logits": np.concatenate(logits)}
    clean = calibration(arrays["logits"], labels)
    summary = CalibrationSummary(clean=clean, experiment=target.experiment)
    if attack is not None:
        arrays["adversarial_logits"] = np.concatenate(attacked)
        measured = calibration(arrays["adversarial_logits"], labels)
        summary = attrs.evolve(summary, adversarial=measured, norm=attack.norm, eps=attack.eps)
    _save(target, CALIBRATION, {**target.about, **summary.to_json()}, arrays)
    save_figure(reliability_figure(summary, public_name(target.data.name), target.title), target.place(CALIBRATION))
    return summary


def _measure_corruptions(target: Target, view: View, stop: Callable[[], bool]) -> CorruptionSummary:
    """Classify the images with every corruption at every severity."""
    examples, shape = target.examples, target.data.image_shape
    names, parts = corruptions_of(shape), list(chunks(np.arange(len(target.examples)), _PART))
    correct = {name: np.zeros((len(SEVERITIES), len(examples)), np.bool_) for name in names}
    clean = np.zeros(len(examples), np.bool_)
    with view.attacking(_title(target, CORRUPTIONS)) as show:
        for number, index in enumerate(parts):
            images, labels = examples.images[index], examples.labels[index]
            clean[index] = target.classifier.logits(images).argmax(axis=1) == labels
            for place, name in enumerate(names):
                show((number + place / len(names)) / len(parts), name)
                if stop():
                    raise Interrupted(STOPPED)
                for severity in SEVERITIES:
                    rng = stream(CORRUPTION_SEED, f"corruption-{name}", severity, number)
                    changed = corrupt(images, name, severity, rng)
                    right = target.classifier.logits(changed).argmax(axis=1) == labels
                    correct[name][severity - 1, index] = right
    summary = CorruptionSummary.of(
        clean,
        correct,
        examples.labels,
        constants=constants_of(shape),
        left_out=left_out(shape),
        experiment=target.experiment,
    )
    arrays = {"label": examples.labels, "clean": clean, **correct}
    _save(target, CORRUPTIONS, {**target.about, **summary.to_json()}, arrays)
    return summary


def _title(target: Target, name: str) -> str:
    return f"{target.title}, {name}" if target.title else name


def _save(target: Target, name: str, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    path = target.place(name)
    files.write_npz(path.with_name(f"{path.name}.npz"), {**arrays, files.EXPERIMENT: np.array(target.experiment)})
    # Last, because its presence says that the other is whole.
    files.write_json(path.with_name(f"{path.name}.json"), content)
