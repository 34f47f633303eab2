"""Settings of the paper's experiments at three scales, by data set (recipe, section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import attrs

from sat_core.protocols import PROTOCOLS
from sat_core.tables import nest

Flat = Mapping[str, Any]
"""Dotted keys of a study file to values."""

# Rounded, because 3 * 0.1 is not 0.3: names of arms and of their folders show the shares.
TENTHS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))

# The released configurations, not the text: its ResNet-18 is this wider network (docs/PROTOCOLS.md, letter a).
_CIFAR = {"model.name": "wide-preact-resnet18", "training.augmentation": "cifar"}
_IMAGENET = {
    "model.name": "resnet50",
    "attack.eps": 3.0,
    # the default, ε/5, would be 0.6; with 0.5, the six steps that count reach ε just so
    "attack.step_size": 0.5,
    "training.batch_size": 256,
    "training.weight_decay": 1e-4,
    "training.augmentation": "imagenet",
}
_SMALL = {"model.name": "small-cnn", "training.batch_size": 64}
# Enough attacks and images to rank arms that differ much, in minutes on a laptop.
_FEW = {
    "evaluation.attacks": ["apgd-ce", "apgd-t"],
    "evaluation.selection_attacks": ["apgd-ce"],
    "evaluation.selection_share": 40,
    "evaluation.examples": 100,
}


@final
@attrs.frozen(kw_only=True)
class Scale:
    """How much of an experiment is run.

    Attributes:
        name: ``demo``, ``short`` or ``paper``.
        data: Roles, such as ``cifar10``, to full names of data sets.
        settings: Settings by role; ``""`` stands for a data set of the user's own.
        sizes: |A| as shares of the examples.
        class_sizes: |A| as shares of the classes.
        four: |A| in Fig. 4, as shares of the classes.
        repeats: Number of random subsets of each size, by role.
        heads: Settings of transfers, as `sat_core.transfer.SETTINGS`.
        source_settings: By role, settings that a data set has as the source of a transfer.
        source_checks: How the accuracy of a source is measured where only that of its target is drawn.
        pairs: Source and target of each column of Fig. 8.
        weighed: Source and target of Fig. 7.
        sweep: |A| in the further studies, as shares of the examples.
        ranked_by: The other network that ranks.
        linf: Threat model and attack of the L∞ study, by role.
    """

    name: str
    data: Mapping[str, str]
    settings: Mapping[str, Flat]
    sizes: tuple[float, ...]
    class_sizes: tuple[float, ...]
    four: tuple[float, ...]
    repeats: Mapping[str, int]
    heads: Flat
    source_settings: Mapping[str, Flat] = attrs.field(factory=dict)
    source_checks: Flat = attrs.field(factory=dict)
    pairs: tuple[tuple[str, str], ...]
    weighed: tuple[str, str]
    sweep: tuple[float, ...]
    ranked_by: str
    linf: Mapping[str, Flat]

    def base(self, role: str, name: str, protocol: str) -> dict[str, Any]:
        """Return the settings of a study.

        Args:
            role: Whose settings it has, such as ``cifar10``.
            name: The data set, which may be another one in this role.
            protocol: ``authors`` or ``paper``. Its evaluation is that for the role, whatever the data set is called.
        """
        settings = {"protocol": protocol, "data.name": name, **self.settings.get(role, self.settings[""])}
        if name.split(":")[0].split("?")[0] != role:
            defaults = PROTOCOLS.get(protocol).defaults({**nest(settings), "data": {"name": role}})
            settings = {**{key: value for key, value in defaults.items() if key in _BY_DATA}, **settings}
        return settings


# Protocols set these by the name of the data set, which another one in a role does not have.
_BY_DATA = ("evaluation.attacks", "evaluation.selection_attacks", "evaluation.examples")

_DIGITS = {**_SMALL, **_FEW, "training.epochs": 12, "evaluation.selection_epochs": [9, 12]}
_MNIST = {**_SMALL, **_FEW, "training.epochs": 3, "evaluation.selection_epochs": [2, 3], "attack.eps": 0.75}

DEMO = Scale(
    name="demo",
    data={
        "digits": "digits",
        "mnist5k": "mnist5k?size=12",
        "digits 0-4": "digits?classes=0-4",
        "digits 5-9": "digits?classes=5-9",
    },
    settings={
        "": {**_SMALL, **_FEW, "training.epochs": 10},
        "digits": _DIGITS,
        "mnist5k": _MNIST,
        "digits 0-4": _DIGITS,
    },
    sizes=(0.1, 0.3, 0.5),
    class_sizes=(0.2, 0.5, 0.8),
    four=(0.2, 0.5, 0.8),
    repeats={"": 2},
    heads={"epochs": 10, "selection_epochs": [10], **{key.split(".")[1]: value for key, value in _FEW.items()}},
    source_settings={"digits": {"attack.eps": 0.25}, "mnist5k": {"attack.eps": 0.5}},
    source_checks={"evaluation.attacks": ["apgd-ce"], "evaluation.examples": 40, "evaluation.selection_epochs": [12]},
    pairs=(("digits", "mnist5k"), ("mnist5k", "digits"), ("digits 0-4", "digits 5-9")),
    weighed=("digits", "mnist5k"),
    sweep=(0.1, 0.3, 0.5),
    ranked_by="linear",
    linf={"": {"attack.norm": "Linf", "attack.eps": 0.1}},
)
# PGD-7 of the code for ImageNet-200; it has no Linf configuration for CIFAR.
_LINF = {"attack.norm": "Linf", "attack.eps": "8/255", "attack.step_size": "2/255"}
# 30 epochs of one cycle are for comparing arms; the published numbers need the long schedule.
_ONE_CYCLE = {"training.epochs": 30, "training.schedule": "one-cycle"}
SHORT = Scale(
    name="short",
    data={"cifar10": "cifar10", "cifar100": "cifar100", "svhn": "svhn"},
    settings={"": {**_CIFAR, **_ONE_CYCLE}},
    sizes=TENTHS,
    class_sizes=TENTHS,
    # which four sizes the figure has is UNKNOWN (docs/PROTOCOLS.md, letter f)
    four=(0.2, 0.4, 0.6, 0.8),
    repeats={"": 3},
    heads={"epochs": 15, "schedule": "one-cycle"},
    pairs=(("cifar100", "cifar10"),),
    weighed=("cifar100", "cifar10"),
    sweep=(0.1, 0.3, 0.5),
    ranked_by="resnet18",
    linf={"": _LINF},
)
PAPER = Scale(
    name="paper",
    data={
        "cifar10": "cifar10",
        "cifar100": "cifar100",
        "imagenet200": "imagenet200",
        "flowers102": "flowers102",
        "caltech256": "caltech256",
        "svhn": "svhn",
    },
    settings={
        # 201: the last epoch of the code is number 200
        "": {**_CIFAR, "training.epochs": 201, "training.schedule": "piecewise:100,150"},
        # the default schedule would drop after 75 and 113
        "imagenet200": {**_IMAGENET, "training.epochs": 151, "training.schedule": "piecewise:50,100"},
    },
    sizes=TENTHS,
    class_sizes=TENTHS,
    four=(0.2, 0.4, 0.6, 0.8),
    # the text has 10, 5 and, for ImageNet-200, 3
    repeats={"": 3, "cifar10": 10, "cifar100": 5},
    # the protocol has epochs, batch size and checks of heads (recipe, section 1.4)
    heads={},
    pairs=(("cifar100", "cifar10"), ("imagenet200", "caltech256"), ("imagenet200", "flowers102")),
    weighed=("cifar100", "cifar10"),
    sweep=TENTHS,
    # one of the two in the reviews; the other, an MLP, is no model of the backends
    ranked_by="resnet50",
    # the released configuration of ImageNet-200: 10 steps of 0.8/255
    linf={"": _LINF, "imagenet200": {**_LINF, "attack.steps": 10, "attack.step_size": "4/1275"}},
)
SCALES = {scale.name: scale for scale in (DEMO, SHORT, PAPER)}
