"""The file of an evaluation: it resumes anywhere, is returned when finished, and refused when it is of another."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from prey import QUICK, Stopped, quick, setting, shortened, stop_after

from sat_core.errors import DataError, EvaluationError
from sat_core.evaluation import MISCLASSIFIED, ROBUST
from sat_core.files import read_npz, write_npz
from sat_evaluation.attack.record import Record
from sat_evaluation.attack.runner import load

pytestmark = pytest.mark.torch


def test_broken_off_anywhere_it_ends_the_same(tmp_path):
    classifier, images, labels = setting()
    queries = []
    whole = quick(classifier, images, labels, path=tmp_path / "whole.npz", progress=lambda *now: queries.append(now))
    assert set(whole.broken_by.tolist()) == {MISCLASSIFIED, ROBUST, 0, 1}
    first = [attack for _, attack in queries].index("fab-t")
    points = [1, first // 2, first - 1, first, first + 1, len(queries) - 1, len(queries)]
    for point in points:
        path = tmp_path / f"{point}.npz"
        with pytest.raises(Stopped):
            quick(classifier, images, labels, path=path, progress=stop_after(point))
        if point < len(queries):
            with pytest.raises(EvaluationError, match="broken off"):
                load(path)
        if point == first // 2:
            with pytest.raises(Stopped):
                quick(classifier, images, labels, path=path, progress=stop_after(2 * first // 3))
        again = []
        result = quick(classifier, images, labels, path=path, progress=lambda *now, seen=again: seen.append(now))
        np.testing.assert_array_equal(result.broken_by, whole.broken_by)
        assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
        assert again == queries[-len(again) :]
        assert len(again) <= len(queries) - point + 60  # no more than a batch is done again


def test_every_batch_is_saved(tmp_path):
    classifier, images, labels = setting()
    states, rows = set(), []
    path = tmp_path / "evaluation.npz"
    classifier.module.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))

    def progress(share, attack):
        states.add(tuple(read_npz(path)["next"].tolist()))

    quick(classifier, images, labels, path=path, progress=progress)
    assert states == {(0, 0), (0, 2), (0, 4), (0, 5), (1, 2), (2, 0)}
    assert read_npz(path)["next"].tolist() == [2, 0]
    before = 7 + 2 + 7 + 1 + 5  # all; the first batch again; in one batch; one alone; gradients of the correct ones
    assert read_npz(path)["queries"].sum() == sum(rows) - before


def test_killed_it_ends_the_same(tmp_path):
    path = tmp_path / "evaluation.npz"
    code = f"import prey; prey.killed({str(path)!r})"
    child = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert child.returncode == -signal.SIGKILL
    with pytest.raises(EvaluationError, match="broken off"):
        load(path)
    result = quick(*setting(), path=path)
    np.testing.assert_array_equal(result.broken_by, quick(*setting(), path=tmp_path / "whole.npz").broken_by)
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_finished_is_returned_without_attacking(tmp_path, monkeypatch, calls):
    classifier, images, labels = setting()
    path = tmp_path / "deep" / "evaluation.npz"
    result = quick(classifier, images, labels, path=path)
    calls.clear()
    monkeypatch.setattr(type(classifier), "as_torch_module", None)
    shares = []
    for again in (quick(classifier, images, labels, path=path, progress=lambda *now: shares.append(now)), load(path)):
        np.testing.assert_array_equal(again.label, labels)
        np.testing.assert_array_equal(again.broken_by, result.broken_by)
        for name in ("attacks", "norm", "eps", "package", "engine", "warnings"):
            assert getattr(again, name) == getattr(result, name)
    assert calls == []
    assert shares == [(1.0, "fab-t")]
    assert result.package == f"pyautoattack {metadata.version('pyautoattack')}"
    assert result.engine == "package"


def test_file_of_another_evaluation_is_refused(tmp_path, monkeypatch):
    classifier, images, labels = setting()
    path = tmp_path / "evaluation.npz"
    given = {"path": path, "attacks": ("apgd-ce",)}
    with pytest.raises(Stopped):
        quick(classifier, images, labels, **given, progress=stop_after(10))
    content = path.read_bytes()

    def refused(*expected, data=(images, labels), **other):
        with pytest.raises(EvaluationError) as caught:
            quick(classifier, *data, **given | other)
        lines = str(caught.value).splitlines()
        assert len(lines) <= 3
        assert str(path) in lines[0]
        assert all(text in lines[1] for text in expected)
        assert lines[1].count("there") == len(expected)
        assert path.read_bytes() == content

    refused("norm: Linf there, L2 here", norm="L2")
    refused("eps: 0.05 there, 0.06 here", "seed: 0 there, 4 here", eps=0.06, seed=4)
    refused("attacks: apgd-ce x5 there, apgd-ce x5, fab-t x1 here", attacks=QUICK)
    refused("batch_size: 2 there, 5 here", batch_size=5)
    refused("data: ", data=(images, labels[::-1]))
    changed = images.copy()
    changed[3, 3, 3] = 0
    refused("data: ", data=(changed, labels))
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "version", lambda name: "9.9")
        refused("package: pyautoattack 0.2.0 there, pyautoattack 9.9 here")
    classifier.native.body[0].bias.data[0] += 1e-6
    refused("model: ")


@pytest.mark.parametrize("damage", ["cut", "text", "foreign", "settings", "shapes", "types"])
def test_broken_file_is_a_data_error(tmp_path, damage):
    classifier, images, labels = setting()
    path = tmp_path / "evaluation.npz"
    quick(classifier, images, labels, path=path, attacks=("apgd-ce",))
    arrays = read_npz(path)
    settings = json.loads(str(arrays["settings"]))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    if damage == "text":
        path.write_text("nothing of the kind")
    if damage == "foreign":
        write_npz(path, {"order": np.arange(3)})
    if damage == "settings":
        write_npz(path, {**arrays, "settings": np.array(json.dumps({**settings, "colour": "blue"}))})
    if damage == "shapes":
        write_npz(path, {**arrays, "broken_by": np.arange(3)})
    if damage == "types":
        write_npz(path, {**arrays, "broken_by": arrays["broken_by"].astype(np.float32)})
    content = path.read_bytes()
    for call in (lambda: quick(classifier, images, labels, path=path, attacks=("apgd-ce",)), lambda: load(path)):
        with pytest.raises(DataError, match=f"(?s){re.escape(str(path))}.*delete {re.escape(str(path))}"):
            call()
    assert path.read_bytes() == content


def test_standard_goes_on_where_screening_ended(tmp_path):
    """The same flags and queries as from the start, and the attacks of screening are not run again."""
    prey = setting(4, n=9)
    standard = shortened("standard", prey[0])
    whole, short, path = (tmp_path / f"{name}.npz" for name in ("whole", "short", "longer"))
    from_start = quick(*prey, attacks="standard", path=whole)
    quick(*prey, attacks="screening", path=short)
    longer = Record.read(short).extended(standard, ["a note"])
    assert longer is not None
    longer.save(path)
    attacked = []
    went_on = quick(*prey, attacks="standard", path=path, progress=lambda share, attack: attacked.append(attack))
    assert set(attacked) == {"fab-t", "square"}
    np.testing.assert_array_equal(went_on.broken_by, from_start.broken_by)
    np.testing.assert_array_equal(Record.read(path).queries, Record.read(whole).queries)
    assert sorted(went_on.warnings) == sorted([*from_start.warnings, "a note"])


def test_an_evaluation_goes_on_from_a_finished_one_that_it_begins_with(tmp_path):
    prey = setting(4, n=3)
    standard, screening = (shortened(level, prey[0]) for level in ("standard", "screening"))
    quick(*prey, attacks="screening", path=tmp_path / "short.npz")
    record = Record.read(tmp_path / "short.npz")
    assert record.extended(standard, []) is not None
    assert record.extended(screening, []) is None
    assert record.extended(shortened("plus", prey[0]), []) is None
    record.next[:] = 1, 0
    assert record.extended(standard, []) is None
