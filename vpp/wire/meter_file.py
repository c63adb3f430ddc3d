"""The meter file: lifetime counters of many homes as CSV, one reading per line.

Columns, in any order: ``site_id``; ``at`` (RFC 3339 with zone); ``discharged_wh, charged_wh`` (lifetime Wh of
the battery) and ``imported_wh, exported_wh`` (lifetime Wh of the grid meter), whole numbers, empty where
unused; ``quality`` (``OK``, ``ESTIMATED`` or ``BAD``), which may be judged worse, never better. For example::

    site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality
    s-7f3a,2026-09-10T01:05:00Z,12319890,13853641,,,OK

The same file is ``meter.csv`` of an evidence bundle and what ``vpp meter import`` takes. Knows nothing of
who is enrolled.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime

import numpy as np

from vpp.domain.delivery import (
    NOT_METERED,
    QUALITY_CODES,
    MeterMessage,
    MeterReading,
    Quality,
    ReadingColumns,
)
from vpp.domain.enrollment import NotASiteId, require_site_id
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.meter_source import IMPORT_BOOT
from vpp.domain.quantities import IntColumn, WattHours, column
from vpp.wire.strict_json import time_text
from vpp.wire.table import BadCell, BadFile, Table, as_it_was, harmless, instant_of, read_table, write_table

HEADER = ("site_id", "at", "discharged_wh", "charged_wh", "imported_wh", "exported_wh", "quality")
_COUNTERS = HEADER[2:6]
_REQUIRED = ("site_id", "at", "quality")  # a column of counters that nobody has may be absent
_MOST_DIGITS = 15
_WHOLE = re.compile(
    rf"([0-9]{{1,{_MOST_DIGITS}}})(\.0*)?"
)  # programs that fill gaps with NaN write 4200 as 4200.0
_QUALITY_CODE = {
    each.value: QUALITY_CODES.index(each) for each in (Quality.OK, Quality.ESTIMATED, Quality.BAD)
}


def read_meter_csv(content: bytes, *, file_name: str = "meter.csv") -> tuple[tuple[str, ...], ReadingColumns]:
    """Return the site ids of a meter file, sorted, and its readings, by site and time.

    Two rows for one site and instant are kept: settlement makes them one, or BAD where they differ.

    Raises:
        BadFile: The file cannot be used; nothing of it is returned.
    """
    table = read_table(content, file_name=file_name, required=_REQUIRED)
    names: list[str] = []
    numbers: list[tuple[int, ...]] = []
    for _, name, cells in _rows(table):
        names.append(name)
        numbers.append(cells)
    table.require_faultless()
    site_ids = tuple(sorted(set(names)))
    position = {site_id: place for place, site_id in enumerate(site_ids)}
    grid = np.array(numbers, dtype=np.int64).reshape(-1, 6)
    site = np.array([position[name] for name in names], dtype=np.int64)
    order = np.lexsort((grid[:, 0], site))
    return site_ids, ReadingColumns(column(site[order]), *(column(grid[order, place]) for place in range(6)))


def _rows(table: Table) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """Yield line number, site id, and (seconds, four counters, quality code) of each usable row."""
    seconds: dict[str, int] = {}  # many homes report the same instants
    for line, row in table.rows():
        try:
            at = row["at"]
            if at not in seconds:
                seconds[at] = to_epoch(instant_of("at", at))
            counters = tuple(_counter(name, row.get(name, "")) for name in _COUNTERS)
            code = _QUALITY_CODE.get(row["quality"].strip())
            if code is None:
                raise BadCell("quality", f"{row['quality'][:40]!r} is not OK, ESTIMATED or BAD")
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        yield line, as_it_was(row["site_id"].strip()), (seconds[at], *counters, code)


def _counter(name: str, text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)  # as nearly all are
    text = text.strip()
    if not text:
        return NOT_METERED
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        wanted = f"a whole number of watt-hours, 0 or more, of at most {_MOST_DIGITS} digits"
        raise BadCell(name, f"{text[:40]!r} is not {wanted}")
    return int(whole[1])


def read_meter_file(
    content: bytes,
    *,
    now: datetime,
    file_name: str,
    metered_at_site: Container[str] = (),
    left_at: Mapping[str, datetime | None] | None = None,
) -> tuple[MeterMessage, ...]:
    """Return one message for each site, by site id, with its readings by time.

    Importing the same file again gives the same keys, so it changes nothing. Lines that say the same of one
    site and instant are one reading, of the worst quality they give it; where their counters differ each is
    kept under the same key, which makes all of them BAD.

    Args:
        content: The file; UTF-8, a byte order mark and CRLF are taken.
        now: A reading after this instant is refused.
        file_name: For the messages.
        metered_at_site: The sites whose grid meter counts. Their battery counters may be empty.
        left_at: When each enrolled site left, None while it has not; None as a whole to take any site. Of
            another site, or one that left, the first line that cannot be used is named.

    Raises:
        BadFile: At least one line cannot be used, or lacks the counters of the meter that counts.
    """
    table = read_table(content, file_name=file_name, required=_REQUIRED)
    readings: dict[str, dict[tuple[int, ...], MeterReading]] = {}
    times: dict[int, datetime] = {}  # many homes report the same instants
    refused: set[str] = set()  # sites of which no line is looked at any more
    for line, site_id, cells in _rows(table):
        if site_id in refused:
            continue
        try:
            if site_id not in readings:
                _require_site_id(site_id)
            if cells[0] not in times:
                times[cells[0]] = _past(cells[0], now)
            if left_at is not None and (why := _has_no_meter_here(site_id, times[cells[0]], left_at)):
                refused.add(site_id)
                raise why
            reading = _reading(site_id, times[cells[0]], cells, at_site=site_id in metered_at_site)
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        of_site, said, code = readings.setdefault(site_id, {}), cells[:5], cells[5]
        known = of_site.get(said)
        if known is None or code > QUALITY_CODES.index(known.quality):
            of_site[said] = reading
    table.require_faultless()
    if not readings:
        raise BadFile([f"{file_name}:1: has a header and no readings below it"])
    return tuple(
        MeterMessage(site_id, IMPORT_BOOT, min(of_site)[0], tuple(of_site[said] for said in sorted(of_site)))
        for site_id, of_site in sorted(readings.items())
    )


def lines_of(
    content: bytes, *, file_name: str, readings: Container[tuple[str, datetime]]
) -> Iterator[tuple[int, str, datetime]]:
    """Yield line, site and instant of each line of a meter file that tells one of these readings.

    By itself, because hardly any import asks for it, and keeping every line number would take as much
    memory as the readings.
    """
    table = read_table(content, file_name=file_name, required=_REQUIRED)
    for line, site_id, cells in _rows(table):
        at = from_epoch(cells[0])
        if (site_id, at) in readings:
            yield line, site_id, at


def _require_site_id(site_id: str) -> None:
    try:
        require_site_id(site_id)
    except NotASiteId as failure:
        raise BadCell("site_id", str(failure)) from failure


def _has_no_meter_here(site_id: str, at: datetime, left_at: Mapping[str, datetime | None]) -> BadCell | None:
    if site_id not in left_at:
        return BadCell("site_id", f"site {site_id} is not enrolled; vpp site enroll comes first")
    until = left_at[site_id]
    if until is not None and at > until:
        return BadCell("at", f"site {site_id} left at {time_text(until)}; take out its later readings")
    return None


def _past(at_s: int, now: datetime) -> datetime:
    at = from_epoch(at_s)
    if at > now:
        raise BadCell("at", f"{time_text(at)} is in the future")
    return at


def _reading(site_id: str, at: datetime, cells: Sequence[int], *, at_site: bool) -> MeterReading:
    at_s, *told, code = cells
    counters = [None if counter == NOT_METERED else WattHours(counter) for counter in told]
    discharged_wh, charged_wh, imported_wh, exported_wh = counters
    without_battery = at_site and discharged_wh is None and charged_wh is None
    needed = slice(2, 4) if without_battery else slice(2)
    if None in counters[needed]:
        name = _COUNTERS[needed][counters[needed].index(None)]
        raise BadCell(name, "'' is not a whole number of watt-hours")
    quality = QUALITY_CODES[code]
    return MeterReading(
        site_id=site_id,
        boot_id=IMPORT_BOOT,
        index=at_s,
        at=at,
        discharged_wh=discharged_wh,
        charged_wh=charged_wh,
        soc_permille=None,
        quality=quality,
        reason=None if quality is Quality.OK else "imported",
        imported_wh=imported_wh,
        exported_wh=exported_wh,
    )


def write_meter_csv(site_ids: Sequence[str], readings: ReadingColumns) -> bytes:
    """Return ``meter.csv``."""

    def cells(values: IntColumn) -> Iterator[str]:
        return ("" if value == NOT_METERED else str(value) for value in values.tolist())

    return write_table(
        HEADER,
        zip(
            (harmless(site_ids[site]) for site in readings.site.tolist()),
            (time_text(from_epoch(at_s)) for at_s in readings.at_s.tolist()),
            cells(readings.discharged_wh),
            cells(readings.charged_wh),
            cells(readings.imported_wh),
            cells(readings.exported_wh),
            (QUALITY_CODES[code].value for code in readings.quality.tolist()),
            strict=True,
        ),
    )
