"""The flags of several arms on the same test images, side by side: what paired tests compare."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.run_folder import RunFolder
from sat_evaluation.results.curves import Group
from sat_evaluation.results.flags import image_flags

MEASURES = ("robust", "clean")
"""Of which accuracy the flags are: right under every attack, or on the clean image."""


@final
@attrs.frozen(kw_only=True, eq=False)
class GroupFlags:
    """Flags of arms that differ only in their seeds.

    Attributes:
        group: The arms.
        data: Fingerprint of the data set whose test images these are.
        image: Numbers of the images in the test set, int64 `(n,)`, ascending.
        label: Their classes, int64 `(n,)`.
        robust, clean: Right under every attack; right on the clean image; bool `(seeds, n)`, one line per arm of the
            group.
    """

    group: Group
    data: str
    image: np.ndarray
    label: np.ndarray
    robust: np.ndarray
    clean: np.ndarray

    def of(self, measure: str) -> np.ndarray:
        """Return the flags of one of `MEASURES`."""
        flags: np.ndarray = getattr(self, measure)
        return flags

    def at(self, images: np.ndarray) -> GroupFlags:
        """Return the flags of some of the images, by their numbers, which all have to be there."""
        places = np.searchsorted(self.image, images)
        return attrs.evolve(
            self,
            image=self.image[places],
            label=self.label[places],
            robust=self.robust[:, places],
            clean=self.clean[:, places],
        )


def read_flags(group: Group, folder: RunFolder) -> GroupFlags:
    """Read the flags of the arms of a group, at the level of its rows.

    Args:
        group: Arms that differ only in their seeds.
        folder: Of the study or transfer that they belong to.

    Raises:
        DataError: A file is missing, damaged or of other results, or the arms have less than two test images in common.
    """
    parts = [_read(Group((row,)), folder) for row in group.rows]
    lined = line_up(parts)
    if lined is None:
        names = ", ".join(row.arm for row in group.rows)
        raise DataError(f"{folder}: expected at least 2 test images in common, {names} have less")
    return attrs.evolve(
        lined[0],
        group=group,
        robust=np.concatenate([part.robust for part in lined]),
        clean=np.concatenate([part.clean for part in lined]),
    )


def _read(group: Group, folder: RunFolder) -> GroupFlags:
    (row,) = group.rows
    flags = image_flags(folder.unit(row.arm), row.results)
    order = np.argsort(flags.image, kind="stable")
    if len(np.unique(flags.image)) < len(order):
        raise DataError(f"{folder.unit(row.arm)}: expected each test image once among those that are reported")
    return GroupFlags(
        group=group,
        data=row.results.data.fingerprint,
        image=flags.image[order],
        label=flags.label[order],
        robust=flags.robust[order][None],
        clean=flags.correct[order][None],
    )


def line_up(flags: Sequence[GroupFlags]) -> list[GroupFlags] | None:
    """Return the flags of the images that all groups have, in the same order; None of less than two such images.

    Images are the same if they have one number in one data set. Most often all groups have all; where a study has
    several sizes of the evaluation, the smallest part that they share is left. A single image is no sample.
    """
    if len({each.data for each in flags}) > 1:
        return None
    common: np.ndarray = reduce(np.intersect1d, [each.image for each in flags])
    return [each.at(common) for each in flags] if len(common) > 1 else None
