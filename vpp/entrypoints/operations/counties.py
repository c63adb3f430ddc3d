"""The fleet by county: what could be had where, and what is delivered now."""

import numpy as np

from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.entrypoints.operations.board import SPARE_S, standing_reasons
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.paging import page


async def list_counties(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return the fleet by county, by name.

    Args:
        cursor: ``next_cursor`` of the page before.
        limit: At most this many; None takes all.

    Returns:
        ``counties``: ``name, sites, online, ready`` (could help now)``, spare_w`` (what idle homes could
        hold for an hour)``, delivered_w`` (of homes that are commanded: their sum is what the boards of all
        events show)``, estimated_w`` (the part of it of homes that fell silent);
        ``next_cursor``.
    """
    live, now = desk.running, desk.clock.now()
    fleet, words = live.controller.fleet, live.controller.roster.counties.words
    ready = (standing_reasons(live, now) == REASONS.index(Reason.SELECTED)) & fleet.enrolled
    busy = live.busy(now)
    spare_w = live.held_by_site_w(ready & ~busy, SPARE_S)
    output = live.output(busy)
    columns = {
        "sites": fleet.enrolled,
        "online": fleet.enrolled & fleet.online,
        "ready": ready,
        "spare_w": spare_w,
        "delivered_w": output.measured_w,
        "estimated_w": output.estimated_w,
    }
    # The weights are exact: a county's watts stay far below the 53 bits of a float.
    sums = {
        name: np.bincount(fleet.county_no, weights=column, minlength=len(words)).astype(np.int64)
        for name, column in columns.items()
    }
    found: list[Json] = [
        {"name": words[place], **{name: int(column[place]) for name, column in sums.items()}}
        for place in sorted(range(len(words)), key=lambda place: words[place])
    ]
    shown, following = page(found, lambda each: str(each["name"]), cursor=cursor, limit=limit)
    return {"counties": shown, "next_cursor": following}
