"""Properties of geometry, difficulty, selection, splits and weights, on random inputs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sat_core.accuracy import Accuracies, accuracies, wilson
from sat_core.data import DataSet, Examples
from sat_core.errors import SpecError
from sat_core.sections import SubsetSpec
from sat_core.splits import count, hardest_first, make_split, validation_permutation, validation_split
from sat_core.threat import THREAT_MODELS, ThreatModel
from sat_core.weighting import WEIGHTING_RULES

THREATS = [THREAT_MODELS.get(name) for name in THREAT_MODELS]
threats = pytest.mark.parametrize("threat", THREATS, ids=lambda t: t.name)
deltas = hnp.arrays(np.float32, (3, 4, 4, 2), elements=st.floats(-2, 2, width=32))
radii = st.floats(0, 3)


@threats
@given(delta=deltas, eps=radii)
def test_projection_lands_in_the_ball_and_leaves_what_is_inside(
    threat: ThreatModel, delta: np.ndarray, eps: float
) -> None:
    projected = threat.project(delta, eps)
    assert (threat.size(projected) <= eps + 1e-6).all()
    inside = threat.size(delta) <= eps - 1e-6
    np.testing.assert_array_equal(projected[inside], delta[inside])
    np.testing.assert_allclose(threat.project(projected, eps), projected, atol=1e-6)


@threats
@given(gradient=deltas)
def test_no_unit_step_ascends_faster(threat: ThreatModel, gradient: np.ndarray) -> None:
    step = threat.ascent_direction(gradient)
    assert (threat.size(step) <= 1 + 1e-5).all()
    other = np.random.default_rng(0).normal(size=gradient.shape)
    other /= np.maximum(threat.size(other), 1e-9)[:, None, None, None]
    along, others = ((g * gradient).sum(axis=(1, 2, 3)) for g in (step.astype(np.float64), other))
    assert (along >= others - 1e-4).all()


@threats
@given(eps=radii, seed=st.integers(0, 100))
def test_random_starts_lie_in_the_ball(threat: ThreatModel, eps: float, seed: int) -> None:
    start = threat.random_start(np.random.default_rng(seed), (5, 3, 3, 2), eps)
    assert start.dtype == np.float32
    assert (threat.size(start) <= eps * (1 + 1e-5) + 1e-7).all()


@given(share=st.floats(0, 1), total=st.integers(1, 10**6))
def test_a_share_is_floored_exactly(share: float, total: int) -> None:
    assert 0 <= count(share, total) <= total
    assert count(round(share, 2), 100) == round(round(share, 2) * 100)
    assert count(1.0, total) == total


@given(scores=hnp.arrays(np.float64, 20, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])))
def test_hardest_first_breaks_ties_by_number(scores: np.ndarray) -> None:
    order = hardest_first(scores)
    assert sorted(order) == list(range(20))
    for a, b in pairwise(order):
        assert scores[a] > scores[b] or (scores[a] == scores[b] and a < b)


def _data(n: int = 40, classes: int = 4) -> DataSet:
    rng = np.random.default_rng(0)
    parts = [Examples(rng.random((n, 4, 4, 1), np.float32), np.arange(n) % classes, classes, part) for part in "ab"]
    names = tuple("abcdefgh"[:classes])
    return DataSet(name="toy", train=parts[0], test=parts[1], class_names=names, mean=(0.5,), std=(0.5,))


@settings(deadline=None)
@given(
    size=st.one_of(st.integers(0, 40), st.floats(0, 1)),
    strategy=st.sampled_from(["hardest", "easiest", "random"]),
    rule=st.sampled_from(sorted(WEIGHTING_RULES)),
    seed=st.integers(0, 5),
)
def test_splits_have_their_size_and_take_from_the_right_end(
    size: int | float, strategy: str, rule: str, seed: int
) -> None:
    data, scores = _data(), np.random.default_rng(seed).permutation(40).astype(float)
    split = make_split(SubsetSpec(strategy=strategy, size=size, seed=seed), rule, data, scores=scores)
    n = count(size, 40)
    assert split.size == n
    assert split.mask_over(data.test.labels) is None
    if 0 < n < 40 and strategy != "random":
        inside, outside = scores[split.members], scores[~split.members]
        assert inside.min() > outside.max() if strategy == "hardest" else inside.max() < outside.min()
    again = make_split(SubsetSpec(strategy=strategy, size=size, seed=seed), rule, data, scores=scores)
    np.testing.assert_array_equal(split.members, again.members)


def test_easiest_is_the_reverse_of_hardest_even_with_ties() -> None:
    data, scores = _data(), np.zeros(40)
    hard, easy = (
        make_split(SubsetSpec(strategy=s, size=20), "uniform", data, scores=scores) for s in ("hardest", "easiest")
    )
    np.testing.assert_array_equal(hard.members, ~easy.members)


def test_classes_are_ranked_by_their_mean_and_split_validation_too() -> None:
    data = _data()
    scores = np.array([0.0, 3.0, 1.0, 2.0])[data.train.labels] + np.random.default_rng(0).normal(0, 0.1, 40)
    split = make_split(SubsetSpec(kind="classes", size=2), "balanced", data, scores=scores)
    assert split.classes == (1, 3)
    assert split.weights == (1.0, 1.0)
    mask = split.mask_over(np.array([0, 1, 2, 3]))
    assert mask is not None
    assert mask.tolist() == [False, True, False, True]
    order = np.argsort(-scores, kind="stable")
    assert make_split(SubsetSpec(kind="classes", size=2), "uniform", data, order=order).classes == (1, 3)


def test_listed_classes_by_number_and_name() -> None:
    split = make_split(SubsetSpec(kind="classes", strategy="listed", classes=("c", 0)), "balanced", _data())
    assert split.classes == (0, 2)
    for wrong in (("z",), (4,), (-1,), ("a", 0)):
        with pytest.raises(SpecError, match=r"subset\.classes"):
            make_split(SubsetSpec(kind="classes", strategy="listed", classes=wrong), "uniform", _data())


def test_a_partial_ranking_serves_up_to_its_length() -> None:
    order = np.array([7, 3, 9])
    assert np.flatnonzero(make_split(SubsetSpec(size=2), "uniform", _data(), order=order).members).tolist() == [3, 7]
    with pytest.raises(SpecError, match="'easiest' needs a ranking of all 40 examples, got 3"):
        make_split(SubsetSpec(strategy="easiest", size=2), "uniform", _data(), order=order)
    with pytest.raises(SpecError, match="at most the 3 examples"):
        make_split(SubsetSpec(size=4), "uniform", _data(), order=order)
    with pytest.raises(SpecError, match="expected at most 40, got 41"):
        make_split(SubsetSpec(size=41), "uniform", _data(), order=order)
    with pytest.raises(SpecError, match="expected a ranking"):
        make_split(SubsetSpec(size=4), "uniform", _data())


@given(total=st.integers(2, 1000), share=st.floats(0.001, 0.999))
def test_weights_balance_and_emphasise(total: int, share: float) -> None:
    in_a = min(max(1, round(share * total)), total - 1)
    uniform, balanced, emphasised = (
        WEIGHTING_RULES.get(n).weights(in_a, total) for n in ("uniform", "balanced", "emphasised")
    )
    assert uniform == (1.0, 1.0)
    assert balanced[0] * in_a == pytest.approx(balanced[1] * (total - in_a))
    assert emphasised[0] / balanced[0] == pytest.approx(1 + 10 * in_a / total)
    assert all(w[1] == 1.0 for w in (balanced, emphasised))


def test_emphasised_weights_are_the_published_ones() -> None:
    published = [18, 12, 9.3333, 7.5, 6, 4.6667, 3.4286, 2.25, 1.1111]
    weights = [WEIGHTING_RULES.get("emphasised").weights(i, 10)[0] for i in range(1, 10)]
    np.testing.assert_allclose(weights, published, atol=1e-4)
    for rule in WEIGHTING_RULES:
        assert WEIGHTING_RULES.get(rule).weights(0, 10) == WEIGHTING_RULES.get(rule).weights(10, 10) == (1.0, 1.0)


def test_the_validation_permutation_is_the_authors() -> None:
    order = validation_permutation(10000)
    assert order[:8].tolist() == [4566, 7893, 6911, 3409, 7016, 7049, 5131, 2618]
    assert sorted(order) == list(range(10000))


def test_the_authors_report_positions_1000_to_8999() -> None:
    from sat_core.evaluation_spec import EvaluationSpec

    picking, reporting = validation_split(10000, EvaluationSpec(examples=0.8))
    order = validation_permutation(10000)
    np.testing.assert_array_equal(picking, order[:1000])
    np.testing.assert_array_equal(reporting, order[1000:9000])
    assert len(validation_split(360, EvaluationSpec(selection_share=0.25))[1]) == 270
    for wrong in (1.0, 271, 361):
        with pytest.raises(SpecError, match=r"evaluation\.examples: expected 1 to 270"):
            validation_split(360, EvaluationSpec(selection_share=0.25, examples=wrong))


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_wilson_intervals_contain_the_share(n: int, share: float) -> None:
    k = round(share * n)
    interval = wilson(k, n)
    assert interval is not None
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.count == k
    assert wilson(0, 0) is None


def test_wilson_against_a_published_value() -> None:
    interval = wilson(81, 263)  # Newcombe 1998, Table I: 0.2553 to 0.3662
    assert interval is not None
    assert tuple(round(end, 4) for end in interval.interval) == (0.2553, 0.3662)


@given(data=st.data(), classes=st.integers(1, 6), n=st.integers(1, 40))
def test_accuracies_are_those_of_the_examples(data: st.DataObject, classes: int, n: int) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    good, label, in_a = draw.random(n) < 0.5, draw.integers(0, classes, n), draw.random(n) < 0.5
    masks = {"all": np.ones(n, bool), "a": in_a, "b": ~in_a}
    expected = {part: wilson(int(good[mask].sum()), int(mask.sum())) for part, mask in masks.items()}
    assert accuracies(good, label, None, in_a) == Accuracies(**expected)
    per_class = tuple(wilson(int(good[label == c].sum()), int((label == c).sum())) for c in range(classes))
    assert accuracies(good, label, classes, in_a) == Accuracies(**expected, per_class=per_class)
