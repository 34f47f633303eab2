"""Transfer to another task (S-CSAT, S-ESAT): a new head on the frozen features of a run (recipe, section 1.4).

The *source* is the finished run whose features are used, the *target* the data set that the head is trained on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import numpy as np

from sat_core import checkpoint, files
from sat_core.arm_results import ArmResults
from sat_core.errors import CheckpointError, DataError, RunDirectoryError, SpecError, TrainingError, quoted
from sat_core.evaluation_spec import ATTACK_KEYS, LEVEL
from sat_core.initial_network import trained_inputs, trained_network
from sat_core.input_spec import InputSpec
from sat_core.protocols import PROTOCOLS
from sat_core.registry import unknown
from sat_core.result_parts import SourceSummary
from sat_core.spec import DEFAULTS, Spec
from sat_core.unit_folder import UnitFolder

if TYPE_CHECKING:
    from sat_core.backend import Backend
    from sat_core.classifier import Classifier

SETTINGS = {
    **dict.fromkeys(("epochs", "batch_size", "lr", "momentum", "weight_decay", "schedule", "augmentation"), "training"),
    **dict.fromkeys(
        ("examples", LEVEL, "attacks", "selection_attacks", "selection_epochs", "selection_share", "engine"),
        "evaluation",
    ),
}
"""Settings of a transfer, and the section of the head's spec that each belongs to."""
_NOT_OF_HEADS = ("warmup", "clip_norm", "micro_batches", "mixing", "awp", "averaging", "patience")
"""Settings of a training that a head does not take from its source."""
FEATURES = "features"
"""Name of the stage in which features are computed, and of their array."""
PART = 1024
"""Images whose features are computed between two saves."""


@final
@attrs.frozen(kw_only=True)
class Source:
    """A finished run whose features are used.

    Attributes:
        folder: Of the run.
        results: Content of its ``results.json``.
    """

    folder: UnitFolder
    results: ArmResults

    @classmethod
    def read(cls, folder: UnitFolder) -> Source:
        """Return the run in `folder`; RunDirectoryError unless it is finished, undamaged, and no transfer itself."""
        path = folder.results_file
        if not folder.has_results:
            raise RunDirectoryError(f"{folder}: expected a finished run, found no {path.name}; finish it first")
        try:
            results = folder.results()
        except DataError as error:
            raise RunDirectoryError(str(error)) from error
        if results.source is not None:
            raise RunDirectoryError(f"{folder}: is a transfer itself; take {results.source.run!r}, its source")
        return cls(folder=folder, results=results)

    @property
    def checkpoint(self) -> Path:
        """The weights of the epoch that was picked; CheckpointError if they are gone."""
        return checkpoint.find(self.folder.path)

    @property
    def spec(self) -> Spec:
        """Settings of the run."""
        return Spec.from_tables(self.results.spec)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape `(h, w, c)` of its images."""
        return self.results.data.image_shape

    def fingerprint(self) -> str:
        """Return the SHA-256 of the checkpoint in hexadecimal."""
        return hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()

    @property
    def inputs(self) -> InputSpec:
        """Classes and images of its network; saved in the checkpoints of transfers, which need it to be built again."""
        data = self.results.data
        default = InputSpec(len(data.classes), data.image_shape, data.mean, data.std)
        return trained_inputs(checkpoint.read(self.checkpoint).metadata, default)

    def load(self, backend: Backend) -> Classifier:
        """Return its classifier; a model of others is built by the factory that its spec names."""
        try:
            return trained_network(backend, self.checkpoint, self.spec.model.name, self.inputs)
        except CheckpointError as error:
            raise CheckpointError(
                f"{str(error).splitlines()[0]}\nto train the source anew, delete its results.json and checkpoint-last"
            ) from error

    def summary(self, folder: UnitFolder) -> SourceSummary:
        """Return what the results of a transfer in `folder` say of its source."""
        return SourceSummary(
            # Relative, so that the two folders can be moved together.
            run=os.path.relpath(self.folder.path, folder.path),
            fingerprint=self.fingerprint(),
            spec=self.results.spec,
            split=self.results.split,
            cost=self.results.cost,
            clean=self.results.clean,
            robust=self.results.robust,
            backend=self.results.backend,
            data=self.results.data,
        )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise SpecError for the first key that is not in `SETTINGS`, with the nearest one that is."""
    for key in settings:
        if key not in SETTINGS:
            raise SpecError(unknown("key", f"transfer.{key}", [f"transfer.{key}" for key in SETTINGS]))


def transfer_keys(text: str) -> str:
    """Return `text` with the keys of [transfer] in place of those that they set in the spec of a head."""
    for key, section in SETTINGS.items():
        text = text.replace(f"{section}.{key}", f"transfer.{key}")
    return text


@contextmanager
def named_as_transfer(target: str) -> Iterator[None]:
    """Make errors inside name the target and the keys of [transfer], which is where users set them."""
    try:
        yield
    except (SpecError, TrainingError) as error:
        raise type(error)(f"transfer to {quoted(target)}: {transfer_keys(str(error))}") from error


def transfer_spec(source: Spec, target: str, settings: Mapping[str, Any]) -> Spec:
    """Return the spec of a head for the data set `target` on the features of a run.

    Args:
        source: Spec of the run. The head has its threat model, and its settings of evaluation and training where
            `settings` and the recipe say nothing else.
        target: Name of a data set.
        settings: Some of `SETTINGS`. By default epochs and batch size are those of the recipe's table, the learning
            rate is 0.1, and drops come after 1/2 and 3/4 of the epochs.

    Raises:
        SpecError: A setting is unknown or wrong.
    """
    check_settings(settings)
    protocol, tables = PROTOCOLS.get(source.protocol), source.to_tables()
    # The released heads were trained so, whatever the source took (recipe, section 1.4).
    head = {"optimizer": "sgd", "lr": 0.1, "schedule": "piecewise", **protocol.head(target)}
    head |= {key: DEFAULTS[f"training.{key}"] for key in _NOT_OF_HEADS}
    merged = {"training": {**tables["training"], **head}, "evaluation": protocol.transferred(tables["evaluation"])}
    # A level stands for both sets of attacks, also for those of the source.
    for key in ATTACK_KEYS if LEVEL in settings else ():
        merged["evaluation"].pop(key, None)
    for key, value in settings.items():
        merged[SETTINGS[key]][key] = value
    with named_as_transfer(target):
        return Spec.from_tables(
            {
                "protocol": source.protocol,
                "plugins": source.plugins,
                "data": {"name": target},
                # A head trains all of itself, on features that the source brings.
                "model": {**tables["model"], "weights": "", "layers": "all"},
                # Nothing is attacked in training (recipe, 1.4); the threat model is that of the evaluation.
                "subset": {"size": 0.0},
                "attack": {"norm": source.attack.norm, "eps": source.attack.eps},
                **merged,
            }
        )


def saved_features(path: Path, n: int, fingerprint: str) -> np.ndarray | None:
    """Return the features of `n` images, float32 `(n, d)`, that this experiment saved; None if missing or damaged."""
    try:
        arrays = files.read_npz(path, FEATURES, files.EXPERIMENT)
    except DataError:
        return None
    features = arrays[FEATURES]
    whole = features.dtype == np.float32 and features.ndim == 2 and len(features) == n and np.isfinite(features).all()
    return features if whole and str(arrays[files.EXPERIMENT]) == fingerprint else None


def compute_features(
    source: Source,
    backend: Backend,
    images: Any,
    folder: UnitFolder,
    fingerprint: str,
    tell: Callable[[str, float, str], None],
) -> np.ndarray:
    """Return the features of all images, float32 `(n, d)`, saved in parts; damaged ones are computed again.

    Args:
        source: Whose features.
        backend: Computes.
        images: `(n, h, w, c)`, or a source of them.
        folder: Where parts are saved.
        fingerprint: Of the experiment.
        tell: Gets the stage, how much of it is done, and a note; may raise Interrupted.
    """
    classifier = None
    parts: list[np.ndarray] = []
    for number, index in enumerate(np.array_split(np.arange(len(images)), -(-len(images) // PART))):
        path = folder.features_file(number)
        part = saved_features(path, len(index), fingerprint)
        if part is None:
            with folder.timed(FEATURES):
                # Only where a part is missing: a start that finds all of them needs no source network.
                classifier = classifier or source.load(backend)
                part = classifier.features(images[index])
                files.write_npz(path, {FEATURES: part, files.EXPERIMENT: np.array(fingerprint)})
            # After the save, since it may raise Interrupted.
            tell(FEATURES, (index[-1] + 1) / len(images), f"{index[-1] + 1} of {len(images)} images")
        parts.append(part)
    return np.concatenate(parts)
