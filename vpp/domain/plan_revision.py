"""What of a plan is stored, the plan as it stood at any revision, and what all plans want together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from vpp.domain.command import PlanRevision
from vpp.domain.dispatch_plan import Reason, reason_code
from vpp.domain.event_plan import Demand, EventPlan
from vpp.domain.interval import to_epoch
from vpp.domain.lease import NO_EVENT, Wanted
from vpp.domain.quantities import IntColumn, rows_of


def revision_of(before: EventPlan, after: EventPlan, *, demand: Demand, at: datetime) -> PlanRevision:
    """Return what changed between two plans of an event, as the fact that is stored."""
    changed = rows_of(
        (before.setpoint_w != after.setpoint_w) | (before.floor_permille != after.floor_permille)
    )
    return PlanRevision(
        event_id=demand.event_id,
        revision=after.revision,
        version=demand.version,
        at=at,
        requested_w=after.requested_w,
        shortfall_w=after.shortfall_w,
        level_permille=after.level_permille,
        site_no=changed,
        setpoint_w=after.setpoint_w[changed],
        reserve_floor_permille=after.floor_permille[changed],
        reason_code=after.reason_code,
    )


def plan_at(revisions: Sequence[PlanRevision], revision: int, sites: int) -> EventPlan:
    """Return an event's plan as it stood at a revision; all revisions up to it must be given."""
    return followed(EventPlan.empty(sites), [each for each in revisions if each.revision <= revision])


def followed(plan: EventPlan, revisions: Sequence[PlanRevision]) -> EventPlan:
    """Return what a plan became by the revisions that followed it, in order."""
    if not revisions:
        return plan
    setpoint_w, floor, last = plan.setpoint_w.copy(), plan.floor_permille.copy(), revisions[-1]
    for each in revisions:
        setpoint_w[each.site_no] = each.setpoint_w
        floor[each.site_no] = each.reserve_floor_permille
    return EventPlan(
        last.revision,
        None,
        setpoint_w,
        floor,
        last.reason_code,
        last.requested_w,
        last.shortfall_w,
        last.level_permille,
        last.version,
    ).grown(len(setpoint_w))


@dataclass(frozen=True, slots=True)
class Lowered:
    """Sites that a plan revision lowered because they gave too little, or that it dropped for a refusal."""

    at: datetime
    site_no: IntColumn


def lowered_for_too_little(revisions: Sequence[PlanRevision], sites: int) -> Iterator[Lowered]:
    """Yield whom an event's plan lowered and held back, in order; all its revisions must be given."""
    setpoint_w: IntColumn = np.zeros(sites, dtype=np.int64)
    for each in revisions:
        held_back = each.reason_code[each.site_no] == reason_code(Reason.HELD_BACK)
        lowered = each.site_no[held_back & (each.setpoint_w < setpoint_w[each.site_no])]
        if len(lowered):
            yield Lowered(each.at, lowered)
        setpoint_w[each.site_no] = each.setpoint_w


def merge(sites: int, plans: Sequence[tuple[Demand, EventPlan]]) -> Wanted:
    """Return what all plans together want of each site; the plans' sites do not overlap."""
    wanted = Wanted(
        event_no=np.full(sites, NO_EVENT, dtype=np.int64),
        setpoint_w=np.zeros(sites, dtype=np.int64),
        floor_permille=np.zeros(sites, dtype=np.int64),
        event_ends_at_s=np.zeros(sites, dtype=np.int64),
    )
    for demand, plan in plans:
        rows = rows_of(plan.setpoint_w != 0)
        wanted.event_no[rows] = demand.event_no
        wanted.setpoint_w[rows] = plan.setpoint_w[rows]
        wanted.floor_permille[rows] = plan.floor_permille[rows]
        wanted.event_ends_at_s[rows] = to_epoch(demand.ends_at)
    return wanted
