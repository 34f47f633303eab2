"""AutoAttack (Croce & Hein 2020), per example, saved after every batch: the package's attacks, our runner.

The flags are those of the package's `run_standard_evaluation` for the same seed and batch size: each attack gets, in
batches, the examples that no earlier one broke, and torch is seeded anew for each batch. With the engine "folded" they
see a copy of the model that may be faster and differ in rounding (`Classifier.attacked_torch_module`), and so do the
attacks of `sat_evaluation.attack.fast`, the engine "fast"; what is broken the model itself says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import numpy as np

from sat_core.autoattack import ENGINES
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import DataError, EvaluationError, SpecError, quoted
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.fields import fraction, tuples
from sat_core.files import read_npz, write_npz
from sat_core.images import ImageSource
from sat_core.probe import BATCH_DEPENDENT, apart, are_probabilities, are_scores
from sat_core.registry import nearest
from sat_core.threat import THREAT_MODELS
from sat_evaluation.attack.fast.engine import Fast
from sat_evaluation.attack.package import NORMS, Model, Package, find_package, plan, seeded, work

if TYPE_CHECKING:
    import torch

Report = Callable[[float, str], None]


def evaluate(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    norm: str,
    eps: float,
    attacks: str | tuple[str, ...] = "standard",
    seed: int = 0,
    batch_size: int = 250,
    engine: str = "package",
    path: Path | None = None,
    progress: Report | None = None,
) -> Evaluation:
    """AutoAttack on `images` `(n, h, w, c)`, uint8 or float32 in [0, 1]: a `sat_core.evaluator.Evaluator`.

    Of images that are decoded when asked for, only one batch is in memory.

    norm: L2 or Linf. eps: in units of [0, 1] pixels; with 0 nothing is attacked. attacks: "standard", "plus", or names,
    which run as in the package's version "custom". engine: one of `ENGINES`. path: saved to after each batch; an
    unfinished file is continued, a finished one returned. progress: called at every query with the share of the work
    done, in [0, 1], and the attack.

    All is computed in float32, or what the network brings, never in TF32; the result says which.

    Raises NotInstalledError without torch or a package, SpecError and DataError for settings and images that make no
    evaluation, and EvaluationError if the file is of another evaluation, a logit is not finite, or an adversarial image
    is outside the ball or [0, 1].
    """
    if engine not in ENGINES:
        raise SpecError(
            f"engine: expected {' or '.join(map(repr, ENGINES))}, got {quoted(engine)}{nearest(engine, ENGINES)}"
        )
    package: Package | Fast = Fast() if engine == "fast" else find_package()
    data = Examples(images, labels, classifier.classes, "images to attack")
    eps = _checked_eps(classifier, data, norm, eps, seed, batch_size)
    tables, notes = plan(attacks, norm=norm, classes=classifier.classes, image_shape=classifier.image_shape)
    package.check(tables)
    settings = _Settings(
        norm=norm,
        eps=eps,
        attacks=tables,
        seed=int(seed),
        batch_size=int(batch_size),
        package=package.title,
        engine=engine,
        precision=classifier.precision,
        data=_sha256({"images": _pixels(data.images), "labels": data.labels}),
        model=_sha256(classifier.state(), json.dumps(dict(classifier.description), sort_keys=True, default=str)),
    )
    record = _Record.resume(path, settings)
    if record is None or not record.finished:
        model = Model(classifier, engine)
        with model.frozen(), classifier.exact():
            if record is None:
                broken_by, outputs = _clean(model, data, settings)
                flat = _flat(classifier, data, np.flatnonzero(broken_by == ROBUST), batch_size)
                idle = [] if eps > 0 else [f"eps = 0: none of the {len(tables)} attacks was run"]
                record = _Record.new(settings, data.labels.copy(), broken_by, [*notes, *idle, *outputs, *flat])
                record.save(path)
            _attack(model, package, data, record, path, progress)
    if progress is not None:
        progress(1.0, tables[-1]["name"])
    return record.evaluation()


def load(path: Path) -> Evaluation:
    """The evaluation finished at `path`. Raises DataError if it is no such file, EvaluationError if unfinished."""
    record = _Record.read(path)
    if not record.finished:
        raise EvaluationError(f"{path}: expected a finished evaluation, got one that was broken off; run it again")
    return record.evaluation()


@final
@attrs.frozen(kw_only=True)
class _Settings:
    """All that the flags depend on; data (images, labels) and model (weights, architecture) as SHA-256."""

    norm: str
    eps: float
    attacks: tuple[dict[str, Any], ...] = attrs.field(converter=tuples)
    seed: int
    batch_size: int
    package: str
    engine: str = "package"
    precision: str = "float32"
    data: str
    model: str

    def differences(self, other: _Settings) -> list[str]:
        """Like ``eps: 0.5 there, 0.25 here`` for every setting in which `self` (there) and `other` differ."""
        pairs = [(a.name, getattr(self, a.name), getattr(other, a.name)) for a in attrs.fields(_Settings)]
        return [f"{name}: {_brief(there)} there, {_brief(here)} here" for name, there, here in pairs if there != here]


@final
@attrs.define(kw_only=True, eq=False)
class _Record:
    """What is known so far, and exactly what is in the file.

    next: attack and batch that are to run next; attack = number of attacks when finished. queries: images that each
    attack has sent through the model.
    """

    settings: _Settings
    label: np.ndarray
    broken_by: np.ndarray
    next: np.ndarray
    queries: np.ndarray
    warnings: np.ndarray

    @classmethod
    def new(cls, settings: _Settings, label: np.ndarray, broken_by: np.ndarray, warnings: list[str]) -> _Record:
        """Before the first attack."""
        start, none = np.zeros(2, np.int64), np.zeros(len(settings.attacks), np.int64)
        texts = np.array(warnings, dtype=np.str_)
        return cls(settings=settings, label=label, broken_by=broken_by, next=start, queries=none, warnings=texts)

    @classmethod
    def read(cls, path: Path) -> _Record:
        """The record at `path`; DataError if there is none."""
        try:
            arrays = read_npz(path, *(a.name for a in attrs.fields(cls)))
            settings = _Settings(**json.loads(str(arrays.pop("settings"))))
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0].removeprefix(f"{path}: ")
            raise DataError(
                f"{path}: expected an evaluation by AutoAttack ({reason})\ndelete {path} to start it anew"
            ) from error
        record = cls(settings=settings, **{a.name: arrays[a.name] for a in attrs.fields(cls)[1:]})
        numbers = record.label, record.next, record.queries, record.broken_by
        shapes = [a.shape for a in numbers[:3]]
        whole = all(a.dtype.kind == "i" for a in numbers)
        if shapes != [record.broken_by.shape, (2,), (len(settings.attacks),)] or not whole:
            raise DataError(
                f"{path}: expected an evaluation by AutoAttack, got arrays of shapes {shapes} or other types\n"
                f"delete {path} to start it anew"
            )
        return record

    @classmethod
    def resume(cls, path: Path | None, settings: _Settings) -> _Record | None:
        """The record at `path`, if any; EvaluationError if it was made with other settings."""
        if path is None or not Path(path).exists():
            return None
        record = cls.read(path)
        differences = record.settings.differences(settings)
        if differences:
            raise EvaluationError(
                f"{path}: expected an evaluation with the same settings, data and model\n"
                f"{'; '.join(differences)}\ngive another path, or delete {path} to start anew"
            )
        return record

    @property
    def finished(self) -> bool:
        """No attack is left to run."""
        return bool(self.next[0] >= len(self.settings.attacks))

    def save(self, path: Path | None) -> None:
        """Write to `path`, whole or not at all; nothing without a path."""
        if path is not None:
            arrays = {a.name: getattr(self, a.name) for a in attrs.fields(_Record)[1:]}
            write_npz(Path(path), {**arrays, "settings": np.array(json.dumps(attrs.asdict(self.settings)))})

    def evaluation(self) -> Evaluation:
        """What the caller gets."""
        s = self.settings
        return Evaluation(
            label=self.label,
            broken_by=self.broken_by,
            attacks=s.attacks,
            norm=s.norm,
            eps=s.eps,
            package=s.package,
            engine=s.engine,
            precision=s.precision,
            warnings=tuple(map(str, self.warnings)),
        )


def _attack(
    model: Model, package: Package | Fast, data: Examples, record: _Record, path: Path | None, progress: Report | None
) -> None:
    """Bring `record` to its end. The examples of an attack are those robust when it began, wherever it is now."""
    s = record.settings
    meter = _Meter(record, classes=data.classes, report=progress)
    for number, table in enumerate(s.attacks if s.eps > 0 else ()):
        if number < record.next[0]:
            continue
        perturb = package.attack(table, model, norm=s.norm, eps=s.eps, seed=s.seed, device=model.device)
        alive = np.flatnonzero((record.broken_by == ROBUST) | (record.broken_by == number))
        for index in _batches(alive, s.batch_size)[record.next[1] :]:
            x, y = model.tensors(data.float_images(index), data.labels[index])
            model.on_query = meter.begin(number, len(index), int((alive > index[-1]).sum()))
            with seeded(s.seed):
                adversarial = perturb(x, y)
                broken = model.exact(adversarial).max(dim=1)[1] != y
            _check_adversarial(table["name"], s, x, adversarial)
            record.broken_by[index[broken.cpu().numpy()]] = number
            record.queries[number] += meter.used
            record.next += (0, 1)
            record.save(path)
        record.next[:] = number + 1, 0
    record.next[:] = len(s.attacks), 0
    record.warnings = np.array([*record.warnings, *_square_gain(record.evaluation())], dtype=np.str_)
    record.save(path)


def _clean(model: Model, data: Examples, settings: _Settings) -> tuple[np.ndarray, list[str]]:
    """`broken_by` before any attack, int64 `(n,)`, and warnings about the outputs."""
    broken_by, warnings = np.full(len(data), ROBUST, np.int64), []
    probabilities, low, high = True, np.inf, -np.inf
    with seeded(settings.seed):
        for index in _batches(np.arange(len(data)), settings.batch_size):
            x, y = model.tensors(data.float_images(index), data.labels[index])
            output = model.exact(x)
            logits, expected = output.cpu().numpy(), (len(index), data.classes)
            if logits.shape != expected:
                raise EvaluationError(f"model: expected logits of shape {expected}, got shape {logits.shape}")
            if bad := int((~np.isfinite(logits).all(axis=1)).sum()):
                raise EvaluationError(
                    f"model: expected finite logits, got NaN or infinity for {bad} of {len(x)} images"
                )
            broken_by[index[(output.max(dim=1)[1] != y).cpu().numpy()]] = MISCLASSIFIED
            if index[0] == 0:
                change = np.linalg.norm(_unit(logits) - _unit(model.exact(x).cpu().numpy()), axis=1).max()
                if change > 1e-4:
                    warnings.append(
                        f"randomised model: the logits of {len(index)} images change by up to {change:.2g} times their "
                        "length from pass to pass, and AutoAttack assumes that they do not"
                    )
            probabilities &= are_probabilities(logits)
            low, high = min(low, logits.min()), max(high, logits.max())
        if not warnings and _depends_on_the_batch(model, data):
            warnings.append(BATCH_DEPENDENT)
    if probabilities or are_scores(np.array([low, high])):
        kind = ("scores", "sigmoid") if not probabilities else ("probabilities", "softmax")
        warnings.append(
            f"{kind[0]}: the outputs for all {len(data)} images are in [0, 1]{' with sum 1' * probabilities}, and "
            f"AutoAttack needs the logits before the {kind[1]}"
        )
    return broken_by, warnings


def _depends_on_the_batch(model: Model, data: Examples) -> bool:
    """Whether an image has other logits alone than among others."""
    few = np.arange(min(8, len(data)))
    x, _ = model.tensors(data.float_images(few), data.labels[few])
    together, alone = (model.exact(images)[-1:].cpu().numpy() for images in (x, x[-1:]))
    return apart(together, alone)


def _flat(classifier: Classifier, data: Examples, correct: np.ndarray, batch_size: int) -> list[str]:
    """A warning if some of the images numbered `correct` have no gradient to follow."""
    flat = 0
    for index in _batches(correct, batch_size):
        gradient = classifier.loss_gradient(data.images[index], data.labels[index], "ce")[2]
        flat += int((~gradient.reshape(len(index), -1).any(axis=1)).sum())
    if flat == 0:
        return []
    return [
        f"masked gradients: that of the cross-entropy is zero at {flat} of {len(correct)} correctly classified images "
        f"({flat / len(correct):.1%}), which attacks that follow it cannot move"
    ]


@final
class _Meter:
    """Share of the work that is done: forward passes so far over those and the ones that may come. It never falls."""

    def __init__(self, record: _Record, *, classes: int, report: Report | None) -> None:
        self.record, self.report = record, report
        s = record.settings
        queries, self.prices = np.array([work(table, classes, s.engine) for table in s.attacks]).T
        self.costs = queries * self.prices
        self.number, self.used, self.batch, self.later = 0, 0, 0.0, 0.0

    def begin(self, number: int, images: int, waiting: int) -> Callable[[int], None]:
        """A batch of `images` begins, with `waiting` images behind it; returns what hears of its queries."""
        self.number, self.used = number, 0
        self.batch = float(images * self.costs[number])
        robust = int((self.record.broken_by == ROBUST).sum())
        self.later = float(waiting * self.costs[number] + robust * self.costs[number + 1 :].sum())
        return self.count

    def count(self, images: int) -> None:
        """`images` go through the model."""
        self.used += images
        if self.report is not None:
            here = self.used * self.prices[self.number]
            done = float(self.record.queries @ self.prices + here)
            share = done / (done + max(self.batch - float(here), 0.0) + self.later)
            self.report(share, self.record.settings.attacks[self.number]["name"])


def _checked_eps(classifier: Classifier, data: Examples, norm: str, eps: float, seed: int, batch_size: int) -> float:
    """eps as a float; SpecError or DataError if anything here makes no evaluation."""
    eps = fraction(eps)
    if norm not in NORMS:
        raise SpecError(f"norm: expected {' or '.join(NORMS)}, got {quoted(norm)}")
    if not isinstance(eps, float) or not 0 <= eps < np.inf:
        raise SpecError(f"eps: expected a finite number >= 0, got {quoted(eps)}")
    for name, value, least in (("seed", seed, 0), ("batch_size", batch_size, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise SpecError(f"{name}: expected an integer >= {least}, got {quoted(value)}")
    if data.images.shape[1:] != tuple(classifier.image_shape) or len(data) == 0:
        expected = ", ".join(map(str, classifier.image_shape))
        raise DataError(f"{data.name}: expected one or more, of shape (n, {expected}), got {data.images.shape}")
    THREAT_MODELS.get(norm).check({"eps": eps}, tuple(classifier.image_shape))
    return float(eps)


def _check_adversarial(attack: str, settings: _Settings, x: torch.Tensor, adversarial: torch.Tensor) -> None:
    """EvaluationError unless what `attack` made of `x` are numbers in [0, 1], within eps of it up to rounding."""
    images = adversarial.cpu().numpy()
    size = THREAT_MODELS.get(settings.norm).size(images - x.cpu().numpy()).max()
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1 and size <= settings.eps * (1 + 1e-4) + 1e-6):  # false for NaN, too
        raise EvaluationError(
            f"{attack}: expected adversarial images in [0, 1] with {settings.norm} distance <= {settings.eps:.6g}, "
            f"got [{low:.6g}, {high:.6g}] and {size:.6g}"
        )


def _square_gain(evaluation: Evaluation) -> list[str]:
    """A warning if Square, the black-box attack, broke what the others could not (the package's rule: 0.2 points)."""
    left = {"clean": float(evaluation.correct.mean())}
    for row in evaluation.breakdown():
        if min(left.values()) > 0:  # with none left, no attack was run
            left[row["name"]] = row["robust_accuracy"]
    square, others = left.pop("square", 1.0), min(left.values())
    if len(left) < 2 or square >= others - 0.002:
        return []
    return [f"masked gradients: Square, which uses none, lowered robust accuracy from {others:.1%} to {square:.1%}"]


def _batches(index: np.ndarray, size: int) -> list[np.ndarray]:
    return [index[start : start + size] for start in range(0, len(index), size)]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-10)


def _sha256(arrays: Mapping[str, np.ndarray], text: str = "") -> str:
    """Over `text`, then names, types, shapes and contents, in the order of names."""
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _pixels(images: np.ndarray) -> np.ndarray:
    """The images, or what stands for them where they are too many for memory."""
    return np.frombuffer(images.fingerprint().encode(), np.uint8) if isinstance(images, ImageSource) else images


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{table['name']} x{table['restarts']}" for table in value)
    return value[:16] if isinstance(value, str) and len(value) == 64 else str(value)
