"""A table of GPUs: what a network is expected to take on a card that nobody has measured."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import final

import attrs

from sat_core.network_cost import GRADIENT, STEP, network_cost
from sat_core.precision import OF_NETWORK
from sat_core.spec import Spec
from sat_evaluation.plan.facts import Facts
from sat_evaluation.plan.rates import TABLE, CostSource, Rates, RateSource, nothing_measured

SHARE_OF_PEAK = 0.25
"""How much of its peak rate a card is expected to reach in convolutions of ordinary size."""
LAUNCH = 2e-3
"""Seconds that starting the kernels of a batch takes, whatever is in it: what small networks wait for."""
FACTOR = 3.0
"""Within which factor times by this table are expected: networks reach from a tenth to a half of the peak."""


@final
@attrs.frozen(kw_only=True)
class Card:
    """One GPU.

    Attributes:
        title: What people call it.
        names: Texts of which one is in what nvidia-smi calls it, with no digit behind it, lower case.
        float32, tf32, half: Peak TFLOPS without sparsity; half is bf16, or float16 where there is no bf16.
        memory: In GB.
        source: Where these are from.
    """

    title: str
    names: tuple[str, ...] = attrs.field(converter=tuple)
    float32: float
    tf32: float
    half: float
    memory: float
    source: str

    def peak(self, precision: str) -> float:
        """Return the peak rate in FLOPS that a network reaches in a precision."""
        computes = OF_NETWORK.get(precision, "float32")
        if computes in ("bfloat16", "float16"):
            return self.half * 1e12
        return (self.tf32 if precision in ("tf32", "auto") else self.float32) * 1e12


@cache
def cards() -> tuple[Card, ...]:
    """Return the cards of the table."""
    text = files("sat_evaluation.plan").joinpath("cards.toml").read_text(encoding="utf-8")
    return tuple(Card(**table) for table in tomllib.loads(text)["card"])


def find_card(name: str) -> Card | None:
    """Return the card that a device's name is of; None if the table has none.

    >>> find_card("NVIDIA A100-SXM4-80GB").title, find_card("Intel Xeon")
    ('A100', None)
    """
    words = name.lower()
    # no digit behind it: an A1000 is no A100, and an L40 no L4
    return next((card for card in cards() if any(re.search(rf"{each}(?!\d)", words) for each in card.names)), None)


def table_rates(device_name: str, costs: CostSource = nothing_measured) -> RateSource:
    """Return a source of rates by the table, for networks whose FLOPs are known.

    Training runs in its own precision, AutoAttack in float32 as `sat_core.classifier.Classifier.exact` has it.

    Args:
        device_name: As nvidia-smi calls the card.
        costs: Of networks that are not ours, as they were measured on any device.
    """
    card = find_card(device_name)

    def rates(spec: Spec, facts: Facts) -> Rates | None:
        own = network_cost(spec.model.name, facts.image_shape, facts.classes)
        measured = costs(spec, facts) if own is None else None
        cost = own or measured
        if card is None or cost is None:
            return None
        each = cost.forward_flops / (SHARE_OF_PEAK * card.peak(spec.training.precision))
        return Rates(
            step=LAUNCH,
            training=STEP * each,
            attack_step=LAUNCH,
            attack=GRADIENT * each,
            forward=each,
            call=LAUNCH,
            query=cost.forward_flops / (SHARE_OF_PEAK * card.peak("float32")),
            source=TABLE,
            detail=f"{card.title}, {100 * SHARE_OF_PEAK:.0f} % of its peak ({card.source})",
            factor=FACTOR,
            cost=measured,
        )

    return rates
