"""How robust is a network that you trained elsewhere? Run it: python examples/evaluate_own.py WEIGHTS.pt

The command line does the same, and reads files of PyTorch, safetensors and Keras; in this folder:
sat evaluate WEIGHTS.pt --model evaluate_own:make --data digits --norm L2 --eps 0.5 --level standard
"""

import sys

import torch
from torch import nn

import sat_core as sat


def make(classes: int = 10, image_shape: tuple[int, int, int] = (8, 8, 1)) -> nn.Module:
    """Make the network of the weights, from images `(n, c, h, w)` in [0, 1] to logits; image_shape is `(h, w, c)`."""
    height, width, channels = image_shape
    convolutions = (nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*convolutions, nn.Linear(16 * (height // 2) * (width // 2), classes))


def train(steps: int = 200) -> nn.Module:
    """Train a plain network, in place of yours."""
    torch.manual_seed(0)
    net, part = make(), sat.get_dataset("digits").train
    images, labels = torch.from_numpy(part.images).permute(0, 3, 1, 2), torch.from_numpy(part.labels)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for rows in torch.randint(len(images), (steps, 64)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
    return net


def main(path: str = "", attacks: str = "screening") -> sat.Evaluation:
    """Attack the weights in `path` on 100 test images; "standard" is the level for numbers that you report."""
    net = make() if path else train()
    test = sat.get_dataset("digits").test.take(range(100))
    options = {"norm": "L2", "eps": 0.5, "attacks": attacks}  # nothing in the file of weights is executed
    evaluation = sat.evaluate(net.eval(), test.images, test.labels, weights=path or None, **options)
    print("clean:", evaluation.clean_accuracy)
    print("robust:", evaluation.robust_accuracy)
    for attack in evaluation.breakdown():
        print(f"{attack.settings.name} broke {attack.broken} images")
    return evaluation


if __name__ == "__main__":
    torch.set_num_threads(1)  # so small a network is fastest on one thread
    main(*sys.argv[1:])
