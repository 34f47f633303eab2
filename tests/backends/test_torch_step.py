"""The building block for training loops of one's own, in PyTorch."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
from toys import SEEN_ONCE, WRONG_BATCHES

from sat_core.attack_spec import AttackSpec
from sat_core.backend import Backend
from sat_core.errors import DataError, SpecError
from sat_core.loss_spec import LossSpec
from sat_core.testing import samples

pytestmark = pytest.mark.torch


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
    again = samples.build(backend, "small-cnn")
    trainer = backend.trainer(again, data, samples.training(lr=0.0, batch_size=16, epochs=1), attack)
    assert loss.item() == pytest.approx(trainer.run(plan)[0], rel=1e-4)
    loss.backward()
    assert all(p.grad is not None for p in module.parameters())
    with pytest.raises(SpecError, match=r"attack\.eps: expected less than"):
        SubsetAdversarialStep(module, split, samples.attack(eps=127))(images, labels, index)
    with pytest.raises(SpecError, match="pass rng="):
        SubsetAdversarialStep(module, split, AttackSpec(kind="rs-fgsm"))


def test_the_building_block_has_every_loss_of_the_trainer(backend: Backend) -> None:
    import torch

    from sat_torch import SubsetAdversarialStep

    data, attack, split = samples.examples(16), samples.attack(steps=2), samples.split(16, 0.4)
    training = samples.training(lr=0.0, batch_size=16, epochs=1)
    (plan,) = samples.plans(16, 0.4, training, attack)
    images, labels = torch.from_numpy(data.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(data.labels)
    for loss in (LossSpec(label_smoothing=0.2), *(LossSpec(kind=kind) for kind in ("trades", "mart", "alp"))):
        first, second = (samples.build(backend, "small-cnn") for _ in range(2))
        expected = backend.trainer(first, data, training, attack, None, loss)
        if any(loss.betas):
            plan = attrs.evolve(plan, beta=np.full(plan.steps, loss.betas[0]))
        step = SubsetAdversarialStep(second.module.train(), split, attack, loss=loss)  # type: ignore[attr-defined]
        assert step(images, labels, torch.arange(16))[1].item() == pytest.approx(expected.run(plan)[0], rel=1e-4)
        one, other = (classifier.state()["bn1.running_mean"] for classifier in (first, second))
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)  # clean images of members went through, too
        if loss.kind != "ce":
            with pytest.raises(DataError, match="call the step itself"):
                step.losses(torch.zeros(16, 5), labels, torch.arange(16))


def test_the_building_block_takes_the_strongest_of_its_restarts() -> None:
    """Against single attacks from the starts that a generator of the same seed draws."""
    import own_step
    import torch
    from torch.nn.functional import cross_entropy

    from sat_torch import SubsetAdversarialStep

    model, (images, labels, index) = own_step.network(), own_step.batch()
    kind = {"norm": "Linf", "eps": 0.1, "step_size": 0.05, "steps": 2, "random_start": True}
    split, rng = own_step.make(model).split, np.random.default_rng(3)
    single = SubsetAdversarialStep(model, split, samples.attack(**kind), rng)
    tries = [single.mix(images, labels, index) for _ in range(3)]
    attack = samples.attack(**kind, restarts=3)
    mixed = SubsetAdversarialStep(model, split, attack, np.random.default_rng(3)).mix(images, labels, index)
    losses = torch.stack([cross_entropy(model(x), labels, reduction="none") for x in tries])
    for row, best in enumerate(losses.argmax(dim=0).tolist()):
        assert torch.equal(mixed[row], tries[best][row])
    assert len({*losses.argmax(dim=0)[split.members].tolist()}) > 1  # or one start would do


@pytest.mark.parametrize(("name", "wrong", "says"), WRONG_BATCHES)
def test_the_building_block_refuses_a_wrong_batch(name: str, wrong: Any, says: str) -> None:
    import own_step
    import torch

    batch = dict(zip(("images", "labels", "index"), own_step.batch(), strict=True))
    step = own_step.make(own_step.network())
    with pytest.raises(DataError, match=says):
        step.mix(**{**batch, name: torch.from_numpy(wrong(batch[name].numpy()))})
    step.mix(**{**batch, "labels": batch["labels"].to(torch.uint8), "index": batch["index"].to(torch.int32)})
    if says not in SEEN_ONCE:
        later = {**batch, name: torch.from_numpy(wrong(batch[name].numpy()))}
        with pytest.raises(DataError, match=says):
            step.mix(**later)
        if name != "images":
            with pytest.raises(DataError, match=says):
                step.losses(torch.zeros(16, 5), later["labels"], later["index"])
    step.mix(**{**batch, "images": batch["images"] * 3 - 1})  # values are looked at in the first batch only


def test_items_carry_the_number_in_the_full_data_set() -> None:
    import torch
    from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

    from sat_torch import WithIndex

    class Dicts(Dataset[dict[str, Any]]):
        def __init__(self, key: str) -> None:
            self.key = key

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {self.key: torch.tensor(index), "label": 1}

        def __len__(self) -> int:
            return 300

    pairs = TensorDataset(torch.arange(300), torch.zeros(300))
    for dataset in (pairs, Subset(pairs, range(100, 200)), Subset(Subset(pairs, np.arange(100, 200)), [5, 50, 7])):
        x, _, index = next(iter(DataLoader(WithIndex(dataset), batch_size=300, shuffle=True)))
        assert index.dtype == torch.int64
        assert torch.equal(index, x)
    assert WithIndex(pairs)[-1][2] == 299
    batch = next(iter(DataLoader(WithIndex(Subset(Dicts("image"), range(100, 200))), batch_size=100)))
    assert sorted(batch) == ["image", "index", "label"]
    assert torch.equal(batch["index"], batch["image"])
    assert WithIndex(ConcatDataset([Subset(pairs, [7]), Subset(pairs, [9])]))[1][2] == 1
    with pytest.raises(DataError, match='without a key "index"'):
        WithIndex(Dicts("index"))[0]
    with pytest.raises(DataError, match=r"items \(image, label\) or dicts, got torch\.Tensor"):
        WithIndex(torch.zeros(3, 2))[0]  # type: ignore[arg-type]


def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch() -> None:
    import own_step
    import torch

    batch, gradients = own_step.batch(), []
    for parts in ([slice(0, 16)], [slice(0, 3), slice(3, 4), slice(4, 16)]):
        model, weights = own_step.network(), torch.zeros(())
        step = own_step.make(model)
        for part in parts:
            images, labels, index = (tensor[part] for tensor in batch)
            total, weight = step.losses(model(step.mix(images, labels, index)), labels, index)
            total.backward()
            weights += weight
        gradients.append([p.grad / weights for p in model.parameters() if p.grad is not None])
    model = own_step.network()
    own_step.make(model)(*batch)[1].backward()
    torch.testing.assert_close(gradients[0], [p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])
    logits = model(batch[0]).to(torch.bfloat16)
    assert [part.dtype for part in own_step.make(model).losses(logits, *batch[1:])] == [torch.float32] * 2


def test_attacks_run_inside_of_parallel_wrappers() -> None:
    import own_step
    import torch

    model = own_step.network()
    expected = own_step.make(model).mix(*own_step.batch())
    for wrapped in (torch.nn.DataParallel(model), torch.compile(torch.nn.DataParallel(model), backend="eager")):
        wrapped.register_forward_pre_hook(lambda *_: pytest.fail("the attack ran through the wrapper"))
        assert torch.equal(own_step.make(wrapped).mix(*own_step.batch()), expected)
