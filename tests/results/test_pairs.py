"""Flags of arms on the same test images, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flagged import flags, make_run, write_arm

from sat_core.errors import DataError
from sat_core.run_folder import RunFolder
from sat_evaluation.results.curves import Group, group
from sat_evaluation.results.pairs import line_up, read_flags
from sat_evaluation.results.rows import collect


def groups_of(folder: RunFolder, *contents: dict[str, object]) -> list[Group]:
    return group(collect(folder.unit(str(content["arm"])).results() for content in contents))


def test_flags_are_those_of_the_files(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path, seeds=3)
    plain, hardest, random, full = (read_flags(g, folder) for g in group(rows))
    assert (random.robust.shape, full.robust.shape) == ((3, 400), (1, 400))
    assert (hardest.robust[0] == flags(400, 0.5, 2)).all()
    assert (random.robust[2] == flags(400, 0.45, 5)).all()
    assert plain.clean.mean() == rows[0].clean.value
    assert (plain.of("clean") == plain.clean).all()


def test_images_are_matched_by_their_numbers(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    robust, order = flags(50, 0.5), np.random.default_rng(0).permutation(50)
    one = write_arm(folder, 500, robust)
    # the same network on the same images in another order, and ten more
    more = np.concatenate([robust[order], np.ones(10, bool)])
    other = write_arm(folder, 300, more, np.concatenate([order, np.arange(50, 60)]))
    lined = line_up([read_flags(g, folder) for g in groups_of(folder, one, other)])
    assert lined is not None
    assert lined[0].image.tolist() == lined[1].image.tolist() == list(range(50))
    assert (lined[0].robust == lined[1].robust).all()
    assert (lined[0].label == lined[1].label).all()


def test_other_images_cannot_be_lined_up(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    one = write_arm(folder, 500, flags(50, 0.5))
    other = write_arm(folder, 300, flags(50, 0.5), np.arange(50, 100))
    first, second = (read_flags(g, folder) for g in groups_of(folder, one, other))
    assert line_up([first, second]) is None


def test_damaged_flags_are_named(tmp_path: Path) -> None:
    folder, rows = make_run(tmp_path)
    g = group(rows)[1]
    unit = folder.unit(g.rows[0].arm)
    path = unit.evaluation_file(unit.report_name())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=str(path)):
        read_flags(g, folder)
    other = folder.unit(rows[0].arm)
    path.write_bytes(other.evaluation_file(other.report_name()).read_bytes())
    with pytest.raises(
        DataError, match=r"expected flags of 400 images, 200 of them robust, as its results say; got 40"
    ):
        read_flags(g, folder)


def test_an_image_that_stands_twice_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    made = write_arm(folder, 500, flags(50, 0.5), np.arange(50) // 2)
    with pytest.raises(DataError, match="expected each test image once"):
        read_flags(groups_of(folder, made)[0], folder)
