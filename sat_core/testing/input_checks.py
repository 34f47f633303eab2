"""What holds of scaling in front of a network, and of logits in what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import SpecError
from sat_core.images import resize
from sat_core.input_spec import InputSpec
from sat_core.reference import NumpyBackend
from sat_core.scaling import Scaling
from sat_core.testing import samples
from sat_core.testing.contract import check, close, raises, require

SCALINGS = (
    (samples.SHAPE, Scaling(size=12)),
    (samples.SHAPE, Scaling(size=(14, 12), crop=(10, 9))),
    (samples.SHAPE, Scaling(size=5, interpolation="bicubic", bgr=True)),
    (samples.SHAPE, Scaling(size=11, crop=8, interpolation="bicubic")),
    (samples.SHAPE, Scaling(size=5, crop=4, interpolation="nearest")),
    ((6, 9, 1), Scaling(size=8, channels=3)),
)
"""Shapes of images, and what is done with these in front of a network for three channels."""


def scaled(images: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Return what the network takes for images `(n, h, w, c)`, in float64 and by definition.

    Bilinear scaling is `sat_core.images.resize`; else each pixel is a weighted sum.
    """
    if scaling.interpolation == "bilinear":
        images = resize(images, (*scaling.size, images.shape[3]))
        top, left = (round((s - c) / 2) for s, c in zip(scaling.size, scaling.crop, strict=True))
        images = images[:, top : top + scaling.crop[0], left : left + scaling.crop[1]]
    else:
        rows, columns = scaling.maps(*images.shape[1:3])
        images = np.einsum("ih,nhwc,jw->nijc", rows, images.astype(np.float64), columns).clip(0, 1)
    images = np.repeat(images, (scaling.channels or images.shape[3]) // images.shape[3], axis=3)
    return images[..., ::-1] if scaling.bgr else images


@check("small-cnn")
def images_are_scaled_in_front_of_the_network(backend: Backend) -> None:
    """Logits are those of images that were scaled before; gradients, features, attacks and training go through it."""
    for shape, scaling in SCALINGS:
        inputs = InputSpec(samples.CLASSES, shape, samples.MEAN, samples.STD, scaling)
        data = samples.examples(12, shape=shape)
        plain = samples.build(backend, "small-cnn", shape=inputs.network_shape)
        whole = backend.new({"model": "small-cnn", **inputs.to_dict()})
        whole.load_state(plain.state())
        before, what = scaled(data.images, scaling).astype(np.float32), f"{scaling.interpolation} to {scaling.crop}"
        logits, losses, over_scaled = plain.loss_gradient(before.clip(0, 1), data.labels)
        got = whole.loss_gradient(data.images, data.labels)
        close(f"logits, scaled {what}", whole.logits(data.images), logits, 1e-4)
        close(f"features, scaled {what}", whole.features(data.images), plain.features(before.clip(0, 1)), 1e-4)
        close(f"losses, scaled {what}", got[1], losses, 1e-4)
        close(f"gradient, scaled {what}", got[2], _through(over_scaled, data.images, scaling), 1e-4)
        _attack_goes_through(whole, data.images, data.labels)


def _through(gradient: np.ndarray, images: np.ndarray, scaling: Scaling) -> np.ndarray:
    """The gradient over images by the chain rule: the transposed maps, and none where an overshoot is clipped."""
    rows, columns = scaling.maps(*images.shape[1:3])
    before = np.einsum("ih,nhwc,jw->nijc", rows, images.astype(np.float64), columns)
    gradient = gradient[..., ::-1] if scaling.bgr else gradient
    gradient = gradient if gradient.shape[3] == images.shape[3] else gradient.sum(axis=3, keepdims=True)
    return np.einsum("ih,nijc,jw->nhwc", rows, gradient * ((before > -1e-6) & (before < 1 + 1e-6)), columns)


def _attack_goes_through(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> None:
    adversarial = classifier.perturb(images, labels, samples.attack(eps=0.5, keep_best=True))
    size = np.sqrt(((adversarial.astype(np.float64) - images) ** 2).sum(axis=(1, 2, 3)))
    require(bool(size.max() <= 0.5 * (1 + 1e-6) + 1e-6), f"perturb: ε is of the attacked image, got {size.max():.3g}")
    losses = [classifier.loss_gradient(x, labels)[1].mean() for x in (images, adversarial)]
    require(losses[1] > losses[0], "perturb in front of a scaled network: the loss did not rise")


@check("small-cnn")
def trainings_scale_as_evaluations(backend: Backend) -> None:
    """Steps are the oracle's, whose steps without a member of A are those on images that were scaled before."""
    inputs = InputSpec(samples.CLASSES, samples.SHAPE, samples.MEAN, samples.STD, Scaling(size=12, crop=10))
    data, training, state = samples.examples(), samples.training(epochs=1), samples.build(backend, "small-cnn").state()
    assert inputs.scaling is not None  # noqa: S101
    before = attrs.evolve(data, images=scaled(data.images, inputs.scaling).clip(0, 1).astype(np.float32))

    def losses(backend: Backend, inputs: InputSpec, examples: Examples, share: float) -> np.ndarray:
        classifier = backend.new({"model": "small-cnn", **inputs.to_dict()})
        classifier.load_state(state)
        plans = samples.plans(len(data), share, training, samples.attack())
        return samples.train(backend.trainer(classifier, examples, training, samples.attack()), plans)

    unscaled = attrs.evolve(inputs, image_shape=inputs.network_shape, scaling=None)
    expected = losses(backend, unscaled, before, 0.0)
    close("losses of a training on scaled images", losses(backend, inputs, data, 0.0), expected, 1e-4)
    expected = losses(NumpyBackend(), inputs, data, 0.5)
    close("losses of a training on scaled and attacked images", losses(backend, inputs, data, 0.5), expected, 1e-3)


OUTPUTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "tuple": (lambda x: (x, -x), ""),
    "tuple, by number": (lambda x: (-x, x), "1"),
    "dictionary": (lambda x: {"aux": -x, "logits": x}, ""),
    "dictionary, by name": (lambda x: {"logits": -x, "head": {"class": x}}, "head.class"),
    "one logit": (lambda x: x[:, 1:2] - x[:, :1], ""),
    "one logit, no axis": (lambda x: {"out": x[:, 1] - x[:, 0]}, "out"),
}
"""What a network makes of its logits `(n, 2)`, and the part that is named."""


@check("small-cnn")
def logits_are_found_in_outputs_of_other_kinds(backend: Backend) -> None:
    """Tuples, dictionaries, a named part, and one logit for two classes; a backend without others' networks refuses."""
    data = samples.examples(8)
    labels = data.labels % 2
    options: dict[str, Any] = {"classes": 2, "image_shape": samples.SHAPE}
    plain = backend.build("small-cnn", **options)
    attack = samples.attack(steps=2)
    logits, losses, gradient = plain.loss_gradient(data.images, labels)
    adversarial = plain.perturb(data.images, labels, attack)
    for kind, (after, key) in OUTPUTS.items():
        if isinstance(plain.native, dict):  # weights of the numpy reference
            linear = backend.build("linear", **options).native
            if key:
                raises(SpecError, f"output={key!r}", lambda w=linear, k=key: backend.wrap(w, **options, output=k))  # type: ignore[misc]
            continue
        with _returning(plain.native, after):
            classifier = backend.wrap(plain.native, **options, output=key)
            got = classifier.loss_gradient(data.images, labels)
            expected = logits - logits[:, :1] if kind.startswith("one") else logits
            close(f"logits in a {kind}", classifier.logits(data.images), expected, 1e-4)
            close(f"losses of a {kind}", got[1], losses, 1e-4)
            close(f"gradient of a {kind}", got[2], gradient, 1e-4)
            moved = classifier.perturb(data.images, labels, attack)
            close(f"attack on a {kind}", moved, adversarial, 1e-3, share=0.99)


@contextmanager
def _returning(native: Any, after: Callable[[Any], Any]) -> Iterator[None]:
    """Inside, a framework's module returns something else."""
    name = "forward" if hasattr(native, "forward") else "call"
    own = getattr(native, name)
    setattr(native, name, lambda *inputs, **options: after(own(*inputs, **options)))
    try:
        yield
    finally:
        delattr(native, name)
