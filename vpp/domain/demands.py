"""What the grid's events ask of the fleet at one moment, and which homes each of them may use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

import numpy as np

from vpp.domain.event_plan import Demand, remaining_stretches
from vpp.domain.fleet import FleetState, Names, Roster
from vpp.domain.grid_event import (
    EVERYTHING_W,
    HISTORIES_KEPT,
    EventHistory,
    GrantKind,
    GridEvent,
    GridSource,
    InForce,
    Step,
    authorized_power,
    authorized_steps,
    by_source,
    ever_asks_for_all,
    in_force,
    is_test,
    precedence_key,
    stands_since,
    steps_in_force,
)
from vpp.domain.grid_event import LEAD as LEAD
from vpp.domain.interval import Interval, union
from vpp.domain.program import Program
from vpp.domain.quantities import BoolColumn, Watts
from vpp.domain.targets import Targets, resolve_targets


def open_demands(
    histories: Sequence[EventHistory],
    *,
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    events: Names,
    sources: Mapping[str, GridSource],
    now: datetime,
) -> list[Demand]:
    """Return what each running or starting event asks, the most important event first.

    An event asks by its version in force: one that waits for leave names nobody, and only lowers what is
    asked. ``authorized_w`` is still open: it depends on what more important events of the source use.
    """
    found = []
    known = [(each, in_force(each, at=now, max_power_w=_limit_w(each, sources))) for each in histories]
    for history, standing in sorted(known, key=_precedence):
        event = standing.version
        steps = steps_ahead(history, _limit_w(history, sources), now)
        program_no = roster.programs.find(event.program_id)
        if not steps or program_no is None or event.program_id not in programs:
            continue
        upcoming = _upcoming(steps, now)
        if upcoming is None or steps[0].interval.starts_at - LEAD > now:
            continue
        found.append(
            Demand(
                event_id=event.event_id,
                event_no=events.number(event.event_id),
                version=event.version,
                program_no=program_no,
                targeted=_may_serve(standing, programs[event.program_id], fleet, roster),
                stretches=_stretches(steps, upcoming, now),
                authorized_w=None,
                starts_at=upcoming.starts_at,
                ends_at=upcoming.ends_at,
                test=is_test(history),
            )
        )
    return found


def _precedence(known: tuple[EventHistory, InForce]) -> tuple[object, ...]:
    history, standing = known
    return precedence_key(standing.version, test=is_test(history))


def in_turn(
    demands: Sequence[Demand],
    histories: Sequence[EventHistory],
    sources: Mapping[str, GridSource],
    *,
    planned_w: Mapping[str, int],
    now: datetime,
) -> Iterator[list[Demand]]:
    """Yield the demands that are still to be planned, the next one first, each within its source's leave.

    Args:
        demands: Of ``open_demands``.
        histories: All events in force.
        sources: The sources they may come from, by name.
        planned_w: What the plans made so far use, by event id; the caller adds to it between two turns.
        now: The moment of the tick.
    """
    without_setpoint = {each.latest.event_id for each in histories if _highest_w(each) is None}
    left, before = list(demands), None
    while left:
        if before is None or before in without_setpoint:  # only of these does the plan change what is left
            left = within_authority(left, histories, sources, planned_w=planned_w, now=now)
        yield left
        before, left = left[0].event_id, left[1:]


def within_authority(
    demands: Sequence[Demand],
    histories: Sequence[EventHistory],
    sources: Mapping[str, GridSource],
    *,
    planned_w: Mapping[str, int],
    now: datetime,
) -> list[Demand]:
    """Return demands within what their source may ask, of all its events together, now and later.

    Args:
        demands: Of ``open_demands``.
        histories: All events in force.
        sources: The sources they may come from, by name.
        planned_w: What the plans of the more important events use, by event id.
        now: The moment of the tick.
    """
    without_setpoint = (each.latest.event_id for each in histories if ever_asks_for_all(each))
    leave = _leave(
        tuple(each.event_id for each in demands),
        tuple(histories),
        tuple(sources.values()),
        tuple((event_id, planned_w[event_id]) for event_id in without_setpoint if event_id in planned_w),
        max((stands_since(each, now) for each in histories), default=now),
    )
    found = []
    for demand in demands:
        mine = leave[demand.event_id]
        upcoming = next((each for each in mine.runs if each.ends_at > now), None)
        stretches = demand.stretches
        if mine.shared is not None and upcoming is not None:
            stretches = _stretches(mine.shared, upcoming, now)
        found.append(replace(demand, stretches=stretches, authorized_w=mine.most_w))
    return found


def waiting_power(
    histories: Sequence[EventHistory], sources: Mapping[str, GridSource], now: datetime
) -> dict[str, int | None]:
    """Return, by event id, the most watts that an event still asks for beyond what needs no approval.

    Zero where nothing waits; None where all that can be sustained is asked, and bounded. What waits for
    force is not counted.

    Args:
        histories: All events that are not over.
        sources: The sources they may come from, by name.
        now: What was asked until now is over.
    """
    waits: dict[str, int | None] = {}
    for group in by_source(histories).values():
        allowed = authorized_steps(group, max_power_w=_limit_w(group[0], sources))
        for history in group:
            event_id = history.latest.event_id
            waits[event_id] = _most_over(steps_in_force(history), allowed[event_id], now)
    return waits


def _most_over(asked: Sequence[Step], allowed: tuple[Step, ...], now: datetime) -> int | None:
    most_w = 0
    for step in asked:
        for part in _bounded((step,), allowed):
            leave = _leave_at(allowed, part.interval.starts_at)
            if part.interval.ends_at <= now or leave is None:
                continue
            if step.power is None:
                return None
            most_w = max(most_w, step.power - leave)
    return most_w


@dataclass(frozen=True, slots=True)
class _Leave:
    """What one event may use while no event of its source stands otherwise.

    ``runs`` are the stretches in which it asks without a gap, ``shared`` its steps within what the others
    leave to it: None where the limit of their source does not bind.
    """

    most_w: int | None
    runs: tuple[Interval, ...]
    shared: tuple[Step, ...] | None


@lru_cache(maxsize=HISTORIES_KEPT)  # the same from tick to tick, until an event stands otherwise
def _leave(
    event_ids: tuple[str, ...],
    histories: tuple[EventHistory, ...],
    known_sources: tuple[GridSource, ...],
    plans: tuple[tuple[str, int], ...],
    at: datetime,
) -> Mapping[str, _Leave]:
    """Return, by event id, the leave of demanded events at an instant and until one stands otherwise."""
    planned_w, sources = dict(plans), {each.name: each for each in known_sources}
    most_w = authorized_power(histories, sources, at, planned_w)
    known = {each.latest.event_id: each for each in histories}
    ahead = {each: steps_ahead(known[each], _limit_w(known[each], sources), at) for each in event_ids}
    until = max((steps[-1].interval.ends_at for steps in ahead.values()), default=at)
    asking = [each for each in histories if _asks_between(each, at, until)]
    courses = _shared_courses(asking, sources, planned_w)
    return {
        event_id: _Leave(
            most_w.get(event_id),
            union(step.interval for step in steps),
            _bounded(steps, courses[event_id]) if event_id in courses else None,
        )
        for event_id, steps in ahead.items()
    }


def _shared_courses(
    histories: Sequence[EventHistory], sources: Mapping[str, GridSource], planned_w: Mapping[str, int]
) -> dict[str, tuple[Step, ...]]:
    """Return, by event id, what events may use beside each other, where the limit of their source binds."""
    courses: dict[str, tuple[Step, ...]] = {}
    for name in sorted({each.versions[0].source for each in histories}):
        group = [each for each in histories if each.versions[0].source == name]
        limit_w = _limit_w(group[0], sources)
        peaks_w = [_highest_w(each) for each in group]
        if len(group) > 1 and (None in peaks_w or sum(power or 0 for power in peaks_w) > limit_w):
            courses |= authorized_steps(group, max_power_w=limit_w, planned_w=planned_w)
    return courses


def told_ceiling(
    histories: Sequence[EventHistory],
    sources: Mapping[str, GridSource],
    event_id: str,
    told_w: Mapping[str, int],
) -> int:
    """Return the watts that an event's setpoints may sum to beside those of its source's other events.

    What is told to homes may stand at 1.1 times the source's limit, all events together: more than is
    asked of them, because not every home is proved. Where a person approved anything, the limit binds
    nobody.

    Args:
        histories: All events in force.
        sources: The sources they may come from, by name.
        event_id: One of them.
        told_w: What homes go on with for the others, by event id; absent where it is nothing.
    """
    source = next(each.versions[0].source for each in histories if each.latest.event_id == event_id)
    group = [each for each in histories if each.versions[0].source == source]
    if any(grant.kind is GrantKind.APPROVE for each in group for grant in each.grants):
        return EVERYTHING_W
    most_w = sources[source].max_power_w * 11 // 10 if source in sources else 0
    ids = {each.latest.event_id for each in group} - {event_id}
    return max(0, most_w - sum(told_w.get(each, 0) for each in sorted(ids)))


@lru_cache(maxsize=HISTORIES_KEPT)
def _highest_w(history: EventHistory) -> int | None:
    powers = [step.power for step in steps_in_force(history)]
    return None if None in powers else max((power or 0 for power in powers), default=0)


def _asks_between(history: EventHistory, begins: datetime, ends: datetime) -> bool:
    return any(
        step.interval.ends_at > begins and step.interval.starts_at < ends for step in steps_in_force(history)
    )


def _upcoming(steps: Sequence[Step], now: datetime) -> Interval | None:
    """Return from when to when an event asks without a gap, now or next.

    A gap asks nothing, however short it is: homes end before it by themselves, and begin anew after it.
    """
    return next((each for each in union(step.interval for step in steps) if each.ends_at > now), None)


def _stretches(
    steps: Sequence[Step], upcoming: Interval, now: datetime
) -> tuple[tuple[int | None, int], ...]:
    """Return what is left of steps. Commands leave ahead of a start, also of the one after a gap."""
    soon = upcoming.starts_at - LEAD <= now
    return remaining_stretches(steps, max(now, upcoming.starts_at) if soon else now)


def steps_ahead(history: EventHistory, max_power_w: int, now: datetime) -> tuple[Step, ...]:
    """Return the steps of an event within its leave, so that no lease and no plan counts on more.

    Where no leave is left they are what it asks, of which nothing may be dispatched: its plan says so.
    What other events of its source use is not looked at. All that can be sustained stays so within a bound.
    """
    allowed = _allowed_steps(history, max_power_w)
    return allowed if allowed and allowed[-1].interval.ends_at > now else steps_in_force(history)


@lru_cache(maxsize=HISTORIES_KEPT)  # asked for every running event in every tick
def _allowed_steps(history: EventHistory, max_power_w: int) -> tuple[Step, ...]:
    allowed = authorized_steps([history], max_power_w=max_power_w)[history.latest.event_id]
    return tuple(step for step in _bounded(steps_in_force(history), allowed) if step.power != 0)


def _bounded(steps: tuple[Step, ...], allowed: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return steps cut where the leave for them changes; without any they ask for nothing."""
    found = []
    for step in steps:
        edges = {step.interval.starts_at, step.interval.ends_at}
        for each in allowed:
            edges |= {edge for edge in (each.interval.starts_at, each.interval.ends_at)
                      if step.interval.contains(edge)}  # fmt: skip
        for begins, ends in pairwise(sorted(edges)):
            found.append(Step(Interval(begins, ends), _smaller(step.power, _leave_at(allowed, begins))))
    return tuple(found)


def _leave_at(allowed: tuple[Step, ...], at: datetime) -> Watts | None:
    return next((each.power for each in allowed if each.interval.contains(at)), Watts(0))


def _smaller(asked: Watts | None, leave: Watts | None) -> Watts | None:
    """Return what is asked within its leave; all that can be sustained stays so, within a bound."""
    if asked is None:
        return None if leave is None or leave > 0 else Watts(0)
    return asked if leave is None else min(asked, leave)


def _limit_w(history: EventHistory, sources: Mapping[str, GridSource]) -> int:
    source = history.versions[0].source
    return sources[source].max_power_w if source in sources else 0


def _may_serve(standing: InForce, program: Program, fleet: FleetState, roster: Roster) -> BoolColumn:
    """Return the sites that the version in force may use.

    Where it shares no site with the version its power rests on, those of that one go on: a version that
    waits, in part too, stops nobody.
    """
    named = _named(standing.version, program, fleet, roster)
    if standing.within is None:
        return named
    approved = _named(standing.within, program, fleet, roster)
    return named & approved if (named & approved).any() else approved


def _named(event: GridEvent, program: Program, fleet: FleetState, roster: Roster) -> BoolColumn:
    return targeted_sites(targets_of(event, program, roster), fleet, roster)


def targets_of(event: GridEvent, program: Program, roster: Roster) -> Targets:
    """Return whom an event names among the homes that are enrolled."""
    return resolve_targets(
        event.targets,
        utilities=roster.utilities.words,
        groups=program.groups,
        counties=roster.counties.words,
        feeders=roster.feeders.words,
    )


def has_begun(history: EventHistory, now: datetime) -> bool:
    """Return whether any version asks for power now, or so soon that its commands may have left."""
    return any(
        step.interval.starts_at - LEAD <= now < step.interval.ends_at
        for version in history.versions
        for step in version.steps
    )


def most_asked_w(steps: Iterable[Step], window: Interval) -> int | None:
    """Return the most that steps of any events ask together at one instant of a window, in W.

    None where one of them asks for all that can be sustained.
    """
    inside = [(part, step.power) for step in steps if (part := step.interval.overlap(window)) is not None]
    if any(power is None for _, power in inside):
        return None
    return max(
        (
            sum(power for part, power in inside if power is not None and part.contains(first.starts_at))
            for first, _ in inside  # the sum is greatest where one begins
        ),
        default=0,
    )


def targeted_sites(named: Targets, fleet: FleetState, roster: Roster) -> BoolColumn:
    """Return the sites that match one word of every kind named; a word of no kind selects nobody."""
    if named.unknown:
        return np.zeros(len(fleet), dtype=np.bool_)
    targeted = np.ones(len(fleet), dtype=np.bool_)
    for words, names, numbers in (
        (named.utilities, roster.utilities, fleet.utility_no),
        (named.counties, roster.counties, fleet.county_no),
        (named.feeders, roster.feeders, fleet.feeder_no),
    ):
        if words:
            meant = [number for number, word in enumerate(names.words) if word.lower() in words]
            targeted &= numbers == meant[0] if len(meant) == 1 else np.isin(numbers, meant)
    return targeted
