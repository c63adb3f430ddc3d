"""Who is told what, and who is left as it is when an owner speaks in the middle of a decision."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.board import HOLD_BACK_FIRST_S, Board, hear
from vpp.domain.command import AckBatch, Action, CommandBatch, Order, Pair, Refusal
from vpp.domain.interval import to_epoch
from vpp.domain.lease import (
    Due,
    Issued,
    Leases,
    LeaseTerms,
    Wanted,
    due_commands,
    leave_out,
    note_acks,
    note_sent,
)
from vpp.domain.quantities import column

NOW = datetime(2026, 9, 10, 1, 0, tzinfo=UTC)


def discharging(setpoint_w: list[int]) -> Leases:
    """Return the leases of homes that hold event 0, row by row."""
    leases = Leases(len(setpoint_w))
    tell(leases, setpoint_w)
    return leases


def tell(
    leases: Leases, setpoint_w: list[int], *, sequence: int = 1, minutes: int = 15, event_no: int = 0
) -> None:
    """Write a command to every home, a minute after the one before; it ends ``minutes`` after ``NOW``."""
    sites = column(range(len(setpoint_w)))
    order = Order(
        event_id="ev-a",
        revision=1,
        action=Action.DISCHARGE if any(setpoint_w) else Action.RELEASE,
        site_no=sites,
        starts_at=NOW,
        expires_at=NOW + timedelta(minutes=minutes),
        event_ends_at=NOW + timedelta(hours=1),
        ramp_s=30,
        spread_s=60,
        test=False,
    )
    at = NOW + timedelta(minutes=sequence - 1)
    floors = column([200] * len(sites))
    note_sent(leases, CommandBatch(1, sequence, at, order, column(setpoint_w), floors), event_no)


def answer(leases: Leases, sequence: int, refusal: Refusal | None = None) -> None:
    """Let every home say what it decided about a command."""
    sites = len(leases)
    said = column([1] * sites), column([sequence] * sites), column([to_epoch(NOW)] * sites)
    note_acks(leases, AckBatch(column(range(sites)), *said, ("ev-a",) * sites, (refusal,) * sites), 1)


def runs_for_min(leases: Leases) -> int:
    """Return for how many minutes after ``NOW`` the first home may discharge."""
    return max(0, int(leases.running_until_s[0]) - to_epoch(NOW)) // 60


def wanted(event_no: list[int], setpoint_w: list[int]) -> Wanted:
    rows = len(event_no)
    return Wanted(
        column(event_no), column(setpoint_w), column([200] * rows), np.full(rows, to_epoch(NOW) + 3600)
    )


def test_home_whose_owner_spoke_keeps_its_lease_unless_others_were_given_its_part() -> None:
    leases = discharging([3000, 3000, 3000, 3000])
    plan = wanted([0, 1, 0, 0], [4000, 4000, 1000, 1000])
    everybody = Due(discharge=column([0, 1, 2, 3]), release=column([]))

    due = leave_out(everybody, leases, plan, frozenset({0, 1, 2}), now_s=to_epoch(NOW) + 60)

    assert due.discharge.tolist() == [3]
    assert due.release.tolist() == [1, 2], "one was to serve another event, one to do less"


def test_unheard_command_is_said_again_at_once_where_our_clock_was_set_back() -> None:
    leases, terms = discharging([3000, 3000]), LeaseTerms(900, 10)
    tell(leases, [0, 0], sequence=2)  # a minute later, by a clock that is set back by half of it
    plan, nobody = wanted([-1, -1], [0, 0]), np.zeros(2, dtype=np.bool_)

    again = due_commands(leases, plan, terms, silent=nobody, now_s=to_epoch(NOW) + 30)
    soon = due_commands(leases, plan, terms, silent=nobody, now_s=to_epoch(NOW) + 62)

    assert again.release.tolist() == [0, 1]
    assert soon.release.tolist() == [], "it has just been said"


def test_nobody_is_released_for_a_lease_that_has_run_out() -> None:
    leases = discharging([3000])

    due = leave_out(
        Due(column([0]), column([])),
        leases,
        wanted([1], [4000]),
        frozenset({0}),
        now_s=to_epoch(NOW) + 3600,
    )

    assert not len(due.discharge)
    assert not len(due.release)


def test_longer_lease_may_run_until_the_home_accepts_the_shorter_one() -> None:
    leases = discharging([3000])
    answer(leases, 1)

    tell(leases, [3000], sequence=2, minutes=5)
    unheard = runs_for_min(leases)
    answer(leases, 2)

    assert unheard == 15
    assert runs_for_min(leases) == 5


def test_lease_of_the_event_before_may_run_until_the_home_accepts_one_that_ends_sooner() -> None:
    leases = discharging([3000])

    tell(leases, [3000], sequence=2, minutes=5, event_no=1)
    tell(leases, [0], sequence=3, minutes=20)
    unheard = runs_for_min(leases)
    answer(leases, 3)

    assert unheard == 15
    assert runs_for_min(leases) == 0


def test_refusal_that_ends_nothing_leaves_the_longer_lease_running() -> None:
    for refusal, minutes in ((Refusal.DWELL, 15), (Refusal.CLOCK_UNSURE, 15), (Refusal.ISLANDED, 0)):
        leases = discharging([3000])

        tell(leases, [3000], sequence=2, minutes=5)
        answer(leases, 2, refusal)

        assert runs_for_min(leases) == minutes


@given(st.lists(st.integers(0, 3), min_size=1).flatmap(st.permutations), st.integers(1, 5))
def test_copies_of_refusals_in_any_order_hold_a_home_back_no_longer_than_one(
    said: list[int], batches: int
) -> None:
    board = Board(1, 1, discharging([3000] * 4), Issued(Pair(0, 0), leading=1))
    board.grow(4)

    woken = []
    for part in np.array_split(np.array(said, dtype=np.int64), batches):
        ones = np.ones(len(part), dtype=np.int64)
        refusals = (Refusal.FAULTED,) * len(part)
        acks = AckBatch(part, ones, ones, ones * to_epoch(NOW), ("ev-a",) * len(part), refusals)
        woken.append(hear(board, acks, NOW))

    held = np.isin(np.arange(4), said)
    assert board.held_back_for_s.tolist() == (HOLD_BACK_FIRST_S * held).tolist()
    assert board.held_back_until_s.tolist() == ((to_epoch(NOW) + HOLD_BACK_FIRST_S) * held).tolist()
    assert sum(woken) <= len(set(said))
