"""When an event was over: at the end of what was asked last, or at the commit of its cancel before that.

What an event asked until then is not its business.
"""

from dataclasses import replace
from datetime import datetime
from itertools import takewhile

from vpp.domain.grid_event import EventHistory, EventStatus, GridEvent, Operation
from vpp.domain.interval import whole_second


def ended_at(history: EventHistory) -> datetime:
    """Return when an event was over, or will be; one that never asked, at its newest commit."""
    asking = [each.interval.ends_at for each in history.versions if each.interval is not None]
    cancelled = cancelled_at(history)
    if not asking:
        return history.latest.committed_at
    return asking[-1] if cancelled is None else min(asking[-1], cancelled)


def cancelled_at(history: EventHistory) -> datetime | None:
    """Return when an event was cancelled; None where it was not, or was over by then.

    That is the commit of its first cancel since it asked last: another one after it moves nothing.
    """
    cancels = list(takewhile(lambda each: each.status is EventStatus.CANCELLED, reversed(history.versions)))
    if not cancels:
        return None
    ends = [each.interval.ends_at for each in history.versions if each.interval is not None]
    at = cancels[-1].committed_at
    return at if not ends or at < ends[-1] else None


def cancelled(event: GridEvent, *, at: datetime) -> GridEvent:
    """Return the version by which a person ends an event now."""
    return replace(
        event,
        version=event.version + 1,
        operation=Operation.DELETE,
        modified_at=max(whole_second(at), event.modified_at),
        steps=(),
        status=EventStatus.CANCELLED,
        committed_at=at,
    )
