"""Wholesale prices as CSV: ``program_id, hour_starts_at, usd_per_mwh``, one row per clock hour.

``hour_starts_at`` is RFC 3339 and a full hour on the program's clock; ``usd_per_mwh`` has up to six decimals
and may be below zero. Written the same way, in the order of the hours.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from vpp.domain.quantities import MicroDollars
from vpp.wire.strict_json import time_text
from vpp.wire.table import BadCell, BadFile, as_it_was, harmless, instant_of, read_table, write_table

PRICES = ("program_id", "hour_starts_at", "usd_per_mwh")
_PRICE = re.compile(r"-?[0-9]{1,7}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row of a file."""

    program_id: str
    hour_starts_at: datetime
    per_mwh: MicroDollars


def read_prices(content: bytes, *, file_name: str, zones: Mapping[str, ZoneInfo]) -> tuple[PriceRow, ...]:
    """Return the prices in the order of the file.

    Args:
        content: The file.
        file_name: Named in every fault.
        zones: The clock of each program that prices weigh something for.

    Raises:
        BadFile: A line cannot be used, an hour stands twice, or there is no line at all.
    """
    table = read_table(content, file_name=file_name, required=PRICES)
    found: dict[tuple[str, datetime], PriceRow] = {}
    for line, row in table.rows():
        try:
            price = _price_row(row, zones)
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        key = (price.program_id, price.hour_starts_at)
        if key in found:
            table.refuse(line, "hour_starts_at", f"{time_text(price.hour_starts_at)} stands twice")
        found[key] = price
    table.require_faultless()
    if not found:
        raise BadFile([f"{file_name}:1: has a header and no prices below it"])
    return tuple(found.values())


def _price_row(row: Mapping[str, str], zones: Mapping[str, ZoneInfo]) -> PriceRow:
    program_id = as_it_was(row["program_id"].strip())
    zone = zones.get(program_id)
    if zone is None:
        known = ", ".join(sorted(zones)) or "none"
        raise BadCell(
            "program_id", f"{program_id[:40]!r} weighs nothing by price; of the programs, {known} do"
        )
    at = instant_of("hour_starts_at", row["hour_starts_at"])
    local = at.astimezone(zone)
    if local.minute or local.second:
        raise BadCell("hour_starts_at", f"{time_text(at)} is no full hour in {zone.key}")
    text = as_it_was(row["usd_per_mwh"].strip())
    if not _PRICE.fullmatch(text):
        raise BadCell("usd_per_mwh", f"{text[:40]!r} is not a price such as 84.25")
    whole, _, part = text.lstrip("-").partition(".")
    micro = int(whole) * 1_000_000 + int(part.ljust(6, "0"))
    return PriceRow(program_id, at, MicroDollars(-micro if text.startswith("-") else micro))


def write_prices(rows: Iterable[PriceRow]) -> bytes:
    """Return the file."""
    return write_table(
        PRICES,
        (
            (harmless(each.program_id), time_text(each.hour_starts_at), _price_text(each.per_mwh))
            for each in sorted(rows, key=lambda each: (each.program_id, each.hour_starts_at))
        ),
    )


def _price_text(per_mwh: int) -> str:
    sign, whole, part = "-" if per_mwh < 0 else "", abs(per_mwh) // 1_000_000, abs(per_mwh) % 1_000_000
    decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
