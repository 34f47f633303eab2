"""The training step for other people's trainers, without any of them; `tests/interop` has Lightning."""

from __future__ import annotations

import pytest

from sat_core.errors import DataError, SpecError
from sat_core.loss_spec import LossSpec

pytestmark = pytest.mark.torch


def test_a_training_step_is_the_building_blocks() -> None:
    import own_step
    import torch

    from sat_torch import SubsetAdversarialStep

    for options in ({}, {"loss": LossSpec(kind="trades")}):
        model, fitted = own_step.network(), own_step.Fitted(**options)
        step = SubsetAdversarialStep(model, own_step.SPLIT, own_step.ATTACK, **options)  # type: ignore[arg-type]
        mixed, loss = step(*own_step.batch())
        made = fitted.training_step(list(own_step.batch()), 0)
        assert made["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
        loss.backward()
        made["loss"].backward()
        for one, other in zip(fitted.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
        torch.testing.assert_close(made["logits"], model(mixed))
        assert not made["logits"].requires_grad
        assert made["attacked"].item() == 3


def test_a_part_of_the_module_may_be_what_is_attacked() -> None:
    import own_step
    import torch

    fitted, network = own_step.Fitted(), own_step.network()
    fitted.attack_members(own_step.SPLIT, own_step.ATTACK, network=network)
    fitted.training_step(own_step.batch())["loss"].backward()
    assert all(p.grad is None for p in fitted.network.parameters())
    assert all(isinstance(p.grad, torch.Tensor) for p in network.parameters())
    assert not any(name.startswith("_subset") for name in fitted.state_dict())  # so that checkpoints stay the user's


def test_wrong_use_is_one_clear_line() -> None:
    import own_step
    from torch import nn

    from sat_torch import SubsetAdversarialMixin

    class Forgotten(SubsetAdversarialMixin, nn.Module):
        pass

    images, labels, index = own_step.batch()
    with pytest.raises(SpecError, match=r"call self\.attack_members\(split, attack\)"):
        Forgotten().training_step((images, labels, index))
    for batch, says in (
        ((images, labels), r"expected a batch \(images, labels, index\), got 2 of them"),
        ({"image": images}, r"expected a batch \(images, labels, index\), got dict"),
        ((images, nn.functional.one_hot(labels, 5).float(), index), "labels: expected integers, got float32"),
        ((images, labels, index + 1), r"index: expected numbers of the 16 examples of the split, 0\.\.15, got 1\.\.16"),
    ):
        with pytest.raises(DataError, match=says):
            own_step.Fitted().training_step(batch)
