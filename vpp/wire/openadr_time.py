"""Times and lengths of OpenADR 3.1: when each interval of an event starts and how long it lasts.

Knows ``intervalPeriod``, ISO 8601 durations and the standard's words for now and for no end. Refuses to
know what an interval asks for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from vpp.domain.grid_event import ENDLESS_S, SignalStep
from vpp.domain.interval import whole_second
from vpp.domain.quantities import Watts
from vpp.wire.strict_json import JsonObject, MalformedMessage, require_object

LONGEST_STEP_S = 100 * 366 * 86_400
NOW = "0001-01-01T00:00:00Z"
"""The start that means the controller's first commit of the event."""

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_NOW = re.compile(r"0001-01-01([Tt]00:00:00(\.0+)?([Zz]|[+-]00:00)?)?")
# Years and months have no length in seconds, so none of them is taken but the word for infinity.
_DURATION = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,9})W|(?:([0-9]{1,9})D)?)"
    r"(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9})(?:\.0+)?S)?)?"
)
_ENDLESS = "P9999Y"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def read_time(members: Mapping[str, object], name: str) -> datetime:
    """Return an RFC 3339 time of any offset as UTC, keeping its part of a second."""
    value = members.get(name)
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise MalformedMessage(f"{name} is not an RFC 3339 time with a zone")


@dataclass(frozen=True, slots=True)
class Period:
    """An intervalPeriod: its start, None for the controller's first commit, and its length in seconds."""

    starts_at: datetime | None
    duration_s: int


def read_duration(members: Mapping[str, object], name: str) -> int:
    """Return an ISO 8601 duration in seconds, ``ENDLESS_S`` for ``P9999Y``."""
    value = members.get(name)
    if value == _ENDLESS:
        return ENDLESS_S
    parts = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise MalformedMessage(f"{name} is not an ISO 8601 duration of weeks, days, hours, minutes, seconds")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    total = (weeks * 7 + days) * 86_400 + hours * 3_600 + minutes * 60 + seconds
    if total > LONGEST_STEP_S:
        raise MalformedMessage(f"{name} is longer than 100 years; write {_ENDLESS} for no end")
    return total


def read_period(members: JsonObject) -> Period | None:
    """Return an event's or interval's intervalPeriod, or None where it has none."""
    if members.get("intervalPeriod") is None:
        return None
    period = require_object(members, "intervalPeriod")
    if period.get("randomizeStart") is not None:
        read_duration(period, "randomizeStart")  # must be well formed; the fleet's own spread is used instead
    start = period.get("start")
    if isinstance(start, str) and _NOW.fullmatch(start):
        return Period(None, read_duration(period, "duration"))
    starts_at = whole_second(read_time(period, "start"))
    if not EARLIEST <= starts_at < _LATEST:
        raise MalformedMessage("start lies outside the years 1970 to 8999")
    return Period(starts_at, read_duration(period, "duration"))


def lay_out(
    default: Period | None,
    own: Sequence[Period | None],
    powers: Sequence[Watts | None],
    *,
    length_s: int | None,
) -> tuple[SignalStep, ...]:
    """Return one step per interval in order of time; none where every length is ``PT0S``, which cancels.

    Args:
        default: The event's own intervalPeriod: the first start and the length of each interval.
        own: The intervalPeriod of each interval that has one; one without follows the one listed
            before it.
        powers: What each interval asks for.
        length_s: The event's own duration, which may shorten it.

    Raises:
        MalformedMessage: Intervals overlap, lack a period, or mix fixed starts with "now".
    """
    steps = _placed(default, own, powers)
    if all(step.duration_s == 0 for step in steps):
        return ()
    if any(step.duration_s == 0 for step in steps):
        raise MalformedMessage("an interval among others lasts PT0S")
    steps.sort(key=lambda step: step.offset_s)
    for earlier, later in pairwise(steps):
        if earlier.offset_s + earlier.duration_s > later.offset_s:
            raise MalformedMessage("intervals overlap")
    return tuple(steps if length_s is None else _shortened(steps, length_s))


def _placed(
    default: Period | None, own: Sequence[Period | None], powers: Sequence[Watts | None]
) -> list[SignalStep]:
    first = default if None in own else own[0]
    if first is None:
        raise MalformedMessage("neither the event nor the interval has an intervalPeriod")
    if any(each is not None and (each.starts_at is None) != (first.starts_at is None) for each in own):
        raise MalformedMessage("some intervals start at a time and some at once")
    origin = first.starts_at or EARLIEST
    steps = []
    next_s = 0
    for period, power in zip(own, powers, strict=True):
        if period is not None:
            next_s = int(((period.starts_at or origin) - origin).total_seconds())
        if next_s >= ENDLESS_S:
            raise MalformedMessage("an interval follows one without end")
        starts_at = None if first.starts_at is None else _later(origin, next_s)
        duration_s = (period or first).duration_s
        steps.append(SignalStep(next_s, starts_at, duration_s, power))
        next_s += duration_s
    return steps


def _later(origin: datetime, seconds: int) -> datetime:
    try:
        at = origin + timedelta(seconds=seconds)
    except OverflowError:
        at = _LATEST
    if at >= _LATEST:
        raise MalformedMessage("an interval starts after the year 8999")
    return at


def _shortened(steps: Sequence[SignalStep], length_s: int) -> list[SignalStep]:
    """Return the steps within the event's own duration, counted from its first start."""
    ends_s = steps[0].offset_s + length_s
    if length_s != ENDLESS_S and ends_s <= steps[-1].offset_s + steps[-1].duration_s:
        return [
            replace(step, duration_s=min(step.duration_s, ends_s - step.offset_s))
            for step in steps
            if step.offset_s < ends_s
        ]
    raise MalformedMessage("the event's duration would repeat its intervals; list each one instead")


def duration_text(seconds: int) -> str:
    """Return whole seconds as an ISO 8601 duration in its largest even unit, such as ``PT3H``."""
    for unit_s, unit in ((3_600, "H"), (60, "M")):
        if seconds and seconds % unit_s == 0:
            return f"PT{seconds // unit_s}{unit}"
    return f"PT{seconds}S"
