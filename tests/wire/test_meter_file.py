"""The meter file is taken as a whole or refused with every line that is wrong."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.meter_source import IMPORT_BOOT
from vpp.domain.quantities import WattHours
from vpp.wire.meter_file import HEADER, read_meter_file
from vpp.wire.table import BadFile

NOW = datetime(2026, 9, 9, 12, tzinfo=UTC)


def a_file(*lines: str, header: str = ",".join(HEADER)) -> bytes:
    return ("\n".join((header, *lines)) + "\n").encode()


def read(content: bytes) -> tuple[MeterMessage, ...]:
    return read_meter_file(content, now=NOW, file_name="meter.csv", metered_at_site=["s-grid"])


def test_readings_come_by_site_and_time_with_their_time_as_index() -> None:
    at = datetime(2026, 9, 1, tzinfo=UTC)
    later = "s-2,2026-09-01T01:00:00Z,30,20,,,ESTIMATED"
    earlier = "s-2,2026-09-01T00:00:00Z,10,20,5,6,OK"

    other, message = read(a_file(later, "s-1,2026-09-01T00:00:00Z,1,1,,,BAD", earlier))

    assert (other.site_id, message.site_id, message.oldest_index) == ("s-1", "s-2", int(at.timestamp()))
    assert message.readings[0] == MeterReading(
        site_id="s-2",
        boot_id=IMPORT_BOOT,
        index=int(at.timestamp()),
        at=at,
        discharged_wh=WattHours(10),
        charged_wh=WattHours(20),
        soc_permille=None,
        quality=Quality.OK,
        imported_wh=WattHours(5),
        exported_wh=WattHours(6),
    )
    assert message.readings[1].quality is Quality.ESTIMATED


def test_lines_that_say_the_same_are_one_reading_of_the_worst_quality_they_give() -> None:
    line = "s-1,2026-09-01T00:00:00Z,1,1,,,"

    (message,) = read(a_file(f"{line}OK", f"{line}ESTIMATED", f"{line}OK"))

    assert [each.quality for each in message.readings] == [Quality.ESTIMATED]


def test_two_values_of_one_instant_are_both_kept_under_one_key() -> None:
    other, line = "s-1,2026-09-01T00:00:00Z,2,1,,,OK", "s-1,2026-09-01T00:00:00Z,1,1,,,OK"

    (message,) = read(a_file(other, line, other))

    assert [each.discharged_wh for each in message.readings] == [1, 2]
    assert len({each.index for each in message.readings}) == 1


def test_a_home_that_is_metered_at_the_site_needs_no_battery_counters() -> None:
    header = "site_id,at,imported_wh,exported_wh,quality"

    (message,) = read(a_file("s-grid,2026-09-01T00:00:00Z,7,8,OK", header=header))

    (reading,) = message.readings
    assert (reading.discharged_wh, reading.charged_wh) == (None, None)
    assert (reading.imported_wh, reading.exported_wh) == (7, 8)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("s-1,2026-09-01T00:00:00Z,1.5,1,,,OK", "discharged_wh: '1.5' is not a whole number"),
        ("s-1,2026-09-01T00:00:00Z,1,-1,,,OK", "charged_wh: '-1' is not a whole number"),
        ("s-1,2026-09-01T00:00:00Z,1,1,x,,OK", "imported_wh: 'x' is not a whole number"),
        ("s-1,2026-09-01T00:00:00Z,1,1,,,MISSING", "quality: 'MISSING' is not OK, ESTIMATED or BAD"),
        ("s-1,2026-09-01T00:00:00,1,1,,,OK", "at: '2026-09-01T00:00:00' names no zone"),
        ("s-1,yesterday,1,1,,,OK", "at: 'yesterday' is not RFC 3339"),
        ("s-1,2026-09-09T12:00:01Z,1,1,,,OK", "is in the future"),
        ("S1,2026-09-01T00:00:00Z,1,1,,,OK", "site id 'S1' is not 1-36"),
        ("s-1,2026-09-01T00:00:00Z,1,1", "all columns: 4 cells, the header has 7"),
        ("s-1,2026-09-01T00:00:00Z,,,7,8,OK", "discharged_wh: '' is not a whole number"),
        ("s-grid,2026-09-01T00:00:00Z,,,7,,OK", "exported_wh: '' is not a whole number"),
        ("s-grid,2026-09-01T00:00:00Z,1,,7,8,OK", "charged_wh: '' is not a whole number"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_reason(line: str, reason: str) -> None:
    with pytest.raises(BadFile) as refused:
        read(a_file("s-0,2026-09-01T00:00:00Z,1,1,,,OK", line))

    (fault,) = refused.value.faults
    assert fault.startswith("meter.csv:3: ")
    assert reason in fault


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", ":1: columns are ; each of site_id"),
        (b'"site_id', ":1: is not CSV"),
        (a_file(), ":1: has a header and no readings"),
        (a_file(header="site_id,at"), ":1: columns are site_id,at; each of"),
        (a_file("s-1,\xff").replace("\xff".encode(), b"\xff"), ":2: is not UTF-8"),
    ],
)
def test_a_file_of_another_shape_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BadFile, match=reason):
        read(content)


@given(st.binary(max_size=300))
def test_no_bytes_bring_the_reader_down(content: bytes) -> None:
    with pytest.raises(BadFile):
        read(content)
    with pytest.raises(BadFile):
        read(a_file()[:-1] + content)
