"""Which |A|, seeds and level fit into hours or into a share of full AT."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sat_core.attack_spec import AttackSpec
from sat_core.errors import SpecError
from sat_evaluation.plan.planner import (
    Proposal,
    candidates,
    cost_of_share,
    parse_share,
    propose,
    share_at_cost,
)
from sat_evaluation.plan.recovery import Evidence, RecoveryCurve

PGD = AttackSpec(kind="pgd", norm="L2", eps=0.5)
LEVELS = {"screening": 0.1, "standard": 0.5, "plus": 2.0}
EVIDENCE = Evidence(
    others=tuple(
        RecoveryCurve(name="c", shares=(0.1, 0.3, 0.5), robust=robust, full=1.0, errors=(0.01,) * 3)
        for robust in ((0.5, 0.8, 0.94), (0.6, 0.84, 0.96))
    )
)
SHARES = candidates("examples", 10)


def cost(share: float | None, seeds: int, level: str) -> float:
    """An hour of ranking; an arm takes (1 + 7 |A|) / 2 hours and its evaluation."""
    arms = [0.0, 1.0] if share is None else [0.0, share, 1.0]
    return 1 + seeds * sum((1 + 7 * each) / 2 + LEVELS[level] for each in arms)


def within(hours: float) -> Proposal:
    return propose(cost, EVIDENCE, SHARES, hours=hours)


def chosen(proposal: Proposal) -> tuple[float, int, str]:
    return proposal.recommended.share, proposal.recommended.seeds, proposal.recommended.level


@settings(max_examples=60, deadline=None)
@given(st.floats(6.5, 80))
def test_the_budget_is_respected_and_the_next_larger_a_would_break_it(hours: float) -> None:
    proposal = within(hours)
    assert proposal.recommended in proposal.options
    for option in proposal.options:
        assert option.hours == cost(option.share, option.seeds, option.level) <= hours
        assert option.baseline_hours == cost(None, option.seeds, option.level)
        if option.share < SHARES[-1]:
            assert cost(round(option.share + 0.01, 2), option.seeds, option.level) > hours


def test_the_largest_a_for_each_level_and_number_of_seeds() -> None:
    # 1 seed at standard: 1 + 4.5 + 1 + (0.5 + 3.5 |A| + 0.5) = 7.5 + 3.5 |A|
    options = {(o.level, o.seeds): o.share for o in within(9.0).options}
    assert options == {("screening", 1): 0.77, ("standard", 1): 0.42}
    recovery = within(9.0).recommended.recovery
    assert recovery == EVIDENCE.at(0.42)


def test_what_has_less_of_everything_is_left_out() -> None:
    options = [(o.level, o.seeds, o.share) for o in within(1000).options]
    assert options == [("screening", 5, 0.9), ("standard", 5, 0.9), ("plus", 5, 0.9)]
    assert chosen(within(1000)) == (0.9, 5, "standard")


def test_seeds_are_worth_two_points_and_no_more() -> None:
    # 3 seeds at standard take 1 + 3 (6.5 + 3.5 |A|): with 1 seed 90 % fit each time
    enough, short = within(1 + 3 * (6.5 + 3.5 * 0.75)), within(1 + 3 * (6.5 + 3.5 * 0.2))
    assert chosen(enough) == (0.75, 3, "standard")
    assert "3 seeds show how far they differ, for" in enough.reason
    assert chosen(short) == (0.9, 1, "standard")
    lost = 100 * (EVIDENCE.at(0.9).value - EVIDENCE.at(0.2).value)
    assert f"{lost:.0f} points less are expected" in short.reason


def test_screening_is_recommended_where_standard_does_not_fit() -> None:
    proposal = within(7.0)
    assert chosen(proposal) == (0.2, 1, "screening")
    assert proposal.reason == (
        "standard, the level that numbers are reported at, does not fit, and more seeds do not fit."
    )


def test_a_smaller_a_that_recovers_as_much_is_named() -> None:
    proposal = within(1000)
    assert proposal.enough is not None
    assert (proposal.enough.seeds, proposal.enough.level) == (5, "standard")
    assert proposal.enough.share == 0.5
    assert proposal.enough.recovery.value == pytest.approx(0.95)
    assert proposal.enough.hours == cost(0.5, 5, "standard")
    assert within(9.0).enough is None


def test_a_budget_that_is_too_small_says_what_the_least_takes() -> None:
    expected = (
        r"^hours: nothing fits into 30 min; the least, 1 seed at the level screening with \|A\| = 1 %, takes 6\.3 h\n"
        r"5\.7 h of it are the ranking, plain training and full AT.*\ntake fewer epochs"
    )
    with pytest.raises(SpecError, match=expected):
        within(0.5)
    for hours in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SpecError, match="hours: expected a number above 0"):
            within(hours)
    with pytest.raises(SpecError, match="expected a budget, or a share of full AT"):
        propose(cost, EVIDENCE, SHARES)


def test_without_a_known_speed_no_hours_can_be_planned() -> None:
    with pytest.raises(
        SpecError, match=r"hours: how long .* is not known of this network .*\nmeasure it first with `sat plan"
    ):
        propose(lambda share, seeds, level: None, EVIDENCE, SHARES, hours=8)
    unknown = propose(lambda share, seeds, level: None, EVIDENCE, SHARES, of_full_at=0.5, attack=PGD)
    assert {(option.hours, option.share) for option in unknown.options} == {(None, 0.42)}


# a share of full AT ---------------------------------------------------------------------------------------------------


def test_half_of_full_at_pays_for_three_sevenths() -> None:
    assert [cost_of_share(s, PGD) for s in (0, 3 / 7, 1)] == pytest.approx([1 / 8, 1 / 2, 1])
    assert share_at_cost(0.5, PGD) == pytest.approx(3 / 7)
    proposal = propose(cost, EVIDENCE, SHARES, of_full_at=0.5, attack=PGD)
    assert {o.share for o in proposal.options} == {0.42}
    assert [(o.level, o.seeds) for o in proposal.options] == [(level, seeds) for level in LEVELS for seeds in (1, 3, 5)]
    assert chosen(proposal) == (0.42, 3, "standard")


def test_both_bounds_hold_together() -> None:
    proposal = propose(cost, EVIDENCE, SHARES, of_full_at=0.5, attack=PGD, hours=9.0)
    assert [(o.level, o.share) for o in proposal.options] == [("screening", 0.42), ("standard", 0.42)]


def test_a_single_step_costs_what_it_takes() -> None:
    fgsm = AttackSpec(kind="fgsm", norm="L2", eps=0.5)
    assert share_at_cost(0.75, fgsm) == pytest.approx(0.5)
    free = AttackSpec(kind="free", norm="L2", eps=0.5)
    with pytest.raises(SpecError, match=r"with the attack 'free' every A costs as much as full AT; give hours"):
        share_at_cost(0.5, free)


def test_shares_of_full_at_that_no_a_has_are_refused() -> None:
    for share in (0.1, 1.0):
        with pytest.raises(
            SpecError, match=r"expected more than 12\.5 %, which is plain training, and less than 100 %"
        ):
            share_at_cost(share, PGD)
    with pytest.raises(SpecError, match=r"the smallest A, 1 % of the training set, costs 13\.4 % of full AT, and 13 %"):
        propose(cost, EVIDENCE, SHARES, of_full_at=0.13, attack=PGD)
    with pytest.raises(SpecError, match="attack: expected that of the training"):
        propose(cost, EVIDENCE, SHARES, of_full_at=0.5)


@pytest.mark.parametrize(("text", "share"), [("50%", 0.5), (" 50 % ", 0.5), ("0.5", 0.5), (0.5, 0.5), ("12.5%", 0.125)])
def test_percent_is_read(text: str | float, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(
    ("text", "hint"), [("50", '"50%"'), ("half", '"50%" or 0.5'), ("101%", "0.5"), ("50%%", "0.5"), ("nan", "0.5")]
)
def test_wrong_percent_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(SpecError, match=r"--of-full-at: expected a share between 0 and 100 %, as .*got ") as error:
        parse_share(text, "--of-full-at")
    assert hint in str(error.value)


def test_an_a_of_classes_is_a_number_of_classes() -> None:
    assert candidates("classes", 4) == (0.25, 0.5, 0.75)
    assert (len(SHARES), SHARES[0], SHARES[-1]) == (90, 0.01, 0.9)
