"""The PyTorch backend beyond the contract: models, switches, wrapped modules, the building block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sat_core import checkpoint
from sat_core.augmentation import AUGMENTATIONS
from sat_core.backend import Backend
from sat_core.errors import CheckpointError, DataError, SpecError
from sat_core.reference import augment as oracle_augment
from sat_core.spec import AttackSpec
from sat_core.testing import samples

pytestmark = pytest.mark.torch

COUNTS = {
    ("small-cnn", 10, (8, 8, 1)): 94_186,
    ("resnet18", 10, (32, 32, 3)): 11_173_962,
    ("wide-preact-resnet18", 10, (32, 32, 3)): 21_333_834,
    ("wide-preact-resnet18", 100, (32, 32, 3)): 21_380_004,
    ("resnet50", 200, (64, 64, 3)): 23_917_832,
    ("linear", 10, (8, 8, 1)): 650,
}


@pytest.mark.parametrize(("model", "classes", "shape"), COUNTS)
def test_models_have_their_published_size_and_run(backend: Backend, model: str, classes: int, shape: Any) -> None:
    classifier = backend.build(model, classes=classes, image_shape=shape)
    assert sum(p.numel() for p in classifier.native.parameters()) == COUNTS[model, classes, shape]
    images, labels = np.random.default_rng(0).random((2, *shape), np.float32), np.array([0, 1])
    logits, _, gradient = classifier.loss_gradient(images, labels)
    assert logits.shape == (2, classes)
    assert np.abs(gradient).sum() > 0
    assert not any("num_batches_tracked" in name for name in classifier.state())


def test_every_registered_model_is_counted(backend: Backend) -> None:
    assert {model for model, _, _ in COUNTS} == set(backend.models())


def train(backend: Backend, **changes: Any) -> tuple[dict[str, np.ndarray], list[float]]:
    data = samples.examples(whole=True)
    training, attack = samples.training(**changes), samples.attack()
    classifier, losses = samples.build(backend, "small-cnn"), []
    plans = samples.plans(len(data), 0.4, training, attack)
    with backend.session(training):
        trainer = backend.trainer(classifier, data, training, attack)
        trainer.run(plans, lambda _plan, step: losses.append(step.loss()))
    return classifier.state(), losses


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({"channels_last": True}, 1e-3),
        ({"precision": "float64"}, 1e-3),
        ({"precision": "bf16"}, 0.15),
        ({"precision": "fp16"}, 0.05),
        ({"deterministic": True}, 0.0),
        ({"compile": True}, 1e-3),
    ],
    ids=str,
)
def test_switches_change_the_arithmetic_but_not_the_training(backend: Backend, changes: Any, tolerance: float) -> None:
    (state, losses), (_, expected) = train(backend, **changes), train(backend)
    np.testing.assert_allclose(losses, expected, atol=tolerance)
    assert all(np.isfinite(value).all() for value in state.values())
    if "precision" in changes:
        assert losses != expected


def test_float64_models_are_attacked_in_float32(backend: Backend) -> None:
    import torch

    classifier, data = samples.build(backend, "small-cnn"), samples.examples()
    expected = classifier.logits(data.images)
    backend.trainer(classifier, data, samples.training(precision="float64"), samples.attack())
    logits = classifier.as_torch_module()(torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()))
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.detach().numpy(), expected, atol=1e-4)
    assert classifier.perturb(data.images, data.labels, samples.attack()).dtype == np.float32


def test_a_session_leaves_the_process_as_it_was(backend: Backend) -> None:
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with backend.session(samples.training(threads=before[0] + 1, deterministic=True)):
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (before[0] + 1, True)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_nothing_touches_the_global_generators(backend: Backend) -> None:
    import torch

    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    train(backend, augmentation="cifar")
    backend.build("resnet18", classes=3, image_shape=(32, 32, 3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize("members", [1, 5, 16])
def test_padding_for_compiled_code_changes_nothing(backend: Backend, members: int) -> None:
    import torch

    from sat_torch.attacks import attack_members

    classifier, data = samples.build(backend, "small-cnn"), samples.examples(16)
    x, y = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels)
    places = torch.arange(members)
    shapes = []

    def forward(images: torch.Tensor) -> torch.Tensor:
        shapes.append(len(images))
        return classifier.module(images)  # type: ignore[attr-defined]

    plain, padded = (attack_members(forward, x, y, places, samples.attack(), pad_to=pad) for pad in (1, 8))
    assert set(shapes) == {members, -(-members // 8) * 8}
    torch.testing.assert_close(plain, padded, atol=1e-5, rtol=0)
    assert torch.equal(padded[members:], x[members:])


def test_only_members_are_attacked_and_cost_follows_them(backend: Backend) -> None:
    seen: list[int] = []
    data, attack = samples.examples(16), samples.attack(steps=3)
    training = samples.training(batch_size=16, epochs=1)
    for share, members in ((0.0, 0), (0.25, 4), (1.0, 16)):
        classifier = samples.build(backend, "small-cnn")
        classifier.native.fc.register_forward_pre_hook(lambda _m, inputs: seen.append(len(inputs[0])))
        seen.clear()
        plans = samples.plans(16, share, training, attack)
        backend.trainer(classifier, data, training, attack).run(plans, lambda *_: None)
        assert seen == [members] * (3 if members else 0) + [16]


def own_module() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, 5)
    )


def test_a_users_module_is_wrapped_and_left_as_it_was(backend: Backend) -> None:
    module, data = own_module(), samples.examples()
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


def test_a_users_checkpoint_needs_the_model(backend: Backend, tmp_path: Path) -> None:
    classifier = backend.wrap(own_module(), classes=5, image_shape=samples.SHAPE)
    checkpoint.save(
        tmp_path / "own.safetensors", {"model": classifier.state()}, {"model": dict(classifier.description)}
    )
    with pytest.raises(CheckpointError, match="a checkpoint never imports code"):
        backend.load(tmp_path / "own")
    other = backend.wrap(own_module(), classes=5, image_shape=samples.SHAPE)
    other.load_state({name: value * 0 for name, value in other.state().items()})
    backend.load(tmp_path / "own", into=other)
    np.testing.assert_array_equal(other.logits(samples.examples().images), classifier.logits(samples.examples().images))


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_truncated_and_foreign_checkpoints_are_named(backend: Backend, tmp_path: Path, cut: int) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    classifier = samples.build(backend, "linear")
    checkpoint.save(path, {"model": classifier.state()}, {"model": dict(classifier.description)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: truncated or not a safetensors file"):
        backend.load(path)
    save_file({"x": np.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors: not a checkpoint of sat-core"):
        backend.load(tmp_path / "foreign.safetensors")
    checkpoint.save(path, {"model": classifier.state()}, {"model": {"model": "linear", "classes": "five"}})
    with pytest.raises(CheckpointError, match="what it says of its model is not whole"):
        backend.load(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        backend.load(tmp_path / "nothing")


def test_wrong_calls_say_what_was_expected(backend: Backend) -> None:
    from sat_torch import TorchBackend

    for device in ("tpu", "cuda:99", "gpu"):
        with pytest.raises(SpecError, match="device"):
            TorchBackend(device)
    options: dict[str, Any] = {"classes": 5, "image_shape": samples.SHAPE}
    with pytest.raises(SpecError, match="unknown model 'resnet-18' \\(did you mean 'resnet18'\\?\\)"):
        backend.build("resnet-18", **options)
    with pytest.raises(SpecError, match="cannot import 'nowhere:make'"):
        backend.build("nowhere:make", **options)
    with pytest.raises(SpecError, match=r"expected a torch\.nn\.Module, got str"):
        backend.wrap("resnet18", **options)
    with pytest.raises(SpecError, match=r"mean, std: expected none or one per channel \(3\)"):
        backend.build("linear", **options, mean=(0.5,), std=(0.5,))
    classifier = samples.build(backend, "linear")
    for images in (samples.examples().images * 2, samples.examples().images[0], np.zeros((1, 8, 8, 3), np.int64)):
        with pytest.raises(DataError, match="expected"):
            classifier.logits(images)
    with pytest.raises(DataError, match=r"labels in 0\.\.4"):
        classifier.perturb(samples.examples(1).images, np.array([5]), samples.attack())


def test_augmentation_is_the_oracles_and_pillows() -> None:
    import torch
    from PIL import Image, ImageEnhance

    from sat_core.augmentation import jitter_plan
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
    images = smooth.astype(np.float32) / 255
    found = augment(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), kind, draws).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, oracle_augment(images, kind, draws), atol=1e-5)
    plan = jitter_plan(kind, draws)
    assert plan is not None
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for i, (image, draw) in enumerate(zip(smooth, draws, strict=True)):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        top, left = int(draw[0] * 9), int(draw[1] * 9)
        picture = Image.fromarray(np.ascontiguousarray(padded[top : top + 32, left : left + 32]))
        if draw[2] < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for operation in plan.order[i]:
            picture = enhancers[operation](picture).enhance(float(plan.factors[i, operation]))
        picture = picture.rotate((draw[3] * 2 - 1) * 2.0, Image.Resampling.NEAREST)
        off = np.abs(np.asarray(picture) / 255.0 - found[i]) * 255
        assert off.mean() < 2  # Pillow truncates to whole numbers after each of the three operations
        assert (off > 4).mean() < 0.01  # and rounds the coordinates of a rotation to 1/65536: a neighbour at times


def test_one_cycle_is_pytorchs() -> None:
    import torch

    from sat_core.schedules import parse_schedule

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=100, cycle_momentum=False)
    schedule = parse_schedule("one-cycle")
    for step in range(100):
        assert schedule.lr(0.2, step, 10, 10) == pytest.approx(theirs.get_last_lr()[0], rel=0.05, abs=1e-3)
        optimizer.step()
        if step < 99:
            theirs.step()


def test_the_building_block_does_the_trainers_step(backend: Backend) -> None:
    import torch

    from sat_torch import SubsetAdversarialStep, WithIndex

    data, attack = samples.examples(16), samples.attack()
    split = samples.split(16, 0.4)
    classifier = samples.build(backend, "small-cnn")
    module = classifier.module  # type: ignore[attr-defined]
    x, y = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels)
    items = WithIndex(torch.utils.data.TensorDataset(x, y))
    assert len(items) == 16
    images, labels, index = next(iter(torch.utils.data.DataLoader(items, batch_size=16, shuffle=True)))
    module.train()
    mixed, loss = SubsetAdversarialStep(module, split, attack)(images, labels, index)
    assert module.training
    outside = ~torch.from_numpy(split.members[index.numpy()])
    assert torch.equal(mixed[outside], images[outside])
    assert not torch.equal(mixed[~outside], images[~outside])
    plan = samples.plans(16, 0.4, samples.training(lr=0.0, batch_size=16, epochs=1), attack)[0]
    again, losses = samples.build(backend, "small-cnn"), []
    trainer = backend.trainer(again, data, samples.training(lr=0.0, batch_size=16, epochs=1), attack)
    trainer.run([plan], lambda _plan, step: losses.append(step.loss()))
    assert loss.item() == pytest.approx(losses[0], rel=1e-4)
    loss.backward()
    assert all(p.grad is not None for p in module.parameters())
    with pytest.raises(DataError, match="normalise inside the model"):
        SubsetAdversarialStep(module, split, attack)(images * 3 - 1, labels, index)
    with pytest.raises(SpecError, match="pass rng="):
        SubsetAdversarialStep(module, split, AttackSpec(kind="rs-fgsm"))
