"""Several threat models side by side: how they are named, and the matrix of their evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toys import job, pgd_evaluator, toy

from sat_core.errors import DataError, SpecError
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.front_grid import evaluate_grid
from sat_core.threat import L1, THREAT_MODELS, norm_of
from sat_core.threat_grid import Threat, ThreatGrid
from sat_core.threat_matrix import ThreatMatrix, ThreatSummary, evaluate_threats, name_of_left

GRID = ThreatGrid.parse("Linf:8/255,4/255 L2:0.5,0.25,1.0 L1:12")


def test_norms_stay_in_their_order_and_radii_ascend() -> None:
    assert [(threat.norm, threat.eps) for threat in GRID.threats] == [
        ("Linf", 4 / 255),
        ("Linf", 8 / 255),
        ("L2", 0.25),
        ("L2", 0.5),
        ("L2", 1.0),
        ("L1", 12.0),
    ]
    assert str(GRID) == "Linf:4/255,8/255 L2:0.25,0.5,1.0 L1:12"
    assert ThreatGrid.parse(str(GRID)) == GRID
    assert str(GRID.threats[0]) == "Linf ε = 4/255"
    assert ThreatGrid.parse("L2:0.5 Linf:0.1 L2:0.25") == ThreatGrid.parse("L2:0.25,0.5 Linf:0.1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'grid: expected norms with radii, as "Linf:4/255,8/255 L2:0.25,0.5", got nothing'),
        ("L2", "grid: expected norms with radii, .* got 'L2'"),
        ("L2:", "got 'L2:'"),
        ("L2:0.5,", "got 'L2:0.5,'"),
        (":0.5", "got ':0.5'"),
        ("linf:8/255", r"unknown norm 'linf' \(did you mean 'Linf'"),
        ("L2:0", "expected radii > 0 of L2, as 0.5 or 8/255, got '0'"),
        ("L2:-1", "got '-1'"),
        ("L2:nan", "got 'nan'"),
        ("L2:inf", "got 'inf'"),
        ("L2:1/0", "got '1/0'"),
        ("L2:__import__('os')", "expected radii > 0"),
        ("L2:0.5,1/2", "expected each radius of L2 once, got '1/2' again"),
        ("L2:0.5 L2:0.5", "once"),
        ("Linf:8", "grid: expected less than 1, the Linf diameter .* did you mean 8/255"),
    ],
)
def test_what_is_no_grid(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ThreatGrid.parse(text)


def test_a_radius_fits_the_images() -> None:
    with pytest.raises(SpecError, match=r"attack\.eps: expected less than 36, the L1 diameter of 6 x 6 x 1"):
        Threat("L1", 36.0).check_images((6, 6, 1))
    Threat("L1", 35.0).check_images((6, 6, 1))


def test_l1_is_a_sum_and_no_threat_model_to_train_in() -> None:
    assert norm_of("L1").size(np.array([[[0.5, -0.25]], [[0.0, 1.0]]])).tolist() == [0.75, 1.0]
    assert isinstance(norm_of("L1"), L1)
    assert "L1" not in THREAT_MODELS.loaded()
    assert norm_of("L2") is THREAT_MODELS.get("L2")


def evaluation(threat: Threat, broken_by: list[int]) -> Evaluation:
    values = np.array(broken_by)
    return Evaluation(
        label=np.zeros(len(values), np.int64),
        broken_by=values,
        attacks=(),
        norm=threat.norm,
        eps=threat.eps,
        package="numpy 2",
        warnings=(f"about {threat}",),
    )


def test_larger_radii_attack_what_smaller_ones_have_left() -> None:
    """Each norm begins with all images."""
    asked = []
    answers = {
        ("L2", 0.25): [ROBUST, MISCLASSIFIED, 0, ROBUST, ROBUST],
        ("L2", 0.5): [ROBUST, 1, ROBUST],
        ("L2", 1.0): [0, 0],
        ("Linf", 0.1): [ROBUST, MISCLASSIFIED, ROBUST, ROBUST, ROBUST],
    }

    def attack(threat: Threat, index: np.ndarray) -> Evaluation:
        asked.append((threat.norm, threat.eps, index.tolist()))
        return evaluation(threat, answers[threat.norm, threat.eps])

    matrix = evaluate_threats(ThreatGrid.parse("L2:0.25,0.5,1.0,1.5 Linf:0.1"), 5, attack)
    # With none left there is nothing to ask.
    assert asked == [
        ("L2", 0.25, [0, 1, 2, 3, 4]),
        ("L2", 0.5, [0, 3, 4]),
        ("L2", 1.0, [0, 4]),
        ("Linf", 0.1, [0, 1, 2, 3, 4]),
    ]
    assert matrix.arrays()["broken_by"].tolist() == [
        [ROBUST, MISCLASSIFIED, 0, ROBUST, ROBUST],
        [ROBUST, MISCLASSIFIED, 0, 1, ROBUST],
        [0, MISCLASSIFIED, 0, 1, 0],
        [0, MISCLASSIFIED, 0, 1, 0],
        [ROBUST, MISCLASSIFIED, ROBUST, ROBUST, ROBUST],
    ]
    assert [each.eps for each in matrix.evaluations] == [0.25, 0.5, 1.0, 1.5, 0.1]
    assert matrix.evaluations[3].warnings == ()
    assert [accuracy.value for accuracy in matrix.robust_accuracies] == [0.6, 0.4, 0, 0, 0.8]
    assert matrix.survives.tolist() == [False] * 5


def test_other_images_that_are_left_have_another_name() -> None:
    names = {name_of_left(np.array(left), 5) for left in ([0, 1, 2], [0, 1, 3], [0, 1], [1])}
    assert len(names) == 4
    assert all(name.startswith(f"left-{size}-") for name, size in zip(sorted(names), (1, 2, 3, 3), strict=True))
    assert name_of_left(np.arange(5), 5) == ""


def test_a_norm_that_an_engine_lacks_is_said_before_the_first_attack(tmp_path: Path) -> None:
    classifier, data = job(tmp_path).build(), toy().test
    with pytest.raises(SpecError, match="expected L2 or Linf with the engine 'fast', got 'L1'"):
        evaluate_grid(classifier, data.images, data.labels, "L2:0.5 L1:1", engine="fast", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_survives_all_is_in_every_row() -> None:
    grid = ThreatGrid.parse("L2:0.25 Linf:0.1")
    rows = [[ROBUST, ROBUST, 0, MISCLASSIFIED], [ROBUST, 0, ROBUST, MISCLASSIFIED]]
    matrix = ThreatMatrix(grid=grid, evaluations=tuple(map(evaluation, grid.threats, rows)))
    assert matrix.survives.tolist() == [True, False, False, False]
    assert (matrix.every.value, matrix.clean_accuracy.value) == (0.25, 0.75)
    summary = matrix.summary(2, experiment="1234")
    assert summary.every.all == matrix.every
    assert summary.clean.per_class == (matrix.clean_accuracy, None)
    assert [each.attacks.norm for each in summary.threats] == ["L2", "Linf"]
    assert ThreatSummary.from_json(summary.to_json()) == summary
    wrong = summary.to_json()
    wrong["every_threat"]["all"]["n"] = 0
    with pytest.raises(DataError, match=r"every_threat\.all\.n: expected an integer >= 1"):
        ThreatSummary.from_json(wrong)
    assert "every threat: 0.250" in repr(matrix)
    assert "every threat" in matrix._repr_html_()


def test_radii_of_a_network_are_as_one_by_one_but_never_rise(tmp_path: Path) -> None:
    """Of an attack without random numbers, which is not changed by who is attacked with it."""
    data, classifier = toy().test, job(tmp_path).build()
    rng = np.random.default_rng(0)
    state = {name: rng.normal(0, 0.5, v.shape).astype(v.dtype) for name, v in classifier.state().items()}
    classifier.load_state(state)
    labels = classifier.logits(data.images).argmax(1)

    def attack(threat: Threat, index: np.ndarray) -> Evaluation:
        options = {"norm": threat.norm, "eps": threat.eps, "progress": lambda *_: None}
        return pgd_evaluator(classifier, data.images[index], labels[index], **options)

    grid = ThreatGrid.parse("L2:0.05,0.1,0.2 Linf:1/255,8/255")
    matrix = evaluate_threats(grid, len(labels), attack)
    alone = np.array([attack(threat, np.arange(len(labels))).robust for threat in grid.threats])
    alone[1] &= alone[0]
    alone[2] &= alone[1]
    alone[4] &= alone[3]
    assert np.array_equal(matrix.robust, alone)
    assert 0 < alone[1].sum() < alone[0].sum()  # else this says nothing
    assert np.array_equal(matrix.survives, alone.all(0))
