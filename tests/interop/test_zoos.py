"""Networks of timm, torchvision, RobustBench and Keras by name, with weights that lie where the libraries look."""

from __future__ import annotations

import importlib
import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sat_core.backend import Backend
from sat_core.errors import NotInstalledError, SpecError
from sat_core.input_spec import InputSpec
from sat_core.scaling import Scaling

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

INPUTS = InputSpec(10, (32, 32, 3), (0.5,) * 3, (0.25,) * 3)
IMAGENET = (0.485, 0.456, 0.406)
IMAGES = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)


def weights_of(backend: Backend, name: str, classes: int = 1000) -> Any:
    """Draw weights, as a library's own state dict."""
    return backend.build_for(InputSpec(classes, (32, 32, 3)), name, seed=7).native.state_dict()


def cached_by_timm(folder: Path, repository: str, state: Any) -> None:
    """Lay weights down as the hub's client does."""
    from safetensors.torch import save_file

    place = folder / f"models--timm--{repository}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    (place / "snapshots" / "abc").mkdir(parents=True)
    save_file(state, place / "snapshots" / "abc" / "model.safetensors")


@pytest.mark.torch
def test_weights_of_timm_come_from_its_cache(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = "timm:resnet10t"
    with pytest.raises(
        SpecError, match=rf"the weights of {name} are not in {tmp_path} and cannot be fetched"
    ) as caught:
        backend.build_for(INPUTS, f"{name}?pretrained")
    assert "create_model('resnet10t', pretrained=True)" in str(caught.value)
    state = weights_of(backend, name)
    cached_by_timm(tmp_path, "resnet10t.c3_in1k", state)
    for shape, classes in (((32, 32, 3), 10), ((8, 8, 1), 1000)):
        made = backend.build_for(InputSpec(classes, shape), f"{name}?pretrained")
        assert made.inputs.scaling == Scaling(size=201, crop=176, interpolation="bicubic", channels=3 * (shape[2] == 1))
        assert made.inputs.mean == IMAGENET
        assert made.taken[0].startswith("timm:resnet10t: from timm's record")
        got = made.native.state_dict()
        assert all(np.array_equal(got[key], state[key]) for key in got if "fc" not in key or classes == 1000)
        assert got["fc.weight"].shape[0] == classes
        assert made.weights_for == (1000 if classes == 10 else 0)
    with pytest.raises(SpecError, match=r"pretrained=TAG with one of c3_in1k .*, got 'a1'"):
        backend.build_for(INPUTS, f"{name}?pretrained=a1")


@pytest.mark.torch
def test_weights_of_torchvision_come_from_its_cache(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    name = "torchvision:squeezenet1_1"  # its last layer is a convolution
    with pytest.raises(SpecError, match=r"are not in .*hub/checkpoints and cannot be fetched \(.*no route to host"):
        backend.build_for(INPUTS, f"{name}?pretrained")
    state = weights_of(backend, name)
    torch.save(state, tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    made = backend.build_for(INPUTS, f"{name}?pretrained=IMAGENET1K_V1")
    assert made.inputs.scaling == Scaling(size=256, crop=224)
    assert made.inputs.mean == IMAGENET
    got = made.native.state_dict()
    assert all(np.array_equal(got[key], state[key]) for key in got if "classifier" not in key)
    assert got["classifier.1.weight"].shape == (10, 512, 1, 1)
    assert made.weights_for == 1000
    assert made.taken[-1].startswith("the last layer is new, as the weights of torchvision:squeezenet1_1")
    assert made.logits(IMAGES).shape == (2, 10)
    with pytest.raises(SpecError, match=r"pretrained=TAG with one of IMAGENET1K_V1 for .*, got 'V9'"):
        backend.build_for(INPUTS, f"{name}?pretrained=V9")


@pytest.mark.torch
def test_networks_of_robustbench_come_with_their_weights(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    name = f"robustbench:Wong2020Fast?dataset=cifar10&threat=Linf&dir={tmp_path}"

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    known = "autoattack" in sys.modules
    with pytest.raises(SpecError, match=r"unknown network 'robustbench:Wong2020Fas' .did you mean 'Wong2020Fast'"):
        backend.build_for(INPUTS, "robustbench:Wong2020Fas")
    assert ("autoattack" in sys.modules) == known
    monkeypatch.setattr("gdown.download", unreachable)
    with pytest.raises(SpecError, match=rf"are not in {tmp_path}/cifar10/Linf and cannot be fetched"):
        backend.build_for(INPUTS, name)
    native = importlib.import_module("robustbench.utils").all_models
    model = next(m for d, m in native.items() if d.value == "cifar10")
    network = next(m for t, m in model.items() if t.value == "Linf")["Wong2020Fast"]["model"]()
    torch.save(network.state_dict(), tmp_path / "cifar10" / "Linf" / "Wong2020Fast.pt")
    made = backend.build_for(INPUTS, name)
    assert (made.inputs.mean, made.inputs.scaling) == ((), None)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(made.logits(IMAGES), expected, atol=1e-4)
    for wrong, says in (("?threat=L7", "expected one of dataset=cifar10&threat=Linf"), ("?foo=1", "got foo")):
        with pytest.raises(SpecError, match=says):
            backend.build_for(INPUTS, f"robustbench:Wong2020Fast{wrong}")


@pytest.mark.torch
def test_a_seed_repeats_the_weights_and_options_reach_the_library(backend: Backend) -> None:
    for name in ("timm:mobilenetv3_small_050", "torchvision:shufflenet_v2_x0_5"):
        one, two, other = (backend.build_for(INPUTS, name, seed).state() for seed in (1, 1, 2))
        assert all(np.array_equal(one[key], two[key]) for key in one)
        assert any(not np.array_equal(one[key], other[key]) for key in one)
    small = backend.build_for(INPUTS, "timm:vit_tiny_patch16_224?img_size=32&depth=2")
    assert len(small.native.blocks) == 2
    assert small.inputs.scaling is None
    with pytest.raises(SpecError, match=r"timm does not make timm:resnet10t \(TypeError: .*'foo'"):
        backend.build_for(INPUTS, "timm:resnet10t?foo=1")


@pytest.mark.torch
def test_a_library_that_is_missing_is_named(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NotInstalledError, match="timm:resnet10t needs timm: pip install timm"):
        backend.build_for(INPUTS, "timm:resnet10t")


@pytest.mark.tensorflow
def test_weights_of_keras_come_from_its_cache(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", unreachable)
    name = "keras:MobileNet?pretrained&alpha=0.25"
    with pytest.raises(SpecError, match=r"the weights of keras:MobileNet are not in .*models and cannot be fetched"):
        backend.build_for(INPUTS, name)
    source = keras.applications.MobileNet(weights=None, alpha=0.25, classifier_activation=None)
    with h5py.File(tmp_path / "models" / "mobilenet_2_5_224_tf.h5", "w") as file:
        save_weights_to_hdf5_group(file, source)
    whole = backend.build_for(InputSpec(1000, (8, 8, 1)), name)
    assert whole.inputs.scaling == Scaling(size=224, channels=3)
    assert whole.inputs.mean == pytest.approx((0.5,) * 3)
    images = np.ones((1, 224, 224, 3), np.float32)
    np.testing.assert_allclose(
        whole.logits(np.ones((1, 8, 8, 1), np.float32)), source(images, training=False), atol=1e-4
    )
    for size, more in ((32, "&size=32"), (224, "")):
        made = backend.build_for(INPUTS, name + more)
        assert made.inputs.network_shape == (size, size, 3)
        assert made.native.output_shape == (None, 10)
        assert (whole.weights_for, made.weights_for) == (0, 1000)
        pairs = [pair for pair in zip(made.native.layers, source.layers, strict=True) if pair[1].weights]
        for layer, old in pairs[:-1]:
            assert all(np.array_equal(*both) for both in zip(layer.get_weights(), old.get_weights(), strict=True))


@pytest.mark.tensorflow
@pytest.mark.parametrize("network", ["ResNet50", "MobileNetV2", "DenseNet121", "EfficientNetB0"])
def test_the_record_of_keras_is_what_its_own_function_does(backend: Backend, network: str) -> None:
    """Caffe's mode turns channels round, the others do not; the last network has all of it inside."""
    import keras
    import tensorflow as tf

    from sat_core.zoo_record import as_recorded
    from sat_core.zoos import ZooName
    from sat_tensorflow.inputs import OnImages
    from sat_tensorflow.zoos import recorded

    make = getattr(keras.applications, network)
    spec, _ = as_recorded(ZooName.parse(f"keras:{network}?pretrained"), INPUTS, recorded(make, (32, 32)), 3)
    expected = sys.modules[make.__module__].preprocess_input(IMAGES.copy() * 255)
    np.testing.assert_allclose(OnImages(spec).prepared(tf.constant(IMAGES)), expected, atol=1e-4)


@pytest.mark.tensorflow
def test_keras_refuses_in_one_line(backend: Backend) -> None:
    refused = {
        "keras:Resnet50": "did you mean 'ResNet50'",
        "keras:Xception": r"at least 71x71.*\n\?size=N after the name",
        "keras:MobileNet?pretrained=noisy": "expected pretrained or pretrained=imagenet",
        "timm:resnet10t": "is a network for the backend 'torch'",
    }
    for name, says in refused.items():
        with pytest.raises(SpecError, match=says):
            backend.build_for(INPUTS, name)
    assert backend.build_for(INPUTS, "keras:MobileNetV3Small?size=48").inputs.std == pytest.approx((1 / 255,) * 3)
