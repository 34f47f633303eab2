"""Rates that were measured on this machine before: a small file in the user's cache, beside what earlier runs took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import attrs

from sat_core import files
from sat_core.errors import RunDirectoryError, SatError
from sat_core.network_cost import NetworkCost
from sat_core.spec import Spec
from sat_evaluation.plan.cache import cache_folder
from sat_evaluation.plan.facts import Facts
from sat_evaluation.plan.rates import CostSource, Rates, RateSource, Setting, setting_of

KEPT = 100
"""Measurements that are kept, the latest ones."""
_FREE: tuple[dict[str, Any], ...] = ({}, {"batch_size": 0}, {"batch_size": 0, "classes": 0})
"""What need not be the same, where nothing nearer was measured: heads have batches and classes of their own."""
_VERSION = 1


@final
@attrs.frozen
class KeptRates:
    """The rates of one setting, as they were measured.

    Attributes:
        device, backend: Name of the device, and of the backend.
        setting: What was measured.
        rates: What came out.
    """

    device: str
    backend: str
    setting: Setting
    rates: Rates

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> KeptRates:
        """Read it; TypeError, ValueError, KeyError or SatError if it is no measurement."""
        setting = {**content["setting"], "image_shape": tuple(content["setting"]["image_shape"])}
        attacks = tuple((str(name), float(call), float(query)) for name, call, query in content["rates"]["attacks"])
        cost = None if content["rates"].get("cost") is None else NetworkCost(**content["rates"]["cost"])
        rates = Rates(**{**content["rates"], "attacks": attacks, "cost": cost})
        return cls(content["device"], content["backend"], Setting(**setting), rates)


def kept_file() -> Path:
    """Return the file in which they are kept."""
    return cache_folder() / "measured.json"


def read_kept() -> tuple[list[KeptRates], str]:
    """Return what was measured, and a line if the file is damaged; it is then as if it were not there."""
    path = kept_file()
    if not path.exists():
        return [], ""
    try:
        content = files.read_json(path)
        if content["version"] != _VERSION:
            return [], ""
        return [KeptRates.from_json(each) for each in content["measured"]], ""
    except (SatError, OSError, KeyError, TypeError, ValueError):
        return [], f"{path}: damaged, and left out; delete it, and the next measurement begins a new one"


def keep_rates(new: Sequence[KeptRates]) -> None:
    """Add measurements, each in place of an earlier one of its kind. A cache that cannot be written is no error."""
    if not new:
        return
    kinds = {(each.device, each.backend, each.setting) for each in new}
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder, wait=5.0):
            others = [each for each in read_kept()[0] if (each.device, each.backend, each.setting) not in kinds]
            kept = [attrs.asdict(each) for each in [*others, *new][-KEPT:]]
            files.write_json(kept_file(), {"version": _VERSION, "measured": kept})
    except (OSError, RunDirectoryError):
        return


def kept_rates(kept: Sequence[KeptRates], device: str, backend: str) -> RateSource:
    """Return a source of what was measured on a device with a backend."""
    return rates_by_setting(
        {each.setting: each.rates for each in kept if (each.device, each.backend) == (device, backend)}
    )


def kept_costs(kept: Sequence[KeptRates]) -> CostSource:
    """Return a source of what networks cost, which is the same on every device and with every backend."""

    def cost(spec: Spec, facts: Facts) -> NetworkCost | None:
        wanted = spec.model.name, facts.image_shape, facts.classes
        like = (
            each.rates.cost
            for each in reversed(kept)
            if (each.setting.model, each.setting.image_shape, each.setting.classes) == wanted
        )
        return next((known for known in like if known is not None), None)

    return cost


def rates_by_setting(known: Mapping[Setting, Rates]) -> RateSource:
    """Return a source of the rates of some settings, which hold for other batch sizes and numbers of classes, too."""

    def rates(spec: Spec, facts: Facts) -> Rates | None:
        wanted = setting_of(spec, facts)
        for free in _FREE:
            like = (each for each in known if attrs.evolve(each, **free) == attrs.evolve(wanted, **free))
            found = next(like, None)
            if found is not None:
                return known[found]
        return None

    return rates
