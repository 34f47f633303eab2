"""A network in a folder: what its config.json says, and the classifier that is made of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from toys import toy

import sat_core as sat
from sat_core.errors import CheckpointError, DataError, NotInstalledError, SatError
from sat_core.exported import CONFIG, Exported, zoo_name
from sat_core.input_spec import InputSpec
from sat_core.json_fields import from_json
from sat_core.reference import NumpyBackend
from sat_core.scaling import Scaling

INPUTS = InputSpec(3, (6, 6, 1), (0.4,), (0.3,))
EXPORTED = Exported(
    model="linear",
    inputs=INPUTS,
    class_names=("a", "b", "c"),
    backend="numpy",
    attack={"norm": "L2", "eps": 0.5},
    version={"sat-core": "1"},
    origin="0" * 64,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export of a linear network on toy data."""
    classifier = NumpyBackend().build_for(INPUTS, "linear", seed=3)
    save_file(classifier.state(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / CONFIG).write_text(json.dumps(EXPORTED.to_json()))
    return tmp_path


def test_config_says_all_that_a_network_is_and_is_read_as_it_was_written() -> None:
    scaled = InputSpec(3, (6, 6, 1), (0.4,) * 3, (0.3,) * 3, Scaling(size=8, crop=7, channels=3), "0")
    head = {"head": True, "source": INPUTS}
    for exported in (EXPORTED, Exported(model="", inputs=scaled, backend="torch", version={}, origin="1", **head)):
        content = json.loads(json.dumps(exported.to_json()))
        assert content["library_name"] == "sat-core"
        assert from_json(Exported, content) == exported


def test_a_folder_becomes_the_classifier_that_was_exported(folder: Path) -> None:
    images = toy().test.images[:5]
    expected = NumpyBackend().build_for(INPUTS, "linear", seed=3)
    loaded = sat.load_model(folder, NumpyBackend())
    np.testing.assert_array_equal(loaded.logits(images), expected.logits(images))
    assert (loaded.default_attack.norm, loaded.default_attack.eps) == ("L2", 0.5)
    adversarial = loaded.perturb(images, toy().test.labels[:5])
    assert 0 < np.linalg.norm((adversarial - images).reshape(5, -1), axis=1).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "os:system"}, "and an export never imports code"),
        ({"model": "timm:resnet18"}, "is a network for 'torch', got 'numpy'"),
        ({"inputs": {"classes": 3}}, "inputs: expected classes, image_shape, mean and std"),
        ({"inputs": {**INPUTS.to_dict(), "classes": 4}}, "expected shape (4, 36), got shape (3, 36)"),
        ({"inputs": {**INPUTS.to_dict(), "classes": 10**13}}, "makes no network"),
        ({"dtype": "int8"}, "dtype: expected one of float32"),
        ({"origin": 3}, "origin: expected text, got 3"),
    ],
)
def test_a_config_that_makes_no_network_is_refused_in_two_lines(
    folder: Path, changes: dict[str, Any], says: str
) -> None:
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**content, **changes}))
    with pytest.raises(SatError) as error:
        sat.load_model(folder, NumpyBackend())
    assert says in str(error.value)
    assert str(folder) in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_folders_that_are_no_export_and_weights_of_others_are_refused(folder: Path, tmp_path: Path) -> None:
    save_file({"fc.weight": np.zeros((3, 36), np.float32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'fc.bias': expected shape \(3,\), got nothing of that name"):
        sat.load_model(folder, NumpyBackend())
    (folder / CONFIG).unlink()
    with pytest.raises(CheckpointError, match=r"expected an export of sat-core \(config.json: .*\n`sat export`"):
        sat.load_model(folder, NumpyBackend())
    with pytest.raises(DataError, match="gone': expected a folder that is there, or OWNER/NAME"):
        sat.load_model(tmp_path / "gone", NumpyBackend())


def test_options_that_load_weights_or_name_files_never_reach_a_zoo() -> None:
    name = zoo_name("timm:resnet18d.ra2_in1k?pretrained&drop_rate=0.1&checkpoint_path=own.pth")
    assert (name.zoo, name.network, name.options) == ("timm", "resnet18d.ra2_in1k", {"drop_rate": "0.1"})
    for model in ("timm:hf-hub:a/b", "timm:resnet18?act=/etc/passwd", "timm:resnet18?x=a:b"):
        with pytest.raises(CheckpointError, match="expected words and numbers"):
            zoo_name(model)


def test_a_name_needs_the_library_that_fetches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(NotInstalledError, match=r"^hub: huggingface_hub is not installed \(.*pip install"):
        sat.load_model("owner/name")
    with pytest.raises(DataError, match="'no name': expected a folder that is there, or OWNER/NAME"):
        sat.load_model("no name")


def test_the_folder_of_a_study_is_no_checkpoint_and_names_an_arm(tmp_path: Path) -> None:
    from sat_core import checkpoint
    from sat_core.run_folder import RunFolder

    with pytest.raises(CheckpointError, match="no such checkpoint in this folder; expected one, a file of weights"):
        checkpoint.find(tmp_path)
    study = RunFolder(tmp_path)
    study.spec_file.touch()
    best = study.unit("size-0.5").best_checkpoint
    best.parent.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"the folder of a study; .*\nno arm of it has a checkpoint"):
        checkpoint.find(tmp_path)
    best.touch()
    with pytest.raises(CheckpointError, match=r"the folder of a study; .*\ntake .*/arms/size-0.5$"):
        checkpoint.find(tmp_path)
