"""The hours of a program's season that its events use up, and who went on beyond them."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from vpp.domain.grid_event import (
    EventHistory,
    GrantKind,
    GridSource,
    authorized_steps,
    by_source,
    is_test,
)
from vpp.domain.interval import Interval, union
from vpp.domain.program import Departure, Program, seconds_within


def counted_intervals(
    histories: Iterable[EventHistory], sources: Mapping[str, GridSource], program_id: str
) -> tuple[Interval, ...]:
    """Return what a program's events use of its hours, in order and apart: what overlaps counts once.

    An event uses what is settled of it: from its beginning to its end, without the gaps in which it asks
    for nothing. Test events never count.
    """
    counted: list[Interval] = []
    for source, group in by_source(histories).items():
        max_power_w = sources[source].max_power_w if source in sources else 0
        authorized = authorized_steps(group, max_power_w=max_power_w)
        for history in group:
            if history.latest.program_id == program_id and not is_test(history):
                counted += (step.interval for step in authorized[history.latest.event_id])
    return union(counted)


def season_seconds(
    histories: Iterable[EventHistory], sources: Mapping[str, GridSource], program: Program, at: datetime
) -> int:
    """Return how many seconds the program's events use of the season around an instant, or the last before.

    Zero before the program's first season.
    """
    season = program.latest_season(at.astimezone(program.zone).date())
    if season is None:
        return 0
    return seconds_within(counted_intervals(histories, sources, program.program_id), season)


def forced_beyond_season_at(history: EventHistory) -> datetime | None:
    """Return when a person first forced an event that passed its season's hours; None where nobody did."""
    flagged = {each.version for each in history.versions if Departure.SEASON_CAP in each.out_of_program}
    forced = (each for each in history.grants if each.kind is GrantKind.FORCE and each.version in flagged)
    return min((each.granted_at for each in forced), default=None)
