"""Data that a study is given as an object: whole in the folder of the run or not there, and read as they were."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import toy

from sat_core import files, get_dataset, make_dataset
from sat_core.data import DataSet
from sat_core.errors import DataError, RunDirectoryError
from sat_core.run_folder import RunFolder
from sat_core.saved_data import as_saved, dataset_of, read_data, save_data

FACTS = {"licence": "CC BY 4.0", "citation": "N. Body", "notes": ("one", "two")}


def given(**changes: Any) -> DataSet:
    data = attrs.evolve(toy(30), validation=toy(9, seed=1).train, **{**FACTS, **changes})
    return as_saved(data, "digits")


def is_mapped(array: Any) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def equal(data: DataSet, other: DataSet) -> None:
    fields = [field.name for field in attrs.fields(DataSet) if field.name not in ("train", "test", "validation")]
    assert {name: getattr(data, name) for name in fields} == {name: getattr(other, name) for name in fields}
    for part, other_part in zip(data.parts, other.parts, strict=True):
        np.testing.assert_array_equal(part.images, other_part.images)
        np.testing.assert_array_equal(part.labels, other_part.labels)
        assert part.images.dtype == other_part.images.dtype
    assert data.fingerprint() == other.fingerprint()


def test_they_are_read_as_they_were_and_stay_on_the_disk(tmp_path: Path) -> None:
    pixels = (toy(30).train.images * 255).astype(np.uint8)
    arrays = make_dataset((pixels, toy(30).train.labels), (pixels[:6], toy(30).train.labels[:6]))
    for place, data in enumerate((given(), as_saved(arrays, "saved:pets"))):
        folder = RunFolder(tmp_path / str(place))
        save_data(folder, data)
        read = read_data(folder)
        equal(read, data)
        assert is_mapped(read.train.images)
        equal(dataset_of(data.name, folder), data)
        assert get_dataset(f"saved:{folder}").name == f"saved:{folder}"
        assert {path.suffix for path in (tmp_path / str(place)).rglob("*.*")} == {".npy", ".json"}
    assert (given().name, data.name) == ("saved:toy", "saved:pets")


def test_writing_can_be_broken_off_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, writing = given(), files.writing
    for steps in range(8):
        folder, left = RunFolder(tmp_path / str(steps)), iter(range(steps))

        @contextmanager
        def killed(path: Path, left: Any = left) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            with writing(path) as file:
                yield file

        with monkeypatch.context() as patch:
            patch.setattr(files, "writing", killed)
            try:
                save_data(folder, data)
            except KeyboardInterrupt:
                assert steps < 7
                assert not folder.data_facts.exists()
                with pytest.raises(DataError):
                    read_data(folder)
            else:
                assert steps == 7
        save_data(folder, data)
        equal(read_data(folder), data)


def test_what_is_damaged_is_named_and_written_anew(tmp_path: Path) -> None:
    data, folder = given(), RunFolder(tmp_path)
    save_data(folder, data)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    save_data(folder, data)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    for path in sorted(before):
        whole = path.read_bytes()
        for content in (b"", whole[:-9], b"{}", None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            if content is not None or path != folder.data_facts:
                with pytest.raises(DataError) as caught:
                    dataset_of(data.name, folder)
                assert str(tmp_path / "data") in str(caught.value)
            save_data(folder, data)
            assert path.read_bytes() == whole


def test_other_facts_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    save_data(folder, given())
    with pytest.raises(RunDirectoryError, match=r"mean of saved:toy is \[0\.4\] there and \[0\.5\] here"):
        save_data(folder, given(mean=(0.5,)))
    with pytest.raises(RunDirectoryError, match=r"class_names of saved:toy is .* there and \['a', 'c', 'b'\]"):
        save_data(folder, given(class_names=("a", "c", "b")))
    equal(read_data(folder), given())


def test_streams_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    pairs = [(np.full((8, 8), n, np.uint8), n % 2) for n in range(8)]
    stream = make_dataset(pairs, pairs, streamed=True)
    with pytest.raises(DataError, match=r"got a stream, 'own'\nname the data instead, .* or by a plug-in"):
        as_saved(stream, "digits")
    for name in ("saved:pets", f"saved:{tmp_path}", "saved:"):
        with pytest.raises(DataError, match=r"expected the folder of a run .* found none\ngive them again: Study\.run"):
            dataset_of(name, RunFolder(tmp_path))
