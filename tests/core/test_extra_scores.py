"""Scores that take a pass after the ranking's training, scores of plug-ins, and how far all of them agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rank_threads import on_ranks
from toys import job, same_bytes, toy

from sat_core import difficulty_kinds
from sat_core.agreement import Agreement, rank_correlation
from sat_core.data import Examples
from sat_core.difficulty import DIFFICULTIES
from sat_core.difficulty_kinds import ExtraPass, MeasuredDifficulty, Recorded, StreamedDifficulty
from sat_core.errors import DataError, Interrupted, SpecError
from sat_core.images import ImageSource
from sat_core.ranking import Ranking, run_ranking
from sat_core.reference import NumpyBackend
from sat_core.unit_folder import UnitFolder

KEYS = {"ranking.extra": ["gradient-norm", "prototypicality"], "ranking.epochs": 2, "model.name": "small-cnn"}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difficulty_kinds, "CHUNK", 25)


def test_extra_scores_are_those_of_their_definitions(small_parts: None) -> None:
    train, rng = toy().train, np.random.default_rng(0)
    classifier = NumpyBackend().build("small-cnn", classes=3, image_shape=(6, 6, 1), seed=1)
    state = classifier.state()
    examples = ExtraPass(classifier, train)
    norms = DIFFICULTIES.get("gradient-norm").measure(examples)  # type: ignore[attr-defined]
    for i in rng.choice(90, 3):  # ∂ℓ along the gradient's own direction is its norm
        image, label = train.images[i : i + 1].astype(np.float64), train.labels[i : i + 1]
        gradient = classifier.loss_gradient(train.images[i : i + 1], label)[2]
        step = 0.02 * gradient / np.linalg.norm(gradient)
        up, down = (
            float(classifier.loss_gradient((image + sign * step).astype(np.float32), label)[1][0]) for sign in (1, -1)
        )
        np.testing.assert_allclose(norms[i], (up - down) / 0.04, rtol=0.02)
    features = classifier.features(train.images).astype(np.float64)
    measured = DIFFICULTIES.get("prototypicality").measure(examples)  # type: ignore[attr-defined]
    for i in (0, 30, 89):
        mean = features[train.labels == train.labels[i]].mean(axis=0)
        cosine = features[i] @ mean / np.linalg.norm(features[i]) / np.linalg.norm(mean)
        np.testing.assert_allclose(measured[i], 1 - cosine, rtol=1e-6)
    for name, value in classifier.state().items():
        np.testing.assert_array_equal(value, state[name])


def test_a_stop_in_an_extra_pass_changes_nothing_and_its_cost_counts(small_parts: None, tmp_path: Path) -> None:
    whole = run_ranking(job(tmp_path / "whole", keys=KEYS))
    assert [*whole.scores][-2:] == KEYS["ranking.extra"]
    assert whole.gradients == 2 * 80 + 90  # two epochs of five batches of 16, and one gradient per example
    stops, seen = 0, set()

    def passed(stage: str, done: float, total: float, note: str) -> None:
        seen.add(note)

    while not (tmp_path / "broken" / "ranking.npz").exists():
        calls, stops = iter(range(10**6)), stops + 1
        limit = 12 if stops == 1 else stops  # of the first start, ten calls are in the training
        stop = lambda calls=calls, limit=limit: next(calls) >= limit  # noqa: E731
        try:
            run_ranking(job(tmp_path / "broken", keys=KEYS, progress=passed, stop=stop))
        except Interrupted:
            assert not (tmp_path / "broken" / "ranking.npz").exists()
    assert stops > 4
    assert {"gradient-norm", "prototypicality"} < seen
    same_bytes(tmp_path / "whole", tmp_path / "broken", ("*.npz", "*.safetensors"))


def test_ranks_share_an_extra_pass(small_parts: None, tmp_path: Path) -> None:
    keys = {**KEYS, "model.name": "linear", "training.precision": "float64"}
    alone = run_ranking(job(tmp_path / "one" / "ranking", keys=keys))
    together = on_ranks(2, tmp_path / "two", run_ranking, keys=keys)
    for name, scores in alone.scores.items():
        np.testing.assert_allclose(together.scores[name], scores, rtol=1e-6, atol=1e-7, err_msg=name)
    notes: set[str] = set()
    # In a pass, on the rank that does not lead.
    told = {0: {"progress": lambda *now: notes.add(now[-1])}, 1: {"stop": lambda: "gradient-norm" in notes}}
    with pytest.raises(Interrupted):
        on_ranks(2, tmp_path / "three", run_ranking, told, keys=keys)
    assert (tmp_path / "three" / "ranking" / "checkpoint-last.safetensors").exists()
    assert not (tmp_path / "three" / "ranking" / "ranking.npz").exists()


class Label(StreamedDifficulty):
    name = "mean-label-probability"

    def score(self, recorded: Recorded) -> np.ndarray:
        return 1 - recorded.mean.probability


class Brightness(MeasuredDifficulty):
    name = "brightness"

    def measure(self, examples: ExtraPass) -> np.ndarray:
        return np.concatenate([*examples.each(lambda images, _: images.mean(axis=(1, 2, 3)))])


class Broken(MeasuredDifficulty):
    name = "broken"

    def measure(self, examples: ExtraPass) -> np.ndarray:
        return np.full(3, np.nan)


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three scores of another package, of either kind, while it is imported."""
    entries: Any = vars(DIFFICULTIES)["_entries"]
    with monkeypatch.context() as patch:
        for metric in (Label(), Brightness(), Broken()):
            patch.setitem(entries, metric.name, metric)
        yield


def test_scores_of_a_plug_in_are_kept_where_it_is_not(
    plug_in: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"ranking.extra": ["brightness"], "ranking.epochs": 1, "ranking.metric": "mean-label-probability"}
    made = run_ranking(job(tmp_path / "ranking", keys=keys))
    np.testing.assert_allclose(made.scores["brightness"], toy().train.images.mean(axis=(1, 2, 3)), rtol=1e-6)
    assert made.gradients == 80
    with pytest.raises(SpecError, match=r"ranking.extra: 'broken' cannot be computed \(DataError: difficulty 'broken'"):
        run_ranking(job(tmp_path / "broken", keys={"ranking.extra": ["broken"]}))
    assert not (tmp_path / "broken" / "checkpoint-last.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setitem(vars(DIFFICULTIES)["_entries"], "seed", Label())
        with pytest.raises(SpecError, match="'seed': the file of a ranking has another array"):
            run_ranking(job(tmp_path / "taken", keys={"ranking.epochs": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(DIFFICULTIES, "_entries", {k: v for k, v in vars(DIFFICULTIES)["_entries"].items() if k in BUILT})
        read = Ranking.read(UnitFolder(tmp_path / "ranking"))
    for name in ("brightness", "mean-label-probability"):
        np.testing.assert_array_equal(read.scores[name], made.scores[name])
        assert read.hardest_first(name).tolist() == made.hardest_first(name).tolist()


BUILT = tuple(DIFFICULTIES)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"ranking.metric": "gradient-norm"}, r"takes an extra pass over the examples\nadd it to ranking.extra"),
        ({"ranking.extra": ["entropy"]}, r"ranking.extra: expected a list of scores that take an extra pass"),
        ({"ranking.extra": ["gradient-norm", "gradient-norm"]}, "each once"),
        ({"ranking.extra": "gradient-norm"}, "expected a list of scores"),
    ],
)
def test_extra_scores_that_are_none_are_refused(keys: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=says):
        job(tmp_path, keys=keys)


def test_an_arm_that_wants_a_score_which_the_ranking_lacks_is_refused(tmp_path: Path) -> None:
    ranking = run_ranking(job(tmp_path / "ranking", keys={"ranking.epochs": 1}))
    keys = {"ranking.metric": "gradient-norm", "ranking.extra": ["gradient-norm"]}
    with pytest.raises(SpecError, match="unknown score of this ranking 'gradient-norm'"):
        ranking.split(job(tmp_path / "arm", keys=keys))


def hardest(values: np.ndarray, n: int) -> np.ndarray:
    """1 for the n highest values, which all differ."""
    return (values >= np.sort(values)[-n]).astype(float)


def test_agreement_of_scores() -> None:
    rng = np.random.default_rng(0)
    a = rng.permutation(40).astype(float)
    scores = {"a": a, "same": 3 * a - 1, "reverse": -a, "constant": np.ones(40), "other": rng.integers(0, 4, 40) * 1.0}
    found = Ranking(scores=scores).agreement()
    assert found.metrics == tuple(scores)
    np.testing.assert_allclose(found.rho[0, :4], [1, 1, -1, np.nan], atol=1e-12)
    np.testing.assert_allclose(found.rho, found.rho.T)
    assert found.rho[0, 4] == pytest.approx(rank_correlation(scores["a"], scores["other"]))
    for share, n in ((0.1, 4), (0.3, 12), (0.5, 20)):
        overlap = found.overlap[share]
        assert overlap[0, 1] == overlap[0, 0] == 1
        assert overlap[0, 2] == 0
        assert overlap[0, 3] == pytest.approx(share)  # what is the same for all says nothing: chance
        assert overlap[3, 3] == pytest.approx(share)
        drawn = [hardest(scores["other"] + 0.5 * rng.random(40), n) for _ in range(2000)]  # ties broken at random
        assert overlap[0, 4] == pytest.approx(np.mean(drawn, axis=0) @ hardest(a, n) / n, abs=0.03)
    name, rho, overlaps = found.rows("a")[0]
    assert (name, round(rho, 9), overlaps) == ("same", 1, (1, 1, 1))
    shown = [line.split() for line in str(found).splitlines()]
    assert shown[:4] == [["1", "2", "3", "4"], ["1", "a"], ["2", "same", "1.00"], ["3", "reverse", "-1.00", "-1.00"]]
    assert shown[5][:3] == ["5", "other", f"{found.rho[0, 4]:.2f}"]
    assert np.isnan(found.rho[3]).all()  # also with itself
    assert "<td>–</td>" in found._repr_html_()
    with pytest.raises(SpecError, match="got a published order"):
        Ranking(order=np.arange(3)).agreement()
    assert Agreement.of({"a": np.ones(1)}).overlap[0.1].tolist() == [[0.0]]  # of one example, a tenth is none


def test_a_ranking_without_a_score_of_ours_is_damaged(tmp_path: Path) -> None:
    run_ranking(job(tmp_path, keys={"ranking.epochs": 1}))
    path = UnitFolder(tmp_path).ranking_file
    arrays = dict(np.load(path))
    del arrays["aum"]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"ranking.npz: has no array 'aum'\ndelete"):
        Ranking.read(UnitFolder(tmp_path))


class Decoded(ImageSource):
    """Images that are decoded on demand, a part at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self._images, self.shape = images, images.shape

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        images: np.ndarray = self._images[index]
        assert len(images) <= 25
        return images

    def stream(self, requests: Any) -> Any:
        raise NotImplementedError

    def take(self, index: np.ndarray) -> Decoded:
        return Decoded(self._images[index])

    def resized(self, image_shape: tuple[int, int, int]) -> Decoded:
        raise NotImplementedError

    def fingerprint(self) -> str:
        raise NotImplementedError


def test_images_that_are_decoded_on_demand_have_the_same_scores(small_parts: None) -> None:
    train = toy().train
    images = (255 * np.clip(train.images, 0, 1)).astype(np.uint8)
    classifier = NumpyBackend().build("linear", classes=3, image_shape=(6, 6, 1), seed=1)
    for name in KEYS["ranking.extra"]:
        metric = DIFFICULTIES.get(name)
        assert isinstance(metric, MeasuredDifficulty)
        scores = [
            metric.measure(ExtraPass(classifier, Examples(each, train.labels, 3))) for each in (images, Decoded(images))
        ]
        np.testing.assert_array_equal(*scores)
