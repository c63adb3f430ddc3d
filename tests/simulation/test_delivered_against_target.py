"""A fleet of which a tenth is dead and a tenth gives too little still holds its target."""

from datetime import timedelta

import pytest

from simulators.failing_tenth import STARTS_AT, FailingFleet, judge
from vpp.domain.dispatch_plan import Reason
from vpp.domain.proof import ProofState

SITES = 120  # half of them in the event's program


@pytest.fixture(scope="module", params=[1, 6])
def evening(request: pytest.FixtureRequest) -> FailingFleet:
    return FailingFleet(request.param, sites=SITES)


def test_target_is_held_from_five_minutes_after_the_start_without_overshoot(evening: FailingFleet) -> None:
    shares = evening.shares_until(STARTS_AT + timedelta(minutes=14))

    assert min(shares) >= 0.98 * evening.reachable_share, [f"{share:.3f}" for share in shares]
    assert max(shares) < 1.02, [f"{share:.3f}" for share in shares]


def test_what_is_missing_is_explained_home_by_home(evening: FailingFleet) -> None:
    evening.until(STARTS_AT + timedelta(minutes=17))

    gaps = {each.site_id: each for each in evening.gaps()}
    missing_w = evening.target_w - sum(each.given_w for each in gaps.values())
    assert missing_w == evening.shortfall_w + sum(each.asked_w - each.given_w for each in gaps.values())
    assert [each for each in gaps.values() if not each.explained] == []
    for site_id in evening.dead:
        assert gaps[site_id].asked_w == 0 or gaps[site_id].state is ProofState.SILENT
        assert gaps[site_id].reason in (Reason.STALE, Reason.OFFLINE, Reason.BELOW_RESERVE)
    for site_id in evening.weak:
        found = gaps[site_id]
        asks_what_it_gives = found.asked_w - found.given_w <= max(found.asked_w // 10, 200)
        assert asks_what_it_gives or found.state in (ProofState.SHORT, ProofState.STARTING)


def test_a_thousand_homes_hold_what_is_promised() -> None:
    held, line = judge(11, 2_000, minutes=12)

    assert held, line


def test_a_draw_that_leaves_less_within_reach_is_judged_and_told() -> None:
    held, line = judge(11, 200, minutes=6)

    assert not held
    assert "NOT HELD" in line
