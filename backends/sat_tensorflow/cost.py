"""What a network costs, measured from any model; `sat_core.network_cost` says what is counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from sat_core.network_cost import NetworkCost
from sat_tensorflow.inputs import OnImages
from sat_tensorflow.modes import held, inputs_of

_ALIASES = ("Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient")
"""Operations whose output is the memory of their input."""


def measured(model: keras.Model, ends: OnImages, dtype: str) -> NetworkCost | None:
    """Trace a model with the gradient of its weights, and count products and what the gradient reads.

    It is traced in evaluation mode, so that what dropout keeps is not counted, and never run: nothing of it changes. A
    loop that the graph has not unrolled counts as one round, and what functions that the model's own code has traced
    keep for themselves is missing in the activations.

    Args:
        model: what `ends` makes of images to logits.
        ends: what stands in front of it and behind it.
        dtype: type of the images.

    Returns:
        The cost; None if the sizes of some products are not known before they run.
    """
    weights = _weights(model)
    dense: list[tuple[int, ...]] = []
    split = 0

    def step(images: Tensor) -> list[Tensor]:
        nonlocal split
        values = {id(v): (v, tf.identity(v.value)) for v in weights}
        learned = [value for _, value in values.values()]
        forward = held(model, values, logits=ends.logits)
        with tf.GradientTape(watch_accessed_variables=False) as tape, inputs_of(model, _is_dense) as calls:
            tape.watch(learned)
            logits = forward(ends.prepared(images))
        dense.extend(tuple(x.shape) for _, x in calls)
        split = len(images.graph.get_operations())
        return [g for g in tape.gradient(logits, learned) if g is not None]

    image = tf.TensorSpec((1, *ends.inputs.image_shape), dtype)
    graph = tf.function(step, [image], autograph=False).get_concrete_function().graph
    operations = graph.get_operations()
    try:
        return NetworkCost(
            parameters=sum(math.prod(v.shape) for v in weights),
            forward_flops=sum(_flops(operation, graph) for operation in operations[:split]),
            activation_bytes=_kept(operations, split, graph.inputs[0]),
            features=dense[-1][1] if dense and len(dense[-1]) == 2 else 0,
        )
    except ValueError:
        return None


def _is_dense(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Dense)


def _weights(model: keras.Model) -> list[keras.Variable]:
    """Return the weights that can be learned, those of frozen layers too."""
    own = [v for layer in model._flatten_layers() for v in layer._trainable_variables]
    return [*{id(v): v for v in own}.values()]


def _flops(operation: Any, graph: Any) -> int:
    """Return the FLOPs of the products in an operation, and in the functions that it calls."""
    inner = [_flops(each, function) for function in _functions(operation, graph) for each in function.get_operations()]
    length = _LENGTHS.get(operation.type)
    return sum(inner) + (2 * length(operation) if length else 0)


def _functions(operation: Any, graph: Any) -> Iterator[Any]:
    names = {"PartitionedCall": ["f"], "StatefulPartitionedCall": ["f"], "While": ["body"], "StatelessWhile": ["body"]}
    for name in names.get(operation.type, []):
        function = graph._get_function(operation.get_attr(name).name)
        if function is not None and getattr(function, "graph", None) is not None:
            yield function.graph


def _shape(tensor: Tensor) -> list[int]:
    """Return the shape, of one image where a function was traced for any number of them; ValueError if unknown."""
    sizes: list[int | None] = tensor.shape.as_list()
    known = [1 if size is None else size for size in sizes]
    if None in sizes[1:]:
        raise ValueError(f"{tensor.name} has a size that is known when it runs")
    return known


def _size(tensor: Tensor) -> int:
    return math.prod(_shape(tensor))


def _convolution(operation: Any) -> int:
    *window, before, _ = _shape(operation.inputs[1])
    return _size(operation.outputs[0]) * math.prod(window) * before


def _transposed(operation: Any) -> int:
    *window, after, _ = _shape(operation.inputs[1])
    return _size(operation.inputs[2]) * math.prod(window) * after


def _depthwise(operation: Any) -> int:
    return _size(operation.outputs[0]) * math.prod(_shape(operation.inputs[1])[:2])


def _product(axis: str) -> Callable[[Any], int]:
    def length(operation: Any) -> int:
        first = _shape(operation.inputs[0])
        return _size(operation.outputs[0]) * first[-2 if operation.get_attr(axis) else -1]

    return length


def _einsum(operation: Any) -> int:
    inputs, _, output = operation.get_attr("equation").decode().partition("->")
    sizes: dict[str, int] = {}
    for letters, tensor in zip(inputs.split(","), operation.inputs, strict=True):
        before, _, after = letters.partition("...")
        shape = _shape(tensor)
        sizes |= zip(before, shape, strict=False)
        sizes |= zip(after[::-1], shape[::-1], strict=False)
    return _size(operation.outputs[0]) * math.prod(size for letter, size in sizes.items() if letter not in output)


_LENGTHS: dict[str, Callable[[Any], int]] = {
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "Conv2DBackpropInput": _transposed,
    "Conv3DBackpropInputV2": _transposed,
    "DepthwiseConv2dNative": _depthwise,
    "MatMul": _product("transpose_a"),
    "BatchMatMulV2": _product("adj_x"),
    "Einsum": _einsum,
}
"""Type of an operation to the number of its multiply-adds."""


def _kept(operations: list[Any], split: int, image: Tensor) -> int:
    """Return the bytes, in float32, of what depends on the image and is read by the operations of the gradient.

    Args:
        operations: in the order in which they were made; those from `split` on are the gradient's.
        split: see there.
        image: the input.
    """
    source = {image.ref(): image.ref()}  # of each tensor that depends on the image, whose memory it is
    for operation in operations[:split]:
        if any(x.ref() in source for x in operation.inputs):
            alias = source.get(operation.inputs[0].ref()) if operation.type in _ALIASES else None
            source |= {y.ref(): alias or y.ref() for y in operation.outputs}
    read = {source[x.ref()] for operation in operations[split:] for x in operation.inputs if x.ref() in source}
    tensors = [ref.deref() for ref in read]
    return sum(_size(t) * (4 if t.dtype.is_floating else t.dtype.size) for t in tensors)
