"""Count what every home was asked this season and year, where a cap or a program limits it.

Also while nothing is on: whoever asks what an event would get must know who has done his part.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from vpp.domain.burden import SeasonUse
from vpp.domain.cycle_cap import counts_in, cycled_out, limited_in_cycles
from vpp.domain.dispatch_terms import DispatchTerms
from vpp.domain.fleet import FleetState, Roster
from vpp.domain.grid_event import steps_in_force
from vpp.domain.interval import to_epoch
from vpp.domain.program import Program
from vpp.domain.track_record import asked_of_sites, commands_in_order
from vpp.ports import DispatchStore, SignalStore

COUNT_AGAIN = timedelta(minutes=5)


class SeasonStore(SignalStore, DispatchStore, Protocol):
    """The part of the store that is counted."""


async def count_season(
    use: SeasonUse,
    store: SeasonStore,
    fleet: FleetState,
    roster: Roster,
    programs: Mapping[str, Program],
    *,
    terms: DispatchTerms,
    now: datetime,
) -> None:
    """Read what every site was asked this season and year, every five minutes; what is over is read once.

    Nothing is read where neither is limited.
    """
    limited = limited_in_cycles(programs, roster)
    if terms.site_season_cap_s is None and not limited:
        return
    if use.read_at is not None and now - use.read_at < COUNT_AGAIN:
        return
    seconds, year_ws = use.begun((each.program_id for each in limited), len(fleet))
    cycled = np.zeros(len(fleet), dtype=np.bool_)
    for history in await store.histories():
        event_id, program_id = history.latest.event_id, history.latest.program_id
        in_season, in_year = counts_in(history, programs.get(program_id), limited, now)
        if not in_season and not in_year:
            continue
        asked = use.of_ended.get(event_id)
        if asked is None:
            ticks, revisions = await store.event_ticks(event_id), await store.revisions(event_id)
            batches = commands_in_order(ticks, revisions, len(seconds))
            asked = asked_of_sites(batches, len(seconds), until_s=to_epoch(now))
            if steps_in_force(history)[-1].interval.ends_at < now:
                use.of_ended[event_id] = asked
        if in_season:
            seconds[: len(asked.seconds)] += asked.seconds
        if in_year:
            year_ws[program_id][: len(asked.seconds)] += asked.watt_seconds
    for each in limited:
        cycled |= cycled_out(fleet, roster, each, year_ws[each.program_id], at=now)
    use.seconds, use.year_ws, use.cycled, use.read_at = seconds, year_ws, cycled, now
