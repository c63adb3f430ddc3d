"""An event's plans under another rule: what the same fleet would have been asked with a higher reserve floor.

Plans are made where the event's own plans were made, from the samples stored with those ticks. Homes are
taken to give what they are asked, and their charge is that of the evening as it went: the longer the event
and the further the rule, the less exact it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from vpp.domain.command import PlanRevision
from vpp.domain.dispatch_plan import Reason, reason_code
from vpp.domain.enrollment import Enrollment
from vpp.domain.event_plan import EventPlan
from vpp.domain.fleet import FleetState, Roster, enroll
from vpp.domain.headroom import firm_power_w
from vpp.domain.plan_revision import plan_at
from vpp.domain.quantities import IntColumn, Permille
from vpp.domain.tick_basis import PlanBasis, TickBasis, plan_again, write_stored

LEAST_TIME_S = 600


@dataclass(frozen=True, slots=True)
class PlanPair:
    """One plan as it was, and under the other rule, at the same moment."""

    at: datetime
    was: EventPlan
    other: EventPlan


class PlansOtherwise:
    """Makes an event's plan revisions under another floor, in order, from what was known at each tick.

    Args:
        roster: Every enrolment by number.
        revisions: All plan revisions of the event, in order.
        floor_permille: No home is taken below this, nor below its own reserve where that is higher.
    """

    def __init__(
        self, roster: Sequence[Enrollment], revisions: Sequence[PlanRevision], floor_permille: Permille
    ) -> None:
        self._enrollments, self._revisions, self._floor = roster, revisions, floor_permille
        self._fleet, self._roster = FleetState(), Roster()
        self._other = EventPlan.empty(0)

    def at(self, basis: TickBasis, event_id: str) -> PlanPair | None:
        """Return both plans of this tick, None where the event was not planned anew in it."""
        known = [len(plan.eligible_code) for plan in basis.plans] + (basis.samples.site_no[-1:] + 1).tolist()
        new = self._enrollments[len(self._roster.enrollments) : max(known, default=0)]
        enroll(self._fleet, self._roster, new)
        write_stored(self._fleet, basis.samples)
        mine = next((plan for plan in basis.plans if plan.event_id == event_id), None)
        if mine is None or not 0 < mine.revision <= len(self._revisions):
            return None
        sites = len(mine.eligible_code)
        before = self._other.grown(sites)
        fleet = self._fleet.copied()
        fleet.vpp_reserve_permille = np.maximum(fleet.vpp_reserve_permille, self._floor)
        ruled = replace(
            mine,
            eligible_code=_eligible(mine, before, fleet),
            counted_w=np.where(
                mine.proof & 1 > 0, np.minimum(mine.counted_w, before.setpoint_w), before.setpoint_w
            ),
        )
        self._other = replace(plan_again(before, ruled, fleet), revision=mine.revision)
        return PlanPair(
            self._revisions[mine.revision - 1].at, plan_at(self._revisions, mine.revision, sites), self._other
        )


def _eligible(mine: PlanBasis, before: EventPlan, fleet: FleetState) -> IntColumn:
    """Return the reasons with those homes out that the rule leaves too little."""
    seconds = max(LEAST_TIME_S, sum(seconds for _, seconds in mine.stretches))
    sites = len(mine.eligible_code)
    above = (fleet.soc_permille > fleet.binding_reserve_permille())[:sites]
    able = ((before.setpoint_w > 0) & above) | (firm_power_w(fleet, seconds)[:sites] > 0)
    out = (mine.eligible_code == reason_code(Reason.SELECTED)) & ~able
    return np.where(out, reason_code(Reason.BELOW_RESERVE), mine.eligible_code)
