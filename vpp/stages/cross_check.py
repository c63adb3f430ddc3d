"""Cross-check: whether counters and power samples of an event tell the same energy.

Where they do not, nobody knows which of the two is right, and a person decides whether the hour is BAD.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
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
from vpp.domain.quantities import IntColumn, WattHours
from vpp.domain.track_record import Asked, asked_of_sites, commands_in_order
from vpp.money_ports import Books
from vpp.ports import Accounts, Clock, DispatchStore, MeterStore, Registry

AT_ONCE = timedelta(minutes=1)
"""What a large fleet sampled is read for so long at a time: control waits for it in the same loop."""
CHUNK_SITES = 2_000
LATEST_TICK = timedelta(minutes=5)
"""A sample is stored with the tick after it."""
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
    found: list[RefutedHour] = []
    for hour_s in _hours_of(asked.span) if asked.span else ():
        window = Interval(from_epoch(hour_s - NEAR_S), from_epoch(hour_s + HOUR_S + NEAR_S))
        async for rows, check in compare(store, roster, asked, window):
            told_twice = check.until_s - check.from_s > 2  # there is something between the ends
            found += (
                _refuted_hour(roster[int(rows[place])].site_id, check, place)
                for place in np.flatnonzero(check.refuted & told_twice).tolist()
            )
    return tuple(found)


def _hours_of(span: Interval) -> range:
    """Return the starts of the hours of UTC that a span touches."""
    return range(to_epoch(span.starts_at) // HOUR_S * HOUR_S, to_epoch(span.ends_at), HOUR_S)


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


async def compare(
    store: CrossCheckStore, roster: Sequence[Enrollment], asked: Asked, window: Interval
) -> AsyncIterator[tuple[IntColumn, CrossCheck]]:
    """Yield the comparison of the sites that were asked, a few thousand at a time, with their numbers.

    Args:
        store: Where samples and readings are.
        roster: Every enrolment, by ``site_no``.
        asked: What the event asked of every site: samples count within it.
        window: Samples of this time count.
    """
    sites = asked.sites
    chunks = [sites[begins : begins + CHUNK_SITES] for begins in range(0, len(sites), CHUNK_SITES)]
    for rows, samples in zip(chunks, await _power_samples(store, asked, chunks, window), strict=True):
        site_ids = [roster[site_no].site_id for site_no in rows.tolist()]
        readings = await store.readings(site_ids, [window])
        yield rows, cross_check(samples, counter_track(readings, MeterOfRecord.DEVICE), len(rows))


async def _power_samples(
    store: DispatchStore, asked: Asked, chunks: Sequence[IntColumn], window: Interval
) -> list[PowerColumns]:
    """Return the stored samples within a window while sites were asked: for each chunk, by place in it."""
    first_s = np.maximum(asked.from_s, to_epoch(window.starts_at))
    last_s = np.minimum(asked.until_s, to_epoch(window.ends_at))
    found: list[list[PowerColumns]] = [[] for _ in chunks]
    at = window.starts_at
    while at <= window.ends_at + LATEST_TICK:
        for basis in await store.bases(since=at, until=at + AT_ONCE):
            of_tick = basis.samples  # in the order of their sites
            asked_then = of_tick.site_no < len(first_s)
            site, at_s = of_tick.site_no[asked_then], of_tick.sampled_at_s[asked_then]
            inside = (at_s >= first_s[site]) & (at_s <= last_s[site])
            site, at_s, power_w = site[inside], at_s[inside], of_tick.battery_w[asked_then][inside]
            for rows, mine in zip(chunks, found, strict=True):
                among = slice(*np.searchsorted(site, (rows[0], rows[-1] + 1)).tolist())
                place = np.minimum(np.searchsorted(rows, site[among]), len(rows) - 1)
                known = rows[place] == site[among]
                mine.append(PowerColumns(place[known], at_s[among][known], power_w[among][known]))
        at += AT_ONCE
    return [_joined(each) for each in found]


def _joined(parts: Sequence[PowerColumns]) -> PowerColumns:
    columns = zip(*((each.site, each.at_s, each.power_w) for each in parts), strict=True)
    joined = [np.concatenate(each) for each in columns] or [_NOTHING] * 3
    return PowerColumns(*joined)


_NOTHING = np.zeros(0, dtype=np.int64)
