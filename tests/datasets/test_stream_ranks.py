"""Several ranks of one run on images that are decoded when they are needed: one lists them, each decodes its share."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pictures import SIZE
from rank_threads import ThreadGroup, on_threads
from test_stream_training import job

from sat_core.arm import run_arm
from sat_core.data import DataSet
from sat_core.datasets import get_dataset, load_once
from sat_core.errors import DataError
from sat_core.follower import follow
from sat_core.leader import leading
from sat_core.ranking import Ranking
from sat_core.reference import NumpyBackend
from sat_datasets import folder, stream
from sat_datasets.stream import FileImages

pytestmark = pytest.mark.data


def by_thread(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Counter[int]:
    """Count the calls of a function by the thread that makes them."""
    calls: Counter[int] = Counter()
    original = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        calls[threading.get_ident()] += 1
        return original(*arguments)

    monkeypatch.setattr(owner, name, call)
    return calls


def test_one_rank_lists_the_files_and_each_decodes_its_own_share(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"folder:{photographs}?size={SIZE}"
    listings, sizes = (by_thread(monkeypatch, *where) for where in ((folder, "_entries"), (stream, "_size")))
    decoded: dict[int, Counter[str]] = {0: Counter(), 1: Counter()}
    ranks: dict[int, int] = {}
    arguments = FileImages._arguments

    def recorded(images: FileImages, index: Any) -> Any:
        decoded[ranks[threading.get_ident()]].update(images.files[i] for i in index)
        return arguments(images, index)

    monkeypatch.setattr(FileImages, "_arguments", recorded)

    def one(group: ThreadGroup) -> Any:
        ranks[threading.get_ident()] = group.rank
        backend = NumpyBackend()
        backend.join(group)
        data = load_once(lambda: get_dataset(name), group)
        keys = {"subset.strategy": "random", "model.name": "linear"}
        here = job(name, tmp_path / "arm", backend, data=data, group=group, keys=keys)
        split = Ranking().split(here)
        if group.rank:
            follow(here, split)
        else:
            with leading(group):
                run_arm(here)
        plans = [here.planner(split).epoch(epoch).share(group.rank, group.size) for epoch in range(2)]
        return Counter(data.train.images.files[i] for plan in plans for i in plan.index.ravel())  # type: ignore[attr-defined]

    shares = on_threads(2, one)
    assert {ranks[thread] for thread in listings} == {ranks[thread] for thread in sizes} == {0}
    for rank, share in enumerate(shares):
        assert {file: n for file, n in decoded[rank].items() if file.startswith("train/")} == share
    assert shares[0].total() == shares[1].total() > 0


@pytest.mark.parametrize("size", ["", "?size=8"])
def test_images_in_memory_are_read_by_each_rank_and_listed_ones_passed_on(
    size: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = by_thread(monkeypatch, folder, "_entries")
    data: list[DataSet] = on_threads(3, lambda group: load_once(lambda: get_dataset(f"folder:{tree}{size}"), group))
    assert len(listings) == (1 if size else 3)
    assert len({each.fingerprint() for each in data}) == 1
    assert len({id(each) for each in data}) == (1 if size else 3)


def test_an_error_of_the_rank_that_lists_ends_all(tree: Path) -> None:
    (tree / "train" / "dog").rename(tree / "dog")
    ended: list[type[BaseException]] = []
    both = threading.Event()

    def load(group: ThreadGroup) -> None:
        if group.rank:
            both.set()
        try:
            load_once(lambda: both.wait(60) and get_dataset(f"folder:{tree}?size=8"), group)
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(DataError, match="expected one of the classes"):
        on_threads(2, load)
    assert set(ended) == {DataError, threading.BrokenBarrierError}
