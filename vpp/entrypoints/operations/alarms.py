"""Alarms as operators see them, and the answer that ends their being told."""

from datetime import datetime
from http import HTTPStatus

from vpp.domain.notice import Alarm
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, instant_or_none
from vpp.entrypoints.operations.paging import cursor_of, key_at, not_given

PAGE = 100


async def list_alarms(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return ``alarms``, the newest first; the first page ends with every older one that is not over.

    Each is ``key, kind, subject, raised_at, facts, told_rank`` (-1 before anybody was told)``, told_at,
    answered_by, answered_at, cleared_at``. Also ``time_zone`` (in which staff read them) and
    ``next_cursor``, to those before that are over.
    """
    if cursor:
        shown = passed = await desk.store.past_alarms(before=_place(cursor), limit=limit or PAGE)
    else:
        shown = await desk.store.alarms(limit=limit)
        passed = shown if limit is None else shown[:limit]
    more = passed and await desk.store.past_alarms(before=(passed[-1].raised_at, passed[-1].key), limit=1)
    following = cursor_of(f"{passed[-1].raised_at.isoformat()} {passed[-1].key}") if more else None
    found = [alarm_facts(each) for each in shown]
    return {"alarms": found, "time_zone": desk.staff_zone, "next_cursor": following}


def _place(cursor: str) -> tuple[datetime, str]:
    """Return when the last alarm of the page before was raised, and its key. Raises OperationRefused."""
    raised_at, _, key = key_at(cursor).partition(" ")
    try:
        at = datetime.fromisoformat(raised_at)
    except ValueError:
        raise not_given(cursor) from None
    if at.tzinfo is None or not key:
        raise not_given(cursor)
    return at, key


async def answer_alarm(desk: Desk, *, key: str, actor: str) -> Json:
    """Say that somebody takes care of an alarm; nobody is told of it any more. The first answer stays.

    Returns:
        The alarm as ``vpp alarm list`` has it.
    """
    alarm = await desk.store.answer_alarm(key, actor=actor, at=desk.clock.now())
    if alarm is None:
        raise OperationRefused(f"there is no alarm {key[:80]}; vpp alarm list", HTTPStatus.NOT_FOUND)
    return alarm_facts(alarm)


def alarm_facts(alarm: Alarm) -> Json:
    """Return one alarm as JSON."""
    return {
        "key": alarm.key,
        "kind": alarm.kind.value,
        "subject": alarm.subject,
        "raised_at": instant(alarm.raised_at),
        "facts": dict(alarm.facts),
        "told_rank": alarm.told_rank,
        "told_at": instant_or_none(alarm.told_at),
        "answered_by": alarm.answered_by,
        "answered_at": instant_or_none(alarm.answered_at),
        "cleared_at": instant_or_none(alarm.cleared_at),
    }
