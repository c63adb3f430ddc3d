"""What a tick tells the fleet: orders by event, and commands as a pure function of plan and tick."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from vpp.domain.command import Action, CommandBatch, DispatchTick, Order
from vpp.domain.event_plan import Demand, EventPlan
from vpp.domain.interval import from_epoch
from vpp.domain.lease import NO_EVENT, Due, Leases
from vpp.domain.quantities import BoolColumn, IntColumn

UNKNOWN_EVENT = "(unknown)"
"""Names the event of a release from a command whose record is lost; no event id holds a bracket."""


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """How long leases last, and over how long the fleet starts and ramps, in seconds."""

    lease_s: int
    spread_s: int
    ramp_s: int


def release_orders(
    leases: Leases,
    due: Due,
    terms: OrderTerms,
    now: datetime,
    *,
    plans: Mapping[str, EventPlan],
    event_id_of: Callable[[int], str],
    test_events: Container[str],
) -> tuple[Order, ...]:
    """Return one release order for each event whose sites are to stop.

    A site that is known to serve none is released from ``UNKNOWN_EVENT``.
    """
    if not len(due.release):
        return ()
    event_no = leases.event_no[due.release]
    orders = []
    for number in np.unique(event_no):
        sites = due.release[event_no == number]
        event_id = UNKNOWN_EVENT if number == NO_EVENT else event_id_of(int(number))
        ends_s = int(leases.event_ends_at_s[sites].max())
        orders.append(
            Order(
                event_id=event_id,
                revision=0 if event_id == UNKNOWN_EVENT else plans[event_id].revision,
                action=Action.RELEASE,
                site_no=sites,
                starts_at=now,
                expires_at=now + timedelta(seconds=terms.lease_s),
                event_ends_at=now if number == NO_EVENT else from_epoch(ends_s),
                ramp_s=0,
                spread_s=0,
                test=event_id in test_events,
            )
        )
    return tuple(orders)


def discharge_orders(
    planned: Sequence[tuple[Demand, EventPlan]],
    due: Due,
    terms: OrderTerms,
    now: datetime,
    *,
    slowed: BoolColumn,
) -> tuple[Order, ...]:
    """Return the orders of each event that has sites to start, change, renew or ask again.

    ``slowed`` sites stand under a ramp cap: their turn is their spread, and a second one would undo it.
    """
    orders = []
    for demand, plan in planned:
        sites = due.discharge[plan.setpoint_w[due.discharge] > 0]
        starts_at = max(demand.starts_at, now)
        for spread_s, group in ((terms.spread_s, sites[~slowed[sites]]), (0, sites[slowed[sites]])):
            if len(group):
                orders.append(
                    Order(
                        event_id=demand.event_id,
                        revision=plan.revision,
                        action=Action.DISCHARGE,
                        site_no=group,
                        starts_at=starts_at,
                        expires_at=_expiry(now, starts_at, demand.ends_at, terms.lease_s),
                        event_ends_at=demand.ends_at,
                        ramp_s=terms.ramp_s,
                        spread_s=spread_s,
                        test=demand.test,
                    )
                )
    return tuple(orders)


def _expiry(now: datetime, starts_at: datetime, ends_at: datetime, lease_s: int) -> datetime:
    """Return when a discharge ends by itself: a lease from now, never after its event.

    A lease shorter than the lead before an event counts from the start, or it would end before it begins.
    """
    lease = timedelta(seconds=lease_s)
    return min(ends_at, now + lease if now + lease > starts_at else starts_at + lease)


def commands_of(tick: DispatchTick, order: Order, plan: EventPlan) -> CommandBatch:
    """Return an order's commands with each site's numbers: a pure function of tick, plan and sites."""
    nothing: IntColumn = np.zeros(len(order.site_no), dtype=np.int64)
    return CommandBatch(
        epoch=tick.epoch,
        sequence=tick.number,
        issued_at=tick.at,
        order=order,
        setpoint_w=plan.setpoint_w[order.site_no] if order.action is Action.DISCHARGE else nothing,
        reserve_floor_permille=plan.floor_permille[order.site_no],
    )


def batches_of(tick: DispatchTick, plans: Mapping[str, EventPlan]) -> list[CommandBatch]:
    """Return the commands of all orders of a tick, with each event's plan."""
    batches = []
    for order in tick.orders:
        if order.event_id == UNKNOWN_EVENT:  # a release names no power, and without a plan no floor
            plan = EventPlan.empty(int(order.site_no.max()) + 1)
        else:
            plan = plans[order.event_id]
        batches.append(commands_of(tick, order, plan))
    return batches
