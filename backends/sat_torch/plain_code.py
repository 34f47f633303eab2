"""Networks as code that needs PyTorch alone: the module of an exported folder, and the lines that use it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getsource
from typing import Any, final

import attrs
import torch
from torch import Tensor, nn

from sat_core.input_spec import InputSpec
from sat_core.outputs import is_one_logit
from sat_core.plain_code import PlainCode, crop_ranges, factory_call, logits_code, module_source
from sat_core.reference import networks
from sat_core.zoos import ZOOS, ZooName
from sat_torch.models.layers import Pooled, pooled
from sat_torch.models.linear import linear
from sat_torch.models.preact_resnet18 import Block, WidePreActResNet18
from sat_torch.models.resnet import resnet18, resnet50
from sat_torch.models.small_cnn import SmallCNN
from sat_torch.modes import frozen

_STANDARD = {"from collections import OrderedDict": "OrderedDict(", "from typing import final": "@final"}
_TORCH = {
    "import torch": "torch.",
    "import torch.nn.functional as F": "F.",
    "from torch import Tensor, nn": "nn.",
}
_PREPARE = '''def prepare(images: Tensor) -> Tensor:
    """Return what the network takes for images `(n, {c}, {h}, {w})` in [0, 1]."""
{body}    return images
'''
_NORMALISE = """    mean, std = (images.new_tensor(values).reshape(-1, 1, 1) for values in (MEAN, STD))
    images = (images - mean) / std
"""
_MAKE = '''def make_model() -> nn.Module:
    """Make the network with any weights. It takes images in [0, 1] and returns logits."""
    model = {call}
{more}    model.register_forward_pre_hook(lambda _, images: prepare(*images))
{hook}    return model
'''
_HEAD = """    width = model.fc.in_features
    model.fc = nn.Sequential(OrderedDict(hidden=nn.Linear(width, width), relu=nn.ReLU(), out=nn.Linear(width, {k})))
"""
_HOOK = "    model.register_forward_hook(lambda _, images, output: {logits})\n"
_LINES = """from model import make_model
from safetensors.torch import load_file

model = make_model().eval()
model.load_state_dict(load_file("model.safetensors"))
logits = model(images)
"""


@final
@attrs.frozen(kw_only=True)
class _Made:
    """How a network is made: the pieces of source that it needs, constants among them, and the call.

    Attributes:
        parts: Functions, classes, and source.
        call: An expression; of ours with {k} for the number of classes, {c} for channels, {shape} for an image's shape.
        needs: Packages, in words.
        imports: Lines, beside those of PyTorch.
    """

    parts: tuple[Callable[..., Any] | type | str, ...] = ()
    call: str
    needs: str = "PyTorch"
    imports: tuple[str, ...] = ()


_RESNET = "PyTorch, torchvision"
_CONVOLUTIONS = f"STRIDES, WIDTHS = {networks.STRIDES}, {networks.WIDTHS}\n"
_BLOCKS = "BLOCKS = (\n" + "".join(f"    {block},\n" for block in networks.WIDE_PREACT_BLOCKS) + ")\n"
_OWN = {
    "small-cnn": _Made(parts=(_CONVOLUTIONS, pooled, SmallCNN), call="SmallCNN({k}, {c})"),
    "linear": _Made(parts=(linear,), call="linear({k}, {shape})"),
    "wide-preact-resnet18": _Made(
        parts=(_BLOCKS, pooled, Block, WidePreActResNet18), call="WidePreActResNet18({k}, {c})"
    ),
    "resnet18": _Made(parts=(pooled, Pooled, resnet18), call="resnet18({k}, {c})", needs=_RESNET),
    "resnet50": _Made(parts=(pooled, Pooled, resnet50), call="resnet50({k}, {c})", needs=_RESNET),
}


def plain_code(model: str, inputs: InputSpec, head: bool, native: Any) -> PlainCode | None:
    """See `sat_core.plain_code.Publisher.plain_code`."""
    made = _OWN.get(model) or _of_others(model, inputs)
    logits = _logits(inputs, native)
    if made is None or logits is None or (head and model not in _OWN):
        return None
    (h, w, c), shape, k = inputs.image_shape, inputs.network_shape, inputs.classes
    call = made.call.format(k=k, c=shape[2], shape=shape) if model in _OWN else made.call
    more = _HEAD.format(k=k) if head else ""
    hook = "" if logits == "output" else _HOOK.format(logits=logits)
    constants = [f"MEAN = {inputs.mean}\nSTD = {inputs.std}\n"] if inputs.mean else []
    body = _scaling(inputs) + (_NORMALISE if inputs.mean else "")
    pieces = [
        *(part if isinstance(part, str) else getsource(part) for part in made.parts),
        *constants,
        _PREPARE.format(c=c, h=h, w=w, body=body),
        _MAKE.format(call=call, more=more, hook=hook),
    ]
    title = f"The network {model} in plain PyTorch, with all that it needs done to images inside."
    imports = (_STANDARD, _TORCH | dict.fromkeys(made.imports, ""))
    module = module_source(title, made.needs, imports, pieces)
    return PlainCode(module=module, lines=_LINES, framework=made.needs, images=f"float32 (n, {c}, {h}, {w}) in [0, 1]")


def _of_others(model: str, inputs: InputSpec) -> _Made | None:
    """Say how a network of a library, or a user's, is made."""
    name = ZooName.parse(model)
    options = "".join(f", {key}={value!r}" for key, value in name.keywords().items())
    needs = f"PyTorch, {name.zoo}"
    if name.zoo == "timm":
        channels = f", in_chans={inputs.network_shape[2]}" if inputs.network_shape[2] != 3 else ""
        call = f"timm.create_model({name.network!r}, num_classes={inputs.classes}{channels}{options})"
        return _Made(call=call, needs=needs, imports=("import timm",))
    if name.zoo == "torchvision":
        single = ", aux_logits=False" if name.network in ("googlenet", "inception_v3") else ""
        call = f"models.get_model({name.network!r}, num_classes={inputs.classes}{single}{options})"
        return _Made(call=call, needs=needs, imports=("from torchvision import models",))
    if name.zoo in ZOOS:
        return None
    if (users := factory_call(model, inputs)) is None:
        return None
    call, module, line = users
    return _Made(call=call, needs=f"PyTorch, {module}", imports=(line,))


def _scaling(inputs: InputSpec) -> str:
    scaling = inputs.scaling
    if scaling is None:
        return ""
    mode = {"nearest": '"nearest-exact"'}.get(scaling.interpolation, f'"{scaling.interpolation}", antialias=True')
    lines = [f"images = F.interpolate(images, {scaling.size}, mode={mode})"]
    if scaling.overshoots:
        lines.append("images = images.clamp(0, 1)")
    if scaling.crop != scaling.size:
        lines.append(f"images = images[:, :, {crop_ranges(scaling)}]")
    if scaling.channels:
        lines.append(f"images = images.expand(-1, {scaling.channels}, -1, -1)")
    if scaling.bgr:
        lines.append("images = images.flip(1)")
    return "".join(f"    {line}\n" for line in lines)


def _logits(inputs: InputSpec, native: Any) -> str | None:
    """Return an expression for the logits in the network's `output`; None where that cannot be known."""
    if not isinstance(native, nn.Module):
        return None if inputs.output else "output"
    h, w, c = inputs.network_shape
    weight = next(native.parameters(), torch.zeros(0))
    with frozen(native), torch.no_grad():
        output: Any = native(torch.zeros((1, c, h, w), dtype=weight.dtype, device=weight.device))
    code, logits = logits_code(output, inputs.output, lambda value: isinstance(value, Tensor))
    one = is_one_logit(tuple(logits.shape), 1, inputs.classes)
    return f"F.pad({code}.reshape(-1, 1), (1, 0))" if one else code
