"""What fits, as `sat plan --hours ... --json` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from sat_evaluation.plan.planner import Option, Proposal
from sat_evaluation.plan.recovery import RecoveryCurve


def proposal_json(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal as a table of plain values; docs/plan.md lists the fields."""
    evidence = proposal.evidence
    return {
        "hours": proposal.hours,
        "of_full_at": proposal.of_full_at,
        "options": [_option(each, proposal) for each in proposal.options],
        "recommended": _option(proposal.recommended, proposal),
        "reason": proposal.reason,
        "enough": None if proposal.enough is None else _option(proposal.enough, proposal),
        "evidence": {
            "same": _curves(evidence.same),
            "others": _curves(evidence.others),
            "notes": [*evidence.notes],
        },
    }


def _option(option: Option, proposal: Proposal) -> dict[str, Any]:
    return {**attrs.asdict(option), "settings": proposal.settings(option)}


def _curves(curves: Sequence[RecoveryCurve]) -> list[dict[str, Any]]:
    return [attrs.asdict(each) for each in curves]
