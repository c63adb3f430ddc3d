"""What the grid's events ask of the fleet at one moment, and which homes each of them may use."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from vpp.domain.event_plan import Demand, remaining_stretches
from vpp.domain.fleet import FleetState, Names, Roster
from vpp.domain.grid_event import LEAD as LEAD
from vpp.domain.grid_event import (
    EventHistory,
    Targets,
    is_test,
    precedence_key,
    resolve_targets,
    steps_in_force,
)
from vpp.domain.program import Program
from vpp.domain.quantities import BoolColumn


def open_demands(
    histories: Sequence[EventHistory],
    *,
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    events: Names,
    now: datetime,
) -> list[Demand]:
    """Return what each running or starting event asks, the most important event first.

    ``authorized_w`` is still open: it depends on what more important events of the source use.
    """
    found = []
    for history in sorted(histories, key=lambda each: precedence_key(each.latest)):
        event = history.latest
        steps = steps_in_force(history)
        program_no = roster.programs.find(event.program_id)
        if not steps or program_no is None or event.program_id not in programs:
            continue
        upcoming = next((each.interval for each in steps if each.interval.ends_at > now), None)
        if upcoming is None or steps[0].interval.starts_at - LEAD > now:
            continue
        # Commands leave ahead of a start, also of the one after a gap.
        soon = upcoming.starts_at - LEAD <= now
        stretches = remaining_stretches(steps, max(now, upcoming.starts_at) if soon else now)
        words = resolve_targets(
            event.targets,
            utilities=roster.utilities.words,
            groups=programs[event.program_id].groups,
            counties=roster.counties.words,
            feeders=roster.feeders.words,
        )
        found.append(
            Demand(
                event_id=event.event_id,
                event_no=events.number(event.event_id),
                version=event.version,
                program_no=program_no,
                targeted=targeted_sites(words, fleet, roster),
                stretches=stretches,
                authorized_w=None,
                starts_at=upcoming.starts_at,
                ends_at=steps[-1].interval.ends_at,
                test=is_test(history),
            )
        )
    return found


def has_begun(history: EventHistory, now: datetime) -> bool:
    """Return whether any version asks for power now, or so soon that its commands may have left."""
    return any(
        step.interval.starts_at - LEAD <= now < step.interval.ends_at
        for version in history.versions
        for step in version.steps
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
            targeted &= np.isin(numbers, meant)
    return targeted
