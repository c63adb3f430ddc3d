"""Everything of one owner as CSV tables in one zip, for whoever prefers a spreadsheet to JSON."""

import io
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from vpp.wire.table import decimal_cell, harmless, write_table

Rows = Sequence[Mapping[str, object]]


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def write_tables(tables: Mapping[str, Rows], *, at: datetime, zone: ZoneInfo) -> bytes:
    """Return a zip with one CSV file for each table that has rows; columns are the names of its first row.

    Beside each column of UTC times stands one of the same instants in ``zone``, with its offset. ``at`` is
    the date that the files carry, so that the same content gives the same bytes.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in tables.items():
            if not rows:
                continue
            columns = list(rows[0])
            times = {
                column
                for column in columns
                if column.endswith("_at") or any(_is_instant(row[column]) for row in rows)
            }
            cells = [_cells([(name, row[name]) for name in columns], times, zone) for row in rows]
            columns = [name for column in columns for name in _names(column, times)]
            file = zipfile.ZipInfo(f"{name}.csv", date_time=at.timetuple()[:6])
            file.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(file, write_table(columns, cells))
    return content.getvalue()


def _names(column: str, times: Collection[str]) -> list[str]:
    return [column, f"{column}_local"] if column in times else [column]


def _cells(row: Sequence[tuple[str, object]], times: Collection[str], zone: ZoneInfo) -> list[str]:
    cells = []
    for column, value in row:
        cells.append(_cell(value))
        if column in times:
            cells.append(_local(value, zone))
    return cells


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    decimal = decimal_cell(value)
    return harmless(value) if decimal == value else decimal


def _is_instant(value: object) -> bool:
    return isinstance(value, str) and _INSTANT.fullmatch(value) is not None


def _local(value: object, zone: ZoneInfo) -> str:
    return datetime.fromisoformat(str(value)).astimezone(zone).isoformat() if _is_instant(value) else ""
