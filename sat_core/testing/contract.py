"""What a check of the contract is, and what the checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import attrs
import numpy as np

from sat_core.backend import Backend


class ContractError(AssertionError):
    """A backend does not do what `sat_core.backend` says."""


@final
@attrs.frozen
class Check:
    """One check of the contract.

    Args:
        name: of the check.
        models: names of models that it needs a backend to have.
        body: raises ContractError if the backend does not pass.
    """

    name: str
    models: tuple[str, ...]
    body: Callable[[Backend], None]

    def __call__(self, backend: Backend) -> None:
        """Raises ContractError if `backend` does not pass."""
        self.body(backend)

    def __str__(self) -> str:
        return self.name


CHECKS: dict[str, Check] = {}


def backend_checks(models: tuple[str, ...] = ("linear", "small-cnn")) -> list[Check]:
    """Return the whole contract for a backend with the named models; a full backend has both."""
    return [check for check in CHECKS.values() if set(check.models) <= set(models)]


def check(*models: str) -> Callable[[Callable[[Backend], None]], Callable[[Backend], None]]:
    """Make a check of the decorated function of the backend, under its name."""

    def register(body: Callable[[Backend], None]) -> Callable[[Backend], None]:
        CHECKS[body.__name__] = Check(body.__name__, models, body)
        return body

    return register


def close(what: str, got: np.ndarray, expected: np.ndarray, tolerance: float, share: float = 1.0) -> None:
    """ContractError unless `share` of the numbers are within `tolerance` times max(1, |expected|)."""
    if got.shape != expected.shape:
        raise ContractError(f"{what}: expected shape {expected.shape}, got {got.shape}")
    off = np.abs(got.astype(np.float64) - expected)
    good = off <= tolerance * np.maximum(1, np.abs(expected))
    # "not >=", since the mean of no numbers is NaN: a check that compared nothing has to fail.
    if not good.mean() >= share:
        raise ContractError(f"{what}: expected {share:.0%} within {tolerance:g}, largest difference {off.max():.3g}")


def require(condition: bool, message: str) -> None:
    """ContractError with `message` unless `condition`."""
    if not condition:
        raise ContractError(message)


def raises(error: type[Exception], what: str, call: Callable[[], object]) -> None:
    """ContractError unless `call` raises `error`."""
    try:
        call()
    except error:
        return
    raise ContractError(f"{what}: expected {error.__name__}, nothing was raised")


def same_state(what: str, got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """ContractError unless both have the same names and bits."""
    changed = [name for name in expected if not np.array_equal(got.get(name, np.nan), expected[name])]
    require(got.keys() == expected.keys() and not changed, f"{what}: the state changed: {changed[:3]}")
