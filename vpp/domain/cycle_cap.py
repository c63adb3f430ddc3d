"""The full cycles that a home may be asked for in a calendar year, where its program limits them.

The cap spares the battery, so it bounds what is asked and leaves pay alone: past it a home is asked for
nothing, so there is nothing more to pay, and what it gave on an order before counts in full, for an order
of ours never goes unpaid. An event belongs to the year in which it begins, on the program's clock.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from vpp.domain.burden import usable_wh
from vpp.domain.fleet import FleetState, Roster
from vpp.domain.grid_event import EventHistory, steps_in_force
from vpp.domain.program import Program
from vpp.domain.quantities import BoolColumn, IntColumn


def limited_in_cycles(programs: Mapping[str, Program], roster: Roster) -> list[Program]:
    """Return the programs of homes here that ever limit the cycles of a home in a year."""
    here = (each for program_id, each in programs.items() if roster.programs.find(program_id) is not None)
    return [each for each in here if any(terms.cap_cycles is not None for terms in each.editions)]


def counts_in(
    history: EventHistory, program: Program | None, limited: Sequence[Program], now: datetime
) -> tuple[bool, bool]:
    """Return whether an event counts in the season around now, and in this year's cycles of its program."""
    steps = steps_in_force(history)
    if program is None or not steps:
        return False, False
    day = now.astimezone(program.zone).date()
    season = program.season_around(day)
    in_season = season is not None and season.overlap(steps[0].interval) is not None
    return in_season, program in limited and program.local_day(steps[0].interval).year == day.year


def cycled_out(
    fleet: FleetState, roster: Roster, program: Program, asked_ws: IntColumn, *, at: datetime
) -> BoolColumn:
    """Return a program's sites that were asked for all cycles of the year, under the terms of an instant.

    One cycle is what the pack holds for its owner, asked once. What was asked counts, not what was given:
    it is known at once and after a restart, and what a home was told to give it may still give.

    Args:
        fleet: By ``site_no``.
        roster: Of the same sites.
        program: With its editions.
        asked_ws: Watt-seconds that the program's events of the year asked of each site.
        at: Now.
    """
    terms = program.terms_on(at.astimezone(program.zone).date())
    if terms is None or terms.cap_cycles is None:
        return np.zeros(len(fleet), dtype=np.bool_)
    done_ws = terms.cap_cycles * 3600 * usable_wh(fleet.energy_full_wh)
    of_program = fleet.program_no == roster.programs.find(program.program_id)
    done: BoolColumn = of_program & (asked_ws >= done_ws)
    return done
