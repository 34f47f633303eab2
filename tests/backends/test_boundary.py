"""What every call of a classifier checks, in the numpy reference and in the backend alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import DataError, EvaluationError, SpecError
from sat_core.reference import NumpyBackend
from sat_core.testing import samples

CALLS: dict[str, Callable[[Classifier, Any, Any], Any]] = {
    "logits": lambda classifier, images, labels: classifier.logits(images),
    "features": lambda classifier, images, labels: classifier.features(images),
    "perturb": lambda classifier, images, labels: classifier.perturb(images, labels, samples.attack(steps=1)),
    "loss_gradient": lambda classifier, images, labels: classifier.loss_gradient(images, labels),
    "with_head": lambda classifier, images, labels: classifier.with_head(3).logits(images),
}


@pytest.fixture(params=["reference", pytest.param("framework", marks=pytest.mark.backend)])
def any_backend(request: pytest.FixtureRequest) -> Any:
    return NumpyBackend() if request.param == "reference" else request.getfixturevalue("backend")


@pytest.mark.parametrize("call", CALLS)
def test_every_call_checks_its_images(any_backend: Backend, call: str) -> None:
    classifier, data = samples.build(any_backend, "small-cnn"), samples.examples(4)
    for images, says in (
        (np.zeros((4, 16, 16, 3), np.float32), r"images: expected shape \(n, 8, 8, 3\), got \(4, 16, 16, 3\)"),
        (data.images[..., :1], r"expected shape \(n, 8, 8, 3\), got \(4, 8, 8, 1\)"),
        (data.images[0], r"one image is images\[None\]"),
        (data.images.transpose(0, 3, 1, 2), r"expected channels last.*\n.*transpose\(0, 2, 3, 1\)"),
        (data.images * np.nan, "expected finite pixels"),
        ({"images": data.images}, "images: expected an array of images, got dict"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            CALLS[call](classifier, images, data.labels)
        assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("call", ["perturb", "loss_gradient"])
def test_every_call_checks_its_labels(any_backend: Backend, call: str) -> None:
    classifier, data = samples.build(any_backend, "small-cnn"), samples.examples(4)
    for labels, says in (
        (data.labels[:3], "labels: expected one for each of 4 images, got 3"),
        (data.labels[:1], "labels: expected one for each of 4 images, got 1"),
        (data.labels + 5, r"labels in 0\.\.4"),
        (data.labels * 1.0, "expected integer labels"),
    ):
        with pytest.raises(DataError, match=says):
            CALLS[call](classifier, data.images, labels)
    with pytest.raises(DataError, match="targets: expected one for each of 4 images, got 2"):
        classifier.loss_gradient(data.images, data.labels, "targeted-dlr", data.labels[:2])


@pytest.mark.parametrize("call", CALLS)
def test_weights_that_are_no_numbers_are_said_of_every_call(any_backend: Backend, call: str) -> None:
    classifier, data = samples.build(any_backend, "small-cnn"), samples.examples(4)
    classifier.load_state({name: value * np.nan for name, value in classifier.state().items()})
    with pytest.raises(EvaluationError, match=r"expected finite numbers, got NaN or infinity for (\d) of \1 images"):
        CALLS[call](classifier, data.images, data.labels)


@pytest.mark.parametrize("call", CALLS)
def test_views_and_read_only_arrays_are_the_same_images(any_backend: Backend, call: str) -> None:
    classifier, data = samples.build(any_backend, "small-cnn"), samples.examples(4)
    images, labels = data.images[::-1, :, ::-1, ::-1], data.labels[::-1]
    whole, originals = CALLS[call](classifier, images.copy(), labels.copy()), (data.images.copy(), data.labels.copy())
    data.images.flags.writeable = data.labels.flags.writeable = False
    for result, expected in zip(CALLS[call](classifier, images, labels), whole, strict=True):
        np.testing.assert_array_equal(result, expected)
    CALLS[call](classifier, data.images, data.labels)
    np.testing.assert_array_equal(data.images, originals[0])


@pytest.mark.parametrize("whole", [False, True])
def test_trainings_take_views_and_read_only_arrays(any_backend: Backend, whole: bool) -> None:
    data, training, attack = samples.examples(16, whole=whole), samples.training(), samples.attack(steps=1)
    states = []
    for copied in (True, False):
        images, labels = data.images[::-1, :, ::-1], data.labels[::-1]
        images, labels = (images.copy(), labels.copy()) if copied else (images, labels)
        images.flags.writeable = labels.flags.writeable = copied
        classifier = samples.build(any_backend, "linear")
        trainer = any_backend.trainer(classifier, Examples(images, labels, samples.CLASSES), training, attack)
        samples.train(trainer, samples.plans(16, 0.5, training, attack), 2)
        states.append(classifier.state())
    assert all(np.array_equal(states[0][name], value) for name, value in states[1].items())


def test_a_head_needs_two_classes(any_backend: Backend) -> None:
    with pytest.raises(SpecError, match="with_head: expected at least 2 classes, got 1"):
        samples.build(any_backend, "linear").with_head(1)


def test_shapes_of_images_are_height_width_channels(any_backend: Backend) -> None:
    with pytest.raises(SpecError, match=r"image_shape: expected \(height, width, channels\), got \(3, 16, 16\)"):
        any_backend.build("linear", classes=5, image_shape=(3, 16, 16))


def tensors(backend: Backend, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any, Any]:
    """Return images and labels as the backend's tensors, and as one of its data sets."""
    if backend.name == "torch":
        import torch

        made = torch.from_numpy(images), torch.from_numpy(labels)
        return *made, torch.utils.data.TensorDataset(*made)
    import tensorflow as tf

    return tf.constant(images), tf.constant(labels), tf.data.Dataset.from_tensor_slices((images, labels))


@pytest.mark.backend
def test_tensors_are_taken_as_arrays_and_data_sets_are_named(backend: Backend) -> None:
    data = samples.examples(4)
    images, labels, dataset = tensors(backend, data.images, data.labels)
    made = Examples(images, labels, samples.CLASSES)
    np.testing.assert_array_equal(made.images, data.images)
    assert type(made.images) is type(made.labels) is np.ndarray
    classifier = samples.build(backend, "linear")
    np.testing.assert_array_equal(classifier.logits(images), classifier.logits(data.images))
    with pytest.raises(DataError, match=r"data: expected an array of images, got .*Dataset\n.*two arrays"):
        Examples(dataset, labels, samples.CLASSES)
    first = np.ascontiguousarray(data.images.transpose(0, 3, 1, 2))
    with pytest.raises(DataError, match=r"permute\(0, 2, 3, 1\)"):
        Examples(tensors(backend, first, data.labels)[0], labels, samples.CLASSES)
    if backend.name == "torch":
        with pytest.raises(DataError, match=r"Tensor does not become an array of images \(RuntimeError: Can't call"):
            classifier.logits(images.requires_grad_())


def test_grey_images_get_their_channel() -> None:
    grey = np.arange(2 * 6 * 6, dtype=np.uint8).reshape(2, 6, 6)
    np.testing.assert_array_equal(Examples(grey, np.array([0, 1]), 2).images, grey[..., None])
