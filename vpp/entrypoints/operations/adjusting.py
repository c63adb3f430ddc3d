"""What a grid meter's baseline was multiplied by, with the two energies whose ratio that is."""

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from vpp.domain.baseline import clock_hour_of
from vpp.domain.delivery import QUALITY_CODES, Quality
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.metered_hours import HOUR_S
from vpp.domain.program import MeterOfRecord, Program, Terms
from vpp.domain.quantities import column
from vpp.domain.settled_event import SettledEvent, adjustment_hours, adjustment_of
from vpp.domain.settlement import SettlementLine
from vpp.entrypoints.operations.desk import Desk, Json, instant
from vpp.wire.evidence_check import exact

HIGHEST_FIRST = (Fraction(50, 100), Fraction(30, 100), Fraction(20, 100))
"""What each of three days counts where a method weighs them by their height."""


async def adjusted_by(
    desk: Desk,
    program: Program | None,
    terms: Terms | None,
    line: SettlementLine,
    history: EventHistory,
    behind: Sequence[Json],
) -> Json | None:
    """Return ``hours`` (their starts), ``metered_wh`` of all of them on the event's day, ``usual_wh`` (exact:
    their average on the days behind the baseline), and ``lowest`` and ``highest``, the bounds of the ratio.

    None at a battery's own counters, where no hour may be compared, and where these readings do not give
    the factor that was settled: then the evidence bundle tells what the settlement stood on.

    Args:
        desk: Where readings are.
        program: The event's program.
        terms: Its terms on the event's day.
        line: The home's line.
        history: The event's versions.
        behind: The days of the baseline with their energies, as of ``days_behind``.
    """
    if program is None or terms is None or terms.meter is not MeterOfRecord.SITE or not behind:
        return None
    event = _as_it_was_on(history, program, terms)
    bounds = None if event is None else adjustment_of(event)
    if event is None or bounds is None:
        return None
    hours, days = adjustment_hours(event), [date.fromisoformat(str(each["date"])) for each in behind]
    wall = [clock_hour_of(each, event.day, program.zone) for each in hours]
    asked = [*hours, *(each.on(day, program.zone) for day in days for each in wall)]
    starts = [to_epoch(each.starts_at) for each in asked if each is not None]
    if len(starts) != len(asked) or any(each % HOUR_S for each in starts):
        return None
    starts_s = column(sorted(set(starts)))
    found = await desk.store.hour_energies([line.site_id], starts_s, terms.meter)
    if int(found.quality[0].max()) > QUALITY_CODES.index(Quality.ESTIMATED):
        return None
    load_wh = dict(zip(starts_s.tolist(), (-found.energy_wh[0]).tolist(), strict=True))
    of_days = [
        sum(load_wh[at] for at in starts[first : first + len(hours)])
        for first in range(len(hours), len(starts), len(hours))
    ]
    metered_wh = sum(load_wh[at] for at in starts[: len(hours)])
    usual_wh = sum(
        (share * wh for share, wh in zip(_shares(behind), of_days, strict=True)), start=Fraction(0)
    )
    if bounds.factor(metered_wh, usual_wh) != line.adjustment:
        return None
    return {
        "hours": [instant(each.starts_at) for each in hours],
        "metered_wh": metered_wh,
        "usual_wh": exact(usual_wh),
        "lowest": str(bounds.lowest),
        "highest": str(bounds.highest),
    }


def _as_it_was_on(history: EventHistory, program: Program, terms: Terms) -> SettledEvent | None:
    """Return an event from its first commit to its end or its cancel; what a leave changed shows later."""
    asking = [each.interval for each in history.versions if each.interval is not None]
    if not asking:
        return None
    starts_at = max(asking[-1].starts_at, history.versions[0].committed_at.replace(microsecond=0))
    ends_at = ended_at(history)
    if starts_at >= ends_at:
        return None
    day = program.local_day(asking[-1])
    return SettledEvent(history.latest.event_id, program, terms, day, (), Interval(starts_at, ends_at))


def _shares(behind: Sequence[Json]) -> list[Fraction]:
    """Return what each day counts in the average; of equal days the later one is the higher."""
    if len(behind) != len(HIGHEST_FIRST):
        return [Fraction(1, len(behind))] * len(behind)
    heights = [sum(int(str(wh)) for wh in _energies(each)) for each in behind]
    order = sorted(range(len(behind)), key=lambda place: (-heights[place], place))
    return [HIGHEST_FIRST[order.index(place)] for place in range(len(behind))]


def _energies(day: Json) -> Sequence[object]:
    energies = day["metered_wh"]
    assert isinstance(energies, list)
    return energies
