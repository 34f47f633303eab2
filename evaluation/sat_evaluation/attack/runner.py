"""AutoAttack (Croce & Hein 2020) with results per example, saved after every batch.

With the engine "package" the flags equal those of the package's `run_standard_evaluation` for the same seed and batch
size: each attack gets, in batches, the examples that no earlier one broke, and torch is seeded anew for each batch.
The engine "folded" attacks a copy of the model that may be faster and differs in rounding
(`Classifier.attacked_torch_module`); the engine "fast" attacks that copy by `sat_evaluation.attack.fast`. The original
model makes the final check of every adversarial image, whatever the engine.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sat_core.autoattack import ENGINES, check_norm
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import DataError, EvaluationError, SpecError, quoted
from sat_core.evaluation import Evaluation
from sat_core.fields import fraction
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.registry import nearest
from sat_core.threat import norm_of
from sat_evaluation.attack.attack_run import AttackRun
from sat_evaluation.attack.clean import clean_outputs, flat_gradients
from sat_evaluation.attack.fast.engine import Fast
from sat_evaluation.attack.meter import Progress
from sat_evaluation.attack.model import Model
from sat_evaluation.attack.package import Package, find_package
from sat_evaluation.attack.plan import Attacks, plan
from sat_evaluation.attack.record import EvaluationSettings, Record, pixels, sha256
from sat_evaluation.attack.rounds import by_rank_0

BATCH_SIZE = 250
"""Images per batch, as in `run_standard_evaluation`, on every device: the package seeds itself anew for each batch, so
that with another size it would draw other numbers, and two evaluations could not be compared."""


def evaluate(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    norm: str,
    eps: float,
    attacks: Attacks = "standard",
    seed: int = 0,
    batch_size: int | None = None,
    engine: str = "package",
    path: Path | None = None,
    progress: Progress | None = None,
    group: ProcessGroup = ALONE,
) -> Evaluation:
    """Attack images with AutoAttack and return which attack broke which; a `sat_core.evaluator.Evaluator`.

    The network computes in float32, or in the type that it brings, never in TF32; the result says which.

    Args:
        classifier: What is attacked.
        images: `(n, h, w, c)`, uint8 or float32 in [0, 1]. Of images that are decoded on request, one batch at a time
            is in memory.
        labels: Classes, int64 `(n,)`.
        norm: ``L2`` or ``Linf``; of the package also ``L1``.
        eps: Radius of the ball, in units of [0, 1] pixels; with 0 nothing is attacked.
        attacks: ``standard``, ``plus``, or several names, which run with the settings of the package's version
            ``custom``; `AttackSettings` among them run with their own.
        seed: Of torch's generators, for each batch.
        batch_size: Images that are attacked together. Default: `BATCH_SIZE`; the engine "fast", which draws the same in
            every batch, takes `Classifier.images_at_once` on a GPU. If memory runs out, the batch is attacked again in
            halves, and so are all later ones; the result has the size that was left.
        engine: One of `ENGINES`.
        path: An .npz that is saved to after each batch. An unfinished file is continued, a finished one returned.
        progress: Called at every query with the share of the work that is done, in [0, 1], and the name of the attack.
            Of several ranks, each calls its own; the share is true on rank 0.
        group: The ranks that attack together, a batch each. All make this call, with the same model; `path` is for rank
            0. Whatever their number, flags and file are those of a single process, and an evaluation that was broken
            off goes on with any other. An error of any rank is raised on rank 0; the others raise Interrupted.

    Raises:
        NotInstalledError: torch or AutoAttack's package is missing.
        SpecError: A setting is wrong.
        DataError: The images do not fit the classifier, or the file is damaged.
        EvaluationError: The file is of another evaluation, a logit is not finite, or an adversarial image is outside
            the ball or [0, 1].
    """
    if engine not in ENGINES:
        raise SpecError(
            f"engine: expected {' or '.join(map(repr, ENGINES))}, got {quoted(engine)}{nearest(engine, ENGINES)}"
        )
    check_norm(norm, engine)
    package: Package | Fast = Fast() if engine == "fast" else find_package()
    data = Examples(images, labels, classifier.classes, "images to attack")
    eps = _check_threat(classifier, data, norm, eps, seed, BATCH_SIZE if batch_size is None else batch_size)
    planned, notes = plan(attacks, norm=norm, classes=classifier.classes, image_shape=classifier.image_shape)
    package.check(planned)

    def resumed() -> tuple[EvaluationSettings, Record | None]:
        settings = EvaluationSettings(
            norm=norm,
            eps=eps,
            attacks=planned,
            seed=int(seed),
            batch_size=int(batch_size or BATCH_SIZE),
            package=package.title,
            engine=engine,
            precision=classifier.precision,
            data=sha256({"images": pixels(data.images), "labels": data.labels}),
            # a user's network has no description, and may be normalised otherwise with the same weights
            model=sha256(
                classifier.state(),
                json.dumps({**classifier.inputs.to_dict(), **classifier.description}, sort_keys=True, default=str),
            ),
        )
        return settings, Record.resume(path, settings)

    settings, record = by_rank_0(group, resumed)
    if record is None or not record.finished:
        model = Model(classifier, engine)
        with model.frozen(), classifier.exact():
            if record is None:
                size = first_batch_size(batch_size, engine, model.device.type, classifier)
                record = by_rank_0(group, lambda: _begin(classifier, model, data, settings, notes, size, path))
            AttackRun(model, package, data, record, path, progress, group).run()
    # it may be a stop, which ends this call for all
    by_rank_0(group, lambda: None if progress is None else progress(1.0, planned[-1].name))
    return record.evaluation()


def _begin(
    classifier: Classifier,
    model: Model,
    data: Examples,
    settings: EvaluationSettings,
    notes: list[str],
    size: int,
    path: Path | None,
) -> Record:
    """Return the record before the first attack, and save it."""
    predicted, outputs = clean_outputs(model, data, settings.seed, size)
    flat = flat_gradients(classifier, data, np.flatnonzero(predicted == data.labels), size)
    idle = [] if settings.eps > 0 else [f"eps = 0: none of the {len(settings.attacks)} attacks was run"]
    record = Record.new(settings, data.labels.copy(), predicted, [*notes, *idle, *outputs, *flat], size)
    record.save(path)
    return record


def first_batch_size(batch_size: int | None, engine: str, device: str, classifier: Classifier) -> int:
    """Return how many images are attacked together until memory runs out; for the arguments see `evaluate`."""
    if batch_size is None and engine == "fast" and device != "cpu":
        return classifier.images_at_once()
    return int(batch_size or BATCH_SIZE)


def load(path: Path) -> Evaluation:
    """Return the finished evaluation at `path`.

    Raises:
        DataError: The file is damaged, or no evaluation.
        EvaluationError: The evaluation is not finished.
    """
    record = Record.read(path)
    if not record.finished:
        raise EvaluationError(f"{path}: expected a finished evaluation, got one that was broken off; run it again")
    return record.evaluation()


def _check_threat(classifier: Classifier, data: Examples, norm: str, eps: float, seed: int, batch_size: int) -> float:
    """Return eps as a float; SpecError or DataError if the settings do not fit each other or the images."""
    eps = fraction(eps)
    if not isinstance(eps, float) or not 0 <= eps < np.inf:
        raise SpecError(f"eps: expected a finite number >= 0, got {quoted(eps)}")
    for name, value, least in (("seed", seed, 0), ("batch_size", batch_size, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise SpecError(f"{name}: expected an integer >= {least}, got {quoted(value)}")
    if data.images.shape[1:] != tuple(classifier.image_shape) or len(data) == 0:
        expected = ", ".join(map(str, classifier.image_shape))
        raise DataError(f"{data.name}: expected one or more, of shape (n, {expected}), got {data.images.shape}")
    norm_of(norm).check({"eps": eps}, tuple(classifier.image_shape))
    return float(eps)
