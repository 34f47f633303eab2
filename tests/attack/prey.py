"""A network that every attack breaks somewhere, and short evaluations of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import nn

from sat_core.backend import get_backend
from sat_evaluation.attack.plan import plan
from sat_evaluation.attack.runner import evaluate

QUICK = ("apgd-ce", "fab-t")


class Net(nn.Module):
    """A random network that hides its gradients as the corner pixel says, so that every attack breaks some images.

    Below 0.3 not at all; up to 0.7 by logits so large that the cross-entropy is flat; above, by rounding the pixels.
    """

    def __init__(self, classes, channels=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes)
        )
        draw = torch.Generator().manual_seed(0)
        for p in self.body.parameters():
            p.data = torch.randn(p.shape, generator=draw) * (2 / p[0].numel() ** 0.5 if p.ndim > 1 else 0.2)

    def forward(self, x):
        corner = x[:, :1, :1, :1].detach()
        logits = self.body(torch.where(corner > 0.7, (x * 8).round() / 8, x))
        return logits * torch.where((corner > 0.3) & (corner <= 0.7), 1e4, 1.0).reshape(-1, 1)


def setting(classes=3, channels=1, n=7):
    """A classifier, images and labels; one label in six is wrong."""
    classifier = get_backend("torch").wrap(Net(classes, channels), classes=classes, image_shape=(8, 8, channels))
    images = np.random.default_rng(0).random((n, 8, 8, channels), dtype=np.float32)
    images[:, 0, 0] = np.resize([0.1, 0.5, 0.9], (n, 1))
    labels = classifier.logits(images).argmax(axis=1)
    labels[::6] = (labels[::6] + 1) % classes
    return classifier, images, labels


def shortened(attacks, classifier, by=10, norm="Linf"):
    """The settings of `attacks` with a part of their iterations and queries: 1 / `by`."""
    planned, _ = plan(attacks, norm=norm, classes=classifier.classes, image_shape=classifier.image_shape)
    return tuple(
        attrs.evolve(a, iterations=a.iterations and a.iterations // by, queries=a.queries and a.queries // by)
        for a in planned
    )


def quick(classifier, images, labels, attacks=QUICK, **options):
    """Attacks of a tenth of the iterations, in batches of two."""
    defaults = {"norm": "Linf", "eps": 0.05, "attacks": shortened(attacks, classifier), "batch_size": 2}
    return evaluate(classifier, images, labels, **defaults | options)


class Stopped(Exception):
    pass


def stop_after(queries):
    """A progress callback that raises at that query."""

    def progress(share, attack):
        nonlocal queries
        queries -= 1
        if queries == 0:
            raise Stopped

    return progress


def killed(path):
    """Evaluate in a process of its own until it kills itself."""
    torch.set_num_threads(1)
    quick(
        *setting(), path=Path(path), progress=lambda share, attack: share > 0.6 and os.kill(os.getpid(), signal.SIGKILL)
    )
