"""Transfer to another task (S-CSAT, S-ESAT): a new head on the frozen features of a run (recipe, section 1.4)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs

from sat_core import checkpoint
from sat_core.arm_results import ArmResults
from sat_core.errors import CheckpointError, DataError, RunDirectoryError, SpecError, TrainingError, quoted
from sat_core.input_spec import InputSpec
from sat_core.protocols import PROTOCOLS
from sat_core.registry import unknown
from sat_core.result_parts import SourceSummary
from sat_core.spec import Spec
from sat_core.unit_folder import UnitFolder

if TYPE_CHECKING:
    from sat_core.backend import Backend
    from sat_core.classifier import Classifier

SETTINGS = {
    **dict.fromkeys(("epochs", "batch_size", "lr", "momentum", "weight_decay", "schedule", "augmentation"), "training"),
    **dict.fromkeys(
        ("examples", "attacks", "selection_attacks", "selection_epochs", "selection_share", "engine"),
        "evaluation",
    ),
}
"""What can be asked of a transfer, and the section of its spec where it goes."""
FEATURES = "features"
"""Folder of the features of a transfer that is under way, and the name of that stage."""


@final
@attrs.frozen(kw_only=True)
class Source:
    """A finished run whose features are used."""

    folder: UnitFolder
    results: ArmResults

    @classmethod
    def read(cls, folder: UnitFolder) -> Source:
        """The run in `folder`; RunDirectoryError unless it is finished and whole."""
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
        """What was asked of the run."""
        return Spec.from_tables(self.results.spec)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, c)` of the images that it takes."""
        return self.results.data.image_shape

    def fingerprint(self) -> str:
        """SHA-256 of the checkpoint in hexadecimal."""
        return hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()

    @property
    def inputs(self) -> InputSpec:
        """What its network takes; goes into the checkpoints of transfers."""
        data = self.results.data
        return InputSpec(len(data.classes), data.image_shape, data.mean, data.std)

    def load(self, backend: Backend) -> Classifier:
        """Its classifier; a user's own model is made by the factory that its spec names."""
        name = self.spec.model.name
        into = backend.build_for(self.inputs, name) if ":" in name else None
        try:
            return backend.load(self.checkpoint, into=into)
        except CheckpointError as error:
            raise CheckpointError(
                f"{str(error).splitlines()[0]}\nto train the source anew, delete its results.json and checkpoint-last"
            ) from error

    def summary(self, folder: UnitFolder) -> SourceSummary:
        """Return what the results of a transfer in `folder` say of its source."""
        return SourceSummary(
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


def check_settings(asked: Mapping[str, Any]) -> None:
    """SpecError for the first of `asked` that is not in `SETTINGS`, with the nearest one that is."""
    for key in asked:
        if key not in SETTINGS:
            raise SpecError(unknown("key", f"transfer.{key}", [f"transfer.{key}" for key in SETTINGS]))


def transfer_keys(text: str) -> str:
    """`text` with the keys of [transfer] in place of those that they set in the spec of a head."""
    for key, section in SETTINGS.items():
        text = text.replace(f"{section}.{key}", f"transfer.{key}")
    return text


@contextmanager
def named_as_transfer(target: str) -> Iterator[None]:
    """Errors inside about the head for `target` name the keys of [transfer], by which it can be changed."""
    try:
        yield
    except (SpecError, TrainingError) as error:
        raise type(error)(f"transfer to {quoted(target)}: {transfer_keys(str(error))}") from error


def transfer_spec(source: Spec, target: str, asked: Mapping[str, Any]) -> Spec:
    """The spec of a head for the data set `target` on the features of a run with the spec `source`.

    asked: some of `SETTINGS`. The others: epochs and batch size of the recipe's table, learning rate 0.1, drops after
    1/2 and 3/4; threat model, evaluation and the rest of training are the source's. Raises SpecError.
    """
    check_settings(asked)
    protocol, tables = PROTOCOLS.get(source.protocol), source.to_tables()
    head = {"optimizer": "sgd", "lr": 0.1, "schedule": "piecewise", **protocol.head(target)}
    merged = {"training": {**tables["training"], **head}, "evaluation": protocol.transferred(tables["evaluation"])}
    for key, value in asked.items():
        merged[SETTINGS[key]][key] = value
    with named_as_transfer(target):
        return Spec.from_tables(
            {
                "protocol": source.protocol,
                "data": {"name": target},
                "model": tables["model"],
                "subset": {"size": 0.0},
                "attack": {"norm": source.attack.norm, "eps": source.attack.eps},
                **merged,
            }
        )
