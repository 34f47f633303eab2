"""Networks of all kinds that people have: `wrap` takes them or says what is wrong."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sat_core.backend import Backend
from sat_core.errors import SpecError
from sat_core.initialisation import initial_state
from sat_core.probe import BATCH_DEPENDENT
from sat_core.reference import NumpyBackend
from sat_core.scaling import Scaling
from sat_core.testing import samples

pytestmark = pytest.mark.backend

OPTIONS: dict[str, Any] = {"classes": 5, "image_shape": samples.SHAPE}


def torch_network(outputs: int = 5, before: Any = None, after: Any = None) -> Any:
    """Make a small network with functions applied to its images and logits."""
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.flat, self.last = nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, outputs)

        def forward(self, x: Any) -> Any:
            x = self.last(self.flat(self.convolution(x if before is None else before(x)).relu()))
            return x if after is None else after(x)

    return Network()


def keras_network(outputs: int = 5, before: Any = None, after: Any = None) -> Any:
    import keras
    from keras import layers

    class Network(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.flat = layers.Conv2D(4, 3, activation="relu", name="convolution"), layers.Flatten()
            self.last = layers.Dense(outputs)

        def call(self, x: Any) -> Any:
            x = self.last(self.flat(self.convolution(x if before is None else before(x))))
            return x if after is None else after(x)

    return Network()


def network(backend: Backend, outputs: int = 5, before: Any = None, after: Any = None) -> Any:
    made = torch_network if backend.name == "torch" else keras_network
    with backend.seeded(0):
        return made(outputs, before, after)


def nothing_left(logits: Any) -> Any:
    """Return logits without a gradient."""
    if hasattr(logits, "detach"):
        return logits.detach()
    import tensorflow as tf

    return tf.stop_gradient(logits)


def drop_axes(logits: Any) -> Any:
    """Squeeze the logits, which drops the batch axis, too, for a batch of one image."""
    return logits[0] if logits.shape[0] == 1 else logits


def argmax(logits: Any) -> Any:
    return logits.argmax(1) if hasattr(logits, "detach") else np.argmax(logits, axis=1)


REFUSED: dict[str, tuple[Callable[[Backend], Any], str]] = {
    "pairs": (lambda b: network(b, after=lambda x: ((x, x), x)), r'got tuple of 2\nsay which part .*output="0"'),
    "other names": (lambda b: network(b, after=lambda x: {"aux": x}), r"got dict with 'aux'\n.*output=\"aux\""),
    "nothing": (lambda b: network(b, after=lambda x: None), "got NoneType"),
    "classes": (lambda b: network(b, after=argmax), "got .* of .*int64"),
    "other classes": (lambda b: network(b, 15), r"\(4, 5\) for 4 images of 5 classes, got \(4, 15\)\npass classes=15"),
    "fewer classes": (lambda b: network(b, 3), r"got \(4, 3\)\npass classes=3"),
    "one logit": (lambda b: network(b, 1), r"got \(4, 1\)\none logit is for two classes: pass classes=2"),
    "one logit, no axis": (lambda b: network(b, after=lambda x: x[:, 0]), r"got \(4,\)\none logit is for two classes"),
    "pixels": (lambda b: network(b, after=lambda x: x[:, :, None, None]), r"got \(4, 5, 1, 1\)\nflatten them"),
    "squeezed": (lambda b: network(b, after=drop_axes), r"\(1, 5\) for 1 images .*got \(5,\)\nit drops the axis"),
    "no gradient": (lambda b: network(b, after=nothing_left), "expected logits with a gradient"),
    "not a number": (lambda b: network(b, after=lambda x: x * float("nan")), "expected finite logits .* got NaN"),
    "divides by 255": (
        lambda b: network(b, before=lambda x: x / 255),
        r"'convolution' differs by 0\.0039 only\n.*mean=\(0, 0, 0\), std=\(1/255, 1/255, 1/255\)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_networks_without_logits_for_their_classes_are_refused(backend: Backend, kind: str) -> None:
    make, says = REFUSED[kind]
    with pytest.raises(SpecError, match=says) as caught:
        backend.wrap(make(backend), **OPTIONS)
    assert str(caught.value).startswith("model: ")
    assert len(str(caught.value).splitlines()) <= 3


def test_a_part_that_is_not_there_is_refused(backend: Backend) -> None:
    model = network(backend, after=lambda x: {"head": {"logits": x}, "loss": x})
    with pytest.raises(SpecError, match=r"model\.output: .* got 'head\.out'\nit returns dict with logits"):
        backend.wrap(model, **OPTIONS, output="head.out")
    assert backend.wrap(model, **OPTIONS, output="head.logits").inputs.output == "head.logits"


def test_heads_and_torch_modules_scale_and_find_logits_too(backend: Backend) -> None:
    import torch

    scaling, images = Scaling(size=10, crop=8, interpolation="bicubic"), samples.examples(4, shape=(6, 6, 3)).images
    labels, x = np.arange(4), torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).requires_grad_()
    model = network(backend, after=lambda x: {"aux": -x, "head": (x, x)})
    options: dict[str, Any] = {"image_shape": (6, 6, 3), "classes": 5, "mean": samples.MEAN, "std": samples.STD}
    classifier = backend.wrap(model, **options, scaling=scaling, output="head.1")
    head = classifier.with_head(3)
    assert head.features(images).shape == (4, 144)
    assert head.logits(images).shape == (4, 3)
    description = {"model": "small-cnn", "classes": 5, "image_shape": (6, 6, 3), "mean": (), "std": ()}
    ours = backend.new({**description, "scaling": {"size": 10, "crop": 8, "interpolation": "bicubic"}})
    ours.load_state(initial_state(ours.state(), 0))
    for each in (classifier, head, ours):
        for module in (each.as_torch_module(), each.attacked_torch_module()):
            logits = module(x)
            losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels % 3), reduction="sum")
            expected, _, gradient = each.loss_gradient(images, labels % 3)
            np.testing.assert_allclose(logits.detach(), expected, atol=1e-4)
            got = torch.autograd.grad(losses, x)[0].numpy().transpose(0, 2, 3, 1)
            np.testing.assert_allclose(got, gradient, atol=1e-4)


def test_a_network_for_other_images_is_refused(backend: Backend) -> None:
    model = network(backend)
    if backend.name == "tensorflow":
        model(np.zeros((1, *samples.SHAPE), np.float32))  # else it is built for what it gets
    with pytest.raises(SpecError, match=r"model: does not take images of shape \(4, 8, 8, 1\)"):
        backend.wrap(model, classes=5, image_shape=(8, 8, 1))


def test_the_reference_looks_too() -> None:
    weights = {"fc.weight": np.zeros((7, 192), np.float32), "fc.bias": np.zeros(7, np.float32)}
    with pytest.raises(SpecError, match=r"got \(4, 7\)\npass classes=7"):
        NumpyBackend().wrap(weights, **OPTIONS)


def squashed(backend: Backend, kind: str) -> Any:
    """A network whose outputs are no logits, written in the ways that people write them."""
    if backend.name == "torch":
        import torch
        from torch import nn

        after = {
            "softmax": lambda x: nn.functional.softmax(x, dim=1),
            "own softmax": lambda x: x.exp() / x.exp().sum(1, keepdim=True),
            "half": lambda x: x.bfloat16().softmax(1),
            "sigmoid": torch.sigmoid,
            "log-softmax": lambda x: x.log_softmax(1),
        }[kind]
        return network(backend, after=after)
    import keras
    import tensorflow as tf
    from keras import layers

    if kind == "half":
        head: list[Any] = [layers.Dense(5, dtype="mixed_bfloat16"), layers.Softmax(dtype="bfloat16")]
    elif kind == "own softmax":
        head = [layers.Dense(5), layers.Lambda(keras.ops.softmax)]
    else:
        head = [layers.Dense(5, {"softmax": tf.nn.softmax, "sigmoid": "sigmoid", "log-softmax": "log_softmax"}[kind])]
    return keras.Sequential([keras.Input(samples.SHAPE), layers.Flatten(), *head])


@pytest.mark.parametrize("kind", ["softmax", "own softmax", "half", "sigmoid"])
def test_probabilities_and_scores_are_refused(backend: Backend, kind: str) -> None:
    says = "got scores in" if kind == "sigmoid" else "got probabilities"
    with pytest.raises(SpecError, match=f"model: expected logits, {says}"):
        backend.wrap(squashed(backend, kind), **OPTIONS)


@pytest.mark.parametrize("kind", ["log-softmax", "plain", "small", "zero", "bounded"])
def test_logits_of_all_kinds_are_logits(backend: Backend, kind: str) -> None:
    """Log-probabilities are logits up to a number per image, which no loss here sees."""
    after: dict[str, Any] = {
        "plain": None,
        "small": lambda x: abs(x) * 1e-3,
        "zero": lambda x: x * 0,
        "bounded": lambda x: x / (1 + abs(x)),
    }
    model = squashed(backend, kind) if kind == "log-softmax" else network(backend, after=after[kind])
    classifier = backend.wrap(model, **OPTIONS)
    assert classifier.logits(samples.examples(3).images).shape == (3, 5)
    if kind == "log-softmax":
        data = samples.examples(4)
        logits, losses, _ = classifier.loss_gradient(data.images, data.labels)
        np.testing.assert_allclose(losses, -logits[np.arange(4), data.labels], rtol=1e-4)


def scaled(backend: Backend, kind: str) -> Any:
    """Networks with their preprocessing inside: for pixels in 0..255, or in [0, 1] if `kind` says so."""
    unit = "unit" in kind
    if backend.name == "torch":
        from torch import nn
        from torchvision.transforms import v2

        mean, std = ([0.5] * 3, [0.25] * 3) if unit else ([127.5] * 3, [64.0] * 3)
        first = v2.Normalize(mean, std) if "nested" not in kind else nn.Sequential(v2.Normalize(mean, std))
        return nn.Sequential(first, network(backend))
    import keras
    from keras import layers

    if kind == "application":
        options = {"include_preprocessing": True, "weights": None, "classifier_activation": None}
        return keras.applications.MobileNetV3Small((32, 32, 3), classes=5, **options)
    rescaling = layers.Rescaling(2.0, -1.0) if unit else layers.Rescaling(1 / 127.5, -1.0)
    normalization = layers.Normalization(mean=[0.5 if unit else 127.5] * 3, variance=[0.25 if unit else 64.0**2] * 3)
    first = normalization if "normalization" in kind else rescaling
    first = keras.Sequential([first, layers.Identity()]) if "nested" in kind else first
    body = [layers.Conv2D(4, 3, activation="relu", name="first"), layers.Flatten(), layers.Dense(5)]
    return keras.Sequential([keras.Input(samples.SHAPE), first, *body])


@pytest.mark.parametrize("kind", ["first", "nested", "normalization", "application"])
def test_preprocessing_inside_is_refused_or_undone(backend: Backend, kind: str) -> None:
    shape = (32, 32, 3) if kind == "application" else samples.SHAPE
    model, options = scaled(backend, kind), {"classes": 5, "image_shape": shape}
    if backend.name == "torch" and kind == "application":
        options["image_shape"] = samples.SHAPE
    for statistics in ({}, {"mean": samples.MEAN, "std": samples.STD}, {"mean": (0.0,) * 3, "std": (58.0,) * 3}):
        with pytest.raises(SpecError, match=r"mean=\(0, 0, 0\), std=\(1/255, 1/255, 1/255\)"):
            backend.wrap(model, **options, **statistics)
    classifier = backend.wrap(model, **options, mean=(0, 0, 0), std=(1 / 255,) * 3)
    images = samples.examples(3, shape=options["image_shape"]).images
    if backend.name == "torch":
        whole = images.transpose(0, 3, 1, 2) * 255
        expected = model(type(next(model.parameters()).data)(whole)).detach().numpy()
    else:
        expected = model(images * 255, training=False).numpy()
    np.testing.assert_allclose(classifier.logits(images), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["unit", "unit nested", "unit normalization"])
def test_preprocessing_of_pixels_from_0_to_1_is_left_alone(backend: Backend, kind: str) -> None:
    backend.wrap(scaled(backend, kind), **OPTIONS)
    backend.wrap(scaled(backend, kind), **OPTIONS, mean=samples.MEAN, std=samples.STD)


def noisy(backend: Backend, kind: str) -> Any:
    """Make a network that draws random numbers, one that depends on the batch, or one that does neither."""
    if backend.name == "torch":
        import torch
        from torch import nn

        norm = nn.BatchNorm2d(3, track_running_stats=kind != "batch")
        draw = (lambda x: x + 0.3 * torch.randn(x.shape)) if kind == "noise" else None
        return nn.Sequential(norm, nn.Dropout(), network(backend, before=draw))
    import keras
    from keras import layers

    class Norm(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return (x - keras.ops.mean(x, axis=(0, 1, 2))) / keras.ops.std(x, axis=(0, 1, 2))

    first: dict[str, Any] = {"batch": Norm(), "noise": layers.GaussianNoise(0.3)}
    body = [layers.BatchNormalization(), layers.Dropout(0.5), layers.Flatten(), layers.Dense(5)]
    model = keras.Sequential([keras.Input(samples.SHAPE), first.get(kind, layers.Identity()), *body])
    if kind == "noise":
        draw = model.layers[0]
        draw.call = lambda x, training=None, own=draw.call: own(x, training=True)
    return model


def test_logits_that_depend_on_the_batch_are_said(backend: Backend) -> None:
    with pytest.warns(UserWarning, match=BATCH_DEPENDENT) as caught:
        backend.wrap(noisy(backend, "batch"), **OPTIONS)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend.wrap(noisy(backend, "noise"), **OPTIONS)  # random, which an evaluation says


def test_looking_changes_nothing(backend: Backend) -> None:
    model = noisy(backend, "noise")
    before, drawn = backend.wrap(model, **OPTIONS).state(), (random.getstate(), np.random.get_state()[1].tolist())
    if backend.name == "torch":
        import torch

        model.train()
        model[1].eval()
        generator = torch.get_rng_state()
        after = backend.wrap(model, **OPTIONS).state()
        assert torch.equal(torch.get_rng_state(), generator)
        assert [layer.training for layer in model] == [True, False, True]
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert not any(layer._forward_pre_hooks for layer in model.modules())
    else:
        after = backend.wrap(model, **OPTIONS).state()
        assert not any("call" in vars(layer) for layer in model.layers[1:])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == drawn
    assert before.keys() == after.keys()
    assert all(np.array_equal(after[name], value) for name, value in before.items())


@pytest.mark.torch
def test_lazy_and_compiled_modules_are_wrapped(backend: Backend) -> None:
    import torch
    from torch import nn

    def lazy() -> Any:
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))

    one, two = (backend.wrap(lazy(), **OPTIONS).state() for _ in range(2))
    assert not np.array_equal(one["0.weight"], two["0.weight"])  # each draws its own
    module = network(backend)
    images = samples.examples(3).images
    compiled = backend.wrap(torch.compile(module, backend="eager"), **OPTIONS)
    np.testing.assert_allclose(compiled.logits(images), backend.wrap(module, **OPTIONS).logits(images), atol=1e-5)


@pytest.mark.tensorflow
def test_layers_with_channels_first_are_refused(backend: Backend) -> None:
    import keras
    from keras import layers

    model = keras.Sequential([layers.Conv2D(4, 3, data_format="channels_first"), layers.Flatten(), layers.Dense(5)])
    with pytest.raises(SpecError, match="channels first"):
        backend.wrap(model, **OPTIONS)


@pytest.mark.torch
def test_scripted_modules_are_taken_and_modules_without_weights_refused(backend: Backend) -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    options: dict[str, Any] = {"classes": 5, "image_shape": (8, 8, 3)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated, and people have such files
        scripted = torch.jit.script(net)
    images = np.random.default_rng(0).random((3, 8, 8, 3)).astype(np.float32)
    logits, expected = (backend.wrap(each, **options).logits(images) for each in (scripted, net))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    with pytest.raises(SpecError, match="got a module on the meta device"):
        backend.wrap(nn.Linear(192, 5, device="meta"), **options)
