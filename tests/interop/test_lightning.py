"""Lightning trains a module with the mixin as an own loop does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.interop

LIGHTNINGS_OWN = pytest.mark.filterwarnings(
    "ignore:The 'train_dataloader' does not have many workers",
    "ignore:The `srun` command is available",
    "ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated",
)
"""What it says of itself and of the machine."""
EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.append(str(Path(__file__).parents[1] / "backends"))  # own_step, as its own tests have it


@pytest.mark.torch
@LIGHTNINGS_OWN
def test_the_trainer_makes_the_steps_of_an_own_loop() -> None:
    import lightning
    import own_step
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from sat_torch import SubsetAdversarialMixin, WithIndex

    class Module(SubsetAdversarialMixin, lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = own_step.network().train()
            self.attack_members(own_step.SPLIT, own_step.ATTACK)
            self.attacked = 0

        def forward(self, images: Any) -> Any:
            return self.network(images)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.attacked += int(outputs["attacked"])

    images, labels, _ = own_step.batch()
    loader = DataLoader(WithIndex(TensorDataset(images, labels)), batch_size=6)
    module = Module()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", precision="32-true", gradient_clip_val=0.5, enable_model_summary=False, **quiet
    )
    trainer.fit(module, loader)
    assert trainer.global_step == 6
    assert module.attacked == 2 * 3

    model = own_step.network().train()
    optimizer, step = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), own_step.make(model)
    lengths = []
    for _ in range(2):
        for batch in loader:
            optimizer.zero_grad()
            step(*batch)[1].backward()
            lengths.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5))
            optimizer.step()
    assert max(lengths) > 0.5  # or clipping would show nothing
    for name, value in model.state_dict().items():
        torch.testing.assert_close(module.network.state_dict()[name], value, rtol=0, atol=1e-5)


@pytest.mark.torch
@LIGHTNINGS_OWN
def test_the_example_gains_robustness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    clean, robust = importlib.import_module("lightning_fit").main(epochs=3)
    assert 0.5 < robust < clean
