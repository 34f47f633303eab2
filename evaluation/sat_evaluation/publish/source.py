"""What is exported: weights, what they are weights of, and what was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs

from sat_core import checkpoint
from sat_core.arm_results import ArmResults
from sat_core.classifier import Classifier, State
from sat_core.errors import CheckpointError, SpecError, brief, type_name
from sat_core.exported import Exported
from sat_core.file_kinds import kind_of
from sat_core.input_spec import InputSpec
from sat_core.outcome import TrainingResult
from sat_core.unit_folder import UnitFolder
from sat_core.version import VERSION


@final
@attrs.frozen(kw_only=True, eq=False)
class Source:
    """Something that can be exported.

    Attributes:
        exported: What ``config.json`` says of it.
        state: Its weights by canonical name.
        results: Of the arm that trained it; None where nothing was measured.
        native: The network itself, where it is in memory.
    """

    exported: Exported
    state: State
    results: ArmResults | None = None
    native: Any = None

    @classmethod
    def of(cls, thing: Any, model: str = "", backend: str = "") -> Source:
        """Return the source that a path, a `TrainingResult` or a `Classifier` is.

        Args:
            thing: A path of a checkpoint or of the folder of a finished arm, or one of these objects.
            model: ``package.module:factory`` of a user's own network, for what does not say it.
            backend: That trained it, for what does not say it.

        Raises:
            SatError: It is none of these, or damaged.
        """
        if isinstance(thing, TrainingResult):
            name = thing.results.spec["model"]["name"]
            return cls._of_classifier(thing.classifier, model or name, thing.results.backend, thing.results)
        if isinstance(thing, Classifier):
            return cls._of_classifier(thing, model, backend, None)
        if not isinstance(thing, str | Path):
            raise SpecError(
                f"export: expected a path, a TrainingResult or a Classifier, got {type_name(thing)}\n"
                "a native model first becomes one: get_backend(NAME).wrap(model, image_shape=(h, w, c))"
            )
        return cls._of_path(Path(thing), model, backend)

    @classmethod
    def _of_classifier(cls, classifier: Classifier, model: str, backend: str, results: ArmResults | None) -> Source:
        state, attack = classifier.state(), classifier.default_attack
        described = classifier.description
        exported = _exported(
            state,
            results,
            model=str(described.get("model", model)),
            inputs=classifier.inputs,
            head=bool(described.get("head")),
            backend=backend,
            attack=None if attack is None else {"norm": attack.norm, "eps": attack.eps},
        )
        return cls(exported=exported, state=state, results=results, native=classifier.native)

    @classmethod
    def _of_path(cls, path: Path, model: str, backend: str) -> Source:
        file = checkpoint.find(path)
        if kind_of(file) or not checkpoint.is_ours(file):
            raise CheckpointError(
                f"{file}: no checkpoint of sat-core\nan export takes a finished arm or a checkpoint of ours; in "
                "Python, load the weights into a classifier: export(classifier, DIR)"
            )
        saved, unit = checkpoint.read(file), UnitFolder(file.parent)
        results = unit.results() if file == unit.best_checkpoint and unit.has_results else None
        if results is not None:
            saved.check(results.experiment)
        if "model" not in saved.groups:
            raise CheckpointError(f"{file}: holds no model")
        said = saved.metadata
        network: Any = said.get("model") or said.get("network")
        try:
            inputs = InputSpec.from_dict(network)
            source = InputSpec.from_dict(said["source"]) if "source" in said and not said.get("model") else None
            name = str(network.get("model") or model or network["name"])
        except (TypeError, AttributeError, KeyError, SpecError) as error:
            raise CheckpointError(
                f"{file}: does not say what network it is of ({brief(error)})\n"
                "load it in Python, and pass the classifier: sat_evaluation.publish.export.export(classifier, DIR)"
            ) from error
        exported = _exported(
            saved.groups["model"],
            results,
            model=name,
            inputs=inputs,
            head=bool(network.get("head")) or source is not None,
            source=source,
            backend=str((said.get("network") or {}).get("backend", "")) or backend,
            attack=said.get("attack"),
        )
        return cls(exported=exported, state=saved.groups["model"], results=results)


def _exported(state: State, results: ArmResults | None, *, backend: str, attack: Any, **fields: Any) -> Exported:
    floats = [str(array.dtype) for array in state.values() if array.dtype.kind == "f"]
    versions = results.versions if results else {}
    return Exported(
        **fields,
        attack=None if attack is None else {name: attack[name] for name in ("norm", "eps")},
        dtype=floats[0] if floats else "float32",
        class_names=results.data.classes if results else (),
        backend=results.backend if results else backend,
        version={**versions, "sat-core": VERSION},
        origin=_fingerprint(state),
    )


def _fingerprint(state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(state.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
