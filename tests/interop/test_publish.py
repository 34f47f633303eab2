"""Exports beside other libraries: model cards, networks of zoos, ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lines_of_cards import by_lines_of_the_cards, close
from toys import contents

import sat_core as sat
from sat_core.arm_results import ArmResults
from sat_core.backend import Backend
from sat_core.errors import NotInstalledError, SpecError
from sat_core.exported import Exported
from sat_core.input_spec import InputSpec
from sat_core.scaling import Scaling
from sat_core.spec import Spec
from sat_evaluation.publish.card import card
from sat_evaluation.publish.export import export

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

ZOO = {
    "torch": [
        ("timm:resnet10t?drop_rate=0.1", (32, 32, 1), 5),
        ("timm:resnet10t?size=48", (32, 32, 3), 5),
        ("torchvision:squeezenet1_1", (33, 40, 3), 4),
    ],
    "tensorflow": [
        ("keras:MobileNet?alpha=0.25", (32, 32, 3), 5),
        ("keras:MobileNet?alpha=0.25&size=40", (32, 32, 1), 4),
    ],
}


def test_networks_of_zoos_come_back_by_name_and_by_the_library_alone(backend: Backend, tmp_path: Path) -> None:
    folders, expected = {}, []
    for number, (name, shape, classes) in enumerate(ZOO[backend.name]):
        normalised = InputSpec(classes, shape, (0.4,) * shape[2], (0.3,) * shape[2])
        classifier = backend.build_for(normalised, name, seed=number)
        folder, images = tmp_path / str(number), np.random.default_rng(number).random((3, *shape), np.float32)
        assert export(classifier, folder, model=name, backend=backend).checked
        logits = classifier.logits(images)
        np.testing.assert_array_equal(sat.load_model(folder, device="cpu").logits(images), logits)
        folders[folder] = images
        expected.append(logits)
    for got, logits in zip(by_lines_of_the_cards(folders, backend, tmp_path), expected, strict=True):
        close(got, logits)


def test_hubs_read_the_card(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    spec = Spec.from_tables({"data": {"name": "digits"}, "model": {"name": "small-cnn"}, "training": {"epochs": 3}})
    results = ArmResults.from_json(contents("size-0.5", spec, size=100, robust=0.61, clean=0.96))
    exported = Exported(
        model="small-cnn", inputs=InputSpec(10, (8, 8, 1)), backend="torch", version={"sat-core": "1"}, origin="0"
    )
    for licence, said in (("MIT", ("mit", None)), ("", ("other", "unknown")), ("My own, v1", ("other", "my-own-v1"))):
        read = ModelCard(card(exported, results, None, licence=licence)).data
        assert (read.license, read.get("license_name")) == said
        assert (read.library_name, read.pipeline_tag, read.datasets) == ("sat-core", "image-classification", ["digits"])
        assert read.tags[0] == "adversarial-robustness"
        values = {result.metric_name: result.metric_value for result in read.eval_results}
        assert list(values.values()) == [96.0, 61.0]
        assert "Robust accuracy (%)" in list(values)[1]
    # Without results, and with names that are no words of YAML.
    plain = ModelCard(card(exported, None, None, licence='a: "b" # c'))
    assert (plain.data.license, plain.data.eval_results) == ("other", None)


@pytest.mark.torch
def test_onnx_has_the_same_logits_for_any_number_of_images(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    scaling = Scaling(size=(24, 20), crop=(19, 16), interpolation="bicubic", channels=3)
    inputs = InputSpec(2, (16, 18, 1), (0.4, 0.3, 0.2), (0.3, 0.2, 0.1), scaling)
    classifier = backend.build_for(inputs, "small-cnn", seed=1)
    made = export(classifier, tmp_path / "out", backend=backend, onnx=True)
    assert "model.onnx" in made.files
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = np.random.default_rng(count).random((count, 16, 18, 1), np.float32)
        (logits,) = session.run(["logits"], {"images": images.transpose(0, 3, 1, 2)})
        np.testing.assert_allclose(logits, classifier.logits(images), atol=1e-4)
    # Another export of the same weights leaves the file, and its card speaks of it.
    export(classifier, tmp_path / "out", backend=backend)
    assert "`model.onnx`" in (tmp_path / "out" / "README.md").read_text()
    monkeypatch.setattr("sat_torch.onnx_file.TOLERANCE", -1.0)
    with pytest.raises(sat.SatError, match="the file's logits differ from the network's by"):
        export(classifier, tmp_path / "off", backend=backend, onnx=True)
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(NotInstalledError, match="--onnx: onnxscript is not installed"):
        export(classifier, tmp_path / "off", backend=backend, onnx=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.tensorflow
def test_tensorflow_says_how_onnx_is_written(backend: Backend, tmp_path: Path) -> None:
    classifier = backend.build_for(InputSpec(3, (8, 8, 1)), "linear", seed=1)
    with pytest.raises(SpecError, match=r"'tensorflow' writes no ONNX\n.*--backend torch") as caught:
        export(classifier, tmp_path / "out", backend=backend, onnx=True)
    assert len(str(caught.value).splitlines()) == 2
    assert not list(tmp_path.iterdir())
