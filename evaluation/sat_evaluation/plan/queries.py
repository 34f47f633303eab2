"""What AutoAttack asks of a network, by how many images are expected to be robust."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import attrs

from sat_core.autoattack import AttackSettings
from sat_core.spec import Spec
from sat_evaluation.attack.plan import Attacks, plan, queries_and_price
from sat_evaluation.plan.facts import Facts

BATCH_SIZE = 250
"""Images that AutoAttack attacks together by default."""


@final
@attrs.frozen
class Asked:
    """What one attack asks of the network.

    Attributes:
        attack: Its name.
        queries: Forward passes that it asks for, with or without a gradient, over all images.
        passes: What these cost, in forward passes of one image.
        calls: Batches that are sent through the network: each has a fixed cost beside that of its images.
    """

    attack: str
    queries: float
    passes: float
    calls: float


@final
@attrs.frozen
class Queries:
    """What an evaluation, or several, ask of the network: `parts` has the attacks in their order."""

    parts: tuple[Asked, ...] = ()

    @property
    def queries(self) -> float:
        """Queries of all attacks, over all images."""
        return sum(part.queries for part in self.parts)

    @property
    def passes(self) -> float:
        """Forward passes of one image of all attacks."""
        return sum(part.passes for part in self.parts)

    @property
    def calls(self) -> float:
        """Batches of all attacks."""
        return sum(part.calls for part in self.parts)

    def times(self, number: int) -> Queries:
        """Return those of so many evaluations."""
        return Queries(
            tuple(Asked(p.attack, p.queries * number, p.passes * number, p.calls * number) for p in self.parts)
        )


NO_QUERIES = Queries()
"""Those of a unit that is not attacked."""


@final
@attrs.frozen
class Guess:
    """Accuracies that are expected of a data set, because images that are robust cost AutoAttack most of its time.

    Attributes:
        clean: Clean accuracy.
        plain, full: Robust accuracy after plain training, and after full adversarial training.
    """

    clean: float
    plain: float
    full: float

    def robust(self, share: float) -> float:
        """Return the robust accuracy that is expected with this |A|/N.

        1 - exp(-6 s), scaled to end in 1, of what full AT gains: the first examples bring most of it. The demo
        (examples/digits.toml) has 0.46, 0.87 and 0.98 at 0.1, 0.3 and 0.5, the formula 0.45, 0.84 and 0.95.

        >>> [round(Guess(0.9, 0.0, 1.0).robust(share), 2) for share in (0, 0.1, 0.3, 0.5, 1)]
        [0.0, 0.45, 0.84, 0.95, 1.0]
        """
        return self.plain + (self.full - self.plain) * (1 - math.exp(-6 * share)) / (1 - math.exp(-6))


DEFAULT_GUESS = Guess(0.9, 0.2, 0.6)
GUESSES = {
    "digits": Guess(0.99, 0.57, 0.88),
    "mnist5k": Guess(0.97, 0.3, 0.85),
    "cifar10": Guess(0.93, 0.0, 0.69),
    "cifar100": Guess(0.7, 0.0, 0.41),
    "imagenet200": Guess(0.75, 0.0, 0.51),
}
"""By data set, for the threat models of the demo and the paper. Of digits those of the demo. Of CIFAR and ImageNet-200
the robust accuracy of full AT is that of the authors' poster (`published.toml`), plain training is taken to have none,
and clean accuracies are rough guesses; so is all of mnist5k, and of data sets that are not here."""


def guess_for(name: str) -> Guess:
    """Return what is expected of a data set, by what its name begins with.

    >>> guess_for("npz:cifar10-16x16.npz") == guess_for("cifar10")
    True
    """
    place = name.partition("?")[0].rpartition(":")[2].rpartition("/")[2]
    found = [known for known in GUESSES if place.startswith(known)]
    return GUESSES[max(found, key=len)] if found else DEFAULT_GUESS


def queries(attacks: Attacks, spec: Spec, facts: Facts, images: int, guess: Guess, share: float) -> Queries:
    """Return what AutoAttack is expected to ask of the network for so many images.

    Args:
        attacks: As in ``evaluation.attacks``.
        spec: Threat model and engine.
        facts: Classes and shape of the images.
        images: How many are attacked.
        guess: Accuracies that are expected; the first attack is taken to break all that is broken.
        share: |A|/N.
    """
    return asked(planned_attacks(attacks, spec, facts), spec, facts, images, guess.clean, [guess.robust(share)])


def planned_attacks(attacks: Attacks, spec: Spec, facts: Facts) -> tuple[AttackSettings, ...]:
    """Return the attacks that run on such data; SpecError if none fits."""
    return plan(attacks, norm=spec.attack.norm, classes=facts.classes, image_shape=facts.image_shape)[0]


def asked(
    planned: Sequence[AttackSettings],
    spec: Spec,
    facts: Facts,
    images: int,
    clean: float,
    left: Sequence[float],
) -> Queries:
    """Return what attacks ask of the network.

    An image that nothing breaks costs all queries of all attacks. One that is broken costs a single run of the attack
    that breaks it (the engine ``fast`` stops at once), and one that is misclassified nothing.

    Args:
        planned: The attacks, in their order.
        spec: Engine.
        facts: Number of classes.
        images: How many are attacked.
        clean: Clean accuracy.
        left: Robust accuracy after each attack; one that is not there leaves it as it was.
    """
    engine, entering = spec.evaluation.engine, clean
    parts = []
    for place, settings in enumerate(planned):
        whole, price = queries_and_price(settings, facts.classes, engine)
        robust = min(left[place] if place < len(left) else entering, entering)
        run = whole / (settings.restarts * (settings.target_classes or 1))
        if settings.name == "square" or engine == "fast":
            run *= _BROKEN_EARLY
        number = images * (robust * whole + (entering - robust) * run)
        calls = whole * math.ceil(images * robust / BATCH_SIZE) if robust else run
        parts.append(Asked(settings.name, number, number * price, calls))
        entering = robust
    return Queries(tuple(parts))


_BROKEN_EARLY = 0.1
"""Share of a run that is over when an image is broken, of attacks that stop there."""
