"""`examples/plugin`, built as a wheel and installed beside sat-core: what it brings is right, and trains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from plugin_folders import registries_as_they_were
from toys import digits

from sat_core.attack_kinds import ATTACKS, AttackKind
from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import AttackSettings
from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.evaluator import get_evaluator
from sat_core.geometry import get_geometry
from sat_core.loss_spec import LossSpec
from sat_core.reference import NumpyBackend
from sat_core.testing import CHECKS, ContractError, samples
from sat_core.threat import THREAT_MODELS

pytestmark = pytest.mark.backend

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the path, with what the wheel has. Built in a copy, without a network."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, str(folder)],
        cwd=folder / "source",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:  # all that an installer does with a wheel of Python files
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture
def loaded(installed: Path) -> Iterator[None]:
    """Inside, the plug-in is found in this process."""
    with registries_as_they_were():
        sys.path.insert(0, str(installed))
        yield


def test_the_definition_of_l1_is_right(loaded: None) -> None:
    """Projection by bisection on θ; a step goes along the greatest gradients; starts are in the ball."""
    threat, rng = THREAT_MODELS.get("L1"), np.random.default_rng(0)
    delta = rng.normal(size=(6, 4, 4, 3)) * np.geomspace(1e-2, 10, 6)[:, None, None, None]
    projected = threat.project(delta, 2.0)
    for one, found in zip(delta, projected, strict=True):
        low, high = 0.0, np.abs(one).max()
        for _ in range(100):
            theta = (low + high) / 2
            low, high = (low, theta) if np.maximum(np.abs(one) - theta, 0).sum() <= 2.0 else (theta, high)
        np.testing.assert_allclose(found, np.sign(one) * np.maximum(np.abs(one) - high, 0), atol=1e-9)
    np.testing.assert_array_equal(threat.project(delta, 1e4), delta)
    np.testing.assert_array_equal(threat.project(delta, 0.0), np.zeros_like(delta))
    step = threat.ascent_direction(delta).reshape(6, 48)
    assert ((step != 0).sum(axis=1) == 2).all()  # 5 % of 48 pixel values
    for row, gradient in zip(step, delta.reshape(6, 48), strict=True):
        best = np.abs(gradient).argsort()[-2:]
        np.testing.assert_allclose(row[best], np.sign(gradient[best]) / 2)
    assert (threat.size(threat.random_start(rng, (50, 4, 4, 3), 2.0)) <= 2.0 + 1e-5).all()
    assert threat.ascent_direction(np.zeros((1, 4, 4, 3))).max() == 0
    attack = AttackSpec(norm="L1")
    assert (attack.eps, attack.step_size) == (12.0, 3.0)
    with pytest.raises(SpecError, match=r"attack\.eps: expected less than 64, the L1 diameter of 8 x 8 x 1 images"):
        AttackSpec(norm="L1", eps=70.0).check_images((8, 8, 1))


def test_the_contract_holds_for_what_it_brings(loaded: None, backend: Backend) -> None:
    """Geometry and loss in the backend follow numpy's; `get_geometry` and `LossSpec` load them by name."""
    assert LossSpec(kind="gce").beta == 0
    assert get_geometry("L1", _Ops(backend.name)).name == "L1"
    for name in (
        "attacks_stay_inside_and_touch_nothing",
        "attacks_on_half_precision_stay_inside",
        "attacks_follow_the_oracle",
        "losses_of_plugins_are_those_of_their_numpy_functions",
        "threat_models_of_plugins_train_as_their_definitions",
    ):
        CHECKS[name](backend)
    CHECKS["attacks_stay_inside_and_touch_nothing"](NumpyBackend())


class _Ops:
    def __init__(self, backend: str) -> None:
        self.backend = backend


def test_an_attack_of_a_plug_in_is_called_with_native_tensors(loaded: None, backend: Backend) -> None:
    """One normalised step in L2, in each framework; the contract compares it with numpy's."""

    def in_torch(gradient: Any, images: Any, labels: Any, attack: AttackSpec, start: Any) -> Any:
        slope = gradient(images)[1]
        return (images + attack.eps * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]).clamp(0, 1)

    def in_tensorflow(gradient: Any, images: Any, labels: Any, attack: AttackSpec, start: Any) -> Any:
        import tensorflow as tf

        slope = gradient(images)[1]
        length = tf.sqrt(tf.reduce_sum(slope**2, axis=(1, 2, 3), keepdims=True))
        return tf.clip_by_value(images + attack.eps * slope / length, 0, 1)

    def in_numpy(gradient: Any, images: Any, labels: Any, attack: AttackSpec, start: Any) -> Any:
        slope = gradient(images)[1]
        return np.clip(images + attack.eps * slope / np.sqrt((slope**2).sum(axis=(1, 2, 3), keepdims=True)), 0, 1)

    functions = {"torch": in_torch, "tensorflow": in_tensorflow, "numpy": in_numpy}
    ATTACKS.register("sat-test-step", AttackKind(name="sat-test-step", steps=1, functions=functions))
    CHECKS["attacks_of_plugins_stay_inside"](backend)
    halved = {**functions, backend.name: lambda *rest: (rest[1] + functions[backend.name](*rest)) / 2}
    ATTACKS.register("sat-test-half", AttackKind(name="sat-test-half", steps=1, functions=halved))
    with pytest.raises(ContractError, match="attack 'sat-test-half': expected 97% within"):
        CHECKS["attacks_of_plugins_stay_inside"](backend)


def test_autoattack_attacks_in_l1(loaded: None, backend: Backend) -> None:
    """All four attacks of the standard level, shortened; each image that is broken is checked to be in the ball."""
    classifier, data = samples.build(backend, "small-cnn"), samples.examples(12)
    labels = classifier.logits(data.images).argmax(axis=1)
    attacks = (
        AttackSettings(name="apgd-ce", iterations=10, restarts=1),
        AttackSettings(name="apgd-t", iterations=10, target_classes=2),
        AttackSettings(name="fab-t", iterations=5, target_classes=2),
        AttackSettings(name="square", queries=20),
    )
    options = {"norm": "L1", "seed": 0, "batch_size": 12}
    result = get_evaluator()(classifier, data.images, labels, eps=6.0, attacks=attacks, **options)
    assert [outcome.settings.name for outcome in result.breakdown()] == [attack.name for attack in attacks]
    assert result.norm == "L1"
    assert result.robust.mean() < 0.5 < result.correct.mean()
    weaker = get_evaluator()(classifier, data.images, labels, eps=1e-4, attacks=attacks[:2], **options)
    assert weaker.robust.mean() > result.robust.mean()
    with pytest.raises(SpecError, match="norm: expected L2 or Linf with the engine 'fast', got 'L1'\ntake the engine"):
        get_evaluator()(classifier, data.images, labels, eps=6.0, attacks=attacks, engine="fast", **options)


@pytest.mark.torch  # workers import plug-ins in the same way with both
def test_a_study_trains_with_it_in_worker_processes(installed: Path, tmp_path: Path) -> None:
    data = digits(tmp_path / "five.npz")
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    settings = {
        "data.name": f"npz:{data}",
        "training.epochs": 1,
        "training.batch_size": 32,
        "attack.steps": 2,
        "subset.size": "[0.3]",
        "evaluation.attacks": '["apgd-ce"]',
        "evaluation.selection_attacks": '["apgd-ce"]',
        "evaluation.selection_share": 0.05,
        "evaluation.examples": 4,
    }
    command = [sys.executable, "-m", "sat_evaluation.cli", "run", str(EXAMPLE / "study.toml"), "--jobs", "2"]
    command += ["--out", str(tmp_path / "out"), *(f"--set={key}={value}" for key, value in settings.items())]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("out/arms/*/results.json")}
    assert len(found) == 2
    strategies = {result["spec"]["subset"]["strategy"] for result in found.values()}
    assert strategies == {"middle", "hardest"}
    for result in found.values():
        assert result["spec"]["loss"]["kind"] == "gce"
        assert (result["attacks"]["norm"], result["attacks"]["eps"]) == ("L1", 3.0)
    members = [json.loads(path.read_text())["members"] for path in tmp_path.glob("out/arms/*/split.json")]
    assert members[0] != members[1]
