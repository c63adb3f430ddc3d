"""Wholesale prices from a file: taken as a whole, or refused with file, line and column."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from vpp.domain.quantities import MicroDollars
from vpp.wire.price_file import PriceRow, read_prices, write_prices
from vpp.wire.table import BadFile

HEADER = "program_id,hour_starts_at,usd_per_mwh"
ZONES = {"dsgs-3": ZoneInfo("America/Los_Angeles"), "india": ZoneInfo("Asia/Kolkata")}
EVENING = datetime(2025, 9, 11, 1, tzinfo=UTC)


def a_file(*rows: str) -> bytes:
    return "\n".join([HEADER, *rows, ""]).encode()


def test_prices_are_read_exactly_and_written_the_same() -> None:
    content = a_file(
        "dsgs-3,2025-09-11T01:00:00Z,184.25",
        "dsgs-3,2025-09-10T19:00:00-07:00,-0.000001",
        "india,2025-09-11T01:30:00Z,90",
    )

    rows = read_prices(content, file_name="p.csv", zones=ZONES)

    assert rows[0] == PriceRow("dsgs-3", EVENING, MicroDollars(184_250_000))
    assert (rows[1].hour_starts_at.hour, rows[1].per_mwh, rows[2].per_mwh) == (2, -1, 90_000_000)
    assert read_prices(write_prices(rows), file_name="p.csv", zones=ZONES) == rows
    assert write_prices(rows).splitlines()[1] == b"dsgs-3,2025-09-11T01:00:00Z,184.25"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (
            "elrp,2025-09-11T01:00:00Z,1",
            "program_id: 'elrp' weighs nothing by price; of the programs, dsgs-3, india do",
        ),
        (
            "dsgs-3,2025-09-11T01:30:00Z,1",
            "hour_starts_at: 2025-09-11T01:30:00Z is no full hour in America/Los_Angeles",
        ),
        ("dsgs-3,2025-09-11T01:00:00,1", "hour_starts_at: '2025-09-11T01:00:00' names no zone"),
        ("dsgs-3,2025-09-11T01:00:00Z,1e3", "usd_per_mwh: '1e3' is not a price such as 84.25"),
        ("dsgs-3,2025-09-11T01:00:00Z,", "usd_per_mwh: '' is not a price such as 84.25"),
        ("dsgs-3,2025-09-11T01:00:00Z", "all columns: 2 cells, the header has 3"),
        ("dsgs-3,2025-09-10T00:00:00Z,2", "hour_starts_at: 2025-09-10T00:00:00Z stands twice"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: str, complaint: str) -> None:
    with pytest.raises(BadFile) as refused:
        read_prices(a_file("dsgs-3,2025-09-10T00:00:00Z,1", row), file_name="p.csv", zones=ZONES)

    (fault,) = refused.value.faults
    assert fault.startswith(f"p.csv:3: {complaint}")


def test_a_file_without_prices_is_refused() -> None:
    with pytest.raises(BadFile, match=r"p\.csv:1: has a header and no prices below it"):
        read_prices(a_file(), file_name="p.csv", zones=ZONES)
