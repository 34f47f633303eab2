"""Subset adversarial training in your own PyTorch loop, on the digits. Run it: python examples/own_loop.py"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sat_core import AttackSpec, DataSet, Recorder, Split, SubsetSpec, get_backend, get_dataset, make_split
from sat_torch import SubsetAdversarialStep, WithIndex


class Net(nn.Sequential):
    """Map images `(n, 1, 8, 8)` in [0, 1] to logits. It normalises inside, so eps is in units of [0, 1] pixels."""

    def __init__(self) -> None:
        convolutions = (nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, padding=1), nn.ReLU())
        super().__init__(*convolutions, nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward((images - 0.3) / 0.4)


def train(data: DataSet, split: Split, epochs: int) -> tuple[Net, Recorder]:
    """Train in an ordinary loop. Only the two lines with `step.` are specific to SAT."""
    torch.manual_seed(0)
    images, labels = torch.from_numpy(data.train.images).permute(0, 3, 1, 2), torch.from_numpy(data.train.labels)
    loader = DataLoader(WithIndex(TensorDataset(images, labels)), batch_size=32, shuffle=True)
    model, recorder = Net(), Recorder(len(data.train), epochs)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    step = SubsetAdversarialStep(model, split, AttackSpec(norm="L2", eps=0.5, steps=7))
    for epoch in range(epochs):
        for x, y, index in loader:  # index: the number of each example, added by WithIndex
            logits = model(step.mix(x, y, index))  # members of A become adversarial examples
            optimizer.zero_grad()
            step.loss(logits, y, index).backward()  # Σ w·ℓ / Σ w over the batch
            optimizer.step()
            recorder.update(index.numpy(), logits.detach().numpy(), y.numpy(), epoch)
    return model.eval(), recorder


def main(epochs: int = 3) -> dict[str, tuple[float, float]]:
    """Attack no example, a random half and the hardest half; return clean and PGD accuracy of each training."""
    data, backend, accuracies, scores = get_dataset("digits"), get_backend("torch"), {}, None
    x, y, stronger = data.test.images, data.test.labels, AttackSpec(norm="L2", eps=0.5, steps=20, step_size=0.05)
    for strategy, size in (("random", 0), ("random", 0.5), ("hardest", 0.5)):
        split = make_split(SubsetSpec(strategy=strategy, size=size), "uniform", data, scores=scores)
        model, recorder = train(data, split, epochs)
        scores = scores if size else recorder.scores()["entropy"]  # from plain training, `(N,)`; higher is harder
        classifier = backend.wrap(model, classes=10, image_shape=data.image_shape)
        inputs = (x, classifier.perturb(x, y, stronger))  # backend.evaluate(classifier, x, y, ...) is AutoAttack
        clean, pgd = (float((classifier.logits(images).argmax(1) == y).mean()) for images in inputs)
        print(f"|A| = {split.size:3}, {strategy:7}: clean {clean:.1%}, PGD-20 {pgd:.1%}")
        accuracies[f"{strategy} {size}"] = clean, pgd
    return accuracies


if __name__ == "__main__":
    torch.set_num_threads(1)  # so small a network is fastest on one thread
    main()
