"""The meter file: lifetime counters of many homes as CSV, one reading per line.

Columns, in any order: ``site_id, at`` (RFC 3339 with zone), ``discharged_wh, charged_wh`` (lifetime Wh of the
battery), ``imported_wh, exported_wh`` (lifetime Wh of the grid meter, empty where not shared), ``quality``
(``OK``, ``ESTIMATED`` or ``BAD``). The same columns stand in an evidence bundle. Knows nothing of who is
enrolled; counters and qualities are taken as they stand.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.enrollment import NotASiteId, require_site_id
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import WattHours

HEADER = ("site_id", "at", "discharged_wh", "charged_wh", "imported_wh", "exported_wh", "quality")
IMPORT_BOOT = "import"
"""Stands for the boot of readings that no gateway sent; their index is the reading's time in seconds."""

_COUNTER = re.compile(r"[0-9]{1,15}")
_QUALITIES = {quality.value: quality for quality in (Quality.OK, Quality.ESTIMATED, Quality.BAD)}


class BadMeterFile(Exception):
    """The file was refused as a whole; ``faults`` names every line with its reason."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class _BadCell(ValueError):
    """A cell does not say what its column needs."""


@dataclass(slots=True)
class _Sheet:
    file_name: str
    faults: list[str] = field(default_factory=list)
    readings: dict[str, dict[int, MeterReading]] = field(default_factory=dict)

    def refuse(self, line: int, reason: str) -> None:
        self.faults.append(f"{self.file_name}:{line}: {reason}")


def read_meter_file(content: bytes, *, now: datetime, file_name: str) -> tuple[MeterMessage, ...]:
    """Return one message for each site, by site id, with its readings by time.

    Importing the same file again gives the same keys, so it changes nothing.

    Args:
        content: The file; UTF-8, a byte order mark and CRLF are taken.
        now: A reading after this instant is refused.
        file_name: For the messages.

    Raises:
        BadMeterFile: At least one line cannot be used; all of them are named.
    """
    sheet = _Sheet(file_name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content[: failure.start].count(b"\n") + 1
        raise BadMeterFile([f"{file_name}:{line}: is not UTF-8"]) from failure
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = _header(next(reader, []), file_name)
        for cells in reader:
            if cells:
                _take(sheet, header, cells, reader.line_num, now)
    except csv.Error as failure:
        sheet.refuse(reader.line_num, f"is not CSV: {failure}")
    if not sheet.readings and not sheet.faults:
        sheet.refuse(1, "has a header and no readings below it")
    if sheet.faults:
        raise BadMeterFile(sheet.faults)
    return tuple(
        MeterMessage(site_id, IMPORT_BOOT, min(readings), tuple(readings[key] for key in sorted(readings)))
        for site_id, readings in sorted(sheet.readings.items())
    )


def _header(cells: list[str], file_name: str) -> Mapping[str, int]:
    if sorted(cells) != sorted(HEADER):
        raise BadMeterFile([f"{file_name}:1: columns are {','.join(cells)}; expected {','.join(HEADER)}"])
    return {name: position for position, name in enumerate(cells)}


def _take(sheet: _Sheet, header: Mapping[str, int], cells: list[str], line: int, now: datetime) -> None:
    if len(cells) != len(header):
        sheet.refuse(line, f"has {len(cells)} cells, the header {len(header)}")
        return
    try:
        reading = _reading({name: cells[position].strip() for name, position in header.items()}, now)
    except (_BadCell, NotASiteId) as failure:
        sheet.refuse(line, str(failure))
        return
    of_site = sheet.readings.setdefault(reading.site_id, {})
    if reading.index in of_site:
        sheet.refuse(line, f"site {reading.site_id} has another line for {reading.at:%Y-%m-%dT%H:%M:%SZ}")
        return
    of_site[reading.index] = reading


def _reading(row: Mapping[str, str], now: datetime) -> MeterReading:
    at = _past(row["at"], now)
    quality = _QUALITIES.get(row["quality"])
    if quality is None:
        raise _BadCell(f"quality {row['quality'][:30]!r} is not OK, ESTIMATED or BAD")
    imported_wh, exported_wh = row["imported_wh"], row["exported_wh"]
    return MeterReading(
        site_id=require_site_id(row["site_id"]),
        boot_id=IMPORT_BOOT,
        index=to_epoch(at),
        at=at,
        discharged_wh=_counter("discharged_wh", row["discharged_wh"]),
        charged_wh=_counter("charged_wh", row["charged_wh"]),
        soc_permille=None,
        quality=quality,
        reason=None if quality is Quality.OK else "imported",
        imported_wh=_counter("imported_wh", imported_wh) if imported_wh else None,
        exported_wh=_counter("exported_wh", exported_wh) if exported_wh else None,
    )


def _counter(name: str, text: str) -> WattHours:
    if not _COUNTER.fullmatch(text):
        raise _BadCell(f"{name} {text[:30]!r} is not a whole number of watt-hours")
    return WattHours(int(text))


def _past(text: str, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as failure:
        raise _BadCell(f"at {text[:40]!r} is not RFC 3339") from failure
    if at.tzinfo is None or "T" not in text.upper():
        raise _BadCell(f"at {text[:40]!r} is not RFC 3339 with a zone, such as 2026-05-01T09:00:00Z")
    if at > now:
        raise _BadCell(f"at {text} is in the future")
    return at.astimezone(UTC).replace(microsecond=0)
