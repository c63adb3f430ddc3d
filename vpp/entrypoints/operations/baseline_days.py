"""What a home metered on the days behind its baseline, so that the average can be made by hand."""

from fractions import Fraction

import numpy as np

from vpp.domain.baseline import clock_hour_of
from vpp.domain.interval import to_epoch
from vpp.domain.metered_hours import HOUR_S
from vpp.domain.program import MeterOfRecord, Program, Terms
from vpp.domain.quantities import column
from vpp.domain.settlement import SettlementLine
from vpp.entrypoints.operations.desk import Desk, Json

_WEIGHTED = 3  # so many days are averaged with unequal weights, by one method


async def days_behind(
    desk: Desk, program: Program | None, terms: Terms | None, line: SettlementLine
) -> list[Json]:
    """Return ``date`` and ``metered_wh`` (one for each of the line's hours) of each day averaged.

    Empty where there is no baseline, where clock hours are no hours of UTC, and where readings that came
    after the settlement changed a day: then the evidence bundle tells what the settlement stood on.
    """
    hours, days = line.hours, line.baseline_days.chosen
    if program is None or terms is None or not hours or not days or any(h.baseline_wh is None for h in hours):
        return []
    event_day = program.local_day(hours[0].hour)
    wall = [clock_hour_of(each.hour, event_day, program.zone) for each in hours]
    asked = [[each.on(day, program.zone) for each in wall] for day in days]
    starts = {to_epoch(each.starts_at) for row in asked for each in row if each is not None}
    if any(each is None for row in asked for each in row) or any(each % HOUR_S for each in starts):
        return []
    starts_s = column(sorted(starts))
    found = await desk.store.hour_energies([line.site_id], starts_s, terms.meter)
    sign = -1 if terms.meter is MeterOfRecord.SITE else 1
    energy = dict(zip(starts_s.tolist(), (sign * found.energy_wh[0]).tolist(), strict=True))
    rows = [[energy[to_epoch(each.starts_at)] for each in row if each is not None] for row in asked]
    if len(days) != _WEIGHTED:
        sums = np.array(rows, dtype=np.int64).sum(axis=0).tolist()
        for hour, total in zip(hours, sums, strict=True):
            if Fraction(total, len(days)) * line.adjustment * hour.fraction != hour.baseline_wh:
                return []
    return [{"date": day.isoformat(), "metered_wh": list(row)} for day, row in zip(days, rows, strict=True)]
