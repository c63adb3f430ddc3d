"""Half-open stretches of UTC, and the settlement hours inside them.

Knows no local time except where a program's zone is handed in. Refuses anything that is not aware UTC
when it is made, so nothing below checks again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


class NotUtc(ValueError):
    """A time without a zone, or in a zone other than UTC, reached the domain."""


class EmptyInterval(ValueError):
    """An interval ends at or before its start."""


def require_utc(at: datetime) -> datetime:
    """Return the same instant if it is aware UTC.

    Raises:
        NotUtc: The time is naive or has another offset than zero.
    """
    if at.tzinfo is not UTC and (at.tzinfo is None or at.utcoffset() != timedelta(0)):
        raise NotUtc(f"{at.isoformat()} is not UTC; convert it where it enters")
    return at


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """``[starts_at, ends_at)`` in UTC, never empty."""

    starts_at: datetime
    ends_at: datetime

    def __post_init__(self) -> None:
        require_utc(self.starts_at)
        require_utc(self.ends_at)
        if self.ends_at <= self.starts_at:
            raise EmptyInterval(f"{self.ends_at.isoformat()} is not after {self.starts_at.isoformat()}")

    @property
    def seconds(self) -> int:
        """Return the length in whole seconds, a part of a second cut off."""
        return int((self.ends_at - self.starts_at).total_seconds())

    def contains(self, at: datetime) -> bool:
        """Return whether the instant lies inside; the end does not."""
        return self.starts_at <= at < self.ends_at

    def overlap(self, other: "Interval") -> "Interval | None":
        """Return the part both share, or None when they only touch or are apart."""
        starts_at = max(self.starts_at, other.starts_at)
        ends_at = min(self.ends_at, other.ends_at)
        return Interval(starts_at, ends_at) if starts_at < ends_at else None


def clock_hours(interval: Interval, zone: ZoneInfo) -> Iterator[Interval]:
    """Yield the whole local clock hours that the interval touches, in order, each as UTC.

    A settlement hour is a clock hour of the site's zone. Zones with half-hour offsets begin theirs at
    the local full hour. Every hour is 60 minutes long, also in the nights when clocks change, because
    the walk is made in UTC.
    """
    local = interval.starts_at.astimezone(zone)
    past_hour = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    starts_at = interval.starts_at - past_hour
    while starts_at < interval.ends_at:
        ends_at = starts_at + timedelta(hours=1)
        yield Interval(starts_at, ends_at)
        starts_at = ends_at


def union(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the same instants as intervals in order and apart; those that overlap or touch become one."""
    joined: list[Interval] = []
    for interval in sorted(intervals):
        if joined and interval.starts_at <= joined[-1].ends_at:
            last = joined.pop()
            interval = Interval(last.starts_at, max(last.ends_at, interval.ends_at))
        joined.append(interval)
    return tuple(joined)


def whole_second(at: datetime) -> datetime:
    """Return the instant with its part of a second cut off, as every message carries it."""
    utc = at if at.tzinfo is UTC else require_utc(at)
    return utc.replace(microsecond=0) if utc.microsecond else utc


def from_epoch(seconds: int) -> datetime:
    """Return the UTC instant that many whole seconds after 1970."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def to_epoch(at: datetime) -> int:
    """Return whole seconds since 1970, a part of a second cut off."""
    return int((at if at.tzinfo is UTC else require_utc(at)).timestamp())
