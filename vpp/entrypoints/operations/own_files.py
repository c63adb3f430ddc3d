"""What an owner takes along as files: tables, and the calendar."""

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from zoneinfo import ZoneInfo

import numpy as np

from vpp.domain.delivery import QUALITY_CODES, ReadingColumns, counter_track, net_energy
from vpp.domain.enrollment import Enrollment, OptOut
from vpp.domain.grid_event import EventHistory, EventStatus, GridEvent, is_test
from vpp.domain.interval import Interval, whole_second
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import IntColumn
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.events import authorized_now, event_state
from vpp.entrypoints.operations.own_data import METER_FROM, export_owner, key_of
from vpp.entrypoints.operations.owner import concerns, homes_of
from vpp.entrypoints.operations.staff_reads import ON_THE_COMMAND_LINE, homes_for
from vpp.entrypoints.operations.starting import means
from vpp.entrypoints.operations.statement_rows import hour_rows
from vpp.wire.calendar_file import CalendarEntry, write_calendar
from vpp.wire.green_button import EnergyHour, write_green_button
from vpp.wire.own_tables import Rows, write_tables

HOUR_S = 3600
OF_BOOKS = ("hours", "periods", "powers", "ledger", "payouts")


async def own_tables(desk: Desk, *, owner_id: str) -> bytes:
    """Return everything of an owner as a zip of CSV tables."""
    return as_tables(await export_owner(desk, owner_id=owner_id))


def as_tables(found: Json) -> bytes:
    """Return an export as a zip of CSV tables; ``left-out`` names those that cannot be made now, and why."""
    data = found["data"]
    assert isinstance(data, dict)
    tables = {
        "homes": _rows(data["homes"]),
        "consents": _rows(data["consents"]),
        "who-looked": _rows(data["reads"]),
        "events": _rows(found["events"]),
        **_tables_of_books(found),
        "opt-outs": _rows(found["opt_outs"]),
        "questions": _words(_rows(found["questions"])),
        "readings": _rows(found["readings"]),
        "notices": _rows(found["notices"]),
    }
    at, zone = datetime.fromisoformat(str(found["exported_at"])), ZoneInfo(str(found["time_zone"]))
    return write_tables(tables, at=at, zone=zone)


def _tables_of_books(found: Json) -> dict[str, Rows]:
    statement = found["statement"]
    if statement is None:
        return {"left-out": [{"table": name, "why": found["differs"]} for name in OF_BOOKS]}
    assert isinstance(statement, dict)
    hours = [row for line in statement["events"] if line["hours"] for row in hour_rows(line)]
    periods = _rows(statement["periods"])
    tables = (
        hours,
        [{name: said for name, said in each.items() if name != "parts"} for each in periods],
        _powers(periods),
        _rows(statement["entries"]),
        _rows(found["payouts"]),
    )
    return dict(zip(OF_BOOKS, tables, strict=True))


def _powers(periods: Rows) -> Rows:
    """Return the powers that months and seasons average, one row each."""
    return [
        {"period": each["period"], "site_id": each["site_id"], **part}
        for each in periods
        for part in _rows(each["parts"])
    ]


def _words(questions: Rows) -> Rows:
    """Return what was asked about money and answered, one row for each word."""
    return [
        {"about": each["period"], "state": each["state"], **word}
        for each in questions
        for word in _rows(each["words"])
    ]


def _rows(value: object) -> Rows:
    assert isinstance(value, list)
    return value


async def green_button(desk: Desk, *, owner_id: str) -> bytes:
    """Return every hour of the owner's batteries that was metered or can be estimated, as Green Button."""
    homes = await homes_of(desk, owner_id)
    now = whole_second(desk.clock.now())
    ids = [home.site_id for home in homes]
    readings = await desk.store.readings(ids, [Interval(METER_FROM, now + timedelta(hours=1))])
    found = [(site_id, _hours(readings, place)) for place, site_id in enumerate(ids)]
    return write_green_button(found, at=now)


async def read_green_button(
    desk: Desk, *, owner_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE
) -> Json:
    """Return every metered hour of an owner's batteries as Green Button, for staff who say why.

    Returns:
        ``owner_id``, and ``green_button``: the Atom feed as text.
    """
    await homes_for(desk, owner_id, actor, reason, "read battery energy")
    return {"owner_id": owner_id, "green_button": (await green_button(desk, owner_id=owner_id)).decode()}


def _hours(readings: ReadingColumns, site: int) -> list[EnergyHour]:
    at_s = readings.at_s[readings.site == site]
    if not len(at_s):
        return []
    starts_s = np.arange(int(at_s.min()) // HOUR_S, -(-int(at_s.max()) // HOUR_S), dtype=np.int64) * HOUR_S
    nothing = np.zeros(len(readings), dtype=np.int64)
    # One counter at a time: the difference of both would hide an hour that gave and took.
    gave, quality = _energy(replace(readings, charged_wh=nothing), site, starts_s)
    took_in, _ = _energy(replace(readings, discharged_wh=nothing), site, starts_s)
    words = [QUALITY_CODES[code].value for code in quality.tolist()]
    rows = zip(starts_s.tolist(), gave.tolist(), (-took_in).tolist(), words, strict=True)
    return [EnergyHour(*row) for row in rows if row[3] in ("OK", "ESTIMATED")]


def _energy(readings: ReadingColumns, site: int, starts_s: IntColumn) -> tuple[IntColumn, IntColumn]:
    track = counter_track(readings, MeterOfRecord.DEVICE)
    return net_energy(track, np.full(len(starts_s), site, dtype=np.int64), starts_s, starts_s + HOUR_S)


async def calendar_by_secret(desk: Desk, *, secret: str) -> bytes:
    """Return the calendar of whoever holds the address. Raises OperationRefused 404 for a void one."""
    feed = await desk.store.calendar(key=key_of(secret))
    if feed is None:
        raise OperationRefused("There is no such calendar, or no more.", HTTPStatus.NOT_FOUND)
    contact = await desk.store.contact(feed.owner_id)
    language = Language(contact.language if contact else "en")
    homes = await homes_of(desk, feed.owner_id)
    asked = [
        (
            history,
            {home.site_id for home in homes if concerns(home, history) and _was_meant(desk, home, history)},
        )
        for history in await desk.store.histories()
    ]
    left_out = {
        history.latest.event_id
        for history, mine in asked
        if not any(home.site_id in mine and means(desk, _asking(history)[-1], home) for home in homes)
    }
    ids = [history.latest.event_id for history, mine in asked if mine]
    said: dict[str, list[OptOut]] = {event_id: [] for event_id in ids}
    for each in await desk.store.opt_outs(ids):
        said[each.event_id].append(each)
    authorized = await authorized_now(desk)
    found = [
        _entry(
            history,
            mine,
            [each for each in said[history.latest.event_id] if each.site_id in mine],
            language,
            left_out=history.latest.event_id in left_out,
            waits=_waits(history, desk.clock.now(), authorized.get(history.latest.event_id)),
        )
        for history, mine in asked
        if mine
    ]
    entries = [entry for entry in found if entry is not None]
    return write_calendar(str(language("calendar.name")), sorted(entries, key=_starts_at))


def _asking(history: EventHistory) -> Sequence[GridEvent]:
    """Return the versions that asked for something; a cancel names no homes. All where none did."""
    return [each for each in history.versions if each.interval is not None] or history.versions


def _was_meant(desk: Desk, home: Enrollment, history: EventHistory) -> bool:
    return any(means(desk, version, home) for version in _asking(history))


def _waits(history: EventHistory, now: datetime, authorized_w: int | None) -> bool:
    """Return whether somebody must still confirm an event; one that nobody ever forced waits for good."""
    interval = history.latest.interval
    at = now if interval is None else min(now, interval.starts_at)
    return event_state(history, at, authorized_w=authorized_w).startswith("waiting")


def _entry(
    history: EventHistory,
    mine: Set[str],
    said: Sequence[OptOut],
    language: Language,
    *,
    left_out: bool,
    waits: bool,
) -> CalendarEntry | None:
    """Return what a calendar shows of an event; None for one that never asked for anything.

    For an owner whose homes all opted out it is cancelled, until one takes that back, and so it is for one
    whose homes are ``left_out`` by now.
    """
    latest = history.latest
    interval = next((each.interval for each in reversed(history.versions) if each.interval), None)
    if interval is None:
        return None
    taken_back = [each.taken_back_at for each in said if each.taken_back_at is not None]
    out = mine <= {each.site_id for each in said if each.taken_back_at is None}
    cancelled = latest.status is EventStatus.CANCELLED
    if out and not cancelled:
        summary = "calendar.out_test" if is_test(history) else "calendar.out_event"
    else:
        summary = "calendar.test" if is_test(history) else "calendar.event"
    return CalendarEntry(
        event_id=latest.event_id,
        starts_at=interval.starts_at,
        ends_at=interval.ends_at,
        changed_at=max(
            [
                latest.committed_at,
                *taken_back,
                *(each.opted_out_at for each in said),
                *(each.granted_at for each in history.grants),
            ]
        ),
        sequence=latest.version - 1 + len(said) + len(taken_back) + len(history.grants),
        cancelled=cancelled or out or left_out,
        tentative=waits,
        summary=str(language(summary)),
        description=str(language("calendar.means")),
    )


def _starts_at(entry: CalendarEntry) -> datetime:
    return entry.starts_at
