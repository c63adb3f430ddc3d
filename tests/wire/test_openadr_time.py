"""When each interval of a grid signal starts and how long it lasts."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.wire.openadr_world import EVENING, changed, lasting, malformed, signal
from vpp.domain.grid_event import ENDLESS_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT3H", 10_800),
        ("PT90M", 5_400),
        ("PT5400S", 5_400),
        ("PT1H30M", 5_400),
        ("P1D", 86_400),
        ("P1DT1H", 90_000),
        ("P1W", 604_800),
        ("PT3600.0S", 3_600),
        ("P9999Y", ENDLESS_S),
    ],
)
def test_duration_is_read_to_the_second(text: str, seconds: int) -> None:
    period = {"start": "2026-09-10T01:00:00Z", "duration": text}

    assert signal(changed(intervalPeriod=period)).steps[0].duration_s == seconds


@pytest.mark.parametrize(
    "text",
    [
        "P", "PT", "P1DT", "1H", "PT1", "PT-1H", "-PT1H", "P1M", "P1Y", "P1Y2M", "PT0.5S", "pt1h", "PT1H ",
        "P1W2D", "PT1M1H", "", "PT١H", "P99999999W", 3_600, None, True, ["PT1H"],
    ],
)  # fmt: skip
def test_duration_without_a_length_in_seconds_is_malformed(text: object) -> None:
    for name in ("duration", "randomizeStart"):
        period: dict[str, object] = {"start": "2026-09-10T01:00:00Z", "duration": "PT1H", name: text}
        if name == "randomizeStart" and text is None:
            continue
        refused = malformed(changed(intervalPeriod=period))
        assert refused.reason.startswith((f"{name} is not an ISO 8601 duration", f"{name} is longer than"))


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-09T18:00:00-07:00",
        "2026-09-10T01:00:00+00:00",
        "2026-09-10T01:00:00.900Z",
        "2026-09-10t01:00:00z",
    ],
)
def test_start_in_any_zone_is_the_same_instant(text: str) -> None:
    period = {"start": text, "duration": "PT3H"}

    assert signal(changed(intervalPeriod=period)).steps[0].starts_at == EVENING


@pytest.mark.parametrize(
    "text", ["0001-01-01", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"]
)
def test_start_of_year_one_means_the_first_commit(text: str) -> None:
    notification = lasting(None, None, default={"start": text, "duration": "PT1H"})

    assert [(step.starts_at, step.offset_s) for step in signal(notification).steps] == [
        (None, 0),
        (None, 3_600),
    ]


def test_modification_time_keeps_its_part_of_a_second() -> None:
    read = signal(changed(modificationDateTime="2026-09-09T00:05:00.123456Z"))

    assert read.modified_at == datetime(2026, 9, 9, 0, 5, 0, 123456, tzinfo=UTC)


def test_intervals_without_a_period_follow_in_listed_order() -> None:
    hour = {"start": "2026-09-10T01:00:00Z", "duration": "PT1H"}
    later = {"start": "2026-09-10T03:30:00Z", "duration": "PT15M"}

    steps = signal(lasting(None, None, later, None, default=hour)).steps

    starts_at = [step.starts_at - EVENING for step in steps if step.starts_at is not None]
    assert starts_at == [timedelta(minutes=minutes) for minutes in (0, 60, 150, 165)]
    assert [step.duration_s for step in steps] == [3_600, 3_600, 900, 3_600]
    assert [step.power for step in steps] == [1_000, 2_000, 3_000, 4_000]


def test_intervals_listed_out_of_order_are_put_in_order_of_time() -> None:
    early = {"start": "2026-09-10T01:00:00Z", "duration": "PT1H"}
    late = {"start": "2026-09-10T03:00:00Z", "duration": "PT1H"}

    steps = signal(lasting(late, early)).steps

    assert [step.power for step in steps] == [2_000, 1_000]


def test_overlapping_intervals_are_malformed() -> None:
    hour = {"start": "2026-09-10T01:00:00Z", "duration": "PT1H"}
    half_past = {"start": "2026-09-10T01:30:00Z", "duration": "PT1H"}
    endless = {"start": "2026-09-10T01:00:00Z", "duration": "P9999Y"}
    at_once = {"start": "0001-01-01", "duration": "PT1H"}

    assert malformed(lasting(hour, half_past)).reason == "intervals overlap"
    assert malformed(lasting(hour, hour)).reason == "intervals overlap"
    assert malformed(lasting(at_once, at_once)).reason == "intervals overlap"
    assert malformed(lasting(None, None, default=endless)).reason == "an interval follows one without end"
    assert malformed(lasting(hour, at_once)).reason == "some intervals start at a time and some at once"
    assert malformed(lasting(hour, None)).reason.startswith("neither the event nor the interval")
    nothing = hour | {"duration": "PT0S"}
    assert malformed(lasting(nothing, half_past)).reason == "an interval among others lasts PT0S"


def test_event_duration_may_shorten_the_intervals() -> None:
    notification = lasting(None, None, None, default={"start": "2026-09-10T01:00:00Z", "duration": "PT1H"})
    notification["object"]["duration"] = "PT90M"

    assert [step.duration_s for step in signal(notification).steps] == [3_600, 1_800]
