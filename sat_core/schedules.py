"""Learning-rate schedules: pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.registry import Registry


@final
@attrs.frozen
class Schedule:
    """A learning-rate schedule for a training of any length.

    Attributes:
        name: In the registry.
        shape: Factor of the learning rate, given the share of all steps that is done and the number of drops passed.
        drops: Epochs (>= 1) or shares of the epochs (< 1) after which the rate falls tenfold; of ``piecewise`` only.
    """

    name: str
    shape: Callable[[float, int], float]
    drops: tuple[float, ...] = ()

    def drop_epochs(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs (from 1) after which the rate falls, without those past the end."""
        numbers = (int(d * epochs) if d < 1 else int(d) for d in self.drops)
        return tuple(sorted({d for d in numbers if 0 < d < epochs}))

    def lr(self, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the learning rate of a step, in 0 … epochs·steps_per_epoch - 1."""
        # The authors' drops are at 39,000 and 58,500 steps, which at 390 an epoch are the ends of epochs 100 and 150.
        passed = sum(step >= d * steps_per_epoch for d in self.drop_epochs(epochs))
        # The last step has the share 1, so that a cosine ends at 0.
        return base * self.shape(step / max(1, epochs * steps_per_epoch - 1), passed)


def _one_cycle(done: float, _drops: int) -> float:
    """Rise from lr/25 to lr over 30 % of the steps, then fall to lr/250000, both along a cosine (Smith 2018)."""
    # The defaults of PyTorch's OneCycleLR.
    start, end = (1 / 25, 1.0) if done < 0.3 else (1.0, 1 / 25e4)
    share = done / 0.3 if done < 0.3 else (done - 0.3) / 0.7
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: Registry[Schedule] = Registry("schedule")
for _schedule in (
    Schedule("piecewise", lambda _done, drops: 0.1**drops, (0.5, 0.75)),
    Schedule("cosine", lambda done, _drops: (1 + math.cos(math.pi * done)) / 2),
    Schedule("one-cycle", _one_cycle),
    Schedule("constant", lambda _done, _drops: 1.0),
):
    SCHEDULES.register(_schedule.name, _schedule)


def parse_schedule(text: str) -> Schedule:
    """Return the schedule that a setting names.

    Args:
        text: A name such as ``cosine``, or ``piecewise:100,150`` with drops as epochs (>= 1) or shares of the epochs
            (< 1). By default drops come after 1/2 and 3/4 of the epochs, the recipe's 100 and 150 of 201.

    Raises:
        SpecError: There is no such schedule.

    >>> parse_schedule("piecewise").drop_epochs(201)
    (100, 150)
    """
    name, _, arguments = text.partition(":")
    schedule = SCHEDULES.get(name)
    if not arguments:
        return schedule
    try:
        drops = tuple(float(a) for a in arguments.split(","))
    except ValueError:
        # Refused right below.
        drops = (0.0,)
    if name != "piecewise" or not all(0 < d < 1 or (d >= 1 and d.is_integer()) for d in drops):
        raise SpecError(f"training.schedule: expected drops as in 'piecewise:100,150', got {quoted(text)}")
    return attrs.evolve(schedule, drops=drops)


def check_schedule(value: Any) -> str | None:
    """Return what was expected if `value` names no schedule; None if it does."""
    try:
        parse_schedule(value if isinstance(value, str) else "")
    except SpecError:
        return f"one of {', '.join(SCHEDULES)}, or drops as in 'piecewise:100,150'"
    return None
