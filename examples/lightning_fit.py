"""Subset adversarial training with a Lightning Trainer, on the digits. Run it: python examples/lightning_fit.py"""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sat_core import AttackSpec, Split, SubsetSpec, get_backend, get_dataset, make_split
from sat_torch import SubsetAdversarialMixin, WithIndex


class Digits(SubsetAdversarialMixin, lightning.LightningModule):
    """Map images `(n, 1, 8, 8)` in [0, 1] to logits. The mixin brings `training_step`."""

    def __init__(self, split: Split) -> None:
        super().__init__()
        layers = (nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.layers = nn.Sequential(*layers, nn.Linear(512, 10))
        self.attack_members(split, AttackSpec(norm="L2", eps=0.5, steps=7))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers((images - 0.3) / 0.4)  # normalises inside, so eps is in units of [0, 1] pixels

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def main(epochs: int = 3) -> tuple[float, float]:
    """Train with a random half in A; return clean and PGD accuracy."""
    lightning.seed_everything(0, verbose=False)
    data = get_dataset("digits")
    images, labels = torch.from_numpy(data.train.images).permute(0, 3, 1, 2), torch.from_numpy(data.train.labels)
    loader = DataLoader(WithIndex(TensorDataset(images, labels)), batch_size=32, shuffle=True)
    module = Digits(make_split(SubsetSpec(strategy="random", size=0.5), "uniform", data))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", gradient_clip_val=1.0, **quiet)
    trainer.fit(module, loader)

    classifier = get_backend("torch").wrap(module.eval(), classes=10, image_shape=data.image_shape)
    x, y = data.test.images, data.test.labels
    inputs = (x, classifier.perturb(x, y, AttackSpec(norm="L2", eps=0.5, steps=20, step_size=0.05)))
    clean, pgd = (float((classifier.logits(images).argmax(1) == y).mean()) for images in inputs)
    print(f"clean {clean:.1%}, PGD-20 {pgd:.1%}")
    return clean, pgd


if __name__ == "__main__":
    torch.set_num_threads(1)  # so small a network is fastest on one thread
    main()
