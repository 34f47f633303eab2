"""What the files of one arm say of each test image, and of each training example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.arm_results import ArmResults
from sat_core.autoattack import CUSTOM_LEVEL, LEVELS
from sat_core.errors import DataError
from sat_core.evaluation import MISCLASSIFIED, ROBUST
from sat_core.unit_folder import UnitFolder


@final
@attrs.frozen(kw_only=True, eq=False)
class ImageFlags:
    """Which attack broke which of the reported images.

    Attributes:
        image: Their numbers in the test set, int64 `(n,)`.
        label, predicted: Classes, and those that the network gives to the clean images, int64 `(n,)`.
        correct, robust: Right on the clean image; right on it and under every attack; bool `(n,)`.
        broken_by: Name of the attack that broke the image first; None if none did, or if none was needed.
    """

    image: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    robust: np.ndarray
    broken_by: list[str | None]


def image_flags(folder: UnitFolder, results: ArmResults) -> ImageFlags:
    """Return the flags of an arm's reported images.

    Args:
        folder: Of the arm.
        results: Of the arm, with the robust accuracy of the level that is asked for.

    Raises:
        DataError: A file is missing, damaged, or of another evaluation than the results.
    """
    label, predicted, broken_by, names = _evaluation(folder, results.level)
    image = _numbers(folder.split_file, "report")
    correct, n = broken_by != MISCLASSIFIED, results.robust.all.n
    robust = broken_by == ROBUST
    counts = (len(image), len(label), int(robust.sum()))
    if counts != (n, n, results.robust.all.count):
        raise DataError(
            f"{folder}: expected flags of {n} images, {results.robust.all.count} of them robust, as its results say; "
            f"got {counts[1]}, {counts[2]} of them robust\ndelete {folder} and run the study again"
        )
    return ImageFlags(
        image=image,
        label=label,
        predicted=predicted,
        correct=correct,
        robust=robust,
        broken_by=[names[place] if place >= 0 else None for place in broken_by.tolist()],
    )


def members(folder: UnitFolder, results: ArmResults) -> dict[str, Any]:
    """Return which training examples of an arm are in A, and how often each was attacked.

    Returns:
        ``in_A``: as A was chosen before the training; ``in_A_at_end``: at its end; bool `(N,)`. ``attacked``: in how
        many steps, int `(N,)`; None for each example where A stays, as it is not counted there.

    Raises:
        DataError: A file is missing or damaged.
    """
    count = results.data.train
    first = np.zeros(count, bool)
    chosen = _numbers(folder.split_file, "members")
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < count:
        raise DataError(f"{folder.split_file}: members: expected numbers of the {count} training examples")
    first[chosen] = True
    if not results.split.moving:
        return {"in_A": first, "in_A_at_end": first, "attacked": [None] * count}
    path = folder.attacked_file
    arrays = files.read_npz(path, "counts", "last_members")
    if any(array.shape != (count,) for array in arrays.values()):
        raise DataError(f"{path}: expected arrays of the {count} training examples")
    return {"in_A": first, "in_A_at_end": arrays["last_members"].astype(bool), "attacked": arrays["counts"]}


def _evaluation(folder: UnitFolder, level: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Labels, predicted classes, which attack broke each image, and the names of the attacks at a level."""
    own = folder.evaluation_file(folder.report_name(level)) if level != CUSTOM_LEVEL else None
    path = own if own and own.exists() else folder.evaluation_file(folder.report_name())
    arrays = files.read_npz(path, "label", "predicted", "broken_by", "settings")
    label, predicted, broken_by = (arrays[name] for name in ("label", "predicted", "broken_by"))
    try:
        names = [str(attack["name"]) for attack in json.loads(str(arrays["settings"]))["attacks"]]
        whole = label.shape == predicted.shape == broken_by.shape == (
            len(label),
        ) and -2 <= broken_by.min() <= broken_by.max() < len(names)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{path}: expected an evaluation by AutoAttack ({files.reason(error)})") from error
    if not whole:
        raise DataError(f"{path}: expected a label and a number of one of {len(names)} attacks for each image")
    if level != CUSTOM_LEVEL and path != own:
        # a stronger level begins with this one: what its later attacks broke is robust here
        last = len([name for name in names if name in [attack.name for attack in LEVELS[level]]])
        broken_by = np.where(broken_by >= last, ROBUST, broken_by)
    return label, predicted, broken_by, names


def _numbers(path: Path, name: str) -> np.ndarray:
    try:
        return np.array(files.read_json(path)[name], np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected a list of numbers {name!r} ({files.reason(error)})") from error
