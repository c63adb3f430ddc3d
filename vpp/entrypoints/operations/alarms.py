"""Alarms as operators see them, and the answer that ends their being told."""

from http import HTTPStatus

from vpp.domain.notice import Alarm
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, instant_or_none


async def list_alarms(desk: Desk) -> Json:
    """Return ``alarms``, the newest first: the last 100, and every older one that is not over.

    Each is ``key, kind, subject, raised_at, facts, told_rank`` (-1 before anybody was told)``, told_at,
    answered_by, answered_at, cleared_at``.
    """
    return {"alarms": [alarm_facts(each) for each in await desk.store.alarms()]}


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
