"""How the season's burden was shared: of one home for its owner, of a whole program for everybody."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

import numpy as np

from vpp.domain.burden import Burden, jain_permille
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import EventHistory, is_test, steps_in_force
from vpp.domain.interval import Interval
from vpp.domain.program import Program
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.domain.track_record import Asked
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.paging import cursor_of, offset_at
from vpp.entrypoints.operations.records import delivered_by_sites
from vpp.stages.cross_check import asked_in_event

KEPT_FOR = timedelta(minutes=10)
INDEX_WORDS = (
    "Jain's index over the cycles of every home that is enrolled: 1 when all carry the same, "
    "one in as many as there are when one home carries everything"
)


@dataclass(frozen=True, slots=True)
class EventShare:
    """What one event asked of every site, and what those gave whose ``metered`` is true, in watt-hours."""

    history: EventHistory
    interval: Interval
    asked: Asked
    delivered_wh: IntColumn
    metered: BoolColumn

    @property
    def energy_wh(self) -> IntColumn:
        """Return what each site gave, or was asked where no meter says."""
        energy_wh: IntColumn = np.where(self.metered, self.delivered_wh, self.asked.watt_seconds // 3600)
        return energy_wh


@dataclass(frozen=True, slots=True)
class SeasonShare:
    """A program's season so far, as read at one moment; columns by ``site_no``."""

    read_at: datetime
    season: Interval
    shares: tuple[EventShare, ...]
    burden: Burden
    milli_cycles: IntColumn
    enrolled: BoolColumn

    @property
    def index_permille(self) -> int:
        """Return Jain's index over the cycles of the enrolled homes."""
        return jain_permille(self.milli_cycles[self.enrolled])


async def season_share(desk: Desk, program: Program) -> SeasonShare:
    """Return how a program's season, or the last one that began, was shared; ten minutes old at most."""
    now = desk.clock.now()
    kept = desk.live.seasons.get(program.program_id) if desk.live else None
    if isinstance(kept, SeasonShare) and now - kept.read_at < KEPT_FOR:
        return kept
    season = _season(program, now)
    roster = await desk.store.enrollments()
    shares = []
    for history in await desk.store.histories():
        steps = steps_in_force(history)
        if history.latest.program_id != program.program_id or not steps:
            continue
        interval = Interval(steps[0].interval.starts_at, steps[-1].interval.ends_at)
        if interval.overlap(season) is None or interval.starts_at > now:
            continue
        asked = await asked_in_event(desk.store, history, len(roster), until=now)
        delivered_wh, metered = await delivered_by_sites(desk.store, roster, asked)
        shares.append(EventShare(history, interval, asked, delivered_wh, metered))
    found = _added_up(now, season, shares, roster, program)
    if desk.live is not None:
        desk.live.seasons[program.program_id] = found
    return found


def _added_up(
    now: datetime,
    season: Interval,
    shares: Sequence[EventShare],
    roster: Sequence[Enrollment],
    program: Program,
) -> SeasonShare:
    burden = Burden.none(len(roster))
    for share in shares:
        if is_test(share.history):
            continue  # shown, and never counted
        burden = burden.with_event(share.asked.seconds, share.energy_wh)
    full_wh = np.array([each.full_energy_wh for each in roster], dtype=np.int64)
    enrolled = np.array(
        [each.program_id == program.program_id and each.withdrawn_at is None for each in roster],
        dtype=np.bool_,
    )
    in_order = tuple(sorted(shares, key=lambda each: (each.interval, each.history.latest.event_id)))
    return SeasonShare(now, season, in_order, burden, burden.milli_cycles(full_wh), enrolled)


def _season(program: Program, now: datetime) -> Interval:
    """Return the season of now, or the last one before. Raises OperationRefused where there is none."""
    day = now.astimezone(program.zone).date()
    for days_back in range(370):
        season = program.season_around(day - timedelta(days=days_back))
        if season is not None:
            return season
    raise OperationRefused(f"program {program.program_id} had no season in the last year")


def _program(desk: Desk, program_id: str) -> Program:
    program = desk.programs.get(program_id)
    if program is None:
        raise OperationRefused(
            f"program {program_id[:60]!r} is not known; {', '.join(desk.programs)} are", HTTPStatus.NOT_FOUND
        )
    return program


async def site_history(desk: Desk, *, site_id: str) -> Json:
    """Say what a home did this season, and how that compares with all homes of its program.

    Returns:
        ``site_id, program_id, time_zone, season_from, season_until``; ``events`` (count, no tests)``, hours``
        (asked), ``energy_wh`` (given, by its meter; what was asked where no meter says)``, cycles`` (of the
        pack)``, mean_cycles`` (of all enrolled homes)``, cap_hours`` (of one home; None without)``,
        fairness_index`` (0 to 1 in thousandths, of the program) and ``fairness_index_means``; ``rows``:
        ``event_id, name, starts_at, test, hours, asked_wh, delivered_wh`` (None where no meter says) for
        each event that asked it, tests too: these are shown and not counted.
    """
    enrollment = await desk.enrollment(site_id)
    found = await season_share(desk, _program(desk, enrollment.program_id))
    row = enrollment.site_no
    if row >= len(found.enrolled):
        raise OperationRefused(f"site {site_id} was enrolled a moment ago; ask again in ten minutes")
    rows: list[Json] = [
        {
            "event_id": share.history.latest.event_id,
            "name": share.history.latest.name,
            "starts_at": instant(share.interval.starts_at),
            "test": is_test(share.history),
            "hours": _hours(int(share.asked.seconds[row])),
            "asked_wh": int(share.asked.watt_seconds[row]) // 3600,
            "delivered_wh": int(share.delivered_wh[row]) if share.metered[row] else None,
        }
        for share in found.shares
        if share.asked.seconds[row]
    ]
    zone = desk.time_zone(enrollment.program_id)
    return _season_facts(found, enrollment.program_id) | {
        "site_id": site_id,
        "time_zone": zone,
        "events": int(found.burden.events[row]),
        "hours": _hours(int(found.burden.seconds[row])),
        "energy_wh": int(found.burden.energy_wh[row]),
        "cycles": round(int(found.milli_cycles[row]) / 1000, 3),
        "cap_hours": _cap_hours(desk),
        "rows": rows,
    }


async def own_seasons(desk: Desk, *, owner_id: str) -> list[Json]:
    """Return ``site_history`` of each home of an owner; a home of a program without seasons has none."""
    found = []
    for enrollment in await desk.store.enrollments(owner_ids=[owner_id]):
        with suppress(OperationRefused):
            found.append(await site_history(desk, site_id=enrollment.site_id))
    return found


async def show_fairness(desk: Desk, *, program_id: str, cursor: str = "", limit: int | None = 20) -> Json:
    """Say how a program's season was shared by its homes, with one published index.

    Args:
        program_id: The program.
        cursor: ``next_cursor`` of the page before.
        limit: At most this many homes; None takes all.

    Returns:
        ``program_id, name, time_zone, season_from, season_until, fairness_index`` (0 to 1 in thousandths)``,
        fairness_index_means, mean_cycles``; ``sites`` (enrolled)``, asked`` (of them, at least once)``,
        resting`` (of them, that did all that one home is asked for)``, cap_hours`` (of one home; None
        without)``, events, energy_wh``; ``cycles``: ``least, quarter, half, three_quarters, most`` of the
        enrolled homes; ``homes``: ``site_id, events, hours`` (asked)``, energy_wh`` (given)``, cycles,
        resting`` of each enrolled home, the most cycles first; ``next_cursor``.
    """
    program = _program(desk, program_id)
    found = await season_share(desk, program)
    rows = np.flatnonzero(found.enrolled)
    cycles = np.sort(found.milli_cycles[rows])
    names = ("least", "quarter", "half", "three_quarters", "most")
    places = [place * (len(cycles) - 1) // 4 for place in range(5)] if len(cycles) else []
    resting = _resting(desk, len(found.enrolled))
    first = offset_at(cursor) if cursor else 0
    last = len(rows) if limit is None else min(first + limit, len(rows))
    shown = rows[np.lexsort((rows, -found.milli_cycles[rows]))][first:last]
    roster = desk.live.controller.roster.enrollments if desk.live else await desk.store.enrollments()
    return _season_facts(found, program_id) | {
        "name": program.name,
        "time_zone": program.zone.key,
        "sites": len(rows),
        "asked": int((found.burden.events[rows] > 0).sum()),
        "resting": int(resting[rows].sum()),
        "cap_hours": _cap_hours(desk),
        "events": sum(not is_test(share.history) for share in found.shares),
        "energy_wh": int(found.burden.energy_wh[rows].sum()),
        "cycles": {name: int(cycles[at]) / 1000 for name, at in zip(names, places, strict=False)},
        "homes": [
            {
                "site_id": roster[row].site_id,
                "events": int(found.burden.events[row]),
                "hours": _hours(int(found.burden.seconds[row])),
                "energy_wh": int(found.burden.energy_wh[row]),
                "cycles": int(found.milli_cycles[row]) / 1000,
                "resting": bool(resting[row]),
            }
            for row in shown.tolist()
        ],
        "next_cursor": cursor_of(str(last)) if last < len(rows) else None,
    }


def _resting(desk: Desk, sites: int) -> BoolColumn:
    """Return the homes that no event asks any more this season or year; none before control has counted."""
    board = desk.live.controller.board if desk.live else None
    if desk.live is None or board is None:
        return np.zeros(sites, dtype=np.bool_)
    return board.season.reached(desk.live.controller.terms.site_season_cap_s, sites)


def _cap_hours(desk: Desk) -> int | None:
    cap_s = desk.live.controller.terms.site_season_cap_s if desk.live else None
    return None if cap_s is None else cap_s // 3600


def _season_facts(found: SeasonShare, program_id: str) -> Json:
    enrolled = int(found.enrolled.sum())
    mean = int(found.milli_cycles[found.enrolled].sum()) / max(enrolled, 1)
    return {
        "program_id": program_id,
        "season_from": instant(found.season.starts_at),
        "season_until": instant(found.season.ends_at),
        "fairness_index": found.index_permille / 1000,
        "fairness_index_means": INDEX_WORDS,
        "mean_cycles": round(mean / 1000, 3),
    }


def _hours(seconds: int) -> float:
    return round(seconds / 3600, 2)
