"""Builders of signals, programs and event histories; each takes only what matters to its test."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from vpp.domain.grid_event import (
    EventHistory,
    EventStatus,
    Grant,
    GrantKind,
    GridEvent,
    GridSource,
    Operation,
    Signal,
    SignalStep,
    Step,
)
from vpp.domain.interval import Interval
from vpp.domain.program import MeterOfRecord, NegativePolicy, Program, Terms
from vpp.domain.quantities import Price, Watts

CALIFORNIA = ZoneInfo("America/Los_Angeles")
START = datetime(2026, 9, 10, 1, tzinfo=UTC)  # 18:00 on 9 September in California
COMMIT = START - timedelta(hours=2)
HOUR = timedelta(hours=1)
ANYTHING_W = 10**12


def local(day: date, hour: int, minute: int = 0) -> datetime:
    """Return a wall-clock time in California as UTC."""
    return datetime.combine(day, time(hour, minute), tzinfo=CALIFORNIA).astimezone(UTC)


def terms(
    *, first: date = date(2022, 1, 1), until: date | None = None, longest_h: int = 3, cap_h: int = 60
) -> Terms:
    """Return an edition of the emergency program."""
    return Terms(
        effective_from=first,
        effective_to=until,
        season_first=(5, 1),
        season_last=(10, 31),
        window_opens=time(16),
        window_closes=time(21),
        event_min_s=3_600,
        event_max_s=longest_h * 3_600,
        season_cap_s=cap_h * 3_600,
        season_minimum_s=20 * 3_600,
        rate=Price(Decimal("2.00")),
        owner_share=Decimal("1.00"),
        meter=MeterOfRecord.DEVICE,
        baseline_method="ten_of_ten",
        negative_policy=NegativePolicy.NET_EVENT_FLOOR_ZERO,
        holidays="NERC",
    )


def program(*editions: Terms) -> Program:
    """Return the emergency program with the given editions, or one of every day since 2022."""
    return Program("elrp", "ELRP A.4", "pge", ("a4",), CALIFORNIA, 8, editions or (terms(),))


def signal(
    *,
    event_id: str = "ev-1",
    source: str = "caiso",
    operation: Operation = Operation.CREATE,
    modified_at: datetime = COMMIT,
    content: str = "a",
    steps: tuple[SignalStep, ...] | None = None,
    cancels: bool = False,
    starts_at: datetime | None = START,
    hours: float = 2,
    power: int | None = 5_000_000,
) -> Signal:
    """Return a well-formed signal; its steps follow from start, hours and power unless given."""
    cancels = cancels or operation is Operation.DELETE
    if steps is None:
        watts = None if power is None else Watts(power)
        steps = () if cancels else (SignalStep(0, starts_at, int(hours * 3_600), watts),)
    return Signal(
        source=source,
        event_id=event_id,
        operation=operation,
        modified_at=modified_at,
        content_sha256=content,
        program_id="elrp",
        name="EEA 2",
        priority=0,
        targets=(),
        steps=steps,
        cancels=cancels,
    )


def version(
    number: int = 1,
    *,
    event_id: str = "ev-1",
    source: str = "caiso",
    committed_at: datetime = COMMIT,
    modified_at: datetime | None = None,
    priority: int | None = 0,
    starts_at: datetime = START,
    hours: float = 2,
    power: int | None = 5_000_000,
    steps: tuple[Step, ...] | None = None,
    cancelled: bool = False,
    out_of_program: tuple[str, ...] = (),
    test: bool = False,
) -> GridEvent:
    """Return one committed version of an event."""
    if steps is None:
        interval = Interval(starts_at, starts_at + timedelta(hours=hours))
        steps = () if cancelled else (Step(interval, None if power is None else Watts(power)),)
    return GridEvent(
        event_id=event_id,
        version=number,
        source=source,
        operation=Operation.DELETE if cancelled else Operation.CREATE,
        modified_at=modified_at or committed_at,
        content_sha256=f"{number}",
        program_id="elrp",
        name="EEA 2",
        priority=priority,
        targets=(),
        steps=steps,
        status=EventStatus.CANCELLED if cancelled else EventStatus.SCHEDULED,
        out_of_program=out_of_program,
        test=test,
        committed_at=committed_at,
    )


def history(*versions: GridEvent, grants: tuple[Grant, ...] = ()) -> EventHistory:
    """Return everything committed about one event."""
    return EventHistory(versions, grants)


def granted(kind: GrantKind, at: datetime, *, number: int = 1) -> Grant:
    """Return a person's leave for a version of the event."""
    return Grant("ev-1", number, kind, "ana", at)


def source(name: str = "caiso", *, max_power_w: int = ANYTHING_W) -> GridSource:
    """Return a source that may ask so much without approval."""
    return GridSource(name, None, Watts(max_power_w), COMMIT)


def course(steps: tuple[Step, ...]) -> list[tuple[float, float, int | None]]:
    """Return steps as hours after START and watts, to be read at a glance."""
    return [
        ((step.interval.starts_at - START) / HOUR, (step.interval.ends_at - START) / HOUR, step.power)
        for step in steps
    ]
