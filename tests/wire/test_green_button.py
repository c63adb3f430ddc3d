"""A Green Button file of ours, read by a reader that is not ours."""

import io
from datetime import UTC, datetime

from greenbutton_objects.enums import FlowDirectionType, KindType, QualityOfReading, UomType
from greenbutton_objects.parse import parse_feed

from vpp.wire.green_button import EnergyHour, write_green_button

AT = datetime(2026, 9, 11, tzinfo=UTC)
MIDNIGHT = 1_789_084_800  # 2026-09-11T00:00:00Z
HOUR = 3600
HOURS = (
    EnergyHour(MIDNIGHT - HOUR, 4_000, 10, "OK"),
    EnergyHour(MIDNIGHT, 3_900, 0, "ESTIMATED"),
    EnergyHour(MIDNIGHT + 2 * HOUR, 0, 1_200, "OK"),  # the hour before it is not known
)


def test_another_reader_finds_every_hour_given_and_taken_in_by_home() -> None:
    content = write_green_button([("s-1", HOURS), ("s-2", HOURS[:1])], at=AT)

    points = parse_feed(io.BytesIO(content))

    assert [point.title for point in points] == ["Battery of s-1", "Battery of s-2"]
    by_direction = {reading.readingType.flowDirection: reading for reading in points[0].meterReadings}
    gave, took = by_direction[FlowDirectionType.reverse], by_direction[FlowDirectionType.forward]
    assert (gave.readingType.kind, gave.readingType.uom) == (KindType.energy, UomType.wattHours)
    assert [each.value for each in gave.intervalReadings] == [4_000, 3_900, 0]
    assert [each.value for each in took.intervalReadings] == [10, 0, 1_200]
    assert [int(each.timePeriod.start.timestamp()) for each in gave.intervalReadings] == [
        MIDNIGHT - HOUR,
        MIDNIGHT,
        MIDNIGHT + 2 * HOUR,
    ]


def test_an_hour_between_distant_readings_says_that_it_is_estimated() -> None:
    (point,) = parse_feed(io.BytesIO(write_green_button([("s-1", HOURS)], at=AT)))
    (reading, *_) = point.meterReadings

    said = [[each.quality for each in hour.readingQualities] for hour in reading.intervalReadings]
    assert said == [[], [QualityOfReading.estimatedUsingLinearInterpolation], []]


def test_a_home_without_any_reading_is_there_and_empty() -> None:
    (point,) = parse_feed(io.BytesIO(write_green_button([("s-1", ())], at=AT)))

    assert [list(reading.intervalReadings) for reading in point.meterReadings] == [[], []]
    assert write_green_button([("s-1", HOURS)], at=AT) == write_green_button([("s-1", HOURS)], at=AT)
