"""Whether counters and power samples of an event tell the same energy: for review, and for people to act."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus

import numpy as np

from vpp.domain.delivery import counter_track
from vpp.domain.grid_event import EventHistory
from vpp.domain.interval import Interval, from_epoch
from vpp.domain.power_integral import CrossCheck, PowerColumns, cross_check
from vpp.domain.program import MeterOfRecord, Terms
from vpp.domain.quantities import IntColumn
from vpp.domain.track_record import Asked
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.records import asked_in_event

AT_ONCE = timedelta(minutes=5)
"""What a large fleet sampled is read for so long at a time: all evening does not fit into memory."""
CHUNK_SITES = 2_000
MOST_NAMED = 1_000


async def check_meters(desk: Desk, *, event_id: str) -> Json:
    """Compare what a battery's counters say of an event with its own power samples, home by home.

    The power samples are those that were stored with the controller's ticks; counters are paid whatever
    comes out. A difference above 0.5 % and above 50 Wh means that one of the two is wrong: look at the
    home; ``vpp meter check EVENT --quarantine`` makes the hours BAD that no lost sample explains.

    Returns:
        ``event_id, agree, differ, unknown`` (numbers of homes; unknown: too few samples or readings);
        ``sites``, the first thousand that differ: ``site_id, starts_at, ends_at, counted_wh,
        integrated_wh`` (three decimals, as text)``, difference_wh``.
    """
    history = await desk.history(event_id)
    roster = await desk.store.enrollments()
    asked = await asked_in_event(desk.store, history, len(roster), until=desk.clock.now())
    sites = asked.sites[asked.until_s[asked.sites] > asked.from_s[asked.sites]]
    samples = await _samples(desk, asked, sites) if len(sites) else _NO_SAMPLES
    agree, differ, unknown = 0, 0, 0
    named: list[object] = []
    for begins in range(0, len(sites), CHUNK_SITES):
        rows = sites[begins : begins + CHUNK_SITES]
        found = await _checked(desk, [roster[row].site_id for row in rows.tolist()], rows, asked, samples)
        apart = np.flatnonzero(found.known & ~found.agrees)
        agree, differ = agree + int(found.agrees.sum()), differ + len(apart)
        unknown += int((~found.known).sum())
        named += [_facts(roster[int(rows[place])].site_id, found, place) for place in apart.tolist()]
    return {
        "event_id": event_id,
        "agree": agree,
        "differ": differ,
        "unknown": unknown,
        "sites": named[:MOST_NAMED],
    }


async def quarantine_meters(desk: Desk, *, event_id: str, actor: str) -> Json:
    """Stop believing a battery's counters in the hours of an event in which its power samples refute them.

    After a person has looked: what the meter read within such an hour is BAD from now on, so the hour pays
    nothing; nothing takes that back. An hour is refuted where the two differ by more than the half percent
    or 50 Wh of ``check_meters`` and what lost samples leave open. Again changes nothing. The trail keeps who
    did it, home by home.

    Returns:
        ``event_id`` and ``refused``: ``site_id, starts_at, ends_at, counted_wh, integrated_wh,
        difference_wh`` of each hour.

    Raises:
        OperationRefused: The event's program counts the grid meter, which no battery's power can refute.
    """
    history = await desk.history(event_id)
    terms = _terms(desk, history)
    if terms is None or terms.meter is not MeterOfRecord.DEVICE:
        raise OperationRefused(
            f"event {event_id} is not paid by the battery's counters, so its power samples refute nothing",
            HTTPStatus.CONFLICT,
        )
    roster = await desk.store.enrollments()
    asked = await asked_in_event(desk.store, history, len(roster), until=desk.clock.now())
    sites = asked.sites[asked.until_s[asked.sites] > asked.from_s[asked.sites]]
    samples = await _samples(desk, asked, sites) if len(sites) else _NO_SAMPLES
    refused: list[Json] = []
    stretches: list[tuple[str, Interval]] = []
    for begins in range(0, len(sites), CHUNK_SITES):
        rows = sites[begins : begins + CHUNK_SITES]
        site_ids = [roster[row].site_id for row in rows.tolist()]
        first_s, last_s = int(asked.from_s[rows].min()), int(asked.until_s[rows].max())
        for hour_s in range(first_s // HOUR_S * HOUR_S, last_s, HOUR_S):
            near = (samples.at_s >= hour_s - NEAR_S) & (samples.at_s <= hour_s + HOUR_S + NEAR_S)
            of_hour = PowerColumns(samples.site[near], samples.at_s[near], samples.power_w[near])
            found = await _checked(desk, site_ids, rows, asked, of_hour)
            told_twice = found.until_s - found.from_s > 2  # there is something between the ends
            for place in np.flatnonzero(found.refuted & told_twice).tolist():
                refused.append(_facts(site_ids[place], found, place))
                # The readings at its ends belong to the hours beside it as well.
                inside = Interval(
                    from_epoch(int(found.from_s[place]) + 1), from_epoch(int(found.until_s[place]) - 1)
                )
                stretches.append((site_ids[place], inside))
    homes = dict.fromkeys(site_id for site_id, _ in stretches)
    about = f"counters refuted by power samples in {event_id}"
    await desk.store.leave_trail(
        [desk.trail_entry(actor, "quarantine meters", f"site:{each}", about) for each in homes]
    )
    await desk.store.refuse_stretches(stretches, at=desk.clock.now())  # never without a name in the trail
    return {"event_id": event_id, "refused": list(refused)}


HOUR_S, NEAR_S = 3_600, 60


def _terms(desk: Desk, history: EventHistory) -> Terms | None:
    program = desk.programs.get(history.latest.program_id)
    asking = [each.interval for each in history.versions if each.interval is not None]
    return None if program is None or not asking else program.terms_on(program.local_day(asking[-1]))


_NOTHING = np.zeros(0, dtype=np.int64)
_NO_SAMPLES = PowerColumns(_NOTHING, _NOTHING, _NOTHING)


async def _samples(desk: Desk, asked: Asked, sites: IntColumn) -> PowerColumns:
    """Return the stored samples of the sites while they were asked, by their number."""
    first, last = from_epoch(int(asked.from_s[sites].min())), from_epoch(int(asked.until_s[sites].max()))
    found: list[tuple[IntColumn, IntColumn, IntColumn]] = []
    at = first
    while at <= last + AT_ONCE:  # a sample is stored with the tick after it
        for basis in await desk.store.bases(since=at, until=at + AT_ONCE):
            of_tick = basis.samples
            site, at_s = of_tick.site_no, of_tick.sampled_at_s
            known = site < len(asked.from_s)
            kept = np.flatnonzero(known)
            kept = kept[
                np.isin(site[kept], sites)
                & (at_s[kept] >= asked.from_s[site[kept]])
                & (at_s[kept] <= asked.until_s[site[kept]])
            ]
            found.append((site[kept], at_s[kept], of_tick.battery_w[kept]))
        at += AT_ONCE
    if not found:
        return _NO_SAMPLES
    return PowerColumns(*(np.concatenate(each) for each in zip(*found, strict=True)))


async def _checked(
    desk: Desk, site_ids: Sequence[str], rows: IntColumn, asked: Asked, samples: PowerColumns
) -> CrossCheck:
    """Return the comparison for some sites, by their place among them; ``rows`` are in order."""
    window = Interval(from_epoch(int(asked.from_s[rows].min())), from_epoch(int(asked.until_s[rows].max())))
    readings = await desk.store.readings(site_ids, [window])
    mine = np.flatnonzero(np.isin(samples.site, rows))
    placed = PowerColumns(
        np.searchsorted(rows, samples.site[mine]), samples.at_s[mine], samples.power_w[mine]
    )
    return cross_check(placed, counter_track(readings, MeterOfRecord.DEVICE), len(rows))


def _facts(site_id: str, found: CrossCheck, place: int) -> Json:
    counted_wh, thousandths = int(found.counted_wh[place]), int(found.integrated_mwh[place])
    return {
        "site_id": site_id,
        "starts_at": instant(from_epoch(int(found.from_s[place]))),
        "ends_at": instant(from_epoch(int(found.until_s[place]))),
        "counted_wh": counted_wh,
        "integrated_wh": str(Decimal(thousandths) / 1000),
        "difference_wh": str(Decimal(counted_wh * 1000 - thousandths) / 1000),
    }
