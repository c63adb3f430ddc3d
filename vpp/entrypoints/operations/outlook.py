"""The fleet as one event would find it now: who could help, and what they could hold to its end."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from vpp.domain.demands import targeted_sites, targets_of
from vpp.domain.dispatch_plan import Offers, Profile, Reason, plan_dispatch, reason_code
from vpp.domain.dispatch_terms import network_limits
from vpp.domain.eligibility import eligibility
from vpp.domain.event_plan import Delivered, Demand, EventPlan, plan_event
from vpp.domain.fleet import FleetState
from vpp.domain.grid_event import GridEvent, Step
from vpp.domain.headroom import Limits, offers_of
from vpp.domain.interval import to_epoch
from vpp.domain.program import Program
from vpp.domain.quantities import IntColumn
from vpp.entrypoints.operations.live import Live


class Outlook:
    """What one event would find beside all others that are on, within what they leave of the network.

    Columns are indexed by ``site_no``, ``offers`` by eligible site. Homes that serve the event itself are
    as free for it as any.
    """

    def __init__(self, fleet: FleetState, demand: Demand, codes: IntColumn, limits: Limits) -> None:
        self._fleet, self._demand, self._codes, self._limits = fleet, demand, codes, limits
        rows = np.flatnonzero(codes == reason_code(Reason.SELECTED))
        self.offers: Offers = offers_of(fleet, rows, limits)
        self.held_w = self.shared(None)

    @classmethod
    def of(cls, live: Live, demand: Demand, now: datetime) -> "Outlook":
        """Return the outlook of what is asked from now on, or from the demand's start."""
        fleet, board = live.controller.fleet, live.controller.board
        sites, now_s = len(fleet), to_epoch(now)
        nobody = np.zeros(sites, dtype=np.bool_)
        season_capped, held_back, opted_out = nobody, nobody.copy(), nobody
        limits = network_limits(live.controller.terms, live.controller.roster)
        busy = live.busy(now) & ~live.serving(demand.event_id, now)
        plan = live.plan(demand.event_id)
        if plan is not None:
            opted_out = plan.reason_code == reason_code(Reason.OPTED_OUT)
        if board is not None:
            known = len(board.held_back_until_s)
            season_capped = board.season.reached(live.controller.terms.site_season_cap_s, sites)
            held_back[:known] = board.held_back_until_s[:sites] > to_epoch(demand.starts_at)
            limits = limits.less(np.where(busy, live.setpoint_w(), 0), fleet)
        codes = eligibility(
            fleet, demand, opted_out=opted_out, held_back=held_back, busy=busy, planned=nobody,
            waiting=nobody, now_s=now_s, season_capped=season_capped,
        )  # fmt: skip
        return cls(fleet, demand, codes, limits)

    def plan(self) -> EventPlan:
        """Return the plan that the event would get, were nobody asked yet."""
        sites = len(self._codes)
        zero, nobody = np.zeros(sites, dtype=np.int64), np.zeros(sites, dtype=np.bool_)
        delivered = Delivered(zero, nobody, nobody, nobody)
        return plan_event(
            EventPlan.empty(sites), self._demand, self._fleet, self._codes, self._limits, delivered
        )

    def shared(self, asked_w: int | None) -> IntColumn:
        """Return each site's setpoint when that much is asked of the fleet; None: all there is."""
        profile = Profile(asked_w, asked_w, self._demand.profile.seconds)
        setpoint_w = np.zeros(len(self._codes), dtype=np.int64)
        share = plan_dispatch(
            profile,
            self.offers,
            feeder_caps_w=self._limits.feeder_caps_w,
            zone_caps_w=self._limits.zone_caps_w,
        )
        setpoint_w[self.offers.site_no] = share.setpoint_w
        return setpoint_w


def unapproved_w(
    live: Live, event: GridEvent, program: Program | None, steps: Sequence[Step], *, now: datetime,
    authorized_w: int | None,
) -> int:  # fmt: skip
    """Return what of a power an event asks now, or at its next start, waits for a second person, in W.

    Where all that can be sustained is asked, it is what the homes could hold to the end beyond what is
    authorized.

    Args:
        live: The running controller.
        event: The version that is asked.
        program: Its program; None where it is not here, so that no home could help.
        steps: What it asks, in order.
        now: The moment.
        authorized_w: What needs no further leave; None means no bound.
    """
    ahead = [step for step in steps if step.interval.ends_at > now]
    if not ahead or authorized_w is None:
        return 0
    asked_w: int | None = ahead[0].power
    if asked_w is None:
        asked_w = _sustained_w(live, event, program, ahead, now) if program else 0
    return max(0, asked_w - authorized_w)


def _sustained_w(live: Live, event: GridEvent, program: Program, ahead: Sequence[Step], now: datetime) -> int:
    fleet, roster = live.controller.fleet, live.controller.roster
    program_no = roster.programs.find(event.program_id)
    begins, ends = max(now, ahead[0].interval.starts_at), ahead[-1].interval.ends_at
    demand = Demand(
        event_id=event.event_id,
        event_no=-1,
        version=event.version,
        program_no=-1 if program_no is None else program_no,
        targeted=targeted_sites(targets_of(event, program, roster), fleet, roster),
        stretches=((None, max(1, int((ends - begins).total_seconds()))),),
        authorized_w=None,
        starts_at=begins,
        ends_at=ends,
        test=False,  # nobody is told anything of an outlook
    )
    return int(Outlook.of(live, demand, now).held_w.sum())
