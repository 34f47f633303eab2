"""Confidence against accuracy, and accuracies on corrupted images, as objects."""

from __future__ import annotations

import numpy as np
import pytest

from sat_core.calibration import BINS, CalibrationSummary, calibration
from sat_core.corrupted import CorruptionSummary
from sat_core.errors import DataError


def test_the_error_is_the_mean_gap_of_bins_weighted_by_their_images() -> None:
    """Three images in one bin, of which two are correct, and one in another."""
    probabilities = np.array([[0.9, 0.1], [0.91, 0.09], [0.08, 0.92], [0.6, 0.4]])
    result = calibration(np.log(probabilities), np.array([0, 0, 0, 0]))
    assert result.ece == pytest.approx(3 / 4 * abs(2 / 3 - 0.91) + 1 / 4 * abs(1 - 0.6))
    assert (result.examples, result.accuracy) == (4, 0.75)
    assert result.confidence == pytest.approx((0.9 + 0.91 + 0.92 + 0.6) / 4)
    filled = [each for each in result.bins if each.count]
    assert [(each.count, each.accuracy) for each in filled] == [(1, 1), (3, pytest.approx(2 / 3))]
    assert len(result.bins) == BINS
    assert all(each.low < each.confidence <= each.high for each in filled if each.confidence is not None)


def test_all_images_are_in_a_bin_also_at_the_ends() -> None:
    sure, even = np.array([[1e4, 0.0, 0.0]]), np.zeros((1, 3))
    result = calibration(np.concatenate([sure, even]), np.array([0, 0]))
    assert [each.count for each in result.bins if each.count] == [1, 1]
    assert result.bins[-1].count == 1
    assert result.bins[4].count == 1  # 1/3 is the upper end of the fifth of 15 bins


def test_a_network_that_draws_from_its_own_confidence_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20000, 4))
    odds = np.exp(logits)
    labels = (rng.random((20000, 1)) > np.cumsum(odds / odds.sum(1, keepdims=True), 1)).sum(1)
    assert calibration(logits, labels).ece < 0.02
    assert calibration(3 * logits, labels).ece > 0.1


def test_what_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"expected logits \(n, k\) and labels \(n,\), got \(0, 3\) and \(0,\)"):
        calibration(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_summaries_are_read_as_they_were_written() -> None:
    clean = calibration(np.eye(3), np.arange(3))
    summary = CalibrationSummary(clean=clean, adversarial=clean, norm="L2", eps=0.5, experiment="12")
    assert CalibrationSummary.from_json(summary.to_json()) == summary
    with pytest.raises(DataError, match="clean"):
        CalibrationSummary.from_json({})


def test_the_mean_is_over_corruptions_and_severities() -> None:
    correct = {"fog": np.array([[True, True], [True, False]]), "jpeg": np.array([[False, False], [True, True]])}
    label = np.zeros(2, np.int64)
    summary = CorruptionSummary.of(np.array([True, True]), correct, label, constants="CIFAR-10-C", left_out=("snow",))
    assert [each.value for each in summary.accuracy["fog"]] == [1, 0.5]
    assert (summary.mean, summary.clean.value, summary.examples) == (0.625, 1, 2)
    assert CorruptionSummary.from_json(summary.to_json()) == summary
