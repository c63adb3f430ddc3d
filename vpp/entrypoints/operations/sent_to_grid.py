"""What a home sent to the grid while an event counted, where its owner shares the grid meter.

It earns nothing by itself: owners ask for it, and take it for what is paid.
"""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from vpp.domain.delivery import NOT_METERED, QUALITY_CODES, Quality, counter_track, net_energy
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import column
from vpp.domain.settlement import SettlementLine
from vpp.entrypoints.operations.desk import Desk

_EDGE = timedelta(minutes=65)  # a neighbour further away tells nothing
_USABLE = QUALITY_CODES.index(Quality.ESTIMATED)


async def exported_wh(desk: Desk, line: SettlementLine) -> list[int | None]:
    """Return the gross export in each of the line's hours, in Wh, while it counted.

    None for each hour that the grid meter does not tell: it is not shared, or has no reading near.
    """
    parts = [line.settled.overlap(each.hour) if line.settled else None for each in line.hours]
    stretches = [each for each in parts if each is not None]
    if not stretches:
        return [None] * len(parts)
    window = Interval(stretches[0].starts_at - _EDGE, stretches[-1].ends_at + _EDGE)
    found = await desk.store.readings([line.site_id], [window])
    shared = found.exported_wh != NOT_METERED
    # Import is left out of the account: what came back from the grid takes nothing off what went there.
    outward = replace(found, imported_wh=np.where(shared, 0, NOT_METERED))
    energy_wh, quality = net_energy(
        counter_track(outward, MeterOfRecord.SITE),
        column(np.zeros(len(stretches))),
        column([to_epoch(each.starts_at) for each in stretches]),
        column([to_epoch(each.ends_at) for each in stretches]),
    )
    told = iter(
        int(energy) if code <= _USABLE else None for energy, code in zip(energy_wh, quality, strict=True)
    )
    return [None if each is None else next(told) for each in parts]
