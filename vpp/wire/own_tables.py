"""Everything of one owner as CSV tables in one zip, for whoever prefers a spreadsheet to JSON."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime

from vpp.wire.table import decimal_cell, harmless, write_table

Rows = Sequence[Mapping[str, object]]


def write_tables(tables: Mapping[str, Rows], *, at: datetime) -> bytes:
    """Return a zip with one CSV file for each table that has rows; columns are the names of its first row.

    ``at`` is the date that the files carry, so that the same content gives the same bytes.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in tables.items():
            if not rows:
                continue
            columns = list(rows[0])
            cells = [[_cell(row[column]) for column in columns] for row in rows]
            file = zipfile.ZipInfo(f"{name}.csv", date_time=at.timetuple()[:6])
            file.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(file, write_table(columns, cells))
    return content.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    decimal = decimal_cell(value)
    return harmless(value) if decimal == value else decimal
