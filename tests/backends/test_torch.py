"""The PyTorch backend beyond what every backend does: modes, hooks, folding, augmentation, schedules."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from toys import own_network

from sat_core.ascent import attack_first
from sat_core.ascent import padded as padded_size
from sat_core.augmentation import AUGMENTATIONS
from sat_core.backend import Backend
from sat_core.reference import augment as oracle_augment
from sat_core.testing import samples
from sat_core.testing.parity import IMAGE_SHAPES

pytestmark = pytest.mark.torch


def test_a_session_leaves_the_process_as_it_was(backend: Backend) -> None:
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with backend.session(samples.training(threads=before[0] + 1, deterministic=True)):
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (before[0] + 1, True)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_session_does_not_import_the_compiler() -> None:
    """`torch.use_deterministic_algorithms` would, whatever it is called with."""
    code = "from sat_core.backend import get_backend; from sat_core.training_spec import TrainingSpec; import sys\n"
    code += "with get_backend('torch').session(TrainingSpec(epochs=1)): print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_nothing_touches_the_global_generators(backend: Backend) -> None:
    import torch

    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    data, training, attack = samples.examples(whole=True), samples.training(augmentation="cifar"), samples.attack()
    plans = samples.plans(len(data), 0.4, training, attack)
    samples.train(backend.trainer(samples.build(backend, "small-cnn"), data, training, attack), plans)
    backend.build("resnet18", classes=3, image_shape=(32, 32, 3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize("n", [1, 35, 128])
def test_padding_for_compiled_code_changes_nothing(backend: Backend, n: int) -> None:
    import torch

    from sat_torch.attacks import perturb
    from sat_torch.ops import OPS

    classifier, data = samples.build(backend, "small-cnn"), samples.examples(128)
    x, y = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels)
    shapes = []

    def forward(images: torch.Tensor) -> torch.Tensor:
        shapes.append(len(images))
        return classifier.module(images)  # type: ignore[attr-defined]

    def attacked(images: torch.Tensor, labels: torch.Tensor, starts: Any) -> torch.Tensor:
        return perturb(forward, images, labels, samples.attack(), starts)

    plain, padded = (
        attack_first(OPS, attacked, x, y, [None], size, count)
        for size, count in ((n, None), (padded_size(n, 128), torch.tensor(n)))
    )
    assert set(shapes) == {n, -(-n // 8) * 8}
    torch.testing.assert_close(plain, padded, atol=1e-3, rtol=0)
    assert torch.equal(padded[n:], x[n:])


def test_only_members_are_attacked_and_cost_follows_them(backend: Backend) -> None:
    seen: list[int] = []
    data, attack = samples.examples(16), samples.attack(steps=3)
    training = samples.training(batch_size=16, epochs=1)
    for share, members in ((0.0, 0), (0.25, 4), (1.0, 16)):
        classifier = samples.build(backend, "small-cnn")
        classifier.native.fc.register_forward_pre_hook(lambda _m, inputs: seen.append(len(inputs[0])))
        seen.clear()
        plans = samples.plans(16, share, training, attack)
        samples.train(backend.trainer(classifier, data, training, attack), plans)
        assert seen == [members] * (3 if members else 0) + [16]


@pytest.mark.parametrize(("model", "head"), [*((model, False) for model in IMAGE_SHAPES), ("small-cnn", True)])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_folded_networks_are_the_same_function(backend: Backend, model: str, head: bool, precision: str) -> None:
    import torch

    from sat_torch.folded import Folded

    classifier: Any = samples.build(backend, model, shape=IMAGE_SHAPES[model])
    classifier = classifier.with_head(7) if head else classifier
    network = classifier.native.to(getattr(torch, precision))
    learning = [parameter.requires_grad for parameter in network.parameters()]
    images = samples.examples(3, shape=IMAGE_SHAPES[model]).images.transpose(0, 3, 1, 2).copy()
    x, folded = torch.from_numpy(images).to(getattr(torch, precision)).requires_grad_(), Folded(network)
    before, results = classifier.state(), []
    for _ in range(2):
        folded.fold()
        logits = folded(x)
        results.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), x)))
        assert [parameter.requires_grad for parameter in network.parameters()] == learning
        assert all(parameter.grad is None for parameter in network.parameters())
        expected = network(x)
        (slope,) = torch.autograd.grad(expected.square().sum(), x)
        assert (results[-1][0] - expected).norm() <= {"float32": 1e-4, "float64": 1e-12}[precision] * expected.norm()
        # a value that is rounded to the other side of a ReLU's corner has another gradient
        assert (results[-1][1] - slope).norm() <= {"float32": 0.2, "float64": 1e-10}[precision] * slope.norm()
        if not results[1:]:
            assert all(np.array_equal(value, before[name]) for name, value in classifier.state().items())
            classifier.load_state({name: value * np.float32(1.1) for name, value in before.items()})
    assert not torch.equal(results[0][0], results[1][0])  # the weights of then, not those of the first time


def test_who_listens_to_a_layer_finds_it_called(backend: Backend) -> None:
    data, training, attack, seen = samples.examples(whole=True), samples.training(), samples.attack(steps=3), []
    plans, losses = samples.plans(24, 0.4, training, attack), {}
    for listens in (False, True):
        classifier = samples.build(backend, "small-cnn")
        if listens:
            classifier.native.conv2.register_forward_hook(lambda *_: seen.append(1))
        losses[listens] = samples.train(backend.trainer(classifier, data, training, attack), plans)
    assert len(seen) == sum(1 + 3 * bool(members) for plan in plans for members in plan.members)
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-4)


def test_a_users_module_is_wrapped_and_left_as_it_was(backend: Backend) -> None:
    module, data = own_network(backend), samples.examples()
    module.train()
    module[3].eval()
    module[0].weight.requires_grad_(False)
    classifier = backend.wrap(module, classes=5, image_shape=samples.SHAPE, mean=samples.MEAN, std=samples.STD)
    assert classifier.native is module
    first, again = classifier.logits(data.images), classifier.logits(data.images)
    np.testing.assert_array_equal(first, again)  # no dropout, no batch statistics
    adversarial = classifier.perturb(data.images, data.labels, samples.attack())
    assert (
        classifier.loss_gradient(adversarial, data.labels)[1] > classifier.loss_gradient(data.images, data.labels)[1]
    ).any()
    assert [layer.training for layer in module] == [True, True, True, False, True, True]
    assert [p.requires_grad for p in module.parameters()] == [False] + [True] * 5
    assert all(p.grad is None for p in module.parameters())
    assert "1.num_batches_tracked" in classifier.state()


def test_augmentation_is_the_oracles_and_pillows() -> None:
    import torch
    from PIL import Image, ImageEnhance

    from sat_core.augmentation import Moves
    from sat_torch.augmentation import augment

    rng = np.random.default_rng(0)
    smooth = np.array(
        [
            np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BICUBIC))
            for p in rng.integers(0, 256, (16, 6, 6, 3), dtype=np.uint8)
        ]
    )
    kind = AUGMENTATIONS.get("cifar")
    draws = kind.draw(rng, len(smooth))
    assert draws is not None
    images, moves = smooth.astype(np.float32) / 255, kind.moves(draws)
    assert moves is not None
    tensors = Moves(torch.from_numpy(moves.integers), torch.from_numpy(moves.factors))
    made = augment(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), kind, tensors)
    augmented = made.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(augmented, oracle_augment(images, kind, moves), atol=1e-5)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for i, (image, draw) in enumerate(zip(smooth, draws, strict=True)):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        top, left = int(draw[0] * 9), int(draw[1] * 9)
        picture = Image.fromarray(np.ascontiguousarray(padded[top : top + 32, left : left + 32]))
        if draw[2] < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for operation in moves.integers[i, 5:]:
            picture = enhancers[operation](picture).enhance(float(moves.factors[i, operation]))
        picture = picture.rotate((draw[3] * 2 - 1) * 2.0, Image.Resampling.NEAREST)
        off = np.abs(np.asarray(picture) / 255.0 - augmented[i]) * 255
        assert off.mean() < 2  # Pillow truncates to whole numbers after each of the three operations
        assert (off > 4).mean() < 0.01  # and rounds the coordinates of a rotation to 1/65536: a neighbour at times


def test_one_cycle_is_pytorchs() -> None:
    import torch

    from sat_core.schedules import parse_schedule

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=100, cycle_momentum=False)
    schedule = parse_schedule("one-cycle")
    for step in range(100):
        assert schedule.lr(0.2, step, 10, 10) == pytest.approx(one_cycle.get_last_lr()[0], rel=0.05, abs=1e-3)
        optimizer.step()
        if step < 99:
            one_cycle.step()
