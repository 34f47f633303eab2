"""Your own network in a study. In this folder:

sat run digits.toml --set model.name=own_model:make --out runs/own
sat evaluate runs/own/arms/size-0.5/checkpoint-best --data digits --model own_model:make
"""

from torch import nn


def make(classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """Make a network from normalised images `(n, c, h, w)` to logits; image_shape is `(h, w, c)`.

    Input normalisation with the mean and deviation of the training images is added automatically. The layers draw
    their weights here, after PyTorch was seeded with training.seed.
    """
    height, width, channels = image_shape
    pixels = (height // 4) * (width // 4)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64 * pixels, classes),
    )
