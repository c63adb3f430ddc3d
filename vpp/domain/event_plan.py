"""One event's plan over the fleet: who takes part, with how much, and what changes it.

Joins what an event asks (``Demand``) with what the fleet can give (``dispatch_plan``). A plan once made
is held: sites that deliver stay where they are, and only what is missing is solved again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from vpp.domain.brake import NO_BRAKE, Brake
from vpp.domain.dispatch_plan import (
    MIN_COMMAND_W,
    Profile,
    Reason,
    plan_dispatch,
    profile_of,
    reason_code,
)
from vpp.domain.fleet import FleetState
from vpp.domain.grid_event import Step
from vpp.domain.headroom import Limits, firm_power_w, headroom, offers_of
from vpp.domain.quantities import BoolColumn, IntColumn, any_of, rows_of

MIN_RAISE_W = 100  # less is not worth a command, even to a home that discharges
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
    def most_w(self) -> int | None:
        """Return the most that is asked of the homes that serve now; None for all that can be sustained.

        Where more is asked later, the same homes have to reach that: each gives its part of it until then.
        """
        profile = self.profile
        return profile.peak_w if profile.rises else self.most_now_w

    def beside(self, power_w: int) -> "Demand":
        """Return what is left to ask of others where some give this power until the end."""
        stretches = tuple(
            (None if power is None else max(0, power - power_w), length) for power, length in self.stretches
        )
        authorized_w = None if self.authorized_w is None else max(0, self.authorized_w - power_w)
        return replace(self, stretches=stretches, authorized_w=authorized_w)

    @property
    def profile(self) -> Profile:
        """Return the power asked now, within what is authorized now, and the energy still owed."""
        (now_w, seconds), *later = self.stretches
        if now_w is not None and self.authorized_w is not None:
            now_w = min(now_w, self.authorized_w)
        return profile_of(((now_w, seconds), *later))


@dataclass(frozen=True, slots=True)
class EventPlan:
    """An event's plan so far, columns indexed by ``site_no``. ``revision`` counts what was stored.

    ``version`` is the event's that it answers. ``asked`` is None for a plan read back from the store.
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

    @property
    def is_nearly_whole(self) -> bool:
        """Return whether so small a part is missing that nobody is moved for it, however little is asked."""
        return self.shortfall_w <= self.requested_w * DEADBAND_PERMILLE // 1000

    def change_from(self, before: "EventPlan") -> IntColumn:
        """Return per site how much more is asked than by the plan before, below zero where it is less."""
        change_w: IntColumn = self.setpoint_w - before.setpoint_w
        return change_w

    def still_answers(self, demand: Demand) -> bool:
        """Return whether what is held answers what is asked now, so that nothing is solved afresh.

        Read back from the store it must be a plan of this very version and power. Made in this life, a
        new version moves nobody that asks for the same until the same end, but for less than the deadband.
        """
        now_w, most_w = demand.profile.now_w, demand.authorized_w
        if self.asked is None:
            allowed = most_w is None or self.requested_w <= most_w
            return allowed and self.version == demand.version and now_w in (None, self.requested_w)
        _, asked_w, _, ends_at, later_w = self.asked
        if later_w != demand.asked[4]:
            return False
        if ends_at != demand.ends_at or now_w is None or asked_w is None:
            return ends_at == demand.ends_at and now_w == asked_w
        return abs(now_w - self.requested_w) <= _deadband_w(now_w)

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


@dataclass(frozen=True, slots=True)
class Delivered:
    """What planning counts each site at, and what is known against it; columns indexed by ``site_no``.

    ``short`` sites proved to give less than asked, ``silent`` ones do not report (their lease runs on
    but nothing more is asked of them), ``refused`` ones said no. ``unseen`` ones do not report because we
    are blind: their plan is held. One entry stands for every site. Whoever cannot be judged counts at the
    setpoint, so that no power is moved for what is not seen.
    """

    counted_w: IntColumn
    short: BoolColumn
    silent: BoolColumn
    refused: BoolColumn
    unseen: BoolColumn = field(default_factory=lambda: np.zeros(1, dtype=np.bool_))


def plan_event(
    plan: EventPlan,
    demand: Demand,
    fleet: FleetState,
    codes: IntColumn,
    limits: Limits,
    delivered: Delivered,
    brake: Brake = NO_BRAKE,
) -> EventPlan:
    """Return the event's plan for now, under the next revision number where homes are told anything new.

    What ``still_answers`` no longer is solved afresh, beside silent homes and those that proved short,
    who are not asked again. Otherwise sites are held where they are, lowered where their limit fell or they
    proved short, and only what is missing beyond the deadband is solved, over all sites with room; what is
    given too much is taken from the emptiest, who were asked last. Where all that can be sustained is
    asked, that is looked at again each time.

    Under a brake that slows, a plan with a power to reach is never solved afresh once it is there. Power is
    added as the brake lets it rise, and taken piece by piece as its ceiling comes down ahead of a scheduled
    fall. What a newer version no longer asks is taken at once: the brake holds back what is more, never a
    word to do less. The reasons are those of now, whatever is told.
    """
    unknown = fleet.sampled_at_s == 0
    known_floor = np.maximum(fleet.binding_reserve_permille(), np.where(unknown, plan.floor_permille, 0))
    limits = limits.within(brake.zone_ceiling_w)
    held = _still_held(plan, fleet, codes, delivered)
    deaf_w = np.where(delivered.silent, held, 0)  # nobody can tell these less
    held = deaf_w + limits.less(deaf_w, fleet).kept(held - deaf_w, fleet)
    most_told_w = _told_most_w(demand, brake)
    if not brake.slows and int(held.sum()) > most_told_w:
        held = _cut(held, most_told_w, fleet, delivered, brake)
    counted_w = np.minimum(delivered.counted_w, held)
    requested_w = _requested_w(demand, fleet, codes, held, int(counted_w.sum()))
    missing_w = requested_w - int(counted_w.sum())
    deadband_w = _deadband_w(requested_w)
    used = (codes == reason_code(Reason.SELECTED)) | (plan.setpoint_w > 0)
    floor = np.where(used, known_floor, plan.floor_permille)
    if any_of((unknown | delivered.unseen) & (held > 0)):
        after = _lowered(plan, demand, held, floor, codes, fleet, delivered, brake)
    elif brake.slows and plan.revision > 0 and demand.profile.now_w is not None:
        after = _slowed(plan, demand, fleet, codes, limits, held, floor, delivered, brake)
    elif plan.asked != demand.asked and not (brake.slows and plan.revision > 0):
        fixed = delivered.silent | (codes == reason_code(Reason.HELD_BACK))
        beside_w = int(counted_w[fixed].sum())
        fixed_w = np.where(fixed, held, 0)
        after = _solved(
            plan, demand, fleet, codes, limits, fixed_w, floor, None, most_told_w, beside_w=beside_w
        )
    elif missing_w < -_borne_w(plan, demand, requested_w):
        kept = _cut(held, int(held.sum()) + missing_w, fleet, delivered, brake)
        after = _held(plan, requested_w, kept, floor, codes)
    elif missing_w > deadband_w:
        now = replace(plan, requested_w=requested_w)
        after = _solved(now, demand, fleet, codes, limits, held, floor, missing_w, most_told_w)
    else:
        after = _held(plan, requested_w, held, floor, codes)
    if brake.slows:
        after = replace(after, setpoint_w=_braked(plan, after, fleet, delivered, brake))
    if demand.profile.now_w is None:
        after = replace(after, requested_w=int(after.setpoint_w.sum()), shortfall_w=0)
    if plan.version == demand.version and _says_the_same(plan, after):
        return replace(plan, asked=demand.asked, reason_code=after.reason_code)
    return replace(after, asked=demand.asked, version=demand.version, revision=plan.revision + 1)


def _braked(
    plan: EventPlan, after: EventPlan, fleet: FleetState, delivered: Delivered, brake: Brake
) -> IntColumn:
    """Return setpoints that rise and fall no faster than they may; silent homes go on with theirs."""
    slowed_w = brake.slowed(plan.setpoint_w, after.setpoint_w, fleet.county_no)
    deaf_w = np.where(delivered.silent, slowed_w, 0)
    others = brake.beside(deaf_w, fleet.county_no)
    return deaf_w + others.lowered(slowed_w - deaf_w, fleet.soc_permille, fleet.county_no)


def _told_most_w(demand: Demand, brake: Brake) -> int:
    """Return what all setpoints may sum to: what is not proved may stand beside what is asked, in bounds."""
    approved_w = brake.ceiling_w if demand.authorized_w is None else demand.authorized_w * 11 // 10
    return min(approved_w, brake.ceiling_w)


def _deadband_w(requested_w: int) -> int:
    """Return how far power may be off before anybody is moved for it."""
    return max(requested_w * DEADBAND_PERMILLE // 1000, DEADBAND_W)


def _borne_w(plan: EventPlan, demand: Demand, requested_w: int) -> int:
    """Return how much too much moves nobody: not a watt where less is authorized than the plan answers.

    What is authorized less another event of the source uses from now on, or nobody may.
    """
    lowered = demand.authorized_w is not None and demand.authorized_w < plan.requested_w
    return 0 if lowered else _deadband_w(requested_w)


def _requested_w(demand: Demand, fleet: FleetState, codes: IntColumn, held: IntColumn, counted_w: int) -> int:
    """Return the power to hold now; where all is asked, what is given and what more would be worth asking."""
    now_w = demand.profile.now_w
    if now_w is None:
        spare_w = firm_power_w(fleet, demand.profile.seconds) - held
        more = (codes == reason_code(Reason.SELECTED)) & (spare_w >= MIN_COMMAND_W)
        now_w = counted_w + int(spare_w[more].sum())
    return now_w if demand.authorized_w is None else min(now_w, demand.authorized_w)


def _lowered(
    plan: EventPlan,
    demand: Demand,
    held: IntColumn,
    floor: IntColumn,
    codes: IntColumn,
    fleet: FleetState,
    delivered: Delivered,
    brake: Brake,
) -> EventPlan:
    """Return the plan while homes are still to report, or we are blind: held, or cut to what is left to ask.

    A fresh solve would find nobody, and release the whole fleet to ask it again a minute later.
    """
    bounds = (plan.requested_w, demand.authorized_w, demand.profile.now_w)
    most_w = min(bound for bound in bounds if bound is not None)
    kept = _cut(held, most_w, fleet, delivered, brake) if most_w < plan.requested_w else held
    return _held(plan, most_w, kept, floor, codes)


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

    A fresh solve would move every site at once, the lowered ones before the raised.
    """
    if demand.authorized_w is not None:
        held = _cut(held, demand.authorized_w * 11 // 10, fleet, delivered, brake)
    requested_w = min(demand.profile.now_w or 0, max(0, brake.ceiling_w))
    missing_w = requested_w - int(np.minimum(delivered.counted_w, held).sum())
    if missing_w > _deadband_w(requested_w):
        now, told_w = replace(plan, requested_w=requested_w), _told_most_w(demand, brake)
        return _solved(now, demand, fleet, codes, limits, held, floor, missing_w, told_w)
    if missing_w < -_borne_w(plan, demand, requested_w) or requested_w == 0:
        held = _cut(held, int(held.sum()) + missing_w if requested_w else 0, fleet, delivered, brake)
    return _held(plan, requested_w, held, floor, codes)


def _cut(held: IntColumn, most_w: int, fleet: FleetState, delivered: Delivered, brake: Brake) -> IntColumn:
    """Return setpoints that sum to no more, the emptiest homes first; nobody can tell a silent one less."""
    deaf_w = np.where(delivered.silent, held, 0)
    others = Brake(ceiling_w=most_w, zone_floor_w=brake.zone_floor_w).beside(deaf_w, fleet.county_no)
    return deaf_w + others.lowered(held - deaf_w, fleet.soc_permille, fleet.county_no)


def _still_held(plan: EventPlan, fleet: FleetState, codes: IntColumn, delivered: Delivered) -> IntColumn:
    """Return the setpoints that stand: those of eligible sites, and of held-back ones what they give.

    A silent one goes on with what it was told, unless something else than its silence keeps it out: then it
    is released until it hears.
    """
    held_back = (codes == reason_code(Reason.HELD_BACK)) & ~delivered.refused
    hidden = delivered.unseen & (codes == reason_code(Reason.OFFLINE))
    eligible = (codes == reason_code(Reason.SELECTED)) | held_back | hidden
    unheard = (codes == reason_code(Reason.OFFLINE)) | (codes == reason_code(Reason.STALE))
    goes_on = delivered.silent & (eligible | unheard)
    held = np.where(eligible, _within_limit(plan.setpoint_w, fleet), 0)
    held = np.where(goes_on, plan.setpoint_w, held)  # nobody can tell it less
    proved = np.where(delivered.short, np.minimum(held, delivered.counted_w), held)
    return np.where(proved < MIN_COMMAND_W, 0, proved)


def _says_the_same(before: EventPlan, after: EventPlan) -> bool:
    """Return whether two plans of one version tell every home and the grid the same, for the same request."""
    return (
        before.revision > 0
        and before.requested_w == after.requested_w
        and abs(after.shortfall_w - before.shortfall_w) <= _deadband_w(after.requested_w)
        and not any_of(before.setpoint_w != after.setpoint_w)
        and not any_of(before.floor_permille != after.floor_permille)
    )


def _within_limit(setpoint_w: IntColumn, fleet: FleetState) -> IntColumn:
    """Return setpoints lowered to the home's limit where it fell well below them."""
    limit_w = fleet.discharge_limit_w
    slack_w = np.maximum(setpoint_w * LIMIT_SLACK_PERMILLE // 1000, LIMIT_SLACK_W)
    fell = (limit_w < setpoint_w - slack_w) & (fleet.sampled_at_s > 0)
    lowered = np.where(fell, limit_w, setpoint_w)
    return np.where(lowered < MIN_COMMAND_W, 0, lowered)


def _held(
    plan: EventPlan, requested_w: int, held: IntColumn, floor: IntColumn, codes: IntColumn
) -> EventPlan:
    """Return the plan with these setpoints, which answer a request, or fall short of it."""
    return EventPlan(
        revision=plan.revision,
        asked=plan.asked,
        setpoint_w=held,
        floor_permille=_floors(plan, held, floor),
        reason_code=_explained(codes, held, np.zeros(len(held), dtype=np.bool_)),
        requested_w=requested_w,
        shortfall_w=max(0, requested_w - int(held.sum())),
        level_permille=plan.level_permille,
        version=plan.version,
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
    told_most_w: int,
    *,
    beside_w: int = 0,
) -> EventPlan:
    """Return the plan with what is missing shared over every eligible site's headroom; None: all of it.

    All of it is what is asked beside the ``beside_w`` that held sites give, who are asked for no more. All
    setpoints together stay within ``told_most_w``.
    """
    rows = rows_of(codes == reason_code(Reason.SELECTED))
    left = demand.beside(beside_w)
    profile, most_w = left.profile, left.authorized_w
    told_most_w = max(0, told_most_w - int(held.sum()))
    if missing_w is not None:
        # Held sites give their part of every stretch already; the top-up is flat.
        profile = Profile(missing_w, missing_w, profile.seconds)
    if profile.now_w is not None and profile.now_w > told_most_w:
        profile = Profile(told_most_w, told_most_w, profile.seconds)
    offers = headroom(offers_of(fleet, rows, limits), held[rows], profile.seconds)
    caps = limits.less(held, fleet)  # also what silent homes go on with, who are offered to nobody
    share = plan_dispatch(profile, offers, feeder_caps_w=caps.feeder_caps_w, zone_caps_w=caps.zone_caps_w)
    most_w = told_most_w if most_w is None else min(most_w, told_most_w)
    if profile.now_w is None and share.requested_w > most_w:
        bounded = Profile(most_w, None, profile.seconds)
        share = plan_dispatch(bounded, offers, feeder_caps_w=caps.feeder_caps_w, zone_caps_w=caps.zone_caps_w)
    setpoint_w = held.copy()
    setpoint_w[rows] += share.setpoint_w
    top_up = missing_w is not None
    asked_w = share.requested_w + beside_w if demand.profile.now_w is None else demand.profile.now_w
    missing_still_w = (asked_w - beside_w if missing_w is None else missing_w) - int(share.setpoint_w.sum())
    if top_up and share.shortfall_w and demand.profile.now_w is not None:
        running = rows[held[rows] > 0]
        missing_still_w -= _squeeze(setpoint_w, running, share.shortfall_w, profile.seconds, fleet, limits)
    capped = np.zeros(len(fleet), dtype=np.bool_)
    capped[rows] = share.capped
    return EventPlan(
        revision=plan.revision,
        asked=demand.asked,
        setpoint_w=setpoint_w,
        floor_permille=_floors(plan, setpoint_w, floor),
        reason_code=_explained(codes, setpoint_w, capped),
        requested_w=plan.requested_w if top_up else asked_w,
        shortfall_w=max(0, missing_still_w),
        level_permille=plan.level_permille if top_up else share.level_permille,
    )


def _squeeze(
    setpoint_w: IntColumn, rows: IntColumn, missing_w: int, seconds: int, fleet: FleetState, limits: Limits
) -> int:
    """Add to setpoints the last watts of homes that discharge already; return how many were found.

    A start under 500 W is not worth a command; a little more of thousands of homes that run is megawatts.
    """
    offers = headroom(offers_of(fleet, rows, limits), setpoint_w[rows], seconds)
    caps, profile = limits.less(setpoint_w, fleet), Profile(missing_w, missing_w, seconds)
    feeder_w, zone_w = caps.feeder_caps_w, caps.zone_caps_w
    share = plan_dispatch(profile, offers, feeder_caps_w=feeder_w, zone_caps_w=zone_w, least_w=MIN_RAISE_W)
    setpoint_w[rows] += share.setpoint_w
    return int(share.setpoint_w.sum())


def _floors(plan: EventPlan, setpoint_w: IntColumn, floor: IntColumn) -> IntColumn:
    """Return floors of the sites in use and of those just dropped; others keep what was last stored."""
    return np.where((setpoint_w > 0) | (plan.setpoint_w > 0), floor, plan.floor_permille)


def _explained(codes: IntColumn, setpoint_w: IntColumn, capped: BoolColumn) -> IntColumn:
    """Return reasons in which eligible sites without power say why they were not needed."""
    unused = (codes == reason_code(Reason.SELECTED)) & (setpoint_w == 0)
    why = np.where(capped, reason_code(Reason.FEEDER_LIMIT), reason_code(Reason.NOT_NEEDED))
    return np.where(unused, why, codes)
