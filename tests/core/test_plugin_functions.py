"""What functions of plug-ins return and raise: checked, projected, and named, in the reference and on its way there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from plugin_folders import registries_as_they_were

from sat_core.attack_kinds import ATTACKS, AttackKind
from sat_core.attack_spec import AttackSpec
from sat_core.classifier import Classifier
from sat_core.errors import SpecError
from sat_core.loss_spec import LossSpec
from sat_core.member_losses import LOSSES, Loss
from sat_core.numpy_ops import NUMPY
from sat_core.reference import NumpyBackend
from sat_core.reference.member_losses import member_losses
from sat_core.testing import samples
from sat_core.threat import THREAT_MODELS


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with registries_as_they_were():
        yield


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return samples.build(NumpyBackend(), "linear")


def _raising(*arguments: Any) -> Any:
    raise KeyError("oops")


def _attacked(classifier: Classifier, function: Callable[..., Any], **more: Any) -> np.ndarray:
    kind = AttackKind(name="wrong", single=True, functions={"numpy": function}, **more)
    with registries_as_they_were():
        ATTACKS.register(kind.name, kind)
        data = samples.examples(4)
        return classifier.perturb(data.images, data.labels, AttackSpec(kind="wrong", norm="L2", eps=0.1))


def test_what_an_attack_returns_is_checked_projected_and_clipped(classifier: Classifier) -> None:
    images = samples.examples(4).float_images()
    far = images + np.linspace(-3, 3, images[0].size, dtype=np.float32).reshape(images[0].shape)
    delta = THREAT_MODELS.get("L2").project(far - images, 0.1)
    np.testing.assert_array_equal(_attacked(classifier, lambda *_: far), np.clip(images + delta, 0, 1))
    # without projection only the range of pixels is kept
    unprojected = _attacked(classifier, lambda *_: far, projects=False)
    np.testing.assert_allclose(unprojected, np.clip(far, 0, 1), atol=1e-6)
    for value, got in ((far[:1], far[:1].shape), (far[..., 0], far.shape[:3]), (None, "NoneType")):
        with pytest.raises(SpecError) as error:
            _attacked(classifier, lambda *_, value=value: value)
        assert str(error.value) == f"attack 'wrong': expected images of shape {far.shape}, got {got}"
    with pytest.raises(SpecError, match=r"^attack 'wrong': KeyError: 'oops'$"):
        _attacked(classifier, _raising)


def test_an_attack_of_functions_says_how_many_gradients_it_takes() -> None:
    """By which costs are counted; one of a single step has said so."""
    with pytest.raises(
        SpecError, match=r"^attack 'mine': expected steps, the number of gradients .*, got none; as Att"
    ):
        AttackKind(name="mine", functions={"torch": "package:attack"})
    ATTACKS.register("mine", AttackKind(name="mine", steps=10, functions={"torch": "package:attack"}))
    assert AttackSpec(kind="mine").passes == 10
    assert AttackKind(name="one", single=True, functions={"torch": "package:attack"}).steps == 1
    assert AttackKind(name="none").steps == 1


class _Own(Loss):
    """A loss whose values are given."""

    name = "own"

    def __init__(self, losses: Callable[..., Any]) -> None:
        self.functions = {"numpy": losses}


def test_losses_of_another_shape_and_errors_are_refused_with_the_name_of_the_loss() -> None:
    logits, targets = np.zeros((3, 5)), np.eye(5)[:3]
    for value, got in ((np.zeros(()), "()"), (np.zeros((3, 1)), "(3, 1)"), (np.zeros(1), "(1,)"), (1.0, "float")):
        loss = _Own(lambda *_, value=value: value)
        with pytest.raises(SpecError) as error:
            loss.checked(NUMPY, logits, None, targets, 0.0)
        assert str(error.value) == f"loss 'own': expected losses of shape (m,), got {got}"
    LOSSES.register("own", _Own(lambda *_: (np.zeros(()), logits, logits)))
    with pytest.raises(SpecError, match=r"^loss 'own': expected losses of shape \(m,\), got \(\)$"):
        member_losses("own", logits, None, targets, 0.0)
    LOSSES.get("own").functions = {"numpy": _raising}
    for call in (
        lambda: member_losses("own", logits, None, targets, 0.0),
        lambda: LOSSES.get("own").checked(NUMPY, logits, None, targets, 0.0),
    ):
        with pytest.raises(SpecError, match=r"^loss 'own': KeyError: 'oops'$"):
            call()


def test_a_full_device_is_said_as_the_framework_does() -> None:
    """So that the call is tried again on fewer images."""

    class OutOfMemoryError(RuntimeError):
        pass

    def full() -> None:
        raise OutOfMemoryError

    with pytest.raises(OutOfMemoryError):
        _Own(full).call(full)


def test_class_weights_may_be_an_array() -> None:
    assert LossSpec(class_weights=np.array([1, 2.5])).class_weights == (1.0, 2.5)  # type: ignore[arg-type]
    for wrong in (np.ones((2, 2)), np.zeros(3), np.array(1.0), {"a": 1}):
        with pytest.raises(SpecError, match=r"^loss\.class_weights: expected none, balanced, or a list of one number"):
            LossSpec(class_weights=wrong)  # type: ignore[arg-type]


def test_a_warm_up_is_for_trainings(classifier: Classifier) -> None:
    data = samples.examples(2)
    with pytest.raises(SpecError, match=r"^perturb: a warm-up is a way to train, .*; take attack\.warmup = 0$"):
        classifier.perturb(data.images, data.labels, AttackSpec(warmup=1.0))
