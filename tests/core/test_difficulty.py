"""Difficulty: statistics of logits, the recorder that streams them, and scores, against independent computations."""

from __future__ import annotations

from itertools import pairwise

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sat_core.difficulty import STREAMED
from sat_core.errors import CheckpointError, DataError
from sat_core.moments import LARGEST, Moments, entropy, moments
from sat_core.recorder import Recorder


@given(hnp.arrays(np.float64, (4, 7), elements=st.floats(-1e300, 1e300)))
def test_entropy_is_between_0_and_log_k_for_any_logits(logits: np.ndarray) -> None:
    entropies = entropy(logits)
    assert ((entropies >= -1e-6) & (entropies <= np.log(7) + 1e-6)).all()


@given(hnp.arrays(np.float32, (5, 6), elements=st.floats(-30, 30, width=32)))
def test_entropy_is_minus_sum_p_log_p(logits: np.ndarray) -> None:
    p = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    expected = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(entropy(logits), expected, atol=1e-5)


def test_entropy_of_logits_at_minus_infinity_and_of_nan() -> None:
    np.testing.assert_allclose(entropy(np.array([[0.0, 0.0, -np.inf]], np.float32)), [np.log(2)], rtol=1e-6)
    with pytest.raises(DataError, match="NaN"):
        entropy(np.array([[0.0, np.nan]]))


def _recorded(logits: np.ndarray, labels: np.ndarray, epochs: range | None = None) -> Recorder:
    """A recorder of all epochs `(e, n, k)`, but for the examples that every third one leaves out, or of `epochs`."""
    recorder = Recorder(logits.shape[1], len(logits))
    _record(recorder, logits, labels, epochs or range(len(logits)))
    return recorder


def _record(recorder: Recorder, logits: np.ndarray, labels: np.ndarray, epochs: range) -> None:
    for epoch in epochs:
        for part in np.split(np.arange(len(labels))[_seen(epoch, len(labels))], [3]):
            recorder.update(part, logits[epoch][part], labels[part], epoch)


def _seen(epoch: int, n: int) -> np.ndarray:
    """Which examples an epoch has: the last two are in none of the last two of 17 epochs."""
    return np.arange(n) < n - 2 * (epoch >= 15) - (epoch % 3 == 0)


def test_recorder_streams_what_all_logits_together_would_give() -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(0, 3, (17, 8, 3)), rng.integers(0, 3, 8)
    scores = _recorded(z, labels).scores()
    assert [*scores] == [metric.name for metric in STREAMED]
    for i, label in enumerate(labels):
        seen = [epoch for epoch in range(17) if _seen(epoch, 8)[i]]
        logits = z[seen, i]
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        entropies, right = -(p * np.log(p)).sum(axis=1), p.argmax(axis=1) == label
        other, target = [c for c in range(3) if c != label], np.eye(3)[label]
        late = [e for epoch, e in zip(seen, entropies, strict=True) if epoch >= 15]
        expected = {
            "entropy": entropies.mean(),
            "error": 1 - right.mean(),
            "variance": p[:, label].var(),
            "margin": (p[:, other].max(axis=1) - p[:, label]).mean(),
            "loss": -np.log(p[:, label]).mean(),
            "el2n": np.linalg.norm(p - target, axis=1).mean(),
            "forgetting": sum(before and not now for before, now in pairwise(right)),
            "aum": (logits[:, other].max(axis=1) - logits[:, label]).mean(),
            "late-entropy": np.mean(late) if late else entropies[-1],
        }
        for name, value in expected.items():
            np.testing.assert_allclose(scores[name][i], value, rtol=1e-9, atol=1e-12, err_msg=f"{name} of {i}")


def test_what_was_never_right_is_forgotten_most() -> None:
    """And one that was never wrong least, in a training of any number of epochs."""
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    logits = np.array([[right, wrong, wrong, right], [right, wrong, right, wrong], [right, wrong, right, right]])
    recorder = Recorder(4, 3)
    for epoch in range(3):
        recorder.update(np.arange(4), logits[epoch], np.zeros(4, np.int64), epoch)
    assert recorder.scores()["forgetting"].tolist() == [0, 3, 0, 1]


def test_recorder_goes_on_from_its_state_and_refuses_what_cannot_be() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(17, 8, 3)), rng.integers(0, 3, 8)
    whole = _recorded(logits, labels).state()
    for stop in (1, 15, 16):  # before the last tenth of the epochs, between, and within
        second = Recorder(8, 17)
        second.load_state(_recorded(logits, labels, range(stop)).state())
        _record(second, logits, labels, range(stop, 17))
        for name, value in whole.items():
            np.testing.assert_array_equal(second.state()[name], value)
    recorder = Recorder(10, 2)
    recorder.update(np.arange(8), logits[0], labels, 0)
    with pytest.raises(DataError, match="2 of 10 examples were never seen"):
        recorder.scores()
    with pytest.raises(DataError, match=r"expected an epoch in 0\.\.1, got 2"):
        recorder.update(np.arange(8), logits[0], labels, 2)
    with pytest.raises(CheckpointError, match="expected shape"):
        Recorder(9, 17).load_state(whole)


def _independent(z: np.ndarray, y: np.ndarray) -> Moments:
    """The statistics as their definitions have them, from all probabilities in extended precision."""
    p = np.exp((z - z.max(axis=1, keepdims=True)).astype(np.longdouble))
    p /= p.sum(axis=1, keepdims=True)
    own, target = p[np.arange(len(y)), y], np.eye(z.shape[1])[y]
    others, rest = np.where(target == 1, 0, p), np.where(target == 1, -np.inf, z)
    return Moments(
        entropy=-(p * np.log(np.maximum(p, 1e-4000))).sum(axis=1),
        probability=own,
        error=p.argmax(axis=1) != y,
        margin=own - others.max(axis=1),
        loss=-np.log(own),
        logit_margin=z[np.arange(len(y)), y] - rest.max(axis=1),
        el2n=np.sqrt(((p - target) ** 2).sum(axis=1)),
    )


@given(
    hnp.arrays(np.float64, (7, 5), elements=st.floats(-300, 300)), st.lists(st.integers(0, 4), min_size=7, max_size=7)
)
def test_statistics_are_those_of_their_definitions(logits: np.ndarray, labels: list[int]) -> None:
    found, y = moments(logits, np.array(labels)), np.array(labels)
    for name, values in attrs.asdict(_independent(logits, y)).items():
        if name != "error":  # of labels that tie with another class, argmax knows the first only
            np.testing.assert_allclose(getattr(found, name), values.astype(float), rtol=1e-9, atol=1e-12, err_msg=name)


def test_losses_that_are_nearly_0_keep_their_digits_in_float32() -> None:
    """1 - p and log p have none left, as p is 1 in float32; examples that are learnt have to be told apart, too."""
    logits = np.array([[20.0, 0.0, 0.0], [30.0, 0.0, 0.0]], np.float32)
    found = moments(logits, np.zeros(2, np.int64))
    np.testing.assert_allclose(found.loss, 2 * np.exp([-20.0, -30.0]), rtol=1e-6)
    np.testing.assert_allclose(found.el2n, np.sqrt(6) * np.exp([-20.0, -30.0]), rtol=1e-6)


def test_statistics_of_huge_and_infinite_logits_are_finite() -> None:
    logits = np.array([[-1e30, 1e30, 0.0], [-np.inf, 0.0, 0.0], [0.0, -np.inf, -np.inf]], np.float32)
    found = moments(logits, np.zeros(3, np.int64))
    np.testing.assert_allclose(found.loss, [LARGEST, LARGEST, 0.0])
    np.testing.assert_allclose(found.logit_margin, [-LARGEST, -LARGEST, LARGEST])
    np.testing.assert_allclose(found.el2n, [np.sqrt(2), np.sqrt(1.5), 0.0])
    # e^12 is beyond the range of float16
    half = moments(np.array([[0.0, 12.0]], np.float16), np.array([0]))
    np.testing.assert_allclose([half.loss[0], half.el2n[0]], [12.000006, 1.4142049], rtol=1e-6)
