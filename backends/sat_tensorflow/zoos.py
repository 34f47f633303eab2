"""Networks of `keras.applications` by name."""

from __future__ import annotations

import os
import sys
from typing import Any

import keras
import numpy as np

from sat_core.errors import SpecError, quoted
from sat_core.input_spec import InputSpec
from sat_core.zoo_record import Record, as_recorded
from sat_core.zoos import Zoo, ZooName, ZooNetwork, library_makes


def keras_network(name: ZooName, inputs: InputSpec) -> ZooNetwork:
    """Make a network of `keras.applications`, without its softmax; see `sat_core.zoos.Zoo`.

    Its weights are those that Keras calls "imagenet". For other classes than theirs, or another size, the network is
    made anew and takes over the weights of all layers but the last.
    """
    applications = keras.applications
    names = [each for each in dir(applications) if each[0].isupper()]
    name.check_among(names, 'python -c "import keras; print(dir(keras.applications))"')
    tag, make = name.options.get("pretrained", ""), getattr(applications, name.network)
    if tag not in ("", "imagenet"):
        raise SpecError(f"model.name: expected pretrained or pretrained=imagenet for {name}, got {quoted(tag)}")
    options = {"classifier_activation": None, **name.keywords()}
    folder = os.path.join(os.environ.get("KERAS_HOME", "~/.keras"), "models")
    call = f'python -c "import keras; keras.applications.{name.network}()"'
    outputs = inputs.classes
    with library_makes(name, folder, call):
        if name.pretrained:
            native = make(weights="imagenet", **options)
            size, outputs = native.input_shape[1:3], native.output_shape[-1]
            wanted = (name.size, name.size) if name.size else size
            if (inputs.classes, wanted) != (outputs, size):
                fresh = make(weights=None, classes=inputs.classes, input_shape=(*wanted, 3), **options)
                _take_over(fresh, native, name)
                native = fresh
        else:
            size = (name.size, name.size) if name.size else inputs.image_shape[:2]
            native = make(weights=None, classes=inputs.classes, input_shape=(*size, 3), **options)
    spec, taken = as_recorded(name, inputs, recorded(make, size), 3)
    return ZooNetwork(native=native, inputs=spec, taken=taken, weights_for=outputs if outputs != inputs.classes else 0)


def _take_over(model: keras.Model, source: keras.Model, name: ZooName) -> None:
    """Copy the weights of all layers, which are the same ones in the same order; the last may have other classes."""
    pairs = [pair for pair in zip(model.layers, source.layers, strict=True) if pair[1].weights]
    for number, (layer, old) in enumerate(pairs, 1):
        if [w.shape for w in layer.weights] == [w.shape for w in old.weights]:
            layer.set_weights(old.get_weights())
        elif number < len(pairs):
            raise SpecError(f"model.name: {name}?pretrained takes no other size, as its layer {layer.name!r} knows it")


def recorded(make: Any, size: tuple[int, int]) -> Record:
    """Return what a network's own `preprocess_input` does to pixels of 0..255, which is an affine map."""
    preprocess = sys.modules[make.__module__].preprocess_input
    # black, and each channel alone
    black, *alone = preprocess(np.concatenate([np.zeros((1, 1, 1, 3)), 255 * np.eye(3)[:, None, None]]))[:, 0, 0]
    change = np.array(alone) - black
    bgr = change[0, 0] == 0
    gain = np.diagonal(change[::-1] if bgr else change)
    return Record(
        size=size,
        mean=tuple((0 - black / gain).tolist()),
        std=tuple((1 / gain).tolist()),
        bgr=bool(bgr),
        inside=bool(np.allclose(gain, 255) and not black.any()),
    )


ZOOS: dict[str, Zoo] = {"keras": keras_network}
"""Functions by the word before the colon."""
