"""What an owner takes along as files: tables, and the calendar."""

from datetime import datetime
from http import HTTPStatus

from vpp.domain.grid_event import EventHistory, EventStatus
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.own_data import export_owner, key_of
from vpp.entrypoints.operations.owner import concerns, homes_of
from vpp.wire.calendar_file import CalendarEntry, write_calendar
from vpp.wire.own_tables import Rows, write_tables


async def own_tables(desk: Desk, *, owner_id: str) -> bytes:
    """Return everything of an owner as a zip of CSV tables."""
    return as_tables(await export_owner(desk, owner_id=owner_id))


def as_tables(found: Json) -> bytes:
    """Return an export as a zip of CSV tables."""
    statement, data = found["statement"], found["data"]
    assert isinstance(statement, dict)
    assert isinstance(data, dict)
    hours = [
        {"event_id": line["event_id"], "site_id": line["site_id"], **hour}
        | {"rate_usd_per_kwh": line["rate_usd_per_kwh"]}
        for line in statement["events"]
        for hour in line["hours"]
    ]
    tables = {
        "homes": _rows(data["homes"]),
        "consents": _rows(data["consents"]),
        "who-looked": _rows(data["reads"]),
        "events": _rows(found["events"]),
        "hours": hours,
        "ledger": _rows(statement["entries"]),
        "payouts": _rows(found["payouts"]),
        "opt-outs": _rows(found["opt_outs"]),
        "readings": _rows(found["readings"]),
        "notices": _rows(found["notices"]),
    }
    return write_tables(tables, at=datetime.fromisoformat(str(found["exported_at"])))


def _rows(value: object) -> Rows:
    assert isinstance(value, list)
    return value


async def calendar_by_secret(desk: Desk, *, secret: str) -> bytes:
    """Return the calendar of whoever holds the address. Raises OperationRefused 404 for a void one."""
    feed = await desk.store.calendar(key=key_of(secret))
    if feed is None:
        raise OperationRefused("There is no such calendar, or no more.", HTTPStatus.NOT_FOUND)
    contact = await desk.store.contact(feed.owner_id)
    language = Language(contact.language if contact else "en")
    homes = await homes_of(desk, feed.owner_id)
    found = [
        _entry(history, language)
        for history in await desk.store.histories()
        if any(concerns(home, history) for home in homes)
    ]
    entries = [entry for entry in found if entry is not None]
    return write_calendar(str(language("calendar.name")), sorted(entries, key=_starts_at))


def _entry(history: EventHistory, language: Language) -> CalendarEntry | None:
    """Return what a calendar shows of an event; None for one that never asked for anything."""
    latest = history.latest
    interval = next((each.interval for each in reversed(history.versions) if each.interval), None)
    if interval is None:
        return None
    return CalendarEntry(
        event_id=latest.event_id,
        starts_at=interval.starts_at,
        ends_at=interval.ends_at,
        changed_at=latest.committed_at,
        sequence=latest.version - 1,
        cancelled=latest.status is EventStatus.CANCELLED,
        summary=str(language("calendar.test" if latest.test else "calendar.event")),
        description=str(language("calendar.means")),
    )


def _starts_at(entry: CalendarEntry) -> datetime:
    return entry.starts_at
