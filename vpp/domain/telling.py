"""Whom a tick tells what: a pure function of the plans, of what is known of each home's lease, and of terms.

Control runs it when a tick is decided; a replay runs it again from the ``Telling`` stored with the tick.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from vpp.domain.brake import Numbers, RampCaps
from vpp.domain.command import Order
from vpp.domain.event_plan import Demand, EventPlan
from vpp.domain.interval import to_epoch
from vpp.domain.known_leases import LeaseNews
from vpp.domain.lease import Leases, LeaseTerms, due_commands, leave_out
from vpp.domain.orders import OrderTerms, discharge_orders, release_orders
from vpp.domain.plan_revision import merge
from vpp.domain.quantities import BoolColumn, IntColumn


@dataclass(frozen=True, slots=True)
class TellingTerms:
    """What is configured and decides whom a tick tells what; times in seconds."""

    lease_s: int
    ack_timeout_s: int
    spread_s: int
    ramp_s: int
    caps: RampCaps


@dataclass(frozen=True, slots=True)
class Asked:
    """Until when one event asked for its plan when a tick was decided, and from when on."""

    event_id: str
    revision: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Telling:
    """What a tick's orders were made from, beside the plans and what earlier ticks told.

    ``afresh`` begins with ``news`` of every home whose lease matters; otherwise they add to what was stored
    with the ticks before. ``asked`` holds the events in turn. ``left_out`` are the sites whose owners spoke
    while the tick was decided, and ``tests`` the events in force that are tests.
    """

    afresh: bool
    news: LeaseNews
    asked: tuple[Asked, ...]
    left_out: IntColumn
    tests: tuple[str, ...]
    terms: TellingTerms


def tick_orders(
    leases: Leases,
    planned: Sequence[tuple[Demand, EventPlan]],
    terms: TellingTerms,
    now: datetime,
    *,
    lost: BoolColumn,
    left_out: Collection[int],
    plans: Mapping[str, EventPlan],
    event_id_of: Callable[[int], str],
    tests: Collection[str],
    zone_no: Numbers,
) -> tuple[Order, ...]:
    """Return what is due now, releases first.

    Args:
        leases: The newest command of every site, and what is known of it.
        planned: What each event asks now with its plan, in turn; the plans' sites do not overlap.
        terms: What is configured.
        now: The moment of the tick, a whole second.
        lost: Silent sites, which are not renewed; indexed by ``site_no``.
        left_out: Who is told no discharge: the owner spoke.
        plans: The newest plan of every event that a home may have to be released from.
        event_id_of: The event behind a number of ``leases``.
        tests: Events that are tests.
        zone_no: The zone of each site.
    """
    wanted = merge(len(leases), planned)
    now_s = to_epoch(now)
    lease_terms = LeaseTerms(terms.lease_s, terms.ack_timeout_s)
    due = due_commands(leases, wanted, lease_terms, silent=lost, now_s=now_s)
    due = leave_out(due, leases, wanted, frozenset(left_out), now_s=now_s)
    order_terms = OrderTerms(terms.lease_s, terms.spread_s, terms.ramp_s)
    releases = release_orders(
        leases, due, order_terms, now, plans=plans, event_id_of=event_id_of, test_events=tests
    )
    slowed = terms.caps.slowed_sites(zone_no)
    return releases + discharge_orders(planned, due, order_terms, now, slowed=slowed)


def asked_of(planned: Sequence[tuple[Demand, EventPlan]]) -> tuple[Asked, ...]:
    """Return what each event asked, as it is stored."""
    return tuple(
        Asked(demand.event_id, plan.revision, demand.starts_at, demand.ends_at) for demand, plan in planned
    )


def demand_again(asked: Asked, event_no: int, *, test: bool) -> Demand:
    """Return as much of an event's demand as its orders follow from; its plan is made already."""
    return Demand(
        event_id=asked.event_id,
        event_no=event_no,
        version=0,
        program_no=0,
        targeted=np.zeros(0, dtype=np.bool_),
        stretches=(),
        authorized_w=None,
        starts_at=asked.starts_at,
        ends_at=asked.ends_at,
        test=test,
    )
