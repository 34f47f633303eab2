"""Logits in what networks of others return: tuples, tables, objects with logits, or one logit for two classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sat_core.errors import SpecError, quoted

USUAL = ("logits", "out", "output", "preds")
"""Names under which networks return logits, the first that is there counts."""


def logits_in(output: Any, key: str, is_tensor: Callable[[Any], bool]) -> Any:
    """Return the tensor of logits in what a network returned.

    Args:
        output: What it returned.
        key: Name or number of the part that is meant, with dots for parts of parts, as ``"0"`` or ``"head.logits"``.
            Empty for the usual: the tensor itself, what is called as in `USUAL`, or the first of several.
        is_tensor: Tells tensors of the framework.

    Returns:
        The tensor; or `output` itself where nothing is found without a key, for `sat_core.probe` to say what it is.

    Raises:
        SpecError: There is no part called `key`.

    >>> logits_in({"features": 1.0, "logits": 2.0}, "", lambda value: isinstance(value, float))
    2.0
    """
    if key:
        for part in key.split("."):
            output = _part(output, part, key)
        return output
    if is_tensor(output):
        return output
    named = [_named(output, name) for name in USUAL]
    several = output if isinstance(output, list | tuple) else ()
    return next((value for value in (*named, *several[:1]) if is_tensor(value)), output)


def is_one_logit(shape: tuple[int | None, ...], rows: int | None, classes: int) -> bool:
    """Tell whether logits of that shape, for so many images, are one for each of them, where there are two classes.

    It is the logit z of class 1, and (0, z) are those of both. A length that is not known yet is None.

    >>> is_one_logit((4, 1), 4, 2), is_one_logit((4,), 4, 2), is_one_logit((), 1, 2), is_one_logit((2,), 1, 2)
    (True, True, True, False)
    """
    if classes != 2 or len(shape) > 2 or shape[1:] not in ((), (1,)):
        return False
    return rows == (shape[0] if shape else 1)


def _named(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def _part(output: Any, part: str, key: str) -> Any:
    if isinstance(output, Mapping):
        names: list[Any] = list(output)
        if part in output:
            return output[part]
    elif isinstance(output, list | tuple):
        names = [*range(len(output)), *getattr(output, "_fields", ())]
        if part.isdecimal() and int(part) < len(output):
            return output[int(part)]
    else:
        names = sorted(name for name in vars(output) if not name.startswith("_")) if hasattr(output, "__dict__") else []
    found = None if isinstance(output, Mapping) else getattr(output, part, None)
    if found is None:
        raise SpecError(
            f"model.output: expected a part of what the model returns, got {quoted(key)}\n"
            f"it returns {type(output).__name__} with {', '.join(map(str, names[:20])) or 'no parts'}"
        )
    return found
