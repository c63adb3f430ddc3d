"""Cross-check: whether counters and power samples of an event tell the same energy.

Where they do not, nobody knows which of the two is right, and a person decides whether the hour is BAD.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from vpp.domain.access import TrailEntry
from vpp.domain.delivery import counter_track
from vpp.domain.enrollment import Enrollment
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory, is_test
from vpp.domain.interval import Interval, from_epoch, to_epoch, whole_second
from vpp.domain.metered_hours import HOUR_S
from vpp.domain.power_integral import CrossCheck, PowerColumns, cross_check
from vpp.domain.program import MeterOfRecord, Program
from vpp.domain.quantities import IntColumn, WattHours, column
from vpp.domain.track_record import Asked, asked_of_sites, commands_in_order
from vpp.ports import Accounts, Books, Clock, DispatchStore, MeterStore, Registry

AT_ONCE = timedelta(minutes=5)
"""What a large fleet sampled is read for so long at a time: with all its columns a day does not fit."""
CHUNK_SITES = 2_000
NEAR_S = 60
"""How far beyond an hour a sample may lie that says something of its ends."""


class CrossCheckStore(Registry, DispatchStore, MeterStore, Books, Accounts, Protocol):
    """What counters and samples are read from, and where hours are refused."""


@dataclass(frozen=True, slots=True)
class RefutedHour:
    """A stretch of an hour in which the two differ; energies in Wh and thousandths of one."""

    site_id: str
    stretch: Interval
    counted_wh: WattHours
    integrated_mwh: int


async def doubt_counters(
    history: EventHistory, *, store: CrossCheckStore, programs: Mapping[str, Program], clock: Clock
) -> tuple[RefutedHour, ...]:
    """Return the hours of an event that is over in which power samples refute counters; nothing is changed.

    Somebody has to look at them. Samples are not signed, and of them only an opt-out touches a settlement:
    whoever speaks for a home could else take its pay. Only where the battery's counters are paid.
    """
    now, program = whole_second(clock.now()), programs.get(history.latest.program_id)
    asking = next((each.interval for each in reversed(history.versions) if each.interval), None)
    terms = None if program is None or asking is None else program.terms_on(program.local_day(asking))
    if terms is None or terms.meter is not MeterOfRecord.DEVICE or is_test(history):
        return ()
    if ended_at(history) > now:
        return ()
    return await _refuted(history, await store.enrollments(), store, now)


async def refuse_refuted(
    history: EventHistory,
    roster: Sequence[Enrollment],
    *,
    store: CrossCheckStore,
    now: datetime,
    actor: str,
    why: str = "",
    request_id: str = "",
) -> tuple[RefutedHour, ...]:
    """Make the hours of an event BAD in which a battery's power samples refute its counters, and return them.

    What its gateway read within such an hour is BAD from then on, so the hour pays nothing. Again changes
    nothing: an hour that is BAD is not compared. The trail keeps it, home by home.

    Args:
        history: The event.
        roster: Every enrolment, by ``site_no``.
        store: Where samples and readings are.
        now: What was told so far is compared.
        actor: Who the trail names.
        why: What they say about it.
        request_id: Of whoever asked for it.
    """
    refused = await _refuted(history, roster, store, now)
    if refused:
        about = f"counters refuted by power samples in {history.latest.event_id}"
        reason = ": ".join(part for part in (about, why) if part)[:500]
        await store.leave_trail(
            [
                TrailEntry(now, actor, "quarantine meters", f"site:{site_id}", reason, request_id)
                for site_id in dict.fromkeys(each.site_id for each in refused)
            ]
        )
        stretches = [(each.site_id, _inside(each.stretch)) for each in refused]
        await store.refuse_stretches(stretches, at=now)  # never without a name in the trail
    return refused


async def _refuted(
    history: EventHistory, roster: Sequence[Enrollment], store: CrossCheckStore, now: datetime
) -> tuple[RefutedHour, ...]:
    asked = await asked_in_event(store, history, len(roster), until=now)
    sites = asked.sites[asked.until_s[asked.sites] > asked.from_s[asked.sites]]
    found: list[RefutedHour] = []
    for hour_s in _hours_of(asked, sites).tolist() if len(sites) else ():
        window = Interval(from_epoch(hour_s - NEAR_S), from_epoch(hour_s + HOUR_S + NEAR_S))
        samples = await power_samples(store, asked, sites, window)
        for begins in range(0, len(sites) if len(samples.site) else 0, CHUNK_SITES):
            rows = sites[begins : begins + CHUNK_SITES]
            check = await compare(store, _ids(roster, rows), rows, asked, samples)
            told_twice = check.until_s - check.from_s > 2  # there is something between the ends
            found += (
                _refuted_hour(roster[int(rows[place])].site_id, check, place)
                for place in np.flatnonzero(check.refuted & told_twice).tolist()
            )
    return tuple(found)


def _hours_of(asked: Asked, sites: IntColumn) -> IntColumn:
    """Return the starts of the hours of UTC in which any of the sites was asked."""
    first_s, last_s = int(asked.from_s[sites].min()), int(asked.until_s[sites].max())
    return column(range(first_s // HOUR_S * HOUR_S, last_s, HOUR_S))


def _ids(roster: Sequence[Enrollment], sites: IntColumn) -> list[str]:
    return [roster[site_no].site_id for site_no in sites.tolist()]


def _refuted_hour(site_id: str, found: CrossCheck, place: int) -> RefutedHour:
    return RefutedHour(
        site_id,
        Interval(from_epoch(int(found.from_s[place])), from_epoch(int(found.until_s[place]))),
        WattHours(int(found.counted_wh[place])),
        int(found.integrated_mwh[place]),
    )


def _inside(stretch: Interval) -> Interval:
    """Return a stretch without its ends: the readings there belong to the hours beside it as well."""
    second = timedelta(seconds=1)
    return Interval(stretch.starts_at + second, stretch.ends_at - second)


async def asked_in_event(
    store: DispatchStore, history: EventHistory, sites: int, *, until: datetime
) -> Asked:
    """Return what an event asked of every site until a moment, from its ticks and plan revisions."""
    event_id = history.latest.event_id
    ticks, revisions = await store.event_ticks(event_id), await store.revisions(event_id)
    batches = commands_in_order(ticks, revisions, sites)
    return asked_of_sites(batches, sites, until_s=to_epoch(min(until, ended_at(history))))


async def power_samples(
    store: DispatchStore, asked: Asked, sites: IntColumn, window: Interval
) -> PowerColumns:
    """Return the stored samples of the sites within a window while they were asked, by their number."""
    first_s = np.maximum(asked.from_s, to_epoch(window.starts_at))
    last_s = np.minimum(asked.until_s, to_epoch(window.ends_at))
    found: list[tuple[IntColumn, IntColumn, IntColumn]] = []
    at = window.starts_at
    while at <= window.ends_at + AT_ONCE:  # a sample is stored with the tick after it
        for basis in await store.bases(since=at, until=at + AT_ONCE):
            of_tick = basis.samples
            site, at_s = of_tick.site_no, of_tick.sampled_at_s
            kept = np.flatnonzero(site < len(asked.from_s))
            kept = kept[
                np.isin(site[kept], sites)
                & (at_s[kept] >= first_s[site[kept]])
                & (at_s[kept] <= last_s[site[kept]])
            ]
            found.append((site[kept], at_s[kept], of_tick.battery_w[kept]))
        at += AT_ONCE
    if not found:
        return PowerColumns(_NOTHING, _NOTHING, _NOTHING)
    return PowerColumns(*(np.concatenate(each) for each in zip(*found, strict=True)))


_NOTHING = np.zeros(0, dtype=np.int64)


async def compare(
    store: MeterStore,
    site_ids: Sequence[str],
    rows: IntColumn,
    asked: Asked,
    samples: PowerColumns,
) -> CrossCheck:
    """Return the comparison for some sites, by their place among them; ``rows`` are in order."""
    window = Interval(from_epoch(int(asked.from_s[rows].min())), from_epoch(int(asked.until_s[rows].max())))
    readings = await store.readings(site_ids, [window])
    mine = np.flatnonzero(np.isin(samples.site, rows))
    placed = PowerColumns(
        np.searchsorted(rows, samples.site[mine]), samples.at_s[mine], samples.power_w[mine]
    )
    return cross_check(placed, counter_track(readings, MeterOfRecord.DEVICE), len(rows))
