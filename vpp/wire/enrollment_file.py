"""The enrolment file: CSV rows of homes with their owner's consent, checked as a whole before any is taken.

Columns, in any order, all required: ``site_id, owner_id, program_id, utility, county, feeder,
full_energy_wh`` (energy of the full pack, Wh), ``max_discharge_w`` (W), ``reserve_pct`` (0-100 on the app
scale, at most one decimal), ``gateway_public_key`` (base64url of 32 raw bytes), ``consent_version``,
``consent_at`` (RFC 3339 with zone). Knows nothing of which programs exist or who is enrolled already.
"""

import base64
import binascii
import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from vpp.domain.enrollment import Consent, EnrollmentRequest, NotASiteId, require_site_id
from vpp.domain.quantities import Permille, WattHours, Watts

HEADER = (
    "site_id", "owner_id", "program_id", "utility", "county", "feeder", "full_energy_wh", "max_discharge_w",
    "reserve_pct", "gateway_public_key", "consent_version", "consent_at",
)  # fmt: skip
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class BadRow:
    """One thing wrong with one line of the file, counted from 1 with the header."""

    line: int
    reason: str


class BadEnrollmentFile(Exception):
    """The file was refused as a whole; ``rows`` names every line with its reason."""

    def __init__(self, file_name: str, rows: tuple[BadRow, ...]) -> None:
        super().__init__("\n".join(f"{file_name}, line {row.line}: {row.reason}" for row in rows))
        self.rows = rows


class _BadCell(ValueError):
    """A cell does not say what its column needs."""


def read_enrollments(content: bytes, *, now: datetime, file_name: str) -> tuple[EnrollmentRequest, ...]:
    """Return every row as a checked request, in the order of the file.

    Args:
        content: The file; UTF-8, a byte order mark and CRLF are taken.
        now: A consent after this instant is refused.
        file_name: For the messages.

    Raises:
        BadEnrollmentFile: At least one line cannot be used; all of them are named.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content[: failure.start].count(b"\n") + 1
        raise BadEnrollmentFile(file_name, (BadRow(line, "is not UTF-8"),)) from failure
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    bad: list[BadRow] = []
    requests: list[EnrollmentRequest] = []
    first_line: dict[str, int] = {}
    header: list[str] | None = None
    ends_at = 0
    try:
        for cells in reader:
            line, ends_at = ends_at + 1, reader.line_num  # a quoted cell may span lines
            if header is None:
                header = _header(cells, file_name)
            elif any(cells):
                _take(cells, header, line, now, requests, first_line, bad)
    except csv.Error as failure:
        bad.append(BadRow(ends_at + 1, f"is not CSV: {failure}"))
    if header is None:
        bad.append(BadRow(1, f"is empty; the first line must be {','.join(HEADER)}"))
    elif not requests and not bad:
        bad.append(BadRow(1, "has a header and no homes below it"))
    if bad:
        raise BadEnrollmentFile(file_name, tuple(bad))
    return tuple(requests)


def _header(cells: list[str], file_name: str) -> list[str]:
    missing = [name for name in HEADER if name not in cells]
    unknown = [name for name in cells if name not in HEADER]
    twice = sorted({name for name in cells if cells.count(name) > 1})
    problems = [
        f"{what} {', '.join(repr(name) for name in names)}"
        for what, names in (("lacks column", missing), ("has unknown column", unknown), ("has twice", twice))
        if names
    ]
    if problems:
        reason = f"{'; '.join(problems)}. Expected {','.join(HEADER)}"
        raise BadEnrollmentFile(file_name, (BadRow(1, reason),))
    return cells


def _take(
    cells: list[str],
    header: list[str],
    line: int,
    now: datetime,
    requests: list[EnrollmentRequest],
    first_line: dict[str, int],
    bad: list[BadRow],
) -> None:
    """Append the row's request, or everything that is wrong with it."""
    if len(cells) != len(header):
        bad.append(BadRow(line, f"has {len(cells)} cells, the header {len(header)}"))
        return
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    site_id = row["site_id"]
    if site_id in first_line:
        bad.append(BadRow(line, f"site {site_id} stands on line {first_line[site_id]} already"))
        return
    first_line[site_id] = line
    faults = _faults(row, line, now)
    bad.extend(faults)
    if not faults:
        requests.append(_request(row, now))


def _faults(row: Mapping[str, str], line: int, now: datetime) -> list[BadRow]:
    """Return everything that is wrong with a row, not only the first thing."""
    readers: dict[str, Callable[[str], object]] = {
        "site_id": require_site_id,
        "full_energy_wh": _positive,
        "max_discharge_w": _positive,
        "reserve_pct": read_percent,
        "gateway_public_key": read_public_key,
        "consent_at": lambda text: _past(text, now),
    }
    faults = []
    for column in HEADER:
        try:
            readers.get(column, _name)(row[column])
        except (_BadCell, NotASiteId) as failure:
            faults.append(BadRow(line, f"{column}: {failure}"))
    return faults


def _request(row: Mapping[str, str], now: datetime) -> EnrollmentRequest:
    return EnrollmentRequest(
        site_id=row["site_id"],
        owner_id=row["owner_id"],
        program_id=row["program_id"],
        utility=row["utility"],
        county=row["county"],
        feeder=row["feeder"],
        full_energy_wh=WattHours(_positive(row["full_energy_wh"])),
        max_discharge_w=Watts(_positive(row["max_discharge_w"])),
        reserve_permille=read_percent(row["reserve_pct"]),
        gateway_public_key=read_public_key(row["gateway_public_key"]),
        consent=Consent(row["consent_version"], _past(row["consent_at"], now)),
    )


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _BadCell(f"{text[:90]!r} is not 1-80 printable characters")
    return text


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise _BadCell(f"{text[:30]!r} is not a positive whole number")
    return int(text)


def read_percent(text: str) -> Permille:
    """Return a percentage of the app scale, 0 to 100 with at most one decimal, in permille.

    Raises:
        ValueError: The text says something else.
    """
    match = re.fullmatch(r"(\d{1,3})(?:\.(\d))?", text)
    if match is None or (permille := int(match[1]) * 10 + int(match[2] or 0)) > 1000:
        raise _BadCell(f"{text[:30]!r} is not 0 to 100 with at most one decimal")
    return Permille(permille)


def read_public_key(text: str) -> bytes:
    """Return the 32 raw bytes of an Ed25519 public key given as base64url, padded or not.

    Raises:
        ValueError: The text is not base64url, or of another length.
    """
    unpadded = text.rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", unpadded):
        raise _BadCell("is not base64url")
    try:
        raw = base64.urlsafe_b64decode(unpadded + "=" * (-len(unpadded) % 4))
    except binascii.Error as failure:
        raise _BadCell("is not base64url") from failure
    if len(raw) != 32:
        raise _BadCell(f"has {len(raw)} bytes, an Ed25519 public key has 32")
    return raw


def _past(text: str, now: datetime) -> datetime:
    if not _RFC3339.fullmatch(text):
        raise _BadCell(f"{text[:40]!r} is not RFC 3339 with a zone, such as 2026-05-01T09:00:00Z")
    try:
        at = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except ValueError as failure:
        raise _BadCell(f"{text[:40]!r} is no date of the calendar") from failure
    if at > now:
        raise _BadCell(f"{text} is in the future")
    return at.replace(microsecond=0)
