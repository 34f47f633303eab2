"""Which arms of a study are reported; the others are screened only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import attrs

from sat_core.autoattack import LEVELS
from sat_core.errors import SpecError, quoted
from sat_core.registry import nearest
from sat_core.spec import Spec

REPORT_ARMS = "evaluation.report_arms"
"""Key of a study with the names or patterns of the arms that are reported."""


def matching(names: Sequence[str], patterns: Iterable[str], key: str) -> list[str]:
    """Return those of `names`, in their order, that are one of `patterns` or match one, as ``size-*`` does.

    Raises:
        SpecError: Nothing matches a pattern; the message begins with `key`.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        # a name may hold brackets, which mean something else in a pattern
        found = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not found:
            more = nearest(pattern, names) or f"; they are {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            raise SpecError(f"{key}: no arm is called {quoted(pattern)}{more}")
        chosen.update(found)
    return [name for name in names if name in chosen]


def screened(specs: Mapping[str, Spec], patterns: Sequence[str] | None) -> dict[str, Spec]:
    """Return the specs of arms, those that match none of `patterns` with the attacks of the weakest level.

    Args:
        specs: By the names of the arms.
        patterns: Of the names of the arms that are reported; None for all.

    Raises:
        SpecError: `patterns` is no list of texts, or one of them matches no arm.
    """
    if patterns is None:
        return dict(specs)
    if not isinstance(patterns, list | tuple) or not all(isinstance(each, str) for each in patterns):
        raise SpecError(f'{REPORT_ARMS}: expected a list of names, as ["size-0.5", "size-1*"], got {quoted(patterns)}')
    reported, weakest = matching(list(specs), patterns, REPORT_ARMS), next(iter(LEVELS))
    return {
        name: spec
        if name in reported
        else attrs.evolve(spec, evaluation=attrs.evolve(spec.evaluation, attacks=weakest))
        for name, spec in specs.items()
    }
