"""One event's plan over the fleet: who may take part, who does, and what that changes.

Joins what an event asks (``Demand``) with what the fleet can give (``dispatch_plan``). A plan once made
is held: sites that deliver stay where they are, and only what is missing is solved again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from vpp.domain.brake import NO_BRAKE, Brake, Numbers
from vpp.domain.dispatch_plan import (
    MIN_COMMAND_W,
    Offers,
    Profile,
    Reason,
    first_reason,
    held_w,
    plan_dispatch,
    profile_of,
    reason_code,
)
from vpp.domain.fleet import FleetState
from vpp.domain.grid_event import Step
from vpp.domain.quantities import BoolColumn, IntColumn

STALE_AFTER_S = 600  # two idle telemetry periods
MIN_RAISE_W = 100  # less is not worth a command, even to a home that discharges
SILENT_AFTER_S = 60  # two telemetry periods of a commanded site
DEADBAND_PERMILLE = 10
DEADBAND_W = 500
LIMIT_SLACK_PERMILLE = 100  # a limit that dips this little below a setpoint moves nobody
LIMIT_SLACK_W = 200


@dataclass(frozen=True, slots=True)
class Demand:
    """What one event asks from now on. ``stretches`` begins with the one to hold now.

    Each asks no more than will be authorized then. ``authorized_w`` bounds the power now; None means no
    bound. ``targeted`` marks the sites it may use.
    """

    event_id: str
    event_no: int
    version: int
    program_no: int
    targeted: BoolColumn
    stretches: tuple[tuple[int | None, int], ...]
    authorized_w: int | None
    starts_at: datetime
    ends_at: datetime
    test: bool

    @property
    def asked(self) -> tuple[int, int | None, int | None, datetime, tuple[int | None, ...]]:
        """Return what makes a new plan necessary when it changes."""
        now_w, *later_w = (power for power, _ in self.stretches)
        return (self.version, now_w, self.authorized_w, self.ends_at, tuple(later_w))

    @property
    def most_now_w(self) -> int | None:
        """Return the most that is asked now; None for all that can be sustained."""
        bounds = [bound for bound in (self.stretches[0][0], self.authorized_w) if bound is not None]
        return min(bounds, default=None)

    @property
    def profile(self) -> Profile:
        """Return the power asked now, within what is authorized now, and the energy still owed."""
        (now_w, seconds), *later = self.stretches
        if now_w is not None and self.authorized_w is not None:
            now_w = min(now_w, self.authorized_w)
        return profile_of(((now_w, seconds), *later))


@dataclass(frozen=True, slots=True)
class Limits:
    """Most power each feeder and zone (county) may carry, by the fleet's numbers; empty without limits."""

    feeder_caps_w: IntColumn
    zone_caps_w: IntColumn

    def less(self, setpoint_w: IntColumn, fleet: FleetState) -> "Limits":
        """Return what is left of the caps beside these setpoints, one per site of the fleet."""
        return Limits(
            _less(self.feeder_caps_w, fleet.feeder_no, setpoint_w),
            _less(self.zone_caps_w, fleet.county_no, setpoint_w),
        )

    def kept(self, setpoint_w: IntColumn, fleet: FleetState) -> IntColumn:
        """Return setpoints cut where a cap fell below them, the emptiest homes first."""
        for caps_w, group_no in (
            (self.feeder_caps_w, fleet.feeder_no),
            (self.zone_caps_w, fleet.county_no),
        ):
            if len(caps_w):
                cut = Brake(zone_ceiling_w=caps_w)
                setpoint_w = cut.lowered(setpoint_w, fleet.soc_permille, group_no)
        return setpoint_w


@dataclass(frozen=True, slots=True)
class EventPlan:
    """An event's plan so far, columns indexed by ``site_no``. ``revision`` counts what was stored.

    ``asked`` is None for a plan read back from the store; ``version`` is then the event's that it answers.
    """

    revision: int
    asked: tuple[int, int | None, int | None, datetime, tuple[int | None, ...]] | None
    setpoint_w: IntColumn
    floor_permille: IntColumn
    reason_code: IntColumn
    requested_w: int
    shortfall_w: int
    level_permille: int
    version: int = 0

    @classmethod
    def empty(cls, sites: int) -> "EventPlan":
        """Return the plan that asks nobody."""
        nothing = np.zeros(sites, dtype=np.int64)
        return cls(0, None, nothing, nothing, nothing, 0, 0, 0)

    def rise_over(self, before: "EventPlan") -> IntColumn:
        """Return per site how much more is asked than by the plan before."""
        rise_w: IntColumn = np.maximum(self.setpoint_w - before.setpoint_w, 0)
        return rise_w

    def still_answers(self, demand: Demand) -> bool:
        """Return whether this plan, read back from the store, is one for what is asked now."""
        now_w, most_w = demand.profile.now_w, demand.authorized_w
        allowed = most_w is None or self.requested_w <= most_w
        return allowed and self.version == demand.version and now_w in (None, self.requested_w)

    def grown(self, sites: int) -> "EventPlan":
        """Return the plan over a fleet to which sites were added; they are asked for nothing."""
        missing = sites - len(self.setpoint_w)
        if missing <= 0:
            return self
        pad = np.zeros(missing, dtype=np.int64)
        return replace(
            self,
            setpoint_w=np.append(self.setpoint_w, pad),
            floor_permille=np.append(self.floor_permille, pad),
            reason_code=np.append(self.reason_code, pad),
        )


def remaining_stretches(steps: Sequence[Step], now: datetime) -> tuple[tuple[int | None, int], ...]:
    """Return power and seconds of what is left of an event's steps; gaps ask for zero.

    Before the start the first stretch is the first step, whole. Empty when nothing is left.
    """
    stretches: list[tuple[int | None, int]] = []
    end = None
    for step in steps:
        starts_at = max(step.interval.starts_at, now)
        if starts_at >= step.interval.ends_at:
            continue
        gap_begins = now if end is None else end
        if starts_at > gap_begins and (stretches or step is not steps[0]):
            stretches.append((0, int((starts_at - gap_begins).total_seconds())))
        stretches.append((step.power, int((step.interval.ends_at - starts_at).total_seconds())))
        end = step.interval.ends_at
    return tuple(stretches)


def eligibility(
    fleet: FleetState,
    demand: Demand,
    *,
    opted_out: BoolColumn,
    held_back: BoolColumn,
    busy: BoolColumn,
    planned: BoolColumn,
    waiting: BoolColumn,
    now_s: int,
    judged: bool = True,
    season_capped: BoolColumn | None = None,
) -> IntColumn:
    """Return one reason code per site: the first that keeps it out, else ``SELECTED`` for eligible.

    Args:
        opted_out: Owners who said no to this event, here or at home.
        held_back: Sites that refused lately.
        busy: Sites that a more important event holds now.
        planned: Sites that this event's plan uses already. They stay while they have charge above
            the floor; a new site must be able to hold 500 W to the end, or less while less is asked.
        waiting: Sites that are starting, or that nobody can judge now: not yet stale.
        now_s: Seconds since 1970.
        judged: False while homes may not have reported yet since the controller began; planned ones
            stay until then, however old their sample is.
        season_capped: Sites that have done their part of the season.
    """
    age_s = now_s - fleet.sampled_at_s
    unknown = planned & (fleet.sampled_at_s == 0) & (not judged)
    above = fleet.soc_permille - fleet.binding_reserve_permille()
    enough = held_w(fleet.energy_full_wh, above, demand.profile.at_peak_s) >= MIN_COMMAND_W
    able = (planned & (above > 0)) | unknown | enough
    return first_reason(
        len(fleet),
        (
            (Reason.NO_CONSENT, ~fleet.consented),
            (Reason.NOT_ENROLLED, ~fleet.enrolled),
            (Reason.OTHER_PROGRAM, fleet.program_no != demand.program_no),
            (Reason.NOT_TARGETED, ~demand.targeted),
            (Reason.SEASON_CAP, np.zeros_like(busy) if season_capped is None else season_capped),
            (Reason.OPTED_OUT, opted_out | fleet.opted_out_at_home),
            (Reason.OFFLINE, ~fleet.online & ~unknown),
            (
                Reason.STALE,
                np.where(planned, ~waiting & judged & (age_s > SILENT_AFTER_S), age_s > STALE_AFTER_S),
            ),
            (Reason.ISLANDED, fleet.islanded),
            (Reason.STORM_MODE, fleet.storm_mode),
            (Reason.FAULTED, fleet.faulted),
            (Reason.EXPORT_NOT_PERMITTED, (fleet.discharge_limit_w < MIN_COMMAND_W) & ~unknown),
            (Reason.BELOW_RESERVE, ~able),
            (Reason.HELD_BACK, held_back),
            (Reason.NOT_NEEDED, busy),
        ),
    )


def offers_of(fleet: FleetState, rows: IntColumn, limits: Limits) -> Offers:
    """Return what the sites in these rows can give now."""
    no_group = np.full(len(rows), -1, dtype=np.int64)
    return Offers(
        site_no=rows,
        limit_w=np.minimum(fleet.discharge_limit_w[rows], fleet.max_discharge_w[rows]),
        energy_full_wh=fleet.energy_full_wh[rows],
        soc_permille=fleet.soc_permille[rows],
        floor_permille=fleet.binding_reserve_permille()[rows],
        feeder_no=fleet.feeder_no[rows].astype(np.int64) if len(limits.feeder_caps_w) else no_group,
        zone_no=fleet.county_no[rows].astype(np.int64) if len(limits.zone_caps_w) else no_group,
    )


def firm_power_w(fleet: FleetState, seconds: int) -> IntColumn:
    """Return what each site can hold for that long; zero where that is too little for a command."""
    above = fleet.soc_permille - fleet.binding_reserve_permille()
    limit_w = np.minimum(fleet.discharge_limit_w, fleet.max_discharge_w)
    firm_w = np.minimum(limit_w, held_w(fleet.energy_full_wh, above, seconds))
    return np.where(firm_w < MIN_COMMAND_W, 0, firm_w)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What planning counts each site at, and what is known against it; columns indexed by ``site_no``.

    ``short`` sites proved to give less than asked, ``silent`` ones do not report (their lease runs on
    but nothing more is asked of them), ``refused`` ones said no. Whoever cannot be judged counts at the
    setpoint, so that no power is moved for what is not seen.
    """

    counted_w: IntColumn
    short: BoolColumn
    silent: BoolColumn
    refused: BoolColumn


def plan_event(
    plan: EventPlan,
    demand: Demand,
    fleet: FleetState,
    codes: IntColumn,
    limits: Limits,
    delivered: Delivered,
    brake: Brake = NO_BRAKE,
) -> EventPlan:
    """Return the event's plan for now: the same object when nothing has to change.

    A new version, power, end or authority solves afresh. Otherwise sites are held where they are,
    lowered where their limit fell or they proved short, and only what is missing beyond the deadband is
    solved, over all sites with room; what is given too much is taken from the emptiest, who were asked
    last. A fresh solve would ask those again who are known to give too little. Under a brake that slows,
    sites are always held: power is added or taken away piece by piece.
    """
    unknown = fleet.sampled_at_s == 0
    known_floor = np.maximum(fleet.binding_reserve_permille(), np.where(unknown, plan.floor_permille, 0))
    held = limits.kept(_still_held(plan, fleet, codes, delivered), fleet)
    counted_w = np.minimum(delivered.counted_w, held)
    requested_w = (
        plan.requested_w if demand.authorized_w is None else min(plan.requested_w, demand.authorized_w)
    )
    missing_w = requested_w - int(counted_w.sum())
    deadband_w = max(requested_w * DEADBAND_PERMILLE // 1000, DEADBAND_W)
    used = (codes == reason_code(Reason.SELECTED)) | (plan.setpoint_w > 0)
    floor = np.where(used, known_floor, plan.floor_permille)
    if (unknown & (held > 0)).any():
        after = _lowered(plan, demand, held, floor, codes, fleet)
    elif brake.slows and plan.revision > 0 and demand.profile.now_w is not None:
        after = _slowed(plan, demand, fleet, codes, limits, held, floor, delivered, brake)
    elif plan.asked != demand.asked:
        after = _solved(plan, demand, fleet, codes, limits, np.zeros_like(held), floor, None)
    elif missing_w < -deadband_w:
        after = _held(plan, _cut(held, int(held.sum()) + missing_w, fleet, delivered), floor, codes)
    elif missing_w > deadband_w:
        after = _solved(plan, demand, fleet, codes, limits, held, floor, missing_w)
    else:
        after = _held(plan, held, floor, codes)
    if brake.slows:
        slowed_w = brake.slowed(plan.setpoint_w, after.setpoint_w, fleet.county_no)
        after = replace(after, setpoint_w=brake.lowered(slowed_w, fleet.soc_permille, fleet.county_no))
    return plan if _same_commands(plan, after) else after


def _lowered(
    plan: EventPlan,
    demand: Demand,
    held: IntColumn,
    floor: IntColumn,
    codes: IntColumn,
    fleet: FleetState,
) -> EventPlan:
    """Return the plan while homes are still to report after a restart: held, or cut to what is left to ask.

    A fresh solve would find nobody, and release the whole fleet to ask it again a minute later.
    """
    bounds = (plan.requested_w, demand.authorized_w, demand.profile.now_w)
    most_w = min(bound for bound in bounds if bound is not None)
    kept = Brake(ceiling_w=most_w).lowered(held, fleet.soc_permille, fleet.county_no)
    return _held(replace(plan, requested_w=most_w), kept, floor, codes)


def _slowed(
    plan: EventPlan,
    demand: Demand,
    fleet: FleetState,
    codes: IntColumn,
    limits: Limits,
    held: IntColumn,
    floor: IntColumn,
    delivered: Delivered,
    brake: Brake,
) -> EventPlan:
    """Return the plan with power added to or taken from the sites that are held.

    A fresh solve would move every site at once, the lowered ones before the raised. What is not proved
    yet may stand beside what is asked, but all together never pass 1.1 times what is approved.
    """
    if demand.authorized_w is not None:
        held = _cut(held, demand.authorized_w * 11 // 10, fleet, delivered)
    requested_w = min(demand.profile.now_w or 0, max(0, brake.ceiling_w))
    plan = replace(plan, asked=demand.asked, requested_w=requested_w)
    missing_w = requested_w - int(np.minimum(delivered.counted_w, held).sum())
    deadband_w = max(requested_w * DEADBAND_PERMILLE // 1000, DEADBAND_W)
    if missing_w > deadband_w:
        return _solved(plan, demand, fleet, codes, limits, held, floor, missing_w)
    if missing_w < -deadband_w or requested_w == 0:
        held = _cut(held, int(held.sum()) + missing_w if requested_w else 0, fleet, delivered)
    return _held(plan, held, floor, codes)


def _cut(held: IntColumn, most_w: int, fleet: FleetState, delivered: Delivered) -> IntColumn:
    """Return setpoints that sum to no more, the emptiest homes first; nobody can tell a silent one less."""
    told_w = np.where(delivered.silent, 0, held)
    left_w = max(0, most_w - int((held - told_w).sum()))
    cut_w = Brake(ceiling_w=left_w).lowered(told_w, fleet.soc_permille, fleet.county_no)
    return np.where(delivered.silent, held, cut_w)


def _still_held(plan: EventPlan, fleet: FleetState, codes: IntColumn, delivered: Delivered) -> IntColumn:
    """Return the setpoints that stand: those of eligible sites, and of held-back ones what they give."""
    held_back = (codes == reason_code(Reason.HELD_BACK)) & ~delivered.refused
    stays = (codes == reason_code(Reason.SELECTED)) | held_back | delivered.silent
    held = np.where(stays, _within_limit(plan.setpoint_w, fleet), 0)
    held = np.where(delivered.silent, plan.setpoint_w, held)  # nobody can tell it less
    proved = np.where(delivered.short, np.minimum(held, delivered.counted_w), held)
    return np.where(proved < MIN_COMMAND_W, 0, proved)


def _same_commands(before: EventPlan, after: EventPlan) -> bool:
    """Return whether two plans tell every home the same thing, for the same request."""
    return (
        before.asked == after.asked
        and before.revision > 0
        and bool((before.setpoint_w == after.setpoint_w).all())
        and bool((before.floor_permille == after.floor_permille).all())
    )


def _within_limit(setpoint_w: IntColumn, fleet: FleetState) -> IntColumn:
    """Return setpoints lowered to the home's limit where it fell well below them."""
    limit_w = fleet.discharge_limit_w
    slack_w = np.maximum(setpoint_w * LIMIT_SLACK_PERMILLE // 1000, LIMIT_SLACK_W)
    fell = (limit_w < setpoint_w - slack_w) & (fleet.sampled_at_s > 0)
    lowered = np.where(fell, limit_w, setpoint_w)
    return np.where(lowered < MIN_COMMAND_W, 0, lowered)


def _held(plan: EventPlan, held: IntColumn, floor: IntColumn, codes: IntColumn) -> EventPlan:
    return replace(
        plan,
        setpoint_w=held,
        floor_permille=_floors(plan, held, floor),
        reason_code=_explained(codes, held, np.zeros(len(held), dtype=np.bool_)),
        shortfall_w=max(0, plan.requested_w - int(held.sum())),
    )


def _solved(
    plan: EventPlan,
    demand: Demand,
    fleet: FleetState,
    codes: IntColumn,
    limits: Limits,
    held: IntColumn,
    floor: IntColumn,
    missing_w: int | None,
) -> EventPlan:
    """Return the plan with what is missing shared over every eligible site's headroom; None: all of it."""
    rows = np.flatnonzero(codes == reason_code(Reason.SELECTED))
    profile, most_w = demand.profile, demand.authorized_w
    if missing_w is not None:
        # Held sites give their part of every stretch already; the top-up is flat. Setpoints that are
        # not proved may stand beside it, but all together never pass 1.1 times what is approved.
        room_w = missing_w if most_w is None else min(missing_w, most_w * 11 // 10 - int(held.sum()))
        profile = Profile(max(0, room_w), max(0, room_w), profile.seconds)
    offers = _headroom(offers_of(fleet, rows, limits), held[rows], profile.seconds)
    caps = limits.less(held, fleet)  # also what silent homes go on with, who are offered to nobody
    share = plan_dispatch(profile, offers, feeder_caps_w=caps.feeder_caps_w, zone_caps_w=caps.zone_caps_w)
    if profile.now_w is None and most_w is not None and share.requested_w > most_w:
        bounded = Profile(most_w, None, profile.seconds)
        share = plan_dispatch(bounded, offers, feeder_caps_w=caps.feeder_caps_w, zone_caps_w=caps.zone_caps_w)
    setpoint_w = held.copy()
    setpoint_w[rows] += share.setpoint_w
    missing_still_w = share.shortfall_w
    if missing_w is not None and missing_still_w and demand.profile.now_w is not None:
        running = rows[held[rows] > 0]
        missing_still_w -= _squeeze(setpoint_w, running, missing_still_w, profile.seconds, fleet, limits)
    capped = np.zeros(len(fleet), dtype=np.bool_)
    capped[rows] = share.capped
    top_up = missing_w is not None
    return EventPlan(
        revision=plan.revision,
        asked=demand.asked,
        setpoint_w=setpoint_w,
        floor_permille=_floors(plan, setpoint_w, floor),
        reason_code=_explained(codes, setpoint_w, capped),
        requested_w=plan.requested_w if top_up else share.requested_w,
        shortfall_w=missing_still_w,
        level_permille=plan.level_permille if top_up else share.level_permille,
    )


def _squeeze(
    setpoint_w: IntColumn, rows: IntColumn, missing_w: int, seconds: int, fleet: FleetState, limits: Limits
) -> int:
    """Add to setpoints the last watts of homes that discharge already; return how many were found.

    A start under 500 W is not worth a command; a little more of thousands of homes that run is megawatts.
    """
    offers = _headroom(offers_of(fleet, rows, limits), setpoint_w[rows], seconds)
    caps, profile = limits.less(setpoint_w, fleet), Profile(missing_w, missing_w, seconds)
    feeder_w, zone_w = caps.feeder_caps_w, caps.zone_caps_w
    share = plan_dispatch(profile, offers, feeder_caps_w=feeder_w, zone_caps_w=zone_w, least_w=MIN_RAISE_W)
    setpoint_w[rows] += share.setpoint_w
    return int(share.setpoint_w.sum())


def _floors(plan: EventPlan, setpoint_w: IntColumn, floor: IntColumn) -> IntColumn:
    """Return floors of the sites in use and of those just dropped; others keep what was last stored."""
    return np.where((setpoint_w > 0) | (plan.setpoint_w > 0), floor, plan.floor_permille)


def _headroom(offers: Offers, held_w: IntColumn, seconds: int) -> Offers:
    """Return offers less what held sites already give until the end."""
    if not held_w.any():
        return offers
    used_permille = -(-held_w * seconds * 100 // np.maximum(offers.energy_full_wh * 342, 1))
    return replace(
        offers,
        limit_w=np.maximum(offers.limit_w - held_w, 0),
        soc_permille=np.maximum(offers.soc_permille - used_permille, 0),
    )


def _less(caps_w: IntColumn, group_no: Numbers, held_w: IntColumn) -> IntColumn:
    if not len(caps_w):
        return caps_w
    left = caps_w.copy()
    np.subtract.at(left, group_no, held_w)
    return np.maximum(left, 0)


def _explained(codes: IntColumn, setpoint_w: IntColumn, capped: BoolColumn) -> IntColumn:
    """Return reasons in which eligible sites without power say why they were not needed."""
    unused = (codes == reason_code(Reason.SELECTED)) & (setpoint_w == 0)
    why = np.where(capped, reason_code(Reason.FEEDER_LIMIT), reason_code(Reason.NOT_NEEDED))
    return np.where(unused, why, codes)
