"""The tables of an evidence bundle: CSV as RFC 4180, UTF-8, the unit as the last word of a column.

====================  ==========================================================================
``sites.csv``         ``site_id, owner_id, meter`` (``device`` or ``site``), ``opted_out_at``
                      (RFC 3339, empty: stayed in)
``meter.csv``         ``site_id, at`` (RFC 3339), ``discharged_wh, charged_wh`` (battery),
                      ``imported_wh, exported_wh`` (grid meter): lifetime counters in whole Wh, empty
                      where unused; ``quality`` (``OK``, ``ESTIMATED`` or ``BAD``)
``excluded_days.csv`` ``site_id`` (``*``: every site), ``date`` (local), ``reason`` (``event``,
                      ``dual_event`` or ``outage``)
``settlement.csv``    one row per site and clock hour: ``site_id, hour_starts_at, metered_wh``,
                      ``baseline_wh`` (of the whole hour), ``fraction`` (part of the hour that counts),
                      ``incremental_wh`` (metered - baseline x fraction; for a grid meter the other way
                      round), ``quality``. Wh are exact: a whole number or a fraction such as ``37/3``
``totals.csv``        one row per site: ``site_id, owner_id, incremental_wh, paid_wh`` (exact),
                      ``amount_usd`` (two decimals), ``quality, reason``
====================  ==========================================================================

Columns may stand in any order. A text that a spreadsheet would run as a formula is written with an
apostrophe before it, which is taken off again when it is read.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np

from vpp.domain.baseline import DayDropped
from vpp.domain.delivery import NOT_METERED, QUALITY_CODES, Quality, ReadingColumns
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import IntColumn, column
from vpp.wire.strict_json import time_text

SITES = ("site_id", "owner_id", "meter", "opted_out_at")
METER = ("site_id", "at", "discharged_wh", "charged_wh", "imported_wh", "exported_wh", "quality")
EXCLUDED_DAYS = ("site_id", "date", "reason")
SETTLEMENT = (
    "site_id", "hour_starts_at", "metered_wh", "baseline_wh", "fraction", "incremental_wh", "quality"
)  # fmt: skip
TOTALS = ("site_id", "owner_id", "incremental_wh", "paid_wh", "amount_usd", "quality", "reason")

MOST_FAULTS = 20
_COUNTERS = METER[2:6]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_WHOLE = re.compile(r"[0-9]{1,15}")
_QUALITY_CODE = {
    each.value: QUALITY_CODES.index(each) for each in (Quality.OK, Quality.ESTIMATED, Quality.BAD)
}


class BadEvidence(Exception):
    """A file of a bundle cannot be used; ``faults`` names file, line and column of each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class _BadCell(ValueError):
    """A cell does not say what its column needs."""

    def __init__(self, column_name: str, problem: str) -> None:
        super().__init__(problem)
        self.column_name = column_name


@dataclass(frozen=True, slots=True)
class EvidenceSite:
    """A settled site: whose it is, which meter counts, and when its owner opted out, if ever."""

    site_id: str
    owner_id: str
    meter: MeterOfRecord
    opted_out_at: datetime | None


@dataclass(slots=True)
class Table:
    """A CSV file as rows of texts by column, with its line numbers, gathering what is wrong."""

    file_name: str
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    faults: list[str] = field(default_factory=list)

    def refuse(self, line: int, column_name: str, problem: str) -> None:
        """Note a fault; more than twenty are not collected."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{self.file_name}, line {line}, {column_name}: {problem}")

    def require_faultless(self) -> None:
        """Return only if nothing was refused.

        Raises:
            BadEvidence: Something was.
        """
        if self.faults:
            raise BadEvidence(self.faults)


def read_table(content: bytes, *, file_name: str, required: Iterable[str]) -> Table:
    """Return the rows of a CSV file; unknown columns stay in them.

    Raises:
        BadEvidence: Not UTF-8, not CSV, a required column is absent, or a row has another width.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content[: failure.start].count(b"\n") + 1
        raise BadEvidence([f"{file_name}, line {line}: not UTF-8"]) from failure
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    table = Table(file_name, (), [])
    try:
        table.columns = tuple(cell.strip() for cell in next(reader, []))
        absent = [name for name in required if name not in table.columns]
        if absent or len(set(table.columns)) != len(table.columns):
            found = ",".join(table.columns)
            raise BadEvidence(
                [f"{file_name}, line 1: columns are {found}; {', '.join(absent)} must be there once"]
            )
        for cells in reader:
            if len(cells) == len(table.columns):
                table.rows.append((reader.line_num, dict(zip(table.columns, cells, strict=True))))
            elif cells:
                table.refuse(
                    reader.line_num, "all columns", f"{len(cells)} cells, the header has {len(table.columns)}"
                )
    except csv.Error as failure:
        table.refuse(reader.line_num, "all columns", f"not CSV: {failure}")
    table.require_faultless()
    return table


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Return a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def harmless(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_it_was(text: str) -> str:
    """Return the text that ``harmless`` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def read_sites(content: bytes) -> tuple[EvidenceSite, ...]:
    """Return the settled sites in the order of the file.

    Raises:
        BadEvidence: The file cannot be used.
    """
    table = read_table(content, file_name="sites.csv", required=SITES)
    found: dict[str, EvidenceSite] = {}
    for line, row in table.rows:
        site_id = as_it_was(row["site_id"])
        if not site_id or site_id in found:
            table.refuse(line, "site_id", f"{site_id[:40]!r} is empty or stands twice")
        if row["meter"] not in tuple(MeterOfRecord):
            table.refuse(line, "meter", f"{row['meter'][:40]!r} is not device or site")
            continue
        try:
            opted_out_at = (
                _instant("opted_out_at", row["opted_out_at"]) if row["opted_out_at"].strip() else None
            )
        except _BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        meter = MeterOfRecord(row["meter"])
        found[site_id] = EvidenceSite(site_id, as_it_was(row["owner_id"]), meter, opted_out_at)
    table.require_faultless()
    return tuple(found.values())


def write_sites(sites: Iterable[EvidenceSite]) -> bytes:
    """Return ``sites.csv``."""
    return write_table(
        SITES,
        (
            (
                harmless(each.site_id),
                harmless(each.owner_id),
                each.meter.value,
                time_text(each.opted_out_at) if each.opted_out_at else "",
            )
            for each in sites
        ),
    )


def read_meter_csv(content: bytes, *, file_name: str = "meter.csv") -> tuple[tuple[str, ...], ReadingColumns]:
    """Return the site ids of a meter file, sorted, and its readings, by site and time.

    Two rows for one site and instant are kept: settlement makes them one, or BAD where they differ.

    Raises:
        BadEvidence: The file cannot be used; nothing of it is returned.
    """
    table = read_table(content, file_name=file_name, required=("site_id", "at", "quality"))
    seconds: dict[str, int] = {}  # many homes report the same instants
    numbers: list[tuple[int, ...]] = []
    names: list[str] = []
    for line, row in table.rows:
        try:
            at = row["at"]
            if at not in seconds:
                seconds[at] = to_epoch(_instant("at", at))
            values = tuple(_counter(name, row.get(name, "")) for name in _COUNTERS)
            if row["quality"] not in _QUALITY_CODE:
                raise _BadCell("quality", f"{row['quality'][:40]!r} is not OK, ESTIMATED or BAD")
        except _BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        names.append(as_it_was(row["site_id"]))
        numbers.append((seconds[at], *values, _QUALITY_CODE[row["quality"]]))
    table.require_faultless()
    site_ids = tuple(sorted(set(names)))
    position = {site_id: place for place, site_id in enumerate(site_ids)}
    grid = np.array(numbers, dtype=np.int64).reshape(-1, 6)
    site = np.array([position[name] for name in names], dtype=np.int64)
    order = np.lexsort((grid[:, 0], site))
    return site_ids, ReadingColumns(column(site[order]), *(column(grid[order, place]) for place in range(6)))


def write_meter_csv(site_ids: Sequence[str], readings: ReadingColumns) -> bytes:
    """Return ``meter.csv``."""

    def cells(values: IntColumn) -> Iterator[str]:
        return ("" if value == NOT_METERED else str(value) for value in values.tolist())

    return write_table(
        METER,
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


def read_excluded_days(content: bytes) -> tuple[tuple[str, date, DayDropped], ...]:
    """Return (site id or ``*``, local day, why).

    Raises:
        BadEvidence: The file cannot be used.
    """
    table = read_table(content, file_name="excluded_days.csv", required=EXCLUDED_DAYS)
    found = []
    reasons = (DayDropped.EVENT, DayDropped.DUAL_EVENT, DayDropped.OUTAGE)
    for line, row in table.rows:
        reason = next((each for each in reasons if each.value == row["reason"]), None)
        if reason is None:
            table.refuse(line, "reason", f"{row['reason'][:40]!r} is not one of {', '.join(reasons)}")
            continue
        try:
            found.append((as_it_was(row["site_id"]), date.fromisoformat(row["date"].strip()), reason))
        except ValueError:
            table.refuse(line, "date", f"{row['date'][:40]!r} is not a date such as 2026-09-09")
    table.require_faultless()
    return tuple(found)


def write_excluded_days(days: Iterable[tuple[str, date, DayDropped]]) -> bytes:
    """Return ``excluded_days.csv``."""
    return write_table(
        EXCLUDED_DAYS, ((harmless(site_id), day.isoformat(), reason.value) for site_id, day, reason in days)
    )


def by_key(table: Table, names: Sequence[str]) -> Mapping[tuple[str, ...], dict[str, str]]:
    """Return a table's rows by the texts in some of its columns; of equal ones the last."""
    return {tuple(as_it_was(row[name]) for name in names): row for _, row in table.rows}


def _counter(name: str, text: str) -> int:
    text = text.strip()
    if not text:
        return NOT_METERED
    if not _WHOLE.fullmatch(text):
        raise _BadCell(name, f"{text[:40]!r} is not a whole number of watt-hours")
    return int(text)


def _instant(name: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as failure:
        raise _BadCell(name, f"{text[:40]!r} is not RFC 3339, such as 2026-09-10T01:05:00Z") from failure
    if at.tzinfo is None:
        raise _BadCell(name, f"{text[:40]!r} names no zone; write 2026-09-10T01:05:00Z")
    return at.astimezone(UTC)
