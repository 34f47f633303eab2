"""A network as a folder that others can load: the work of `sat export`."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.backend import Backend, get_backend
from sat_core.checkpoint import EXPORTED as WEIGHTS
from sat_core.classifier import Classifier
from sat_core.errors import CheckpointError, EvaluationError, RunDirectoryError, SatError, SpecError
from sat_core.exported import CONFIG, Exported
from sat_core.plain_code import PlainCode
from sat_core.zoos import ZOOS
from sat_evaluation.publish.card import card
from sat_evaluation.publish.source import Source

CARD, MODULE, ONNX = "README.md", "model.py", "model.onnx"
_CHECKED = 2
"""Images by which the folder is compared with what was exported."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Export:
    """An exported folder.

    Attributes:
        folder: Where it is.
        files: Names of the files that were written.
        checked: Whether the network was loaded from the folder, and gave logits.
    """

    folder: Path
    files: tuple[str, ...]
    checked: bool


def export(
    thing: Any,
    directory: str | Path,
    *,
    licence: str = "",
    model: Any = None,
    backend: str | Backend | None = None,
    onnx: bool = False,
) -> Export:
    """Write a network into a folder in the layout of Hugging Face's hub, whole or not at all.

    The folder has ``config.json``, ``model.safetensors``, a model card ``README.md``, and where it is known how the
    network is made without sat-core, a module ``model.py``. `sat_core.load_model` loads it.

    Args:
        thing: Path of the folder of a finished arm or of a checkpoint; or what `sat_core.train` returned; or a
            classifier.
        directory: The folder: a new or an empty one, or an export of the same weights.
        licence: Of the network, such as ``apache-2.0``; the card says that it is unknown if it is empty.
        model: A user's own network, as in `sat_core.load_model`; with it the folder is checked, too.
        backend: What checks the folder and writes `onnx`; by default that which trained.
        onnx: Whether to write ``model.onnx``.

    Raises:
        SatError: There is nothing to export; or `directory` has other files; or the network cannot be written.
    """
    name = model if isinstance(model, str) else ""
    source = Source.of(thing, name, _name_of(backend))
    target = Path(directory)
    check_target(target, source.exported.origin)
    computing = backend if isinstance(backend, Backend) else _backend(source.exported, backend)
    source = attrs.evolve(source, exported=_trained_with(source.exported, computing))
    with new_folder(target) as partial:
        # An earlier one is of the same weights, and stays.
        has_onnx = onnx or (target / ONNX).is_file()
        classifier, code = _write(partial, source, computing, model, onnx)
        files.write_text(partial / CARD, card(source.exported, source.results, code, licence=licence, onnx=has_onnx))
        names = tuple(sorted(path.name for path in partial.iterdir()))
    return Export(folder=target, files=names, checked=classifier is not None)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder whose files replace those of `target` when all of them are written.

    Raises:
        RunDirectoryError: It cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=files.TEMPORARY, dir=target.parent))
    except OSError as error:
        raise RunDirectoryError(f"{target}: cannot be written ({error.strerror})") from error
    try:
        yield partial
        _move(partial, target)
    except SatError as error:
        # Who reads it knows the folder by its own name.
        raise type(error)(str(error).replace(str(partial), str(target))) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_export(folder: Path) -> bool:
    """Return whether a folder is a whole export of sat-core."""
    try:
        Exported.read(folder)
    except CheckpointError:
        return False
    return (folder / WEIGHTS).is_file()


def _name_of(backend: str | Backend | None) -> str:
    return backend.name if isinstance(backend, Backend) else backend or ""


def _backend(exported: Exported, asked: str | None) -> Backend:
    return get_backend(asked or ZOOS.get(exported.zoo) or exported.backend or None)


def _trained_with(exported: Exported, computing: Backend) -> Exported:
    return exported if exported.backend else attrs.evolve(exported, backend=computing.name)


def check_target(target: Path, origin: str) -> None:
    """Raise RunDirectoryError unless an export of these weights may be written there."""
    if not target.exists():
        return
    if not target.is_dir():
        raise RunDirectoryError(f"{target}: expected a folder, got a file")
    if not any(target.iterdir()):
        return
    try:
        same = Exported.read(target).origin == origin
    except CheckpointError:
        raise RunDirectoryError(f"{target}: has files, and is no export; choose a new folder") from None
    if not same:
        raise RunDirectoryError(f"{target}: is the export of other weights; choose a new folder, or delete it")


def _write(
    folder: Path, source: Source, backend: Backend, model: Any, onnx: bool
) -> tuple[Classifier | None, PlainCode | None]:
    """Write all files but the card; returns the network as it was loaded from them, and its code."""
    from safetensors.numpy import save

    exported = source.exported
    arrays = {name: np.asarray(array, order="C") for name, array in source.state.items()}
    # What other programs look for in files that PyTorch can load.
    files.write_bytes(folder / WEIGHTS, save(arrays, metadata={"format": "pt"}))
    files.write_text(folder / CONFIG, json.dumps(exported.to_json(), indent=2, allow_nan=False) + "\n")
    classifier = _loaded(folder, source, backend, model)
    native = source.native if classifier is None else classifier.native
    code = backend.plain_code(exported.model, exported.inputs, exported.head, native)
    if code is not None:
        files.write_text(folder / MODULE, code.module)
    if onnx:
        if classifier is None:
            raise SpecError("--onnx: needs the network itself; give --model package.module:factory")
        backend.save_onnx(classifier, folder / ONNX)
    return classifier, code


def _loaded(folder: Path, source: Source, backend: Backend, model: Any) -> Classifier | None:
    """Load the folder as others will, and look at its logits; None for a user's own network that is not at hand."""
    exported = source.exported
    if model is None and exported.model not in backend.models() and not exported.zoo:
        return None
    classifier = exported.load(folder, backend, model)
    images = np.random.default_rng(0).random((_CHECKED, *classifier.image_shape), np.float32)
    if classifier.logits(images).shape != (_CHECKED, exported.inputs.classes):
        raise EvaluationError(f"{folder.name}: the exported network gives another number of classes")
    return classifier


def _move(partial: Path, target: Path) -> None:
    """Put finished files in their place: a new folder at once, an export of the same weights file by file."""
    try:
        # mkdtemp makes folders that only their owner can read.
        partial.chmod(0o755)
        if not target.exists() or not any(target.iterdir()):
            os.replace(partial, target)
            return
        for path in partial.iterdir():
            os.replace(path, target / path.name)
    except OSError as error:
        raise RunDirectoryError(f"{target}: cannot be written ({error.strerror})") from error
