"""Energy by the clock hour in the database: written as readings are stored, read by settlements."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import Asked, insert_or_replace
from vpp.adapters.sql.engine import to_us
from vpp.adapters.sql.meter_sources import contested, left_out
from vpp.adapters.sql.tables import MeterHourRow, table_of
from vpp.domain.delivery import NOT_METERED, QUALITY_CODES, Quality, ReadingColumns, counter_track, net_energy
from vpp.domain.metered_hours import (
    HOUR_S,
    HourEnergies,
    NewReadings,
    SiteHours,
    hours_changed,
    no_hours,
    reading_spans,
)
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import BoolColumn, IntColumn, column

BAD = QUALITY_CODES.index(Quality.BAD)
_MISSING = QUALITY_CODES.index(Quality.MISSING)
_CODES = len(QUALITY_CODES)
_HOURS = 2**24  # more than there are from 1970 to the year 3800

COUNTERS = (
    f"r.discharged_wh, r.charged_wh, COALESCE(r.imported_wh, {NOT_METERED}),"
    f" COALESCE(r.exported_wh, {NOT_METERED})"
)
DOUBTED = (
    "EXISTS (SELECT 1 FROM doubted_reading d WHERE d.site_id = r.site_id AND d.boot_id = r.boot_id"
    " AND d.reading_index = r.reading_index)"
)
"""Whether a reading r has a second, different value under its key."""

_QUALITY = f"CASE WHEN {DOUBTED} OR {contested('r')} THEN {BAD} ELSE r.quality END"


async def newest_before(session: AsyncSession, site_ids: Sequence[str]) -> tuple[IntColumn, BoolColumn]:
    """Return when each site's newest reading was taken, -1 without any, and whether it is the only one
    of its instant and good.

    On PostgreSQL the sites are locked until the transaction ends: two batches of one site must not each
    compute an hour without the other's readings.
    """
    asked = Asked(session, {"site": {"place": range(len(site_ids)), "site_id": site_ids}})
    if session.get_bind().dialect.name != "sqlite":
        await asked.rows(
            "SELECT e.site_id FROM site JOIN enrollment e ON e.site_id = site.site_id"
            " ORDER BY e.site_id FOR NO KEY UPDATE OF e"
        )
    newest_at_s = "(SELECT MAX({0}.at_s) FROM {1} {0} WHERE {0}.site_id = site.site_id)"
    place, newest, copies, doubted_s = await asked.columns(
        f"SELECT site.place, COALESCE((SELECT r.at_s * {_CODES} + {_QUALITY}"
        " FROM meter_reading r WHERE r.site_id = site.site_id"
        " ORDER BY r.at_s DESC, r.quality DESC LIMIT 1), -1),"
        " (SELECT COUNT(*) FROM meter_reading c WHERE c.site_id = site.site_id"
        f" AND c.at_s = {newest_at_s.format('m', 'meter_reading')}),"
        f" COALESCE({newest_at_s.format('d', 'doubted_reading')}, -1) FROM site",
        4,
    )
    at_s, good = np.full(len(site_ids), -1, dtype=np.int64), np.zeros(len(site_ids), dtype=np.bool_)
    at_s[place] = newest // _CODES
    good[place] = (newest % _CODES != BAD) & (copies == 1) & (doubted_s < newest // _CODES)
    return at_s, good | (at_s < 0)


async def write_hours(
    session: AsyncSession,
    site_ids: Sequence[str],
    new: NewReadings,
    before: tuple[IntColumn, BoolColumn],
    at: datetime,
) -> None:
    """Compute again, from everything stored, the hours that readings received at an instant may change."""
    hours = hours_changed(new, *before)
    if not len(hours.site):
        return
    readings = await _readings_near(session, site_ids, hours)
    until_s = hours.start_s + HOUR_S
    columns: dict[str, Sequence[Any]] = {
        "site_id": [site_ids[place] for place in hours.site.tolist()],
        "hour_s": hours.start_s.tolist(),
    }
    for meter, name in _COLUMNS.items():
        track = counter_track(readings, meter)
        energy, quality = net_energy(track, hours.site, hours.start_s, until_s)
        columns[f"{name}_wh"], columns[f"{name}_quality"] = energy.tolist(), quality.tolist()
    columns["received_at_us"] = [to_us(at)] * len(until_s)
    await insert_or_replace(session, table_of(MeterHourRow), columns, tuple(columns)[2:])


_COLUMNS = {MeterOfRecord.DEVICE: "device", MeterOfRecord.SITE: "grid"}


async def _readings_near(session: AsyncSession, site_ids: Sequence[str], hours: SiteHours) -> ReadingColumns:
    site, low_s, high_s = reading_spans(hours)
    span: dict[str, Sequence[Any]] = {
        "place": site.tolist(),
        "site_id": [site_ids[place] for place in site.tolist()],
        "starts_s": low_s.tolist(),
        "ends_s": high_s.tolist(),
    }
    # SQLite takes CROSS JOIN in the order written: for each span one stretch of the time index.
    near = (
        "WHERE r.site_id = span.site_id AND r.at_s BETWEEN span.starts_s AND span.ends_s"
        f" AND NOT {left_out('r')}"
    )
    table = await Asked(session, {"span": span}).columns(
        f"SELECT span.place, r.at_s, {COUNTERS}, {_QUALITY}"
        f" FROM span CROSS JOIN meter_reading r {near} UNION ALL"
        f" SELECT span.place, r.at_s, {COUNTERS}, {BAD} FROM span CROSS JOIN doubted_reading r {near}",
        7,
    )
    order = np.lexsort((table[1], table[0]))
    return ReadingColumns(*(column(each[order]) for each in table))


async def read_hours(
    session: AsyncSession, site_ids: Sequence[str], starts_s: IntColumn, meter: MeterOfRecord
) -> HourEnergies:
    """Return net energy of whole hours, MISSING where nothing was ever written."""
    found = no_hours(len(site_ids), starts_s)
    if not len(site_ids) or not len(starts_s):
        return found
    name = _COLUMNS[meter]
    lists, near = _near_hours(session, site_ids, starts_s)
    # Two numbers a row instead of four: reading them is most of what a settlement takes.
    cells = f"SELECT site.place * {_HOURS} + h.hour_s / {HOUR_S}, h.{name}_wh * {_CODES} + h.{name}_quality"
    cell, energy = await Asked(session, lists).columns(f"{cells} {near}", 2)
    place, column_of = cell // _HOURS, np.searchsorted(starts_s, cell % _HOURS * HOUR_S)
    found.energy_wh[place, column_of] = energy // _CODES
    found.quality[place, column_of] = energy % _CODES
    return found


async def changed_since(
    session: AsyncSession, site_ids: Sequence[str], starts_s: IntColumn, *, since_us: int
) -> IntColumn:
    """Return the positions of the sites with an hour that readings received since then computed again."""
    if not len(site_ids) or not len(starts_s):
        return column([])
    lists, near = _near_hours(session, site_ids, starts_s)
    late = f"SELECT DISTINCT site.place {near} AND h.received_at_us >= {since_us}"
    (place,) = await Asked(session, lists).columns(late, 1)
    return column(np.sort(place))


def _near_hours(
    session: AsyncSession, site_ids: Sequence[str], starts_s: IntColumn
) -> tuple[dict[str, dict[str, Sequence[Any]]], str]:
    """Return the lists that a statement asks for, and its FROM and WHERE: ``h`` are the sites' hours."""
    apart = np.diff(starts_s) != HOUR_S
    lists: dict[str, dict[str, Sequence[Any]]] = {
        "site": {"place": range(len(site_ids)), "site_id": site_ids}
    }
    if session.get_bind().dialect.name == "sqlite":
        lists["span"] = {
            "starts_s": starts_s[np.append(True, apart)].tolist(),
            "ends_s": starts_s[np.append(apart, True)].tolist(),
        }
        return lists, (
            "FROM site CROSS JOIN span CROSS JOIN meter_hour h WHERE h.site_id = site.site_id"
            " AND h.hour_s BETWEEN span.starts_s AND span.ends_s"
        )
    # One stretch of the index for each site, its other hours passed over. Left free, PostgreSQL read the
    # whole table for every ten thousand sites: OFFSET 0 and the sum keep it from being clever.
    wanted = ",".join(map(str, starts_s.tolist()))
    return lists, (
        "FROM site CROSS JOIN LATERAL (SELECT * FROM meter_hour m WHERE m.site_id = site.site_id"
        f" AND m.hour_s BETWEEN {starts_s[0]} AND {starts_s[-1]}"
        f" AND m.hour_s + 0 = ANY (ARRAY[{wanted}]::bigint[]) OFFSET 0) h WHERE TRUE"
    )
