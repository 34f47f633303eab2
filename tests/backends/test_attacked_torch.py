"""What attacks of a PyTorch training compute with: folded copies in its precision, weights rounded once."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
from toys import own_network

from sat_core.backend import Backend
from sat_core.precision import HALF, OF_NETWORK
from sat_core.testing import samples
from sat_core.testing.parity import IMAGE_SHAPES

pytestmark = pytest.mark.torch

HALVES = ["bf16", "fp16"]


def counting(operators: Counter[str], casts: Counter[tuple[int, ...]]) -> Any:
    """Inside of the context that this returns, count PyTorch's operators, and copies to another type by their shape."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
            operators[name] += 1
            if name in ("copy_", "_to_copy") and args[name == "copy_"].dtype != out.dtype:
                casts[tuple(out.shape)] += 1
            return out

    return Counting()


def attacked(backend: Backend, classifier: Any, precision: str, compiled: bool = False) -> Any:
    """Make the network of a training as attacks see it, and the forward of the training."""
    import torch

    from sat_torch.attacked import Attacked
    from sat_torch.modes import precision as within

    training, half = samples.training(precision=precision, compile=compiled), OF_NETWORK[precision]
    forward = within(classifier.module, "cpu", getattr(torch, half) if half in HALF else None)
    return Attacked(classifier, training, forward), forward


def tensors(n: int = 8, shape: tuple[int, int, int] = samples.SHAPE) -> tuple[Any, Any]:
    import torch

    data = samples.examples(n, shape=shape)
    return torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels)


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("own", [False, True])
def test_each_weight_is_rounded_once_per_attack(backend: Backend, precision: str, own: bool) -> None:
    from torch import nn

    from sat_torch.attacks import perturb

    if own:
        network = own_network(backend)
        network[0].requires_grad_(False)  # such as features that are frozen
        classifier: Any = backend.wrap(network, classes=samples.CLASSES, image_shape=samples.SHAPE)
    else:
        classifier = samples.build(backend, "small-cnn")
    (images, labels), casts = tensors(7), Counter[tuple[int, ...]]()
    flags = [p.requires_grad for p in classifier.native.parameters()]
    seen, _ = attacked(backend, classifier, precision)
    with counting(Counter(), casts), seen.weights() as forward:
        perturb(forward, images, labels, samples.attack(steps=7))
    layers = [layer for layer in classifier.native.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    shapes = Counter(tuple(p.shape) for layer in layers for p in layer.parameters())
    # BatchNorm's shift is the bias of a folded convolution
    shapes.update(tuple(n.bias.shape) for n in classifier.native.modules() if isinstance(n, nn.BatchNorm2d) and not own)
    assert {shape: n for shape, n in casts.items() if shape[0] != len(images)} == shapes
    assert [p.requires_grad for p in classifier.native.parameters()] == flags


@pytest.mark.parametrize(
    ("model", "precision"), [("small-cnn", "bf16"), ("small-cnn", "fp16"), ("wide-preact-resnet18", "bf16")]
)
def test_a_folded_copy_in_half_precision_attacks_as_autocast_does(backend: Backend, model: str, precision: str) -> None:
    """Compared are the losses on the adversarial examples; their pixels depend on the signs of small gradients."""
    import torch
    from torch.nn.functional import cross_entropy

    from sat_torch.attacks import perturb
    from sat_torch.modes import frozen

    shape = IMAGE_SHAPES[model]
    classifier: Any = samples.build(backend, model, shape=shape)
    images, labels = tensors(6, shape)
    network, plain = attacked(backend, classifier, precision)
    attack, scale, losses = samples.attack(eps=0.3, step_size=0.1), 1024.0 if precision == "fp16" else 1.0, []
    with frozen(classifier.module), network.weights() as folded:
        assert folded(images).dtype == torch.float32
        for forward in (folded, plain):
            adversarial = perturb(forward, images, labels, attack, gradient_scale=scale)
            losses.append(cross_entropy(classifier.module(adversarial), labels, reduction="none").detach())
        clean = cross_entropy(classifier.module(images), labels, reduction="none")
    gain = (losses[1] - clean).mean()
    assert gain > 0
    assert abs((losses[0] - losses[1]).mean()) < 0.1 * gain


def test_a_fold_writes_where_the_last_one_did_and_reads_nothing_back(backend: Backend) -> None:
    """A captured CUDA graph replays with the memory that it was captured with."""
    import torch

    from sat_torch.folded import Folded

    classifier: Any = samples.build(backend, "small-cnn")
    for dtype in (None, torch.bfloat16):
        folded, operators = Folded(classifier.native, dtype), Counter[str]()
        (images, _), logits, places = tensors(), [], []
        for factor in (1.0, 1.5):
            with torch.no_grad():
                classifier.native.conv2.weight.mul_(factor)
            with counting(operators, Counter()):
                folded.fold()
            places.append([(id(t), t.data_ptr()) for layer in folded._layers for t in layer.buffers()])
            logits.append(folded(images).detach())
        assert places[0] == places[1]
        assert places[0]
        assert operators["copy_"] == 2 * len(places[0])
        assert operators["_local_scalar_dense"] == 0
        assert not torch.equal(*logits)


def test_rounded_weights_end_with_the_attack(backend: Backend) -> None:
    """Also in a script that runs under autocast as a whole, whose cache lives on."""
    import torch

    network = own_network(backend).eval()
    classifier: Any = backend.wrap(network, classes=samples.CLASSES, image_shape=samples.SHAPE)
    (images, _), seen = tensors(), attacked(backend, classifier, "bf16")[0]
    with torch.autocast("cpu", torch.bfloat16):
        before = classifier.module(images)
        with seen.weights() as forward:
            assert torch.equal(forward(images), before)
            assert (images @ images.mT).dtype == torch.float32  # the attack itself is not under autocast
        with torch.no_grad():
            for p in network.parameters():
                p.mul_(1.1)
        with seen.weights() as forward:
            assert not torch.equal(forward(images), before)


def test_compiled_layers_of_a_user_keep_their_flags(backend: Backend) -> None:
    """With them, a compiled backward pass would compute gradients of all weights."""
    import torch

    from sat_torch.modes import casts_once, frozen

    network = torch.nn.Sequential(own_network(backend))
    for compiled in (False, True):
        if compiled:
            network[0].compile(backend="eager")
        with frozen(network), casts_once(network):
            assert {p.requires_grad for p in network.parameters()} == {not compiled}


def test_a_hook_is_called_in_half_precision_too(backend: Backend) -> None:
    from sat_torch.attacks import perturb

    classifier, seen = samples.build(backend, "small-cnn"), []
    classifier.native.conv2.register_forward_hook(lambda *_: seen.append(1))  # type: ignore[attr-defined]
    images, labels = tensors()
    with attacked(backend, classifier, "bf16")[0].weights() as forward:
        perturb(forward, images, labels, samples.attack(steps=3))
    assert len(seen) == 3


def test_what_is_compiled_is_the_folded_copy(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # as TorchInductor, but quick
    classifier: Any = samples.build(backend, "small-cnn")
    (images, _), logits = tensors(), []
    for compiled in (False, True):
        with attacked(backend, classifier, "float32", compiled)[0].weights() as forward:
            x = images.clone().requires_grad_()
            logits.append(forward(x))
            assert torch.autograd.grad(logits[-1].sum(), x)[0].any()
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
