"""Who is told what, and who is left as it is when an owner speaks in the middle of a decision."""

from datetime import UTC, datetime, timedelta

import numpy as np

from vpp.domain.command import Action, CommandBatch, Order
from vpp.domain.interval import to_epoch
from vpp.domain.lease import Due, Leases, Wanted, leave_out, note_sent
from vpp.domain.quantities import column

NOW = datetime(2026, 9, 10, 1, 0, tzinfo=UTC)


def discharging(setpoint_w: list[int]) -> Leases:
    """Return the leases of homes that hold event 0, row by row."""
    sites = column(range(len(setpoint_w)))
    order = Order(
        event_id="ev-a",
        revision=1,
        action=Action.DISCHARGE,
        site_no=sites,
        starts_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        event_ends_at=NOW + timedelta(hours=1),
        ramp_s=30,
        spread_s=60,
        test=False,
    )
    leases = Leases(len(sites))
    note_sent(leases, CommandBatch(1, 1, NOW, order, column(setpoint_w), column([200] * len(sites))), 0)
    return leases


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
