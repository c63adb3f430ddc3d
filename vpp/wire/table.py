"""CSV files that people exchange: RFC 4180, UTF-8, a header, the unit as the last word of a column.

A file is taken as a whole, or refused with the line and the column of everything that is wrong. Columns may
stand in any order. A text that a spreadsheet would run as a formula is written with an apostrophe before
it, which is taken off again when it is read.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

MOST_FAULTS = 20
FIRST_YEAR, LAST_YEAR = 2000, 2399
"""Times outside these years are typing errors; far enough from the edges for any zone and any season."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_FRACTION = re.compile(r"-?[0-9]+/[1-9][0-9]*")
DECIMALS = 6


class BadFile(Exception):
    """A file cannot be used, and nothing of it is; ``faults`` names file, line and column of each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class BadCell(ValueError):
    """A cell does not say what its column needs."""

    def __init__(self, column_name: str, problem: str) -> None:
        super().__init__(problem)
        self.column_name = column_name


@dataclass(slots=True)
class Table:
    """A CSV file, read row by row, gathering what is wrong with it."""

    file_name: str
    columns: tuple[str, ...]
    _cells: Iterator[list[str]]
    _line: Callable[[], int]
    faults: list[str] = field(default_factory=list)
    optional: tuple[str, ...] = ()  # columns that rows may leave off at their end

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield, once, the line number and the texts by column of each row that has the header's width.

        An optional column that a row leaves off at its end is empty; empty cells beyond the header and
        lines of nothing but spaces say nothing.
        """
        width = len(self.columns)
        fewest = width
        while fewest and self.columns[fewest - 1] in self.optional:
            fewest -= 1
        try:
            for cells in self._cells:
                if len(cells) != width:
                    if not any(cell.strip() for cell in cells):
                        continue
                    if len(cells) < fewest or any(cell.strip() for cell in cells[width:]):
                        problem = f"{len(cells)} cells, the header has {width}"
                        self.refuse(self._line(), "all columns", problem)
                        continue
                    cells = [*cells, *[""] * (width - len(cells))][:width]
                yield self._line(), dict(zip(self.columns, cells, strict=True))
        except csv.Error as failure:
            self.refuse(self._line(), "all columns", f"is not CSV: {failure}")

    def refuse(self, line: int, column_name: str, problem: str) -> None:
        """Note a fault; more than twenty are not collected."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{self.file_name}:{line}: {column_name}: {problem}")

    def require_faultless(self) -> None:
        """Return only if nothing was refused; asked after the last row.

        Raises:
            BadFile: Something was.
        """
        if self.faults:
            raise BadFile(self.faults)


def read_table(
    content: bytes, *, file_name: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Table:
    """Return a CSV file whose header holds the required columns; unknown ones stay in its rows.

    An optional column may be left off at the end of the header, or of single rows.

    Raises:
        BadFile: Not UTF-8, a NUL, no header that can be read, or a required column is absent or stands twice.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content[: failure.start].count(b"\n") + 1
        raise BadFile([f"{file_name}:{line}: is not UTF-8"]) from failure
    if "\x00" in text:  # no database stores it, and no spreadsheet writes it
        line = text[: text.index("\x00")].count("\n") + 1
        raise BadFile([f"{file_name}:{line}: holds a NUL character"])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = tuple(cell.strip() for cell in next(reader, []))
    except csv.Error as failure:
        raise BadFile([f"{file_name}:1: is not CSV: {failure}"]) from failure
    if set(required) - set(columns) or len(set(columns)) != len(columns):
        found = ",".join(columns)
        raise BadFile(
            [f"{file_name}:1: columns are {found}; each of {', '.join(required)} must be there once"]
        )
    return Table(file_name, columns, reader, lambda: reader.line_num, optional=tuple(optional))


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


def decimal_cell(text: str) -> str:
    """Return a fraction such as ``731/10``, which a spreadsheet may read as a date, as a decimal.

    Exact where its digits end within six places, else rounded half to even there; other texts stay.
    """
    if not _FRACTION.fullmatch(text):
        return text
    return f"{Decimal(round(Fraction(text) * 10**DECIMALS)).scaleb(-DECIMALS):f}".rstrip("0").rstrip(".")


def as_it_was(text: str) -> str:
    """Return the text that ``harmless`` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def instant_of(column_name: str, text: str) -> datetime:
    """Return a cell's time as UTC in whole seconds.

    Raises:
        BadCell: It is not RFC 3339, names no zone, or lies outside the years 2000 to 2399.
    """
    try:
        at = datetime.fromisoformat(text.strip().upper())  # RFC 3339 takes t and z as well
    except ValueError as failure:
        raise BadCell(
            column_name, f"{text[:40]!r} is not RFC 3339, such as 2026-09-10T01:05:00Z"
        ) from failure
    if at.tzinfo is None:
        raise BadCell(column_name, f"{text[:40]!r} names no zone; write 2026-09-10T01:05:00Z")
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise BadCell(column_name, f"{text[:40]!r} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    return at.astimezone(UTC).replace(microsecond=0)
