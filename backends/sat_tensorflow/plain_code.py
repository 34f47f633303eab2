"""Networks as code that needs Keras alone: the module of an exported folder, and the lines that use it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getsource
from typing import Any, final

import attrs
import keras
import tensorflow as tf

from sat_core.input_spec import InputSpec
from sat_core.outputs import is_one_logit
from sat_core.plain_code import PlainCode, crop_ranges, factory_call, logits_code, module_source
from sat_core.reference import networks
from sat_core.reference.layers import BATCHNORM_EPSILON, BATCHNORM_MOMENTUM
from sat_core.zoos import ZOOS, ZooName
from sat_tensorflow.arrays import LEAVES
from sat_tensorflow.models import layers, preact_resnet18, resnet
from sat_tensorflow.models.linear import linear
from sat_tensorflow.models.small_cnn import small_cnn

_STANDARD = {"from functools import partial": "partial(", "from typing import Any": "Any"}
_KERAS = {
    "import keras": "keras.",
    "import numpy as np": "np.",
    "from keras import KerasTensor, layers": "layers.",
    "from safetensors.numpy import load_file": "load_file(",
}
_PREPARE = '''def prepare(images: Any) -> Any:
    """Return what the network takes for images `(n, {h}, {w}, {c})` in [0, 1]."""
{body}    return images
'''
_NORMALISE = """    mean, std = (np.array(values, "float32") for values in (MEAN, STD))
    images = (images - mean) / std
"""
_LOAD = '''def load_weights(model: keras.Model, path: str) -> None:
    """Load weights that have PyTorch's names and layout: kernels are `(out, in, height, width)`."""
    arrays = load_file(path)
    for name, variable in {named}:
        value = arrays[f"{{name}}.{{LEAVES.get(variable.name, variable.name)}}"]
        kernel = variable.name == "kernel" and value.ndim > 1
        variable.assign(np.moveaxis(value, (0, 1), (-1, -2)) if kernel else value)
'''
_BY_LAYER = "((layer.name, variable) for layer in model.layers for variable in layer.variables)"
_BY_NUMBER = "enumerate(model.variables)"
_MAKE = '''def make_model(path: str) -> keras.Model:
    """Make the network with the weights in a file. It takes images in [0, 1] and returns logits."""
    network = {call}
{more}    load_weights(network, path)
    images = keras.Input({shape})
    output = network(prepare(images), training=False)
    return keras.Model(images, {logits})
'''
_HEAD = """    features = network.layers[-1].input
    hidden = layers.Dense(features.shape[-1], activation="relu", name="fc.hidden")(features)
    network = keras.Model(network.inputs, layers.Dense({k}, name="fc.out")(hidden))
"""
_BUILT = '    network(np.zeros((1, *{shape}), "float32"))  # layers that are built when they are called\n'
_LINES = """from model import make_model

model = make_model("model.safetensors")
logits = model(images)
"""


@final
@attrs.frozen(kw_only=True)
class _Made:
    """How a network is made: the pieces of source that it needs, constants among them, and the call.

    Attributes:
        parts: Functions, classes, and source.
        call: An expression; of ours with {k} for the number of classes and {shape} for an image's shape.
        needs: Packages, in words.
        imports: Lines, beside those of Keras.
    """

    parts: tuple[Callable[..., Any] | type | str, ...] = ()
    call: str
    needs: str = "Keras"
    imports: tuple[str, ...] = ()


_CHANNELS = f'CHANNELS = "{layers.CHANNELS}"\n'
# In evaluation mode ours is Keras's own.
_NORM = f"momentum={1 - BATCHNORM_MOMENTUM}, epsilon={BATCHNORM_EPSILON}"
_BATCH_NORM = f"BatchNorm = partial(layers.BatchNormalization, {_NORM})\n"
_CONVOLUTIONS = f"STRIDES, WIDTHS = {networks.STRIDES}, {networks.WIDTHS}\n"
_STAGES = f"WIDTHS = {resnet.WIDTHS}\n"
_BLOCKS = "BLOCKS = (\n" + "".join(f"    {block},\n" for block in networks.WIDE_PREACT_BLOCKS) + ")\n"
_LAYERS = (_CHANNELS, _BATCH_NORM, layers.inputs, layers.convolution, layers.pooled, layers.normalised)
_RESNET = (resnet._joined, resnet._ended)
_OWN = {
    "small-cnn": _Made(parts=(_CONVOLUTIONS, *_LAYERS, small_cnn), call="small_cnn({k}, {shape})"),
    "linear": _Made(parts=(_CHANNELS, layers.inputs, linear), call="linear({k}, {shape})"),
    "wide-preact-resnet18": _Made(
        parts=(_BLOCKS, *_LAYERS, preact_resnet18._block, preact_resnet18.wide_preact_resnet18),
        call="wide_preact_resnet18({k}, {shape})",
    ),
    "resnet18": _Made(
        parts=(_STAGES, *_LAYERS, *_RESNET, resnet._basic, resnet.resnet18), call="resnet18({k}, {shape})"
    ),
    "resnet50": _Made(
        parts=(_STAGES, *_LAYERS, *_RESNET, resnet._bottleneck, resnet.resnet50), call="resnet50({k}, {shape})"
    ),
}


def plain_code(model: str, inputs: InputSpec, head: bool, native: Any) -> PlainCode | None:
    """See `sat_core.plain_code.Publisher.plain_code`."""
    own = model in _OWN
    made = _OWN.get(model) or _of_others(model, inputs)
    logits = _logits(inputs, native)
    if made is None or logits is None or (head and not own):
        return None
    (h, w, c), k = inputs.image_shape, inputs.classes
    call = made.call.format(k=k, shape=inputs.network_shape) if own else made.call
    more = (_HEAD.format(k=k) if head else "") if own else _BUILT.format(shape=inputs.network_shape)
    constants = [f"MEAN = {inputs.mean}\nSTD = {inputs.std}\n"] if inputs.mean else []
    body = _scaling(inputs) + (_NORMALISE if inputs.mean else "")
    parts = [part if isinstance(part, str) else getsource(part) for part in made.parts]
    pieces = [
        *sorted(parts, key=lambda part: not part[0].isupper()),
        *constants,
        _PREPARE.format(c=c, h=h, w=w, body=body),
        "LEAVES = {\n" + "".join(f'    "{keras_name}": "{name}",\n' for keras_name, name in LEAVES.items()) + "}\n",
        _LOAD.format(named=_BY_LAYER if own else _BY_NUMBER),
        _MAKE.format(call=call, more=more, shape=inputs.image_shape, logits=logits),
    ]
    title = f"The network {model} in plain Keras, with all that it needs done to images inside."
    imports = (_STANDARD, _KERAS | dict.fromkeys(made.imports, ""))
    module = module_source(title, f"{made.needs} and safetensors", imports, pieces)
    return PlainCode(module=module, lines=_LINES, framework=made.needs, images=f"float32 (n, {h}, {w}, {c}) in [0, 1]")


def _of_others(model: str, inputs: InputSpec) -> _Made | None:
    """Say how a network of a library, or a user's, is made."""
    name = ZooName.parse(model)
    if name.zoo == "keras":
        options: dict[str, Any] = {"weights": None, "classes": inputs.classes, "input_shape": inputs.network_shape}
        options |= {"classifier_activation": None, **name.keywords()}
        written = ", ".join(f"{key}={value!r}" for key, value in options.items())
        return _Made(call=f"keras.applications.{name.network}({written})")
    if name.zoo in ZOOS:
        return None
    if (users := factory_call(model, inputs)) is None:
        return None
    call, module, line = users
    return _Made(call=call, needs=f"Keras, {module}", imports=(line,))


def _scaling(inputs: InputSpec) -> str:
    scaling = inputs.scaling
    if scaling is None:
        return ""
    options = f'"{scaling.interpolation}", antialias={scaling.interpolation != "nearest"}, data_format="channels_last"'
    lines = [f"images = keras.ops.image.resize(images, {scaling.size}, {options})"]
    if scaling.overshoots:
        lines.append("images = keras.ops.clip(images, 0, 1)")
    if scaling.crop != scaling.size:
        lines.append(f"images = images[:, {crop_ranges(scaling)}]")
    if scaling.channels > inputs.image_shape[2]:
        lines.append(f"images = keras.ops.repeat(images, {scaling.channels}, axis=3)")
    if scaling.bgr:
        lines.append("images = images[:, :, :, ::-1]")
    return "".join(f"    {line}\n" for line in lines)


def _logits(inputs: InputSpec, native: Any) -> str | None:
    """Return an expression for the logits in the network's `output`; None where that cannot be known."""
    if not isinstance(native, keras.Model):
        return None if inputs.output else "output"
    output = native(tf.zeros((1, *inputs.network_shape), native.variable_dtype), training=False)
    code, logits = logits_code(output, inputs.output, tf.is_tensor)
    one = is_one_logit(tuple(logits.shape), 1, inputs.classes)
    return f"keras.ops.pad(keras.ops.reshape({code}, (-1, 1)), ((0, 0), (1, 0)))" if one else code
