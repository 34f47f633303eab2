"""Images of a report: the hardest and easiest examples, and adversarial examples with their perturbations."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any, final

import attrs
import numpy as np

from sat_core import files
from sat_core.arrays import as_float
from sat_core.data import DataSet
from sat_core.errors import DataError, NotInstalledError, install
from sat_core.ranking import Ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.report.words import arm_names
from sat_evaluation.results.curves import group, series
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown

_EACH = 12
"""Examples from each end of a ranking."""
_LARGEST = 224
"""Pixels along a side. Of larger images every second, third, ... pixel is shown, to keep the file small."""


@final
@attrs.frozen(kw_only=True)
class Picture:
    """One image.

    Attributes:
        source: PNG as a data URI.
        alt: Alt text for screen readers.
        caption: Text below it.
        good: Whether the model is right, None where that is no question.
    """

    source: str
    alt: str
    caption: str = ""
    good: bool | None = None


@final
@attrs.frozen(kw_only=True)
class Pictures:
    """Images side by side under a heading."""

    title: str
    pictures: tuple[Picture, ...]


@final
@attrs.frozen(kw_only=True)
class Adversarial:
    """Adversarial examples of several arms.

    Attributes:
        heads: Names of the arms.
        lines: For each test image the image itself, then for each arm the adversarial one and the perturbation.
        factor: What perturbations are multiplied by, to be visible.
        threat: Norm and radius.
    """

    heads: tuple[str, ...]
    lines: tuple[tuple[Picture, ...], ...]
    factor: float
    threat: str


def extremes(ranking: Ranking, data: DataSet) -> Iterator[Pictures]:
    """Show the hardest and the easiest training examples by entropy."""
    entropy = ranking.scores["entropy"]
    order = np.argsort(-entropy, kind="stable")
    # easiest first is the exact reverse, ties included (recipe, section 2)
    for name, index in (("hardest", order[:_EACH]), ("easiest", order[::-1][:_EACH])):
        images = as_float(data.train.images[index])
        pictures = []
        for image, i in zip(images, index, strict=True):
            label = shown(data.class_names[data.train.labels[i]], 24)
            alt = f"training example {i}, {label}, entropy {entropy[i]:.3g} nats"
            pictures.append(Picture(source=encode(image), alt=alt, caption=f"{label} · {entropy[i]:.2g} nats · #{i}"))
        yield Pictures(title=f"The {name} training examples, by entropy", pictures=tuple(pictures))


def adversarial(folder: RunFolder, rows: Sequence[Row]) -> Adversarial | None:
    """Show examples saved by up to three arms: plain training, half of |A|, full AT. None if there are none."""
    chosen = _three(rows)
    saved = {name: arrays for name, row in chosen if (arrays := _read(folder, row)) is not None}
    if not saved:
        return None
    # side by side, arms can be compared on the same images only
    first = next(iter(saved.values()))
    saved = {name: arrays for name, arrays in saved.items() if _same(arrays, first)}
    names, arms = list(saved), list(saved.values())
    classes = [shown(name, 20) for name in rows[0].class_names]
    changes = [arrays["adversarial"] - arrays["image"] for arrays in arms]
    # the largest change becomes black or white on grey; one factor for all arms, so that they can be compared
    factor = 0.5 / max(*(float(np.abs(change).max()) for change in changes), 1e-6)
    lines = []
    for i, label in enumerate(arms[0]["label"]):
        line = [
            Picture(source=encode(arms[0]["image"][i]), alt=f"test image of {classes[label]}", caption=classes[label])
        ]
        for name, arrays, change in zip(names, arms, changes, strict=True):
            predicted = int(arrays["predicted_adversarial"][i])
            caption, good = f"taken for {classes[predicted]}", predicted == label
            line.append(
                Picture(source=encode(arrays["adversarial"][i]), alt=f"{name}: {caption}", caption=caption, good=good)
            )
            line.append(Picture(source=encode(0.5 + factor * change[i]), alt=f"{name}: perturbation"))
        lines.append(tuple(line))
    return Adversarial(heads=tuple(names), lines=tuple(lines), factor=factor, threat=chosen[0][1].threat)


def _three(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    groups = group(rows)
    names = {id(g.rows[0]): name for name, g in zip(arm_names(groups), groups, strict=True)}
    curves = series(rows)
    if not curves:
        return [(names[id(g.rows[0])], g.rows[0]) for g in groups[:3]]
    curve = next((c for c in curves if c.chosen == "hardest"), curves[0])
    half = min(curve.groups, key=lambda g: abs(g.rows[0].share - 0.5))
    return [(names[id(g.rows[0])], g.rows[0]) for g in (curve.plain, half, curve.full) if g is not None]


def _read(folder: RunFolder, row: Row) -> dict[str, Any] | None:
    """The examples that the arm saved; None if an earlier version ran it, or if they cannot be read."""
    names = ("label", "image", "adversarial", "predicted_adversarial")
    try:
        arrays = files.read_npz(folder.unit(row.arm).examples_file, *names)
    except DataError:
        return None
    # the file may be of another version, or changed: what cannot be drawn must not end the report
    images, classes = (arrays["image"], arrays["adversarial"]), (arrays["label"], arrays["predicted_adversarial"])
    images_fit = all(a.ndim == 4 and a.dtype.kind == "f" and a.size and np.isfinite(a).all() for a in images)
    classes_fit = all(a.ndim == 1 and a.dtype.kind in "iu" and len(a) == len(images[0]) for a in classes)
    if not images_fit or not classes_fit or images[0].shape != images[1].shape:
        return None
    return arrays if all((a >= 0).all() and (a < len(row.class_names)).all() for a in classes) else None


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in ("label", "image"))


def encode(image: np.ndarray) -> str:
    """Return an image `(h, w, c)` in [0, 1] as a PNG in a data URI; NotInstalledError without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise NotInstalledError(f"reports with images need Pillow: {install('report')}") from error
    step = -(-max(image.shape[:2]) // _LARGEST)
    pixels = np.clip(np.rint(255 * image[::step, ::step]), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    # a fourth channel would be taken for transparency
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3]).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
