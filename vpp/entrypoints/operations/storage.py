"""What the batteries of an event held hour by hour, from the samples stored with the controller's ticks."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from vpp.domain.fleet import FleetState
from vpp.domain.interval import Interval
from vpp.domain.program_report import StorageTotal
from vpp.domain.quantities import IntColumn
from vpp.domain.tick_basis import write_stored
from vpp.entrypoints.operations.desk import Desk

AT_ONCE = timedelta(minutes=5)


async def storage_by_hour(
    desk: Desk, event_id: str, hours: Sequence[Interval], site_ids: Sequence[str]
) -> tuple[StorageTotal | None, ...]:
    """Return what the sites held as each hour began, or as the event began in it; hours are in order.

    None for an hour in which the controller knew nothing yet. A site that never reported is left out.
    """
    revisions = await desk.store.revisions(event_id)
    if not revisions or not hours:
        return (None,) * len(hours)
    number = {each.site_id: each.site_no for each in await desk.store.enrollments()}
    sites = np.array(sorted(number[each] for each in site_ids if each in number), dtype=np.int64)
    fleet, found = FleetState(), list[StorageTotal | None]()
    read_to = revisions[0].at  # an event's first plan stores what is known of the whole fleet
    for hour in hours:
        until = max(hour.starts_at, revisions[0].at)
        while read_to <= until:
            upto = min(read_to + AT_ONCE, until)
            for basis in await desk.store.bases(since=read_to, until=upto):
                write_stored(fleet, basis.samples)
            read_to = upto + timedelta(microseconds=1)
        found.append(_total(fleet, sites) if until < hour.ends_at else None)
    return tuple(found)


def _total(fleet: FleetState, sites: IntColumn) -> StorageTotal | None:
    known = sites[sites < len(fleet)]
    known = known[fleet.sampled_at_s[known] > 0]
    full_wh = fleet.energy_full_wh[known]
    if not full_wh.sum():
        return None
    return StorageTotal(
        usable_wh=int(full_wh.sum()),
        stored_wh=int((full_wh * fleet.soc_permille[known]).sum() // 1000),
        max_discharge_w=int(fleet.discharge_limit_w[known].sum()),
    )
