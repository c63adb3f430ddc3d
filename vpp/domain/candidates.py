"""Who may serve each of the events that ask at one moment, worked out once for all of their plans."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np

from vpp.domain.board import Board
from vpp.domain.brake import NO_BRAKE, Brake
from vpp.domain.dispatch_plan import Reason, reason_code
from vpp.domain.eligibility import eligibility
from vpp.domain.enrollment import OptOut
from vpp.domain.event_plan import Demand
from vpp.domain.fleet import FleetState, Roster
from vpp.domain.headroom import Limits, firm_power_w
from vpp.domain.interval import to_epoch
from vpp.domain.lease import NO_EVENT
from vpp.domain.proof import Assessment, ProofState
from vpp.domain.quantities import BoolColumn, IntColumn, any_of
from vpp.domain.sharing import Claim, left_to_others

_SELECTED, _NOT_NEEDED = reason_code(Reason.SELECTED), reason_code(Reason.NOT_NEEDED)


class Candidates:
    """Each site's reason for or against each event, from one snapshot of board, fleet and proofs.

    Two things change while the events of a moment are planned one after the other: who serves a more
    important one, which is the last of all reasons, and what is authorized. The rest is worked out once.
    """

    def __init__(
        self,
        board: Board,
        fleet: FleetState,
        roster: Roster,
        assessment: Assessment,
        opt_outs: Sequence[OptOut],
        *,
        season_cap_s: int | None,
        silent_after_s: int,
        now: datetime,
    ) -> None:
        self._board = board
        self._fleet = fleet
        self._assessment = assessment
        self._now_s = to_epoch(now)
        self._silent_after_s = silent_after_s
        self._judged = self._now_s >= board.judged_from_s
        self._season_capped = board.season.reached(season_cap_s, len(fleet))
        self._held_back = board.held_back_until_s > self._now_s
        self._silent = assessment.sites_in(ProofState.SILENT)
        self._said_no = _said_no(opt_outs, len(fleet), roster)
        self._planned_for: dict[str, BoolColumn] = {}
        self._reasons: dict[tuple[str, int], IntColumn] = {}
        self._firm_w: dict[int, IntColumn] = {}

    def choices(
        self, demands: Sequence[Demand], busy: BoolColumn, room: Limits, brake: Brake = NO_BRAKE
    ) -> Iterator[IntColumn]:
        """Yield each site's reason for the first event: less what it leaves to the others, then all.

        The second is for where its part cannot give what it is asked: it has the first word. ``busy`` sites
        serve more important events, ``room`` is what those leave of feeders and zones. Whoever serves this
        one is left to another only as fast as the ``brake`` lets a zone fall, and the fleet rise: nobody
        may take up at once what it gave.
        """
        codes = self._eligible(demands[0], busy)
        if len(demands) > 1 and demands[0].most_now_w is not None:
            left = self._left_to_others(demands, codes, busy, room, brake.zone_ceiling_w)
            plan = self._board.plans.get(demands[0].event_id)
            if plan is not None and any_of(left):
                left = brake.let_go(left, plan.setpoint_w, self._fleet.county_no)
            if any_of(left):
                yield np.where(left & (codes == _SELECTED), _NOT_NEEDED, codes)
        yield codes

    def _left_to_others(
        self,
        demands: Sequence[Demand],
        codes: IntColumn,
        busy: BoolColumn,
        room: Limits,
        zone_ceiling_w: IntColumn,
    ) -> BoolColumn:
        eligible = [codes, *(self._eligible(each, busy) for each in demands[1:])]
        wanted = np.zeros(len(self._fleet), dtype=np.bool_)
        for of_event in eligible[1:]:
            wanted |= of_event == _SELECTED
        if not any_of(wanted & (codes == _SELECTED)):
            return np.zeros(len(self._fleet), dtype=np.bool_)  # nobody is asked by two
        mine, *later = (
            Claim(demand.event_no, of_event == _SELECTED, demand.most_w)
            for demand, of_event in zip(demands, eligible, strict=True)
        )
        serving_no = np.full(len(self._fleet), NO_EVENT, dtype=np.int64)
        for demand in demands:
            serving_no[self._planned(demand.event_id)] = demand.event_no
        seconds = max(demand.profile.at_peak_s for demand in demands)
        firm_w = self._firm_w.get(seconds)
        if firm_w is None:
            firm_w = self._firm_w[seconds] = firm_power_w(self._fleet, seconds)
        zone_no = self._fleet.county_no
        return left_to_others(
            mine,
            later,
            firm_w=firm_w,
            serving_no=serving_no,
            network=((self._fleet.feeder_no, room.feeder_caps_w), (zone_no, room.zone_caps_w)),
            ceilings=((zone_no, zone_ceiling_w),),
        )

    def _eligible(self, demand: Demand, busy: BoolColumn) -> IntColumn:
        key = demand.event_id, demand.profile.at_peak_s
        codes = self._reasons.get(key)
        if codes is None:
            codes = self._reasons[key] = self._reasons_of(demand)
        return np.where(busy & (codes == _SELECTED), _NOT_NEEDED, codes) if any_of(busy) else codes

    def _reasons_of(self, demand: Demand) -> IntColumn:
        nobody = np.zeros(len(self._fleet), dtype=np.bool_)
        return eligibility(
            self._fleet,
            demand,
            opted_out=self._said_no.get(demand.event_id, nobody),
            held_back=self._held_back,
            busy=self._serves_another(demand),
            planned=self._planned(demand.event_id),
            waiting=self._assessment.waiting | self._assessment.unseen,
            now_s=self._now_s,
            season_capped=self._season_capped,
            judged=self._judged,
            silent_after_s=self._silent_after_s,
        )

    def _serves_another(self, demand: Demand) -> BoolColumn:
        """Return the homes that another event keeps for now, however important this one is.

        Nobody can take a silent home from its event: told nothing, it goes on with what it has. And before
        its start an event takes none that may still discharge for another: the newest command is the only
        one that a home obeys, so that its owner's no to what runs, or the end of that, would not reach it.
        """
        leases = self._board.leases
        elsewhere: BoolColumn = (leases.event_no != demand.event_no) & (leases.event_no != NO_EVENT)
        runs = leases.running_until_s > self._now_s
        early = self._now_s < to_epoch(demand.starts_at)
        return elsewhere & (self._silent | (runs if early else np.zeros_like(runs)))

    def _planned(self, event_id: str) -> BoolColumn:
        planned = self._planned_for.get(event_id)
        if planned is None:
            plan = self._board.plans.get(event_id)
            planned = np.zeros(len(self._fleet), dtype=np.bool_) if plan is None else plan.setpoint_w > 0
            self._planned_for[event_id] = planned
        return planned


def _said_no(opt_outs: Sequence[OptOut], sites: int, roster: Roster) -> dict[str, BoolColumn]:
    """Return by event whose owners said no to it; absent where nobody did."""
    said_no: dict[str, BoolColumn] = {}
    for opt_out in opt_outs:
        site_no = roster.site_no_of.get(opt_out.site_id)
        if opt_out.taken_back_at is None and site_no is not None:
            if opt_out.event_id not in said_no:
                said_no[opt_out.event_id] = np.zeros(sites, dtype=np.bool_)
            said_no[opt_out.event_id][site_no] = True
    return said_no
