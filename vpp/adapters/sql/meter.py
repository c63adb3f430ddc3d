"""Meter evidence in the database, in bulk: columns in, columns out."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import Asked, insert_new, insert_or_replace
from vpp.adapters.sql.engine import Database, to_us
from vpp.adapters.sql.meter_hours import (
    BAD,
    COUNTERS,
    DOUBTED,
    changed_since,
    newest_before,
    read_hours,
    write_hours,
)
from vpp.adapters.sql.meter_sources import (
    Boot,
    contested,
    left_out,
    reading_faults,
    refuse,
    wider_spans,
    write_contested,
)
from vpp.adapters.sql.registry import SqlRegistry
from vpp.adapters.sql.tables import (
    ContestedSpanRow,
    DayWordRow,
    DoubtedReadingRow,
    MeterBootRow,
    MeterReadingRow,
    table_of,
)
from vpp.domain.delivery import (
    NOT_METERED,
    QUALITY_CODES,
    MeterMessage,
    MeterReading,
    MeterReceipt,
    Quality,
    ReadingColumns,
    ReadingFault,
)
from vpp.domain.interval import Interval, from_epoch, to_epoch
from vpp.domain.meter_source import BESIDE_OTHERS, IMPORT_BOOT, BootSpan, Contested
from vpp.domain.metered_hours import HOUR_S, HourEnergies, NewReadings
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import IntColumn, WattHours, column, flags

_USABLE = QUALITY_CODES.index(Quality.ESTIMATED)  # this code and those below pay

# SQLite takes CROSS JOIN in the order written: for each site and span one stretch of the time index.
_ASKED = (
    "FROM site CROSS JOIN span CROSS JOIN {table} r"
    " WHERE r.site_id = site.site_id AND r.at_s BETWEEN span.starts_s AND span.ends_s"
)


class SqlMeter(SqlRegistry):
    """The meters' part of the store; it knows the registry, because data follows consent."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._meter_database = database

    async def append(self, messages: Sequence[MeterMessage], *, at: datetime) -> Sequence[MeterReceipt]:
        """Store readings and return, after the commit, how far each boot's readings are complete.

        Keyed (site_id, boot_id, index): the same again changes nothing, another value keeps both and
        marks the reading BAD. One receipt for each (site, boot) of the messages, in their order.

        Raises:
            NotEnrolled: A site has no enrolment; nothing of the batch is stored.
        """
        readings = list(chain.from_iterable(message.readings for message in messages))
        columns = _reading_columns(readings, received_at_us=to_us(at))
        async with self._meter_database.write(ordered=False) as session:
            site_ids = sorted({message.site_id for message in messages})
            await self._require_enrolled(session, site_ids)
            before = await newest_before(session, site_ids)
            new = await insert_new(session, table_of(MeterReadingRow), columns)
            doubted = await _keep_doubted(session, readings, columns) if new < len(readings) else []
            through, was, spans = await _advance(session, messages)
            contest = await write_contested(session, was, spans, received_at_us=to_us(at))
            if new or doubted or contest:
                reached = [*doubted, *_hourly(contest)]
                await write_hours(session, site_ids, _reached(site_ids, columns, reached), before, at)
        return [MeterReceipt(site_id, boot_id, index) for (site_id, boot_id), index in through.items()]

    async def readings(
        self, site_ids: Sequence[str], intervals: Sequence[Interval], *, before: datetime | None = None
    ) -> ReadingColumns:
        """Return readings with ``starts_at <= at <= ends_at`` of any interval, by site and time.

        ``site`` is the position in ``site_ids``. A reading whose key holds two values comes twice, BAD.
        Imported ones are left out from when the site's own gateway began. With ``before``, as if nothing
        had been received since then.
        """
        spans = _merged(intervals)
        lists: dict[str, dict[str, Sequence[Any]]] = {
            "site": {"place": range(len(site_ids)), "site_id": site_ids},
            "span": {"starts_s": [low for low, _ in spans], "ends_s": [high for _, high in spans]},
        }
        known = "" if before is None else f" AND {{}}.received_at_us < {to_us(before)}"
        in_doubt = f"({DOUBTED[:-1]}{known.format('d')}) OR {contested('r', known.format('c'))})"
        first, further = (
            f"{_ASKED.format(table=table)}{known.format('r')} AND NOT {left_out('r', known.format('c'))}"
            for table in ("meter_reading", "doubted_reading")
        )
        statement = (
            f"SELECT site.place, r.at_s, {COUNTERS}, CASE WHEN {in_doubt} THEN {BAD} ELSE r.quality END"
            f" {first} UNION ALL"
            f" SELECT site.place, r.at_s, {COUNTERS}, {BAD} {further}"
        )
        async with self._meter_database.read() as session:
            table = await Asked(session, lists).columns(statement, 7)
        # Sorted here, whole rows, so that equal times come in one order on every engine.
        order = np.lexsort(table[::-1])
        return ReadingColumns(*(column(each[order]) for each in table))

    async def hour_energies(
        self, site_ids: Sequence[str], starts_s: IntColumn, meter: MeterOfRecord
    ) -> HourEnergies:
        """Return net energy of whole hours of UTC, as computed from everything stored so far.

        ``starts_s`` ascends, each a full hour in seconds since 1970; sites in the order given.
        """
        async with self._meter_database.read() as session:
            return await read_hours(session, site_ids, starts_s, meter)

    async def sites_changed_since(
        self, site_ids: Sequence[str], starts_s: IntColumn, since: datetime
    ) -> IntColumn:
        """Return the positions of the sites of which a reading received since then may touch these hours."""
        async with self._meter_database.read() as session:
            return await changed_since(session, site_ids, starts_s, since_us=to_us(since))

    async def newest_reading_at(self, site_ids: Sequence[str]) -> Mapping[str, datetime]:
        """Return the time of each site's newest usable reading; sites without any are absent."""
        lists: dict[str, dict[str, Sequence[Any]]] = {
            "site": {"place": range(len(site_ids)), "site_id": site_ids}
        }
        statement = (
            "SELECT site.place, COALESCE((SELECT r.at_s FROM meter_reading r WHERE r.site_id = site.site_id"
            f" AND r.quality <= {_USABLE} AND NOT {DOUBTED} AND NOT {contested('r')}"
            " ORDER BY r.at_s DESC LIMIT 1), 0) FROM site"
        )
        async with self._meter_database.read() as session:
            places, newest_s = await Asked(session, lists).columns(statement, 2)
        found = dict(zip(places.tolist(), newest_s.tolist(), strict=True))
        return {site_id: from_epoch(found[place]) for place, site_id in enumerate(site_ids) if found[place]}

    async def own_readings_since(self, site_ids: Sequence[str]) -> Mapping[str, datetime]:
        """Return when the readings of each site's own gateways begin; sites without any are absent."""
        async with self._meter_database.read() as session:
            rows = await Asked(session, {"site": {"site_id": site_ids}}).rows(
                "SELECT b.site_id, MIN(b.first_s) FROM site JOIN meter_boot b ON b.site_id = site.site_id"
                f" WHERE b.boot_id <> '{IMPORT_BOOT}' AND b.first_s IS NOT NULL GROUP BY b.site_id"
            )
        return {site_id: from_epoch(first_s) for site_id, first_s in rows}

    async def contested_since(self, since: datetime) -> Mapping[ReadingFault, Sequence[str]]:
        """Return, by reason, the sites whose boots were found since then not to count beside each other."""
        row = ContestedSpanRow
        asked = select(row.reason, row.site_id).where(row.received_at_us >= to_us(since)).distinct()
        async with self._meter_database.read() as session:
            rows = sorted((await session.exec(asked)).all())
        return {reason: [site_id for why, site_id in rows if why == reason] for reason in BESIDE_OTHERS}

    async def refuse_stretches(self, stretches: Sequence[tuple[str, Interval]], *, at: datetime) -> None:
        """Make what gateways read at those sites then BAD, both ends included, with what follows from it.

        Of the boots that have spoken then; again changes nothing, and nothing takes it back.
        """
        site_ids = sorted({site_id for site_id, _ in stretches})
        nothing: dict[str, list[Any]] = {"site_id": [], "at_s": [], "quality": []}
        async with self._meter_database.write(ordered=False) as session:
            before = await newest_before(session, site_ids)
            refused = await refuse(session, stretches, received_at_us=to_us(at))
            if refused:
                reached = _reached(site_ids, nothing, _hourly(refused))
                await write_hours(session, site_ids, reached, before, at)

    async def reading_faults(
        self, site_id: str, interval: Interval, *, before: datetime | None = None
    ) -> Mapping[datetime, ReadingFault]:
        """Return why readings of a site in an interval (both ends included) are BAD, by their instant.

        Those that came BAD without a reason of ours are left out. With ``before``, as known until then.
        """
        async with self._meter_database.read() as session:
            rows = await reading_faults(
                session, site_id, *_merged([interval])[0], None if before is None else to_us(before)
            )
        return {from_epoch(at_s): ReadingFault(why) for at_s, why in rows}

    async def exclude_day(self, site_id: str, day: date, reason: str, *, at: datetime) -> None:
        """Keep a local day out of a site's baselines; ``*`` names every site. What stands stays."""
        async with self._meter_database.write() as session:
            await _say_of_day(session, site_id, day, reason, at)

    async def include_day(self, site_id: str, day: date, *, at: datetime) -> None:
        """Let a day count again that was kept out under that name, from then on; what was said stays."""
        async with self._meter_database.write() as session:
            await _say_of_day(session, site_id, day, None, at)

    async def excluded_days(self, *, before: datetime | None = None) -> Sequence[tuple[str, date, str]]:
        """Return (site id or ``*``, local day, reason), sorted; with ``before``, as it stood until then."""
        asked = select(DayWordRow).order_by(col(DayWordRow.said_at_us))
        if before is not None:
            asked = asked.where(DayWordRow.said_at_us < to_us(before))
        async with self._meter_database.read() as session:
            words = (await session.exec(asked)).all()
        standing = {(each.site_id, date.fromisoformat(each.day)): each.reason for each in words}
        return sorted((*of_day, reason) for of_day, reason in standing.items() if reason is not None)


async def _say_of_day(
    session: AsyncSession, site_id: str, day: date, reason: str | None, at: datetime
) -> None:
    """Append what is said of a day where it says something new; two words are in order of time."""
    of_day = (
        select(DayWordRow)
        .where(DayWordRow.site_id == site_id, DayWordRow.day == day.isoformat())
        .order_by(col(DayWordRow.said_at_us).desc())
    )
    last = (await session.exec(of_day)).first()
    if (last is not None and last.reason is not None) == (reason is not None):
        return
    said_at_us = max(to_us(at), last.said_at_us + 1 if last else to_us(at))
    word: dict[str, Sequence[Any]] = {
        "site_id": [site_id], "day": [day.isoformat()], "said_at_us": [said_at_us], "reason": [reason]
    }  # fmt: skip
    await insert_new(session, table_of(DayWordRow), word)


def _reading_columns(readings: Sequence[MeterReading], *, received_at_us: int) -> dict[str, list[Any]]:
    return {
        "site_id": [each.site_id for each in readings],
        "boot_id": [each.boot_id for each in readings],
        "reading_index": [each.index for each in readings],
        "at_s": [to_epoch(each.at) for each in readings],
        "discharged_wh": [_battery(each.discharged_wh) for each in readings],
        "charged_wh": [_battery(each.charged_wh) for each in readings],
        "soc_permille": [each.soc_permille for each in readings],
        "imported_wh": [each.imported_wh for each in readings],
        "exported_wh": [each.exported_wh for each in readings],
        "quality": [QUALITY_CODES.index(each.quality) for each in readings],
        "reason": [each.reason for each in readings],
        "received_at_us": [received_at_us] * len(readings),
    }


def _battery(counter: WattHours | None) -> int:
    """Return a battery's counter for its column, which takes no NULL."""
    return NOT_METERED if counter is None else counter


def _reached(
    site_ids: Sequence[str], columns: Mapping[str, list[Any]], doubted: Sequence[tuple[str, int]]
) -> NewReadings:
    """Return when the readings of a batch were taken, with both values of each that is in doubt now."""
    place = {site_id: number for number, site_id in enumerate(site_ids)}
    return NewReadings(
        site=column([place[each] for each in (*columns["site_id"], *(site_id for site_id, _ in doubted))]),
        at_s=column([*columns["at_s"], *(at_s for _, at_s in doubted)]),
        bad=flags([*(each == BAD for each in columns["quality"]), *(True for _ in doubted)]),
    )


def _hourly(contest: Iterable[tuple[str, Contested]]) -> list[tuple[str, int]]:
    """Return site and time of an instant in each hour that lies in a stretch."""
    return [
        (site_id, at_s)
        for site_id, each in contest
        for at_s in (*range(each.from_s, each.until_s, HOUR_S), each.until_s)
    ]


def _measured(reading: MeterReading) -> tuple[int | None, ...]:
    """Return what the meter said; our judgement of it is not part of the value."""
    return (
        to_epoch(reading.at), _battery(reading.discharged_wh), _battery(reading.charged_wh),
        reading.soc_permille, reading.imported_wh, reading.exported_wh,
    )  # fmt: skip


async def _keep_doubted(
    session: AsyncSession, readings: Sequence[MeterReading], columns: Mapping[str, list[Any]]
) -> list[tuple[str, int]]:
    """Keep each value that differs from the first one stored under its key.

    Returns site and time of all values that came into doubt, the first ones included.
    """
    lowest: dict[Boot, int] = {}
    highest: dict[Boot, int] = {}
    for reading in readings:
        boot = (reading.site_id, reading.boot_id)
        lowest[boot] = min(lowest.get(boot, reading.index), reading.index)
        highest[boot] = max(highest.get(boot, reading.index), reading.index)
    asked: dict[str, Sequence[Any]] = {
        "site_id": [site_id for site_id, _ in lowest],
        "boot_id": [boot_id for _, boot_id in lowest],
        "low": list(lowest.values()),
        "high": list(highest.values()),
    }
    rows = await Asked(session, {"asked": asked}).rows(
        "SELECT r.site_id, r.boot_id, r.reading_index, r.at_s, r.discharged_wh, r.charged_wh,"
        " r.soc_permille, r.imported_wh, r.exported_wh FROM asked JOIN meter_reading r"
        " ON r.site_id = asked.site_id AND r.boot_id = asked.boot_id"
        " AND r.reading_index BETWEEN asked.low AND asked.high"
    )
    stored = {(row[0], row[1], row[2]): tuple(row[3:]) for row in rows}
    differing = [
        place
        for place, each in enumerate(readings)
        if stored[(each.site_id, each.boot_id, each.index)] != _measured(each)
    ]
    doubted = {name: [values[place] for place in differing] for name, values in columns.items()}
    doubted["value_sha256"] = [
        hashlib.sha256(repr(_measured(readings[place])).encode()).hexdigest() for place in differing
    ]
    await insert_new(session, table_of(DoubtedReadingRow), doubted)
    in_doubt = [readings[place] for place in differing]
    first = [(each.site_id, stored[each.site_id, each.boot_id, each.index][0]) for each in in_doubt]
    return [*first, *((each.site_id, to_epoch(each.at)) for each in in_doubt)]


async def _advance(
    session: AsyncSession, messages: Sequence[MeterMessage]
) -> tuple[dict[Boot, int], dict[Boot, BootSpan | None], dict[Boot, BootSpan]]:
    """Return and store how far each boot's readings are complete from its oldest index on.

    With the boots' spans before, and now.
    """
    oldest: dict[Boot, int] = {}
    indices: dict[Boot, set[int]] = {}
    for message in messages:
        boot = (message.site_id, message.boot_id)
        # It only rises within a boot, so of messages out of order the highest is the newest.
        oldest[boot] = max(oldest.get(boot, message.oldest_index), message.oldest_index)
        indices.setdefault(boot, set()).update(each.index for each in message.readings)
    marks = await _marks(session, oldest)
    runs: dict[Boot, tuple[int, int]] = {}
    highest: dict[Boot, int] = {}
    unsure: dict[Boot, int] = {}
    for boot, wanted in oldest.items():
        mark = marks.get(boot, _Mark(wanted, wanted - 1, wanted - 1, None))
        run_from, run_through, known_highest = mark.run_from, mark.run_through, mark.highest
        if not run_from <= wanted <= run_through + 1:
            run_from, run_through = wanted, wanted - 1
        while run_through + 1 in indices[boot]:
            run_through += 1
        runs[boot] = (run_from, run_through)
        highest[boot] = max(known_highest, run_through, *indices[boot], 0)
        if known_highest > run_through:
            unsure[boot] = run_through
    for boot, through in (await _runs_beyond(session, unsure)).items():
        runs[boot] = (runs[boot][0], through)
    was = {boot: marks[boot].span if boot in marks else None for boot in oldest}
    spans = wider_spans(messages, was)
    await _store_marks(session, runs, highest, spans)
    return {boot: runs[boot][1] for boot in oldest}, was, spans


class _Mark(NamedTuple):
    """What was known of a boot: the run that is complete, its highest index, and when it spoke."""

    run_from: int
    run_through: int
    highest: int
    span: BootSpan | None


def _boots(boots: Iterable[Boot]) -> dict[str, Sequence[Any]]:
    pairs = list(boots)
    return {"site_id": [site_id for site_id, _ in pairs], "boot_id": [boot_id for _, boot_id in pairs]}


async def _marks(session: AsyncSession, boots: Iterable[Boot]) -> dict[Boot, _Mark]:
    locking = "" if session.get_bind().dialect.name == "sqlite" else "ORDER BY 1, 2 FOR UPDATE OF b"
    rows = await Asked(session, {"asked": _boots(boots)}).rows(
        "SELECT b.site_id, b.boot_id, b.run_from, b.run_through, b.highest_index,"
        " b.first_s, b.last_s FROM asked"
        f" JOIN meter_boot b ON b.site_id = asked.site_id AND b.boot_id = asked.boot_id {locking}"
    )
    return {
        (site_id, boot_id): _Mark(
            run_from, run_through, highest, None if first_s is None else BootSpan(first_s, last_s)
        )
        for site_id, boot_id, run_from, run_through, highest, first_s, last_s in rows
    }


async def _runs_beyond(session: AsyncSession, through: Mapping[Boot, int]) -> dict[Boot, int]:
    """Return where the run that goes on after each index ends, for boots whose next reading is stored."""
    if not through:
        return {}
    asked: dict[str, Sequence[Any]] = {**_boots(through), "through": list(through.values())}
    rows = await Asked(session, {"asked": asked}).rows(
        "SELECT site_id, boot_id, MAX(reading_index) FROM (SELECT r.site_id, r.boot_id, r.reading_index,"
        " r.reading_index - asked.through - ROW_NUMBER() OVER"
        " (PARTITION BY r.site_id, r.boot_id ORDER BY r.reading_index) AS missing"
        " FROM asked JOIN meter_reading r ON r.site_id = asked.site_id AND r.boot_id = asked.boot_id"
        " AND r.reading_index > asked.through) AS beyond WHERE missing = 0 GROUP BY site_id, boot_id"
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def _store_marks(
    session: AsyncSession,
    runs: Mapping[Boot, tuple[int, int]],
    highest: Mapping[Boot, int],
    spans: Mapping[Boot, BootSpan],
) -> None:
    boots = sorted(runs)  # one order of locking for every writer
    columns = {
        **_boots(boots),
        "run_from": [runs[boot][0] for boot in boots],
        "run_through": [runs[boot][1] for boot in boots],
        "highest_index": [highest[boot] for boot in boots],
        "first_s": [spans[boot].first_s if boot in spans else None for boot in boots],
        "last_s": [spans[boot].last_s if boot in spans else None for boot in boots],
    }
    await insert_or_replace(session, table_of(MeterBootRow), columns, tuple(columns)[2:])


def _merged(intervals: Sequence[Interval]) -> list[tuple[int, int]]:
    """Return the intervals as whole seconds, both ends included, none touching another."""
    spans: list[tuple[int, int]] = []
    for interval in sorted(intervals):
        low, high = to_epoch(interval.starts_at), to_epoch(interval.ends_at)
        if spans and low <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], high))
        else:
            spans.append((low, high))
    return spans
