"""What functions of plug-ins return and raise in a framework: checked, projected as in numpy, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from plugin_folders import registries_as_they_were

from sat_core.attack_kinds import ATTACKS, AttackKind
from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.loss_spec import LossSpec
from sat_core.member_losses import LOSSES, Loss
from sat_core.reference import NumpyBackend
from sat_core.splits import Split
from sat_core.testing import samples
from sat_core.testing.options import Option

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with registries_as_they_were():
        yield


def _raising(*arguments: Any) -> Any:
    raise KeyError("oops")


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_adversarial_images_are_projected_and_clipped(backend: Backend, norm: str) -> None:
    def far(gradient: Any, images: Any, labels: Any, attack: Any, start: Any) -> Any:
        return images + 3 * gradient(images)[1]

    for name, projects in (("far", True), ("further", False)):
        kind = AttackKind(name=name, single=True, projects=projects, functions={backend.name: far, "numpy": far})
        ATTACKS.register(name, kind)
        data, classifier = samples.examples(4), samples.build(backend, "linear")
        oracle = NumpyBackend().new(classifier.description)
        oracle.load_state(classifier.state())
        attack = AttackSpec(kind=name, norm=norm, eps=0.05)
        made, expected = (of.perturb(data.images, data.labels, attack) for of in (classifier, oracle))
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(SpecError, match=r"^attack 'wrong': expected images of shape \((n|4), .*\), got \("):
        _attacked(classifier, backend, lambda *of: of[1][:, :1])
    with pytest.raises(SpecError, match=r"^attack 'wrong': KeyError: 'oops'$"):
        _attacked(classifier, backend, _raising)


def _attacked(classifier: Any, backend: Backend, function: Callable[..., Any]) -> None:
    with registries_as_they_were():
        ATTACKS.register("wrong", AttackKind(name="wrong", single=True, functions={backend.name: function}))
        data = samples.examples(4)
        classifier.perturb(data.images, data.labels, AttackSpec(kind="wrong", eps=0.1))


def test_losses_of_another_shape_and_errors_are_named(backend: Backend) -> None:
    for pairs in (False, True):
        for function, message in (
            (lambda z, *_: z[0, 0], r"expected losses of shape \(m,\), got \(\)"),
            (lambda z, *_: z[:, :1], r"expected losses of shape \(m,\), got \(.*, 1\)"),
            (_raising, "KeyError: 'oops'"),
        ):
            loss = Loss()
            loss.name, loss.pairs, loss.functions = "wrong", pairs, {backend.name: function}
            with registries_as_they_were():
                LOSSES.register("wrong", loss)
                trainer, plans = Option(loss={"kind": "wrong"}).trainer(backend, samples.build(backend, "linear"))
                with pytest.raises(SpecError, match=f"^loss 'wrong': {message}$"):
                    samples.train(trainer, plans[:1])


def test_a_loop_of_ones_own_names_a_missing_function_when_it_is_made(backend: Backend) -> None:
    loss = Loss()
    loss.name, loss.functions = "missing", {"other": _raising}
    LOSSES.register("missing", loss)
    split = Split(kind="examples", strategy="listed", members=np.arange(4) < 2, classes=None, weights=(1.0, 1.0))
    make = import_module(f"sat_{backend.name}").SubsetAdversarialStep
    with pytest.raises(SpecError, match=f"^loss 'missing': has no function for the backend '{backend.name}'"):
        make(samples.build(backend, "linear").native, split, samples.attack(), loss=LossSpec(kind="missing"))
