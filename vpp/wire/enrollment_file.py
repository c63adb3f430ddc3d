"""The enrolment file: CSV rows of homes with their owner's consent, checked as a whole before any is taken.

Columns, in any order, all required: ``site_id, owner_id, program_id, utility, county, feeder,
full_energy_wh`` (energy of the full pack, Wh), ``max_discharge_w`` (W), ``reserve_pct`` (0-100 on the app
scale, at most one decimal), ``gateway_public_key`` (base64url of 32 raw bytes), ``consent_version``,
``consent_at`` (RFC 3339 with zone). Two more may be there: ``other_programs``, the demand response programs
of others that the home is in, parted by spaces, and ``meter_accuracy_pct``, how far the meter that pays may
be off by its class (0.1-10, at most one decimal; empty where nobody knows). Knows nothing of which programs
exist, what each allows beside it, or who is enrolled already.
"""

import base64
import binascii
import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from vpp.domain.enrollment import Consent, EnrollmentRequest, NotASiteId, require_site_id
from vpp.domain.quantities import Permille, WattHours, Watts

HEADER = (
    "site_id", "owner_id", "program_id", "utility", "county", "feeder", "full_energy_wh", "max_discharge_w",
    "reserve_pct", "gateway_public_key", "consent_version", "consent_at",
)  # fmt: skip
OTHER_PROGRAMS = "other_programs"
METER_ACCURACY = "meter_accuracy_pct"
OPTIONAL = (OTHER_PROGRAMS, METER_ACCURACY)
LEAST_ENERGY_WH, LEAST_POWER_W = 1_000, 100  # no home battery is smaller: less is kWh or kW typed for Wh or W
WORST_ACCURACY_PERMILLE = 100  # of a meter that anybody is paid by; Powerwalls have 5 to 20
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
NOTHING_BESIDE: Mapping[str, Collection[str]] = MappingProxyType({})
ANY_UTILITY: Mapping[str, str] = MappingProxyType({})
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class BadRow:
    """One thing wrong with one line of the file, counted from 1 with the header."""

    line: int
    reason: str


class BadEnrollmentFile(Exception):
    """The file was refused as a whole; ``rows`` names every line with its reason."""

    def __init__(self, file_name: str, rows: tuple[BadRow, ...]) -> None:
        super().__init__("\n".join(f"{file_name}:{row.line}: {row.reason}" for row in rows))
        self.rows = rows


class _BadCell(ValueError):
    """A cell does not say what its column needs."""


def read_enrollments(
    content: bytes,
    *,
    now: datetime,
    file_name: str,
    program_ids: Collection[str] | None = None,
    enrolled: Collection[str] = (),
    also_enrolled: Mapping[str, Collection[str]] = NOTHING_BESIDE,
    ends_others: Mapping[str, Collection[str]] = NOTHING_BESIDE,
    utilities: Mapping[str, str] = ANY_UTILITY,
) -> tuple[EnrollmentRequest, ...]:
    """Return every row as a checked request, in the order of the file.

    Args:
        content: The file; UTF-8, a byte order mark and CRLF are taken.
        now: A consent after this instant is refused.
        file_name: For the messages.
        program_ids: The programs there are; None takes any.
        enrolled: Sites that have a place already.
        also_enrolled: By program, which programs of others a home may be in as well.
        ends_others: By program, which programs of others a home leaves by joining it.
        utilities: By program, the one utility whose homes it takes, whatever the case; any where none stands.

    Raises:
        BadEnrollmentFile: At least one line cannot be used; all of them are named.
    """
    sheet = _Sheet(now, program_ids, enrolled, also_enrolled, ends_others, utilities)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content[: failure.start].count(b"\n") + 1
        raise BadEnrollmentFile(file_name, (BadRow(line, "is not UTF-8"),)) from failure
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    ends_at = 0
    try:
        for cells in reader:
            line, ends_at = ends_at + 1, reader.line_num  # a quoted cell may span lines
            if any(cells):
                sheet.take(cells, line)
            elif cells:  # an empty line is none; here a home may have stood
                sheet.refuse(line, "holds nothing but commas; delete it or fill it in")
    except csv.Error as failure:
        sheet.refuse(ends_at + 1, f"is not CSV: {failure}")
    except _BadHeader as failure:
        sheet.refuse(ends_at, str(failure))
    if sheet.header is None and not sheet.bad:
        sheet.refuse(1, f"is empty; the first line must be {','.join(HEADER)}")
    elif not sheet.requests and not sheet.bad:
        sheet.refuse(1, "has a header and no homes below it")
    if sheet.bad:
        raise BadEnrollmentFile(file_name, tuple(sheet.bad))
    return tuple(sheet.requests)


def read_ended(content: bytes, ends_others: Mapping[str, Collection[str]]) -> Mapping[str, tuple[str, ...]]:
    """Return, by site of a file that can be used, which of its other programs the home leaves by joining."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    ended = {
        row["site_id"].strip(): tuple(
            each for each in _others(row) if each in ends_others.get(row["program_id"].strip(), ())
        )
        for row in rows
    }
    return {site_id: others for site_id, others in ended.items() if others}


class _BadHeader(ValueError):
    """The first line does not name the columns; nothing below it can be read."""


class _Sheet:
    """Rows taken so far, and everything that is wrong with them."""

    def __init__(
        self,
        now: datetime,
        program_ids: Collection[str] | None,
        enrolled: Collection[str],
        also_enrolled: Mapping[str, Collection[str]],
        ends_others: Mapping[str, Collection[str]],
        utilities: Mapping[str, str],
    ) -> None:
        self.header: list[str] | None = None
        self.requests: list[EnrollmentRequest] = []
        self.bad: list[BadRow] = []
        self._now, self._program_ids, self._enrolled = now, program_ids, enrolled
        self._also_enrolled, self._ends_others = also_enrolled, ends_others
        self._utilities = utilities
        self._first_line: dict[str, int] = {}

    def refuse(self, line: int, reason: str) -> None:
        self.bad.append(BadRow(line, reason))

    def take(self, cells: list[str], line: int) -> None:
        """Take the header, or append a row's request or everything that is wrong with the row."""
        if self.header is None:
            self.header = _header(cells)
        elif len(cells) != len(self.header):
            self.refuse(line, f"has {len(cells)} cells, the header {len(self.header)}")
        else:
            row = {name: cell.strip() for name, cell in zip(self.header, cells, strict=True)}
            faults = list(self._faults(row, line))
            self.bad.extend(BadRow(line, fault) for fault in faults)
            if not faults:
                self.requests.append(_request(row, self._now))

    def _faults(self, row: Mapping[str, str], line: int) -> Iterator[str]:
        site_id, program_id = row["site_id"], row["program_id"]
        first_line = self._first_line.setdefault(site_id, line)
        if first_line != line:
            yield f"site {site_id} stands on line {first_line} already"
        if site_id in self._enrolled:
            yield f"site {site_id} is enrolled already"
        readers: dict[str, Callable[[str], object]] = {
            "site_id": require_site_id,
            "full_energy_wh": _energy_wh,
            "max_discharge_w": _power_w,
            "reserve_pct": read_percent,
            "gateway_public_key": read_public_key,
            "consent_at": lambda text: _past(text, self._now),
        }
        for column in HEADER:
            try:
                readers.get(column, _name)(row[column])
            except (_BadCell, NotASiteId) as failure:
                yield f"{column}: {failure}"
        try:
            _accuracy(row.get(METER_ACCURACY, ""))
        except _BadCell as failure:
            yield f"{METER_ACCURACY}: {failure}"
        if self._program_ids is not None and program_id not in self._program_ids:
            known = ", ".join(sorted(self._program_ids))
            yield f"program_id: there is no program {program_id!r}; known: {known}"
        utility = self._utilities.get(program_id)
        if utility is not None and row["utility"].casefold() != utility.casefold():
            yield f"utility: {row['utility'][:40]!r} is not {utility}, whose homes alone {program_id} takes"
        allowed_beside = self._also_enrolled.get(program_id, ())
        ended = self._ends_others.get(program_id, ())
        for other in _others(row):
            if other not in allowed_beside and other not in ended:
                allowed = (
                    f"only beside {', '.join(allowed_beside)}"
                    if allowed_beside
                    else "beside no other program"
                )
                yield f"{OTHER_PROGRAMS}: {program_id} goes {allowed}; this home is in {other[:40]!r}"


def _header(cells: list[str]) -> list[str]:
    missing = [name for name in HEADER if name not in cells]
    unknown = [name for name in cells if name not in (*HEADER, *OPTIONAL)]
    twice = sorted({name for name in cells if cells.count(name) > 1})
    problems = [
        f"{what} {', '.join(repr(name) for name in names)}"
        for what, names in (("lacks column", missing), ("has unknown column", unknown), ("has twice", twice))
        if names
    ]
    if problems:
        expected = f"Expected {','.join(HEADER)}; may be there: {', '.join(OPTIONAL)}"
        raise _BadHeader(f"{'; '.join(problems)}. {expected}")
    return cells


def _others(row: Mapping[str, str]) -> list[str]:
    return row.get(OTHER_PROGRAMS, "").lower().split()


def _request(row: Mapping[str, str], now: datetime) -> EnrollmentRequest:
    return EnrollmentRequest(
        site_id=row["site_id"],
        owner_id=row["owner_id"],
        program_id=row["program_id"],
        utility=row["utility"],
        county=row["county"],
        feeder=row["feeder"],
        full_energy_wh=WattHours(_energy_wh(row["full_energy_wh"])),
        max_discharge_w=Watts(_power_w(row["max_discharge_w"])),
        reserve_permille=read_percent(row["reserve_pct"]),
        gateway_public_key=read_public_key(row["gateway_public_key"]),
        consent=Consent(row["consent_version"], _past(row["consent_at"], now)),
        meter_accuracy_permille=_accuracy(row.get(METER_ACCURACY, "")),
    )


def _accuracy(text: str) -> Permille | None:
    if not text:
        return None
    try:
        permille = read_percent(text)
    except _BadCell:
        permille = Permille(0)
    if not 0 < permille <= WORST_ACCURACY_PERMILLE:
        raise _BadCell(f"{text[:30]!r} is not 0.1 to 10 with at most one decimal; leave it empty if unknown")
    return permille


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _BadCell(f"{text[:90]!r} is not 1-80 printable characters")
    return text


def _energy_wh(text: str) -> int:
    return _at_least(LEAST_ENERGY_WH, text, "Wh")


def _power_w(text: str) -> int:
    return _at_least(LEAST_POWER_W, text, "W")


def _at_least(least: int, text: str, unit: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise _BadCell(f"{text[:30]!r} is not a whole number of {unit} from {least} to 999999999")
    return int(text)


def read_percent(text: str) -> Permille:
    """Return a percentage of the app scale, 0 to 100 with at most one decimal, in permille.

    Raises:
        ValueError: The text says something else.
    """
    # Not \d, which is a digit of any script: a reserve that people cannot read back is not one they gave.
    match = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]))?", text)
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
    except (ValueError, OverflowError) as failure:  # an offset may lead out of the calendar
        raise _BadCell(f"{text[:40]!r} is no date of the calendar") from failure
    if at > now:
        raise _BadCell(f"{text} is in the future")
    return at.replace(microsecond=0)
