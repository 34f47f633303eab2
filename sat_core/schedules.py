"""Learning-rate schedules: pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.fields import fraction
from sat_core.registry import Registry

EXPECTED = "drops as in 'piecewise:100,150', 'piecewise:39000steps' or 'step:30*0.5'"


@final
@attrs.frozen
class Length:
    """A part of a training: a number of epochs, or of steps."""

    number: float
    in_steps: bool = False

    def steps(self, steps_per_epoch: int) -> float:
        """Return how many steps it has."""
        return self.number if self.in_steps else self.number * steps_per_epoch

    def passed(self, step: int, steps_per_epoch: int) -> float:
        """Return which share of it has passed at the end of a step (from 0) of the training; 1 if it is empty."""
        steps = self.steps(steps_per_epoch)
        return min(1.0, (step + 1) / steps) if steps else 1.0


def parse_length(value: Any) -> Length:
    """Return the length that a setting says: epochs, or ``"500steps"``. ValueError for anything else.

    >>> parse_length(2.5).steps(100), parse_length("500steps").steps(100)
    (250.0, 500)
    """
    if isinstance(value, str) and value.endswith("steps"):
        digits = value.removesuffix("steps")
        if not (digits.isascii() and digits.isdecimal()):
            raise ValueError(value)
        return Length(int(digits), in_steps=True)
    number = fraction(value)
    if not isinstance(number, float) or not 0 <= number < math.inf:
        raise ValueError(value)
    return Length(number)


@final
@attrs.frozen
class Schedule:
    """A learning-rate schedule for a training of any length.

    Attributes:
        name: In the registry.
        shape: Factor of the learning rate, given the share of all steps that is done.
        drops: After which the rate falls: whole epochs, shares of the epochs (< 1), or steps.
        every: After which it falls again and again: whole epochs or steps; None for not.
        factor: What it is multiplied by each time.
    """

    name: str
    shape: Callable[[float], float] = lambda _done: 1.0
    drops: tuple[Length, ...] = ()
    every: Length | None = None
    factor: float = 0.1

    def drop_epochs(self, epochs: int, steps_per_epoch: int) -> tuple[int, ...]:
        """Return the epochs (from 1) at whose end the rate has just fallen, without the last.

        A drop within an epoch stands for the end of that epoch: the next one is the first with the lower rate alone.
        """
        ends = (-(-step // steps_per_epoch) for step in self.drop_steps(epochs, steps_per_epoch))
        return tuple(sorted({end for end in ends if end < epochs}))

    def lr(self, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the learning rate of a step, in 0 … epochs·steps_per_epoch - 1."""
        # The authors' drops are at 39,000 and 58,500 steps, which at 390 an epoch are the ends of epochs 100 and 150.
        passed = sum(step >= drop for drop in self.drop_steps(epochs, steps_per_epoch, upto=step))
        # The last step has the share 1, so that a cosine ends at 0.
        return base * self.factor**passed * self.shape(step / max(1, epochs * steps_per_epoch - 1))

    def drop_steps(self, epochs: int, steps_per_epoch: int, upto: int | None = None) -> list[int]:
        """Return the steps (from 0) from which on the rate is lower, up to one of them or the end of the training."""
        last = epochs * steps_per_epoch - 1 if upto is None else upto
        steps = {_first_step(drop, epochs, steps_per_epoch) for drop in self.drops}
        if self.every is not None:
            period = int(self.every.steps(steps_per_epoch))
            steps |= set(range(period, last + 1, period))
        return sorted(step for step in steps if 0 < step <= last)


def _first_step(drop: Length, epochs: int, steps_per_epoch: int) -> int:
    if drop.in_steps:
        return int(drop.number)
    return int(drop.number * epochs if drop.number < 1 else drop.number) * steps_per_epoch


def _one_cycle(done: float) -> float:
    """Rise from lr/25 to lr over 30 % of the steps, then fall to lr/250000, both along a cosine (Smith 2018)."""
    # The defaults of PyTorch's OneCycleLR.
    start, end = (1 / 25, 1.0) if done < 0.3 else (1.0, 1 / 25e4)
    share = done / 0.3 if done < 0.3 else (done - 0.3) / 0.7
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: Registry[Schedule] = Registry("schedule", "sat_core.schedules", of=Schedule)
for _schedule in (
    Schedule("piecewise", drops=(Length(0.5), Length(0.75))),
    # PyTorch's ImageNet example (StepLR)
    Schedule("step", every=Length(30)),
    Schedule("cosine", lambda done: (1 + math.cos(math.pi * done)) / 2),
    Schedule("one-cycle", _one_cycle),
    Schedule("constant"),
):
    SCHEDULES.register(_schedule.name, _schedule)


def parse_schedule(text: str) -> Schedule:
    """Return the schedule that a setting names.

    Args:
        text: A name such as ``cosine``; ``piecewise:`` with drops after epochs (>= 1), shares of the epochs (< 1) or
            steps (``39000steps``); ``step:`` with the epochs or steps between two drops. ``*0.5`` at the end is what
            they multiply the rate by, 0.1 without. By default ``piecewise`` drops after 1/2 and 3/4 of the epochs, the
            recipe's 100 and 150 of 201.

    Raises:
        SpecError: There is no such schedule.

    >>> parse_schedule("piecewise").drop_epochs(201, 390)
    (100, 150)
    """
    name, _, arguments = text.partition(":")
    schedule = SCHEDULES.get(name)
    if not arguments:
        return schedule
    listed, star, factor = arguments.partition("*")
    try:
        lengths = tuple(map(parse_length, listed.split(",")))
        times = float(factor) if star else schedule.factor
    except ValueError:
        # Refused right below.
        lengths, times = (), 0.0
    whole = all(each.number >= 1 and each.number == int(each.number) for each in lengths)
    shares = all(0 < each.number < 1 or each.number == int(each.number) >= 1 for each in lengths)
    if 0 < times < 1 and schedule.every is not None and len(lengths) == 1 and whole:
        return attrs.evolve(schedule, every=lengths[0], factor=times)
    if 0 < times < 1 and schedule.drops and shares:
        return attrs.evolve(schedule, drops=lengths, factor=times)
    raise SpecError(f"training.schedule: expected {EXPECTED}, got {quoted(text)}")


def check_schedule(value: Any) -> str | None:
    """Return what was expected if `value` names no schedule; None if it does."""
    try:
        parse_schedule(value if isinstance(value, str) else "")
    except SpecError:
        return f"one of {', '.join(SCHEDULES)}, or {EXPECTED}"
    return None


def check_length(value: Any) -> str | None:
    """Return what was expected if `value` is no length; None if it is one."""
    try:
        parse_length(value)
    except ValueError:
        return "a number of epochs >= 0, or of steps as in '500steps'"
    return None
