"""The state of an evaluation: its settings, its file, and how it is resumed from that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core.autoattack import AttackSettings
from sat_core.errors import DataError, EvaluationError
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.files import read_npz, write_npz
from sat_core.images import ImageSource
from sat_core.json_fields import from_json, integer, json_field, number, part, sequence, text, to_json


@final
@attrs.frozen(kw_only=True)
class EvaluationSettings:
    """Everything that the flags depend on; two evaluations with equal settings have equal flags.

    Attributes:
        norm, eps: Threat model; eps in units of [0, 1] pixels.
        attacks: In the order in which they run.
        seed, batch_size: As asked for. The package's attacks draw by batch, so both change what is drawn.
        package: Name and version.
        engine, precision: As in `sat_core.evaluation.Evaluation`.
        data: SHA-256 of images and labels.
        model: SHA-256 of weights and architecture.
    """

    norm: str = json_field(text)
    eps: float = json_field(number(0))
    attacks: tuple[AttackSettings, ...] = json_field(sequence(part(AttackSettings)))
    seed: int = json_field(integer())
    batch_size: int = json_field(integer(1))
    package: str = json_field(text)
    # a file of an older version, without these two fields, is one of the package in float32
    engine: str = json_field(text, "package")
    precision: str = json_field(text, "float32")
    data: str = json_field(text)
    model: str = json_field(text)

    def differences(self, other: EvaluationSettings) -> list[str]:
        """Return a text like ``eps: 0.5 there, 0.25 here`` for every setting in which `self` and `other` differ."""
        pairs = [(a.name, getattr(self, a.name), getattr(other, a.name)) for a in attrs.fields(EvaluationSettings)]
        return [f"{name}: {_brief(there)} there, {_brief(here)} here" for name, there, here in pairs if there != here]


@final
@attrs.define(kw_only=True, eq=False)
class Record:
    """The state of an evaluation, which is also the content of its file.

    Attributes:
        settings: What is evaluated, and how.
        label, predicted: Classes, and those that the network gives to the clean images, int64 `(n,)`.
        broken_by: As in `sat_core.evaluation.Evaluation`, int64 `(n,)`.
        next: Attack that runs next and how many of its examples are done, int64 `(2,)`; attack = number of attacks when
            all have run.
        batch_size: Examples that are attacked together, int64 `(2,)`: at the start, and by now, which is less if memory
            ran out.
        queries: How many images each attack has sent through the model, int64.
        warnings: Lines of text about the model.
    """

    settings: EvaluationSettings
    label: np.ndarray
    predicted: np.ndarray
    broken_by: np.ndarray
    next: np.ndarray
    batch_size: np.ndarray
    queries: np.ndarray
    warnings: np.ndarray

    @classmethod
    def new(
        cls,
        settings: EvaluationSettings,
        label: np.ndarray,
        predicted: np.ndarray,
        warnings: list[str],
        batch_size: int,
    ) -> Record:
        """Return the record before the first attack."""
        return cls(
            settings=settings,
            label=label,
            predicted=predicted,
            broken_by=np.where(predicted == label, ROBUST, MISCLASSIFIED),
            next=np.zeros(2, np.int64),
            batch_size=np.array([batch_size, batch_size], np.int64),
            queries=np.zeros(len(settings.attacks), np.int64),
            warnings=np.array(warnings, dtype=np.str_),
        )

    @classmethod
    def read(cls, path: Path) -> Record:
        """Return the record at `path`; DataError if the file is none."""
        try:
            arrays = read_npz(path, *(a.name for a in attrs.fields(cls)))
            settings = from_json(EvaluationSettings, json.loads(str(arrays.pop("settings"))), strict=True)
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0].removeprefix(f"{path}: ")
            raise DataError(
                f"{path}: expected an evaluation by AutoAttack ({reason})\ndelete {path} to start it anew"
            ) from error
        record = cls(settings=settings, **{a.name: arrays[a.name] for a in attrs.fields(cls)[1:]})
        numbers = record.label, record.predicted, record.next, record.batch_size, record.queries, record.broken_by
        shapes = [a.shape for a in numbers[:5]]
        whole = all(a.dtype.kind == "i" for a in numbers)
        if (
            shapes != [record.broken_by.shape, record.broken_by.shape, (2,), (2,), (len(settings.attacks),)]
            or not whole
        ):
            raise DataError(
                f"{path}: expected an evaluation by AutoAttack, got arrays of shapes {shapes} or other types\n"
                f"delete {path} to start it anew"
            )
        return record

    @classmethod
    def resume(cls, path: Path | None, settings: EvaluationSettings) -> Record | None:
        """Return the record at `path`, if there is one; EvaluationError if it was made with other settings."""
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
        """Whether all attacks have run."""
        return bool(self.next[0] >= len(self.settings.attacks))

    def extended(self, attacks: tuple[AttackSettings, ...], notes: Sequence[str]) -> Record | None:
        """Return the record of an evaluation by `attacks` that has come as far as this one, which is finished.

        Its flags are those of an evaluation from the start, since each attack gets what none before it broke.

        Args:
            attacks: Of the longer evaluation.
            notes: Lines about attacks that were left out of it.

        Returns:
            None if `attacks` do not begin with those of this record.
        """
        s, count = self.settings, len(self.settings.attacks)
        # with eps = 0 no attack was run, and there is nothing to go on with
        if not self.finished or s.eps == 0 or len(attacks) <= count or attacks[:count] != s.attacks:
            return None
        texts = dict.fromkeys([*map(str, self.warnings), *notes])
        return Record(
            settings=attrs.evolve(s, attacks=attacks),
            label=self.label,
            predicted=self.predicted,
            broken_by=self.broken_by.copy(),
            next=np.array([count, 0], np.int64),
            batch_size=self.batch_size.copy(),
            queries=np.pad(self.queries, (0, len(attacks) - count)),
            warnings=np.array(list(texts), dtype=np.str_),
        )

    def save(self, path: Path | None) -> None:
        """Write to `path`, whole or not at all; do nothing without a path."""
        if path is not None:
            arrays = {a.name: getattr(self, a.name) for a in attrs.fields(Record)[1:]}
            write_npz(Path(path), {**arrays, "settings": np.array(json.dumps(to_json(self.settings)))})

    def evaluation(self) -> Evaluation:
        """Return the public `Evaluation`."""
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
            batch_size=int(self.batch_size[1]),
            warnings=tuple(map(str, self.warnings)),
        )


def sha256(arrays: Mapping[str, np.ndarray], prefix: str = "") -> str:
    """Return the SHA-256 over `prefix`, then names, types, shapes and contents of the arrays, in the order of names."""
    digest = hashlib.sha256(prefix.encode())
    for name, array in sorted(arrays.items()):
        # arrays of other names, types or shapes may have the same bytes
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def pixels(images: np.ndarray) -> np.ndarray:
    """Return the images, or the fingerprint of a source in their place, whose images do not fit into memory."""
    return np.frombuffer(images.fingerprint().encode(), np.uint8) if isinstance(images, ImageSource) else images


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{attack.name} x{attack.restarts}" for attack in value)
    return value[:16] if isinstance(value, str) and len(value) == 64 else str(value)
